//! The tables of an image without reading its pixels: the second copy, near the end of the file.
//!
//! Must be true: tables are given only with their checksum and with the identity that was asked for. Fails: `None` when the tail
//! holds none; the image may still be readable as a whole.

use crate::address::RegionId;
use crate::device::{Device, Open};
use crate::region::Tables;
use crate::region::chunk::{KIND_TABLES, RawChunk};
use crate::region::tables::TABLES_MAX_BYTES;
use std::io;

/// Tables, padding and the frames of both stand in so many bytes before the end.
const TAIL_BYTES: u64 = (TABLES_MAX_BYTES + 2 * 4096).next_multiple_of(4096) as u64;
/// Places that look like tables and are tried.
const TRIED_MAX: usize = 16;

/// Reads the tables of an image.
///
/// # Errors
/// The device's.
pub(crate) fn read_tables(device: &dyn Device, uuid: [u8; 16], id: RegionId) -> io::Result<Option<Tables>> {
    let file = device.open(&id.path(), Open::READ)?;
    let len = file.len()?;
    let from = len.saturating_sub(TAIL_BYTES);
    let mut tail = vec![0; (len - from) as usize];
    let read = file.read_at(&mut tail, from)?;
    tail.truncate(read);
    let candidates = tail.windows(4).enumerate().rev().filter(|(_, kind)| *kind == KIND_TABLES).take(TRIED_MAX);
    let tables = candidates.filter_map(|(at, _)| Tables::decode(RawChunk::at(&tail, at.checked_sub(4)?)?.data)).next();
    Ok(tables.filter(|tables| tables.identity.region == id && tables.identity.volume == uuid))
}
