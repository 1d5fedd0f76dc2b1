//! Checkpoints: making a root durable, so that older log can go and dead places come free.
//!
//! Stages: gather (shards place what was logged), fold (space into the volume tree, in steps), write (the checkpointer writes the frozen
//! trees while changes go on), root (the root record is logged and synced). Must be true: O4 the root is logged when all that it names
//! is durable; O8 what was dead in a root is freed when the next root is durable and no lease is older than it.

use super::{Grant, Pins, Vat, VatMessage, with_nodes};
use crate::api::{Answer, Refusal};
use crate::checkpointer::CheckpointMessage;
use crate::keeper::is_room_short;
use crate::mailbox::Lane;
use crate::replier::Replier;
use crate::shared::HELD;
use crate::slot::Context;
use crate::wal::WalMessage;
use infmap_storage::address::{Generation, Place, RegionId};
use infmap_storage::limits::{NODE_MAX_CLUSTERS, REGION_CLUSTERS};
use infmap_storage::root::RootRecord;
use infmap_storage::row::RegionKind;
use infmap_storage::state::{FoldProgress, StateError};
use infmap_storage::vat::Tree;
use infmap_storage::wal::{Lsn, RecordKind};
use metrics::Histogram;

/// Regions folded in one turn.
const FOLD_REGIONS: usize = 16;
/// Dirty nodes that start a checkpoint.
const DIRTY_NODES: u64 = 4096;
/// The same where room is short: two such roots, and what the first leaves dead comes free only with the second, take no more images than
/// are held.
const DIRTY_NODES_SHORT: u64 = ((HELD / 2 - 1) * SURE_CLUSTERS / NODE_MAX_CLUSTERS) as u64;
/// Clusters of a region that nodes are sure to find, although none crosses its end.
const SURE_CLUSTERS: usize = REGION_CLUSTERS - NODE_MAX_CLUSTERS;

/// The trees of a checkpoint, and what its root record says of them.
pub struct Frozen {
    pub names: Tree,
    pub volume: Tree,
    pub generation: Generation,
    pub next_inode: u64,
    pub frontier: Place,
    pub inodes: u64,
    pub live_clusters: u64,
    pub cut: Lsn,
    pub low: Lsn,
    pub open: Vec<(RegionId, RegionKind)>,
    /// Images that the nodes may need.
    pub images: usize,
}

/// What the checkpointer reports.
pub struct RootWritten {
    pub root: Result<RootRecord, String>,
    /// Held until the references to the nodes are noted.
    pub grants: Vec<Grant>,
}

/// Images of nodes and roots that a checkpoint replaces, and so makes dead, when nothing else changes.
const OWN_DEAD_IMAGES: usize = 2;

/// Images that were dead when a root was frozen, and the publication after which nobody could reach them.
#[derive(Clone, Debug, Default)]
struct Dead {
    regions: Vec<RegionId>,
    fence: u64,
}

enum Stage {
    Idle,
    Gather,
    Fold { low: Lsn },
    Write { dead: Dead },
    Root { lsn: Lsn, low: Lsn, dead: Dead },
}

/// The state of checkpoints.
pub struct Checkpoint {
    stage: Stage,
    waiting: Vec<Replier<Answer<()>>>,
    next: Vec<Replier<Answer<()>>>,
    /// Who waits until dead images are gone.
    for_room: Vec<Replier<Answer<()>>>,
    /// The next one is made although nothing changed.
    anyway: bool,
    /// Of the newest root: its low, the last record when it was logged, and what was dead in it.
    low: Lsn,
    root_lsn: Lsn,
    dead: Dead,
    /// Images granted to the checkpointer and not used yet.
    granted: usize,
    /// Those of a checkpoint that failed: nobody is to take their images for images.
    unrooted: Vec<Grant>,
    /// There was no room for the last one: none begins by itself before the next commit.
    put_off: bool,
    /// When the one under way began.
    began_us: u64,
    seconds: Histogram,
}

impl Checkpoint {
    /// After a mount from `root`, in which `dead` images were dead.
    #[must_use]
    pub fn after(root: &RootRecord, dead: Vec<RegionId>) -> Self {
        Self {
            stage: Stage::Idle,
            waiting: Vec::new(),
            next: Vec::new(),
            for_room: Vec::new(),
            anyway: false,
            low: root.low,
            root_lsn: Lsn::NONE,
            dead: Dead { regions: dead, fence: 0 },
            granted: 0,
            unrooted: Vec::new(),
            put_off: false,
            began_us: 0,
            seconds: metrics::histogram!("infmap_checkpoint_duration_seconds"),
        }
    }
}

