//! The daemon's end of the control socket.
//!
//! Owns: `Server`: the socket, the thread that listens, and one short-lived thread for each caller, so that a caller who is slow, or a
//! verb that waits, is in nobody's way. Must be true: CTL-1, CTL-2. Fails: `open` with an error of the system.

use super::protocol::{self, REQUEST_MAX_BYTES, Reply, Request};
use super::{DIRECTORY, NAME, directory, read_line, short_path};
use rustix::fs::{AtFlags, FileType, Mode, fchmod, statat, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, listen, shutdown, socket_with, sockopt};
use rustix::process::geteuid;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a caller has for his request, and for taking the reply.
const PATIENCE: Duration = Duration::from_secs(2);
/// Callers at a time; others are sent away.
const CALLERS_MAX: usize = 16;
/// Those of them whose requests wait ([`Request::waits`]), if need be for a disk that hangs: the rest of the seats is for the others.
const WAITING_MAX: usize = 12;
/// Callers that the kernel keeps waiting.
const BACKLOG: i32 = 16;
/// Pause after an error that may stay, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Who answers requests.
pub type Service = dyn Fn(Request) -> Reply + Send + Sync;

/// The open socket. Dropping it closes and removes it.
pub struct Server {
    directory: OwnedFd,
    line: Arc<Line>,
    thread: Option<JoinHandle<()>>,
}

struct Line {
    listener: UnixListener,
    service: Box<Service>,
    ended: AtomicBool,
    callers: AtomicUsize,
    waiting: AtomicUsize,
}

