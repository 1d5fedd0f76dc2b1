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
use infmap_storage::row::Inode;
use infmap_storage::state::{StateError, View};
use std::ops::Range;

/// Bytes of a file whose rows are looked at together, once for all writes that follow each other there.
const STEP_BYTES: u64 = 4 << 20;

impl Cache {
    /// Gives a write back if the rows in its range are known to be readable; else it comes back when they are, or is refused.
    pub(super) fn when_rows_are_known(&mut self, inode: Inode, write: Write, cx: &mut Context<'_>) -> Option<Write> {
        let shared = self.shared.clone();
        let file = self.file(inode)?;
        let end = write.offset.saturating_add(u64::from(write.length));
        if file.rows_known.start <= write.offset && end <= file.rows_known.end {
            return Some(write);
        }
        let range = write.offset / STEP_BYTES * STEP_BYTES..end.checked_next_multiple_of(STEP_BYTES).unwrap_or(u64::MAX);
        match shared.query(|view| look(view, inode, &range)) {
            Ok(()) => {
                file.rows_known = range;
                Some(write)
            }
            Err(StateError::Miss(_)) => {
                file.filling = true;
                file.queue.push_front(Op::Write(write));
                self.fetch_rows(inode, range, cx);
                None
            }
            Err(error) => {
                cx.reply(write.replier, Err(shared.refuse(&error)));
                None
            }
        }
    }

    fn fetch_rows(&self, inode: Inode, range: Range<u64>, cx: &mut Context<'_>) {
        let Some(own) = self.own.upgrade() else { return };
        let seen = range.clone();
        // A replier, because a reader may die with it: the write is answered then too.
        let then = Replier::from_fn(move |known| own.post(Lane::Foreground, CacheMessage::RowsKnown { inode, range, known }));
        let query = move |shared: &Shared| {
            then.reply(shared.query_waiting(|view| look(view, inode, &seen)).map_err(|error| shared.refuse(&error)));
        };
        cx.post(self.reader(inode), Lane::Foreground, ReadMessage::Query(Box::new(query)));
    }

    /// The rows in a range were read, or cannot be: then the write that needs them fails.
    pub(super) fn rows_known(&mut self, inode: Inode, range: Range<u64>, known: Answer<()>, cx: &mut Context<'_>) {
        let Some(file) = self.file(inode) else { return };
        file.filling = false;
        match known {
            Ok(()) => file.rows_known = range,
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

    /// Takes notice of bytes that are lost, unless they lie below dirty blocks.
    pub(super) fn found_lost(&self, damage: Damage) {
        if !self.is_covered(&damage) {
            note_lost(&self.shared, damage);
        }
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

/// Reads all rows of a range, and the one that begins before it.
fn look(view: View<'_>, inode: Inode, range: &Range<u64>) -> Result<(), StateError> {
    let most = (range.end - range.start) / BLOCK + 1;
    view.extents(inode, range.start, range.end, most as usize).map(drop)
}
