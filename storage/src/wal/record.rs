//! One entry of the log: a fixed header and a payload that means nothing here.
//!
//! Owns: `Lsn`, `RecordKind`, the bytes of a record. Must be true: WAL-1; every bit of a record is under its own checksum, which
//! covers the checksum of the record before it, so equal checksums mean equal history. Fails: `RecordError` for bytes that are
//! not a whole record of this volume.
//!
//! ```text
//!  0  magic "IMlr"        u32      16  volume tag               u64      40  CRC32 of the record before   u32
//!  4  kind                u8       24  LSN                      u64      44  CRC32 of this record without u32
//!  5  flags (1 = commit)  u8       32  highest LSN known synced u64          these four bytes
//!  6  zero                u16          when this was appended            48  payload
//!  8  payload length      u32
//! 12  mount epoch         u32
//! ```

use crate::limits::RECORD_MAX_BYTES;
use std::fmt;

/// Bytes of a record before its payload.
pub const RECORD_HEADER_BYTES: usize = 48;
/// Bytes of a record's payload at most.
pub const PAYLOAD_MAX_BYTES: usize = RECORD_MAX_BYTES - RECORD_HEADER_BYTES;

const MAGIC: [u8; 4] = *b"IMlr";
const FLAG_COMMIT: u8 = 1;
/// Where the record's own checksum stands: the last field of the header.
const CRC_AT: usize = RECORD_HEADER_BYTES - 4;

/// Number of a record. The first of a volume is 1; 0 stands for "none yet".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// No record.
    pub const NONE: Self = Self(0);
    /// The first record of a volume.
    pub const FIRST: Self = Self(1);

    /// The number after this one. A log never comes near the end of its numbers; hostile bytes stay there.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number before this one, or none.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a record's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Rows put and deleted, with the data of small synced writes.
    Changes,
    /// The root of a checkpoint or snapshot.
    Root,
    /// Places about to be written.
    Grant,
}

impl RecordKind {
    fn number(self) -> u8 {
        match self {
            Self::Changes => 1,
            Self::Root => 2,
            Self::Grant => 3,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Changes, Self::Root, Self::Grant].into_iter().find(|kind| kind.number() == number)
    }
}

/// The part of a volume's uuid that each record carries.
#[must_use]
pub fn volume_tag(uuid: [u8; 16]) -> u64 {
    let all = u128::from_le_bytes(uuid);
    (all >> 64) as u64 ^ all as u64
}

/// What a record says of itself, without its payload and own checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub kind: RecordKind,
    /// The last record of its group.
    pub commit: bool,
    pub payload_bytes: u32,
    pub epoch: u32,
    pub volume_tag: u64,
    pub lsn: Lsn,
    /// Highest LSN known synced when this record was appended.
    pub synced: Lsn,
    /// Checksum of the record before this one; 0 before the first of a volume.
    pub previous_crc: u32,
}

/// A record read and verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub header: RecordHeader,
    pub crc: u32,
    pub payload: &'a [u8],
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("no record stands here")]
    NotARecord,
    #[error("the record's header makes no sense")]
    BadHeader,
    #[error("the record is longer than what is left")]
    TooLong,
    #[error("the record's checksum does not match")]
    BadChecksum,
}

