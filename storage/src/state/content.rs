//! Long values as numbered part rows: link targets, extended attributes, and the contents of small files.
//!
//! Owns: the form of part rows: the first begins with the length of the whole and its CRC32. Must be true: PART-1 a value is given
//! whole and verified, or not at all. Fails: parts that are missing or do not sum up are a `RowError`.

use super::{StateError, Txn, View};
use crate::limits::{INLINE_FILE_BYTES, INLINE_ROW_BYTES, PART_BYTES, ROW_MAX_BYTES};
use crate::refusal::Refusal;
use crate::row::{Inode, Key, RowError};
use crate::wire::{Put, Reader};

const HEAD_BYTES: usize = 8;

/// Writes a value as part rows.
fn store(txn: &mut Txn<'_>, value: &[u8], silently: bool, key: impl Fn(u16) -> Key) -> Result<(), StateError> {
    let mut whole = Vec::with_capacity(value.len() + HEAD_BYTES);
    whole.put_u32(value.len() as u32);
    whole.put_u32(crc32fast::hash(value));
    whole.put(value);
    // Keys that hold a name leave less room.
    let part_bytes = PART_BYTES.min(ROW_MAX_BYTES - key(0).encode().len());
    for (number, part) in whole.chunks(part_bytes).enumerate() {
        let key = key(number as u16);
        if silently { txn.put_silently(&key.encode(), part) } else { txn.put(&key, part) }?;
    }
    Ok(())
}

/// Reads a value of at most `max_bytes` from its part rows; `None` if there is no first one.
pub(super) fn load(view: &View<'_>, max_bytes: usize, key: impl Fn(u16) -> Key) -> Result<Option<Vec<u8>>, StateError> {
    let Some(first) = view.value(&key(0))? else { return Ok(None) };
    let damaged = |what| StateError::Row(RowError { row: "part", what });
    let mut head = Reader::new(&first);
    let (Some(length), Some(crc)) = (head.u32(), head.u32()) else { return Err(damaged("its head is missing")) };
    let length = length as usize;
    if length > max_bytes {
        return Err(damaged("it claims to be longer than any such value"));
    }
    let mut value = head.rest().to_vec();
    for number in 1..=u16::MAX {
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
        store(self, target, false, |part| Key::Target(inode, part))
    }

    /// Removes the target of a symbolic link, if there is one.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn delete_target(&mut self, inode: Inode) -> Result<bool, StateError> {
        self.delete_parts(false, |part| Key::Target(inode, part))
    }

    /// Sets an extended attribute, in place of one of this name.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn put_xattr(&mut self, inode: Inode, name: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.delete_xattr(inode, name)?;
        store(self, value, false, |part| Key::Xattr(inode, name.to_vec(), part))
    }

    /// Removes an extended attribute, if it is there.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn delete_xattr(&mut self, inode: Inode, name: &[u8]) -> Result<bool, StateError> {
        self.delete_parts(false, |part| Key::Xattr(inode, name.to_vec(), part))
    }

    /// Sets the whole content of a small file, as it was at write sequence `sequence`, in place of everything older: extents, inline
    /// content, and data that only the log holds. Returns the blocks that went.
    ///
    /// # Errors
    /// See [`StateError`]; `FileTooBig` above `INLINE_FILE_BYTES`, `BatchTooBig` if a longer file is still being cut.
    pub fn put_inline_content(&mut self, inode: Inode, content: &[u8], sequence: u64) -> Result<i64, StateError> {
        if content.len() > INLINE_FILE_BYTES {
            return Err(Refusal::FileTooBig.into());
        }
        let (freed, rest) = self.cut_extents(inode, 0, u64::MAX, sequence)?;
        if rest.is_some() {
            return Err(Refusal::BatchTooBig.into());
        }
        self.store_inline(inode, content, false)?;
        Ok(freed)
    }

    /// Sets the whole content of a small file that is new: there is nothing that it could be in place of.
    ///
    /// # Errors
    /// See [`StateError`]; `FileTooBig` above `INLINE_FILE_BYTES`.
    pub fn put_first_content(&mut self, inode: Inode, content: &[u8]) -> Result<(), StateError> {
        if content.len() > INLINE_FILE_BYTES {
            return Err(Refusal::FileTooBig.into());
        }
        if content.is_empty() { Ok(()) } else { self.store_inline(inode, content, false) }
    }

    fn store_inline(&mut self, inode: Inode, content: &[u8], silently: bool) -> Result<(), StateError> {
        if content.len() > INLINE_ROW_BYTES {
            store(self, content, silently, |part| Key::LargeContent(inode, part))
        } else {
            store(self, content, silently, |part| Key::Content(inode, part))
        }
    }

    /// Takes bytes out of inline content, as a cut or an extent over them does. The change that does it stands in the log, not this.
    pub(super) fn cut_inline(&mut self, inode: Inode, from: u64, to: u64) -> Result<(), StateError> {
        if from >= to || from >= INLINE_FILE_BYTES as u64 {
            return Ok(());
        }
        let Some(mut content) = self.view().inline_content(inode)? else { return Ok(()) };
        let (from, to) = (from as usize, usize::try_from(to).unwrap_or(usize::MAX));
        if to >= content.len() {
            content.truncate(from);
        } else if let Some(cut) = content.get_mut(from..to) {
            cut.fill(0);
        }
        self.delete_parts(true, |part| Key::Content(inode, part))?;
        self.delete_parts(true, |part| Key::LargeContent(inode, part))?;
        if content.is_empty() { Ok(()) } else { self.store_inline(inode, &content, true) }
    }

    /// Removes the content that stands in leaves of its own. The change that does it stands in the log, not this.
    pub(super) fn cut_large_content(&mut self, inode: Inode) -> Result<(), StateError> {
        // Verified as replay of the cut verifies it.
        if load(&self.view(), INLINE_FILE_BYTES, |part| Key::LargeContent(inode, part))?.is_some() {
            self.delete_parts(true, |part| Key::LargeContent(inode, part))?;
        }
        Ok(())
    }

    fn delete_parts(&mut self, silently: bool, key: impl Fn(u16) -> Key) -> Result<bool, StateError> {
        for number in 0..=u16::MAX {
            let key = key(number);
            if self.view().value(&key)?.is_none() {
                return Ok(number > 0);
            }
            if silently { self.delete_silently(&key.encode()) } else { self.delete(&key) }?;
        }
        Ok(true)
    }
}
