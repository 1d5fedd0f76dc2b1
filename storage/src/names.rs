//! What operations on names and attributes do to the rows: POSIX as transactions.
//!
//! Owns: one function an operation. Must be true: NAM-1 an entry has its row by name and its row by cookie; NAM-2 an inode's `links`
//! is the number of entries that lead to it (a directory: its own two and one for each directory in it); NAM-3 an inode without
//! names has an orphan row until it is dropped; NAM-4 `entries` of a directory is the number of its entries.
//! Fails: `Refusal`s as POSIX has them; nothing is changed then.

pub mod acl;
mod attributes;
mod directory;
mod drop;
mod remove;
mod rename;
#[cfg(test)]
mod tests;
mod whole;
mod xattr;

pub use attributes::{AttributeChange, SetTime, Settlement, change_attributes, clear_privileges, is_access_due, note_access, settle};
pub use directory::{NewNode, create, link, symlink};
pub use drop::{Dropped, drop_orphan, trim, trim_logged};
pub use remove::{Removed, rmdir, unlink};
pub use rename::{Rename, RenameMode, rename};
pub use whole::{Made, WholeContent, WholeFile, create_nameless, make_whole};
pub use xattr::{CAPABILITY, SetHow, SetXattr, TRUSTED, check_xattr_name, remove_xattr, set_xattr};

use crate::limits::NAME_MAX_BYTES;
use crate::refusal::Refusal;
use crate::row::{CookieRow, EntryRow, FileKind, Inode, InodeRow, Key, Time};
use crate::state::{StateError, Txn};

/// Refuses names that no directory may hold.
pub fn check_name(name: &[u8]) -> Result<(), Refusal> {
    match name {
        [] => Err(Refusal::NotFound),
        b"." | b".." => Err(Refusal::Invalid),
        _ if name.len() > NAME_MAX_BYTES => Err(Refusal::NameTooLong),
        _ if name.iter().any(|b| matches!(b, b'/' | 0)) => Err(Refusal::Invalid),
        _ => Ok(()),
    }
}

/// A directory that is being changed; its row is put once, at the end.
struct Directory {
    inode: Inode,
    row: InodeRow,
}

impl Directory {
    fn open(txn: &Txn<'_>, inode: Inode) -> Result<Self, StateError> {
        Ok(Self { inode, row: txn.view().directory(inode)? })
    }

    fn entry(&self, txn: &Txn<'_>, name: &[u8]) -> Result<EntryRow, StateError> {
        txn.view().entry(self.inode, name)?.ok_or(StateError::Refused(Refusal::NotFound))
    }

    /// Adds both rows of an entry under a new cookie.
    fn add(&mut self, txn: &mut Txn<'_>, name: &[u8], inode: Inode, kind: FileKind, now: Time) -> Result<(), StateError> {
        if self.row.links == 0 {
            return Err(Refusal::NotFound.into());
        }
        let cookie = self.row.next_cookie;
        self.row.next_cookie += 1;
        self.row.entries += 1;
        self.touch(now);
        txn.put(&Key::Entry(self.inode, name.to_vec()), &EntryRow { inode, kind, cookie }.encode())?;
        txn.put(&Key::Cookie(self.inode, cookie), &CookieRow { inode, kind, name: name.to_vec() }.encode())
    }

    /// Lets an entry lead elsewhere; it keeps its cookie.
    fn repoint(&mut self, txn: &mut Txn<'_>, name: &[u8], cookie: u64, inode: Inode, kind: FileKind, now: Time) -> Result<(), StateError> {
        self.touch(now);
        txn.put(&Key::Entry(self.inode, name.to_vec()), &EntryRow { inode, kind, cookie }.encode())?;
        txn.put(&Key::Cookie(self.inode, cookie), &CookieRow { inode, kind, name: name.to_vec() }.encode())
    }

    /// Removes both rows of an entry.
    fn remove(&mut self, txn: &mut Txn<'_>, name: &[u8], entry: &EntryRow, now: Time) -> Result<(), StateError> {
        self.row.entries = self.row.entries.saturating_sub(1);
        self.touch(now);
        txn.delete(&Key::Entry(self.inode, name.to_vec()))?;
        txn.delete(&Key::Cookie(self.inode, entry.cookie))
    }

    fn touch(&mut self, now: Time) {
        self.row.modified = now;
        self.row.changed = now;
    }

    fn save(&self, txn: &mut Txn<'_>) -> Result<(), StateError> {
        txn.put_inode(self.inode, &self.row)
    }
}
