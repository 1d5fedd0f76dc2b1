//! Blocks on their way out: to a pixel writer, to the log, and to the rows that let them go.

use super::held::DirtyBlock;
use super::{BLOCK, Drain, FileBuffer, Ticket};
use crate::blocks::Block;
use crate::limits::{CLUSTER_BYTES, EXTENT_MAX_CLUSTERS, INLINE_FILE_BYTES};
use crate::row::ExtentRow;

/// Consecutive blocks of a file that travel together, at most `EXTENT_MAX_CLUSTERS`.
#[derive(Clone, Debug)]
pub struct Run {
    /// Byte offset in the file, a multiple of 4096.
    pub offset: u64,
    pub blocks: Vec<Block>,
    /// Write sequence of each block.
    pub sequences: Vec<u64>,
}

impl Run {
    /// Bytes of the blocks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK
    }

    /// The newest sequence among the blocks.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequences.iter().copied().max().unwrap_or(0)
    }
}

/// Where a pixel writer placed a run, or a part of it.
#[derive(Clone, Debug)]
pub struct PlacedExtent {
    /// Byte offset in the file.
    pub offset: u64,
    /// The row that claims all of it.
    pub row: ExtentRow,
    /// Write sequence of each of its blocks.
    pub sequences: Vec<u64>,
}

impl FileBuffer {
    /// Hands out at most `max_bytes` of the blocks that nobody has, for a pixel writer. Returns the ticket of this placement.
    pub fn take_for_placing(&mut self, max_bytes: u64) -> (Ticket, Vec<Run>) {
        let ticket = self.ticket();
        let numbers = self.blocks.first_unplaced(blocks_in(max_bytes));
        let runs = self.gather(&numbers, |dirty| dirty.placing = Some(ticket));
        (ticket, runs)
    }

    /// The blocks that a power cut would lose, at most `max_bytes` of them, for the log. They count as logged from now on: the caller
    /// posts them. Those that a posted settlement claims are safe with it, and would only be written twice.
    pub fn take_for_log(&mut self, max_bytes: u64) -> Vec<Run> {
        let numbers: Vec<u64> = self.blocks.volatile_from(0).take(blocks_in(max_bytes)).map(|(number, _)| number).collect();
        self.gather(&numbers, |dirty| dirty.logged = true)
    }

    /// Marks blocks and gives them as runs.
    fn gather(&mut self, numbers: &[u64], mark: impl Fn(&mut DirtyBlock)) -> Vec<Run> {
        let mut runs = Vec::new();
        for &number in numbers {
            self.blocks.edit(number, |dirty| {
                mark(dirty);
                append(&mut runs, number, &dirty.block, dirty.sequence);
            });
        }
        runs
    }

    /// The whole content, when it fits the inline form and is held in the first block. Counts as settled by `ticket`.
    pub fn take_inline(&mut self, ticket: Ticket) -> Option<Vec<u8>> {
        let size = usize::try_from(self.live.size).ok().filter(|size| *size <= INLINE_FILE_BYTES)?;
        let content = self.blocks.get(0)?.block.bytes().get(..size)?.to_vec();
        for number in self.blocks.numbers(|_| true) {
            self.blocks.edit(number, |dirty| dirty.settling = Some(ticket));
        }
        Some(content)
    }

