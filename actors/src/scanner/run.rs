//! A run of the scanner over images, as it is told, shown and remembered.
//!
//! Owns: `Scope`, `Plan`, `Run`, `Tally`, `ScrubRefusal`. Must be true: SCR-1 a run counts an image once, when it is done with it, and goes
//! on behind it. Fails: never; numbers that were read from a file saturate.

use crate::replier::Unanswered;
use infmap_storage::address::Place;
use serde::{Deserialize, Serialize};

/// Which images a run looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    #[default]
    All,
    /// Those that hold bytes of what is at this path, with `/` between names, and below.
    Path(Vec<u8>),
    /// The one at this place.
    Place(u32),
}

/// What somebody wants scrubbed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub scope: Scope,
    /// Bytes a second, instead of those of the settings.
    pub limit: Option<u64>,
}

/// What the scanner is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Start(Plan),
    Pause,
    Resume,
    Cancel,
}

/// Why an order is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScrubRefusal {
    #[error("a scrub is running already")]
    Running,
    #[error("a scrub is paused: resume it or cancel it")]
    Paused,
    #[error("no scrub is running")]
    NotRunning,
    #[error("no scrub is paused")]
    NotPaused,
    #[error("there is no such path in the volume")]
    NoPath,
    #[error("there is no image at that place")]
    NoImage,
    #[error("the tables of the volume cannot be read")]
    Unreadable,
    #[error("the volume is being unmounted, or the scanner has failed")]
    Gone,
}

impl Unanswered for ScrubRefusal {
    fn unanswered() -> Self {
        Self::Gone
    }
}

/// How a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    #[default]
    Running,
    Paused,
    /// It came to its end.
    Finished,
    /// Somebody cancelled it, or it could not go on.
    Aborted,
    /// The mount ended before it did: the next one goes on.
    Interrupted,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Damaged images that were put back as they were.
    pub corrected: u64,
    /// Damaged images that could be, and were not: the volume is read-only, or the disk took nothing.
    pub mendable: u64,
    /// Images that are damaged beyond their parity, or missing, or have bytes in them that cannot be verified; one more if the run
    /// ended because tables are lost.
    pub uncorrectable: u64,
    /// Of all these, images of which the disk refused bytes.
    pub unreadable: u64,
    /// Ranges of files that are lost, and nodes of the tables.
    pub lost_ranges: u64,
    pub lost_nodes: u64,
}

impl Tally {
    /// What is in use is not known any more: whoever asks is told of damage, also of a run that found no image damaged.
    pub(super) fn lost_tables(&mut self) {
        self.uncorrectable = self.uncorrectable.saturating_add(1);
        self.lost_nodes = self.lost_nodes.saturating_add(1);
    }
}

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    pub scope: Scope,
    pub state: RunState,
    /// It began because it was due, and not because somebody asked.
    pub is_scheduled: bool,
    /// Bytes a second; `None`: those of the settings.
    pub limit: Option<u64>,
    /// Seconds since 1970.
    pub began_s: i64,
    pub ended_s: Option<i64>,
    /// Time for which it ran, pauses and unmounts left out.
    pub active_us: u64,
    /// Bytes of all images that it looks at, as estimated when it began.
    pub total_bytes: u64,
    pub bytes: u64,
    pub images: u64,
    /// The place at which it goes on; beyond all of them at its end.
    pub next: u64,
    pub tally: Tally,
    /// Why it was aborted.
    pub why: Option<String>,
}

impl Run {
    /// A run that begins now.
    #[must_use]
    pub fn new(plan: Plan, is_scheduled: bool, began_s: i64) -> Self {
        Self { scope: plan.scope, limit: plan.limit.map(|limit| limit.max(1)), is_scheduled, began_s, ..Self::default() }
    }

    /// Whether one that has not ended can be so: there is something left for it to look at.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let last = if let Scope::Place(place) = self.scope { place } else { u32::MAX };
        self.next <= u64::from(last)
    }

    /// The same from its beginning.
    #[must_use]
    pub fn anew(&self) -> Self {
        let Self { scope, state, is_scheduled, limit, began_s, .. } = self.clone();
        Self { scope, state, is_scheduled, limit, began_s, ..Self::default() }
    }

    /// An image of so many bytes is done.
    pub fn passed(&mut self, place: Place, bytes: u64) {
        self.images = self.images.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.total_bytes = self.total_bytes.max(self.bytes);
        self.skip(place);
    }

    /// There is nothing to look at up to this place.
    pub fn skip(&mut self, place: Place) {
        self.next = u64::from(place.0) + 1;
    }

    /// How much of it is done, 0 to 1.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        match self.state {
            RunState::Finished => 1.0,
            _ => (self.bytes as f64 / self.total_bytes.max(1) as f64).min(1.0),
        }
    }
}
