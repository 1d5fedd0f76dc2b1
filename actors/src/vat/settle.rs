//! Settlements: what shards say of their files becomes rows, and is told back when it is published.
//!
//! Must be true: O3 rows come with bytes that are durable, data stands in the same group; O10 size and times come from the shard only.

use super::{Pins, Settle, Vat, VatMessage, with_nodes};
use crate::api::Refusal;
use crate::cache::{CacheMessage, shard_of};
use crate::mailbox::Lane;
use crate::slot::Context;
use infmap_storage::limits::RECORD_DATA_MAX_BYTES;
use infmap_storage::names::{Settlement, change_attributes, settle};
use infmap_storage::row::{Inode, InodeRow, Key, Time};
use infmap_storage::state::change::Change;
use infmap_storage::state::{StateError, Txn};
use infmap_storage::wal::RecordKind;
use infmap_storage::wire::Put;
use std::collections::HashMap;

/// Refused settlements. Until its shard has heard of one, it speaks of the file as if that had been done: of a size, for one, that covers
/// the bytes which were in it. So all that is said of the inode meanwhile is refused too (BUF-4).
#[derive(Default)]
pub(super) struct Refusals {
    /// How many each shard was told of.
    told: HashMap<usize, u64>,
    /// The newest of an inode, as a number among those that its shard was told of.
    newest: HashMap<Inode, u64>,
}

impl Refusals {
    fn note(&mut self, inode: Inode, shard: usize) {
        let told = self.told.entry(shard).or_default();
        *told += 1;
        self.newest.insert(inode, *told);
    }

    /// Whether the shard, which had heard of so many, did not know of the newest.
    fn is_unheard(&mut self, inode: Inode, heard: u64) -> bool {
        let unheard = self.newest.get(&inode).is_some_and(|number| heard < *number);
        if !unheard {
            self.forget(inode);
        }
        unheard
    }

    pub(super) fn forget(&mut self, inode: Inode) {
        self.newest.remove(&inode);
    }
}

/// The row as it is now, and from where a cut goes on.
type Settled = (InodeRow, Option<u64>);

fn apply(txn: &mut Txn<'_>, what: &Settle, now: Time) -> Result<Settled, StateError> {
    let mut gained = 0;
    let mut rest = None;
    if let Some((from, to, sequence)) = what.cut {
        let (freed, more) = txn.cut_extents(what.inode, from, to, sequence)?;
        gained -= freed;
        rest = more;
        let work = Key::Work(what.inode);
        match more {
            // Remembered, so that a mount after a crash goes on with it.
            Some(at) => txn.put(&work, &work_value(at, to, sequence))?,
            None if what.resumed => txn.delete(&work)?,
            None => {}
        }
    }
    for (offset, row, fresh) in &what.rows {
        gained += txn.put_extent(what.inode, *offset, row, *fresh)?;
    }
    if let Some(content) = &what.inline {
        gained -= txn.put_inline_content(what.inode, content, what.settlement.version)?;
    }
    // While a long cut went on, others may have spoken of the file: its further steps change the blocks alone.
    let settlement = if what.resumed { Settlement::of(&txn.view().inode(what.inode)?) } else { what.settlement };
    let mut row = settle(txn, what.inode, &settlement, gained)?;
    if let Some(change) = &what.change {
        row = change_attributes(txn, what.inode, change, now)?;
    }
    Ok((row, rest))
}

/// Value of a row that says what is still to be cut.
fn work_value(from: u64, to: u64, sequence: u64) -> Vec<u8> {
    let mut value = Vec::with_capacity(24);
    [from, to, sequence].into_iter().for_each(|v| value.put_u64(v));
    value
}

impl Vat {
    pub(super) fn settle(&mut self, what: Box<Settle>, pins: Pins, cx: &mut Context<'_>) {
        if let Err(refusal) = self.shared.writable() {
            return self.settle_failed(*what, refusal, cx);
        }
        if !what.resumed && self.refusals.is_unheard(what.inode, what.refusals_heard) {
            return self.settle_failed(*what, Refusal::Damaged, cx);
        }
        let now = self.shared.now();
        let done = with_nodes!(self, pins, |state, source| state.transact(source, |txn| apply(txn, &what, now)));
        match done {
            Ok(outcome) => match self.append_settlement(outcome.payload, &what) {
                Ok(()) => match outcome.value {
                    (_, Some(at)) => self.go_on_cutting(what, at, cx),
                    (row, None) => self.settled(*what, &row, cx),
                },
                Err(refusal) => self.settle_failed(*what, refusal, cx),
            },
            // The inode was dropped meanwhile: nobody will ask for its bytes.
            Err(StateError::Refused(Refusal::Stale)) => self.settle_failed(*what, Refusal::Stale, cx),
            Err(error) => self.failed(error, VatMessage::Settle(what), pins, cx),
        }
    }

