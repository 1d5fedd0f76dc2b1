//! What is mounted where: `/proc/self/mountinfo`.
//!
//! Owns: the parser. Must be true: paths are bytes, and `\040`-like escapes are undone; of several mounts at one place the last
//! is the one that is seen. Fails: lines that are not of the form of proc_pid_mountinfo(5) are skipped.

use super::{FS_TYPE, MountError};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The type of a place at which an automounter mounts when somebody comes (systemd.automount(5), autofs(5)).
const AUTOFS: &str = "autofs";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// The kernel's number of this mount, and of the one that it lies in.
    pub id: u64,
    pub parent: u64,
    /// Device number, major and minor: one for each mounted filesystem, not used again while it lives.
    pub device: (u32, u32),
    pub mountpoint: PathBuf,
    /// Its flags, and those of the filesystem, separated by commas.
    pub options: String,
    pub fs_type: String,
    pub source: OsString,
    /// The filesystem itself, not only what is seen of it here, can be changed by nobody.
    pub read_only: bool,
}

impl Mounted {
    /// Whether this is a mount of Infinite Map.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.fs_type == FS_TYPE
    }
}

/// All mounts that this process sees.
pub fn all() -> Result<Vec<Mounted>, MountError> {
    read().map_err(MountError::io("cannot read /proc/self/mountinfo"))
}

/// The mount that is seen at exactly this absolute path without symbolic links, if one is.
pub fn at(path: &Path) -> Result<Option<Mounted>, MountError> {
    Ok(seen_at(path, all()?))
}

/// The same for who knows no `MountError`.
pub fn find(path: &Path) -> std::io::Result<Option<Mounted>> {
    Ok(seen_at(path, read()?))
}

fn read() -> std::io::Result<Vec<Mounted>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

fn seen_at(path: &Path, all: Vec<Mounted>) -> Option<Mounted> {
    // Where an automounter waits for whoever comes, nothing is mounted yet.
    all.into_iter().rfind(|mounted| mounted.mountpoint == path && mounted.fs_type != AUTOFS)
}

/// Reads the text of a mountinfo file.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<Mounted> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/root rw`: any number of fields before the ` - `.
fn line(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (id, parent, device) = (text()?.parse().ok()?, text()?.parse().ok()?, text()?.split_once(':')?);
    let mountpoint = fields.nth(1)?;
    let options = fields.next()?;
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let (fs_type, source, whole) = (rest.next()?, rest.next()?, rest.next().unwrap_or(b""));
    Some(Mounted {
        id,
        parent,
        device: (device.0.parse().ok()?, device.1.parse().ok()?),
        mountpoint: PathBuf::from(OsString::from_vec(unescape(mountpoint))),
        fs_type: String::from_utf8_lossy(&unescape(fs_type)).into_owned(),
        source: OsString::from_vec(unescape(source)),
        read_only: whole.split(|byte| *byte == b',').any(|option| option == b"ro"),
        // Of the filesystem, `ro` and `sync` hold for all its mounts.
        options: [options, whole].map(String::from_utf8_lossy).join(","),
    })
}

/// Undoes the kernel's `mangle()`: a backslash and three octal digits are one byte.
pub(super) fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\'
            && let Some((digits, tail)) = tail.split_first_chunk::<3>()
            && let Some(byte) = octal(*digits)
        {
            out.push(byte);
            rest = tail;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

fn octal(digits: [u8; 3]) -> Option<u8> {
    digits.iter().try_fold(0u8, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(digit - b'0'),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_with_spaces_tabs_newlines_and_backslashes_are_read() {
        let text = b"36 35 0:52 / /mnt/a\\040b\\011c\\012d\\134e rw,nosuid shared:1 master:2 - fuse.infmap /vol\\040one rw,user_id=0\n";
        let mounted = parse(text);
        assert_eq!(mounted.len(), 1);
        assert_eq!(mounted[0].mountpoint.as_os_str().as_bytes(), b"/mnt/a b\tc\nd\\e");
        assert_eq!((mounted[0].source.as_bytes(), mounted[0].is_ours()), (&b"/vol one"[..], true));
        assert_eq!((mounted[0].id, mounted[0].parent, mounted[0].device, mounted[0].read_only), (36, 35, (0, 52), false));
        assert_eq!(mounted[0].options, "rw,nosuid,rw,user_id=0");
    }

    #[test]
    fn a_line_without_optional_fields_is_read() {
        let mounted = parse(b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\ngarbage\n\n1 2 a:b / / rw - x y z\n1 2 0:1 / / rw shared:1\n");
        assert_eq!((mounted.len(), mounted[0].fs_type.as_str()), (1, "ext4"));
        assert!(parse(b"22 1 8:1 / /mnt nosuid,ro - fuse.infmap v ro,user_id=0\n")[0].read_only);
    }

    #[test]
    fn where_an_automounter_waits_nothing_is_mounted_yet() {
        let line = |id: u32, kind: &str| format!("{id} 1 0:{id} / /mnt/a rw - {kind} x rw\n");
        let at = |text: String| seen_at(Path::new("/mnt/a"), parse(text.as_bytes())).map(|mounted| mounted.id);
        assert_eq!(at(line(5, "autofs")), None);
        assert_eq!(at(line(5, "autofs") + &line(6, "fuse.infmap")), Some(6));
        assert_eq!(at(line(4, "ext4") + &line(5, "autofs")), Some(4));
    }

    #[test]
    fn the_root_is_mounted_here() {
        assert!(at(Path::new("/")).expect("mountinfo can be read").is_some());
    }

    proptest! {
        #[test]
        fn what_the_kernel_escapes_comes_back(name in proptest::collection::vec(1u8.., 1..40)) {
            let mut escaped = Vec::new();
            for byte in &name {
                match byte {
                    b' ' | b'\t' | b'\n' | b'\\' | b'#' => escaped.extend(format!("\\{byte:03o}").bytes()),
                    byte => escaped.push(*byte),
                }
            }
            prop_assert_eq!(unescape(&escaped), name);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: Vec<u8>) {
            let _ = parse(&text);
        }
    }
}
