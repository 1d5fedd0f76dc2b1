//! A mounted volume: from the mount to the end of its threads.
//!
//! Owns: `Mounted`, the session with the kernel; `Unmounter`, which ends it from elsewhere. Must be true: no `AutoUnmount`, so a crash
//! leaves a mountpoint that says so instead of an empty directory; a `Mounted` that is dropped detaches its mount. DESTROY never comes
//! and RELEASE may be lost: nothing depends on them. Fails: see `SessionError`.
//!
//! The threads of fuser end when the device says ENODEV: the mount is gone and nobody uses it any more; a request that is being taken at
//! that very moment is ECONNABORTED (Linux, fs/fuse/dev.c, `fuse_dev_do_read`). After a lazy unmount that can take as long as a file is
//! open. Threads of the volume may answer later still; those replies go nowhere.

use super::direct::mount_directly;
use super::door::Door;
use super::helper::mount_by_helper;
use super::herald::Herald;
use super::in_flight::Traffic;
use super::lookout::Lookout;
use super::mounts::{abort_connection, is_plain, let_written_wait, set_background, set_read_ahead, take_away};
use super::pages::Pages;
use super::settings::MountSettings;
use crate::mount::mountinfo;
use fuser::{BackgroundSession, Config, INodeNo, Session, SessionACL};
use infmap_actors::Volume;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// Threads at most that may be asked for.
const THREADS_MAX: usize = 64;

/// Why a mount did not begin, or did not end.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(
        "the name `{0}` cannot be the source of a mount: it is empty or holds a comma, a backslash or a control character; set another"
    )]
    Source(String),
    #[error("cannot mount at {mountpoint}: {error}")]
    Mount { mountpoint: PathBuf, error: io::Error },
    #[error("{0} is busy: files are open or a shell stands in it; close them, or unmount lazily")]
    Busy(PathBuf),
    #[error("cannot unmount {mountpoint}: {error}")]
    Unmount { mountpoint: PathBuf, error: io::Error },
    #[error("the session with the kernel broke off: {0}")]
    Broken(io::Error),
}

/// How to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmount {
    /// Refuse when it is in use.
    IfIdle,
    /// Take it out of the tree at once; it ends when its last user is gone.
    Lazy,
}

/// Ends a mount from any thread.
#[derive(Clone, Debug)]
pub struct Unmounter {
    mount: mountinfo::Mounted,
}

impl Unmounter {
    /// Unmounts, if it is still mounted. What the kernel holds back is written to the volume before this returns, unless lazily.
    /// Never call it on a thread that answers requests.
    ///
    /// # Errors
    /// `Busy`, or `Unmount` with the kernel's reason.
    pub fn unmount(&self, how: Unmount) -> Result<(), SessionError> {
        let mountpoint = &self.mount.mountpoint;
        let failed = |error: io::Error| match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::BUSY) => SessionError::Busy(mountpoint.clone()),
            _ => SessionError::Unmount { mountpoint: mountpoint.clone(), error },
        };
        if !self.is_mounted().map_err(failed)? {
            return Ok(());
        }
        match take_away(mountpoint, how == Unmount::Lazy) {
            Ok(()) => Ok(()),
            // Somebody else was faster.
            Err(_) if matches!(self.is_mounted(), Ok(false)) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Lets the kernel have so many requests under way that no caller waits for.
    ///
    /// # Errors
    /// When it cannot be told: its control filesystem is not mounted, or the mount is another user's.
    pub fn set_background(&self, requests: u16) -> io::Result<()> {
        set_background(self.mount.device, requests)
    }

    /// Whether it is still the mount that is seen at its mountpoint, in this mount namespace.
    ///
    /// # Errors
    /// When the list of mounts cannot be read.
    pub fn is_mounted(&self) -> io::Result<bool> {
        Ok(mountinfo::find(&self.mount.mountpoint)?.is_some_and(|found| found.device == self.mount.device))
    }
}

/// A mounted volume.
#[must_use = "dropping it unmounts"]
pub struct Mounted {
    /// Taken by `join`.
    session: Option<BackgroundSession>,
    unmounter: Unmounter,
    traffic: Traffic,
    pages: Pages,
}

