//! Where the verbs meet the storage and the actors: plain functions over plain values.
//!
//! Owns: the types that both sides speak in. Must be true: BCK-1 nothing here prints, reads arguments or exits; BCK-2 whoever
//! calls [`serve`] or [`check`] holds the volume's lock. Fails: with a [`BackendError`] that says what, where and what to do.

pub mod access;
mod attending;
mod caches;
mod checking;
mod cleaning;
pub mod damage;
mod desk;
mod gather;
mod offline;
mod places;
pub mod recover;
mod refusal;
mod reloading;
mod repairing;
pub mod restore;
mod scrubbing;
mod serving;
mod telling;

pub use attending::{Wish, Wishes, wishes};
pub use checking::{check, check_path};
pub use cleaning::{clean, rounds};
pub use offline::{LABEL_MAX_BYTES, LOG_GONE, create_volume, draw, facts, has_no_log, is_unfinished, is_volume, write_png};
pub use places::{find_offline, locate_offline};
pub use reloading::Reload;
pub use repairing::{Damaged, RepairReport, repair};
pub use scrubbing::second_text;
pub use serving::serve;

use crate::fuse::Shown;
use crate::mount::notify::Notifier;
use infmap_actors::settings::Settings;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

pub(crate) use infmap_storage::volume_file::VOLUME_FILE;

/// Why a verb could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error("there is no volume at {}", .0.display())]
    Missing(PathBuf),
    #[error("{} is not a volume: {why}", path.display())]
    NotAVolume { path: PathBuf, why: String },
    #[error("{} exists already and is not empty", .0.display())]
    Exists(PathBuf),
    #[error("{} has format version {found}; this program reads up to {newest}", path.display())]
    Version { path: PathBuf, found: u32, newest: u32 },
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String, help: &'static str },
    /// Something failed while it was served, and from then on nothing was changed any more.
    #[error("{} turned read-only: {why}", path.display())]
    TurnedReadOnly { path: PathBuf, why: String, help: &'static str },
    #[error("there is no picture of {}: {why}", path.display())]
    NoPicture { path: PathBuf, why: &'static str },
    /// What earlier mounts noticed of damage cannot be read.
    #[error("the list of damage of {} cannot be used: {why}", path.display())]
    NoDamageList { path: PathBuf, why: String },
    /// The kernel, or the helper, does not mount.
    #[error("{0}")]
    Fuse(String),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

/// How a new volume is made.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// A name for people; `None`: the directory's name.
    pub label: Option<String>,
}

/// What a volume is and holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VolumeFacts {
    #[serde(serialize_with = "path_text")]
    pub path: PathBuf,
    pub uuid: String,
    pub label: String,
    pub format_version: u32,
    /// RFC 3339, UTC.
    pub created: String,
    /// Whether the last mount ended with everything durable; `None` while somebody has the volume.
    pub clean: Option<bool>,
    /// Region images.
    pub images: u64,
    /// Bytes of all region images.
    pub image_bytes: u64,
    /// Bytes of files, as far as the root in force says; `None` before the first mount.
    pub used_bytes: Option<u64>,
    /// Files, directories and all else that has an inode.
    pub inodes: Option<u64>,
    /// Bytes of log that the next mount replays.
    pub log_bytes: u64,
    pub snapshots: u64,
}

/// What the kernel is asked for beside the settings: flags of this one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlags {
    pub read_only: bool,
    pub suid: bool,
    pub dev: bool,
    pub exec: bool,
    /// Every write is answered when it is durable.
    pub sync: bool,
    /// The kernel checks permissions; implied by `allow_other`.
    pub default_permissions: bool,
    /// The source that `mount` and `df` show; `fuse::is_plain`.
    pub source_name: String,
    /// What is shown in place of owner, group and permission bits that are stored.
    pub shown: Shown,
}

impl Default for MountFlags {
    fn default() -> Self {
        Self {
            read_only: false,
            suid: false,
            dev: false,
            exec: true,
            sync: false,
            default_permissions: true,
            source_name: "infmap".into(),
            shown: Shown::default(),
        }
    }
}

/// Everything that [`serve`] needs.
pub struct Serve {
    /// Canonical.
    pub volume: PathBuf,
    /// Canonical; checked by `mount::point`.
    pub mountpoint: PathBuf,
    pub settings: Settings,
    pub flags: MountFlags,
    /// To be called once, when the kernel's INIT is answered.
    pub ready: Box<dyn FnOnce() + Send>,
    /// Who started this process, and may want to hear how the mount is.
    pub notifier: Arc<Notifier>,
    pub stop: Stop,
    pub reload: Reload,
    /// What signals wish for.
    pub wishes: Receiver<Wish>,
}

/// How a mount ended.
#[derive(Debug)]
pub struct Served {
    pub left: Left,
    pub result: Result<(), BackendError>,
}

/// What a mount left of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// What was found: nothing was served, so nobody was promised anything.
    AsFound,
    /// What was written may not be durable.
    Unfinished,
    /// Everything is durable.
    Finished,
}

/// The wish that a mount ends. Clones share it.
#[derive(Clone, Default)]
pub struct Stop {
    inner: Arc<(Mutex<bool>, Condvar)>,
}

impl Stop {
    /// Wishes for the end; again is no more.
    pub fn request(&self) {
        *self.inner.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.inner.1.notify_all();
    }

    /// Whether the end is wished for.
    #[must_use]
    pub fn requested(&self) -> bool {
        *self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the end is wished for.
    pub fn wait(&self) {
        let wished = self.inner.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.inner.1.wait_while(wished, |wished| !*wished).unwrap_or_else(PoisonError::into_inner));
    }
}

/// One step of long work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What is being done: `images`, `nodes`, `files`.
    pub phase: &'static str,
    pub done: u64,
    /// 0: not known yet.
    pub total: u64,
}

/// Something that `check` found to be wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the invariant that is broken: `REG-1`, `VAT-3`.
    pub invariant: String,
    /// Image, place, inode or path.
    pub r#where: String,
    pub what: String,
    /// What to do about it.
    pub help: String,
    /// `infmap repair` puts it right, and nothing is lost.
    pub repairable: bool,
}

/// What `check` looked at, and what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    pub findings: Vec<Finding>,
    /// Findings that were counted and are not among `findings`, so that memory stays bounded.
    pub not_shown: u64,
    /// Bytes of files that are lost: `damage::Damage` as JSON.
    pub lost: Vec<serde_json::Value>,
    /// The same as sentences.
    #[serde(skip)]
    pub lost_text: Vec<String>,
    pub lost_not_shown: u64,
    /// Every finding is one that `infmap repair` puts right.
    pub all_repairable: bool,
    pub images: u64,
    pub clusters: u64,
    pub nodes: u64,
    pub files: u64,
    pub bytes: u64,
}

/// A path in JSON, which knows UTF-8 only: what is not shows as U+FFFD.
fn path_text<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// A picture that was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rendered {
    pub width_px: u32,
    pub height_px: u32,
    pub images: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_to_stop_reaches_whoever_waits() {
        let stop = Stop::default();
        let waiter = std::thread::spawn({
            let stop = stop.clone();
            move || stop.wait()
        });
        assert!(!stop.requested());
        stop.request();
        waiter.join().expect("the waiter returns");
        assert!(stop.requested());
        stop.wait();
    }
}
