//! Telling the service manager how a mount is, as sd_notify(3) has it.
//!
//! Owns: nothing but the address that the manager gave. Must be true: NTF-1 without a manager that wants to hear nothing is sent; NTF-2
//! nobody waits: what the manager does not take at once is lost. Fails: never; what cannot be sent is not.

use infmap_actors::watchdog::Stuck;
use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The manager that started this process, if it wants to hear of it.
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// Time within which it wants a sign of life.
    alive_within: Option<Duration>,
    last_sign: Mutex<Option<Instant>>,
}

impl Notifier {
    /// The one that the environment names: `NOTIFY_SOCKET`, `WATCHDOG_USEC`.
    #[must_use]
    pub fn of_environment() -> Self {
        Self::new(std::env::var_os("NOTIFY_SOCKET"), std::env::var_os("WATCHDOG_USEC"))
    }

    /// One that says nothing to anybody.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(None, None)
    }

    fn new(socket: Option<OsString>, watchdog_us: Option<OsString>) -> Self {
        let alive_within = watchdog_us.and_then(|us| us.to_str()?.parse().ok()).filter(|us| *us > 0).map(Duration::from_micros);
        Self { socket: socket.and_then(|name| open(&name)), alive_within, last_sign: Mutex::default() }
    }

    /// The mount answers.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }

    /// It is being taken down; what is not durable yet is made so.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=making everything durable");
    }

    /// After each look of the watchdog of actors: a sign of life, unless something is stuck that a restart would help. With a disk that hangs it
    /// would not: what stands only in memory would be lost, and the next start would wait for the same disk.
    pub fn looked(&self, stuck: &[Stuck]) {
        let Some(within) = self.alive_within.filter(|_| !stuck.iter().any(Stuck::is_fault)) else { return };
        let Ok(mut last) = self.last_sign.lock() else { return };
        if last.is_none_or(|last| last.elapsed() >= within / 4) {
            self.send("WATCHDOG=1");
            *last = Some(Instant::now());
        }
    }

    /// Gives signs of life for as long as somebody works on it that there is one again: the manager's patience would end before that.
    pub fn alive_while<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(within) = self.alive_within.filter(|_| self.socket.is_some()) else { return work() };
        std::thread::scope(|scope| {
            let (done, is_done) = channel::<()>();
            let signs = move || {
                self.send("WATCHDOG=1");
                while matches!(is_done.recv_timeout(within / 4), Err(RecvTimeoutError::Timeout)) {
                    self.send("WATCHDOG=1");
                }
            };
            // Without it the manager may lose its patience, no more.
            let _ = std::thread::Builder::new().name("infmap-alive".into()).spawn_scoped(scope, signs);
            let worked = work();
            drop(done);
            worked
        })
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            tracing::debug!(%error, "the service manager does not hear how this mount is");
        }
    }
}

/// A name that begins with @ is no file.
fn open(name: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
    Some((socket.ok()?, address.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use infmap_actors::watchdog::Who;

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn stuck(pool: &'static str) -> Stuck {
        Stuck { who: Who::Actor { pool, index: 0, message: "write" }, since_us: 0, waits_for: String::new() }
    }

    #[test]
    fn a_manager_hears_of_the_mount_at_a_path_and_at_a_name_without_a_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let abstract_name = format!("infmap-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).expect("a name");
        let sockets = [
            (UnixDatagram::bind(&path).expect("bound"), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&address).expect("bound"), format!("@{abstract_name}").into()),
        ];
        for (socket, name) in sockets {
            socket.set_nonblocking(true).expect("set");
            let notifier = Notifier::new(Some(name), Some("1000000".into()));
            notifier.ready("mounted at /a\nb");
            notifier.stopping();
            notifier.looked(&[]);
            notifier.looked(&[]);
            assert_eq!(heard(&socket).as_deref(), Some("READY=1\nSTATUS=mounted at /a b"));
            assert!(heard(&socket).is_some_and(|text| text.starts_with("STOPPING=1\n")));
            assert_eq!((heard(&socket).as_deref(), heard(&socket)), (Some("WATCHDOG=1"), None), "not more often than it is wanted");
        }
    }

    #[test]
    fn a_sign_of_life_is_given_unless_an_actor_is_stuck_that_waits_for_no_disk() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_nonblocking(true).expect("set");
        for (pools, is_given) in [(&[][..], true), (&["wal", "pixel_writer"], true), (&["wal", "vat"], false), (&["cache"], false)] {
            let notifier = Notifier::new(Some(path.clone().into()), Some("1".into()));
            notifier.looked(&pools.iter().map(|pool| stuck(pool)).collect::<Vec<_>>());
            assert_eq!(heard(&socket).is_some(), is_given, "{pools:?}");
        }
    }

    #[test]
    fn signs_of_life_go_on_while_somebody_works_on_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        let notifier = Notifier::new(Some(path.into()), Some("4000".into()));
        let signs = notifier.alive_while(|| [heard(&socket), heard(&socket), heard(&socket)]);
        assert!(signs.iter().all(|sign| sign.as_deref() == Some("WATCHDOG=1")), "{signs:?}");
        assert_eq!(Notifier::silent().alive_while(|| 7), 7);
    }

    #[test]
    fn without_a_manager_nothing_is_sent_and_nothing_fails() {
        for (socket, us) in
            [(None, None), (Some("/nonexistent/socket".into()), Some("no number".into())), (Some("".into()), Some("0".into()))]
        {
            let notifier = Notifier::new(socket, us);
            notifier.ready("");
            notifier.looked(&[]);
            notifier.stopping();
        }
        Notifier::silent().ready("");
    }
}
