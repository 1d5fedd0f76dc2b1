//! Mounting as root: one system call. fuser can do it too, but keeps the device to itself, at which the door looks (`lookout`).
//!
//! Must be true: what is not asked for is not allowed: set-user-id bits, devices, other users. Fails: with the system's error.

use super::settings::MountSettings;
use rustix::mount::{MountFlags, mount};
use rustix::process::{getgid, getuid};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const DEVICE: &str = "/dev/fuse";
const FILE_SYSTEM_TYPE: &str = "fuse.infmap";

fn flags(settings: &MountSettings) -> MountFlags {
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::RDONLY, settings.read_only);
    flags.set(MountFlags::NOSUID, !settings.allow_suid);
    flags.set(MountFlags::NODEV, !settings.allow_devices);
    flags.set(MountFlags::NOEXEC, !settings.allow_exec);
    flags.set(MountFlags::SYNCHRONOUS, settings.sync);
    flags
}

/// What the kernel's FUSE is told: the device, the type of the root, whose mount it is, and who checks permissions.
fn data(settings: &MountSettings, device: RawFd, root_mode: u32) -> String {
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    let allow_other = if settings.allow_other { ",allow_other" } else { "" };
    format!("fd={device},rootmode={root_mode:o},user_id={user},group_id={group},default_permissions{allow_other}")
}

fn open_device() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(DEVICE).map_err(|error| match error.kind() {
        ErrorKind::NotFound => io::Error::new(ErrorKind::NotFound, "there is no /dev/fuse; try `modprobe fuse`"),
        _ => error,
    })
}

/// Mounts, and gives the device on which the kernel's requests come.
pub(super) fn mount_directly(mountpoint: &Path, settings: &MountSettings) -> io::Result<OwnedFd> {
    let root_mode = mountpoint.metadata()?.mode();
    let device = open_device()?;
    let data = CString::new(data(settings, device.as_raw_fd(), root_mode))?;
    mount(&settings.source, mountpoint, FILE_SYSTEM_TYPE, flags(settings), data.as_c_str())?;
    Ok(device.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_mount_is_private_and_trusts_no_bits_of_its_files() {
        let plain = MountSettings::default();
        assert_eq!(flags(&plain), MountFlags::NOSUID | MountFlags::NODEV);
        let (user, group) = (getuid().as_raw(), getgid().as_raw());
        assert_eq!(data(&plain, 7, 0o40755), format!("fd=7,rootmode=40755,user_id={user},group_id={group},default_permissions"));
    }

    #[test]
    fn what_is_asked_for_is_allowed() {
        let all = MountSettings {
            read_only: true,
            allow_other: true,
            sync: true,
            allow_suid: true,
            allow_devices: true,
            allow_exec: false,
            ..MountSettings::default()
        };
        assert_eq!(flags(&all), MountFlags::RDONLY | MountFlags::SYNCHRONOUS | MountFlags::NOEXEC);
        assert!(data(&all, 7, 0o40755).ends_with(",default_permissions,allow_other"));
    }
}
