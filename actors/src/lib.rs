//! Who does what when: the mailboxes, turns and actors of Infinite Map, and `Volume`, its public in-process interface.
//!
//! Nothing here knows FUSE: a reply is a value of ours that must be spent. `docs/ordering.md` gives the guarantees O1..O10.

pub mod api;
pub mod replier;
mod volume;

pub use volume::{ReadData, Volume};
