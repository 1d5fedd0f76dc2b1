//! Long values put together again from their part rows, as they come by.
//!
//! Must be true: PART-1 parts are numbered from 0 without a gap and give the length and the CRC that the first one says. Memory: one
//! value. Fails: with what is wrong.

use crate::limits::XATTR_MAX_BYTES;
use crate::wire::Reader;

const HEAD_BYTES: usize = 8;

/// A value that is being put together.
#[derive(Default)]
pub(crate) struct Parts {
    bytes: Vec<u8>,
    next: u32,
    gap: bool,
}

impl Parts {
    /// Takes the next part row.
    pub fn add(&mut self, number: u16, part: &[u8]) {
        self.gap |= u32::from(number) != self.next || self.bytes.len() + part.len() > XATTR_MAX_BYTES + HEAD_BYTES;
        self.next = self.next.saturating_add(1);
        if !self.gap {
            self.bytes.extend_from_slice(part);
        }
    }

    /// Whether there was a part.
    pub fn is_there(&self) -> bool {
        self.next > 0
    }

    /// The bytes of the value.
    pub fn value(&self) -> Result<&[u8], &'static str> {
        if self.gap {
            return Err("a part of it is missing, or there is one too many");
        }
        let mut head = Reader::new(&self.bytes);
        let (Some(length), Some(crc)) = (head.u32(), head.u32()) else { return Err("its first part has no head") };
        let value = head.rest();
        if value.len() != length as usize || crc32fast::hash(value) != crc {
            return Err("its parts do not give the value that was stored");
        }
        Ok(value)
    }
}
