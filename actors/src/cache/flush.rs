//! Getting blocks out: into the log, into images, into the tree; and hearing that they are there.
//!
//! Must be true: O5 a sync is answered through a settlement that follows everything it covers; BUF-3 blocks go when exactly their rows
//! are published.

use super::file::{After, Entry, File};
use super::{Cache, bytes_of};
use crate::api::{Answer, Refusal};
use crate::mailbox::Lane;
use crate::pixel_writer::{PlaceJob, WriteMessage};
use crate::replier::Replier;
use crate::shared::Shared;
use crate::slot::Context;
use crate::vat::{Grant, VatMessage};
use infmap_storage::file_buffer::{PlacedExtent, Ticket};
use infmap_storage::limits::{INLINE_FILE_BYTES, REGION_BYTES};
use infmap_storage::row::Inode;

/// Blocks whose rows go into one group at most: each may need a row of its own.
const LOG_GROUP_BLOCKS: usize = 512;

impl Cache {
    /// A sync of a file that has nothing here is a sync of the log.
    pub(super) fn sync_message(&mut self, inode: Inode, replier: Replier<Answer<()>>, cx: &mut Context<'_>) {
        match self.files.get(&inode) {
            Some(_) => self.submit(inode, super::Op::Sync(replier), cx),
            None => cx.post(&self.peers.vat, Lane::Foreground, VatMessage::Sync { replier }),
        }
    }

    /// Makes a file safe, then answers or posts.
    pub(super) fn sync(&mut self, inode: Inode, after: After, cx: &mut Context<'_>) {
        if self.shared.health.is_read_only() {
            // Nobody must begin to wait for what may be dead.
            return match after {
                After::Answer(replier) if self.shared.health.is_unchanged() => cx.reply(replier, Ok(())),
                After::Answer(replier) => cx.reply(replier, Err(Refusal::Damaged)),
                post => post.refuse(Refusal::ReadOnly, cx),
            };
        }
        let (shared, at_once) = (self.shared.clone(), self.shared.settings().log_at_once());
        let Some(file) = self.file(inode) else { return };
        let bytes = file.buffer.volatile_bytes();
        // What the log has no room for may find some in an image that is held.
        if bytes <= at_once && log_takes(&shared, bytes) {
            return self.settle_to_log(inode, Some(after), Lane::Foreground, cx);
        }
        let Some(file) = self.file(inode) else { return };
        file.after.push((file.buffer.live().version, after));
        self.place(inode, u64::MAX, cx);
        for writer in self.peers.writers.iter().take(self.shared.most_writers()) {
            cx.post(writer, Lane::WriteBehind, WriteMessage::Flush);
        }
    }

    /// Somebody closed the file. If it was emptied and written anew, the bytes follow the cut into the log at once, so that whoever
    /// sees the cut after a power cut most likely sees them too. What is too much for the log is placed.
    pub(super) fn closed(&mut self, inode: Inode, cx: &mut Context<'_>) {
        let at_once = self.shared.settings().log_at_once();
        let Some(file) = self.file(inode).filter(|file| file.emptied && !file.is_busy() && file.buffer.held_bytes() > 0) else { return };
        file.emptied = false;
        if file.buffer.volatile_bytes() <= at_once {
            self.settle_to_log(inode, None, Lane::Foreground, cx);
        } else {
            self.place(inode, u64::MAX, cx);
        }
    }

    /// Puts what a power cut would lose into the log, or into the tree if the file is small. What follows goes with it.
    fn settle_to_log(&mut self, inode: Inode, after: Option<After>, lane: Lane, cx: &mut Context<'_>) {
        let (shared, at_once) = (self.shared.clone(), self.shared.settings().log_at_once());
        let Some(file) = self.file(inode) else { return };
        if !log_takes(&shared, file.buffer.volatile_bytes()) {
            self.not_logged(inode, cx);
            return after.into_iter().for_each(|after| after.refuse(Refusal::NoSpace, cx));
        }
        let inline = take_inline(file);
        // More than is logged at once goes into several groups. One is posted before the next is taken: it must not claim a size that
        // needs it.
        while let Some(file) = self.file(inode)
            && inline.is_none()
            && file.buffer.volatile_bytes() > at_once
        {
            let data = file.buffer.take_for_log(at_once);
            self.post_settlement(inode, lane, cx, |settle| settle.data = data);
        }
        let Some(file) = self.file(inode) else { return };
        let data = if inline.is_some() { Vec::new() } else { file.buffer.take_for_log(at_once) };
        let (syncs, then) = match after {
            Some(After::Answer(replier)) => (vec![replier], None),
            Some(After::Post(message)) => (Vec::new(), Some(message)),
            None => (Vec::new(), None),
        };
        self.post_settlement(inode, lane, cx, |settle| {
            settle.inline = inline;
            settle.data = data;
            settle.syncs = syncs;
            settle.then = then;
        });
    }

