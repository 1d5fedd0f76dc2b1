//! Ranges of a file: made zero, given room, or looked for.

use super::file::Entry;
use super::write::CLEAR;
use super::{BLOCK, Cache};
use crate::api::{Answer, Attributes, ClearRange, Refusal, SeekWhat};
use crate::mailbox::Lane;
use crate::pixel_reader::ReadMessage;
use crate::replier::Replier;
use crate::shared::Shared;
use crate::slot::Context;
use infmap_storage::file_buffer::FileBuffer;
use infmap_storage::limits::FILE_MAX_BYTES;
use infmap_storage::row::Inode;
use std::ops::Range;

impl Cache {
    /// As a truncate does: the shard cuts its blocks, and the Vat the rows, before anything else of the file goes on.
    pub(super) fn clear_range(&mut self, inode: Inode, range: ClearRange, replier: Replier<Answer<()>>, cx: &mut Context<'_>) {
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
        if !range.cuts() && range.length > shared.budget.space() {
            return cx.reply(replier, Err(Refusal::NoSpace));
        }
        let (held, before) = (file.buffer.held_bytes(), file.buffer.live().size);
        let from = if range.cuts() { range.offset } else { end };
        let sequence = file.buffer.clear(from, end, range.extends(), shared.now());
        let clear = range.clear_privileges && std::mem::take(&mut file.privileged);
        shared.budget.give(held - file.buffer.held_bytes());
        self.show(inode);
        let change = clear.then_some(CLEAR);
        let replier = if clear { self.clearing(inode, replier) } else { replier };
        let answer = replier.map(|done: Answer<Attributes>| done.map(drop));
        self.post_settlement(inode, Lane::Foreground, cx, |settle| {
            settle.cut = range.cuts().then_some((from, end, sequence));
            settle.cut_bytes = end.min(before).saturating_sub(from);
            settle.change = change;
            settle.answer = Some(answer);
        });
    }

    /// Looks for data or a hole: what is dirty is data, the rest a reader knows.
    pub(super) fn seek(&mut self, inode: Inode, offset: u64, what: SeekWhat, replier: Replier<Answer<u64>>, cx: &mut Context<'_>) {
        let Some(Entry::Open(file)) = self.files.get(&inode) else { return };
        let (size, dirty) = (file.buffer.live().size, held_ranges(&file.buffer));
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

/// The bytes that are dirty, in ascending order.
fn held_ranges(buffer: &FileBuffer) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (number, _) in buffer.blocks_in(0, buffer.live().size) {
        let (start, end) = (number * BLOCK, (number + 1) * BLOCK);
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}
