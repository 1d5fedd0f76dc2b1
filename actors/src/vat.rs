//! The Vat: the one actor that changes the trees and appends to the log.
//!
//! Owns: the trees, generations, LSNs, the append buffer. Accepts: names and attributes from the door, settlements from shards, grants for
//! writers, moves from the cleaner, syncs, commits, checkpoints. Sends: batches to the Wal, `Settled` to shards, grants to writers. Full:
//! what misses a node is parked until it is fetched; later messages of the same inode wait behind it. Fails: an operation that fails
//! changed nothing; an append that fails makes the volume read-only.
//!
//! Must be true: O2 log order is publication order; O3, O4 nothing is logged that names bytes or nodes which are not durable; O6 the tree
//! is published before the answers of the batch leave; O9 resident nodes only, no I/O here.

mod checkpoint;
mod clean;
mod commit;
mod grants;
mod message;
mod names;
mod scan;
mod settle;

pub use checkpoint::{Checkpoint, Frozen, RootWritten};
pub use clean::{MoveRows, NodeAt, Survey};
pub use grants::Grant;
pub use message::{Done, NameOp, Settle, VatMessage, Written};
pub use scan::Sight;

use crate::api::{Answer, Refusal};
use crate::cache::CacheMessage;
use crate::checkpointer::CheckpointMessage;
use crate::mailbox::Lane;
use crate::pixel_reader::ReadMessage;
use crate::pixel_writer::WriteMessage;
use crate::replier::Replier;
use crate::shared::{Published, Shared};
use crate::slot::{Address, Context, Role, WeakAddress};
use crate::wal::WalMessage;
use infmap_storage::row::Inode;
use infmap_storage::state::{State, StateError};
use infmap_storage::vat::{Node, NodePtr};
use infmap_storage::wal::{Appender, Lsn, RecordKind};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};

/// Bytes of log that are written although nobody waits for a sync, so that the append buffer stays small.
const WRITE_AT_BYTES: usize = 256 * 1024;

/// Inodes that wait to be dropped, at most.
const UNUSED_INODES: usize = 8;

/// Everybody whom the Vat speaks to.
pub struct Peers {
    pub wal: Address<WalMessage>,
    pub shards: Vec<Address<CacheMessage>>,
    pub readers: Vec<Address<ReadMessage>>,
    pub writers: Vec<Address<WriteMessage>>,
    pub checkpointer: Address<CheckpointMessage>,
}

/// Nodes that were fetched for a message that missed them.
pub type Pins = Vec<(NodePtr, Arc<Node>)>;

/// The role of the Vat.
pub struct Vat {
    shared: Arc<Shared>,
    own: WeakAddress<VatMessage>,
    peers: Option<Peers>,
    state: State,
    appender: Appender,
    largest_batch: usize,
    /// Something was changed since the last publication.
    changed: bool,
    publications: u64,
    /// Published versions that somebody may still hold, oldest first.
    leases: VecDeque<(u64, Weak<Published>)>,
    /// A batch is with the Wal.
    wal_busy: bool,
    /// Bytes of it.
    handed_bytes: usize,
    /// Who waits for a sync of everything up to an LSN.
    waiting: VecDeque<(Lsn, Replier<Answer<()>>)>,
    /// Highest LSN that an image or a root waits for, whatever `durability.sync` says.
    ordered: Lsn,
    /// Highest LSN that was handed to the Wal.
    handed: Lsn,
    grants: grants::Grants,
    commits: commit::Commits,
    checkpoint: Checkpoint,
    /// Messages of inodes that wait for a node, in order; the first is being fetched for.
    parked: HashMap<Inode, VecDeque<VatMessage>>,
    /// Inodes of few rows, to be dropped before the next messages of any kind, so that they share a publication. None is lost: a commit
    /// comes with each tick of the Keeper and a checkpoint at the end, and a mount drops what a crash left.
    unused: Vec<Inode>,
    /// Inodes of which there is more to drop than one step does: what they give up is not all known yet.
    dropping: HashSet<Inode>,
    refusals: settle::Refusals,
}