impl RecordHeader {
    /// The header's bytes, own checksum included, for a payload given in parts of together `payload_bytes`.
    #[must_use]
    pub fn encode(&self, payload: &[&[u8]]) -> ([u8; RECORD_HEADER_BYTES], u32) {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        let flags = if self.commit { FLAG_COMMIT } else { 0 };
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 4, &[self.kind.number(), flags]);
        put(&mut bytes, 8, &self.payload_bytes.to_le_bytes());
        put(&mut bytes, 12, &self.epoch.to_le_bytes());
        put(&mut bytes, 16, &self.volume_tag.to_le_bytes());
        put(&mut bytes, 24, &self.lsn.0.to_le_bytes());
        put(&mut bytes, 32, &self.synced.0.to_le_bytes());
        put(&mut bytes, 40, &self.previous_crc.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(bytes.first_chunk::<CRC_AT>().map_or(&[], <[u8; CRC_AT]>::as_slice));
        payload.iter().for_each(|part| hasher.update(part));
        let crc = hasher.finalize();
        put(&mut bytes, CRC_AT, &crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads a header; its checksum is not verified yet. Returns it with the checksum that it claims.
    ///
    /// # Errors
    /// `NotARecord` without our magic, `TooLong` when `bytes` hold no header, `BadHeader` for values that none of ours has.
    pub fn decode(bytes: &[u8]) -> Result<(Self, u32), RecordError> {
        let Some(header) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else {
            return Err(if bytes.starts_with(&MAGIC) { RecordError::TooLong } else { RecordError::NotARecord });
        };
        if !header.starts_with(&MAGIC) {
            return Err(RecordError::NotARecord);
        }
        let [_, _, _, _, kind, flags, zero @ ..] = header;
        let kind = RecordKind::from_number(*kind).ok_or(RecordError::BadHeader)?;
        let payload_bytes = u32::from_le_bytes(get(header, 8));
        if *flags & !FLAG_COMMIT != 0 || !zero.starts_with(&[0, 0]) || payload_bytes as usize > PAYLOAD_MAX_BYTES {
            return Err(RecordError::BadHeader);
        }
        let header = Self {
            kind,
            commit: *flags == FLAG_COMMIT,
            payload_bytes,
            epoch: u32::from_le_bytes(get(header, 12)),
            volume_tag: u64::from_le_bytes(get(header, 16)),
            lsn: Lsn(u64::from_le_bytes(get(header, 24))),
            synced: Lsn(u64::from_le_bytes(get(header, 32))),
            previous_crc: u32::from_le_bytes(get(header, 40)),
        };
        Ok((header, u32::from_le_bytes(get(bytes, CRC_AT))))
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.payload_bytes as usize
    }
}

impl<'a> Record<'a> {
    /// Reads and verifies the record at the start of `bytes`.
    ///
    /// # Errors
    /// As [`RecordHeader::decode`], and `BadChecksum`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (header, crc) = RecordHeader::decode(bytes)?;
        let (before_crc, rest) = bytes.split_at_checked(CRC_AT).ok_or(RecordError::TooLong)?;
        let payload = rest.get(4..).and_then(|rest| rest.get(..header.payload_bytes as usize)).ok_or(RecordError::TooLong)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(before_crc);
        hasher.update(payload);
        if hasher.finalize() == crc { Ok(Self { header, crc, payload }) } else { Err(RecordError::BadChecksum) }
    }
}

/// Copies a field to its place in a header.
pub(super) fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    if let Some(room) = at.checked_add(field.len()).and_then(|end| bytes.get_mut(at..end)) {
        room.copy_from_slice(field);
    }
}

/// Reads a field of a header whose length was checked; zeros beyond the end.
pub(super) fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(lsn: u64, payload: &[u8]) -> (RecordHeader, Vec<u8>) {
        let header = RecordHeader {
            kind: RecordKind::Grant,
            commit: lsn.is_multiple_of(2),
            payload_bytes: payload.len() as u32,
            epoch: 7,
            volume_tag: 0x0123_4567_89ab_cdef,
            lsn: Lsn(lsn),
            synced: Lsn(lsn / 2),
            previous_crc: 0xdead_beef,
        };
        let mut bytes = header.encode(&[payload]).0.to_vec();
        bytes.extend_from_slice(payload);
        (header, bytes)
    }

    #[test]
    fn the_header_is_the_documented_one() {
        let (_, bytes) = encoded(2, b"ab");
        let crc = crc32fast::hash(&[&bytes[..44], b"ab"].concat());
        let expected = [
            &b"IMlr\x03\x01\0\0"[..],
            &[2, 0, 0, 0, 7, 0, 0, 0, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01],
            &[2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xef, 0xbe, 0xad, 0xde],
            &crc.to_le_bytes(),
            b"ab",
        ];
        assert_eq!(bytes, expected.concat());
    }

    proptest! {
        #[test]
        fn a_record_survives_encoding(lsn: u64, payload in proptest::collection::vec(any::<u8>(), 0..300), behind in proptest::collection::vec(any::<u8>(), 0..9)) {
            let (header, mut bytes) = encoded(lsn, &payload);
            bytes.extend(behind);
            let record = Record::decode(&bytes).unwrap();
            prop_assert_eq!(record.header, header);
            prop_assert_eq!(record.payload, &payload[..]);
        }

        #[test]
        fn any_flipped_bit_is_noticed(payload in proptest::collection::vec(any::<u8>(), 0..60), bit in any::<proptest::sample::Index>()) {
            let (_, mut bytes) = encoded(5, &payload);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Record::decode(&bytes).is_err());
        }

        #[test]
        fn a_cut_record_is_none(payload in proptest::collection::vec(any::<u8>(), 0..60), cut in any::<proptest::sample::Index>()) {
            let (_, bytes) = encoded(5, &payload);
            prop_assert!(Record::decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn hostile_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), magic: bool) {
            if magic && bytes.len() > 4 {
                bytes[..4].copy_from_slice(&MAGIC);
            }
            let _ = Record::decode(&bytes);
        }
    }
}
