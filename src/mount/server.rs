//! Who serves a mount of ours, and how that ended.
//!
//! Owns: the search for the process, by the name of the mount or else through `/proc`. Must be true: it is asked before the mount is
//! taken away, for afterwards nothing says it any more; the lock is read as the process itself holds it, so that it is found when its
//! name is gone; only the text of the very process that served a mount says how that mount ended: an older one may stand there again.
//! Fails: with an error of the system; what may not be looked at is not found.

use super::lock::{self, FILE, LOOK_AGAIN, Owner};
use super::mountinfo::Mounted;
use super::{IDENTITY_FILE, MountError, point};
use infmap_storage::device::Access;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a daemon that has let go of its volume is given to end.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// The process behind a mount, as far as it is known.
#[derive(Debug)]
pub struct Server {
    /// The directory of the volume.
    pub volume: Option<PathBuf>,
    lock: Option<Lock>,
    read_only: bool,
}

/// The lock of a process that serves, or served, a mount.
#[derive(Debug)]
struct Lock {
    /// Open here too, so that it can be asked when its name is gone.
    file: File,
    pid: Option<u32>,
    /// The process changes nothing; a mount can be made read-only later, which says nothing of what was written before.
    only_reads: bool,
}

/// How the service of a mount ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything is durable, or nothing could be changed.
    InOrder,
    /// This process still writes.
    Late { pid: Option<u32> },
    /// Its process ended before everything was durable.
    Unfinished,
    /// The volume, or its lock, was removed while it was mounted.
    Removed,
    /// Nobody knows which volume it was.
    Unknown,
}

/// Who serves this mount.
pub fn of(mounted: &Mounted) -> Result<Server, MountError> {
    if let Some((volume, lock)) = named(mounted).or_else(|| holder(mounted)) {
        return Ok(Server { volume: Some(volume), lock: Some(lock), read_only: mounted.read_only });
    }
    // A lock that is shared names nobody, and a dead process holds none: then the name of the mount may tell.
    let source = source(mounted);
    let lock = match &source {
        Some(volume) => served(volume, mounted)?,
        None => None,
    };
    Ok(Server { volume: source, lock, read_only: mounted.read_only })
}

impl Server {
    /// Whether a living process was found.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| matches!(lock::is_free(&lock.file), Ok(false)))
    }

    /// Waits up to `patience` for the end, and says how it went. To be asked when the mount is gone.
    pub fn ended(&self, patience: Duration) -> Result<Ending, MountError> {
        let Some(Lock { file, pid, only_reads }) = &self.lock else {
            return Ok(if self.read_only { Ending::InOrder } else { Ending::Unknown });
        };
        let deadline = Instant::now() + patience;
        while !lock::is_free(file)? {
            if Instant::now() >= deadline {
                return Ok(Ending::Late { pid: *pid });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        // It has let go of the volume; of the disk below it lets go with its end, a moment later.
        let gone_by = Instant::now() + LAST_MOMENT;
        while pid.is_some_and(is_alive) && Instant::now() < gone_by {
            std::thread::sleep(LOOK_AGAIN);
        }
        let text = lock::text(file);
        let is_removed = file.metadata().map_err(MountError::io("cannot look at the lock"))?.nlink() == 0;
        Ok(match (is_removed && !only_reads, text.mountpoint.is_some() && text.pid == *pid) {
            (true, _) => Ending::Removed,
            (false, true) => Ending::Unfinished,
            (false, false) => Ending::InOrder,
        })
    }
}

/// Whether another process of this number is there, and not only its entry, which waits for its parent.
fn is_alive(pid: u32) -> bool {
    let state = |stat: String| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']));
    pid != std::process::id() && fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(state)
}

/// The volume that is the source of the mount, if its lock is held and says that it is mounted there. So it is mostly, and no other process
/// has to be looked at.
fn named(mounted: &Mounted) -> Option<(PathBuf, Lock)> {
    let volume = source(mounted)?;
    let file = File::open(volume.join(FILE)).ok()?;
    let Owner { pid, only_reads, mountpoint } = lock::text(&file);
    let is_it = mountpoint.as_deref() == Some(mounted.mountpoint.as_path()) && matches!(lock::is_free(&file), Ok(false));
    is_it.then_some((volume, Lock { file, pid, only_reads }))
}

/// The volume that the name of the mount means.
fn source(mounted: &Mounted) -> Option<PathBuf> {
    Some(PathBuf::from(&mounted.source)).filter(|source| source.is_absolute() && source.join(IDENTITY_FILE).exists())
}

/// The process whose locked file says that it serves this mount, and its volume, whatever the source of the mount is called.
fn holder(mounted: &Mounted) -> Option<(PathBuf, Lock)> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let files = lockers(&locks).flat_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten());
    let mut found: Vec<(PathBuf, Lock)> = files.filter_map(|fd| candidate(&fd.path(), &mounted.mountpoint)).collect();
    // One that was detached from here may live on beside the one that is seen.
    let named = found.iter().position(|(volume, _)| volume.as_os_str() == mounted.source).unwrap_or(0);
    (named < found.len()).then(|| found.swap_remove(named))
}

