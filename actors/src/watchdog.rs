//! The watchdog: names what takes longer than it should.
//!
//! Owns: the list of what is overdue now. It looks every second, from a thread that does nothing else, at the messages that slots are in and
//! at whatever was added by [`Watchdog::watch`] (the requests of the door). Must be true: DOG-1 what is overdue is said once, when it is
//! first seen, and once more when it goes on; DOG-2 looking locks nothing that a turn holds, and costs those who are watched one relaxed
//! store. Fails: never; it ends nothing, since who waits for a disk may still be answered.

use crate::clock::Clock;
use crate::runtime::{Runtime, RuntimeError};
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Time for one message of an actor.
pub const MESSAGE_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who is overdue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// An actor, in this message.
    Actor { pool: &'static str, index: usize, message: &'static str },
    /// A request of this kind that nobody has answered; the number tells it from others.
    Request { kind: &'static str, number: usize },
}

impl Who {
    fn kind(self) -> &'static str {
        match self {
            Self::Actor { .. } => "actor",
            Self::Request { .. } => "request",
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Actor { pool, index, message } => write!(f, "the actor {pool} {index}, in `{message}`"),
            Self::Request { kind, .. } => write!(f, "a request `{kind}`"),
        }
    }
}

/// Something that takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    pub who: Who,
    /// When it began, by the clock of the runtime.
    pub since_us: u64,
}

/// The same, with what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    pub who: Who,
    pub since_us: u64,
    pub waits_for: String,
}

impl Stuck {
    /// Whether it is a fault of this program: an actor that never waits for a disk. Whatever else is stuck may wait for one.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(self.who, Who::Actor { pool: "vat" | "cache", .. })
    }
}

/// Who is told what is stuck, after each look.
pub type Listener = Box<dyn Fn(&[Stuck]) + Send + Sync>;

/// What is looked at: given the time in microseconds, everything of it that is overdue.
pub type Watched = Box<dyn Fn(u64) -> Vec<Overdue> + Send + Sync>;

/// What holds requests back now although no actor is stuck.
pub type HeldBack = Box<dyn Fn() -> Option<&'static str> + Send + Sync>;

/// The watchdog of one volume.
pub struct Watchdog {
    runtime: Arc<dyn Runtime>,
    held_back: HeldBack,
    watched: Mutex<Vec<Watched>>,
    stuck: Mutex<Vec<Stuck>>,
    listeners: Mutex<Vec<Listener>>,
}

