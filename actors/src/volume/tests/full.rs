//! A medium that others fill between two mounts: what an unmount leaves for the next one, and what happens where that was taken.

use super::*;
use infmap_storage::device::SimulatedDisk;
use std::time::Duration;

const CAPACITY: u64 = 300 << 20;
const FILES: u64 = 12;
const LENGTH: usize = 1 << 20;

fn new_disk() -> SimulatedDisk {
    let disk = SimulatedDisk::new(9);
    disk.set_capacity(CAPACITY);
    ["map", "spare", "wal", "run"].iter().for_each(|directory| disk.create_dir(directory).unwrap());
    disk.sync_dir("").unwrap();
    let device: Arc<dyn Device> = Arc::new(disk.clone());
    open::create(&device, UUID, 0, 0).unwrap();
    disk
}

/// On threads of its own, as it is closed by an unmount.
fn mount(disk: &SimulatedDisk) -> Volume {
    let mut settings = Settings::default();
    settings.durability.commit_interval = Duration::from_millis(50);
    Volume::open(Arc::new(disk.clone()), OpenOptions { uuid: UUID, settings, read_only: false }).unwrap()
}

fn ask<T: Unanswered + Send + 'static>(volume: &Volume, question: impl FnOnce(&Volume, Replier<T>)) -> T {
    volume.ask(|replier| question(volume, replier)).wait_blocking()
}

fn make(volume: &Volume, number: u64) {
    let node = NewNode { parent: ROOT_INODE, name: name(number), mode: 0o100_644, uid: 1, gid: 2, rdev: 0, umask: 0 };
    let inode = ask(volume, |volume, replier| volume.create(node, replier)).unwrap().inode;
    let data = noise(number, LENGTH);
    assert_eq!(ask(volume, |volume, replier| volume.write(inode, 0, &data, WriteHow::default(), replier)), Ok(LENGTH as u32));
}

fn name(number: u64) -> Vec<u8> {
    format!("file {number}").into_bytes()
}

fn remove(volume: &Volume, number: u64) -> Answer<()> {
    ask(volume, |volume, replier| volume.unlink(ROOT_INODE, name(number), replier))
}

/// Whether a file is there; one that is has its bytes.
fn is_there(volume: &Volume, number: u64) -> bool {
    let Ok(found) = ask(volume, |volume, replier| volume.lookup(ROOT_INODE, &name(number), replier)) else { return false };
    let read = ask(volume, |volume, replier| volume.read(found.inode, 0, LENGTH as u32, replier)).map(|data| data.to_vec());
    assert!(read.is_ok_and(|read| read == noise(number, LENGTH)), "file {number}");
    true
}

fn sync(volume: &Volume) -> Answer<()> {
    ask(volume, |volume, replier| volume.sync_all(replier))
}

fn checkpoint(volume: &Volume) -> Answer<()> {
    ask(volume, |volume, replier| volume.checkpoint(replier))
}

fn reason(volume: &Volume) -> Option<String> {
    volume.shared().health.reason()
}

/// A volume that was closed in order, with some files.
fn closed() -> SimulatedDisk {
    let disk = new_disk();
    let volume = mount(&disk);
    (0..FILES).for_each(|number| make(&volume, number));
    assert_eq!((sync(&volume), volume.close()), (Ok(()), Ok(())));
    disk
}

/// To the last byte.
fn others_fill(disk: &SimulatedDisk) {
    let space = disk.space().unwrap();
    disk.set_capacity(space.total_bytes - space.free_bytes);
    assert_eq!(disk.space().unwrap().free_bytes, 0);
}

/// Seen to fail when the room that is held was given back at the end: the first root of the next mount made the volume read-only.
#[test]
fn an_unmount_leaves_the_room_that_the_next_mount_needs_on_a_disk_that_others_fill() {
    let disk = closed();
    // Only read, changed, only read: each leaves it for the next.
    for removed in [0, 4, 0, 0] {
        others_fill(&disk);
        let volume = mount(&disk);
        assert!(volume.shared().spares.held_bytes() > 0, "nothing is held");
        let before: Vec<u64> = (0..FILES).filter(|number| is_there(&volume, *number)).collect();
        before.iter().take(removed).for_each(|number| assert_eq!(remove(&volume, *number), Ok(())));
        assert_eq!((sync(&volume), checkpoint(&volume)), (Ok(()), Ok(())), "{:?}", reason(&volume));
        assert_eq!((volume.close(), reason(&volume)), (Ok(()), None));
    }
    disk.set_capacity(CAPACITY);
    let volume = mount(&disk);
    assert_eq!((0..FILES).filter(|number| is_there(&volume, *number)).count() as u64, FILES - 4);
    make(&volume, 100);
    assert_eq!((sync(&volume), volume.close()), (Ok(()), Ok(())));
}

/// Seen to fail when a root that found no room made the volume read-only, and a mount without room for a log segment was refused.
#[test]
fn where_others_took_what_was_held_nothing_that_is_answered_is_lost_and_all_goes_on_when_there_is_room() {
    let disk = closed();
    for spare in disk.list("spare").unwrap() {
        disk.remove(&format!("spare/{}", spare.name)).unwrap();
    }
    others_fill(&disk);
    let volume = mount(&disk);
    (0..4).for_each(|number| assert_eq!(remove(&volume, number), Ok(())));
    assert_eq!((sync(&volume), checkpoint(&volume)), (Ok(()), Err(Refusal::NoSpace)));
    assert_eq!(reason(&volume), None, "it is for good");
    assert_eq!((volume.close(), reason(&volume)), (Ok(()), None), "everything is in the log");
    drop(volume);
    // Now there is not even room for the log of another mount.
    others_fill(&disk);
    let volume = mount(&disk);
    assert!(reason(&volume).is_some_and(|reason| reason.contains("no room for a log segment")), "{:?}", reason(&volume));
    assert_eq!((0..FILES).filter(|number| is_there(&volume, *number)).count() as u64, FILES - 4);
    assert!(remove(&volume, 5).is_err() && volume.close().is_err() && volume.shared().health.is_unchanged());
    drop(volume);
    disk.set_capacity(CAPACITY);
    let volume = mount(&disk);
    assert_eq!((remove(&volume, 5), checkpoint(&volume), reason(&volume)), (Ok(()), Ok(()), None));
    assert_eq!((0..FILES).filter(|number| is_there(&volume, *number)).count() as u64, FILES - 5);
    assert_eq!(volume.close(), Ok(()));
}
