//! A file of the log: its name, its header block, and how it is made ready.
//!
//! Owns: the format of a segment, `wal/<16 hex digits>.seg`. Must be true: the header, not the name, says which segment a file
//! is; a file is zero-written and durable, name included, before it is used (a log sync that need not allocate is faster).
//! Fails: `HeaderError` for a block that is no header; making a file gives the device's error.
//!
//! ```text
//!  0  magic "IMapLog\0"         32  sequence number u64, +1 for each segment begun
//!  8  format version  u32       40  LSN of the first record u64
//! 12  mount epoch     u32       48  bytes of the segment u64, this block included
//! 16  volume uuid               56  CRC32 of the record before the first u32
//!                               60  CRC32 of the 60 bytes before u32; the rest of the block is zero and ignored
//! ```
//! The records follow from the next block on: batches, each at a block of [`LOG_BLOCK_BYTES`], zeros between them.

use super::record::{Lsn, get, put};
use crate::buffer::AlignedBuf;
use crate::device::{Device, DeviceFile, Open};
use crate::limits::{FORMAT_VERSION, LOG_BLOCK_BYTES};
use std::io;
use std::sync::Arc;

/// The directory of the segments, below the volume.
pub const LOG_DIRECTORY: &str = "wal";
/// Bytes of a header that mean something.
pub const SEGMENT_HEADER_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"IMapLog\0";
/// Bytes of zeros written at a time.
const ZERO_PIECE_BYTES: usize = 256 * 1024;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub uuid: [u8; 16],
    /// Mount epoch of every record in it.
    pub epoch: u32,
    pub sequence: u64,
    pub first_lsn: Lsn,
    /// Checksum of the record before the first.
    pub previous_crc: u32,
    /// Bytes of the segment, header included.
    pub segment_bytes: u64,
}

/// Why a block is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("no segment header stands here, or a damaged one")]
    NotAHeader,
    #[error("the log has format version {0}, newer than the {FORMAT_VERSION} that this program knows: use a newer program")]
    TooNew(u32),
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, 12, &self.epoch.to_le_bytes());
        put(&mut bytes, 16, &self.uuid);
        put(&mut bytes, 32, &self.sequence.to_le_bytes());
        put(&mut bytes, 40, &self.first_lsn.0.to_le_bytes());
        put(&mut bytes, 48, &self.segment_bytes.to_le_bytes());
        put(&mut bytes, 56, &self.previous_crc.to_le_bytes());
        let crc = checksum(&bytes);
        put(&mut bytes, 60, &crc.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of a file.
    ///
    /// # Errors
    /// `NotAHeader`, also for too few bytes; `TooNew` only for one whose checksum matches.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header = bytes.first_chunk::<SEGMENT_HEADER_BYTES>().ok_or(HeaderError::NotAHeader)?;
        if !header.starts_with(&MAGIC) || u32::from_le_bytes(get(header, 60)) != checksum(header) {
            return Err(HeaderError::NotAHeader);
        }
        match u32::from_le_bytes(get(header, 8)) {
            FORMAT_VERSION => Ok(Self {
                uuid: get(header, 16),
                epoch: u32::from_le_bytes(get(header, 12)),
                sequence: u64::from_le_bytes(get(header, 32)),
                first_lsn: Lsn(u64::from_le_bytes(get(header, 40))),
                previous_crc: u32::from_le_bytes(get(header, 56)),
                segment_bytes: u64::from_le_bytes(get(header, 48)),
            }),
            version if version > FORMAT_VERSION => Err(HeaderError::TooNew(version)),
            _ => Err(HeaderError::NotAHeader),
        }
    }

    /// The header in a block of its own, ready to be written.
    #[must_use]
    pub fn block(&self) -> AlignedBuf {
        let mut block = AlignedBuf::zeroed(LOG_BLOCK_BYTES);
        put(&mut block, 0, &self.encode());
        block
    }
}

fn checksum(header: &[u8; SEGMENT_HEADER_BYTES]) -> u32 {
    crc32fast::hash(header.first_chunk::<60>().map_or(&[], <[u8; 60]>::as_slice))
}

/// Path of the file with a number.
#[must_use]
pub fn segment_path(number: u64) -> String {
    format!("{LOG_DIRECTORY}/{number:016x}.seg")
}

/// The number in a file's name; `None` if it is not one of ours.
#[must_use]
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let ours = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    // The upper half is never given, so there is always a next number.
    u64::from_str_radix(digits, 16).ok().filter(|number| ours && *number < 1 << 63)
}

/// Makes the file with this number, or overwrites what it holds: zeros throughout, durable, name included.
///
/// # Errors
/// The device's; the file must not be used then.
pub fn zero_segment(device: &dyn Device, number: u64, segment_bytes: u64) -> io::Result<Arc<dyn DeviceFile>> {
    let file = device.open(&segment_path(number), Open::CREATE.direct())?;
    file.allocate(segment_bytes)?;
    if file.len()? > segment_bytes {
        file.set_len(segment_bytes)?;
    }
    let zeros = AlignedBuf::zeroed(ZERO_PIECE_BYTES.min(usize::try_from(segment_bytes).unwrap_or(ZERO_PIECE_BYTES)));
    let mut at = 0;
    while at < segment_bytes {
        let piece = zeros.len().min(usize::try_from(segment_bytes - at).unwrap_or(zeros.len()));
        file.write_at(zeros.get(..piece).unwrap_or(&zeros), at)?;
        at += piece as u64;
    }
    file.sync()?;
    device.sync_dir(LOG_DIRECTORY)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> SegmentHeader {
        SegmentHeader { uuid: *b"0123456789abcdef", epoch: 3, sequence: 9, first_lsn: Lsn(77), previous_crc: 5, segment_bytes: 1 << 24 }
    }

    #[test]
    fn the_header_is_the_documented_one() {
        let bytes = header().encode();
        assert_eq!(bytes[..32], *b"IMapLog\0\x01\0\0\0\x03\0\0\x000123456789abcdef");
        assert_eq!(bytes[32..60], *b"\x09\0\0\0\0\0\0\0\x4d\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\x05\0\0\0");
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut bytes = header().encode();
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::NotAHeader));
        let crc = checksum(&bytes);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::TooNew(2)));
    }

    #[test]
    fn only_names_that_we_would_give_are_ours() {
        assert_eq!(segment_number("00000000000000ff.seg"), Some(255));
        for foreign in
            ["00000000000000FF.seg", "ff.seg", "+0000000000000ff.seg", "00000000000000ff.seg.bak", "ffffffffffffffff.seg", ".seg", ""]
        {
            assert_eq!(segment_number(foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn hostile_headers_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), sealed: bool) {
            if let (true, Some(header)) = (sealed, bytes.first_chunk_mut::<SEGMENT_HEADER_BYTES>()) {
                header[..8].copy_from_slice(&MAGIC);
                let crc = checksum(header);
                header[60..].copy_from_slice(&crc.to_le_bytes());
            }
            let _ = SegmentHeader::decode(&bytes);
        }
    }
}
