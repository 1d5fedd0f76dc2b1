//! The volume's lock: who may change it, and a text that says who does.
//!
//! Owns: the file `lock` of a volume. Must be true: MNT-3 the kernel's flock decides, the text only explains, so what a dead
//! process left locks nothing; the file is never removed, or two processes could lock two of them; MNT-4 whoever only reads and
//! cannot write the file shares the lock and writes no text: a volume on a read-only disk can be read; MNT-5 the text of a mount goes only
//! when somebody says that it finished, so whatever else ends a mount, a panic too, leaves the text of one that did not; MNT-6 the text
//! is written over in place and never cut to nothing: a disk that others have filled can be locked; where not even the first text finds
//! room, a verb that mounts nothing locks without one; MNT-7 what stands under its name and is no file of ours, a link say, is neither locked
//! nor written: whoever owns the volume would choose what root writes to.
//! Fails: with [`MountError::Locked`] and the owner's name, or an error of the system.

use super::{MountError, mountinfo, point};
use infmap_storage::device::{Access, HostDirectory};
use rustix::fs::{FlockOperation, flock};
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) const FILE: &str = "lock";
/// Behind the number of a process that changes nothing.
const ONLY_READS: &str = " reads";
/// What the file says when nobody has the volume.
const NOBODY: &[u8] = b"\n";
/// Between two looks at a lock that somebody holds.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Who holds a volume, as its lock file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// `None`: the file does not say.
    pub pid: Option<u32>,
    /// It changes nothing.
    pub only_reads: bool,
    /// Where it is mounted; `None`: it is not, a verb like `check` works on it.
    pub mountpoint: Option<PathBuf>,
}

/// The lock, held until this is dropped.
#[derive(Debug)]
pub struct VolumeLock {
    held: Held,
    /// What the file said of a mount that is gone: nobody has finished it.
    left: Option<Owner>,
    /// What the file says when this lets go; `None`: what it says now, as if the process had died.
    at_end: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Held {
    /// Alone, with our text in the file.
    Alone(File),
    /// With others that read.
    Shared { _file: File },
    /// There is no file and none can be made, so nobody has locked it.
    Nothing,
}

impl VolumeLock {
    /// Takes the lock for this process. Waits up to `patience` for an owner that is not mounted any more: it is finishing.
    /// The text stays when this is dropped, unless [`finish`](Self::finish) or [`give_back`](Self::give_back) is called.
    pub fn take(volume: &Path, mountpoint: Option<&Path>, patience: Duration) -> Result<Self, MountError> {
        Self::take_alone(volume, mountpoint, patience, false)
    }

    fn take_alone(volume: &Path, mountpoint: Option<&Path>, patience: Duration, only_reads: bool) -> Result<Self, MountError> {
        let path = volume.join(FILE);
        let mut file = open(volume, Access::Create).map_err(MountError::io(format!("cannot open {}", path.display())))?;
        wait_for(&file, FlockOperation::NonBlockingLockExclusive, volume, patience)?;
        let left = Some(owner(volume)).filter(|owner| owner.mountpoint.is_some());
        let text = Owner { pid: Some(std::process::id()), only_reads, mountpoint: mountpoint.map(Into::into) }.encode();
        match write(&mut file, &text) {
            Err(error) if error.kind() == ErrorKind::StorageFull && mountpoint.is_none() => {
                tracing::warn!("there is no room for who has the lock of {}: it is held without a name", volume.display());
            }
            done => done.map_err(MountError::io(format!("cannot write {}", path.display())))?,
        }
        Ok(Self { held: Held::Alone(file), left, at_end: None })
    }

    /// The same for whoever changes nothing: where the file cannot be written, the lock is shared with others that only read.
    pub fn take_to_read(volume: &Path, mountpoint: Option<&Path>, patience: Duration) -> Result<Self, MountError> {
        match open(volume, Access::Create) {
            Err(error) if is_not_writable(&error) => {}
            _ => {
                let mut lock = Self::take_alone(volume, mountpoint, patience, true)?;
                lock.at_end = Some(lock.text_as_found());
                return Ok(lock);
            }
        }
        match open(volume, Access::Read) {
            Ok(file) => {
                wait_for(&file, FlockOperation::NonBlockingLockShared, volume, patience)?;
                Ok(Self { held: Held::Shared { _file: file }, left: None, at_end: None })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self { held: Held::Nothing, left: None, at_end: None }),
            Err(error) => Err(MountError::io(format!("cannot open {}", volume.join(FILE).display()))(error)),
        }
    }

    /// Whether a mount before this one ended without finishing.
    #[must_use]
    pub fn was_left(&self) -> bool {
        self.left.is_some()
    }

