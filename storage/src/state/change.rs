//! The changes of a log record: how they are written and how replay applies them.
//!
//! Owns: `Change`, `changes`. Must be true: VAT-2 applying the changes of a record to the state before it gives the state after it,
//! space included. Fails: bytes that are no change end the iteration with an error; a record is checksummed, so that is damage.

use super::{StateError, Txn};
use crate::address::{Generation, Place, RegionId};
use crate::row::{ExtentRow, Inode, RegionKind};
use crate::wire::{Put, Reader};

/// One change of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A row of the name tree is put.
    Put { key: &'a [u8], value: &'a [u8] },
    /// A row of the name tree is deleted.
    Delete { key: &'a [u8] },
    /// An extent is put over the bytes that it covers.
    PutExtent { inode: Inode, offset: u64, fresh: bool, row: &'a [u8] },
    /// Bytes are cut out of a file; also cancels logged data up to this sequence there.
    Cut { inode: Inode, from: u64, to: u64, sequence: u64 },
    /// Bytes of a file that were synced before they were placed.
    Data { inode: Inode, offset: u64, sequence: u64, bytes: &'a [u8] },
    /// A place is about to be written.
    Grant { region: RegionId, kind: RegionKind },
    /// The image of a dead region is gone; its place is free.
    Freed { region: RegionId },
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const PUT_EXTENT: u8 = 3;
const CUT: u8 = 4;
const DATA: u8 = 5;
const GRANT: u8 = 6;
const FREED: u8 = 7;

impl<'a> Change<'a> {
    /// Appends this change.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Put { key, value } => {
                out.put_u8(PUT);
                out.put_short_bytes(key);
                out.put_short_bytes(value);
            }
            Self::Delete { key } => {
                out.put_u8(DELETE);
                out.put_short_bytes(key);
            }
            Self::PutExtent { inode, offset, fresh, row } => {
                out.put_u8(PUT_EXTENT);
                out.put_u64(inode.0);
                out.put_u64(offset);
                out.put_u8(u8::from(fresh));
                out.put_short_bytes(row);
            }
            Self::Cut { inode, from, to, sequence } => {
                out.put_u8(CUT);
                [inode.0, from, to, sequence].into_iter().for_each(|v| out.put_u64(v));
            }
            Self::Data { inode, offset, sequence, bytes } => {
                out.put_u8(DATA);
                [inode.0, offset, sequence].into_iter().for_each(|v| out.put_u64(v));
                out.put_long_bytes(bytes);
            }
            Self::Grant { region, kind } => {
                out.put_u8(GRANT);
                put_region(out, region);
                out.put_u8(kind as u8);
            }
            Self::Freed { region } => {
                out.put_u8(FREED);
                put_region(out, region);
            }
        }
    }

    fn decode(r: &mut Reader<'a>) -> Option<Self> {
        Some(match r.u8()? {
            PUT => Self::Put { key: r.short_bytes()?, value: r.short_bytes()? },
            DELETE => Self::Delete { key: r.short_bytes()? },
            PUT_EXTENT => Self::PutExtent { inode: Inode(r.u64()?), offset: r.u64()?, fresh: r.u8()? == 1, row: r.short_bytes()? },
            CUT => Self::Cut { inode: Inode(r.u64()?), from: r.u64()?, to: r.u64()?, sequence: r.u64()? },
            DATA => Self::Data { inode: Inode(r.u64()?), offset: r.u64()?, sequence: r.u64()?, bytes: r.long_bytes()? },
            GRANT => Self::Grant { region: region(r)?, kind: RegionKind::from_number(r.u8()?)? },
            FREED => Self::Freed { region: region(r)? },
            _ => return None,
        })
    }
}

fn put_region(out: &mut Vec<u8>, region: RegionId) {
    out.put_u32(region.place.0);
    out.put_u64(region.generation.0);
}

fn region(r: &mut Reader<'_>) -> Option<RegionId> {
    Some(RegionId { place: Place(r.u32()?), generation: Generation(r.u64()?) })
}

/// The changes of a record's payload, in order.
pub fn changes(payload: &[u8]) -> impl Iterator<Item = Result<Change<'_>, StateError>> {
    let mut reader = Reader::new(payload);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let change = Change::decode(&mut reader);
        if change.is_none() {
            reader = Reader::new(&[]);
        }
        Some(change.ok_or(StateError::Contradiction("a log record holds something that is no change")))
    })
}

impl Txn<'_> {
    /// Applies a change of the name tree that was read from the log. Changes of places are for [`super::State::replay_place`].
    ///
    /// # Errors
    /// See [`StateError`].
    pub(super) fn replay_change(&mut self, change: &Change<'_>) -> Result<(), StateError> {
        self.replay();
        match *change {
            Change::Put { key, value } => self.put_silently(key, value),
            Change::Delete { key } => self.delete_silently(key),
            Change::PutExtent { inode, offset, fresh, row } => self.put_extent_again(inode, offset, fresh, row),
            Change::Cut { inode, from, to, sequence } => self.cut_extents(inode, from, to, sequence).map(drop),
            Change::Data { .. } | Change::Grant { .. } | Change::Freed { .. } => Ok(()),
        }
    }

    fn put_extent_again(&mut self, inode: Inode, offset: u64, fresh: bool, row: &[u8]) -> Result<(), StateError> {
        let row = ExtentRow::decode(row)?;
        self.put_extent(inode, offset, &row, fresh).map(drop)
    }
}
