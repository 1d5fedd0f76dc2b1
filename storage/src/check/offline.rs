//! A volume opened to be looked at, while nobody has it mounted.
//!
//! Owns: `Offline`, the recovered and folded state with the way to its nodes, and the device that refuses every change. Must be
//! true: OFF-1 nothing on the device is changed.
//! Fails: as recovery does; space that cannot be folded is told, not hidden.

use crate::device::{Device, ReadOnlyDevice};
use crate::images::Images;
use crate::nodes::NodeStore;
use crate::recover::{RecoverError, Recovered, recover};
use crate::row::Inode;
use crate::state::{FoldProgress, StateError};
use crate::vat::TreeId;
use std::collections::BTreeMap;
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
        let device: Arc<dyn Device> = Arc::new(ReadOnlyDevice::new(Arc::clone(device)));
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
