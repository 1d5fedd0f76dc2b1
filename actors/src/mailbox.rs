//! The only way to send: lanes in which messages wait for a slot, counted and measured.
//!
//! Owns: `Lane`, `Envelope`, the sending side `Mailbox` and the taking side `Inbox`. Must be true: MBX-1 a lane is FIFO, the data lane
//! among messages of one key; MBX-2 (O7) a higher lane goes first, but a lane that was passed over too often or too long gives one message
//! that is older than what would go first; MBX-3 a foreground message lifts those of its key in the data lane that were posted before
//! it; MBX-4 what is posted is accepted: capacity is the admission limit of whoever asks `has_room` first, so depth may pass it by the
//! credits of the others.
//! Fails: never.

mod limits;
mod meter;
#[cfg(test)]
mod tests;

pub(crate) use limits::Limits;
pub use limits::Patience;
pub use meter::{LaneStats, MailboxStats, Working};
pub(crate) use meter::{Meter, PoolStats, SAMPLE, publish};

use crate::sync::{AtomicU64, Ordering};
use crate::turn::Tally;
use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;

/// Which queue of a mailbox a message waits in. The sender chooses (O7): the same operation is urgent from the door and not otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Lane {
    /// Whatever comes from the door, and node reads.
    Foreground = 0,
    /// Completions of placement and other extent rows of a shard.
    Data = 1,
    /// Write-behind and commits by the timer.
    WriteBehind = 2,
    /// Prefetch, scan, clean.
    Background = 3,
}

/// Lanes of a mailbox.
pub const LANES: usize = 4;
/// Their names in metrics, in their order.
pub const LANE_NAMES: [&str; LANES] = ["foreground", "data", "write_behind", "background"];

const FOREGROUND: usize = Lane::Foreground as usize;
const DATA: usize = Lane::Data as usize;

/// What a mailbox must know of a message.
pub trait Envelope: Send + 'static {
    /// Name of the message in metrics: one of few, in snake case.
    fn kind(&self) -> &'static str;
    /// True if the poster's thread may run it: no I/O, no sync, bounded work of a few microseconds.
    fn inline(&self) -> bool {
        false
    }
    /// Bytes of file data that it carries.
    fn payload_bytes(&self) -> usize {
        0
    }
    /// The inode among whose messages posting order holds from the data lane to the foreground lane (MBX-3); `None` for the others.
    fn order_key(&self) -> Option<u64> {
        None
    }
}

/// A message in its mailbox.
pub(crate) struct Entry<M> {
    pub(crate) message: M,
    /// Position among all that was posted to this mailbox.
    pub(crate) ticket: u64,
    /// When it was posted, if its times are measured.
    pub(crate) posted_us: Option<u64>,
    pub(crate) inline: bool,
    payload_bytes: usize,
    pub(crate) lane: usize,
}

struct Queue<M> {
    sender: flume::Sender<Entry<M>>,
    receiver: flume::Receiver<Entry<M>>,
    posted: AtomicU64,
    taken: AtomicU64,
    bytes: AtomicUsize,
}

/// The sending side: shared by all who post.
pub(crate) struct Mailbox<M> {
    lanes: [Queue<M>; LANES],
    tally: Tally,
    rejected: AtomicU64,
    pub(crate) limits: Limits,
}

impl<M: Envelope> Mailbox<M> {
    pub(crate) fn new(capacity: usize) -> Self {
        let queue = |_| {
            let (sender, receiver) = flume::unbounded();
            Queue { sender, receiver, posted: AtomicU64::new(0), taken: AtomicU64::new(0), bytes: AtomicUsize::new(0) }
        };
        Self { lanes: std::array::from_fn(queue), tally: Tally::new(), rejected: AtomicU64::new(0), limits: Limits::new(capacity) }
    }

    /// Gives the message its position. `stamp` reads the clock; it is asked for all messages but most of the inline ones.
    pub(crate) fn push(&self, lane: Lane, message: M, stamp: impl FnOnce() -> u64) -> (u64, bool) {
        let lane = lane as usize;
        let queue = &self.lanes[lane];
        let (inline, payload_bytes) = (message.inline(), message.payload_bytes());
        let ticket = self.tally.ticket();
        let measured = !inline || lane != FOREGROUND || ticket.is_multiple_of(SAMPLE);
        let posted_us = measured.then(stamp);
        if payload_bytes != 0 {
            queue.bytes.fetch_add(payload_bytes, Ordering::Relaxed);
        }
        // Cannot fail: the receiver lives in the same queue.
        let _ = queue.sender.send(Entry { message, ticket, posted_us, inline, payload_bytes, lane });
        queue.posted.fetch_add(1, Ordering::Release);
        (ticket, inline)
    }

    /// True if something was posted and not taken.
    pub(crate) fn is_waiting(&self) -> bool {
        self.tally.waiting() > 0
    }

    /// Messages that wait.
    pub(crate) fn depth(&self) -> usize {
        usize::try_from(self.tally.waiting()).unwrap_or(usize::MAX)
    }

    /// Admission: true if a message from the door may come now. False is counted as withheld.
    pub(crate) fn has_room(&self) -> bool {
        let room = self.depth() < self.limits.capacity();
        if !room {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        }
        room
    }

    pub(crate) fn stats(&self) -> MailboxStats {
        let lane = |queue: &Queue<M>| {
            let taken = queue.taken.load(Ordering::Acquire);
            LaneStats { depth: queue.posted.load(Ordering::Acquire).saturating_sub(taken), bytes: queue.bytes.load(Ordering::Relaxed) }
        };
        let lanes = self.lanes.each_ref().map(lane);
        MailboxStats {
            depth: self.depth(),
            capacity: self.limits.capacity(),
            bytes: lanes.iter().map(|lane| lane.bytes).sum(),
            lanes,
            posted: self.lanes.iter().map(|queue| queue.posted.load(Ordering::Relaxed)).sum(),
            rejected: self.rejected.load(Ordering::Relaxed),
            ..MailboxStats::default()
        }
    }
}

