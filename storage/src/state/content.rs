//! Long values as numbered part rows: link targets and the contents of small files.
//!
//! Owns: the form of part rows: the first begins with the length of the whole and its CRC32. Must be true: PART-1 a value is given
//! whole and verified, or not at all. Fails: parts that are missing or do not sum up are a `RowError`.

use super::{StateError, Txn, View};
use crate::limits::{INLINE_ROW_BYTES, PART_BYTES, SYMLINK_MAX_BYTES};
use crate::row::{Inode, Key, RowError};
use crate::wire::{Put, Reader};

const HEAD_BYTES: usize = 8;

/// Writes a value as part rows.
pub(super) fn store(txn: &mut Txn<'_>, value: &[u8], key: impl Fn(u16) -> Key) -> Result<(), StateError> {
    let mut whole = Vec::with_capacity(value.len() + HEAD_BYTES);
    whole.put_u32(value.len() as u32);
    whole.put_u32(crc32fast::hash(value));
    whole.put(value);
    for (number, part) in whole.chunks(PART_BYTES).enumerate() {
        txn.put(&key(number as u16), part)?;
    }
    Ok(())
}

/// Reads a value from its part rows; `None` if there is no first one.
pub(super) fn load(view: &View<'_>, key: impl Fn(u16) -> Key) -> Result<Option<Vec<u8>>, StateError> {
    let Some(first) = view.value(&key(0))? else { return Ok(None) };
    let damaged = |what| StateError::Row(RowError { row: "part", what });
    let mut head = Reader::new(&first);
    let (Some(length), Some(crc)) = (head.u32(), head.u32()) else { return Err(damaged("its head is missing")) };
    let length = length as usize;
    if length > SYMLINK_MAX_BYTES {
        return Err(damaged("it claims to be longer than any such value"));
    }
    let mut value = head.rest().to_vec();
    for number in 1.. {
        if value.len() >= length {
            break;
        }
        // An empty part would let a hostile tree keep this going beyond the last number.
        let part = view.value(&key(number))?.filter(|part| !part.is_empty()).ok_or(damaged("a part is missing or empty"))?;
        value.extend_from_slice(&part);
    }
    if value.len() != length || crc32fast::hash(&value) != crc {
        return Err(damaged("its parts do not give the value that was stored"));
    }
    Ok(Some(value))
}

impl Txn<'_> {
    /// Sets the target of a symbolic link.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn put_target(&mut self, inode: Inode, target: &[u8]) -> Result<(), StateError> {
        store(self, target, |part| Key::Target(inode, part))
    }

    /// Removes the target of a symbolic link, if there is one.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn delete_target(&mut self, inode: Inode) -> Result<bool, StateError> {
        self.delete_parts(|part| Key::Target(inode, part))
    }

    /// Sets the content of a small file, in place of an older one. At most `INLINE_FILE_BYTES`.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn put_inline_content(&mut self, inode: Inode, content: &[u8]) -> Result<(), StateError> {
        self.delete_inline_content(inode)?;
        if content.len() > INLINE_ROW_BYTES {
            store(self, content, |part| Key::LargeContent(inode, part))
        } else {
            store(self, content, |part| Key::Content(inode, part))
        }
    }

    /// Removes the content of a small file from the tree. Returns whether there was one.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn delete_inline_content(&mut self, inode: Inode) -> Result<bool, StateError> {
        let small = self.delete_parts(|part| Key::Content(inode, part))?;
        let large = self.delete_parts(|part| Key::LargeContent(inode, part))?;
        Ok(small || large)
    }

    fn delete_parts(&mut self, key: impl Fn(u16) -> Key) -> Result<bool, StateError> {
        for number in 0..=u16::MAX {
            if self.view().value(&key(number))?.is_none() {
                return Ok(number > 0);
            }
            self.delete(&key(number))?;
        }
        Ok(true)
    }
}

/// Blocks that a content in the tree counts for.
fn blocks_of(content: &[u8]) -> i64 {
    (content.len() as u64).div_ceil(512).cast_signed()
}

impl Txn<'_> {
    /// Keeps the whole content of a file in the tree, instead of whatever it had. `version` says which logged data it supersedes.
    /// Returns the change of the file's blocks.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn put_inline(&mut self, inode: Inode, content: &[u8], version: u64) -> Result<i64, StateError> {
        let before = self.drop_inline(inode)?;
        let (freed, rest) = self.cut_extents(inode, 0, u64::MAX, version)?;
        if rest.is_some() {
            return Err(StateError::Contradiction("a file that fits into the tree has more extents than a step can cut"));
        }
        if !content.is_empty() {
            self.put_inline_content(inode, content)?;
        }
        Ok(blocks_of(content) - before - freed)
    }

    /// Removes the content of a file from the tree. Returns the blocks that it counted for.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn drop_inline(&mut self, inode: Inode) -> Result<i64, StateError> {
        let Some(content) = self.view().inline_content(inode)? else { return Ok(0) };
        self.delete_inline_content(inode)?;
        Ok(blocks_of(&content))
    }

    /// Cuts what the tree keeps of a file's content at `size`. Returns the change of the file's blocks, never above 0.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn truncate_inline(&mut self, inode: Inode, size: u64) -> Result<i64, StateError> {
        let Some(content) = self.view().inline_content(inode)? else { return Ok(0) };
        let Some(kept) = usize::try_from(size).ok().and_then(|size| content.get(..size)) else { return Ok(0) };
        if kept.is_empty() {
            self.delete_inline_content(inode)?;
        } else {
            self.put_inline_content(inode, kept)?;
        }
        Ok(blocks_of(kept) - blocks_of(&content))
    }
}
