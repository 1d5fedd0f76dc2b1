//! Whether the volume may still be changed.
//!
//! Must be true: once read-only, for good; the first reason is kept, logged and given to whoever asks. What was asked for is no fault,
//! and is not logged as one. HEA-1 of the death of an actor everybody is told who may wait for it, and the volume is read-only before:
//! who begins to wait looks at that first, so that nobody waits for the dead.

use parking_lot::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The health of a volume.
#[derive(Default)]
pub struct Health {
    read_only: AtomicBool,
    /// It is read-only because that was asked for.
    asked: AtomicBool,
    reason: Mutex<Option<String>>,
    tell: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Health {
    /// Something failed: from now on nothing is changed any more.
    pub fn fail(&self, reason: impl Into<String>) {
        self.close(reason.into(), |reason| tracing::error!(%reason, "the volume is read-only from now on"));
    }

    /// Whoever opened the volume wants nothing changed.
    pub fn ask_read_only(&self, reason: impl Into<String>) {
        self.asked.store(self.reason.lock().is_none(), Ordering::Release);
        self.close(reason.into(), |reason| tracing::info!(%reason, "the volume is read-only"));
    }

    fn close(&self, reason: String, say: impl FnOnce(&str)) {
        let mut first = self.reason.lock();
        if first.is_none() {
            say(&reason);
            metrics::gauge!("infmap_mode", "mode" => "ro").set(1.0);
            *first = Some(reason);
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

    /// Whether it is read-only because that was asked for, and not because something failed: nothing waits to be made durable.
    #[must_use]
    pub fn is_asked_read_only(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Why it is read-only.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }
}
