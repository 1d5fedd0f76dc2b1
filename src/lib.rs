//! How people reach it: the command line, the configuration, and what a mount needs around the kernel's door.
//!
//! Decides nothing about files: that is `infmap-actors`, and what is on disk is `infmap-storage`. `backend` is the one place
//! where the verbs meet them.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod backend;
pub mod cli;
pub mod config;
pub mod control;
pub mod fuse;
pub mod http;
pub mod logging;
mod memory;
mod message;
pub mod metrics;
pub mod mount;
pub mod profile;
