//! Extended attributes: setting and removing, with what access control lists mean for permission bits.
//!
//! Must be true: XAT-1 names are of a kind that Linux knows; values and the list of names fit the calls that read them; ACL-1, ACL-2.
//! Who may is the kernel's question: it asks before it sends.

use super::acl::{ACCESS, Acl, DEFAULT};
use crate::limits::{XATTR_LIST_MAX_BYTES, XATTR_MAX_BYTES, XATTR_NAME_MAX_BYTES};
use crate::refusal::Refusal;
use crate::row::{FileKind, Inode, InodeRow, Time};
use crate::state::{StateError, Txn};

/// Capabilities of a program, which fall with its owner.
pub const CAPABILITY: &[u8] = b"security.capability";
/// What only a privileged caller sees.
pub const TRUSTED: &[u8] = b"trusted.";
const SYSTEM: &[u8] = b"system.";
/// Kinds of names, by how they begin.
const KINDS: [&[u8]; 3] = [b"user.", b"security.", TRUSTED];

/// What setting does if there is one of that name, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SetHow {
    #[default]
    Any,
    /// `XATTR_CREATE`: refuse if there is one.
    Create,
    /// `XATTR_REPLACE`: refuse if there is none.
    Replace,
    /// Both: refuse in any case.
    Never,
}

/// An extended attribute to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetXattr {
    pub inode: Inode,
    pub name: Vec<u8>,
    pub value: Vec<u8>,
    pub how: SetHow,
}

/// Refuses names that no attribute can have here.
///
/// # Errors
/// `NotSupported` for an unknown kind, `Invalid` with a zero byte, `NameTooLong` above 255 bytes.
pub fn check_xattr_name(name: &[u8]) -> Result<(), Refusal> {
    let is_known = name == ACCESS || name == DEFAULT || KINDS.iter().any(|kind| name.starts_with(kind) && name.len() > kind.len());
    match name.len() {
        _ if KINDS.contains(&name) => Err(Refusal::Invalid),
        _ if !is_known => Err(Refusal::NotSupported),
        1..=XATTR_NAME_MAX_BYTES if !name.contains(&0) => Ok(()),
        1..=XATTR_NAME_MAX_BYTES => Err(Refusal::Invalid),
        _ => Err(Refusal::NameTooLong),
    }
}

/// Sets an attribute. An access list sets the permission bits too, and is kept only if it says more than they can.
///
/// # Errors
/// `NotSupported` for names of an unknown kind and lists of symbolic links, `Exists` and `NoAttribute` as asked, `BatchTooBig` for a value
/// above `XATTR_MAX_BYTES`, `NoSpace` when the names of all attributes would be longer than a caller can read, `Invalid` for a list that
/// is none.
pub fn set_xattr(txn: &mut Txn<'_>, what: &SetXattr, now: Time) -> Result<InodeRow, StateError> {
    check_xattr_name(&what.name)?;
    if what.value.len() > XATTR_MAX_BYTES {
        return Err(Refusal::BatchTooBig.into());
    }
    let mut row = txn.view().inode(what.inode)?;
    let is_there = txn.view().has_xattr(what.inode, &what.name)?;
    match what.how {
        SetHow::Create | SetHow::Never if is_there => return Err(Refusal::Exists.into()),
        SetHow::Replace | SetHow::Never if !is_there => return Err(Refusal::NoAttribute.into()),
        _ => {}
    }
    if what.name.starts_with(SYSTEM) {
        return set_acl(txn, what, row, now);
    }
    if !is_there {
        check_list(txn, what)?;
    }
    txn.put_xattr(what.inode, &what.name, &what.value)?;
    touch(txn, what.inode, &mut row, now)?;
    Ok(row)
}

/// Refuses one more name if all together would be longer than a caller can read.
fn check_list(txn: &Txn<'_>, what: &SetXattr) -> Result<(), StateError> {
    let names = txn.view().xattr_names(what.inode)?;
    let listed: usize = names.iter().chain([&what.name]).map(|name| name.len() + 1).sum();
    if listed > XATTR_LIST_MAX_BYTES { Err(Refusal::NoSpace.into()) } else { Ok(()) }
}

/// Removes an attribute.
///
/// # Errors
/// `NoAttribute` if there is none of this name, `NotSupported` if none can have it.
pub fn remove_xattr(txn: &mut Txn<'_>, inode: Inode, name: &[u8], now: Time) -> Result<InodeRow, StateError> {
    check_xattr_name(name)?;
    let mut row = txn.view().inode(inode)?;
    if !txn.delete_xattr(inode, name)? {
        // To remove a list where there is none is to do nothing, as on any filesystem of Linux.
        return if name.starts_with(SYSTEM) { Ok(row) } else { Err(Refusal::NoAttribute.into()) };
    }
    touch(txn, inode, &mut row, now)?;
    Ok(row)
}

fn touch(txn: &mut Txn<'_>, inode: Inode, row: &mut InodeRow, now: Time) -> Result<(), StateError> {
    row.changed = now;
    txn.put_inode(inode, row)
}

fn set_acl(txn: &mut Txn<'_>, what: &SetXattr, mut row: InodeRow, now: Time) -> Result<InodeRow, StateError> {
    let is_directory = row.kind() == FileKind::Directory;
    if row.kind() == FileKind::Symlink {
        return Err(Refusal::NotSupported.into());
    }
    let list = Acl::decode(&what.value)?;
    if what.name == DEFAULT && !is_directory {
        return if list.is_some() { Err(Refusal::NotPermitted.into()) } else { Ok(row) };
    }
    let kept = match (&list, what.name == ACCESS) {
        (Some(list), true) => {
            row.mode = (row.mode & !0o777) | list.permissions();
            !list.is_minimal()
        }
        (list, _) => list.is_some(),
    };
    match list.filter(|_| kept) {
        Some(list) => {
            if !txn.view().has_xattr(what.inode, &what.name)? {
                check_list(txn, what)?;
            }
            txn.put_xattr(what.inode, &what.name, &list.encode())?;
        }
        None => drop(txn.delete_xattr(what.inode, &what.name)?),
    }
    touch(txn, what.inode, &mut row, now)?;
    Ok(row)
}

/// Brings the access list of an inode up to new permission bits, if it has one (ACL-2).
pub(super) fn follow_permissions(txn: &mut Txn<'_>, inode: Inode, mode: u32) -> Result<(), StateError> {
    if let Some(mut list) = acl(txn, inode, ACCESS)? {
        list.set_permissions(mode);
        txn.put_xattr(inode, ACCESS, &list.encode())?;
    }
    Ok(())
}

/// A list of an inode.
pub(super) fn acl(txn: &Txn<'_>, inode: Inode, name: &[u8]) -> Result<Option<Acl>, StateError> {
    match txn.view().xattr(inode, name)? {
        Some(value) => Acl::decode(&value).map_err(|_| StateError::Contradiction("an access control list that is kept is none")),
        None => Ok(None),
    }
}
