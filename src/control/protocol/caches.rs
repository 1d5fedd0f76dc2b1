//! The caches of a mount, as they are said on the control socket.
//!
//! Must be true: CTL-4. Fails: never.

use serde::{Deserialize, Serialize};

/// What a cache holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheTier {
    /// `l1`, `l2`, `nodes` or `dirty`.
    pub tier: String,
    pub bytes: u64,
    pub limit_bytes: u64,
    pub entries: u64,
    /// Look-ups since the mount that found something, and that did not.
    pub hits: u64,
    pub misses: u64,
}

/// How far a turn of filling came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Warmed {
    /// Files that are done, of those that were asked for, from the first on.
    pub done: u64,
    /// The offset in the one behind them from which it goes on.
    pub next: u64,
    pub bytes: u64,
    /// Inodes that could not be read.
    pub failed: Vec<u64>,
}
