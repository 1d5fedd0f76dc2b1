//! Taking a mount away: by the system call as root, by `fusermount3` as anybody else.
//!
//! Owns: the two ways. Must be true: MNT-2 only a mount of ours is taken away; a busy one is named with those who hold it.
//! Fails: with a [`MountError`]; nothing has changed then.

use super::mountinfo::{self, Mounted};
use super::{MountError, holders};
use rustix::mount::{UnmountFlags, unmount as umount2};
use std::path::Path;
use std::process::Command;

/// Unmounts our mount at this absolute path; `lazy` detaches it although it is busy.
pub fn unmount(path: &Path, lazy: bool) -> Result<(), MountError> {
    match mountinfo::at(path)? {
        None => Err(MountError::NotMounted(path.into())),
        Some(mounted) if !mounted.is_ours() => Err(MountError::Foreign { path: path.into(), fs_type: mounted.fs_type }),
        Some(mounted) => detach(&mounted, lazy),
    }
}

/// Unmounts what is seen at its path. For callers that know that it is ours.
pub(super) fn detach(mounted: &Mounted, lazy: bool) -> Result<(), MountError> {
    let path = mounted.mountpoint.as_path();
    let before = mounts_at(path)?;
    let busy = if rustix::process::geteuid().is_root() { by_call(path, lazy)? } else { by_helper(path, lazy)? };
    match busy {
        None => Ok(()),
        // The helper's message differs between versions; whether the mount is gone does not.
        Some(_) if mounts_at(path)? < before => Ok(()),
        Some(message) => {
            let holders = holders::of(mounted);
            let inside = mountinfo::all()?.into_iter().filter(|other| other.parent == mounted.id).map(|other| other.mountpoint).collect();
            if holders.is_empty() && !message.contains("busy") {
                let source = std::io::Error::other(message);
                return Err(MountError::Io { what: format!("cannot unmount {}", path.display()), source });
            }
            Err(MountError::Busy { path: path.into(), holders, inside })
        }
    }
}

fn mounts_at(path: &Path) -> Result<usize, MountError> {
    Ok(mountinfo::all()?.iter().filter(|mounted| mounted.mountpoint == path).count())
}

/// `Some(message)`: it did not work, perhaps because it is busy.
fn by_call(path: &Path, lazy: bool) -> Result<Option<String>, MountError> {
    let flags = if lazy { UnmountFlags::NOFOLLOW | UnmountFlags::DETACH } else { UnmountFlags::NOFOLLOW };
    match umount2(path, flags) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::BUSY) => Ok(Some("busy".into())),
        Err(errno) => Err(MountError::io(format!("cannot unmount {}", path.display()))(errno.into())),
    }
}

fn by_helper(path: &Path, lazy: bool) -> Result<Option<String>, MountError> {
    let mut command = Command::new("fusermount3");
    command.arg("-u").args(lazy.then_some("-z")).arg("--").arg(path).env("LC_ALL", "C");
    let output = command.output().map_err(MountError::io("cannot run fusermount3 (package fuse3)"))?;
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).trim().to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_mounted_or_not_ours_is_left_alone() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().canonicalize().expect("canonical");
        assert!(matches!(unmount(&path, false), Err(MountError::NotMounted(_))));
        assert!(matches!(unmount(Path::new("/proc"), true), Err(MountError::Foreign { .. })));
        assert!(mountinfo::at(Path::new("/proc")).expect("read").is_some());
    }
}
