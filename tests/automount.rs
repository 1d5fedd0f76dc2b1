//! A mountpoint at which an automounter waits is none that is taken: it is where one mounts (systemd.automount(5), `x-systemd.automount`).
//!
//! The automounter is this test: it lets pass the processes of its own group, and answers nobody else, who would wait for ever. Needs root.

mod common;

use common::{Volume, infmap};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// An autofs mount, which goes at the end. When its pipe is closed it lets everybody pass.
struct Automounter {
    dir: PathBuf,
    pipe: Option<(std::os::fd::OwnedFd, std::os::fd::OwnedFd)>,
}

impl Automounter {
    /// `None`, with the reason on stderr, where there can be none.
    fn at(dir: &Path) -> Option<Self> {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let group = rustix::process::getpgrp().as_raw_nonzero();
        let data = format!("fd={},pgrp={group},minproto=5,maxproto=5,direct", writer.as_raw_fd());
        let data = CString::new(data).expect("no zero");
        match mount("infmap-test", dir, "autofs", MountFlags::empty(), data.as_c_str()) {
            Ok(()) => Some(Self { dir: dir.into(), pipe: Some((reader, writer)) }),
            Err(error) => {
                eprintln!("skipped: no autofs here: {error}");
                None
            }
        }
    }
}

impl Drop for Automounter {
    fn drop(&mut self) {
        self.pipe = None;
        while unmount(&self.dir, UnmountFlags::DETACH).is_ok() {}
    }
}

/// Ends a process that waits for ever; the test has failed then.
fn ended(mut child: Child) -> Option<std::process::ExitStatus> {
    let pid = rustix::process::Pid::from_child(&child);
    let descriptor = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("a descriptor");
    let patience = rustix::event::Timespec::try_from(Duration::from_secs(60)).expect("a time");
    let mut fds = [rustix::event::PollFd::new(&descriptor, rustix::event::PollFlags::IN)];
    if rustix::event::poll(&mut fds, Some(&patience)) == Ok(0) {
        let _ = child.kill();
        let _ = child.wait();
        return None;
    }
    child.wait().ok()
}

/// Seen to fail as "something is mounted already", and, with a daemon that left its group before it mounted, by waiting for ever.
#[test]
fn a_volume_is_mounted_where_an_automounter_waits() {
    let Some(volume) = Volume::if_mountable() else { return };
    let place = volume.mountpoint();
    let Some(automounter) = Automounter::at(&place) else { return };
    let daemon = infmap().args(["mount", "-d", "--wait", "30s"]).arg(volume.path()).arg(&place).spawn().expect("it starts");
    let status = ended(daemon).expect("the mount waits for itself");
    assert!(status.success(), "{status}");
    fs::write(place.join("file"), "here").expect("written");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read");
    let here: Vec<&str> = mounts.lines().filter(|line| line.contains(&format!(" {} ", place.display()))).collect();
    assert!(here.len() == 2 && here[0].contains(" - autofs ") && here[1].contains(" - fuse.infmap "), "{here:?}");
    let again = Command::new(common::INFMAP).arg("umount").arg(&place).spawn().expect("it starts");
    assert!(ended(again).is_some_and(|status| status.success()));
    let output = infmap().arg("umount").arg(&place).output().expect("it starts");
    assert!(output.status.code() == Some(15) && String::from_utf8_lossy(&output.stderr).starts_with("error[IM1033]"), "{output:?}");
    drop(automounter);
    volume.check();
}
