//! Changing the settings of a volume that is in use.
//!
//! Owns: what follows from a change, in order. Must be true: RUN-2 no message moves, so O1 and O2 hold across any change; the parts of the
//! memory plan that become smaller do so before those that become larger, so that SET-2 holds but for what is out at that moment, and
//! shrinks as it comes back; what is refused stays as it was, and the rest of the change is made all the same. Fails: with a [`Kept`] for
//! each group of settings that could not be changed. Not from a thread of a pool: it waits for threads that end.

use super::Volume;
use super::open::pool;
use crate::keeper::KeeperMessage;
use crate::mailbox::{Lane, Patience};
use crate::pixel_writer::WriteMessage;
use crate::runtime::Runtime;
use crate::runtime::actix_pool::ActixPools;
use crate::settings::{MemoryPlan, Settings};
use crate::shared::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A setting that keeps the value that it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its key.
    pub key: &'static str,
    pub why: String,
}

impl Volume {
    /// Puts settings into force, as far as they can change while the volume is in use; the others must be as they are. Returns what was
    /// refused, with the reason; [`Shared::settings`] are then those in force.
    pub fn retune(&self, wanted: &Settings) -> Vec<Kept> {
        let shared = self.shared();
        let _one = self.retuning.lock();
        let before = shared.tuned.load_full();
        let mut next = wanted.clone();
        let mut kept = Vec::new();
        next.durability.checkpoint_at = next.durability.checkpoint_at.min(shared.log_share);
        keep_plan(&before, &mut next, &mut kept);
        if let Some(pools) = &self.pools {
            grow_pools(pools, &before, &mut next, &mut kept);
        }
        shrink_memory(shared, &next);
        shared.most_writers.fetch_max(next.memory_plan().writer_threads, Ordering::AcqRel);
        shared.tuned.store(Arc::new(next.clone()));
        grow_memory(shared, &next);
        tune_slots(&self.runtime, &next);
        self.keeper.post(Lane::Foreground, KeeperMessage::Stock);
        // Those that get no work any more seal what they have open.
        for writer in self.writers.iter().skip(shared.writers()) {
            writer.post(Lane::WriteBehind, WriteMessage::Flush);
        }
        if let Some(pools) = &self.pools {
            shrink_pools(pools, &next, &mut kept);
        }
        if before.durability.commit_interval != next.durability.commit_interval && !shared.health.is_read_only() {
            self.keeper.post(Lane::Foreground, KeeperMessage::Retimed);
        }
        kept
    }
}

/// Keeps what the memory cannot be divided by: the budget first, and if that is not it what divides it.
fn keep_plan(before: &Settings, next: &mut Settings, kept: &mut Vec<Kept>) {
    if let Some(why) = budget_refused(before, next) {
        // What was promised for that budget goes with it: the other has no room for it.
        (next.memory.budget, next.memory.promised) = (before.memory.budget, before.memory.promised);
        kept.push(Kept { key: "memory.budget", why });
    }
    if !next.is_plan_sound() {
        let why = || "with it the budget does not hold what must be in memory at once".to_string();
        kept.extend(["cache.l1", "cache.l2", "actors.pixel_writer.threads"].map(|key| Kept { key, why: why() }));
        (next.cache.l1_percent, next.cache.l2_percent) = (before.cache.l1_percent, before.cache.l2_percent);
        next.actors.pixel_writer.threads = before.actors.pixel_writer.threads;
    }
    debug_assert!(next.is_plan_sound() || !before.is_plan_sound(), "SET-3");
}

/// Why the volume cannot live on another budget, if it cannot.
fn budget_refused(before: &Settings, next: &Settings) -> Option<String> {
    if next.memory.budget != before.memory.budget && !next.is_plan_sound() {
        let mib = next.memory.promised >> 20;
        return Some(format!(
            "the kernel was told at the mount that requests of {mib} MiB may be under way, which leaves too little for the rest"
        ));
    }
    layout_refused(before, next)
}

