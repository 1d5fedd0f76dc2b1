//! Gathering from the shards: for an ordered commit, or for a checkpoint.
//!
//! Must be true: a commit syncs only after every shard has posted what it held (O5); pixel writers are flushed once, after all shards
//! have handed out their blocks, so that few partial images are made; a shard counts as drained when what it said before has been put,
//! not when it has been said: a settlement may wait for a node, and `Drained` is faster.

use super::Vat;
use crate::api::{Answer, Refusal};
use crate::cache::CacheMessage;
use crate::mailbox::Lane;
use crate::pixel_writer::WriteMessage;
use crate::replier::Replier;
use crate::slot::Context;
use infmap_storage::row::Inode;
use infmap_storage::wal::Lsn;

/// What is gathered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Everything durable: placed or logged.
    Commit,
    /// Everything that was logged up to here placed.
    Checkpoint { low: Lsn },
}

struct Gathering {
    purpose: Purpose,
    /// Blocks are placed, not logged.
    place: bool,
    posted_left: usize,
    drained_left: usize,
    /// Inodes of which something that was posted before the last `Posted` or `Drained` waits for a node.
    parked: Vec<Inode>,
    /// Something of it could not be put, or placed.
    failed: Option<Refusal>,
    answers: Vec<Replier<Answer<()>>>,
}

/// Commits and checkpoints that gather, one at a time.
#[derive(Default)]
pub(super) struct Commits {
    gathering: Option<Gathering>,
    waiting: Vec<Replier<Answer<()>>>,
    checkpoint_waits: bool,
}

impl Vat {
    /// Makes everything durable that was written up to now.
    pub(super) fn commit(&mut self, replier: Replier<Answer<()>>, cx: &mut Context<'_>) {
        self.checkpoint_may_begin();
        self.commits.waiting.push(replier);
        self.gather_next(cx);
    }

    /// Has everything placed, for a checkpoint.
    pub(super) fn gather_for_checkpoint(&mut self, cx: &mut Context<'_>) {
        self.commits.checkpoint_waits = true;
        self.gather_next(cx);
    }

    fn gather_next(&mut self, cx: &mut Context<'_>) {
        if self.shared.health.is_read_only() {
            // One of those that it would wait for may be dead.
            if self.gathering_given_up(cx) {
                self.checkpoint_failed("the volume is read-only", cx);
            }
            return;
        }
        if self.commits.gathering.is_some() {
            return;
        }
        let answers = std::mem::take(&mut self.commits.waiting);
        let purpose = match (std::mem::take(&mut self.commits.checkpoint_waits), answers.is_empty()) {
            (true, _) => Purpose::Checkpoint { low: self.appender.next_lsn().before() },
            (false, false) => Purpose::Commit,
            (false, true) => return,
        };
        let Some(peers) = &self.peers else { return };
        // Little goes into the log, as an fsync does it; much is placed at once, or it would be written twice.
        // Who waits for room gets it only from what is placed.
        let budget = &self.shared.budget;
        let place = purpose != Purpose::Commit || budget.used() > self.shared.settings().log_at_once() || budget.is_pressed();
        let shards = peers.shards.len();
        let drained_left = if place { shards } else { 0 };
        self.commits.gathering =
            Some(Gathering { purpose, place, posted_left: shards, drained_left, parked: Vec::new(), failed: None, answers });
        for shard in &peers.shards {
            cx.post(shard, Lane::WriteBehind, CacheMessage::Commit { place });
        }
    }

    /// Refuses who waits for a commit. Whether a checkpoint was to gather next.
    pub(super) fn gathering_given_up(&mut self, cx: &mut Context<'_>) -> bool {
        let under_way = self.commits.gathering.take().into_iter().flat_map(|gathering| gathering.answers);
        for replier in under_way.chain(std::mem::take(&mut self.commits.waiting)) {
            cx.reply(replier, Err(Refusal::Damaged));
        }
        std::mem::take(&mut self.commits.checkpoint_waits)
    }

    pub(super) fn posted(&mut self, cx: &mut Context<'_>) {
        let Some(gathering) = &mut self.commits.gathering else { return };
        gathering.posted_left = gathering.posted_left.saturating_sub(1);
        if gathering.posted_left == 0 {
            gathering.parked = self.parked.keys().copied().collect();
        }
        if gathering.posted_left == 0 && gathering.place {
            for writer in self.peers.iter().flat_map(|peers| &peers.writers).take(self.shared.most_writers()) {
                cx.post(writer, Lane::WriteBehind, WriteMessage::Flush);
            }
        }
        self.gathered(cx);
    }

    pub(super) fn drained(&mut self, cx: &mut Context<'_>) {
        if let Some(gathering) = &mut self.commits.gathering {
            gathering.drained_left = gathering.drained_left.saturating_sub(1);
            if gathering.drained_left == 0 {
                // What shards said of changed bytes, so that the old ones need no place, may wait for a node: a cut, or new bytes.
                gathering.parked.extend(self.parked.keys());
            }
        }
        self.gathered(cx);
    }

    /// A settlement was refused: who waits for everything to be durable must not hear that it is.
    pub(super) fn gathering_failed(&mut self, refusal: Refusal) {
        if let Some(gathering) = &mut self.commits.gathering
            && gathering.failed != Some(Refusal::Damaged)
        {
            gathering.failed = Some(refusal);
        }
    }

    pub(super) fn gathered(&mut self, cx: &mut Context<'_>) {
        let parked = &self.parked;
        let done = self.commits.gathering.take_if(|gathering| {
            gathering.parked.retain(|inode| parked.contains_key(inode));
            gathering.posted_left == 0 && gathering.drained_left == 0 && gathering.parked.is_empty()
        });
        let Some(gathering) = done else { return };
        for replier in gathering.answers {
            match gathering.failed {
                Some(refusal) => cx.reply(replier, Err(refusal)),
                None => self.sync(replier, cx),
            }
        }
        match gathering.purpose {
            // What it would free of the log is still needed.
            Purpose::Checkpoint { .. } if gathering.failed == Some(Refusal::NoSpace) => self.checkpoint_put_off(cx),
            Purpose::Checkpoint { .. } if gathering.failed.is_some() => {
                self.checkpoint_failed("the tables do not take what files have", cx)
            }
            Purpose::Checkpoint { low } => self.begin_fold(low, cx),
            Purpose::Commit => {}
        }
        self.gather_next(cx);
    }
}
