//! Changes of names and attributes: check, put, append, answer.

use super::{Done, NameOp, Pins, Vat, VatMessage, with_nodes};
use crate::api::Answer;
use crate::mailbox::Lane;
use crate::replier::Replier;
use crate::slot::Context;
use infmap_storage::names::{self, Dropped};
use infmap_storage::row::{Inode, Time};
use infmap_storage::state::{StateError, Txn};
use infmap_storage::wal::RecordKind;

/// What a name operation leaves: the row of the inode it was about, or what lost a name.
enum Left {
    Row(Inode, Box<infmap_storage::row::InodeRow>),
    Removed(Option<names::Removed>),
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
        NameOp::Change { inode, change } => row((*inode, names::change_attributes(txn, *inode, change, now)?)),
    })
}

impl Vat {
    pub(super) fn names(&mut self, op: NameOp, replier: Replier<Answer<Done>>, pins: Pins, cx: &mut Context<'_>) {
        if let Err(refusal) = self.shared.writable() {
            return cx.reply(replier, Err(refusal));
        }
        let now = self.shared.now();
        let done = with_nodes!(self, pins, |state, source| state.transact(source, |txn| apply(txn, &op, now)));
        match done {
            Ok(outcome) => {
                let answer = self.append(RecordKind::Changes, &outcome.payload).map(|_| self.done(outcome.value));
                cx.reply(replier, answer);
            }
            Err(error) => self.failed(error, VatMessage::Names { op, replier }, pins, cx),
        }
    }

    fn done(&self, left: Left) -> Done {
        match left {
            Left::Row(inode, row) => Done::Attributes(self.shared.attributes(inode, &row)),
            Left::Removed(removed) => Done::Removed(removed),
        }
    }

    /// Does several changes in one transaction, one record and one publication.
    pub(super) fn batch(&mut self, ops: Vec<NameOp>, replier: Replier<Answer<Vec<Done>>>, pins: Pins, cx: &mut Context<'_>) {
        if let Err(refusal) = self.shared.writable() {
            return cx.reply(replier, Err(refusal));
        }
        let now = self.shared.now();
        let all = |txn: &mut Txn<'_>| ops.iter().map(|op| apply(txn, op, now)).collect::<Result<Vec<_>, _>>();
        match with_nodes!(self, pins, |state, source| state.transact(source, all)) {
            Ok(outcome) => {
                let appended = self.append(RecordKind::Changes, &outcome.payload);
                let answer = appended.map(|_| outcome.value.into_iter().map(|left| self.done(left)).collect());
                cx.reply(replier, answer);
            }
            Err(error) => self.failed(error, VatMessage::Batch { ops, replier }, pins, cx),
        }
    }

    /// Drops what waits for it, in the order in which it came.
    pub(super) fn drop_unused(&mut self, cx: &mut Context<'_>) {
        if !self.unused.is_empty() {
            for inode in std::mem::take(&mut self.unused) {
                self.admit(VatMessage::GoOnDropping { inode }, cx);
            }
        }
    }

    /// Does one step of dropping an inode that nobody uses, and comes back for the next.
    pub(super) fn drop_inode(&mut self, inode: Inode, pins: Pins, cx: &mut Context<'_>) {
        if self.shared.health.is_read_only() {
            return;
        }
        self.refusals.forget(inode);
        let done = with_nodes!(self, pins, |state, source| state.transact(source, |txn| names::drop_orphan(txn, inode)));
        match done {
            Ok(outcome) => {
                let logged = self.append(RecordKind::Changes, &outcome.payload);
                if let (Ok(_), Dropped::More, Some(own)) = (logged, outcome.value, self.own.upgrade()) {
                    cx.post(&own, Lane::Background, VatMessage::GoOnDropping { inode });
                }
            }
            // It was given a name again, or is gone: nothing to do.
            Err(StateError::Refused(_)) => {}
            Err(error) => self.failed(error, VatMessage::GoOnDropping { inode }, pins, cx),
        }
    }
}
