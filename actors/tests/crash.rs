//! Crash safety of the whole volume: the actors on one thread, a disk that loses power, and a model of what was promised.
//!
//! Every test says its seed when it fails. `make crash` runs more of each. Must be true: what an answered sync, checkpoint or commit
//! interval covers is there after every crash, and nothing is there that was never written (`crash/model.rs`).

#[path = "crash/failing.rs"]
mod failing;
#[path = "crash/fault_device.rs"]
mod fault_device;
#[path = "crash/faults.rs"]
mod faults;
#[path = "crash/model.rs"]
mod model;
#[path = "crash/points.rs"]
mod points;
#[path = "crash/regressions.rs"]
mod regressions;
#[path = "crash/room.rs"]
mod room;
#[path = "crash/scripts.rs"]
mod scripts;
#[path = "crash/workload.rs"]
mod workload;
#[path = "crash/world.rs"]
mod world;

use infmap_actors::settings::Sync;
use infmap_storage::device::{CrashStyle, SimulatedDisk};
use model::Model;
use std::panic::catch_unwind;
use workload::{Random, generate, script};
use world::{SMALL, STARVED, TINY, Tuning, World, new_disk, recover};

/// Seeds of the ordinary run, and of the ignored one that `make crash` adds.
const SEEDS: std::ops::Range<u64> = 0..1000;
const MORE_SEEDS: std::ops::Range<u64> = 1000..20_000;
/// Operations after a recovery.
const AFTER: usize = 12;

/// Goes on, closes, and opens again.
fn lives_on(mut world: World, seed: u64, tuning: Tuning) -> Result<usize, String> {
    let mut random = Random(seed ^ 0xaf7e);
    for _ in 0..AFTER {
        world.apply(generate(&mut random));
    }
    if !world.close() {
        return Err("it does not close".into());
    }
    let (disk, model) = (world.disk.clone(), world.stop());
    let again = recover(disk.kill(), seed ^ 1, tuning, model).map_err(|what| format!("after closing: {what}"))?;
    Ok(again.stop().promises)
}

/// Recovers, goes on, closes, and opens again.
fn survives(found: SimulatedDisk, seed: u64, tuning: Tuning, model: Model, context: &str) -> usize {
    let outcome = recover(found, seed, tuning, model).and_then(|world| lives_on(world, seed, tuning));
    outcome.unwrap_or_else(|what| panic!("seed {seed}, {context}: {what}"))
}

fn styles(seed: u64) -> [CrashStyle; 3] {
    [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::Random(seed)]
}

/// Runs the script, then closes, until the power fails in the write after `count`; true if it never did.
fn script_until(count: u64, template: &SimulatedDisk) -> (World, bool) {
    let mut world = World::on(template.snapshot(), 7, SMALL, Model::new()).unwrap();
    world.disk.power_off_after(count);
    let done = script().into_iter().all(|op| world.apply(op)) && world.close();
    (world, done)
}

/// The number of writes that were gone through.
fn crash_after_writes(first: u64, step: usize, most: u64) -> u64 {
    let template = new_disk(7);
    let mut promises = 0;
    for count in (first..).step_by(step) {
        let (world, done) = script_until(count, &template);
        let disk = world.disk.clone();
        let model = world.stop();
        promises += model.promises;
        for style in styles(count) {
            survives(disk.crash(style), count, SMALL, model.clone(), &format!("power off after {count}, {style:?}"));
        }
        if done || count > most {
            assert!(promises > 0, "nothing was promised");
            return count;
        }
    }
    unreachable!("the script ends")
}

/// In two halves, so that two processors can share it. Closing is a part of the script.
#[test]
fn a_crash_after_every_single_device_write_loses_nothing_promised() {
    assert!(crash_after_writes(0, 2, u64::MAX) > 100);
}

#[test]
fn a_crash_after_every_other_device_write_loses_nothing_promised() {
    assert!(crash_after_writes(1, 2, u64::MAX) > 100);
}

fn tuning_of(seed: u64) -> Tuning {
    [SMALL, TINY, STARVED][(seed % 3) as usize]
}

fn style_of(random: &mut Random) -> CrashStyle {
    match random.below(6) {
        0 => CrashStyle::LoseAll,
        1 => CrashStyle::KeepAll,
        2 => CrashStyle::LoseData,
        3 => CrashStyle::LoseNames,
        _ => CrashStyle::Random(random.next()),
    }
}

/// How one life of a volume ends: by a power cut, or by the death of the process, after which what was in the page cache is there.
fn end(disk: &SimulatedDisk, random: &mut Random) -> (SimulatedDisk, bool) {
    let killed = random.below(5) == 0;
    (if killed { disk.kill() } else { disk.crash(style_of(random)) }, killed)
}

/// Ends this life and recovers; sometimes the power fails again while it does.
fn recover_in_the_end(world: World, seed: u64, tuning: Tuning, random: &mut Random) -> Result<World, String> {
    let (mut disk, mut killed) = end(&world.disk, random);
    let mut model = world.stop();
    while random.below(4) == 0 {
        disk.power_off_after(random.below(30));
        if let Ok(world) = World::on(disk.clone(), random.next(), tuning, model.clone()) {
            for _ in 0..random.below(2000) {
                world.step();
            }
            world.stop();
        }
        let (found, killed_again) = end(&disk, random);
        (disk, killed) = (found, killed && killed_again);
    }
    if killed {
        model.killed();
    }
    recover(disk, seed, tuning, model)
}

