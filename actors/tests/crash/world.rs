//! A simulated disk, the actors on one thread, an open volume, and the model of what it promised.
//!
//! Owns: `World`. Must be true: everything follows from the seed; nothing is asked of the volume that the model does not know of.
//! Fails: by panicking with the seed, when the volume answers what it must not, hangs, or is found in a state that was not promised.

use crate::model::{BLOCK, Content, Entry, Found, Model, Names, Promise};
use crate::workload::{Op, Path, Random};
use infmap_actors::Volume;
use infmap_actors::api::{
    Answer, AttributeChange, ClearHow, ClearRange, Done, NameOp, NewNode, Refusal, Rename, RenameMode, SetHow, SetXattr, WriteHow,
};
use infmap_actors::replier::{Replier, Reply, Unanswered};
use infmap_actors::runtime::Runtime;
use infmap_actors::runtime::step::{Order as Turns, StepRuntime};
use infmap_actors::scanner::{Order, Plan};
use infmap_actors::settings::{BUDGET_RANGE, Settings, Sync};
use infmap_actors::volume::{OpenOptions, create};
use infmap_storage::check::{CheckOptions, Severity, check};
use infmap_storage::device::{Device, Open, SimulatedDisk};
use infmap_storage::images::Images;
use infmap_storage::region::layout::row_range;
use infmap_storage::repair::{Outcome, repair_images};
use infmap_storage::row::{FileKind, Inode, ROOT_INODE};
use std::sync::Arc;
use std::time::Duration;

const UUID: [u8; 16] = *b"crashes in tests";
/// Turns and ticks after which an answer is taken not to come.
const PATIENCE: (usize, usize) = (300_000, 60);

/// What the run goes by.
#[derive(Clone, Copy)]
pub struct Tuning {
    /// Bytes of memory beyond what is fixed.
    pub memory: u64,
    /// Bytes of log that start a checkpoint.
    pub checkpoint_at: u64,
    pub sync: Sync,
}

pub const SMALL: Tuning = Tuning { memory: 9800 << 10, checkpoint_at: 1 << 20, sync: Sync::Group };
/// Eight nodes in memory, a third of a MiB of dirty blocks.
pub const TINY: Tuning = Tuning { memory: 1850 << 10, checkpoint_at: 256 << 10, sync: Sync::Group };
/// Three nodes in memory, a checkpoint whenever fifteen pages are dirty.
pub const STARVED: Tuning = Tuning { memory: 830 << 10, checkpoint_at: 256 << 10, sync: Sync::Group };

pub struct World {
    pub disk: SimulatedDisk,
    runtime: Arc<StepRuntime>,
    volume: Option<Volume>,
    pub model: Model,
    pending: Vec<(Reply<Answer<()>>, Promise)>,
    pub random: Random,
    /// Operations are made to fail: errors are answers too.
    pub faulty: bool,
    /// A change was refused although the volume goes on: what it is now, only a look can tell.
    pub refused: std::cell::Cell<Option<Refusal>>,
    held: Vec<Inode>,
    /// An answered sync outlives a power cut.
    syncs: bool,
    /// So does everything that was answered.
    always: bool,
    /// Images that rounds of cleaning emptied.
    pub cleaned: u64,
    /// Images that scrubs have put back.
    pub corrected: u64,
    /// Every point at which the power might have failed, if they are kept.
    points: Vec<Point>,
}

/// A point at which the power may fail: what the disk has in its cache and on the medium, and what was promised by then.
pub struct Point {
    pub disk: SimulatedDisk,
    pub model: Arc<Model>,
}

/// A disk with a new volume.
pub fn new_disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    new_volume(Arc::new(disk.clone()));
    disk
}

/// Makes a volume on a device that is empty.
pub fn new_volume(device: Arc<dyn Device>) {
    for directory in ["map", "spare", "wal"] {
        device.create_dir(directory).unwrap();
    }
    device.sync_dir("").unwrap();
    create(&device, UUID, 0, 0).unwrap();
}

