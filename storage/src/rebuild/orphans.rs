//! Rows of the name tree from leaves that were found without their parents.
//!
//! Owns: `Rows`, `KeyRanges`, `Leaves`. Must be true: RBL-6 a row of a key is taken from the youngest leaf that covers the key, and only where the
//! tree itself says nothing; RBL-7 a leaf counts only if its clusters have the checksums that its image says, and it decodes as a whole.
//! What was removed from the edge of a leaf, or with all of it, may so come back: nothing that is left says that it went. Memory: all rows, and
//! of each leaf its two keys. Fails: never; what cannot be read is passed over.

use super::losses::KeyRange;
use super::{Condition, Found};
use crate::address::{Address, Generation, RegionId};
use crate::check::tail::read_tables;
use crate::images::Images;
use crate::limits::{CLUSTER_BYTES, NODE_MAX_CLUSTERS};
use crate::region::OwnerKind;
use crate::row::RegionKind;
use crate::vat::{TreeId, decode_orphan};
use std::collections::{BTreeMap, BTreeSet};

/// Rows of the name tree by key.
pub(super) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Ranges of keys, ascending and apart.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyRanges(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl KeyRanges {
    /// All keys there are.
    pub fn all() -> Self {
        Self(BTreeMap::from([(Vec::new(), None)]))
    }

    /// Ranges as a walk tells them: apart from each other.
    pub fn of(ranges: &[KeyRange]) -> Self {
        Self(ranges.iter().cloned().collect())
    }

    pub fn has(&self, key: &[u8]) -> bool {
        let below = self.0.range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(key))).next_back();
        below.is_some_and(|(_, end)| end.as_deref().is_none_or(|end| key < end))
    }

    /// The parts that lie between two keys, the second not included.
    pub fn between(&self, from: &[u8], to: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let parts = self.0.range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Excluded(to))).filter_map(|(start, end)| {
            let start = start.as_slice().max(from);
            let end = end.as_deref().map_or(to, |end| end.min(to));
            (start < end).then(|| (start.to_vec(), end.to_vec()))
        });
        parts.collect()
    }

    /// Takes the keys from `first` to `last` away, both included.
    fn remove(&mut self, first: &[u8], last: &[u8]) {
        let mut behind = last.to_vec();
        behind.push(0);
        let touched: Vec<(Vec<u8>, Option<Vec<u8>>)> = self
            .0
            .range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(last)))
            .filter(|(_, end)| end.as_deref().is_none_or(|end| end > first))
            .map(|(start, end)| (start.clone(), end.clone()))
            .collect();
        for (start, end) in touched {
            self.0.remove(&start);
            if start.as_slice() < first {
                self.0.insert(start, Some(first.to_vec()));
            }
            if end.as_deref().is_none_or(|end| end > behind.as_slice()) {
                self.0.insert(behind.clone(), end);
            }
        }
    }
}

/// A leaf, to be read again when its turn comes.
struct Leaf {
    written: (Generation, Generation),
    at: Address,
    crcs: Vec<u32>,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
}

/// The leaves of the name tree that images hold, the youngest first.
pub(super) struct Leaves(Vec<Leaf>);

impl Leaves {
    /// Looks through the node images of `regions`.
    pub fn find(found: &Found, images: &Images, regions: &[RegionId], step: super::Step<'_>) -> Self {
        let mut leaves = Vec::new();
        let of_nodes = |id: &&RegionId| {
            let facts = found.images.get(id);
            facts.is_some_and(|facts| facts.kind == RegionKind::Node && facts.condition != Condition::Blind)
        };
        for (done, id) in regions.iter().filter(of_nodes).enumerate() {
            step("nodes", done as u64);
            let Ok(Some(tables)) = read_tables(found.device.as_ref(), found.uuid, *id) else { continue };
            for entry in tables.owners().iter().filter(|entry| entry.owner.kind == OwnerKind::Node && entry.clusters <= NODE_MAX_CLUSTERS) {
                let at = Address { region: *id, cluster: entry.first };
                let numbers = entry.first.number()..entry.first.number() + entry.clusters;
                let crcs = numbers.filter_map(crate::address::Cluster::new).map(|cluster| tables.cluster_crc(cluster)).collect();
                let mut leaf = Leaf { written: Default::default(), at, crcs, first_key: Vec::new(), last_key: Vec::new() };
                if leaf.read(images, |_, _| {}).is_some() {
                    leaves.push(leaf);
                }
            }
        }
        leaves.sort_by_key(|leaf| std::cmp::Reverse(leaf.written));
        Self(leaves)
    }

    /// Puts rows whose keys are in `unknown`, from the youngest leaf of each key. Gives the number of leaves that gave some, and the inodes
    /// that got any: what they were when the leaf was written is all that is known.
    pub fn fill(mut self, images: &Images, unknown: &KeyRanges, rows: &mut Rows) -> (u64, BTreeSet<u64>) {
        let (mut unknown, mut used, mut inodes) = (unknown.clone(), 0, BTreeSet::new());
        for leaf in &mut self.0 {
            let mut taken = 0;
            let read = leaf.read(images, |key, value| {
                if unknown.has(key) {
                    rows.entry(key.to_vec()).or_insert_with(|| value.to_vec());
                    inodes.extend(inode_of(key));
                    taken += 1;
                }
            });
            if read.is_some() {
                unknown.remove(&leaf.first_key, &leaf.last_key);
            }
            used += u64::from(taken > 0);
        }
        (used, inodes)
    }

    /// Hands out all rows of all leaves, the youngest leaf first.
    pub fn for_each_row(mut self, images: &Images, mut row: impl FnMut(&[u8], &[u8])) {
        for leaf in &mut self.0 {
            // What cannot be read any more could be before.
            let _ = leaf.read(images, &mut row);
        }
    }
}

/// The inode of a row of the name tree.
pub(super) fn inode_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?))
}

impl Leaf {
    /// Reads the leaf and hands out its rows; `None` if it is none of the name tree.
    fn read(&mut self, images: &Images, mut row: impl FnMut(&[u8], &[u8])) -> Option<()> {
        let mut bytes = vec![0; self.crcs.len() * CLUSTER_BYTES];
        images.read(self.at, &self.crcs, &mut bytes).ok()?;
        let (header, node) = decode_orphan(&bytes).ok()?;
        if header.tree != TreeId::Name || header.level != 0 {
            return None;
        }
        self.written = (header.generation, header.birth);
        (self.first_key, self.last_key) = (header.first_key, header.last_key);
        node.rows().for_each(|(key, value)| row(key, value));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ranges_are_sets_of_keys(removed in prop::collection::vec((0u8..60, 0u8..20), 0..12)) {
            let mut ranges = KeyRanges::all();
            let mut model = [true; 100];
            for (first, length) in removed {
                let last = first + length;
                ranges.remove(&[first], &[last]);
                model[usize::from(first)..=usize::from(last)].fill(false);
            }
            for (key, expected) in model.iter().enumerate() {
                prop_assert_eq!(ranges.has(&[key as u8]), *expected, "{}", key);
            }
            let parts = ranges.between(&[10], &[50]);
            let inside = |key: u8| parts.iter().any(|(from, to)| from.as_slice() <= &[key][..] && &[key][..] < to.as_slice());
            for key in 0u8..100 {
                prop_assert_eq!(inside(key), (10..50).contains(&key) && model[usize::from(key)], "{}", key);
            }
        }
    }
}
