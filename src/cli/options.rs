//! The list behind `-o`: the words of mount(8), and every key of the configuration.
//!
//! Owns: the list. Must be true: an unknown option is refused with the nearest known one; `-` and `_` are the same; the later
//! of two options wins. Fails: with [`Code::Option`].

use super::error::{CliError, Code};
use crate::backend::MountFlags;
use crate::config::{nearest, schema};
use crate::fuse::{self, Shown};
use infmap_actors::settings::Damaged;

/// Words for mount(8), systemd and habit that change nothing here.
const IGNORED: &[&str] = &[
    "defaults",
    "user",
    "nouser",
    "users",
    "auto",
    "noauto",
    "nofail",
    "_netdev",
    "rw",
    "async",
    "nosuid",
    "nodev",
    "exec",
    "nonempty",
    "acl",
    "user_xattr",
    "xattr",
    "default_permissions",
    "diratime",
    "nodiratime",
];
/// Words that set a flag or a key.
const KNOWN: &[&str] = &[
    "ro",
    "suid",
    "dev",
    "noexec",
    "sync",
    "allow_other",
    "writeback",
    "nowriteback",
    "relatime",
    "noatime",
    "strictatime",
    "fsname=",
    "config=",
    "uid=",
    "gid=",
    "umask=",
    "damaged=",
];
/// Words that are understood and not possible, and why.
const REFUSED: &[(&str, &str)] = &[
    ("allow_root", "use allow_other"),
    ("auto_unmount", "a mount is never taken away behind your back; the next mount clears a dead one"),
    ("dirsync", "use sync, or call fsync on the directory"),
    ("remount", "infmap remount DIR -o OPTIONS, or mount -o remount"),
];

/// What the options said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub flags: Flags,
    /// A file with settings.
    pub config: Option<String>,
    /// `key=value` for the configuration, in order.
    pub assignments: Vec<String>,
}

/// Flags as far as they were said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `ro` was said, or `rw`.
    pub said: Option<bool>,
    pub suid: bool,
    pub dev: bool,
    pub noexec: bool,
    pub sync: bool,
    pub source_name: Option<String>,
    pub shown: Shown,
}

impl Flags {
    /// The same for a mount on which lost bytes read as zeros: it changes nothing.
    pub fn only_to_read(self) -> Result<Self, CliError> {
        match self.said {
            Some(false) => Err(CliError::new(
                Code::Option,
                "`damaged=zero` is not possible with `rw`: zeros that stand for lost bytes would be stored",
            )
            .help("write ro,damaged=zero")),
            _ => Ok(Self { said: Some(true), ..self }),
        }
    }

    /// The flags of the mount. `source_name` is what is shown if none was said, as far as a source may say it.
    #[must_use]
    pub fn resolve(self, source_name: &str) -> MountFlags {
        MountFlags {
            read_only: self.said.unwrap_or(false),
            suid: self.suid,
            dev: self.dev,
            exec: !self.noexec,
            sync: self.sync,
            default_permissions: true,
            source_name: self.source_name.unwrap_or_else(|| fuse::plain(source_name)),
            shown: self.shown,
        }
    }
}

/// Reads the lists, each separated by commas.
pub fn parse<'a>(lists: impl IntoIterator<Item = &'a str>) -> Result<Options, CliError> {
    let mut options = Options::default();
    for option in lists.into_iter().flat_map(|list| list.split(',')).filter(|option| !option.is_empty()) {
        one(option, &mut options)?;
    }
    Ok(options)
}

fn one(option: &str, out: &mut Options) -> Result<(), CliError> {
    let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
    let name = name.replace('-', "_");
    if name.starts_with("x_") || name.starts_with("X_") || name.starts_with("comment") {
        return Ok(());
    }
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Err(CliError::new(Code::Option, format!("the mount option `{option}` is not possible")).help(*why));
    }
    let assign = |text: String, out: &mut Options| out.assignments.push(text);
    match (name.as_str(), value) {
        ("ro" | "rw", None) => out.flags.said = Some(name == "ro"),
        ("suid", None) => out.flags.suid = true,
        ("nosuid", None) => out.flags.suid = false,
        ("dev", None) => out.flags.dev = true,
        ("nodev", None) => out.flags.dev = false,
        ("noexec", None) => out.flags.noexec = true,
        ("exec", None) => out.flags.noexec = false,
        ("sync", None) => out.flags.sync = true,
        ("async", None) => out.flags.sync = false,
        ("allow_other", None) => assign("mount.allow_other=true".into(), out),
        ("relatime" | "noatime" | "strictatime", None) => assign(format!("mount.atime={name}"), out),
        ("uid", Some(text)) => out.flags.shown.uid = Some(number(option, text, 10, u32::MAX - 1)?),
        ("gid", Some(text)) => out.flags.shown.gid = Some(number(option, text, 10, u32::MAX - 1)?),
        ("umask", Some(text)) => out.flags.shown.umask = number(option, text, 8, 0o777)?,
        ("damaged", Some(what)) => assign(damaged(what)?, out),
        ("writeback", None) => assign("mount.writeback=true".into(), out),
        ("nowriteback", None) => assign("mount.writeback=false".into(), out),
        ("fsname", Some(source)) if fuse::is_plain(source) => out.flags.source_name = Some(source.into()),
        ("fsname", Some(source)) => {
            let refused = CliError::new(Code::Option, format!("`{}` cannot be the source of a mount", source.escape_debug()));
            return Err(refused.help("leave backslashes and control characters out of fsname, and give it at least one character"));
        }
        ("config", Some(file)) => out.config = Some(file.into()),
        (ignored, None) if IGNORED.contains(&ignored) => {}
        (key, Some(value)) if schema::key(key).is_some() => assign(format!("{key}={value}"), out),
        _ => return Err(unknown(option, &name)),
    }
    Ok(())
}

