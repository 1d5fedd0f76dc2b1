//! The file of a damaged image, byte for byte as it was written.
//!
//! Owns: `Mender` (work space), `Mended`, `Unmendable`. Must be true: MND-1 what is given has the identity, the tables, every row and the
//! root that were written, and all else follows from these (PIC-9): it is the same image, or nothing is given; MND-2 what cannot be mended
//! names exactly the clusters whose bytes are lost. Fails: `Unmendable`; never by panic, whatever the bytes are.
//!
//! What is taken from where: tables from a copy that has its checksum, or from two that complete each other (`two_copies`); rows of pixels
//! and parity by their checksums, lost ones from the others; the root from either copy; the words for people from the file if they are
//! sound (another version of this program may have written others). Signature, header, identity, frames, the zlib stream with its Adler-32,
//! the closing block, padding and end are computed.

use super::RegionError;
use super::anatomy::{Anatomy, ends_of};
use super::chunk::{KIND_TEXT, RawChunk};
use super::compose::{self, Ends};
use super::decode::RawRegion;
use super::encode::{IMAGE_MAX_BYTES, ROOT_MAX_BYTES};
use super::identity::Identity;
use super::layout::*;
use super::parity::{ParityEncoder, RestoredRow, RowRestorer};
use super::survey::{Pixels, sound_parity_row};
use super::tables::Tables;
use super::two_copies;
use crate::address::Cluster;
use crate::limits::{CHECKED_ROWS, CLUSTER_HEIGHT_PX, PARITY_ROWS, REGION_SIDE_PX, ROW_BYTES};
use std::ops::Deref;

/// The work space for mending: 8 MiB.
#[derive(Default)]
pub struct Mender {
    pub(super) restorer: RowRestorer,
    pub(super) encoder: ParityEncoder,
}

impl Mender {
    /// What restores rows alone.
    pub fn restorer(&mut self) -> &mut RowRestorer {
        &mut self.restorer
    }
}

/// A file as it was written, verified.
pub struct Mended {
    bytes: Vec<u8>,
    tables: Tables,
    rows: Vec<usize>,
}

impl Mended {
    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Rows that parity gave back: 0..1024 pixels, 1024..1056 parity.
    #[must_use]
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }
}

/// Why a file cannot be brought back, and what is lost by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unmendable {
    pub reason: RegionError,
    /// Clusters that do not have their checksum. Empty if nothing can be said: no tables, or another image.
    pub lost: Vec<Cluster>,
}

impl From<RegionError> for Unmendable {
    fn from(reason: RegionError) -> Self {
        Self { reason, lost: Vec::new() }
    }
}

type Row = [u8; ROW_BYTES];

impl<B: Deref<Target = [u8]>> RawRegion<B> {
    /// The image as it was written, whatever is damaged in this file; of a sound one the same bytes again.
    ///
    /// # Errors
    /// `TablesLost`; `WrongIdentity` if it is not the `expected` image; `RowsDamaged` above 32 damaged rows of pixels and parity, with the
    /// clusters that are lost; `RootDamaged`.
    pub fn mend(&self, expected: Option<&Identity>, mender: &mut Mender) -> Result<Mended, Unmendable> {
        let bytes: &[u8] = self.bytes();
        let mut anatomy = Anatomy::of(bytes, false);
        let tables = tables_of(&mut anatomy, expected)?;
        let used_rows = tables.used_bands * CLUSTER_HEIGHT_PX;
        let sound: Vec<Option<&Row>> = (0..CHECKED_ROWS).map(|row| sound_row(bytes, &anatomy, &tables, row)).collect();
        let row = |n: usize| sound.get(n).copied().flatten();
        let restored = mender.restorer.restore_all(&mut mender.encoder, used_rows, row).map_err(|lost| {
            let damaged = |row: &usize| (*row < used_rows || *row >= REGION_SIDE_PX) && sound.get(*row).is_some_and(Option::is_none);
            let first = (0..CHECKED_ROWS).find(damaged).unwrap_or_default();
            let pixels = Pixels::compare(bytes, anatomy.moved_by, &tables);
            Unmendable { reason: RegionError::RowsDamaged { first, rows: lost.lost }, lost: pixels.damaged_clusters }
        })?;
        if !restored.iter().all(|(n, row)| tables.row_crc(*n) == Some(crc32fast::hash(row))) {
            // Rows that have their checksum and are not those that parity was made of: nothing of it can be trusted.
            return Err(RegionError::NotAnImage("its rows and its parity contradict each other").into());
        }
        let root = root_of(bytes, &anatomy, &tables)?;
        let rows = Rows { sound: &sound, restored: &restored };
        let file = write(&tables, &rows, root.as_deref(), sound_text(bytes, &anatomy, &tables));
        if !RawRegion::new(file.as_slice()).survey().is_sound() {
            return Err(RegionError::NotAnImage("its tables describe no image that this program writes").into());
        }
        Ok(Mended { bytes: file, tables, rows: restored.iter().map(|(n, _)| *n).collect() })
    }
}

