//! The Herald: two threads that tell the kernel things, and wait for it so that nobody else does.
//!
//! Owns: `Herald`, the count of what is open, and of those who have a file open to write. Must be true: HER-1 no thread that answers
//! requests sends a notification: the kernel may first have to write pages back, which such a thread has to take; whoever asks on the
//! control socket has a thread of his own, and waits himself; HER-2 the count of writers is never too small, so that an inode without one
//! has no page in the kernel that we do not know of, and lost RELEASEs make it too large, which costs time alone; HER-3 what an answer
//! waits for is never behind what waits for pages: a write that takes privileges away keeps its pages locked until it is answered (Linux
//! 6.18, `fuse_fill_write_pages`), and its answer waits until the kernel was told of that. Fails: whoever waits hears that the kernel does
//! not know the inode; whether a page could be written back the kernel keeps to itself.
//!
//! Two things the kernel has to be told. When a write clears suid, sgid or capabilities, it goes on with the bits that it has. And under
//! the writeback cache the kernel answers SEEK_DATA and SEEK_HOLE by asking us, without first writing back what it holds (Linux 6.18,
//! `fuse_lseek`): where we know of a hole, there may be data. To drop the pages of an inode makes it write them.

use super::in_flight::Handles;
use fuser::{INodeNo, Notifier, OpenAccMode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

/// Have everything written back that the kernel holds of a file; then do this, which hears whether it was.
struct WriteBack(INodeNo, Box<dyn FnOnce(bool) + Send>);

/// What takes the kernel no time.
enum Errand {
    /// The attributes of an inode are not what the kernel holds.
    Forget(INodeNo),
    /// Do this when the errands before are done.
    Then(Box<dyn FnOnce() + Send>),
}

/// The way to the Herald's threads.
#[derive(Default)]
pub(super) struct Herald {
    errands: OnceLock<Sender<Errand>>,
    pages: OnceLock<Sender<WriteBack>>,
    /// For those who wait themselves.
    notifier: OnceLock<Notifier>,
    writers: Mutex<HashMap<u64, u64>>,
    handles: Arc<Handles>,
    /// Errands about attributes that are not done yet.
    forgetting: Arc<AtomicUsize>,
}

impl Herald {
    /// Begins the threads; they end when this goes.
    pub(super) fn begin(&self, notifier: Notifier) -> std::io::Result<()> {
        let (sender, errands) = channel();
        let (pages_sender, pages) = channel();
        let forgetting = self.forgetting.clone();
        let _ = self.notifier.set(notifier.clone());
        let waiting = notifier.clone();
        thread::Builder::new().name("herald-pages".into()).spawn(move || {
            for WriteBack(ino, then) in pages {
                then(is_done(&waiting, ino, ALL_PAGES));
            }
        })?;
        thread::Builder::new().name("herald".into()).spawn(move || {
            for errand in errands {
                match errand {
                    Errand::Forget(ino) => {
                        is_done(&notifier, ino, NO_PAGES);
                        forgetting.fetch_sub(1, Ordering::AcqRel);
                    }
                    Errand::Then(then) => then(),
                }
            }
        })?;
        let _ = self.errands.set(sender);
        let _ = self.pages.set(pages_sender);
        Ok(())
    }

    /// Does something when the kernel holds nothing of a file that we do not know of, or when it may still hold something (`false`).
    pub(super) fn when_known(&self, ino: INodeNo, then: impl FnOnce(bool) + Send + 'static) {
        let is_written = self.is_written(ino.0);
        match self.pages.get() {
            // When the thread is gone the mount is, and what is asked goes with the errand: it is answered by that.
            Some(pages) if is_written => drop(pages.send(WriteBack(ino, Box::new(then)))),
            _ => then(true),
        }
    }

    /// Has everything written back that the kernel holds of any file, and waits for it on this thread. Never on one that answers requests, nor
    /// on one of the Herald's: others wait for them.
    pub(super) fn write_all_back(&self) {
        let Some(notifier) = self.notifier.get() else { return };
        // Of a file that nobody has open to write it holds nothing: close hands over what was written.
        let written: Vec<u64> = self.writers().keys().copied().collect();
        for ino in written {
            is_done(notifier, INodeNo(ino), ALL_PAGES);
        }
    }

    /// The kernel is to ask for the attributes of an inode before it uses them.
    pub(super) fn forget_attributes(&self, ino: INodeNo) {
        if let Some(errands) = self.errands.get() {
            self.forgetting.fetch_add(1, Ordering::AcqRel);
            let _ = errands.send(Errand::Forget(ino));
        }
    }

    /// Does something when the kernel was told of all attributes that it has to forget: mostly at once.
    pub(super) fn when_forgotten(&self, then: impl FnOnce() + Send + 'static) {
        match self.errands.get() {
            Some(errands) if self.forgetting.load(Ordering::Acquire) > 0 => drop(errands.send(Errand::Then(Box::new(then)))),
            _ => then(),
        }
    }

    /// Somebody opened the file.
    pub(super) fn opened(&self, ino: INodeNo, mode: OpenAccMode) {
        self.handles.files.fetch_add(1, Ordering::Relaxed);
        if mode != OpenAccMode::O_RDONLY {
            *self.writers().entry(ino.0).or_default() += 1;
        }
    }

    /// Somebody closed it; what he wrote was written back before.
    pub(super) fn closed(&self, ino: INodeNo, mode: OpenAccMode) {
        self.handles.files.fetch_sub(1, Ordering::Relaxed);
        if mode != OpenAccMode::O_RDONLY {
            let mut writers = self.writers();
            if let Some(count) = writers.get_mut(&ino.0) {
                *count -= 1;
                if *count == 0 {
                    writers.remove(&ino.0);
                }
            }
        }
    }

    /// Somebody opened a directory.
    pub(super) fn opened_directory(&self) {
        self.handles.directories.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody closed it.
    pub(super) fn closed_directory(&self) {
        self.handles.directories.fetch_sub(1, Ordering::Relaxed);
    }

    /// What is open.
    pub(super) fn handles(&self) -> Arc<Handles> {
        self.handles.clone()
    }

    /// Whether somebody has the file open to write.
    pub(super) fn is_written(&self, ino: u64) -> bool {
        self.writers().contains_key(&ino)
    }

    fn writers(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the pages begin that a notification drops: those from there on, or none.
const ALL_PAGES: i64 = 0;
const NO_PAGES: i64 = -1;

fn is_done(notifier: &Notifier, ino: INodeNo, from: i64) -> bool {
    let told = notifier.inval_inode(ino, from, 0);
    if let Err(error) = &told {
        tracing::debug!(inode = ino.0, from, %error, "the kernel did not drop what it holds of an inode");
    }
    told.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_when_the_last_of_its_writers_has_closed_it() {
        let (herald, ino) = (Herald::default(), INodeNo(7));
        let is_written = |herald: &Herald| herald.is_written(7);
        herald.opened(ino, OpenAccMode::O_RDONLY);
        assert!(!is_written(&herald), "a reader leaves nothing");
        herald.opened(ino, OpenAccMode::O_WRONLY);
        herald.opened(ino, OpenAccMode::O_RDWR);
        herald.closed(ino, OpenAccMode::O_RDONLY);
        herald.closed(ino, OpenAccMode::O_RDWR);
        assert!(is_written(&herald));
        herald.closed(ino, OpenAccMode::O_WRONLY);
        assert!(!is_written(&herald));
        herald.closed(ino, OpenAccMode::O_WRONLY);
    }

    #[test]
    fn without_a_writer_nobody_is_asked() {
        let (sent, came) = channel();
        Herald::default().when_known(INodeNo(7), move |known| sent.send(known).unwrap());
        assert_eq!(came.try_recv(), Ok(true));
    }
}
