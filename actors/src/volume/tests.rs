//! The whole volume on the deterministic runtime: what was written is read, and survives closing, crashing and checkpoints.

mod batch;
mod cleaning;
mod full;
mod log_end;
mod ranges;
mod retuning;
mod scrub;

use super::*;
use crate::api::NewNode;
use crate::api::WriteHow;
use crate::runtime::Runtime;
use crate::runtime::step::{Order, StepRuntime};
use crate::settings::Settings;
use infmap_storage::device::{Device, MemoryDevice};
use infmap_storage::row::ROOT_INODE;

const UUID: [u8; 16] = *b"a volume in test";

struct Bed {
    runtime: Arc<StepRuntime>,
    device: Arc<dyn Device>,
    volume: Volume,
}

fn new_device() -> Arc<dyn Device> {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new());
    for directory in ["map", "spare", "wal"] {
        device.create_dir(directory).unwrap();
    }
    device.sync_dir("").unwrap();
    open::create(&device, UUID, 0, 0).unwrap();
    device
}

impl Bed {
    fn open(device: Arc<dyn Device>) -> Self {
        Self::open_with(device, Settings::default())
    }

    fn open_with(device: Arc<dyn Device>, settings: Settings) -> Self {
        let runtime = StepRuntime::new(Order::Fifo);
        let as_runtime: Arc<dyn Runtime> = runtime.clone();
        let options = OpenOptions { uuid: UUID, settings, read_only: false };
        let volume = Volume::open_on(&as_runtime, device.clone(), options).unwrap();
        runtime.run_idle();
        Self { runtime, device, volume }
    }

    fn ask<T: Unanswered + Send + 'static>(&self, question: impl FnOnce(&Volume, Replier<T>)) -> T {
        let mut reply = self.volume.ask(|replier| question(&self.volume, replier));
        self.runtime.run_until(&mut reply).expect("an answer")
    }

    fn create(&self, name: &str) -> Inode {
        let node = NewNode { parent: ROOT_INODE, name: name.into(), mode: 0o100_644, uid: 1, gid: 2, rdev: 0, umask: 0 };
        self.ask(|volume, replier| volume.create(node, replier)).unwrap().inode
    }

    fn write(&self, inode: Inode, offset: u64, data: &[u8]) {
        assert_eq!(self.ask(|volume, replier| volume.write(inode, offset, data, WriteHow::default(), replier)), Ok(data.len() as u32));
    }

    fn read(&self, inode: Inode, offset: u64, length: u32) -> Vec<u8> {
        self.ask(|volume, replier| volume.read(inode, offset, length, replier)).map(|data| data.to_vec()).unwrap()
    }

    fn size(&self, inode: Inode) -> u64 {
        self.ask(|volume, replier| volume.attributes(inode, replier)).unwrap().size
    }

    fn reopen(self, close: bool) -> Self {
        if close {
            assert_eq!(self.ask(|volume, replier| volume.checkpoint(replier)), Ok(()));
        }
        Self::open(self.stopped())
    }

    fn stopped(self) -> Arc<dyn Device> {
        self.runtime.stop();
        self.device
    }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut x = seed;
    (0..length)
        .map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        })
        .collect()
}

#[test]
fn what_was_written_is_read_back_at_once_and_after_checkpoints() {
    let mut bed = Bed::open(new_device());
    let (small, large) = (bed.create("small"), bed.create("large"));
    let content = noise(1, 9_000_001);
    bed.write(small, 0, b"hello");
    for (n, chunk) in content.chunks(1 << 20).enumerate() {
        bed.write(large, (n << 20) as u64, chunk);
    }
    for round in 0..3 {
        assert_eq!(bed.read(small, 0, 100), b"hello", "round {round}");
        assert_eq!(bed.size(large), content.len() as u64);
        for (n, chunk) in content.chunks(1 << 20).enumerate() {
            assert!(bed.read(large, (n << 20) as u64, 1 << 20) == chunk, "round {round}, chunk {n}");
        }
        bed = bed.reopen(true);
    }
}

