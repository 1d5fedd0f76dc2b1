//! Real mounts of a kernel that nobody answers: a daemon that died, a mount that is busy, two mounts at one place.
//!
//! They need root and /dev/fuse; where those are missing each test says so and ends.

use infmap::mount::{MountError, mountinfo, point, unmount};
use rustix::mount::{MountFlags, UnmountFlags};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A mount that was made by hand; closing `device` kills it, as the death of a daemon does.
struct HandMade {
    dir: PathBuf,
    device: Option<File>,
    _temp: tempfile::TempDir,
}

impl HandMade {
    /// `None`, with the reason on stderr, where such a mount cannot be made.
    fn new(fs_type: &str) -> Option<Self> {
        let temp = tempfile::Builder::new().prefix("a mount ").tempdir().expect("a directory");
        let dir = temp.path().canonicalize().expect("canonical");
        let attempt = || -> std::io::Result<File> {
            let device = File::options().read(true).write(true).open("/dev/fuse")?;
            let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
            let data = std::ffi::CString::new(data)?;
            rustix::mount::mount("hand made", &dir, fs_type, MountFlags::NOSUID | MountFlags::NODEV, data.as_c_str())?;
            Ok(device)
        };
        match attempt() {
            Ok(device) => Some(Self { dir, device: Some(device), _temp: temp }),
            Err(error) => {
                eprintln!("skipped: cannot mount here: {error}");
                None
            }
        }
    }

    fn die(&mut self) {
        self.device = None;
    }

    fn is_mounted(&self) -> bool {
        mountinfo::at(&self.dir).expect("mountinfo").is_some()
    }
}

impl Drop for HandMade {
    fn drop(&mut self) {
        self.device = None;
        while rustix::mount::unmount(&self.dir, UnmountFlags::DETACH).is_ok() {}
    }
}

const VOLUME: &str = "/nonexistent/volume";

#[test]
fn a_dead_mount_of_ours_is_cleared_by_the_next_one() {
    let Some(mut mount) = HandMade::new("fuse.infmap") else { return };
    mount.die();
    assert!(point::is_dead(&mount.dir) && mount.is_mounted());
    let point = point::prepare(&mount.dir, Path::new(VOLUME)).expect("cleared");
    assert!(point.cleared && !mount.is_mounted());
    assert!(fs::metadata(&mount.dir).is_ok());
}

#[test]
fn a_dead_mount_of_somebody_else_is_left_alone() {
    let Some(mut mount) = HandMade::new("fuse.other") else { return };
    mount.die();
    let error = point::prepare(&mount.dir, Path::new(VOLUME)).expect_err("not ours");
    assert!(matches!(error, MountError::Foreign { .. }), "{error}");
    assert!(matches!(unmount::unmount(&mount.dir, true), Err(MountError::Foreign { .. })));
    assert!(mount.is_mounted());
}

#[test]
fn a_mount_is_taken_away_once_and_then_is_not_there() {
    let Some(mut mount) = HandMade::new("fuse.infmap") else { return };
    mount.die();
    unmount::unmount(&mount.dir, false).expect("a dead mount that nobody holds goes");
    assert!(!mount.is_mounted());
    assert!(matches!(unmount::unmount(&mount.dir, false), Err(MountError::NotMounted(_))));
}

#[test]
fn a_busy_mount_names_who_holds_it_and_stays_until_it_is_detached() {
    let Some(mount) = HandMade::new("fuse.infmap") else { return };
    // O_PATH asks the filesystem nothing, so nobody has to answer.
    let held = rustix::fs::open(&mount.dir, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).expect("held");
    let error = unmount::unmount(&mount.dir, false).expect_err("busy");
    let MountError::Busy { holders, .. } = &error else { panic!("busy: {error}") };
    assert!(holders.iter().any(|holder| holder.pid == std::process::id()), "{error}");
    assert!(mount.is_mounted());
    unmount::unmount(&mount.dir, true).expect("detached");
    assert!(!mount.is_mounted());
    drop(held);
}
