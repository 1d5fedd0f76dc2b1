//! Asking a running mount.
//!
//! Must be true: nobody waits for a daemon longer than the deadline. Fails: with a [`ControlError`] that says whether there is a daemon.

use super::protocol::{
    self, CacheTier, Cleaned, DamagePage, FoundPage, KeyInForce, LocatedPage, ProtocolError, REPLY_MAX_BYTES, Reloaded, Reply, Request,
    Status, Warmed,
};
use super::{DIRECTORY, NAME, directory, read_line};
use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a daemon has for its answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long it has for what waits for the disk, and behind the requests of people.
const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// How long it has to read its settings again: threads that go finish what they are at.
const RELOAD_PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No socket, or nobody listens: no mount, or one of a volume that cannot be written to.
    #[error("its control socket cannot be reached: {0}")]
    Unreached(io::Error),
    #[error("its daemon does not answer: {0}")]
    Unanswered(io::Error),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("its daemon refuses: {0}")]
    Refused(String),
}

impl ControlError {
    /// A reply that is none to what was asked.
    pub fn unasked(reply: &Reply) -> Self {
        Self::Refused(format!("{reply:?} is no answer to that"))
    }
}

/// Asks the daemon of a volume.
pub fn ask(volume: &Path, request: &Request) -> Result<Reply, ControlError> {
    ask_patiently(volume, request, PATIENCE)
}

fn ask_patiently(volume: &Path, request: &Request, patience: Duration) -> Result<Reply, ControlError> {
    let deadline = Instant::now() + patience;
    let line = protocol::encode(request)?;
    let stream = reach(volume).map_err(ControlError::Unreached)?;
    let answered = (&stream).write_all(&line).and_then(|()| read_line(&stream, REPLY_MAX_BYTES, deadline));
    match protocol::decode(&answered.map_err(ControlError::Unanswered)?)? {
        Reply::Refused { why } => Err(ControlError::Refused(why)),
        reply => Ok(reply),
    }
}

/// How the mount of a volume is.
pub fn status(volume: &Path) -> Result<Status, ControlError> {
    match ask(volume, &Request::Status)? {
        Reply::Status(status) => Ok(*status),
        other => Err(ControlError::unasked(&other)),
    }
}

/// All figures of a mount, in the text format of Prometheus.
pub fn metrics(volume: &Path) -> Result<String, ControlError> {
    match ask(volume, &Request::Metrics)? {
        Reply::Metrics { text } => Ok(text),
        other => Err(ControlError::unasked(&other)),
    }
}

/// A round of cleaning.
pub fn clean(volume: &Path) -> Result<Cleaned, ControlError> {
    match ask_patiently(volume, &Request::Clean, LONG_PATIENCE)? {
        Reply::Cleaned(cleaned) => Ok(cleaned),
        other => Err(ControlError::unasked(&other)),
    }
}

/// The settings of a mount.
pub fn config(volume: &Path) -> Result<Vec<KeyInForce>, ControlError> {
    match ask(volume, &Request::Config)? {
        Reply::Config { keys } => Ok(keys),
        other => Err(ControlError::unasked(&other)),
    }
}

/// Has it read its settings again.
pub fn reload(volume: &Path) -> Result<Reloaded, ControlError> {
    match ask_patiently(volume, &Request::Reload, RELOAD_PATIENCE)? {
        Reply::Reloaded(reloaded) => Ok(*reloaded),
        other => Err(ControlError::unasked(&other)),
    }
}

