//! What everybody may see of the scanner.
//!
//! Owns: `Board`, `Scrub`. Must be true: to look at it waits for nobody. Fails: never.

use super::run::{Run, RunState, Scope, Tally};
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

impl Scrub {
    /// Images that the last scrub of everything, or a run after it, left damaged.
    #[must_use]
    pub fn left(&self) -> u64 {
        let mut left = 0;
        for run in self.run.iter().chain(self.history.iter()) {
            left = left.max(run.tally.uncorrectable.saturating_add(run.tally.mendable));
            if run.scope == Scope::All && run.state == RunState::Finished {
                break;
            }
        }
        left
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_the_last_scrub_of_everything_left_and_runs_after_it() {
        let run = |scope, state, uncorrectable, mendable| {
            let tally = Tally { uncorrectable, mendable, ..Tally::default() };
            Run { scope, state, tally, ..Run::default() }
        };
        let all = |uncorrectable, mendable| run(Scope::All, RunState::Finished, uncorrectable, mendable);
        let left = |run, history| Scrub { run, history: Arc::new(history), ..Scrub::default() }.left();
        assert_eq!(left(None, vec![]), 0);
        assert_eq!(left(None, vec![all(2, 1), all(0, 0)]), 3);
        assert_eq!(left(None, vec![all(0, 0), all(2, 1)]), 0, "it is put right");
        assert_eq!(left(None, vec![run(Scope::Place(3), RunState::Finished, 0, 0), all(2, 0)]), 2, "it did not look there");
        assert_eq!(left(None, vec![run(Scope::All, RunState::Aborted, 1, 0), all(0, 0)]), 1);
        assert_eq!(left(Some(run(Scope::All, RunState::Running, 1, 0)), vec![all(0, 0)]), 1);
    }
}
