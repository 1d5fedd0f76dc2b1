//! A directory of the host of which the contents may be somebody else's doing: the one way to what is in it.
//!
//! Owns: `HostDirectory`. Must be true: FIL-1 everything is reached from the descriptor of the directory, which may be renamed while in use;
//! FIL-2 files are made 0600 and directories 0700, for the owner of the directory, whoever makes them, and nothing is given to him but what
//! the call itself has made; FIL-4 no link is followed, not on the way and not at the end, so that whoever may change the directory leads
//! nobody out of it; FIL-5 in the directory of another user no file is written that has a second name and is not his. Fails: with [`Refused`],
//! or the host's error.

#[cfg(test)]
mod tests;

use super::super::medium::{NO_FILE, foreign};
use super::super::{Access, DirEntry, Kind, Metadata, split_path};
use super::{at, described};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::{Errno, retry_on_intr};
use std::io;
use std::path::Path;

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIRECTORY_MODE: Mode = Mode::RWXU;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A directory to go on from.
const STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// NONBLOCK: a FIFO put here by a stranger must not hang the open. NOCTTY: nor a terminal become ours.
const FILE: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);
/// Times that a name may come and go while it is opened.
const TURNS_MAX: usize = 16;

/// A directory of the host. Paths are relative to it, without `.` and `..`; `""` is the directory itself.
#[derive(Debug)]
pub struct HostDirectory {
    fd: OwnedFd,
    owner: (Uid, Gid),
    /// Whether the kernel walks paths without following links (`openat2`, Linux 5.6, unless a sandbox forbids it). Else it is asked step
    /// by step.
    walks: bool,
}

/// Why a file in a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("it is a link, or behind one: links are not followed here")]
    Link,
    #[error("not a regular file")]
    NoFile,
    #[error("it has another name as well, and is not of the owner of the directory")]
    Shared,
    #[error("{0}")]
    Host(Errno),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::LOOP => Self::Link,
            // What Linux says of a socket.
            NO_FILE => Self::NoFile,
            errno => Self::Host(errno),
        }
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Host(errno) => errno.into(),
            other => foreign(other.to_string(), other.errno()),
        }
    }
}

impl Refused {
    fn errno(&self) -> Errno {
        match self {
            Self::Link => Errno::LOOP,
            Self::NoFile => NO_FILE,
            Self::Shared => Errno::INVAL,
            Self::Host(errno) => *errno,
        }
    }

    /// The same as an error that says which path it was.
    pub(super) fn at(self, path: &str) -> io::Error {
        match self {
            Self::Host(errno) => at("open", path, errno),
            other => foreign(format!("open {path}: {other}"), other.errno()),
        }
    }
}

/// The directory that a name is in.
enum Parent<'a> {
    Itself(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Itself(fd) => *fd,
            Self::Below(fd) => fd.as_fd(),
        }
    }
}

