//! Restoring on a disk that may lose power at any step. Fails: as tests do.

use super::*;
use crate::address::{Generation, Place};
use crate::device::{CrashStyle, MemoryDevice, SimulatedDisk, read_all};
use crate::region::layout::row_range;
use crate::region::{Codec, IMAGE_MAX_BYTES, Owner, OwnerKind, ParityEncoder, RegionBuilder};

const UUID: [u8; 16] = [7; 16];

fn region(place: u32) -> RegionId {
    RegionId { place: Place(place), generation: Generation(0x1_0000_0003) }
}

fn image(place: u32, kind: RegionKind) -> Vec<u8> {
    let mut open = RegionBuilder::new(vec![0; IMAGE_MAX_BYTES], Identity { volume: UUID, region: region(place), kind }).unwrap();
    for n in 0..12u8 {
        let bytes: Vec<u8> = (0..20_000u32).map(|i| (i * 13) as u8 ^ n).collect();
        let (kind, codec, decoded_bytes) = (OwnerKind::Extent, Codec::Raw, bytes.len() as u32);
        open.place(Owner { kind, codec, inode: 2, offset_bytes: 0, decoded_bytes, sequence: 1, home: None }, &[&bytes]).unwrap();
    }
    open.finish(&mut ParityEncoder::new()).bytes().to_vec()
}

fn put(device: &dyn Device, id: RegionId, bytes: &[u8]) {
    for directory in ["map", SPARE, &id.place.directory()] {
        device.create_dir(directory).unwrap();
        device.sync_dir(crate::device::split_path(directory).0).unwrap();
    }
    let file = device.open(&id.path(), Open::CREATE).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.sync().unwrap();
    device.sync_dir(&id.place.directory()).unwrap();
}

fn harmed(image: &[u8], rows: usize) -> Vec<u8> {
    let mut harmed = image.to_vec();
    (0..rows).for_each(|row| harmed[row_range(row).start] ^= 1);
    harmed[3] ^= 1;
    harmed
}

fn run(device: &dyn Device, dry_run: bool) -> Vec<ImageRepair> {
    repair_images(device, UUID, dry_run, &mut |_, _| {}).unwrap()
}

fn is(device: &dyn Device, id: RegionId, bytes: &[u8]) -> bool {
    read_all(device, &id.path(), 2 * IMAGE_MAX_BYTES).unwrap() == bytes
}

#[test]
fn damaged_images_are_restored_and_a_second_run_has_nothing_to_do() {
    let device = MemoryDevice::new();
    let (data, nodes, lost) = (image(9, RegionKind::Data), image(3, RegionKind::Node), image(12, RegionKind::Data));
    put(&device, region(9), &harmed(&data, 32));
    put(&device, region(3), &harmed(&nodes, 1));
    put(&device, region(12), &harmed(&lost, 33));
    put(&device, region(20), &[&image(20, RegionKind::Data)[..], &[0; 4096]].concat());
    put(&device, region(21), &image(21, RegionKind::Data));
    let told = run(&device, true);
    assert!(told.len() == 4 && is(&device, region(9), &harmed(&data, 32)), "{told:?}");
    assert!(device.list(SPARE).unwrap().is_empty());
    let done = run(&device, false);
    let restored = done.iter().filter(|repair| matches!(repair.outcome, Outcome::Restored { .. })).count();
    assert!(done.len() == 4 && restored == 3, "{done:?}");
    assert!(is(&device, region(9), &data) && is(&device, region(3), &nodes) && is(&device, region(20), &image(20, RegionKind::Data)));
    assert!(is(&device, region(12), &harmed(&lost, 33)), "what cannot be brought back is left as it is");
    let left = run(&device, false);
    let [ImageRepair { region: found, outcome: Outcome::Left { why: RegionError::RowsDamaged { rows: 33, .. }, lost } }] = left.as_slice()
    else {
        panic!("{left:?}")
    };
    // 33 rows in 9 bands, each in the first column.
    assert_eq!((*found, lost.len()), (region(12), 9));
    assert!(device.list(SPARE).unwrap().is_empty());
}

#[test]
fn an_image_of_another_place_or_volume_is_neither_damaged_nor_restored_here() {
    let device = MemoryDevice::new();
    put(&device, region(9), &image(10, RegionKind::Data));
    assert!(run(&device, false).is_empty());
    // Damaged, it is another image still.
    let other = harmed(&image(10, RegionKind::Data), 2);
    put(&device, region(9), &other);
    assert!(matches!(run(&device, false).as_slice(), [ImageRepair { outcome: Outcome::Left { .. }, .. }]));
    assert!(is(&device, region(9), &other));
}

/// FIX-2: whenever the power goes, the name leads to the damaged file or to the restored one, and the next run ends the work.
#[test]
fn a_cut_at_any_step_leaves_the_damaged_image_or_the_restored_one() {
    let sound = image(9, RegionKind::Data);
    let damaged = harmed(&sound, 5);
    let before = SimulatedDisk::new(7);
    put(&before, region(9), &damaged);
    let mut steps = 0;
    for step in 0.. {
        let disk = before.snapshot();
        disk.power_off_after(step);
        let done = repair_images(&disk, UUID, false, &mut |_, _| {});
        let finished = matches!(done.as_deref(), Ok([ImageRepair { outcome: Outcome::Restored { .. }, .. }]));
        let styles = [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::LoseData, CrashStyle::LoseNames, CrashStyle::Random(step)];
        for style in styles {
            let found = disk.crash(style);
            assert!(is(&found, region(9), &sound) || (!finished && is(&found, region(9), &damaged)), "{style:?} at {step}");
            run(&found, false);
            assert!(is(&found, region(9), &sound) && run(&found, false).is_empty(), "{style:?} at {step}: the next run ends the work");
        }
        steps += 1;
        if finished {
            break;
        }
    }
    assert!(steps >= 8, "{steps}");
}
