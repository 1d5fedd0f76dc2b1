//! A disk that fails now and then, by seed: no panic, no hang, no wrong byte, and what is reported is what is.
//!
//! Owns: `one_seed`. Of each seed one to three operations fail, of any kind, at any time, with EIO, ENOSPC or an error in passing; a third
//! of them while the volume is being opened. Must be true: FLT-1 a volume that does not say that it is read-only takes changes, and
//! keeps what it then promises; FLT-2 one that says so refuses every promise, and still gives every byte that it took; FLT-3 what an fsync
//! has answered is there after a kill, and after a power cut; FLT-4 errors in passing are not noticed at all. Fails: with the seed.

use crate::fault_device::{FaultDevice, Faults};
use crate::model::Model;
use crate::workload::{Op, Random, generate_any};
use crate::world::{SMALL, STARVED, TINY, Tuning, World, judge, new_disk, new_volume, recheck};
use infmap_storage::device::{CrashStyle, Device, FileDevice, Operation, SimulatedDisk};
use std::io::ErrorKind;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What became of a seed.
#[derive(Clone, Copy, Default)]
struct Outcome {
    failed: usize,
    promises: usize,
    read_only: bool,
    refused: bool,
}

/// Kinds of operations, the more often the more of them there are, and among how many of its kind the failing one is.
const KINDS: [(Operation, u64); 16] = [
    (Operation::Write, 60),
    (Operation::Write, 25),
    (Operation::Write, 8),
    (Operation::Sync, 40),
    (Operation::Sync, 12),
    (Operation::Read, 20),
    (Operation::Read, 6),
    (Operation::Open, 20),
    (Operation::Open, 6),
    (Operation::Rename, 6),
    (Operation::SyncDir, 8),
    (Operation::SetLen, 5),
    (Operation::Remove, 2),
    (Operation::List, 5),
    (Operation::Metadata, 6),
    (Operation::Space, 8),
];

/// What operations that only look fail with, and nobody is to notice.
const IN_PASSING: [ErrorKind; 2] = [ErrorKind::Interrupted, ErrorKind::WouldBlock];

fn tuning_of(seed: u64) -> Tuning {
    [SMALL, SMALL, TINY, STARVED][(seed % 4) as usize]
}

/// Gives the commands; whether all of them are of errors in passing, of operations that are asked again.
fn command(faults: &Faults, random: &mut Random) -> bool {
    let mut passing = true;
    for _ in 0..1 + random.below(3) {
        let (which, among) = KINDS[random.below(KINDS.len() as u64) as usize];
        let (kind, passes) = match random.below(4) {
            0 => (ErrorKind::StorageFull, false),
            1 => (IN_PASSING[random.below(2) as usize], true),
            _ => (ErrorKind::Other, false),
        };
        let looks = matches!(which, Operation::Read | Operation::List | Operation::Metadata | Operation::Space | Operation::Write);
        passing &= passes && looks;
        faults.add(random.below(among), which, kind);
    }
    passing
}

/// A place where a volume lies: how to open it with faults, and how it is found afterwards.
trait Place {
    fn device(&self, faults: &Faults) -> Arc<dyn Device>;
    /// The simulated disk, or one that stands for a real one and never loses power.
    fn disk(&self) -> SimulatedDisk;
    /// Requires of what the next process finds that it is what was promised.
    fn judge(&self, seed: u64, tuning: Tuning, model: &Model) -> Result<(), String>;
}

struct Simulated(SimulatedDisk);

impl Place for Simulated {
    fn device(&self, faults: &Faults) -> Arc<dyn Device> {
        Arc::new(FaultDevice { inner: Arc::new(self.0.clone()), faults: faults.clone() })
    }

    fn disk(&self) -> SimulatedDisk {
        self.0.clone()
    }

    fn judge(&self, seed: u64, tuning: Tuning, model: &Model) -> Result<(), String> {
        judge(self.0.kill(), seed, tuning, model).map_err(|what| format!("killed: {what}"))?;
        for style in [CrashStyle::LoseAll, CrashStyle::Random(seed), CrashStyle::Random(!seed)] {
            let found = self.0.crash(style);
            recheck(&found, model.rotten).and_then(|()| judge(found, seed, tuning, model)).map_err(|what| format!("{style:?}: {what}"))?;
        }
        Ok(())
    }
}

/// A directory of the host.
struct Real(tempfile::TempDir);

impl Real {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("infmap-faults-").tempdir().unwrap();
        new_volume(Arc::new(FileDevice::new(directory.path()).unwrap()));
        Self(directory)
    }
}

impl Place for Real {
    fn device(&self, faults: &Faults) -> Arc<dyn Device> {
        Arc::new(FaultDevice { inner: Arc::new(FileDevice::new(self.0.path()).unwrap()), faults: faults.clone() })
    }

    fn disk(&self) -> SimulatedDisk {
        SimulatedDisk::new(0)
    }

    fn judge(&self, seed: u64, tuning: Tuning, model: &Model) -> Result<(), String> {
        let world = World::over(self.device(&Faults::default()), self.disk(), seed, tuning, Model::new())?;
        let found = world.look();
        let reason = world.read_only();
        world.stop();
        match reason {
            Some(reason) => Err(format!("the volume is read-only: {reason}")),
            None => model.admits(&found?),
        }
    }
}

