//! Settings that change under load: pools grow and shrink, mailboxes, lanes, caches and the budget too, and nobody can tell.
//!
//! The checker knows O1 and O2. O1: of writes and truncations of a file that were posted one behind the other, none waited for, what is read
//! afterwards is what they leave in that order, and in no other. O2: inodes are numbered in the order in which they were
//! asked for, and who saw the answer of a change of names sees the change. At the end all of it is still so when
//! the volume has been closed and opened again. Seen to fail, on both counts, with a lane that gave its last message first.

use infmap_actors::Volume;
use infmap_actors::api::{Answer, AttributeChange, Attributes, NewNode, Rename, RenameMode, WriteHow};
use infmap_actors::replier::{Reply, replies_dropped};
use infmap_actors::settings::Settings;
use infmap_actors::volume::{OpenOptions, create};
use infmap_storage::device::{Device, MemoryDevice};
use infmap_storage::row::{Inode, ROOT_INODE};
use infmap_storage::volume_file::create_directories;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const UUID: [u8; 16] = *b"a volume resized";
const BLOCK: usize = 4096;
/// Blocks of the file that a thread writes and reads.
const BLOCKS: usize = 48;
/// Requests that a thread posts before it waits.
const WAVE: u64 = 48;
const MIB: u64 = 1 << 20;

/// The settings of one moment: pools of 1, 8 and 2 threads, and everything else that can change, differently each time.
fn settings(turn: usize) -> Settings {
    let threads = [1, 8, 2][turn % 3];
    let mut settings = Settings::default();
    settings.memory.budget = [192, 512, 128, 320][turn % 4] * MIB;
    (settings.cache.l1_percent, settings.cache.l2_percent) = [(30, 20), (5, 0), (60, 20)][turn % 3];
    let actors = &mut settings.actors;
    for pool in [&mut actors.cache, &mut actors.pixel_writer, &mut actors.pixel_reader] {
        (pool.threads, pool.mailbox) = (threads, [16, 1024, 64][turn % 3]);
    }
    (actors.vat_mailbox, actors.wal_mailbox) = ([16, 4096][turn % 2], [16, 4096][turn % 2]);
    actors.lanes.data.passes = [1, 16, 1024][turn % 3];
    actors.lanes.background.deadline_ms = [1, 1000][turn % 2];
    settings.durability.commit_interval = Duration::from_millis([100, 300_000, 700][turn % 3]);
    settings.durability.checkpoint_at = [64, 256][turn % 2] * MIB;
    settings
}

/// What was done, by all threads.
#[derive(Default)]
struct Tally {
    writes: AtomicU64,
    names: AtomicU64,
    /// Waves of names whose order was looked at.
    ordered: AtomicU64,
    reads: AtomicU64,
}

fn node(parent: Inode, name: &str) -> NewNode {
    NewNode { parent, name: name.into(), mode: 0o100_644, uid: 1, gid: 2, rdev: 0, umask: 0 }
}

fn rename(from: &str, to: &str) -> Rename {
    let (from, to) = (from.as_bytes().to_vec(), to.as_bytes().to_vec());
    Rename { parent: ROOT_INODE, name: from, new_parent: ROOT_INODE, new_name: to, mode: RenameMode::Replace }
}

fn block(thread: u64, number: u64) -> Vec<u8> {
    let mut bytes = vec![thread as u8; BLOCK];
    bytes.chunks_exact_mut(64).enumerate().for_each(|(at, piece)| piece[..8].copy_from_slice(&(number * 64 + at as u64).to_le_bytes()));
    bytes
}

/// Writes one file again and again, in waves whose requests do not wait for each other.
struct Author<'a> {
    volume: &'a Volume,
    thread: u64,
    inode: Inode,
    next: u64,
    /// What the file holds: the number that each block was last written with.
    model: Vec<Option<u64>>,
}

impl<'a> Author<'a> {
    fn new(volume: &'a Volume, thread: u64) -> Self {
        let made = volume.ask(|replier| volume.create(node(ROOT_INODE, &format!("file-{thread}")), replier));
        let inode = made.wait_blocking().expect("a file").inode;
        Self { volume, thread, inode, next: 1, model: Vec::new() }
    }

