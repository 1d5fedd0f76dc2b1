//! Every crash point of every script: the power fails before each operation of the device, in each of many ways.
//!
//! Owns: `Plan`, `go_through`. A script runs once; the simulated disk keeps what it was before each operation, and the model what was
//! promised by then, so that a crash point costs one recovery and not a run. Must be true: what was promised is found after every crash,
//! after a second crash in the recovery too, and the volume lives on. Fails: with script, order, point and kind of crash, which are all
//! that it takes to do it again (`INFMAP_CRASH_SCRIPT=name` runs one script alone).

use crate::lives_on;
use crate::model::Model;
use crate::scripts::{SCRIPTS, Script};
use crate::workload::Op;
use crate::world::{Point, World, judge, new_disk, recheck, recover};
use infmap_storage::device::{CrashStyle, SimulatedDisk};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How thoroughly.
pub struct Plan {
    /// Orders in which the actors run.
    pub orders: std::ops::Range<u64>,
    /// Points that are gone through of a run; `usize::MAX`: all.
    pub points: usize,
    /// Crashes by random choice at each point, beside those that are fixed.
    pub random: u64,
    /// One recovery of so many goes on, closes and opens again; one of so many is cut itself.
    pub sample: usize,
}

/// What was gone through.
#[derive(Default)]
pub struct Tally {
    pub points: usize,
    pub recoveries: usize,
    /// Answered syncs that were found kept, summed over the recoveries.
    pub promises: usize,
    pub failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.points += other.points;
        self.recoveries += other.recoveries;
        self.promises += other.promises;
        self.failures.extend(other.failures);
    }
}

fn styles(plan: &Plan, point: u64, order: u64) -> Vec<Option<CrashStyle>> {
    let fixed = [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::LoseData, CrashStyle::LoseNames];
    let fixed = fixed.into_iter().take(if plan.random < 2 { 1 } else { 4 });
    let random = (0..plan.random).map(|n| CrashStyle::Random(point << 16 | order << 8 | n));
    let killed = (plan.random > 1).then_some(None);
    fixed.chain(random).map(Some).chain(killed).collect()
}

/// As the next process finds it: without power, or only without the process.
fn found(disk: &SimulatedDisk, style: Option<CrashStyle>) -> SimulatedDisk {
    style.map_or_else(|| disk.kill(), |style| disk.crash(style))
}

/// Recovers, and is cut in it after so many operations; what is found then is judged.
fn cut_again(disk: &SimulatedDisk, seed: u64, script: &Script, model: &Model, style: CrashStyle) -> Result<(), String> {
    disk.power_off_after(seed % 23);
    if let Ok(world) = World::on(disk.clone(), seed, script.tuning, model.clone()) {
        (0..600).for_each(|_| world.step());
        world.stop();
    }
    judge(disk.crash(style), seed, script.tuning, model).map_err(|what| format!("cut again after {}, {style:?}: {what}", seed % 23))
}

/// One crash, and whatever is sampled of what follows. The recoveries that it took.
fn one(script: &Script, point: &Point, style: Option<CrashStyle>, number: usize, plan: &Plan) -> Result<usize, String> {
    let (seed, tuning) = (number as u64, script.tuning);
    let model = || {
        let mut model = Model::clone(&point.model);
        if style.is_none() {
            model.killed();
        }
        model
    };
    let disk = found(&point.disk, style);
    match number % plan.sample {
        0 => {
            let world = recover(disk, seed, tuning, model())?;
            lives_on(world, seed, tuning).map(|_| 2)
        }
        1 => {
            recheck(&disk, point.model.rotten)?;
            judge(disk, seed, tuning, &model()).map(|()| 1)
        }
        2 | 3 => {
            let second = if number.is_multiple_of(2) { CrashStyle::LoseAll } else { CrashStyle::Random(seed) };
            cut_again(&disk, seed, script, &point.model, second).map(|()| 1)
        }
        _ => judge(disk, seed, tuning, &model()).map(|()| 1),
    }
}

fn run(script: &Script, order: u64, plan: &Plan) -> Tally {
    let mut world = World::on(new_disk(order), order, script.tuning, Model::new()).expect("a new volume opens");
    world.disk.keep_moments();
    for op in script.ops {
        assert!(world.apply(*op), "{}: {op:?} ends the run", script.name);
    }
    let cleans = script.ops.iter().any(|op| matches!(op, Op::Clean(true)));
    assert!(!cleans || world.cleaned > 0, "{}: nothing was cleaned", script.name);
    let scrubs = script.ops.contains(&Op::Scrub);
    assert!(!scrubs || world.corrected > 0, "{}: nothing was put back", script.name);
    let points = world.take_points();
    let made = world.stop().promises;
    assert!(made > 0, "{}: nothing was promised", script.name);
    assert!(points.len() > 8, "{}: it meets the device only {} times", script.name, points.len());
    let step = (points.len() / plan.points).max(1);
    let mut tally = Tally::default();
    let mut number = order as usize * 7;
    for (at, point) in points.iter().enumerate().skip(order as usize % step).step_by(step) {
        tally.points += 1;
        for style in styles(plan, at as u64, order) {
            number += 1;
            let done = catch_unwind(AssertUnwindSafe(|| one(script, point, style, number, plan)));
            match done.unwrap_or_else(|_| Err("a panic, see above".into())) {
                Ok(recoveries) => {
                    tally.recoveries += recoveries;
                    tally.promises += point.model.promises;
                }
                Err(what) => {
                    tally.failures.push(format!("{}, order {order}, point {at}, {style:?} (number {number}): {what}", script.name))
                }
            }
        }
    }
    tally
}

/// All scripts in all orders, on as many threads as there are processors.
pub fn go_through(plan: &Plan) -> Tally {
    let only = std::env::var("INFMAP_CRASH_SCRIPT").ok();
    let scripts: Vec<&Script> = SCRIPTS.iter().filter(|script| only.as_ref().is_none_or(|only| only == script.name)).collect();
    let runs: Vec<(&Script, u64)> = plan.orders.clone().flat_map(|order| scripts.iter().map(move |script| (*script, order))).collect();
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((script, order)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tally = catch_unwind(AssertUnwindSafe(|| run(script, *order, plan)));
                    let gone =
                        |_| Tally { failures: vec![format!("{}, order {order}: the run itself panics", script.name)], ..Tally::default() };
                    all.lock().unwrap().add(tally.unwrap_or_else(gone));
                }
            });
        }
    });
    all.into_inner().unwrap()
}

fn report(plan: &Plan) -> Tally {
    let mut tally = go_through(plan);
    let shown = tally.failures.len();
    println!(
        "{} scripts, {} crash points: {} recoveries, {} promises checked, {shown} failures",
        SCRIPTS.len(),
        tally.points,
        tally.recoveries,
        tally.promises
    );
    tally.failures.truncate(20);
    assert!(tally.failures.is_empty(), "{shown} failures, the first of them:\n{}", tally.failures.join("\n"));
    assert!(tally.promises > tally.recoveries / 2, "next to nothing was promised");
    tally
}

#[test]
fn at_some_crash_points_of_every_script_what_was_promised_is_found() {
    report(&Plan { orders: 1..2, points: 12, random: 1, sample: 6 });
}

#[test]
#[ignore = "minutes of work: `make crash` runs it"]
fn at_every_crash_point_of_every_script_what_was_promised_is_found() {
    let tally = report(&Plan { orders: 1..4, points: usize::MAX, random: 14, sample: 12 });
    assert!(std::env::var_os("INFMAP_CRASH_SCRIPT").is_some() || tally.recoveries >= 100_000, "only {} recoveries", tally.recoveries);
}
