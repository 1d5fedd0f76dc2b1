//! Everything that can be set, in one typed value that is passed down: no leaf reads a file, a flag or the environment.
//!
//! Owns: the settings, their defaults, ranges and units. What follows from them (the division of the memory budget, sizes that
//! the kernel is told) is in `settings/derived.rs`. Must be true: SET-1 `Settings::default()` lies inside every range and passes
//! [`Settings::contradiction`]; SET-2 whatever passes it fits into its memory budget (the tests of `derived.rs`).
//! Fails: never here; the package `infmap` checks ranges where a person wrote the value and can be shown the place.

mod choices;
mod derived;

pub use choices::{Atime, Compression, Damaged, FuseOpen, LogFormat, LogLevel, Prefetch, Preset, Sync};
pub use derived::{DECODER_BYTES, IMAGE_BUFFER_BYTES, MemoryPlan};

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;

/// Bytes that everything together may take: `memory.budget`.
pub const BUDGET_RANGE: RangeInclusive<u64> = 32 * MIB..=TIB;
/// Threads of the cache's pool and of the pixel readers' pool: there are 64 slots of each.
pub const POOL_THREADS_RANGE: RangeInclusive<u64> = 1..=64;
/// Threads of the pixel writers' pool: there are 16 slots.
pub const WRITER_THREADS_RANGE: RangeInclusive<u64> = 1..=16;
/// Slots of the pixel writers; as many of them are used as there are threads.
pub const WRITER_SLOTS: usize = 16;
/// Threads that write images, by default.
pub const WRITER_THREADS: usize = 8;
/// Messages that a mailbox admits from the door; beyond, requests are held back at the gates of the volume.
pub const MAILBOX_RANGE: RangeInclusive<u64> = 16..=65_536;
/// Messages of higher lanes that a lane lets go first before it gives one of its own.
pub const PASSES_RANGE: RangeInclusive<u64> = 1..=1024;
/// Milliseconds for which a lane lets others go first.
pub const DEADLINE_RANGE_MS: RangeInclusive<u64> = 1..=1000;
/// Percent of the disk's time for an actor that nobody waits for.
pub const SHARE_RANGE: RangeInclusive<u64> = 1..=100;
/// Bytes a second that the scanner reads at most.
pub const SCAN_RATE_RANGE: RangeInclusive<u64> = 64 * KIB..=64 * GIB;
/// Milliseconds from the end of one scrub to the beginning of the next.
pub const SCRUB_EVERY_RANGE_MS: RangeInclusive<u64> = 3_600_000..=366 * 86_400_000;
/// Percent of the images' bytes that are dead when cleaning begins.
pub const DEAD_RANGE: RangeInclusive<u64> = 5..=95;
/// Percent of the flexible memory for decoded data.
pub const L1_RANGE: RangeInclusive<u64> = 5..=70;
/// Percent of the flexible memory for compressed units as they are stored.
pub const L2_RANGE: RangeInclusive<u64> = 0..=50;
/// Percent that L1 and L2 may take together, so that dirty blocks and nodes keep a fifth.
pub const CACHES_MAX_PERCENT: u64 = 80;
/// Milliseconds between ordered commits.
pub const COMMIT_INTERVAL_RANGE_MS: RangeInclusive<u64> = 100..=300_000;
/// Bytes of log that start a checkpoint; the least is one log segment.
pub const CHECKPOINT_AT_RANGE: RangeInclusive<u64> = 16 * MIB..=16 * GIB;
/// Bytes of a file of the access log.
pub const ACCESS_LIMIT_RANGE: RangeInclusive<u64> = MIB..=TIB;
/// Threads that read requests from the kernel.
pub const FUSE_THREADS_RANGE: RangeInclusive<u64> = 1..=16;
/// Microseconds for which the thread that reads requests looks for the next one before it sleeps.
pub const FUSE_SPIN_US_RANGE: RangeInclusive<u64> = 0..=1000;
/// Bytes that a volume may be limited to.
pub const LIMIT_RANGE: RangeInclusive<u64> = 64 * MIB..=4_194_304 * TIB;

/// The port on which metrics and health are asked for by default.
pub const HTTP_PORT: u16 = 9568;

/// All settings of a mount.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Default `general`. It says where values came from; nothing else reads it.
    pub preset: Preset,
    pub config: Config,
    pub memory: Memory,
    pub actors: Actors,
    pub cache: Cache,
    /// Default `auto`.
    pub compression: Compression,
    pub durability: Durability,
    pub integrity: Integrity,
    pub mount: Mount,
    /// Bytes that the images may take on the host's disk, [`LIMIT_RANGE`]; `None` (default): what the disk has. Writes are refused at
    /// it; tables may pass it, so that removals and checkpoints go on.
    pub limit: Option<u64>,
    pub http: Http,
    pub log: Log,
}

/// `config`: the files of settings themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Whether a mount reads them again when one of them has changed. Default true.
    pub watch: bool,
}

