//! What the Vat does for the cleaner: says what there is, gives places, moves rows that are still what they were, makes nodes anew.
//!
//! Must be true: O2, O3 as for settlements: a row says another place only when the image there is durable; MOV-1, MOV-2. Fails: whoever
//! asked hears it; nothing is changed then.

use super::{Grant, Pins, Vat, VatMessage, with_nodes};
use crate::api::{Answer, Refusal};
use crate::mailbox::Lane;
use crate::replier::Replier;
use crate::shared::Published;
use crate::slot::Context;
use infmap_storage::address::{Address, Generation};
use infmap_storage::clean::Move;
use infmap_storage::row::RegionKind;
use infmap_storage::state::{StateError, Txn};
use infmap_storage::vat::{Tree, TreeId};
use infmap_storage::wal::RecordKind;
use std::collections::HashSet;
use std::sync::Arc;

/// Nodes that one message makes anew.
const NODES_AT_ONCE: usize = 4;

/// What the cleaner chooses from.
pub struct Survey {
    /// As the last fold left it.
    pub volume: Tree,
    pub generation: Generation,
    /// Held as long as the tree is: what it names is not taken away (O8).
    pub lease: Arc<Published>,
}

/// Rows that are to say another place.
pub struct MoveRows {
    pub moves: Vec<Move>,
    /// Keeps the image open until they are put.
    pub grant: Grant,
    /// Hears how many were still what they were.
    pub replier: Replier<Answer<u64>>,
}

/// A node that is to find another place with the next root: its tree, where it is, and a key in it.
pub type NodeAt = (TreeId, Address, Vec<u8>);

/// Moves the rows that are still there. Returns how many.
fn apply(txn: &mut Txn<'_>, moves: &[Move]) -> Result<u64, StateError> {
    let mut claimed = HashSet::new();
    let mut moved = 0;
    for change in moves {
        let fresh = !claimed.contains(&change.new.first);
        if txn.move_extent(change, fresh)? {
            claimed.insert(change.new.first);
            moved += 1;
        }
    }
    Ok(moved)
}

impl Vat {
    pub(super) fn survey(&mut self, replier: Replier<Answer<Survey>>, cx: &mut Context<'_>) {
        let lease = self.shared.published.load_full();
        cx.reply(replier, Ok(Survey { volume: self.state.volume.clone(), generation: self.state.generation, lease }));
    }

    /// Grants places for images of file data to whoever asks.
    pub(super) fn grant_places(&mut self, count: usize, replier: Replier<Answer<Vec<Grant>>>, pins: Pins, cx: &mut Context<'_>) {
        if let Err(refusal) = self.shared.writable() {
            return cx.reply(replier, Err(refusal));
        }
        match self.take_places(RegionKind::Data, count, &pins) {
            Ok((lsn, grants)) => {
                self.grants.wait_for_sync(lsn, replier, grants);
                self.sync_for_order(lsn);
            }
            Err(error) => self.failed(error, VatMessage::GrantPlaces { count, replier }, pins, cx),
        }
    }

    pub(super) fn move_rows(&mut self, rows: Box<MoveRows>, pins: Pins, cx: &mut Context<'_>) {
        if let Err(refusal) = self.shared.writable() {
            return cx.reply(rows.replier, Err(refusal));
        }
        match with_nodes!(self, pins, |state, source| state.transact(source, |txn| apply(txn, &rows.moves))) {
            Ok(outcome) => {
                let answer = self.append(RecordKind::Changes, &outcome.payload).map(|_| outcome.value);
                cx.reply(rows.replier, answer);
            }
            Err(error) => self.failed(error, VatMessage::Move(rows), pins, cx),
        }
    }

    /// Makes some of the nodes anew, and comes back for the others.
    pub(super) fn rewrite(&mut self, mut nodes: Vec<NodeAt>, replier: Replier<Answer<()>>, pins: Pins, cx: &mut Context<'_>) {
        if let Err(refusal) = self.shared.writable() {
            return cx.reply(replier, Err(refusal));
        }
        for _ in 0..NODES_AT_ONCE {
            let Some((tree, address, key)) = nodes.pop() else { return cx.reply(replier, Ok(())) };
            match with_nodes!(self, pins, |state, source| state.rewrite_node(source, tree, address, &key)) {
                // The name tree is published again: what readers hold of the old one is held by their leases.
                Ok(changed) => self.changed |= changed,
                Err(error) => {
                    nodes.push((tree, address, key));
                    return self.failed(error, VatMessage::Rewrite { nodes, replier }, pins, cx);
                }
            }
        }
        match self.own.upgrade() {
            Some(own) => cx.post(&own, Lane::Background, VatMessage::Rewrite { nodes, replier }),
            None => cx.reply(replier, Err(Refusal::Gone)),
        }
    }
}
