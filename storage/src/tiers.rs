//! What was read and may be read again: L1 decoded, L2 in its stored, compressed form.
//!
//! Owns: `Tiers`. Must be true: TIR-1 only verified bytes enter; TIR-2 each tier holds no more bytes than its share of the budget; TIR-3
//! entries are named by address, which carries the generation, so none is ever stale. Fails: never; an entry that is too large is
//! not kept.

use crate::address::Address;
use crate::blocks::Block;
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Something decoded.
#[derive(Clone)]
pub enum Decoded {
    /// A raw cluster.
    Cluster(Block),
    /// A unit that was stored compressed.
    Unit(Bytes),
}

/// Bytes that an entry costs beside its content: keys, links and counters of the cache.
const ENTRY_BYTES: u64 = 128;

#[derive(Clone)]
struct Weight;

impl Weighter<Address, Decoded> for Weight {
    fn weight(&self, _: &Address, decoded: &Decoded) -> u64 {
        ENTRY_BYTES
            + match decoded {
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

/// Both tiers of the read cache.
pub struct Tiers {
    decoded: Cache<Address, Decoded, Weight>,
    stored: Cache<Address, Bytes, Weight>,
}

impl Tiers {
    /// Tiers of so many bytes.
    #[must_use]
    pub fn new(l1_bytes: u64, l2_bytes: u64) -> Self {
        let entries = |bytes: u64, each: u64| usize::try_from(bytes / each).unwrap_or(usize::MAX).max(16);
        Self {
            decoded: Cache::with_weighter(entries(l1_bytes, 8 * 1024), l1_bytes, Weight),
            stored: Cache::with_weighter(entries(l2_bytes, 16 * 1024), l2_bytes, Weight),
        }
    }

    /// The decoded cluster or unit at an address.
    #[must_use]
    pub fn decoded(&self, at: Address) -> Option<Decoded> {
        self.decoded.get(&at)
    }

    pub fn keep_decoded(&self, at: Address, decoded: Decoded) {
        self.decoded.insert(at, decoded);
    }

    /// The stored form of the compressed unit at an address.
    #[must_use]
    pub fn stored(&self, at: Address) -> Option<Bytes> {
        self.stored.get(&at)
    }

    pub fn keep_stored(&self, at: Address, stored: Bytes) {
        self.stored.insert(at, stored);
    }

    /// Forgets everything: it can be read again.
    pub fn clear(&self) {
        self.decoded.clear();
        self.stored.clear();
    }

    /// Entries held: L1, L2.
    #[must_use]
    pub fn entries(&self) -> (usize, usize) {
        (self.decoded.len(), self.stored.len())
    }

    /// Bytes held: L1, L2.
    #[must_use]
    pub fn held_bytes(&self) -> (u64, u64) {
        (self.decoded.weight(), self.stored.weight())
    }
}