impl Mounted {
    /// Mounts, agrees with the kernel, and answers from now on. The recorder of metrics is installed before.
    ///
    /// # Errors
    /// `Source`, or `Mount` with the reason; then nothing is mounted.
    pub fn start(volume: Arc<Volume>, mountpoint: &Path, settings: &MountSettings) -> Result<Self, SessionError> {
        let failed = |error: io::Error| SessionError::Mount { mountpoint: mountpoint.into(), error };
        if !is_plain(&settings.source) {
            return Err(SessionError::Source(settings.source.clone()));
        }
        let path = mountpoint.canonicalize().map_err(failed)?;
        let (session, traffic, herald) = begin(volume, &path, settings).map_err(failed)?;
        let found = mountinfo::find(&path).and_then(|found| found.ok_or_else(|| io::Error::other("it is gone again")));
        let mount = found.inspect_err(|_| drop(take_away(&path, true))).map_err(failed)?;
        if let Err(error) = set_read_ahead(mount.device, settings.read_ahead_bytes) {
            tracing::debug!(%error, "the kernel reads ahead as far as it does by default");
        }
        if let Err(error) = settings.written_bytes.map_or(Ok(()), |bytes| let_written_wait(mount.device, bytes)) {
            tracing::debug!(%error, "the kernel holds as many written bytes as it does by default");
        }
        // Until somebody looks, the kernel takes the root directory for root's, and refuses its owner chmod and utimes without asking us.
        if let Err(error) = path.metadata() {
            tracing::debug!(%error, "the root directory cannot be looked at");
        }
        let pages = Pages::new(herald, mount.device, settings.open);
        Ok(Self { session: Some(session), unmounter: Unmounter { mount }, traffic, pages })
    }

    /// The mount as the kernel lists it.
    #[must_use]
    pub fn entry(&self) -> &mountinfo::Mounted {
        &self.unmounter.mount
    }

    /// What goes through its door.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// What the kernel holds of its files.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.pages.clone()
    }

    /// What ends it from another thread, or from a signal's thread.
    #[must_use]
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// Unmounts; then `join` waits for the end.
    ///
    /// # Errors
    /// `Busy`, or `Unmount` with the kernel's reason: it is still mounted then.
    pub fn unmount(&self, how: Unmount) -> Result<(), SessionError> {
        self.unmounter.unmount(how)
    }

    /// Waits until it was unmounted, by whomever, and all its threads have ended. The volume is to be closed after that.
    ///
    /// # Errors
    /// `Broken` when the device failed or a thread of fuser panicked. The mountpoint then says "not connected", until it is unmounted.
    pub fn join(mut self) -> Result<(), SessionError> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let ended = session.guard.join().unwrap_or_else(|_| Err(io::Error::other("a thread that takes requests panicked")));
        let ended = match ended {
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted && matches!(self.unmounter.is_mounted(), Ok(false)) => Ok(()),
            ended => ended,
        };
        // Whoever waits for an answer would wait for ever.
        if ended.is_err()
            && let Err(error) = abort_connection(self.unmounter.mount.device)
        {
            tracing::warn!(%error, "the connection to the kernel could not be ended");
        }
        ended.map_err(SessionError::Broken)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.session.is_some()
            && let Err(error) = self.unmounter.unmount(Unmount::Lazy)
        {
            tracing::warn!(%error, "a mount was left behind");
        }
    }
}

/// A session, and what is seen of it and told to the kernel.
type Begun = (BackgroundSession, Traffic, Weak<Herald>);

/// Mounts and agrees with the kernel: directly as root, by the helper for others.
fn begin(volume: Arc<Volume>, path: &Path, settings: &MountSettings) -> io::Result<Begun> {
    let is_root = rustix::process::geteuid().is_root();
    let device = if is_root { mount_directly(path, settings)? } else { mount_by_helper(path, settings)? };
    serve(volume, device, settings).inspect_err(|_| {
        // The device is closed, so nobody waits for an answer any more.
        let _ = take_away(path, true);
    })
}

fn serve(volume: Arc<Volume>, device: OwnedFd, settings: &MountSettings) -> io::Result<Begun> {
    let config = config(settings);
    // Several threads would look all at once for the same request.
    let lookout = if config.n_threads == Some(1) { Lookout::new(device.try_clone()?, settings.look_out) } else { None };
    let herald = Arc::new(Herald::default());
    let teller = Arc::downgrade(&herald);
    volume.on_privileges_cleared(move |inode| {
        if let Some(herald) = teller.upgrade() {
            herald.forget_attributes(INodeNo(inode.0));
        }
    });
    // The kernel alone decides who enters.
    let door = Door::new(volume, settings, lookout, herald.clone());
    let traffic = door.traffic();
    let session = Session::from_fd(door, device, SessionACL::All, config)?;
    herald.begin(session.notifier())?;
    let herald = Arc::downgrade(&herald);
    Ok((session.spawn()?, traffic, herald))
}

/// How fuser takes requests.
fn config(settings: &MountSettings) -> Config {
    let threads = settings.threads.clamp(1, THREADS_MAX);
    let mut config = Config::default();
    config.acl = SessionACL::All;
    config.n_threads = Some(threads);
    config.clone_fd = threads > 1;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_takes_requests_unless_more_are_asked_for() {
        let one = config(&MountSettings::default());
        assert_eq!((one.n_threads, one.clone_fd), (Some(1), false));
        let four = config(&MountSettings { threads: 4, ..MountSettings::default() });
        assert_eq!((four.n_threads, four.clone_fd), (Some(4), true), "each has a descriptor of its own");
    }
}
