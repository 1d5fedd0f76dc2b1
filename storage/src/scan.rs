//! Looking at one image after the other while others read and write: which stands next, its bytes piece by piece, whose what is lost is.
//!
//! Owns: `next_region`, `ImageReading`, `Below`, `lost_rows`. Must be true: SCN-1 nothing is written here; SCN-2 bytes are read past the
//! page cache where the host can: what others have in it stays. Fails: with the state's errors; a device that refuses bytes is told by
//! `ImageReading`, which reads on.

mod below;
mod lost;
#[cfg(test)]
mod tests;

pub use below::Below;
pub use lost::{Lost, lost_rows};

use crate::address::{Place, RegionId};
use crate::device::{Device, DeviceFile, Open};
use crate::images::read_piece;
use crate::region::IMAGE_MAX_BYTES;
use crate::row::{Key, RegionRow};
use crate::state::StateError;
use crate::vat::{NodeSource, Tree};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// The first region from a place on that the volume tree has a row of.
///
/// # Errors
/// A node of the volume tree that cannot be used, or a row that is none.
pub fn next_region(volume: &Tree, source: &dyn NodeSource, from: Place) -> Result<Option<(RegionId, RegionRow)>, StateError> {
    let (_, to) = Key::places();
    for row in volume.range(source, &Key::Region(from).encode(), Some(&to)) {
        let row = row?;
        if let Some(Key::Region(place)) = Key::decode(row.key()) {
            let found = RegionRow::decode(row.value())?;
            return Ok(Some((RegionId { place, generation: found.generation }, found)));
        }
    }
    Ok(None)
}

/// The file of an image, read piece by piece into a buffer of the caller's.
pub struct ImageReading {
    file: Arc<dyn DeviceFile>,
    size_bytes: u64,
    at: usize,
    /// Bytes that were read.
    length: usize,
    /// What the device refused to give, and how it said so.
    refused: Vec<Range<usize>>,
    words: Option<String>,
}

impl ImageReading {
    /// Opens the file of an image.
    ///
    /// # Errors
    /// The device's.
    pub fn open(device: &dyn Device, region: RegionId) -> io::Result<Self> {
        let file = device.open(&region.path(), Open::READ.direct())?;
        let size_bytes = file.len()?;
        Ok(Self { file, size_bytes, at: 0, length: 0, refused: Vec::new(), words: None })
    }

    /// Bytes of the file, of which an image has [`IMAGE_MAX_BYTES`] at most.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn end(&self) -> usize {
        usize::try_from(self.size_bytes).unwrap_or(usize::MAX).min(IMAGE_MAX_BYTES)
    }

    /// Whether there is more to read.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.at < self.end()
    }

    /// Reads the next piece, a multiple of the page size, to where it belongs in `image`. Returns the bytes of it.
    pub fn read_next(&mut self, image: &mut [u8], piece_bytes: usize) -> usize {
        let (from, end) = (self.at, self.end().min(image.len()));
        let to = from.saturating_add(piece_bytes.max(1)).min(end);
        // The buffer goes on behind the end of a file that is cut: the whole of the piece is asked for, as O_DIRECT wants it.
        let asked = from.saturating_add(piece_bytes.max(1)).min(image.len());
        let Some(piece) = image.get_mut(from..asked) else {
            self.at = usize::MAX;
            return 0;
        };
        if let Some(error) = read_piece(self.file.as_ref(), piece, from) {
            self.refused.push(from..to);
            self.words = Some(error.to_string());
        }
        self.at = if to > from { to } else { usize::MAX };
        self.length = to;
        to.saturating_sub(from)
    }

    /// The bytes of the file in `image`, once nothing is left to read.
    #[must_use]
    pub fn bytes<'a>(&self, image: &'a [u8]) -> &'a [u8] {
        image.get(..self.length).unwrap_or_default()
    }

    /// All of the file was read, and the device gave each byte.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.refused.is_empty() && self.length as u64 == self.size_bytes
    }

    /// How the device refused bytes of this range of the file.
    #[must_use]
    pub fn refused(&self, range: &Range<usize>) -> Option<&str> {
        let meets = |refused: &&Range<usize>| refused.start < range.end && range.start < refused.end;
        self.refused.iter().find(meets).and(self.words.as_deref())
    }

    /// Whether the device refused anything.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }
}
