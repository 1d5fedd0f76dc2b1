//! A volume on a watched, simulated disk, with its actors on one thread.
//!
//! Owns: `Bed`. Must be true: everything follows from the seed. Fails: by panicking when an answer does not come.

use crate::watch::{Ledger, Watched};
use infmap_actors::Volume;
use infmap_actors::api::{Answer, AttributeChange, Attributes, NewNode, WriteHow};
use infmap_actors::replier::{Replier, Reply, Unanswered};
use infmap_actors::runtime::Runtime;
use infmap_actors::runtime::step::{self, StepRuntime};
use infmap_actors::settings::{BUDGET_RANGE, Settings, Sync};
use infmap_actors::volume::{OpenOptions, create};
use infmap_storage::device::{CrashStyle, Device, MemoryDevice, SimulatedDisk};
use infmap_storage::row::{Inode, ROOT_INODE};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub const UUID: [u8; 16] = *b"an oath in tests";
/// Bytes of memory beyond what is fixed that leave a third of a MiB and 5 MiB for dirty blocks.
pub const TINY: u64 = 1850 << 10;
pub const SMALL: u64 = 26 << 20;

pub struct Bed {
    pub runtime: Arc<StepRuntime>,
    pub disk: SimulatedDisk,
    pub ledger: Arc<Mutex<Ledger>>,
    pub volume: Arc<Volume>,
    settings: Settings,
}

fn make(device: &Arc<dyn Device>) {
    for directory in ["map", "spare", "wal"] {
        device.create_dir(directory).unwrap();
    }
    device.sync_dir("").unwrap();
    create(device, UUID, 0, 0).unwrap();
}

pub fn settings(memory: u64) -> Settings {
    let mut settings = Settings::default();
    settings.memory.budget = *BUDGET_RANGE.start();
    settings.memory.budget = settings.memory_plan().fixed() + memory;
    settings.durability.checkpoint_at = 1 << 20;
    settings
}

pub fn new_disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    make(&(Arc::new(disk.clone()) as Arc<dyn Device>));
    disk
}

/// A new volume in memory, for real threads.
pub fn new_memory() -> Arc<dyn Device> {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new());
    make(&device);
    device
}

pub fn options(memory: u64) -> OpenOptions {
    OpenOptions { uuid: UUID, settings: settings(memory), read_only: false }
}

impl Bed {
    pub fn new(seed: u64, memory: u64) -> Self {
        Self::on(new_disk(seed), seed, memory)
    }

    /// One that makes no checkpoint by itself.
    pub fn with_a_long_log(seed: u64, memory: u64) -> Self {
        Self::with(new_disk(seed), seed, Settings { durability: Settings::default().durability, ..settings(memory) })
    }

    /// One where nobody waits for a sync.
    pub fn without_syncs(seed: u64, memory: u64) -> Self {
        let mut settings = settings(memory);
        settings.durability.sync = Sync::None;
        Self::with(new_disk(seed), seed, settings)
    }

    pub fn on(disk: SimulatedDisk, seed: u64, memory: u64) -> Self {
        Self::with(disk, seed, settings(memory))
    }

    fn with(disk: SimulatedDisk, seed: u64, settings: Settings) -> Self {
        let watched = Watched::new(Arc::new(disk.clone()));
        let ledger = watched.ledger.clone();
        let runtime = StepRuntime::new(step::Order::Seeded(seed));
        let as_runtime: Arc<dyn Runtime> = runtime.clone();
        let volume =
            Volume::open_on(&as_runtime, Arc::new(watched), OpenOptions { uuid: UUID, settings: settings.clone(), read_only: false });
        Self { runtime, disk, ledger, volume: Arc::new(volume.unwrap()), settings }
    }

    /// So many turns at most.
    pub fn step(&self, turns: usize) {
        for _ in 0..turns {
            self.runtime.step();
        }
    }

    pub fn wait<T>(&self, mut reply: Reply<T>) -> T {
        self.runtime.run_until(&mut reply).expect("an answer")
    }

    pub fn post<T: Unanswered + Send + 'static>(&self, question: impl FnOnce(&Volume, Replier<T>)) -> Reply<T> {
        self.volume.ask(|replier| question(&self.volume, replier))
    }

    pub fn ask<T: Unanswered + Send + 'static>(&self, question: impl FnOnce(&Volume, Replier<T>)) -> T {
        self.wait(self.post(question))
    }

    pub fn create(&self, name: &str) -> Inode {
        self.ask(|volume, replier| volume.create(node(name), replier)).unwrap().inode
    }

    pub fn post_write(&self, inode: Inode, offset: u64, data: &[u8]) -> Reply<Answer<u32>> {
        self.post(|volume, replier| volume.write(inode, offset, data, WriteHow::default(), replier))
    }

    /// Writes in pieces of at most 128 KiB, as the kernel does under small budgets.
    pub fn write(&self, inode: Inode, offset: u64, data: &[u8]) {
        for (n, piece) in data.chunks(128 << 10).enumerate() {
            assert_eq!(self.wait(self.post_write(inode, offset + ((n as u64) << 17), piece)), Ok(piece.len() as u32));
        }
    }

    pub fn change(&self, inode: Inode, change: AttributeChange) -> Answer<Attributes> {
        self.ask(|volume, replier| volume.change_attributes(inode, change, replier))
    }

    pub fn attributes(&self, inode: Inode) -> Attributes {
        self.ask(|volume, replier| volume.attributes(inode, replier)).unwrap()
    }

    pub fn read_all(&self, inode: Inode) -> Vec<u8> {
        let (size, mut bytes) = (self.attributes(inode).size, Vec::new());
        while (bytes.len() as u64) < size {
            let at = bytes.len() as u64;
            let data = self.ask(|volume, replier| volume.read(inode, at, 128 << 10, replier)).unwrap();
            assert!(!data.is_empty(), "a read inside the file gives nothing");
            bytes.extend_from_slice(&data);
        }
        bytes
    }

    pub fn sync(&self, inode: Inode) -> Answer<()> {
        self.ask(|volume, replier| volume.sync(inode, false, replier))
    }

    pub fn checkpoint(&self) -> Answer<()> {
        self.ask(|volume, replier| volume.checkpoint(replier))
    }

    pub fn lookup(&self, name: &str) -> Answer<Attributes> {
        self.ask(|volume, replier| volume.lookup(ROOT_INODE, name.as_bytes(), replier))
    }

    /// The volume as it is found if the power failed now. This one lives on.
    pub fn after_a_cut(&self) -> Self {
        Self::with(self.disk.snapshot().crash(CrashStyle::LoseAll), 1, self.settings.clone())
    }

    /// Nothing that was watched broke a rule, and enough was watched.
    pub fn assert_clean(&self) {
        let ledger = self.ledger.lock();
        assert!(ledger.broken.is_empty(), "{:#?}", ledger.broken);
        assert!(self.volume.shared().health.reason().is_none(), "{:?}", self.volume.shared().health.reason());
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.runtime.stop();
    }
}

pub fn node(name: &str) -> NewNode {
    NewNode { parent: ROOT_INODE, name: name.into(), mode: 0o100_644, uid: 1, gid: 2, rdev: 0, umask: 0 }
}

/// Bytes that do not compress, none of them zero.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(2).wrapping_add(1);
    let next = |_| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8 | 1
    };
    (0..length).map(next).collect()
}

/// Says that the others may end when it goes, also by a panic: a test that fails must not hang.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
