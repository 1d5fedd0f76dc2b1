//! The daemon's control socket: what a running mount can be asked and told from outside of its mountpoint.
//!
//! Owns: the socket `run/control.sock` of a volume, and the lines on it. A verb is a variant of [`protocol::Request`], one of
//! [`protocol::Reply`], and an arm where the daemon answers (`backend::desk`). Must be true: CTL-1 nobody but root and the daemon's own
//! user is answered; CTL-2 whatever is sent, nothing panics, nothing grows beyond a limit, and nobody holds a thread for longer than a
//! deadline but with a verb that waits, and of those only so many; CTL-3 no answer waits for an actor unless its verb says so, so that
//! `status` is answered however stuck the pools are, and however many callers wait. Fails: a socket that cannot be made leaves a mount
//! without one; a caller hears why.

pub mod client;
pub mod protocol;
pub mod server;

use rustix::fs::{Mode, OFlags};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

/// Where a mount keeps its state, in the volume.
const DIRECTORY: &str = "run";
/// The socket in it.
const NAME: &str = "control.sock";

/// The directory of the socket. A path to a socket is cut at 108 bytes by the kernel, so it is named by this descriptor.
fn directory(volume: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(volume.join(DIRECTORY), flags, Mode::empty())?)
}

/// A short path to the socket, good for as long as the directory is open.
fn short_path(directory: &OwnedFd) -> String {
    format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd())
}

/// One line without its end, of at most `limit` bytes, by the deadline.
fn read_line(stream: &UnixStream, limit: usize, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut part = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let read = match (&mut &*stream).read(&mut part) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // How a socket says that its time is over.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
            read => part.get(..read?).unwrap_or(&[]),
        };
        if read.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let end = read.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(read.get(..end.unwrap_or(read.len())).unwrap_or(&[]));
        if line.len() > limit {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("a line of more than {limit} bytes")));
        }
        if end.is_some() {
            return Ok(line);
        }
    }
}