impl Checkpoint {
    /// One is complete.
    #[expect(clippy::cast_precision_loss, reason = "a duration in microseconds, for a histogram")]
    fn took(&self, now_us: u64) {
        self.seconds.record(now_us.saturating_sub(self.began_us) as f64 / 1e6);
    }
}

impl Vat {
    pub(super) fn begin_checkpoint(&mut self, replier: Option<Replier<Answer<()>>>, cx: &mut Context<'_>) {
        if self.shared.health.is_read_only() {
            self.room_made(cx);
            // Also those of a checkpoint that will never end because its actor is dead.
            let next = std::mem::take(&mut self.checkpoint.next);
            for replier in replier.into_iter().chain(std::mem::take(&mut self.checkpoint.waiting)).chain(next) {
                cx.reply(replier, Err(Refusal::ReadOnly));
            }
            return;
        }
        if !matches!(self.checkpoint.stage, Stage::Idle) {
            self.checkpoint.next.extend(replier);
            return;
        }
        // Times that wait for the next commit stand in live rows only.
        let nothing_held = self.shared.budget.used() == 0 && self.shared.live.is_empty() && !self.shared.budget.is_log_full();
        let nothing_new = self.appender.next_lsn().before() <= self.checkpoint.root_lsn && nothing_held;
        if nothing_new && !self.would_free_room() && !std::mem::take(&mut self.checkpoint.anyway) {
            self.room_made(cx);
            for replier in replier.into_iter().chain(std::mem::take(&mut self.checkpoint.waiting)) {
                cx.reply(replier, Ok(()));
            }
            return;
        }
        self.checkpoint.stage = Stage::Gather;
        self.checkpoint.began_us = cx.now_us();
        self.checkpoint.waiting.extend(replier);
        self.gather_for_checkpoint(cx);
    }

    /// Something grows that a checkpoint would make smaller.
    pub(super) fn checkpoint_is_due(&mut self, cx: &mut Context<'_>) {
        if !self.checkpoint.put_off {
            self.begin_checkpoint(None, cx);
        }
    }

    /// Time has passed since there was no room for a checkpoint.
    pub(super) fn checkpoint_may_begin(&mut self) {
        self.checkpoint.put_off = false;
    }

    /// There is no room for what it gathers. Nothing was frozen, so that it can be tried again.
    pub(super) fn checkpoint_put_off(&mut self, cx: &mut Context<'_>) {
        tracing::warn!("there is no room for a checkpoint: it is put off");
        self.checkpoint.put_off = true;
        self.checkpoint.stage = Stage::Idle;
        self.room_made(cx);
        self.finish_checkpoint(Err(Refusal::NoSpace), cx);
    }

    /// Makes a root, and answers when the images that it lets go are gone.
    pub(super) fn make_room(&mut self, anyway: bool, replier: Replier<Answer<()>>, cx: &mut Context<'_>) {
        self.checkpoint.for_room.push(replier);
        self.checkpoint.anyway = anyway;
        self.drop_unused(usize::MAX, cx);
        // A root now would not know what is still being dropped.
        if self.dropping.is_empty() && matches!(self.checkpoint.stage, Stage::Idle) {
            self.begin_checkpoint(None, cx);
        }
    }

    /// A step of dropping is done: who waits for the room that it gives up need not wait for more of them.
    pub(super) fn dropped(&mut self, cx: &mut Context<'_>) {
        if self.dropping.is_empty() && !self.checkpoint.for_room.is_empty() && matches!(self.checkpoint.stage, Stage::Idle) {
            self.begin_checkpoint(None, cx);
        }
    }

    /// Whoever waits for room looks again: where there is still little, when the log has given back what it does not need.
    fn room_made(&mut self, cx: &mut Context<'_>) {
        let waiting = std::mem::take(&mut self.checkpoint.for_room);
        if waiting.is_empty() || !is_room_short(&self.shared) {
            return waiting.into_iter().for_each(|replier| cx.reply(replier, Ok(())));
        }
        let replier = Replier::from_fn(move |_: Answer<()>| waiting.into_iter().for_each(|replier| replier.reply(Ok(()))));
        self.shrink(replier, cx);
    }

    /// Has the log give back what it does not need next.
    pub(super) fn shrink(&self, replier: Replier<Answer<()>>, cx: &mut Context<'_>) {
        match &self.peers {
            Some(peers) => cx.post(&peers.wal, Lane::Background, WalMessage::Shrink { replier }),
            None => cx.reply(replier, Ok(())),
        }
    }

    /// Has the log make a segment ready.
    pub(super) fn reserve_log(&self, replier: Replier<Answer<()>>, cx: &mut Context<'_>) {
        match &self.peers {
            Some(peers) => cx.post(&peers.wal, Lane::Background, WalMessage::Reserve { replier }),
            None => cx.reply(replier, Ok(())),
        }
    }

