//! Time as an argument: the real clock, and one that tests move by hand.
//!
//! Owns: the trait `Clock`. Must be true: CLK-1 `now_us` never goes back. Fails: never; a host clock before 1970 gives negative
//! wall-clock time.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Microseconds since an arbitrary start, never going back: for delays, deadlines and waiting times.
    fn now_us(&self) -> u64;
    /// Nanoseconds since 1970 in UTC: for the times of files. May jump; ends in the year 2262.
    fn wall_ns(&self) -> i64;
}

/// The clock of the host.
pub struct RealClock {
    start: Instant,
}

impl RealClock {
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn wall_ns(&self) -> i64 {
        let clamp = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => clamp(after),
            Err(before) => -clamp(before.duration()),
        }
    }
}

/// A clock that stands still until it is moved.
pub struct SimClock {
    now_us: AtomicU64,
    wall_start_ns: AtomicI64,
}

impl SimClock {
    /// A clock at zero microseconds, and at `wall_start_ns` nanoseconds since 1970.
    #[must_use]
    pub fn new(wall_start_ns: i64) -> Self {
        Self { now_us: AtomicU64::new(0), wall_start_ns: AtomicI64::new(wall_start_ns) }
    }

    /// Moves both readings forward.
    pub fn advance(&self, by: Duration) {
        self.now_us.fetch_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Moves to `due_us`, unless that is past already.
    pub(crate) fn advance_to(&self, due_us: u64) {
        self.now_us.fetch_max(due_us, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an administrator or NTP does.
    pub fn set_wall_ns(&self, wall_ns: i64) {
        self.wall_start_ns.store(wall_ns.saturating_sub(self.elapsed_ns()), Ordering::SeqCst);
    }

    fn elapsed_ns(&self) -> i64 {
        i64::try_from(self.now_us().saturating_mul(1000)).unwrap_or(i64::MAX)
    }
}

impl Clock for SimClock {
    fn now_us(&self) -> u64 {
        self.now_us.load(Ordering::SeqCst)
    }

    fn wall_ns(&self) -> i64 {
        self.wall_start_ns.load(Ordering::SeqCst).saturating_add(self.elapsed_ns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_clock_moves_only_by_hand() {
        let clock = SimClock::new(5_000);
        assert_eq!((clock.now_us(), clock.wall_ns()), (0, 5_000));
        clock.advance(Duration::from_micros(7));
        assert_eq!((clock.now_us(), clock.wall_ns()), (7, 12_000));
        clock.set_wall_ns(-1);
        assert_eq!((clock.now_us(), clock.wall_ns()), (7, -1));
    }
}
