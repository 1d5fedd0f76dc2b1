//! The names under which the program may be called: `mount.infmap`, `umount.infmap`, `fsck.infmap`, `mkfs.infmap`.
//!
//! Owns: the translation of their calling conventions (mount(8), fsck(8)) into verbs, and their exit codes. Must be true: under
//! any other name the arguments are not touched. Fails: with a usage error.

use super::error::{CliError, Code};
use std::ffi::OsString;
use std::path::Path;

/// Who calls, and so which exit codes are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A person or script: the codes of `error`.
    Verb,
    /// mount(8) or umount(8): 1 usage, 2 system, 32 it failed.
    MountHelper,
    /// fsck(8): 1 errors corrected, 4 errors left uncorrected, 8 operational error, 16 usage.
    Fsck,
}

impl Caller {
    /// The exit code for a failure.
    pub fn exit(self, error: &CliError) -> u8 {
        match (self, error.code) {
            (Self::Verb, _) => error.exit_code(),
            (Self::MountHelper, Code::Usage | Code::Config | Code::Option) => 1,
            (Self::MountHelper, Code::System | Code::Fuse) => 2,
            (Self::MountHelper, _) => 32,
            (Self::Fsck, Code::Repaired) => 1,
            (Self::Fsck, Code::Damaged | Code::CheckFound | Code::Repairable) => 4,
            (Self::Fsck, Code::Usage) => 16,
            (Self::Fsck, _) => 8,
        }
    }
}

/// A call, translated.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    pub arguments: Vec<OsString>,
    pub caller: Caller,
    /// mount(8) only asks whether it could be done (`-f`): there is nothing to do.
    pub dry: bool,
}

/// Translates a call by the name of the program.
pub fn resolve(arguments: Vec<OsString>) -> Result<Call, CliError> {
    let name = arguments.first().and_then(|name| Path::new(name).file_name()?.to_str()).unwrap_or("").to_string();
    let rest = || arguments.iter().skip(1).cloned();
    let verb = |verb: &str, rest: Vec<OsString>| [OsString::from("infmap"), verb.into()].into_iter().chain(rest).collect();
    match name.as_str() {
        "mount.infmap" | "mount.fuse.infmap" | "fuse.infmap" => mount_helper(rest().collect()),
        "umount.infmap" | "umount.fuse.infmap" => {
            // umount(8) hands over -n -v -r -t TYPE, and -l for lazy, -f for force: both detach.
            let rest = strip(rest().collect(), "nvr", "tN").into_iter();
            let rest = rest.map(|argument| if argument == "-l" || argument == "-f" { "--lazy".into() } else { argument }).collect();
            Ok(Call { arguments: verb("umount", rest), caller: Caller::MountHelper, dry: false })
        }
        "fsck.infmap" => {
            let rest: Vec<OsString> = rest().collect();
            // Read-only unless somebody asks for more with -y or -p; -n always wins, and -a, which is what a boot says, asks for nothing.
            let has = |wanted: &[char]| rest.iter().any(|flag| letters(flag).is_some_and(|letters| letters.contains(wanted)));
            let is_long = |flag: &OsString| flag == "--repair";
            let repairs = (has(&['y', 'p']) || rest.iter().any(is_long)) && !has(&['n']);
            let rest = strip(rest.into_iter().filter(|flag| !is_long(flag)).collect(), "aApnfyrvVT", "tC");
            Ok(Call { arguments: verb(if repairs { "repair" } else { "check" }, rest), caller: Caller::Fsck, dry: false })
        }
        "mkfs.infmap" => Ok(Call { arguments: verb("init", rest().collect()), caller: Caller::Verb, dry: false }),
        _ => Ok(Call { arguments, caller: Caller::Verb, dry: false }),
    }
}

/// `mount.infmap VOLUME DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`: the order of mount(8), always a daemon.
fn mount_helper(rest: Vec<OsString>) -> Result<Call, CliError> {
    let dry = rest.iter().any(|argument| letters(argument).is_some_and(|letters| letters.contains('f')));
    let rest = strip(rest, "sfnvrw", "Nt");
    if rest.iter().take(2).filter(|argument| !argument.to_string_lossy().starts_with('-')).count() != 2 {
        return Err(CliError::new(Code::Usage, "mount.infmap needs a volume and a directory").help("mount.infmap VOLUME DIR [-o OPTIONS]"));
    }
    if is_remount(&rest) {
        // The volume is behind the mount already.
        let head = [OsString::from("infmap"), "remount".into()];
        return Ok(Call { arguments: head.into_iter().chain(rest.into_iter().skip(1)).collect(), caller: Caller::MountHelper, dry });
    }
    let head = [OsString::from("infmap"), "mount".into(), "--daemon".into()];
    let rest = without_first_rw(rest);
    Ok(Call { arguments: head.into_iter().chain(rest).collect(), caller: Caller::MountHelper, dry })
}