    /// A number for a placement or settlement.
    pub fn ticket(&mut self) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        ticket
    }

    /// The number that [`Self::ticket`] gives next.
    #[must_use]
    pub fn next_ticket(&self) -> Ticket {
        self.next_ticket
    }

    /// A placement is durable: the rows for those of its blocks that were not changed since, each with whether it is the first that
    /// claims its extent. They count as settled by `settling`: the caller posts them.
    pub fn placed(&mut self, placing: Ticket, extents: &[PlacedExtent], settling: Ticket) -> Vec<(u64, ExtentRow, bool)> {
        let mut rows = Vec::new();
        for extent in extents {
            let mut fresh = true;
            for (from, to) in self.current_parts(placing, extent, settling) {
                let bounds = (from * CLUSTER_BYTES, (to * CLUSTER_BYTES).min(extent.row.length as usize));
                if let Some(mut row) = extent.row.part(bounds.0 as u32, bounds.1 as u32) {
                    row.sequence = extent.sequences.get(from..to).and_then(|s| s.iter().copied().max()).unwrap_or(0);
                    rows.push((extent.offset + bounds.0 as u64, row, fresh));
                    fresh = false;
                }
            }
        }
        rows
    }

    /// Marks the still current blocks of an extent and gives their ranges of block numbers within it.
    fn current_parts(&mut self, placing: Ticket, extent: &PlacedExtent, settling: Ticket) -> Vec<(usize, usize)> {
        let mut parts: Vec<(usize, usize)> = Vec::new();
        for (n, &sequence) in extent.sequences.iter().enumerate() {
            let number = extent.offset / BLOCK + n as u64;
            let current = self.blocks.get(number).is_some_and(|dirty| dirty.placing == Some(placing) && dirty.sequence == sequence);
            if !current {
                continue;
            }
            self.blocks.edit(number, |dirty| dirty.settling = Some(settling));
            match parts.last_mut() {
                Some((_, to)) if *to == n => *to = n + 1,
                _ => parts.push((n, n + 1)),
            }
        }
        parts
    }

    /// A placement failed: its blocks are nobody's again.
    pub fn unplaced(&mut self, placing: Ticket) {
        for number in self.blocks.numbers(|dirty| dirty.placing == Some(placing)) {
            self.blocks.edit(number, |dirty| dirty.placing = None);
        }
    }

    /// The settlement `ticket` is published: its blocks are let go. Returns how many.
    pub fn settled(&mut self, ticket: Ticket) -> usize {
        self.blocks.let_go(ticket)
    }

    /// Whether something is on its way that was handed out or posted up to now.
    #[must_use]
    pub fn has_in_flight(&self) -> bool {
        self.blocks.values().any(|dirty| dirty.placing.is_some() || dirty.settling.is_some())
    }

    /// Whether all bytes of sequences up to `sequence` are safe from a power cut once the log is.
    #[must_use]
    pub fn is_safe_up_to(&self, sequence: u64) -> bool {
        self.blocks.values().all(|dirty| dirty.sequence > sequence || dirty.logged || dirty.settling.is_some())
    }

    /// A checkpoint begins to wait until the log up to now is not needed any more for this file.
    pub fn begin_drain(&mut self) {
        self.drain = Some(Drain { sequence: self.live.version, size: self.live.size });
    }

    /// Whether a checkpoint waits.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether what a checkpoint waits for is there: every block that was held when it began is placed, or was changed since and logged
    /// again; and the row claims the size of that time, which blocks that are new below it can hold back (BUF-4).
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drain.is_some_and(|drain| {
            let placed = |dirty: &DirtyBlock| dirty.since > drain.sequence || (dirty.sequence > drain.sequence && dirty.logged);
            self.settled_size >= drain.size && self.blocks.values().all(placed)
        })
    }

    /// Whether a checkpoint waits for the size alone: nothing is held, and no settlement that was posted says it.
    #[must_use]
    pub fn must_speak_to_drain(&self) -> bool {
        self.blocks.is_empty() && self.drain.is_some_and(|drain| self.settled_size < drain.size)
    }

    /// Nobody waits any more. Whether somebody did.
    pub fn end_drain(&mut self) -> bool {
        self.drain.take().is_some()
    }

    /// The blocks that were changed since a checkpoint began to wait and stand in its way, to be logged as they are now, although a pixel
    /// writer may have them: it may keep them for long. Those that were held then: their older bytes, which may stand in the log, will
    /// never be placed. Those that were holes below the size of then: they hold the size back. At most `max_bytes`. They count as
    /// logged: the caller posts them.
    pub fn take_for_drain(&mut self, max_bytes: u64) -> Vec<Run> {
        let numbers: Vec<u64> = self.in_the_way().take(blocks_in(max_bytes)).collect();
        self.gather(&numbers, |dirty| dirty.logged = true)
    }

    /// Whether [`Self::take_for_drain`] has something to give.
    #[must_use]
    pub fn must_log_for_drain(&self) -> bool {
        self.in_the_way().next().is_some()
    }

    fn in_the_way(&self) -> impl Iterator<Item = u64> {
        let first_new = self.settled_size / BLOCK;
        let drain = self.drain.filter(|drain| self.live.version != drain.sequence);
        drain.into_iter().flat_map(move |drain| {
            let in_the_way = move |number: u64, dirty: &DirtyBlock| {
                let hole = number >= first_new && number * BLOCK < drain.size && self.settled_size < drain.size;
                dirty.sequence > drain.sequence && (dirty.since <= drain.sequence || hole)
            };
            self.blocks.volatile_from(0).filter(move |(number, dirty)| in_the_way(*number, dirty)).map(|(number, _)| number)
        })
    }

    /// The settlement `ticket` was refused: what it said is to be said again. What of the blocks it carried is not known any more, so
    /// that none counts as logged.
    pub fn refused(&mut self, ticket: Ticket) {
        for number in self.blocks.numbers(|_| true) {
            self.blocks.edit(number, |dirty| {
                dirty.logged = false;
                if dirty.settling == Some(ticket) {
                    (dirty.settling, dirty.placing) = (None, None);
                }
            });
        }
        // No row has a version below that of its file: the next settlement is wanted, and one that must hold the size back says nothing.
        // Which size the row has is not known, so that every block that a power cut would lose holds it back (BUF-4).
        (self.settled_version, self.settled_size, self.said) = (0, 0, 0);
    }

    /// Takes bytes that the log gave back after a crash, unless newer ones are held (O1).
    pub fn restore(&mut self, number: u64, block: Block, sequence: u64) {
        self.live.version = self.live.version.max(sequence);
        if self.blocks.get(number).is_some_and(|held| held.sequence > sequence) {
            return;
        }
        self.blocks.insert(number, DirtyBlock { logged: true, ..DirtyBlock::fresh(block, sequence, sequence) });
    }
}

/// Appends a block to the last run if it follows on, else begins a new one. Runs break at extents' greatest length, counted from
/// multiples of it in the file, so that units stay whole.
fn append(runs: &mut Vec<Run>, number: u64, block: &Block, sequence: u64) {
    let follows = |run: &Run| run.offset / BLOCK + run.blocks.len() as u64 == number && !number.is_multiple_of(EXTENT_MAX_CLUSTERS as u64);
    match runs.last_mut() {
        Some(run) if follows(run) => {
            run.blocks.push(block.clone());
            run.sequences.push(sequence);
        }
        _ => runs.push(Run { offset: number * BLOCK, blocks: vec![block.clone()], sequences: vec![sequence] }),
    }
}

/// Whole blocks in so many bytes.
fn blocks_in(bytes: u64) -> usize {
    usize::try_from(bytes / BLOCK).unwrap_or(usize::MAX)
}
