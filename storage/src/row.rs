//! Typed rows of the two trees: what a key means and how its value is written.
//!
//! Owns: `Key`, the row types, their explicit, versioned encodings. Must be true: ROW-1 keys sort as bytes in the order of (space,
//! inode, kind, sub-key); ROW-2 a value begins with the version of its encoding; ROW-3 key and value fit `ROW_MAX_BYTES`.
//! Fails: a decoder of other bytes gives `RowError`, which names the row and what is wrong with it.

mod entry;
mod extent;
mod inode;
mod key;
mod region;

pub use entry::{CookieRow, EntryRow, FileKind};
pub use extent::{Codec, ExtentRow};
pub use inode::{InodeRow, Time};
pub use key::{Inode, Key, ROOT_INODE};
pub use region::{LiveBits, RegionKind, RegionRow};

/// A row that cannot be what it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{row} row is damaged: {what}")]
pub struct RowError {
    pub row: &'static str,
    pub what: &'static str,
}

/// Version of every value encoding so far; the first byte of each value.
const ENCODING: u8 = 1;

/// Checks the version byte and runs the decoder over the rest; all bytes must be used.
fn decode<T>(row: &'static str, bytes: &[u8], body: impl FnOnce(&mut crate::wire::Reader<'_>) -> Option<T>) -> Result<T, RowError> {
    let mut reader = crate::wire::Reader::new(bytes);
    match reader.u8() {
        Some(ENCODING) => {}
        Some(_) => return Err(RowError { row, what: "its encoding is of a version that this program does not know" }),
        None => return Err(RowError { row, what: "it is empty" }),
    }
    let value = body(&mut reader).ok_or(RowError { row, what: "a field is missing or out of range" })?;
    if !reader.is_empty() {
        return Err(RowError { row, what: "bytes are left over" });
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
