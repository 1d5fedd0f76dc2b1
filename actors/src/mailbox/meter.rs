//! What a slot measures, and what tests and dashboards read of it.
//!
//! Owns: the metric handles of a slot, its counters, and the gauges of a pool. Must be true: a message costs no look-up of a metric by
//! name; inline messages are timed one in [`SAMPLE`], all others always, so that the clock costs less than the work. Fails: never.
//! Handles are made when the slot is: install the recorder before.

use super::LANES;
use metrics::{Counter, Histogram};
use std::sync::atomic::{AtomicU64, Ordering};

/// One in so many inline messages is timed.
pub(crate) const SAMPLE: u64 = 16;

/// One lane at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Messages that wait.
    pub depth: u64,
    /// Payload bytes that wait.
    pub bytes: usize,
}

/// One slot at one moment; sums since its start where a past participle says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailboxStats {
    /// Messages that wait.
    pub depth: usize,
    /// Admission limit of the door, in messages.
    pub capacity: usize,
    /// Payload bytes that wait.
    pub bytes: usize,
    /// The same by lane.
    pub lanes: [LaneStats; LANES],
    pub posted: u64,
    /// Admissions withheld.
    pub rejected: u64,
    /// Messages handled, by anybody.
    pub handled: u64,
    /// Messages handled on the thread of a poster.
    pub handled_inline: u64,
    /// Calls to the owner.
    pub called: u64,
    /// The slot panicked, or was closed.
    pub dead: bool,
}

/// The handles and counters of a slot.
pub(crate) struct Meter {
    pool: &'static str,
    queue_wait: Histogram,
    panics: Counter,
    rejected: Counter,
    pub(crate) handled: AtomicU64,
    pub(crate) handled_inline: AtomicU64,
    pub(crate) called: AtomicU64,
}

impl Meter {
    pub(crate) fn new(pool: &'static str) -> Self {
        Self {
            pool,
            queue_wait: metrics::histogram!("infmap_actor_queue_wait_seconds", "pool" => pool),
            panics: metrics::counter!("infmap_actor_panics_total", "pool" => pool),
            rejected: metrics::counter!("infmap_actor_rejected_total", "pool" => pool),
            handled: AtomicU64::new(0),
            handled_inline: AtomicU64::new(0),
            called: AtomicU64::new(0),
        }
    }

    pub(crate) fn waited(&self, us: u64) {
        self.queue_wait.record(seconds(us));
    }

    pub(crate) fn panicked(&self) {
        self.panics.increment(1);
    }

    pub(crate) fn rejected(&self) {
        self.rejected.increment(1);
    }

    /// Counts the messages of a batch. Only the holder of the turn does.
    pub(crate) fn handled(&self, messages: u64, inline: bool) {
        let add = |counter: &AtomicU64| counter.store(counter.load(Ordering::Relaxed) + messages, Ordering::Relaxed);
        add(&self.handled);
        if inline {
            add(&self.handled_inline);
        }
    }

    /// Records how long a message of this kind was handled; `known` keeps the handles that were looked up.
    pub(crate) fn took(&self, known: &mut Vec<(&'static str, Histogram)>, kind: &'static str, us: u64) {
        if let Some((_, histogram)) = known.iter().find(|(name, _)| *name == kind) {
            histogram.record(seconds(us));
            return;
        }
        let histogram = metrics::histogram!("infmap_actor_handle_seconds", "pool" => self.pool, "message" => kind);
        histogram.record(seconds(us));
        known.push((kind, histogram));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a duration in microseconds, for a histogram")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Sets the gauges of a pool from the state of all its slots.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating")]
pub(crate) fn publish(pool: &'static str, slots: &[MailboxStats]) {
    let sum = |of: fn(&MailboxStats) -> usize| slots.iter().map(of).sum::<usize>() as f64;
    metrics::gauge!("infmap_actor_mailbox_depth", "pool" => pool).set(sum(|slot| slot.depth));
    metrics::gauge!("infmap_actor_mailbox_capacity", "pool" => pool).set(sum(|slot| slot.capacity));
    metrics::gauge!("infmap_actor_mailbox_bytes", "pool" => pool).set(sum(|slot| slot.bytes));
    metrics::gauge!("infmap_actor_workers", "pool" => pool, "state" => "dead").set(sum(|slot| usize::from(slot.dead)));
}
