//! How often the same message is written: a fault that comes back with every request must not fill the disk that holds the log.
//!
//! Owns: the count of what is left out. Must be true: LOG-1 of warnings and errors that come from one place in the program at most
//! [`LINES_A_MINUTE`] are written in a minute, and when it is over it is said how many more there were; LOG-2 whoever says something waits for
//! nobody but a lock that is held for a moment, and for what the writer does. Fails: never; without its thread nobody hears how many there
//! were.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Lines of one place in a minute.
const LINES_A_MINUTE: u64 = 20;
const MINUTE: Duration = Duration::from_secs(60);
/// Under which the summaries are said, which are not limited themselves.
const SUMMARIES: &str = "infmap::more";

/// A file and a line of the program.
type Spot = (&'static str, u32);

/// Lets through what is not too much.
pub(super) struct Limiter {
    board: Arc<Board>,
}

impl Limiter {
    /// One that has counted nothing yet, with a thread that says what it left out.
    #[must_use]
    pub(super) fn start() -> Self {
        let board: Arc<Board> = Arc::default();
        let teller = board.clone();
        let _: io::Result<_> = std::thread::Builder::new().name("infmap-log".into()).spawn(move || teller.tell_for_ever());
        Self { board }
    }
}

/// What one place in the program has said.
#[derive(Debug)]
struct Place {
    /// The minute that is counted began then.
    since: Instant,
    said: u64,
    more: u64,
    level: Level,
    /// The first that was left out.
    text: String,
}

/// The end of a minute in which something was left out.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    level: Level,
    more: u64,
    text: String,
}

impl Summary {
    fn tell(&self) {
        let Self { level, more, text } = self;
        let (more, text) = (grouped(*more), text.as_str());
        if *level == Level::ERROR {
            tracing::error!(target: SUMMARIES, "and {more} more within a minute: {text}");
        } else {
            tracing::warn!(target: SUMMARIES, "and {more} more within a minute: {text}");
        }
    }
}

/// What all places have said within the minute.
#[derive(Default)]
struct Board {
    places: Mutex<HashMap<Spot, Place>>,
    /// Minutes that were over when the next message of their place came.
    ended: Mutex<Vec<Summary>>,
    /// There is something to be said, now or when the minute is over.
    changed: Condvar,
}

impl Board {
    fn places(&self) -> MutexGuard<'_, HashMap<Spot, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this message is to be written.
    fn admits(&self, spot: Spot, level: Level, now: Instant, text: impl FnOnce() -> String) -> bool {
        let mut places = self.places();
        let place = places.entry(spot).or_insert_with(|| Place { since: now, said: 0, more: 0, level, text: String::new() });
        if now.duration_since(place.since) >= MINUTE
            && let Some(summary) = place.end()
        {
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(summary);
            self.changed.notify_one();
        }
        if place.said == 0 {
            place.since = now;
        }
        if place.said < LINES_A_MINUTE {
            place.said += 1;
            return true;
        }
        place.more += 1;
        if place.more == 1 {
            place.text = text();
            self.changed.notify_one();
        }
        false
    }

    /// The summaries of minutes that are over, and when the next one will be.
    fn over(&self, now: Instant) -> (Vec<Summary>, Option<Instant>) {
        let mut places = self.places();
        let is_over = |place: &Place| now.duration_since(place.since) >= MINUTE;
        let mut summaries = std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        summaries.extend(places.values_mut().filter(|place| is_over(place)).filter_map(Place::end));
        let next = places.values().filter(|place| place.more > 0).map(|place| place.since + MINUTE).min();
        (summaries, next)
    }

    /// Says what was left out, at the end of each minute. Sleeps while nothing is.
    fn tell_for_ever(&self) {
        loop {
            let (summaries, next) = self.over(Instant::now());
            summaries.iter().for_each(Summary::tell);
            let places = self.places();
            let is_due = !self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            if is_due || places.values().any(|place| place.more > 0) != next.is_some() {
                continue;
            }
            match next {
                None => drop(self.changed.wait(places)),
                Some(at) => drop(self.changed.wait_timeout(places, at.saturating_duration_since(Instant::now()))),
            }
        }
    }
}

impl Place {
    /// Begins to count anew; what was left out until now.
    fn end(&mut self) -> Option<Summary> {
        let (more, text) = (std::mem::take(&mut self.more), std::mem::take(&mut self.text));
        self.said = 0;
        (more > 0).then_some(Summary { level: self.level, more, text })
    }
}

impl<S: Subscriber> Filter<S> for Limiter {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == SUMMARIES {
            return true;
        }
        let text = || {
            let mut message = Message(String::new());
            event.record(&mut message);
            message.0
        };
        let spot = (metadata.file().unwrap_or(metadata.target()), metadata.line().unwrap_or(0));
        self.board.admits(spot, *metadata.level(), Instant::now(), text)
    }
}

/// The words of a message, without its fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// A number with a comma between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, Registry, fmt as lines};

    /// Everything that was written.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_same_line_is_written_so_often_in_a_minute_and_the_rest_is_counted() {
        let (page, board) = (Page::default(), Arc::new(Board::default()));
        let writer = page.clone();
        let limiter = Limiter { board: board.clone() };
        let layer = lines::layer().with_writer(move || writer.clone()).with_ansi(false).with_filter(limiter);
        let level = tracing_subscriber::filter::LevelFilter::INFO;
        tracing::subscriber::with_default(Registry::default().with(level).with(layer), || {
            for number in 0..1254 {
                tracing::error!(number, "the disk is gone");
            }
            for _ in 0..100 {
                tracing::info!("it goes on");
                tracing::debug!("nobody wants to know");
            }
            tracing::warn!("something else");
            let now = Instant::now();
            assert_eq!(board.over(now).0, []);
            let (summaries, next) = board.over(now + MINUTE);
            assert_eq!((summaries.len(), next), (1, None));
            summaries.iter().for_each(Summary::tell);
        });
        let said = String::from_utf8(page.0.lock().expect("no panic").clone()).expect("UTF-8");
        let count = |text: &str| said.lines().filter(|line| line.contains(text)).count();
        assert_eq!((count("the disk is gone number="), count("it goes on"), count("something else")), (20, 100, 1), "{said}");
        assert_eq!(count("ERROR infmap::more: and 1,234 more within a minute: the disk is gone"), 1, "{said}");
        assert_eq!(count("nobody"), 0);
    }

    #[test]
    fn after_a_minute_a_line_is_written_again_behind_the_summary_of_the_last() {
        let board = Board::default();
        let start = Instant::now();
        let admits = |at| board.admits(("a file", 7), Level::WARN, at, || "again".into());
        assert!((0..LINES_A_MINUTE).all(|_| admits(start)));
        assert!(!admits(start) && !admits(start + MINUTE / 2));
        assert!(admits(start + MINUTE));
        let (summaries, next) = board.over(start + MINUTE);
        assert_eq!((summaries, next), (vec![Summary { level: Level::WARN, more: 2, text: "again".into() }], None));
        assert!(admits(start + MINUTE));
        assert_eq!(board.over(start + 3 * MINUTE), (Vec::new(), None), "nothing was left out");
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
