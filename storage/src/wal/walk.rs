//! One segment, read record by record.
//!
//! Owns: the window over a segment's file, the rule of where the next record may stand, and the search behind a bad one. Must be
//! true: memory is bounded by a group and a piece, whatever the bytes say; a record is taken only if epoch, number and chain fit
//! (WAL-1, WAL-4); a visitor gets whole groups. Fails: `ReadError::Io`; bad bytes are a [`Fault`].

use super::appender::GROUP_LOG_MAX_BYTES;
use super::reader::{ReadError, Segment};
use super::record::{Lsn, RECORD_HEADER_BYTES, Record, RecordError, RecordHeader};
use super::segment::segment_path;
use crate::address::RegionId;
use crate::device::{Device, DeviceFile, Open};
use crate::limits::{LOG_BLOCK_BYTES, RECORD_MAX_BYTES};
use std::fmt;
use std::sync::Arc;

/// Bytes read at a time.
const PIECE_BYTES: usize = 1024 * 1024;
const BLOCK: u64 = LOG_BLOCK_BYTES as u64;

/// A place at which the log does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The record that should stand there.
    pub lsn: Lsn,
    /// Path of the segment below the volume, and the offset in bytes.
    pub path: String,
    pub offset: u64,
    pub reason: FaultReason,
}

/// Why the log does not go on at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultReason {
    /// Zeros, or what an older life of the file left.
    Nothing,
    /// The start of a record that is not whole.
    Damaged(RecordError),
    /// A whole record that does not follow the one before it.
    OutOfChain,
    /// Records whose group has no last one.
    UnfinishedGroup,
    /// A segment is missing, or its header is damaged.
    MissingSegment,
    /// The log ends before the grant of an image that exists.
    Behind(RegionId),
    /// The file is shorter than it was made.
    Shortened,
    /// The newest root that can be found in the log is not the newest of the images.
    Outdated,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log record {} at byte {} of {}: ", self.lsn, self.offset, self.path)?;
        match self.reason {
            FaultReason::Nothing => write!(f, "nothing stands there"),
            FaultReason::Damaged(error) => write!(f, "{error}"),
            FaultReason::OutOfChain => write!(f, "it does not follow the record before it"),
            FaultReason::UnfinishedGroup => write!(f, "its group has no end"),
            FaultReason::MissingSegment => write!(f, "the segment that held it is missing or has lost its header"),
            FaultReason::Shortened => write!(f, "it may be missing, for the file is shorter than it was made"),
            FaultReason::Outdated => write!(f, "it is missing, for an image holds a newer root than the log that can be read"),
            FaultReason::Behind(region) => write!(f, "it is missing, for the image {region} was made after the log that is there"),
        }
    }
}

/// A stretch of a file in memory that only moves forward.
pub(super) struct Window {
    file: Arc<dyn DeviceFile>,
    path: String,
    bytes: Vec<u8>,
    /// Where `bytes` begin in the file, and where the log in the file ends.
    base: u64,
    end: u64,
}

impl Window {
    /// Over a file, up to `end` or its own end.
    pub(super) fn open(device: &dyn Device, number: u64, end: u64) -> Result<Self, ReadError> {
        let path = segment_path(number);
        let opened = device.open(&path, Open::READ).and_then(|file| Ok((file.len()?, file)));
        let (len, file) = opened.map_err(|source| ReadError::Io { path: path.clone(), source })?;
        Ok(Self { file, path, bytes: Vec::new(), base: 0, end: end.min(len) })
    }

    /// The bytes at `at`, `len` of them or fewer at the end. What stands before `keep` (at most `at`) is forgotten.
    fn load(&mut self, keep: u64, at: u64, len: usize) -> Result<&[u8], ReadError> {
        let wanted_end = at.saturating_add(len as u64).min(self.end);
        if wanted_end > self.base + self.bytes.len() as u64 {
            let forget = usize::try_from(keep.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.bytes.len());
            self.bytes.drain(..forget);
            self.base = if self.bytes.is_empty() { keep } else { self.base + forget as u64 };
            let have_end = self.base + self.bytes.len() as u64;
            let read_end = wanted_end.max(have_end.saturating_add(PIECE_BYTES as u64)).min(self.end);
            let old_len = self.bytes.len();
            self.bytes.resize(old_len + usize::try_from(read_end.saturating_sub(have_end)).unwrap_or(0), 0);
            let room = self.bytes.get_mut(old_len..).unwrap_or(&mut []);
            let read = self.file.read_at(room, have_end).map_err(|source| ReadError::Io { path: self.path.clone(), source })?;
            self.bytes.truncate(old_len + read);
        }
        Ok(self.slice(at, len))
    }

