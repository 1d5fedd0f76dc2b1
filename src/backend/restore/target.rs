//! Making files in the directory to which is restored: every step relative to a descriptor, no link followed.
//!
//! Owns: `Target`, `Place`. Must be true: RST-3 nothing outside of the directory is made or changed, whatever names and links say: names are
//! checked, each part of a path is opened alone and never as a link, nothing that exists is replaced. Fails: with the system's error; what
//! could not be set beside the bytes is told by name.

use infmap_storage::names::check_name;
use infmap_storage::row::{FileKind, InodeRow, Time};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::io;
use std::path::Path;
use std::rc::Rc;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NEW_FILE: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A place below the directory, by its names; `None` is the directory itself.
#[derive(Clone, Debug)]
pub struct Place(Option<Rc<(Place, Vec<u8>)>>);

impl Place {
    pub const TOP: Self = Self(None);

    /// A name in it.
    ///
    /// # Errors
    /// A name that no directory may hold.
    pub fn join(&self, name: &[u8]) -> io::Result<Self> {
        check_name(name).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no directory may hold this name"))?;
        Ok(Self(Some(Rc::new((self.clone(), name.to_vec())))))
    }

    /// Its names, the outermost first.
    pub fn parts(&self) -> Vec<&[u8]> {
        let (mut parts, mut at) = (Vec::new(), self);
        while let Some(inner) = &at.0 {
            parts.push(inner.1.as_slice());
            at = &inner.0;
        }
        parts.reverse();
        parts
    }

    pub fn path(&self) -> Vec<u8> {
        self.parts().join(&b'/')
    }

    fn split(&self) -> io::Result<(&Self, &[u8])> {
        let inner = self.0.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok((&inner.0, &inner.1))
    }
}

/// The directory.
pub struct Target {
    top: OwnedFd,
    /// Whether owners can be set, and devices made.
    is_root: bool,
}

