//! Whose the clusters are that an image has lost.
//!
//! Must be true: DMG-1; a cluster counts as lost only if a row uses it and its bytes do not have the checksum of that row, where a read
//! looks for them. Fails: with the state's errors.

use super::ImageReading;
use crate::address::{Address, Cluster, RegionId};
use crate::damage::{Damage, Found, of_range};
use crate::region::layout::read_range;
use crate::region::{OwnerEntry, OwnerKind, RawBands, find_tables};
use crate::row::Inode;
use crate::state::{StateError, View};

/// What was lost with an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Ranges of files, each told.
    pub ranges: u64,
    /// Nodes of the tables of which clusters do not have their checksum.
    pub nodes: u64,
    /// The image does not say any more whose its clusters are.
    pub is_unknown: bool,
}

/// What stands in an image in place of a cluster with this checksum; `None`: the cluster.
type Lookup<'a> = &'a dyn Fn(Address, u32) -> Option<Found>;

/// Tells each range of a file that is lost with the image in `bytes`, which `reading` read, or which was made whole. `is_live`: whether an entry of its tables is in use, as far as the
/// caller knows.
///
/// # Errors
/// A node of the name tree that cannot be used, or a row that is none.
pub fn lost_rows(
    view: View<'_>,
    region: RegionId,
    bytes: &[u8],
    reading: Option<&ImageReading>,
    is_live: impl Fn(&OwnerEntry) -> bool,
    note: &mut dyn FnMut(Damage),
) -> Result<Lost, StateError> {
    let Some(tables) = find_tables(bytes).filter(|tables| tables.identity.region == region) else {
        return Ok(Lost { is_unknown: true, ..Lost::default() });
    };
    let bands = RawBands::new(bytes, 0);
    let found = |at: Address, crc: u32| match bands.unverified(at.cluster) {
        Some(pieces) if pieces.crc() == crc => None,
        Some(pieces) => {
            let words = reading.and_then(|reading| reading.refused(&read_range(at.cluster, 1)));
            Some(words.map_or_else(|| Found::Crc(pieces.crc()), |words| Found::Io(words.into())))
        }
        None => Some(Found::Io("the file ends before".into())),
    };
    let mut lost = Lost::default();
    for entry in tables.owners().iter().filter(|entry| is_live(entry)) {
        let clusters = (entry.first.number()..entry.first.number() + entry.clusters).filter_map(Cluster::new);
        let is_damaged = |cluster: Cluster| found(Address { region, cluster }, tables.cluster_crc(cluster)).is_some();
        if clusters.into_iter().any(is_damaged) {
            match entry.owner.kind {
                OwnerKind::Node => lost.nodes += 1,
                OwnerKind::Extent => lost.ranges += tell_extent(view, region, entry, &found, note)?,
            }
        }
    }
    Ok(lost)
}

/// The rows that use an extent: a part of it each, or all.
fn tell_extent(
    view: View<'_>,
    region: RegionId,
    entry: &OwnerEntry,
    found: Lookup<'_>,
    note: &mut dyn FnMut(Damage),
) -> Result<u64, StateError> {
    let (inode, from) = (Inode(entry.owner.inode), entry.owner.offset_bytes);
    let to = from.saturating_add(u64::from(entry.owner.decoded_bytes));
    let clusters = entry.first.number()..entry.first.number() + entry.clusters;
    let of_extent = |at: Address, crc| if at.region == region && clusters.contains(&at.cluster.number()) { found(at, crc) } else { None };
    let mut ranges = 0;
    of_range(view, inode, from, to, of_extent, &mut |damage| {
        ranges += 1;
        note(damage);
    })?;
    Ok(ranges)
}
