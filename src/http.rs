//! Figures and health of a mount, by HTTP.
//!
//! Owns: the pages (`pages`), the judgement of health (`health`), the listener (`server`). Must be true: HTP-1 a thread of its own answers,
//! from what is in memory: whatever is stuck, it is not; HTP-2 what a client can take is bounded: connections, bytes of a request, time;
//! HTP-3 nothing is changed by a request, and no name of a file is shown. Fails: a mount goes on without it, and says so.

pub mod health;
mod pages;
mod server;

pub use pages::{Facts, Page, page};
pub use server::Server;
