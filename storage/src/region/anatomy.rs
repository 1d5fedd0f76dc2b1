//! Where the parts of an unverified file are, as far as they can be found.
//!
//! Owns: `Anatomy`, what one walk over the chunks yields, and the search for tables when the walk is cut short. Must be true:
//! foreign chunks are skipped wherever they stand, and moved pixels are found; nothing found here is verified but tables and
//! identity, which have checksums of their own. Fails: never; what is not found is `None`.

use super::RegionError;
use super::chunk::*;
use super::compose::{Ends, PARITY_BYTES};
use super::identity::Identity;
use super::layout::*;
use super::tables::{TABLES_MAX_BYTES, Tables, tables_bytes};
use super::two_copies;
use crate::limits::REGION_BANDS;
use std::ops::Range;

/// Damaged chunks that are listed; hostile files can have more.
const LISTED_MAX: usize = 1024;
/// Places that look like tables and are tried; a search of hostile bytes stays short.
const TRIED_MAX: usize = 64;

/// A chunk whose checksum does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedChunk {
    pub kind: Kind,
    /// File offset of its length field.
    pub offset: usize,
}

/// What a walk over a file finds.
#[derive(Default)]
pub(super) struct Anatomy {
    identity: Option<Result<Identity, RegionError>>,
    /// The sound copies of the tables.
    pub tables: [Option<Tables>; 2],
    /// Tables that were put together from two damaged copies.
    pub salvaged: Option<Tables>,
    /// Offsets of the IDAT chunks with the length of a band, as they come.
    pub bands: Vec<usize>,
    /// Bytes that foreign chunks add before the pixels.
    pub moved_by: usize,
    parity: Option<Range<usize>>,
    /// The data of the chunks that say they are roots.
    roots: Vec<Range<usize>>,
    /// Where the walk could not go on.
    pub broken_at: Option<usize>,
    /// Behind IEND.
    pub end: usize,
    /// Empty unless the walk checks all chunks.
    pub damaged: Vec<DamagedChunk>,
    pub foreign: usize,
    copies: usize,
    has_pixels: bool,
}

impl Anatomy {
    /// Walks the file; `check_all` compares the checksum of every chunk, which reads the whole file.
    pub fn of(bytes: &[u8], check_all: bool) -> Self {
        let mut found = Self::default();
        for chunk in Chunks::of(bytes) {
            match chunk {
                Ok(chunk) => found.take(&chunk, check_all),
                Err(at) => found.broken_at = Some(at),
            }
        }
        let sound = found.tables.iter().flatten().count();
        if sound == 0 || (sound == 1 && found.broken_at.is_some()) {
            found.search_tables(bytes);
        }
        if found.tables.iter().all(Option::is_none) {
            found.salvaged = two_copies::tables(bytes, found.moved_by);
        }
        if !matches!(found.identity, Some(Ok(_))) {
            let fixed = bytes.get(IDENTITY_OFFSET + CHUNK_HEAD_BYTES..).and_then(<[u8]>::first_chunk);
            found.identity = fixed.map(Identity::decode).filter(Result::is_ok).or(found.identity);
        }
        found
    }

    fn take(&mut self, chunk: &RawChunk<'_>, check_all: bool) {
        let data = chunk.offset + CHUNK_HEAD_BYTES..chunk.end() - 4;
        let mut is_sound = !check_all || chunk.is_sound();
        match chunk.kind {
            KIND_HEADER => is_sound &= chunk.data == IHDR,
            KIND_IDENTITY if self.identity.is_none() => {
                self.identity = chunk.data.try_into().ok().map(Identity::decode);
                is_sound &= matches!(self.identity, Some(Ok(_)));
            }
            KIND_DATA if !self.has_pixels => {
                self.has_pixels = true;
                self.take_band(chunk);
                self.moved_by = moved_by(chunk);
                is_sound &= chunk.offset >= HEADER_BYTES;
            }
            KIND_TABLES if self.has_pixels => {
                let tables = Tables::decode(chunk.data);
                is_sound &= tables.is_some();
                if let Some(copy) = self.tables.get_mut(self.copies) {
                    *copy = tables;
                }
                self.copies += 1;
            }
            KIND_PARITY if data.len() == PARITY_BYTES => self.parity = Some(data),
            KIND_ROOT if self.roots.len() < 2 => self.roots.push(data),
            KIND_END => self.end = chunk.end(),
            KIND_DATA => self.take_band(chunk),
            KIND_TEXT | KIND_PAD => {}
            _ => self.foreign += 1,
        }
        if !is_sound && self.damaged.len() < LISTED_MAX {
            self.damaged.push(DamagedChunk { kind: chunk.kind, offset: chunk.offset });
        }
    }

    fn take_band(&mut self, chunk: &RawChunk<'_>) {
        let header = if self.bands.is_empty() { ZLIB_HEADER.len() } else { 0 };
        if chunk.data.len() == header + BLOCK_HEADER.len() + BAND_STORED_BYTES && self.bands.len() < REGION_BANDS {
            self.bands.push(chunk.offset);
        }
    }

