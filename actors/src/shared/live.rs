//! Live rows: size and times of files with unplaced changes, where every thread can see them.
//!
//! Must be true: O10 only the shard of an inode sets or removes its live row; it is removed after a tree that says the same was
//! published.

use crate::api::Attributes;
use infmap_storage::file_buffer::LiveRow;
use infmap_storage::limits::CLUSTER_BYTES;
use infmap_storage::row::Inode;
use parking_lot::RwLock;
use std::collections::HashMap;

const SHARDS: usize = 64;

/// The live rows of a volume.
pub struct LiveRows {
    shards: [RwLock<HashMap<Inode, LiveRow>>; SHARDS],
}

impl Default for LiveRows {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()) }
    }
}

/// `st_blocks` of a cluster.
const BLOCKS_OF_CLUSTER: u64 = CLUSTER_BYTES as u64 / 512;

impl LiveRows {
    #[expect(clippy::indexing_slicing, reason = "a number modulo the length of the array")]
    fn shard(&self, inode: Inode) -> &RwLock<HashMap<Inode, LiveRow>> {
        &self.shards[inode.0 as usize % SHARDS]
    }

    #[must_use]
    pub fn get(&self, inode: Inode) -> Option<LiveRow> {
        self.shard(inode).read().get(&inode).copied()
    }

    pub fn set(&self, inode: Inode, row: LiveRow) {
        self.shard(inode).write().insert(inode, row);
    }

    /// Whether no file has anything that its row does not say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.read().is_empty())
    }

    pub fn remove(&self, inode: Inode) {
        self.shard(inode).write().remove(&inode);
    }

    /// Lays a live row over what a row of `version` says.
    #[must_use]
    pub fn overlay(mut shown: Attributes, version: u64, live: Option<&LiveRow>) -> Attributes {
        if let Some(live) = live.filter(|live| live.version > version) {
            shown.size = live.size;
            shown.accessed = live.accessed;
            shown.modified = live.modified;
            shown.changed = shown.changed.max(live.changed);
        }
        if let Some(live) = live {
            // What waits to be placed is counted as it will be, also when the log has it and the row says all else. What is overwritten is
            // counted once in a file that has no holes.
            let whole = shown.size.div_ceil(CLUSTER_BYTES as u64) * BLOCKS_OF_CLUSTER;
            shown.blocks = (shown.blocks + live.dirty_blocks * BLOCKS_OF_CLUSTER).min(shown.blocks.max(whole));
        }
        shown
    }
}
