//! A dead actor leaves nobody hanging: whoever waits for it, in whatever way, is answered, and so is whoever comes later.
//!
//! Each actor is made to panic at a point that a seed gives, amid requests of every kind. Must be true of each run: every request is
//! answered, the volume is read-only and says that an actor has failed, no change is accepted later, and closing ends. What tells the
//! others of a death, and each thing that the Vat and the shards do then, was taken out once, and missed here. A pixel reader owns nothing
//! and goes on instead: there the volume stays as it was.

#[path = "deaths/bomb.rs"]
mod bomb;

use bomb::{Bomb, Deed, Mined, MinedRuntime};
use infmap_actors::Volume;
use infmap_actors::api::{Answer, AttributeChange, NewNode, Refusal, Rename, RenameMode, WriteHow};
use infmap_actors::replier::{Replier, Reply};
use infmap_actors::runtime::step::{Order, StepRuntime};
use infmap_actors::settings::{BUDGET_RANGE, Settings};
use infmap_actors::volume::{OpenOptions, create};
use infmap_storage::device::{Device, MemoryDevice};
use infmap_storage::row::{Inode, ROOT_INODE};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const UUID: [u8; 16] = *b"deaths in a test";
/// Blocks of the files that are there before: every other one, as many extents.
const SCATTERED: u64 = 300;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}

/// A request that was made: what it was, and how to ask whether it is answered; then whether it was refused.
struct Asked(String, Box<dyn FnMut() -> Option<bool>>);

fn asked<T: Send + 'static>(what: String, question: impl FnOnce(Replier<Answer<T>>)) -> Asked {
    let (replier, mut reply): (_, Reply<Answer<T>>) = Replier::future();
    question(replier);
    Asked(what, Box::new(move || reply.try_take().map(|answer| answer.is_err())))
}

fn node(name: String) -> NewNode {
    NewNode { parent: ROOT_INODE, name: name.into(), mode: 0o100_644, uid: 1, gid: 2, rdev: 0, umask: 0 }
}

/// Kinds of requests; those below the second number are changes or promises, which a dead volume must refuse.
const KINDS: u64 = 16;
const CHANGES: u64 = 12;

fn request(volume: &Volume, files: &[Inode], kind: u64, random: &mut Random) -> Asked {
    let file = files[random.below(files.len() as u64) as usize];
    let (at, number) = (random.below(SCATTERED * 8192), random.below(8));
    let what = format!("request {kind} of file {} at {at}, {number}", file.0);
    let write = |at: u64, length: usize| {
        let bytes = vec![7; length];
        asked(what.clone(), |replier| volume.write(file, at, &bytes, WriteHow::default(), replier))
    };
    let cut = |size| {
        let change = AttributeChange { size: Some(size), ..AttributeChange::default() };
        asked(what.clone(), |replier| volume.change_attributes(file, change, replier))
    };
    match kind {
        // Parts of blocks that are not here, whole blocks, and more than there is room for.
        0 => write(at, 100),
        1 => write(at / 4096 * 4096, 8192),
        2 => write(at, 120_000),
        3 => cut(at),
        4 => cut(number),
        5 | 6 => asked(what, |replier| volume.sync(file, false, replier)),
        7 => asked(what, |replier| volume.sync_all(replier)),
        8 => asked(what, |replier| volume.checkpoint(replier)),
        9 => asked(what, |replier| volume.create(node(format!("new{at}")), replier)),
        10 | 11 => {
            let (name, new_name) = (format!("file{number}").into(), format!("file{}", at % 8).into());
            let mode = RenameMode::Replace;
            let rename = Rename { parent: ROOT_INODE, name, new_parent: ROOT_INODE, new_name, mode };
            asked(what, |replier| volume.rename(rename, replier))
        }
        12 | 13 => asked(what, |replier| volume.read(file, at, 50_000, replier)),
        14 => asked(what, |replier| volume.attributes(file, replier)),
        _ => asked(what, |replier| volume.read_dir(ROOT_INODE, number, 100, true, replier)),
    }
}

