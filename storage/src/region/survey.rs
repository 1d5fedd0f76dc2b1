//! What is wrong with a file, by name: what `check` reports and `scan` counts.
//!
//! Owns: `Survey`, and the comparison of pixels with tables. Must be true: every bit of the file between signature and IEND is
//! covered by a checksum that is compared here, so a flipped one makes a finding. Fails: never; it only reports.

use super::anatomy::{Anatomy, DamagedChunk};
use super::crc;
use super::identity::Identity;
use super::layout::{SIGNATURE, row_range, tile};
use super::tables::Tables;
use crate::address::Cluster;
use crate::limits::*;

/// The findings about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Whose image it is, if that can be said.
    pub identity: Option<Identity>,
    pub has_signature: bool,
    /// Chunks that differ from their own checksum.
    pub damaged_chunks: Vec<DamagedChunk>,
    /// File offset from which on chunks could not be walked.
    pub broken_at: Option<usize>,
    /// Which copies of the tables are sound.
    pub tables_sound: [bool; 2],
    /// Whether there are tables to compare with: a sound copy, or two damaged ones that complete each other.
    pub tables_known: bool,
    /// Rows that differ from the tables: 0..1024 pixels, 1024..1056 parity. Empty without tables.
    pub damaged_rows: Vec<usize>,
    /// Clusters of damaged rows that differ from their own checksums.
    pub damaged_clusters: Vec<Cluster>,
    /// Clusters whose rows are sound, and whose checksum says that they were lost before they were written here.
    pub poisoned: Vec<Cluster>,
    /// The image should carry a root, and this many of its two copies are not sound.
    pub roots_damaged: usize,
    /// Chunks that are not ours; harmless.
    pub foreign_chunks: usize,
    /// Bytes by which foreign chunks have moved the pixels: reads at computed offsets miss them.
    pub moved_by: usize,
    /// Bytes behind the end of the picture.
    pub trailing_bytes: usize,
}

impl Survey {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut anatomy = Anatomy::of(bytes, true);
        let identity = anatomy.identity().ok();
        let agree = matches!(&anatomy.tables, [Some(first), Some(second)] if first == second);
        let tables_sound = [anatomy.tables[0].is_some(), agree || (anatomy.tables[0].is_none() && anatomy.tables[1].is_some())];
        let tables = anatomy.take_tables().ok();
        let pixels = tables.as_ref().map(|tables| Pixels::compare(bytes, anatomy.moved_by, tables)).unwrap_or_default();
        let mut damaged_rows = pixels.damaged_rows;
        if let Some(tables) = &tables {
            let parity = (REGION_SIDE_PX..CHECKED_ROWS).filter(|&row| sound_parity_row(bytes, &anatomy, tables, row).is_none());
            damaged_rows.extend(parity);
        }
        Self {
            identity,
            has_signature: bytes.starts_with(&SIGNATURE),
            damaged_rows,
            damaged_clusters: pixels.damaged_clusters,
            poisoned: pixels.poisoned,
            roots_damaged: tables
                .as_ref()
                .filter(|tables| tables.root.is_some())
                .map_or(0, |tables| 2usize.saturating_sub(anatomy.sound_roots(bytes, tables).count())),
            tables_sound,
            tables_known: tables.is_some(),
            broken_at: anatomy.broken_at,
            foreign_chunks: anatomy.foreign,
            moved_by: anatomy.moved_by,
            trailing_bytes: if anatomy.broken_at.is_some() { 0 } else { bytes.len().saturating_sub(anatomy.end) },
            damaged_chunks: anatomy.damaged,
        }
    }

    /// Whether the file is exactly as it was written. Poison does not count: it came with the data.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let parts_sound = self.identity.is_some() && self.has_signature && self.tables_sound == [true; 2] && self.roots_damaged == 0;
        let nothing_damaged = self.damaged_chunks.is_empty() && self.damaged_rows.is_empty() && self.broken_at.is_none();
        parts_sound && nothing_damaged && self.foreign_chunks == 0 && self.moved_by == 0 && self.trailing_bytes == 0
    }

    /// Whether all pixels are sound or can be restored from what is left.
    #[must_use]
    pub fn is_repairable(&self) -> bool {
        self.tables_known && self.damaged_rows.len() <= PARITY_ROWS
    }
}

/// Pixels compared with the tables.
#[derive(Default)]
pub(super) struct Pixels {
    pub damaged_rows: Vec<usize>,
    pub damaged_clusters: Vec<Cluster>,
    pub poisoned: Vec<Cluster>,
}

impl Pixels {
    /// One pass over the pixels of the used bands: pieces are hashed, rows and clusters joined from them.
    pub fn compare(bytes: &[u8], moved_by: usize, tables: &Tables) -> Self {
        let mut found = Self::default();
        let mut bands = Vec::with_capacity(tables.used_bands);
        for band in 0..tables.used_bands {
            let rows = [0, 1, 2, 3].map(|line| {
                let row = band * CLUSTER_HEIGHT_PX + line;
                let pieces = pixel_row(bytes, moved_by, row).map(hash_pieces);
                let is_sound = pieces.is_some_and(|pieces| tables.row_crc(row) == Some(crc::of_pieces(pieces)));
                if !is_sound {
                    found.damaged_rows.push(row);
                }
                (pieces.unwrap_or_default(), is_sound)
            });
            bands.push(rows);
        }
        let unused =
            (tables.used_bands * CLUSTER_HEIGHT_PX..REGION_SIDE_PX).filter(|&row| tables.row_crc(row) != Some(crc::ZERO_CLUSTER_CRC));
        found.damaged_rows.extend(unused);
        for cluster in (0..REGION_CLUSTERS).filter_map(Cluster::new) {
            let Some(rows) = bands.get(tile(cluster).band) else { continue };
            let column = tile(cluster).column;
            let pieces = rows.map(|(pieces, _)| pieces.get(column).copied().unwrap_or_default());
            if crc::of_pieces(pieces) == tables.cluster_crc(cluster) {
                continue;
            }
            let list = if rows.iter().all(|(_, is_sound)| *is_sound) { &mut found.poisoned } else { &mut found.damaged_clusters };
            list.push(cluster);
        }
        found
    }
}

pub(super) fn hash_pieces(row: &[u8; ROW_BYTES]) -> [u32; 4] {
    let (pieces, _) = row.as_chunks::<PIECE_BYTES>();
    let mut crcs = [0; 4];
    crcs.iter_mut().zip(pieces).for_each(|(crc, piece)| *crc = crc32fast::hash(piece));
    crcs
}

/// The bytes of a pixel row as they stand in the file; `None` if it ends before.
pub(super) fn pixel_row(bytes: &[u8], moved_by: usize, row: usize) -> Option<&[u8; ROW_BYTES]> {
    bytes.get(row_range(row).start.checked_add(moved_by)?..)?.first_chunk()
}

/// A parity row (1024..1056) if it has its checksum.
pub(super) fn sound_parity_row<'a>(bytes: &'a [u8], anatomy: &Anatomy, tables: &Tables, row: usize) -> Option<&'a [u8; ROW_BYTES]> {
    let within = row.checked_sub(REGION_SIDE_PX)? * ROW_BYTES;
    anatomy.parity_offsets(tables).into_iter().find_map(|start| {
        let bytes = bytes.get(start.checked_add(within)?..)?.first_chunk::<ROW_BYTES>()?;
        (tables.row_crc(row) == Some(crc32fast::hash(bytes))).then_some(bytes)
    })
}