    /// Lets go of a volume where everything is durable. Whoever took it to read gives it back: a mount that is gone stays unfinished.
    pub fn finish(mut self) {
        self.at_end.get_or_insert_default();
    }

    /// Lets go of a volume that nobody has written to: the file says again what it said before.
    pub fn give_back(mut self) {
        self.at_end = Some(self.text_as_found());
    }

    fn text_as_found(&self) -> Vec<u8> {
        self.left.as_ref().map(Owner::encode).unwrap_or_default()
    }

    /// What is to be said of it, unless it is held as it should be.
    #[must_use]
    pub fn note(&self) -> Option<&'static str> {
        match self.held {
            Held::Alone(_) => None,
            Held::Shared { .. } => Some("the volume cannot be written to: its lock is shared with others that read, and names nobody"),
            Held::Nothing => Some("the volume cannot be written to and has no lock file: nothing keeps others from it"),
        }
    }
}

impl Drop for VolumeLock {
    fn drop(&mut self) {
        if let Held::Alone(file) = &mut self.held {
            // The text goes first, so that it never names a process that has let go in order.
            if let Some(text) = &self.at_end {
                let _ = write(file, text);
            }
            let _ = flock(&*file, FlockOperation::Unlock);
        }
    }
}

/// Whether this is how a disk or directory that cannot be written to refuses.
#[must_use]
pub fn is_not_writable(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}

/// One byte at least stays all the time, and with it the room that the next text needs.
fn write(file: &mut File, text: &[u8]) -> std::io::Result<()> {
    let text = if text.is_empty() { NOBODY } else { text };
    file.set_len(1).and_then(|()| file.rewind()).and_then(|()| file.write_all(text))
}

/// Opens the file of a volume.
pub(super) fn open(volume: &Path, access: Access) -> std::io::Result<File> {
    Ok(HostDirectory::open(volume)?.file(FILE, access)?.into())
}

