//! What recovery may believe of the log.
//!
//! Owns: the order of the segments found, the walk over them, and the judgement of its end (WAL-5). Must be true: nothing is
//! written or deleted here; the records given out are in order, in whole groups, and all of them stand before the end that is
//! returned; a full log is never in memory at once. Fails: `ReadError` for a log that is not ours to judge.

use super::appender::LogPosition;
use super::record::{Lsn, Record, RecordKind, volume_tag};
use super::segment::{HeaderError, LOG_DIRECTORY, SEGMENT_HEADER_BYTES, SegmentHeader, segment_number, segment_path};
use super::walk::{Fault, FaultReason, Walk, lost_records};
use crate::device::{Device, Kind, Open};
use std::io;
use std::sync::Arc;

/// Why the log cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read {path}: {source}")]
    Io { path: String, source: io::Error },
    #[error("{path} is a log segment of another volume than the one that volume.yaml names")]
    OtherVolume { path: String },
    #[error("{path}: {source}")]
    Header { path: String, source: HeaderError },
    #[error("{first} and {second} cannot both be segments of this log: one is a copy, move it away")]
    Disorder { first: String, second: String },
}

/// A file whose header is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The number in its name.
    pub number: u64,
    pub header: SegmentHeader,
    pub file_bytes: u64,
}

/// Where and how the log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The record after the last whole group: with the checksum, what the next epoch continues from.
    pub next_lsn: Lsn,
    pub previous_crc: u32,
    /// Bytes of the log from the first group that was asked for to here, with the padding between batches.
    pub bytes: u64,
    pub kind: EndKind,
}

/// How the log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndKind {
    /// Behind the last group stands nothing.
    Clean,
    /// Behind the last group stands what was never called synced: a normal cut.
    Torn(Fault),
    /// A record that was called synced is gone or damaged: no epoch may be begun, nothing deleted.
    Corrupt(Fault),
}

impl LogEnd {
    /// Where a new epoch goes on; `None` behind corruption.
    #[must_use]
    pub fn position(&self, uuid: [u8; 16], epoch: u32) -> Option<LogPosition> {
        let corrupt = matches!(self.kind, EndKind::Corrupt(_));
        let LogEnd { next_lsn, previous_crc, bytes, .. } = *self;
        (!corrupt).then_some(LogPosition { uuid, epoch, next_lsn, previous_crc, replayed_bytes: bytes })
    }
}

/// A record that was copied out of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    pub lsn: Lsn,
    pub kind: RecordKind,
    pub payload: Vec<u8>,
}

/// The segments of a log, in order.
pub struct LogScan {
    device: Arc<dyn Device>,
    tag: u64,
    /// Those that hold records, oldest first; each ends where the next begins.
    live: Vec<Segment>,
    /// Those that a later epoch took everything from.
    dead: Vec<Segment>,
    headerless: Vec<u64>,
}

/// Makes durable whatever is in the log, be it from this kernel's cache: recovery does so before it reads (else it would trust
/// records of a dead process that the next power cut takes). Fine without a log.
///
/// # Errors
/// The device's: the volume can be read, not written.
pub fn sync_all_segments(device: &dyn Device) -> Result<(), ReadError> {
    for (number, _) in segment_files(device)? {
        let path = segment_path(number);
        device.open(&path, Open::WRITE).and_then(|file| file.sync()).map_err(|source| ReadError::Io { path, source })?;
    }
    match device.sync_dir(LOG_DIRECTORY) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(ReadError::Io { path: LOG_DIRECTORY.into(), source }),
        _ => Ok(()),
    }
}

