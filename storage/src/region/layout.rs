//! Where every byte of a region image stands, as pure functions of cluster and band numbers.
//!
//! Owns: the geometry of the file up to the last IDAT, and the order of clusters in the picture. Must be true: PIC-1 only
//! chunks of fixed size stand before the first IDAT, so a cluster lies at the same offsets in every image; PIC-2 cluster
//! numbers and tiles are a bijection; PIC-3 neighbours in number are neighbours in the picture, from square to square too.
//! Fails: never; a `Cluster` is in range by its type.
//!
//! ```text
//!      0  signature 8, IHDR 25
//!     33  imID: identity, 12 + 64
//!    109  tEXt: Description, 12 + 903
//!   1024  IDAT of band 0: length 4, type 4, zlib header 2, block header 5, 4 x (filter 1 + row 4096), CRC 4
//!  17431  IDAT of band 1: the same without the zlib header, 16405 bytes, and so on
//! ```

use crate::address::Cluster;
use crate::limits::{BAND_CLUSTERS, CLUSTER_HEIGHT_PX, DIRECT_ALIGN, PIECE_BYTES, REGION_CLUSTERS, ROW_BYTES, SQUARE_CLUSTERS};
use std::ops::Range;

/// Bytes of a chunk beside its data: length, type, CRC.
pub const CHUNK_FRAME_BYTES: usize = 12;
/// Bytes before a chunk's data: length and type.
pub const CHUNK_HEAD_BYTES: usize = 8;
/// The signature of every PNG.
pub const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A];
/// Data of IHDR: 1024 x 1024, 8 bits, RGBA, deflate, no filter method but 0, not interlaced.
pub const IHDR: [u8; 13] = [0, 0, 4, 0, 0, 0, 4, 0, 8, 6, 0, 0, 0];
/// Bytes of the data of the identity chunk.
pub const IDENTITY_BYTES: usize = 64;

/// Offset of IHDR.
pub const IHDR_OFFSET: usize = SIGNATURE.len();
/// Offset of the identity chunk.
pub const IDENTITY_OFFSET: usize = IHDR_OFFSET + CHUNK_FRAME_BYTES + IHDR.len();
/// Offset of the description chunk.
pub const TEXT_OFFSET: usize = IDENTITY_OFFSET + CHUNK_FRAME_BYTES + IDENTITY_BYTES;
/// Offset of the first IDAT: what stands before has this size in every image.
pub const HEADER_BYTES: usize = 1024;
/// Bytes of the data of the description chunk, keyword included.
pub const TEXT_BYTES: usize = HEADER_BYTES - TEXT_OFFSET - CHUNK_FRAME_BYTES;

/// Header of the zlib stream: deflate, window of 32 KiB, no dictionary, fastest.
pub const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];
/// Bytes of a row with its filter byte.
pub const FILTERED_ROW_BYTES: usize = ROW_BYTES + 1;
/// Bytes that a band inflates to: four rows with their filter bytes.
pub const BAND_STORED_BYTES: usize = CLUSTER_HEIGHT_PX * FILTERED_ROW_BYTES;
/// Header of the stored deflate block of a band: not final, stored, length, its complement.
pub const BLOCK_HEADER: [u8; 5] = {
    let [low, high] = (BAND_STORED_BYTES as u16).to_le_bytes();
    [0, low, high, !low, !high]
};
/// Bytes from one band to the next in the file.
pub const BAND_STRIDE: usize = CHUNK_FRAME_BYTES + BLOCK_HEADER.len() + BAND_STORED_BYTES;

/// Offset of the filter byte of the first row.
const FIRST_ROW_OFFSET: usize = HEADER_BYTES + CHUNK_HEAD_BYTES + ZLIB_HEADER.len() + BLOCK_HEADER.len();

/// Column (0..4) of each cluster of a square: the Hilbert curve of order 2 with x and y swapped, from (0, 0) to (0, 3).
const COLUMN_IN_SQUARE: [u8; SQUARE_CLUSTERS] = [0, 0, 1, 1, 2, 3, 3, 2, 2, 3, 3, 2, 1, 1, 0, 0];
/// Band (0..4) of each cluster of a square.
const BAND_IN_SQUARE: [u8; SQUARE_CLUSTERS] = [0, 1, 1, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 2, 2, 3];

/// A cluster's place in the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Band, 0..256: pixel rows `4 * band ..`.
    pub band: usize,
    /// Column, 0..4: pixel columns `256 * column ..`.
    pub column: usize,
}

/// The tile of a cluster.
#[must_use]
#[expect(clippy::indexing_slicing, reason = "the index is a remainder of the table's length")]
pub const fn tile_of(number: usize) -> Tile {
    let (square, within) = (number / SQUARE_CLUSTERS, number % SQUARE_CLUSTERS);
    Tile { band: square * 4 + BAND_IN_SQUARE[within] as usize, column: COLUMN_IN_SQUARE[within] as usize }
}

/// The tile of a cluster.
#[must_use]
pub fn tile(cluster: Cluster) -> Tile {
    tile_of(cluster.number())
}

/// The cluster of a tile; `None` outside the picture.
#[must_use]
pub fn cluster_at(tile: Tile) -> Option<Cluster> {
    let first = tile.band / 4 * SQUARE_CLUSTERS;
    (first..first + SQUARE_CLUSTERS).find(|&number| tile_of(number) == tile).and_then(Cluster::new)
}