/// Waits up to `patience` for an owner that is not mounted any more.
fn wait_for(file: &File, operation: FlockOperation, volume: &Path, patience: Duration) -> Result<(), MountError> {
    let deadline = Instant::now() + patience;
    while !try_lock(file, operation, &volume.join(FILE))? {
        let owner = owner(volume);
        if owner.is_mounted()? || Instant::now() >= deadline {
            return Err(MountError::Locked { volume: volume.into(), owner });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

impl Owner {
    fn encode(&self) -> Vec<u8> {
        let reads = if self.only_reads { ONLY_READS } else { "" };
        let mut text = format!("pid {}{reads}\n", self.pid.unwrap_or(0)).into_bytes();
        if let Some(mountpoint) = &self.mountpoint {
            // Last, because a path may hold anything, line ends too.
            text.extend_from_slice(b"mountpoint ");
            text.extend_from_slice(mountpoint.as_os_str().as_bytes());
        }
        text
    }

    fn decode(text: &[u8]) -> Self {
        let (first, rest) = match text.iter().position(|byte| *byte == b'\n') {
            Some(at) => (text.get(..at).unwrap_or(&[]), text.get(at + 1..).unwrap_or(&[])),
            None => (text, &[][..]),
        };
        let line = std::str::from_utf8(first).ok().and_then(|line| line.strip_prefix("pid ")).unwrap_or("");
        let number = line.strip_suffix(ONLY_READS);
        let pid = number.unwrap_or(line).parse().ok().filter(|pid| *pid != 0);
        let path = rest.strip_prefix(b"mountpoint ").filter(|path| !path.is_empty());
        Self { pid, only_reads: number.is_some(), mountpoint: path.map(|path| std::ffi::OsString::from_vec(path.to_vec()).into()) }
    }

    /// Whether the place that the file names is a mount of ours now.
    fn is_mounted(&self) -> Result<bool, MountError> {
        let Some(mountpoint) = &self.mountpoint else { return Ok(false) };
        Ok(mountinfo::at(mountpoint)?.is_some_and(|mounted| mounted.is_ours()))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.mountpoint.is_some() { "mounted" } else { "locked" };
        match self.pid {
            Some(pid) => write!(f, "already {verb} by process {pid}")?,
            None => write!(f, "already {verb} by another process")?,
        }
        match &self.mountpoint {
            Some(mountpoint) => write!(f, " at {}", mountpoint.display()),
            None => Ok(()),
        }
    }
}

/// Who holds the volume now; `None`: nobody. Takes the lock for a moment, shared, which [`VolumeLock::take`] waits out.
pub fn held(volume: &Path) -> Result<Option<Owner>, MountError> {
    let path = volume.join(FILE);
    match open(volume, Access::Read) {
        Ok(file) if try_lock(&file, FlockOperation::NonBlockingLockShared, &path)? => Ok(None),
        Ok(_) => Ok(Some(owner(volume))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(MountError::io(format!("cannot open {}", path.display()))(error)),
    }
}

/// Refuses a volume that is mounted, without waiting and without touching the place: `dir` is where it is wanted.
///
/// # Errors
/// `Occupied` if it is mounted there already, else `Locked`; both with who has it.
pub fn refuse_if_mounted(volume: &Path, dir: &Path) -> Result<(), MountError> {
    match held(volume)? {
        Some(owner) if owner.is_mounted()? => Err(match &owner.mountpoint {
            Some(path) if *path == point::untouched(dir) => {
                MountError::Occupied { path: path.clone(), what: format!("{}, {owner}", volume.display()) }
            }
            _ => MountError::Locked { volume: volume.into(), owner },
        }),
        _ => Ok(()),
    }
}

/// Whether a mount ended without a word: its text is still there, although nobody holds the volume.
pub fn was_left(volume: &Path) -> Result<bool, MountError> {
    Ok(owner(volume).mountpoint.is_some() && held(volume)?.is_none())
}

/// Whether whoever holds the volume may change it.
#[must_use]
pub fn may_write(volume: &Path) -> bool {
    matches!(held(volume), Ok(Some(owner)) if owner.mountpoint.is_some() && !owner.only_reads)
}

/// The same of a mount at this place, while nobody at all has the volume, not even to read.
pub(super) fn is_left_at(volume: &Path, mountpoint: &Path) -> Result<bool, MountError> {
    let Ok(file) = open(volume, Access::Read) else { return Ok(false) };
    if text(&file).mountpoint.as_deref() != Some(mountpoint) || !try_lock(&file, FlockOperation::NonBlockingLockExclusive, volume)? {
        return Ok(false);
    }
    Ok(true)
}

fn owner(volume: &Path) -> Owner {
    open(volume, Access::Read).map(|file| text(&file)).unwrap_or_default()
}

/// What an open lock file says.
pub(super) fn text(mut file: &File) -> Owner {
    let mut text = Vec::new();
    // Longer than any path: a file that is not ours is not read whole.
    let read = file.rewind().and_then(|()| file.take(8192).read_to_end(&mut text));
    if read.is_ok() { Owner::decode(&text) } else { Owner::default() }
}

/// Whether nobody has locked this file for himself. The file must not be the one that is locked: it is locked for a moment.
pub(super) fn is_free(file: &File) -> Result<bool, MountError> {
    let failed = |errno: rustix::io::Errno| MountError::io("cannot ask for the lock")(errno.into());
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => flock(file, FlockOperation::Unlock).map(|()| true).map_err(failed),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(failed(errno)),
    }
}

fn try_lock(file: &File, operation: FlockOperation, path: &Path) -> Result<bool, MountError> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(MountError::io(format!("cannot lock {}", path.display()))(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NO_PATIENCE: Duration = Duration::ZERO;

    #[test]
    fn a_second_owner_is_refused_and_told_who_the_first_is() {
        let volume = tempfile::tempdir().expect("a directory");
        let lock = VolumeLock::take(volume.path(), Some(Path::new("/mnt/a b")), NO_PATIENCE).expect("free");
        let error = VolumeLock::take(volume.path(), None, NO_PATIENCE).expect_err("held").to_string();
        assert!(error.contains(&format!("already mounted by process {} at /mnt/a b", std::process::id())), "{error}");
        assert_eq!(held(volume.path()).expect("looked").and_then(|owner| owner.pid), Some(std::process::id()));
        lock.finish();
        assert_eq!(held(volume.path()).expect("looked"), None);
        VolumeLock::take(volume.path(), None, NO_PATIENCE).expect("free again");
    }

    #[test]
    fn what_a_dead_process_left_locks_nothing() {
        let volume = tempfile::tempdir().expect("a directory");
        std::fs::write(volume.path().join(FILE), "pid 1\nmountpoint /").expect("written");
        assert!(was_left(volume.path()).expect("looked"));
        drop(VolumeLock::take_to_read(volume.path(), None, NO_PATIENCE).expect("free"));
        assert!(was_left(volume.path()).expect("looked"), "who only reads has not finished it");
        VolumeLock::take_to_read(volume.path(), None, NO_PATIENCE).expect("free").finish();
        assert!(was_left(volume.path()).expect("looked"), "nor does it by ending in order");
        VolumeLock::take(volume.path(), None, NO_PATIENCE).expect("free").finish();
        assert!(!was_left(volume.path()).expect("looked"));
    }

    /// Seen to fail when whoever took the lock to write erased the text at the end, however it came.
    #[test]
    fn only_a_mount_that_finished_takes_the_mark_of_an_unfinished_one_away() {
        let volume = tempfile::tempdir().expect("a directory");
        let take = || VolumeLock::take(volume.path(), Some(Path::new("/mnt")), NO_PATIENCE).expect("free");
        let is_left = || was_left(volume.path()).expect("looked");
        take().give_back();
        assert!(!is_left(), "nothing was served, and nothing was left before");
        let panicked = std::thread::spawn({
            let lock = take();
            move || {
                let _lock = lock;
                std::panic::resume_unwind(Box::new("the mount panics"));
            }
        });
        panicked.join().expect_err("it panics");
        assert!(is_left(), "it unwound");
        take().give_back();
        assert!(is_left(), "a mount that could not open the volume has not finished the one before");
        take().finish();
        assert!(!is_left());
    }

    /// Seen to fail when the file was emptied: its room went to whoever filled the disk next, and the volume could not be locked again.
    #[test]
    fn a_lock_that_is_let_go_keeps_the_room_of_its_text() {
        use std::os::unix::fs::MetadataExt;
        let volume = tempfile::tempdir().expect("a directory");
        let take = |mountpoint| VolumeLock::take(volume.path(), mountpoint, NO_PATIENCE).expect("free");
        let ways: [fn(VolumeLock); 3] = [VolumeLock::finish, VolumeLock::give_back, drop];
        for end in ways {
            end(take(Some(Path::new("/mnt"))));
            let found = std::fs::metadata(volume.path().join(FILE)).expect("a file");
            assert!(found.len() > 0 && found.blocks() > 0, "{} bytes in {} blocks", found.len(), found.blocks());
        }
        take(None).finish();
        assert_eq!((was_left(volume.path()).expect("looked"), owner(volume.path())), (false, Owner::default()));
    }

    #[test]
    fn an_owner_that_is_finishing_is_waited_for() {
        let volume = tempfile::tempdir().expect("a directory");
        let lock = VolumeLock::take(volume.path(), Some(Path::new("/nowhere")), NO_PATIENCE).expect("free");
        let path = volume.path().to_path_buf();
        let next = std::thread::spawn(move || VolumeLock::take(&path, None, Duration::from_secs(60)).map(drop));
        drop(lock);
        next.join().expect("no panic").expect("taken");
    }

    /// Seen to fail when the file was opened by its path: root wrote into the target of a link, and gave it to the owner of the volume.
    #[test]
    fn a_lock_that_is_a_link_or_no_file_is_refused_and_its_target_stays_as_it_is() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        use std::os::unix::fs::{MetadataExt, chown, symlink};
        let temp = tempfile::tempdir().expect("a directory");
        let (volume, secret) = (temp.path().join("volume"), temp.path().join("secret"));
        std::fs::create_dir(&volume).expect("made");
        std::fs::write(&secret, "of root").expect("written");
        if rustix::process::geteuid().is_root() {
            chown(&volume, Some(65_534), Some(65_534)).expect("given away");
        }
        let owner = std::fs::metadata(&secret).expect("there").uid();
        let lock = volume.join(FILE);
        let link = || symlink(&secret, &lock).expect("linked");
        let pipe = || mknodat(CWD, &lock, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
        let ways: [(&dyn Fn(), &str); 2] = [(&link, "it is a link"), (&pipe, "not a regular file")];
        for (put, why) in ways {
            put();
            for refused in [VolumeLock::take(&volume, None, NO_PATIENCE), VolumeLock::take_to_read(&volume, None, NO_PATIENCE)] {
                let refused = refused.expect_err("no lock of ours").to_string();
                assert!(refused.contains(why), "{refused}");
            }
            assert!(held(&volume).is_err(), "nobody knows");
            assert_eq!(
                (std::fs::read(&secret).expect("there"), std::fs::metadata(&secret).expect("there").uid()),
                (b"of root".to_vec(), owner)
            );
            std::fs::remove_file(&lock).expect("removed");
        }
        VolumeLock::take(&volume, None, NO_PATIENCE).expect("free").finish();
        assert_eq!(std::fs::metadata(&lock).expect("there").uid(), std::fs::metadata(&volume).expect("there").uid());
    }

    proptest! {
        #[test]
        fn any_path_survives_the_file(pid in 1u32.., only_reads: bool, path in proptest::collection::vec(1u8.., 1..60)) {
            let owner = Owner { pid: Some(pid), only_reads, mountpoint: Some(std::ffi::OsString::from_vec(path).into()) };
            prop_assert_eq!(Owner::decode(&owner.encode()), owner);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text: Vec<u8>) {
            Owner::decode(&text);
        }
    }
}
