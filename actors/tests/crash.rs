//! Crash safety of the whole volume: the actors on one thread, a disk that loses power, and a model of what was promised.
//!
//! Every test says its seed when it fails. `make crash` runs the large ones in full. Must be true: what an answered sync, checkpoint or
//! commit interval covers is there after every crash, and nothing is there that was never written (`crash/model.rs`).

#[path = "crash/model.rs"]
mod model;
#[path = "crash/workload.rs"]
mod workload;
#[path = "crash/world.rs"]
mod world;

use infmap_storage::device::{CrashStyle, SimulatedDisk};
use model::Model;
use workload::{Random, generate, script};
use world::{SMALL, TINY, Tuning, World, new_disk, recover};

/// Operations after a recovery.
const AFTER: usize = 12;

/// Recovers, goes on, closes, and opens again.
fn survives(found: SimulatedDisk, seed: u64, tuning: Tuning, model: Model, context: &str) {
    let die = |what: String| -> ! { panic!("seed {seed}, {context}: {what}") };
    let mut world = recover(found, seed, tuning, model).unwrap_or_else(|what| die(what));
    let mut random = Random(seed ^ 0xaf7e);
    for _ in 0..AFTER {
        world.apply(generate(&mut random));
    }
    if !world.close() {
        die("it does not close".into());
    }
    let (disk, model) = (world.disk.clone(), world.stop());
    let again = recover(disk.kill(), seed ^ 1, tuning, model).unwrap_or_else(|what| die(format!("after closing: {what}")));
    again.stop();
}

fn styles(seed: u64) -> [CrashStyle; 3] {
    [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::Random(seed)]
}

/// Runs the script until the power fails in the write after `count`; true if it never did.
fn script_until(count: u64, template: &SimulatedDisk) -> (World, bool) {
    let mut world = World::on(template.snapshot(), 7, SMALL, Model::new()).unwrap();
    world.disk.power_off_after(count);
    let done = script().into_iter().all(|op| world.apply(op)) && world.close();
    (world, done)
}

fn after_every_write(step: usize) {
    let template = new_disk(7);
    let mut promises = 0;
    for count in (0..).step_by(step) {
        let (world, done) = script_until(count, &template);
        let disk = world.disk.clone();
        let model = world.stop();
        promises += model.promises;
        for style in styles(count) {
            survives(disk.crash(style), count, SMALL, model.clone(), &format!("power off after {count}, {style:?}"));
        }
        if done {
            break;
        }
    }
    assert!(promises > 0, "nothing was promised");
}

#[test]
fn a_crash_after_every_single_device_write_loses_nothing_promised() {
    after_every_write(7);
}

/// A workload by seed; the power fails somewhere.
fn run_seed(seed: u64) -> usize {
    let mut random = Random(seed);
    let tuning = if seed.is_multiple_of(3) { TINY } else { SMALL };
    let mut world = World::new(seed, tuning);
    world.disk.power_off_after(random.below(400));
    for _ in 0..20 + random.below(150) {
        if !world.apply(generate(&mut random)) {
            break;
        }
    }
    let disk = world.disk.clone();
    let model = world.stop();
    let promises = model.promises;
    let style = match random.below(6) {
        0 => CrashStyle::LoseAll,
        1 => CrashStyle::KeepAll,
        2 => CrashStyle::LoseData,
        3 => CrashStyle::LoseNames,
        _ => CrashStyle::Random(seed),
    };
    survives(disk.crash(style), seed, tuning, model, &format!("{style:?}"));
    promises
}

#[test]
fn a_thousand_seeds_of_torn_and_reordered_writes() {
    let count = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(100);
    let from = std::env::var("FROM").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let outcomes: Vec<_> = (from..from + count).map(|seed| std::panic::catch_unwind(|| run_seed(seed)).map_err(|_| seed)).collect();
    let bad: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(bad.is_empty(), "seeds {bad:?}");
    assert!(outcomes.iter().flatten().sum::<usize>() > 0, "nothing was promised");
}
