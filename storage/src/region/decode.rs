//! A whole image from bytes that nobody has checked: `RawRegion` becomes `Region` only through `verify` or `repair`.
//!
//! Owns: the two types. Must be true: every byte that a `Region` hands out has the checksum of its row and of its cluster; damage
//! to parity, padding or framing does not keep sound pixels from being read (`survey` names it). Fails: `RegionError`, with the
//! first row that is wrong, or with both identities.

use super::RegionError;
use super::anatomy::Anatomy;
use super::identity::Identity;
use super::layout::{row_range, tile};
use super::parity::RowRestorer;
use super::read::ClusterPieces;
use super::survey::{Pixels, Survey, pixel_row, sound_parity_row};
use super::tables::Tables;
use crate::address::Cluster;
use crate::limits::{CLUSTER_HEIGHT_PX, REGION_SIDE_PX};
use std::collections::HashSet;
use std::ops::{Deref, DerefMut, Range};

pub use super::anatomy::{DamagedChunk, find_tables, read_identity};

/// The bytes of a file that should be an image.
#[derive(Clone, Copy)]
pub struct RawRegion<B>(pub(super) B);

impl<B: Deref<Target = [u8]>> RawRegion<B> {
    #[must_use]
    pub fn new(bytes: B) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// All that is wrong with the file.
    #[must_use]
    pub fn survey(&self) -> Survey {
        Survey::of(&self.0)
    }

    /// The identity and the root that the image carries, opaque here. Both have checksums of their own: pixels may be damaged.
    ///
    /// # Errors
    /// As [`Self::verify`] for identity and tables; `RootDamaged` if there should be a root.
    pub fn root(&self) -> Result<(Identity, Option<&[u8]>), RegionError> {
        let mut anatomy = Anatomy::of(&self.0, false);
        let tables = checked_tables(&mut anatomy, None)?;
        let root = anatomy.root(&self.0, &tables)?;
        Ok((tables.identity, root.and_then(|range| self.0.get(range))))
    }

    /// Verifies identity, tables and all pixels.
    ///
    /// # Errors
    /// `WrongIdentity` if it is not the `expected` image; `RowsDamaged` if pixels are damaged, which [`Self::repair`] may mend.
    pub fn verify(self, expected: Option<&Identity>) -> Result<Region<B>, RegionError> {
        let mut anatomy = Anatomy::of(&self.0, false);
        let tables = checked_tables(&mut anatomy, expected)?;
        let pixels = Pixels::compare(&self.0, anatomy.moved_by, &tables);
        if let Some(&first) = pixels.damaged_rows.first() {
            return Err(RegionError::RowsDamaged { first, rows: pixels.damaged_rows.len() });
        }
        let root = anatomy.root(&self.0, &tables);
        Ok(Region { bytes: self.0, moved_by: anatomy.moved_by, tables, root, poisoned: pixels.poisoned })
    }
}

impl<B: DerefMut<Target = [u8]>> RawRegion<B> {
    /// Restores damaged pixel rows from parity, in the buffer, and verifies. Returns the region and the rows that were restored.
    /// The file itself is not mended: its clusters are to be written again under a new generation.
    ///
    /// # Errors
    /// As [`Self::verify`]; `RowsDamaged` if more than 32 rows of pixels and parity are damaged, or the file ends before its pixels.
    pub fn repair(mut self, expected: Option<&Identity>, restorer: &mut RowRestorer) -> Result<(Region<B>, Vec<usize>), RegionError> {
        let mut anatomy = Anatomy::of(&self.0, false);
        let tables = checked_tables(&mut anatomy, expected)?;
        let damaged = Pixels::compare(&self.0, anatomy.moved_by, &tables).damaged_rows;
        restore_rows(&mut self.0, &anatomy, &tables, &damaged, restorer)?;
        Ok((self.verify(expected)?, damaged))
    }
}

/// Puts the damaged rows of pixels in place as parity gives them.
pub(super) fn restore_rows(
    bytes: &mut [u8],
    anatomy: &Anatomy,
    tables: &Tables,
    damaged: &[usize],
    restorer: &mut RowRestorer,
) -> Result<(), RegionError> {
    let Some(&first) = damaged.first() else { return Ok(()) };
    let lost = damaged.iter().copied().collect::<HashSet<_>>();
    let sound_row = |row: usize| {
        if row >= REGION_SIDE_PX {
            return sound_parity_row(bytes, anatomy, tables, row);
        }
        pixel_row(bytes, anatomy.moved_by, row).filter(|_| !lost.contains(&row))
    };
    let restored = restorer.restore(tables.used_bands * CLUSTER_HEIGHT_PX, sound_row);
    for (row, restored) in restored.map_err(|error| RegionError::RowsDamaged { first, rows: error.lost })? {
        let Range { start, end } = row_range(row);
        if let Some(place) = bytes.get_mut(start + anatomy.moved_by..end + anatomy.moved_by) {
            place.copy_from_slice(&restored);
        }
    }
    Ok(())
}

pub(super) fn checked_tables(anatomy: &mut Anatomy, expected: Option<&Identity>) -> Result<Tables, RegionError> {
    let identity = anatomy.identity()?;
    expected.map_or(Ok(()), |expected| identity.expect(expected))?;
    anatomy.take_tables()
}

/// A verified image.
pub struct Region<B> {
    bytes: B,
    moved_by: usize,
    tables: Tables,
    root: Result<Option<Range<usize>>, RegionError>,
    poisoned: Vec<Cluster>,
}

impl<B: Deref<Target = [u8]>> Region<B> {
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.tables.identity
    }

    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The root that the image carries, opaque here.
    ///
    /// # Errors
    /// `RootDamaged` if there should be one.
    pub fn root(&self) -> Result<Option<&[u8]>, RegionError> {
        Ok(self.root.clone()?.and_then(|range| self.bytes.get(range)))
    }

    /// Clusters that were lost before they were written here, in order.
    #[must_use]
    pub fn poisoned(&self) -> &[Cluster] {
        &self.poisoned
    }

    /// The bytes of a cluster, zeros for one in an unused band; `None` for a poisoned one.
    #[must_use]
    pub fn cluster(&self, cluster: Cluster) -> Option<ClusterPieces<'_>> {
        if self.poisoned.binary_search(&cluster).is_ok() {
            return None;
        }
        if tile(cluster).band >= self.tables.used_bands {
            return Some(ClusterPieces::ZERO);
        }
        ClusterPieces::at(self.bytes.get(self.moved_by..)?, 0, cluster)
    }
}
