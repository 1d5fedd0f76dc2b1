//! The files of the log and their order: where batches go.
//!
//! Owns: `LogWriter` (one owner: the Wal actor), the segments that are in use, and those that wait to be used again. Must be true:
//! WAL-2, WAL-3, WAL-4, WAL-6; a segment is reused only when `recycle` gave it free. Fails: `WriteError`; after a failed write or
//! sync every call gives that same error for ever.

use super::appender::{Batch, GROUP_LOG_MAX_BYTES, LogPosition};
use super::reader::{ReadError, Segment, scan};
use super::record::Lsn;
use super::segment::{LOG_DIRECTORY, SegmentHeader, segment_path, zero_segment};
use crate::buffer::AlignedBuf;
use crate::device::{Device, DeviceFile, Open};
use crate::limits::{LOG_BLOCK_BYTES, SEGMENT_BYTES};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// How far apart the positions are that `bytes_above` remembers.
const MARK_BYTES: u64 = 256 * 1024;

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("the log could not {what} ({message}): the volume is read-only from here on, remount it when the disk is well")]
    Failed { what: &'static str, kind: io::ErrorKind, message: String },
    #[error("a batch that begins at record {got} came where record {expected} is next")]
    OutOfOrder { expected: Lsn, got: Lsn },
    #[error("a batch of {bytes} bytes does not fit into a log segment, which takes {limit}")]
    BatchTooLarge { bytes: usize, limit: u64 },
    #[error("mount epoch {epoch} is not above {newest}, which the log has seen")]
    EpochUsed { epoch: u32, newest: u32 },
    #[error("the log cannot be continued: {0}")]
    Unreadable(String),
}

impl From<ReadError> for WriteError {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Sizes of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterSettings {
    /// Bytes of a segment; rounded up to whole blocks, at least two.
    pub segment_bytes: u64,
    /// Used segments that are kept to be used again; surplus ones are removed.
    pub keep_ready: usize,
}

impl Default for WriterSettings {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, keep_ready: 16 }
    }
}

impl WriterSettings {
    /// Bytes that a group may have so that its batch fits into a segment.
    #[must_use]
    pub fn group_limit(&self) -> usize {
        let room = self.rounded_bytes() - LOG_BLOCK_BYTES as u64;
        usize::try_from(room).unwrap_or(GROUP_LOG_MAX_BYTES).min(GROUP_LOG_MAX_BYTES)
    }

    fn rounded_bytes(&self) -> u64 {
        let block = LOG_BLOCK_BYTES as u64;
        self.segment_bytes.clamp(2 * block, 1 << 40).next_multiple_of(block)
    }
}

/// A segment with records that may still be needed.
struct Sealed {
    number: u64,
    segment_bytes: u64,
    last_lsn: Lsn,
}

/// The segment that is written to.
struct Current {
    number: u64,
    file: Arc<dyn DeviceFile>,
    /// Where the next batch goes.
    offset: u64,
    /// Something was written since the last sync.
    dirty: bool,
}

/// The zero-writing of one segment: may run on another thread while the log is written.
pub struct SpareJob {
    device: Arc<dyn Device>,
    number: u64,
    segment_bytes: u64,
}

/// A segment file that is ready to be used.
pub struct Spare {
    number: u64,
}

impl SpareJob {
    /// Writes the zeros and makes them durable: some 16 MiB of work.
    ///
    /// # Errors
    /// The device's. The file is given up; [`LogWriter::spare_failed`] must be told.
    pub fn run(self) -> io::Result<Spare> {
        match zero_segment(&*self.device, self.number, self.segment_bytes) {
            Ok(_) => Ok(Spare { number: self.number }),
            Err(error) => {
                let _ = self.device.remove(&segment_path(self.number));
                Err(error)
            }
        }
    }
}

