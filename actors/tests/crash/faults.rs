//! A disk that fails without losing power: never a wrong answer, and nothing promised is lost.

use crate::model::Model;
use crate::workload::{Op, script};
use crate::world::{SMALL, World, new_disk};
use crate::{styles, survives};
use infmap_storage::device::{Operation, SimulatedDisk};
use std::io::ErrorKind;

/// Runs the script while one operation fails; whether the volume became read-only.
fn with_fault(template: &SimulatedDisk, which: Operation, count: u64) -> bool {
    let disk = template.snapshot();
    disk.fail_after(count, which, ErrorKind::Other);
    let context = format!("{which:?} {count} fails");
    let Ok(mut world) = World::on(disk.clone(), 7, SMALL, Model::new()) else {
        // The mount said so. Another one works.
        survives(disk.kill(), count, SMALL, Model::new(), &context);
        return false;
    };
    world.faulty = true;
    for op in script() {
        if !world.apply(op) {
            break;
        }
    }
    let failed = world.read_only().is_some() || !world.close();
    if failed {
        // It says so to whoever wants to be sure.
        assert!(world.read_only().is_some() && world.refuses_to_promise(), "{context}: read-only, and still it promises");
        assert!(!world.apply(Op::SyncAll(true)));
    }
    let model = world.stop();
    survives(disk.kill(), count, SMALL, model.clone(), &format!("{context}, killed"));
    for style in styles(count) {
        survives(disk.crash(style), count, SMALL, model.clone(), &format!("{context}, {style:?}"));
    }
    failed
}

fn faults(which: Operation, counts: std::ops::Range<u64>, step: usize) -> usize {
    let template = new_disk(7);
    counts.step_by(step).filter(|count| with_fault(&template, which, *count)).count()
}

#[test]
fn a_failed_write_is_never_a_wrong_answer() {
    assert!(faults(Operation::Write, 0..120, 4) > 5);
}

#[test]
fn a_failed_sync_is_never_a_wrong_answer() {
    assert!(faults(Operation::Sync, 0..100, 4) > 5);
}

#[test]
fn a_failed_rename_or_sync_of_a_directory_is_never_a_wrong_answer() {
    faults(Operation::Rename, 0..30, 2);
    faults(Operation::SyncDir, 0..40, 2);
    faults(Operation::SetLen, 0..20, 2);
    faults(Operation::Remove, 0..10, 2);
}

#[test]
#[ignore = "a quarter of an hour's work: `make crash-hour` runs it"]
fn no_failed_operation_is_ever_a_wrong_answer() {
    for which in [Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir, Operation::SetLen, Operation::Remove] {
        faults(which, 0..160, 1);
    }
}
