//! Ranges of a file: made zero, given room, or looked for.
//!
//! Must be true: RNG-1 rows are cut at whole blocks, so that no extent falls into more pieces than it has clusters; what is cleared of a
//! block in part is written as zeros over its old content. Fails: as a write, where old content cannot be read.

use super::file::{Entry, Op};
use super::write::CLEAR;
use super::{BLOCK, Cache, CacheMessage};
use crate::api::{Answer, Attributes, ClearRange, Refusal, SeekWhat};
use crate::mailbox::Lane;
use crate::pixel_reader::{ReadMessage, read_block};
use crate::replier::Replier;
use crate::shared::Shared;
use crate::slot::Context;
use infmap_storage::file_buffer::FileBuffer;
use infmap_storage::limits::FILE_MAX_BYTES;
use infmap_storage::row::Inode;
use std::ops::Range;

impl Cache {
    /// As a truncate does: the shard cuts its blocks, and the Vat the rows, before anything else of the file goes on. `looked`: the blocks
    /// at its edges that have old content are held.
    pub(super) fn clear_range(
        &mut self,
        inode: Inode,
        range: ClearRange,
        looked: bool,
        replier: Replier<Answer<()>>,
        cx: &mut Context<'_>,
    ) {
        if let Err(refusal) = self.shared.writable() {
            return cx.reply(replier, Err(refusal));
        }
        let end = range.offset.saturating_add(range.length);
        if end > FILE_MAX_BYTES {
            return cx.reply(replier, Err(Refusal::FileTooBig));
        }
        let shared = self.shared.clone();
        let Some(file) = self.file(inode) else { return };
        if file.uncut {
            return cx.reply(replier, Err(Refusal::Damaged));
        }
        if shared.budget.is_log_at_end() {
            return cx.reply(replier, Err(Refusal::NoSpace));
        }
        let before = file.buffer.live().size;
        // What is there already has its room.
        if !range.cuts() && end.saturating_sub(range.offset.max(before)) > shared.budget.space() {
            return cx.reply(replier, Err(Refusal::NoSpace));
        }
        let from = if range.cuts() { range.offset } else { end };
        let edges = if looked { Vec::new() } else { file.buffer.edges_of(from, end) };
        if !edges.is_empty() {
            file.filling = true;
            file.queue.push_front(Op::Clear { range, looked: true, replier });
            return self.fetch_edges(inode, from..end, edges, cx);
        }
        if range.cuts() {
            shared.damage.replaced(inode, from, end);
        }
        let held = file.buffer.held_bytes();
        let sequence = file.buffer.clear(from, end, range.extends(), shared.now());
        let whole = file.buffer.whole_blocks(from, end, before);
        let clear = range.clear_privileges && file.clears_privileges(inode, &shared);
        shared.budget.give(held - file.buffer.held_bytes());
        self.show(inode);
        let change = clear.then_some(CLEAR);
        let replier = if clear { self.clearing(inode, replier) } else { replier };
        let answer = replier.map(|done: Answer<Attributes>| done.map(drop));
        self.post_settlement(inode, Lane::Foreground, cx, |settle| {
            settle.cut = whole.map(|whole| (whole.start, whole.end, sequence));
            settle.cut_bytes = end.min(before).saturating_sub(from);
            settle.change = change;
            settle.answer = Some(answer);
        });
    }

    /// Asks a reader for the blocks that are cleared in part, but those that have nothing there.
    fn fetch_edges(&self, inode: Inode, cleared: Range<u64>, edges: Vec<u64>, cx: &mut Context<'_>) {
        let Some(own) = self.own.upgrade() else { return };
        let wanted = edges.clone();
        let then = Replier::from_fn(move |blocks: Answer<Vec<_>>| {
            let blocks = blocks.unwrap_or_else(|refusal| wanted.into_iter().map(|number| (number, Err(refusal))).collect());
            own.post(Lane::Foreground, CacheMessage::Filled { inode, blocks });
        });
        let look = move |shared: &Shared| {
            let is_hole = |number: u64| {
                let (from, to) = (cleared.start.max(number * BLOCK), cleared.end.min((number + 1) * BLOCK));
                let there =
                    shared.query_waiting(|view| Ok(view.inline_content(inode)?.is_some() || !view.extents(inode, from, to, 1)?.is_empty()));
                matches!(there, Ok(false))
            };
            let filled = edges.into_iter().filter(|number| !is_hole(*number));
            then.reply(Ok(filled.map(|number| (number, read_block(shared, inode, number))).collect()));
        };
        cx.post(self.reader(inode), Lane::Foreground, ReadMessage::Query(Box::new(look)));
    }

    /// Looks for data or a hole: what is dirty is data, the rest a reader knows.
    pub(super) fn seek(&mut self, inode: Inode, offset: u64, what: SeekWhat, replier: Replier<Answer<u64>>, cx: &mut Context<'_>) {
        let Some(Entry::Open(file)) = self.files.get(&inode) else { return };
        let (size, dirty) = (file.buffer.live().size, held_ranges(&file.buffer, offset));
        let look = move |shared: &Shared| {
            let found = shared.query_waiting(|view| match what {
                SeekWhat::Data => view.next_data(inode, offset, size, &dirty),
                SeekWhat::Hole => view.next_hole(inode, offset, size, &dirty),
            });
            replier.reply(found.map_err(|error| shared.refuse(&error)).and_then(|found| found.ok_or(Refusal::NoData)));
        };
        cx.post(self.reader(inode), Lane::Foreground, ReadMessage::Query(Box::new(look)));
    }
}

/// The bytes from `from` on that are dirty, in ascending order.
fn held_ranges(buffer: &FileBuffer, from: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (number, _) in buffer.blocks_in(from, buffer.live().size) {
        let (start, end) = (number * BLOCK, (number + 1) * BLOCK);
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}
