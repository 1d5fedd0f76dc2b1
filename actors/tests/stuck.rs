//! A disk that hangs is named: which actor is at it, in which message, since when, and that the rest of the volume still answers.
//!
//! The device of these tests hangs in one sync of the log, for as long as the simulated clock says: what the watchdog's own thread would
//! see meanwhile is looked at from inside of that sync.

use infmap_actors::Volume;
use infmap_actors::api::{NewNode, WriteHow};
use infmap_actors::runtime::Runtime;
use infmap_actors::runtime::step::{Order, StepRuntime};
use infmap_actors::settings::Settings;
use infmap_actors::volume::{OpenOptions, create};
use infmap_actors::watchdog::MESSAGE_DEADLINE;
use infmap_storage::device::{Device, DeviceFile, DirEntry, MemoryDevice, Metadata, Open, Space};
use infmap_storage::row::ROOT_INODE;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::time::Duration;

const UUID: [u8; 16] = *b"a disk that hang";

type Hang = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A device of which one sync of the log hangs: it does what it is told first.
struct Slow {
    inner: Arc<dyn Device>,
    hang: Hang,
}

struct SlowFile {
    inner: Arc<dyn DeviceFile>,
    hang: Option<Hang>,
}

impl DeviceFile for SlowFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let hang = self.hang.as_ref().and_then(|hang| hang.lock().take());
        hang.into_iter().for_each(|hang| hang());
        self.inner.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }
}

impl Device for Slow {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>> {
        let hang = path.starts_with("wal/").then(|| self.hang.clone());
        Ok(Arc::new(SlowFile { inner: self.inner.open(path, how)?, hang }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path)
    }

    fn metadata(&self, path: &str) -> io::Result<Option<Metadata>> {
        self.inner.metadata(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
}

#[test]
fn a_wal_whose_disk_hangs_is_named_until_it_goes_on_and_the_vitals_are_answered_meanwhile() {
    let inner: Arc<dyn Device> = Arc::new(MemoryDevice::new());
    ["map", "spare", "wal"].iter().for_each(|directory| inner.create_dir(directory).unwrap());
    create(&inner, UUID, 0, 0).unwrap();
    let step = StepRuntime::new(Order::Fifo);
    let runtime: Arc<dyn Runtime> = step.clone();
    let hang = Hang::default();
    let device = Arc::new(Slow { inner, hang: hang.clone() });
    let options = OpenOptions { uuid: UUID, settings: Settings::default(), read_only: false };
    let volume = Arc::new(Volume::open_on(&runtime, device, options).unwrap());
    step.run_idle();
    let node = NewNode { parent: ROOT_INODE, name: b"file".into(), mode: 0o100_644, uid: 1, gid: 2, rdev: 0, umask: 0 };
    let mut made = volume.ask(|replier| volume.create(node, replier));
    let file = step.run_until(&mut made).unwrap().unwrap().inode;
    let mut written = volume.ask(|replier| volume.write(file, 0, b"bytes", WriteHow::default(), replier));
    step.run_until(&mut written).unwrap().unwrap();

    let (clock, watched, seen) = (step.clone(), volume.clone(), Arc::new(Mutex::new(Vec::new())));
    let found = seen.clone();
    *hang.lock() = Some(Box::new(move || {
        clock.sim_clock().advance(MESSAGE_DEADLINE + Duration::from_secs(3));
        watched.watchdog().look();
        *found.lock() = watched.vitals().stuck;
    }));
    let mut synced = volume.ask(|replier| volume.sync(file, false, replier));
    assert_eq!(step.run_until(&mut synced), Some(Ok(())), "who waits for a disk that comes back is answered");
    let seen = seen.lock().iter().map(|stuck| format!("{}: {}", stuck.who, stuck.waits_for)).collect::<Vec<_>>();
    assert_eq!(seen, ["the actor wal 0, in `write`: the disk, which writes or syncs the log"]);
    volume.watchdog().look();
    assert_eq!(volume.vitals().stuck, []);
    assert!(volume.vitals().read_only.is_none());
    step.stop();
}
