//! The volume tree made anew from what the name tree claims.
//!
//! Owns: `Claimed`, `volume_tree`. Must be true: REG-1, SPC-1: live bits and counts are those of the rows and pointers that were walked; a
//! place has one region, the one with an image if there is one, else the younger. Places between regions are free; beyond `FREE_MAX` of them
//! they are left unaccounted, so that a hostile row cannot make us write four billion. Memory: 260 bytes a claimed region. Fails: with the
//! tree's error.

use super::RebuildError;
use crate::address::{Address, Generation, Place, RegionId};
use crate::row::{Key, LiveBits, RegionKind, RegionRow};
use crate::vat::{DirtyGauge, NodeSource, Released, Tree};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows about free places that are written at most.
const FREE_MAX: u64 = 1 << 20;

/// What is claimed of one region.
#[derive(Default)]
pub(super) struct ClaimedRegion {
    live: LiveBits,
    /// First clusters of what is claimed once or more.
    firsts: LiveBits,
    /// Claims above the first of an extent.
    more: BTreeMap<usize, i64>,
    is_node: bool,
}

/// What is claimed of the map.
#[derive(Default)]
pub(super) struct Claimed(pub BTreeMap<RegionId, ClaimedRegion>);

impl Claimed {
    pub fn add(&mut self, first: Address, clusters: u8, is_node: bool) {
        let region = self.0.entry(first.region).or_default();
        region.is_node |= is_node;
        let number = first.cluster.number();
        region.live.set(number, usize::from(clusters), true);
        if region.firsts.set(number, 1, true) == 0 {
            *region.more.entry(number).or_insert(1) += 1;
        }
    }

    /// Of regions at one place, keeps one; returns those that are not.
    pub fn settle(&mut self, has_image: impl Fn(RegionId) -> bool) -> Vec<RegionId> {
        let mut best: BTreeMap<Place, RegionId> = BTreeMap::new();
        for id in self.0.keys() {
            let held = best.entry(id.place).or_insert(*id);
            if (has_image(*id), id.generation) > (has_image(*held), held.generation) {
                *held = *id;
            }
        }
        let others: Vec<RegionId> = self.0.keys().filter(|id| best.get(&id.place) != Some(id)).copied().collect();
        others.iter().for_each(|id| drop(self.0.remove(id)));
        others
    }
}

/// The volume tree, the least place that was never given out, and the live clusters.
pub(super) struct VolumeTree {
    pub tree: Tree,
    pub frontier: Place,
    pub live_clusters: u64,
}

/// Writes the rows of what is claimed. `kind`: what the image of a region says that it is, if there is one. `frontier`: no place below it
/// counts as never used.
pub(super) fn volume_tree(
    claimed: &Claimed,
    kind: impl Fn(RegionId) -> Option<RegionKind>,
    frontier: Place,
    generation: Generation,
    source: &dyn NodeSource,
    gauge: &Arc<DirtyGauge>,
) -> Result<VolumeTree, RebuildError> {
    let mut made = VolumeTree { tree: Tree::empty(Arc::clone(gauge)), frontier, live_clusters: 0 };
    let mut released = Released::default();
    let mut put = |tree: &mut Tree, key: Key, value: &[u8]| tree.put(source, generation, &key.encode(), value, &mut released).map(drop);
    for (id, region) in &claimed.0 {
        let by_claims = if region.is_node { RegionKind::Node } else { RegionKind::Data };
        let row = RegionRow { generation: id.generation, kind: kind(*id).unwrap_or(by_claims), live: region.live.clone() };
        put(&mut made.tree, Key::Region(id.place), &row.encode())?;
        for (number, count) in &region.more {
            if let Some(cluster) = crate::address::Cluster::new(*number) {
                put(&mut made.tree, Key::Count(Address { region: *id, cluster }), &count.to_le_bytes())?;
            }
        }
        made.live_clusters += region.live.count() as u64;
        made.frontier = made.frontier.max(Place(id.place.0.checked_add(1).ok_or(RebuildError::NoPlace)?));
    }
    let mut taken = claimed.0.keys().map(|id| id.place).peekable();
    let mut free = 0;
    for place in (0..made.frontier.0).map(Place) {
        if taken.next_if_eq(&place).is_some() {
            continue;
        }
        free += 1;
        if free > FREE_MAX {
            break;
        }
        put(&mut made.tree, Key::Free(place), &[])?;
    }
    Ok(made)
}
