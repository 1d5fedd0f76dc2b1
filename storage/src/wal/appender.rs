//! The append buffer: where the Vat numbers and chains records before the log writes them.
//!
//! Owns: `Appender`, `Batch`. Must be true: WAL-1, WAL-2; an unfinished group is never part of a batch; nothing is appended when
//! an error is returned. Fails: `AppendError` for what no log can hold; memory is bounded by whoever appends.

use super::record::{Lsn, PAYLOAD_MAX_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordKind};
use crate::buffer::AlignedBuf;
use crate::limits::LOG_BLOCK_BYTES;
use std::collections::VecDeque;

/// Bytes of a group in the log at most: half a region of data, the greatest number of rows, and headers.
pub const GROUP_LOG_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of a fresh append buffer.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a record cannot be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("a log record of {bytes} bytes is over the limit of {PAYLOAD_MAX_BYTES}: split the change")]
    RecordTooLarge { bytes: usize },
    #[error("a group of {bytes} bytes is over the log's limit of {limit}: make the batch smaller")]
    GroupTooLarge { bytes: usize, limit: usize },
}

/// Where a log goes on: everything that ties the next record to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    pub uuid: [u8; 16],
    /// Mount epoch of the records to come.
    pub epoch: u32,
    pub next_lsn: Lsn,
    /// Checksum of the record before `next_lsn`; 0 at the first of a volume.
    pub previous_crc: u32,
    /// Bytes of the log before it that the next replay would read too.
    pub replayed_bytes: u64,
}

/// Whole groups to be written in one piece: the unit of writing.
pub struct Batch {
    buffer: AlignedBuf,
    len: usize,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    /// Checksum of the record before the first.
    pub previous_crc: u32,
    /// Checksum of the last record.
    pub last_crc: u32,
}

impl Batch {
    /// The bytes to write: a multiple of [`LOG_BLOCK_BYTES`], zeros behind the last record.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or(&[])
    }

    /// The buffer, for [`Appender::give_back`].
    #[must_use]
    pub fn into_buffer(self) -> AlignedBuf {
        self.buffer
    }
}

/// End of a group in the buffer.
struct GroupEnd {
    at: usize,
    last_lsn: Lsn,
    crc: u32,
}

/// The log's append buffer. One owner, no I/O.
pub struct Appender {
    tag: u64,
    epoch: u32,
    next_lsn: Lsn,
    previous_crc: u32,
    synced: Lsn,
    group_limit: usize,
    buffer: AlignedBuf,
    len: usize,
    /// First record in the buffer, and the checksum before it.
    first_lsn: Lsn,
    first_previous_crc: u32,
    groups: VecDeque<GroupEnd>,
    spare: Option<AlignedBuf>,
}

impl Appender {
    /// An empty buffer for the records from `start` on. A group may have `group_limit` bytes, at most
    /// [`GROUP_LOG_MAX_BYTES`] and at most what a segment holds (see `WriterSettings::group_limit`).
    #[must_use]
    pub fn new(start: &LogPosition, group_limit: usize) -> Self {
        Self {
            tag: super::record::volume_tag(start.uuid),
            epoch: start.epoch,
            next_lsn: start.next_lsn,
            previous_crc: start.previous_crc,
            synced: start.next_lsn.before(),
            group_limit: group_limit.min(GROUP_LOG_MAX_BYTES),
            buffer: AlignedBuf::zeroed(BUFFER_BYTES),
            len: 0,
            first_lsn: start.next_lsn,
            first_previous_crc: start.previous_crc,
            groups: VecDeque::new(),
            spare: None,
        }
    }

    /// Appends one record; `commit` ends its group. The payload is the parts in order.
    ///
    /// # Errors
    /// Nothing is appended then. A group that was begun stays open: see [`Appender::abandon_group`].
    pub fn append(&mut self, kind: RecordKind, payload: &[&[u8]], commit: bool) -> Result<Lsn, AppendError> {
        let bytes = payload.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        if bytes > PAYLOAD_MAX_BYTES {
            return Err(AppendError::RecordTooLarge { bytes });
        }
        let group_bytes = self.len - self.group_start() + RECORD_HEADER_BYTES + bytes;
        if group_bytes > self.group_limit {
            return Err(AppendError::GroupTooLarge { bytes: group_bytes, limit: self.group_limit });
        }
        let lsn = self.next_lsn;
        let header = RecordHeader {
            kind,
            commit,
            payload_bytes: bytes as u32,
            epoch: self.epoch,
            volume_tag: self.tag,
            lsn,
            synced: self.synced,
            previous_crc: self.previous_crc,
        };
        let (header, crc) = header.encode(payload);
        self.reserve(self.len + RECORD_HEADER_BYTES + bytes);
        self.push(&header);
        payload.iter().for_each(|part| self.push(part));
        self.next_lsn = lsn.next();
        self.previous_crc = crc;
        if commit {
            self.groups.push_back(GroupEnd { at: self.len, last_lsn: lsn, crc });
        }
        Ok(lsn)
    }

