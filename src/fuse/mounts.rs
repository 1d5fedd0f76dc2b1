//! Taking a mount away, and what else is done to one from outside of its session.
//!
//! Owns: unmounting, what the kernel holds for a mount, what may be its source. Must be true: only the mount that was meant is
//! unmounted: its device is looked at before. Fails: with the kernel's error; EBUSY stays EBUSY.

use super::helper::HELPERS;
use rustix::mount::{UnmountFlags, unmount};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// One of the kernel's settings for writing back to a device, and reading ahead on it.
fn device_setting(device: (u32, u32), name: &str) -> PathBuf {
    PathBuf::from(format!("/sys/class/bdi/{}:{}/{name}", device.0, device.1))
}

/// Sets how far the kernel reads ahead on this device, in bytes. Takes root.
pub(super) fn set_read_ahead(device: (u32, u32), bytes: u32) -> io::Result<()> {
    std::fs::write(device_setting(device, "read_ahead_kb"), format!("{}\n", bytes / 1024))
}

/// Lets the kernel hold at least so many written bytes of this device before writers wait. Takes root, and Linux 6.2.
pub(super) fn let_written_wait(device: (u32, u32), bytes: u64) -> io::Result<()> {
    let setting = device_setting(device, "max_bytes");
    let now = std::fs::read_to_string(&setting)?.trim().parse().unwrap_or(u64::MAX);
    if now < bytes { std::fs::write(&setting, format!("{bytes}\n")) } else { Ok(()) }
}

/// Lets the kernel have so many requests under way that no caller waits for. Takes the owner of the mount.
pub(super) fn set_background(device: (u32, u32), requests: u16) -> io::Result<()> {
    std::fs::write(format!("/sys/fs/fuse/connections/{}/max_background", device.1), format!("{requests}\n"))
}

/// Requests that callers, or the kernel itself, wait for, those that are queued too. Takes the owner of the mount.
pub(super) fn waiting(device: (u32, u32)) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/sys/fs/fuse/connections/{}/waiting", device.1))?;
    text.trim().parse().map_err(io::Error::other)
}

/// Ends the connection of a mount whose threads are gone: its callers get ENOTCONN instead of waiting for ever. The mount stays.
pub(super) fn abort_connection(device: (u32, u32)) -> io::Result<()> {
    std::fs::write(format!("/sys/fs/fuse/connections/{}/abort", device.1), "1\n")
}

/// Bytes of a mount's source at most, as mount(2) takes them.
const SOURCE_MAX_BYTES: usize = 4095;

/// Whether a character in a mount's source could become an option, or a second line, of the mount table.
fn is_foreign(c: char) -> bool {
    matches!(c, ',' | '\\' | '\0'..='\x1f' | '\x7f')
}

/// Whether a name may stand as a mount's source.
#[must_use]
pub fn is_plain(source: &str) -> bool {
    !source.is_empty() && !source.contains(is_foreign) && source.len() <= SOURCE_MAX_BYTES
}

/// A name that may stand as a mount's source, as close to this one as that can be: `?` stands for what may not, as in a listing.
#[must_use]
pub fn plain(source: &str) -> String {
    let mut left = SOURCE_MAX_BYTES;
    let fits = |c: &char| left.checked_sub(c.len_utf8()).map(|rest| left = rest).is_some();
    let kept: String = source.chars().map(|c| if is_foreign(c) { '?' } else { c }).take_while(fits).collect();
    if kept.is_empty() { "infmap".into() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_cannot_become_an_option() {
        assert!(is_plain("infmap") && is_plain("/data/my map") && is_plain("Fotos-ä"));
        for hostile in ["a,suid", "", "a\nb", "a\\,b", "tab\t", &"ä".repeat(4000)] {
            assert!(!is_plain(hostile) && is_plain(&plain(hostile)), "{hostile:.20}");
        }
        assert_eq!((plain("/v,1\t"), plain("/my map")), ("/v?1?".into(), "/my map".into()));
    }
}
