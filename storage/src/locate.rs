//! Where the bytes of a file lie on the map, and whose bytes lie at a place of it.
//!
//! Must be true: LOC-1 a place counts as a file's only if a row of that file says so now: the tables of an image say whose its clusters were
//! when it was written. A version of the names is held for one small step. Fails: with a [`LocateError`], when rows or an image cannot be
//! read. Memory: a page.

use crate::address::{Address, Cluster, Place, RegionId};
use crate::damage::NameSearch;
use crate::device::Device;
use crate::images::{ImageError, Images};
use crate::limits::{CLUSTER_HEIGHT_PX, CLUSTER_WIDTH_PX, REGION_SIDE_PX};
use crate::region::layout::{Tile, cluster_at, tile};
use crate::region::{Codec, OwnerEntry, OwnerKind};
use crate::row::{FileKind, Inode};
use crate::state::{StateError, View};
use std::io;
use std::ops::Range;

/// Extents of a page, for who does not mind.
pub const PAGE_EXTENTS: usize = 1024;
/// Owners whose rows are looked up with one version of the names.
const STEP_OWNERS: usize = 64;
/// Rows that can use one extent at most.
const ROWS_OF_OWNER: usize = 128;
/// Bytes of names of a page, before the last tenant.
const PAGE_NAMES_BYTES: usize = 2 << 20;

/// Why it cannot be said.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("the map cannot be listed: {0}")]
    Io(#[from] io::Error),
}

/// What is done with one version of the names.
pub type WithNames<'a> = dyn FnMut(View<'_>) + 'a;

/// A run of a file's bytes, and the clusters that must be read to have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Laid {
    pub offset: u64,
    pub length: u64,
    pub first: Address,
    /// 1..=64, one behind the other from `first` on.
    pub clusters: usize,
    pub codec: Codec,
    /// Bytes of the whole extent as it is stored.
    pub stored_bytes: u64,
}

/// A part of what is to be said of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePage {
    pub inode: Inode,
    pub kind: FileKind,
    /// As its row says.
    pub size: u64,
    /// Bytes that stand in the tables, and not in clusters of their own.
    pub inline_bytes: Option<u64>,
    /// By offset.
    pub laid: Vec<Laid>,
    /// The offset from which the next page is; `None`: this was the last.
    pub next: Option<u64>,
}

/// Whoever has a run of clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub at: Address,
    pub clusters: usize,
    pub codec: Codec,
    pub stored_bytes: u32,
    pub who: Who,
}

/// Whose clusters are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A node of the tables, in use or not.
    Tables,
    /// Bytes of a file; `paths` are those that it has now, and `unnamed` is how many more.
    File { inode: Inode, ranges: Vec<Range<u64>>, paths: Vec<Vec<u8>>, unnamed: u64 },
    /// Nobody any more: this inode's, once.
    Dead { inode: Inode },
}

/// A part of what is to be said of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacePage {
    /// The images at the place, by generation: one, or those besides that are about to go.
    pub images: Vec<RegionId>,
    pub tenants: Vec<Tenant>,
    /// Behind what the next page begins; `None`: this was the last.
    pub next: Option<Address>,
}

/// The upper left pixel of a cluster in its image; it is 256 pixels wide and 4 high.
#[must_use]
pub fn pixel(cluster: Cluster) -> (usize, usize) {
    let Tile { band, column } = tile(cluster);
    (column * CLUSTER_WIDTH_PX, band * CLUSTER_HEIGHT_PX)
}

/// The cluster that has a pixel; `None` outside of the image.
#[must_use]
pub fn cluster_with(x: usize, y: usize) -> Option<Cluster> {
    (x < REGION_SIDE_PX && y < REGION_SIDE_PX)
        .then(|| cluster_at(Tile { band: y / CLUSTER_HEIGHT_PX, column: x / CLUSTER_WIDTH_PX }))
        .flatten()
}

/// Where a file lies, from an offset on, in at most `max` extents.
///
/// # Errors
/// When rows cannot be read; [`crate::refusal::Refusal::Stale`] if there is no such inode.
pub fn file_page(view: View<'_>, inode: Inode, from: u64, max: usize) -> Result<FilePage, StateError> {
    let row = view.inode(inode)?;
    let (kind, size) = (row.kind(), row.size);
    let base = FilePage { inode, kind, size, inline_bytes: None, laid: Vec::new(), next: None };
    if kind != FileKind::Regular {
        return Ok(base);
    }
    let inline_bytes = if from == 0 { view.inline_content(inode)?.map(|content| content.len() as u64) } else { None };
    let rows = view.extents(inode, from, u64::MAX, max)?;
    let end = rows.last().map(|(offset, row)| offset.saturating_add(u64::from(row.length)));
    let laid = rows.iter().filter_map(|(offset, row)| {
        let (first, clusters) = row.touched_clusters();
        // The last cluster is written whole; the file ends in it.
        let (length, stored_bytes) = (u64::from(row.length).min(size.saturating_sub(*offset)), u64::from(row.stored_bytes));
        Some(Laid { offset: *offset, length, first: row.address(first)?, clusters, codec: row.codec, stored_bytes })
    });
    Ok(FilePage { inline_bytes, laid: laid.collect(), next: end.filter(|end| rows.len() >= max && *end > from), ..base })
}