    /// Takes back the records of the group that was not committed, as if they had never been appended.
    pub fn abandon_group(&mut self) {
        let (at, last_lsn, crc) = self.last_group();
        (self.len, self.next_lsn, self.previous_crc) = (at, last_lsn.next(), crc);
    }

    /// All records up to `lsn` are known to be durable; records appended from now on say so.
    pub fn note_synced(&mut self, lsn: Lsn) {
        self.synced = self.synced.max(lsn);
    }

    /// The number that the next record gets.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// Bytes that a group may have, the headers of its records included.
    #[must_use]
    pub fn group_limit(&self) -> usize {
        self.group_limit
    }

    /// Highest LSN known synced.
    #[must_use]
    pub fn synced(&self) -> Lsn {
        self.synced
    }

    /// Bytes that wait to be taken, unfinished group included.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.len
    }

    /// Takes the oldest whole groups of together at most `max_bytes` (padding included), but at least one; `None` when no group
    /// is complete.
    pub fn take(&mut self, max_bytes: usize) -> Option<Batch> {
        let fitting = self.groups.iter().take_while(|group| group.at.next_multiple_of(LOG_BLOCK_BYTES) <= max_bytes).count();
        let last = self.groups.drain(..fitting.max(1).min(self.groups.len())).next_back()?;
        let len = last.at.next_multiple_of(LOG_BLOCK_BYTES);
        let mut next = self.spare.take().unwrap_or_else(|| AlignedBuf::zeroed(BUFFER_BYTES));
        let rest = self.buffer.get(last.at..self.len).unwrap_or(&[]);
        if next.len() < rest.len() {
            next = AlignedBuf::zeroed(rest.len());
        }
        super::record::put(&mut next, 0, rest);
        let rest_bytes = rest.len();
        let mut buffer = std::mem::replace(&mut self.buffer, next);
        self.len = rest_bytes;
        self.groups.iter_mut().for_each(|group| group.at -= last.at);
        buffer.get_mut(last.at..len).unwrap_or(&mut []).fill(0);
        let batch = Batch {
            buffer,
            len,
            first_lsn: self.first_lsn,
            last_lsn: last.last_lsn,
            previous_crc: self.first_previous_crc,
            last_crc: last.crc,
        };
        (self.first_lsn, self.first_previous_crc) = (last.last_lsn.next(), last.crc);
        Some(batch)
    }

    /// Keeps the buffer of a written batch for the next: the first touch of fresh memory is dear.
    pub fn give_back(&mut self, buffer: AlignedBuf) {
        self.spare = Some(buffer);
    }

    fn group_start(&self) -> usize {
        self.last_group().0
    }

    /// End of the last whole group in the buffer: offset, LSN, checksum.
    fn last_group(&self) -> (usize, Lsn, u32) {
        self.groups.back().map_or((0, self.first_lsn.before(), self.first_previous_crc), |group| (group.at, group.last_lsn, group.crc))
    }

    /// Makes room for `len` bytes and the padding behind them.
    fn reserve(&mut self, len: usize) {
        let wanted = len.next_multiple_of(LOG_BLOCK_BYTES);
        if wanted > self.buffer.len() {
            let mut larger = AlignedBuf::zeroed(wanted.max(self.buffer.len() * 2));
            super::record::put(&mut larger, 0, self.buffer.get(..self.len).unwrap_or(&[]));
            self.buffer = larger;
        }
    }

    /// Copies bytes for which room was made.
    fn push(&mut self, bytes: &[u8]) {
        super::record::put(&mut self.buffer, self.len, bytes);
        self.len += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Record;
    use super::*;
    use proptest::prelude::*;

    fn start() -> LogPosition {
        LogPosition { uuid: [3; 16], epoch: 2, next_lsn: Lsn(10), previous_crc: 77, replayed_bytes: 0 }
    }

    /// The records of a batch, checked as a chain: LSN, commit mark, payload.
    fn records(batch: &Batch) -> Vec<(u64, bool, Vec<u8>)> {
        let (mut out, mut at, mut crc) = (Vec::new(), 0, batch.previous_crc);
        while let Ok(record) = Record::decode(&batch.bytes()[at..]) {
            assert_eq!(record.header.previous_crc, crc);
            out.push((record.header.lsn.0, record.header.commit, record.payload.to_vec()));
            (at, crc) = (at + record.header.record_bytes(), record.crc);
        }
        assert!(batch.bytes()[at..].iter().all(|byte| *byte == 0) && batch.bytes().len() - at < LOG_BLOCK_BYTES);
        assert_eq!(crc, batch.last_crc);
        assert_eq!((out[0].0, out.last().unwrap().0), (batch.first_lsn.0, batch.last_lsn.0));
        out
    }

    #[test]
    fn an_unfinished_group_is_not_taken() {
        let mut appender = Appender::new(&start(), 1 << 20);
        appender.append(RecordKind::Changes, &[b"a", b"b"], false).unwrap();
        assert!(appender.take(usize::MAX).is_none());
        appender.append(RecordKind::Changes, &[b"c"], true).unwrap();
        appender.append(RecordKind::Changes, &[b"d"], false).unwrap();
        let batch = appender.take(usize::MAX).unwrap();
        assert_eq!(records(&batch), [(10, false, b"ab".to_vec()), (11, true, b"c".to_vec())]);
        assert!(appender.take(usize::MAX).is_none());
        appender.give_back(batch.into_buffer());
        appender.append(RecordKind::Root, &[], true).unwrap();
        assert_eq!(records(&appender.take(usize::MAX).unwrap()), [(12, false, b"d".to_vec()), (13, true, vec![])]);
    }

    #[test]
    fn an_abandoned_group_leaves_no_trace() {
        let (mut one, mut two) = (Appender::new(&start(), 1 << 20), Appender::new(&start(), 1 << 20));
        for appender in [&mut one, &mut two] {
            appender.append(RecordKind::Changes, &[b"first"], true).unwrap();
        }
        one.append(RecordKind::Changes, &[b"never"], false).unwrap();
        one.abandon_group();
        for appender in [&mut one, &mut two] {
            appender.append(RecordKind::Changes, &[b"second"], true).unwrap();
        }
        assert!(one.take(usize::MAX).unwrap().bytes() == two.take(usize::MAX).unwrap().bytes());
    }

    #[test]
    fn what_is_too_large_is_refused_and_not_appended() {
        let mut appender = Appender::new(&start(), 10_000);
        let large = vec![0; PAYLOAD_MAX_BYTES + 1];
        assert_eq!(appender.append(RecordKind::Changes, &[&large], true), Err(AppendError::RecordTooLarge { bytes: large.len() }));
        appender.append(RecordKind::Changes, &[&large[..6000]], false).unwrap();
        assert_eq!(
            appender.append(RecordKind::Changes, &[&large[..6000]], true),
            Err(AppendError::GroupTooLarge { bytes: 12_096, limit: 10_000 })
        );
        assert_eq!(appender.append(RecordKind::Changes, &[&large[..100]], true), Ok(Lsn(11)));
    }

    proptest! {
        #[test]
        fn batches_hold_every_record_once_in_order(
            steps in proptest::collection::vec((0usize..9000, any::<bool>(), any::<Option<u16>>()), 1..60),
        ) {
            let mut appender = Appender::new(&start(), 1 << 20);
            let (mut wanted, mut got) = (Vec::new(), Vec::new());
            for (bytes, commit, take) in steps {
                let payload = vec![bytes as u8; bytes];
                let lsn = appender.append(RecordKind::Changes, &[&payload[..bytes / 3], &payload[bytes / 3..]], commit).unwrap();
                wanted.push((lsn.0, commit, payload));
                if let Some(batch) = take.and_then(|max| appender.take(usize::from(max))) {
                    got.extend(records(&batch));
                    appender.give_back(batch.into_buffer());
                }
            }
            wanted.push((appender.append(RecordKind::Changes, &[], true).unwrap().0, true, vec![]));
            while let Some(batch) = appender.take(30_000) {
                let batch_records = records(&batch);
                prop_assert!(batch_records.last().unwrap().1);
                prop_assert!(batch.bytes().len() <= 30_000 || batch_records.iter().filter(|r| r.1).count() == 1);
                got.extend(batch_records);
            }
            prop_assert_eq!(got, wanted);
        }
    }
}
