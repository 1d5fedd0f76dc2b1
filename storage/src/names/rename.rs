//! Renaming: replacing, refusing to, and exchanging.

use super::remove::{Removed, lose_name, orphan};
use super::{Directory, check_name};
use crate::refusal::Refusal;
use crate::row::{EntryRow, FileKind, Inode, Time};
use crate::state::{StateError, Txn};

/// How a rename treats an existing target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Take its place, atomically.
    Replace,
    /// Refuse (`RENAME_NOREPLACE`).
    NoReplace,
    /// Swap the two (`RENAME_EXCHANGE`).
    Exchange,
}

/// A rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    pub parent: Inode,
    pub name: Vec<u8>,
    pub new_parent: Inode,
    pub new_name: Vec<u8>,
    pub mode: RenameMode,
}

/// Renames. Returns what lost the name that was taken over, if anything did.
///
/// # Errors
/// `NotFound`, `Exists`, `NotDirectory`, `IsDirectory`, `NotEmpty`, `Invalid` (a directory into itself), `TooManyLinks`.
pub fn rename(txn: &mut Txn<'_>, what: &Rename, now: Time) -> Result<Option<Removed>, StateError> {
    for name in [&what.name, &what.new_name] {
        match name.as_slice() {
            b"." | b".." => return Err(Refusal::Busy.into()),
            name => check_name(name)?,
        }
    }
    let from = Directory::open(txn, what.parent)?;
    let source = from.entry(txn, &what.name)?;
    let into_links = if what.new_parent == what.parent { from.row.links } else { Directory::open(txn, what.new_parent)?.row.links };
    if into_links == 0 {
        return Err(Refusal::NotFound.into());
    }
    let target = txn.view().entry(what.new_parent, &what.new_name)?;
    match (what.mode, &target) {
        (RenameMode::NoReplace, Some(_)) => return Err(Refusal::Exists.into()),
        (RenameMode::Exchange, None) => return Err(Refusal::NotFound.into()),
        _ => refuse_loop(txn, &source, what.new_parent)?,
    }
    match (what.mode, target) {
        // Two names of one inode: POSIX says that nothing happens.
        (_, Some(target)) if target.inode == source.inode => Ok(None),
        (RenameMode::Exchange, Some(target)) => {
            refuse_loop(txn, &target, what.parent)?;
            exchange(txn, what, source, target, now).map(|()| None)
        }
        (_, target) => move_over(txn, what, source, target, now),
    }
}

/// A directory must not be moved into itself.
fn refuse_loop(txn: &Txn<'_>, moved: &EntryRow, into: Inode) -> Result<(), StateError> {
    if moved.kind == FileKind::Directory && txn.view().lies_below(into, moved.inode)? {
        return Err(Refusal::Invalid.into());
    }
    Ok(())
}

fn move_over(
    txn: &mut Txn<'_>,
    what: &Rename,
    source: EntryRow,
    target: Option<EntryRow>,
    now: Time,
) -> Result<Option<Removed>, StateError> {
    let is_directory = source.kind == FileKind::Directory;
    let mut removed = None;
    if let Some(target) = &target {
        removed = Some(replace(txn, what.new_parent, target, is_directory, now)?);
    }
    let mut from = Directory::open(txn, what.parent)?;
    from.remove(txn, &what.name, &source, now)?;
    if is_directory {
        from.row.links = from.row.links.saturating_sub(1);
    }
    let mut to = if what.new_parent == what.parent {
        from
    } else {
        from.save(txn)?;
        Directory::open(txn, what.new_parent)?
    };
    match &target {
        Some(target) => to.repoint(txn, &what.new_name, target.cookie, source.inode, source.kind, now)?,
        None => to.add(txn, &what.new_name, source.inode, source.kind, now)?,
    }
    if is_directory {
        to.row.links += 1;
    }
    to.save(txn)?;
    moved(txn, source.inode, what.new_parent, now)?;
    Ok(removed)
}

/// The target loses its name to the source.
fn replace(txn: &mut Txn<'_>, parent: Inode, target: &EntryRow, by_directory: bool, now: Time) -> Result<Removed, StateError> {
    match (by_directory, target.kind == FileKind::Directory) {
        (false, false) => lose_name(txn, target.inode, now),
        (false, true) => Err(Refusal::IsDirectory.into()),
        (true, false) => Err(Refusal::NotDirectory.into()),
        (true, true) => {
            let row = txn.view().directory(target.inode)?;
            if row.entries != 0 {
                return Err(Refusal::NotEmpty.into());
            }
            let mut parent = Directory::open(txn, parent)?;
            parent.row.links = parent.row.links.saturating_sub(1);
            parent.save(txn)?;
            orphan(txn, target.inode, row, now)
        }
    }
}

fn exchange(txn: &mut Txn<'_>, what: &Rename, a: EntryRow, b: EntryRow, now: Time) -> Result<(), StateError> {
    let directories = |entry: &EntryRow| u32::from(entry.kind == FileKind::Directory);
    let (gains, loses) = (directories(&b), directories(&a));
    let mut first = Directory::open(txn, what.parent)?;
    first.repoint(txn, &what.name, a.cookie, b.inode, b.kind, now)?;
    first.row.links = (first.row.links + gains).saturating_sub(loses);
    first.save(txn)?;
    let mut second = Directory::open(txn, what.new_parent)?;
    second.repoint(txn, &what.new_name, b.cookie, a.inode, a.kind, now)?;
    second.row.links = (second.row.links + loses).saturating_sub(gains);
    second.save(txn)?;
    moved(txn, a.inode, what.new_parent, now)?;
    moved(txn, b.inode, what.parent, now)
}

/// What was moved has a new parent and a new time of change.
fn moved(txn: &mut Txn<'_>, inode: Inode, parent: Inode, now: Time) -> Result<(), StateError> {
    let mut row = txn.view().inode(inode)?;
    row.changed = now;
    if row.kind() == FileKind::Directory {
        row.parent = parent;
    }
    txn.put_inode(inode, &row)
}
