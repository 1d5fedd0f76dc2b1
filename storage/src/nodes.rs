//! The nodes of both trees: which are resident, and loading the others from their images.
//!
//! Owns: `NodeStore`. Must be true: NOD-1 a node is used only if its bytes have the checksum that its pointer carries.
//! Fails: see `NodeError`.

use crate::images::{ImageError, Images};
use crate::vat::{LoadingSource, NodeCache, NodeError, NodePtr, NodeSource, TreeId};
use std::io;
use std::sync::Arc;

/// Resident nodes, and the way to the others.
pub struct NodeStore {
    pub resident: NodeCache,
    images: Arc<Images>,
}

impl NodeStore {
    /// A store that keeps up to `capacity_bytes` of clean nodes.
    #[must_use]
    pub fn new(images: Arc<Images>, capacity_bytes: u64) -> Self {
        Self { resident: NodeCache::new(capacity_bytes), images }
    }

    /// A source for one of the trees that may wait for the disk.
    #[must_use]
    pub fn loading(&self, tree: TreeId) -> impl NodeSource + '_ {
        let images = &self.images;
        LoadingSource::new(&self.resident, tree, move |ptr: &NodePtr| {
            let count = usize::from(ptr.clusters);
            let read = images.read_unverified(ptr.address, count);
            match read {
                Ok(bytes) if crc32fast::hash(&bytes) == ptr.crc => Ok(bytes),
                Ok(bytes) => Ok(images.restore(ptr.address, count).unwrap_or(bytes)),
                Err(error) => images.restore(ptr.address, count).ok_or_else(|| into_io(error)),
            }
        })
    }

    /// Makes one node resident.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub fn fetch(&self, ptr: &NodePtr) -> Result<Arc<crate::vat::Node>, NodeError> {
        match self.loading(TreeId::Name).node(ptr) {
            // A pointer does not say of which tree it is; the node does.
            Err(NodeError::Damaged { .. }) => self.loading(TreeId::Volume).node(ptr),
            other => other,
        }
    }
}

fn into_io(error: ImageError) -> io::Error {
    match error {
        ImageError::Io { source, .. } => source,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
