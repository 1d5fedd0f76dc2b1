//! What the log costs: the throughput of writes on a real mount with it, against the same with `durability.sync: none`, where nobody waits
//! for it: `cargo bench --bench wal_overhead` (`make wal`).
//!
//! The two take turns, and which begins changes from round to round, because machines are noisy; the figure is the ratio of the medians.
//! Each round has a fresh volume, writes, syncs once at its end, and compares every byte after that. `cargo test` runs one small round.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Mount, Numbers, Volume, can_mount};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
const MODES: [&str; 2] = ["group", "none"];

/// How much is written.
#[derive(Clone, Copy)]
struct Scale {
    rounds: usize,
    sequential_bytes: usize,
    random_bytes: usize,
    random_writes: usize,
}

const FULL: Scale = Scale { rounds: 9, sequential_bytes: 512 * MIB, random_bytes: 128 * MIB, random_writes: 16_384 };
const SMALL: Scale = Scale { rounds: 1, sequential_bytes: 8 * MIB, random_bytes: 4 * MIB, random_writes: 200 };

/// One after the other, in pieces of 1 MiB.
fn sequential(mount: &Mount, scale: Scale, seed: u64) -> Duration {
    let mut content = vec![0; scale.sequential_bytes];
    Numbers(seed).fill(&mut content);
    let file = File::create_new(mount.path("sequential")).expect("a file");
    let start = Instant::now();
    for (number, piece) in content.chunks(MIB).enumerate() {
        file.write_all_at(piece, (number * MIB) as u64).expect("written");
    }
    file.sync_all().expect("synced");
    let took = start.elapsed();
    assert!(fs::read(mount.path("sequential")).expect("read") == content, "other bytes than were written");
    took
}

/// 4 KiB at a time, anywhere in a file that is there.
fn random(mount: &Mount, scale: Scale, seed: u64) -> Duration {
    const PIECE: usize = 4096;
    let mut content = vec![0; scale.random_bytes];
    let mut numbers = Numbers(seed);
    numbers.fill(&mut content);
    fs::write(mount.path("random"), &content).expect("written");
    let file = File::options().write(true).open(mount.path("random")).expect("a file");
    file.sync_all().expect("synced");
    let mut pieces = vec![0; scale.random_writes * PIECE];
    numbers.fill(&mut pieces);
    let places: Vec<usize> =
        (0..scale.random_writes).map(|_| numbers.below((scale.random_bytes / PIECE) as u64) as usize * PIECE).collect();
    places.iter().zip(pieces.chunks(PIECE)).for_each(|(&at, piece)| content[at..at + PIECE].copy_from_slice(piece));
    let start = Instant::now();
    for (&at, piece) in places.iter().zip(pieces.chunks(PIECE)) {
        file.write_all_at(piece, at as u64).expect("written");
    }
    file.sync_all().expect("synced");
    let took = start.elapsed();
    assert!(fs::read(mount.path("random")).expect("read") == content, "other bytes than were written");
    took
}

fn one_round(mode: &str, scale: Scale, seed: u64) -> [Duration; 2] {
    let volume = Volume::new();
    let mount = volume.mount_with(&["-o", &format!("durability.sync={mode}")]);
    let took = [sequential(&mount, scale, seed), random(&mount, scale, !seed)];
    mount.unmount();
    took
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    if !can_mount() {
        return;
    }
    let scale = if std::env::args().any(|argument| argument == "--bench") { FULL } else { SMALL };
    let mut took: [Vec<[Duration; 2]>; 2] = [Vec::new(), Vec::new()];
    for round in 0..scale.rounds {
        for turn in 0..2 {
            let mode = (round + turn) % 2;
            took[mode].push(one_round(MODES[mode], scale, round as u64));
        }
    }
    for (which, name, bytes) in [(0, "sequential", scale.sequential_bytes), (1, "random 4 KiB", scale.random_writes * 4096)] {
        let rate = |mode: usize| median(took[mode].iter().map(|took| bytes as f64 / MIB as f64 / took[which].as_secs_f64()).collect());
        let (with, without) = (rate(0), rate(1));
        println!(
            "{name:14} {with:8.0} MiB/s with the log, {without:8.0} without: {:.2} (median of {} rounds)",
            with / without,
            scale.rounds
        );
    }
}