/// The images at a place, by generation.
///
/// # Errors
/// The host's.
pub fn images_at(device: &dyn Device, place: Place) -> io::Result<Vec<RegionId>> {
    let entries = match device.list(&place.directory()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut images: Vec<RegionId> =
        entries.iter().filter_map(|entry| RegionId::from_file_name(&entry.name)).filter(|region| region.place == place).collect();
    images.sort_unstable();
    Ok(images)
}

/// Whose the clusters at a place are, those behind `after`, or one of them only. Waits for the disk, and never with a version of the names.
///
/// # Errors
/// See [`LocateError`].
pub fn place_page(
    device: &dyn Device,
    images: &Images,
    place: Place,
    only: Option<Cluster>,
    after: Option<Address>,
    lend: &mut dyn FnMut(&mut WithNames<'_>),
) -> Result<PlacePage, LocateError> {
    let mut page = PlacePage { images: images_at(device, place)?, ..PlacePage::default() };
    // One image a page: its owners are at most 1,024.
    let Some(&region) = page.images.iter().find(|region| after.is_none_or(|after| **region >= after.region)) else { return Ok(page) };
    let behind = after.filter(|after| after.region == region).map_or(0, |after| after.cluster.number() + 1);
    let tables = match images.tables(region) {
        Ok(tables) => tables,
        // One that is being taken away is passed over.
        Err(ImageError::Missing { .. }) => {
            page.next = last_of(region, &page.images);
            return Ok(page);
        }
        Err(error) => return Err(error.into()),
    };
    let has = |entry: &&OwnerEntry| {
        let clusters = entry.first.number()..entry.first.number() + entry.clusters;
        clusters.start >= behind && only.is_none_or(|only| clusters.contains(&only.number()))
    };
    let owners: Vec<&OwnerEntry> = tables.owners().iter().filter(has).collect();
    for some in owners.chunks(STEP_OWNERS) {
        let mut step = Ok(Vec::new());
        lend(&mut |view| step = some.iter().map(|entry| tenant(view, region, entry)).collect());
        page.tenants.extend(step?);
    }
    page.next = last_of(region, &page.images);
    name(&mut page, lend);
    Ok(page)
}

/// Where the next page begins, if there is an image behind this one.
fn last_of(region: RegionId, images: &[RegionId]) -> Option<Address> {
    images.last().is_some_and(|last| *last > region).then_some(Address { region, cluster: Cluster::LAST })
}

fn tenant(view: View<'_>, region: RegionId, entry: &OwnerEntry) -> Result<Tenant, StateError> {
    let at = Address { region, cluster: entry.first };
    let inode = Inode(entry.owner.inode);
    let who = match entry.owner.kind {
        OwnerKind::Node => Who::Tables,
        OwnerKind::Extent => {
            let from = entry.owner.offset_bytes;
            let to = from.saturating_add(u64::from(entry.owner.decoded_bytes));
            let rows = view.extents(inode, from, to, ROWS_OF_OWNER)?;
            let of_it = rows.into_iter().filter(|(_, row)| row.first == at);
            let ranges: Vec<Range<u64>> = of_it.map(|(offset, row)| offset..offset.saturating_add(u64::from(row.length))).collect();
            if ranges.is_empty() { Who::Dead { inode } } else { Who::File { inode, ranges, paths: Vec::new(), unnamed: 0 } }
        }
    };
    Ok(Tenant { at, clusters: entry.clusters, codec: entry.owner.codec, stored_bytes: entry.stored_bytes, who })
}

/// Finds how the files are called, by one walk over all names. Where names are long, the page ends earlier.
fn name(page: &mut PlacePage, lend: &mut dyn FnMut(&mut WithNames<'_>)) {
    let inodes = page.tenants.iter().filter_map(|tenant| if let Who::File { inode, .. } = &tenant.who { Some(*inode) } else { None });
    let mut search = NameSearch::new(inodes);
    let mut goes_on = true;
    while goes_on {
        lend(&mut |view| goes_on = search.step(view));
    }
    let (mut bytes, count) = (0, page.tenants.len());
    for (number, tenant) in page.tenants.iter_mut().enumerate() {
        let Who::File { inode, paths, unnamed, .. } = &mut tenant.who else { continue };
        (*paths, *unnamed) = search.paths(*inode);
        bytes += paths.iter().map(Vec::len).sum::<usize>();
        if bytes > PAGE_NAMES_BYTES {
            page.next = (number + 1 < count).then_some(tenant.at).or(page.next);
            page.tenants.truncate(number + 1);
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::REGION_CLUSTERS;

    #[test]
    fn clusters_and_pixels_are_found_from_each_other() {
        for number in 0..REGION_CLUSTERS {
            let cluster = Cluster::new(number).unwrap();
            let (x, y) = pixel(cluster);
            assert_eq!(cluster_with(x, y), Some(cluster));
            assert_eq!(cluster_with(x + CLUSTER_WIDTH_PX - 1, y + CLUSTER_HEIGHT_PX - 1), Some(cluster));
        }
        assert_eq!((cluster_with(1024, 0), cluster_with(0, 1024), cluster_with(usize::MAX, 0)), (None, None, None));
    }
}
