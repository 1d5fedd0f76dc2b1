//! What changes mean for space: references to extents and nodes, gathered until they are folded into the volume tree.
//!
//! Owns: `SpaceDeltas`. Must be true: SPC-1 the sum of a stored count (absent: one if its live bits are set) and its delta is the number
//! of rows or pointers that refer to the extent or node; SPC-2 a region is judged dead only by a fold, and only when nobody can still
//! put a row that claims a part of it. Fails: never. Never logged: replay derives the same deltas.

use crate::address::{Address, RegionId};
use crate::row::RegionKind;
use std::collections::{BTreeMap, BTreeSet};

/// Change of the references to one extent or node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceDelta {
    /// Clusters that live and die together.
    pub clusters: u8,
    /// References gained, or lost if negative.
    pub change: i64,
    /// Its first reference was put since the last fold.
    pub born: bool,
}

/// Changes of space since the last fold, in the order of the map, so that a fold visits each region's row once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpaceDeltas {
    pub references: BTreeMap<Address, ReferenceDelta>,
    /// Regions whose rows are still to be made.
    pub granted: BTreeMap<RegionId, RegionKind>,
    /// Regions that may have become empty.
    pub suspects: BTreeSet<RegionId>,
}

impl SpaceDeltas {
    /// A place was granted for this image.
    pub fn grant(&mut self, region: RegionId, kind: RegionKind) {
        self.granted.insert(region, kind);
        self.suspects.insert(region);
    }

    /// The first reference to a newly placed extent or node.
    pub fn born(&mut self, first: Address, clusters: u8) {
        let delta = self.entry(first, clusters);
        delta.change += 1;
        delta.born = true;
    }

    /// One more reference.
    pub fn reference(&mut self, first: Address, clusters: u8) {
        self.entry(first, clusters).change += 1;
    }

    /// One reference less.
    pub fn unreference(&mut self, first: Address, clusters: u8) {
        self.entry(first, clusters).change -= 1;
        self.suspects.insert(first.region);
    }

    fn entry(&mut self, first: Address, clusters: u8) -> &mut ReferenceDelta {
        self.references.entry(first).or_insert(ReferenceDelta { clusters, change: 0, born: false })
    }

    /// Clusters of extents that lost more references than they gained.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.references.values().filter(|delta| delta.change < 0).map(|delta| u64::from(delta.clusters)).sum()
    }

    /// Adds what a transaction gathered.
    pub fn absorb(&mut self, other: Self) {
        for (first, delta) in other.references {
            let mine = self.entry(first, delta.clusters);
            mine.change += delta.change;
            mine.born |= delta.born;
        }
        self.granted.extend(other.granted);
        self.suspects.extend(other.suspects);
    }

    /// Whether a fold would change nothing.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.references.is_empty() && self.granted.is_empty()
    }
}
