//! How people reach it.
pub mod fuse;