impl AsFd for HostDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl HostDirectory {
    /// An existing directory; this path may lead through links.
    ///
    /// # Errors
    /// The host's, if it cannot be opened as a directory.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let fd = retry_on_intr(|| fs::open(path, DIRECTORY, Mode::empty()))?;
        let stat = fs::fstat(&fd)?;
        let walks = fs::openat2(&fd, ".", STEP, Mode::empty(), RESOLVE).is_ok();
        Ok(Self { fd, owner: (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)), walks })
    }

    /// Whether it belongs to another user than the one this process works for, who may put there what he likes.
    #[must_use]
    pub fn is_of_another(&self) -> bool {
        self.owner.0 != rustix::process::geteuid()
    }

    /// A regular file.
    ///
    /// # Errors
    /// The host's, and all that [`Refused`] says.
    pub fn file(&self, path: &str, access: Access) -> Result<OwnedFd, Refused> {
        self.file_with(path, access, OFlags::empty())
    }

    /// A regular file, made if there is none, to write at its end.
    ///
    /// # Errors
    /// As [`file`](Self::file).
    pub fn file_to_append(&self, path: &str) -> Result<OwnedFd, Refused> {
        self.file_with(path, Access::Create, OFlags::APPEND)
    }

    fn file_with(&self, path: &str, access: Access, flags: OFlags) -> Result<OwnedFd, Refused> {
        let (fd, stat) = self.opened(path, access)?;
        if self.is_shared(&stat) {
            return Err(Refused::Shared);
        }
        fs::fcntl_setfl(&fd, flags)?;
        Ok(fd)
    }

    /// A regular file as it was opened: without waiting. What is only read may have other names: images do in copies made of links.
    pub(super) fn opened(&self, path: &str, access: Access) -> Result<(OwnedFd, Stat), Refused> {
        let (fd, is_made) = match access {
            Access::Read => (self.reach(path, OFlags::RDONLY | FILE, Mode::empty())?, false),
            Access::Write => (self.reach(path, OFlags::RDWR | FILE, Mode::empty())?, false),
            Access::CreateNew => (self.make(path)?, true),
            Access::Create => self.make_or_open(path)?,
        };
        let stat = fs::fstat(&fd)?;
        match described(&stat).kind {
            Kind::File => {}
            Kind::Directory => return Err(Refused::Host(Errno::ISDIR)),
            Kind::Other => return Err(Refused::NoFile),
        }
        if is_made {
            self.give(&fd);
        } else if access != Access::Read && self.is_shared(&stat) {
            return Err(Refused::Shared);
        }
        Ok((fd, stat))
    }

    fn make(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.reach(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | FILE, FILE_MODE)
    }

    /// Two calls instead of one, so that it is known which files were made here.
    fn make_or_open(&self, path: &str) -> Result<(OwnedFd, bool), Errno> {
        for _ in 0..TURNS_MAX {
            match self.make(path) {
                Err(Errno::EXIST) => {}
                made => return made.map(|fd| (fd, true)),
            }
            match self.reach(path, OFlags::RDWR | FILE, Mode::empty()) {
                // Gone since.
                Err(Errno::NOENT) => {}
                opened => return opened.map(|fd| (fd, false)),
            }
        }
        Err(Errno::NOENT)
    }

    /// Whether this may be a file of somebody else, which the owner of the directory has only given a name here.
    fn is_shared(&self, stat: &Stat) -> bool {
        self.is_of_another() && stat.st_nlink > 1 && stat.st_uid != self.owner.0.as_raw()
    }

    /// What root has made in the directory of another user is his: it would else be closed to him. A host that refuses, as some servers do,
    /// keeps it as it is: it can be used by whoever made it.
    fn give(&self, made: impl AsFd) {
        if rustix::process::geteuid().is_root() && self.is_of_another() {
            let _ = fs::fchown(made, Some(self.owner.0), Some(self.owner.1));
        }
    }

    /// Makes a directory, or finds that it is there.
    ///
    /// # Errors
    /// The host's.
    pub fn create_dir(&self, path: &str) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        match retry_on_intr(|| fs::mkdirat(&parent, name, DIRECTORY_MODE)) {
            Err(Errno::EXIST) if stat_in(&parent, name).is_ok_and(|stat| described(&stat).kind == Kind::Directory) => return Ok(()),
            made => made?,
        }
        // What is empty is ours, or might be: another one may stand there by now.
        if self.is_of_another()
            && let Ok(made) = retry_on_intr(|| fs::openat(&parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()))
            && entries(&made).is_ok_and(|entries| entries.is_empty())
        {
            self.give(made);
        }
        Ok(())
    }

    /// Gives a file or directory another name.
    ///
    /// # Errors
    /// The host's.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        let ((from_parent, from_name), (to_parent, to_name)) = (self.parent(from)?, self.parent(to)?);
        retry_on_intr(|| fs::renameat(&from_parent, from_name, &to_parent, to_name))
    }

    pub(super) fn remove(&self, path: &str) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        match retry_on_intr(|| fs::unlinkat(&parent, name, AtFlags::empty())) {
            Err(Errno::ISDIR | Errno::PERM) => retry_on_intr(|| fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)),
            removed => removed,
        }
    }

    pub(super) fn stat(&self, path: &str) -> Result<Stat, Errno> {
        let (parent, name) = self.parent(path)?;
        stat_in(parent, name)
    }

    pub(super) fn list(&self, path: &str) -> Result<Vec<DirEntry>, Errno> {
        let mut entries = entries(self.directory(path)?)?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    pub(super) fn directory(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.reach(if path.is_empty() { "." } else { path }, DIRECTORY, Mode::empty())
    }

    /// The directory that holds a path, and the name in it.
    fn parent<'a>(&'a self, path: &'a str) -> Result<(Parent<'a>, &'a str), Errno> {
        match split_path(path) {
            ("", name) => Ok((Parent::Itself(self.fd.as_fd()), if name.is_empty() { "." } else { name })),
            (directory, name) => Ok((Parent::Below(self.reach(directory, STEP, Mode::empty())?), name)),
        }
    }

    /// Opens what is at a path.
    fn reach(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW;
        match path.rsplit_once('/') {
            None => retry_on_intr(|| fs::openat(&self.fd, path, flags, mode)),
            Some(_) if self.walks => retry_on_intr(|| fs::openat2(&self.fd, path, flags, mode, RESOLVE)),
            Some((directory, name)) => {
                let step = |at: BorrowedFd<'_>, part| retry_on_intr(|| fs::openat(at, part, STEP | OFlags::NOFOLLOW, Mode::empty()));
                let mut at = step(self.fd.as_fd(), ".")?;
                for part in directory.split('/') {
                    at = step(at.as_fd(), part)?;
                }
                retry_on_intr(|| fs::openat(&at, name, flags, mode))
            }
        }
    }
}

fn stat_in(parent: impl AsFd, name: &str) -> Result<Stat, Errno> {
    retry_on_intr(|| fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW))
}

fn entries(directory: impl AsFd) -> Result<Vec<DirEntry>, Errno> {
    let mut entries = Vec::new();
    for entry in fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let raw = entry.file_name();
        if matches!(raw.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(name) = raw.to_str() else {
            entries.push(DirEntry { name: raw.to_string_lossy().into_owned(), kind: Kind::Other, size_bytes: 0 });
            continue;
        };
        match retry_on_intr(|| fs::statat(&directory, raw, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => {
                let Metadata { kind, size_bytes } = described(&stat);
                entries.push(DirEntry { name: name.to_owned(), kind, size_bytes });
            }
            // Removed since the directory was read.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(entries)
}