/// What is to be read where bytes are lost.
fn damaged(what: &str) -> Result<String, CliError> {
    if Damaged::NAMES.contains(&what) {
        return Ok(format!("mount.damaged={what}"));
    }
    let error = CliError::new(Code::Option, format!("the mount option `damaged={what}` is not known"));
    let or = || format!("write damaged={}", Damaged::NAMES.join(" or damaged="));
    Err(error.help(nearest(what, Damaged::NAMES.iter().copied()).map_or_else(or, |word| format!("did you mean `damaged={word}`?"))))
}

/// The number of an option, with so many digits to count with, and at most so large.
fn number(option: &str, text: &str, radix: u32, most: u32) -> Result<u32, CliError> {
    u32::from_str_radix(text, radix).ok().filter(|number| *number <= most).ok_or_else(|| {
        let what = if radix == 8 { "permission bits, as 022".to_string() } else { format!("a number from 0 to {most}") };
        CliError::new(Code::Option, format!("the mount option `{option}` says no number")).help(format!("write {what}"))
    })
}

fn unknown(option: &str, name: &str) -> CliError {
    let words = KNOWN.iter().chain(IGNORED).copied().chain(REFUSED.iter().map(|(word, _)| *word));
    let error = CliError::new(Code::Option, format!("unknown mount option `{option}`"));
    match nearest(name, words.chain(schema::KEYS.iter().map(|key| key.path))) {
        // The word itself is known, but not in this form.
        Some(word) if word.trim_end_matches('=') == name && word.ends_with('=') => error.help(format!("write {word}VALUE")),
        Some(word) if word == name && schema::key(word).is_some() => error.help(format!("write {word}=VALUE")),
        Some(word) if word == name => error.help(format!("write `{word}` without a value")),
        Some(word) => error.help(format!("did you mean `{word}`?")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_of_fstab_is_understood() {
        let text =
            "rw,nofail,x-systemd.requires-mounts-for=/var/lib/infmap,noatime,allow-other,config=/etc/a.yaml,_netdev,memory.budget=1GiB";
        let options = parse([text]).expect("understood");
        assert_eq!(options.config.as_deref(), Some("/etc/a.yaml"));
        assert_eq!(options.assignments, ["mount.atime=noatime", "mount.allow_other=true", "memory.budget=1GiB"]);
        assert_eq!(options.flags, Flags { said: Some(false), ..Flags::default() });
    }

    #[test]
    fn lost_bytes_read_as_zeros_only_where_nothing_is_written() {
        for (list, read_only) in [("damaged=zero", true), ("ro,damaged=zero", true), ("rw,damaged=zero,ro", true)] {
            let options = parse([list]).expect("understood");
            assert_eq!(options.assignments, ["mount.damaged=zero"]);
            assert_eq!(options.flags.only_to_read().expect("possible").resolve("v").read_only, read_only, "{list}");
        }
        let refused = parse(["damaged=zero,rw"]).expect("understood").flags.only_to_read().expect_err("refused");
        assert_eq!((refused.code, refused.help_text()), (Code::Option, "write ro,damaged=zero"));
    }

    #[test]
    fn the_later_option_wins_and_safe_is_the_default() {
        let flags = parse(["ro,suid", "rw,sync,dev,nodev"]).expect("understood").flags.resolve("/v,1");
        assert_eq!((flags.read_only, flags.suid, flags.dev, flags.sync), (false, true, false, true));
        assert_eq!(flags.source_name, "/v?1");
        assert!(!MountFlags::default().suid && !MountFlags::default().dev);
    }

    #[test]
    fn what_is_shown_of_owners_and_bits_can_be_said() {
        let shown = parse(["uid=7,gid=0,umask=027"]).expect("understood").flags.shown;
        assert_eq!((shown.uid, shown.gid, shown.umask), (Some(7), Some(0), 0o027));
        assert_eq!(parse(["rw"]).expect("understood").flags.shown, Shown::default());
    }

    #[test]
    fn an_unknown_option_names_the_nearest() {
        for (option, help) in [
            ("allow_othr", "did you mean `allow_other`?"),
            ("no-atim", "did you mean `noatime`?"),
            ("memory.bugdet=1GiB", "did you mean `memory.budget`?"),
            ("fsname", "write fsname=VALUE"),
            ("damaged=zeros", "did you mean `damaged=zero`?"),
            ("damaged=x", "write damaged=error or damaged=zero"),
            ("damaged", "write damaged=VALUE"),
            ("memory.budget", "write memory.budget=VALUE"),
            ("ro=1", "write `ro` without a value"),
            ("auto_unmount", "a mount is never taken away behind your back; the next mount clears a dead one"),
            ("dirsync", "use sync, or call fsync on the directory"),
            ("fsname=a\\b", "leave backslashes and control characters out of fsname, and give it at least one character"),
            ("qqqqqqqqqqq", Code::Option.help()),
        ] {
            let error = parse([option]).expect_err(option);
            assert_eq!((error.code, error.help_text()), (Code::Option, help), "{option}");
        }
    }

    proptest! {
        #[test]
        fn no_list_makes_the_parser_panic(list in "[a-z_=,.\\-]{0,40}") {
            let _ = parse([list.as_str()]);
        }
    }
}