    /// Hands blocks that nobody has to a pixel writer, at most so many bytes.
    pub(super) fn place(&mut self, inode: Inode, max_bytes: u64, cx: &mut Context<'_>) {
        let Some(from) = self.own.upgrade() else { return };
        let (shared, writers) = (self.shared.clone(), self.peers.writers.clone());
        let Some(file) = self.file(inode) else { return };
        let mut left = max_bytes.min(file.buffer.unplaced_bytes());
        while left > 0 {
            let bytes = left.min(REGION_BYTES as u64);
            let (ticket, runs) = file.buffer.take_for_placing(bytes);
            let writer = &writers[shared.next_writer(bytes)];
            let job = PlaceJob { from: from.clone(), inode, ticket, runs: runs.into() };
            shared.budget.queued(job.bytes());
            cx.post(writer, Lane::WriteBehind, WriteMessage::Place(job));
            left -= bytes;
        }
    }

    /// Blocks are durable in an image: the rows of those that are still current are put.
    pub(super) fn placed(&mut self, inode: Inode, ticket: Ticket, extents: &[PlacedExtent], grant: &Grant, cx: &mut Context<'_>) {
        let mut rest = extents;
        while !rest.is_empty() {
            let mut blocks = 0;
            let fitting = rest.iter().take_while(|extent| {
                blocks += extent.sequences.len();
                blocks <= LOG_GROUP_BLOCKS
            });
            let (group, others) = rest.split_at(fitting.count().max(1));
            rest = others;
            let Some(file) = self.file(inode) else { return };
            // The ticket that the settlement below gets.
            let settling = file.buffer.next_ticket();
            let rows = file.buffer.placed(ticket, group, settling);
            if !rows.is_empty() {
                self.post_settlement(inode, Lane::Data, cx, |settle| {
                    settle.rows = rows;
                    settle.grants = vec![grant.clone()];
                });
            }
        }
        self.follow_up(inode, cx);
        // Where all was changed meanwhile there was nothing to settle.
        self.look_if_drained(inode, false, cx);
    }

    fn look_if_drained(&mut self, inode: Inode, give_up: bool, cx: &mut Context<'_>) {
        let Some(file) = self.file(inode) else { return };
        if file.buffer.is_drained() || give_up {
            let waited = file.buffer.end_drain();
            self.one_drained(waited, cx);
        }
    }

    /// What waits until a file is safe may go on, if it is. A checkpoint that waits for bytes which were overwritten meanwhile has
    /// the new ones logged: the old ones may be promised by a log that is about to go.
    fn follow_up(&mut self, inode: Inode, cx: &mut Context<'_>) {
        let Some(file) = self.file(inode) else { return };
        if file.buffer.is_draining() {
            self.log_for_drain(inode, cx);
        }
        if self.file(inode).is_some_and(|file| file.buffer.must_speak_to_drain()) {
            self.post_settlement(inode, Lane::Data, cx, |_| {});
        }
        let Some(file) = self.file(inode) else { return };
        let (ready, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut file.after).into_iter().partition(|(sequence, _)| file.buffer.is_safe_up_to(*sequence));
        file.after = waiting;
        for (_, after) in ready {
            self.settle_to_log(inode, Some(after), Lane::Foreground, cx);
        }
    }

    fn log_for_drain(&mut self, inode: Inode, cx: &mut Context<'_>) {
        let (shared, at_once) = (self.shared.clone(), self.shared.settings().log_at_once());
        while let Some(file) = self.file(inode) {
            if shared.budget.log_left() < at_once && file.buffer.must_log_for_drain() {
                return self.not_logged(inode, cx);
            }
            let data = file.buffer.take_for_drain(at_once);
            if data.is_empty() {
                return;
            }
            self.post_settlement(inode, Lane::Data, cx, |settle| settle.data = data);
        }
    }

    /// The log has no room for bytes of a file: they stay where they are, and what they are wanted for is put off. Nothing was taken, so
    /// that no size is claimed which needs them.
    fn not_logged(&mut self, inode: Inode, cx: &mut Context<'_>) {
        cx.post(&self.peers.vat, Lane::Data, VatMessage::NotPlaced { refusal: Refusal::NoSpace });
        let Some(file) = self.file(inode) else { return };
        let waited = file.buffer.end_drain();
        self.one_drained(waited, cx);
    }

    /// No image could be written: whoever waits for these blocks hears it.
    /// For want of room: they stay, and so does the log that has some of them.
    pub(super) fn not_placed(&mut self, inode: Inode, ticket: Ticket, refusal: Refusal, cx: &mut Context<'_>) {
        cx.post(&self.peers.vat, Lane::Data, VatMessage::NotPlaced { refusal });
        let Some(file) = self.file(inode) else { return };
        file.buffer.unplaced(ticket);
        file.refuse_after(refusal, cx);
        let waited = file.buffer.end_drain();
        self.one_drained(waited, cx);
    }

