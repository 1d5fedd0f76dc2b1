//! Who does what when: the mailboxes, turns and actors of Infinite Map, and `Volume`, its public in-process interface.
//!
//! Nothing here knows FUSE: a reply is a value of ours that must be spent. Must be true: O1 to O10 (`docs/ordering.md`). Fails: a room
//! that panics is dead alone, and answers whoever waits for it.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

pub mod api;
mod cache;
mod checkpointer;
pub mod cleaner;
pub mod clock;
mod effects;
mod keeper;
pub mod mailbox;
mod pixel_reader;
mod pixel_writer;
pub mod replier;
pub mod runtime;
pub mod settings;
pub mod shared;
pub mod slot;
mod turn;
mod vat;
pub mod volume;
mod wal;
pub mod watchdog;

pub use volume::{ReadData, Volume};

/// What `turn` is built of. The loom model builds the same file on loom's atomics.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}