/// Seen to fail when an answer was cut to the buffers of the budget: with the kernel's own cache the rest of the pages would be zeros.
#[test]
fn a_read_of_any_length_is_answered_whole() {
    let bed = Bed::open(new_device());
    let longest = bed.volume.shared().settings().max_write() as usize;
    let (file, content) = (bed.create("long"), noise(5, 2 * longest + 5000));
    content.chunks(longest).enumerate().for_each(|(n, piece)| bed.write(file, (n * longest) as u64, piece));
    assert!(bed.read(file, 0, u32::MAX) == content, "from what is dirty");
    let bed = bed.reopen(true);
    assert!(bed.read(file, 1, 2 * longest as u32) == content[1..=2 * longest], "from the images");
}

#[test]
fn a_synced_file_survives_without_a_checkpoint() {
    let bed = Bed::open(new_device());
    let file = bed.create("file");
    let content = noise(2, 100_000);
    bed.write(file, 0, &content);
    assert_eq!(bed.ask(|volume, replier| volume.sync(file, false, replier)), Ok(()));
    let bed = bed.reopen(false);
    assert!(bed.read(file, 0, 200_000) == content);
    let bed = bed.reopen(true);
    assert!(bed.read(file, 0, 200_000) == content);
}

// Seen to fail: replay skips what a root's `cut` is above by number, although the records are of a later mount than the root.
#[test]
fn what_is_synced_after_a_mount_from_the_images_alone_is_not_taken_for_part_of_their_root() {
    let bed = Bed::open(new_device());
    let old = bed.create("old");
    bed.write(old, 0, &noise(1, 100_000));
    assert_eq!(bed.ask(|volume, replier| volume.checkpoint(replier)), Ok(()));
    let device = bed.stopped();
    for segment in device.list("wal").unwrap() {
        device.remove(&format!("wal/{}", segment.name)).unwrap();
    }
    let bed = Bed::open(device);
    let files: Vec<Inode> = (0..8).map(|n| bed.create(&format!("new{n}"))).collect();
    bed.write(files[0], 0, b"kept");
    assert_eq!(bed.ask(|volume, replier| volume.sync(files[0], false, replier)), Ok(()));
    let bed = bed.reopen(false);
    for (n, file) in files.iter().enumerate() {
        let found = bed.ask(|volume, replier| volume.lookup(ROOT_INODE, format!("new{n}").as_bytes(), replier));
        assert_eq!(found.map(|found| found.inode), Ok(*file), "new{n}");
    }
    assert_eq!((bed.read(files[0], 0, 10), bed.read(old, 0, 200_000)), (b"kept".to_vec(), noise(1, 100_000)));
}

// Seen to fail: a root of the log whose nodes were taken away since is an error, although an image holds a newer one.
#[test]
fn an_old_log_that_was_brought_back_is_told_and_the_images_are_served() {
    let bed = Bed::open(new_device());
    let fill = |bed: &Bed, round: &str| (0..300).map(|n| bed.create(&format!("a file of {round}, number {n}"))).max().unwrap();
    fill(&bed, "the old root");
    assert_eq!(bed.ask(|volume, replier| volume.checkpoint(replier)), Ok(()));
    let last = fill(&bed, "the old log");
    assert_eq!(bed.ask(|volume, replier| volume.sync(last, false, replier)), Ok(()));
    let read = |device: &dyn Device, name: &str| infmap_storage::device::read_all(device, &format!("wal/{name}"), 1 << 30).unwrap();
    let list = |device: &dyn Device| device.list("wal").unwrap().into_iter().map(|entry| entry.name);
    let old: Vec<_> = list(&*bed.device).map(|name| (name.clone(), read(&*bed.device, &name))).collect();
    // Every node is written anew, so that those of the old root go.
    for name in ["the old root", "the old log"].iter().flat_map(|what| (0..300).map(move |n| format!("a file of {what}, number {n}"))) {
        assert_eq!(bed.ask(|volume, replier| volume.unlink(ROOT_INODE, name.into(), replier)), Ok(()));
    }
    let file = bed.create("file");
    for round in 0..6u64 {
        bed.write(file, 0, &noise(round, 100_000));
        fill(&bed, &format!("round {round}"));
        assert_eq!(bed.ask(|volume, replier| volume.checkpoint(replier)), Ok(()));
        bed.runtime.run_idle();
    }
    let device = bed.stopped();
    list(&*device).for_each(|name| device.remove(&format!("wal/{name}")).unwrap());
    for (name, bytes) in &old {
        device.open(&format!("wal/{name}"), infmap_storage::device::Open::CREATE).and_then(|file| file.write_at(bytes, 0)).unwrap();
    }
    let bed = Bed::open(device);
    let reason = bed.volume.shared().health.reason().expect("it is read-only");
    assert!(reason.contains("an image holds a newer root"), "{reason}");
    assert!(bed.read(file, 0, 200_000) == noise(5, 100_000));
}