/// Opens the volume of a disk; an error only if the power failed meanwhile, or something was made to fail.
fn open(device: Arc<dyn Device>, seed: u64, tuning: Tuning) -> Result<(Arc<StepRuntime>, Volume), String> {
    let runtime = StepRuntime::new(Turns::Seeded(seed));
    let as_runtime: Arc<dyn Runtime> = runtime.clone();
    let mut settings = Settings::default();
    settings.memory.budget = *BUDGET_RANGE.start();
    settings.memory.budget = settings.memory_plan().fixed() + tuning.memory;
    settings.durability.checkpoint_at = tuning.checkpoint_at;
    settings.durability.sync = tuning.sync;
    let options = OpenOptions { uuid: UUID, settings, read_only: false };
    match Volume::open_on(&as_runtime, device, options) {
        Ok(volume) => Ok((runtime, volume)),
        Err(error) => {
            runtime.stop();
            Err(error.to_string())
        }
    }
}

impl World {
    pub fn new(seed: u64, tuning: Tuning) -> Self {
        Self::on(new_disk(seed), seed, tuning, Model::new()).expect("a new volume opens")
    }

    pub fn on(disk: SimulatedDisk, seed: u64, tuning: Tuning, model: Model) -> Result<Self, String> {
        Self::over(Arc::new(disk.clone()), disk, seed, tuning, model)
    }

    /// On a device that lies over that disk, or over one that has nothing to do with it and never loses power.
    pub fn over(device: Arc<dyn Device>, disk: SimulatedDisk, seed: u64, tuning: Tuning, model: Model) -> Result<Self, String> {
        let (runtime, volume) = open(device, seed, tuning)?;
        let random = Random(seed ^ 0x5eed);
        let (volume, syncs, always) = (Some(volume), tuning.sync != Sync::None, tuning.sync == Sync::Always);
        let (pending, held, points) = (Vec::new(), Vec::new(), Vec::new());
        let (faulty, refused, cleaned, corrected) = (false, Default::default(), 0, 0);
        Ok(Self { disk, runtime, volume, model, pending, random, faulty, refused, held, syncs, always, cleaned, corrected, points })
    }

    /// The model, to be changed. What the disk went through before, it went through with the model as it was.
    fn model_mut(&mut self) -> &mut Model {
        self.note_points();
        &mut self.model
    }

    fn note_points(&mut self) {
        let moments = self.disk.take_moments();
        if !moments.is_empty() {
            let model = Arc::new(self.model.clone());
            self.points.extend(moments.into_iter().map(|disk| Point { disk, model: model.clone() }));
        }
    }

    /// All points since the disk was told to keep its moments, and the present.
    pub fn take_points(&mut self) -> Vec<Point> {
        self.note_points();
        let mut points = std::mem::take(&mut self.points);
        points.push(Point { disk: self.disk.snapshot(), model: Arc::new(self.model.clone()) });
        points
    }

    /// A change was answered: under `always` that is a promise.
    fn answered<T>(&mut self, answer: &Answer<T>) {
        if self.always && answer.is_ok() && !self.disk.is_off() {
            let promise = self.model.promise(None, true);
            self.model_mut().promised(&promise);
        }
    }

    fn volume(&self) -> &Volume {
        self.volume.as_ref().unwrap()
    }

    /// Bytes of the disk that the volume holds for when there are none.
    pub fn held_bytes(&self) -> u64 {
        self.volume().shared().spares.held_bytes()
    }

    /// Why nothing can be changed any more, if so.
    pub fn read_only(&self) -> Option<String> {
        self.volume().shared().health.reason()
    }

    /// Whether the run is over: the power is off, or nothing can be changed any more.
    pub fn is_over(&self) -> bool {
        self.disk.is_off() || self.refused.get().is_some() || self.read_only().is_some()
    }

    fn wait<T>(&self, reply: &mut Reply<T>) -> Option<T> {
        let mut ticks = 0;
        for _ in 0..PATIENCE.0 {
            if let Some(value) = reply.try_take() {
                return Some(value);
            }
            if !self.runtime.step() {
                ticks += 1;
                if ticks > PATIENCE.1 {
                    break;
                }
                self.runtime.advance(Duration::from_secs(5));
            }
        }
        let budget = &self.volume().shared().budget;
        assert!(
            self.disk.is_off(),
            "an answer does not come: {} of {} bytes dirty, {} of space",
            budget.used(),
            budget.limit(),
            budget.space()
        );
        None
    }

