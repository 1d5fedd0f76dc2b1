//! What is said on the control socket: one request, one reply, each a line of JSON.
//!
//! Owns: the types and the version. Must be true: CTL-4 a field is only ever added, with a default, so that the program and a daemon of
//! another release understand each other; whatever else changes is a new version. Fails: with a [`ProtocolError`] for any bytes.

mod caches;
mod config;
mod damage;
mod places;

pub use caches::{CacheTier, Warmed};
pub use config::{ConfigStatus, KeyInForce, Outcome, ReloadResult, Reloaded, Retuned};
pub use damage::{DamagePage, LostRange, NamedFile};
pub use places::{ClusterRun, ExtentPlace, FoundPage, LocatedPage, TenantPlace};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the lines.
pub const VERSION: u32 = 1;
/// Bytes of a request at most.
pub const REQUEST_MAX_BYTES: usize = 64 * 1024;
/// Bytes of a reply at most.
pub const REPLY_MAX_BYTES: usize = 8 * 1024 * 1024;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    /// How the mount and its volume are. Waits for nobody.
    Status,
    /// All figures. Waits for nobody.
    Metrics,
    /// How the scanner is. Waits for nobody.
    Scrub,
    /// Begin a run, if none has begun. Waits for the scanner, which is at a piece of an image at most; so do the next three.
    ScrubStart(ScrubPlan),
    ScrubPause,
    ScrubResume,
    ScrubCancel,
    /// Make a round of cleaning, and answer when what it gained is free.
    Clean,
    /// The settings in force. Waits for nobody.
    Config,
    /// Read the settings again. Waits for threads that come or go.
    Reload,
    /// What is lost of files, from behind an inode and an offset on. Waits for the disk.
    Damage {
        #[serde(default)]
        after: Option<(u64, u64)>,
    },
    /// Where on the map a file lies, from an offset on. Waits for the disk.
    Locate {
        inode: u64,
        #[serde(default)]
        after: u64,
    },
    /// Whose the clusters of a place are, or one of them, those behind `after`. Waits for the disk.
    Find {
        x: i64,
        y: i64,
        #[serde(default)]
        cluster: Option<u16>,
        #[serde(default)]
        after: Option<(u64, u16)>,
    },
    /// What the caches hold. Waits for nobody.
    Caches,
    /// Make durable what was written so far. Waits for the disk.
    Flush,
    /// Drop what was read and can be read again.
    DropClean,
    /// Read files into the cache, each from an offset on, for a second or so. Waits for the disk; unless `urgent`, behind all requests.
    Warm {
        files: Vec<(u64, u64)>,
        #[serde(default)]
        urgent: bool,
    },
    /// Forget what is noted of these inodes, or everything.
    ForgetDamage {
        #[serde(default)]
        inodes: Vec<u64>,
        #[serde(default)]
        all: bool,
    },
}

impl Request {
    /// Whether its answer waits for the disk, an actor or threads, for as long as that takes.
    #[must_use]
    pub fn waits(&self) -> bool {
        match self {
            Self::Status | Self::Metrics | Self::Scrub | Self::Config | Self::Caches | Self::DropClean | Self::ForgetDamage { .. } => false,
            Self::ScrubStart(_)
            | Self::ScrubPause
            | Self::ScrubResume
            | Self::ScrubCancel
            | Self::Clean
            | Self::Reload
            | Self::Damage { .. }
            | Self::Locate { .. }
            | Self::Find { .. }
            | Self::Flush
            | Self::Warm { .. } => true,
        }
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Status(Box<Status>),
    /// In the text format of Prometheus.
    Metrics {
        text: String,
    },
    Scrub(Box<Scrub>),
    /// What the scanner cannot do now.
    ScrubRefused {
        reason: ScrubReason,
        why: String,
    },
    Cleaned(Cleaned),
    Config {
        keys: Vec<KeyInForce>,
    },
    Reloaded(Box<Reloaded>),
    Damage(Box<DamagePage>),
    Located(Box<LocatedPage>),
    Found(Box<FoundPage>),
    Caches {
        tiers: Vec<CacheTier>,
    },
    /// What is dirty by now.
    Flushed {
        dirty_bytes: u64,
    },
    Dropped {
        bytes: u64,
    },
    Warmed(Warmed),
    /// So many entries were forgotten.
    Forgot {
        count: u64,
    },
    /// The request was not understood, or could not be carried out.
    Refused {
        why: String,
    },
}

/// What a volume does with changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// All is well.
    #[default]
    Rw,
    /// Changes are refused: somebody asked for that, or something failed.
    Ro,
    /// Changes are taken, but something needs attention.
    Degraded,
}