    /// Whether a length of the log that was measured from `low` is measured from the newest one.
    pub(super) fn is_news_since_checkpoint(&self, low: Lsn) -> bool {
        low >= self.checkpoint.low
    }

    /// Whether one more root would let dead images go, and that is worth it. The few that each checkpoint leaves dead itself do not count,
    /// or checkpoints would call for checkpoints.
    fn would_free_room(&self) -> bool {
        (is_room_short(&self.shared) || self.shared.reclaim.is_worth_a_root()) && self.checkpoint.dead.regions.len() > OWN_DEAD_IMAGES
    }

    /// Starts a checkpoint when too many nodes are dirty.
    pub(super) fn watch_dirty_nodes(&mut self, cx: &mut Context<'_>) {
        let (nodes, bytes) = (self.state.gauge.nodes(), self.state.gauge.bytes());
        let most = if is_room_short(&self.shared) { DIRTY_NODES_SHORT } else { DIRTY_NODES };
        if matches!(self.checkpoint.stage, Stage::Idle) && (nodes > most || bytes > self.shared.settings().memory_plan().nodes / 2) {
            self.checkpoint_is_due(cx);
        }
    }

    /// Everything logged up to `low` is placed.
    pub(super) fn begin_fold(&mut self, low: Lsn, cx: &mut Context<'_>) {
        self.checkpoint.stage = Stage::Fold { low };
        self.fold_again(cx);
    }

    fn fold_again(&mut self, cx: &mut Context<'_>) {
        if let Some(own) = self.own.upgrade() {
            cx.post(&own, Lane::Data, VatMessage::Fold);
        }
    }

    pub(super) fn fold(&mut self, pins: Pins, cx: &mut Context<'_>) {
        let Stage::Fold { low } = self.checkpoint.stage else { return };
        if self.shared.health.is_read_only() {
            return self.checkpoint_failed("the volume is read-only", cx);
        }
        match self.fold_step(&pins) {
            // What is folded stays so, and the next one goes on from there.
            Ok(Some(_)) if !self.has_room_for_root() => self.checkpoint_put_off(cx),
            Ok(Some(dead)) => self.freeze(low, dead, cx),
            Ok(None) => self.fold_again(cx),
            Err(error) => self.failed(error, VatMessage::Fold, pins, cx),
        }
    }

    /// One step: fold some, or grant what the nodes may need. Gives the dead images when nothing is left to do.
    fn fold_step(&mut self, pins: &Pins) -> Result<Option<Vec<RegionId>>, StateError> {
        let grants = &self.grants;
        if with_nodes!(self, pins, |state, source| state.fold(source, grants, FOLD_REGIONS))? == FoldProgress::More {
            return Ok(None);
        }
        let needed = self.images_needed();
        if self.checkpoint.granted < needed {
            // A few more than needed: to grant them makes nodes dirty too.
            let more = needed + 1 - self.checkpoint.granted;
            self.grant_to_checkpointer(more, pins)?;
            self.checkpoint.granted += more;
            return Ok(None);
        }
        with_nodes!(self, pins, |state, source| state.dead(source, usize::MAX)).map(Some)
    }

    fn images_needed(&self) -> usize {
        let clusters = self.state.gauge.nodes() as usize * NODE_MAX_CLUSTERS;
        clusters.div_ceil(SURE_CLUSTERS).max(1)
    }

    fn has_room_for_root(&mut self) -> bool {
        let nodes = self.grants.open().into_iter().filter(|(_, kind)| *kind == RegionKind::Node);
        self.shared.spares.has_room_for_root(self.images_needed(), nodes.map(|(region, _)| region.place))
    }

    fn freeze(&mut self, low: Lsn, dead: Vec<RegionId>, cx: &mut Context<'_>) {
        let frozen = Frozen {
            names: self.state.names.clone(),
            volume: self.state.volume.clone(),
            generation: self.state.generation,
            next_inode: self.state.next_inode,
            frontier: self.state.frontier,
            inodes: self.state.inodes,
            live_clusters: self.state.live_clusters,
            cut: self.appender.next_lsn().before(),
            low,
            open: self.grants.open(),
            images: self.images_needed(),
        };
        self.shared.reclaim.frozen();
        self.shared.reclaim.live(self.state.live_clusters);
        self.shared.figures.set_live_clusters(self.state.live_clusters);
        self.state.generation = self.state.generation.next();
        self.checkpoint.granted = 0;
        self.changed = true;
        self.checkpoint.stage = Stage::Write { dead: Dead { regions: dead, fence: self.publications + 1 } };
        if let Some(peers) = &self.peers {
            cx.post(&peers.checkpointer, Lane::Foreground, CheckpointMessage::Write(Box::new(frozen)));
        }
    }

