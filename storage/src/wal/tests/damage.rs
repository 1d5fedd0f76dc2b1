//! Bits that change by themselves: corruption told apart from a cut.

use super::super::segment::{SEGMENT_HEADER_BYTES, segment_path};
use super::*;
use crate::limits::LOG_BLOCK_BYTES;

/// A log of four segments: all but the last batch synced, and called so by that batch.
fn sample() -> (Arc<dyn Device>, Model, Vec<String>) {
    let (device, mut log) = Log::memory();
    for round in 0..13 {
        log.group(&[400 + round * 50, 4000]);
        log.write(usize::MAX).unwrap();
        log.sync().unwrap();
    }
    log.group(&[900, 100]);
    log.write(usize::MAX).unwrap();
    let paths: Vec<String> = scan(Arc::clone(&device), UUID).unwrap().live().iter().map(|segment| segment_path(segment.number)).collect();
    assert!(paths.len() >= 4);
    (device, log.model, paths)
}

/// Reads from the start: how many records come, all true, and how the log ends.
fn read(device: &Arc<dyn Device>, model: &Model) -> (u64, LogEnd) {
    let mut count = 0;
    let end = scan(Arc::clone(device), UUID).unwrap().for_each(Lsn::FIRST, Lsn::NONE, |record| {
        count += 1;
        assert_eq!(record.header.lsn, Lsn(count));
        assert_eq!(record.payload, model.records[count as usize - 1].1);
        Ok::<_, ReadError>(())
    });
    (count, end.unwrap())
}

#[test]
fn any_flipped_bit_in_the_synced_area_is_corruption_and_none_behind_it() {
    let (device, model, paths) = sample();
    let (all, synced) = (model.records.len() as u64, model.acked);
    assert!(synced == all - 2);
    let mut random = Random(3);
    let (mut corrupt, mut cut, mut harmless) = (0, 0, 0);
    for path in &paths {
        let bytes = bytes_of(&*device, path);
        let file = device.open(path, Open::WRITE).unwrap();
        // Every byte of a header, and every few bytes of what follows.
        let mut at = 0;
        while at < bytes.len() {
            file.write_at(&[bytes[at] ^ (1 << random.below(8))], at as u64).unwrap();
            let (count, end) = read(&device, &model);
            match &end.kind {
                EndKind::Corrupt(fault) => {
                    assert!(fault.lsn.0 <= synced && count < fault.lsn.0, "{fault}");
                    assert!(
                        at < SEGMENT_HEADER_BYTES || (fault.path == *path && fault.offset <= at as u64),
                        "{fault}, flipped {at} of {path}"
                    );
                    assert!(end.position(UUID, 9).is_none());
                    corrupt += 1;
                }
                EndKind::Torn(fault) => {
                    assert!(fault.lsn.0 > synced && count == synced, "{fault}");
                    cut += 1;
                }
                EndKind::Clean => {
                    // Padding, or the magic of the first record behind the synced area.
                    assert!(count == all || count == synced, "{count} records, {synced} synced");
                    harmless += 1;
                }
            }
            file.write_at(&bytes[at..=at], at as u64).unwrap();
            at += if at < SEGMENT_HEADER_BYTES { 1 } else { 1 + random.below(20) };
        }
    }
    assert!(corrupt > 2000 && cut > 20 && harmless > 500, "{corrupt} {cut} {harmless}");
    assert_eq!(read(&device, &model).0, all);
}

#[test]
fn a_torn_tail_ends_the_log_at_the_last_whole_group() {
    let (device, model, paths) = sample();
    let path = paths.last().unwrap();
    let bytes = bytes_of(&*device, path);
    let tail = bytes.windows(4).rposition(|four| four == b"IMlr").unwrap();
    // The last record of the last group is gone: the group's first record stands whole, and is not given out.
    let mut torn = bytes.clone();
    torn[tail..].fill(0);
    overwrite(&*device, path, &torn);
    let (count, end) = read(&device, &model);
    assert_eq!(count, model.acked);
    assert_eq!(end.next_lsn, Lsn(model.acked + 1));
    assert!(matches!(end.kind, EndKind::Torn(fault) if fault.reason == FaultReason::UnfinishedGroup && fault.offset == tail as u64));
    // No cut of power makes a file shorter than it was before its first record: nobody knows what stood there.
    overwrite(&*device, path, &bytes[..tail + 60]);
    let (count, end) = read(&device, &model);
    assert_eq!(count, model.acked);
    assert!(matches!(end.kind, EndKind::Corrupt(fault) if fault.reason == FaultReason::Shortened && fault.offset == tail as u64));
}

#[test]
fn a_root_that_calls_the_tail_synced_makes_its_loss_corruption() {
    let (device, model, paths) = sample();
    let path = paths.last().unwrap();
    let mut bytes = bytes_of(&*device, path);
    let tail = bytes.windows(4).rposition(|four| four == b"IMlr").unwrap();
    bytes[tail..].fill(0);
    overwrite(&*device, path, &bytes);
    let last = Lsn(model.records.len() as u64);
    let scan = scan(Arc::clone(&device), UUID).unwrap();
    let end = scan.for_each(Lsn::FIRST, last, |_| Ok::<_, ReadError>(())).unwrap();
    assert!(matches!(end.kind, EndKind::Corrupt(fault) if fault.lsn == last));
}

#[test]
fn a_missing_segment_is_corruption_if_its_records_are_needed() {
    for missing in 0..4 {
        let (device, model, paths) = sample();
        device.remove(&paths[missing]).unwrap();
        let scan = scan(Arc::clone(&device), UUID).unwrap();
        let end = scan.for_each(Lsn::FIRST, Lsn(model.acked), |_| Ok::<_, ReadError>(())).unwrap();
        assert!(matches!(end.kind, EndKind::Corrupt(_)), "{missing}: {:?}", end.kind);
        if missing < 3 {
            let from = scan.live().last().unwrap().header.first_lsn;
            let end = scan.for_each(from, from.before(), |_| Ok::<_, ReadError>(())).unwrap();
            assert_eq!((end.next_lsn.0, end.kind), (model.records.len() as u64 + 1, EndKind::Clean));
        }
    }
}

#[test]
fn a_log_that_is_gone_is_a_loss_only_if_a_root_needs_it() {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new());
    let scan = scan(device, UUID).unwrap();
    let end = |from, synced| scan.for_each(Lsn(from), Lsn(synced), |_| Ok::<_, ReadError>(())).unwrap();
    assert_eq!(end(1, 0), LogEnd { next_lsn: Lsn(1), previous_crc: 0, bytes: 0, kind: EndKind::Clean });
    assert_eq!(end(50, 49).next_lsn, Lsn(50));
    assert!(matches!(end(50, 60).kind, EndKind::Corrupt(_)));
}

#[test]
fn damaged_padding_hides_no_batch() {
    let (device, model, paths) = sample();
    for path in &paths {
        let mut bytes = bytes_of(&*device, path);
        for block in bytes.chunks_mut(LOG_BLOCK_BYTES).skip(1) {
            if let Some(last) = block.last_mut().filter(|last| **last == 0) {
                *last = 0xff;
            }
        }
        overwrite(&*device, path, &bytes);
    }
    let _ = read(&device, &model);
}
