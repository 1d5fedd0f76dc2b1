//! Changing what a mount allows while it stays.
//!
//! Owns: `Allowed`, the flags that can change. Must be true: RMT-1 what is not named stays as it is; RMT-2 a volume that was opened
//! read-only is never made to look writable. Fails: with a [`MountError`]; nothing has changed then.

use super::lock::LOOK_AGAIN;
use super::{MountError, lock, mountinfo, server};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_remount};
use std::path::Path;
use std::time::{Duration, Instant};

/// A file that was closed and removed just now is in use until the kernel has heard that we know of it: so long is that waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a mount allows: `None` stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Allowed {
    pub read_only: Option<bool>,
    pub suid: Option<bool>,
    pub dev: Option<bool>,
    pub exec: Option<bool>,
}

impl Allowed {
    /// The flags of mount(2) for a mount that has `options` now, as mountinfo lists them.
    fn flags(self, options: &str) -> MountFlags {
        let has = |word: &str| options.split(',').any(|option| option == word);
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::RDONLY, self.read_only.unwrap_or_else(|| has("ro")));
        flags.set(MountFlags::NOSUID, self.suid.map_or_else(|| has("nosuid"), |allowed| !allowed));
        flags.set(MountFlags::NODEV, self.dev.map_or_else(|| has("nodev"), |allowed| !allowed));
        flags.set(MountFlags::NOEXEC, self.exec.map_or_else(|| has("noexec"), |allowed| !allowed));
        flags.set(MountFlags::SYNCHRONOUS, has("sync"));
        flags
    }
}

/// Changes the flags of our mount at this absolute path. What was written before a mount becomes read-only reaches the volume first.
///
/// # Errors
/// `NotMounted`, `Foreign`, `OpenedReadOnly` for a volume that was opened so, or the kernel's error: only root may.
pub fn remount(path: &Path, allowed: Allowed) -> Result<(), MountError> {
    let Some(mounted) = mountinfo::at(path)? else { return Err(MountError::NotMounted(path.into())) };
    if !mounted.is_ours() {
        return Err(MountError::Foreign { path: path.into(), fs_type: mounted.fs_type });
    }
    let writes = server::of(&mounted)?.volume.is_some_and(|volume| lock::may_write(&volume));
    if allowed.read_only == Some(false) && !writes {
        return Err(MountError::OpenedReadOnly(path.into()));
    }
    let failed = MountError::io(format!("cannot remount {}", path.display()));
    let deadline = Instant::now() + PATIENCE;
    loop {
        match mount_remount(path, allowed.flags(&mounted.options), "") {
            Err(Errno::BUSY) if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
            done => return done.map_err(|errno| failed(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        let now = "rw,nosuid,nodev,relatime,sync";
        let kept = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::SYNCHRONOUS;
        assert_eq!(Allowed::default().flags(now), kept);
        assert_eq!(
            Allowed { read_only: Some(true), suid: Some(true), ..Allowed::default() }.flags(now),
            (kept - MountFlags::NOSUID) | MountFlags::RDONLY
        );
        assert_eq!(
            Allowed { read_only: Some(false), exec: Some(false), ..Allowed::default() }.flags("ro,nodev"),
            MountFlags::NODEV | MountFlags::NOEXEC
        );
    }
}
