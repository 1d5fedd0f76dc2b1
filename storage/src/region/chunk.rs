//! PNG chunks: framing them in place, and walking them in bytes that nobody has checked.
//!
//! Owns: our chunk types, `frame`, the walk `Chunks`. Must be true: CHK-1 a chunk that is handed out lies whole inside the
//! bytes; CHK-2 a walk ends, and looks at each byte at most once. Fails: the walk hands out the offset at which it cannot go on.

use super::layout::{CHUNK_FRAME_BYTES, CHUNK_HEAD_BYTES, SIGNATURE};

/// Type of a chunk. Ours are ancillary, private and unsafe to copy: a tool that changes the picture must drop them.
pub type Kind = [u8; 4];

pub const KIND_HEADER: Kind = *b"IHDR";
pub const KIND_TEXT: Kind = *b"tEXt";
pub const KIND_DATA: Kind = *b"IDAT";
pub const KIND_END: Kind = *b"IEND";
/// Identity: volume, place, generation, kind of the region.
pub const KIND_IDENTITY: Kind = *b"imID";
/// Tables: checksums and owners; written twice.
pub const KIND_TABLES: Kind = *b"imTB";
/// Parity: 32 rows.
pub const KIND_PARITY: Kind = *b"imPY";
/// The root of a checkpoint.
pub const KIND_ROOT: Kind = *b"imRT";
/// Zeros that make the file a multiple of 4096 bytes.
pub const KIND_PAD: Kind = *b"imPD";

/// Frames `data_bytes` that stand at `at + 8` as a chunk at `at`, with its checksum. Returns the offset behind it.
pub fn frame(file: &mut [u8], at: usize, kind: Kind, data_bytes: usize) -> usize {
    let (_, data) = file.split_at(at + CHUNK_HEAD_BYTES);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&kind);
    hasher.update(data.split_at(data_bytes).0);
    let crc = hasher.finalize();
    frame_with(file, at, kind, data_bytes, crc)
}

/// As [`frame`], for a caller who knows the checksum of type and data.
pub fn frame_with(file: &mut [u8], at: usize, kind: Kind, data_bytes: usize, crc: u32) -> usize {
    let (_, chunk) = file.split_at_mut(at);
    let (head, rest) = chunk.split_at_mut(CHUNK_HEAD_BYTES);
    let (length, head) = head.split_at_mut(4);
    length.copy_from_slice(&(data_bytes as u32).to_be_bytes());
    head.copy_from_slice(&kind);
    let (_, rest) = rest.split_at_mut(data_bytes);
    rest.split_at_mut(4).0.copy_from_slice(&crc.to_be_bytes());
    at + data_bytes + CHUNK_FRAME_BYTES
}

/// A chunk found by a walk. Its checksum is not yet checked.
#[derive(Clone, Copy, Debug)]
pub struct RawChunk<'a> {
    /// File offset of the length field.
    pub offset: usize,
    pub kind: Kind,
    pub data: &'a [u8],
    stored_crc: u32,
}

impl<'a> RawChunk<'a> {
    /// The chunk at `offset`; `None` if what stands there cannot be one that lies whole in `bytes`.
    pub fn at(bytes: &'a [u8], offset: usize) -> Option<Self> {
        let rest = bytes.get(offset..)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (data, rest) = rest.split_at_checked(length)?;
        let (crc, _) = rest.split_first_chunk::<4>()?;
        let is_type = kind.iter().all(u8::is_ascii_alphabetic);
        is_type.then_some(Self { offset, kind: *kind, data, stored_crc: u32::from_be_bytes(*crc) })
    }

    /// Whether type and data have the checksum that follows them.
    pub fn is_sound(&self) -> bool {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.kind);
        hasher.update(self.data);
        hasher.finalize() == self.stored_crc
    }

    /// File offset behind this chunk.
    pub fn end(&self) -> usize {
        self.offset + self.data.len() + CHUNK_FRAME_BYTES
    }
}

/// The chunks of a file, from the signature to IEND. Foreign chunks are handed out like ours; `Err` tells the offset at which
/// there is no further chunk although IEND has not come.
pub struct Chunks<'a> {
    bytes: &'a [u8],
    at: Option<usize>,
}

impl<'a> Chunks<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: Some(SIGNATURE.len()) }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<RawChunk<'a>, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at.take()?;
        let Some(chunk) = RawChunk::at(self.bytes, at) else { return Some(Err(at)) };
        if chunk.kind != KIND_END {
            self.at = Some(chunk.end());
        }
        Some(Ok(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn our_chunks_are_ancillary_private_and_unsafe_to_copy() {
        for kind in [KIND_IDENTITY, KIND_TABLES, KIND_PARITY, KIND_ROOT, KIND_PAD] {
            assert_eq!(kind.map(|letter| letter.is_ascii_lowercase()), [true, true, false, false]);
        }
    }

    #[test]
    fn a_framed_chunk_is_found_again_and_every_flip_in_it_is_seen() {
        let mut file = vec![0; 8 + 12 + 5 + 12];
        file[16..21].copy_from_slice(b"hello");
        let end = frame(&mut file, 8, KIND_PAD, 5);
        assert_eq!(frame(&mut file, end, KIND_END, 0), file.len());
        let walk = |file: &[u8]| Chunks::of(file).all(|c| c.is_ok_and(|c| c.is_sound()));
        assert!(walk(&file));
        for bit in 64..file.len() * 8 {
            file[bit / 8] ^= 1 << (bit % 8);
            assert!(!walk(&file), "bit {bit}");
            file[bit / 8] ^= 1 << (bit % 8);
        }
    }

    proptest! {
        #[test]
        fn a_walk_of_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(Chunks::of(&bytes).count() <= bytes.len() / CHUNK_FRAME_BYTES + 1);
        }
    }
}