/// How a mount and its volume are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// That of the program.
    pub version: String,
    pub pid: u32,
    pub uptime_seconds: u64,
    pub volume: String,
    pub uuid: String,
    pub mountpoint: String,
    pub mode: Mode,
    /// The first reason for a mode other than `rw`.
    pub reason: Option<String>,
    /// What needs attention, in any mode.
    pub attention: Option<String>,
    /// Since when changes are refused; RFC 3339, UTC.
    pub since: Option<String>,
    /// Changes are refused because something failed, and not because that was asked for.
    pub failed: bool,
    pub space: Space,
    pub actors: Vec<Pool>,
    /// What takes longer than it should.
    pub stuck: Vec<Stuck>,
    pub damage: Damage,
    pub scrub: ScrubSummary,
    pub config: ConfigStatus,
    /// The kernel has been given it, and has not been told that it ends.
    pub is_mounted: bool,
    pub http: Http,
}

impl Status {
    /// As programs are shown it: among messages, `version` is that of their form.
    #[must_use]
    pub fn shown(&self) -> serde_json::Value {
        let mut shown = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = shown.as_object_mut()
            && let Some(version) = fields.remove("version")
        {
            fields.insert("program_version".into(), version);
        }
        shown
    }
}

/// Where metrics and health are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Http {
    /// The address and port that it listens at.
    pub address: Option<String>,
    /// Why it does not listen although it was asked to.
    pub why_not: Option<String>,
}

/// The scanner in short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrubSummary {
    /// The run that has begun and not ended.
    pub run: Option<ScrubRun>,
    /// The run that ended last.
    pub last: Option<ScrubRun>,
}

/// What is to be scrubbed, and how fast.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrubPlan {
    /// Bytes a second, instead of those of the settings.
    pub limit: Option<u64>,
    /// Only the images that hold bytes of what is at this path, in hexadecimal.
    pub path_hex: Option<String>,
    /// Only the image at this place: x and y.
    pub place: Option<(i64, i64)>,
}

/// Why the scanner does not do what it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScrubReason {
    /// A run has begun.
    Busy,
    /// There is no run for that.
    Idle,
    /// There is no such path, or no such image.
    NoTarget,
    /// It cannot do anything.
    #[default]
    #[serde(other)]
    Failed,
}

/// The scanner of a mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scrub {
    pub uuid: String,
    pub volume: String,
    /// The run that has begun and not ended.
    pub run: Option<ScrubRun>,
    /// Those that ended, the newest first.
    pub history: Vec<ScrubRun>,
    /// Images that were looked at since the mount because reads complained, and what was found since then in all.
    pub suspected: u64,
    pub found: ScrubFound,
}

/// How a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScrubState {
    Running,
    Paused,
    Finished,
    Aborted,
    Interrupted,
    /// A state of a later version.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Images that were not as they were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrubFound {
    /// Put back as they were.
    pub corrected: u64,
    /// Could be put back, and were not.
    pub mendable: u64,
    /// Damaged beyond parity, or missing.
    pub uncorrectable: u64,
    /// Of all these, those of which the disk refused bytes.
    pub unreadable: u64,
    /// Ranges of files, and nodes of the tables, that are lost.
    pub lost_ranges: u64,
    pub lost_nodes: u64,
}

/// A run of the scanner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrubRun {
    pub state: ScrubState,
    /// It began because it was due.
    pub is_scheduled: bool,
    /// What it looks at, if not at everything: as text for people, and exactly.
    pub path: Option<String>,
    pub path_hex: Option<String>,
    pub place: Option<(i64, i64)>,
    /// RFC 3339, UTC.
    pub started: String,
    pub ended: Option<String>,
    /// Pauses and unmounts left out.
    pub seconds: f64,
    pub total_bytes: u64,
    pub bytes: u64,
    pub images: u64,
    pub bytes_per_second: u64,
    pub limit: Option<u64>,
    pub seconds_left: Option<u64>,
    pub found: ScrubFound,
    /// Why it was aborted.
    pub why: Option<String>,
}

/// An actor in a message, or a request that nobody has answered, beyond its deadline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stuck {
    pub who: String,
    pub seconds: u64,
    pub waits_for: String,
}

/// How much room there is, as the daemon last saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Space {
    /// Bytes that can still be written.
    pub available_bytes: u64,
    /// Bytes of all images.
    pub image_bytes: u64,
    pub limit_bytes: Option<u64>,
    /// Bytes of files that are not placed yet, and how many there may be.
    pub dirty_bytes: u64,
    pub dirty_limit_bytes: u64,
    /// Writes wait until a checkpoint has made room in the log.
    pub is_log_full: bool,
}

