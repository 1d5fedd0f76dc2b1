//! A volume opened to be looked at, while nobody has it mounted.
//!
//! Owns: `Offline`, the recovered and folded state with the way to its nodes, and the device that refuses every change. Must be
//! true: OFF-1 nothing on the device is changed: what recovery opens for writing, to sync it, is opened for reading and synced.
//! Fails: as recovery does; space that cannot be folded is told, not hidden.

use crate::device::{Access, Device, DeviceFile, DirEntry, Metadata, Open, Space};
use crate::images::Images;
use crate::nodes::NodeStore;
use crate::recover::{RecoverError, Recovered, recover};
use crate::row::Inode;
use crate::state::{FoldProgress, StateError};
use crate::vat::TreeId;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// A volume as its log and images have it, in memory.
pub struct Offline {
    /// Gives and syncs bytes, changes nothing.
    pub device: Arc<dyn Device>,
    pub uuid: [u8; 16],
    /// Without the logged data, which is counted in `logged_blocks`.
    pub recovered: Recovered,
    /// Blocks of each file that are in the log and in no image yet.
    pub logged_blocks: BTreeMap<Inode, u64>,
    pub nodes: NodeStore,
    /// Why the volume tree does not say all that is known about space; nothing of it can be judged then.
    pub unfolded: Option<StateError>,
}

impl Offline {
    /// Opens the volume; `node_bytes` is the memory for nodes.
    ///
    /// # Errors
    /// See [`RecoverError`].
    pub fn open(device: &Arc<dyn Device>, uuid: [u8; 16], node_bytes: u64) -> Result<Self, RecoverError> {
        let device: Arc<dyn Device> = Arc::new(ReadOnly(Arc::clone(device)));
        let nodes = NodeStore::new(Arc::new(Images::new(Arc::clone(&device), 1)), node_bytes);
        let mut recovered = recover(&device, uuid, &nodes)?;
        let unfolded = loop {
            let source = nodes.loading(TreeId::Volume);
            match recovered.state.fold(&source, &(), usize::MAX) {
                Ok(FoldProgress::Settled) => break None,
                Ok(FoldProgress::More) => {}
                Err(error) => break Some(error),
            }
        };
        let mut logged_blocks = BTreeMap::new();
        for (inode, ..) in std::mem::take(&mut recovered.data).into_blocks() {
            *logged_blocks.entry(inode).or_insert(0) += 1;
        }
        Ok(Self { device, uuid, recovered, logged_blocks, nodes, unfolded })
    }
}

/// A device that gives bytes and takes none.
struct ReadOnly(Arc<dyn Device>);

fn refused(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{path}: the volume is only being read"))
}

impl Device for ReadOnly {
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
        self.0.list(path)
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
        self.0.sync_dir(path)
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
        self.0.sync()
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
