//! Where something is: places on the map, generations, clusters, and the names of region files.
//!
//! Owns: the newtypes that every other room speaks in, and the mapping from a place to its coordinates and its file.
//! Must be true: ADR-1 a place has one cell and a cell one place; ADR-2 a (place, generation) is granted once, so an
//! address never means two things; ADR-3 a file name says both. Fails: parsing a foreign name gives `None`.

use crate::hilbert;
use crate::limits::{MAP_BLOCK_SIDE, MAP_CURVE_ORDER, REGION_CLUSTERS};
use std::fmt;

/// Number of a place on the map, counted outwards from the origin: place n is cell n div 4 of quadrant n mod 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u32);

/// Coordinates of a place: x grows to the right, y downwards, in regions; the four cells around the origin are
/// (0, 0), (-1, 0), (-1, -1) and (0, -1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapCell {
    pub x: i64,
    pub y: i64,
}

impl Place {
    /// The cell of this place.
    #[must_use]
    pub fn cell(self) -> MapCell {
        let (x, y) = hilbert::cell(MAP_CURVE_ORDER, u64::from(self.0 / 4));
        let (x, y) = (x.cast_signed(), y.cast_signed());
        match self.0 % 4 {
            0 => MapCell { x, y },
            1 => MapCell { x: -1 - x, y },
            2 => MapCell { x: -1 - x, y: -1 - y },
            _ => MapCell { x, y: -1 - y },
        }
    }

    /// The place of a cell; `None` for one so far out that it has no number.
    #[must_use]
    pub fn at(cell: MapCell) -> Option<Self> {
        let quadrant = match (cell.x < 0, cell.y < 0) {
            (false, false) => 0,
            (true, false) => 1,
            (true, true) => 2,
            (false, true) => 3,
        };
        let fold = |v: i64| if v < 0 { (-1 - v).cast_unsigned() } else { v.cast_unsigned() };
        let (x, y) = (fold(cell.x), fold(cell.y));
        if x >> MAP_CURVE_ORDER != 0 || y >> MAP_CURVE_ORDER != 0 {
            return None;
        }
        let number = hilbert::distance(MAP_CURVE_ORDER, x, y).checked_mul(4)?.checked_add(quadrant)?;
        u32::try_from(number).ok().map(Place)
    }

    /// Directory of `map/` in which the images of this place stand: `<floor(x/16)>_<floor(y/16)>`.
    #[must_use]
    pub fn directory(self) -> String {
        let MapCell { x, y } = self.cell();
        format!("map/{}_{}", x.div_euclid(MAP_BLOCK_SIDE), y.div_euclid(MAP_BLOCK_SIDE))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MapCell { x, y } = self.cell();
        write!(f, "({x}, {y})")
    }
}

/// A number that grows with every root; the high half is the mount epoch, so that none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

impl Generation {
    /// The first generation of a mount epoch.
    #[must_use]
    pub fn first_of(epoch: u32) -> Self {
        Self(u64::from(epoch) << 32)
    }

    /// The mount epoch in which this generation was given.
    #[must_use]
    pub fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The next generation of the same epoch.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// One image of one place: granted once, never given to other bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId {
    pub place: Place,
    pub generation: Generation,
}

impl RegionId {
    /// Path of the image below the volume: `map/<block>/<x>_<y>.<generation>.png`.
    #[must_use]
    pub fn path(self) -> String {
        let MapCell { x, y } = self.place.cell();
        format!("{}/{x}_{y}.{}.png", self.place.directory(), self.generation)
    }

    /// Reads the file name of an image (without its directory). `None` if it is not one of ours.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (cell, generation) = name.strip_suffix(".png")?.split_once('.')?;
        let (x, y) = cell.split_once('_')?;
        let place = Place::at(MapCell { x: x.parse().ok()?, y: y.parse().ok()? })?;
        let id = Self { place, generation: Generation(u64::from_str_radix(generation, 16).ok()?) };
        // One name for one image: "+1_0.01.png" is somebody else's file.
        (id.path().rsplit('/').next() == Some(name)).then_some(id)
    }
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.place, self.generation)
    }
}

