//! Changes of names and attributes: check, put, append, answer.

use super::{Done, NameOp, Pins, UNUSED_INODES, Vat, VatMessage, with_nodes};
use crate::api::{Answer, Refusal};
use crate::mailbox::Lane;
use crate::replier::Replier;
use crate::slot::Context;
use infmap_storage::names::{self, Dropped};
use infmap_storage::row::{Inode, Time};
use infmap_storage::state::{StateError, Txn};
use infmap_storage::wal::RecordKind;
use std::sync::atomic::Ordering;

/// Inodes that a message drops on its way, at most, and the rows that such a one may have, its own included: it may run on the door's
/// thread, and a row takes a microsecond or two.
pub(super) const DROPPED_ON_THE_WAY: usize = 2;
const DROPPED_ROWS: usize = 8;

/// What a name operation leaves: the row of the inode it was about, or what lost a name.
enum Left {
    Row(Inode, Box<infmap_storage::row::InodeRow>),
    Removed(Option<names::Removed>),
    Made(Vec<names::Made>),
}

fn apply(txn: &mut Txn<'_>, op: &NameOp, now: Time) -> Result<Left, StateError> {
    let row = |(inode, row)| Left::Row(inode, Box::new(row));
    Ok(match op {
        NameOp::Create(node) => row(names::create(txn, node, now)?),
        NameOp::Symlink(node, target) => row(names::symlink(txn, node, target, now)?),
        NameOp::Link { inode, parent, name } => row((*inode, names::link(txn, *inode, *parent, name, now)?)),
        NameOp::Unlink { parent, name } => Left::Removed(Some(names::unlink(txn, *parent, name, now)?)),
        NameOp::Rmdir { parent, name } => Left::Removed(Some(names::rmdir(txn, *parent, name, now)?)),
        NameOp::Rename(rename) => Left::Removed(names::rename(txn, rename, now)?),
        NameOp::Accessed { inode, at } => row((*inode, names::note_access(txn, *inode, *at)?)),
        NameOp::SetXattr(what) => row((what.inode, names::set_xattr(txn, what, now)?)),
        NameOp::RemoveXattr { inode, name } => row((*inode, names::remove_xattr(txn, *inode, name, now)?)),
        NameOp::Nameless(node) => row(names::create_nameless(txn, node, now)?),
        NameOp::Whole(files) => Left::Made(names::make_whole(txn, files, now)?),
        NameOp::Change { inode, change } => row((*inode, names::change_attributes(txn, *inode, change, now)?)),
    })
}

impl Vat {
    pub(super) fn names(&mut self, op: NameOp, replier: Replier<Answer<Done>>, pins: Pins, cx: &mut Context<'_>) {
        if let Err(refusal) = self.shared.writable() {
            return cx.reply(replier, Err(refusal));
        }
        let is_hopeless = op.adds() && self.shared.budget.space() == 0 && !self.shared.reclaim.may_ask();
        if is_hopeless || self.shared.budget.is_log_at_end() {
            return cx.reply(replier, Err(Refusal::NoSpace));
        }
        if op.adds() && self.shared.budget.space() == 0 {
            return self.names_when_there_is_room(op, replier, cx);
        }
        let now = self.shared.now();
        let done = with_nodes!(self, pins, |state, source| state.transact(source, |txn| apply(txn, &op, now)));
        match done {
            Ok(outcome) => {
                self.note_capability(std::slice::from_ref(&op));
                let answer = self.append(RecordKind::Changes, &outcome.payload).map(|_| self.done(outcome.value));
                cx.reply(replier, answer);
            }
            Err(error) => self.failed(error, VatMessage::Names { op, replier }, pins, cx),
        }
    }

    /// As a write without room waits for what was removed to come free.
    fn names_when_there_is_room(&mut self, op: NameOp, replier: Replier<Answer<Done>>, cx: &mut Context<'_>) {
        let Some(own) = self.own.upgrade() else { return };
        let again = Replier::from_fn(move |_: Answer<()>| own.post(Lane::Foreground, VatMessage::Names { op, replier }));
        self.make_room(false, again, cx);
    }

    /// Files that were looked at for a capability are looked at again, if one of these gives one.
    fn note_capability(&self, ops: &[NameOp]) {
        if ops.iter().any(|op| matches!(op, NameOp::SetXattr(what) if what.name == names::CAPABILITY)) {
            self.shared.capabilities_given.fetch_add(1, Ordering::Release);
        }
    }

    fn done(&self, left: Left) -> Done {
        match left {
            Left::Row(inode, row) => Done::Attributes(self.shared.attributes(inode, &row)),
            Left::Removed(removed) => Done::Removed(removed),
            Left::Made(files) => {
                let shown = |file: names::Made| (self.shared.attributes(file.inode, &file.row), file.replaced);
                Done::Made(files.into_iter().map(shown).collect())
            }
        }
    }

