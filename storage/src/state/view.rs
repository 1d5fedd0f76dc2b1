//! Reading the name tree by meaning.
//!
//! Owns: `View`. Must be true: it changes nothing, and works on any held tree. Fails: `Miss` when a node is not resident.

use super::{StateError, content};
use crate::limits::{INLINE_FILE_BYTES, SYMLINK_MAX_BYTES, XATTR_MAX_BYTES};
use crate::refusal::Refusal;
use crate::row::{CookieRow, EntryRow, ExtentRow, FileKind, Inode, InodeRow, Key};
use crate::vat::{NodeSource, Tree};

/// A reader of one version of the name tree.
#[derive(Clone, Copy)]
pub struct View<'a> {
    tree: &'a Tree,
    source: &'a dyn NodeSource,
}

impl<'a> View<'a> {
    #[must_use]
    pub fn new(tree: &'a Tree, source: &'a dyn NodeSource) -> Self {
        Self { tree, source }
    }

    /// A reader of another version, that gets its nodes from where this one does.
    #[must_use]
    pub fn on<'b>(&self, tree: &'b Tree) -> View<'b>
    where
        'a: 'b,
    {
        View { tree, source: self.source }
    }

    pub(crate) fn tree(&self) -> &'a Tree {
        self.tree
    }

    pub(crate) fn source(&self) -> &'a dyn NodeSource {
        self.source
    }

    /// The row of an inode, if there is such an inode.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn find_inode(&self, inode: Inode) -> Result<Option<InodeRow>, StateError> {
        let row = self.tree.get(self.source, &Key::Inode(inode).encode())?;
        Ok(row.map(|row| InodeRow::decode(row.value())).transpose()?)
    }

    /// The row of an inode that must be there.
    ///
    /// # Errors
    /// [`Refusal::Stale`] if it is gone.
    pub fn inode(&self, inode: Inode) -> Result<InodeRow, StateError> {
        self.find_inode(inode)?.ok_or(StateError::Refused(Refusal::Stale))
    }

    /// The row of a directory.
    ///
    /// # Errors
    /// [`Refusal::NotDirectory`] if it is something else.
    pub fn directory(&self, inode: Inode) -> Result<InodeRow, StateError> {
        let row = self.inode(inode)?;
        if row.kind() == FileKind::Directory { Ok(row) } else { Err(Refusal::NotDirectory.into()) }
    }

    /// A name in a directory.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn entry(&self, directory: Inode, name: &[u8]) -> Result<Option<EntryRow>, StateError> {
        let row = self.tree.get(self.source, &Key::Entry(directory, name.to_vec()).encode())?;
        Ok(row.map(|row| EntryRow::decode(row.value())).transpose()?)
    }

    /// At most `max` entries of a directory whose cookies are above `after`, in the order of cookies.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn entries_after(&self, directory: Inode, after: u64, max: usize) -> Result<Vec<(u64, CookieRow)>, StateError> {
        let (from, to) = Key::cookies_after(directory, after);
        let mut entries = Vec::new();
        for row in self.tree.range(self.source, &from, Some(&to)) {
            let row = row?;
            let Some(Key::Cookie(_, cookie)) = Key::decode(row.key()) else {
                return Err(StateError::Contradiction("a row that is no cookie stands among the cookies of a directory"));
            };
            entries.push((cookie, CookieRow::decode(row.value())?));
            if entries.len() >= max {
                break;
            }
        }
        Ok(entries)
    }

    /// The extents of a file that touch its bytes `from..to`, at most `max`, in order, with their offsets.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn extents(&self, inode: Inode, from: u64, to: u64, max: usize) -> Result<Vec<(u64, ExtentRow)>, StateError> {
        let (lowest, end_of_all) = Key::extents_of(inode);
        let mut found = Vec::new();
        if from >= to {
            return Ok(found);
        }
        let first = Key::Extent(inode, from).encode();
        // None begins before the first byte.
        if from > 0
            && let Some(row) = self.tree.last_before(self.source, &first)?
            && row.key() >= lowest.as_slice()
        {
            let (offset, extent) = decode_extent(row.key(), row.value())?;
            if offset.saturating_add(u64::from(extent.length)) > from {
                found.push((offset, extent));
            }
        }
        let end = if to == u64::MAX { end_of_all } else { Key::Extent(inode, to).encode() };
        for row in self.tree.range(self.source, &first, Some(&end)) {
            if found.len() >= max {
                break;
            }
            let row = row?;
            found.push(decode_extent(row.key(), row.value())?);
        }
        Ok(found)
    }

    /// Whether the rows of a file can be read that a change of its bytes `from..to` replaces: extents are not looked into; content that
    /// may stand in the tree is read.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn has_rows_at_hand(&self, inode: Inode, from: u64, to: u64) -> Result<(), StateError> {
        if from < INLINE_FILE_BYTES as u64 {
            self.inline_content(inode)?;
        }
        let first = Key::Extent(inode, from).encode();
        self.tree.last_before(self.source, &first)?;
        let (_, end_of_all) = Key::extents_of(inode);
        let end = if to == u64::MAX { end_of_all } else { Key::Extent(inode, to).encode() };
        for row in self.tree.range(self.source, &first, Some(&end)) {
            row?;
        }
        Ok(())
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if it is something else.
    pub fn target(&self, inode: Inode) -> Result<Vec<u8>, StateError> {
        if self.inode(inode)?.kind() != FileKind::Symlink {
            return Err(Refusal::Invalid.into());
        }
        content::load(self, SYMLINK_MAX_BYTES, |part| Key::Target(inode, part))?
            .ok_or(StateError::Contradiction("a symbolic link has no target"))
    }

    /// The content of a small file that stands in the tree, if it does.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn inline_content(&self, inode: Inode) -> Result<Option<Vec<u8>>, StateError> {
        match content::load(self, INLINE_FILE_BYTES, |part| Key::Content(inode, part))? {
            None => content::load(self, INLINE_FILE_BYTES, |part| Key::LargeContent(inode, part)),
            found => Ok(found),
        }
    }

    /// The value of an extended attribute, if there is one of this name.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn xattr(&self, inode: Inode, name: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        content::load(self, XATTR_MAX_BYTES, |part| Key::Xattr(inode, name.to_vec(), part))
    }

    /// The names of all extended attributes, in the order of their bytes.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn xattr_names(&self, inode: Inode) -> Result<Vec<Vec<u8>>, StateError> {
        let (mut from, to) = Key::xattrs_of(inode);
        let mut names = Vec::new();
        // From name to name: a value can have many rows.
        while let Some(row) = self.tree.first_at_or_after(self.source, &from)?.filter(|row| row.key() < to.as_slice()) {
            let Some(Key::Xattr(_, name, part)) = Key::decode(row.key()) else {
                return Err(StateError::Contradiction("a row that is no attribute stands among the attributes of an inode"));
            };
            from = Key::Xattr(inode, name.clone(), u16::MAX).encode();
            // Behind the last part that there can be.
            from.push(0);
            names.extend((part == 0).then_some(name));
        }
        Ok(names)
    }

    /// Whether there is an extended attribute of this name.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn has_xattr(&self, inode: Inode, name: &[u8]) -> Result<bool, StateError> {
        Ok(self.tree.get(self.source, &Key::Xattr(inode, name.to_vec(), 0).encode())?.is_some())
    }

    /// Inodes without names that are still there.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn orphans(&self, max: usize) -> Result<Vec<Inode>, StateError> {
        let (from, to) = Key::orphans();
        self.numbers(&from, &to, max)
    }

    /// Inodes of which something is still to be cut.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn works(&self, max: usize) -> Result<Vec<Inode>, StateError> {
        let (from, to) = Key::works();
        self.numbers(&from, &to, max)
    }

    fn numbers(&self, from: &[u8], to: &[u8], max: usize) -> Result<Vec<Inode>, StateError> {
        let mut found = Vec::new();
        for row in self.tree.range(self.source, from, Some(to)).take(max) {
            if let Some(Key::Orphan(inode) | Key::Work(inode)) = Key::decode(row?.key()) {
                found.push(inode);
            }
        }
        Ok(found)
    }

    /// The row of an inode, if there is one, and the first `max` keys of the rows that stand under it among the names, its own included.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn all_under(&self, inode: Inode, max: usize) -> Result<(Option<InodeRow>, Vec<Key>), StateError> {
        let (from, to) = Key::all_of(inode);
        let (mut found, mut keys) = (None, Vec::new());
        for row in self.tree.range(self.source, &from, Some(&to)).take(max) {
            let row = row?;
            let key = Key::decode(row.key()).ok_or(StateError::Contradiction("a row under an inode is none of ours"))?;
            if key == Key::Inode(inode) {
                found = Some(InodeRow::decode(row.value())?);
            }
            keys.push(key);
        }
        Ok((found, keys))
    }

    /// The value of any row.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn value(&self, key: &Key) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.tree.get(self.source, &key.encode())?.map(|row| row.value().to_vec()))
    }

    /// Whether `directory` is `ancestor` or lies below it.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn lies_below(&self, directory: Inode, ancestor: Inode) -> Result<bool, StateError> {
        let mut at = directory;
        // A cycle cannot be made through this filesystem; a hostile volume must not hang it either.
        for _ in 0..1_000_000 {
            if at == ancestor {
                return Ok(true);
            }
            let parent = self.directory(at)?.parent;
            if parent == at {
                return Ok(false);
            }
            at = parent;
        }
        Err(StateError::Contradiction("a directory lies below itself"))
    }
}

fn decode_extent(key: &[u8], value: &[u8]) -> Result<(u64, ExtentRow), StateError> {
    match Key::decode(key) {
        Some(Key::Extent(_, offset)) => Ok((offset, ExtentRow::decode(value)?)),
        _ => Err(StateError::Contradiction("a row that is no extent stands among the extents of a file")),
    }
}
