//! The access log of a mount: where it is, and when there is none.

use crate::fuse::{AccessLog, Noted};
use infmap_actors::settings::Log;
use std::path::Path;
use std::sync::Arc;

/// Where it is in the volume.
pub const FILE: &str = "run/access.log";

/// The access log, if it is wanted. A mount serves without one where none can be made.
pub(super) fn open(volume: &Path, log: &Log) -> Option<Noted> {
    if !log.access {
        return None;
    }
    let path = volume.join(FILE);
    match AccessLog::open(&path, log.access_limit) {
        Ok(opened) => Some(Noted(Arc::new(opened))),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "there is no access log: it cannot be written");
            None
        }
    }
}
