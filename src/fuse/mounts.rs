//! The kernel's list of mounts, and taking one away.
//!
//! Owns: the reading of `/proc/self/mountinfo`, unmounting, a mount's read-ahead. Must be true: only the mount that was meant is
//! unmounted: its device is looked at before. Fails: with the kernel's error; EBUSY stays EBUSY.

use super::helper::HELPERS;
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Device number, major and minor: one for each mounted filesystem, not used again while it lives.
    pub device: (u32, u32),
    pub mountpoint: PathBuf,
    /// For example `fuse.infmap`.
    pub kind: OsString,
    pub source: OsString,
}

/// The topmost mount at exactly this absolute path without symbolic links.
///
/// # Errors
/// When `/proc/self/mountinfo` cannot be read.
pub fn find_mount(mountpoint: &Path) -> io::Result<Option<MountEntry>> {
    let list = std::fs::read("/proc/self/mountinfo")?;
    // A later line lies over an earlier one.
    Ok(list.split(|byte| *byte == b'\n').filter_map(parse_line).rfind(|entry| entry.mountpoint == mountpoint))
}

/// One line: id, parent, major:minor, root, mountpoint, options, optional fields, "-", kind, source, options. See proc(5).
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let mountpoint = fields.nth(1)?;
    let mut behind = fields.skip_while(|field| *field != b"-").skip(1);
    Some(MountEntry {
        device: (major.parse().ok()?, minor.parse().ok()?),
        mountpoint: PathBuf::from(unescape(mountpoint)),
        kind: unescape(behind.next()?),
        source: unescape(behind.next()?),
    })
}

/// Space, tab, newline and backslash come as a backslash and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if *first == b'\\' => {
                Some(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'))
            }
            _ => None,
        };
        out.push(octal.unwrap_or(*first));
        rest = tail.get(if octal.is_some() { 3 } else { 0 }..).unwrap_or_default();
    }
    OsString::from_vec(out)
}

/// Detaches what is mounted there: at once, or (lazily) as soon as nobody uses it.
pub(super) fn take_away(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    let flags = UnmountFlags::NOFOLLOW | if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match unmount(mountpoint, flags) {
        Ok(()) => Ok(()),
        // Only root may; for others the set-user-id helper of FUSE does it.
        Err(rustix::io::Errno::PERM) => take_away_by_helper(mountpoint, lazy),
        Err(error) => Err(error.into()),
    }
}

fn take_away_by_helper(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for helper in HELPERS {
        let how: &[&str] = if lazy { &["-u", "-z", "--"] } else { &["-u", "--"] };
        match Command::new(helper).args(how).arg(mountpoint).stdin(Stdio::null()).output() {
            Ok(done) if done.status.success() => return Ok(()),
            Ok(done) => {
                let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
                let busy = said.to_lowercase().contains("busy");
                return Err(if busy { rustix::io::Errno::BUSY.into() } else { io::Error::other(said) });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sets how far the kernel reads ahead on this device, in bytes. Takes root.
pub(super) fn set_read_ahead(device: (u32, u32), bytes: u32) -> io::Result<()> {
    std::fs::write(format!("/sys/class/bdi/{}:{}/read_ahead_kb", device.0, device.1), format!("{}\n", bytes / 1024))
}

/// Ends the connection of a mount whose threads are gone: its callers get ENOTCONN instead of waiting for ever. The mount stays.
pub(super) fn abort_connection(device: (u32, u32)) -> io::Result<()> {
    std::fs::write(format!("/sys/fs/fuse/connections/{}/abort", device.1), "1\n")
}

/// Whether a name may stand as a mount's source: anything else could become an option, or a second line, of the mount table.
pub(super) fn is_plain(source: &str) -> bool {
    !source.is_empty()
        && !source.bytes().any(|byte| matches!(byte, b',' | b'\\' | 0..=31 | 127))
        && Path::new(source).as_os_str().as_bytes().len() < 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines_are_read_whatever_their_optional_fields() {
        let entry = parse_line(br"36 35 98:7 / /mnt/a\040b\134 rw,nosuid shared:1 master:2 - fuse.infmap my\011map rw,user_id=0").unwrap();
        assert_eq!((entry.device, entry.mountpoint), ((98, 7), PathBuf::from("/mnt/a b\\")));
        assert_eq!((entry.kind, entry.source), ("fuse.infmap".into(), "my\tmap".into()));
        assert!(parse_line(b"36 35 0:7 / /mnt rw - fuse x rw").is_some());
        for hostile in [&b""[..], b"1 2 3", b"1 2 a:b / / rw - x y z", b"1 2 0:1 / /", b"1 2 0:1 / / rw shared:1"] {
            assert_eq!(parse_line(hostile), None);
        }
        assert_eq!(unescape(br"\04"), OsString::from(r"\04"));
    }

    #[test]
    fn a_source_cannot_become_an_option() {
        assert!(is_plain("infmap") && is_plain("/data/my map") && is_plain("Fotos-ä"));
        assert!(!is_plain("a,suid") && !is_plain("") && !is_plain("a\nb") && !is_plain("a\\,b"));
    }
}