/// The taking side: belongs to whoever has the turn.
pub(crate) struct Inbox<M> {
    /// What was fetched from the lanes and not taken yet: a whole lane is fetched under one lock.
    staged: [VecDeque<Entry<M>>; LANES],
    /// What goes before everything: data messages that a foreground one lifts, and that one behind them.
    lifted: VecDeque<Entry<M>>,
    fetched: [u64; LANES],
    passed: [u32; LANES],
    due_us: [u64; LANES],
}

/// Where the next message comes from.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Source {
    Lifted,
    Lane(usize),
}

impl<M: Envelope> Inbox<M> {
    pub(crate) fn new() -> Self {
        Self {
            staged: std::array::from_fn(|_| VecDeque::new()),
            lifted: VecDeque::new(),
            fetched: [0; LANES],
            passed: [0; LANES],
            due_us: [u64::MAX; LANES],
        }
    }

    /// Chooses the next message. Higher lanes are looked at first: whatever was posted before what is seen there is seen too.
    pub(crate) fn pick(&mut self, mailbox: &Mailbox<M>, now_us: u64) -> Option<Source> {
        if !self.lifted.is_empty() {
            return Some(Source::Lifted);
        }
        for lane in 0..LANES {
            if self.staged[lane].is_empty() {
                self.fetch(mailbox, lane);
            }
        }
        let first = (0..LANES).find(|lane| !self.staged[*lane].is_empty())?;
        let lane = self.starving(mailbox, first, now_us).unwrap_or(first);
        if lane == FOREGROUND && self.lift(mailbox) {
            return Some(Source::Lifted);
        }
        Some(Source::Lane(lane))
    }

    /// A lane below `first` whose patience is over, and whose head was posted before the head of `first`.
    fn starving(&self, mailbox: &Mailbox<M>, first: usize, now_us: u64) -> Option<usize> {
        let before = self.staged[first].front()?.ticket;
        (first + 1..LANES).find(|lane| {
            let impatient = self.passed[*lane] >= mailbox.limits.passes(*lane) || now_us >= self.due_us[*lane];
            impatient && self.staged[*lane].front().is_some_and(|head| head.ticket < before)
        })
    }

    /// Puts the data messages that the foreground head lifts before it (MBX-3). False: there are none.
    fn lift(&mut self, mailbox: &Mailbox<M>) -> bool {
        let Some(head) = self.staged[FOREGROUND].front() else { return false };
        let (Some(key), ticket) = (head.message.order_key(), head.ticket) else { return false };
        self.fetch(mailbox, DATA);
        let earlier = |entry: &Entry<M>| entry.ticket < ticket && entry.message.order_key() == Some(key);
        if !self.staged[DATA].iter().any(earlier) {
            return false;
        }
        let (lifted, stay) = self.staged[DATA].drain(..).partition(earlier);
        (self.lifted, self.staged[DATA]) = (lifted, stay);
        self.lifted.extend(self.staged[FOREGROUND].pop_front());
        true
    }

    fn fetch(&mut self, mailbox: &Mailbox<M>, lane: usize) {
        let queue = &mailbox.lanes[lane];
        if queue.posted.load(Ordering::Acquire) != self.fetched[lane] {
            let before = self.staged[lane].len();
            self.staged[lane].extend(queue.receiver.drain());
            self.fetched[lane] += (self.staged[lane].len() - before) as u64;
        }
    }

    pub(crate) fn head(&self, source: Source) -> Option<&Entry<M>> {
        match source {
            Source::Lifted => self.lifted.front(),
            Source::Lane(lane) => self.staged[lane].front(),
        }
    }

    pub(crate) fn take(&mut self, mailbox: &Mailbox<M>, source: Source, now_us: u64) -> Option<Entry<M>> {
        let entry = match source {
            Source::Lifted => self.lifted.pop_front(),
            Source::Lane(lane) => self.staged[lane].pop_front(),
        }?;
        self.passed[entry.lane] = 0;
        self.due_us[entry.lane] = u64::MAX;
        for (lane, patience_us) in mailbox.limits.deadlines_us().enumerate().skip(entry.lane + 1) {
            if !self.staged[lane].is_empty() {
                self.passed[lane] = self.passed[lane].saturating_add(1);
                self.due_us[lane] = self.due_us[lane].min(now_us.saturating_add(patience_us));
            }
        }
        Self::count_taken(mailbox, &entry);
        Some(entry)
    }

    fn count_taken(mailbox: &Mailbox<M>, entry: &Entry<M>) {
        let queue = &mailbox.lanes[entry.lane];
        if entry.payload_bytes != 0 {
            queue.bytes.fetch_sub(entry.payload_bytes, Ordering::Relaxed);
        }
        // Only the holder of the turn changes these two.
        queue.taken.store(queue.taken.load(Ordering::Relaxed) + 1, Ordering::Release);
        mailbox.tally.took_one();
    }

    /// Everything that waits, in the order of the lanes: for a slot that is dead.
    pub(crate) fn take_all(&mut self, mailbox: &Mailbox<M>) -> Vec<M> {
        for lane in 0..LANES {
            self.fetch(mailbox, lane);
        }
        let mut all: Vec<Entry<M>> = self.lifted.drain(..).collect();
        for lane in &mut self.staged {
            all.extend(lane.drain(..));
        }
        all.iter().for_each(|entry| Self::count_taken(mailbox, entry));
        all.into_iter().map(|entry| entry.message).collect()
    }
}
