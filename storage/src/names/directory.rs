//! Making names: new nodes, symbolic links, hard links.

use super::acl::{ACCESS, Acl, DEFAULT};
use super::xattr::acl;
use super::{Directory, check_name};
use crate::limits::{LINK_MAX, SYMLINK_MAX_BYTES};
use crate::refusal::Refusal;
use crate::row::{FileKind, Inode, InodeRow, Time};
use crate::state::{StateError, Txn};

const SET_GID: u32 = 0o2000;

/// A node to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    pub parent: Inode,
    pub name: Vec<u8>,
    /// Type bits and permission bits as in `st_mode`.
    pub mode: u32,
    /// Permission bits that the caller wants taken away, where the directory has no default list to say what is given.
    pub umask: u32,
    /// The caller's.
    pub uid: u32,
    /// The caller's; a directory with sgid gives its own instead.
    pub gid: u32,
    /// Device number, for device nodes.
    pub rdev: u32,
}

/// What a new inode gets of the directory that it is made in.
pub(super) struct Heritage {
    default: Option<Acl>,
    /// Of a directory with sgid.
    gid: Option<u32>,
    directory: Inode,
}

impl Heritage {
    pub(super) fn of(txn: &Txn<'_>, parent: &Directory, kind: FileKind) -> Result<Self, StateError> {
        let default = if kind == FileKind::Symlink { None } else { acl(txn, parent.inode, DEFAULT)? };
        let gid = (parent.row.mode & SET_GID != 0).then_some(parent.row.gid);
        Ok(Self { default, gid, directory: parent.inode })
    }

    /// The row of a new inode.
    pub(super) fn row(&self, node: &NewNode, now: Time) -> InodeRow {
        let mode = match &self.default {
            Some(list) => (node.mode & !0o777) | list.inherited(node.mode).0,
            None => node.mode & !(node.umask & 0o777),
        };
        let mut row = InodeRow::new(mode, node.uid, self.gid.unwrap_or(node.gid), now);
        row.rdev = node.rdev;
        if row.kind() == FileKind::Directory {
            row.mode |= if self.gid.is_some() { SET_GID } else { 0 };
            row.parent = self.directory;
        }
        row
    }

    /// Puts that row, and the lists that go with it.
    pub(super) fn put(&self, txn: &mut Txn<'_>, inode: Inode, row: &InodeRow, node: &NewNode) -> Result<(), StateError> {
        txn.put_inode(inode, row)?;
        let Some(list) = &self.default else { return Ok(()) };
        if let (_, Some(access)) = list.inherited(node.mode) {
            txn.put_xattr(inode, ACCESS, &access.encode())?;
        }
        if row.kind() == FileKind::Directory {
            txn.put_xattr(inode, DEFAULT, &list.encode())?;
        }
        Ok(())
    }
}

/// Makes a file, directory, or special file of any kind but a symbolic link.
///
/// # Errors
/// `Exists`, `NotFound` (the directory was removed), `NotDirectory`, `NameTooLong`, `TooManyLinks`.
pub fn create(txn: &mut Txn<'_>, node: &NewNode, now: Time) -> Result<(Inode, InodeRow), StateError> {
    check_name(&node.name)?;
    let mut parent = Directory::open(txn, node.parent)?;
    if txn.view().entry(node.parent, &node.name)?.is_some() {
        return Err(Refusal::Exists.into());
    }
    // Before the new directory's ".." is counted: a removed directory has no links.
    if parent.row.links == 0 {
        return Err(Refusal::NotFound.into());
    }
    let inode = txn.new_inode();
    let heritage = Heritage::of(txn, &parent, FileKind::of_mode(node.mode))?;
    let row = heritage.row(node, now);
    if row.kind() == FileKind::Directory {
        parent.row.links += 1;
    }
    heritage.put(txn, inode, &row, node)?;
    parent.add(txn, &node.name, inode, row.kind(), now)?;
    parent.save(txn)?;
    Ok((inode, row))
}

/// Makes a symbolic link.
///
/// # Errors
/// As [`create`], and `NameTooLong` for a target above `SYMLINK_MAX_BYTES`, `NotFound` for an empty one.
pub fn symlink(txn: &mut Txn<'_>, node: &NewNode, target: &[u8], now: Time) -> Result<(Inode, InodeRow), StateError> {
    match target.len() {
        0 => return Err(Refusal::NotFound.into()),
        1..=SYMLINK_MAX_BYTES => {}
        _ => return Err(Refusal::NameTooLong.into()),
    }
    let node = NewNode { mode: FileKind::Symlink.mode_bits() | 0o777, umask: 0, rdev: 0, ..node.clone() };
    let (inode, mut row) = create(txn, &node, now)?;
    row.size = target.len() as u64;
    txn.put_inode(inode, &row)?;
    txn.put_target(inode, target)?;
    Ok((inode, row))
}

/// Gives an inode one more name.
///
/// # Errors
/// As [`create`], and `NotPermitted` for a directory, `NotFound` for an inode without names.
pub fn link(txn: &mut Txn<'_>, inode: Inode, parent: Inode, name: &[u8], now: Time) -> Result<InodeRow, StateError> {
    check_name(name)?;
    let mut row = txn.view().inode(inode)?;
    if row.kind() == FileKind::Directory {
        return Err(Refusal::NotPermitted.into());
    }
    let mut parent = Directory::open(txn, parent)?;
    if txn.view().entry(parent.inode, name)?.is_some() {
        return Err(Refusal::Exists.into());
    }
    match row.links {
        0 => return Err(Refusal::NotFound.into()),
        LINK_MAX.. => return Err(Refusal::TooManyLinks.into()),
        _ => row.links += 1,
    }
    row.changed = now;
    txn.put_inode(inode, &row)?;
    parent.add(txn, name, inode, row.kind(), now)?;
    parent.save(txn)?;
    Ok(row)
}
