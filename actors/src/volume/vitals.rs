//! How an open volume is, at one moment: for whoever shows it to people.
//!
//! Must be true: nothing here posts or waits: it is answered however stuck the actors are. Fails: never.

use super::Volume;
use crate::settings::Damaged;
use crate::shared::Turned;
use crate::watchdog::Stuck;

/// How an open volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Why and when it became read-only; `None`: it is not.
    pub read_only: Option<Turned>,
    /// That was asked for, and is no fault.
    pub is_asked: bool,
    /// Bytes that can still be written, as last seen.
    pub available_bytes: u64,
    /// Bytes of all images.
    pub image_bytes: u64,
    /// Bytes of files that are not placed yet, and how many there may be.
    pub dirty_bytes: u64,
    pub dirty_limit_bytes: u64,
    /// Writes wait until a checkpoint has made room in the log.
    pub is_log_full: bool,
    /// Reads that could not be answered.
    pub unreadable: u64,
    /// Reads that parity saved.
    pub restored: u64,
    /// Places on the list of damage, of earlier mounts too.
    pub damages: u64,
    /// Lost bytes read as zeros.
    pub is_zeroed: bool,
    /// What takes too long, as the watchdog last saw it.
    pub stuck: Vec<Stuck>,
    /// Now, by the clock that the watchdog goes by.
    pub now_us: u64,
    /// In the order in which they were made.
    pub pools: Vec<PoolVitals>,
}

/// The slots of one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolVitals {
    pub name: &'static str,
    pub slots: usize,
    /// Slots that panicked, and answer with errors.
    pub dead: usize,
    /// Panics after which a slot went on.
    pub restarted: u64,
    /// Messages that wait.
    pub waiting: usize,
    pub handled: u64,
}

impl Volume {
    /// How it is now.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        let shared = self.shared();
        Vitals {
            read_only: shared.health.turned(),
            is_asked: shared.health.is_asked_read_only(),
            available_bytes: shared.budget.space(),
            image_bytes: shared.spares.image_bytes(),
            dirty_bytes: shared.budget.used(),
            dirty_limit_bytes: shared.budget.limit(),
            is_log_full: shared.budget.is_log_full(),
            unreadable: shared.health.unreadable(),
            restored: shared.images.restored(),
            damages: shared.damage.len() as u64,
            is_zeroed: shared.settings().mount.damaged == Damaged::Zero,
            stuck: self.watchdog.stuck(),
            now_us: shared.clock.now_us(),
            pools: self.pool_vitals(),
        }
    }

    fn pool_vitals(&self) -> Vec<PoolVitals> {
        let mut pools: Vec<PoolVitals> = Vec::new();
        for slot in self.runtime.slots() {
            let (name, stats) = (slot.home().pool, slot.stats());
            let at = pools.iter().position(|pool| pool.name == name).unwrap_or_else(|| {
                pools.push(PoolVitals { name, slots: 0, dead: 0, restarted: 0, waiting: 0, handled: 0 });
                pools.len() - 1
            });
            let Some(pool) = pools.get_mut(at) else { continue };
            pool.slots += 1;
            pool.dead += usize::from(stats.dead);
            pool.restarted += stats.restarted;
            pool.waiting += stats.depth;
            pool.handled += stats.handled;
        }
        pools
    }
}
