//! The workloads whose every crash point is gone through: data, a line each for what they are about.
//!
//! Owns: `SCRIPTS`, `Script`. Must be true: each makes promises, and meets the device often enough to be cut in many places
//! (`crash/points.rs` requires both). To add one, add an entry; an operation that there is no word for yet goes into `Op` first.
//! Fails: never.

use crate::workload::Op::{self, *};
use crate::world::{SMALL, STARVED, TINY, Tuning};
use infmap_actors::settings::Sync;

/// A workload: what it is about, the room that it has, and what is done.
pub struct Script {
    pub name: &'static str,
    pub tuning: Tuning,
    pub ops: &'static [Op],
}

/// Under `durability.sync: always` every answer is a promise.
const ALWAYS: Tuning = Tuning { sync: Sync::Always, ..SMALL };
/// Under `none` only checkpoints promise.
const NONE: Tuning = Tuning { sync: Sync::None, ..SMALL };

const A: (u8, u8) = (0, 0);
const B: (u8, u8) = (0, 1);
const C: (u8, u8) = (0, 2);
const D: (u8, u8) = (1, 0);
const E: (u8, u8) = (1, 1);
const F: (u8, u8) = (2, 2);
/// The directory that `Mkdir(1)` makes, as a name.
const DIR: (u8, u8) = (0, 11);

const fn script(name: &'static str, tuning: Tuning, ops: &'static [Op]) -> Script {
    Script { name, tuning, ops }
}

