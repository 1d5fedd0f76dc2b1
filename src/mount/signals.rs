//! SIGTERM, SIGINT: the first asks the mount to end in order, the second ends it now. SIGHUP: the settings are read again, but where a
//! terminal can be lost, whose end it then is. SIGUSR1: the status, into the log. SIGUSR2: a log with details, or without. SIGXFSZ: an
//! error like any other.
//!
//! Owns: one thread that waits for signals. Must be true: nothing runs in a signal's own context; a wish is handed on and not waited for,
//! so that the next signal is heard; the second signal to end detaches the mount, so that no dead one is left. Fails: if the system refuses
//! the registration.

use super::{MountError, unmount};
use crate::backend::{Stop, Wish, Wishes};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
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

/// Whether this process has a terminal that can be lost, which SIGHUP would tell.
#[must_use]
pub fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Listens from now on. Without a terminal to lose, SIGHUP is a wish.
pub fn listen(stop: Stop, mountpoint: PathBuf, has_terminal: bool, wishes: Wishes) -> Result<(), MountError> {
    let all = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2];
    let mut signals = Signals::new(all).map_err(MountError::io("cannot listen for signals"))?;
    let listener = move || {
        for signal in signals.forever() {
            let wish = match signal {
                SIGHUP if !has_terminal => Some(Wish::Reload),
                SIGUSR1 => Some(Wish::Status),
                SIGUSR2 => Some(Wish::Details),
                _ => None,
            };
            if let Some(wish) = wish {
                // Before it is mounted it waits there; nobody listens any more when it is unmounted.
                let _ = wishes.send(wish);
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
