//! What a shard holds of one file: its live row and its dirty blocks, from the write until the row of exactly that write is published.
//!
//! Owns: `FileBuffer`, `LiveRow`. Must be true: O1 each change takes the next write sequence, and the higher wins; BUF-3 a block is let
//! go only when the row of exactly its sequence was put; BUF-4 (O3) a settlement never claims a size that covers bytes which are
//! neither placed nor logged. Fails: never; callers check ranges first.

mod held;
mod placing;
#[cfg(test)]
mod tests;

pub use placing::{PlacedExtent, Run};

use crate::blocks::{Block, BlockPool};
use crate::limits::CLUSTER_BYTES;
use crate::names::Settlement;
use crate::row::{InodeRow, Time};
use held::{DirtyBlock, HeldBlocks};
use std::ops::Range;

const BLOCK: u64 = CLUSTER_BYTES as u64;

/// Size and times of a file with unplaced changes. It lies over the row while its version is above the row's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveRow {
    /// Write sequence of the newest change.
    pub version: u64,
    pub size: u64,
    pub accessed: Time,
    pub modified: Time,
    pub changed: Time,
    /// Blocks that wait to be placed.
    pub dirty_blocks: u64,
}

/// Number of a placement or settlement under way.
pub type Ticket = u64;

/// The unsettled state of one file.
#[derive(Debug)]
pub struct FileBuffer {
    live: LiveRow,
    /// Size that the row says, as far as settlements were posted.
    settled_size: u64,
    /// Version that the row says, as far as settlements were posted.
    settled_version: u64,
    /// The newest change that a posted settlement was made after, whether it could say its size or not.
    said: u64,
    blocks: HeldBlocks,
    next_ticket: Ticket,
    /// What a checkpoint waits for.
    drain: Option<Drain>,
}

/// The state of a file that a checkpoint is to find in its tree.
#[derive(Clone, Copy, Debug)]
struct Drain {
    /// Everything up to this write sequence is to be placed.
    sequence: u64,
    /// So much of the file is to be claimed by its row; less when it was cut meanwhile.
    size: u64,
}

impl FileBuffer {
    /// A buffer over a file that is as its row says.
    #[must_use]
    pub fn new(row: &InodeRow) -> Self {
        let live = LiveRow {
            version: row.version,
            size: row.size,
            accessed: row.accessed,
            modified: row.modified,
            changed: row.changed,
            dirty_blocks: 0,
        };
        let (settled_size, settled_version) = (row.size, row.version);
        Self { live, settled_size, settled_version, said: row.version, blocks: HeldBlocks::default(), next_ticket: 1, drain: None }
    }

    /// Size and times now.
    #[must_use]
    pub fn live(&self) -> LiveRow {
        LiveRow { dirty_blocks: self.blocks.len() as u64, ..self.live }
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK
    }

    /// Bytes that a power cut would lose, even if everything posted is durable.
    #[must_use]
    pub fn volatile_bytes(&self) -> u64 {
        self.blocks.volatile() as u64 * BLOCK
    }

    /// Bytes that no pixel writer has.
    #[must_use]
    pub fn unplaced_bytes(&self) -> u64 {
        self.blocks.unplaced() as u64 * BLOCK
    }