    /// Looks for tables from the end of the file on, because a damaged length field ends a walk.
    ///
    /// From the end, so that the real ones are found before bytes of a file that look like them.
    fn search_tables(&mut self, bytes: &[u8]) {
        let candidates = bytes.windows(4).enumerate().rev().filter(|(_, kind)| *kind == KIND_TABLES);
        for (at, _) in candidates.take(TRIED_MAX) {
            let chunk = at.checked_sub(4).and_then(|offset| RawChunk::at(bytes, offset));
            let Some(chunk) = chunk.filter(|chunk| (tables_bytes(0)..=TABLES_MAX_BYTES).contains(&chunk.data.len())) else { continue };
            if let Some(tables) = Tables::decode(chunk.data) {
                let copy = usize::from(chunk.offset != self.moved_by + ends_of(&tables).tables[0]);
                if let Some(slot) = self.tables.get_mut(copy) {
                    *slot = Some(tables);
                }
                return;
            }
        }
    }

    /// A sound copy of the tables, or what two damaged ones come to.
    pub fn take_tables(&mut self) -> Result<Tables, RegionError> {
        let [first, second] = &mut self.tables;
        first.take().or_else(|| second.take()).or_else(|| self.salvaged.take()).ok_or(RegionError::TablesLost)
    }

    /// The identity: of its chunk, or of the tables if that is damaged.
    pub fn identity(&self) -> Result<Identity, RegionError> {
        let of_tables = self.tables.iter().chain([&self.salvaged]).flatten().next().map(|tables| tables.identity);
        match (self.identity, of_tables) {
            (Some(Ok(identity)), Some(other)) if identity != other => {
                Err(RegionError::NotAnImage("its identity and its tables are of two images"))
            }
            (Some(Ok(identity)), _) | (_, Some(identity)) => Ok(identity),
            (Some(Err(error)), None) => Err(error),
            (None, None) => Err(RegionError::NotAnImage("it has no identity")),
        }
    }

    /// What the identity chunk says, if it is sound.
    pub fn identity_chunk(&self) -> Option<Identity> {
        self.identity.and_then(Result::ok)
    }

    /// File offsets where the first parity row may stand: as computed, and as found.
    pub fn parity_offsets(&self, tables: &Tables) -> [usize; 2] {
        let computed = self.moved_by + ends_of(tables).parity + CHUNK_HEAD_BYTES;
        [computed, self.parity.as_ref().map_or(computed, |range| range.start)]
    }

    /// The root, verified: `None` if there should be none.
    pub fn root(&self, bytes: &[u8], tables: &Tables) -> Result<Option<Range<usize>>, RegionError> {
        if tables.root.is_none() {
            return Ok(None);
        }
        self.sound_roots(bytes, tables).next().map(Some).ok_or(RegionError::RootDamaged)
    }

    /// The copies of the root that are sound: up to two where they should be, else those that were found.
    pub fn sound_roots<'a>(&'a self, bytes: &'a [u8], tables: &'a Tables) -> impl Iterator<Item = Range<usize>> + 'a {
        let length = tables.root.map_or(0, |mark| mark.bytes as usize);
        let computed = ends_of(tables).roots.map(|at| {
            let start = self.moved_by + at + CHUNK_HEAD_BYTES;
            start..start.saturating_add(length)
        });
        let elsewhere = self.roots.iter().filter({
            let computed = computed.clone();
            move |range| !computed.contains(range)
        });
        let is_sound = move |range: &Range<usize>| {
            let root = bytes.get(range.clone()).filter(|root| root.len() == length);
            tables.root.zip(root).is_some_and(|(mark, root)| crc32fast::hash(root) == mark.crc)
        };
        computed.into_iter().chain(elsewhere.cloned()).filter(is_sound)
    }
}

/// Where the chunks behind the pixels of an image with these tables stand, without foreign chunks.
pub(super) fn ends_of(tables: &Tables) -> Ends {
    Ends::of(tables.used_bands, tables.owners.len(), tables.root.map(|mark| mark.bytes as usize))
}

/// By how much pixels stand behind their place, told by the first chunk of pixels that can be recognised. The one of band 0 has the
/// header of the stream; if it was damaged this is a later one, and what stands before is no foreign chunk.
fn moved_by(first_seen: &RawChunk<'_>) -> usize {
    let RawChunk { offset, data, .. } = *first_seen;
    let is_first = data.starts_with(&ZLIB_HEADER) || data.len() == ZLIB_HEADER.len() + BLOCK_HEADER.len() + BAND_STORED_BYTES;
    if is_first {
        return offset.saturating_sub(HEADER_BYTES);
    }
    let stands_in_place = offset.checked_sub(HEADER_BYTES + ZLIB_HEADER.len()).is_none_or(|behind| behind.is_multiple_of(BAND_STRIDE));
    if stands_in_place { 0 } else { offset.saturating_sub(band_offset(1)) }
}

/// The tables of an image, from the last bytes of its file: enough of them to hold both copies, parity, and a root.
#[must_use]
pub fn find_tables(tail: &[u8]) -> Option<Tables> {
    let mut found = Anatomy::default();
    found.search_tables(tail);
    found.take_tables().ok()
}

/// The identity of an image, from at least its first [`HEADER_BYTES`].
///
/// # Errors
/// `NotAnImage`, `Version`.
pub fn read_identity(bytes: &[u8]) -> Result<Identity, RegionError> {
    if !bytes.starts_with(&SIGNATURE) {
        return Err(RegionError::NotAnImage("it does not begin as a PNG"));
    }
    let chunk =
        Chunks::of(bytes).map_while(Result::ok).take_while(|chunk| chunk.kind != KIND_DATA).find(|chunk| chunk.kind == KIND_IDENTITY);
    let data = chunk.and_then(|chunk| chunk.data.try_into().ok());
    data.map_or(Err(RegionError::NotAnImage("it has no identity")), Identity::decode)
}
