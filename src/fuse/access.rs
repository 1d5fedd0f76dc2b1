//! The access log: one line for each request of the kernel, for `infmap profile`.
//!
//! Owns: `AccessLog`, its file, and the thread that writes it. Must be true: ACC-1 no line holds a name; ACC-2 a request costs a lock that is
//! held for a copy, and waits for no file: what comes faster than it is written is dropped, and counted in the log; ACC-3 the log takes no more
//! than twice its limit: at the limit the file becomes `NAME.1`, in place of an older one; ACC-4 what stands under its name and is no file, or
//! behind a link, is not written. Fails: a file that cannot be written is said once, and from then on nothing is logged.

use super::subject::Subject;
use infmap_storage::device::HostDirectory;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The first line of each file.
pub const HEAD: &str = "# infmap access log 1: time_us op inode offset size errno took_us";
/// Requests that wait to be written: 0.9 MiB.
const WAITING_MAX: usize = 16_384;
/// Time between two looks at what waits.
const WRITE_EVERY: Duration = Duration::from_millis(100);

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Microseconds since 1970 at which it began.
    at_us: u64,
    about: Subject,
    errno: &'static str,
    took_us: u64,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<Line>,
    dropped: u64,
    is_ended: bool,
    has_failed: bool,
}

#[derive(Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    ended: Condvar,
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open access log. Dropping it writes what waits.
pub struct AccessLog {
    desk: Arc<Desk>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl AccessLog {
    /// Goes on behind what is in the file `name` of a directory; `limit_bytes` is that of one file.
    ///
    /// # Errors
    /// The file, or the thread, cannot be had.
    pub fn open(directory: HostDirectory, name: &'static str, limit_bytes: u64) -> io::Result<Self> {
        let mut pages = Pages { out: open(&directory, name)?, directory, name, bytes: 0, limit_bytes };
        pages.begin()?;
        let desk = Arc::<Desk>::default();
        let thread = std::thread::Builder::new().name("infmap-access".into()).spawn({
            let desk = desk.clone();
            move || write_for_ever(&desk, pages)
        })?;
        Ok(Self { desk, thread: Mutex::new(Some(thread)) })
    }

    /// A request that began then was answered now.
    pub(super) fn answered(&self, about: Subject, began: Instant, errno: Option<&'static str>) {
        let took = began.elapsed();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_us = us(now.saturating_sub(took));
        let mut waiting = self.desk.waiting();
        if waiting.lines.len() >= WAITING_MAX {
            waiting.dropped += 1;
        } else if !waiting.has_failed {
            waiting.lines.push(Line { at_us, about, errno: errno.unwrap_or("ok"), took_us: us(took) });
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.desk.waiting().is_ended = true;
        self.desk.ended.notify_one();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn open(directory: &HostDirectory, name: &str) -> io::Result<BufWriter<File>> {
    Ok(BufWriter::with_capacity(64 * 1024, directory.file_to_append(name)?.into()))
}

/// The file that is written.
struct Pages {
    out: BufWriter<File>,
    directory: HostDirectory,
    name: &'static str,
    bytes: u64,
    limit_bytes: u64,
}

impl Pages {
    fn begin(&mut self) -> io::Result<()> {
        self.bytes = self.out.get_ref().metadata()?.len();
        if self.bytes == 0 { self.line(HEAD) } else { Ok(()) }
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.bytes += line.len() as u64 + 1;
        writeln!(self.out, "{line}")
    }

    fn write(&mut self, lines: &[Line], dropped: u64) -> io::Result<()> {
        for Line { at_us, about: Subject { op, inode, offset, size }, errno, took_us } in lines {
            self.line(&format!("{at_us} {} {inode} {offset} {size} {errno} {took_us}", op.name()))?;
            if self.bytes >= self.limit_bytes {
                self.turn()?;
            }
        }
        if dropped > 0 {
            self.line(&format!("# dropped {dropped}"))?;
        }
        self.out.flush()
    }

    /// Goes on with a new file.
    fn turn(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.directory.rename(self.name, &format!("{}.1", self.name))?;
        self.out = open(&self.directory, self.name)?;
        self.begin()
    }
}

fn write_for_ever(desk: &Desk, mut pages: Pages) {
    let mut lines = Vec::new();
    loop {
        let mut waiting = desk.waiting();
        if !waiting.is_ended {
            (waiting, _) = desk.ended.wait_timeout(waiting, WRITE_EVERY).unwrap_or_else(PoisonError::into_inner);
        }
        // The room goes to and fro, so that nobody allocates while he holds the lock.
        lines.clear();
        std::mem::swap(&mut lines, &mut waiting.lines);
        let (dropped, is_ended) = (std::mem::take(&mut waiting.dropped), waiting.is_ended);
        drop(waiting);
        if (!lines.is_empty() || dropped > 0)
            && let Err(error) = pages.write(&lines, dropped)
        {
            tracing::error!(%error, path = pages.name, "the access log cannot be written; it ends here");
            let mut waiting = desk.waiting();
            (waiting.has_failed, waiting.lines) = (true, Vec::new());
            return;
        }
        if is_ended {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::meters::Op;
    use super::*;
    use std::path::Path;

    const NAME: &str = "access.log";

    fn opened(directory: &Path) -> HostDirectory {
        HostDirectory::open(directory).expect("a directory")
    }

    fn read(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).expect("written").lines().map(str::to_string).collect()
    }

    #[test]
    fn each_request_is_a_line_and_the_file_turns_at_its_limit() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(NAME);
        let open = |limit| AccessLog::open(opened(directory.path()), NAME, limit).expect("opened");
        let log = open(4096);
        for number in 0..100 {
            log.answered(Op::Read.about(7, number * 4096, 4096), Instant::now(), None);
        }
        log.answered(Op::Lookup.on(1), Instant::now(), Some("ENOENT"));
        drop(log);
        let old = directory.path().join("access.log.1");
        let (first, last) = (read(&old), read(&path));
        assert_eq!((first[0].as_str(), last[0].as_str()), (HEAD, HEAD));
        assert_eq!(first.len() + last.len(), 103);
        let fields: Vec<&str> = first[1].split(' ').collect();
        assert!(fields.len() == 7 && fields[1..6] == ["read", "7", "0", "4096", "ok"], "{fields:?}");
        assert!(last.last().expect("a line").contains(" lookup 1 0 0 ENOENT "));
        // Goes on, without a second head.
        drop(open(1 << 20));
        assert_eq!(read(&path), last);
    }

    #[test]
    fn what_comes_faster_than_it_is_written_is_dropped_and_counted() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, directory) = (directory.path().join(NAME), opened(directory.path()));
        let log = AccessLog { desk: Arc::default(), thread: Mutex::default() };
        for _ in 0..WAITING_MAX + 5 {
            log.answered(Op::Getattr.on(2), Instant::now(), None);
        }
        log.desk.waiting().is_ended = true;
        let mut pages = Pages { out: open(&directory, NAME).expect("opened"), directory, name: NAME, bytes: 0, limit_bytes: u64::MAX };
        pages.begin().expect("begun");
        write_for_ever(&log.desk, pages);
        let lines = read(&path);
        assert_eq!((lines.len(), lines.last().expect("a line").as_str()), (WAITING_MAX + 2, "# dropped 5"));
    }

    /// Seen to fail when the file was opened by its path: lines went to the target of a link, and a FIFO that nobody reads hung the mount.
    #[test]
    fn what_is_no_file_is_neither_written_nor_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let temp = tempfile::tempdir().expect("a directory");
        let (log, target) = (temp.path().join(NAME), temp.path().join("target"));
        std::fs::write(&target, "theirs").expect("written");
        std::os::unix::fs::symlink(&target, &log).expect("linked");
        AccessLog::open(opened(temp.path()), NAME, 4096).err().expect("it is a link");
        std::fs::remove_file(&log).expect("removed");
        mknodat(CWD, &log, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
        AccessLog::open(opened(temp.path()), NAME, 4096).err().expect("it is a pipe");
        assert_eq!(std::fs::read(&target).expect("read"), b"theirs");
    }

    #[test]
    fn a_file_that_cannot_be_written_ends_the_log_and_nothing_else() {
        let log = AccessLog { desk: Arc::default(), thread: Mutex::default() };
        let full = || {
            let out = BufWriter::new(File::options().append(true).open("/dev/full").expect("it is there"));
            Pages { out, directory: opened(Path::new("/dev")), name: "full", bytes: 1, limit_bytes: 1 << 20 }
        };
        log.answered(Op::Getattr.on(2), Instant::now(), None);
        write_for_ever(&log.desk, full());
        log.answered(Op::Getattr.on(2), Instant::now(), None);
        assert!(log.desk.waiting().has_failed && log.desk.waiting().lines.is_empty());
    }
}
