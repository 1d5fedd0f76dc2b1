//! A profile as numbers for programs and people.

use super::Profile;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a log comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub requests: u64,
    /// Lines that are none.
    pub bad_lines: u64,
    /// Requests that the log says it has no line for.
    pub dropped: u64,
    /// From the beginning of the first request to the end of the last.
    pub seconds: f64,
    /// By the time that they took in all, most first.
    pub ops: Vec<OpReport>,
    pub reads: Stream,
    pub writes: Stream,
    /// By the time that their requests took, most first.
    pub inodes: Vec<Hot>,
    /// Inodes that were asked for.
    pub inode_count: u64,
}

/// One kind of request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpReport {
    pub op: String,
    pub count: u64,
    pub errors: BTreeMap<String, u64>,
    /// Bytes that were asked for, of reads and writes that were done.
    pub bytes: u64,
    /// Share of the time of all requests, 0 to 1.
    pub share: f64,
    pub total_us: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

/// Reads, or writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stream {
    pub count: u64,
    pub bytes: u64,
    /// Share of those behind the first of their inode that began where the one before ended; `None` without any.
    pub sequential: Option<f64>,
    /// How many of which size.
    pub sizes: Vec<SizeCount>,
}

/// Requests of up to so many bytes, and more than half of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    pub bytes: u64,
    pub count: u64,
}

/// One inode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hot {
    /// `None`: all that could not be told apart.
    pub inode: Option<u64>,
    pub requests: u64,
    pub bytes: u64,
    pub total_us: u64,
}

impl Report {
    pub(super) fn of(profile: &Profile, hottest: usize) -> Self {
        let all_us: u64 = profile.ops.values().fold(0, |sum, op| sum.saturating_add(op.took.sum));
        let mut ops: Vec<OpReport> = profile
            .ops
            .iter()
            .map(|(name, op)| OpReport {
                op: name.clone(),
                count: op.took.count,
                errors: op.errors.clone(),
                bytes: op.bytes,
                share: if all_us == 0 { 0.0 } else { op.took.sum as f64 / all_us as f64 },
                total_us: op.took.sum,
                p50_us: op.took.percentile(50),
                p90_us: op.took.percentile(90),
                p99_us: op.took.percentile(99),
                max_us: op.took.max,
            })
            .collect();
        ops.sort_by(|a, b| b.total_us.cmp(&a.total_us).then_with(|| a.op.cmp(&b.op)));
        let mut inodes: Vec<Hot> = profile
            .inodes
            .iter()
            .map(|(number, inode)| Hot {
                inode: (*number != u64::MAX).then_some(*number),
                requests: inode.requests,
                bytes: inode.bytes,
                total_us: inode.took_us,
            })
            .collect();
        inodes.sort_by_key(|hot| (std::cmp::Reverse(hot.total_us), hot.inode));
        inodes.truncate(hottest);
        Self {
            requests: profile.requests,
            bad_lines: profile.bad,
            dropped: profile.dropped,
            seconds: profile.last_us.saturating_sub(profile.first_us.unwrap_or(profile.last_us)) as f64 / 1e6,
            ops,
            reads: stream(profile, "read"),
            writes: stream(profile, "write"),
            inodes,
            inode_count: profile.inodes.len() as u64,
        }
    }
}

fn stream(profile: &Profile, name: &str) -> Stream {
    let Some(op) = profile.ops.get(name) else { return Stream::default() };
    Stream {
        count: op.sizes.values().sum(),
        bytes: op.bytes,
        sequential: (op.followers > 0).then(|| op.sequential as f64 / op.followers as f64),
        sizes: op.sizes.iter().map(|(bytes, count)| SizeCount { bytes: *bytes, count: *count }).collect(),
    }
}
