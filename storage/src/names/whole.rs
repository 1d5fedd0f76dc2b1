//! Files that are made whole: name, row and content in one transaction.
//!
//! Must be true: WHO-1 (O3) whoever finds the name finds all of the content: it stands in the same group of the log, or was durable before;
//! WHO-2 the row of a directory that many of them are made in is put once. Fails: as [`super::create`] and a rename do, and nothing is changed
//! then: of all files none is made.

use super::directory::{Heritage, NewNode};
use super::remove::{Removed, lose_name};
use super::{Directory, check_name};
use crate::refusal::Refusal;
use crate::row::{FileKind, Inode, InodeRow, Key, Time};
use crate::state::{StateError, Txn};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A regular file that is made with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeFile {
    pub node: NewNode,
    pub content: WholeContent,
    /// In place of a file that has the name, as a rename does it; else the name must be free.
    pub replace: bool,
}

/// Where the content of a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WholeContent {
    /// Here; at most `INLINE_FILE_BYTES`.
    Inline(Vec<u8>),
    /// In this inode, which has no name yet: see [`create_nameless`].
    Held(Inode),
}

/// A file that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub inode: Inode,
    pub row: InodeRow,
    /// What had the name before.
    pub replaced: Option<Removed>,
}

/// Makes a regular file without a name. If it is given none, it is dropped like one that was removed.
///
/// # Errors
/// `Invalid` for anything but a regular file; `NotFound`, `NotDirectory` of the directory that it is meant for.
pub fn create_nameless(txn: &mut Txn<'_>, node: &NewNode, now: Time) -> Result<(Inode, InodeRow), StateError> {
    refuse_others(node)?;
    let parent = Directory::open(txn, node.parent)?;
    let heritage = Heritage::of(txn, &parent, FileKind::Regular)?;
    let inode = txn.new_inode();
    let row = InodeRow { links: 0, ..heritage.row(node, now) };
    heritage.put(txn, inode, &row, node)?;
    txn.put(&Key::Orphan(inode), &[])?;
    Ok((inode, row))
}

/// Makes all of these files.
///
/// # Errors
/// Those of [`super::create`]; `IsDirectory` for a name that a directory has, `FileTooBig` for a content that is too long to stand in the
/// tables, `Busy` for a held inode that has a name.
pub fn make_whole(txn: &mut Txn<'_>, files: &[WholeFile], now: Time) -> Result<Vec<Made>, StateError> {
    let mut directories: BTreeMap<Inode, (Directory, Heritage)> = BTreeMap::new();
    let mut made = Vec::with_capacity(files.len());
    for file in files {
        check_name(&file.node.name)?;
        refuse_others(&file.node)?;
        let (directory, heritage) = match directories.entry(file.node.parent) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(closed) => {
                let directory = Directory::open(txn, file.node.parent)?;
                let heritage = Heritage::of(txn, &directory, FileKind::Regular)?;
                closed.insert((directory, heritage))
            }
        };
        made.push(make_one(txn, file, directory, heritage, now)?);
    }
    for (directory, _) in directories.values() {
        directory.save(txn)?;
    }
    Ok(made)
}

fn make_one(txn: &mut Txn<'_>, file: &WholeFile, directory: &mut Directory, heritage: &Heritage, now: Time) -> Result<Made, StateError> {
    let name = &file.node.name;
    let before = txn.view().entry(directory.inode, name)?;
    match &before {
        Some(entry) if entry.kind == FileKind::Directory && file.replace => return Err(Refusal::IsDirectory.into()),
        Some(_) if !file.replace => return Err(Refusal::Exists.into()),
        _ => {}
    }
    if directory.row.links == 0 {
        return Err(Refusal::NotFound.into());
    }
    let (inode, row) = match &file.content {
        WholeContent::Inline(content) => {
            let (inode, mut row) = (txn.new_inode(), heritage.row(&file.node, now));
            (row.size, row.version) = (content.len() as u64, u64::from(!content.is_empty()));
            heritage.put(txn, inode, &row, &file.node)?;
            txn.put_first_content(inode, content)?;
            (inode, row)
        }
        WholeContent::Held(inode) => (*inode, name_held(txn, *inode, now)?),
    };
    let replaced = match before {
        Some(entry) => {
            let removed = lose_name(txn, entry.inode, now)?;
            directory.repoint(txn, name, entry.cookie, inode, FileKind::Regular, now)?;
            Some(removed)
        }
        None => {
            directory.add(txn, name, inode, FileKind::Regular, now)?;
            None
        }
    };
    Ok(Made { inode, row, replaced })
}

/// An inode without a name is about to have its first.
fn name_held(txn: &mut Txn<'_>, inode: Inode, now: Time) -> Result<InodeRow, StateError> {
    let mut row = txn.view().inode(inode)?;
    if row.links != 0 || row.kind() != FileKind::Regular {
        return Err(Refusal::Busy.into());
    }
    (row.links, row.changed) = (1, now);
    txn.put_inode(inode, &row)?;
    txn.delete(&Key::Orphan(inode))?;
    Ok(row)
}

fn refuse_others(node: &NewNode) -> Result<(), Refusal> {
    // Without bits for a type it would be none.
    if node.mode >> 12 << 12 == FileKind::Regular.mode_bits() { Ok(()) } else { Err(Refusal::Invalid) }
}