/// FLT-1 and FLT-2: the volume is what it says.
fn is_what_it_says(world: &mut World) -> Result<(), String> {
    if world.read_only().is_some() {
        if !world.refuses_to_promise() {
            return Err("read-only, and still it promises".into());
        }
        return world.shows_what_it_took();
    }
    world.shows_what_it_took()?;
    if world.refused.take().is_none() {
        // It may be in the midst of its own last failure, which this brings to light.
        for op in [Op::Create((0, 8)), Op::Append((0, 8), 5000), Op::Fsync((0, 8), true), Op::SyncAll(true), Op::Read((0, 8))] {
            world.apply(op);
        }
    }
    match (world.refused.get(), world.read_only()) {
        (Some(_), None) => Ok(()),
        (_, Some(_)) if !world.refuses_to_promise() => Err("read-only at last, and still it promises".into()),
        _ => Ok(()),
    }
}

fn one_seed(seed: u64, place: &dyn Place) -> Result<Outcome, String> {
    let (mut random, tuning, faults) = (Random(seed ^ 0xfa17), tuning_of(seed), Faults::default());
    let early = seed.is_multiple_of(3);
    let mut passing = early && command(&faults, &mut random);
    let model = Model::new();
    let opened = World::over(place.device(&faults), place.disk(), seed, tuning, model.clone());
    let mut world = match opened {
        Ok(world) => world,
        Err(why) if passing => return Err(format!("it does not open for an error in passing: {why}")),
        Err(_) => {
            faults.clear();
            place.judge(seed, tuning, &model)?;
            return Ok(Outcome { failed: 1, ..Outcome::default() });
        }
    };
    let before = faults.left();
    if !early {
        passing = command(&faults, &mut random);
    }
    let commands = faults.left().max(before);
    world.faulty = true;
    for _ in 0..30 + random.below(60) {
        let op = generate_any(&mut random);
        if std::env::var_os("INFMAP_FAULT_SEED").is_some() {
            println!("{op:?}, {} faults are to come", faults.left());
        }
        if !world.apply(op) {
            break;
        }
    }
    if !world.is_over() {
        world.close();
    }
    let outcome = Outcome {
        failed: commands - faults.left(),
        promises: world.model.promises,
        read_only: world.read_only().is_some(),
        refused: world.refused.get().is_some(),
    };
    if passing && (outcome.read_only || outcome.refused) {
        return Err(format!("an error in passing was noticed: {:?}, {:?}", world.read_only(), world.refused.get()));
    }
    faults.clear();
    is_what_it_says(&mut world)?;
    place.judge(seed, tuning, &world.stop())?;
    Ok(outcome)
}

/// All of these seeds on as many threads as there are processors. `INFMAP_FAULT_SEED=seed` does one alone, and shows what is done.
fn all_seeds(seeds: std::ops::Range<u64>, place: fn(u64) -> Box<dyn Place>) {
    if let Some(seed) = std::env::var("INFMAP_FAULT_SEED").ok().and_then(|seed| seed.parse().ok()) {
        one_seed(seed, place(seed).as_ref()).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        return;
    }
    let count = seeds.end - seeds.start;
    let (next, all, bad) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let done = catch_unwind(|| one_seed(seed, place(seed).as_ref())).unwrap_or_else(|_| Err("a panic, see above".into()));
                    match done {
                        Ok(outcome) => all.lock().unwrap().push(outcome),
                        Err(what) => bad.lock().unwrap().push(format!("seed {seed}: {what}")),
                    }
                }
            });
        }
    });
    let (all, bad) = (all.into_inner().unwrap(), bad.into_inner().unwrap());
    let failed: usize = all.iter().map(|outcome| outcome.failed).sum();
    let promises: usize = all.iter().map(|outcome| outcome.promises).sum();
    let (read_only, refused) = (all.iter().filter(|o| o.read_only).count(), all.iter().filter(|o| o.refused && !o.read_only).count());
    println!(
        "{count} seeds, {failed} operations failed: {read_only} volumes became read-only, {refused} refused something and went on; \
         {promises} promises checked, {} failures",
        bad.len()
    );
    assert!(bad.is_empty(), "{} failures, the first of them:\n{}", bad.len(), bad[..bad.len().min(20)].join("\n"));
    assert!(promises as u64 > count && failed as u64 > count / 2, "next to nothing was promised, or failed");
    assert!(read_only as u64 >= count / 20 && (read_only as u64) < count, "{read_only} of {count} became read-only");
}

fn simulated(seed: u64) -> Box<dyn Place> {
    Box::new(Simulated(new_disk(seed)))
}

fn real(_: u64) -> Box<dyn Place> {
    Box::new(Real::new())
}

#[test]
fn a_disk_that_fails_now_and_then_is_never_a_wrong_answer() {
    all_seeds(0..300, simulated);
}

#[test]
fn a_real_directory_that_fails_now_and_then_is_never_a_wrong_answer() {
    all_seeds(0..20, real);
}

#[test]
#[ignore = "minutes of work: `make crash` runs it"]
fn ten_thousand_disks_that_fail_now_and_then_are_never_a_wrong_answer() {
    all_seeds(300..10_300, simulated);
}

#[test]
#[ignore = "minutes of work: `make crash` runs it"]
fn hundreds_of_real_directories_that_fail_now_and_then_are_never_a_wrong_answer() {
    all_seeds(20..320, real);
}
