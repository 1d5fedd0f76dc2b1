//! Who is called for a slot: threads of actix, or the thread of a test.
//!
//! Owns: the trait `Runtime`, the names of places where slots run, and the roster of slots. Must be true: RUN-1 a call is never lost
//! while the runtime runs: every [`Runtime::wake`] leads to a visit after it; RUN-2 resizing a pool moves no queue and no state.
//! Fails: `RuntimeError` when it cannot start; a slot of a pool that does not exist is refused.

pub mod actix_pool;
mod alarm;
pub mod step;
#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::mailbox::{self, PoolStats};
use crate::slot::Runnable;
use parking_lot::Mutex;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Where a slot runs: the pool, and its number there. The thread is number modulo threads, so it may change; the slot does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    pub pool: &'static str,
    pub index: usize,
}

/// Something to do when its time comes.
pub type Action = Box<dyn FnOnce() + Send>;

/// Who is called for slots, and when time passes.
pub trait Runtime: Send + Sync {
    fn clock(&self) -> &Arc<dyn Clock>;
    /// Calls the owner of a slot: it visits it soon. After the runtime has stopped the slot is closed instead.
    fn wake(&self, slot: Arc<dyn Runnable>);
    /// Does something after a delay; not at all if the runtime stops before.
    fn after(&self, delay: Duration, action: Action);
    /// Takes notice of a new slot.
    ///
    /// # Errors
    /// Its pool does not exist, or the runtime has stopped.
    fn adopt(&self, slot: &Arc<dyn Runnable>) -> Result<(), RuntimeError>;
    /// The slots that it was given and that live, in that order.
    fn slots(&self) -> Vec<Arc<dyn Runnable>>;
    /// Sets the gauges of all pools and mailboxes: for whoever serves metrics, when somebody looks.
    fn publish(&self);
}

/// Why a runtime refuses.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("there is no pool {0:?}: name it when the runtime is made")]
    NoSuchPool(&'static str),
    #[error("cannot start a thread of pool {pool:?}: {source}")]
    Thread { pool: &'static str, source: std::io::Error },
    #[error("the runtime has stopped")]
    Stopped,
}

/// All slots of a runtime. It does not keep them alive.
#[derive(Default)]
struct Roster {
    slots: Mutex<Vec<Weak<dyn Runnable>>>,
}

impl Roster {
    fn add(&self, slot: &Arc<dyn Runnable>) {
        let mut slots = self.slots.lock();
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(Arc::downgrade(slot));
    }

    fn living(&self) -> Vec<Arc<dyn Runnable>> {
        self.slots.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn is_quiet(&self) -> bool {
        self.living().iter().all(|slot| slot.is_quiet())
    }

    fn close(&self) {
        self.living().into_iter().for_each(Runnable::close);
    }

    /// Sets the gauges of all mailboxes and what is counted by pool; says how many slots of each pool are dead.
    fn publish(&self, now_us: u64) -> BTreeMap<&'static str, u32> {
        let mut pools: BTreeMap<&'static str, PoolStats> = BTreeMap::new();
        for slot in self.living() {
            let (home, stats) = (slot.home(), slot.stats());
            mailbox::publish(home, &stats);
            let age_us = slot.working().map_or(0, |working| now_us.saturating_sub(working.since_us));
            pools.entry(home.pool).or_default().add(&stats, age_us);
        }
        pools.iter().for_each(|(pool, stats)| stats.publish(pool));
        pools.into_iter().map(|(pool, stats)| (pool, stats.dead)).collect()
    }
}

/// An action with its time, for a heap whose greatest is due first; of equal times the one that was set first.
struct Timer {
    due_us: u64,
    number: u64,
    action: Action,
}

impl Timer {
    fn key(&self) -> (u64, u64) {
        (self.due_us, self.number)
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

fn delay_us(delay: Duration) -> u64 {
    u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)
}