#[test]
fn a_large_sync_goes_through_the_pixel_writers() {
    let bed = Bed::open(new_device());
    let file = bed.create("file");
    let content = noise(3, 7_000_000);
    for (n, chunk) in content.chunks(1 << 20).enumerate() {
        bed.write(file, (n << 20) as u64, chunk);
    }
    assert_eq!(bed.ask(|volume, replier| volume.sync(file, false, replier)), Ok(()));
    let bed = bed.reopen(false);
    assert!(bed.read(file, 1 << 20, 1 << 20) == content[1 << 20..2 << 20]);
}

#[test]
fn a_sync_of_more_than_a_group_of_the_log_leaves_the_volume_writable() {
    let bed = Bed::open(new_device());
    let file = bed.create("file");
    let content = noise(5, 1 << 20);
    for n in 0..12 {
        bed.write(file, n << 20, &content);
    }
    assert_eq!(bed.ask(|volume, replier| volume.sync(file, false, replier)), Ok(()));
    assert!(!bed.volume.shared().health.is_read_only());
    let bed = bed.reopen(false);
    assert!((0..12).all(|n| bed.read(file, n << 20, 1 << 20) == content));
}

#[test]
fn overwritten_and_removed_files_give_their_places_back() {
    let bed = Bed::open(new_device());
    for round in 0..12u64 {
        let file = bed.create(&format!("file{round}"));
        let content = noise(round, 5_000_000);
        for (n, chunk) in content.chunks(1 << 20).enumerate() {
            bed.write(file, (n << 20) as u64, chunk);
        }
        assert_eq!(bed.ask(|volume, replier| volume.checkpoint(replier)), Ok(()));
        assert_eq!(bed.ask(|volume, replier| volume.unlink(ROOT_INODE, format!("file{round}").into(), replier)), Ok(()));
        bed.runtime.run_idle();
    }
    let images = infmap_storage::images::Images::list(bed.device.as_ref()).unwrap();
    assert!(images.len() < 20, "{} images for one living file: {images:?}", images.len());
    assert_eq!(bed.volume.shared().budget.used(), 0);
}

