//! The mountpoint: is it one that can be used, and does it hold what a dead daemon left?
//!
//! Owns: the checks before a mount. Must be true: MNT-1 mountpoint and volume do not overlap, whatever links or bind mounts
//! lead to them; MNT-2 only our own dead mount is cleared. Fails: with a [`MountError`] that names the path.

use super::{MountError, mountinfo, unmount};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A mountpoint that was checked.
#[derive(Debug, PartialEq, Eq)]
pub struct Point {
    /// Canonical.
    pub path: PathBuf,
    /// A dead mount of ours was detached from it.
    pub cleared: bool,
    /// It holds files, which the mount hides.
    pub hides_files: bool,
}

/// Checks a mountpoint for a volume whose path is canonical, and clears a dead mount of ours from it.
pub fn prepare(dir: &Path, volume: &Path) -> Result<Point, MountError> {
    let mut cleared = false;
    if is_dead(dir) {
        clear(dir)?;
        cleared = true;
    }
    let path = fs::canonicalize(dir).map_err(|error| match error.kind() {
        ErrorKind::NotFound => MountError::Point { path: dir.into(), why: "there is no such directory" },
        ErrorKind::PermissionDenied => MountError::Point { path: dir.into(), why: "permission denied" },
        _ => MountError::Io { what: format!("cannot use {}", dir.display()), source: error },
    })?;
    if !path.is_dir() {
        return Err(MountError::Point { path, why: "it is not a directory" });
    }
    if is_inside(&path, volume) || is_inside(volume, &path) {
        return Err(MountError::Overlap { mountpoint: path, volume: volume.into() });
    }
    if let Some(mounted) = mountinfo::at(&path)? {
        let what = format!("{} of type {}", mounted.source.display(), mounted.fs_type);
        return Err(MountError::Occupied { path, what });
    }
    let hides_files = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
    Ok(Point { path, cleared, hides_files })
}

/// Whether a daemon died and left its mount here: "Transport endpoint is not connected".
///
/// Asked with statfs, which always goes to the daemon: attributes that the kernel still holds make a dead mount look alive.
#[must_use]
pub fn is_dead(dir: &Path) -> bool {
    // ECONNABORTED: it died while it was asked.
    matches!(rustix::fs::statfs(dir), Err(rustix::io::Errno::NOTCONN | rustix::io::Errno::CONNABORTED))
}

/// An absolute path of a place that itself may be dead: only its parent is asked for.
pub fn absolute(dir: &Path) -> PathBuf {
    fs::canonicalize(dir).unwrap_or_else(|_| untouched(dir))
}

/// The same without asking the place itself for anything: whoever serves it may be stuck.
#[must_use]
pub fn untouched(dir: &Path) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
    match (dir.parent().map(fs::canonicalize), dir.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => dir,
    }
}

fn clear(dir: &Path) -> Result<(), MountError> {
    let path = absolute(dir);
    match mountinfo::at(&path)? {
        Some(mounted) if mounted.is_ours() => unmount::detach(&mounted, true),
        Some(mounted) => Err(MountError::Foreign { path, fs_type: mounted.fs_type }),
        None => Err(MountError::Point { path, why: "it is the rest of a dead mount that this process does not see" }),
    }
}

/// Whether `inner` is `outer` or lies below it, by the identity of directories, so that bind mounts count too.
#[must_use]
pub fn is_inside(inner: &Path, outer: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let outer_identity = identity(outer);
    inner.starts_with(outer) || (outer_identity.is_some() && inner.ancestors().any(|dir| identity(dir) == outer_identity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_mountpoint_that_overlaps_its_volume_is_refused() {
        let temp = tempfile::tempdir().expect("a directory");
        let root = temp.path().canonicalize().expect("canonical");
        let volume = root.join("v");
        fs::create_dir_all(volume.join("map/in")).expect("made");
        symlink(volume.join("map"), root.join("link")).expect("linked");
        for dir in [volume.clone(), volume.join("map/in"), root.clone(), root.join("link"), root.join("link/../map")] {
            assert!(matches!(prepare(&dir, &volume), Err(MountError::Overlap { .. })), "{}", dir.display());
        }
    }

    #[test]
    fn a_directory_beside_the_volume_is_accepted() {
        let temp = tempfile::tempdir().expect("a directory");
        let root = temp.path().canonicalize().expect("canonical");
        // A common prefix of the names is no overlap.
        let (volume, dir) = (root.join("map"), root.join("map2"));
        fs::create_dir(&volume).expect("made");
        fs::create_dir(&dir).expect("made");
        assert_eq!(prepare(&dir, &volume).expect("fine"), Point { path: dir.clone(), cleared: false, hides_files: false });
        fs::write(dir.join("file"), "x").expect("written");
        assert!(prepare(&dir, &volume).expect("fine").hides_files);
    }

    #[test]
    fn what_is_no_free_directory_is_refused_by_name() {
        let temp = tempfile::tempdir().expect("a directory");
        fs::write(temp.path().join("file"), "x").expect("written");
        let volume = Path::new("/nonexistent/volume");
        let why = |dir: &Path| prepare(dir, volume).expect_err("refused").to_string();
        assert!(why(&temp.path().join("none")).contains("there is no such directory"));
        assert!(why(&temp.path().join("file")).contains("it is not a directory"));
        assert!(why(Path::new("/proc")).contains("something is mounted at /proc already"));
    }
}
