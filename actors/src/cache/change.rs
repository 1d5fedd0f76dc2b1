//! Attributes of regular files: sizes and times are the shard's, the rest passes through it to the Vat (O10).

use super::Cache;
use super::file::is_privileged;
use crate::api::{Answer, AttributeChange, Attributes, Refusal, SetTime};
use crate::mailbox::Lane;
use crate::replier::Replier;
use crate::slot::Context;
use crate::vat::{Done, NameOp, Settle, VatMessage};
use infmap_storage::file_buffer::Run;
use infmap_storage::limits::FILE_MAX_BYTES;
use infmap_storage::row::{Inode, Time};

/// Files of a shard that may wait for a commit with nothing but new times.
const LAZY_FILES: usize = 4096;

impl Cache {
    pub(super) fn change(&mut self, inode: Inode, change: AttributeChange, replier: Replier<Answer<Attributes>>, cx: &mut Context<'_>) {
        if let Err(refusal) = self.shared.writable() {
            return cx.reply(replier, Err(refusal));
        }
        if change.size.is_some_and(|size| size > FILE_MAX_BYTES) {
            return cx.reply(replier, Err(Refusal::FileTooBig));
        }
        let now = self.shared.now();
        let shared = self.shared.clone();
        let Some(file) = self.file(inode) else { return };
        if file.uncut && change.size.is_some() {
            return cx.reply(replier, Err(Refusal::Damaged));
        }
        let says_more = change.permissions.is_some() || change.uid.is_some() || change.gid.is_some() || change.clear_privileges;
        // As names: what is answered must find its place in the log.
        if (says_more || change.size.is_some()) && shared.budget.is_log_at_end() {
            return cx.reply(replier, Err(Refusal::NoSpace));
        }
        let held = file.buffer.held_bytes();
        let (mut cut, before) = (None, file.buffer.live().size);
        if let Some(size) = change.size {
            let shrinks = size < before;
            let sequence = file.buffer.truncate(size, now);
            cut = shrinks.then_some((size, u64::MAX, sequence));
            file.emptied |= shrinks && size == 0;
            if shrinks {
                shared.damage.replaced(inode, size, u64::MAX);
            }
        }
        let time = |set: Option<SetTime>| set.map(|set| set.resolve(now));
        let (accessed, modified) = (time(change.accessed), time(change.modified));
        file.buffer.set_times(accessed, modified, change.changed.unwrap_or(now));
        if let Some(permissions) = change.permissions {
            file.privileged = is_privileged(permissions);
        }
        shared.budget.give(held - file.buffer.held_bytes());
        self.show(inode);
        let rest = AttributeChange {
            size: None,
            accessed: accessed.map(SetTime::At),
            modified: modified.map(SetTime::At),
            changed: Some(change.changed.unwrap_or(now)),
            ..change
        };
        // What the live row shows can wait for the next commit: the kernel sends the times of every file that it writes back.
        if !says_more
            && change.size.is_none()
            && self.files.len() < LAZY_FILES
            && let Ok(row) = shared.query(|view| view.inode(inode))
        {
            return cx.reply(replier, Ok(shared.attributes(inode, &row)));
        }
        self.post_settlement(inode, Lane::Foreground, cx, |settle| {
            settle.cut = cut;
            settle.cut_bytes = cut.map_or(0, |(size, ..)| before.saturating_sub(size));
            settle.change = says_more.then_some(rest);
            settle.answer = Some(replier);
        });
    }

    /// Notes that somebody read the file: in the live row, until the next commit says it with whatever else there is.
    pub(super) fn accessed(&mut self, inode: Inode, at: Time, cx: &mut Context<'_>) {
        if self.shared.health.is_read_only() {
            return;
        }
        let is_crowded = self.files.len() >= LAZY_FILES;
        let Some(file) = self.file(inode) else { return };
        let live = file.buffer.live();
        file.buffer.set_times(Some(live.accessed.max(at)), None, live.changed);
        self.show(inode);
        if is_crowded {
            self.post_settlement(inode, Lane::Data, cx, |_| {});
        }
    }

    /// Changes attributes beside bytes of a file whose live row stays as it is.
    pub(super) fn settle_change(
        &mut self,
        inode: Inode,
        change: Option<AttributeChange>,
        answer: Option<Replier<Answer<Attributes>>>,
        cx: &mut Context<'_>,
    ) {
        self.post_settlement(inode, Lane::Foreground, cx, |settle| {
            settle.change = change;
            settle.answer = answer;
        });
    }

    /// Posts what may be said of a file now, with whatever `fill` adds. Its ticket comes back in `Settled`.
    pub(super) fn post_settlement(&mut self, inode: Inode, lane: Lane, cx: &mut Context<'_>, fill: impl FnOnce(&mut Settle)) {
        let (shared, vat, refusals_heard) = (self.shared.clone(), self.peers.vat.clone(), self.refusals_heard);
        let Some(file) = self.file(inode) else { return };
        let ticket = file.buffer.ticket();
        let mut settle = Settle {
            inode,
            ticket,
            refusals_heard,
            cut: None,
            cut_bytes: 0,
            rows: Vec::new(),
            grants: Vec::new(),
            inline: None,
            data: Vec::new(),
            log_bytes: 0,
            settlement: file.buffer.settlement(),
            change: None,
            syncs: Vec::new(),
            then: None,
            answer: None,
            resumed: false,
        };
        fill(&mut settle);
        let inline = settle.inline.as_ref().map_or(0, Vec::len) as u64;
        settle.log_bytes = inline + settle.data.iter().map(Run::bytes).sum::<u64>();
        shared.budget.log_sent(settle.log_bytes);
        if settle.cut.is_some() {
            file.cutting = Some(ticket);
        }
        file.outstanding += 1;
        cx.post(&vat, lane, VatMessage::Settle(Box::new(settle)));
    }

    /// Attributes of what has no bytes are changed by the Vat alone.
    pub(super) fn change_in_vat(&self, inode: Inode, change: AttributeChange, replier: Replier<Answer<Attributes>>, cx: &mut Context<'_>) {
        let replier = replier.map(|done: Answer<Done>| match done? {
            Done::Attributes(attributes) => Ok(attributes),
            Done::Removed(_) | Done::Made(_) => Err(Refusal::Gone),
        });
        cx.post(&self.peers.vat, Lane::Foreground, VatMessage::Names { op: NameOp::Change { inode, change }, replier });
    }
}