impl Vat {
    /// `state` is published already; the log goes on in `appender`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, own: WeakAddress<VatMessage>, state: State, appender: Appender, start: Checkpoint) -> Self {
        let handed = appender.next_lsn().before();
        // What is published now may be held like all that follows (O8).
        let first = shared.published.load_full();
        Self {
            largest_batch: 4 * 1024 * 1024,
            shared,
            own,
            peers: None,
            state,
            appender,
            changed: false,
            publications: 1,
            leases: VecDeque::from([(first.number, Arc::downgrade(&first))]),
            wal_busy: false,
            handed_bytes: 0,
            waiting: VecDeque::new(),
            ordered: Lsn::NONE,
            handed,
            grants: grants::Grants::default(),
            commits: commit::Commits::default(),
            checkpoint: start,
            parked: HashMap::new(),
            unused: Vec::new(),
            dropping: HashSet::new(),
            refusals: settle::Refusals::default(),
        }
    }

    /// Appends one group of one record. Nothing for an empty payload.
    fn append(&mut self, kind: RecordKind, payload: &[u8]) -> Result<Lsn, Refusal> {
        if payload.is_empty() {
            return Ok(self.appender.next_lsn().before());
        }
        self.append_group(kind, &[payload])
    }

    /// Appends records that are applied whole or not at all.
    fn append_group(&mut self, kind: RecordKind, payloads: &[&[u8]]) -> Result<Lsn, Refusal> {
        let mut lsn = self.appender.next_lsn().before();
        for (n, payload) in payloads.iter().enumerate() {
            match self.appender.append(kind, &[payload], n + 1 == payloads.len()) {
                Ok(appended) => lsn = appended,
                Err(error) => {
                    // The trees have the change already: what is published must never be ahead of what can be replayed.
                    self.appender.abandon_group();
                    self.shared.health.fail(format!("a change could not be logged: {error}"));
                    return Err(Refusal::Damaged);
                }
            }
        }
        self.changed = true;
        Ok(lsn)
    }

    /// Says how much is on its way into the log.
    fn tell_pending(&self) {
        self.shared.budget.set_log_pending((self.appender.pending_bytes() + self.handed_bytes) as u64);
    }

    /// Answers when everything appended so far is durable.
    fn sync(&mut self, replier: Replier<Answer<()>>, cx: &mut Context<'_>) {
        let last = self.appender.next_lsn().before();
        if self.shared.health.is_unchanged() {
            // Nothing was changed.
            cx.reply(replier, Ok(()));
        } else if self.shared.health.is_read_only() {
            cx.reply(replier, Err(Refusal::Damaged));
        } else if last <= self.appender.synced() {
            cx.reply(replier, Ok(()));
        } else {
            self.waiting.push_back((last, replier));
        }
    }

    /// Has everything appended up to `lsn` synced, for those who are told of each sync and go by no answer.
    fn sync_for_order(&mut self, lsn: Lsn) {
        self.ordered = self.ordered.max(lsn);
        self.waiting.push_back((lsn, Replier::ignored()));
    }

    /// Hands the log to the Wal: whatever somebody waits for, or enough of it.
    fn flush(&mut self, cx: &mut Context<'_>) {
        let Some(peers) = &self.peers else { return };
        if self.wal_busy || (self.waiting.is_empty() && self.appender.pending_bytes() < WRITE_AT_BYTES) {
            return;
        }
        let batch = self.appender.take(self.largest_batch);
        self.handed_bytes = batch.as_ref().map_or(0, |batch| batch.bytes().len());
        self.handed = batch.as_ref().map_or(self.handed, |batch| batch.last_lsn);
        let covered = self.waiting.iter().take_while(|(lsn, _)| *lsn <= self.handed).count();
        let answers: Vec<_> = self.waiting.drain(..covered).map(|(_, replier)| replier).collect();
        let order = self.ordered > self.appender.synced() && self.ordered <= self.handed;
        let message = match batch {
            Some(batch) => WalMessage::Write { batch, sync: !answers.is_empty(), order, answers },
            None if answers.is_empty() => return,
            None => WalMessage::Sync { order, answers },
        };
        self.wal_busy = true;
        cx.post(&peers.wal, Lane::Foreground, message);
    }

    fn written(&mut self, report: Written, cx: &mut Context<'_>) {
        (self.wal_busy, self.handed_bytes) = (false, 0);
        self.appender.note_synced(report.synced);
        if let Some(buffer) = report.buffer {
            self.appender.give_back(buffer);
        }
        if report.failed {
            self.waiting.drain(..).for_each(|(_, replier)| cx.reply(replier, Err(Refusal::Damaged)));
            self.grants_refused(cx);
            self.checkpoint_unlogged(cx);
        }
        self.grants_synced(cx);
        self.checkpoint_synced(cx);
        // A length from before the last checkpoint says nothing: the log is shorter by now.
        if self.is_news_since_checkpoint(report.low) && report.bytes_above_low > self.shared.settings().checkpoint_at() {
            self.checkpoint_is_due(cx);
        }
    }

    /// An actor is dead, and the volume read-only: nothing would be made durable any more. Whoever waits for that is refused here, and
    /// whoever comes to wait is refused then.
    fn actor_died(&mut self, cx: &mut Context<'_>) {
        self.waiting.drain(..).for_each(|(_, replier)| cx.reply(replier, Err(Refusal::Damaged)));
        self.gathering_given_up(cx);
        self.checkpoint_failed("an actor is dead", cx);
    }

    /// Publishes the tree, if it changed.
    fn publish(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        self.publications += 1;
        let published = Arc::new(Published { names: self.state.names.clone(), number: self.publications, inodes: self.state.inodes });
        self.leases.push_back((self.publications, Arc::downgrade(&published)));
        self.shared.published.store(published);
        while self.leases.front().is_some_and(|(_, lease)| lease.strong_count() == 0) {
            self.leases.pop_front();
        }
    }

    /// Fetches what a message misses, on a thread that may wait, and has it come back.
    fn park(&mut self, ptr: NodePtr, message: VatMessage, pins: Pins, cx: &mut Context<'_>) {
        let (Some(peers), Some(own)) = (&self.peers, self.own.upgrade()) else { return };
        if let Some(inode) = message.inode() {
            self.parked.entry(inode).or_default();
        }
        let reader = &peers.readers[ptr.address.cluster.number() % peers.readers.len()];
        let then = Replier::from_fn(move |node: Answer<Arc<Node>>| {
            own.post(Lane::Foreground, VatMessage::Fetched { message: Box::new(message), ptr, node, pins });
        });
        cx.post(reader, Lane::Foreground, ReadMessage::Fetch { ptr, then });
    }

    /// Runs a message, or lets it wait behind an older one of its inode.
    fn admit(&mut self, message: VatMessage, cx: &mut Context<'_>) {
        match message.inode().and_then(|inode| self.parked.get_mut(&inode)) {
            Some(queue) => queue.push_back(message),
            None => self.run(message, Vec::new(), cx),
        }
    }

    fn fetched(&mut self, message: VatMessage, ptr: NodePtr, node: Answer<Arc<Node>>, mut pins: Pins, cx: &mut Context<'_>) {
        let queue = message.inode().and_then(|inode| Some((inode, self.parked.remove(&inode)?)));
        match node {
            Ok(node) => {
                pins.push((ptr, node));
                self.run(message, pins, cx);
            }
            Err(refusal) => self.refuse(message, refusal, cx),
        }
        let Some((inode, queue)) = queue else { return };
        for message in queue {
            // The first may have missed another node: the others still wait behind it.
            match self.parked.get_mut(&inode) {
                Some(queue) => queue.push_back(message),
                None => self.run(message, Vec::new(), cx),
            }
        }
        self.gathered(cx);
    }

    fn run(&mut self, message: VatMessage, pins: Pins, cx: &mut Context<'_>) {
        match message {
            VatMessage::Names { op, replier } => self.names(op, replier, pins, cx),
            VatMessage::Batch { ops, replier } => self.batch(ops, replier, pins, cx),
            VatMessage::Settle(settle) => self.settle(settle, pins, cx),
            VatMessage::Drop { inode } | VatMessage::GoOnDropping { inode } => self.drop_inode(inode, pins, cx),
            VatMessage::Sync { replier } => self.sync(replier, cx),
            VatMessage::Grant { kind, count, to } => self.grant(kind, count, to, pins, cx),
            VatMessage::Written(report) => self.written(report, cx),
            VatMessage::LogFull => self.checkpoint_is_due(cx),
            VatMessage::Fetched { message, ptr, node, pins } => self.fetched(*message, ptr, node, pins, cx),
            VatMessage::Commit { replier } => self.commit(replier, cx),
            VatMessage::Posted => self.posted(cx),
            VatMessage::NotPlaced { refusal } => self.gathering_failed(refusal),
            VatMessage::Drained => self.drained(cx),
            VatMessage::Checkpoint { replier } => self.begin_checkpoint(Some(replier), cx),
            VatMessage::MakeRoom { anyway, replier } => self.make_room(anyway, replier, cx),
            VatMessage::Shrink { replier } => self.shrink(replier, cx),
            VatMessage::ReserveLog { replier } => self.reserve_log(replier, cx),
            VatMessage::Fold => self.fold(pins, cx),
            VatMessage::Survey { replier } => self.survey(replier, cx),
            VatMessage::Sight { from, replier } => self.sight(from, replier, cx),
            VatMessage::GrantPlaces { count, replier } => self.grant_places(count, replier, pins, cx),
            VatMessage::Move(rows) => self.move_rows(rows, pins, cx),
            VatMessage::Rewrite { nodes, replier } => self.rewrite(nodes, replier, pins, cx),
            VatMessage::RootWritten(written) => self.root_written(written, cx),
            VatMessage::ActorDied => self.actor_died(cx),
            VatMessage::Recycled { regions } => self.recycled(regions, pins, cx),
            VatMessage::Join(peers) => self.peers = Some(*peers),
        }
    }

    /// A message cannot be carried out.
    fn refuse(&mut self, message: VatMessage, refusal: Refusal, cx: &mut Context<'_>) {
        match message {
            VatMessage::Names { replier, .. } => cx.reply(replier, Err(refusal)),
            VatMessage::Batch { replier, .. } => cx.reply(replier, Err(refusal)),
            VatMessage::Settle(settle) => self.settle_failed(*settle, refusal, cx),
            VatMessage::Fold => self.checkpoint_failed("a node of the volume tree cannot be read", cx),
            VatMessage::GrantPlaces { replier, .. } => cx.reply(replier, Err(refusal)),
            VatMessage::Move(rows) => cx.reply(rows.replier, Err(refusal)),
            VatMessage::Rewrite { replier, .. } => cx.reply(replier, Err(refusal)),
            VatMessage::Grant { to, .. } => {
                self.shared.health.fail("the tables of the volume cannot be read");
                // The writer looks again, and gives up what it cannot place.
                cx.post(&to, Lane::Foreground, WriteMessage::Granted(Vec::new()));
            }
            VatMessage::Recycled { .. } => {
                self.shared.health.fail("the tables of the volume cannot be read");
                self.dropping.clear();
                self.dropped(cx);
            }
            // Its rows stay, and what they hold: a mount tries again, and a check names what is lost.
            VatMessage::Drop { inode } | VatMessage::GoOnDropping { inode } => {
                tracing::error!(inode = inode.0, "a removed file cannot be dropped: some of its rows cannot be read");
                self.dropping.remove(&inode);
                self.dropped(cx);
            }
            _ => {}
        }
    }

    /// Decides what an error of the state means: a miss is fetched, the rest refused.
    fn failed(&mut self, error: StateError, message: VatMessage, pins: Pins, cx: &mut Context<'_>) {
        match error {
            StateError::Miss(ptr) => self.park(ptr, message, pins, cx),
            other => {
                let refusal = self.shared.refuse(&other);
                self.refuse(message, refusal, cx);
            }
        }
    }
}

