//! Removing names.

use super::{Directory, check_name};
use crate::refusal::Refusal;
use crate::row::{FileKind, Inode, InodeRow, Key, Time};
use crate::state::{StateError, Txn};

/// What a removed name led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    pub inode: Inode,
    /// It was the last name: the inode is an orphan now, and lives until nobody uses it.
    pub orphaned: bool,
}

/// Removes a name of anything but a directory.
///
/// # Errors
/// `NotFound`, `IsDirectory`.
pub fn unlink(txn: &mut Txn<'_>, parent: Inode, name: &[u8], now: Time) -> Result<Removed, StateError> {
    check_name(name)?;
    let mut parent = Directory::open(txn, parent)?;
    let entry = parent.entry(txn, name)?;
    if entry.kind == FileKind::Directory {
        return Err(Refusal::IsDirectory.into());
    }
    parent.remove(txn, name, &entry, now)?;
    parent.save(txn)?;
    lose_name(txn, entry.inode, now)
}

/// Removes an empty directory.
///
/// # Errors
/// `NotFound`, `NotDirectory`, `NotEmpty`.
pub fn rmdir(txn: &mut Txn<'_>, parent: Inode, name: &[u8], now: Time) -> Result<Removed, StateError> {
    match name {
        b"." => return Err(Refusal::Invalid.into()),
        b".." => return Err(Refusal::NotEmpty.into()),
        _ => check_name(name)?,
    }
    let mut parent = Directory::open(txn, parent)?;
    let entry = parent.entry(txn, name)?;
    if entry.kind != FileKind::Directory {
        return Err(Refusal::NotDirectory.into());
    }
    let row = txn.view().directory(entry.inode)?;
    if row.entries != 0 {
        return Err(Refusal::NotEmpty.into());
    }
    parent.remove(txn, name, &entry, now)?;
    parent.row.links = parent.row.links.saturating_sub(1);
    parent.save(txn)?;
    orphan(txn, entry.inode, row, now)
}

/// One name less leads to an inode that is no directory.
pub(super) fn lose_name(txn: &mut Txn<'_>, inode: Inode, now: Time) -> Result<Removed, StateError> {
    let mut row = txn.view().inode(inode)?;
    if row.links > 1 {
        row.links -= 1;
        row.changed = now;
        txn.put_inode(inode, &row)?;
        return Ok(Removed { inode, orphaned: false });
    }
    orphan(txn, inode, row, now)
}

/// The last name is gone.
pub(super) fn orphan(txn: &mut Txn<'_>, inode: Inode, mut row: InodeRow, now: Time) -> Result<Removed, StateError> {
    row.links = 0;
    row.changed = now;
    txn.put_inode(inode, &row)?;
    txn.put(&Key::Orphan(inode), &[])?;
    Ok(Removed { inode, orphaned: true })
}