    /// Does several changes in one transaction, one group of the log and one publication.
    pub(super) fn batch(&mut self, ops: Vec<NameOp>, replier: Replier<Answer<Vec<Done>>>, pins: Pins, cx: &mut Context<'_>) {
        if let Err(refusal) = self.shared.writable() {
            return cx.reply(replier, Err(refusal));
        }
        if self.shared.budget.space() == 0 && ops.iter().any(NameOp::adds) {
            let Some(own) = self.own.upgrade().filter(|_| self.shared.reclaim.may_ask()) else {
                return cx.reply(replier, Err(Refusal::NoSpace));
            };
            let again = Replier::from_fn(move |_: Answer<()>| own.post(Lane::Foreground, VatMessage::Batch { ops, replier }));
            return self.make_room(false, again, cx);
        }
        self.tell_pending();
        let left = usize::try_from(self.shared.budget.log_left()).unwrap_or(usize::MAX);
        if left == 0 {
            return cx.reply(replier, Err(Refusal::NoSpace));
        }
        let (now, most) = (self.shared.now(), self.appender.group_limit().min(left));
        let all = |txn: &mut Txn<'_>| ops.iter().map(|op| apply(txn, op, now)).collect::<Result<Vec<_>, _>>();
        match with_nodes!(self, pins, |state, source| state.transact_group(source, most, all)) {
            Ok(outcome) => {
                self.note_capability(&ops);
                let appended = self.append_group(RecordKind::Changes, &outcome.records());
                let answer = appended.map(|_| outcome.value.into_iter().map(|left| self.done(left)).collect());
                cx.reply(replier, answer);
            }
            Err(StateError::Refused(Refusal::BatchTooBig)) if most == left => cx.reply(replier, Err(Refusal::NoSpace)),
            Err(error) => self.failed(error, VatMessage::Batch { ops, replier }, pins, cx),
        }
    }

    /// Has an inode that nobody uses dropped: on the way of the next messages if it has few rows, else by a message that the door does not
    /// wait for.
    pub(super) fn drop_soon(&mut self, inode: Inode, cx: &mut Context<'_>) {
        if !self.has_few_rows(inode) {
            if let Some(own) = self.own.upgrade() {
                self.dropping.insert(inode);
                cx.post(&own, Lane::Data, VatMessage::GoOnDropping { inode });
            }
            return;
        }
        if self.unused.len() >= UNUSED_INODES {
            self.drop_unused(DROPPED_ON_THE_WAY, cx);
        }
        self.unused.push(inode);
    }

    /// Whether it can be dropped at once. One that must be fetched for, or looked for behind others of its inode, cannot.
    fn has_few_rows(&self, inode: Inode) -> bool {
        let keys = self.state.view(&self.shared.nodes.resident).all_under(inode, DROPPED_ROWS + 1);
        !self.parked.contains_key(&inode) && keys.is_ok_and(|(_, keys)| keys.len() <= DROPPED_ROWS)
    }

    /// Drops so many of those that wait for it at most, in the order in which they came.
    pub(super) fn drop_unused(&mut self, most: usize, cx: &mut Context<'_>) {
        let now = most.min(self.unused.len());
        // Not `drain`: whoever is dropped may need all of this.
        let rest = self.unused.split_off(now);
        for inode in std::mem::replace(&mut self.unused, rest) {
            self.admit(VatMessage::GoOnDropping { inode }, cx);
        }
    }

    /// Does one step of dropping an inode that nobody uses, and comes back for the next.
    pub(super) fn drop_inode(&mut self, inode: Inode, pins: Pins, cx: &mut Context<'_>) {
        self.dropping.remove(&inode);
        if self.shared.health.is_read_only() {
            return self.dropped(cx);
        }
        self.refusals.forget(inode);
        let done = with_nodes!(self, pins, |state, source| state.transact(source, |txn| names::drop_orphan(txn, inode)));
        match done {
            Ok(outcome) => {
                let logged = self.append(RecordKind::Changes, &outcome.payload);
                if let (Ok(_), Dropped::More, Some(own)) = (logged, outcome.value, self.own.upgrade()) {
                    self.dropping.insert(inode);
                    cx.post(&own, Lane::Background, VatMessage::GoOnDropping { inode });
                }
            }
            // It was given a name again, or is gone: nothing to do.
            Err(StateError::Refused(_)) => {}
            Err(error) => {
                self.dropping.insert(inode);
                self.failed(error, VatMessage::GoOnDropping { inode }, pins, cx);
            }
        }
        self.dropped(cx);
    }
}
