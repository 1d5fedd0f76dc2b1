//! Values of ours as values of fuser, and back.
//!
//! Owns: times, kinds, attributes, and how long the kernel may trust them. Must be true: every time that the kernel can send or show
//! passes unchanged, before 1970 too; names are bytes. Fails: never; a time beyond `SystemTime` is held at its end.
//!
//! Fuser (0.18) sends times right, but reads (-2 s, 800 ms) as 2.8 s before 1970 where the kernel means 1.2 s. `from_request` undoes that,
//! which is exact because fuser never makes a time before 1970 in another way.

use super::settings::Shown;
use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use infmap_actors::api::{Attributes, SetTime};
use infmap_storage::row::{FileKind, Inode, Time};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The preferred size of a read or write, in bytes.
const BLOCK_SIZE: u32 = 4096;

/// A time of a request.
pub(super) fn from_request(time: SystemTime) -> Time {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Time { seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX), nanos: after.subsec_nanos() },
        Err(before) => {
            let before = before.duration();
            Time { seconds: 0i64.saturating_sub_unsigned(before.as_secs()), nanos: before.subsec_nanos() }
        }
    }
}

/// A time to be shown.
pub(super) fn to_reply(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let seconds = if time.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    seconds.and_then(|seconds| seconds.checked_add(Duration::from_nanos(time.nanos.into()))).unwrap_or(UNIX_EPOCH)
}

/// A time to be set.
pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(from_request(time)),
    }
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::Directory => FileType::Directory,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Regular => FileType::RegularFile,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Socket => FileType::Socket,
    }
}

pub(super) fn file_attr(attributes: &Attributes, shown: &Shown) -> FileAttr {
    FileAttr {
        ino: INodeNo(attributes.inode.0),
        size: attributes.size,
        blocks: attributes.blocks,
        atime: to_reply(attributes.accessed),
        mtime: to_reply(attributes.modified),
        ctime: to_reply(attributes.changed),
        crtime: to_reply(attributes.created),
        kind: file_type(attributes.kind),
        perm: (attributes.permissions & 0o7777 & !shown.umask) as u16,
        nlink: attributes.links,
        uid: shown.uid.unwrap_or(attributes.uid),
        gid: shown.gid.unwrap_or(attributes.gid),
        rdev: attributes.rdev,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// What stands for attributes that a listing could not give: to be shown with no lifetime, so that the kernel asks before it uses them.
pub(super) fn unknown_attr(inode: Inode, kind: FileKind) -> FileAttr {
    let zero = UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(inode.0),
        size: 0,
        blocks: 0,
        atime: zero,
        mtime: zero,
        ctime: zero,
        crtime: zero,
        kind: file_type(kind),
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// For how long the kernel may trust names and attributes.
///
/// This mount is the only writer, and the kernel itself drops the attributes that its own requests change, so long is right, with one
/// exception: under the writeback cache it does not count the blocks (`st_blocks`) that a file gains while it stays open for
/// writing, until it is closed. Regular files are looked at again after a minute then, and those that somebody has open to write after a
/// second. Zero would be wrong: the kernel would ask before each cached write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    pub entry: Duration,
    pub attributes: Duration,
    pub regular_files: Duration,
    writeback_cache: bool,
}

impl Lifetimes {
    const OPEN_FILE: Duration = Duration::from_secs(60);
    const WRITTEN_FILE: Duration = Duration::from_secs(1);

    pub(super) fn new(entry: Duration, attributes: Duration, writeback_cache: bool) -> Self {
        let regular_files = if writeback_cache { attributes.min(Self::OPEN_FILE) } else { attributes };
        Self { entry, attributes, regular_files, writeback_cache }
    }

    /// Whether the kernel may hold pages of an inode of this kind that we do not know of.
    pub(super) fn owns_pages(&self, kind: FileKind) -> bool {
        self.writeback_cache && kind == FileKind::Regular
    }

    /// Of a file that somebody has open to write.
    pub(super) fn written_files(&self) -> Duration {
        self.regular_files.min(Self::WRITTEN_FILE)
    }

    /// Of the attributes of an inode of this kind.
    pub(super) fn of(&self, kind: FileKind) -> Duration {
        if kind == FileKind::Regular { self.regular_files } else { self.attributes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of 1901-12-13 and of 2446-05-10: the range of ext4.
    const YEARS: (i64, i64) = (-2_147_483_648, 15_032_385_535);
    const TIMES: [(i64, u32); 12] = [
        (0, 0),
        (0, 1),
        (1, 999_999_999),
        (-1, 0),
        (-1, 1),
        (-1, 999_999_999),
        (-2, 800_000_000),
        (YEARS.0, 1),
        (YEARS.1, 999_999_999),
        (i64::MIN, 0),
        (i64::MIN + 1, 5),
        (i64::MAX, 999_999_999),
    ];

    /// `system_time_from_time` of fuser 0.18, with its fault.
    fn as_fuser_reads(seconds: i64, nanos: u32) -> SystemTime {
        if seconds >= 0 {
            UNIX_EPOCH + Duration::new(seconds as u64, nanos)
        } else {
            UNIX_EPOCH - Duration::new(seconds.unsigned_abs(), nanos)
        }
    }

    /// `time_from_system_time` of fuser 0.18.
    fn as_fuser_sends(time: SystemTime) -> (i64, u32) {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => (after.as_secs() as i64, after.subsec_nanos()),
            Err(before) => match (before.duration().as_secs(), before.duration().subsec_nanos()) {
                (seconds, 0) => ((seconds as i64).wrapping_neg(), 0),
                (seconds, nanos) => (-(seconds as i64) - 1, 1_000_000_000 - nanos),
            },
        }
    }

    #[test]
    fn every_time_passes_the_door_unchanged_both_ways() {
        let spread = (0..2000).map(|i| (YEARS.0 + i * ((YEARS.1 - YEARS.0) / 2000), (i as u32).wrapping_mul(499_979) % 1_000_000_000));
        for (seconds, nanos) in TIMES.into_iter().chain(spread) {
            let time = Time { seconds, nanos };
            assert_eq!(from_request(as_fuser_reads(seconds, nanos)), time, "as the kernel sends it");
            assert_eq!(as_fuser_sends(to_reply(time)), (seconds, nanos), "as the kernel shows it");
        }
    }

    #[test]
    fn attributes_of_files_live_shortly_only_while_the_kernel_caches_writes() {
        let hour = Duration::from_secs(3600);
        let cached = Lifetimes::new(hour, hour, true);
        assert_eq!(cached.of(FileKind::Regular), Duration::from_secs(60));
        assert_eq!(cached.of(FileKind::Directory), hour);
        assert_eq!(Lifetimes::new(hour, hour, false).of(FileKind::Regular), hour);
        assert_eq!(Lifetimes::new(hour, Duration::from_secs(1), true).of(FileKind::Regular), Duration::from_secs(1));
    }
}
