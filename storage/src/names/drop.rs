//! The end of an inode that nobody can reach any more, in steps of bounded size.
//!
//! Must be true: DRP-1 its orphan row goes with its last row, so that a mount finds what a crash left to do; DRP-2 extents that lie
//! behind the size of a file have a row of work, so that a file that grows after a crash shows zeros there; DRP-3 after each step the
//! row of the inode counts what it still has (EXT-6).

use super::attributes::blocks_end;
use crate::limits::SLICE_ROWS;
use crate::refusal::Refusal;
use crate::row::{Inode, InodeRow, Key};
use crate::state::{StateError, Txn};

/// How far the end of an inode has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Call again.
    More,
    /// It is gone.
    Wholly,
}

/// Does one step of cutting what a crash left behind the end of a file. For a mount, before anybody writes: for each of
/// [`crate::state::View::works`] whose row has an empty value.
///
/// # Errors
/// See [`StateError`].
pub fn trim(txn: &mut Txn<'_>, inode: Inode) -> Result<Dropped, StateError> {
    if let Some(mut row) = txn.view().find_inode(inode)? {
        // It supersedes no logged data: see `trim_logged`.
        let (freed, rest) = txn.cut_extents(inode, blocks_end(row.size), u64::MAX, 0)?;
        row.blocks = row.blocks.saturating_add_signed(freed.saturating_neg());
        txn.put_inode(inode, &row)?;
        if rest.is_some() {
            return Ok(Dropped::More);
        }
    }
    txn.delete(&Key::Work(inode))?;
    Ok(Dropped::Wholly)
}

/// Cuts the logged data that lies behind the end of a file, now and for every later replay. For a mount, before anybody writes, for a
/// file whose [logged data](crate::recover::LoggedData::trim) reached that far.
///
/// # Errors
/// See [`StateError`].
pub fn trim_logged(txn: &mut Txn<'_>, inode: Inode) -> Result<(), StateError> {
    let mut row = txn.view().inode(inode)?;
    // Of extents only the rest of the last block lies there, which is zero: what lies further behind was trimmed before.
    let (freed, _) = txn.cut_extents(inode, row.size, u64::MAX, u64::MAX)?;
    row.blocks = row.blocks.saturating_add_signed(freed.saturating_neg());
    txn.put_inode(inode, &row)
}

/// Does one step of dropping an inode without names.
///
/// # Errors
/// `Busy` if it has a name.
pub fn drop_orphan(txn: &mut Txn<'_>, inode: Inode) -> Result<Dropped, StateError> {
    let (row, mut keys) = txn.view().all_under(inode, SLICE_ROWS)?;
    if let Some(mut row) = row {
        if row.links != 0 {
            return Err(Refusal::Busy.into());
        }
        let (freed, rest) = txn.cut_all(inode, &keys)?;
        row.blocks = row.blocks.saturating_add_signed(freed.saturating_neg());
        if rest.is_some() {
            return more_to_drop(txn, inode, &row);
        }
        if keys.len() > 1 {
            // Without what was cut.
            (_, keys) = txn.view().all_under(inode, SLICE_ROWS)?;
        }
        // All that stands under the inode, attributes of it included, but the inode itself: it goes last.
        for key in keys.iter().filter(|key| **key != Key::Inode(inode)) {
            txn.delete(key)?;
        }
        if keys.len() >= SLICE_ROWS {
            return more_to_drop(txn, inode, &row);
        }
        txn.delete(&Key::Inode(inode))?;
    }
    if txn.view().value(&Key::Work(inode))?.is_some() {
        txn.delete(&Key::Work(inode))?;
    }
    txn.delete(&Key::Orphan(inode))?;
    Ok(Dropped::Wholly)
}

/// Between two steps the row counts what is left (EXT-6): power may go here, and so may a snapshot.
fn more_to_drop(txn: &mut Txn<'_>, inode: Inode, row: &InodeRow) -> Result<Dropped, StateError> {
    txn.put_inode(inode, row)?;
    Ok(Dropped::More)
}
