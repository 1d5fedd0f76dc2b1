//! The device of real life: a directory of the host.
//!
//! Owns: every call of the program that reaches the files of a volume; how they are reached is in `file/directory.rs` (FIL-1, FIL-2, FIL-4,
//! FIL-5). Must be true: FIL-3 O_DIRECT is an optimisation: what host or alignment refuse goes through the page cache of the same file.
//! Fails: with the host's kind of error, the operation and the path.

mod directory;

use super::medium::host_error;
use super::{DEVICE_FILE_MAX_BYTES, Device, DeviceFile, DirEntry, Kind, Metadata, Open, Space, check_dir_path, check_path, end_of};
use crate::limits::DIRECT_ALIGN;
use parking_lot::Mutex;
use rustix::fd::OwnedFd;
use rustix::fs::{self, FallocateFlags, FileType, OFlags, Stat};
use rustix::io::{self as host, Errno, retry_on_intr};
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use directory::{HostDirectory, Refused};

/// A directory of the host.
pub struct FileDevice {
    root: HostDirectory,
}

impl FileDevice {
    /// The volume in an existing directory.
    ///
    /// # Errors
    /// The host's, if it cannot be opened as a directory.
    pub fn new(root: &Path) -> io::Result<Self> {
        let opened = HostDirectory::open(root).map_err(|errno| at("open the volume", &root.to_string_lossy(), errno))?;
        Ok(Self { root: opened })
    }
}

impl Device for FileDevice {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>> {
        check_path(path)?;
        let (fd, _) = self.root.opened(path, how.access).map_err(|refused| refused.at(path))?;
        // After the open, not in it: some hosts make the file and then refuse O_DIRECT.
        let direct = how.direct && fs::fcntl_setfl(&fd, OFlags::DIRECT).is_ok();
        if !direct {
            fs::fcntl_setfl(&fd, OFlags::empty()).map_err(|errno| at("open", path, errno))?;
        }
        Ok(Arc::new(HostFile { fd, direct, buffered_turn: Mutex::new(()), path: path.into() }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        check_dir_path(path)?;
        if path.is_empty() {
            return Ok(());
        }
        self.root.create_dir(path).map_err(|errno| at("create directory", path, errno))
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        check_dir_path(path)?;
        self.root.list(path).map_err(|errno| at("list", path, errno))
    }

    fn metadata(&self, path: &str) -> io::Result<Option<Metadata>> {
        check_dir_path(path)?;
        match self.root.stat(path) {
            Ok(stat) => Ok(Some(described(&stat))),
            // Behind a link is nothing of ours, as behind a file.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(at("look at", path, errno)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_path(from)?;
        check_path(to)?;
        self.root.rename(from, to).map_err(|errno| at(&format!("rename {from} to"), to, errno))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        check_path(path)?;
        self.root.remove(path).map_err(|errno| at("remove", path, errno))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        check_dir_path(path)?;
        // A sync is not retried on EINTR: whether the first one reported an error would be lost.
        self.root.directory(path).and_then(fs::fsync).map_err(|errno| at("sync directory", path, errno))
    }

    fn space(&self) -> io::Result<Space> {
        let stat = retry_on_intr(|| fs::fstatvfs(&self.root)).map_err(|errno| at("ask the space of", "the volume", errno))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total_bytes: bytes(stat.f_blocks), free_bytes: bytes(stat.f_bavail) })
    }
}

/// An open file of the host.
struct HostFile {
    fd: OwnedFd,
    direct: bool,
    /// Held while O_DIRECT is taken off the descriptor for one unaligned operation. Aligned ones do not wait: they work either way.
    buffered_turn: Mutex<()>,
    path: Box<str>,
}

impl HostFile {
    /// Runs one read or write directly where that can work, and else through the page cache.
    fn transfer(&self, aligned: bool, mut once: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
        if !self.direct {
            return retry_on_intr(once);
        }
        if aligned {
            match retry_on_intr(&mut once) {
                // The host wants more alignment than we gave.
                Err(Errno::INVAL) => {}
                done => return done,
            }
        }
        let _turn = self.buffered_turn.lock();
        fs::fcntl_setfl(&self.fd, OFlags::empty())?;
        let done = retry_on_intr(once);
        fs::fcntl_setfl(&self.fd, OFlags::DIRECT)?;
        done
    }

    fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        let zeros = [0; 16 * DIRECT_ALIGN];
        let mut offset = from;
        while offset < to {
            let len = usize::try_from(to - offset).map_or(zeros.len(), |left| left.min(zeros.len()));
            self.write_at(zeros.get(..len).unwrap_or(&zeros), offset)?;
            offset += len as u64;
        }
        Ok(())
    }
}

impl DeviceFile for HostFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let Ok(_) = end_of(offset, buf.len(), DEVICE_FILE_MAX_BYTES) else { return Ok(0) };
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let position = offset + filled as u64;
            let aligned = is_aligned(rest, position);
            match self.transfer(aligned, || host::pread(&self.fd, &mut *rest, position)).map_err(|errno| at("read", &self.path, errno))? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        end_of(offset, buf.len(), DEVICE_FILE_MAX_BYTES)?;
        let mut written = 0;
        while let Some(rest) = buf.get(written..).filter(|rest| !rest.is_empty()) {
            let position = offset + written as u64;
            match self.transfer(is_aligned(rest, position), || host::pwrite(&self.fd, rest, position)) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::WriteZero, format!("write {}: the host takes no bytes", self.path))),
                Ok(count) => written += count,
                Err(errno) => return Err(at("write", &self.path, errno)),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        fs::fdatasync(&self.fd).map_err(|errno| at("sync", &self.path, errno))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        end_of(len, 0, DEVICE_FILE_MAX_BYTES)?;
        retry_on_intr(|| fs::ftruncate(&self.fd, len)).map_err(|errno| at("set the length of", &self.path, errno))
    }

    fn len(&self) -> io::Result<u64> {
        let stat = fs::fstat(&self.fd).map_err(|errno| at("look at", &self.path, errno))?;
        Ok(described(&stat).size_bytes)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        end_of(len, 0, DEVICE_FILE_MAX_BYTES)?;
        if len == 0 {
            return Ok(());
        }
        match retry_on_intr(|| fs::fallocate(&self.fd, FallocateFlags::empty(), 0, len)) {
            // No preallocation on this host: zeros hold the space as well. Holes below the present end stay holes.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(self.len()?, len),
            done => done.map_err(|errno| at("allocate", &self.path, errno)),
        }
    }
}

fn is_aligned(buf: &[u8], offset: u64) -> bool {
    buf.as_ptr().addr().is_multiple_of(DIRECT_ALIGN) && buf.len().is_multiple_of(DIRECT_ALIGN) && offset.is_multiple_of(DIRECT_ALIGN as u64)
}

fn described(stat: &Stat) -> Metadata {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Metadata { kind: Kind::File, size_bytes: u64::try_from(stat.st_size).unwrap_or(0) },
        FileType::Directory => Metadata { kind: Kind::Directory, size_bytes: 0 },
        _ => Metadata { kind: Kind::Other, size_bytes: 0 },
    }
}

/// The host's error with what was tried, and where.
fn at(what: &str, path: &str, errno: Errno) -> io::Error {
    host_error(format!("{what} {path}: {}", io::Error::from(errno)), errno)
}