/// The log as it is written. Every call may take as long as a sync.
pub struct LogWriter {
    device: Arc<dyn Device>,
    uuid: [u8; 16],
    epoch: u32,
    segment_bytes: u64,
    keep_ready: usize,
    /// Sequence number of the current segment, and number of the last file made.
    sequence: u64,
    last_number: u64,
    next_lsn: Lsn,
    previous_crc: u32,
    synced: Lsn,
    current: Option<Current>,
    sealed: VecDeque<Sealed>,
    /// Files of the right size, zero-written once, whose records nobody needs.
    ready: VecDeque<u64>,
    /// Files without a header: to be zero-written again before use.
    unready: Vec<u64>,
    job_out: bool,
    /// Bytes of log written by all segments that are known, and where some records ended in that count.
    position: u64,
    marks: VecDeque<(Lsn, u64)>,
    poison: Option<WriteError>,
}

impl LogWriter {
    /// Begins an epoch in a segment of its own, in a new log or behind what recovery read. Returns when its header is durable.
    /// The caller has synced the segments it read and found no corruption; `position.epoch` is above `LogScan::newest_epoch`.
    ///
    /// # Errors
    /// `EpochUsed`, `Unreadable` for a directory that is not this volume's log, `Failed`.
    pub fn start(device: Arc<dyn Device>, position: &LogPosition, settings: WriterSettings) -> Result<Self, WriteError> {
        make_directory(&*device).map_err(|error| failed("make its directory", &error))?;
        let found = scan(Arc::clone(&device), position.uuid)?;
        if found.newest_epoch().is_some_and(|newest| newest >= position.epoch) {
            return Err(WriteError::EpochUsed { epoch: position.epoch, newest: found.newest_epoch().unwrap_or(0) });
        }
        let mut writer = Self {
            device,
            uuid: position.uuid,
            epoch: position.epoch,
            segment_bytes: settings.rounded_bytes(),
            keep_ready: settings.keep_ready.max(1),
            sequence: found.newest_sequence(),
            last_number: found.newest_number(),
            next_lsn: position.next_lsn,
            previous_crc: position.previous_crc,
            synced: position.next_lsn.before(),
            current: None,
            sealed: VecDeque::new(),
            ready: VecDeque::new(),
            unready: found.headerless().to_vec(),
            job_out: false,
            position: position.replayed_bytes,
            // What was replayed is as long as its records, not as the segments in which they stand.
            marks: VecDeque::from([(position.next_lsn.before(), position.replayed_bytes)]),
            poison: None,
        };
        found.dead().iter().for_each(|segment| writer.make_ready(segment.number, segment.header.segment_bytes));
        let (needed, ended): (Vec<_>, Vec<_>) = found.live().iter().partition(|segment| segment.header.first_lsn < position.next_lsn);
        writer.adopt(&needed);
        writer.begin_segment()?;
        // Only now does a durable header say that these hold nothing: had one been overwritten first, a crash in between would
        // have left records of the newest epoch without their header.
        ended.iter().for_each(|segment| writer.make_ready(segment.number, segment.header.segment_bytes));
        Ok(writer)
    }

    /// Writes a batch behind the last one. Not durable before the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// `OutOfOrder` and `BatchTooLarge` write nothing and change nothing; `Failed` is for ever.
    pub fn write(&mut self, batch: &Batch) -> Result<(), WriteError> {
        self.check()?;
        if batch.first_lsn != self.next_lsn || batch.previous_crc != self.previous_crc {
            return Err(WriteError::OutOfOrder { expected: self.next_lsn, got: batch.first_lsn });
        }
        let (bytes, limit) = (batch.bytes().len() as u64, self.segment_bytes - LOG_BLOCK_BYTES as u64);
        if bytes > limit {
            return Err(WriteError::BatchTooLarge { bytes: batch.bytes().len(), limit });
        }
        if self.current.as_ref().is_none_or(|current| current.offset + bytes > self.segment_bytes) {
            self.begin_segment()?;
        }
        if let Some(current) = &mut self.current {
            current.dirty = true;
            let written = current.file.write_at(batch.bytes(), current.offset);
            current.offset += bytes;
            self.done("write", written)?;
        }
        (self.next_lsn, self.previous_crc) = (batch.last_lsn.next(), batch.last_crc);
        self.position += bytes;
        if self.marks.back().is_none_or(|(_, at)| self.position - at >= MARK_BYTES) {
            self.marks.push_back((batch.last_lsn, self.position));
        }
        Ok(())
    }