/// The volume of an open file, if that is a lock which names the mountpoint.
fn candidate(fd: &Path, mountpoint: &Path) -> Option<(PathBuf, Lock)> {
    let path = fs::read_link(fd).ok()?;
    // As the kernel writes a name that is gone.
    let name = path.file_name()?.as_bytes();
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    // Whoever looks at a file may wait for ever for the filesystem that it is on: only one that is locked is worth it.
    if name != OsStr::new(FILE).as_bytes() || !is_locked(fd) || !fs::metadata(fd).ok()?.is_file() {
        return None;
    }
    let file = File::open(fd).ok()?;
    let Owner { pid, only_reads, mountpoint: at } = lock::text(&file);
    (at.as_deref() == Some(mountpoint)).then(|| Some((path.parent()?.to_path_buf(), Lock { file, pid, only_reads })))?
}

/// Whether a process has a whole file locked by this descriptor, `/proc/PID/fd/N`. Asks nobody but the kernel.
fn is_locked(fd: &Path) -> bool {
    let info = || {
        let process = fd.parent()?.parent()?;
        fs::read_to_string(process.join("fdinfo").join(fd.file_name()?)).ok()
    };
    // As in `lock: 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`.
    info().is_some_and(|info| info.lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK")))
}

/// The lock of this volume, if it is of whoever serves or served this mount: it is held, or it names the mount, and that is dead.
fn served(volume: &Path, mounted: &Mounted) -> Result<Option<Lock>, MountError> {
    let Ok(file) = lock::open(volume, Access::Read) else { return Ok(None) };
    let owner = lock::text(&file);
    let served = lock::held(volume)?.is_some()
        || owner.mountpoint.as_deref() == Some(mounted.mountpoint.as_path()) && point::is_dead(&mounted.mountpoint);
    Ok(served.then_some(Lock { file, pid: owner.pid, only_reads: owner.only_reads }))
}

/// The processes that hold a flock, from the text of `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 123 08:01:456 0 EOF`.
fn lockers(locks: &str) -> impl Iterator<Item = u32> {
    locks.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        (fields.next()? == "FLOCK").then(|| fields.nth(2)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::lock::VolumeLock;
    use crate::mount::mountinfo;

    const NO_PATIENCE: Duration = Duration::ZERO;

    /// A mount of ours that is not really there.
    fn mounted(at: &Path, read_only: bool) -> Mounted {
        let line = format!("36 35 0:52 / {} rw,nosuid - fuse.infmap x {},user_id=0\n", at.display(), if read_only { "ro" } else { "rw" });
        mountinfo::parse(line.as_bytes()).remove(0)
    }

    #[test]
    fn the_volume_of_a_mountpoint_is_found_by_its_lock_even_when_its_name_is_gone() {
        let volume = tempfile::tempdir().expect("a directory");
        let path = volume.path().canonicalize().expect("canonical");
        let mountpoint = path.join("not_really");
        let lock = VolumeLock::take(&path, Some(&mountpoint), NO_PATIENCE).expect("free");
        let server = of(&mounted(&mountpoint, false)).expect("looked");
        assert_eq!((server.volume.as_deref(), server.is_held()), (Some(path.as_path()), true));
        assert_eq!(server.ended(NO_PATIENCE).expect("looked"), Ending::Late { pid: Some(std::process::id()) });
        assert_eq!(of(&mounted(Path::new("/elsewhere"), false)).expect("looked").volume, None);
        fs::remove_file(path.join(FILE)).expect("removed");
        // Read-only by now, which it was not when it was written to.
        let server = of(&mounted(&mountpoint, true)).expect("looked");
        assert_eq!(server.volume, Some(path));
        drop(lock);
        assert_eq!(server.ended(NO_PATIENCE).expect("looked"), Ending::Removed);
    }

    #[test]
    fn a_file_is_looked_at_only_if_it_is_locked_by_that_very_descriptor() {
        let file = tempfile::tempfile().expect("a file");
        let fd = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&file).to_string());
        assert!(!is_locked(&fd) && !is_locked(Path::new("/proc/self/fd/nothing")) && !is_locked(Path::new("/")));
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("free");
        assert!(is_locked(&fd));
    }

    #[test]
    fn an_older_text_says_nothing_of_a_mount_that_ended_in_order() {
        let volume = tempfile::tempdir().expect("a directory");
        let mountpoint = volume.path().join("not_really");
        fs::write(volume.path().join(FILE), "pid 1\nmountpoint /before").expect("written");
        let lock = VolumeLock::take_to_read(volume.path(), Some(&mountpoint), NO_PATIENCE).expect("free");
        let server = of(&mounted(&mountpoint, true)).expect("looked");
        drop(lock);
        assert!(lock::was_left(volume.path()).expect("looked"));
        assert_eq!(server.ended(NO_PATIENCE).expect("looked"), Ending::InOrder);
    }

    #[test]
    fn a_mount_of_which_nothing_is_known_ended_well_only_if_it_could_change_nothing() {
        for (read_only, ending) in [(true, Ending::InOrder), (false, Ending::Unknown)] {
            let server = of(&mounted(Path::new("/elsewhere"), read_only)).expect("looked");
            assert_eq!(server.ended(NO_PATIENCE).expect("looked"), ending);
        }
    }

    #[test]
    fn only_flocks_count() {
        let text = "1: FLOCK  ADVISORY  WRITE 123 08:01:456 0 EOF\n2: POSIX  ADVISORY  READ 7 08:01:1 0 EOF\n2: -> FLOCK\n\n";
        assert_eq!(lockers(text).collect::<Vec<_>>(), [123]);
    }
}
