//! What is said of the settings of a mount.
//!
//! Must be true: as for `protocol`. Fails: never.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The settings in force, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigStatus {
    /// Counts the sets of settings that were in force, from 1 at the mount.
    pub generation: u64,
    pub preset: String,
    /// How often they were read again, and how often in vain.
    pub reloads: u64,
    pub failed: u64,
    /// When that was last; RFC 3339, UTC. And what came of it.
    pub last: Option<String>,
    pub last_result: ReloadResult,
    /// Keys that wait for the next mount.
    pub waiting: Vec<String>,
}

/// A key with the value in force, and where that came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyInForce {
    pub key: String,
    pub value: String,
    pub origin: String,
}

/// What came of reading the settings again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadResult {
    /// All that differed is in force, or nothing did.
    #[default]
    Applied,
    /// Something waits for the next mount, or was refused.
    Partial,
    /// There was a mistake: nothing has changed.
    Failed,
}

impl ReloadResult {
    pub const ALL: [Self; 3] = [Self::Applied, Self::Partial, Self::Failed];

    /// The word for it, in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// What became of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    #[default]
    Applied,
    Remount,
    Refused,
}

/// One key whose value differs from the one in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retuned {
    pub key: String,
    pub from: String,
    pub to: String,
    pub outcome: Outcome,
    pub why: Option<String>,
}

impl fmt::Display for Retuned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, from, to, outcome, why } = self;
        let outcome = match outcome {
            Outcome::Applied => "applied live",
            Outcome::Remount => "needs remount",
            Outcome::Refused => "refused",
        };
        write!(f, "{outcome}: {key} {from} -> {to}")?;
        why.as_ref().map_or(Ok(()), |why| write!(f, " ({why})"))
    }
}

/// What came of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reloaded {
    pub result: ReloadResult,
    /// Of the settings in force now.
    pub generation: u64,
    pub keys: Vec<Retuned>,
    /// All mistakes, as text for people.
    pub mistakes: Option<String>,
}