    /// Makes everything written so far durable; returns the LSN up to which all is. Segments before the current one already are.
    ///
    /// # Errors
    /// `Failed`, for ever: a sync is never tried twice, the kernel may have dropped the pages.
    pub fn sync(&mut self) -> Result<Lsn, WriteError> {
        self.check()?;
        if let Some(current) = self.current.as_mut().filter(|current| current.dirty) {
            let synced = current.file.sync();
            current.dirty = false;
            self.done("sync", synced)?;
        }
        self.synced = self.next_lsn.before();
        Ok(self.synced)
    }

    /// The LSN up to which all is durable. A change of segment syncs too, so it may be above what `sync` returned last.
    #[must_use]
    pub fn synced(&self) -> Lsn {
        self.synced
    }

    /// Segments whose records are all below `below` may be used again. The root that says so must be durable. Returns how many.
    ///
    /// # Errors
    /// `Failed` if the log has failed before; a file that cannot be removed is kept.
    pub fn recycle(&mut self, below: Lsn) -> Result<usize, WriteError> {
        self.check()?;
        let mut freed = 0;
        while self.sealed.front().is_some_and(|segment| segment.last_lsn < below) {
            let Some(segment) = self.sealed.pop_front() else { break };
            self.make_ready(segment.number, segment.segment_bytes);
            freed += 1;
        }
        while self.marks.get(1).is_some_and(|(lsn, _)| *lsn < below) {
            self.marks.pop_front();
        }
        Ok(freed)
    }

    /// Gives back the files that are ready to be used, but so many. Their records are below every root already.
    pub fn shrink(&mut self, keep: usize) {
        let surplus = self.ready.split_off(self.ready.len().min(keep));
        self.ready.extend(surplus.into_iter().filter(|number| self.device.remove(&segment_path(*number)).is_err()));
    }

    /// The work of making a segment ready ahead, if none is and the current one is half full, or `early`; to be run anywhere and given to
    /// [`spare_done`](Self::spare_done).
    #[must_use]
    pub fn spare_job(&mut self, early: bool) -> Option<SpareJob> {
        let has_time = !early && self.current.as_ref().is_some_and(|current| current.offset < self.segment_bytes / 2);
        if has_time || self.job_out || !self.ready.is_empty() || self.poison.is_some() {
            return None;
        }
        self.job_out = true;
        Some(self.new_job())
    }

    /// Takes the header off the segment that is used next, so that the next mount too knows that nobody needs its records: it can be begun
    /// where the medium has no room for another.
    ///
    /// # Errors
    /// The device's; the log goes on.
    pub fn blank_ready(&mut self) -> io::Result<()> {
        let Some(number) = self.ready.front() else { return Ok(()) };
        let file = self.device.open(&segment_path(*number), Open::WRITE.direct())?;
        file.write_at(&AlignedBuf::zeroed(LOG_BLOCK_BYTES), 0)?;
        file.sync()
    }

    /// Whether a segment is being made ready.
    #[must_use]
    pub fn is_preparing(&self) -> bool {
        self.job_out
    }

    /// Whether the current segment is more than half full, and no other is ready.
    #[must_use]
    pub fn is_running_out(&self) -> bool {
        self.ready.is_empty() && self.current.as_ref().is_none_or(|current| current.offset > self.segment_bytes / 2)
    }

    /// Bytes that are sure to find room although the medium has none: in the segments that are ready, else in the rest of the current one.
    #[must_use]
    pub fn room_ahead(&self) -> u64 {
        let rest = || self.current.as_ref().map_or(0, |current| self.segment_bytes - current.offset);
        let ready = self.ready.len() as u64 * (self.segment_bytes - LOG_BLOCK_BYTES as u64);
        if ready > 0 { ready } else { rest() }
    }

    /// Whether a segment is ready.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes a segment that was made ready.
    pub fn spare_done(&mut self, spare: &Spare) {
        self.job_out = false;
        self.ready.push_back(spare.number);
    }

    /// The job failed: no harm yet, a segment is made when one is needed.
    pub fn spare_failed(&mut self) {
        self.job_out = false;
    }

    /// Makes a segment ready ahead, here and now; false if one was. See [`spare_job`](Self::spare_job).
    ///
    /// # Errors
    /// The device's; the log goes on.
    pub fn prepare_spare(&mut self) -> io::Result<bool> {
        let Some(job) = self.spare_job(false) else { return Ok(false) };
        let spare = job.run().inspect_err(|_| self.spare_failed())?;
        self.spare_done(&spare);
        Ok(true)
    }

