//! What a mount needs around the kernel's door: the mountpoint, the volume's lock, the daemon, signals, and unmounting.
//!
//! Owns: nothing that lives longer than a call, but the lock. Must be true: MNT-1 a mountpoint never overlaps its volume (it
//! would deadlock); MNT-2 only mounts of type `fuse.infmap` are ever detached; MNT-3 the lock is held for as long as
//! anything of the volume may change. Fails: with a [`MountError`].

pub mod daemon;
pub mod dying;
pub mod holders;
pub mod lock;
pub mod mountinfo;
pub mod notify;
pub mod point;
pub mod remount;
pub mod server;
pub mod signals;
pub mod supervisor;
pub mod unmount;

use std::path::PathBuf;

/// The type under which the kernel lists our mounts.
pub const FS_TYPE: &str = "fuse.infmap";
/// The file whose presence makes a directory a volume.
pub const IDENTITY_FILE: &str = "volume.yaml";

/// Why mounting or unmounting is not possible.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The mountpoint cannot be used.
    #[error("cannot mount at {}: {why}", path.display())]
    Point { path: PathBuf, why: &'static str },
    #[error("the mountpoint {} and the volume {} overlap", mountpoint.display(), volume.display())]
    Overlap { mountpoint: PathBuf, volume: PathBuf },
    #[error("something is mounted at {} already ({what})", path.display())]
    Occupied { path: PathBuf, what: String },
    #[error("{} is not mounted", .0.display())]
    NotMounted(PathBuf),
    #[error("{} was mounted read-only, and its volume was opened so", .0.display())]
    OpenedReadOnly(PathBuf),
    /// A mount of another filesystem.
    #[error("{} is a mount of type {fs_type}, not of Infinite Map", path.display())]
    Foreign { path: PathBuf, fs_type: String },
    /// In use by processes, or by mounts that lie in it.
    #[error("{} is busy{}", path.display(), holders::sentence(holders, inside))]
    Busy { path: PathBuf, holders: Vec<holders::Holder>, inside: Vec<PathBuf> },
    /// The volume is locked.
    #[error("the volume {} is in use: {owner}", volume.display())]
    Locked { volume: PathBuf, owner: lock::Owner },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

impl MountError {
    /// An error of the system, with what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
