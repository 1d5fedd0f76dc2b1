//! Which clusters rows and node pointers claim, gathered region by region within bounded memory.
//!
//! Owns: `Claim`, `Claims`. Must be true: CLM-1 after a pass, all claims on the regions of `batch` are held, and none on others;
//! CLM-2 the batches of a check are consecutive and cover all regions. Memory: `limit_bytes`, or the claims on one region if those
//! are more. Fails: never.

use crate::address::{Address, RegionId};
use crate::row::{ExtentRow, Inode, Key};
use crate::vat::{NodePtr, TreeId};
use std::collections::BTreeMap;

/// Who claims a run of clusters.
pub(super) enum Claim {
    Node { tree: TreeId, ptr: NodePtr },
    Extent { inode: Inode, offset: u64, row: ExtentRow },
}

impl Claim {
    pub fn first(&self) -> Address {
        match self {
            Self::Node { ptr, .. } => ptr.address,
            Self::Extent { row, .. } => row.first,
        }
    }

    pub fn clusters(&self) -> usize {
        match self {
            Self::Node { ptr, .. } => usize::from(ptr.clusters),
            Self::Extent { row, .. } => usize::from(row.clusters),
        }
    }

    /// Bytes of memory that it keeps, about.
    fn cost(&self) -> usize {
        let crcs = if let Self::Extent { row, .. } = self { row.crcs.len() * 4 + 16 } else { 0 };
        size_of::<Self>() + crcs
    }
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node { tree, ptr } => write!(f, "{ptr} of the {} tree", if *tree == TreeId::Name { "name" } else { "volume" }),
            Self::Extent { inode, offset, .. } => write!(f, "inode {inode} at byte {offset}"),
        }
    }
}

/// The claims on the regions of one batch.
pub(super) struct Claims {
    /// The batch begins with this region, and ends before that one.
    pub from: Option<RegionId>,
    pub to: Option<RegionId>,
    pub by_region: BTreeMap<RegionId, Vec<Claim>>,
    held_bytes: usize,
    limit_bytes: usize,
}

impl Claims {
    pub fn new(limit_bytes: usize) -> Self {
        Self { from: None, to: None, by_region: BTreeMap::new(), held_bytes: 0, limit_bytes }
    }

    /// The batch behind this one; `None` if this one is the last.
    pub fn next(&self) -> Option<Self> {
        self.to.map(|from| Self { from: Some(from), ..Self::new(self.limit_bytes) })
    }

    pub fn covers(&self, region: RegionId) -> bool {
        self.from.is_none_or(|from| region >= from) && self.to.is_none_or(|to| region < to)
    }

    /// Takes a claim, if it is on a region of the batch. The batch becomes shorter when memory runs out.
    pub fn add(&mut self, claim: Claim) {
        let region = claim.first().region;
        if !self.covers(region) {
            return;
        }
        self.held_bytes += claim.cost();
        self.by_region.entry(region).or_default().push(claim);
        while self.held_bytes > self.limit_bytes && self.by_region.len() > 1 {
            let Some((last, dropped)) = self.by_region.pop_last() else { return };
            self.held_bytes -= dropped.iter().map(Claim::cost).sum::<usize>();
            self.to = Some(last);
        }
    }

    pub fn add_node(&mut self, tree: TreeId, ptr: NodePtr) {
        self.add(Claim::Node { tree, ptr });
    }

    /// Takes the claim of a row, if it is the row of an extent.
    pub fn add_row(&mut self, key: &[u8], value: &[u8]) {
        if let Some(Key::Extent(inode, offset)) = Key::decode(key)
            && let Ok(row) = ExtentRow::decode(value)
        {
            self.add(Claim::Extent { inode, offset, row });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Cluster, Generation, Place};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_claim_is_in_one_batch(regions in proptest::collection::vec(0u32..40, 1..200), limit in 1usize..4000) {
            let claims: Vec<NodePtr> = regions.iter().map(|&n| {
                let region = RegionId { place: Place(n), generation: Generation(1) };
                NodePtr { address: Address { region, cluster: Cluster::new(0).unwrap() }, clusters: 1, crc: n, birth: Generation(1) }
            }).collect();
            let (mut found, mut batch) = (Vec::new(), Some(Claims::new(limit)));
            while let Some(mut now) = batch {
                claims.iter().for_each(|ptr| now.add_node(TreeId::Name, *ptr));
                for (region, held) in &now.by_region {
                    prop_assert!(now.covers(*region));
                    found.extend(held.iter().map(|claim| claim.first().region.place.0));
                }
                batch = now.next();
            }
            let mut expected = regions;
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