/// File offset of the IDAT chunk of a band, 0..=256. At the number of used bands stands the IDAT that closes the stream.
#[must_use]
pub fn band_offset(band: usize) -> usize {
    let header = if band == 0 { 0 } else { ZLIB_HEADER.len() };
    HEADER_BYTES + header + band * BAND_STRIDE
}

/// File offset of the filter byte of a pixel row, 0..1024; its 4096 bytes follow.
#[must_use]
pub fn filter_offset(row: usize) -> usize {
    FIRST_ROW_OFFSET + row / CLUSTER_HEIGHT_PX * BAND_STRIDE + row % CLUSTER_HEIGHT_PX * FILTERED_ROW_BYTES
}

/// File range of the 4096 pixel bytes of a row, 0..1024.
#[must_use]
pub fn row_range(row: usize) -> Range<usize> {
    let start = filter_offset(row) + 1;
    start..start + ROW_BYTES
}

/// File offsets of the four pieces of 1024 bytes of a cluster.
#[must_use]
pub fn cluster_pieces(cluster: Cluster) -> [usize; CLUSTER_HEIGHT_PX] {
    let Tile { band, column } = tile(cluster);
    let first = FIRST_ROW_OFFSET + band * BAND_STRIDE + 1 + column * PIECE_BYTES;
    [first, first + FILTERED_ROW_BYTES, first + 2 * FILTERED_ROW_BYTES, first + 3 * FILTERED_ROW_BYTES]
}

/// The bands that hold `count` (at least one) clusters from `first` on; a run that leaves the region ends with it.
#[must_use]
pub fn bands_of(first: Cluster, count: usize) -> Range<usize> {
    let end = (first.number() + count.max(1)).min(REGION_CLUSTERS);
    let bands = (first.number()..end).map(|number| tile_of(number).band);
    bands.fold(tile(first).band..0, |found, band| found.start.min(band)..found.end.max(band + 1))
}

/// The file range to read for `count` clusters from `first` on: whole bands from the first filter byte to the last pixel,
/// so that the clusters beside them come along.
#[must_use]
pub fn read_range(first: Cluster, count: usize) -> Range<usize> {
    let bands = bands_of(first, count);
    let start = FIRST_ROW_OFFSET + bands.start * BAND_STRIDE;
    start..start + (bands.len() - 1) * BAND_STRIDE + BAND_STORED_BYTES
}

/// A range rounded outwards for O_DIRECT.
#[must_use]
pub fn direct_range(range: &Range<usize>) -> Range<usize> {
    range.start / DIRECT_ALIGN * DIRECT_ALIGN..range.end.next_multiple_of(DIRECT_ALIGN)
}

const _: () = assert!(BAND_STRIDE == 16_405 && TEXT_OFFSET == 109 && TEXT_BYTES == 903);
const _: () = assert!(BAND_CLUSTERS * PIECE_BYTES == ROW_BYTES && BAND_STORED_BYTES < 1 << 16);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hilbert;
    use crate::limits::REGION_BANDS;
    use std::collections::HashSet;

    fn all() -> impl Iterator<Item = Cluster> {
        (0..REGION_CLUSTERS).filter_map(Cluster::new)
    }

    #[test]
    fn a_square_is_the_hilbert_curve_with_x_and_y_swapped() {
        for within in 0..SQUARE_CLUSTERS {
            let (x, y) = hilbert::cell(2, within as u64);
            assert_eq!(tile_of(within), Tile { band: x as usize, column: y as usize });
        }
    }

    #[test]
    fn clusters_and_tiles_are_a_bijection() {
        assert!(all().all(|cluster| cluster_at(tile(cluster)) == Some(cluster)));
        assert_eq!(cluster_at(Tile { band: REGION_BANDS, column: 0 }), None);
        assert_eq!(cluster_at(Tile { band: 0, column: 4 }), None);
    }

    #[test]
    fn the_pieces_of_all_clusters_are_exactly_the_pixels() {
        let pieces = all().flat_map(cluster_pieces).collect::<HashSet<_>>();
        let pixels = (0..1024).flat_map(|row| row_range(row).step_by(PIECE_BYTES)).collect::<HashSet<_>>();
        assert_eq!(pieces.len(), REGION_CLUSTERS * 4);
        assert_eq!(pieces, pixels);
    }

    #[test]
    fn neighbours_in_number_are_neighbours_in_the_picture() {
        for number in 1..REGION_CLUSTERS {
            let (a, b) = (tile_of(number - 1), tile_of(number));
            assert_eq!(a.band.abs_diff(b.band) + a.column.abs_diff(b.column), 1, "step to cluster {number}");
        }
    }

    #[test]
    fn a_read_covers_its_clusters_and_a_unit_is_one_square() {
        for first in all() {
            for count in [1, 2, 5, 15, 16, 64] {
                let range = read_range(first, count);
                for cluster in (first.number()..first.number() + count).filter_map(Cluster::new) {
                    assert!(cluster_pieces(cluster).iter().all(|&o| range.start <= o && o + PIECE_BYTES <= range.end));
                }
            }
        }
        let unit = read_range(Cluster::new(16).unwrap(), 16);
        assert_eq!((unit.len(), bands_of(Cluster::new(16).unwrap(), 16)), (3 * BAND_STRIDE + BAND_STORED_BYTES, 4..8));
        assert!(all().all(|c| direct_range(&read_range(c, 1)).len() <= 24 * 1024));
    }
}