struct Bed {
    runtime: Arc<StepRuntime>,
    volume: Volume,
    bomb: Bomb,
    files: Vec<Inode>,
}

/// Every other one has room for more than is logged at once, so that syncs go through the pixel writers.
fn settings(seed: u64) -> Settings {
    let mut settings = Settings::default();
    settings.memory.budget = *BUDGET_RANGE.start();
    settings.memory.budget = settings.memory_plan().fixed() + if seed.is_multiple_of(2) { 830 << 10 } else { 42 << 20 };
    settings.durability.checkpoint_at = 256 << 10;
    settings
}

fn new_device() -> Arc<dyn Device> {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new());
    ["map", "spare", "wal"].iter().for_each(|directory| device.create_dir(directory).unwrap());
    create(&device, UUID, 0, 0).unwrap();
    device
}

impl Bed {
    fn on(inner: Arc<dyn Device>, seed: u64, files: Vec<Inode>) -> Self {
        let bomb = Bomb::default();
        let runtime = StepRuntime::new(Order::Seeded(seed));
        let mined = MinedRuntime::over(&runtime, &bomb);
        let device = Arc::new(Mined { inner, bomb: bomb.clone() });
        let volume = Volume::open_on(&mined, device, OpenOptions { uuid: UUID, settings: settings(seed), read_only: false }).unwrap();
        Self { runtime, volume, bomb, files }
    }

    /// A volume with eight files of many extents, nothing of which is in memory.
    fn with_files(seed: u64) -> Self {
        let device = new_device();
        let bed = Self::on(device.clone(), seed, Vec::new());
        let files = (0..8).map(|number| {
            let node = node(format!("file{number}"));
            bed.done(bed.volume.ask(|replier| bed.volume.create(node, replier))).inode
        });
        let files: Vec<Inode> = files.collect();
        for (n, file) in (0..SCATTERED).flat_map(|n| files.iter().map(move |file| (n, *file))) {
            bed.done(bed.volume.ask(|replier| bed.volume.write(file, n * 8192, &[1; 4096], WriteHow::default(), replier)));
        }
        bed.done(bed.volume.ask(|replier| bed.volume.checkpoint(replier)));
        bed.runtime.stop();
        drop(bed);
        Self::on(device, seed, files)
    }