    /// Asks, and waits for the answer. `Err(Gone)` when the power is off.
    pub fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Volume, Replier<Answer<T>>)) -> Answer<T>
    where
        Answer<T>: Unanswered,
    {
        let volume = self.volume();
        let mut reply = volume.ask(|replier| question(volume, replier));
        let answer = self.wait(&mut reply).unwrap_or(Err(Refusal::Gone));
        assert!(!matches!(answer, Err(Refusal::Gone)) || self.is_over(), "a reply was dropped");
        answer
    }

    /// Carries out an operation. False: the run is over.
    pub fn apply(&mut self, op: Op) -> bool {
        self.carry_out(op);
        self.collect_answers();
        if !self.disk.is_off() && !self.faulty {
            assert_eq!(self.read_only(), None, "the volume became read-only");
        }
        !self.is_over()
    }

    fn carry_out(&mut self, op: Op) {
        match op {
            Op::Create(path) => self.make(path, FileKind::Regular),
            Op::Mkdir(dir) => self.make((0, 10 + dir), FileKind::Directory),
            Op::Symlink(path) => self.make(path, FileKind::Symlink),
            Op::Write(path, offset, length, solid) => self.write(path, Some(offset), length, solid),
            Op::Append(path, length) => self.write(path, None, length, true),
            Op::Scatter(path, count) => (0..count).for_each(|n| self.write(path, Some(n * 8192), BLOCK, false)),
            Op::Truncate(path, size) => self.truncate(path, size),
            Op::Punch(path, offset, length) => self.clear(path, offset, length, ClearHow::Punch),
            Op::Zero(path, offset, length, keep_size) => self.clear(path, offset, length, ClearHow::Zero { keep_size }),
            Op::SetXattr(path, name, length) => self.set_xattr(path, name, Some(length)),
            Op::RemoveXattr(path, name) => self.set_xattr(path, name, None),
            Op::Batch(dir, first, count) => self.batch(dir, first, count),
            Op::Exchange(from, to) => self.exchange(from, to),
            Op::Rename(from, to) => self.rename(from, to),
            Op::Rmdir(dir) => self.remove((0, 10 + dir), false),
            Op::Unlink(path, held) => self.remove(path, held),
            Op::Forget => self.forget(),
            Op::Link(from, to) => self.link(from, to),
            Op::Save(path, length) => {
                self.make((path.0, 9), FileKind::Regular);
                self.write((path.0, 9), Some(0), length, true);
                self.rename((path.0, 9), path);
            }
            Op::Fsync(path, wait) => {
                if let Some(file) = self.regular(path) {
                    self.sync(self.model.promise(Some(file), self.syncs), wait, |volume, replier| volume.sync(file, false, replier));
                }
            }
            Op::SyncAll(wait) => self.sync(self.model.promise(None, self.syncs), wait, |volume, replier| volume.sync_all(replier)),
            Op::Checkpoint(wait) => self.checkpoint(wait),
            Op::Clean(wait) => self.clean(wait),
            Op::Read(path) => self.compare(path),
            Op::Rot(rows) => self.rot(rows),
            Op::Scrub => self.scrub(),
            Op::Seconds(seconds) => self.pass(seconds),
            Op::Turns(turns) => {
                for _ in 0..turns {
                    self.runtime.step();
                }
            }
            Op::Idle => self.runtime.run_idle(),
        }
    }

    fn directory(&self, dir: u8) -> Option<Inode> {
        if dir == 0 { Some(ROOT_INODE) } else { self.model.find(ROOT_INODE, &name(10 + dir)).map(|entry| entry.inode) }
    }

    fn find(&self, path: Path) -> Option<(Inode, Entry)> {
        let dir = self.directory(path.0)?;
        Some((dir, self.model.find(dir, &name(path.1))?))
    }

    fn regular(&self, path: Path) -> Option<Inode> {
        let (_, entry) = self.find(path).filter(|(_, entry)| entry.kind == FileKind::Regular)?;
        Some(entry.inode)
    }

    /// Nothing but the end of the run excuses an error. Where operations are made to fail, the first error ends it.
    fn excused<T>(&self, what: &str, answer: &Answer<T>) {
        if let Err(refusal) = answer {
            if self.faulty && matches!(refusal, Refusal::Damaged | Refusal::NoSpace | Refusal::ReadOnly) {
                self.refused.set(Some(*refusal));
            }
            assert!(self.is_over(), "{what}: {refusal}");
        }
    }

    fn make(&mut self, path: Path, kind: FileKind) {
        if self.is_over() {
            return;
        }
        let (Some(dir), None) = (self.directory(path.0), self.find(path)) else { return };
        let name = name(path.1);
        self.model_mut().change_names(|names| {
            names.entries.insert((dir, name.clone().into()), Entry { inode: Inode(0), kind });
        });
        let node = NewNode { parent: dir, name: name.clone().into(), mode: kind.mode_bits() | 0o644, uid: 1, gid: 2, rdev: 0, umask: 0 };
        let target = format!("{}-{}", name, "target/".repeat(self.random.below(100) as usize)).into_bytes();
        let answer = match kind {
            FileKind::Symlink => self.ask(|volume, replier| volume.symlink(node, target.clone(), replier)),
            _ => self.ask(|volume, replier| volume.create(node, replier)),
        };
        self.excused("create", &answer);
        self.take_back_if_refused(&answer);
        let Ok(made) = &answer else { return };
        self.model_mut().learn(dir, &name, made.inode);
        if kind == FileKind::Symlink {
            self.model_mut().targets.insert(made.inode, target);
        }
        self.answered(&answer);
    }

    fn write(&mut self, path: Path, offset: Option<u64>, length: usize, solid: bool) {
        if self.is_over() {
            return;
        }
        let Some(file) = self.regular(path) else { return };
        let offset = offset.unwrap_or_else(|| self.model.files[&file].newest().size);
        let before = self.model.files[&file].newest().size;
        let bytes = bytes(self.random.next(), length, solid);
        for (n, piece) in bytes.chunks(128 * 1024).enumerate() {
            let offset = offset + (n * 128 * 1024) as u64;
            self.model_mut().change_file(file, |content| content.write(offset, piece));
            let answer = self.ask(|volume, replier| volume.write(file, offset, piece, WriteHow::default(), replier));
            self.excused("write", &answer);
            self.answered(&answer);
            if answer == Err(Refusal::NoSpace) {
                self.model_mut().take_back(file);
            }
            if self.is_over() {
                return;
            }
        }
        // What lies between the old end and the new bytes is zero.
        let from = offset.min(before);
        self.compare_part(file, from, offset + length as u64 - from);
    }

    fn truncate(&mut self, path: Path, size: u64) {
        let Some(file) = self.regular(path).filter(|_| !self.is_over()) else { return };
        let before = self.model.files[&file].newest().size;
        self.model_mut().change_file(file, |content| content.truncate(size));
        let change = AttributeChange { size: Some(size), ..AttributeChange::default() };
        let answer = self.ask(|volume, replier| volume.change_attributes(file, change, replier));
        self.excused("truncate", &answer);
        self.answered(&answer);
        if let Ok(attributes) = answer {
            assert_eq!(attributes.size, size, "the answer of a truncate");
            self.compare_part(file, size.min(before).saturating_sub(5000), u64::MAX);
        }
    }

    fn rename(&mut self, from: Path, to: Path) {
        let (Some((dir, entry)), Some(new_dir)) = (self.find(from), self.directory(to.0)) else { return };
        let replaced = self.find(to).map(|(_, entry)| entry);
        let clash = replaced.is_some_and(|other| other.kind == FileKind::Directory || other.inode == entry.inode);
        if self.is_over() || clash {
            return;
        }
        let rename =
            Rename { parent: dir, name: name(from.1).into(), new_parent: new_dir, new_name: name(to.1).into(), mode: RenameMode::Replace };
        self.model_mut().change_names(|names| {
            if let Some(entry) = names.entries.remove(&(dir, name(from.1).into())) {
                names.entries.insert((new_dir, name(to.1).into()), entry);
            }
        });
        if replaced.is_some() && entry.kind == FileKind::Regular {
            self.model_mut().saved(entry.inode);
        }
        let answer = self.ask(|volume, replier| volume.rename(rename, replier));
        self.excused("rename", &answer);
        self.answered(&answer);
    }

    /// A change of names that found no room was not made.
    fn take_back_if_refused<T>(&mut self, answer: &Answer<T>) {
        if matches!(answer, Err(Refusal::NoSpace)) {
            self.model_mut().take_back_names();
        }
    }

    fn exchange(&mut self, from: Path, to: Path) {
        let (Some((dir, one)), Some((new_dir, other))) = (self.find(from), self.find(to)) else { return };
        if self.is_over() || one.inode == other.inode || one.kind != FileKind::Regular || other.kind != FileKind::Regular {
            return;
        }
        let (first, second) = (name(from.1).into_bytes(), name(to.1).into_bytes());
        let rename = Rename { parent: dir, name: first.clone(), new_parent: new_dir, new_name: second.clone(), mode: RenameMode::Exchange };
        self.model_mut().change_names(|names| {
            names.entries.insert((dir, first), other);
            names.entries.insert((new_dir, second), one);
        });
        let answer = self.ask(|volume, replier| volume.rename(rename, replier));
        self.excused("exchange", &answer);
        self.answered(&answer);
    }

    fn clear(&mut self, path: Path, offset: u64, length: u64, how: ClearHow) {
        let Some(file) = self.regular(path).filter(|_| !self.is_over()) else { return };
        let range = ClearRange { offset, length, how, clear_privileges: false };
        self.model_mut().clear_file(file, (offset, offset + length), range.extends());
        let answer = self.ask(|volume, replier| volume.clear(file, range, replier));
        self.excused("clear", &answer);
        self.answered(&answer);
        self.compare_part(file, offset.saturating_sub(5000), length + 10_000);
    }

    fn set_xattr(&mut self, path: Path, number: u8, length: Option<usize>) {
        let Some((_, entry)) = self.find(path).filter(|_| !self.is_over()) else { return };
        let (inode, name) = (entry.inode, format!("user.attribute{number}").into_bytes());
        let there = self.model.names().xattrs.contains_key(&(inode, name.clone()));
        if entry.kind == FileKind::Symlink || (length.is_none() && !there) {
            return;
        }
        let value = length.map(|length| bytes(self.random.next(), length, true));
        self.model_mut().change_names(|names| match value.clone() {
            Some(value) => drop(names.xattrs.insert((inode, name.clone()), value)),
            None => drop(names.xattrs.remove(&(inode, name.clone()))),
        });
        let answer = match value {
            Some(value) => self.ask(|volume, replier| volume.set_xattr(SetXattr { inode, name, value, how: SetHow::Any }, replier)),
            None => self.ask(|volume, replier| volume.remove_xattr(inode, name, replier)),
        };
        self.excused("set_xattr", &answer);
        self.take_back_if_refused(&answer);
        self.answered(&answer);
    }

    /// Of each of these names: makes the file if there is none, else removes it. All or nothing.
    fn batch(&mut self, dir: u8, first: u8, count: u8) {
        let Some(parent) = self.directory(dir).filter(|_| !self.is_over()) else { return };
        let (mut ops, mut made) = (Vec::new(), Vec::new());
        for number in first..first + count {
            match self.find((dir, number)) {
                Some((_, entry)) if entry.kind == FileKind::Directory => {}
                Some(_) => ops.push(NameOp::Unlink { parent, name: name(number).into() }),
                None => {
                    made.push(number);
                    let mode = FileKind::Regular.mode_bits() | 0o600;
                    ops.push(NameOp::Create(NewNode { parent, name: name(number).into(), mode, uid: 1, gid: 2, rdev: 0, umask: 0 }));
                }
            }
        }
        self.model_mut().change_names(|names| {
            for number in first..first + count {
                let key = (parent, name(number).into_bytes());
                if made.contains(&number) {
                    names.entries.insert(key, Entry { inode: Inode(0), kind: FileKind::Regular });
                } else if names.entries.get(&key).is_some_and(|entry| entry.kind != FileKind::Directory) {
                    names.entries.remove(&key);
                }
            }
        });
        let answer = self.ask(|volume, replier| volume.change_many(ops, replier));
        self.excused("batch", &answer);
        let inodes = answer.iter().flatten().filter_map(|done| match done {
            Done::Attributes(attributes) => Some(attributes.inode),
            Done::Removed(_) | Done::Made(_) => None,
        });
        let inodes: Vec<Inode> = inodes.collect();
        for (number, inode) in made.into_iter().zip(inodes) {
            self.model_mut().learn(parent, &name(number), inode);
        }
        self.answered(&answer);
    }

    fn link(&mut self, from: Path, to: Path) {
        let (Some(file), Some(dir), None) = (self.regular(from), self.directory(to.0), self.find(to)) else { return };
        if self.is_over() {
            return;
        }
        let entry = Entry { inode: file, kind: FileKind::Regular };
        self.model_mut().change_names(|names| {
            names.entries.insert((dir, name(to.1).into()), entry);
        });
        let answer = self.ask(|volume, replier| volume.link(file, dir, name(to.1).into(), replier));
        self.excused("link", &answer);
        self.take_back_if_refused(&answer);
        self.answered(&answer);
    }

    fn remove(&mut self, path: Path, held: bool) {
        let Some((dir, entry)) = self.find(path).filter(|_| !self.is_over()) else { return };
        let is_directory = entry.kind == FileKind::Directory;
        if is_directory && self.model.names().entries.keys().any(|(dir, _)| *dir == entry.inode) {
            return;
        }
        if held && !is_directory {
            self.volume().hold(entry.inode);
            self.held.push(entry.inode);
        }
        self.model_mut().change_names(|names| {
            names.entries.remove(&(dir, name(path.1).into()));
        });
        let name = name(path.1).into_bytes();
        let answer = if is_directory {
            self.ask(|volume, replier| volume.rmdir(dir, name, replier))
        } else {
            self.ask(|volume, replier| volume.unlink(dir, name, replier))
        };
        self.excused("remove", &answer);
        self.answered(&answer);
    }

    fn forget(&mut self) {
        for inode in std::mem::take(&mut self.held) {
            if self.model.files.contains_key(&inode) {
                let size = self.model.files[&inode].newest().size;
                self.compare_part(inode, size / 2, 9000);
            }
            self.volume().forget(inode, 1);
        }
    }

    /// A root is durable whatever the settings say: the order hangs on it.
    fn checkpoint(&mut self, wait: bool) {
        self.sync(self.model.promise(None, true), wait, |volume, replier| volume.checkpoint(replier));
    }

    fn rot(&mut self, rows: usize) {
        self.model_mut().rotten = true;
        for path in Images::list(&self.disk).unwrap_or_default() {
            let Ok(file) = self.disk.open(&path, Open::WRITE) else { return };
            for at in (0..rows).map(|row| row_range(row).start as u64 + 77) {
                let mut byte = [0];
                let _ = file.read_at(&mut byte, at).and_then(|_| file.write_at(&[byte[0] ^ 0x10], at));
            }
            let _ = file.sync();
        }
    }

    /// It ends by itself, whatever it finds.
    fn scrub(&mut self) {
        let shown = |world: &Self| world.volume().shared().scrub.shown();
        if self.ask_scrub(Order::Start(Plan::default())) {
            for _ in 0..PATIENCE.1 {
                self.pass(10);
                if self.is_over() || shown(self).run.is_none() {
                    self.corrected += shown(self).history.first().map_or(0, |run| run.tally.corrected);
                    return;
                }
            }
            panic!("a scrub does not end: {:?}", shown(self));
        }
    }

    fn ask_scrub(&self, order: Order) -> bool {
        let volume = self.volume();
        let mut reply = volume.ask(|replier| volume.scrub(order, replier));
        self.wait(&mut reply) == Some(Ok(()))
    }

    /// It promises nothing.
    fn clean(&mut self, wait: bool) {
        let volume = self.volume();
        let mut reply = volume.ask(|replier| volume.clean(replier));
        if !wait {
            return;
        }
        match self.wait(&mut reply) {
            Some(Ok(gained)) => self.cleaned += gained.images,
            answer => self.excused("clean", &answer.unwrap_or(Err(Refusal::Gone)).map(|_| ())),
        }
    }

    fn sync(&mut self, promise: Promise, wait: bool, question: impl FnOnce(&Volume, Replier<Answer<()>>)) {
        let volume = self.volume();
        let mut reply = volume.ask(|replier| question(volume, replier));
        if !wait {
            return self.pending.push((reply, promise));
        }
        match self.wait(&mut reply) {
            Some(Ok(())) => self.model_mut().promised(&promise),
            answer => self.excused("sync", &answer.unwrap_or(Err(Refusal::Gone))),
        }
    }

    /// Every byte and name that was taken is still there to be read, whatever failed; what was refused may be there or not.
    pub fn shows_what_it_took(&self) -> Result<(), String> {
        let found = self.look()?;
        self.model.admits(&found)?;
        // What the last change was does not matter where it was not answered.
        for (inode, content) in found.files.iter().filter(|(inode, _)| self.refused.get().is_none() && self.model.files.contains_key(inode))
        {
            let newest = self.model.files[inode].newest();
            if self.read_only().is_none() && (content.size, content.bytes(0, u64::MAX)) != (newest.size, newest.bytes(0, u64::MAX)) {
                return Err(format!("file {} is not what was written last", inode.0));
            }
        }
        Ok(())
    }

    /// Whether a sync of everything, of a file and a checkpoint are refused.
    pub fn refuses_to_promise(&self) -> bool {
        let file = self.model.files.keys().next().copied();
        let of_file = file.is_none_or(|file| self.ask(|volume, replier| volume.sync(file, false, replier)).is_err());
        let of_all = self.ask(|volume, replier| volume.sync_all(replier)).is_err();
        let root = self.ask(|volume, replier| volume.checkpoint(replier)).is_err();
        of_file && of_all && root
    }

    fn collect_answers(&mut self) {
        for (mut reply, promise) in std::mem::take(&mut self.pending) {
            match reply.try_take() {
                Some(Ok(())) => self.model_mut().promised(&promise),
                // An unlinked file may be gone when its sync comes.
                Some(Err(Refusal::Stale)) => {}
                Some(Err(refusal)) => self.excused("a sync in the background", &Err::<(), _>(refusal)),
                None => self.pending.push((reply, promise)),
            }
        }
    }

    /// Time passes. After two intervals everything is durable by itself.
    fn pass(&mut self, seconds: u64) {
        let promise = self.model.promise(None, self.syncs);
        self.runtime.advance(Duration::from_secs(seconds));
        if seconds > 10 && !self.is_over() {
            self.model_mut().promised(&promise);
        }
    }

    /// What is read is what was written last.
    fn compare(&mut self, path: Path) {
        if let Some(file) = self.regular(path) {
            self.compare_part(file, 0, u64::MAX);
        }
    }

    fn compare_part(&self, file: Inode, from: u64, length: u64) {
        let expected = self.model.files[&file].newest();
        let to = from.saturating_add(length).min(expected.size);
        let mut at = from;
        while at < to {
            let length = (to - at).min(128 * 1024);
            let answer = self.ask(|volume, replier| volume.read(file, at, length as u32, replier));
            if self.is_over() {
                return;
            }
            self.excused("read", &answer);
            if self.is_over() {
                return;
            }
            let found = answer.unwrap_or_else(|refusal| panic!("reading file {}: {refusal}", file.0)).to_vec();
            if found != expected.bytes(at, at + length) {
                let expected = expected.bytes(at, at + length);
                let first = found.iter().zip(&expected).position(|(a, b)| a != b);
                panic!("file {} reads wrong at {at}: {} bytes for {}, first difference {first:?}", file.0, found.len(), expected.len());
            }
            at += length;
        }
    }

    /// Everything that can be seen of the volume.
    pub fn look(&self) -> Result<Found, String> {
        let mut found = Found { names: Names::default(), files: Default::default(), targets: Default::default() };
        let mut dirs = vec![ROOT_INODE];
        let wrong = |what: &'static str, inode: Inode| move |refusal: Refusal| format!("{what} {}: {refusal}", inode.0);
        while let Some(dir) = dirs.pop() {
            let entries = self.ask(|volume, replier| volume.read_dir(dir, 2, 1000, true, replier)).map_err(wrong("directory", dir))?;
            self.look_at_xattrs(dir, &mut found)?;
            for entry in entries {
                if !matches!(entry.kind, FileKind::Directory | FileKind::Symlink) {
                    self.look_at_xattrs(entry.inode, &mut found)?;
                }
                found.names.entries.insert((dir, entry.name), Entry { inode: entry.inode, kind: entry.kind });
                match entry.kind {
                    FileKind::Directory => dirs.push(entry.inode),
                    FileKind::Symlink => {
                        let target = self.ask(|volume, replier| volume.read_link(entry.inode, replier));
                        found.targets.insert(entry.inode, target.map_err(wrong("link", entry.inode))?);
                    }
                    _ => {
                        let size = entry.attributes.map_or(0, |attributes| attributes.size);
                        found.files.insert(entry.inode, self.content(entry.inode, size).map_err(wrong("file", entry.inode))?);
                    }
                }
            }
        }
        Ok(found)
    }

    fn look_at_xattrs(&self, inode: Inode, found: &mut Found) -> Result<(), String> {
        let wrong = |refusal: Refusal| format!("attributes of {}: {refusal}", inode.0);
        for name in self.ask(|volume, replier| volume.xattr_names(inode, replier)).map_err(wrong)? {
            let value = self.ask(|volume, replier| volume.xattr(inode, name.clone(), replier)).map_err(wrong)?;
            found.names.xattrs.insert((inode, name), value);
        }
        Ok(())
    }

    fn content(&self, file: Inode, size: u64) -> Answer<Content> {
        let mut content = Content::default();
        while content.size < size {
            let (at, length) = (content.size, (size - content.size).min(128 * 1024));
            let data = self.ask(|volume, replier| volume.read(file, at, length as u32, replier))?;
            assert_eq!(data.len() as u64, length, "a short read");
            content.write(at, &data);
        }
        Ok(content)
    }

    /// One turn of somebody.
    pub fn step(&self) {
        self.runtime.step();
    }

    /// Many files with long names, so that the tables do not fit into the memory for nodes.
    pub fn crowd(&mut self) {
        for number in 20..120 {
            self.make((0, number), FileKind::Regular);
        }
        self.checkpoint(true);
    }

    /// Ends the actors. What they still say is not heard.
    pub fn stop(mut self) -> Model {
        self.runtime.stop();
        let reason = self.read_only().unwrap_or_default();
        assert!(!reason.contains("actor"), "{reason}");
        self.volume = None;
        self.model
    }

    /// Closes as an unmount does. False: the run ended before.
    pub fn close(&mut self) -> bool {
        self.checkpoint(true);
        if self.is_over() {
            return false;
        }
        self.runtime.run_idle();
        assert_eq!(self.volume().shared().budget.backlog(), 0, "what was handed to the pixel writers is counted off once");
        true
    }
}