#[test]
fn a_volume_at_its_limit_refuses_writes_until_files_are_removed() {
    const LIMIT: u64 = 24 << 20;
    let limited = || Settings { limit: Some(LIMIT), ..Settings::default() };
    let mut bed = Bed::open_with(new_device(), limited());
    let mut files = Vec::new();
    // Twice, the second time on a volume whose images are counted anew.
    for round in 0..2u64 {
        let refused = (0..20u64).find_map(|n| {
            let name = format!("round{round}-{n}");
            // Where there is no room, there is none for a name either.
            let node = NewNode { parent: ROOT_INODE, name: name.clone().into(), mode: 0o100_644, uid: 1, gid: 2, rdev: 0, umask: 0 };
            let file = match bed.ask(|volume, replier| volume.create(node, replier)) {
                Ok(made) => made.inode,
                Err(refusal) => return Some(refusal),
            };
            files.push(name);
            let refused = noise(round << 8 | n, 4 << 20).chunks(1 << 20).enumerate().find_map(|(at, chunk)| {
                bed.ask(|volume, replier| volume.write(file, (at << 20) as u64, chunk, WriteHow::default(), replier)).err()
            });
            assert_eq!(bed.ask(|volume, replier| volume.sync(file, false, replier)), Ok(()));
            refused
        });
        assert_eq!(refused, Some(Refusal::NoSpace), "round {round}");
        assert_eq!(bed.ask(|volume, replier| volume.checkpoint(replier)), Ok(()), "a full volume still takes checkpoints");
        let space = bed.ask(|volume, replier| volume.space(replier)).unwrap();
        assert_eq!(space.total_bytes, LIMIT);
        assert!(space.free_bytes < 8 << 20, "{space:?}");
        let (mut images, paths) = (0, infmap_storage::images::Images::list(bed.device.as_ref()).unwrap());
        paths.iter().for_each(|path| images += bed.device.metadata(path).unwrap().unwrap().size_bytes);
        assert_eq!(bed.volume.shared().spares.image_bytes(), images);
        assert!((LIMIT - (8 << 20)..LIMIT + (8 << 20)).contains(&images), "{images} bytes of images");
        for name in files.drain(..) {
            assert_eq!(bed.ask(|volume, replier| volume.unlink(ROOT_INODE, name.into(), replier)), Ok(()));
        }
        // By themselves, soon.
        bed.runtime.advance(std::time::Duration::from_secs(30));
        let file = bed.create(&format!("again{round}"));
        bed.write(file, 0, &noise(9, 1 << 20));
        bed.runtime.stop();
        bed = Bed::open_with(bed.device.clone(), limited());
    }
}

#[test]
fn truncated_bytes_never_come_back() {
    let bed = Bed::open(new_device());
    let file = bed.create("file");
    bed.write(file, 0, &noise(4, 300_000));
    assert_eq!(bed.ask(|volume, replier| volume.checkpoint(replier)), Ok(()));
    let cut = |size| AttributeChange { size: Some(size), ..AttributeChange::default() };
    assert_eq!(bed.ask(|volume, replier| volume.change_attributes(file, cut(1000), replier)).unwrap().size, 1000);
    assert_eq!(bed.ask(|volume, replier| volume.change_attributes(file, cut(300_000), replier)).unwrap().size, 300_000);
    let seen = bed.read(file, 0, 300_000);
    assert!(seen[..1000] == noise(4, 300_000)[..1000] && seen[1000..].iter().all(|&b| b == 0));
    let bed = bed.reopen(true);
    assert!(bed.read(file, 1000, 299_000).iter().all(|&b| b == 0));
}

#[test]
fn time_passes_and_data_becomes_durable_by_itself() {
    let bed = Bed::open(new_device());
    let file = bed.create("file");
    bed.write(file, 0, b"not synced by anybody");
    bed.runtime.advance(std::time::Duration::from_secs(11));
    assert!(bed.runtime.clock().now_us() > 0);
    let bed = bed.reopen(false);
    assert_eq!(bed.read(file, 0, 100), b"not synced by anybody");
}

/// A volume of two mounts, each with a file and a checkpoint.
fn twice_mounted() -> Arc<dyn Device> {
    let mut bed = Bed::open(new_device());
    for name in ["first", "second"] {
        let file = bed.create(name);
        bed.write(file, 0, &noise(7, 1 << 20));
        bed = bed.reopen(true);
    }
    bed.runtime.stop();
    bed.device.clone()
}