    /// Bytes of log above a record, to within 256 KiB too many: what a checkpoint that placed all up to it would free.
    #[must_use]
    pub fn bytes_above(&self, lsn: Lsn) -> u64 {
        let known = self.marks.partition_point(|(last, _)| *last <= lsn);
        let below = known.checked_sub(1).and_then(|at| self.marks.get(at)).map_or(0, |(_, position)| *position);
        self.position - below
    }

    /// Bytes of all files of the log.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|segment| segment.segment_bytes).sum();
        let others = self.ready.len() + self.unready.len() + usize::from(self.current.is_some());
        sealed + others as u64 * self.segment_bytes
    }

    /// Files of the log.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.sealed.len() + self.ready.len() + self.unready.len() + usize::from(self.current.is_some())
    }

    /// The error that ended this log, if one did.
    #[must_use]
    pub fn poison(&self) -> Option<&WriteError> {
        self.poison.as_ref()
    }

    fn check(&self) -> Result<(), WriteError> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    /// Passes a result on; a failure is for ever.
    fn done<T>(&mut self, what: &'static str, result: io::Result<T>) -> Result<T, WriteError> {
        result.map_err(|error| {
            let error = failed(what, &error);
            self.poison = Some(error.clone());
            error
        })
    }

    /// Takes over the segments of older epochs that still hold records.
    fn adopt(&mut self, needed: &[&Segment]) {
        let ends = needed.iter().skip(1).map(|next| next.header.first_lsn.before()).chain([self.next_lsn.before()]);
        for (segment, last_lsn) in needed.iter().zip(ends) {
            self.sealed.push_back(Sealed { number: segment.number, segment_bytes: segment.header.segment_bytes, last_lsn });
        }
    }

    /// Ends the current segment and begins the next (WAL-3): sync what is below, then the header.
    fn begin_segment(&mut self) -> Result<(), WriteError> {
        self.sync()?;
        let number = match self.ready.pop_front() {
            Some(number) => number,
            None => {
                let job = self.new_job();
                self.done("make a segment", job.run())?.number
            }
        };
        self.sequence += 1;
        let header = SegmentHeader {
            uuid: self.uuid,
            epoch: self.epoch,
            sequence: self.sequence,
            first_lsn: self.next_lsn,
            previous_crc: self.previous_crc,
            segment_bytes: self.segment_bytes,
        };
        let opened = self.device.open(&segment_path(number), Open::WRITE.direct());
        let file = self.done("open a segment", opened)?;
        let written = file.write_at(&header.block(), 0).and_then(|()| file.sync());
        self.done("begin a segment", written)?;
        let next = Current { number, file, offset: LOG_BLOCK_BYTES as u64, dirty: false };
        if let Some(ended) = self.current.replace(next) {
            let last_lsn = self.next_lsn.before();
            self.sealed.push_back(Sealed { number: ended.number, segment_bytes: self.segment_bytes, last_lsn });
        }
        Ok(())
    }

    fn new_job(&mut self) -> SpareJob {
        let number = self.unready.pop().unwrap_or_else(|| {
            self.last_number += 1;
            self.last_number
        });
        SpareJob { device: Arc::clone(&self.device), number, segment_bytes: self.segment_bytes }
    }

    /// Keeps a file whose records nobody needs, or removes it. Its old header stays until it is used: it is below every root.
    fn make_ready(&mut self, number: u64, segment_bytes: u64) {
        let fits = segment_bytes == self.segment_bytes;
        let wanted = fits && self.ready.len() < self.keep_ready;
        if wanted || (self.device.remove(&segment_path(number)).is_err() && fits) {
            self.ready.push_back(number);
        }
    }
}

fn failed(what: &'static str, error: &io::Error) -> WriteError {
    WriteError::Failed { what, kind: error.kind(), message: error.to_string() }
}

fn make_directory(device: &dyn Device) -> io::Result<()> {
    device.create_dir(LOG_DIRECTORY)?;
    device.sync_dir("")?;
    device.sync_dir(LOG_DIRECTORY)
}
