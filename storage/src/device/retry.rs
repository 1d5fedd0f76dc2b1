//! A device that is asked again when it fails in passing.
//!
//! Must be true: RTY-1 what only looks (reads, listings, sizes, opening what exists) is asked again: [`IN_PASSING`] times if the host says
//! that it was interrupted or busy, once for an error that may be the medium's; RTY-2 a write is asked again only if it was interrupted:
//! the same bytes go to the same place; RTY-3 nothing else is: no sync (DEV-4), and no change of names or sizes, of which nobody knows
//! whether it was made. Each time is counted and told. Fails: with the last error.

use super::{Access, Device, DeviceFile, DirEntry, Metadata, Open, Space};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often is asked again after an interruption.
pub const IN_PASSING: u32 = 8;

/// Hears of each failure after which is asked again: what was done, and how it failed.
pub type Note = Box<dyn Fn(&str, &io::Error) + Send + Sync>;

struct Patience {
    note: Note,
    retries: AtomicU64,
}

/// How often it is worth asking again after this error.
fn worth(error: &io::Error, looks: bool) -> u32 {
    match error.kind() {
        ErrorKind::Interrupted | ErrorKind::WouldBlock => IN_PASSING,
        _ if !looks => 0,
        ErrorKind::TimedOut => IN_PASSING,
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::AlreadyExists
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidData
        | ErrorKind::UnexpectedEof
        | ErrorKind::StorageFull
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::Unsupported => 0,
        _ => 1,
    }
}

impl Patience {
    fn look<T>(&self, what: &str, once: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.ask(what, true, once)
    }

    fn ask<T>(&self, what: &str, looks: bool, mut once: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut asked = 0;
        loop {
            match once() {
                Err(error) if asked < worth(&error, looks) => {
                    asked += 1;
                    self.retries.fetch_add(1, Ordering::Relaxed);
                    (self.note)(what, &error);
                }
                done => return done,
            }
        }
    }
}

/// Another device, asked again where that is safe.
pub struct RetryingDevice {
    inner: Arc<dyn Device>,
    patience: Arc<Patience>,
}

impl RetryingDevice {
    #[must_use]
    pub fn new(inner: Arc<dyn Device>, note: Note) -> Self {
        Self { inner, patience: Arc::new(Patience { note, retries: AtomicU64::new(0) }) }
    }

    /// How often something was asked again so far.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.patience.retries.load(Ordering::Relaxed)
    }
}

impl Device for RetryingDevice {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>> {
        let exists = matches!(how.access, Access::Read | Access::Write);
        let inner = if exists { self.patience.look("open", || self.inner.open(path, how))? } else { self.inner.open(path, how)? };
        Ok(Arc::new(RetryingFile { inner, patience: self.patience.clone() }))
    }
    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.patience.look("list", || self.inner.list(path))
    }
    fn metadata(&self, path: &str) -> io::Result<Option<Metadata>> {
        self.patience.look("look at", || self.inner.metadata(path))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.inner.sync_dir(path)
    }
    fn space(&self) -> io::Result<Space> {
        self.patience.look("ask the space of", || self.inner.space())
    }
}

struct RetryingFile {
    inner: Arc<dyn DeviceFile>,
    patience: Arc<Patience>,
}

impl DeviceFile for RetryingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.patience.look("read", || self.inner.read_at(buf, offset))
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.patience.ask("write", false, || self.inner.write_at(buf, offset))
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.patience.look("look at", || self.inner.len())
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Operation, SimulatedDisk};

    fn bed() -> (SimulatedDisk, RetryingDevice, Arc<dyn DeviceFile>) {
        let disk = SimulatedDisk::new(1);
        let device = RetryingDevice::new(Arc::new(disk.clone()), Box::new(|_, error| assert!(!error.to_string().is_empty())));
        let file = device.open("f", Open::CREATE).unwrap();
        file.write_at(b"bytes", 0).unwrap();
        (disk, device, file)
    }

    fn fail(disk: &SimulatedDisk, times: u32, which: Operation, kind: ErrorKind) {
        (0..times).for_each(|_| disk.fail_after(0, which, kind));
    }

    #[test]
    fn a_read_that_fails_in_passing_is_answered_and_one_that_goes_on_failing_is_not() {
        let (disk, device, file) = bed();
        let mut read = [0; 5];
        for (kind, most) in [(ErrorKind::Interrupted, IN_PASSING), (ErrorKind::WouldBlock, IN_PASSING), (ErrorKind::Other, 1)] {
            let before = device.retries();
            fail(&disk, most, Operation::Read, kind);
            assert_eq!((file.read_at(&mut read, 0).unwrap(), &read), (5, b"bytes"), "{kind:?}");
            assert_eq!(device.retries() - before, u64::from(most));
            fail(&disk, most + 1, Operation::Read, kind);
            assert_eq!(file.read_at(&mut read, 0).unwrap_err().kind(), kind);
        }
        fail(&disk, 1, Operation::Open, ErrorKind::Other);
        fail(&disk, 1, Operation::List, ErrorKind::Other);
        assert_eq!(device.open("f", Open::READ).unwrap().len().unwrap(), 5);
        assert_eq!(device.list("").unwrap().len(), 1);
        let before = device.retries();
        assert_eq!(device.open("none", Open::READ).err().map(|error| error.kind()), Some(ErrorKind::NotFound));
        assert_eq!(device.retries(), before, "what is not there will not be there");
    }

    #[test]
    fn a_sync_is_never_repeated_nor_anything_that_changes_names() {
        let (disk, device, file) = bed();
        for kind in [ErrorKind::Interrupted, ErrorKind::WouldBlock, ErrorKind::Other] {
            for which in [Operation::Sync, Operation::SyncDir, Operation::Rename, Operation::Remove, Operation::SetLen, Operation::Allocate]
            {
                fail(&disk, 1, which, kind);
            }
            let done = [file.sync(), device.sync_dir(""), device.rename("f", "g"), device.remove("f"), file.set_len(9), file.allocate(9)];
            assert!(done.iter().all(|done| done.as_ref().is_err_and(|error| error.kind() == kind)), "{kind:?}: {done:?}");
        }
        fail(&disk, 1, Operation::Write, ErrorKind::Other);
        assert!(file.write_at(b"x", 0).is_err());
        assert_eq!(device.retries(), 0);
        fail(&disk, 1, Operation::Write, ErrorKind::Interrupted);
        file.write_at(b"other", 0).unwrap();
        assert_eq!(device.retries(), 1);
    }
}
