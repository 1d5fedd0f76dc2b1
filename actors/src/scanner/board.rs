//! What everybody may see of the scanner.
//!
//! Owns: `Board`, `Scrub`. Must be true: to look at it waits for nobody. Fails: never.

use super::run::{Run, RunState, Tally};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The scanner, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// The run that has begun and not ended.
    pub run: Option<Run>,
    /// Those that ended, the newest first.
    pub history: Arc<Vec<Run>>,
    /// Bytes a second, lately.
    pub bytes_per_second: u64,
    /// What was found since the volume was opened, by runs and because reads complained.
    pub tally: Tally,
    /// Images that were looked at because reads complained.
    pub suspected: u64,
}

/// Where it is shown.
#[derive(Default)]
pub struct Board {
    shown: ArcSwap<Scrub>,
    /// Requests that reached the pixel readers, images and groups of the log that were written for others: the scanner yields to them.
    used: AtomicU64,
}

impl Board {
    /// As it was shown last.
    #[must_use]
    pub fn shown(&self) -> Arc<Scrub> {
        self.shown.load_full()
    }

    pub(super) fn show(&self, scrub: Scrub) {
        let ratio = match (&scrub.run, scrub.history.first()) {
            (Some(run), _) | (None, Some(run)) => run.ratio(),
            (None, None) => 0.0,
        };
        metrics::gauge!("infmap_scrub_progress_ratio").set(ratio);
        metrics::gauge!("infmap_scrub_rate_bytes_per_second").set(scrub.bytes_per_second as f64);
        if let Some(ended_s) = scrub.history.iter().find(|run| run.state == RunState::Finished).and_then(|run| run.ended_s) {
            metrics::gauge!("infmap_scrub_last_completed_timestamp_seconds").set(ended_s as f64);
        }
        self.shown.store(Arc::new(scrub));
    }

    /// Somebody's read or write goes to the disk.
    pub fn use_disk(&self) {
        self.used.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads and writes that went to the disk so far.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}
