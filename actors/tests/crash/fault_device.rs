//! A device whose operations fail on command, over any other: what the simulated disk does by itself, for a real directory.
//!
//! Owns: `Faults` (the commands, shared with whoever gives them) and `FaultDevice`. Must be true: a command is spent once; an operation
//! that fails has no effect, but for a write, of which a first part may be there. Fails: on command, else as the device below.

use infmap_storage::device::{Device, DeviceFile, DirEntry, Metadata, Open, Operation, Space};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

/// What is to fail: after so many operations of a kind, with this error.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<(u64, Operation, ErrorKind)>>>);

impl Faults {
    pub fn add(&self, after: u64, which: Operation, kind: ErrorKind) {
        self.0.lock().unwrap().push((after, which, kind));
    }

    /// How many are still to come.
    pub fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    fn check(&self, which: Operation) -> io::Result<()> {
        let mut faults = self.0.lock().unwrap();
        let mut failed = None;
        faults.retain_mut(|(left, of, kind)| {
            if *of != which || failed.is_some() {
                return true;
            }
            if *left > 0 {
                *left -= 1;
                return true;
            }
            failed = Some(*kind);
            false
        });
        failed.map_or(Ok(()), |kind| Err(io::Error::new(kind, format!("{which:?}: failed on command"))))
    }
}

pub struct FaultDevice {
    pub inner: Arc<dyn Device>,
    pub faults: Faults,
}

struct FaultFile {
    inner: Arc<dyn DeviceFile>,
    faults: Faults,
}

impl DeviceFile for FaultFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.faults.check(Operation::Read)?;
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.faults.check(Operation::Write).inspect_err(|_| drop(self.inner.write_at(&buf[..buf.len() / 3], offset)))?;
        self.inner.write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.check(Operation::Sync)?;
        self.inner.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.check(Operation::SetLen)?;
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.faults.check(Operation::Allocate)?;
        self.inner.allocate(len)
    }
}

impl Device for FaultDevice {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>> {
        self.faults.check(Operation::Open)?;
        Ok(Arc::new(FaultFile { inner: self.inner.open(path, how)?, faults: self.faults.clone() }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.faults.check(Operation::CreateDir)?;
        self.inner.create_dir(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.faults.check(Operation::List)?;
        self.inner.list(path)
    }

    fn metadata(&self, path: &str) -> io::Result<Option<Metadata>> {
        self.faults.check(Operation::Metadata)?;
        self.inner.metadata(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.faults.check(Operation::Rename)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.faults.check(Operation::Remove)?;
        self.inner.remove(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.faults.check(Operation::SyncDir)?;
        self.inner.sync_dir(path)
    }

    fn space(&self) -> io::Result<Space> {
        self.faults.check(Operation::Space)?;
        self.inner.space()
    }
}
