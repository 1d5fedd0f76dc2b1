//! Admission: how many bytes may wait to be placed, and who is to be told when there is room.
//!
//! Must be true: O9 nobody waits here: who gets no room leaves a callback and keeps its replier; what was taken is given back exactly
//! once. Space is promised at the door: room is given only for bytes that the medium can still take. What is overwritten while a pixel
//! writer has it is placed all the same: it counts as long as it waits there, in memory and on the medium.

use crate::settings::WRITER_THREADS;
use infmap_storage::limits::REGION_BYTES;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes that wait for a pixel writer at which large writes are held back: one image for each writer of the default pool. What is
/// further ahead takes fresh memory, where used blocks would come back soon, and the stream gains nothing by it.
const BACKLOG_BYTES: u64 = (WRITER_THREADS * REGION_BYTES) as u64;
/// Writes of so many bytes are large: one reader of many small files is not held back by somebody's stream.
const LARGE_WRITE_BYTES: u64 = 128 * 1024;

/// Below this, checkpoints come with every tick, and the log may find no room for its next segment.
const SHORT_BYTES: u64 = 4 * REGION_BYTES as u64;

type Callback = Box<dyn FnOnce() + Send>;

/// The budget of dirty bytes, and what is known of the medium.
pub struct Budget {
    limit: AtomicU64,
    used: AtomicU64,
    /// Bytes that the medium can still take, reserve deducted.
    space: AtomicU64,
    /// Bytes that wait for a pixel writer.
    backlog: AtomicU64,
    /// The log is over its hard limit.
    log_full: AtomicBool,
    /// The log has no room for much more, and the medium none for more log.
    log_at_end: AtomicBool,
    /// There was no room for the next segment of the log when it was looked for last.
    log_starved: AtomicBool,
    /// Bytes that the log is sure to take if there is no room for more of it.
    log_room: AtomicU64,
    /// Bytes that are appended and not written, and those that are on their way to be appended.
    log_pending: AtomicU64,
    log_on_its_way: AtomicU64,
    waiting: Mutex<Vec<Callback>>,
    has_waiting: AtomicBool,
    /// One of those who wait has no room, and gets it only from what is placed.
    is_short: AtomicBool,
    /// One of those who wait has room only if what waits for a pixel writer takes less than it may.
    is_tight: AtomicBool,
    /// How often room may have come free.
    releases: AtomicU64,
}

