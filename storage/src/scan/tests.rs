//! What stands next, what is read, and where a tree of files lies. Fails: as tests do.

use super::*;
use crate::device::{MemoryDevice, Operation, SimulatedDisk};
use crate::row::RegionKind;
use crate::state::View;
use crate::state::tests::kit::World;
use std::collections::BTreeSet;

const PIECE: usize = 64 * 1024;

fn region() -> RegionId {
    RegionId { place: Place(9), generation: crate::address::Generation(5) }
}

fn put(device: &dyn Device, bytes: &[u8]) {
    ["map", &region().place.directory()].iter().for_each(|directory| device.create_dir(directory).unwrap());
    let file = device.open(&region().path(), Open::CREATE).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
}

fn read(device: &dyn Device, image: &mut [u8]) -> (ImageReading, usize) {
    let mut reading = ImageReading::open(device, region()).unwrap();
    let mut sum = 0;
    while reading.has_more() {
        let bytes = reading.read_next(image, PIECE);
        assert!(bytes > 0 && bytes <= PIECE);
        sum += bytes;
    }
    assert_eq!(reading.read_next(image, PIECE), 0, "there is no more");
    (reading, sum)
}

#[test]
fn a_file_of_any_length_is_read_and_nothing_of_the_image_before() {
    for length in [0, 1, PIECE - 1, PIECE, 3 * PIECE + 4097, IMAGE_MAX_BYTES, IMAGE_MAX_BYTES + 1] {
        let device = MemoryDevice::new();
        let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        put(&device, &bytes);
        let mut image = vec![0xEE; IMAGE_MAX_BYTES];
        let (reading, sum) = read(&device, &mut image);
        let read = length.min(IMAGE_MAX_BYTES);
        assert!(sum == read && reading.bytes(&image) == &bytes[..read], "{length}");
        assert_eq!((reading.is_whole(), reading.is_refused()), (length <= IMAGE_MAX_BYTES, false), "{length}");
    }
}

#[test]
fn what_the_device_refuses_is_zero_and_told_with_its_range() {
    let disk = SimulatedDisk::new(1);
    let bytes = vec![7; 4 * PIECE];
    put(&disk, &bytes);
    let mut image = vec![0xEE; IMAGE_MAX_BYTES];
    let mut reading = ImageReading::open(&disk, region()).unwrap();
    assert_eq!(reading.read_next(&mut image, PIECE), PIECE);
    // The piece, and its second page.
    disk.fail_after(0, Operation::Read, std::io::ErrorKind::Other);
    disk.fail_after(1, Operation::Read, std::io::ErrorKind::Other);
    while reading.has_more() {
        reading.read_next(&mut image, PIECE);
    }
    let found = reading.bytes(&image);
    let zeros: Vec<usize> = (0..found.len() / 4096).filter(|page| found[page * 4096..][..4096].iter().all(|byte| *byte == 0)).collect();
    assert_eq!((zeros, found.len()), (vec![PIECE / 4096 + 1], bytes.len()));
    assert!(!reading.is_whole() && reading.is_refused());
    assert!(reading.refused(&(PIECE..PIECE + 1)).is_some() && reading.refused(&(0..PIECE)).is_none());
}

/// Seen to fail when each step began with the first entries again.
#[test]
fn the_images_of_a_tree_are_found_in_steps_and_those_of_one_file_are_its_own() {
    let mut world = World::new(700);
    let files = world.files.clone();
    let mut of_last = BTreeSet::new();
    for (n, file) in files.iter().enumerate().filter(|(n, _)| n % 7 == 0) {
        for step in 0..if n == 0 { 600 } else { 1 } {
            let row = world.place(1);
            world.put_extent(*file, step * 4096, &row, true);
            if n == 0 {
                of_last.insert(row.first.region);
            }
        }
    }
    let view = View::new(&world.state.names, &world.store);
    let mut below = Below::find(view, b"").unwrap().expect("the root");
    let mut steps = 0;
    while below.step(view).unwrap() {
        steps += 1;
        assert!(steps < 10_000, "it does not end");
    }
    let all = below.into_regions();
    assert!(all.len() > of_last.len() && steps >= 700, "{} regions in {steps} steps", all.len());
    let name = format!("/{:05}-{}", 0, "x".repeat(180));
    let mut below = Below::find(view, name.as_bytes()).unwrap().expect("a file");
    while below.step(view).unwrap() {}
    assert_eq!(below.into_regions(), of_last);
    assert!(Below::find(view, b"/no/such").unwrap().is_none());
}

#[test]
fn regions_are_found_in_the_order_of_places() {
    let mut world = World::new(3);
    let file = world.files[0];
    for step in 0..500 {
        let row = world.place(1);
        world.put_extent(file, step * 4096, &row, true);
    }
    world.close();
    while world.state.fold(&world.store, &world.open, 8).unwrap() == crate::state::FoldProgress::More {}
    let (mut found, mut from) = (Vec::new(), Place(0));
    while let Some((region, row)) = next_region(&world.state.volume, &world.store, from).unwrap() {
        assert!(region.place >= from && row.kind == RegionKind::Data && row.live.count() > 0);
        found.push(region);
        from = Place(region.place.0 + 1);
    }
    assert_eq!(found.len(), 5);
    assert_eq!(next_region(&world.state.volume, &world.store, found[3].place).unwrap().map(|(region, _)| region), Some(found[3]));
}
