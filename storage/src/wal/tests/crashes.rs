//! The log on a disk that loses power.

use super::*;
use crate::device::{CrashStyle, Operation, SimulatedDisk};
use proptest::prelude::*;
use std::io::ErrorKind;

fn styles(seed: u64) -> impl Iterator<Item = CrashStyle> {
    let fixed = [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::LoseData, CrashStyle::LoseNames];
    fixed.into_iter().chain((0..6).map(move |n| CrashStyle::Random(seed * 6 + n)))
}

/// One life: recover, then write, sync, checkpoint and prepare at random until `steps` are done or the power fails.
fn live(disk: &SimulatedDisk, model: Model, random: &mut Random, steps: usize) -> Model {
    let device: Arc<dyn Device> = Arc::new(disk.clone());
    let mut log = match Log::open(&device, model, SMALL) {
        Ok(log) => log,
        Err((_, model)) => return model,
    };
    for _ in 0..steps {
        let sizes: Vec<usize> = (0..1 + random.below(3)).map(|_| random.below(5000)).collect();
        log.group(&sizes);
        let done = match random.below(8) {
            0 => Ok(()),
            1 | 2 => log.write(16 * 1024),
            3 => log.write(24 * 1024).and_then(|()| log.sync()).and_then(|()| log.checkpoint()),
            4 => log.writer.prepare_spare().map(drop).map_err(|_| WriteError::Unreadable(String::new())),
            _ => log.write(20 * 1024).and_then(|()| log.sync()),
        };
        if done.is_err() {
            break;
        }
    }
    log.model
}

#[test]
fn acknowledged_records_survive_a_cut_at_any_operation() {
    let mut cuts = 0;
    for seed in 0..3 {
        let whole = SimulatedDisk::new(seed);
        let _ = live(&whole, Model::new(), &mut Random(seed), 25);
        for cut in 0..whole.op_count() {
            let disk = SimulatedDisk::new(seed);
            disk.power_off_after(cut);
            let model = live(&disk, Model::new(), &mut Random(seed), 25);
            for style in styles(cut) {
                let found = disk.crash(style);
                let _ = model.check(&(Arc::new(found) as Arc<dyn Device>));
                cuts += 1;
            }
        }
    }
    assert!(cuts > 1000, "only {cuts} cuts");
}

#[test]
fn a_second_cut_during_recovery_loses_nothing_more() {
    let mut acknowledged = 0;
    for seed in 0..12 {
        let disk = SimulatedDisk::new(seed);
        disk.power_off_after(60 + seed * 5);
        let model = live(&disk, Model::new(), &mut Random(seed), 40);
        for style in styles(seed) {
            for second in 0..24 {
                let again = disk.crash(style);
                again.power_off_after(second);
                let after = live(&again, model.clone(), &mut Random(second), 0);
                let last = again.crash(CrashStyle::Random(seed * 1000 + second));
                let after = live(&last, after, &mut Random(second), 6);
                acknowledged += after.acked;
                let _ = after.check(&(Arc::new(last) as Arc<dyn Device>));
            }
        }
    }
    assert!(acknowledged > 0);
}

#[test]
fn records_of_a_killed_process_are_made_durable_before_they_are_trusted() {
    let disk = SimulatedDisk::new(1);
    let device: Arc<dyn Device> = Arc::new(disk.clone());
    let mut log = Log::open(&device, Model::new(), SMALL).map_err(|(error, _)| error).unwrap();
    log.group(&[100, 200]);
    log.write(usize::MAX).unwrap();
    let found: SimulatedDisk = disk.kill();
    let mut model = log.model;
    assert_eq!(model.acked, 0);
    let (_, end) = model.check(&(Arc::new(found.clone()) as Arc<dyn Device>));
    assert_eq!(end.next_lsn, Lsn(3));
    model.acked = 2;
    let _ = model.check(&(Arc::new(found.crash(CrashStyle::LoseAll)) as Arc<dyn Device>));
}

#[test]
fn after_a_failed_sync_or_write_nothing_is_written_again() {
    for (which, count) in [(Operation::Sync, 0), (Operation::Write, 0)] {
        let disk = SimulatedDisk::new(1);
        let device: Arc<dyn Device> = Arc::new(disk.clone());
        let mut log = Log::open(&device, Model::new(), SMALL).map_err(|(error, _)| error).unwrap();
        log.group(&[10]);
        disk.fail_after(count, which, ErrorKind::Other);
        let error = log.write(usize::MAX).and_then(|()| log.sync()).unwrap_err();
        assert!(matches!(error, WriteError::Failed { .. }), "{error}");
        let ops = disk.op_count();
        log.group(&[10]);
        let batch = log.appender.take(usize::MAX).unwrap();
        assert_eq!(log.writer.write(&batch), Err(error.clone()));
        assert_eq!(log.writer.sync(), Err(error.clone()));
        assert_eq!(log.writer.recycle(Lsn(1)), Err(error.clone()));
        assert!(log.writer.spare_job(false).is_none());
        assert_eq!((log.writer.poison(), disk.op_count()), (Some(&error), ops));
    }
}

#[test]
fn a_spare_that_cannot_be_made_harms_nobody_until_it_is_needed() {
    let disk = SimulatedDisk::new(1);
    let device: Arc<dyn Device> = Arc::new(disk.clone());
    let mut log = Log::open(&device, Model::new(), SMALL).map_err(|(error, _)| error).unwrap();
    assert!(log.writer.spare_job(false).is_none(), "the segment is nearly empty: there is time");
    log.group(&[16_000]);
    log.write(usize::MAX).unwrap();
    disk.fail_after(0, Operation::Write, ErrorKind::StorageFull);
    assert_eq!(log.writer.prepare_spare().unwrap_err().kind(), ErrorKind::StorageFull);
    for _ in 0..6 {
        log.group(&[8000]);
        log.write(usize::MAX).unwrap();
    }
    log.sync().unwrap();
    let _ = log.model.check(&device);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn many_lives_with_a_cut_in_each_lose_nothing_acknowledged(
        seed: u64,
        lives in proptest::collection::vec((0u64..150, 0usize..40, any::<Option<u64>>()), 1..10),
    ) {
        let mut random = Random(seed);
        let (mut disk, mut model) = (SimulatedDisk::new(seed), Model::new());
        for (cut, steps, crash) in lives {
            disk.power_off_after(cut);
            model = live(&disk, model, &mut random, steps);
            disk = match crash {
                Some(seed) => disk.crash(CrashStyle::Random(seed)),
                None => disk.kill(),
            };
        }
        let _ = model.check(&(Arc::new(disk) as Arc<dyn Device>));
    }
}