/// Why no room was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Wait: there will be, if what is dirty is placed.
    Wait,
    /// Wait: there is room, but the pixel writers are behind.
    Backlog,
    /// The medium is full.
    Space,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
            space: AtomicU64::new(u64::MAX),
            backlog: AtomicU64::new(0),
            log_full: AtomicBool::new(false),
            log_at_end: AtomicBool::new(false),
            log_starved: AtomicBool::new(false),
            log_room: AtomicU64::new(u64::MAX),
            log_pending: AtomicU64::new(0),
            log_on_its_way: AtomicU64::new(0),
            waiting: Mutex::default(),
            has_waiting: AtomicBool::new(false),
            is_short: AtomicBool::new(false),
            is_tight: AtomicBool::new(false),
            releases: AtomicU64::new(0),
        }
    }

    /// Takes room for `bytes`. One request is always let in when nothing is used, however large.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing was taken.
    pub fn take(&self, bytes: u64) -> Result<(), NoRoom> {
        let space = self.space.load(Ordering::Relaxed);
        if self.log_full.load(Ordering::Acquire) {
            // Where there is no room the log does not become shorter either.
            return Err(if self.used() + bytes > space { NoRoom::Space } else { NoRoom::Wait });
        }
        let taken = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            let fits = used == 0 || used + bytes <= self.limit();
            (fits && used + bytes <= space).then_some(used + bytes)
        });
        match taken {
            Ok(_) => Ok(()),
            Err(used) if used + bytes > space => Err(NoRoom::Space),
            Err(_) => Err(NoRoom::Wait),
        }
    }

    /// Takes room for `fresh` bytes that a write of `length` bytes needs.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing was taken.
    pub fn take_for_write(&self, fresh: u64, length: u64) -> Result<(), NoRoom> {
        let backlog = self.backlog.load(Ordering::Acquire);
        if length >= LARGE_WRITE_BYTES && backlog > BACKLOG_BYTES || backlog > self.limit() || self.is_crowded(fresh) {
            return Err(NoRoom::Backlog);
        }
        self.take(fresh)
    }

    /// Whether there is room for `fresh` bytes, but not if all that waits for a pixel writer was overwritten meanwhile.
    fn is_crowded(&self, fresh: u64) -> bool {
        let space = self.space.load(Ordering::Relaxed);
        let needed = self.used().saturating_add(fresh);
        let is_too_much = || needed <= space && needed.saturating_add(self.backlog.load(Ordering::SeqCst)) > space;
        if !is_too_much() {
            return false;
        }
        // Either this sees what is gathered, or who gathers sees this.
        self.is_tight.store(true, Ordering::SeqCst);
        is_too_much()
    }

    /// So many bytes were handed to a pixel writer.
    pub fn queued(&self, bytes: u64) {
        self.backlog.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Bytes that wait for a pixel writer.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Acquire)
    }

    /// A pixel writer gathered so many bytes, or gave them up.
    pub fn gathered(&self, bytes: u64) {
        let before = self.backlog.fetch_sub(bytes, Ordering::SeqCst);
        if before > BACKLOG_BYTES.min(self.limit()) || self.is_tight.swap(false, Ordering::SeqCst) {
            self.call();
        }
    }

    /// Takes room that must be had: for bytes that exist already.
    pub fn force(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Gives room back, and tells who waits.
    pub fn give(&self, bytes: u64) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::AcqRel);
            self.call();
        }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// Bytes that there are in all.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Lets so many bytes be in use from now on. Less than are in use: nothing more is let in until enough of them are given back.
    pub fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
        self.call();
    }

    /// Whether so much is in use that placing should begin.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.used() > self.limit() / 2 || self.is_short.load(Ordering::Acquire)
    }

    /// Bytes that the medium can still take.
    pub fn set_space(&self, bytes: u64) {
        self.space.store(bytes, Ordering::Relaxed);
        self.call();
    }

    /// Has those who wait look again: what they wait for may never come.
    pub fn look_again(&self) {
        self.call();
    }

    /// Bytes that the medium can still take beyond those promised.
    #[must_use]
    pub fn space(&self) -> u64 {
        self.space.load(Ordering::Relaxed).saturating_sub(self.used())
    }

    /// The log reached its hard limit, or is below it again.
    pub fn set_log_full(&self, full: bool) {
        if self.log_full.swap(full, Ordering::AcqRel) && !full {
            self.call();
        }
    }

    /// Whether the log is over its hard limit.
    #[must_use]
    pub fn is_log_full(&self) -> bool {
        self.log_full.load(Ordering::Acquire)
    }

    /// The log can hardly take more, and there is no room for more of it; or there is again.
    pub fn set_log_at_end(&self, is_at_end: bool) {
        self.log_at_end.store(is_at_end, Ordering::Release);
    }

    /// Whether changes of any kind, removals too, are to be refused for want of room in the log.
    #[must_use]
    pub fn is_log_at_end(&self) -> bool {
        self.log_at_end.load(Ordering::Acquire)
    }

    /// The log found no room for its next segment; or has one.
    pub fn set_log_starved(&self, is_starved: bool) {
        self.log_starved.store(is_starved, Ordering::Release);
    }

    /// Whether the log waits for room for its next segment. It looks again when it is told to, and not by itself.
    #[must_use]
    pub fn is_log_starved(&self) -> bool {
        self.log_starved.load(Ordering::Acquire)
    }

    /// The log is sure to take so many bytes from here on, wherever its next segment is to come from.
    pub fn set_log_room(&self, bytes: u64) {
        self.log_room.store(bytes, Ordering::Release);
    }

    #[cfg(test)]
    pub fn log_room(&self) -> u64 {
        self.log_room.load(Ordering::Acquire)
    }

    /// So many bytes are appended and not known to be written.
    pub fn set_log_pending(&self, bytes: u64) {
        self.log_pending.store(bytes, Ordering::Release);
    }

    /// So many bytes were sent to be appended.
    pub fn log_sent(&self, bytes: u64) {
        self.log_on_its_way.fetch_add(bytes, Ordering::AcqRel);
    }

    /// They were appended, or never will be.
    pub fn log_arrived(&self, bytes: u64) {
        self.log_on_its_way.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Whether writes are refused, or soon will be.
    #[must_use]
    pub fn has_little_space(&self) -> bool {
        self.space() < SHORT_BYTES
    }

    /// Bytes of files and batches that the log takes now: all, while there is room for more of it. Where there may be none, the other half
    /// of what is left is for what cannot be refused: rows of bytes that are placed, grants, roots.
    #[must_use]
    pub fn log_left(&self) -> u64 {
        if !self.is_log_starved() && !self.has_little_space() {
            return u64::MAX;
        }
        let room = self.log_room.load(Ordering::Acquire);
        let under_way = self.log_pending.load(Ordering::Acquire).saturating_add(self.log_on_its_way.load(Ordering::Acquire));
        if self.is_log_at_end() { 0 } else { (room / 2).saturating_sub(under_way) }
    }

    /// What withholds answers now, for people.
    #[must_use]
    pub fn holds_back(&self) -> Option<&'static str> {
        match (self.is_log_full(), self.has_waiting.load(Ordering::Relaxed)) {
            (true, _) => Some("a checkpoint, which makes room in the log"),
            (false, true) => Some("room for bytes that are not placed yet"),
            (false, false) => None,
        }
    }

    /// How often room may have come free so far: to be read before [`Self::take`], for [`Self::wait`].
    #[must_use]
    pub fn releases(&self) -> u64 {
        self.releases.load(Ordering::SeqCst)
    }

    /// Calls back once, when room may have come free since [`Self::releases`] was `seen`: perhaps at once.
    pub fn wait(&self, reason: NoRoom, seen: u64, callback: impl FnOnce() + Send + 'static) {
        if reason == NoRoom::Wait {
            self.is_short.store(true, Ordering::Release);
        }
        self.waiting.lock().push(Box::new(callback));
        self.has_waiting.store(true, Ordering::SeqCst);
        // Either this sees the release, or the release sees who waits.
        if self.releases() != seen {
            self.wake();
        }
    }

    fn call(&self) {
        self.releases.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    /// Not a release: two who wait and count each other's waking as one would wake each other for ever.
    fn wake(&self) {
        if self.has_waiting.swap(false, Ordering::SeqCst) {
            self.is_short.store(false, Ordering::Release);
            let waiting = std::mem::take(&mut *self.waiting.lock());
            waiting.into_iter().for_each(|callback| callback());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Seen to fail when only what is held counted: a volume of 130 MiB grew to 154.
    #[test]
    fn what_is_overwritten_on_its_way_takes_room_until_it_is_placed() {
        let budget = Budget::new(100);
        budget.set_space(100);
        assert_eq!(budget.take_for_write(60, 60), Ok(()));
        budget.queued(60);
        // Written once more: nothing that is fresh, but the medium gets it twice.
        let seen = budget.releases();
        assert_eq!(budget.take_for_write(0, 60), Err(NoRoom::Backlog));
        budget.gathered(20);
        assert_ne!(budget.releases(), seen, "who waits is told");
        assert_eq!(budget.take_for_write(0, 60), Ok(()));
        assert_eq!(budget.take_for_write(41, 41), Err(NoRoom::Space), "waiting would not help");
        // Memory too: whoever writes the same again and again is held back.
        budget.set_space(u64::MAX);
        budget.queued(61);
        let seen = budget.releases();
        assert_eq!(budget.take_for_write(0, 1), Err(NoRoom::Backlog));
        budget.gathered(61);
        assert_ne!(budget.releases(), seen);
        assert_eq!(budget.take_for_write(0, 1), Ok(()));
    }

    #[test]
    fn room_is_given_up_to_the_limit_and_waiters_are_told() {
        let budget = Budget::new(100);
        assert_eq!((budget.take(60), budget.take(60)), (Ok(()), Err(NoRoom::Wait)));
        let told = Arc::new(AtomicBool::new(false));
        let tell = || {
            let told = told.clone();
            move || told.store(true, Ordering::SeqCst)
        };
        let seen = budget.releases();
        budget.wait(NoRoom::Wait, seen, tell());
        budget.give(60);
        assert!(told.swap(false, Ordering::SeqCst));
        budget.wait(NoRoom::Wait, seen, tell());
        assert!(told.load(Ordering::SeqCst), "room came free between the refusal and the wait");
        assert_eq!(budget.take(1000), Ok(()), "a request alone is always let in");
    }

    #[test]
    fn a_limit_that_is_lowered_below_what_is_used_lets_nothing_in_until_enough_is_given_back() {
        let budget = Budget::new(100);
        assert_eq!(budget.take(80), Ok(()));
        budget.set_limit(50);
        assert_eq!(budget.take(1), Err(NoRoom::Wait));
        assert!(budget.is_pressed());
        budget.give(40);
        assert_eq!((budget.take(10), budget.take(1)), (Ok(()), Err(NoRoom::Wait)));
        let seen = budget.releases();
        budget.set_limit(51);
        assert_ne!(budget.releases(), seen, "who waits is told");
        assert_eq!(budget.take(1), Ok(()));
    }

    #[test]
    fn large_writes_wait_for_the_pixel_writers_and_small_ones_do_not() {
        let budget = Budget::new(1 << 30);
        budget.queued(BACKLOG_BYTES);
        assert_eq!(budget.take_for_write(1 << 20, 1 << 20), Ok(()));
        budget.queued(1);
        assert_eq!(budget.take_for_write(1 << 20, 1 << 20), Err(NoRoom::Backlog));
        assert_eq!(budget.take_for_write(4096, 4096), Ok(()));
        let seen = budget.releases();
        budget.gathered(1);
        assert_ne!(budget.releases(), seen, "who waits is told");
        assert_eq!(budget.take_for_write(1 << 20, 1 << 20), Ok(()));
    }

    #[test]
    fn one_who_is_woken_late_wakes_nobody_again() {
        let budget = Budget::new(100);
        let seen = budget.releases();
        budget.give(0);
        budget.set_space(1000);
        let now = budget.releases();
        assert_ne!(seen, now);
        budget.wait(NoRoom::Wait, seen, || {});
        assert_eq!(budget.releases(), now);
    }

    #[test]
    fn a_full_medium_is_refused_and_a_full_log_waits() {
        let budget = Budget::new(100);
        budget.set_space(50);
        assert_eq!(budget.take(60), Err(NoRoom::Space));
        budget.set_log_full(true);
        assert_eq!((budget.take(1), budget.take(60)), (Err(NoRoom::Wait), Err(NoRoom::Space)));
        budget.set_log_full(false);
        assert_eq!(budget.take(50), Ok(()));
        assert_eq!(budget.space(), 0);
    }
}