    /// Whether the row says everything as soon as what was posted is published. Before the live row goes, ask [`Self::is_shown_by`].
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.blocks.is_empty() && !self.has_more_to_say()
    }

    /// Whether no settlement that was posted says all that could be said by now.
    #[must_use]
    pub fn has_more_to_say(&self) -> bool {
        self.live.version != self.settled_version || self.live.size != self.settled_size
    }

    /// Whether something changed since the last settlement that was posted: times that it could not have said.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.live.version != self.said
    }

    /// Whether a published row says everything: buffer and live row can go.
    #[must_use]
    pub fn is_shown_by(&self, row: &InodeRow) -> bool {
        self.is_settled() && row.version == self.live.version && row.size == self.live.size
    }

    /// The dirty block `number`, if there is one.
    #[must_use]
    pub fn block(&self, number: u64) -> Option<&Block> {
        self.blocks.get(number).map(|b| &b.block)
    }

    /// The dirty blocks that touch the bytes `from..to`.
    pub fn blocks_in(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &Block)> {
        self.blocks.range(from / BLOCK..to.div_ceil(BLOCK).max(from / BLOCK)).map(|(number, b)| (number, &b.block))
    }

    /// The blocks of which a write of these bytes needs the old content: written in part, not held, and not wholly behind the end.
    #[must_use]
    pub fn missing_for(&self, offset: u64, length: u64) -> Vec<u64> {
        let end = offset.saturating_add(length);
        let mut edges = vec![offset / BLOCK, end.saturating_sub(1) / BLOCK];
        edges.dedup();
        edges.retain(|&number| {
            let start = number * BLOCK;
            let covered = offset <= start && (end >= start + BLOCK || end >= self.live.size);
            length > 0 && !covered && start < self.live.size && !self.blocks.contains(number)
        });
        edges
    }

    /// The blocks of which clearing these bytes needs the old content: cleared in part, not held, and not behind the end.
    #[must_use]
    pub fn edges_of(&self, from: u64, to: u64) -> Vec<u64> {
        let end = to.min(self.live.size);
        let mut edges = Vec::new();
        if from >= end {
            return edges;
        }
        // What is cleared up to the end of the file is cleared as a whole.
        edges.extend((!from.is_multiple_of(BLOCK)).then_some(from / BLOCK));
        edges.extend((to < self.live.size && !to.is_multiple_of(BLOCK)).then_some(to / BLOCK));
        edges.dedup();
        edges.retain(|number| !self.blocks.contains(*number));
        edges
    }

    /// The whole blocks among the bytes `from..to` of a file of `size` bytes: what is to be cut of its extents. `None` if there are none.
    #[must_use]
    pub fn whole_blocks(&self, from: u64, to: u64, size: u64) -> Option<Range<u64>> {
        let end = if to >= size { to.next_multiple_of(BLOCK) } else { to / BLOCK * BLOCK };
        let start = from.next_multiple_of(BLOCK);
        (start < end).then_some(start..end)
    }

    /// Takes old content of a block that is about to be written in part. Not a change. What lies behind the end by now is not taken; but
    /// if the file was cut and has grown again since it was read, the caller reads again: it would bring back what was cut.
    pub fn fill(&mut self, number: u64, mut block: Block) {
        let left = self.live.size.saturating_sub(number.saturating_mul(BLOCK));
        if left == 0 {
            return;
        }
        if left < BLOCK {
            block.clear_from(left as usize);
        }
        let sequence = self.live.version;
        // Were it dropped before the write comes, it would be placed as if it were new: harmless, the bytes are the same. Nothing of
        // it is in the log that is not placed, so that no checkpoint has to wait for it.
        let since = sequence + 1;
        if !self.blocks.contains(number) {
            self.blocks.insert(number, DirtyBlock::fresh(block, sequence, since));
        }
    }

    /// Writes bytes that begin inside block `number` at `at`. `whole` may be given when they are a block of their own.
    pub fn write_block(&mut self, pool: &BlockPool, number: u64, at: usize, piece: WritePiece<'_>) {
        let sequence = self.live.version + 1;
        let since = self.blocks.get(number).map_or(sequence, |held| held.since);
        let block = match piece {
            WritePiece::Whole(block) => block,
            WritePiece::Part(bytes) => {
                let edited = self.blocks.edit(number, |held| {
                    held.block.overwrite(at, bytes);
                    held.block.clone()
                });
                edited.unwrap_or_else(|| pool.holding(at, bytes))
            }
        };
        self.blocks.insert(number, DirtyBlock::fresh(block, sequence, since));
    }

    /// Ends a write whose blocks were given: the next sequence, the size, and the times unless the kernel owns them.
    pub fn wrote(&mut self, end: u64, now: Option<Time>) {
        self.live.version += 1;
        self.live.size = self.live.size.max(end);
        if let Some(now) = now {
            self.live.modified = now;
            self.live.changed = now;
        }
    }

    /// Cuts or extends with zeros. Returns the sequence of the change; the extents from `size` on are to be cut with it.
    pub fn truncate(&mut self, size: u64, now: Time) -> u64 {
        self.live.version += 1;
        let sequence = self.live.version;
        if size < self.live.size {
            self.cut_blocks(size, u64::MAX, sequence);
        }
        self.live.size = size;
        self.settled_size = self.settled_size.min(size);
        if let Some(drain) = &mut self.drain {
            drain.size = drain.size.min(size);
        }
        self.live.modified = now;
        self.live.changed = now;
        sequence
    }

    /// Makes zeros of the bytes `from..to`, and extends to `to` if that is wanted. Returns the sequence of the change; the extents there are
    /// to be cut with it.
    pub fn clear(&mut self, from: u64, to: u64, extend: bool, now: Time) -> u64 {
        self.live.version += 1;
        // Behind the end there is nothing to be kept.
        let cut_to = if to >= self.live.size { to.next_multiple_of(BLOCK) } else { to };
        self.cut_blocks(from, cut_to, self.live.version);
        if extend {
            self.live.size = self.live.size.max(to);
        }
        self.live.modified = now;
        self.live.changed = now;
        self.live.version
    }

    /// Takes bytes out of the blocks: those that lie there as a whole go, the others are changed.
    fn cut_blocks(&mut self, from: u64, to: u64, sequence: u64) {
        let (first, end) = (from.div_ceil(BLOCK), to / BLOCK);
        if first < end {
            self.blocks.cut(first, end);
        }
        let left_edge = Some(from / BLOCK).filter(|number| *number != end);
        for number in left_edge.into_iter().chain([end]).filter(|number| !(first..end).contains(number)) {
            let start = number * BLOCK;
            let (left, right) = (from.saturating_sub(start).min(BLOCK) as usize, to.saturating_sub(start).min(BLOCK) as usize);
            if left < right {
                self.blocks.edit(number, |edge| {
                    edge.block.clear(left..right);
                    *edge = DirtyBlock::fresh(edge.block.clone(), sequence, edge.since);
                });
            }
        }
    }

    /// Sets times; `None` stays. Takes a sequence, so that no late report moves them back (O10).
    pub fn set_times(&mut self, accessed: Option<Time>, modified: Option<Time>, changed: Time) {
        self.live.version += 1;
        self.live.accessed = accessed.unwrap_or(self.live.accessed);
        self.live.modified = modified.unwrap_or(self.live.modified);
        self.live.changed = changed;
    }

    /// The size up to which every byte beyond the settled size is durable or will be with the record that carries it (BUF-4).
    #[must_use]
    fn durable_size(&self) -> u64 {
        let mut new = self.blocks.volatile_from(self.settled_size / BLOCK);
        match new.find(|(_, b)| b.holds_the_size_back()).map(|(number, _)| number * BLOCK) {
            Some(start) => self.live.size.min(start.max(self.settled_size)),
            None => self.live.size,
        }
    }

    /// What may be said of the file now. Counts as posted: the caller posts it, with whatever was marked before.
    pub fn settlement(&mut self) -> Settlement {
        let size = self.durable_size();
        // While the size is held back, the row must stay below the live row, which shows the true one.
        let version = if size == self.live.size { self.live.version } else { self.settled_version };
        self.settled_size = size;
        self.settled_version = version;
        self.said = self.live.version;
        Settlement { version, size, accessed: self.live.accessed, modified: self.live.modified, changed: self.live.changed }
    }
}

/// Bytes for one block.
pub enum WritePiece<'a> {
    /// All of it (zero behind the end of the file).
    Whole(Block),
    /// Some of it.
    Part(&'a [u8]),
}
