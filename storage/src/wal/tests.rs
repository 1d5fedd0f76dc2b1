//! The promises of the log, kept by a model that remembers every record and what was acknowledged.

mod crashes;
mod damage;
mod segments;

use super::*;
use crate::device::{Device, MemoryDevice, Open, is_power_off};
use std::sync::Arc;

pub(super) const UUID: [u8; 16] = *b"a volume's uuid!";

/// Small segments: a few batches each, so that a short run turns them over many times.
pub(super) const SMALL: WriterSettings = WriterSettings { segment_bytes: 32 * 1024, keep_ready: 2 };

/// SplitMix64.
pub(super) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// What the log was told: record `lsn` is at `lsn - 1`.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub records: Vec<(bool, Vec<u8>)>,
    /// The last record that the log called durable, and the first that recovery still needs.
    pub acked: u64,
    pub low: u64,
}

impl Model {
    pub fn new() -> Self {
        Self { low: 1, ..Self::default() }
    }

    /// Reads the log of a disk as recovery does and compares: all that was acknowledged, in order, nothing invented, groups whole.
    pub fn check(&self, device: &Arc<dyn Device>) -> (LogScan, LogEnd) {
        self.try_check(device).expect("the power stays on")
    }

    /// As `check`; `None` if the power fails first.
    fn try_check(&self, device: &Arc<dyn Device>) -> Option<(LogScan, LogEnd)> {
        match sync_all_segments(&**device) {
            Err(ReadError::Io { source, .. }) if is_power_off(&source) => return None,
            synced => synced.unwrap(),
        }
        let scan = scan(Arc::clone(device), UUID).unwrap();
        let mut next = self.low;
        let end = scan
            .for_each(Lsn(self.low), Lsn(self.low - 1), |record| {
                assert_eq!(record.header.lsn.0, next, "records come in order, without a gap");
                let (commit, payload) = self.records.get(next as usize - 1).expect("nothing is invented");
                assert_eq!((record.header.commit, record.payload), (*commit, &payload[..]));
                next += 1;
                Ok::<_, ReadError>(())
            })
            .unwrap();
        assert!(!matches!(end.kind, EndKind::Corrupt(_)), "{:?} with {} acknowledged", end.kind, self.acked);
        assert_eq!(end.next_lsn.0, next);
        assert!(next > self.acked, "record {next} is gone, {} were acknowledged", self.acked);
        assert!(next == 1 || self.records[next as usize - 2].0, "the last group is whole");
        Some((scan, end))
    }
}

/// A log being written, with its model.
pub(super) struct Log {
    pub appender: Appender,
    pub writer: LogWriter,
    pub model: Model,
}

impl Log {
    /// Recovers a disk and begins the next epoch.
    pub fn open(device: &Arc<dyn Device>, mut model: Model, settings: WriterSettings) -> Result<Self, (WriteError, Model)> {
        let Some((scan, end)) = model.try_check(device) else {
            return Err((WriteError::Unreadable("no power".into()), model));
        };
        // What recovery synced and read stays, whatever happens next.
        model.records.truncate(end.next_lsn.0 as usize - 1);
        model.acked = model.records.len() as u64;
        let position = end.position(UUID, scan.newest_epoch().unwrap_or(0) + 1).unwrap();
        match LogWriter::start(Arc::clone(device), &position, settings) {
            Ok(writer) => Ok(Self { appender: Appender::new(&position, settings.group_limit()), writer, model }),
            Err(error) => Err((error, model)),
        }
    }

    pub fn memory() -> (Arc<dyn Device>, Self) {
        let device: Arc<dyn Device> = Arc::new(MemoryDevice::new());
        let log = Self::open(&device, Model::new(), SMALL).map_err(|(error, _)| error).unwrap();
        (device, log)
    }

    /// Appends a group of records with these many bytes each.
    pub fn group(&mut self, sizes: &[usize]) {
        for (at, bytes) in sizes.iter().enumerate() {
            let lsn = self.appender.next_lsn();
            let payload: Vec<u8> = (0..*bytes).map(|i| (lsn.0 as usize * 31 + i * 7 + bytes + self.model.acked as usize) as u8).collect();
            let commit = at + 1 == sizes.len();
            let kind = if lsn.0.is_multiple_of(5) { RecordKind::Root } else { RecordKind::Changes };
            assert_eq!(self.appender.append(kind, &[&payload[..bytes / 2], &payload[bytes / 2..]], commit), Ok(lsn));
            self.model.records.push((commit, payload));
        }
    }

    /// Writes all groups as batches of at most `max_bytes`.
    pub fn write(&mut self, max_bytes: usize) -> Result<(), WriteError> {
        while let Some(batch) = self.appender.take(max_bytes) {
            self.writer.write(&batch)?;
            self.appender.give_back(batch.into_buffer());
            self.acknowledge(self.writer.synced());
        }
        Ok(())
    }

    pub fn sync(&mut self) -> Result<(), WriteError> {
        let lsn = self.writer.sync()?;
        self.acknowledge(lsn);
        Ok(())
    }

    fn acknowledge(&mut self, lsn: Lsn) {
        self.appender.note_synced(lsn);
        self.model.acked = self.model.acked.max(lsn.0);
    }

    /// A checkpoint at the last acknowledged record.
    pub fn checkpoint(&mut self) -> Result<(), WriteError> {
        self.model.low = self.model.acked + 1;
        self.writer.recycle(Lsn(self.model.low)).map(drop)
    }
}

/// All bytes of a segment's file.
pub(super) fn bytes_of(device: &dyn Device, path: &str) -> Vec<u8> {
    crate::device::read_all(device, path, 1 << 30).unwrap()
}

pub(super) fn overwrite(device: &dyn Device, path: &str, bytes: &[u8]) {
    let file = device.open(path, Open::CREATE).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.write_at(bytes, 0).unwrap();
}
