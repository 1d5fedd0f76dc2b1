//! The state against models of names, extents and space, through checkpoints, crashes and misses.

mod extents;
pub(crate) mod kit;
mod misses;
mod space;
