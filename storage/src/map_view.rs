//! The map as data: what every cluster of every region is, for `map render`, and the facts of a volume, for `info`.
//!
//! Owns: `MapView`, `RegionView`, `ClusterClass`; the picture (`picture`) and the facts (`facts`) are made of them. Must be true:
//! MAP-1 each cluster of a region has exactly one class, so the counts of a view add up to 1024 for each region; MAP-2 what is live is
//! what the region's row says. Memory: 1 KiB a region. Fails: `NodeError` when the volume tree cannot be read; an image that cannot be
//! read is a class of clusters, no error.

mod facts;
mod font;
mod picture;
#[cfg(test)]
mod tests;

pub use facts::VolumeFacts;
pub use picture::MapPicture;

use crate::address::{Cluster, MapCell, RegionId};
use crate::check::Offline;
use crate::check::tail::read_tables;
use crate::limits::REGION_CLUSTERS;
use crate::region::{OwnerKind, Tables};
use crate::row::{Key, LiveBits, RegionKind, RegionRow};
use crate::vat::{NodeError, TreeId};

/// What a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ClusterClass {
    /// Nobody ever had it.
    Free = 0,
    /// Bytes of files.
    Data = 1,
    /// Nodes of the Visual Allocation Table.
    Vat = 2,
    /// It had an owner and nobody uses it now.
    Dead = 3,
    /// In use, and its image is missing, is another one, or has no readable tables.
    Damaged = 4,
}

impl ClusterClass {
    /// All classes, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Free, Self::Data, Self::Vat, Self::Dead, Self::Damaged];
}

/// One region of the map.
#[derive(Clone, Debug)]
pub struct RegionView {
    pub region: RegionId,
    pub cell: MapCell,
    pub kind: RegionKind,
    /// No row uses it any more; its image waits to be taken away.
    pub is_dead: bool,
    /// One for each cluster, in Hilbert order.
    pub classes: Box<[ClusterClass; REGION_CLUSTERS]>,
}

impl RegionView {
    /// Clusters of each class, by its number.
    #[must_use]
    pub fn counts(&self) -> [u64; 5] {
        let mut counts = [0; 5];
        for class in self.classes.iter() {
            if let Some(count) = counts.get_mut(*class as usize) {
                *count += 1;
            }
        }
        counts
    }
}

/// A rectangle of cells, both corners included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub least: MapCell,
    pub greatest: MapCell,
}

impl Bounds {
    /// The least rectangle around cells; `None` without any.
    #[must_use]
    pub fn around(cells: impl IntoIterator<Item = MapCell>) -> Option<Self> {
        cells.into_iter().fold(None, |bounds: Option<Self>, cell| {
            let Self { least, greatest } = bounds.unwrap_or(Self { least: cell, greatest: cell });
            Some(Self {
                least: MapCell { x: least.x.min(cell.x), y: least.y.min(cell.y) },
                greatest: MapCell { x: greatest.x.max(cell.x), y: greatest.y.max(cell.y) },
            })
        })
    }

    /// Cells across.
    #[must_use]
    pub fn width(&self) -> u64 {
        self.greatest.x.abs_diff(self.least.x) + 1
    }

    /// Cells down.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.greatest.y.abs_diff(self.least.y) + 1
    }
}

/// The map: regions in use, and dead ones whose image is still there.
#[derive(Clone, Debug)]
pub struct MapView {
    /// By place.
    pub regions: Vec<RegionView>,
    /// `None` for an empty map.
    pub bounds: Option<Bounds>,
}

impl MapView {
    /// Reads the rows of all regions and the tables of their images, 68 KiB each; pixels are not read.
    ///
    /// # Errors
    /// When a node of the volume tree cannot be used.
    pub fn read(volume: &Offline) -> Result<Self, NodeError> {
        let source = volume.nodes.loading(TreeId::Volume);
        let tree = &volume.recovered.state.volume;
        let (from, to) = (Key::places().0, Key::dead().1);
        let mut regions = Vec::new();
        for row in tree.range(&source, &from, Some(&to)) {
            let row = row?;
            match Key::decode(row.key()) {
                Some(Key::Region(place)) => {
                    if let Ok(row) = RegionRow::decode(row.value()) {
                        let region = RegionId { place, generation: row.generation };
                        let tables = read_tables(volume.device.as_ref(), volume.uuid, region).ok().flatten();
                        regions.push(view_of(region, row.kind, &row.live, false, tables.as_ref()));
                    }
                }
                Some(Key::Dead(region)) => {
                    if let Ok(Some(tables)) = read_tables(volume.device.as_ref(), volume.uuid, region) {
                        regions.push(view_of(region, tables.identity.kind, &LiveBits::default(), true, Some(&tables)));
                    }
                }
                _ => {}
            }
        }
        regions.sort_by_key(|view| view.region);
        let bounds = Bounds::around(regions.iter().map(|view| view.cell));
        Ok(Self { regions, bounds })
    }

    /// Clusters of each class, by its number.
    #[must_use]
    pub fn counts(&self) -> [u64; 5] {
        let mut sum = [0; 5];
        for view in &self.regions {
            sum.iter_mut().zip(view.counts()).for_each(|(sum, count)| *sum += count);
        }
        sum
    }
}

fn view_of(region: RegionId, kind: RegionKind, live: &LiveBits, is_dead: bool, tables: Option<&Tables>) -> RegionView {
    let mut classes = Box::new([ClusterClass::Free; REGION_CLUSTERS]);
    for (number, class) in classes.iter_mut().enumerate() {
        let owner = tables.zip(Cluster::new(number)).and_then(|(tables, cluster)| tables.owner_of(cluster));
        *class = match (live.get(number), owner) {
            (true, None) => ClusterClass::Damaged,
            (true, Some(entry)) if entry.owner.kind == OwnerKind::Node => ClusterClass::Vat,
            (true, Some(_)) => ClusterClass::Data,
            (false, Some(_)) => ClusterClass::Dead,
            (false, None) => ClusterClass::Free,
        };
    }
    RegionView { region, cell: region.place.cell(), kind, is_dead, classes }
}