#[rustfmt::skip]
pub const SCRIPTS: &[Script] = &[
    // One file.
    script("write", SMALL, &[Create(A), Write(A, 0, 9000, true), Fsync(A, true), Write(A, 4000, 9000, false), Fsync(A, true), Write(A, 100_000, 3000, true), Fsync(A, true), Write(A, 50, 20, true), Seconds(11), Checkpoint(true), Read(A)]),
    script("append", SMALL, &[Create(A), Append(A, 10), Fsync(A, true), Append(A, 3000), Fsync(A, true), Append(A, 5000), Append(A, 1), Fsync(A, true), Append(A, 70_000), Fsync(A, false), Append(A, 9000), Fsync(A, true), Checkpoint(true), Append(A, 4097), Fsync(A, true)]),
    script("append without a wait", TINY, &[Create(A), Append(A, 3000), Fsync(A, false), Append(A, 30_000), Fsync(A, false), Turns(20), Append(A, 5000), Fsync(A, false), Append(A, 300), Turns(40), SyncAll(false), Append(A, 9000), Checkpoint(false), Turns(30), Append(A, 2000), SyncAll(true)]),
    script("overwrite in place", SMALL, &[Create(A), Write(A, 0, 200_000, false), Checkpoint(true), Write(A, 8192, 4096, true), Fsync(A, true), Write(A, 8192, 4096, false), Fsync(A, true), Write(A, 9000, 10, true), Checkpoint(false), Turns(40), Write(A, 8192, 8192, true), Fsync(A, true), Checkpoint(true)]),
    script("overwrite what was just placed", TINY, &[Create(A), Write(A, 0, 300_000, false), Fsync(A, true), Write(A, 0, 300_000, false), Checkpoint(false), Turns(60), Write(A, 100_000, 50_000, false), Fsync(A, true), Checkpoint(false), Turns(90), Write(A, 100_000, 50_000, true), SyncAll(true)]),
    script("parts of blocks", SMALL, &[Create(A), Write(A, 100, 100, true), Fsync(A, true), Write(A, 4090, 12, true), Fsync(A, true), Checkpoint(true), Write(A, 4095, 2, true), Write(A, 0, 1, true), Fsync(A, true), Write(A, 20_000, 1, true), Fsync(A, true), Checkpoint(true), Write(A, 12_000, 9000, true), Seconds(11)]),
    script("inline and out again", SMALL, &[Create(A), Write(A, 0, 500, true), Fsync(A, true), Append(A, 1000), Fsync(A, true), Append(A, 1000), Fsync(A, true), Truncate(A, 700), Fsync(A, true), Checkpoint(true), Append(A, 60_000), Fsync(A, true), Truncate(A, 1), Fsync(A, true), Checkpoint(true)]),
    script("truncate down", SMALL, &[Create(A), Write(A, 0, 100_000, true), Fsync(A, true), Truncate(A, 50_001), Fsync(A, true), Checkpoint(true), Truncate(A, 4096), Fsync(A, false), Turns(20), Truncate(A, 0), Fsync(A, true), Write(A, 0, 9000, false), Truncate(A, 100), Fsync(A, true)]),
    script("truncate up", SMALL, &[Create(A), Write(A, 0, 5000, true), Fsync(A, true), Truncate(A, 90_000), Fsync(A, true), Write(A, 80_000, 9000, true), Fsync(A, true), Truncate(A, 1_000_000), Checkpoint(true), Write(A, 999_000, 2000, true), Fsync(A, true), Checkpoint(true)]),
    script("truncate down and up", TINY, &[Create(A), Write(A, 0, 60_000, false), Fsync(A, true), Truncate(A, 10), Truncate(A, 60_000), Fsync(A, true), Write(A, 30_000, 10_000, false), Truncate(A, 31_000), Truncate(A, 40_000), Write(A, 39_000, 500, true), Fsync(A, true), Checkpoint(true), Truncate(A, 5), Write(A, 20_000, 5, true), SyncAll(true)]),
    script("punch", SMALL, &[Create(A), Write(A, 0, 120_000, false), Fsync(A, true), Punch(A, 8192, 16_384), Fsync(A, true), Punch(A, 30_000, 9000), Checkpoint(true), Punch(A, 100_000, 90_000), Fsync(A, true), Write(A, 9000, 4000, true), Fsync(A, true), Punch(A, 0, 120_000), Fsync(A, true), Checkpoint(true)]),
    script("punch what is being placed", TINY, &[Create(A), Write(A, 0, 200_000, false), Checkpoint(false), Turns(40), Punch(A, 40_960, 40_960), Fsync(A, false), Turns(30), Write(A, 50_000, 9000, false), Punch(A, 52_000, 2000), Fsync(A, true), Checkpoint(true), Punch(A, 4096, 180_000), SyncAll(true)]),
    script("zero range", SMALL, &[Create(A), Write(A, 0, 50_000, true), Fsync(A, true), Zero(A, 1000, 20_000, true), Fsync(A, true), Zero(A, 45_000, 50_000, false), Fsync(A, true), Checkpoint(true), Zero(A, 0, 4096, true), Write(A, 2000, 100, true), Fsync(A, true), Zero(A, 90_000, 9000, true), Checkpoint(true)]),
    script("scattered blocks", SMALL, &[Create(A), Scatter(A, 60), Fsync(A, true), Scatter(A, 60), Checkpoint(true), Write(A, 0, 4096, true), Scatter(A, 20), Fsync(A, true), Truncate(A, 100_000), Fsync(A, true), Checkpoint(true)]),
    script("a sync larger than the log takes", SMALL, &[Create(A), Write(A, 0, 2_300_000, false), Fsync(A, true), Write(A, 0, 400_000, false), Fsync(A, true), Append(A, 100_000), Fsync(A, true), Checkpoint(true)]),
    // Names.
    script("rename", SMALL, &[Create(A), Write(A, 0, 5000, true), Fsync(A, true), Rename(A, B), Fsync(B, true), Mkdir(1), Rename(B, D), SyncAll(true), Rename(D, C), Rename(C, E), Fsync(E, true), Checkpoint(true), Rename(E, A), SyncAll(true)]),
    script("rename over", SMALL, &[Create(A), Write(A, 0, 5000, true), Fsync(A, true), Create(B), Write(B, 0, 9000, true), Rename(B, A), Fsync(A, true), Create(B), Write(B, 0, 40_000, false), Rename(B, A), SyncAll(true), Create(B), Rename(B, A), Checkpoint(true)]),
    script("save as editors do", SMALL, &[Create(A), Write(A, 0, 3000, true), Fsync(A, true), Save(A, 4000), Save(A, 100), Turns(5), Save(A, 30_000), Seconds(11), Save(A, 2000), Save(A, 2500), SyncAll(true), Checkpoint(true), Save(A, 9000), Seconds(11)]),
    script("save and sync", TINY, &[Create(A), Fsync(A, true), Save(A, 4000), Fsync(A, true), Save(A, 70_000), Fsync(A, true), Checkpoint(false), Save(A, 300), Turns(20), Fsync(A, true), Save(A, 5000), Fsync(A, true)]),
    script("exchange", SMALL, &[Create(A), Create(B), Write(A, 0, 5000, true), Write(B, 0, 7000, true), SyncAll(true), Exchange(A, B), Fsync(A, true), Write(A, 3000, 9000, false), Exchange(A, B), SyncAll(true), Mkdir(1), Create(D), Exchange(A, D), Checkpoint(true), Exchange(D, B), SyncAll(true)]),
    script("unlink", SMALL, &[Create(A), Create(B), Write(A, 0, 50_000, false), Write(B, 0, 300, true), SyncAll(true), Unlink(A, false), SyncAll(true), Unlink(B, false), Seconds(11), Create(A), Write(A, 0, 10, true), Fsync(A, true), Checkpoint(true), Unlink(A, false), Checkpoint(true)]),
    script("unlink while open", SMALL, &[Create(A), Write(A, 0, 60_000, false), Fsync(A, true), Unlink(A, true), SyncAll(true), Create(A), Write(A, 0, 100, true), Checkpoint(true), Fsync(A, true), Forget, SyncAll(true), Checkpoint(true), Checkpoint(true)]),
    script("unlink while open and dirty", TINY, &[Create(A), Write(A, 0, 90_000, false), Unlink(A, true), Create(B), Write(B, 0, 3000, true), Fsync(B, true), Checkpoint(false), Turns(30), Forget, Turns(20), Write(B, 0, 5000, true), Fsync(B, true), Checkpoint(true)]),
    script("link", SMALL, &[Create(A), Write(A, 0, 5000, true), Link(A, B), Fsync(B, true), Mkdir(1), Link(A, D), SyncAll(true), Unlink(A, false), Append(B, 5000), Fsync(D, true), Unlink(B, false), Rename(D, A), SyncAll(true), Checkpoint(true)]),
    script("symlink", SMALL, &[Symlink(A), SyncAll(true), Symlink(B), Mkdir(1), Symlink(D), SyncAll(true), Rename(A, C), Unlink(B, false), SyncAll(true), Checkpoint(true), Unlink(C, false), Symlink(C), SyncAll(true)]),
    script("directories", SMALL, &[Mkdir(1), SyncAll(true), Create(D), Write(D, 0, 100, true), Fsync(D, true), Mkdir(2), Rename(D, F), SyncAll(true), Rmdir(1), SyncAll(true), Mkdir(1), Unlink(F, false), Rmdir(2), Checkpoint(true), Rmdir(1), SyncAll(true)]),
    script("attributes", SMALL, &[Create(A), SetXattr(A, 0, 30), Fsync(A, true), SetXattr(A, 1, 900), SyncAll(true), SetXattr(A, 0, 40), RemoveXattr(A, 1), SyncAll(true), Mkdir(1), SetXattr(DIR, 0, 100), Checkpoint(true), RemoveXattr(DIR, 0), SetXattr(A, 2, 1), SyncAll(true)]),
    script("large attributes", TINY, &[Create(A), SetXattr(A, 0, 60_000), Fsync(A, true), SetXattr(A, 0, 20_000), SyncAll(true), SetXattr(A, 1, 5000), Checkpoint(true), SetXattr(A, 0, 10), RemoveXattr(A, 1), SyncAll(true), Unlink(A, false), SyncAll(true), Checkpoint(true)]),
    script("batch", SMALL, &[Batch(0, 0, 8), SyncAll(true), Batch(0, 3, 8), SyncAll(true), Write(A, 0, 5000, true), Fsync(A, true), Batch(0, 0, 9), Seconds(11), Mkdir(1), Batch(1, 0, 8), Batch(1, 0, 4), SyncAll(true), Checkpoint(true), Batch(1, 0, 8), SyncAll(true)]),
    script("large batch", STARVED, &[Batch(0, 20, 90), SyncAll(true), Batch(0, 60, 90), SyncAll(true), Checkpoint(true), Batch(0, 20, 130), SyncAll(true)]),
    script("many names", STARVED, &[Batch(0, 20, 60), Batch(0, 80, 60), SyncAll(true), Create(A), Write(A, 0, 3000, true), Fsync(A, true), Batch(0, 30, 30), Rename((0, 70), B), SyncAll(true), Checkpoint(true), Batch(0, 20, 120), SyncAll(true)]),
    // What commits.
    script("timed commit", SMALL, &[Create(A), Write(A, 0, 9000, true), Seconds(11), Write(A, 5000, 9000, false), Create(B), Seconds(11), Append(B, 300), Rename(B, C), Seconds(11), Truncate(A, 100), Seconds(11), Unlink(C, false), Seconds(11)]),
    script("timed commit of much", TINY, &[Create(A), Write(A, 0, 400_000, false), Seconds(11), Write(A, 100_000, 300_000, false), Seconds(11), Create(B), Write(B, 0, 200_000, true), Seconds(11), Seconds(6)]),
    script("syncs in the background", SMALL, &[Create(A), Create(B), Write(A, 0, 9000, true), Fsync(A, false), Write(B, 0, 70_000, false), Fsync(B, false), SyncAll(false), Turns(10), Write(A, 0, 300, true), Fsync(A, false), Turns(10), Rename(A, C), SyncAll(false), Turns(30), Unlink(B, false), SyncAll(true), Append(C, 9000), Fsync(C, true), Checkpoint(true)]),
    script("syncs between checkpoints", SMALL, &[Create(A), Write(A, 0, 9000, true), Checkpoint(false), Fsync(A, false), Turns(10), Write(A, 0, 9000, false), Checkpoint(false), Fsync(A, false), Turns(30), Create(B), Checkpoint(false), Write(B, 0, 9000, true), Fsync(B, true), Checkpoint(true)]),
    script("checkpoint after checkpoint", SMALL, &[Create(A), Write(A, 0, 30_000, false), Checkpoint(true), Write(A, 0, 30_000, false), Checkpoint(true), Create(B), Checkpoint(true), Unlink(A, false), Checkpoint(true), Checkpoint(true)]),
    script("the log is used again", TINY, &[Create(A), Write(A, 0, 100_000, false), Fsync(A, true), Write(A, 0, 100_000, false), Fsync(A, true), Checkpoint(true), Write(A, 0, 100_000, false), Fsync(A, true), Checkpoint(true), Write(A, 50_000, 60_000, false), Fsync(A, true), Idle, Write(A, 0, 4096, false), Fsync(A, true)]),
    script("five minutes", SMALL, &[Create(A), Write(A, 0, 9000, true), Seconds(310), Append(A, 9000), Seconds(310), Create(B), Seconds(11)]),
    // What lives long.
    script("images are used again", SMALL, &[Create(A), Write(A, 0, 300_000, false), Checkpoint(true), Unlink(A, false), Checkpoint(true), Checkpoint(true), Create(B), Write(B, 0, 300_000, false), Checkpoint(true), Unlink(B, false), Create(C), Write(C, 0, 200_000, false), SyncAll(true), Checkpoint(true), Read(C)]),
    script("images fill", SMALL, &[Create(A), Write(A, 0, 4_500_000, false), Fsync(A, true), Write(A, 1_000_000, 500_000, false), Checkpoint(true), Truncate(A, 100_000), SyncAll(true)]),
    script("drop in slices", SMALL, &[Create(A), Scatter(A, 700), Checkpoint(true), Unlink(A, false), SyncAll(true), Turns(4), SyncAll(true), Turns(20), SyncAll(true), Create(A), Checkpoint(true)]),
    script("drop in slices while open", SMALL, &[Create(A), Scatter(A, 600), Checkpoint(true), Unlink(A, true), SyncAll(true), Create(B), Write(B, 0, 3000, true), Forget, Turns(3), Fsync(B, true), Turns(10), SyncAll(true), Checkpoint(true)]),
    script("cut in slices", SMALL, &[Create(A), Scatter(A, 700), Checkpoint(true), Truncate(A, 1000), Turns(3), Fsync(A, false), Turns(9), Truncate(A, 5_000_000), Write(A, 2_000_000, 9000, false), Fsync(A, true), Checkpoint(true)]),
    script("punch in slices", SMALL, &[Create(A), Scatter(A, 600), Checkpoint(true), Punch(A, 4096, 4_000_000), Fsync(A, false), Turns(9), Write(A, 1_000_000, 9000, false), Fsync(A, true), Checkpoint(true)]),
    script("rename over a large file", SMALL, &[Create(A), Scatter(A, 400), Checkpoint(true), Save(A, 50_000), SyncAll(true), Turns(9), SyncAll(true), Save(A, 3000), Checkpoint(true)]),
    script("clean", SMALL, &[Create(A), Write(A, 0, 3_000_000, true), Create(B), Write(B, 0, 300_000, true), Fsync(B, true), Checkpoint(true), Truncate(A, 200_000), Fsync(A, true), Checkpoint(true), Checkpoint(true), Clean(true), Read(A), Read(B), Write(A, 0, 9000, false), Fsync(A, true), Unlink(B, false), SyncAll(true)]),
    script("clean beside writers", SMALL, &[Create(A), Write(A, 0, 3_000_000, true), Fsync(A, true), Checkpoint(true), Truncate(A, 300_000), Create(B), Write(B, 0, 200_000, true), SyncAll(true), Checkpoint(true), Checkpoint(true), Clean(false), Turns(20), Write(A, 40_960, 9000, false), Fsync(A, false), Turns(20), Punch(A, 100_000, 60_000), Turns(20), Save(B, 5000), Fsync(B, true), Clean(true), Read(A), Read(B), Truncate(A, 10), Fsync(A, true)]),
    script("clean what was cut up", SMALL, &[Create(A), Write(A, 0, 3_000_000, true), Fsync(A, true), Checkpoint(true), Scatter(A, 40), Write(A, 500_000, 2_400_000, true), Fsync(A, true), Checkpoint(true), Unlink(A, true), Create(B), Write(B, 0, 5000, true), SyncAll(true), Checkpoint(true), Clean(true), Forget, Checkpoint(true), Checkpoint(true), Clean(true), Read(B)]),
    script("repair", SMALL, &[Create(A), Write(A, 0, 200_000, true), Create(B), Write(B, 0, 9000, true), SyncAll(true), Checkpoint(true), Rot(32), Read(A), Scrub, Read(A), Read(B), Write(A, 5000, 9000, true), Fsync(A, true), Rot(3), Scrub, Checkpoint(true), Read(A)]),
    script("repair beside writers", SMALL, &[Create(A), Write(A, 0, 300_000, true), Fsync(A, true), Checkpoint(true), Rot(20), Write(A, 8192, 20_000, true), Fsync(A, false), Truncate(A, 150_000), Create(B), Write(B, 0, 90_000, true), Scrub, Fsync(B, true), Unlink(A, false), Checkpoint(true), Rot(7), Write(B, 4096, 4096, true), Fsync(B, true), Scrub, Read(B), Checkpoint(true), Checkpoint(true)]),
    // Settings.
    script("always", ALWAYS, &[Create(A), Write(A, 0, 9000, true), Append(A, 300), Mkdir(1), Link(A, D), SetXattr(A, 0, 100), Rename(A, B), Truncate(B, 5000), Punch(B, 0, 4096), Batch(0, 3, 4), Symlink(C), Unlink(D, false), RemoveXattr(B, 0), Rmdir(1), Save(B, 100), Exchange(B, (0, 3))]),
    script("always and much", ALWAYS, &[Create(A), Write(A, 0, 200_000, false), Checkpoint(false), Write(A, 100_000, 100_000, false), Save(A, 50_000), Truncate(A, 10), Write(A, 0, 2_200_000, false), Unlink(A, true), Create(A), Forget, Checkpoint(true)]),
    script("without syncs", NONE, &[Create(A), Write(A, 0, 9000, true), Fsync(A, true), Checkpoint(true), Write(A, 0, 9000, false), SyncAll(true), Create(B), Write(B, 0, 300, true), Checkpoint(true), Save(A, 3000), SyncAll(true), Unlink(B, false), Checkpoint(true)]),
    script("starved", STARVED, &[Create(A), Write(A, 0, 120_000, false), Fsync(A, true), Create(B), Write(B, 0, 120_000, false), Write(A, 60_000, 60_000, false), SyncAll(true), Batch(0, 20, 30), Rename(A, B), Fsync(B, true), Truncate(B, 5000), Checkpoint(true)]),
    script("everything at once", SMALL, &[Mkdir(1), Create(A), Create(D), Write(A, 0, 60_000, false), Fsync(A, false), Write(D, 0, 300, true), SetXattr(D, 0, 50), SyncAll(false), Save(D, 5000), Checkpoint(false), Punch(A, 8192, 8192), Turns(15), Rename(D, A), Link(A, E), Fsync(A, true), Batch(1, 3, 5), Unlink(E, false), Zero(A, 0, 2000, true), SyncAll(true), Checkpoint(true)]),
];
