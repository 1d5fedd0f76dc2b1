//! Damage as a shard meets it: rows of a file that cannot be read, and bytes that are lost below dirty ones.
//!
//! Must be true: DAM-1 a write is taken only when the rows that it will replace can be read: what cannot be put into the tree must not be
//! answered, nor stand in the way of a checkpoint. Fails: the write, and nothing else.

use super::file::{Entry, Op};
use super::message::Write;
use super::{BLOCK, Cache, CacheMessage};
use crate::api::Answer;
use crate::mailbox::Lane;
use crate::pixel_reader::ReadMessage;
use crate::replier::Replier;
use crate::shared::{Shared, Source};
use crate::slot::Context;
use infmap_storage::damage::Damage;
use infmap_storage::limits::INLINE_FILE_BYTES;
use infmap_storage::row::{Inode, InodeRow};
use infmap_storage::state::{StateError, View};
use std::collections::HashSet;
use std::ops::Range;

/// Bytes of a file whose rows are looked at together, once for all writes there: to look for each cost a write here and there 2 us. Where
/// each block has a row of its own, a look at 4 MiB of them takes 50 us, which is too long for the door: its share of 1 MiB is not.
const STEP_BYTES: u64 = 1 << 20;
/// Steps of a file that are remembered.
const STEPS_MAX: usize = 4096;

/// Where the rows of a file are known to be readable.
#[derive(Default)]
pub(super) struct RowsKnown {
    /// It had so few bytes that its content may be put as a whole, in place of all its rows.
    is_small: bool,
    everywhere: bool,
    steps: HashSet<u64>,
    /// Bytes that can be written although rows near them are lost.
    exact: Range<u64>,
}

/// What was found to be readable.
#[derive(Debug)]
pub enum Known {
    Everywhere,
    Steps(Range<u64>),
    Exact(Range<u64>),
}

/// What is to be looked at for a write.
#[derive(Clone)]
struct Wanted {
    is_small: bool,
    steps: Range<u64>,
    bytes: Range<u64>,
}

impl RowsKnown {
    pub(super) fn of(row: &InodeRow) -> Self {
        Self { is_small: row.size <= INLINE_FILE_BYTES as u64, ..Self::default() }
    }

    /// What is to be looked at before these bytes are written, if it was not yet.
    fn missing(&self, from: u64, to: u64) -> Option<Wanted> {
        let steps = from / STEP_BYTES..to.div_ceil(STEP_BYTES);
        // Blocks are put as a whole.
        let bytes = from / BLOCK * BLOCK..to.next_multiple_of(BLOCK);
        let is_exact = self.exact.start <= bytes.start && bytes.end <= self.exact.end;
        let is_known = self.everywhere || is_exact || steps.clone().all(|step| self.steps.contains(&step));
        (!is_known).then_some(Wanted { is_small: self.is_small, steps, bytes })
    }

    fn add(&mut self, known: Known) {
        match known {
            Known::Everywhere => self.everywhere = true,
            Known::Exact(bytes) => self.exact = bytes,
            Known::Steps(steps) => {
                if self.steps.len() >= STEPS_MAX {
                    self.steps.clear();
                }
                self.steps.extend(steps);
            }
        }
    }
}

impl Cache {
    /// Gives a write back if the rows in its range are known to be readable; else it comes back when they are, or is refused.
    pub(super) fn when_rows_are_known(&mut self, inode: Inode, write: Write, cx: &mut Context<'_>) -> Option<Write> {
        let shared = self.shared.clone();
        let file = self.file(inode)?;
        let end = write.offset.saturating_add(u64::from(write.length));
        let Some(wanted) = file.rows_known.missing(write.offset, end) else { return Some(write) };
        match shared.query(|view| look(view, inode, &wanted)) {
            Ok(known) => {
                file.rows_known.add(known);
                Some(write)
            }
            Err(StateError::Miss(_)) => {
                file.filling = true;
                file.queue.push_front(Op::Write(write));
                self.fetch_rows(inode, wanted, cx);
                None
            }
            Err(error) => {
                cx.reply(write.replier, Err(shared.refuse(&error)));
                None
            }
        }
    }