    /// The Vat has published a settlement, or refused it.
    pub(super) fn settled(&mut self, inode: Inode, ticket: Ticket, done: bool, cx: &mut Context<'_>) {
        let shared = self.shared.clone();
        self.refusals_heard += u64::from(!done);
        let Some(file) = self.file(inode) else { return };
        file.outstanding = file.outstanding.saturating_sub(1);
        if file.cutting == Some(ticket) {
            file.cutting = None;
            file.uncut = !done;
        }
        if done {
            shared.budget.give(bytes_of(file.buffer.settled(ticket)));
        } else {
            file.buffer.refused(ticket);
            // It may have been what clears them.
            file.privileged = true;
            if file.buffer.is_draining() {
                // The log that has these bytes must not go.
                shared.health.fail(format!("the tables of inode {} do not take its bytes", inode.0));
            }
            // What was refused is nowhere, and nothing brings it on its way again by itself.
            file.refuse_after(Refusal::Damaged, cx);
        }
        self.follow_up(inode, cx);
        self.look_if_drained(inode, !done, cx);
        self.run_queue(inode, cx);
        self.show(inode);
        self.close_if_settled(inode);
    }

    /// Logs or places everything, for a commit or a checkpoint.
    pub(super) fn commit(&mut self, place: bool, cx: &mut Context<'_>) {
        let mut open: Vec<Inode> =
            self.files.iter().filter(|(_, entry)| matches!(entry, Entry::Open(_))).map(|(inode, _)| *inode).collect();
        open.sort_unstable();
        self.gathering = place;
        for inode in open {
            let Some(file) = self.file(inode) else { continue };
            if !place {
                // Blocks that stand in the log and wait to be placed are nothing new; times that were set since are.
                let has_more = file.buffer.has_news() || file.buffer.has_more_to_say() && file.outstanding == 0;
                if file.buffer.volatile_bytes() > 0 || has_more {
                    self.settle_to_log(inode, None, Lane::Data, cx);
                }
                continue;
            }
            if file.buffer.held_bytes() > 0 {
                file.buffer.begin_drain();
                self.draining += 1;
            }
            self.place_or_inline(inode, cx);
        }
        cx.post(&self.peers.vat, Lane::Data, VatMessage::Posted);
        if place && self.draining == 0 {
            self.all_drained(cx);
        }
    }

    /// Sends out all of a file that nobody has: into the tree if it is small, else to a pixel writer.
    pub(super) fn place_or_inline(&mut self, inode: Inode, cx: &mut Context<'_>) {
        let shared = self.shared.clone();
        let Some(file) = self.file(inode) else { return };
        // The log that has no room for contents has some for the rows of an image.
        if log_takes(&shared, file.buffer.volatile_bytes())
            && let Some(content) = take_inline(file)
        {
            self.post_settlement(inode, Lane::Data, cx, |settle| settle.inline = Some(content));
        } else if file.buffer.unplaced_bytes() > 0 {
            self.place(inode, u64::MAX, cx);
        } else if file.buffer.has_news() || file.buffer.held_bytes() == 0 && !file.buffer.is_settled() {
            self.post_settlement(inode, Lane::Data, cx, |_| {});
        }
    }

    /// A file is out of the way of a checkpoint, if it was in it.
    pub(super) fn one_drained(&mut self, waited: bool, cx: &mut Context<'_>) {
        if !waited {
            return;
        }
        self.draining = self.draining.saturating_sub(1);
        if self.draining == 0 && self.gathering {
            self.all_drained(cx);
        }
    }

    /// An actor is dead, and the volume read-only. What waits here for another actor is refused, whoever it is: nothing would be made
    /// durable any more.
    pub(super) fn actor_died(&mut self, cx: &mut Context<'_>) {
        (self.draining, self.gathering) = (0, false);
        self.room(cx);
        let mut open: Vec<Inode> = self.files.keys().copied().collect();
        open.sort_unstable();
        for inode in open {
            let Some(file) = self.file(inode) else { continue };
            file.buffer.end_drain();
            file.cutting = None;
            file.refuse_after(Refusal::Damaged, cx);
            self.run_queue(inode, cx);
            self.close_if_settled(inode);
        }
    }

    fn all_drained(&mut self, cx: &mut Context<'_>) {
        self.gathering = false;
        cx.post(&self.peers.vat, Lane::Data, VatMessage::Drained);
    }
}

/// Whether the log has room for so many bytes of a file.
fn log_takes(shared: &Shared, bytes: u64) -> bool {
    bytes == 0 || bytes <= shared.budget.log_left()
}

/// The whole content of a small file, marked with the ticket that the next settlement gets.
fn take_inline(file: &mut File) -> Option<Vec<u8>> {
    if file.cutting.is_some() || file.uncut {
        // Its extents are still being cut, not in one step; or cannot be.
        return None;
    }
    let live = file.buffer.live();
    let held = file.buffer.volatile_bytes() > 0 || file.buffer.unplaced_bytes() > 0;
    if live.size == 0 || live.size > INLINE_FILE_BYTES as u64 || !held {
        return None;
    }
    let ticket = file.buffer.next_ticket();
    file.buffer.take_inline(ticket)
}
