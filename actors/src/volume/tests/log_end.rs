//! The end of the log: what is refused while the medium has no room for another segment, and that all of it is answered when there is.

use super::*;
use crate::api::{AttributeChange, ClearHow, ClearRange, NameOp};
use crate::keeper::look_at_space;
use infmap_storage::device::SimulatedDisk;
use std::time::Duration;

const CAPACITY: u64 = 400 << 20;
/// Of a log as small as this one.
const SEGMENT: usize = 4 << 20;
/// What a change that is synced takes of the log.
const STEP: usize = 4 << 10;

struct Full {
    bed: Bed,
    disk: SimulatedDisk,
    /// Changes so far.
    steps: std::cell::Cell<usize>,
}

impl std::ops::Deref for Full {
    type Target = Bed;

    fn deref(&self) -> &Bed {
        &self.bed
    }
}

impl Full {
    /// A volume in small settings, on a disk with much room.
    fn new() -> Self {
        let disk = SimulatedDisk::new(3);
        disk.set_capacity(CAPACITY);
        ["map", "spare", "wal"].iter().for_each(|directory| disk.create_dir(directory).unwrap());
        let device: Arc<dyn Device> = Arc::new(disk.clone());
        open::create(&device, UUID, 0, 0).unwrap();
        let mut settings = Settings::default();
        settings.durability.checkpoint_at = 1 << 20;
        let bed = Bed::open_with(device, settings);
        bed.create("grows");
        Self { bed, disk, steps: std::cell::Cell::default() }
    }

    /// Others take all that there is, and what was held.
    fn others_fill(&self) {
        self.volume.shared().spares.let_go(&self.disk);
        let space = self.disk.space().unwrap();
        self.disk.set_capacity(space.total_bytes - space.free_bytes);
        // As each image and each tick does.
        look_at_space(self.volume.shared());
    }

    /// Changes a name, which takes no room but of the log, and has it written: a block of the log.
    fn step(&self) -> Answer<()> {
        let number = self.steps.get();
        let rename = renamed("grows", "grown", number);
        let answer = self.ask(|volume, replier| volume.rename(rename, replier)).map(drop);
        if answer.is_ok() {
            self.steps.set(number + 1);
            assert_eq!(self.ask(|volume, replier| volume.sync(ROOT_INODE, false, replier)), Ok(()));
        }
        self.runtime.run_idle();
        answer
    }

    /// Changes names until that is refused. How many were answered.
    fn grow(&self, most: usize) -> usize {
        let refused = (0..most).find_map(|number| self.step().err().map(|refusal| (number, refusal)));
        assert_eq!((refused.map(|(_, refusal)| refusal).filter(|refusal| *refusal != Refusal::NoSpace), self.reason()), (None, None));
        refused.map_or(most, |(number, _)| number)
    }

    fn reason(&self) -> Option<String> {
        self.volume.shared().health.reason()
    }

    fn tick(&self) {
        self.runtime.advance(Duration::from_secs(6));
    }
}

/// From the first name to the second, or back.
fn renamed(one: &str, other: &str, number: usize) -> Rename {
    let (from, to) = if number.is_multiple_of(2) { (one, other) } else { (other, one) };
    Rename { parent: ROOT_INODE, name: from.into(), new_parent: ROOT_INODE, new_name: to.into(), mode: RenameMode::Replace }
}

/// Wherever in a segment the log was when there was no room for the next: it looks again although no tick ever found room short. Seen to
/// fail when it did so only where it was, gigabytes free and all names refused.
#[test]
fn names_are_changed_again_when_a_full_disk_has_room_however_far_the_log_had_come() {
    let most = {
        let full = Full::new();
        full.others_fill();
        full.grow(10 * SEGMENT / STEP)
    };
    assert!((SEGMENT / STEP / 4..3 * SEGMENT / STEP).contains(&most), "{most} changes until the end");
    for changes in [0, 1, most / 4, most / 2, most * 3 / 4, most - 1, most + 1] {
        let full = Full::new();
        full.others_fill();
        full.grow(changes);
        full.disk.set_capacity(CAPACITY);
        full.tick();
        // More than twice what the log may grow by before a checkpoint gives segments back.
        for number in 0..3 * SEGMENT / STEP {
            assert_eq!(full.step(), Ok(()), "change {number} after {changes}: {:?}", full.reason());
        }
    }
}