    /// As `load`, of what is in memory.
    fn slice(&self, at: u64, len: usize) -> &[u8] {
        let start = usize::try_from(at.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let rest = self.bytes.get(start..).unwrap_or(&[]);
        rest.get(..len).unwrap_or(rest)
    }

    /// Reads and verifies the record at `at`, if its header passes `wanted`.
    fn record(&mut self, keep: u64, at: u64, wanted: impl FnOnce(&RecordHeader) -> bool) -> Result<Found, ReadError> {
        let (header, _) = match RecordHeader::decode(self.load(keep, at, RECORD_HEADER_BYTES)?) {
            Ok(read) => read,
            Err(error) => return Ok(Found::Bad(error)),
        };
        if !wanted(&header) {
            return Ok(Found::Unwanted(header));
        }
        Ok(match Record::decode(self.load(keep, at, header.record_bytes())?) {
            Ok(record) => Found::Whole { header, crc: record.crc },
            Err(error) => Found::Bad(error),
        })
    }
}

enum Found {
    Whole { header: RecordHeader, crc: u32 },
    Unwanted(RecordHeader),
    Bad(RecordError),
}

/// A record of the group being read.
struct Member {
    header: RecordHeader,
    crc: u32,
    at: u64,
}

/// A walk along one segment.
pub(super) struct Walk {
    window: Window,
    tag: u64,
    epoch: u32,
    /// What the next record must be, and where it may stand.
    lsn: Lsn,
    crc: u32,
    at: u64,
    group: Vec<Member>,
    /// The record after the last whole group, and the checksum of that group's last record.
    pub(super) next_lsn: Lsn,
    pub(super) previous_crc: u32,
    /// Where the first group that was visited begins and the last one ends.
    visited: Option<(u64, u64)>,
}

impl Walk {
    pub(super) fn new(device: &dyn Device, tag: u64, segment: &Segment) -> Result<Self, ReadError> {
        let header = segment.header;
        Ok(Self {
            window: Window::open(device, segment.number, header.segment_bytes)?,
            tag,
            epoch: header.epoch,
            lsn: header.first_lsn,
            crc: header.previous_crc,
            at: BLOCK,
            group: Vec::new(),
            next_lsn: header.first_lsn,
            previous_crc: header.previous_crc,
            visited: None,
        })
    }

