//! A small disk of its own for a volume, which others can fill.
//!
//! Owns: `Disk`. Must be true: whatever is mounted and attached here is taken away at the end. Fails: without root by saying so.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const HOG: &str = "others";

/// A mounted filesystem of a few hundred MiB.
pub struct Disk {
    temp: tempfile::TempDir,
    is_ext4: bool,
}

impl Disk {
    /// `None`, with the reason on stderr, where nothing can be mounted.
    pub fn new(bytes: u64) -> Option<Self> {
        let temp = tempfile::Builder::new().prefix("infmap-full-").tempdir().expect("a directory");
        for name in ["disk", "mnt"] {
            fs::create_dir(temp.path().join(name)).expect("a directory");
        }
        let mut disk = Self { temp, is_ext4: true };
        if disk.mount_ext4(bytes) {
            return Some(disk);
        }
        disk.is_ext4 = false;
        let options = std::ffi::CString::new(format!("size={bytes}")).expect("no zero in it");
        match mount("tmpfs", disk.path(), "tmpfs", MountFlags::empty(), options.as_c_str()) {
            Ok(()) => Some(disk),
            Err(error) => {
                eprintln!("skipped: neither a loop device nor a tmpfs can be mounted here: {error}");
                None
            }
        }
    }

    fn mount_ext4(&self, bytes: u64) -> bool {
        let image = self.temp.path().join("image");
        let made = File::create(&image).and_then(|file| file.set_len(bytes)).is_ok();
        let quiet =
            |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        // No blocks for root alone: what is full is full for us too.
        made && quiet(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))
            && quiet(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(self.path()))
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.temp.path().join("disk")
    }

    /// Where a volume on it may be.
    pub fn mountpoint(&self) -> PathBuf {
        self.temp.path().join("mnt")
    }

    pub fn kind(&self) -> &'static str {
        if self.is_ext4 { "ext4" } else { "tmpfs" }
    }

    fn hog(&self) -> PathBuf {
        self.path().join(HOG)
    }

    /// Others write until nothing more goes in, with ever smaller pieces.
    pub fn fill(&self) {
        let mut file = File::options().append(true).create(true).open(self.hog()).expect("a file");
        let mut piece = vec![0xa5; 1 << 20];
        while !piece.is_empty() {
            match file.write(&piece).and_then(|_| file.sync_data()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => piece.truncate(piece.len() / 2),
                Err(error) => panic!("{}: {error}", self.hog().display()),
            }
        }
    }

    /// Others give back so many bytes of what they have.
    pub fn give_back(&self, bytes: u64) {
        let Ok(file) = File::options().write(true).open(self.hog()) else { return };
        let has = file.metadata().map_or(0, |metadata| metadata.len());
        file.set_len(has.saturating_sub(bytes)).expect("a shorter file");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        while unmount(self.mountpoint(), UnmountFlags::DETACH).is_ok() {}
        // The loop device goes with its last mount.
        while unmount(self.path(), UnmountFlags::DETACH).is_ok() {}
    }
}