/// What is lost of files, all of it.
pub fn damage(volume: &Path) -> Result<DamagePage, ControlError> {
    let mut all = DamagePage::default();
    loop {
        match ask_patiently(volume, &Request::Damage { after: all.next }, LONG_PATIENCE)? {
            Reply::Damage(page) => {
                let DamagePage { ranges, files, not_kept, next } = *page;
                // A daemon that turns in a circle is not followed.
                let goes_on = next > all.next;
                all.ranges.extend(ranges);
                all.files.extend(files);
                (all.not_kept, all.next) = (not_kept, next.filter(|_| goes_on));
            }
            other => return Err(ControlError::unasked(&other)),
        }
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

/// Where a file lies, page by page; `tell` says whether to go on.
pub fn locate(volume: &Path, inode: u64, tell: &mut dyn FnMut(LocatedPage) -> bool) -> Result<(), ControlError> {
    let mut after = 0;
    loop {
        match ask_patiently(volume, &Request::Locate { inode, after }, LONG_PATIENCE)? {
            Reply::Located(page) => {
                // A daemon that turns in a circle is not followed.
                let next = page.next.filter(|next| *next > after);
                let goes_on = tell(*page);
                match next.filter(|_| goes_on) {
                    Some(next) => after = next,
                    None => return Ok(()),
                }
            }
            other => return Err(ControlError::unasked(&other)),
        }
    }
}

/// Whose the clusters of a place are, page by page; `tell` says whether to go on.
pub fn find(volume: &Path, (x, y): (i64, i64), cluster: Option<u16>, tell: &mut dyn FnMut(FoundPage) -> bool) -> Result<(), ControlError> {
    let mut after = None;
    loop {
        match ask_patiently(volume, &Request::Find { x, y, cluster, after }, LONG_PATIENCE)? {
            Reply::Found(page) => {
                let next = page.next.filter(|next| after.is_none_or(|after| *next > after));
                let goes_on = tell(*page);
                match next.filter(|_| goes_on) {
                    Some(next) => after = Some(next),
                    None => return Ok(()),
                }
            }
            other => return Err(ControlError::unasked(&other)),
        }
    }
}

/// What the caches hold.
pub fn caches(volume: &Path) -> Result<Vec<CacheTier>, ControlError> {
    match ask(volume, &Request::Caches)? {
        Reply::Caches { tiers } => Ok(tiers),
        other => Err(ControlError::unasked(&other)),
    }
}

/// Makes durable what was written so far. Says what is dirty by then.
pub fn flush(volume: &Path) -> Result<u64, ControlError> {
    match ask_patiently(volume, &Request::Flush, LONG_PATIENCE)? {
        Reply::Flushed { dirty_bytes } => Ok(dirty_bytes),
        other => Err(ControlError::unasked(&other)),
    }
}

/// Drops what was read and can be read again. Says how many bytes that were.
pub fn drop_clean(volume: &Path) -> Result<u64, ControlError> {
    match ask(volume, &Request::DropClean)? {
        Reply::Dropped { bytes } => Ok(bytes),
        other => Err(ControlError::unasked(&other)),
    }
}

/// A turn of reading files into the cache.
pub fn warm(volume: &Path, files: Vec<(u64, u64)>, urgent: bool) -> Result<Warmed, ControlError> {
    match ask_patiently(volume, &Request::Warm { files, urgent }, LONG_PATIENCE)? {
        Reply::Warmed(warmed) => Ok(warmed),
        other => Err(ControlError::unasked(&other)),
    }
}

/// Has it forget what is noted of some inodes, or everything if there are none. Says how many entries that were.
pub fn forget_damage(volume: &Path, inodes: Option<Vec<u64>>) -> Result<u64, ControlError> {
    let request = Request::ForgetDamage { all: inodes.is_none(), inodes: inodes.unwrap_or_default() };
    match ask(volume, &request)? {
        Reply::Forgot { count } => Ok(count),
        other => Err(ControlError::unasked(&other)),
    }
}

fn reach(volume: &Path) -> io::Result<UnixStream> {
    let directory = directory(volume)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Where many wait already, connecting waits too.
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    // The socket itself, not what a link in its place leads to: another service.
    let end = openat(&directory, NAME, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&end)?.st_mode) != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{DIRECTORY}/{NAME} is no socket")));
    }
    connect(&socket, &SocketAddrUnix::new(format!("/proc/self/fd/{}", end.as_raw_fd()))?)?;
    Ok(socket.into())
}