    fn wave(&mut self, tally: &Tally) {
        let (mut posted, mut cuts) = (Vec::new(), Vec::new());
        for _ in 0..WAVE {
            let number = self.next;
            self.next += 1;
            if number.is_multiple_of(31) {
                cuts.push(self.cut(number as usize % BLOCKS));
                continue;
            }
            // Each block is written many times in a wave, so that an order that was lost shows.
            let at = (number as usize * 7) % BLOCKS.min(5 + number as usize % BLOCKS);
            let (volume, inode, bytes) = (self.volume, self.inode, block(self.thread, number));
            posted.push(volume.ask(|replier| volume.write(inode, (at * BLOCK) as u64, &bytes, WriteHow::default(), replier)));
            self.model.resize(self.model.len().max(at + 1), None);
            self.model[at] = Some(number);
        }
        tally.writes.fetch_add(posted.len() as u64, Ordering::Relaxed);
        assert!(cuts.into_iter().all(|reply| reply.wait_blocking().is_ok()));
        assert!(posted.into_iter().all(|reply| reply.wait_blocking() == Ok(BLOCK as u32)));
        self.check(tally);
        if self.next.is_multiple_of(5) {
            let synced = self.volume.ask(|replier| self.volume.sync(self.inode, false, replier));
            assert_eq!(synced.wait_blocking(), Ok(()));
        }
    }

    fn cut(&mut self, blocks: usize) -> Reply<Answer<Attributes>> {
        let change = AttributeChange { size: Some((blocks * BLOCK) as u64), ..AttributeChange::default() };
        self.model.resize(blocks, None);
        // Not waited for yet: what follows must find it done.
        self.volume.ask(|replier| self.volume.change_attributes(self.inode, change, replier))
    }

