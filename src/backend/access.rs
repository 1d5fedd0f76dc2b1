//! The access log of a mount: where it is, and when there is none.

use crate::fuse::{AccessLog, Noted};
use infmap_actors::settings::Log;
use infmap_storage::device::{Access, HostDirectory};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// Where it is in the volume.
const FILE: &str = "run/access.log";
/// Where the one before it is.
const OLDER: &str = "run/access.log.1";

/// The access log, if it is wanted. A mount serves without one where none can be made; one that is read-only leaves the volume as it is.
pub(super) fn open(volume: &Path, log: &Log, read_only: bool) -> Option<Noted> {
    if !log.access {
        return None;
    }
    if read_only {
        tracing::info!("there is no access log: the mount is read-only");
        return None;
    }
    let opened = || AccessLog::open(HostDirectory::open(volume)?, FILE, log.access_limit);
    match opened() {
        Ok(opened) => Some(Noted(Arc::new(opened))),
        Err(error) => {
            tracing::warn!(%error, path = %volume.join(FILE).display(), "there is no access log: it cannot be written");
            None
        }
    }
}

/// The logs that the mounts of a volume have left, oldest first.
///
/// # Errors
/// The system's, as where there is none.
pub fn left(volume: &Path) -> io::Result<Vec<File>> {
    let directory = HostDirectory::open(volume)?;
    let mut left = Vec::new();
    match directory.file(OLDER, Access::Read).map_err(io::Error::from) {
        Ok(older) => left.push(older.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let newest = directory.file(FILE, Access::Read).map_err(io::Error::from);
    left.push(newest.map_err(|error| io::Error::new(error.kind(), format!("{FILE}: {error}")))?.into());
    Ok(left)
}
