//! Spare files: what fails leaves none behind, none is written over, and what is held is enough for what was said to find room.

use super::*;
use infmap_storage::address::Generation;
use infmap_storage::buffer::AlignedBuf;
use infmap_storage::device::{CrashStyle, Operation, SimulatedDisk};
use infmap_storage::region::{Identity, ParityEncoder, RegionBuilder};
use infmap_storage::row::RegionKind;

/// Regions whose images lie in directories of their own, and an image of each.
fn images() -> Vec<(RegionId, Vec<u8>)> {
    let image = |number: u32| {
        let region = RegionId { place: Place(number), generation: Generation(number.into()) };
        let identity = Identity { volume: *b"spares in a test", region, kind: RegionKind::Data };
        let builder = RegionBuilder::new(AlignedBuf::zeroed(IMAGE_MAX_BYTES), identity).unwrap();
        (region, builder.finish(&mut ParityEncoder::default()).bytes().to_vec())
    };
    (0..5).map(image).collect()
}

fn install(disk: &SimulatedDisk, spares: &Spares, images: &[(RegionId, Vec<u8>)]) {
    images.iter().for_each(|(region, image)| spares.install(disk, *region, image, 0).unwrap());
}

/// Seen to fail when the file stayed: each failure took its room until the next mount.
#[test]
fn an_image_that_cannot_be_written_leaves_no_file_behind() {
    let images = images();
    let mut failures = 0;
    let kinds = [Operation::Open, Operation::Write, Operation::Sync, Operation::CreateDir, Operation::SyncDir, Operation::Rename];
    for (which, recycled) in kinds.into_iter().flat_map(|which| [(which, false), (which, true)]) {
        let disk = SimulatedDisk::new(1);
        ["map", "spare"].iter().for_each(|directory| disk.create_dir(directory).unwrap());
        let spares = Spares::load(&disk, false).unwrap();
        if recycled {
            install(&disk, &spares, &images[..1]);
            spares.recycle(&disk, &[images[0].0]).unwrap();
        }
        disk.fail_after(0, which, io::ErrorKind::Other);
        failures += usize::from(spares.install(&disk, images[1].0, &images[1].1, 0).is_err());
        assert_eq!(disk.list(DIRECTORY).unwrap().len(), 0, "{which:?} fails, recycled: {recycled}");
        install(&disk, &spares, &images[2..3]);
    }
    assert_eq!(failures, 12);
}

#[test]
fn spare_files_are_known_by_their_bytes_as_long_as_they_are_spare() {
    let images = images();
    let disk = SimulatedDisk::new(1);
    ["map", "spare"].iter().for_each(|directory| disk.create_dir(directory).unwrap());
    let spares = Spares::load(&disk, false).unwrap();
    install(&disk, &spares, &images[..3]);
    assert_eq!(spares.unused_bytes(), 0);
    spares.recycle(&disk, &[images[0].0, images[1].0]).unwrap();
    let two = (images[0].1.len() + images[1].1.len()) as u64;
    assert_eq!((spares.unused_bytes(), Spares::load(&disk, false).unwrap().unused_bytes()), (two, two));
    install(&disk, &spares, &images[3..4]);
    assert_eq!(spares.unused_bytes(), images[0].1.len() as u64);
    spares.shrink(&disk, 0);
    assert_eq!(spares.unused_bytes(), 0);
}

#[test]
fn an_image_is_never_written_over_wherever_power_fails_or_the_process_dies() {
    let images = images();
    let new = SimulatedDisk::new(1);
    ["map", "spare"].iter().for_each(|directory| new.create_dir(directory).unwrap());
    new.sync_dir("").unwrap();
    for (dies, seed) in (0..40).flat_map(|dies| (0..24).map(move |seed| (dies, seed))) {
        let disk = new.snapshot();
        let spares = Spares::load(&disk, false).unwrap();
        install(&disk, &spares, &images[..2]);
        disk.power_off_after(dies);
        let _ = spares.recycle(&disk, &[images[0].0, images[1].0]);
        let disk = if seed % 3 == 0 { disk.kill() } else { disk.crash(CrashStyle::Random(seed)) };
        let spares = Spares::load(&disk, false).unwrap();
        install(&disk, &spares, &images[2..]);
        let disk = disk.crash(CrashStyle::Random(seed + 100));
        for (number, (region, image)) in images.iter().enumerate() {
            let there = disk.metadata(&region.path()).unwrap().is_some();
            assert!(there || number < 2, "a durable image is gone, {dies} {seed}");
            let found = there.then(|| infmap_storage::device::read_all(&disk, &region.path(), IMAGE_MAX_BYTES).unwrap());
            assert!(found.is_none_or(|found| found == *image), "image {number} was written over, {dies} {seed}");
        }
    }
}

/// An image that nothing is left out of.
fn whole(number: u32) -> (RegionId, Vec<u8>) {
    let place = Place(number);
    (RegionId { place, generation: Generation(1) }, vec![1; IMAGE_MAX_BYTES])
}