    /// Visits the whole groups that end at `from` or later, up to the record `until` (not included) or the first fault.
    pub(super) fn groups<E: From<ReadError>>(
        &mut self,
        from: Lsn,
        until: Option<Lsn>,
        mut visit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<Option<Fault>, E> {
        loop {
            if until.is_some_and(|until| self.lsn >= until) {
                let unfinished = !self.group.is_empty() || until != Some(self.lsn);
                return Ok(unfinished.then(|| self.fault(FaultReason::UnfinishedGroup, self.at)));
            }
            if let Err((reason, at)) = self.step()? {
                return Ok(Some(self.fault(reason, at)));
            }
            if self.group.last().is_some_and(|member| member.header.commit) {
                (self.next_lsn, self.previous_crc) = (self.lsn, self.crc);
                let group = std::mem::take(&mut self.group);
                if self.lsn.before() >= from {
                    let begins = group.first().map_or(self.at, |first| first.at);
                    self.visited = Some((self.visited.map_or(begins, |(first, _)| first), self.at));
                    for Member { header, crc, at } in &group {
                        let payload = self.window.slice(at + RECORD_HEADER_BYTES as u64, header.payload_bytes as usize);
                        visit(Record { header: *header, crc: *crc, payload })?;
                    }
                }
            }
        }
    }

    /// Bytes of the segment that the visited groups take, in whole blocks.
    pub(super) fn visited_bytes(&self) -> u64 {
        self.visited.map_or(0, |(begins, ends)| ends.next_multiple_of(BLOCK) - begins / BLOCK * BLOCK)
    }

    /// Whether the fault at which the walk stopped stands inside an unfinished group.
    pub(super) fn in_group(&self) -> bool {
        !self.group.is_empty()
    }

    /// Reads the next record into the group: it stands right behind the last, or at the next block.
    fn step(&mut self) -> Result<Result<(), (FaultReason, u64)>, ReadError> {
        let keep = self.group.first().map_or(self.at, |first| first.at);
        let mut fault = (FaultReason::Nothing, self.at);
        // Damaged padding must not hide the batch behind it: a record that fits number and chain is the next one wherever it is.
        for at in [self.at, self.at.next_multiple_of(BLOCK)] {
            let (tag, epoch, lsn, crc) = (self.tag, self.epoch, self.lsn, self.crc);
            let follows = |header: &RecordHeader| {
                header.volume_tag == tag && header.epoch == epoch && header.lsn == lsn && header.previous_crc == crc
            };
            let found = self.window.record(keep, at, follows)?;
            let why = match found {
                Found::Whole { header, crc } => {
                    self.group.push(Member { header, crc, at });
                    (self.lsn, self.crc, self.at) = (lsn.next(), crc, at + header.record_bytes() as u64);
                    let too_long = self.at - keep > (GROUP_LOG_MAX_BYTES + RECORD_MAX_BYTES) as u64;
                    return Ok(if too_long { Err((FaultReason::UnfinishedGroup, keep)) } else { Ok(()) });
                }
                Found::Unwanted(header) if header.volume_tag == tag && header.epoch == epoch && header.lsn >= lsn => {
                    FaultReason::OutOfChain
                }
                Found::Unwanted(_) | Found::Bad(RecordError::NotARecord) => FaultReason::Nothing,
                Found::Bad(error) => FaultReason::Damaged(error),
            };
            if why != FaultReason::Nothing {
                fault = (why, at);
            }
        }
        Ok(Err(fault))
    }

    /// Goes on behind a fault: the highest mark that a good record after the bad one carries, none without such a record.
    pub(super) fn mark_behind(&mut self) -> Result<Option<Lsn>, ReadError> {
        let (tag, epoch, bad) = (self.tag, self.epoch, self.lsn);
        let wanted = |header: &RecordHeader| header.volume_tag == tag && header.epoch == epoch && header.lsn > bad;
        highest_mark(&mut self.window, self.at.saturating_add(1).next_multiple_of(BLOCK), wanted, |_| false)
    }

    fn fault(&self, reason: FaultReason, offset: u64) -> Fault {
        Fault { lsn: self.lsn, path: self.window.path.clone(), offset, reason }
    }
}

/// Whether a file whose header is no header holds a record of `epoch` or later, numbered `lsn` or above: then the header is lost.
pub(super) fn lost_records(device: &dyn Device, number: u64, tag: u64, epoch: u32, lsn: Lsn) -> Result<bool, ReadError> {
    let mut window = Window::open(device, number, u64::MAX)?;
    // A spare that was never used is zeros throughout: no need to read it all.
    let start = window.load(0, 0, 2 * LOG_BLOCK_BYTES)?;
    if start.iter().all(|byte| *byte == 0) {
        return Ok(false);
    }
    let wanted = |header: &RecordHeader| header.volume_tag == tag && header.epoch >= epoch && header.lsn >= lsn;
    Ok(highest_mark(&mut window, BLOCK, wanted, |_| true)?.is_some())
}

/// The highest synced mark of the good records from `at` on that pass `wanted`; stops at one that is `enough`.
fn highest_mark(
    window: &mut Window,
    mut at: u64,
    wanted: impl Fn(&RecordHeader) -> bool,
    enough: impl Fn(Lsn) -> bool,
) -> Result<Option<Lsn>, ReadError> {
    let mut highest = None;
    while at < window.end {
        at = match window.record(at, at, &wanted)? {
            Found::Whole { header, .. } => {
                highest = highest.max(Some(header.synced));
                if enough(header.synced) {
                    break;
                }
                at + header.record_bytes() as u64
            }
            _ => at.saturating_add(1).next_multiple_of(BLOCK),
        };
    }
    Ok(highest)
}
