//! SIGTERM, SIGINT and SIGHUP: the first asks the mount to end in order, the second ends it now. SIGXFSZ: an error like any other.
//!
//! Owns: one thread that waits for signals. Must be true: nothing runs in a signal's own context; the second signal detaches
//! the mount, so that no dead one is left. Fails: if the system refuses the registration.

use super::{MountError, unmount};
use crate::backend::Stop;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::path::PathBuf;
use std::sync::Arc;

/// Exit code of a mount that a second signal ended.
const FORCED: i32 = 130;

/// Lets a write beyond the limit of the size of files (`ulimit -f`) fail with EFBIG, which is told, instead of ending the process.
pub fn survive_file_limit() {
    // A flag that nobody reads; a system that refuses it changes nothing.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Listens from now on. A daemon has no terminal to lose: there SIGHUP is ignored.
pub fn listen(stop: Stop, mountpoint: PathBuf, daemon: bool) -> Result<(), MountError> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(MountError::io("cannot listen for signals"))?;
    let listener = move || {
        for signal in signals.forever() {
            if signal == SIGHUP && daemon {
                continue;
            }
            if stop.requested() {
                tracing::error!(signal, "second signal: ending now; what was not synced is replayed or lost");
                let _ = unmount::unmount(&mountpoint, true);
                std::process::exit(FORCED);
            }
            tracing::info!(signal, "asked to end: writing everything, then unmounting");
            stop.request();
        }
    };
    let spawned = std::thread::Builder::new().name("infmap-signals".into()).spawn(listener);
    spawned.map(drop).map_err(MountError::io("cannot start the thread for signals"))
}