/// Refused with ENOSPC, whatever it is, and nothing of it is done; the volume goes on when there is room. Seen to fail when a batch looked
/// for room for what it adds alone, and a sync of bytes for none: what the rest of the segment did not take made the volume read-only.
#[test]
fn at_the_end_of_the_log_batches_and_syncs_of_bytes_are_refused_and_do_no_harm() {
    for changes in [0, 400] {
        let full = Full::new();
        let (kept, files) = (full.create("kept"), (0..24).map(|n| full.create(&format!("file {n}"))).collect::<Vec<_>>());
        assert_eq!(full.ask(|volume, replier| volume.checkpoint(replier)), Ok(()));
        let content: Vec<_> = (0..24).map(|n| noise(n, 1_000_000)).collect();
        files.iter().zip(&content).for_each(|(inode, content)| full.write(*inode, 0, content));
        full.others_fill();
        full.grow(changes);
        // All at once: none has heard of the end that another brings about.
        let ask = |inode: &Inode| full.volume.ask(|replier| full.volume.sync(*inode, false, replier));
        let synced: Vec<_> =
            files.iter().map(ask).collect::<Vec<_>>().into_iter().map(|mut reply| full.runtime.run_until(&mut reply)).collect();
        let refused = synced.iter().filter(|answer| **answer == Some(Err(Refusal::NoSpace))).count();
        assert!(synced.iter().all(|answer| matches!(answer, Some(Ok(()) | Err(Refusal::NoSpace)))) && refused > 8, "{synced:?}");
        full.grow(10 * SEGMENT / STEP);
        for round in 0..6 {
            let ops = (0..800).map(|n| NameOp::Rename(renamed("kept", "left", n))).collect();
            assert_eq!(full.ask(|volume, replier| volume.change_many(ops, replier)).map(|done| done.len()), Err(Refusal::NoSpace));
            let again = full.ask(|volume, replier| volume.sync(files[23], false, replier));
            assert!(again == Err(Refusal::NoSpace) || synced[23] == Some(Ok(())), "{again:?}");
            full.tick();
            assert_eq!(full.reason(), None, "round {round}");
        }
        let mode = AttributeChange { permissions: Some(0o600), ..AttributeChange::default() };
        assert_eq!(full.ask(|volume, replier| volume.change_attributes(kept, mode, replier)).map(drop), Err(Refusal::NoSpace));
        let range = ClearRange { offset: 0, length: 8192, how: ClearHow::Punch, clear_privileges: false };
        assert_eq!(full.ask(|volume, replier| volume.clear(files[0], range, replier)), Err(Refusal::NoSpace));
        files.iter().zip(&content).for_each(|(inode, content)| assert!(full.read(*inode, 0, 1_000_000) == *content));
        full.disk.set_capacity(CAPACITY);
        full.tick();
        full.tick();
        files.iter().for_each(|inode| assert_eq!(full.ask(|volume, replier| volume.sync(*inode, false, replier)), Ok(())));
        let bed = Bed::open(full.bed.stopped());
        files.iter().zip(&content).for_each(|(inode, content)| assert!(bed.read(*inode, 0, 1_000_000) == *content));
    }
}

/// An hour of commits that find no room for what is dirty. Meant to fail when each attempt takes a place, whose record is in the log.
#[test]
fn a_full_disk_that_is_left_alone_uses_up_neither_places_nor_the_log() {
    let full = Full::new();
    let inode = full.create("dirty");
    let content = noise(7, 3_000_000);
    full.write(inode, 0, &content);
    full.others_fill();
    full.grow(10 * SEGMENT / STEP);
    let room = || full.volume.shared().budget.log_room();
    full.tick();
    let before = room();
    for minute in 0..60 {
        (0..10).for_each(|_| full.tick());
        assert_eq!(full.reason(), None, "minute {minute}");
    }
    assert!(before - room() < 64 << 10, "{} bytes of the log", before - room());
    full.disk.set_capacity(CAPACITY);
    full.tick();
    full.tick();
    assert_eq!(full.ask(|volume, replier| volume.sync(inode, false, replier)), Ok(()));
    let bed = Bed::open(full.bed.stopped());
    assert!(bed.read(inode, 0, 3_000_000) == content);
}