/// Numbers and sizes of the files that are named as segments. Others are somebody's and left alone.
fn segment_files(device: &dyn Device) -> Result<Vec<(u64, u64)>, ReadError> {
    match device.list(LOG_DIRECTORY) {
        Ok(entries) => {
            let files = entries.iter().filter(|entry| entry.kind == Kind::File);
            Ok(files.filter_map(|entry| Some((segment_number(&entry.name)?, entry.size_bytes))).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(ReadError::Io { path: LOG_DIRECTORY.into(), source }),
    }
}

/// Reads the headers of all segments and puts them in order.
///
/// # Errors
/// Another volume's segments, a newer format, two segments for one stretch of log, or the device's.
pub fn scan(device: Arc<dyn Device>, uuid: [u8; 16]) -> Result<LogScan, ReadError> {
    let (mut segments, mut headerless) = (Vec::new(), Vec::new());
    for (number, file_bytes) in segment_files(&*device)? {
        let path = segment_path(number);
        let mut block = [0; SEGMENT_HEADER_BYTES];
        let read = device.open(&path, Open::READ).and_then(|file| file.read_at(&mut block, 0));
        let read = read.map_err(|source| ReadError::Io { path: path.clone(), source })?;
        match SegmentHeader::decode(block.get(..read).unwrap_or(&block)) {
            Ok(header) if header.uuid != uuid => return Err(ReadError::OtherVolume { path }),
            Ok(header) => segments.push(Segment { number, header, file_bytes }),
            Err(HeaderError::NotAHeader) => headerless.push(number),
            Err(source) => return Err(ReadError::Header { path, source }),
        }
    }
    let (live, dead) = in_order(segments)?;
    Ok(LogScan { device, tag: volume_tag(uuid), live, dead, headerless })
}

/// Sorts segments, and sets those aside of which a later epoch left nothing (WAL-4).
fn in_order(mut segments: Vec<Segment>) -> Result<(Vec<Segment>, Vec<Segment>), ReadError> {
    segments.sort_by_key(|segment| segment.header.sequence);
    let (mut live, mut dead): (Vec<Segment>, Vec<Segment>) = (Vec::new(), Vec::new());
    for segment in segments.into_iter().rev() {
        let Some(later) = live.last() else {
            live.push(segment);
            continue;
        };
        let (this, next) = (&segment.header, &later.header);
        let disorder = this.sequence == next.sequence || this.epoch > next.epoch;
        if disorder || this.first_lsn >= next.first_lsn && this.epoch == next.epoch {
            return Err(ReadError::Disorder { first: segment_path(segment.number), second: segment_path(later.number) });
        }
        if this.first_lsn < next.first_lsn { live.push(segment) } else { dead.push(segment) }
    }
    live.reverse();
    Ok((live, dead))
}

impl LogScan {
    /// The first record of the oldest segment; `None` for a log without segments.
    #[must_use]
    pub fn first_lsn(&self) -> Option<Lsn> {
        self.live.first().map(|segment| segment.header.first_lsn)
    }

    /// The newest mount epoch that any segment has; the next must be above it and above that of every root.
    #[must_use]
    pub fn newest_epoch(&self) -> Option<u32> {
        self.live.iter().chain(&self.dead).map(|segment| segment.header.epoch).max()
    }

    /// The highest sequence number of a segment.
    #[must_use]
    pub fn newest_sequence(&self) -> u64 {
        self.live.iter().chain(&self.dead).map(|segment| segment.header.sequence).max().unwrap_or(0)
    }

    /// The highest number in a name, headers or not.
    #[must_use]
    pub fn newest_number(&self) -> u64 {
        let named = self.live.iter().chain(&self.dead).map(|segment| segment.number);
        named.chain(self.headerless.iter().copied()).max().unwrap_or(0)
    }

    /// Segments that hold records, oldest first.
    #[must_use]
    pub fn live(&self) -> &[Segment] {
        &self.live
    }

    /// Segments of which a later epoch left nothing.
    #[must_use]
    pub fn dead(&self) -> &[Segment] {
        &self.dead
    }

    /// Numbers of the files without a whole header: unused spares, as long as [`for_each`](Self::for_each) finds no corruption.
    #[must_use]
    pub fn headerless(&self) -> &[u64] {
        &self.headerless
    }

    /// The newest record of a kind in a whole group, sought from the newest segment backwards, so that little is read. Where a
    /// segment is bad, what stands before the bad place counts: `for_each` says whether that place matters.
    ///
    /// # Errors
    /// The device's.
    pub fn newest(&self, kind: RecordKind) -> Result<Option<OwnedRecord>, ReadError> {
        let untils = self.live.iter().skip(1).map(|next| Some(next.header.first_lsn)).chain([None]);
        let segments: Vec<_> = self.live.iter().zip(untils).collect();
        for (segment, until) in segments.into_iter().rev() {
            let mut newest = None;
            Walk::new(&*self.device, self.tag, segment)?.groups(Lsn::NONE, until, |record| {
                if record.header.kind == kind {
                    newest = Some(OwnedRecord { lsn: record.header.lsn, kind, payload: record.payload.to_vec() });
                }
                Ok::<_, ReadError>(())
            })?;
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    /// Visits every record of the whole groups from `from` on (the first of a group; of the group that holds it, all), in order,
    /// and says how the log ends. `synced` is the highest LSN that a root calls synced, [`Lsn::NONE`] without one.
    ///
    /// # Errors
    /// The device's, or the first error of `visit`, which ends the walk. Damage is no error but part of the end.
    pub fn for_each<E: From<ReadError>>(
        &self,
        from: Lsn,
        synced: Lsn,
        mut visit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<LogEnd, E> {
        let start = self.live.partition_point(|segment| segment.header.first_lsn <= from).checked_sub(1);
        let Some((start, rest)) = start.and_then(|start| self.live.get(start..)).and_then(<[Segment]>::split_first) else {
            return Ok(self.nothing_at(from, synced)?);
        };
        let (mut segment, mut bytes) = (start, 0);
        for next in rest {
            let mut walk = Walk::new(&*self.device, self.tag, segment)?;
            let mut fault = walk.groups(from, Some(next.header.first_lsn), &mut visit)?;
            if fault.is_none() && walk.previous_crc != next.header.previous_crc {
                let (lsn, path) = (walk.next_lsn, segment_path(next.number));
                fault = Some(Fault { lsn, path, offset: 0, reason: FaultReason::OutOfChain });
            }
            bytes += walk.visited_bytes();
            if let Some(fault) = fault {
                return Ok(end(&walk, bytes, EndKind::Corrupt(fault)));
            }
            segment = next;
        }
        let mut walk = Walk::new(&*self.device, self.tag, segment)?;
        let fault = walk.groups(from, None, &mut visit)?;
        bytes += walk.visited_bytes();
        let Some(fault) = fault else { return Ok(end(&walk, bytes, EndKind::Clean)) };
        let kind = self.judge(&mut walk, fault, synced, segment.header.epoch)?;
        let end = end(&walk, bytes, kind);
        // A root that knows more than a log which was lost: its records are not needed, their numbers are never used again.
        let beyond = from > end.next_lsn && !matches!(end.kind, EndKind::Corrupt(_));
        Ok(if beyond { LogEnd { next_lsn: from, previous_crc: 0, ..end } } else { end })
    }

    /// Whether the bad place in the newest segment is a cut or corruption (WAL-5).
    fn judge(&self, walk: &mut Walk, mut fault: Fault, synced: Lsn, epoch: u32) -> Result<EndKind, ReadError> {
        let mark = walk.mark_behind()?;
        if mark.max(Some(synced)) >= Some(fault.lsn) {
            return Ok(EndKind::Corrupt(fault));
        }
        if let Some(lost) = self.lost_segment(epoch, fault.lsn)? {
            return Ok(EndKind::Corrupt(lost));
        }
        // A segment has its full size before its header is written: what stood behind this end may have been synced.
        if self.live.last().is_some_and(|segment| segment.file_bytes < segment.header.segment_bytes) {
            return Ok(EndKind::Corrupt(Fault { reason: FaultReason::Shortened, ..fault }));
        }
        if walk.in_group() && fault.reason == FaultReason::Nothing {
            fault.reason = FaultReason::UnfinishedGroup;
        }
        let clean = fault.reason == FaultReason::Nothing && mark.is_none();
        Ok(if clean { EndKind::Clean } else { EndKind::Torn(fault) })
    }

    /// The end of a log that holds no segment with `from` in it.
    fn nothing_at(&self, from: Lsn, synced: Lsn) -> Result<LogEnd, ReadError> {
        let missing = |path: String| Fault { lsn: from, path, offset: 0, reason: FaultReason::MissingSegment };
        let lost = match self.live.first() {
            Some(later) => Some(missing(segment_path(later.number))),
            None if synced >= from => Some(missing(LOG_DIRECTORY.into())),
            None => self.lost_segment(0, from)?,
        };
        Ok(LogEnd { next_lsn: from, previous_crc: 0, bytes: 0, kind: lost.map_or(EndKind::Clean, EndKind::Corrupt) })
    }

    /// A file that lost its header although records of the log's newest epoch, `lsn` or above, stand in it (against WAL-3).
    fn lost_segment(&self, epoch: u32, lsn: Lsn) -> Result<Option<Fault>, ReadError> {
        for number in &self.headerless {
            if lost_records(&*self.device, *number, self.tag, epoch, lsn)? {
                return Ok(Some(Fault { lsn, path: segment_path(*number), offset: 0, reason: FaultReason::MissingSegment }));
            }
        }
        Ok(None)
    }
}

fn end(walk: &Walk, bytes: u64, kind: EndKind) -> LogEnd {
    LogEnd { next_lsn: walk.next_lsn, previous_crc: walk.previous_crc, bytes, kind }
}

/// For fuzzers: `data` as the only segment of a log, once as it is, once behind a header that leads to its records.
#[doc(hidden)]
pub fn fuzz_wal(data: &[u8]) {
    let uuid = super::record::get::<16>(data, 16);
    let device = Arc::new(crate::device::MemoryDevice::default());
    let header = SegmentHeader {
        uuid,
        epoch: u32::from_le_bytes(super::record::get(data, 12)),
        sequence: 1,
        first_lsn: Lsn(u64::from_le_bytes(super::record::get(data, 40))),
        previous_crc: u32::from_le_bytes(super::record::get(data, 56)),
        segment_bytes: u64::MAX,
    };
    let write = |bytes: &[u8], at: u64| {
        let _ = device.create_dir(LOG_DIRECTORY);
        device.open(&segment_path(0), Open::CREATE).and_then(|file| file.write_at(bytes, at))
    };
    for headed in [false, true] {
        let written = if headed { write(&header.encode(), 0) } else { write(data, 0) };
        let Ok(scan) = written.map_err(|_| ()).and_then(|()| scan(Arc::clone(&device) as Arc<dyn Device>, uuid).map_err(|_| ())) else {
            continue;
        };
        for kind in [RecordKind::Changes, RecordKind::Root, RecordKind::Grant] {
            let _ = scan.newest(kind);
        }
        let from = scan.first_lsn().unwrap_or(Lsn::FIRST);
        let _ = scan.for_each(from, Lsn::NONE, |_| Ok::<_, ReadError>(()));
    }
}
