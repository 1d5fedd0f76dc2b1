//! A device and a clock that panic on command, so that each actor can be made to.
//!
//! Owns: `Bomb`, and what carries it: `Mined` (a device), `MinedRuntime` (whose clock is mined). Must be true: it goes off once, in the
//! operation that it is set for, before that has any effect. Fails: by panicking, which is what it is for.

use infmap_actors::clock::Clock;
use infmap_actors::runtime::step::StepRuntime;
use infmap_actors::runtime::{Action, Runtime, RuntimeError};
use infmap_actors::slot::Runnable;
use infmap_storage::device::{Device, DeviceFile, DirEntry, Metadata, Open, Space};
use infmap_storage::region::read_identity;
use infmap_storage::row::RegionKind;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// What only one kind of actor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The Wal writes or syncs the log.
    Log,
    /// A pixel reader reads an image.
    Read,
    /// A pixel writer writes one.
    WriteData,
    /// The checkpointer writes one.
    WriteNodes,
    /// The checkpointer takes one away.
    Recycle,
    /// The Keeper, if nobody else, asks for the room on the medium.
    Space,
    /// The Vat or a shard asks for the time.
    Time,
}

/// Goes off in the deed that it is set for, after so many.
#[derive(Clone, Default)]
pub struct Bomb(Arc<Mutex<Option<(Deed, u64)>>>);

impl Bomb {
    pub fn set(&self, deed: Deed, after: u64) {
        *self.0.lock() = Some((deed, after));
    }

    /// Whether it is still to go off.
    pub fn is_set(&self) -> bool {
        self.0.lock().is_some()
    }

    pub fn clear(&self) {
        *self.0.lock() = None;
    }

    fn tick(&self, deed: Deed) {
        let mut set = self.0.lock();
        match &mut *set {
            Some((wanted, 0)) if *wanted == deed => *set = None,
            Some((wanted, left)) if *wanted == deed => return *left -= 1,
            _ => return,
        }
        drop(set);
        panic!("on purpose: {deed:?}");
    }
}

/// A device with a bomb in it.
pub struct Mined {
    pub inner: Arc<dyn Device>,
    pub bomb: Bomb,
}

struct MinedFile {
    inner: Arc<dyn DeviceFile>,
    bomb: Bomb,
    path: String,
}

impl MinedFile {
    fn changes(&self) {
        if self.path.starts_with("wal/") {
            self.bomb.tick(Deed::Log);
        }
    }
}

impl DeviceFile for MinedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.path.starts_with("map/") {
            self.bomb.tick(Deed::Read);
        }
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.changes();
        if self.path.starts_with("spare/")
            && let Ok(identity) = read_identity(buf)
        {
            self.bomb.tick(if identity.kind == RegionKind::Data { Deed::WriteData } else { Deed::WriteNodes });
        }
        self.inner.write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.changes();
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

impl Device for Mined {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>> {
        let inner = self.inner.open(path, how)?;
        Ok(Arc::new(MinedFile { inner, bomb: self.bomb.clone(), path: path.into() }))
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
        if from.starts_with("map/") {
            self.bomb.tick(Deed::Recycle);
        }
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn space(&self) -> io::Result<Space> {
        self.bomb.tick(Deed::Space);
        self.inner.space()
    }
}

struct MinedClock {
    inner: Arc<dyn Clock>,
    bomb: Bomb,
}

impl Clock for MinedClock {
    fn now_us(&self) -> u64 {
        self.inner.now_us()
    }

    fn wall_ns(&self) -> i64 {
        self.bomb.tick(Deed::Time);
        self.inner.wall_ns()
    }
}

/// A deterministic runtime whose clock has a bomb in it.
pub struct MinedRuntime {
    inner: Arc<StepRuntime>,
    clock: Arc<dyn Clock>,
}

impl MinedRuntime {
    pub fn over(inner: &Arc<StepRuntime>, bomb: &Bomb) -> Arc<dyn Runtime> {
        let clock = Arc::new(MinedClock { inner: inner.clock().clone(), bomb: bomb.clone() });
        Arc::new(Self { inner: inner.clone(), clock })
    }
}

impl Runtime for MinedRuntime {
    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    fn wake(&self, slot: Arc<dyn Runnable>) {
        self.inner.wake(slot);
    }

    fn after(&self, delay: Duration, action: Action) {
        self.inner.after(delay, action);
    }

    fn adopt(&self, slot: &Arc<dyn Runnable>) -> Result<(), RuntimeError> {
        self.inner.adopt(slot)
    }

    fn slots(&self) -> Vec<Arc<dyn Runnable>> {
        self.inner.slots()
    }

    fn publish(&self) {
        self.inner.publish();
    }
}
