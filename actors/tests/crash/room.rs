//! A medium without room: what is held of it, who gets that, and what comes back by itself.

use crate::model::Model;
use crate::workload::Op;
use crate::world::{SMALL, World, new_disk, recover};
use infmap_actors::api::Refusal;
use infmap_storage::device::{CrashStyle, Device, SimulatedDisk};
use infmap_storage::region::IMAGE_MAX_BYTES;

const FIRST: u8 = 20;

/// Writes files of a megabyte until one is refused. How many there are.
fn fill(world: &mut World) -> u8 {
    for number in FIRST..u8::MAX {
        let path = (0, number);
        for op in [Op::Create(path), Op::Write(path, 0, 1_000_000, true), Op::Fsync(path, true)] {
            if !world.apply(op) {
                assert_eq!((world.refused.take(), world.read_only()), (Some(Refusal::NoSpace), None), "{op:?}");
                world.apply(Op::Unlink(path, false));
                return number - FIRST;
            }
        }
    }
    panic!("it is never full");
}

/// What is left to us then.
fn others_take_the_rest(disk: &SimulatedDisk, capacity: u64) -> u64 {
    let ours = capacity - disk.space().unwrap().free_bytes;
    disk.set_capacity(ours);
    assert_eq!(disk.space().unwrap().free_bytes, 0);
    ours
}

fn full_world(capacity: u64) -> (World, u8) {
    let disk = new_disk(5);
    disk.set_capacity(capacity);
    let mut world = World::on(disk, 5, SMALL, Model::new()).unwrap();
    world.faulty = true;
    let count = fill(&mut world);
    (world, count)
}

/// Seen to fail when nothing was held.
#[test]
fn what_is_held_serves_removals_and_roots_and_never_writes() {
    let capacity = 200 << 20;
    let (mut world, count) = full_world(capacity);
    let disk = world.disk.clone();
    assert!(count > 20, "{count} files fit");
    let held = world.held_bytes();
    assert!(held > 30 << 20, "writes have taken what is held: {held}");
    // Also what roots and cleaning have left to be written into again.
    let spares = disk.list("spare").unwrap().into_iter().filter(|file| file.size_bytes < IMAGE_MAX_BYTES as u64);
    spares.for_each(|file| disk.remove(&format!("spare/{}", file.name)).unwrap());
    let ours = others_take_the_rest(&disk, capacity);
    assert!(!world.apply(Op::Write((0, FIRST), 0, 100_000, true)), "a write takes what is held");
    assert_eq!((world.refused.take(), world.held_bytes()), (Some(Refusal::NoSpace), held));
    // And what the log gave back for that write.
    others_take_the_rest(&disk, ours);
    for number in FIRST + 1..FIRST + count {
        assert!(world.apply(Op::Unlink((0, number), false)), "a removal is refused");
    }
    assert!(world.apply(Op::SyncAll(true)) && world.apply(Op::Checkpoint(true)));
    assert!(world.held_bytes() < held, "nobody needed it, so that this shows nothing");
    // What was removed comes back by itself.
    assert!(world.apply(Op::Checkpoint(true)) && world.apply(Op::Seconds(11)));
    let path = (0, FIRST + 1);
    assert!(world.apply(Op::Create(path)) && world.apply(Op::Write(path, 0, 300_000, true)) && world.apply(Op::Fsync(path, true)));
    let found = disk.crash(CrashStyle::LoseAll);
    found.set_capacity(capacity);
    recover(found, 6, SMALL, world.stop()).unwrap().stop();
}

/// Seen to fail when the block that a waiting write needs, fetched and placed again with each root, counted as given up each time.
#[test]
fn a_write_of_part_of_a_block_is_refused_by_a_full_medium_too() {
    let (mut world, _) = full_world(200 << 20);
    // A few of them make room, so that what is refused is a write after others.
    for number in 1..5 {
        assert!(world.apply(Op::Unlink((0, FIRST + number), false)) && world.apply(Op::Seconds(11)));
    }
    // It ends in the middle of a block.
    while world.apply(Op::Append((0, FIRST), 1_000_001)) {}
    assert_eq!((world.refused.take(), world.read_only()), (Some(Refusal::NoSpace), None));
    world.stop();
}

/// What was accepted before others filled the disk waits for room; who wants it durable hears ENOSPC, and not that the volume is lost.
#[test]
fn bytes_that_were_accepted_wait_for_room_that_others_have_taken() {
    let capacity = 400 << 20;
    let disk = new_disk(5);
    disk.set_capacity(capacity);
    let mut world = World::on(disk.clone(), 5, SMALL, Model::new()).unwrap();
    world.faulty = true;
    let path = (0, 0);
    assert!(world.apply(Op::Create(path)) && world.apply(Op::Write(path, 0, 2_900_000, true)));
    others_take_the_rest(&disk, capacity);
    // Three images of held room are for writers, no more.
    let mut refused = 0;
    for _ in 0..12 {
        refused += usize::from(!world.apply(Op::Fsync(path, true)) || !world.apply(Op::Write(path, 0, 2_900_000, true)));
        if let Some(refusal) = world.refused.take() {
            assert_eq!((refusal, world.read_only()), (Refusal::NoSpace, None));
        }
    }
    assert!(refused > 5, "{refused} times");
    disk.set_capacity(capacity);
    assert!(world.apply(Op::Seconds(11)) && world.apply(Op::SyncAll(true)), "{:?} {:?}", world.refused.get(), world.read_only());
    let found = disk.crash(CrashStyle::LoseAll);
    recover(found, 6, SMALL, world.stop()).unwrap().stop();
}
