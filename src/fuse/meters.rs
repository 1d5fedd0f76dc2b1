//! Every request is counted and timed.
//!
//! Owns: `Op`, `infmap_fuse_requests_total{op,errno}`, `infmap_fuse_request_duration_seconds{op}`, `infmap_fuse_io_bytes_total{direction}`,
//! `infmap_fuse_panics_total`. Must be true: handles are fetched once, so a request costs two clock readings and two atomic adds. The
//! recorder is installed before the door is made. Fails: never; without a recorder it counts nowhere.

use super::errno::{LABELS, position};
use fuser::Errno;
use metrics::{Counter, Histogram, counter, histogram};
use std::sync::OnceLock;
use std::time::Instant;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Lookup,
    Forget,
    Getattr,
    Setattr,
    Readlink,
    Mknod,
    Mkdir,
    Unlink,
    Rmdir,
    Symlink,
    Rename,
    Link,
    Open,
    Create,
    Read,
    Write,
    Flush,
    Release,
    Fsync,
    Opendir,
    Readdir,
    Readdirplus,
    Releasedir,
    Fsyncdir,
    Statfs,
    Setxattr,
    Getxattr,
    Listxattr,
    Removexattr,
    Fallocate,
    Lseek,
    CopyFileRange,
    Access,
    Other,
}

impl Op {
    /// How many kinds there are.
    pub(super) const COUNT: usize = Self::Other as usize + 1;

    const ALL: [Self; Self::COUNT] = [
        Self::Lookup,
        Self::Forget,
        Self::Getattr,
        Self::Setattr,
        Self::Readlink,
        Self::Mknod,
        Self::Mkdir,
        Self::Unlink,
        Self::Rmdir,
        Self::Symlink,
        Self::Rename,
        Self::Link,
        Self::Open,
        Self::Create,
        Self::Read,
        Self::Write,
        Self::Flush,
        Self::Release,
        Self::Fsync,
        Self::Opendir,
        Self::Readdir,
        Self::Readdirplus,
        Self::Releasedir,
        Self::Fsyncdir,
        Self::Statfs,
        Self::Setxattr,
        Self::Getxattr,
        Self::Listxattr,
        Self::Removexattr,
        Self::Fallocate,
        Self::Lseek,
        Self::CopyFileRange,
        Self::Access,
        Self::Other,
    ];

    /// In the order of the variants.
    const NAMES: [&str; Self::COUNT] = [
        "lookup",
        "forget",
        "getattr",
        "setattr",
        "readlink",
        "mknod",
        "mkdir",
        "unlink",
        "rmdir",
        "symlink",
        "rename",
        "link",
        "open",
        "create",
        "read",
        "write",
        "flush",
        "release",
        "fsync",
        "opendir",
        "readdir",
        "readdirplus",
        "releasedir",
        "fsyncdir",
        "statfs",
        "setxattr",
        "getxattr",
        "listxattr",
        "removexattr",
        "fallocate",
        "lseek",
        "copy_file_range",
        "access",
        "other",
    ];

    #[expect(clippy::indexing_slicing, reason = "there is a name for each variant: the length of the list is that of the last one and one")]
    pub(super) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The kind with this number.
    pub(super) fn at(number: usize) -> Option<Self> {
        Self::ALL.get(number).copied()
    }
}

struct OpMeter {
    name: &'static str,
    done: Counter,
    seconds: Histogram,
    /// By position in `LABELS`; a series exists once it has happened.
    refused: [OnceLock<Counter>; LABELS.len()],
}

/// The handles of all of them.
pub(super) struct Meters {
    ops: Vec<OpMeter>,
    pub read_bytes: Counter,
    pub written_bytes: Counter,
    pub panics: Counter,
}

impl Meters {
    pub(super) fn new() -> Self {
        let ops = Op::NAMES.map(|name| OpMeter {
            name,
            done: counter!("infmap_fuse_requests_total", "op" => name, "errno" => "ok"),
            seconds: histogram!("infmap_fuse_request_duration_seconds", "op" => name),
            refused: [const { OnceLock::new() }; LABELS.len()],
        });
        Self {
            ops: ops.into(),
            read_bytes: counter!("infmap_fuse_io_bytes_total", "direction" => "read"),
            written_bytes: counter!("infmap_fuse_io_bytes_total", "direction" => "write"),
            panics: counter!("infmap_fuse_panics_total"),
        }
    }

    /// Counts one request that began then and was answered with this.
    #[expect(clippy::indexing_slicing, reason = "there is a meter for each name, and `position` gives positions in `LABELS`")]
    pub(super) fn answered(&self, op: Op, began: Instant, errno: Option<Errno>) {
        let meter = &self.ops[op as usize];
        match errno.map(position) {
            None => meter.done.increment(1),
            Some(at) => meter.refused[at]
                .get_or_init(|| counter!("infmap_fuse_requests_total", "op" => meter.name, "errno" => LABELS[at].1))
                .increment(1),
        }
        meter.seconds.record(began.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_any_kind_can_be_counted_with_any_errno() {
        let meters = Meters::new();
        assert_eq!((Op::Lookup.name(), Op::Write.name(), Op::Other.name()), ("lookup", "write", "other"));
        for (errno, _) in LABELS {
            meters.answered(Op::Other, Instant::now(), Some(errno));
        }
        meters.answered(Op::Lookup, Instant::now(), None);
        assert!(Op::ALL.iter().enumerate().all(|(number, op)| *op as usize == number));
    }
}
