//! Making names: new nodes, symbolic links, hard links.

use super::acl::{ACCESS, DEFAULT};
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
    let default = if FileKind::of_mode(node.mode) == FileKind::Symlink { None } else { acl(txn, node.parent, DEFAULT)? };
    let (mode, access) = match &default {
        Some(list) => {
            let (permissions, access) = list.inherited(node.mode);
            ((node.mode & !0o777) | permissions, access)
        }
        None => (node.mode & !(node.umask & 0o777), None),
    };
    let mut row = InodeRow::new(mode, node.uid, node.gid, now);
    row.rdev = node.rdev;
    if parent.row.mode & SET_GID != 0 {
        row.gid = parent.row.gid;
        if row.kind() == FileKind::Directory {
            row.mode |= SET_GID;
        }
    }
    if row.kind() == FileKind::Directory {
        row.parent = node.parent;
        parent.row.links += 1;
    }
    txn.put_inode(inode, &row)?;
    if let Some(list) = access {
        txn.put_xattr(inode, ACCESS, &list.encode())?;
    }
    if let Some(list) = default.filter(|_| row.kind() == FileKind::Directory) {
        txn.put_xattr(inode, DEFAULT, &list.encode())?;
    }
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
