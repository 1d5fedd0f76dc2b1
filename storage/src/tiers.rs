//! What was read and may be read again: L1 decoded, L2 in its stored, compressed form.
//!
//! Owns: `Tiers`. Must be true: TIR-1 only verified bytes enter; TIR-2 each tier holds no more bytes than its share of the budget; TIR-3
//! entries are named by address, which carries the generation, so none is ever stale. Fails: never; an entry that is too large is
//! not kept.

use crate::address::Address;
use crate::ahead::{Ahead, AheadCounts};
use crate::blocks::Block;
use crate::cached::{CacheUse, Evictions};
use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Weighter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something decoded.
#[derive(Clone)]
pub enum Decoded {
    /// A raw cluster.
    Cluster(Block),
    /// A unit that was stored compressed.
    Unit(Bytes),
}

/// The same in the cache, with the piece that brought it if it was read ahead.
#[derive(Clone)]
struct Kept {
    decoded: Decoded,
    ahead: Option<Arc<Ahead>>,
}

/// Bytes that an entry costs beside its content: keys, links and counters of the cache.
const ENTRY_BYTES: u64 = 128;

#[derive(Clone)]
struct Weight;

impl Weighter<Address, Kept> for Weight {
    fn weight(&self, _: &Address, kept: &Kept) -> u64 {
        ENTRY_BYTES
            + match &kept.decoded {
                Decoded::Cluster(_) => crate::limits::CLUSTER_BYTES as u64,
                Decoded::Unit(unit) => unit.len() as u64,
            }
    }
}

impl Weighter<Address, Bytes> for Weight {
    fn weight(&self, _: &Address, stored: &Bytes) -> u64 {
        ENTRY_BYTES + stored.len() as u64
    }
}

/// A tier, and what is counted of it.
struct Tier<T> {
    cache: Cache<Address, T, Weight, DefaultHashBuilder, Evictions>,
    evictions: Evictions,
    missed: AtomicU64,
}

impl<T: Clone> Tier<T>
where
    Weight: Weighter<Address, T>,
{
    fn new(bytes: u64, each: u64) -> Self {
        let entries = usize::try_from(bytes / each).unwrap_or(usize::MAX).max(16);
        let evictions = Evictions::default();
        let cache = Cache::with(entries, bytes, Weight, DefaultHashBuilder::default(), evictions.clone());
        Self { cache, evictions, missed: AtomicU64::new(0) }
    }

    fn state(&self) -> CacheUse {
        let (evicted_cold, evicted_hot) = self.evictions.counts();
        CacheUse {
            bytes: self.cache.weight(),
            entries: self.cache.len() as u64,
            hits: self.cache.hits(),
            missed: self.missed.load(Ordering::Relaxed),
            evicted_cold,
            evicted_hot,
        }
    }
}

/// Both tiers of the read cache.
pub struct Tiers {
    decoded: Tier<Kept>,
    stored: Tier<Bytes>,
    /// Bytes of the units that came into L2: decoded, and as they are stored.
    compressed: (AtomicU64, AtomicU64),
    ahead: Arc<AheadCounts>,
}

impl Tiers {
    /// Tiers of so many bytes.
    #[must_use]
    pub fn new(l1_bytes: u64, l2_bytes: u64) -> Self {
        Self {
            decoded: Tier::new(l1_bytes, 8 * 1024),
            stored: Tier::new(l2_bytes, 16 * 1024),
            compressed: Default::default(),
            ahead: Arc::default(),
        }
    }

    /// Makes the tiers larger or smaller. What does not fit any more is evicted before this returns.
    pub fn resize(&self, l1_bytes: u64, l2_bytes: u64) {
        self.decoded.cache.set_capacity(l1_bytes);
        self.stored.cache.set_capacity(l2_bytes);
    }

    /// The decoded cluster or unit at an address.
    #[must_use]
    pub fn decoded(&self, at: Address) -> Option<Decoded> {
        let Kept { decoded, ahead } = self.decoded.cache.get(&at)?;
        if let Some(ahead) = ahead {
            ahead.used();
        }
        Some(decoded)
    }

    /// The same for whoever does not ask for it: nothing is counted, and it does not stay longer for that.
    #[must_use]
    pub fn peek_decoded(&self, at: Address) -> Option<Decoded> {
        self.decoded.cache.peek(&at).map(|kept| kept.decoded)
    }