/// mount(8) begins the list of options with `rw` where nobody said `ro`: that word says nothing.
fn without_first_rw(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let list = arguments.iter().position(|argument| argument == "-o").and_then(|at| arguments.get_mut(at + 1));
    if let Some(list) = list
        && let Some(words) =
            list.to_str().and_then(|words| words.strip_prefix("rw")).filter(|words| matches!(words.bytes().next(), None | Some(b',')))
    {
        *list = format!("defaults{words}").into();
    }
    arguments
}

/// Whether `-o` asks to change a mount that is there.
fn is_remount(arguments: &[OsString]) -> bool {
    let words = arguments.iter().skip_while(|argument| *argument != "-o").nth(1);
    words.and_then(|words| words.to_str()).is_some_and(|words| words.split(',').any(|word| word == "remount"))
}

/// The letters of `-abc`, if it is that and not `-o...` or a long option.
fn letters(argument: &OsString) -> Option<&str> {
    let letters = argument.to_str()?.strip_prefix('-')?;
    (!letters.is_empty() && !letters.starts_with(['-', 'o'])).then_some(letters)
}

/// Drops the flags that say nothing to us: `flags` alone, and those in `with_value` with the argument behind them.
fn strip(arguments: Vec<OsString>, flags: &str, with_value: &str) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match letters(&argument) {
            Some(letters) if letters.len() == 1 && with_value.contains(letters) => drop(arguments.next()),
            Some(letters) if letters.chars().all(|letter| flags.contains(letter)) => {}
            _ => kept.push(argument),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(text: &str) -> Call {
        resolve(text.split(' ').map(OsString::from).collect()).expect(text)
    }

    fn words(call: &Call) -> String {
        call.arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_helpers_of_mount_8_are_understood() {
        let mount = call("/sbin/mount.infmap /v /mnt -s -n -o rw,nofail -t fuse.infmap");
        assert_eq!((words(&mount).as_str(), mount.caller), ("infmap mount --daemon /v /mnt -o defaults,nofail", Caller::MountHelper));
        // mount(8) says `rw` by itself, and that is no wish to write.
        for (said, meant) in [("rw,damaged=zero", "defaults,damaged=zero"), ("rw", "defaults"), ("rwx", "rwx"), ("ro,rw", "ro,rw")] {
            assert_eq!(words(&call(&format!("mount.infmap /v /mnt -o {said}"))), format!("infmap mount --daemon /v /mnt -o {meant}"));
        }
        assert!(call("mount.infmap /v /mnt -sf -o rw").dry);
        assert_eq!(words(&call("mount.fuse.infmap /v /mnt -n -o rw,remount,ro")), "infmap remount /mnt -o rw,remount,ro");
        assert_eq!(words(&call("umount.infmap /mnt -n -l")), "infmap umount /mnt --lazy");
        assert_eq!(words(&call("fsck.infmap -a -C 0 /v")), "infmap check /v");
        assert_eq!(words(&call("fsck.infmap -n -y /v")), "infmap check /v");
        for repairs in ["-y -C 0", "-y", "-p", "-fy", "--repair"] {
            assert_eq!(words(&call(&format!("fsck.infmap {repairs} /v"))), "infmap repair /v");
        }
        assert_eq!(words(&call("mkfs.infmap /v")), "infmap init /v");
        assert!(resolve(vec!["mount.infmap".into(), "/v".into()]).is_err());
    }

    #[test]
    fn under_its_own_name_nothing_is_translated() {
        assert_eq!(words(&call("/usr/bin/infmap mount -f /v /mnt")), "/usr/bin/infmap mount -f /v /mnt");
    }

    #[test]
    fn each_caller_gets_the_exit_codes_it_knows() {
        let error = |code| CliError::new(code, "");
        assert_eq!(Caller::Verb.exit(&error(Code::VolumeLocked)), 11);
        assert_eq!(Caller::MountHelper.exit(&error(Code::VolumeLocked)), 32);
        assert_eq!(Caller::MountHelper.exit(&error(Code::Option)), 1);
        assert_eq!(Caller::Fsck.exit(&error(Code::CheckFound)), 4);
        assert_eq!(Caller::Fsck.exit(&error(Code::Repairable)), 4);
        assert_eq!(Caller::Fsck.exit(&error(Code::Repaired)), 1);
    }
}
