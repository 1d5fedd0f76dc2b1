//! A device that gives bytes and takes none: for the verbs that only look, and for a mount that may change nothing.
//!
//! Must be true: RDO-1 nothing on the device below is changed; what is opened for writing, to sync it, is opened for reading and synced;
//! RDO-2 a directory that is not there is empty: programs that copy volumes leave empty ones out, and nothing can be made here.
//! Fails: with PermissionDenied for every change, else with the device's own error.

use super::{Access, Device, DeviceFile, DirEntry, Metadata, Open, Space};
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Another device, without its ways to change anything.
pub struct ReadOnlyDevice(Arc<dyn Device>);

impl ReadOnlyDevice {
    #[must_use]
    pub fn new(device: Arc<dyn Device>) -> Self {
        Self(device)
    }
}

fn refused(path: &str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, format!("{path}: the volume is only being read"))
}

/// A host that cannot be written to holds nothing back; some say so by refusing to sync (squashfs: EINVAL).
fn synced(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::ReadOnlyFilesystem | ErrorKind::Unsupported) => Ok(()),
        done => done,
    }
}

impl Device for ReadOnlyDevice {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>> {
        if how.creates() {
            return Err(refused(path));
        }
        Ok(Arc::new(ReadOnlyFile(self.0.open(path, Open { access: Access::Read, ..how })?)))
    }
    fn create_dir(&self, path: &str) -> io::Result<()> {
        Err(refused(path))
    }
    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        match self.0.list(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed,
        }
    }
    fn metadata(&self, path: &str) -> io::Result<Option<Metadata>> {
        self.0.metadata(path)
    }
    fn rename(&self, from: &str, _: &str) -> io::Result<()> {
        Err(refused(from))
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        Err(refused(path))
    }
    fn sync_dir(&self, path: &str) -> io::Result<()> {
        synced(self.0.sync_dir(path))
    }
    fn space(&self) -> io::Result<Space> {
        self.0.space()
    }
}

struct ReadOnlyFile(Arc<dyn DeviceFile>);

impl DeviceFile for ReadOnlyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(refused("a file"))
    }
    fn sync(&self) -> io::Result<()> {
        synced(self.0.sync())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(refused("a file"))
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(refused("a file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemoryDevice;

    #[test]
    fn everything_is_read_and_nothing_is_changed() {
        let below: Arc<dyn Device> = Arc::new(MemoryDevice::new());
        below.create_dir("map").unwrap();
        below.open("map/a", Open::CREATE).unwrap().write_at(b"bytes", 0).unwrap();
        let device = ReadOnlyDevice::new(below.clone());
        let file = device.open("map/a", Open { access: Access::Write, ..Open::READ }).unwrap();
        let mut read = [0; 5];
        assert_eq!((file.read_at(&mut read, 0).unwrap(), &read, file.len().unwrap()), (5, b"bytes", 5));
        file.sync().unwrap();
        device.sync_dir("map").unwrap();
        let refusals = [
            file.write_at(b"x", 0),
            file.set_len(0),
            file.allocate(9),
            device.open("map/b", Open::CREATE).map(drop),
            device.create_dir("wal"),
            device.rename("map/a", "map/b"),
            device.remove("map/a"),
        ];
        for refusal in refusals {
            assert_eq!(refusal.unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
        assert_eq!(below.list("map").unwrap().len(), 1);
    }

    #[test]
    fn a_host_that_cannot_be_written_to_need_not_sync_and_another_must() {
        for kind in [ErrorKind::InvalidInput, ErrorKind::ReadOnlyFilesystem, ErrorKind::Unsupported] {
            synced(Err(kind.into())).unwrap();
        }
        assert_eq!(synced(Err(ErrorKind::StorageFull.into())).unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(synced(Err(io::Error::from_raw_os_error(5))).is_err());
    }

    #[test]
    fn a_directory_that_is_not_there_is_empty() {
        let device = ReadOnlyDevice::new(Arc::new(MemoryDevice::new()));
        assert!(device.list("map").unwrap().is_empty());
    }
}
