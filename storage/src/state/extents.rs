//! Extents of a file: putting, cutting, and what that does to references.
//!
//! Must be true: EXT-4 no two extents of a file overlap; EXT-5 a split adds one reference for each part beyond the first, a removed
//! row takes one away; EXT-6 `blocks` of the inode is the sum over its extents of their bytes in units of 512, rounded up; EXT-7 inline
//! content never stands under an extent, nor comes back after a cut.

use super::change::Change;
use super::{StateError, Txn};
use crate::limits::{RECORD_MAX_ROWS, SLICE_ROWS};
use crate::row::{ExtentRow, Inode, Key};

/// Units of 512 bytes that an extent counts for.
#[must_use]
pub fn blocks_of(row: &ExtentRow) -> u64 {
    u64::from(row.length).div_ceil(512)
}

impl Txn<'_> {
    /// Puts an extent at `offset` of a file, over whatever was there. `fresh`: it is the first row that claims this placement.
    /// Returns the change of the file's blocks.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn put_extent(&mut self, inode: Inode, offset: u64, row: &ExtentRow, fresh: bool) -> Result<i64, StateError> {
        let row = ExtentRow { birth: if self.is_replay() { row.birth } else { self.generation() }, ..row.clone() };
        let value = row.encode();
        self.log(&Change::PutExtent { inode, offset, fresh, row: &value })?;
        let (freed, rest) = self.cut_rows(inode, offset, offset.saturating_add(u64::from(row.length)), RECORD_MAX_ROWS)?;
        if rest.is_some() {
            return Err(StateError::Contradiction("one extent lies over more rows than a record may change"));
        }
        self.put_silently(&Key::Extent(inode, offset).encode(), &value)?;
        if fresh {
            self.deltas.born(row.first, row.clusters);
        } else {
            self.deltas.reference(row.first, row.clusters);
        }
        Ok(blocks_of(&row).cast_signed() - freed)
    }

    /// Cuts the bytes `from..to` out of a file's extents, in one step of at most `SLICE_ROWS` rows. Returns how many blocks went, and
    /// from where the rest is still to be cut. `sequence` says which logged data it supersedes.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn cut_extents(&mut self, inode: Inode, from: u64, to: u64, sequence: u64) -> Result<(i64, Option<u64>), StateError> {
        self.log(&Change::Cut { inode, from, to, sequence })?;
        self.cut_rows(inode, from, to, SLICE_ROWS)
    }

    /// As [`Self::cut_extents`] of all bytes, for a file that is dropped: `keys` are the first that stand under it among the names, its own
    /// included. Most files have no other: then only content in leaves of its own is looked for.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn cut_all(&mut self, inode: Inode, keys: &[Key]) -> Result<(i64, Option<u64>), StateError> {
        if keys != [Key::Inode(inode)] {
            return self.cut_extents(inode, 0, u64::MAX, u64::MAX);
        }
        self.log(&Change::Cut { inode, from: 0, to: u64::MAX, sequence: u64::MAX })?;
        self.cut_large_content(inode)?;
        Ok((0, None))
    }

    fn cut_rows(&mut self, inode: Inode, from: u64, to: u64, max: usize) -> Result<(i64, Option<u64>), StateError> {
        self.cut_inline(inode, from, to)?;
        let rows = self.view().extents(inode, from, to, max + 1)?;
        let rest = rows.get(max).map(|(offset, _)| *offset);
        let mut freed = 0;
        for (offset, row) in rows.iter().take(max) {
            freed += self.cut_row(inode, *offset, row, from, to)?;
        }
        Ok((freed, rest))
    }

    fn cut_row(&mut self, inode: Inode, offset: u64, row: &ExtentRow, from: u64, to: u64) -> Result<i64, StateError> {
        let end = offset.saturating_add(u64::from(row.length));
        let left = from.saturating_sub(offset).min(u64::from(row.length)) as u32;
        let right = to.min(end).saturating_sub(offset) as u32;
        let mut freed = blocks_of(row).cast_signed();
        let mut parts = 0i64;
        self.delete_silently(&Key::Extent(inode, offset).encode())?;
        for (part, at) in [(row.part(0, left), offset), (row.part(right, row.length), offset + u64::from(right))] {
            if let Some(part) = part {
                self.put_silently(&Key::Extent(inode, at).encode(), &part.encode())?;
                freed -= blocks_of(&part).cast_signed();
                parts += 1;
            }
        }
        match parts {
            0 => self.deltas.unreference(row.first, row.clusters),
            2 => self.deltas.reference(row.first, row.clusters),
            _ => {}
        }
        Ok(freed)
    }
}