    fn done<T>(&self, mut reply: Reply<Answer<T>>) -> T {
        self.runtime.run_until(&mut reply).expect("an answer").unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// Time for everything that is not hopeless, and for nothing that waits for a clock of seconds.
    fn rest(&self) {
        self.runtime.advance(Duration::from_millis(100));
    }

    /// How often a reader went on after a panic.
    fn restarts(&self) -> u64 {
        self.volume.vitals().pools.iter().map(|pool| pool.restarted).sum()
    }

    fn assert_answered(&self, requests: Vec<Asked>, context: &str) -> Vec<(String, bool)> {
        self.rest();
        let answer = |Asked(what, mut is_refused)| {
            let refused = is_refused().unwrap_or_else(|| panic!("{context}: {what} is never answered"));
            (what, refused)
        };
        requests.into_iter().map(answer).collect()
    }
}

/// One life that ends in a death. The reason that the volume gives, if somebody died.
fn life(bed: Bed, deed: Deed, seed: u64) -> Option<String> {
    let mut random = Random(seed);
    let context = format!("{deed:?}, seed {seed}");
    bed.bomb.set(deed, random.below(12));
    let mut requests = Vec::new();
    let large = bed.files[0];
    for n in 0..24 {
        let write = |replier| bed.volume.write(large, n << 17, &[5; 1 << 17], WriteHow::default(), replier);
        requests.push(asked(format!("large write {n}"), write));
    }
    requests.push(asked("large sync".into(), |replier| bed.volume.sync(large, false, replier)));
    for _ in 0..120 {
        let kind = random.below(KINDS);
        requests.push(request(&bed.volume, &bed.files, kind, &mut random));
        for _ in 0..random.below(12) {
            bed.runtime.step();
        }
        if random.below(40) == 0 {
            bed.runtime.advance(Duration::from_secs(5));
        }
        if !bed.bomb.is_set() && random.below(8) == 0 {
            break;
        }
    }
    bed.rest();
    let reason = bed.volume.shared().health.reason();
    if bed.bomb.is_set() {
        bed.bomb.clear();
        bed.runtime.stop();
        return None;
    }
    assert!(reason.as_ref().is_some_and(|reason| reason.contains("actor")), "{context}: {reason:?}");
    bed.assert_answered(requests, &context);
    let later = (0..KINDS).flat_map(|kind| [kind; 4]).map(|kind| (kind, request(&bed.volume, &bed.files, kind, &mut random)));
    let (kinds, later): (Vec<_>, Vec<_>) = later.unzip();
    for (kind, (what, refused)) in kinds.into_iter().zip(bed.assert_answered(later, &context)) {
        assert!(refused || kind >= CHANGES, "{context}: {what} is accepted although an actor is dead");
    }
    bed.runtime.stop();
    reason
}

/// What each seed gives for a deed; the reasons, with how often each was given.
fn lives(deed: Deed) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for seed in 0..60 {
        if let Some(reason) = life(Bed::with_files(seed), deed, seed) {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    reasons
}

fn assert_died(deed: Deed, who: &[&str]) {
    let reasons = lives(deed);
    for who in who {
        let times: usize = reasons.iter().filter(|(reason, _)| reason.contains(who)).map(|(_, times)| times).sum();
        assert!(times > 5, "{deed:?}: {who} died {times} times: {reasons:?}");
    }
}

#[test]
fn a_dead_wal_leaves_nobody_hanging() {
    assert_died(Deed::Log, &["writes the log"]);
}

/// A reader owns nothing: what it was asked for fails, nothing else does, and the volume takes changes as before.
#[test]
fn a_reader_that_panics_goes_on_and_nobody_hangs() {
    let mut survived = 0;
    for seed in 0..60 {
        let bed = Bed::with_files(seed);
        let (mut random, context) = (Random(seed), format!("seed {seed}"));
        bed.bomb.set(Deed::Read, random.below(12));
        let requests = (0..150).map(|_| {
            let kind = random.below(KINDS);
            let request = request(&bed.volume, &bed.files, kind, &mut random);
            for _ in 0..random.below(12) {
                bed.runtime.step();
            }
            request
        });
        bed.assert_answered(requests.collect(), &context);
        if bed.restarts() == 0 {
            // Somebody else read it, or nobody did.
            bed.bomb.clear();
            bed.runtime.stop();
            continue;
        }
        assert_eq!(bed.restarts(), 1, "{context}");
        if let Some(reason) = bed.volume.shared().health.reason() {
            // It was at a node that the Vat needed for what had been answered.
            assert!(reason.contains("tables"), "{context}: {reason}");
            bed.runtime.stop();
            continue;
        }
        survived += 1;
        let file = bed.done(bed.volume.ask(|replier| bed.volume.create(node("later".into()), replier))).inode;
        bed.done(bed.volume.ask(|replier| bed.volume.write(file, 0, &[9; 9000], WriteHow::default(), replier)));
        bed.done(bed.volume.ask(|replier| bed.volume.checkpoint(replier)));
        assert_eq!(&*bed.done(bed.volume.ask(|replier| bed.volume.read(file, 0, 9000, replier))), [9; 9000], "{context}");
        bed.runtime.stop();
    }
    assert!(survived > 20, "{survived}");
}

#[test]
fn a_reader_that_panics_too_often_in_a_minute_is_dead_and_the_volume_read_only() {
    let read = |bed: &Bed| {
        bed.bomb.set(Deed::Read, 0);
        let mut reply = bed.volume.ask(|replier| bed.volume.read(bed.files[0], 0, 4096, replier));
        let refused = bed.runtime.run_until(&mut reply).expect("answered").map(|_| ()).expect_err("it panicked");
        assert!(!bed.bomb.is_set() || bed.volume.shared().health.is_read_only(), "nobody read");
        refused
    };
    let bed = Bed::with_files(1);
    for _ in 0..10 {
        assert_eq!(read(&bed), Refusal::Gone);
        bed.runtime.advance(Duration::from_secs(20));
    }
    assert_eq!((bed.restarts(), bed.volume.shared().health.reason()), (10, None), "three in a minute are no reason");
    bed.runtime.advance(Duration::from_secs(60));
    for panics in 1..=5 {
        assert!(!bed.volume.shared().health.is_read_only(), "after {} panics", panics - 1);
        read(&bed);
    }
    let reason = bed.volume.shared().health.reason();
    assert!(reason.as_ref().is_some_and(|reason| reason.contains("reads images")), "{reason:?}");
    assert_eq!(read(&bed), Refusal::Gone, "its slot answers with errors from now on");
    bed.runtime.stop();
}

#[test]
fn a_dead_pixel_writer_leaves_nobody_hanging() {
    assert_died(Deed::WriteData, &["writes images"]);
}

#[test]
fn a_dead_checkpointer_leaves_nobody_hanging() {
    assert_died(Deed::WriteNodes, &["writes roots"]);
    lives(Deed::Recycle);
}

#[test]
fn a_dead_vat_or_shard_leaves_nobody_hanging() {
    assert_died(Deed::Time, &["owns the tables", "owns bytes of files"]);
}

#[test]
fn a_dead_keeper_leaves_nobody_hanging() {
    lives(Deed::Space);
    let bed = Bed::with_files(1);
    bed.rest();
    bed.bomb.set(Deed::Space, 0);
    bed.runtime.advance(Duration::from_secs(6));
    let reason = bed.volume.shared().health.reason();
    assert!(reason.is_some_and(|reason| reason.contains("by the clock")), "only the Keeper asks when nobody writes");
    bed.runtime.stop();
}

/// The same with threads: closing ends, whoever is dead.
#[test]
fn closing_ends_although_an_actor_is_dead() {
    for (deed, after) in [Deed::Log, Deed::WriteData, Deed::WriteNodes, Deed::Space].into_iter().flat_map(|deed| [(deed, 0), (deed, 3)]) {
        let bomb = Bomb::default();
        let device = Arc::new(Mined { inner: new_device(), bomb: bomb.clone() });
        let mut settings = settings(after);
        settings.durability.commit_interval = Duration::from_millis(5);
        let volume = Arc::new(Volume::open(device, OpenOptions { uuid: UUID, settings, read_only: false }).unwrap());
        let file = volume.ask(|replier| volume.create(node("file".into()), replier)).wait_blocking().unwrap().inode;
        bomb.set(deed, after);
        let mut random = Random(after);
        let mut requests = Vec::new();
        while bomb.is_set() {
            requests.push(volume.ask(|replier| volume.write(file, random.below(1 << 22), &[3; 50_000], WriteHow::default(), replier)));
            let checkpoint = volume.ask(|replier: Replier<Answer<()>>| volume.checkpoint(replier));
            if requests.len() % 4 == 0 {
                let _ = checkpoint.wait_blocking();
            }
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let closing = volume.clone();
        std::thread::spawn(move || sender.send(closing.close()));
        let closed = receiver.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{deed:?} {after}: close does not end"));
        assert!(matches!(closed, Err(Refusal::ReadOnly | Refusal::Damaged | Refusal::Gone)), "{deed:?} {after}: {closed:?}");
        for request in requests {
            let _ = request.wait_blocking();
        }
    }
}