/// Opens what a crash left, and judges it. The world goes on from there.
pub fn recover(disk: SimulatedDisk, seed: u64, tuning: Tuning, model: Model) -> Result<World, String> {
    recheck(&disk, model.rotten)?;
    let mut world = World::on(disk, seed, tuning, model)?;
    if let Some(reason) = world.read_only() {
        return Err(format!("the volume is read-only: {reason}"));
    }
    let found = world.look()?;
    world.model.admits(&found)?;
    world.model.adopt(found);
    Ok(world)
}

/// Opens what a crash left, and compares it with the model.
pub fn judge(disk: SimulatedDisk, seed: u64, tuning: Tuning, model: &Model) -> Result<(), String> {
    let world = World::on(disk, seed, tuning, Model::new())?;
    if let Some(reason) = world.read_only() {
        return Err(format!("the volume is read-only: {reason}"));
    }
    let found = world.look()?;
    model.admits(&found)?;
    world.stop();
    Ok(())
}

/// The full check finds no damage: counts and live bits equal a walk, every byte has its checksum; what is rotten, when it is repaired.
pub fn recheck(disk: &SimulatedDisk, rotten: bool) -> Result<(), String> {
    // A copy: what the check syncs stays as uncertain as it is.
    let device: Arc<dyn Device> = Arc::new(disk.snapshot());
    if rotten {
        let repairs = repair_images(device.as_ref(), UUID, false, &mut |_, _| {}).map_err(|error| error.to_string())?;
        if let Some(left) = repairs.iter().find(|repair| !matches!(repair.outcome, Outcome::Restored { .. })) {
            return Err(format!("an image is not put back: {left:?}"));
        }
    }
    let options = CheckOptions { claims_bytes: 8 << 20, node_bytes: 4 << 20, ..CheckOptions::default() };
    let report = check(&device, UUID, &options, &mut |_| {}).map_err(|error| error.to_string())?;
    let bad: Vec<_> = report.findings.iter().filter(|finding| finding.severity >= Severity::Warning).collect();
    if bad.is_empty() { Ok(()) } else { Err(format!("the check finds {bad:#?}")) }
}

fn name(number: u8) -> String {
    match number {
        9 => "temporary".into(),
        10..20 => format!("directory{}", number - 10),
        20.. => format!("{}-{number}", "crowd".repeat(40)),
        // Long ones fill more nodes.
        _ => format!("file{number}-{}", "x".repeat(120)),
    }
}

/// Bytes that no other write has, and none of which is zero; solid ones do not compress.
fn bytes(seed: u64, length: usize, solid: bool) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    let phrase = random.next().to_le_bytes().map(|byte| byte | 1);
    while bytes.len() < length {
        bytes.extend(if solid { random.next().to_le_bytes().map(|byte| byte | 1) } else { phrase });
    }
    bytes.truncate(length);
    bytes
}
