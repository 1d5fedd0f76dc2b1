//! The parts of an image that follow from its pixels, tables and root: signature, header, frames, checksums, padding.
//!
//! Owns: `write_header`, `write_bands`, `write_tail`, `write_end`, used by whoever gathers an image and by whoever mends one. Must be
//! true: PIC-6 the finished length is a multiple of 4096; PIC-9 two images with the same identity, pixels, tables and root are the same
//! bytes, the words for people aside; PIC-10 the two copies of tables and root have the parity between them, so that no burst of 124 KiB
//! reaches both. Fails: never; the buffer holds the longest image.
#![expect(clippy::indexing_slicing, reason = "offsets come from the layout, and both users bring buffers of the longest image")]

use super::chunk::{self, KIND_DATA, KIND_END, KIND_HEADER, KIND_IDENTITY, KIND_PAD, KIND_PARITY, KIND_ROOT, KIND_TABLES, KIND_TEXT};
use super::identity::Identity;
use super::layout::*;
use super::tables::tables_bytes;
use super::{crc, zeros};
use crate::limits::{CLUSTER_HEIGHT_PX, DIRECT_ALIGN, PARITY_ROWS, ROW_BYTES};

/// Bytes of the data of the parity chunk.
pub(super) const PARITY_BYTES: usize = PARITY_ROWS * ROW_BYTES;

/// File offsets of the chunks behind the pixels, of an image without foreign chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub tail: usize,
    pub tables: [usize; 2],
    pub roots: [usize; 2],
    pub parity: usize,
    pub pad: usize,
}

impl Ends {
    /// `root`: the bytes of the root, if there is one.
    pub fn of(used_bands: usize, owners: usize, root: Option<usize>) -> Self {
        let tail = band_offset(used_bands);
        let root = root.map_or(0, |bytes| CHUNK_FRAME_BYTES + bytes);
        let tables = CHUNK_FRAME_BYTES + tables_bytes(owners);
        let first = tail + CHUNK_FRAME_BYTES + zeros::tail_bytes(used_bands);
        let parity = first + tables + root;
        let second = parity + CHUNK_FRAME_BYTES + PARITY_BYTES + root;
        Self { tail, tables: [first, second], roots: [first + tables, second - root], parity, pad: second + tables }
    }
}

/// Writes everything before the pixels; `text` is the data of the chunk for people, if it is not to be the present one.
pub(super) fn write_header(image: &mut [u8], identity: &Identity, text: Option<&[u8]>) {
    image[..IHDR_OFFSET].copy_from_slice(&SIGNATURE);
    image[IHDR_OFFSET + CHUNK_HEAD_BYTES..][..IHDR.len()].copy_from_slice(&IHDR);
    chunk::frame(image, IHDR_OFFSET, KIND_HEADER, IHDR.len());
    image[IDENTITY_OFFSET + CHUNK_HEAD_BYTES..][..IDENTITY_BYTES].copy_from_slice(&identity.encode());
    chunk::frame(image, IDENTITY_OFFSET, KIND_IDENTITY, IDENTITY_BYTES);
    let place = &mut image[TEXT_OFFSET + CHUNK_HEAD_BYTES..][..TEXT_BYTES];
    place.fill(b' ');
    let words = text.map_or_else(|| format!("Description\0{}", identity.describe()).into_bytes(), <[u8]>::to_vec);
    let shown = words.len().min(TEXT_BYTES);
    place[..shown].copy_from_slice(&words[..shown]);
    chunk::frame(image, TEXT_OFFSET, KIND_TEXT, TEXT_BYTES);
}

/// Frames the used bands, whose pixels stand already; `row_crcs` are the checksums of their rows.
pub(super) fn write_bands(image: &mut [u8], used_bands: usize, row_crcs: &[u32]) {
    for band in 0..used_bands {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&KIND_DATA);
        let mut data_bytes = BLOCK_HEADER.len() + BAND_STORED_BYTES;
        let at = band_offset(band);
        if band == 0 {
            hasher.update(&ZLIB_HEADER);
            data_bytes += ZLIB_HEADER.len();
            image[at + CHUNK_HEAD_BYTES..][..ZLIB_HEADER.len()].copy_from_slice(&ZLIB_HEADER);
        }
        hasher.update(&BLOCK_HEADER);
        let first = band * CLUSTER_HEIGHT_PX;
        let rows = &row_crcs[first..first + CLUSTER_HEIGHT_PX];
        let crc = rows.iter().fold(hasher.finalize(), |crc, &row| crc::then_filtered_row(crc, row));
        image[filter_offset(first) - BLOCK_HEADER.len()..][..BLOCK_HEADER.len()].copy_from_slice(&BLOCK_HEADER);
        (first..first + CLUSTER_HEIGHT_PX).for_each(|row| image[filter_offset(row)] = 0);
        chunk::frame_with(image, at, KIND_DATA, data_bytes, crc);
    }
}

/// Writes the IDAT that closes the pixels; `adler` covers the rows of the used bands.
pub(super) fn write_tail(image: &mut [u8], ends: &Ends, used_bands: usize, adler: u32) {
    let tail_bytes = zeros::tail_bytes(used_bands);
    zeros::write_tail(&mut image[ends.tail + CHUNK_HEAD_BYTES..][..tail_bytes], used_bands, adler);
    chunk::frame(image, ends.tail, KIND_DATA, tail_bytes);
}

/// Frames the parity, whose rows stand already; `row_crcs` are their checksums.
pub(super) fn frame_parity(image: &mut [u8], ends: &Ends, row_crcs: &[u32]) {
    let crc = row_crcs.iter().fold(crc32fast::hash(&KIND_PARITY), |crc, &row| crc::then_row(crc, row));
    chunk::frame_with(image, ends.parity, KIND_PARITY, PARITY_BYTES, crc);
}

/// Writes both copies of tables and root, the padding and the end. Returns the length of the file.
pub(super) fn write_end(image: &mut [u8], ends: &Ends, tables: &[u8], root: Option<&[u8]>) -> usize {
    for (at, root_at) in ends.tables.into_iter().zip(ends.roots) {
        put(image, at, KIND_TABLES, tables);
        root.into_iter().for_each(|root| put(image, root_at, KIND_ROOT, root));
    }
    let unpadded = ends.pad + 2 * CHUNK_FRAME_BYTES;
    let pad = unpadded.next_multiple_of(DIRECT_ALIGN) - unpadded;
    image[ends.pad + CHUNK_HEAD_BYTES..][..pad].fill(0);
    let end = chunk::frame(image, ends.pad, KIND_PAD, pad);
    chunk::frame(image, end, KIND_END, 0)
}

fn put(image: &mut [u8], at: usize, kind: chunk::Kind, data: &[u8]) {
    image[at + CHUNK_HEAD_BYTES..][..data.len()].copy_from_slice(data);
    chunk::frame(image, at, kind, data.len());
}
