//! Who does what when: the mailboxes, turns and actors of Infinite Map, and `Volume`, its public in-process interface.
//!
//! Nothing here knows FUSE: a reply is a value of ours that must be spent. Must be true: O1 to O10 (`docs/ordering.md`). Fails: a room
//! that panics is dead alone, and answers whoever waits for it.

pub mod api;
pub mod clock;
mod effects;
pub mod mailbox;
pub mod replier;
pub mod runtime;
pub mod settings;
pub mod slot;
mod turn;

/// What `turn` is built of. The loom model builds the same file on loom's atomics.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}
