//! What is worth cleaning, and what a moved extent looks like: the decisions of the cleaner, without its effects.
//!
//! Owns: `census`, `choose`, `Plan`. Must be true: CLN-1 what is moved keeps its bytes, its checksums and its write sequence; CLN-2 a
//! choice gives back more than it costs; CLN-3 a row moves only if it is the one that was copied for (see
//! [`crate::state::Txn::move_extent`]). Fails: a census needs nodes of the volume tree and fails with them. The order by benefit and age is
//! that of Rosenblum and Ousterhout, "The Design and Implementation of a Log-Structured File System" (1991), with the size of the file in
//! place of a segment's.

use crate::address::{Address, Cluster, Generation, Place, RegionId};
use crate::limits::{CLUSTER_BYTES, REGION_CLUSTERS};
use crate::region::{Codec, Owner, OwnerEntry, OwnerKind};
use crate::row::{ExtentRow, Inode, Key, LiveBits, RegionKind, RegionRow};
use crate::state::StateError;
use crate::vat::{NodeSource, Tree};
use std::collections::BinaryHeap;

/// Candidates that a census keeps.
const KEPT: usize = 512;
/// Bytes that a full image has beside its clusters, roughly: parity, tables, framing.
const OVERHEAD_BYTES: u64 = 320 * 1024;

/// An image that could be cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub region: RegionId,
    pub kind: RegionKind,
    pub live: LiveBits,
    /// Clusters alive.
    pub live_clusters: u64,
    /// Roots since it was written; from an earlier mount counts as many.
    pub age: u64,
}

/// All images of a volume, counted.
#[derive(Clone, Debug, Default)]
pub struct Census {
    pub images: u64,
    pub live_clusters: u64,
    /// Those that look most worthwhile, in no order.
    pub candidates: Vec<Candidate>,
}

/// A candidate by what it seems to be worth while nobody has looked at its file.
struct Ranked(u64, Candidate);

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    /// The least comes out of the heap first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.cmp(&self.0)
    }
}

/// Walks the rows of all images. `now`: the current generation; what carries it may still be written, and is passed over.
///
/// # Errors
/// A node of the volume tree that cannot be used, or a row that is none.
pub fn census(volume: &Tree, source: &dyn NodeSource, now: Generation) -> Result<Census, StateError> {
    let (from, to) = Key::places();
    let mut census = Census::default();
    let mut best = BinaryHeap::new();
    for row in volume.range(source, &from, Some(&to)) {
        let row = row?;
        let Some(Key::Region(place)) = Key::decode(row.key()) else { continue };
        let candidate = candidate(place, RegionRow::decode(row.value())?, now);
        census.images += 1;
        census.live_clusters += candidate.live_clusters;
        if candidate.age > 0 && candidate.live_clusters > 0 {
            best.push(Ranked(worth(REGION_CLUSTERS as u64 - candidate.live_clusters, REGION_CLUSTERS as u64, candidate.age), candidate));
            if best.len() > KEPT {
                best.pop();
            }
        }
    }
    census.candidates = best.into_iter().map(|Ranked(_, candidate)| candidate).collect();
    Ok(census)
}

fn candidate(place: Place, row: RegionRow, now: Generation) -> Candidate {
    let age = if row.generation.epoch() == now.epoch() { now.0.saturating_sub(row.generation.0) } else { u64::from(u16::MAX) };
    let region = RegionId { place, generation: row.generation };
    Candidate { region, kind: row.kind, live_clusters: row.live.count() as u64, live: row.live, age }
}

/// Benefit by cost: what comes free, the longer it has stood still the better, against what is read and written for it.
fn worth(free: u64, whole: u64, age: u64) -> u64 {
    let cost = (2 * whole).saturating_sub(free).max(1);
    // Age counts by its size, not in full: else what is old and nearly full would come before what is young and nearly empty.
    let age = 1 + u64::from(age.min(u64::from(u16::MAX)).ilog2());
    free.saturating_mul(1024) / cost * age
}

/// What cleaning is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Clusters that may be written at most.
    pub clusters: u64,
    /// Percent of an image that must be of no use.
    pub dead_percent: u64,
    /// Bytes that a choice must give back to be worth two roots, and one part in so many of what it reads.
    pub worth_bytes: u64,
    pub worth_part: u64,
}

