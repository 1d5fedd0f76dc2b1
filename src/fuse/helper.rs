//! Mounting for users other than root, by FUSE's set-user-id helper.
//!
//! Owns: the talk with `fusermount3`. Must be true: it is used for them instead of fuser's own way, because fuser 0.18 refuses in a
//! private mount every SETATTR that is not by the user who mounted: the kernel flushes the times of open files as root, and they were
//! lost (seen after `syncfs`). Here the kernel alone decides who enters. Fails: with what the helper said.

use super::settings::MountSettings;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// The names under which the helper is installed.
pub(super) const HELPERS: [&str; 2] = ["fusermount3", "fusermount"];

/// The settings as the helper's options.
fn options(settings: &MountSettings) -> String {
    let either = |asked: bool, yes: &'static str, no: &'static str| if asked { yes } else { no };
    let mut options = vec![
        "subtype=infmap",
        "default_permissions",
        either(settings.read_only, "ro", "rw"),
        either(settings.allow_suid, "suid", "nosuid"),
        either(settings.allow_devices, "dev", "nodev"),
        either(settings.allow_exec, "exec", "noexec"),
    ];
    if settings.allow_other {
        options.push("allow_other");
    }
    if settings.sync {
        options.push("sync");
    }
    format!("fsname={},{}", settings.source, options.join(","))
}

/// Mounts, and gives the device on which the kernel's requests come.
pub(super) fn mount_by_helper(mountpoint: &Path, settings: &MountSettings) -> io::Result<OwnedFd> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for helper in HELPERS {
        let (ours, theirs) = UnixStream::pair()?;
        // The helper's end is its standard input: so it is inherited without a moment in which other children would inherit it, too.
        let mut command = Command::new(helper);
        command.arg("-o").arg(options(settings)).arg("--").arg(mountpoint).env("_FUSE_COMMFD", "0");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                last = error;
                continue;
            }
        };
        // It keeps the helper's end open as long as it lives.
        drop(command);
        let device = receive(&ours);
        let said = child.wait_with_output()?;
        return match device {
            Ok(Some(device)) if said.status.success() => Ok(device),
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::other(String::from_utf8_lossy(&said.stderr).trim().to_owned())),
        };
    }
    Err(last)
}

/// One message with one descriptor; none when the helper has hung up.
fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    rustix::io::retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC))?;
    let found = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_is_told_what_the_settings_say() {
        let plain = MountSettings::default();
        assert_eq!(options(&plain), "fsname=infmap,subtype=infmap,default_permissions,rw,nosuid,nodev,exec");
        let other = MountSettings { read_only: true, allow_other: true, sync: true, allow_exec: false, ..plain };
        assert_eq!(options(&other), "fsname=infmap,subtype=infmap,default_permissions,ro,nosuid,nodev,noexec,allow_other,sync");
    }
}