impl Watchdog {
    /// One that watches all slots of a runtime.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, held_back: HeldBack) -> Self {
        Self { runtime, held_back, watched: Mutex::default(), stuck: Mutex::default(), listeners: Mutex::default() }
    }

    /// Watches something else too.
    pub fn watch(&self, watched: Watched) {
        self.watched.lock().push(watched);
    }

    /// Has somebody told of each look.
    pub fn on_look(&self, listener: Listener) {
        self.listeners.lock().push(listener);
    }

    /// The clock that it goes by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.runtime.clock()
    }

    /// What was overdue at the last look.
    #[must_use]
    pub fn stuck(&self) -> Vec<Stuck> {
        self.stuck.lock().clone()
    }

    /// Looks, and says what has changed since the last look.
    pub fn look(&self) {
        let now_us = self.clock().now_us();
        let mut overdue = self.overdue_slots(now_us);
        let actor = overdue.first().map(|overdue| overdue.who);
        self.watched.lock().iter().for_each(|watched| overdue.extend(watched(now_us)));
        let mut stuck = self.stuck.lock();
        let before = std::mem::take(&mut *stuck);
        for Overdue { who, since_us } in overdue {
            let seconds = now_us.saturating_sub(since_us) / 1_000_000;
            let known = before.iter().find(|known| (known.who, known.since_us) == (who, since_us)).cloned();
            let now = known.unwrap_or_else(|| {
                let waits_for = self.waits_for(who, actor);
                tracing::warn!(%who, seconds, waits_for, "stuck: it takes longer than it should");
                metrics::counter!("infmap_watchdog_stuck_total", "kind" => who.kind()).increment(1);
                Stuck { who, since_us, waits_for }
            });
            stuck.push(now);
        }
        for gone in before.iter().filter(|gone| !stuck.contains(gone)) {
            let seconds = now_us.saturating_sub(gone.since_us) / 1_000_000;
            tracing::info!(who = %gone.who, seconds, "no longer stuck");
        }
        let now = stuck.clone();
        drop(stuck);
        self.listeners.lock().iter().for_each(|listener| listener(&now));
    }

    /// Sets the gauges of what was overdue at the last look.
    pub(crate) fn publish(&self) {
        let stuck = self.stuck.lock();
        for kind in ["actor", "request"] {
            let number = stuck.iter().filter(|stuck| stuck.who.kind() == kind).count();
            metrics::gauge!("infmap_watchdog_stuck", "kind" => kind).set(u32::try_from(number).unwrap_or(u32::MAX));
        }
    }

    /// What somebody waits for, as far as that can be told from outside. `actor`: one that is stuck too.
    fn waits_for(&self, who: Who, actor: Option<Who>) -> String {
        match (who, actor) {
            (Who::Actor { pool, .. }, _) => match pool {
                "wal" => "the disk, which writes or syncs the log".into(),
                "pixel_writer" => "the disk, which writes an image".into(),
                "pixel_reader" => "the disk, which reads an image".into(),
                "checkpointer" => "the disk, which writes the tables".into(),
                "keeper" => "the disk, or the memory that is made ready".into(),
                "vat" | "cache" => "nothing that it should wait for: it never waits for a disk".into(),
                other => format!("what the pool {other} does"),
            },
            (Who::Request { .. }, Some(actor)) => actor.to_string(),
            (Who::Request { .. }, None) => (self.held_back)().unwrap_or("its turn: no actor is stuck").into(),
        }
    }

    fn overdue_slots(&self, now_us: u64) -> Vec<Overdue> {
        let limit_us = u64::try_from(MESSAGE_DEADLINE.as_micros()).unwrap_or(u64::MAX);
        let overdue = |slot: Arc<dyn crate::slot::Runnable>| {
            let working = slot.working().filter(|working| now_us.saturating_sub(working.since_us) >= limit_us)?;
            let home = slot.home();
            let who = Who::Actor { pool: home.pool, index: home.index, message: working.message };
            Some(Overdue { who, since_us: working.since_us })
        };
        self.runtime.slots().into_iter().filter_map(overdue).collect()
    }

    /// Looks every second from a thread of its own, until that is dropped.
    ///
    /// # Errors
    /// The thread does not start.
    pub fn start(self: &Arc<Self>) -> Result<Watch, RuntimeError> {
        let stop: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let (dog, told) = (self.clone(), stop.clone());
        let run = move || {
            let mut stopped = told.0.lock();
            while !*stopped {
                told.1.wait_for(&mut stopped, LOOK_EVERY);
                parking_lot::MutexGuard::unlocked(&mut stopped, || dog.look());
            }
        };
        let thread = thread::Builder::new().name("infmap-watchdog".into()).spawn(run);
        let thread = thread.map_err(|source| RuntimeError::Thread { pool: "watchdog", source })?;
        Ok(Watch { stop, thread: Some(thread) })
    }
}

/// A watchdog that looks by itself.
pub struct Watch {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{Envelope, Lane};
    use crate::runtime::Home;
    use crate::runtime::step::{Order, StepRuntime};
    use crate::slot::{Context, Role, spawn};

    struct Work(Box<dyn FnOnce() + Send>);