impl Target {
    /// An existing, empty directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { top: fs::open(path, DIRECTORY, Mode::empty())?, is_root: rustix::process::geteuid().is_root() })
    }

    /// Opens a directory, part by part.
    fn directory(&self, place: &Place) -> io::Result<OwnedFd> {
        let mut at = fs::openat(&self.top, c".", DIRECTORY, Mode::empty())?;
        for part in place.parts() {
            at = fs::openat(&at, part, DIRECTORY, Mode::empty())?;
        }
        Ok(at)
    }

    fn inside<T>(&self, place: &Place, make: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>) -> io::Result<T> {
        let (parent, name) = place.split()?;
        Ok(make(self.directory(parent)?.as_fd(), name)?)
    }

    pub fn make_directory(&self, place: &Place) -> io::Result<()> {
        self.inside(place, |parent, name| fs::mkdirat(parent, name, Mode::RWXU))
    }

    /// Makes a file; its mode comes with [`Self::finish_file`].
    pub fn make_file(&self, place: &Place) -> io::Result<std::fs::File> {
        Ok(self.inside(place, |parent, name| fs::openat(parent, name, NEW_FILE, Mode::RUSR | Mode::WUSR))?.into())
    }

    pub fn make_symlink(&self, place: &Place, target: &[u8]) -> io::Result<()> {
        self.inside(place, |parent, name| fs::symlinkat(target, parent, name))
    }

    /// Gives a file that was made before one more name.
    pub fn make_link(&self, place: &Place, first: &Place) -> io::Result<()> {
        let (parent, name) = first.split()?;
        let from = self.directory(parent)?;
        self.inside(place, |parent, to| fs::linkat(&from, name, parent, to, AtFlags::empty()))
    }

    /// Makes a fifo, socket or device.
    pub fn make_special(&self, place: &Place, row: &InodeRow) -> io::Result<()> {
        let kind = match row.kind() {
            FileKind::Fifo => FileType::Fifo,
            FileKind::Socket => FileType::Socket,
            FileKind::CharDevice => FileType::CharacterDevice,
            FileKind::BlockDevice => FileType::BlockDevice,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        // As the kernel's FUSE protocol packs device numbers.
        let (major, minor) = ((row.rdev >> 8) & 0xfff, (row.rdev & 0xff) | ((row.rdev >> 12) & 0xfff00));
        self.inside(place, |parent, name| fs::mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, fs::makedev(major, minor)))
    }

    /// Sets owner, mode, attributes and times of a file that is still open, in the order in which none undoes another.
    pub fn finish_file(&self, file: &std::fs::File, row: &InodeRow, attributes: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
        let mut failed = Vec::new();
        if self.is_root {
            note(&mut failed, "owner", fs::fchown(file, Some(Uid::from_raw(row.uid)), Some(Gid::from_raw(row.gid))));
        }
        note(&mut failed, "mode", fs::fchmod(file, Mode::from_raw_mode(row.mode & 0o7777)));
        for (name, value) in attributes {
            note(&mut failed, &shown(name), fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()));
        }
        note(&mut failed, "times", fs::futimens(file, &times(row)));
        failed
    }

    /// The same for a directory, when everything in it is made.
    pub fn finish_directory(&self, place: &Place, row: &InodeRow, attributes: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
        match self.directory(place) {
            Ok(directory) => self.finish_file(&std::fs::File::from(directory), row, attributes),
            Err(error) => vec![error.to_string()],
        }
    }

    /// The same for what is not opened: links, pipes, devices.
    pub fn finish_special(&self, place: &Place, row: &InodeRow, attributes: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
        let mut failed = Vec::new();
        let done = self.inside(place, |parent, name| {
            if self.is_root {
                let (uid, gid) = (Some(Uid::from_raw(row.uid)), Some(Gid::from_raw(row.gid)));
                note(&mut failed, "owner", fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW));
            }
            if row.kind() != FileKind::Symlink {
                // We made it in a directory that nobody else has: no link stands there.
                note(&mut failed, "mode", fs::chmodat(parent, name, Mode::from_raw_mode(row.mode & 0o7777), AtFlags::empty()));
            }
            for (attribute, value) in attributes {
                let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat();
                note(&mut failed, &shown(attribute), fs::lsetxattr(path, attribute.as_slice(), value, XattrFlags::empty()));
            }
            note(&mut failed, "times", fs::utimensat(parent, name, &times(row), AtFlags::SYMLINK_NOFOLLOW));
            Ok(())
        });
        failed.extend(done.err().map(|error| error.to_string()));
        failed
    }
}

fn note(failed: &mut Vec<String>, what: &str, done: Result<(), Errno>) {
    failed.extend(done.err().map(|errno| format!("{what} not set: {}", io::Error::from(errno))));
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn times(row: &InodeRow) -> Timestamps {
    let spec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanos) };
    Timestamps { last_access: spec(row.accessed), last_modification: spec(row.modified) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn hostile_names_and_links_lead_nowhere() {
        let temp = tempfile::tempdir().expect("a directory");
        let (inside, outside) = (temp.path().join("to"), temp.path().join("outside"));
        std::fs::create_dir(&inside).expect("made");
        std::fs::create_dir(&outside).expect("made");
        for name in [&b".."[..], b".", b"", b"a/b", b"/etc", b"a\0b", &[b'x'; 256]] {
            assert!(Place::TOP.join(name).is_err(), "{name:?}");
        }
        let target = Target::open(&inside).expect("open");
        symlink(&outside, inside.join("link")).expect("a link");
        let through = Place::TOP.join(b"link").and_then(|link| link.join(b"file")).expect("plain names");
        assert!(target.make_file(&through).is_err());
        assert!(target.make_directory(&through).is_err());
        assert!(target.make_symlink(&through, b"x").is_err());
        assert!(target.make_link(&through, &Place::TOP.join(b"link").expect("a name")).is_err());
        assert!(target.make_file(&Place::TOP.join(b"link").expect("a name")).is_err(), "what exists is not replaced");
        assert_eq!(std::fs::read_dir(&outside).expect("listed").count(), 0);
    }
}
