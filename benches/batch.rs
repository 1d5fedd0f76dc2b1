//! What batches of the library save: a thousand small files asked for one by one, each answer awaited before the next, and the same together:
//! `cargo bench --bench batch` (`make batch`).
//!
//! A volume in a directory of the disk, without a mount; what is cold is read past the kernel's page cache by a volume that was just opened.
//! Both ways take turns, and which begins changes from pair to pair, because machines are noisy; the figure is the ratio of the medians. Every
//! byte is compared, outside of the times. Wanted is half the time at most where the table says so. `cargo test` runs one small pair of each.

use infmap_actors::Volume;
use infmap_actors::api::{NewNode, WriteHow};
use infmap_actors::settings::Settings;
use infmap_actors::volume::{NewFile, OpenOptions, ReadPart, Which, create};
use infmap_storage::device::{Device, FileDevice};
use infmap_storage::row::{Inode, ROOT_INODE};
use infmap_storage::volume_file::create_directories;
use std::sync::Arc;
use std::time::{Duration, Instant};

const UUID: [u8; 16] = *b"a batch in bench";

/// How much is done.
#[derive(Clone, Copy)]
struct Scale {
    pairs: usize,
    files: usize,
    is_full: bool,
}

/// One way to do it; it takes its own time, and checks outside of it.
type Way = fn(&mut Bed) -> Duration;

/// Name, one by one, together, and whether half the time is wanted.
const MEASUREMENTS: [(&str, Way, Way, bool); 7] = [
    ("stat by name, just opened", stats_one_by_one, stats_together, false),
    ("stat by name, from memory", warm_stats_one_by_one, warm_stats_together, false),
    ("lookup and read, just opened", reads_one_by_one, reads_together, true),
    ("warm, just opened", warms_one_by_one, warms_together, true),
    ("lookup and read, from memory", warm_reads_one_by_one, warm_reads_together, false),
    ("create and write, and one sync", writes_one_by_one, writes_together, false),
    ("create, write and sync each", synced_one_by_one, writes_together, true),
];

struct Bed {
    directory: tempfile::TempDir,
    contents: Vec<Vec<u8>>,
    volume: Option<Volume>,
    /// Directories that were written.
    rounds: usize,
}

