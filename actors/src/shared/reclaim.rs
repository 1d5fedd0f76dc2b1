//! What files gave up, and the next roots give back.
//!
//! Owns: `Reclaim`. Must be true: RCL-1 who finds no room asks for roots before he is refused, and not for ever: so many in a row find
//! what there is to find, and then only what files give up makes another worth it. Fails: never; an estimate that is wrong costs a
//! checkpoint, or a refusal that a later one would have spared.

use crate::cleaner::Gained;
use infmap_storage::limits::{CLUSTER_BYTES, REGION_BYTES};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Roots after which nothing more comes free: one finds what is dead, the next gives it back, the third what they left dead themselves.
const ROOTS: u32 = 3;
/// Bytes given up that make another root worth asking for. A write that waits for room may itself cause a block or two to be placed anew.
const NEWS_BYTES: u64 = 16 * CLUSTER_BYTES as u64;
/// Bytes given up at which a root is worth it although nobody needs the room.
const WORTH_BYTES: u64 = 4 * REGION_BYTES as u64;

/// One part in so many of what is alive is beside it in its image: parity, tables, framing.
const OVERHEAD_PART: u64 = 14;

/// What may come free.
#[derive(Debug, Default)]
pub struct Reclaim {
    /// Bytes that files gave up since the volume was opened; of that, what the two newest roots knew.
    given_up: AtomicU64,
    /// As much as it was when that last was news.
    told: AtomicU64,
    in_newest: AtomicU64,
    in_older: AtomicU64,
    asked: AtomicU32,
    /// Inodes are being dropped, so that more will be given up.
    is_dropping: AtomicBool,
    /// Bytes of clusters that were alive when the last root was frozen.
    live: AtomicU64,
    /// The last round of cleaning found nothing that would be worth it, and next to nothing was given up since.
    is_clean: AtomicBool,
    /// Bytes of images that cleaning wrote, and that it made free.
    cleaner_written: AtomicU64,
    cleaner_freed: AtomicU64,
}

impl Reclaim {
    /// Files have given up so many clusters so far.
    pub fn given_up(&self, clusters: u64) {
        let bytes = clusters.saturating_mul(CLUSTER_BYTES as u64);
        self.given_up.store(bytes, Ordering::Relaxed);
        if bytes.saturating_sub(self.told.load(Ordering::Relaxed)) >= NEWS_BYTES {
            self.told.store(bytes, Ordering::Relaxed);
            self.asked.store(0, Ordering::Relaxed);
            self.is_clean.store(false, Ordering::Relaxed);
        }
    }

    /// So many clusters are alive in the root that is frozen now.
    pub fn live(&self, clusters: u64) {
        self.live.store(clusters.saturating_mul(CLUSTER_BYTES as u64), Ordering::Relaxed);
    }

    /// Bytes of images, out of `image_bytes`, that hold nothing which is alive: an estimate, with what images have beside their clusters.
    #[must_use]
    pub fn dead(&self, image_bytes: u64) -> u64 {
        dead(self.live.load(Ordering::Relaxed), image_bytes)
    }

    /// A round of cleaning ended.
    pub fn cleaned(&self, gained: &Gained) {
        self.cleaner_written.fetch_add(gained.written_bytes, Ordering::Relaxed);
        self.cleaner_freed.fetch_add(gained.image_bytes, Ordering::Relaxed);
        self.is_clean.store(gained.bytes() == 0, Ordering::Relaxed);
    }

    /// Whether a round of cleaning may make room.
    #[must_use]
    pub fn may_clean(&self) -> bool {
        !self.is_clean.load(Ordering::Relaxed)
    }

    /// Bytes of images that cleaning wrote so far, and of those that it made free.
    #[must_use]
    pub fn cleaner_bytes(&self) -> (u64, u64) {
        (self.cleaner_written.load(Ordering::Relaxed), self.cleaner_freed.load(Ordering::Relaxed))
    }

    /// Whether inodes are being dropped.
    pub fn dropping(&self, some: bool) {
        self.is_dropping.store(some, Ordering::Relaxed);
    }

    /// The trees of a root that will be the newest were frozen now.
    pub fn frozen(&self) {
        self.in_older.store(self.in_newest.swap(self.given_up.load(Ordering::Relaxed), Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Whether so much was given up that is not given back that it is worth a root.
    #[must_use]
    pub fn is_worth_a_root(&self) -> bool {
        self.given_up.load(Ordering::Relaxed).saturating_sub(self.in_older.load(Ordering::Relaxed)) >= WORTH_BYTES
    }

    /// Whether somebody without room may ask for a root: it counts as asked for.
    #[must_use]
    pub fn may_ask(&self) -> bool {
        self.is_dropping.load(Ordering::Relaxed)
            || self.asked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |asked| (asked < ROOTS).then_some(asked + 1)).is_ok()
    }
}

/// The same for so many bytes that are alive.
#[must_use]
pub fn dead(live: u64, image_bytes: u64) -> u64 {
    image_bytes.saturating_sub(live.saturating_add(live / OVERHEAD_PART))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_asked_for_until_nothing_more_can_come_free_and_again_when_files_give_something_up() {
        let reclaim = Reclaim::default();
        assert_eq!((0..6).filter(|_| reclaim.may_ask()).count(), ROOTS as usize);
        reclaim.given_up(15);
        assert!(!reclaim.may_ask(), "that is what a waiting write gives up itself");
        reclaim.given_up(16);
        assert!(reclaim.may_ask());
        (0..9).for_each(|_| reclaim.given_up(16));
        reclaim.dropping(true);
        assert!((0..9).all(|_| reclaim.may_ask()), "there will be something");
        reclaim.dropping(false);
        assert_eq!((0..6).filter(|_| reclaim.may_ask()).count(), ROOTS as usize - 1, "the same again is nothing new");
    }

    #[test]
    fn what_was_given_up_is_worth_two_roots() {
        let reclaim = Reclaim::default();
        assert!(!reclaim.is_worth_a_root());
        reclaim.given_up(WORTH_BYTES / CLUSTER_BYTES as u64);
        for _ in 0..2 {
            assert!(reclaim.is_worth_a_root());
            reclaim.frozen();
        }
        assert!(!reclaim.is_worth_a_root());
    }
}
