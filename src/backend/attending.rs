//! What a mount does beside serving: what signals wish for, and reading its settings again when a file of them has changed.
//!
//! Owns: one thread, and what the files looked like. Must be true: a change is acted on when the file has been still for [`LOOK`], so that
//! none is read half written; a file that comes or goes is a change; signals are never kept waiting by it. Fails: never; what fails is told
//! in the log. Files are looked at by their names and not watched through inotify: a name may be a link that is turned over to another
//! file, may not be there yet, and may lie on a disk whose changes the kernel does not see; a look at four files each second costs
//! nothing.

use super::desk::Desk;
use super::reloading::Reloader;
use crate::config::sources::Look;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Time between looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// What can be wished for by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Read the settings again.
    Reload,
    /// Write the status into the log.
    Status,
    /// Log details, or no more of them.
    Details,
}

/// Where wishes are put.
pub type Wishes = Sender<Wish>;

/// Where wishes are put, and where they come out.
#[must_use]
pub fn wishes() -> (Wishes, Receiver<Wish>) {
    channel()
}

/// Begins to attend. The thread ends with the process; it holds nothing that anybody waits for.
pub(super) fn attend(desk: Arc<Desk>, reloader: Arc<Reloader>, wishes: Receiver<Wish>) {
    let run = move || {
        let mut files = Files::new(reloader.first_looks());
        loop {
            match wishes.recv_timeout(LOOK) {
                Ok(Wish::Reload) => {
                    files = Files::new(reloader.sources().looks());
                    drop(reloader.reload("SIGHUP"));
                }
                Ok(Wish::Status) => tracing::info!(status = %desk.status_text(), "asked for the status by SIGUSR1"),
                Ok(Wish::Details) => {
                    let level = reloader.logging().toggle();
                    // Seen at every level but `error`.
                    tracing::warn!(level = level.name(), "asked for another log level by SIGUSR2");
                }
                Err(RecvTimeoutError::Timeout) => {
                    if files.have_changed(reloader.sources().looks()) && reloader.is_watching() {
                        drop(reloader.reload("a file changed"));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("infmap-config".into()).spawn(run) {
        tracing::warn!(%error, "the files of settings are not watched, and SIGHUP does nothing");
    }
}

/// What the files looked like.
struct Files {
    /// When they were read.
    read: Vec<Look>,
    /// At the last look.
    seen: Vec<Look>,
}

impl Files {
    fn new(now: Vec<Look>) -> Self {
        Self { read: now.clone(), seen: now }
    }

    /// Whether they differ from what was read, and are still: they are as they were at the look before.
    fn have_changed(&mut self, now: Vec<Look>) -> bool {
        let is_still = now == self.seen;
        let differs = now != self.read;
        if is_still && differs {
            self.read.clone_from(&now);
        }
        self.seen = now;
        is_still && differs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_once_when_it_has_been_still() {
        let look = |size| vec![None, Some((1, 2, size, 4, 5))];
        let mut files = Files::new(look(1));
        assert!(!files.have_changed(look(1)));
        assert!(!files.have_changed(look(2)), "it may still be written");
        assert!(!files.have_changed(look(3)));
        assert!(files.have_changed(look(3)));
        assert!(!files.have_changed(look(3)), "once");
        assert!(!files.have_changed(vec![None, None]));
        assert!(files.have_changed(vec![None, None]), "it went");
        assert!(!files.have_changed(look(1)));
        assert!(files.have_changed(look(1)), "it came");
    }
}
