//! The caches, as somebody steers them: filled ahead of readers, and emptied.
//!
//! Must be true: what is filled ahead goes through the lane that is asked for, so that it stands behind requests (O7), and takes no more
//! memory than L1 has; nothing that is dirty is ever dropped. Fails: with refusals.

use super::Volume;
use crate::api::Answer;
use crate::mailbox::Lane;
use crate::pixel_reader::{ReadMessage, slot_of};
use crate::replier::Replier;
use infmap_storage::cached::CacheUse;
use infmap_storage::row::Inode;

/// What one of the caches holds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierUse {
    /// `l1`: decoded clusters; `l2`: compressed units; `nodes`: of the tables; `dirty`: what no image has yet.
    pub tier: &'static str,
    pub limit_bytes: u64,
    pub held: CacheUse,
}

impl Volume {
    /// Brings bytes of a file into L1, as far as the file goes, a megabyte at most, and answers how many those were. `lane`:
    /// [`Lane::Background`] stands behind all requests.
    #[expect(clippy::indexing_slicing, reason = "`slot_of` is below the number of readers")]
    pub fn warm_range(&self, inode: Inode, offset: u64, length: u64, lane: Lane, replier: Replier<Answer<u64>>) {
        let readers = &self.front.reader_slots;
        readers[slot_of(inode, offset, readers.len())].post(lane, ReadMessage::Warm { inode, offset, length, replier });
    }

    /// What the caches hold. Of what is dirty only the bytes are counted.
    #[must_use]
    pub fn caches(&self) -> [TierUse; 4] {
        let shared = self.shared();
        let plan = shared.settings().memory_plan();
        let [l1, l2] = shared.tiers.state();
        let dirty = CacheUse { bytes: shared.budget.used(), ..CacheUse::default() };
        let tier = |tier, limit_bytes, held| TierUse { tier, limit_bytes, held };
        [
            tier("l1", plan.l1, l1),
            tier("l2", plan.l2, l2),
            // The other half is for those that were changed.
            tier("nodes", plan.nodes / 2, shared.nodes.resident.state()),
            tier("dirty", shared.budget.limit(), dirty),
        ]
    }

    /// Forgets what was read and can be read again: bytes of files, and nodes of the tables. Says how many bytes came free.
    #[must_use]
    pub fn drop_clean(&self) -> u64 {
        let shared = self.shared();
        let held = || {
            let [l1, l2] = shared.tiers.state();
            l1.bytes + l2.bytes + shared.nodes.resident.resident_bytes()
        };
        let before = held();
        shared.tiers.clear();
        shared.nodes.resident.clear();
        before.saturating_sub(held())
    }
}