    /// Appends the rows, and the data in as many records as it takes, as one group.
    fn append_settlement(&mut self, rows: Vec<u8>, what: &Settle) -> Result<(), Refusal> {
        let mut payloads = vec![rows];
        for run in &what.data {
            let bytes: Vec<u8> = run.blocks.iter().flat_map(|block| *block.bytes()).collect();
            let change = Change::Data { inode: what.inode, offset: run.offset, sequence: run.sequence(), bytes: &bytes };
            let room = payloads.last().is_some_and(|last| last.len() + bytes.len() <= RECORD_DATA_MAX_BYTES);
            if !room {
                payloads.push(Vec::with_capacity(bytes.len() + 64));
            }
            if let Some(last) = payloads.last_mut() {
                change.encode(last);
            }
        }
        let parts: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).filter(|part| !part.is_empty()).collect();
        self.append_group(RecordKind::Changes, &parts).map(drop)
    }

    fn go_on_cutting(&mut self, mut what: Box<Settle>, at: u64, cx: &mut Context<'_>) {
        what.cut = what.cut.map(|(_, to, sequence)| (at, to, sequence));
        what.resumed = true;
        self.arrived(&mut what);
        (what.rows, what.data, what.inline) = (Vec::new(), Vec::new(), None);
        if let Some(own) = self.own.upgrade() {
            cx.post(&own, Lane::Data, VatMessage::Settle(what));
        }
    }

    /// Nothing of it is on its way any more.
    fn arrived(&self, what: &mut Settle) {
        self.tell_pending();
        self.shared.budget.log_arrived(std::mem::take(&mut what.log_bytes));
    }

    fn settled(&mut self, mut what: Settle, row: &InodeRow, cx: &mut Context<'_>) {
        self.arrived(&mut what);
        self.tell_shard(&what, true, cx);
        for replier in what.syncs {
            self.sync(replier, cx);
        }
        if let Some(replier) = what.answer {
            cx.reply(replier, Ok(self.shared.attributes(what.inode, row)));
        }
        if let Some(then) = what.then {
            self.run(*then, Vec::new(), cx);
        }
    }

    /// What a shard said could not be put: its blocks are let go only if the inode is gone.
    pub(super) fn settle_failed(&mut self, mut what: Settle, refusal: Refusal, cx: &mut Context<'_>) {
        self.arrived(&mut what);
        self.tell_shard(&what, refusal == Refusal::Stale, cx);
        if refusal != Refusal::Stale {
            self.gathering_failed(Refusal::Damaged);
        }
        for replier in what.syncs {
            cx.reply(replier, Err(refusal));
        }
        if let Some(replier) = what.answer {
            cx.reply(replier, Err(refusal));
        }
        match what.then {
            // Nobody's bytes are to be waited for.
            Some(then) if refusal == Refusal::Stale => self.run(*then, Vec::new(), cx),
            Some(then) => self.refuse(*then, refusal, cx),
            None => {}
        }
    }

    fn tell_shard(&mut self, what: &Settle, done: bool, cx: &mut Context<'_>) {
        if let Some(peers) = &self.peers {
            let shard = shard_of(what.inode, peers.shards.len());
            if !done {
                self.refusals.note(what.inode, shard);
            }
            cx.post(&peers.shards[shard], Lane::Data, CacheMessage::Settled { inode: what.inode, ticket: what.ticket, done });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shard_said_before_it_heard_of_a_refusal_is_refused_too() {
        let (file, neighbour, elsewhere) = (Inode(5), Inode(69), Inode(6));
        let mut refusals = Refusals::default();
        assert!(!refusals.is_unheard(file, 0));
        refusals.note(file, 5);
        assert!(refusals.is_unheard(file, 0) && !refusals.is_unheard(neighbour, 0) && !refusals.is_unheard(elsewhere, 0));
        // It was built on the first, and what is built on this one is refused as well.
        refusals.note(file, 5);
        assert!(refusals.is_unheard(file, 1) && !refusals.is_unheard(file, 2));
        refusals.note(elsewhere, 6);
        assert!(refusals.is_unheard(elsewhere, 0) && !refusals.is_unheard(elsewhere, 1), "each shard hears its own");
    }
}
