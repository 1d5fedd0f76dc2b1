//! The state against models of names, extents and space, through checkpoints, crashes and misses.

mod kit;

mod space;