/// A workload by seed; the power fails somewhere, several times.
fn run_seed(seed: u64, tuning: Tuning) -> usize {
    let mut random = Random(seed);
    let mut world = World::new(seed, tuning);
    if random.coin() {
        world.crowd();
    }
    for life in 0..1 + random.below(3) {
        world.disk.power_off_after(random.below(300));
        for _ in 0..20 + random.below(120) {
            if !world.apply(generate(&mut random)) {
                break;
            }
        }
        let recovered = recover_in_the_end(world, seed ^ life, tuning, &mut random);
        world = recovered.unwrap_or_else(|what| panic!("seed {seed}, life {life}: {what}"));
    }
    lives_on(world, seed, tuning).unwrap_or_else(|what| panic!("seed {seed}, at last: {what}"))
}

/// Names a seed as soon as it has failed.
fn said(seed: u64) -> u64 {
    eprintln!("seed {seed} failed");
    seed
}

fn run_seeds(seeds: impl Iterator<Item = u64>) {
    run_seeds_with(seeds, tuning_of);
}

fn run_seeds_with(seeds: impl Iterator<Item = u64>, tuning: fn(u64) -> Tuning) {
    let outcomes: Vec<_> = seeds.map(|seed| catch_unwind(|| run_seed(seed, tuning(seed))).map_err(|_| said(seed))).collect();
    let bad: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(bad.is_empty(), "seeds {bad:?}");
    assert!(outcomes.iter().flatten().sum::<usize>() > outcomes.len(), "next to nothing was promised");
}

/// In two halves, so that two processors can share it.
#[test]
fn a_thousand_seeds_of_torn_and_reordered_writes() {
    run_seeds(SEEDS.step_by(2));
}

#[test]
fn a_thousand_seeds_of_torn_and_reordered_writes_the_odd_ones() {
    run_seeds(SEEDS.skip(1).step_by(2));
}

/// Syncs that somebody waits for are dropped, and no order: what is found is a moment of the past, not before the newest checkpoint, whole
/// and without damage. Seen to fail when no record was synced and all were said to be.
#[test]
fn without_syncs_a_power_cut_takes_the_newest_and_never_the_order() {
    run_seeds_with(0..300, |seed| Tuning { sync: Sync::None, ..tuning_of(seed) });
}

/// Every answer of a change is a promise. Seen to fail when answers did not wait for the sync.
#[test]
fn under_always_whatever_was_answered_is_there_after_a_power_cut() {
    run_seeds_with(0..100, |seed| Tuning { sync: Sync::Always, ..tuning_of(seed) });
}

#[test]
#[ignore = "an hour's work: `make crash-hour` runs it"]
fn twenty_thousand_seeds_of_torn_and_reordered_writes() {
    run_seeds(MORE_SEEDS);
}

/// Nothing crashes: the hash of all that the device saw.
fn history(template: &SimulatedDisk, seed: u64) -> u64 {
    let mut world = World::on(template.snapshot(), seed, tuning_of(seed), Model::new()).unwrap();
    let mut random = Random(seed);
    for _ in 0..80 {
        world.apply(generate(&mut random));
    }
    assert!(world.close());
    let hash = world.disk.history_hash();
    world.stop();
    hash
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let template = new_disk(7);
    for seed in 0..6 {
        assert_eq!(history(&template, seed), history(&template, seed), "seed {seed}");
    }
    assert_ne!(history(&template, 1), history(&template, 2));
}

#[test]
fn a_crash_during_recovery_is_recovered_from() {
    let template = new_disk(7);
    for count in (20..260).step_by(40) {
        let (world, _) = script_until(count, &template);
        let disk = world.disk.clone();
        let model = world.stop();
        for (style, second) in styles(count).into_iter().flat_map(|style| (0..24).step_by(3).map(move |second| (style, second))) {
            let found = disk.crash(style);
            found.power_off_after(second);
            if let Ok(world) = World::on(found.clone(), second, SMALL, model.clone()) {
                (0..500).for_each(|_| world.step());
                world.stop();
            }
            for last in styles(second) {
                let context = format!("off after {count}, {style:?}, then after {second}, {last:?}");
                survives(found.crash(last), count, SMALL, model.clone(), &context);
            }
        }
    }
}

/// What a killed process leaves is in the page cache only: whoever trusts it must sync it first.
#[test]
fn a_process_that_dies_and_power_that_fails_later_lose_nothing_promised() {
    let template = new_disk(7);
    for count in (5..300).step_by(11) {
        let (world, _) = script_until(count, &template);
        let disk = world.disk.clone();
        let world = recover(disk.kill(), count, SMALL, world.stop()).unwrap_or_else(|what| panic!("killed after {count}: {what}"));
        // What was found is promised from now on.
        let disk = world.disk.clone();
        let model = world.stop();
        for style in styles(count) {
            survives(disk.crash(style), count, SMALL, model.clone(), &format!("killed after {count}, then {style:?}"));
        }
    }
}