    /// What is read is what was written last.
    fn check(&self, tally: &Tally) {
        let size = (self.model.len() * BLOCK) as u64;
        let attributes = self.volume.ask(|replier| self.volume.attributes(self.inode, replier)).wait_blocking().expect("attributes");
        assert_eq!(attributes.size, size, "O1: the size of file {} is not what its last change left", self.thread);
        for (at, number) in self.model.iter().enumerate() {
            let read = self.volume.ask(|replier| self.volume.read(self.inode, (at * BLOCK) as u64, BLOCK as u32, replier));
            let read = read.wait_blocking().expect("a read").to_vec();
            let expected = number.map_or_else(|| vec![0; BLOCK], |number| block(self.thread, number));
            let found = u64::from_le_bytes(read[..8].try_into().expect("eight bytes")) / 64;
            assert!(read == expected, "O1: block {at} of file {} holds write {found} and not {number:?}", self.thread);
            tally.reads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Makes names in waves, changes them, and takes most of them away again. A wave waits for the one that it needs.
fn names(volume: &Volume, thread: u64, turn: u64, tally: &Tally) {
    let name = |stage: &str, number: u64| format!("{stage}-{thread}-{turn}-{number}");
    let all = 0..WAVE / 4;
    // While the log is full, what makes the tables grow waits before it is posted, and may be passed there.
    let mut was_full = false;
    let mut create = |n| {
        was_full |= volume.shared().budget.is_log_full();
        let made = volume.ask(|replier| volume.create(node(ROOT_INODE, &name("a", n)), replier));
        was_full |= volume.shared().budget.is_log_full();
        made
    };
    let made: Vec<_> = all.clone().map(&mut create).collect();
    let inodes: Vec<Inode> = made.into_iter().map(|reply| reply.wait_blocking().expect("made").inode).collect();
    tally.ordered.fetch_add(u64::from(!was_full), Ordering::Relaxed);
    assert!(was_full || inodes.is_sorted(), "O2: names were made in another order than they were asked for");
    let done = |replies: Vec<Reply<Answer<()>>>| {
        tally.names.fetch_add(replies.len() as u64, Ordering::Relaxed);
        assert!(replies.into_iter().all(|reply| reply.wait_blocking() == Ok(())), "O2: a name that was made is not there");
    };
    for (from, to) in [("a", "b"), ("b", "c")] {
        let rename = |n| volume.ask(|replier| volume.rename(rename(&name(from, n), &name(to, n)), replier));
        done(all.clone().map(rename).collect());
    }
    // One in four stays, to be found at the end.
    let gone = all.filter(|n| !n.is_multiple_of(4));
    done(gone.map(|n| volume.ask(|replier| volume.unlink(ROOT_INODE, name("c", n).into_bytes(), replier))).collect());
}

/// A load for so long, with another set of settings each `every`; then everything is looked at once more, in a volume opened anew.
fn run(length: Duration, every: Duration) -> String {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new());
    create_directories(device.as_ref()).expect("directories");
    create(&device, UUID, 0, 0).expect("a volume");
    let open = || Volume::open(device.clone(), OpenOptions { uuid: UUID, settings: settings(0), read_only: false }).expect("opened");
    let (volume, tally, ended) = (open(), Tally::default(), AtomicBool::new(false));
    let before = replies_dropped();
    let mut changes = 0;
    let mut longest = Duration::ZERO;
    let (models, kept) = std::thread::scope(|scope| {
        let authors: Vec<_> = (0..4)
            .map(|thread| {
                let (volume, tally, ended) = (&volume, &tally, &ended);
                scope.spawn(move || {
                    let mut author = Author::new(volume, thread);
                    while !ended.load(Ordering::Relaxed) {
                        author.wave(tally);
                    }
                    (author.inode, author.model)
                })
            })
            .collect();
        let namers: Vec<_> = (0..2)
            .map(|thread| {
                let (volume, tally, ended) = (&volume, &tally, &ended);
                scope.spawn(move || {
                    let mut turn = 0;
                    while !ended.load(Ordering::Relaxed) {
                        names(volume, thread, turn, tally);
                        turn += 1;
                    }
                    (thread, turn)
                })
            })
            .collect();
        let begun = Instant::now();
        let (nobody, wake) = (Mutex::new(()), Condvar::new());
        while begun.elapsed() < length && !authors.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            wake.wait_for(&mut nobody.lock(), every);
            changes += 1;
            let start = Instant::now();
            assert_eq!(volume.retune(&settings(changes)), [], "nothing is refused");
            longest = longest.max(start.elapsed());
        }
        ended.store(true, Ordering::Relaxed);
        let models: Vec<_> = authors.into_iter().map(|author| author.join().expect("an author")).collect();
        let kept: Vec<_> = namers.into_iter().map(|namer| namer.join().expect("a namer")).collect();
        (models, kept)
    });
    assert_eq!(volume.close(), Ok(()));
    drop(volume);
    let volume = open();
    for (thread, (inode, model)) in models.into_iter().enumerate() {
        Author { volume: &volume, thread: thread as u64, inode, next: 0, model }.check(&tally);
    }
    for (thread, turns) in kept {
        for (turn, number) in (0..turns).flat_map(|turn| (0..WAVE / 4).map(move |number| (turn, number))) {
            let found = volume.ask(|replier| volume.lookup(ROOT_INODE, format!("c-{thread}-{turn}-{number}").as_bytes(), replier));
            assert_eq!(found.wait_blocking().is_ok(), number.is_multiple_of(4), "O2: name c-{thread}-{turn}-{number}");
        }
    }
    assert_eq!(volume.close(), Ok(()));
    assert_eq!(replies_dropped(), before, "nobody was left without an answer");
    let [writes, names, reads] = [&tally.writes, &tally.names, &tally.reads].map(|count| count.load(Ordering::Relaxed));
    assert!(
        changes > 2 && writes > 100 && tally.ordered.load(Ordering::Relaxed) > 10,
        "{changes} changes, {writes} writes, {names} changes of names"
    );
    format!(
        "{changes} changes of the settings, the longest took {longest:?}; {writes} writes, {names} changes of names, {reads} reads: all in order, none lost"
    )
}

#[test]
fn o1_and_o2_hold_while_pools_mailboxes_lanes_and_memory_are_resized() {
    println!("{}", run(Duration::from_secs(3), Duration::from_millis(50)));
}

#[test]
#[ignore = "a minute; `make resize`"]
fn o1_and_o2_hold_for_a_minute_of_a_resize_each_second() {
    println!("{}", run(Duration::from_secs(60), Duration::from_secs(1)));
}