/// The tables of the expected image: bytes of another may stand in the file where a disk wrote to the wrong place.
fn tables_of(anatomy: &mut Anatomy, expected: Option<&Identity>) -> Result<Tables, RegionError> {
    let Some(expected) = expected else {
        anatomy.identity()?;
        return anatomy.take_tables();
    };
    let [first, second] = &mut anatomy.tables;
    let found = [first.take(), second.take(), anatomy.salvaged.take()];
    let mut error = None;
    for tables in found.into_iter().flatten() {
        match tables.identity.expect(expected) {
            Ok(()) => return Ok(tables),
            Err(other) => error = Some(other),
        }
    }
    Err(error.or_else(|| anatomy.identity().and_then(|identity| identity.expect(expected)).err()).unwrap_or(RegionError::TablesLost))
}

/// A row that has its checksum: where it should stand, or where chunks between the bands have moved it.
fn sound_row<'a>(bytes: &'a [u8], anatomy: &Anatomy, tables: &Tables, row: usize) -> Option<&'a Row> {
    if row >= REGION_SIDE_PX {
        return sound_parity_row(bytes, anatomy, tables, row);
    }
    let band = row / CLUSTER_HEIGHT_PX;
    if band >= tables.used_bands {
        return None;
    }
    let place = row_range(row).start;
    let walked = anatomy.bands.get(band).map(|at| at + place - band_offset(band));
    let places = [Some(place + anatomy.moved_by), Some(place), walked];
    let crc = tables.row_crc(row);
    places.into_iter().flatten().find_map(|at| bytes.get(at..)?.first_chunk().filter(|row: &&Row| Some(crc32fast::hash(&row[..])) == crc))
}

fn root_of(bytes: &[u8], anatomy: &Anatomy, tables: &Tables) -> Result<Option<Vec<u8>>, RegionError> {
    let Some(mark) = tables.root else { return Ok(None) };
    if mark.bytes as usize > ROOT_MAX_BYTES {
        return Err(RegionError::RootDamaged);
    }
    let sound = anatomy.sound_roots(bytes, tables).next().and_then(|range| bytes.get(range)).map(<[u8]>::to_vec);
    let copies = ends_of(tables).roots.map(|at| anatomy.moved_by + at + CHUNK_HEAD_BYTES);
    let merged = || two_copies::root(bytes, copies, mark.bytes as usize, mark.crc);
    sound.or_else(merged).map(Some).ok_or(RegionError::RootDamaged)
}

/// The data of the chunk with the words for people, unless they are those of another image.
fn sound_text<'a>(bytes: &'a [u8], anatomy: &Anatomy, tables: &Tables) -> Option<&'a [u8]> {
    if anatomy.identity_chunk().is_some_and(|identity| identity != tables.identity) {
        return None;
    }
    [TEXT_OFFSET, TEXT_OFFSET.saturating_add(anatomy.moved_by)].into_iter().find_map(|at| {
        let chunk = RawChunk::at(bytes, at)?;
        (chunk.kind == KIND_TEXT && chunk.data.len() == TEXT_BYTES && chunk.is_sound()).then_some(chunk.data)
    })
}

/// All rows of an image, by where they come from.
struct Rows<'a> {
    sound: &'a [Option<&'a Row>],
    restored: &'a [RestoredRow],
}

impl Rows<'_> {
    fn get(&self, n: usize) -> &[u8] {
        let sound = self.sound.get(n).copied().flatten().map(|row| &row[..]);
        let restored = || self.restored.iter().find(|(number, _)| *number == n).map(|(_, row)| row.as_slice());
        sound.or_else(restored).unwrap_or(&[0; ROW_BYTES])
    }
}

#[expect(clippy::indexing_slicing, reason = "the buffer holds the longest image; tables have 1056 checksums and the numbers of an image")]
fn write(tables: &Tables, rows: &Rows<'_>, root: Option<&[u8]>, text: Option<&[u8]>) -> Vec<u8> {
    let mut image = vec![0; IMAGE_MAX_BYTES];
    let ends: Ends = ends_of(tables);
    let mut adler = simd_adler32::Adler32::new();
    for n in 0..tables.used_bands * CLUSTER_HEIGHT_PX {
        image[row_range(n)].copy_from_slice(rows.get(n));
        adler.write(&image[filter_offset(n)..row_range(n).end]);
    }
    for n in 0..PARITY_ROWS {
        let at = ends.parity + CHUNK_HEAD_BYTES + n * ROW_BYTES;
        image[at..at + ROW_BYTES].copy_from_slice(rows.get(REGION_SIDE_PX + n));
    }
    compose::write_header(&mut image, &tables.identity, text);
    compose::write_bands(&mut image, tables.used_bands, &tables.row_crcs);
    compose::write_tail(&mut image, &ends, tables.used_bands, adler.finish());
    compose::frame_parity(&mut image, &ends, &tables.row_crcs[REGION_SIDE_PX..]);
    let length = compose::write_end(&mut image, &ends, &tables.encode(), root);
    image.truncate(length);
    image
}

#[cfg(test)]
mod tests;
