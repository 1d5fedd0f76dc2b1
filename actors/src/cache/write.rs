//! Writing: old content where only a part of a block is written, room, then the blocks, the live row, the answer.

use super::file::{Entry, Op};
use super::message::Write;
use super::{Cache, CacheMessage, PieceContent, bytes_of};
use crate::api::{Answer, AttributeChange, Attributes, Refusal};
use crate::cleaner::{CleanMessage, Gained};
use crate::mailbox::Lane;
use crate::pixel_reader::ReadMessage;
use crate::pixel_writer::WriteMessage;
use crate::replier::Replier;
use crate::shared::{NoRoom, Shared};
use crate::slot::Context;
use crate::vat::VatMessage;
use infmap_storage::blocks::Block;
use infmap_storage::file_buffer::WritePiece;
use infmap_storage::limits::{FILE_MAX_BYTES, REGION_BYTES};
use infmap_storage::row::Inode;
use std::sync::atomic::Ordering;

/// Bytes of a file that wait at which the pixel writers are told of it, once a mount: their places are granted and logged by the time
/// a region is full.
const EXPECT_BYTES: u64 = REGION_BYTES as u64 / 4;

/// Who is asked for room on the medium.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RoomFrom {
    Roots,
    Cleaner,
}

/// Takes suid, sgid and capabilities away.
pub(super) const CLEAR: AttributeChange = AttributeChange {
    permissions: None,
    uid: None,
    gid: None,
    size: None,
    accessed: None,
    modified: None,
    changed: None,
    clear_privileges: true,
};