#[test]
fn a_lost_segment_of_the_log_never_makes_files_vanish_silently() {
    let count = twice_mounted().list("wal").unwrap().len();
    for (lost, overwritten) in (0..count).flat_map(|n| [(n, false), (n, true)]) {
        let device = twice_mounted();
        let path = format!("wal/{}", device.list("wal").unwrap()[lost].name);
        if overwritten {
            device.open(&path, infmap_storage::device::Open::WRITE).unwrap().write_at(&[0; 4096], 0).unwrap();
        } else {
            device.remove(&path).unwrap();
        }
        let bed = Bed::open(device);
        for name in ["first", "second"] {
            let found = bed.ask(|volume, replier| volume.lookup(ROOT_INODE, name.as_bytes(), replier));
            let inode = found.unwrap_or_else(|e| panic!("without {path}, {name}: {e:?}")).inode;
            assert!(bed.read(inode, 0, 1 << 20) == noise(7, 1 << 20));
        }
    }
}

#[test]
fn a_batch_is_done_whole_or_not_at_all() {
    let bed = Bed::open(new_device());
    let node = |name: &str| NewNode { parent: ROOT_INODE, name: name.into(), mode: 0o100_644, uid: 1, gid: 2, rdev: 0, umask: 0 };
    let make = |names: &[&str]| names.iter().map(|name| NameOp::Create(node(name))).collect::<Vec<_>>();
    assert_eq!(bed.ask(|volume, replier| volume.change_many(make(&["a", "b", "c"]), replier)).unwrap().len(), 3);
    let refused = bed.ask(|volume, replier| volume.change_many(make(&["d", "e", "a"]), replier));
    assert_eq!(refused.unwrap_err(), Refusal::Exists);
    let many: Vec<_> = (0..2000).map(|n| NameOp::Create(node(&format!("many{n}")))).collect();
    assert_eq!(bed.ask(|volume, replier| volume.change_many(many, replier)).unwrap_err(), Refusal::BatchTooBig);
    let bed = bed.reopen(true);
    let names = bed.ask(|volume, replier| volume.read_dir(ROOT_INODE, 2, 5000, false, replier)).unwrap();
    assert_eq!(names.iter().map(|entry| entry.name.as_slice()).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
}

#[test]
fn requests_beyond_the_capacity_of_a_mailbox_wait_in_order_and_are_all_answered() {
    const THREADS: usize = 8;
    const REQUESTS: usize = 125;
    let mut rejected = 0;
    for capacity in [1, 3, 16] {
        let mut settings = Settings::default();
        let actors = &mut settings.actors;
        (actors.vat_mailbox, actors.wal_mailbox, actors.cache.mailbox) = (capacity, capacity, capacity);
        (actors.pixel_reader.mailbox, actors.pixel_writer.mailbox) = (capacity, capacity);
        let volume = Volume::in_memory(settings).unwrap();
        let node = |name: String| NewNode { parent: ROOT_INODE, name: name.into(), mode: 0o100_644, uid: 1, gid: 2, rdev: 0, umask: 0 };
        let all = std::sync::Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (volume, all) = (&volume, &all);
                scope.spawn(move || {
                    all.wait();
                    let create = |n| volume.ask(|replier| volume.create(node(format!("{thread}-{n}")), replier));
                    let created: Vec<_> = (0..REQUESTS).map(create).collect();
                    let files: Vec<Inode> = created.into_iter().map(|reply| reply.wait_blocking().unwrap().inode).collect();
                    // Numbers are given in the order in which the Vat takes requests.
                    assert!(files.is_sorted(), "requests of a thread passed each other");
                    let last = files[REQUESTS - 1];
                    let write = |n: usize| volume.ask(|replier| volume.write(last, 0, &[n as u8; 100], WriteHow::default(), replier));
                    let written: Vec<_> = (0..REQUESTS).map(write).collect();
                    assert!(written.into_iter().all(|reply| reply.wait_blocking() == Ok(100)));
                    let read = volume.ask(|replier| volume.read(last, 0, 100, replier)).wait_blocking().unwrap();
                    assert_eq!(read.to_vec(), [REQUESTS as u8 - 1; 100], "writes of a thread passed each other");
                });
            }
        });
        rejected += volume.front.withheld();
        assert_eq!(volume.close(), Ok(()));
    }
    assert!(rejected > 0, "no mailbox was ever full");
}
