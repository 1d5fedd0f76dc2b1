//! Whether the volume may still be changed.
//!
//! Must be true: once read-only, for good; the first reason is kept, logged and given to whoever asks. What was asked for is no fault,
//! and is not logged as one. HEA-1 of the death of an actor everybody is told who may wait for it, and the volume is read-only before:
//! who begins to wait looks at that first, so that nobody waits for the dead.

use crate::clock::Clock;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The health of a volume.
pub struct Health {
    clock: Arc<dyn Clock>,
    read_only: AtomicBool,
    /// It is read-only because that was asked for.
    asked: AtomicBool,
    /// It is so since it was opened: nothing was ever changed.
    unchanged: AtomicBool,
    first: Mutex<Option<Turned>>,
    tell: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Reads that could not be answered.
    unreadable: AtomicU64,
}

/// How a volume became read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turned {
    /// The first reason; later ones follow from it.
    pub reason: String,
    /// When, in nanoseconds since 1970.
    pub wall_ns: i64,
}

impl Health {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        mode_gauge(false);
        Self {
            clock,
            read_only: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            unchanged: AtomicBool::new(false),
            first: Mutex::default(),
            tell: OnceLock::new(),
            unreadable: AtomicU64::new(0),
        }
    }

    /// Something failed: from now on nothing is changed any more.
    pub fn fail(&self, reason: impl Into<String>) {
        self.close(reason.into(), |reason| tracing::error!(%reason, "the volume is read-only from now on"));
    }

    /// Whoever opened the volume wants nothing changed.
    pub fn ask_read_only(&self, reason: impl Into<String>) {
        self.asked.store(self.first.lock().is_none(), Ordering::Release);
        self.unchanged.store(true, Ordering::Release);
        self.close(reason.into(), |reason| tracing::info!(%reason, "the volume is read-only"));
    }

    /// There is no room to write down a change, from the start: it can be read, and nothing waits to be made durable.
    pub fn open_without_room(&self, reason: impl Into<String>) {
        self.unchanged.store(true, Ordering::Release);
        self.fail(reason);
    }

    fn close(&self, reason: String, say: impl FnOnce(&str)) {
        let mut first = self.first.lock();
        if first.is_none() {
            say(&reason);
            mode_gauge(true);
            *first = Some(Turned { reason, wall_ns: self.clock.wall_ns() });
        }
        self.read_only.store(true, Ordering::Release);
    }

    /// An actor has failed: nothing is changed any more, and whoever may wait for it is told. For [`crate::slot::Role::dead`].
    pub fn died(&self, reason: &str) {
        self.fail(reason);
        if let Some(tell) = self.tell.get() {
            tell();
        }
    }

    /// How the actors are told of a death. The first one counts.
    pub fn on_death(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.tell.set(Box::new(tell));
    }

    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// Whether it is read-only since it was opened, without damage: nothing waits to be made durable.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.unchanged.load(Ordering::Acquire)
    }

    /// Whether it is read-only because that was asked for, and not because something failed.
    #[must_use]
    pub fn is_asked_read_only(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Why it is read-only.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.turned().map(|turned| turned.reason)
    }

    /// The same, with when that was.
    #[must_use]
    pub fn turned(&self) -> Option<Turned> {
        self.first.lock().clone()
    }

    /// A read could not be answered: what is stored is damaged.
    pub fn found_unreadable(&self) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("infmap_integrity_errors_total", "source" => "read").increment(1);
    }

    /// Reads that could not be answered since the volume was opened.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }
}

fn mode_gauge(read_only: bool) {
    for (mode, is_it) in [("rw", !read_only), ("ro", read_only)] {
        metrics::gauge!("infmap_mode", "mode" => mode).set(f64::from(u8::from(is_it)));
    }
}
