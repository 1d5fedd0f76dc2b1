//! Who still uses which inode.
//!
//! Must be true: an inode without names lives until its last user forgets it.

use infmap_storage::row::{Inode, ROOT_INODE};
use parking_lot::Mutex;
use std::collections::HashMap;

const SHARDS: usize = 64;

/// Counts of users by inode. The root is always in use and not counted.
pub(super) struct Holds {
    shards: [Mutex<HashMap<Inode, u64>>; SHARDS],
}

impl Default for Holds {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Holds {
    #[expect(clippy::indexing_slicing, reason = "a number modulo the length of the array")]
    fn shard(&self, inode: Inode) -> &Mutex<HashMap<Inode, u64>> {
        &self.shards[inode.0 as usize % SHARDS]
    }

    pub(super) fn add(&self, inode: Inode) {
        if inode != ROOT_INODE {
            *self.shard(inode).lock().entry(inode).or_default() += 1;
        }
    }

    /// Takes `count` users away; true if the last went.
    pub(super) fn remove(&self, inode: Inode, count: u64) -> bool {
        let mut shard = self.shard(inode).lock();
        let Some(held) = shard.get_mut(&inode) else { return false };
        *held = held.saturating_sub(count);
        if *held > 0 {
            return false;
        }
        shard.remove(&inode);
        // An emptied map would keep the memory of its greatest size.
        if shard.capacity() > 4 * shard.len() + 64 {
            shard.shrink_to_fit();
        }
        true
    }

    pub(super) fn is_held(&self, inode: Inode) -> bool {
        inode == ROOT_INODE || self.shard(inode).lock().contains_key(&inode)
    }

    pub(super) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}