/// Runs a body on the state with the resident nodes and those that were fetched for it.
macro_rules! with_nodes {
    ($vat:ident, $pins:ident, |$state:ident, $source:ident| $body:expr) => {{
        let shared = ::std::sync::Arc::clone(&$vat.shared);
        let mut held = ::infmap_storage::vat::Pinned::over(&shared.nodes.resident);
        $pins.iter().for_each(|(ptr, node)| held.hold(ptr, ::std::sync::Arc::clone(node)));
        let $source = &held;
        let $state = &mut $vat.state;
        $body
    }};
}
use with_nodes;

impl Role for Vat {
    type Message = VatMessage;

    fn handle(&mut self, message: VatMessage, cx: &mut Context<'_>) {
        match message {
            VatMessage::Drop { inode } => self.drop_soon(inode, cx),
            message => {
                // Nobody waits at the door for these, and after the last of them there may be no other.
                let all = matches!(message, VatMessage::Commit { .. } | VatMessage::Checkpoint { .. });
                self.drop_unused(if all { UNUSED_INODES } else { names::DROPPED_ON_THE_WAY }, cx);
                self.admit(message, cx);
            }
        }
    }

    fn turn_ended(&mut self, cx: &mut Context<'_>) {
        self.publish();
        self.shared.reclaim.given_up(self.state.given_up);
        self.shared.reclaim.dropping(!self.dropping.is_empty());
        self.watch_dirty_nodes(cx);
        self.flush(cx);
        self.tell_pending();
    }

    fn dead(&mut self) {
        self.shared.health.died("the actor that owns the tables has failed");
    }
}