/// Why a volume that lives on a budget cannot live on another, whatever is promised of it.
#[must_use]
pub fn layout_refused(before: &Settings, next: &Settings) -> Option<String> {
    let is_small = next.memory_plan().is_small();
    (is_small != before.memory_plan().is_small()).then(|| {
        let side = if is_small { "below" } else { "of" };
        format!("a budget {side} 64 MiB or more is laid out differently, down to the size of requests that the kernel was told: at the next mount")
    })
}

/// Pools whose number of threads can change, with the key and the number that settings give them.
fn sizes(settings: &Settings) -> [(&'static str, &'static str, usize); 3] {
    [
        (pool::CACHE, "actors.cache.threads", settings.actors.cache.threads),
        (pool::WRITER, "actors.pixel_writer.threads", settings.memory_plan().writer_threads),
        (pool::READER, "actors.pixel_reader.threads", settings.actors.pixel_reader.threads),
    ]
}

/// Starts the threads that are to be there in addition. A pool that cannot have them stays as it was.
fn grow_pools(pools: &ActixPools, before: &Settings, next: &mut Settings, kept: &mut Vec<Kept>) {
    for (name, key, threads) in sizes(next) {
        if threads > pools.threads(name)
            && let Err(error) = pools.resize(name, threads)
        {
            kept.push(Kept { key, why: error.to_string() });
            match name {
                pool::CACHE => next.actors.cache.threads = before.actors.cache.threads,
                pool::WRITER => next.actors.pixel_writer.threads = before.actors.pixel_writer.threads,
                _ => next.actors.pixel_reader.threads = before.actors.pixel_reader.threads,
            }
        }
    }
}

/// Lets threads go that are not needed any more, when nobody is called for them.
fn shrink_pools(pools: &ActixPools, next: &Settings, kept: &mut Vec<Kept>) {
    for (name, key, threads) in sizes(next) {
        if threads < pools.threads(name)
            && let Err(error) = pools.resize(name, threads)
        {
            kept.push(Kept { key, why: error.to_string() });
        }
    }
}

/// The smaller of two plans, part by part.
fn least(a: MemoryPlan, b: MemoryPlan) -> MemoryPlan {
    MemoryPlan {
        image_buffers: a.image_buffers.min(b.image_buffers),
        encoders: a.encoders.min(b.encoders),
        l1: a.l1.min(b.l1),
        l2: a.l2.min(b.l2),
        dirty: a.dirty.min(b.dirty),
        nodes: a.nodes.min(b.nodes),
        ..b
    }
}

fn shrink_memory(shared: &Shared, next: &Settings) {
    set_memory(shared, &least(shared.settings().memory_plan(), next.memory_plan()));
}

fn grow_memory(shared: &Shared, next: &Settings) {
    set_memory(shared, &next.memory_plan());
    let readers = next.actors.pixel_reader.threads;
    shared.reads.set_keep(readers + 2);
    shared.images.set_parallel(readers);
    shared.streams.set_window(next.read_ahead_window());
    shared.damage.set_budget(next.memory.budget);
}

fn set_memory(shared: &Shared, plan: &MemoryPlan) {
    shared.tiers.resize(plan.l1, plan.l2);
    shared.nodes.resident.resize(plan.nodes / 2);
    shared.budget.set_limit(plan.dirty);
    shared.image_buffers.set_keep(plan.image_buffers);
    shared.encoders.set_count(plan.encoders);
}

/// Gives the mailboxes of all slots the capacity and the patience that settings say.
pub(super) fn tune_slots(runtime: &Arc<dyn Runtime>, settings: &Settings) {
    let actors = &settings.actors;
    let patience = Patience::from(&actors.lanes);
    for slot in runtime.slots() {
        let capacity = match slot.home().pool {
            pool::VAT => Some(actors.vat_mailbox),
            pool::WAL => Some(actors.wal_mailbox),
            pool::CACHE => Some(actors.cache.mailbox),
            pool::WRITER => Some(actors.pixel_writer.mailbox),
            pool::READER => Some(actors.pixel_reader.mailbox),
            _ => None,
        };
        slot.tune(capacity, &patience);
    }
}