    fn fetch_rows(&self, inode: Inode, wanted: Wanted, cx: &mut Context<'_>) {
        let Some(own) = self.own.upgrade() else { return };
        // A replier, because a reader may die with it: the write is answered then too.
        let then = Replier::from_fn(move |known| own.post(Lane::Foreground, CacheMessage::RowsKnown { inode, known }));
        let query = move |shared: &Shared| {
            then.reply(shared.query_waiting(|view| look(view, inode, &wanted)).map_err(|error| shared.refuse(&error)));
        };
        cx.post(self.reader(inode), Lane::Foreground, ReadMessage::Query(Box::new(query)));
    }

    /// Rows were read, or cannot be: then the write that needs them fails.
    pub(super) fn rows_known(&mut self, inode: Inode, known: Answer<Known>, cx: &mut Context<'_>) {
        let Some(file) = self.file(inode) else { return };
        file.filling = false;
        match known {
            Ok(known) => file.rows_known.add(known),
            Err(refusal) => {
                if let Some(op) = file.queue.pop_front() {
                    op.refuse(refusal, cx);
                }
            }
        }
        self.run_queue(inode, cx);
        self.close_if_settled(inode);
    }

    /// Takes out of the list what lies below dirty blocks of this shard.
    pub(super) fn review_damage(&self) {
        self.shared.damage.forget(|noted| self.is_covered(&noted.damage));
    }

    /// Takes notice of bytes that are lost, but of those below dirty blocks: a compressed unit is lost as a whole, and blocks of it may have
    /// been written anew.
    pub(super) fn found_lost(&self, damage: &Damage) {
        self.uncovered(damage).into_iter().for_each(|part| note_lost(&self.shared, part));
    }

    fn uncovered(&self, damage: &Damage) -> Vec<Damage> {
        let file = match self.files.get(&damage.inode) {
            Some(Entry::Open(file)) if damage.length > 0 => file,
            _ => return vec![damage.clone()],
        };
        let end = damage.offset.saturating_add(damage.length);
        let mut parts: Vec<Damage> = Vec::new();
        for number in (damage.offset / BLOCK..end.div_ceil(BLOCK)).filter(|number| file.buffer.block(*number).is_none()) {
            let first = number.saturating_mul(BLOCK);
            let (from, to) = (first.max(damage.offset), first.saturating_add(BLOCK).min(end));
            match parts.last_mut().filter(|last| last.offset.saturating_add(last.length) == from) {
                Some(last) => last.length += to - from,
                None => parts.push(Damage { offset: from, length: to - from, ..damage.clone() }),
            }
        }
        parts
    }

    fn is_covered(&self, damage: &Damage) -> bool {
        let Some(Entry::Open(file)) = self.files.get(&damage.inode) else { return false };
        let blocks = damage.offset / BLOCK..damage.offset.saturating_add(damage.length).div_ceil(BLOCK);
        !blocks.is_empty() && blocks.into_iter().all(|number| file.buffer.block(number).is_some())
    }
}

/// Takes notice of what the scanner found lost, and says it once, however often it is met.
pub fn note_lost(shared: &Shared, damage: Damage) {
    let said = damage.to_string();
    if shared.damage.note(damage, Source::Scrub) {
        tracing::error!("{said}: `infmap damage ls` lists what is lost");
    }
}

/// Reads the rows of some steps, of a small file all; where some of them are lost, those of the blocks that are wanted.
fn look(view: View<'_>, inode: Inode, wanted: &Wanted) -> Result<Known, StateError> {
    let Wanted { is_small, steps, bytes } = wanted;
    let near = match *is_small {
        true => view.has_rows_at_hand(inode, 0, u64::MAX).map(|()| Known::Everywhere),
        false => {
            let at = |step: u64| step.saturating_mul(STEP_BYTES);
            view.has_rows_at_hand(inode, at(steps.start), at(steps.end)).map(|()| Known::Steps(steps.clone()))
        }
    };
    match near {
        // With its first bytes the whole of it may be put.
        Err(StateError::Miss(_)) | Ok(_) => near,
        Err(_) if *is_small && bytes.start == 0 => near,
        Err(_) => view.has_rows_at_hand(inode, bytes.start, bytes.end).map(|()| Known::Exact(bytes.clone())),
    }
}