/// Takes the best of the candidates, each with the bytes of its file; none if all together give back less than it costs.
#[must_use]
pub fn choose(mut candidates: Vec<(Candidate, u64)>, wish: Wish) -> Vec<Candidate> {
    let live_bytes = |candidate: &Candidate| candidate.live_clusters * CLUSTER_BYTES as u64;
    let free = |candidate: &Candidate, bytes: u64| bytes.saturating_sub(live_bytes(candidate));
    candidates.retain(|(candidate, bytes)| free(candidate, *bytes) * 100 >= bytes * wish.dead_percent);
    candidates.sort_by_key(|(candidate, bytes)| std::cmp::Reverse(worth(free(candidate, *bytes), *bytes, candidate.age)));
    let (mut chosen, mut clusters, mut bytes) = (Vec::new(), 0, 0);
    for (candidate, size) in candidates {
        if clusters + candidate.live_clusters <= wish.clusters {
            clusters += candidate.live_clusters;
            bytes += size;
            chosen.push(candidate);
        }
    }
    let images = clusters.div_ceil(REGION_CLUSTERS as u64);
    let gain = bytes.saturating_sub(clusters * CLUSTER_BYTES as u64 + images * OVERHEAD_BYTES);
    if gain >= wish.worth_bytes.max(bytes / wish.worth_part.max(1)) { chosen } else { Vec::new() }
}

/// A run of clusters to be copied, and the rows that will say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The first of the clusters, where they are.
    pub from: Address,
    /// What each must sum to, by the rows.
    pub crcs: Vec<u32>,
    /// Bytes as stored.
    pub stored_bytes: u32,
    pub owner: Owner,
    /// Each row that uses it: its offset in the file, how it is, and how it will be but for the address.
    pub rows: Vec<(u64, ExtentRow, ExtentRow)>,
}

impl Copy {
    /// The rows as they are when the copy has its place.
    pub fn placed(self, first: Address) -> impl Iterator<Item = Move> {
        let inode = Inode(self.owner.inode);
        self.rows.into_iter().map(move |(offset, old, new)| Move { inode, offset, old, new: ExtentRow { first, ..new } })
    }
}

/// A row that is to say another place, if it still is what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub inode: Inode,
    pub offset: u64,
    pub old: ExtentRow,
    pub new: ExtentRow,
}

/// What to copy of an extent, given the rows of its file in its range: of raw bytes only the clusters that a row touches, each row for
/// itself; of a compressed unit all, once for all its rows. Empty if no row uses it.
#[must_use]
pub fn copies(region: RegionId, entry: &OwnerEntry, rows: &[(u64, ExtentRow)]) -> Vec<Copy> {
    let first = Address { region, cluster: entry.first };
    let mine = || rows.iter().filter(|(_, row)| row.first == first && usize::from(row.clusters) == entry.clusters);
    if entry.owner.kind != OwnerKind::Extent {
        return Vec::new();
    }
    match entry.owner.codec {
        Codec::Raw => mine().filter_map(|(offset, row)| raw_copy(entry, *offset, row)).collect(),
        Codec::Zstd => unit_copy(first, entry, mine().cloned().collect()).into_iter().collect(),
    }
}

fn raw_copy(entry: &OwnerEntry, offset: u64, row: &ExtentRow) -> Option<Copy> {
    let (from, count) = row.touched_clusters();
    let before = (from * CLUSTER_BYTES) as u32;
    let decoded_bytes = row.decoded_bytes.checked_sub(before)?.min((count * CLUSTER_BYTES) as u32);
    let skip = row.skip.checked_sub(before)?;
    let crcs = (from..from + count).map(|number| row.crc(number)).collect::<Option<Vec<_>>>()?;
    let owner = Owner { offset_bytes: offset.checked_sub(u64::from(skip))?, decoded_bytes, sequence: row.sequence, ..entry.owner };
    let new = ExtentRow {
        clusters: u8::try_from(count).ok()?,
        stored_bytes: decoded_bytes,
        decoded_bytes,
        skip,
        crcs_from: 0,
        crcs: crcs.clone(),
        ..row.clone()
    };
    Some(Copy { from: row.address(from)?, crcs, stored_bytes: decoded_bytes, owner, rows: vec![(offset, row.clone(), new)] })
}

fn unit_copy(first: Address, entry: &OwnerEntry, rows: Vec<(u64, ExtentRow)>) -> Option<Copy> {
    let crcs = rows.first().map(|(_, row)| row.crcs.clone())?;
    let rows = rows.into_iter().map(|(offset, row)| (offset, row.clone(), row)).collect();
    Some(Copy { from: first, crcs, stored_bytes: entry.stored_bytes, owner: entry.owner, rows })
}

/// The first cluster of an entry is alive.
#[must_use]
pub fn is_live(live: &LiveBits, first: Cluster) -> bool {
    live.get(first.number())
}

#[cfg(test)]
mod tests;