/// The slots of one kind of actor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    pub name: String,
    pub slots: usize,
    /// Slots that panicked, and answer with errors.
    pub dead: usize,
    /// Panics after which a slot went on.
    pub restarted: u64,
    /// Messages that wait.
    pub waiting: usize,
    pub handled: u64,
}

/// What was found wrong with stored bytes since the mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Damage {
    /// Reads that could not be answered.
    pub unreadable: u64,
    /// Those of them that no scrub of everything has settled since.
    pub unreadable_lately: u64,
    /// Reads that parity saved.
    pub restored: u64,
    /// Places on the list of what is lost, those of earlier mounts too.
    pub listed: u64,
    /// Lost bytes read as zeros.
    pub is_zeroed: bool,
}

/// What cleaning gained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cleaned {
    /// Images that were emptied, and bytes of their files.
    pub images: u64,
    pub image_bytes: u64,
    /// Images that hold now what lived in them, and bytes of their files.
    pub written: u64,
    pub written_bytes: u64,
    /// Extents that stay where they are because their bytes cannot be verified.
    pub damaged: u64,
}

/// Why a line means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("it speaks version {0} of the control protocol, and this program version {VERSION}")]
    Version(u32),
    #[error("it is not understood: {0}")]
    Text(String),
}

#[derive(Serialize)]
struct Said<'a, T> {
    version: u32,
    #[serde(flatten)]
    what: &'a T,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Deserialize)]
struct Heard<T> {
    #[serde(flatten)]
    what: T,
}

/// The line for a request or a reply, with its end.
pub fn encode<T: Serialize>(what: &T) -> Result<Vec<u8>, ProtocolError> {
    let text = serde_json::to_vec(&Said { version: VERSION, what });
    let mut line = text.map_err(|error| ProtocolError::Text(error.to_string()))?;
    line.push(b'\n');
    Ok(line)
}

/// The request or reply of a line.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, ProtocolError> {
    let unread = |error: serde_json::Error| ProtocolError::Text(error.to_string());
    let head: Head = serde_json::from_slice(line).map_err(unread)?;
    if head.version != VERSION {
        return Err(ProtocolError::Version(head.version));
    }
    serde_json::from_slice(line).map(|heard: Heard<T>| heard.what).map_err(unread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_lines_are_those_of_version_1() {
        assert_eq!(encode(&Request::Status).expect("encoded"), b"{\"version\":1,\"verb\":\"status\"}\n");
        assert_eq!(decode(br#"{"verb":"status","version":1,"later":[]}"#), Ok(Request::Status));
        let reply = Reply::Status(Box::new(Status { pid: 7, mode: Mode::Degraded, ..Status::default() }));
        let line = encode(&reply).expect("encoded");
        assert!(line.starts_with(br#"{"version":1,"status":{"version":"","pid":7,"#), "{}", String::from_utf8_lossy(&line));
        assert_eq!(decode(&line), Ok(reply));
    }

    #[test]
    fn fields_that_one_side_does_not_know_do_no_harm() {
        let plan = ScrubPlan { limit: Some(7), ..ScrubPlan::default() };
        assert_eq!(decode(br#"{"version":1,"verb":"scrub_start","limit":7,"moon":"full"}"#), Ok(Request::ScrubStart(plan)));
        assert_eq!(decode(br#"{"version":1,"verb":"scrub_start"}"#), Ok(Request::ScrubStart(ScrubPlan::default())));
        let run = ScrubRun { state: ScrubState::Unknown, ..ScrubRun::default() };
        let scrub = Scrub { run: Some(run), ..Scrub::default() };
        assert_eq!(decode(br#"{"version":1,"scrub":{"run":{"state":"dreaming"}}}"#), Ok(Reply::Scrub(Box::new(scrub))));
        let Ok(Reply::Status(status)) = decode(br#"{"version":1,"status":{"mode":"ro","moon":"full"}}"#) else { panic!("understood") };
        assert_eq!(*status, Status { mode: Mode::Ro, ..Status::default() });
    }

    #[test]
    fn another_version_is_told_as_that_and_an_unknown_verb_by_name() {
        assert_eq!(decode::<Request>(br#"{"version":2,"verb":"dance"}"#), Err(ProtocolError::Version(2)));
        let Err(ProtocolError::Text(why)) = decode::<Request>(br#"{"version":1,"verb":"dance"}"#) else { panic!("refused") };
        assert!(why.contains("dance") && why.contains("status"), "{why}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(line: Vec<u8>, text in "[\\[{\"a-z:,0-9\\]}]{0,80}") {
            let _ = (decode::<Request>(&line), decode::<Reply>(text.as_bytes()));
        }
    }
}