    impl Envelope for Work {
        fn kind(&self) -> &'static str {
            "work"
        }
    }

    struct Worker;

    impl Role for Worker {
        type Message = Work;
        fn handle(&mut self, work: Work, _cx: &mut Context<'_>) {
            work.0();
        }
    }

    fn names(dog: &Watchdog) -> Vec<String> {
        dog.stuck().iter().map(|stuck| format!("{} since {}: {}", stuck.who, stuck.since_us, stuck.waits_for)).collect()
    }

    #[test]
    fn an_actor_that_stays_in_a_message_is_named_until_it_goes_on() {
        let step = StepRuntime::new(Order::Fifo);
        let runtime: Arc<dyn Runtime> = step.clone();
        let dog = Arc::new(Watchdog::new(runtime.clone(), Box::new(|| Some("room"))));
        let worker = spawn(&runtime, Home { pool: "wal", index: 3 }, 10, |_| Worker).expect("spawned");
        let (clock, watching) = (step.clone(), dog.clone());
        let work = Work(Box::new(move || {
            // In the middle of the message, as the watchdog's own thread sees it.
            clock.sim_clock().advance(MESSAGE_DEADLINE / 2);
            watching.look();
            assert_eq!(names(&watching), [""; 0]);
            clock.sim_clock().advance(MESSAGE_DEADLINE / 2);
            for _ in 0..3 {
                watching.look();
                let expected = "the actor wal 3, in `work` since 7: the disk, which writes or syncs the log";
                assert_eq!(names(&watching), [expected], "said once, and kept");
                clock.sim_clock().advance(Duration::from_secs(1));
            }
        }));
        step.sim_clock().advance(Duration::from_micros(7));
        worker.post(Lane::Foreground, work);
        step.run_idle();
        dog.look();
        assert_eq!(names(&dog), [""; 0], "it went on");
        assert_eq!(worker.stats().handled, 1);
    }

    #[test]
    fn a_request_that_is_late_waits_for_the_actor_that_is_stuck() {
        let step = StepRuntime::new(Order::Fifo);
        let runtime: Arc<dyn Runtime> = step.clone();
        let dog = Arc::new(Watchdog::new(runtime.clone(), Box::new(|| Some("room"))));
        dog.watch(Box::new(|now_us| {
            let late = Overdue { who: Who::Request { kind: "fsync", number: 5 }, since_us: 0 };
            (30_000_000..60_000_000).contains(&now_us).then_some(late).into_iter().collect()
        }));
        let heard: Arc<Mutex<Vec<usize>>> = Arc::default();
        let listener = heard.clone();
        dog.on_look(Box::new(move |stuck| listener.lock().push(stuck.len())));
        let worker = spawn(&runtime, Home { pool: "pixel_writer", index: 0 }, 10, |_| Worker).expect("spawned");
        let (clock, watching) = (step.clone(), dog.clone());
        worker.post(
            Lane::Foreground,
            Work(Box::new(move || {
                clock.sim_clock().advance(Duration::from_secs(30));
                watching.look();
            })),
        );
        step.run_idle();
        let request = dog.stuck().pop().expect("the request is late");
        assert_eq!(heard.lock().clone(), [2], "both are told");
        assert_eq!(request.waits_for, "the actor pixel_writer 0, in `work`");
        dog.look();
        assert_eq!(dog.stuck().len(), 1, "the actor went on, the request is still there");
        step.sim_clock().advance(Duration::from_secs(30));
        dog.look();
        assert!(dog.stuck().is_empty());
        dog.watch(Box::new(|_| vec![Overdue { who: Who::Request { kind: "write", number: 6 }, since_us: 0 }]));
        dog.look();
        assert_eq!(dog.stuck().pop().expect("late").waits_for, "room", "what holds it back, when no actor is stuck");
    }

    #[test]
    fn a_watch_ends_at_once_when_it_is_dropped() {
        let dog = Arc::new(Watchdog::new(StepRuntime::new(Order::Fifo), Box::new(|| None)));
        drop(dog.start().expect("started"));
    }
}
