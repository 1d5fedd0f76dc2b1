//! Where a sparse file has data and where it has holes.
//!
//! Must be true: HOL-1 what can be read as anything but zero is data; content that stands in the tree is data to the end of its block.
//! Fails: as [`View::extents`].

use super::{StateError, View};
use crate::limits::CLUSTER_BYTES;
use crate::row::Inode;
use std::ops::Range;

/// Extents that are looked at in one step.
const STEP: usize = 256;

impl View<'_> {
    /// The first byte from `from` on that has data, below `size`; `None` if there is none. `dirty` gives the ranges that are data whatever
    /// the tree says, ascending and apart.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn next_data(&self, inode: Inode, from: u64, size: u64, dirty: &[Range<u64>]) -> Result<Option<u64>, StateError> {
        if from >= size {
            return Ok(None);
        }
        if from < self.inline_end(inode)? {
            return Ok(Some(from));
        }
        let placed = self.extents(inode, from, size, 1)?.first().map(|(offset, _)| *offset);
        let held = first_behind(from, dirty).map(|range| range.start);
        let first = [placed, held].into_iter().flatten().min().map(|start| start.max(from));
        Ok(first.filter(|at| *at < size))
    }

    /// The first byte from `from` on that is in a hole; the end of the file is one. `None` behind it.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn next_hole(&self, inode: Inode, from: u64, size: u64, dirty: &[Range<u64>]) -> Result<Option<u64>, StateError> {
        if from >= size {
            return Ok(None);
        }
        // Content that stands in the tree lies under no extent, and its block may be dirty.
        let mut at = from.max(self.inline_end(inode)?);
        loop {
            let before = at;
            for (offset, row) in self.extents(inode, at, size, STEP)? {
                at = past_held(at, dirty);
                if offset > at {
                    break;
                }
                // What a file was cut to inside of a block is followed by zeros that are stored, or by nothing.
                at = at.max(offset.saturating_add(u64::from(row.length)).next_multiple_of(CLUSTER_BYTES as u64));
            }
            at = past_held(at, dirty);
            if at == before || at >= size {
                return Ok(Some(at.min(size)));
            }
        }
    }

    /// Where the block ends that content in the tree takes; zero if there is none.
    fn inline_end(&self, inode: Inode) -> Result<u64, StateError> {
        let content = self.inline_content(inode)?;
        Ok(content.map_or(0, |content| (content.len() as u64).next_multiple_of(CLUSTER_BYTES as u64)))
    }
}

/// Behind the range that `at` lies in, if it lies in one.
fn past_held(at: u64, dirty: &[Range<u64>]) -> u64 {
    first_behind(at, dirty).filter(|range| range.contains(&at)).map_or(at, |range| range.end)
}

/// The first range that does not end before `at` is over: found by halves, for a file can have as many as it has dirty blocks.
fn first_behind(at: u64, dirty: &[Range<u64>]) -> Option<&Range<u64>> {
    dirty.get(dirty.partition_point(|range| range.end <= at))
}
