//! What is on disk: the formats and policies of Infinite Map.
//!
//! Nothing here knows threads, clocks, the environment or FUSE; device, time and randomness come in as arguments, and only
//! `device/file.rs` and what is below it touch the files of the host. So the same code runs on files, in memory, and on a simulated disk that
//! loses power.
//! `docs/format.md` gives the bits, `docs/durability.md` the argument.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod address;
pub mod ahead;
pub mod blocks;
pub mod buffer;
pub mod cached;
pub mod check;
pub mod clean;
pub mod damage;
pub mod device;
pub mod file_buffer;
#[doc(hidden)]
pub mod fuzz;
pub mod hilbert;
pub mod images;
pub mod limits;
pub mod locate;
pub mod map_view;
pub mod names;
pub mod nodes;
pub mod rate;
pub mod read;
pub mod read_ahead;
pub mod rebuild;
pub mod recover;
pub mod refusal;
pub mod region;
pub mod repair;
pub mod root;
pub mod row;
pub mod scan;
pub mod space;
pub mod state;
pub mod tiers;
pub mod unit;
pub mod vat;
pub mod volume_file;
pub mod wal;
pub mod wire;