impl Cache {
    /// A replier that tells of privileges which were cleared before it answers.
    pub(super) fn clearing<T: Send + 'static>(&self, inode: Inode, replier: Replier<Answer<T>>) -> Replier<Answer<T>> {
        let shared = self.shared.clone();
        replier.map(move |answer: Answer<T>| {
            if let (Ok(_), Some(tell)) = (&answer, shared.on_privileges_cleared.get()) {
                tell(inode);
            }
            answer
        })
    }

    pub(super) fn write(&mut self, inode: Inode, write: Write, cx: &mut Context<'_>) {
        if let Err(refusal) = self.shared.writable() {
            return cx.reply(write.replier, Err(refusal));
        }
        let end = write.offset.saturating_add(u64::from(write.length));
        if end > FILE_MAX_BYTES {
            return cx.reply(write.replier, Err(Refusal::FileTooBig));
        }
        let Some(write) = self.when_rows_are_known(inode, write, cx) else { return };
        let shared = self.shared.clone();
        let Some(file) = self.file(inode) else { return };
        if file.uncut {
            return cx.reply(write.replier, Err(Refusal::Damaged));
        }
        let missing = file.buffer.missing_for(write.offset, u64::from(write.length));
        if !missing.is_empty() {
            file.filling = true;
            file.queue.push_front(Op::Write(write));
            return self.fetch_old_content(inode, missing, cx);
        }
        let fresh = write.pieces.iter().filter(|piece| file.buffer.block(piece.number).is_none()).count();
        let seen = shared.budget.releases();
        match shared.budget.take_for_write(bytes_of(fresh), u64::from(write.length)) {
            Ok(()) => self.write_now(inode, write, end, cx),
            Err(reason) => {
                // Roots first: what was removed comes free for nothing.
                let from = if reason != NoRoom::Space || shared.reclaim.may_ask() { RoomFrom::Roots } else { RoomFrom::Cleaner };
                if from == RoomFrom::Cleaner && !shared.reclaim.may_clean() {
                    return cx.reply(write.replier, Err(Refusal::NoSpace));
                }
                file.parked = true;
                file.queue.push_front(Op::Write(write));
                self.waiting.push_back(inode);
                self.wait_for_room(reason, from, seen, cx);
            }
        }
    }

    fn write_now(&mut self, inode: Inode, write: Write, end: u64, cx: &mut Context<'_>) {
        let shared = self.shared.clone();
        shared.damage.replaced(inode, write.offset, end);
        let Some(file) = self.file(inode) else { return };
        for piece in write.pieces {
            match piece.content {
                PieceContent::Whole(block) => file.buffer.write_block(&shared.blocks, piece.number, 0, WritePiece::Whole(block)),
                PieceContent::Part(at, bytes) => {
                    file.buffer.write_block(&shared.blocks, piece.number, at, WritePiece::Part(&bytes));
                }
            }
        }
        file.buffer.wrote(end, (!write.how.from_cache).then(|| shared.now()));
        let clear = write.how.clear_privileges && file.clears_privileges(inode, &shared);
        let unplaced = file.buffer.unplaced_bytes();
        self.show(inode);
        let (length, replier) = (write.length, write.replier);
        if clear {
            // The answer comes when the bits are seen to be gone (O6).
            let answer = self.clearing(inode, replier).map(move |done: Answer<Attributes>| done.map(|_| length));
            self.settle_change(inode, Some(CLEAR), Some(answer), cx);
        } else {
            cx.reply(replier, Ok(length));
        }
        if unplaced >= EXPECT_BYTES && !shared.expecting.load(Ordering::Relaxed) && !shared.expecting.swap(true, Ordering::Relaxed) {
            self.peers.writers.iter().take(shared.writers()).for_each(|writer| cx.post(writer, Lane::WriteBehind, WriteMessage::Expect));
        }
        if unplaced >= REGION_BYTES as u64 {
            self.place(inode, REGION_BYTES as u64, cx);
        } else if shared.budget.is_pressed() {
            self.place_or_inline(inode, cx);
        }
    }

    /// Asks a reader for blocks that will be written in part.
    fn fetch_old_content(&self, inode: Inode, numbers: Vec<u64>, cx: &mut Context<'_>) {
        let Some(own) = self.own.upgrade() else { return };
        let wanted = numbers.clone();
        // A replier, because a reader may die with it: the write is answered then too.
        let then = Replier::from_fn(move |blocks: Answer<Vec<_>>| {
            let blocks = blocks.unwrap_or_else(|refusal| wanted.into_iter().map(|number| (number, Err(refusal))).collect());
            own.post(Lane::Foreground, CacheMessage::Filled { inode, blocks });
        });
        let query = move |shared: &Shared| {
            let read = |number| (number, crate::pixel_reader::read_block(shared, inode, number));
            then.reply(Ok(numbers.into_iter().map(read).collect()));
        };
        cx.post(self.reader(inode), Lane::Foreground, ReadMessage::Query(Box::new(query)));
    }

    /// Old content has come: a block that cannot be read makes the write fail.
    pub(super) fn filled(&mut self, inode: Inode, blocks: Vec<(u64, Answer<Block>)>, cx: &mut Context<'_>) {
        let shared = self.shared.clone();
        let Some(file) = self.file(inode) else { return };
        file.filling = false;
        let mut failed = None;
        for (number, block) in blocks {
            match block {
                Ok(block) => {
                    let held = file.buffer.held_bytes();
                    file.buffer.fill(number, block);
                    // It exists already, and the write that needs it must not wait for it.
                    shared.budget.force(file.buffer.held_bytes() - held);
                }
                Err(refusal) => failed = Some(refusal),
            }
        }
        if let (Some(refusal), Some(op)) = (failed, failed.and_then(|_| file.queue.pop_front())) {
            op.refuse(refusal, cx);
        }
        self.run_queue(inode, cx);
        self.close_if_settled(inode);
    }

    /// Is told when room comes free after `seen`, and sees to it that some does: what is dirty is placed, everywhere.
    fn wait_for_room(&mut self, reason: NoRoom, from: RoomFrom, seen: u64, cx: &mut Context<'_>) {
        if self.asked_for_room {
            return;
        }
        self.asked_for_room = true;
        let Some(own) = self.own.upgrade() else { return };
        if from == RoomFrom::Cleaner {
            let replier = Replier::from_fn(move |_: Answer<Gained>| own.post(Lane::Foreground, CacheMessage::Room));
            return cx.post(&self.peers.cleaner, Lane::Foreground, CleanMessage::Clean { replier });
        }
        if reason == NoRoom::Space {
            // Whatever comes of it: who is told looks again.
            let replier = Replier::from_fn(move |_: Answer<()>| own.post(Lane::Foreground, CacheMessage::Room));
            return cx.post(&self.peers.vat, Lane::Foreground, VatMessage::MakeRoom { anyway: false, replier });
        }
        self.shared.budget.wait(reason, seen, move || own.post(Lane::Foreground, CacheMessage::Room));
        if reason == NoRoom::Wait {
            cx.post(&self.peers.vat, Lane::Foreground, VatMessage::Commit { replier: Replier::ignored() });
        }
    }

    /// There may be room: who waits tries again, in order.
    pub(super) fn room(&mut self, cx: &mut Context<'_>) {
        self.asked_for_room = false;
        for inode in std::mem::take(&mut self.waiting) {
            if let Some(Entry::Open(file)) = self.files.get_mut(&inode) {
                file.parked = false;
                self.run_queue(inode, cx);
            }
        }
    }
}