    /// Keeps something decoded, which a piece that was read ahead has brought, or nobody.
    pub fn keep_decoded(&self, at: Address, decoded: Decoded, ahead: Option<&Arc<Ahead>>) {
        if let Some(ahead) = ahead {
            ahead.kept();
        }
        self.decoded.cache.insert(at, Kept { decoded, ahead: ahead.cloned() });
    }

    /// So many look-ups of L1 found nothing, and what was missing was fetched.
    pub fn missed_decoded(&self, entries: u64) {
        self.decoded.missed.fetch_add(entries, Ordering::Relaxed);
    }

    /// The stored form of the compressed unit at an address.
    #[must_use]
    pub fn stored(&self, at: Address) -> Option<Bytes> {
        let found = self.stored.cache.get(&at);
        if found.is_none() {
            self.stored.missed.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// Whether it is there, for whoever does not ask for it.
    #[must_use]
    pub fn has_stored(&self, at: Address) -> bool {
        self.stored.cache.peek(&at).is_some()
    }

    /// Keeps a unit as it is stored, which has so many bytes when it is decoded.
    pub fn keep_stored(&self, at: Address, stored: Bytes, decoded_bytes: u64) {
        self.compressed.0.fetch_add(decoded_bytes, Ordering::Relaxed);
        self.compressed.1.fetch_add(stored.len() as u64, Ordering::Relaxed);
        self.stored.cache.insert(at, stored);
    }

    /// Forgets everything: it can be read again.
    pub fn clear(&self) {
        self.decoded.cache.clear();
        self.stored.cache.clear();
    }

    /// A piece that is about to be read ahead.
    #[must_use]
    pub fn ahead(&self) -> Arc<Ahead> {
        Ahead::new(&self.ahead)
    }

    /// What became of the pieces that were read ahead.
    #[must_use]
    pub fn ahead_counts(&self) -> &AheadCounts {
        &self.ahead
    }

    /// How L1 and L2 are.
    #[must_use]
    pub fn state(&self) -> [CacheUse; 2] {
        [self.decoded.state(), self.stored.state()]
    }

    /// Bytes of all units that ever came into L2: decoded, and as they are stored.
    #[must_use]
    pub fn compressed_bytes(&self) -> (u64, u64) {
        (self.compressed.0.load(Ordering::Relaxed), self.compressed.1.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Cluster, Generation, Place, RegionId};

    fn at(n: u32) -> Address {
        Address { region: RegionId { place: Place(n), generation: Generation(7) }, cluster: Cluster::FIRST }
    }

    #[test]
    fn what_is_found_missed_and_displaced_is_counted() {
        let tiers = Tiers::new(0, 64 * 1024);
        for n in 0..100 {
            assert!(tiers.stored(at(n)).is_none());
            tiers.keep_stored(at(n), Bytes::from(vec![1; 8 * 1024]), 32 * 1024);
        }
        let found = (0..100).filter(|n| tiers.stored(at(*n)).is_some()).count() as u64;
        let [_, l2] = tiers.state();
        assert!((1..100).contains(&found) && l2.bytes <= 64 * 1024, "{l2:?}");
        assert_eq!((l2.hits, l2.missed, l2.entries), (found, 200 - found, found));
        assert_eq!(l2.evicted_cold + l2.evicted_hot, 100 - found);
        assert_eq!(tiers.compressed_bytes(), (100 * 32 * 1024, 100 * 8 * 1024));
    }

    #[test]
    fn what_was_read_ahead_is_used_when_it_is_found_and_wasted_when_it_is_displaced() {
        let tiers = Tiers::new(64 * 1024, 0);
        let unit = |bytes| Decoded::Unit(Bytes::from(vec![2; bytes]));
        let piece = tiers.ahead();
        (0..3).for_each(|n| tiers.keep_decoded(at(n), unit(512), Some(&piece)));
        drop(piece);
        tiers.keep_decoded(at(9), unit(512), Some(&tiers.ahead()));
        assert_eq!(tiers.ahead_counts().counts(), (2, 0, 0));
        assert!(tiers.decoded(at(1)).is_some());
        assert_eq!(tiers.ahead_counts().counts(), (2, 1, 0));
        (100..1000).for_each(|n| tiers.keep_decoded(at(n), unit(8 * 1024), None));
        assert_eq!(tiers.ahead_counts().counts(), (2, 1, 1), "{:?}", tiers.state());
    }
}