impl Server {
    /// Opens the socket of a volume, in place of one that a dead process left: whoever calls this holds the lock of the volume. Its directory
    /// is there, or was not to be made: whoever only reads makes none.
    pub fn open(volume: &Path, service: Box<Service>) -> io::Result<Self> {
        let directory = directory(volume)?;
        let listener = socket_in(&directory)?;
        let (callers, waiting) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let line = Arc::new(Line { listener, service, ended: AtomicBool::new(false), callers, waiting });
        let thread = thread::Builder::new().name("infmap-control".into()).spawn({
            let line = line.clone();
            move || line.listen()
        })?;
        Ok(Self { directory, line, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.line.ended.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = shutdown(&self.line.listener, Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = unlinkat(&self.directory, NAME, AtFlags::empty());
    }
}

fn socket_in(directory: &OwnedFd) -> io::Result<UnixListener> {
    match statat(directory, NAME, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Socket => unlinkat(directory, NAME, AtFlags::empty())?,
        Ok(_) => return Err(io::Error::new(ErrorKind::AlreadyExists, format!("{DIRECTORY}/{NAME} is there already, and no socket"))),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Before it has a name: the name is born with these bits (`unix_bind_bsd` in net/unix/af_unix.c).
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(short_path(directory))?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

impl Line {
    fn listen(self: Arc<Self>) {
        loop {
            let accepted = self.listener.accept();
            if self.ended.load(Ordering::Acquire) {
                return;
            }
            match accepted {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    tracing::debug!(%error, "a caller of the control socket could not be taken");
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Gives a caller a thread, or sends him away.
    fn admit(self: &Arc<Self>, stream: UnixStream) {
        if self.callers.fetch_add(1, Ordering::AcqRel) >= CALLERS_MAX {
            self.callers.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let line = self.clone();
        let talk = move || {
            if let Err(error) = line.talk(&stream) {
                tracing::debug!(%error, "a caller of the control socket was not answered");
            }
            line.callers.fetch_sub(1, Ordering::AcqRel);
        };
        if thread::Builder::new().name("infmap-caller".into()).spawn(talk).is_err() {
            self.callers.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn talk(&self, stream: &UnixStream) -> io::Result<()> {
        let uid = sockopt::socket_peercred(stream)?.uid.as_raw();
        if !may_ask(uid, geteuid().as_raw()) {
            return Err(io::Error::new(ErrorKind::PermissionDenied, format!("user {uid} may not ask")));
        }
        stream.set_write_timeout(Some(PATIENCE))?;
        let line = read_line(stream, REQUEST_MAX_BYTES, Instant::now() + PATIENCE)?;
        let reply = match protocol::decode(&line) {
            Ok(request) => self.serve(request),
            Err(error) => Reply::Refused { why: error.to_string() },
        };
        let reply = protocol::encode(&reply).map_err(io::Error::other)?;
        (&mut &*stream).write_all(&reply)
    }

    fn serve(&self, request: Request) -> Reply {
        let seat = request.waits().then(|| Waiting::begin(&self.waiting));
        if matches!(seat, Some(None)) {
            return Reply::Refused {
                why: format!("{WAITING_MAX} callers wait already, perhaps for a disk that hangs: see `infmap status`"),
            };
        }
        let answered = catch_unwind(AssertUnwindSafe(|| (self.service)(request)));
        answered.unwrap_or_else(|_| Reply::Refused { why: "the daemon panicked over it".into() })
    }
}

/// A caller who waits, for as long as this is held.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Option<Self> {
        let seat = Self(waiting);
        (waiting.fetch_add(1, Ordering::AcqRel) < WAITING_MAX).then_some(seat)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Root, and the user of the daemon.
fn may_ask(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

#[cfg(test)]
mod tests {
    use super::super::client::{ControlError, status};
    use super::super::protocol::Status;
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;
    use std::sync::{Condvar, Mutex};

    fn served() -> Reply {
        Reply::Status(Box::new(Status { pid: 7, ..Status::default() }))
    }

    /// A volume with a path longer than a socket's may be.
    fn volume() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().expect("a directory");
        let volume = temp.path().join("v".repeat(200)).join("w".repeat(200));
        std::fs::create_dir_all(volume.join(DIRECTORY)).expect("made");
        (temp, volume)
    }

    fn raw(volume: &Path, sent: &[u8]) -> Vec<u8> {
        let directory = directory(volume).expect("open");
        let mut stream = UnixStream::connect(short_path(&directory)).expect("connected");
        stream.write_all(sent).expect("sent");
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        heard
    }

    #[test]
    fn a_socket_is_private_short_lived_and_replaces_the_one_of_a_dead_process() {
        let (_temp, volume) = volume();
        assert!(matches!(status(&volume), Err(ControlError::Unreached(_))));
        let path = volume.join(DIRECTORY).join(NAME);
        let server = Server::open(&volume, Box::new(|_| served())).expect("open");
        assert_eq!(status(&volume).expect("answered").pid, 7);
        assert_eq!(std::fs::symlink_metadata(&path).expect("there").mode() & 0o777, 0o600);
        drop(server);
        assert!(!path.exists());
        let directory = directory(&volume).expect("open");
        drop(UnixListener::bind(short_path(&directory)).expect("bound"));
        assert!(path.exists() && matches!(status(&volume), Err(ControlError::Unreached(_))), "what a dead process leaves");
        let server = Server::open(&volume, Box::new(|_| served())).expect("open");
        assert_eq!(status(&volume).expect("answered").pid, 7);
        drop(server);
        // Another service, to which a link leads, is not asked: meant to fail when the path was connected to.
        let other = path.with_file_name("other.sock");
        let listener = UnixListener::bind(short_path(&directory).replace(NAME, "other.sock")).expect("bound");
        std::os::unix::fs::symlink(&other, &path).expect("linked");
        assert!(matches!(status(&volume), Err(ControlError::Unreached(error)) if error.to_string().contains("is no socket")));
        listener.set_nonblocking(true).expect("set");
        assert!(listener.accept().is_err(), "nobody came");
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, "mine").expect("written");
        assert!(Server::open(&volume, Box::new(|_| served())).is_err());
        assert_eq!(std::fs::read(&path).expect("left alone"), b"mine");
    }

    #[test]
    fn only_root_and_the_own_user_may_ask() {
        assert!(may_ask(0, 1000) && may_ask(1000, 1000) && may_ask(0, 0));
        assert!(!may_ask(1000, 0) && !may_ask(1001, 1000));
    }

    /// Seen to fail when all requests shared the seats.
    #[test]
    fn callers_who_wait_for_a_disk_that_hangs_are_in_nobodys_way() {
        let (_temp, volume) = volume();
        // Holds whoever flushes.
        let gate = Arc::new((Mutex::new(true), Condvar::new()));
        let held = gate.clone();
        let service = move |request| match request {
            Request::Flush => {
                drop(held.1.wait_while(held.0.lock().expect("sound"), |shut| *shut));
                Reply::Flushed { dirty_bytes: 0 }
            }
            _ => served(),
        };
        let server = Server::open(&volume, Box::new(service)).expect("open");
        let directory = directory(&volume).expect("open");
        let mut callers: Vec<_> = (0..WAITING_MAX).map(|_| UnixStream::connect(short_path(&directory)).expect("connected")).collect();
        callers.iter_mut().for_each(|caller| caller.write_all(&protocol::encode(&Request::Flush).expect("encoded")).expect("sent"));
        while server.line.waiting.load(Ordering::Acquire) < WAITING_MAX {
            thread::yield_now();
        }
        // As many more as there are seats: they are told, and keep none.
        for _ in WAITING_MAX..CALLERS_MAX {
            let mut caller = UnixStream::connect(short_path(&directory)).expect("connected");
            caller.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
            caller.write_all(&protocol::encode(&Request::Flush).expect("encoded")).expect("sent");
            let mut heard = String::new();
            let ended = caller.read_to_string(&mut heard);
            assert!(ended.is_ok() && heard.contains("callers wait already"), "{ended:?}: {heard}");
        }
        assert_eq!(status(&volume).expect("answered").pid, 7);
        *gate.0.lock().expect("sound") = false;
        gate.1.notify_all();
        for mut caller in callers {
            let mut heard = String::new();
            assert!(caller.read_to_string(&mut heard).is_ok() && heard.contains("flushed"), "{heard}");
        }
        assert!(matches!(super::super::client::flush(&volume), Ok(0)), "the seats are free again");
    }

    #[test]
    fn hostile_callers_are_refused_and_in_nobodys_way() {
        let (_temp, volume) = volume();
        let server = Server::open(&volume, Box::new(|_| panic!("on purpose"))).expect("open");
        for (sent, expected) in [
            (&b"\n"[..], "not understood"),
            (b"{\"version\":9,\"verb\":\"status\"}\n", "version 9"),
            (b"{\"version\":1,\"verb\":\"dance\"}\n", "unknown variant"),
            (b"{\"version\":1,\"verb\":\"status\"}\n", "panicked"),
            (&[b"[".repeat(50_000), b"\n".to_vec()].concat(), "not understood"),
            (&[0xff, 0, b'\n'], "not understood"),
        ] {
            let heard = String::from_utf8(raw(&volume, sent)).expect("UTF-8");
            assert!(heard.contains("\"refused\"") && heard.contains(expected), "{expected}: {heard}");
        }
        // A line without end is cut off, and those who say nothing hold only their own thread.
        let directory = directory(&volume).expect("open");
        let mut endless = UnixStream::connect(short_path(&directory)).expect("connected");
        while endless.write_all(&[b'x'; 8192]).is_ok() {}
        let silent: Vec<_> = (0..CALLERS_MAX - 2).map(|_| UnixStream::connect(short_path(&directory)).expect("connected")).collect();
        assert!(matches!(status(&volume), Err(ControlError::Refused(why)) if why.contains("panicked")));
        drop((silent, server));
    }
}