/// `memory`: the one budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// Bytes, [`BUDGET_RANGE`], default 512 MiB. [`Settings::memory_plan`] divides it.
    pub budget: u64,
    /// Whether the memory that writes need is touched when a volume is mounted; never below a budget of 64 MiB. Default true.
    pub ready: bool,
    /// Bytes of requests that the kernel may have under way, as it was told at the mount; no key. While it cannot be told otherwise, a plan
    /// leaves them their room. Default 0: nobody was told anything.
    pub promised: u64,
}

/// `actors`: threads and mailboxes.
#[derive(Clone, Debug, PartialEq)]
pub struct Actors {
    /// Default 2 threads (1..=64), 1024 messages.
    pub cache: Pool,
    /// Default 2 threads (1..=16), 512 messages. Small budgets run fewer: [`MemoryPlan::writer_threads`].
    pub pixel_writer: Pool,
    /// Default 4 threads (1..=64), 1024 messages.
    pub pixel_reader: Pool,
    pub cleaner: Cleaner,
    pub scanner: Scanner,
    pub lanes: Lanes,
    /// Messages in the mailbox of the one Vat, [`MAILBOX_RANGE`], default 4096.
    pub vat_mailbox: usize,
    /// Messages in the mailbox of the one Wal, [`MAILBOX_RANGE`], default 4096.
    pub wal_mailbox: usize,
}

/// `actors.lanes`: how long the lanes of a mailbox let higher ones go first. What comes from the door goes before all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Lanes {
    /// Reports of placement and rows of files. Default 16 messages, 2 ms.
    pub data: LanePatience,
    /// Write-behind and commits by the timer. Default 32 messages, 10 ms.
    pub write_behind: LanePatience,
    /// Read-ahead, scanner, cleaner. Default 64 messages, 20 ms.
    pub background: LanePatience,
}

/// What ends the patience of a lane: whichever comes first.
#[derive(Clone, Debug, PartialEq)]
pub struct LanePatience {
    /// Messages of higher lanes, [`PASSES_RANGE`].
    pub passes: usize,
    /// Milliseconds, [`DEADLINE_RANGE_MS`].
    pub deadline_ms: u64,
}

/// `actors.cleaner`: how images that are mostly dead are made to come free.
#[derive(Clone, Debug, PartialEq)]
pub struct Cleaner {
    /// Percent of the time that it may use the disk, [`SHARE_RANGE`], default 20. When room is short, or somebody asks, it takes all.
    pub io_share_percent: u64,
    /// Percent of all images' bytes that must be dead for it to begin by itself, [`DEAD_RANGE`], default 30.
    pub start_at_dead_percent: u64,
}

impl Cleaner {
    /// Percent of one image that must be dead for it to be cleaned in the background: a half of what all must have.
    #[must_use]
    pub fn victim_dead_percent(&self) -> u64 {
        self.start_at_dead_percent / 2
    }
}

/// `actors.scanner`: how fast images are verified that nobody waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Scanner {
    /// Bytes a second, [`SCAN_RATE_RANGE`], default 20 MiB. A run can be given a limit of its own.
    pub io_limit: u64,
    /// Percent of the time that it may use the disk while somebody reads, [`SHARE_RANGE`], default 1.
    pub io_share_percent: u64,
}

/// How many threads run the slots of one kind of actor, and how much waits for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Threads.
    pub threads: usize,
    /// Messages that the mailbox of one slot admits, [`MAILBOX_RANGE`].
    pub mailbox: usize,
}

/// `cache`: how the flexible memory is used for reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// Percent of the flexible memory for decoded data, [`L1_RANGE`], default 30.
    pub l1_percent: u64,
    /// Percent of the flexible memory for compressed units as stored, [`L2_RANGE`], default 20.
    pub l2_percent: u64,
    /// Default `adaptive`.
    pub prefetch: Prefetch,
}

/// `durability`: what is safe, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Durability {
    /// Default `group`.
    pub sync: Sync,
    /// Time between ordered commits, 100 ms to 5 min ([`COMMIT_INTERVAL_RANGE_MS`]), default 5 s: what a power cut can take.
    pub commit_interval: Duration,
    /// Bytes of log that start a checkpoint, [`CHECKPOINT_AT_RANGE`], default 256 MiB. The one in force is
    /// [`Settings::checkpoint_at`]; twice that is the hard limit.
    pub checkpoint_at: u64,
}

/// `integrity`: how what is stored is looked after.
#[derive(Clone, Debug, PartialEq)]
pub struct Integrity {
    /// Time from the end of one scrub to the next, 1 h to 366 d ([`SCRUB_EVERY_RANGE_MS`]), default 7 d; `None`: only when somebody asks.
    pub scrub_every: Option<Duration>,
}

