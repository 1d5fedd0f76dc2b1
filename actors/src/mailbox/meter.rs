//! What a slot measures, and what tests and dashboards read of it.
//!
//! Owns: the metric handles of a slot, its counters, what it is doing, and the gauges of a pool. Must be true: a message costs no look-up of
//! a metric by name; inline messages are timed one in [`SAMPLE`], all others always, so that the clock costs less than the work. Fails: never.
//! Handles are made when the slot is: install the recorder before.

use super::{LANE_NAMES, LANES};
use crate::runtime::Home;
use metrics::{Counter, Histogram};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// One in so many inline messages is timed.
pub(crate) const SAMPLE: u64 = 16;

/// Kinds of messages of an actor that can be named while they are handled; others are called [`OTHER`].
const KINDS_MAX: usize = 64;
const OTHER: &str = "other";

/// A message that is being handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Working {
    pub message: &'static str,
    /// Since when, in microseconds.
    pub since_us: u64,
}

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
    /// Panics after which it went on.
    pub restarted: u64,
}

/// The handles and counters of a slot.
pub(crate) struct Meter {
    pool: &'static str,
    queue_wait: [Histogram; LANES],
    panics: Counter,
    rejected: Counter,
    restarts: Counter,
    /// Names by the number of their kind, for whoever looks from outside.
    names: [OnceLock<&'static str>; KINDS_MAX],
    /// Zero outside of messages; else when the one began, and the number of its kind and one in the lower eight bits.
    working: AtomicU64,
    pub(crate) restarted: AtomicU64,
    pub(crate) handled: AtomicU64,
    pub(crate) handled_inline: AtomicU64,
    pub(crate) called: AtomicU64,
}

impl Meter {
    pub(crate) fn new(pool: &'static str) -> Self {
        Self {
            pool,
            queue_wait: LANE_NAMES.map(|lane| metrics::histogram!("infmap_actor_queue_wait_seconds", "pool" => pool, "lane" => lane)),
            panics: metrics::counter!("infmap_actor_panics_total", "pool" => pool),
            rejected: metrics::counter!("infmap_actor_rejected_total", "pool" => pool),
            restarts: metrics::counter!("infmap_actor_restarts_total", "pool" => pool),
            names: [const { OnceLock::new() }; KINDS_MAX],
            working: AtomicU64::new(0),
            restarted: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            handled_inline: AtomicU64::new(0),
            called: AtomicU64::new(0),
        }
    }

    pub(crate) fn waited(&self, lane: usize, us: u64) {
        if let Some(wait) = self.queue_wait.get(lane) {
            wait.record(seconds(us));
        }
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

    /// The number of a kind among those that this slot has had; `known` keeps their handles. Only the holder of the turn asks.
    pub(crate) fn kind(&self, known: &mut Vec<(&'static str, Histogram)>, kind: &'static str) -> usize {
        // The same text is at the same place nearly always; where it is not, it has two numbers.
        let is_it = |name: &str| std::ptr::eq(name, kind);
        if let Some(number) = known.iter().position(|(name, _)| is_it(name)) {
            return number;
        }
        known.push((kind, metrics::histogram!("infmap_actor_handle_seconds", "pool" => self.pool, "message" => kind)));
        if let Some(name) = self.names.get(known.len() - 1) {
            let _ = name.set(kind);
        }
        known.len() - 1
    }

    /// A message of the kind with this number is handled from now on.
    pub(crate) fn begins(&self, start_us: u64, kind: usize) {
        self.working.store(start_us << 8 | (kind.min(KINDS_MAX) as u64 + 1), Ordering::Relaxed);
    }

    /// None is handled any more.
    pub(crate) fn rests(&self) {
        self.working.store(0, Ordering::Relaxed);
    }

    /// What is handled now.
    pub(crate) fn working(&self) -> Option<Working> {
        let working = self.working.load(Ordering::Relaxed);
        let kind = usize::try_from(working & 0xff).ok()?.checked_sub(1)?;
        let message = self.names.get(kind).and_then(OnceLock::get).copied().unwrap_or(OTHER);
        Some(Working { message, since_us: working >> 8 })
    }

    /// The slot goes on after a panic.
    pub(crate) fn restarted(&self) {
        self.restarts.increment(1);
        self.restarted.fetch_add(1, Ordering::Relaxed);
    }

    /// Records how long a message was handled.
    pub(crate) fn took(of: &Histogram, us: u64) {
        of.record(seconds(us));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a duration in microseconds, for a histogram")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Sets the gauges of a mailbox.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating")]
pub(crate) fn publish(home: Home, stats: &MailboxStats) {
    let (pool, member) = (home.pool, home.index.to_string());
    for (lane, LaneStats { depth, bytes }) in LANE_NAMES.into_iter().zip(stats.lanes) {
        metrics::gauge!("infmap_actor_mailbox_depth", "pool" => pool, "member" => member.clone(), "lane" => lane).set(depth as f64);
        metrics::gauge!("infmap_actor_mailbox_bytes", "pool" => pool, "member" => member.clone(), "lane" => lane).set(bytes as f64);
    }
    metrics::gauge!("infmap_actor_mailbox_capacity", "pool" => pool, "member" => member).set(stats.capacity as f64);
}

/// The slots of one pool together.
#[derive(Default)]
pub(crate) struct PoolStats {
    pub(crate) dead: u32,
    handled: u64,
    handled_inline: u64,
    /// Age of the message that is longest under way.
    oldest_us: u64,
}

impl PoolStats {
    /// Takes in a slot, of which the message under way has this age.
    pub(crate) fn add(&mut self, stats: &MailboxStats, age_us: u64) {
        self.dead += u32::from(stats.dead);
        self.handled += stats.handled;
        self.handled_inline += stats.handled_inline;
        self.oldest_us = self.oldest_us.max(age_us);
    }

    pub(crate) fn publish(&self, pool: &'static str) {
        let by_owner = self.handled.saturating_sub(self.handled_inline);
        metrics::counter!("infmap_actor_messages_total", "pool" => pool, "by" => "owner").absolute(by_owner);
        metrics::counter!("infmap_actor_messages_total", "pool" => pool, "by" => "poster").absolute(self.handled_inline);
        metrics::gauge!("infmap_actor_oldest_message_seconds", "pool" => pool).set(seconds(self.oldest_us));
    }
}