fn main() {
    let is_full = std::env::args().any(|argument| argument == "--bench");
    let scale = if is_full { Scale { pairs: 21, files: 1000, is_full } } else { Scale { pairs: 1, files: 60, is_full } };
    let mut bed = Bed::new(scale.files);
    println!("{} files of {} bytes each; medians of {} pairs", scale.files, bed.bytes() / scale.files, scale.pairs);
    let mut missed = Vec::new();
    for (name, single, together, is_wanted) in MEASUREMENTS {
        let (mut one, mut all) = (Vec::new(), Vec::new());
        for pair in 0..scale.pairs {
            let ways: [(Way, &mut Vec<Duration>); 2] = [(single, &mut one), (together, &mut all)];
            let mut ways = Vec::from(ways);
            if pair % 2 == 1 {
                ways.reverse();
            }
            ways.into_iter().for_each(|(way, times)| times.push(way(&mut bed)));
        }
        let (one, all) = (median(one), median(all));
        let ratio = one.as_secs_f64() / all.as_secs_f64();
        println!("{name:32} {:8.2} ms one by one, {:7.2} ms together: {ratio:5.1} times", ms(one), ms(all));
        if is_wanted && ratio < 2.0 {
            missed.push(name);
        }
    }
    assert!(!scale.is_full || missed.is_empty(), "less than twice as fast: {missed:?}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A third has a content that stands in the tables, a third shrinks, a third does not.
fn content(number: usize) -> Vec<u8> {
    let mut x = number as u64 + 1;
    let mut byte = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    };
    match number % 3 {
        0 => (0..900).map(|_| byte()).collect(),
        1 => format!("line {number} of a text that shrinks\n").repeat(200).into_bytes(),
        _ => (0..6000).map(|_| byte()).collect(),
    }
}

fn node(parent: Inode, number: usize) -> NewNode {
    NewNode { parent, name: format!("file{number}").into_bytes(), mode: 0o100_644, umask: 0, uid: 0, gid: 0, rdev: 0 }
}

fn directory_node(number: usize) -> NewNode {
    NewNode { name: format!("round{number}").into_bytes(), mode: 0o040_755, ..node(ROOT_INODE, number) }
}

impl Bed {
    /// A volume with the files, which are durable and placed.
    fn new(files: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let device: Arc<dyn Device> = Arc::new(FileDevice::new(directory.path()).expect("a device"));
        create_directories(device.as_ref()).expect("made");
        create(&device, UUID, 0, 0).expect("a volume");
        let mut bed = Self { directory, contents: (0..files).map(content).collect(), volume: None, rounds: 0 };
        bed.open();
        bed.write(ROOT_INODE);
        bed.open();
        bed
    }

    fn bytes(&self) -> usize {
        self.contents.iter().map(Vec::len).sum()
    }

    /// Opened anew, so that nothing is in its memory.
    fn open(&mut self) {
        if let Some(volume) = self.volume.take() {
            volume.close().expect("closed");
        }
        let device: Arc<dyn Device> = Arc::new(FileDevice::new(self.directory.path()).expect("a device"));
        let options = OpenOptions { uuid: UUID, settings: Settings::default(), read_only: false };
        let volume = Volume::open(device, options).expect("opened");
        volume.ask(|replier| volume.get_ready(replier)).wait_blocking().expect("ready");
        self.volume = Some(volume);
    }

    fn volume(&self) -> &Volume {
        self.volume.as_ref().expect("open")
    }

    fn which(&self) -> Vec<Which> {
        (0..self.contents.len()).map(|number| Which::Name { parent: ROOT_INODE, name: node(ROOT_INODE, number).name }).collect()
    }

    /// A directory for the next round of writing.
    fn next_directory(&mut self) -> Inode {
        self.rounds += 1;
        let (volume, node) = (self.volume(), directory_node(self.rounds));
        let made = volume.ask(|replier| volume.create(node, replier)).wait_blocking().expect("made").inode;
        volume.ask(|replier| volume.sync_all(replier)).wait_blocking().expect("durable");
        made
    }

    fn write(&self, parent: Inode) {
        let volume = self.volume();
        let file = |(number, content): (usize, &Vec<u8>)| NewFile { node: node(parent, number), content: content.clone(), replace: false };
        let mut files: Vec<NewFile> = self.contents.iter().enumerate().map(file).collect();
        while !files.is_empty() {
            let rest = files.split_off(files.len().min(500));
            volume.ask(|replier| volume.write_many(files, replier)).wait_blocking().expect("written");
            files = rest;
        }
        volume.ask(|replier| volume.sync(parent, false, replier)).wait_blocking().expect("durable");
    }

    /// Compares what was written in a directory, and removes it.
    fn check_and_remove(&self, parent: Inode) {
        let volume = self.volume();
        for (number, content) in self.contents.iter().enumerate() {
            let name = node(parent, number).name;
            let seen = volume.ask(|replier| volume.lookup(parent, &name, replier)).wait_blocking().expect("there");
            let bytes = volume.ask(|replier| volume.read(seen.inode, 0, u32::MAX, replier)).wait_blocking().expect("read");
            assert!(bytes.to_vec() == *content, "other bytes than were written");
            volume.ask(|replier| volume.unlink(parent, name, replier)).wait_blocking().expect("removed");
        }
        let name = directory_node(self.rounds).name;
        volume.ask(|replier| volume.rmdir(ROOT_INODE, name, replier)).wait_blocking().expect("removed");
        volume.ask(|replier| volume.sync_all(replier)).wait_blocking().expect("durable");
    }
}

fn stat_each(bed: &Bed) -> Duration {
    let (volume, which) = (bed.volume(), bed.which());
    let start = Instant::now();
    let ask = |which: &Which| match which {
        Which::Name { parent, name } => volume.ask(|replier| volume.lookup(*parent, name, replier)).wait_blocking(),
        Which::Inode(inode) => volume.ask(|replier| volume.attributes(*inode, replier)).wait_blocking(),
    };
    let seen: Vec<_> = which.iter().map(ask).collect();
    let took = start.elapsed();
    let sizes = seen.into_iter().map(|seen| seen.expect("there").size as usize);
    assert!(sizes.eq(bed.contents.iter().map(Vec::len)));
    took
}

fn stat_all(bed: &Bed) -> Duration {
    let (volume, which) = (bed.volume(), bed.which());
    let start = Instant::now();
    let seen = volume.ask(|replier| volume.stat_many(which, replier)).wait_blocking().expect("answered");
    let took = start.elapsed();
    let sizes = seen.into_iter().map(|seen| seen.expect("there").size as usize);
    assert!(sizes.eq(bed.contents.iter().map(Vec::len)));
    took
}

fn read_each(bed: &Bed) -> Duration {
    let (volume, which) = (bed.volume(), bed.which());
    let start = Instant::now();
    let ask = |which: &Which| {
        let Which::Name { parent, name } = which else { unreachable!() };
        let seen = volume.ask(|replier| volume.lookup(*parent, name, replier)).wait_blocking().expect("there");
        volume.ask(|replier| volume.read(seen.inode, 0, seen.size as u32, replier)).wait_blocking().expect("read").to_vec()
    };
    let read: Vec<Vec<u8>> = which.iter().map(ask).collect();
    let took = start.elapsed();
    assert!(read == bed.contents);
    took
}

fn read_all(bed: &Bed) -> Duration {
    let (volume, parts) = (bed.volume(), bed.which().into_iter().map(ReadPart::whole).collect());
    let start = Instant::now();
    let read = volume.ask(|replier| volume.read_many(parts, replier)).wait_blocking().expect("answered");
    let took = start.elapsed();
    assert!(read.into_iter().map(|read| read.expect("read")).eq(bed.contents.iter().cloned()));
    took
}

fn stats_one_by_one(bed: &mut Bed) -> Duration {
    bed.open();
    stat_each(bed)
}

fn stats_together(bed: &mut Bed) -> Duration {
    bed.open();
    stat_all(bed)
}

fn warm_stats_one_by_one(bed: &mut Bed) -> Duration {
    stat_each(bed).min(stat_each(bed))
}

fn warm_stats_together(bed: &mut Bed) -> Duration {
    stat_all(bed).min(stat_all(bed))
}

fn reads_one_by_one(bed: &mut Bed) -> Duration {
    bed.open();
    read_each(bed)
}

fn reads_together(bed: &mut Bed) -> Duration {
    bed.open();
    read_all(bed)
}

/// Warmed in so many calls; that all are in memory is asked of a last one.
fn warm(bed: &mut Bed, files_a_call: usize) -> Duration {
    bed.open();
    let (volume, which) = (bed.volume(), bed.which());
    let ask = |files: &[Which]| volume.ask(|replier| volume.warm(files.to_vec(), replier)).wait_blocking().expect("warmed");
    let start = Instant::now();
    for files in which.chunks(files_a_call) {
        ask(files);
    }
    let took = start.elapsed();
    let again = ask(&which);
    assert!(again.files == which.len() as u64 && again.bytes == 0, "{again:?}");
    took
}

fn warms_one_by_one(bed: &mut Bed) -> Duration {
    warm(bed, 1)
}

fn warms_together(bed: &mut Bed) -> Duration {
    let all = bed.contents.len();
    warm(bed, all)
}

fn warm_reads_one_by_one(bed: &mut Bed) -> Duration {
    read_each(bed).min(read_each(bed))
}

fn warm_reads_together(bed: &mut Bed) -> Duration {
    read_all(bed).min(read_all(bed))
}

fn create_and_write(bed: &Bed, parent: Inode, sync_each: bool) {
    let volume = bed.volume();
    for (number, content) in bed.contents.iter().enumerate() {
        let made = volume.ask(|replier| volume.create(node(parent, number), replier)).wait_blocking().expect("made").inode;
        let written = volume.ask(|replier| volume.write(made, 0, content, WriteHow::default(), replier)).wait_blocking();
        assert_eq!(written, Ok(content.len() as u32));
        if sync_each {
            volume.ask(|replier| volume.sync(made, false, replier)).wait_blocking().expect("durable");
        }
    }
}

fn writes_one_by_one(bed: &mut Bed) -> Duration {
    let parent = bed.next_directory();
    let start = Instant::now();
    create_and_write(bed, parent, false);
    let volume = bed.volume();
    volume.ask(|replier| volume.sync_all(replier)).wait_blocking().expect("durable");
    let took = start.elapsed();
    bed.check_and_remove(parent);
    took
}

fn synced_one_by_one(bed: &mut Bed) -> Duration {
    let parent = bed.next_directory();
    let start = Instant::now();
    create_and_write(bed, parent, true);
    let took = start.elapsed();
    bed.check_and_remove(parent);
    took
}

fn writes_together(bed: &mut Bed) -> Duration {
    let parent = bed.next_directory();
    let start = Instant::now();
    bed.write(parent);
    let took = start.elapsed();
    bed.check_and_remove(parent);
    took
}