/// `mount`: what the kernel is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// Threads that read requests, 1..=16, default 1.
    pub fuse_threads: usize,
    /// Microseconds, [`FUSE_SPIN_US_RANGE`], default 50; 0 is not at all. For one thread only.
    pub fuse_spin_us: u64,
    /// Default `daemon`, and nothing else for now.
    pub fuse_open: FuseOpen,
    /// Default `relatime`.
    pub atime: Atime,
    /// Let the kernel gather small writes; default true.
    pub writeback: bool,
    /// Let other users in, with the kernel's permission checks; default false.
    pub allow_other: bool,
    /// Default `error`. With `zero` the volume is opened read-only: zeros that stand for lost bytes must never be stored, and so get a
    /// checksum.
    pub damaged: Damaged,
}

/// `http`: figures and health for programs of others.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Where metrics and health are asked for, default `127.0.0.1:9568`; port 0 takes any that is free. `None`: nowhere, and nothing is
    /// measured.
    pub listen: Option<SocketAddr>,
}

/// `log`: the daemon's messages to people, not the write-ahead log.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Default `info`.
    pub level: LogLevel,
    /// Default `text`.
    pub format: LogFormat,
    /// Whether each request of the kernel is noted. Default false.
    pub access: bool,
    /// Bytes at which the file of those notes is begun anew; the one before is kept. Default 64 MiB.
    pub access_limit: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { watch: true }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { budget: 512 * MIB, ready: true, promised: 0 }
    }
}

impl Default for Actors {
    fn default() -> Self {
        Self {
            cache: Pool { threads: 2, mailbox: 1024 },
            pixel_writer: Pool { threads: WRITER_THREADS, mailbox: 512 },
            pixel_reader: Pool { threads: 4, mailbox: 1024 },
            cleaner: Cleaner { io_share_percent: 20, start_at_dead_percent: 30 },
            scanner: Scanner { io_limit: 20 * MIB, io_share_percent: 1 },
            lanes: Lanes::default(),
            vat_mailbox: 4096,
            wal_mailbox: 4096,
        }
    }
}

impl Default for Lanes {
    fn default() -> Self {
        let patience = |passes, deadline_ms| LanePatience { passes, deadline_ms };
        Self { data: patience(16, 2), write_behind: patience(32, 10), background: patience(64, 20) }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { l1_percent: 30, l2_percent: 20, prefetch: Prefetch::Adaptive }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            preset: Preset::General,
            config: Config::default(),
            memory: Memory::default(),
            actors: Actors::default(),
            cache: Cache::default(),
            compression: Compression::Auto,
            durability: Durability::default(),
            integrity: Integrity::default(),
            mount: Mount::default(),
            limit: None,
            http: Http::default(),
            log: Log::default(),
        }
    }
}

impl Default for Durability {
    fn default() -> Self {
        Self { sync: Sync::Group, commit_interval: Duration::from_secs(5), checkpoint_at: 256 * MIB }
    }
}

impl Default for Integrity {
    fn default() -> Self {
        Self { scrub_every: Some(Duration::from_secs(7 * 86_400)) }
    }
}

impl Default for Mount {
    fn default() -> Self {
        let (fuse_open, atime, damaged) = (FuseOpen::Daemon, Atime::Relatime, Damaged::Error);
        Self { fuse_threads: 1, fuse_spin_us: 50, fuse_open, atime, writeback: true, allow_other: false, damaged }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], HTTP_PORT))) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text, access: false, access_limit: 64 * MIB }
    }
}

/// Two settings that are each in range and do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// Key of the setting to change.
    pub key: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub help: String,
}

impl Settings {
    /// What contradicts itself, if anything. Ranges of single values are not looked at.
    #[must_use]
    pub fn contradiction(&self) -> Option<Contradiction> {
        let caches = self.cache.l1_percent + self.cache.l2_percent;
        if caches > CACHES_MAX_PERCENT {
            return Some(Contradiction {
                key: "cache.l1",
                what: format!("cache.l1 and cache.l2 take {caches}% together"),
                help: format!("at most {CACHES_MAX_PERCENT}%: dirty blocks, nodes, prefetch and messages need the rest"),
            });
        }
        if self.mount.fuse_open == FuseOpen::Kernel {
            return Some(Contradiction {
                key: "mount.fuse_open",
                what: "mount.fuse_open: kernel is not available in this version".into(),
                help: "use daemon".into(),
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_do_not_contradict_each_other() {
        assert_eq!(Settings::default().contradiction(), None);
    }

    #[test]
    fn caches_that_leave_nothing_for_writing_are_refused() {
        let mut settings = Settings::default();
        (settings.cache.l1_percent, settings.cache.l2_percent) = (70, 11);
        assert_eq!(settings.contradiction().map(|c| c.key), Some("cache.l1"));
    }

    #[test]
    fn opening_by_the_kernel_alone_is_refused_until_it_exists() {
        let mut settings = Settings::default();
        settings.mount.fuse_open = FuseOpen::Kernel;
        assert_eq!(settings.contradiction().map(|c| c.key), Some("mount.fuse_open"));
    }
}
