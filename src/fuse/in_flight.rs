//! Requests that the kernel waits for: since when each is under way, so that the watchdog can name those that nobody answers.
//!
//! Owns: `InFlight`, and `Traffic`, what others see of it. fuser answers INTERRUPT with ENOSYS, so nothing but an answer ends a request:
//! each has a deadline here. Must be true: FLY-1 a request costs one relaxed store when it begins and one when it ends: a seat is taken
//! only by the thread that takes requests, in a row of its own, and left by whoever answers. Fails: never; a request that finds no seat
//! is not watched.

use super::meters::Op;
use infmap_actors::clock::Clock;
use infmap_actors::watchdog::{Overdue, Who};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Rows at most: as many as threads may take requests.
const ROWS: usize = 64;
/// Seats of a row: more than the kernel usually has under way.
const SEATS: usize = 1024;
/// Seats that are looked at before a request goes without.
const TRIES: usize = 64;
/// No seat.
const NONE: usize = usize::MAX;

/// Time for an answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
/// The same for what writes or copies whatever is there.
pub(super) const SYNC_DEADLINE: Duration = Duration::from_secs(120);

static NEXT_ROW: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static ROW: usize = NEXT_ROW.fetch_add(1, Ordering::Relaxed) % ROWS;
}

struct Row {
    /// Zero: free; else the microseconds and one in the upper bits, the kind in the lower eight.
    seats: Box<[AtomicU64]>,
    next: AtomicUsize,
}

/// A place among those under way.
#[derive(Debug)]
pub(super) struct Seat(usize);

/// All requests under way.
pub(super) struct InFlight {
    rows: [OnceLock<Row>; ROWS],
    /// One moment by both clocks.
    moment: (Instant, u64),
}

impl InFlight {
    /// For a volume that goes by this clock.
    pub(super) fn new(clock: &dyn Clock) -> Self {
        Self { rows: [const { OnceLock::new() }; ROWS], moment: (Instant::now(), clock.now_us()) }
    }

    /// A request of this kind began then.
    pub(super) fn begin(&self, op: Op, began: Instant) -> Seat {
        let row = ROW.with(|row| *row);
        let Some(seats) = self.rows.get(row) else { return Seat(NONE) };
        let seats = seats.get_or_init(|| Row { seats: (0..SEATS).map(|_| AtomicU64::new(0)).collect(), next: AtomicUsize::new(0) });
        let us = self.moment.1.saturating_add(u64::try_from(began.saturating_duration_since(self.moment.0).as_micros()).unwrap_or(0));
        let first = seats.next.load(Ordering::Relaxed);
        for at in (first..first + TRIES).map(|at| at % SEATS) {
            let Some(seat) = seats.seats.get(at).filter(|seat| seat.load(Ordering::Relaxed) == 0) else { continue };
            seat.store((us + 1) << 8 | op as u64, Ordering::Relaxed);
            seats.next.store((at + 1) % SEATS, Ordering::Relaxed);
            return Seat(row * SEATS + at);
        }
        Seat(NONE)
    }

    /// It was answered.
    pub(super) fn end(&self, seat: &Seat) {
        let row = self.rows.get(seat.0 / SEATS).and_then(OnceLock::get);
        if let Some(seat) = row.and_then(|row| row.seats.get(seat.0 % SEATS)) {
            seat.store(0, Ordering::Relaxed);
        }
    }

    /// How many of each kind there are, and since when the oldest is, by the number of the kind.
    fn by_kind(&self) -> [(u64, Option<u64>); Op::COUNT] {
        let mut found = [(0, None); Op::COUNT];
        for seat in self.rows.iter().filter_map(OnceLock::get).flat_map(|row| &row.seats) {
            let taken = seat.load(Ordering::Relaxed);
            let Some(since_us) = (taken >> 8).checked_sub(1) else { continue };
            if let Some((number, oldest)) = found.get_mut((taken & 0xff) as usize) {
                *number += 1;
                *oldest = Some(oldest.map_or(since_us, |oldest: u64| oldest.min(since_us)));
            }
        }
        found
    }

    /// Those that are past their deadline.
    pub(super) fn overdue(&self, now_us: u64) -> Vec<Overdue> {
        let rows = self.rows.iter().enumerate().filter_map(|(number, row)| Some((number, row.get()?)));
        let seats = rows.flat_map(|(number, row)| row.seats.iter().enumerate().map(move |(at, seat)| (number * SEATS + at, seat)));
        let taken = seats.filter_map(|(number, seat)| {
            let taken = seat.load(Ordering::Relaxed);
            let (op, since_us) = (Op::at((taken & 0xff) as usize)?, (taken >> 8).checked_sub(1)?);
            let late = now_us.saturating_sub(since_us) >= u64::try_from(deadline(op).as_micros()).unwrap_or(u64::MAX);
            late.then_some(Overdue { who: Who::Request { kind: op.name(), number }, since_us })
        });
        taken.collect()
    }
}

