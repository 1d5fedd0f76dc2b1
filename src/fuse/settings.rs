//! What a mount is asked to be.
//!
//! Owns: `MountSettings`, `OpenMode` and their defaults. Must be true: all of it is fixed while mounted. Fails: never; what cannot be
//! is refused by `Mounted::start`.

use super::access::AccessLog;
use super::shadow::Stats;
use infmap_actors::settings::Atime;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Who keeps track of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OpenMode {
    /// OPEN and RELEASE reach us.
    #[default]
    Daemon,
    /// OPEN is answered ENOSYS: the kernel opens without asking (a warm grep 0.17 -> 0.04 s), and there is no commit at close.
    Kernel,
}

/// Owner, group and permission bits as a mount shows them, whatever is stored: for volumes that come from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Shown {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Permission bits that nothing has.
    pub umask: u32,
}

/// An access log, by what it is and not by what is in it.
#[derive(Clone)]
pub struct Noted(pub Arc<AccessLog>);

impl PartialEq for Noted {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Noted {}

impl fmt::Debug for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an access log")
    }
}

/// How a volume is mounted. The default is that of `infmap mount` without options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSettings {
    /// What stands in the first column of `/proc/mounts`. No comma, no control character: each would become a mount option.
    pub source: String,
    pub read_only: bool,
    /// Users other than the one who mounts may enter.
    pub allow_other: bool,
    /// Every write is synced by the kernel, and each close by FLUSH.
    pub sync: bool,
    /// Set-user-id bits and device nodes mean something, programs may be started.
    pub allow_suid: bool,
    pub allow_devices: bool,
    pub allow_exec: bool,
    /// Threads that take requests from the kernel, 1..=64. More than one has a descriptor each.
    pub threads: usize,
    /// How long the one thread looks for the next request before it sleeps; zero: not at all.
    pub look_out: Duration,
    /// The kernel collects writes, and owns size and times meanwhile.
    pub writeback_cache: bool,
    pub open: OpenMode,
    /// Which readings are noted.
    pub atime: Atime,
    /// What is shown in place of owner, group and permission bits that are stored.
    pub shown: Shown,
    /// Bytes of one WRITE at most, 4 KiB..=16 MiB; the kernel's own limit is 1 MiB unless `fs.fuse.max_pages_limit` is raised.
    pub max_write_bytes: u32,
    /// Bytes that the kernel reads ahead. Above 128 KiB it takes root, who may set it in the bdi; for others it is a wish.
    pub read_ahead_bytes: u32,
    /// Written bytes that the kernel may hold before writers wait, where its default is less: a hundredth of what it grants all devices,
    /// 16 MB on a machine of 8 GiB. Takes root. None leaves the default.
    pub written_bytes: Option<u64>,
    /// Requests that the kernel sends without a caller waiting: read-ahead and write-back. fuser's 16 starve a deep read-ahead, and
    /// each of write-back holds a WRITE in memory.
    pub background_requests: u16,
    /// Where each request is noted; `None`: nowhere.
    pub access: Option<Noted>,
    /// What the file `.infmap/stats` says; `None`: there is none.
    pub stats: Option<Stats>,
    /// How long the kernel trusts a name.
    pub entry_lifetime: Duration,
    /// How long the kernel trusts attributes. Regular files under writeback cache: at most a minute, see `convert`.
    pub attribute_lifetime: Duration,
}

impl Default for MountSettings {
    fn default() -> Self {
        Self {
            source: "infmap".into(),
            read_only: false,
            allow_other: false,
            sync: false,
            allow_suid: false,
            allow_devices: false,
            allow_exec: true,
            threads: 1,
            look_out: Duration::from_micros(50),
            writeback_cache: true,
            open: OpenMode::Daemon,
            atime: Atime::Relatime,
            shown: Shown::default(),
            max_write_bytes: 1 << 20,
            read_ahead_bytes: 1 << 20,
            written_bytes: None,
            background_requests: 64,
            access: None,
            stats: None,
            entry_lifetime: Duration::from_secs(3600),
            attribute_lifetime: Duration::from_secs(3600),
        }
    }
}