    pub(super) fn root_written(&mut self, written: RootWritten, cx: &mut Context<'_>) {
        if !matches!(self.checkpoint.stage, Stage::Write { .. }) {
            // It was given up meanwhile.
            return self.checkpoint.unrooted.extend(written.grants);
        }
        let root = match written.root {
            Ok(root) => root,
            Err(error) => {
                self.checkpoint.unrooted.extend(written.grants);
                self.shared.health.fail(format!("a root could not be written: {error}"));
                return self.checkpoint_failed("a root could not be written", cx);
            }
        };
        for (region, nodes) in &root.images {
            for &(cluster, clusters) in nodes {
                self.state.deltas.born(infmap_storage::address::Address { region: *region, cluster }, clusters);
            }
        }
        self.state.settle_pending();
        drop(written.grants);
        match self.append(RecordKind::Root, &root.encode()) {
            Ok(lsn) => {
                let Stage::Write { dead } = std::mem::replace(&mut self.checkpoint.stage, Stage::Idle) else { return };
                self.checkpoint.stage = Stage::Root { lsn, low: root.low, dead };
                self.sync_for_order(lsn);
            }
            Err(_) => self.checkpoint_failed("a root could not be logged", cx),
        }
    }

    /// The log was synced: perhaps the root was in it.
    pub(super) fn checkpoint_synced(&mut self, cx: &mut Context<'_>) {
        let Stage::Root { lsn, low, .. } = self.checkpoint.stage else { return };
        if self.appender.synced() < lsn {
            return;
        }
        let Stage::Root { dead, .. } = std::mem::replace(&mut self.checkpoint.stage, Stage::Idle) else { return };
        self.checkpoint.took(cx.now_us());
        // Two roots to fall back on: the log of the older one is kept, and what only it reaches.
        let below = std::mem::replace(&mut self.checkpoint.low, low).next();
        self.checkpoint.root_lsn = lsn;
        let free = std::mem::replace(&mut self.checkpoint.dead, dead);
        if let Some(peers) = &self.peers {
            cx.post(&peers.wal, Lane::Background, WalMessage::Recycle { below, low });
            let oldest = self.leases.iter().find(|(_, lease)| lease.strong_count() > 0).map_or(u64::MAX, |(number, _)| *number);
            if oldest < free.fence {
                self.checkpoint.dead.regions.extend(free.regions);
                self.room_made(cx);
            } else {
                // Also without any: who waits for room is told by what comes back.
                cx.post(&peers.checkpointer, Lane::Background, CheckpointMessage::Recycle { regions: free.regions });
            }
        }
        self.finish_checkpoint(Ok(()), cx);
    }

    /// The log cannot be written: a checkpoint that waits for it would wait for ever.
    pub(super) fn checkpoint_unlogged(&mut self, cx: &mut Context<'_>) {
        if matches!(self.checkpoint.stage, Stage::Write { .. } | Stage::Root { .. }) {
            self.checkpoint_failed("the log cannot be written", cx);
        }
    }

    pub(super) fn checkpoint_failed(&mut self, why: &str, cx: &mut Context<'_>) {
        self.shared.health.fail(format!("a checkpoint failed: {why}"));
        self.checkpoint.stage = Stage::Idle;
        self.room_made(cx);
        self.finish_checkpoint(Err(Refusal::Damaged), cx);
    }

    fn finish_checkpoint(&mut self, answer: Answer<()>, cx: &mut Context<'_>) {
        for replier in std::mem::take(&mut self.checkpoint.waiting) {
            cx.reply(replier, answer);
        }
        // Who asked while it ran may have written since it began to gather: they wait for one of their own.
        self.checkpoint.waiting = std::mem::take(&mut self.checkpoint.next);
        if !self.checkpoint.waiting.is_empty() {
            self.begin_checkpoint(None, cx);
        }
    }

    /// Images of dead regions are gone: their places are free.
    pub(super) fn recycled(&mut self, regions: Vec<RegionId>, pins: Pins, cx: &mut Context<'_>) {
        self.room_made(cx);
        if regions.is_empty() {
            return;
        }
        match with_nodes!(self, pins, |state, source| state.free(source, &regions)) {
            Ok(payload) => {
                if self.append(RecordKind::Changes, &payload).is_err() {
                    tracing::warn!("places of dead images could not be freed");
                }
            }
            Err(error) => self.failed(error, VatMessage::Recycled { regions }, pins, cx),
        }
    }
}
