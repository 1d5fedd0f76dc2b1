//! Who does what when.
//!
//! Owns: the mailboxes, turns and actors of Infinite Map, without FUSE. Must be true: O1 to O10 of the design. Fails: a room that
//! panics is dead alone, and answers whoever waits for it.

pub mod clock;
mod effects;
pub mod mailbox;
pub mod replier;
pub mod runtime;
pub mod slot;
mod turn;

/// What `turn` is built of. The loom model builds the same file on loom's atomics.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}