/// Number of a cluster in its region, 0..1024, in Hilbert order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cluster(u16);

impl Cluster {
    /// The first of a region.
    pub const FIRST: Self = Self(0);

    /// `None` at or above the number of clusters of a region.
    #[must_use]
    pub fn new(number: usize) -> Option<Self> {
        (number < REGION_CLUSTERS).then_some(Self(number as u16))
    }

    /// The number, 0..1024.
    #[must_use]
    pub fn number(self) -> usize {
        usize::from(self.0)
    }
}

/// Where a cluster is: (place, generation, cluster).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub region: RegionId,
    pub cluster: Cluster,
}

impl Address {
    /// Bytes of an encoded address.
    pub const ENCODED_BYTES: usize = 14;

    /// The addresses of all clusters of a region, in order.
    #[must_use]
    pub fn all_of(region: RegionId) -> std::ops::RangeInclusive<Self> {
        Self { region, cluster: Cluster(0) }..=Self { region, cluster: Cluster(REGION_CLUSTERS as u16 - 1) }
    }

    /// place u32, generation u64, cluster u16, little-endian.
    #[must_use]
    pub fn encode(self) -> [u8; Self::ENCODED_BYTES] {
        let mut out = [0; Self::ENCODED_BYTES];
        let (place, rest) = out.split_at_mut(4);
        let (generation, cluster) = rest.split_at_mut(8);
        place.copy_from_slice(&self.region.place.0.to_le_bytes());
        generation.copy_from_slice(&self.region.generation.0.to_le_bytes());
        cluster.copy_from_slice(&self.cluster.0.to_le_bytes());
        out
    }

    /// Reads an encoded address; `None` if there is no such cluster.
    #[must_use]
    pub fn decode(bytes: [u8; Self::ENCODED_BYTES]) -> Option<Self> {
        let (place, rest) = bytes.split_first_chunk::<4>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let cluster = u16::from_le_bytes(rest.try_into().ok()?);
        Some(Self {
            region: RegionId { place: Place(u32::from_le_bytes(*place)), generation: Generation(u64::from_le_bytes(*generation)) },
            cluster: Cluster::new(usize::from(cluster))?,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.region, self.cluster.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_places_surround_the_origin() {
        let cells: Vec<_> = (0..8).map(|n| Place(n).cell()).map(|c| (c.x, c.y)).collect();
        assert_eq!(cells, [(0, 0), (-1, 0), (-1, -1), (0, -1), (1, 0), (-2, 0), (-2, -1), (1, -1)]);
    }

    #[test]
    fn a_cell_beyond_the_numbered_map_has_no_place() {
        assert_eq!(Place::at(MapCell { x: i64::MAX, y: 0 }), None);
        assert_eq!(Place::at(MapCell { x: i64::MIN, y: i64::MIN }), None);
    }

    proptest! {
        #[test]
        fn a_place_has_one_cell_and_a_cell_one_place(n: u32) {
            prop_assert_eq!(Place::at(Place(n).cell()), Some(Place(n)));
        }

        #[test]
        fn a_region_is_named_by_its_path(place: u32, generation: u64) {
            let id = RegionId { place: Place(place), generation: Generation(generation) };
            let path = id.path();
            prop_assert_eq!(RegionId::from_file_name(path.rsplit('/').next().unwrap_or("")), Some(id));
        }

        #[test]
        fn foreign_names_are_nobodys(name in "\\PC{0,40}") {
            if let Some(id) = RegionId::from_file_name(&name) {
                prop_assert!(id.path().ends_with(&name));
            }
        }

        #[test]
        fn addresses_survive_encoding(place: u32, generation: u64, cluster in 0usize..1024) {
            let address = Address { region: RegionId { place: Place(place), generation: Generation(generation) }, cluster: Cluster::new(cluster).unwrap_or(Cluster(0)) };
            prop_assert_eq!(Address::decode(address.encode()), Some(address));
        }
    }
}