/// A disk on which so many files are held and so many bytes are free, and one directory is there.
fn short_of_room(held: usize, free: u64) -> (SimulatedDisk, Spares) {
    let disk = SimulatedDisk::new(1);
    ["map", "spare"].iter().for_each(|directory| disk.create_dir(directory).unwrap());
    let (region, image) = whole(0);
    Spares::load(&disk, false).unwrap().install(&disk, region, &image, 0).unwrap();
    let spares = Spares::load(&disk, false).unwrap();
    spares.hold(&disk);
    while spares.inner.lock().held.len() > held {
        let number = spares.take_held(0).unwrap();
        disk.remove(&path(number)).unwrap();
    }
    let space = disk.space().unwrap();
    disk.set_capacity(space.total_bytes - space.free_bytes + free);
    spares.note_free(disk.space().unwrap().free_bytes);
    (disk, spares)
}

/// For every level of room: a root that is said to find room does, in directories that are not there too, and nothing is asked for that
/// it does not need. Seen to fail when a directory was made in no room at all, and when five files were enough for any root.
#[test]
fn a_root_that_is_said_to_find_room_does_so_wherever_its_images_lie() {
    // As the simulated disk counts it.
    const IMAGE: u64 = (IMAGE_MAX_BYTES as u64).next_multiple_of(16 << 10);
    // In the directory that is there, or each in one of its own: places of one quadrant lie together.
    let (near, apart) = (|n: u32| 4 * n + 4, |n: u32| n + 1);
    assert_eq!(Place(near(9)).directory(), Place(0).directory());
    assert_eq!((0..3).map(|n| Place(apart(n)).directory()).collect::<HashSet<_>>().len(), 3);
    for (held, free) in
        [0, 1, 2, 5, 8].into_iter().flat_map(|held| [0, 16 << 10, IMAGE, IMAGE * 2 + (1 << 20)].map(move |free| (held, free)))
    {
        for at in [near as fn(u32) -> u32, apart] {
            let (_, spares) = short_of_room(held, free);
            let says = |images: u32| spares.has_room_for_root(images as usize, (0..images).map(|n| Place(at(n))));
            let most = (0..12).rev().find(|images| says(*images)).unwrap();
            let (all, is_near) = (held as u64 + free / IMAGE, at(0) == near(0));
            assert!(u64::from(most) + u64::from(!is_near) >= all && u64::from(most) <= all, "{most} of {all}");
            let (disk, spares) = short_of_room(held, free);
            for (n, (region, image)) in (0..most).map(|n| (n, whole(at(n)))) {
                let done = spares.install(&disk, region, &image, 0);
                assert!(done.is_ok(), "image {n} of {most}, {held} are held, {free} bytes free, near: {is_near}: {done:?}");
            }
        }
    }
}

/// Seen to fail when the directory was looked for once: both files were given up for it, and the image was not written.
#[test]
fn an_image_in_a_new_directory_goes_by_two_files_that_are_held_and_one_of_a_writer_takes_none_of_those_for_roots() {
    let (region, image) = whole(1);
    for held in 0..=HELD {
        let (disk, spares) = short_of_room(held, 0);
        let before = disk.list(DIRECTORY).unwrap().len();
        let done = spares.install(&disk, region, &image, FOR_ROOTS);
        assert_eq!(done.is_ok(), held >= FOR_ROOTS + 2, "{held}: {done:?}");
        assert!(spares.inner.lock().held.len() >= held.min(FOR_ROOTS) && before == held);
    }
}

/// Seen to fail when `1.png` was taken for the spare file of that number: the volume could not be mounted. So with a directory.
#[test]
fn what_is_no_spare_file_of_ours_stays_and_is_in_nobodys_way() {
    let images = images();
    let disk = SimulatedDisk::new(1);
    ["map", "spare", "spare/0000000000000003.png"].iter().for_each(|directory| disk.create_dir(directory).unwrap());
    let foreign = ["1.png", "+1.png", "0000000000000001.PNG", "000000000000000A.png", "ffffffffffffffff.png", "notes.txt"];
    for name in foreign {
        disk.open(&format!("spare/{name}"), Open::CREATE_NEW).unwrap().write_at(name.as_bytes(), 0).unwrap();
    }
    for read_only in [true, false] {
        let spares = Spares::load(&disk, read_only).unwrap();
        assert_eq!((spares.unused_bytes(), spares.held_bytes()), (0, 0));
    }
    let spares = Spares::load(&disk, false).unwrap();
    install(&disk, &spares, &images[..2]);
    spares.recycle(&disk, &[images[0].0]).unwrap();
    let directory = disk.metadata(&path(3)).unwrap().map(|found| found.kind);
    assert_eq!((directory, disk.list(DIRECTORY).unwrap().len()), (Some(Kind::Directory), foreign.len() + 2));
    for name in foreign {
        assert_eq!(infmap_storage::device::read_all(&disk, &format!("spare/{name}"), 64).unwrap(), name.as_bytes());
    }
}
