//! Programs that people run on a filesystem, run on this one: git, cargo, SQLite, PostgreSQL, HDF5, rsync, tar, dpkg.
//!
//! Each asks for what few others ask: git for hard links, renames over and mmap; cargo for locks, executables and times; SQLite for
//! locks between processes and shared memory; PostgreSQL for syncs of files and directories, and for logs that are renamed and
//! written over; HDF5 for small changes anywhere in a file; rsync, tar and dpkg for everything that an inode carries. What they made is
//! judged by their own means, and again after another mount. Where a program is missing, its test says so and ends.

mod common;

#[path = "programs/archives.rs"]
mod archives;
#[path = "programs/cargo.rs"]
mod cargo;
#[path = "programs/dpkg.rs"]
mod dpkg;
#[path = "programs/git.rs"]
mod git;
#[path = "programs/hdf5.rs"]
mod hdf5;
#[path = "programs/postgres.rs"]
mod postgres;
#[path = "programs/sqlite.rs"]
mod sqlite;

use common::{Mount, SOURCE, Volume, run};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// Unmounts, requires a clean volume and a daemon that did not complain, and mounts again.
fn again(volume: &Volume, mount: Mount, arguments: &[&str]) -> Mount {
    // Of whoever was killed while he waited the kernel knows nothing any more: these tests kill programs.
    let is_complaint =
        |line: &str| line.contains("ERROR") && !line.ends_with("Failed to send FUSE reply: No such file or directory (os error 2)");
    assert!(!mount.said().lines().any(is_complaint), "{}", mount.said());
    mount.unmount();
    volume.check();
    volume.mount_with(arguments)
}

/// A file of `tests/scripts`.
fn script(name: &str) -> PathBuf {
    Path::new(SOURCE).join("tests/scripts").join(name)
}

/// rsync from one directory to another, of all that it can carry; returns what it says.
fn rsync(more: &[&str], from: &Path, to: &Path) -> String {
    let slash = |path: &Path| format!("{}/", path.display());
    run(Command::new("rsync").args(["-aHAXS", "--delete", "--numeric-ids"]).args(more).args([slash(from), slash(to)]))
}

/// What of names, bytes, links, attributes, lists, owners and times differs between two trees, a line each.
fn differences(more: &[&str], from: &Path, to: &Path) -> String {
    rsync(&[&["--checksum", "--itemize-changes", "--dry-run"], more].concat(), from, to)
}

/// Requires that nothing does.
fn require_same(from: &Path, to: &Path, when: &str) {
    assert_eq!(differences(&[], from, to), "", "{when}: {} and {} differ", from.display(), to.display());
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both say only that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