/// What goes through the door now.
#[derive(Clone)]
pub struct Traffic {
    in_flight: Arc<InFlight>,
    handles: Arc<Handles>,
}

/// What is open, as the kernel says. It may keep a last RELEASE to itself.
#[derive(Debug, Default)]
pub(super) struct Handles {
    pub files: AtomicI64,
    pub directories: AtomicI64,
}

/// The requests of one kind that were taken and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    pub op: &'static str,
    pub requests: u64,
    /// When the oldest began, in microseconds by the clock of the volume.
    pub oldest_since_us: Option<u64>,
}

impl Traffic {
    pub(super) fn new(in_flight: Arc<InFlight>, handles: Arc<Handles>) -> Self {
        Self { in_flight, handles }
    }

    /// Open files and directories.
    #[must_use]
    pub fn open_handles(&self) -> (u64, u64) {
        let of = |open: &AtomicI64| u64::try_from(open.load(Ordering::Relaxed)).unwrap_or(0);
        (of(&self.handles.files), of(&self.handles.directories))
    }

    /// Every kind of request.
    #[must_use]
    pub fn under_way(&self) -> Vec<UnderWay> {
        let by_kind = self.in_flight.by_kind().into_iter().enumerate();
        let known = by_kind.filter_map(|(number, found)| Some((Op::at(number)?, found)));
        known.map(|(op, (requests, oldest_since_us))| UnderWay { op: op.name(), requests, oldest_since_us }).collect()
    }
}

fn deadline(op: Op) -> Duration {
    match op {
        Op::Fsync | Op::Fsyncdir | Op::Flush | Op::CopyFileRange => SYNC_DEADLINE,
        _ => DEADLINE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use infmap_actors::clock::SimClock;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_request_is_overdue_after_its_deadline_until_it_is_answered() {
        let flying = InFlight::new(&SimClock::new(0));
        let began = flying.moment.0;
        let (read, sync) = (flying.begin(Op::Read, began), flying.begin(Op::Fsync, began + Duration::from_secs(1)));
        let names = |now_us| flying.overdue(now_us).iter().map(|late| (late.who.to_string(), late.since_us)).collect::<Vec<_>>();
        assert_eq!(names(30 * SECOND - 1), []);
        assert_eq!(names(30 * SECOND), [("a request `read`".to_string(), 0)]);
        assert_eq!(names(121 * SECOND).len(), 2);
        flying.end(&read);
        assert_eq!(names(121 * SECOND), [("a request `fsync`".to_string(), SECOND)]);
        flying.end(&sync);
        assert_eq!(names(u64::MAX), []);
    }

    #[test]
    fn those_under_way_are_counted_by_kind_with_the_oldest() {
        let traffic = Traffic::new(Arc::new(InFlight::new(&SimClock::new(0))), Arc::default());
        let began = traffic.in_flight.moment.0;
        let later = traffic.in_flight.begin(Op::Read, began + Duration::from_secs(1));
        let first = traffic.in_flight.begin(Op::Read, began);
        let of = |name| traffic.under_way().into_iter().find(|kind| kind.op == name).map(|kind| (kind.requests, kind.oldest_since_us));
        assert_eq!((of("read"), of("write")), (Some((2, Some(0))), Some((0, None))));
        traffic.in_flight.end(&first);
        assert_eq!(of("read"), Some((1, Some(SECOND))));
        traffic.in_flight.end(&later);
        assert_eq!(of("read"), Some((0, None)));
    }

    #[test]
    fn seats_are_used_again_and_whoever_finds_none_goes_without() {
        let flying = InFlight::new(&SimClock::new(0));
        let began = flying.moment.0;
        for _ in 0..3 * SEATS {
            flying.end(&flying.begin(Op::Lookup, began));
        }
        let seats: Vec<Seat> = (0..SEATS + 5).map(|_| flying.begin(Op::Write, began)).collect();
        assert_eq!(flying.overdue(u64::MAX >> 8).len(), SEATS);
        seats.iter().for_each(|seat| flying.end(seat));
        assert_eq!(flying.overdue(u64::MAX >> 8), []);
    }
}
