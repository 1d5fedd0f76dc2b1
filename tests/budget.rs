//! A file far larger than memory goes through the smallest preset, and the daemon stays small.
//!
//! Four gibibytes are `make small`, which prints the peak; a sixteenth of it runs always.

mod common;

use common::{Numbers, SOURCE, Volume, can_mount};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

const CHUNK: usize = 1 << 20;
/// The most that the daemon may ever have had in memory, in KiB: 50 MB. A program that is not optimised has 4 MiB more of itself there.
const PEAK_KIB: u64 = 50_000_000 / 1024 + if cfg!(debug_assertions) { 4096 } else { 0 };

/// Chunk after chunk of a text that does not repeat itself: half of them random, half such as compress.
fn chunk(number: u64, out: &mut [u8]) {
    if number.is_multiple_of(2) {
        return Numbers(number).fill(out);
    }
    let mut numbers = Numbers(number);
    for line in out.chunks_mut(64) {
        let text = format!("{:016x} is a number of chunk {number:<20} and here a line ends\n", numbers.next());
        line.copy_from_slice(&text.as_bytes()[..line.len()]);
    }
}

/// Writes `bytes` and reads them back through `config/presets/small.yaml`, before and after another mount.
fn stream(bytes: u64) {
    if !can_mount() {
        return;
    }
    let preset = Path::new(SOURCE).join("config/presets/small.yaml");
    let preset = ["--config", preset.to_str().expect("UTF-8")];
    let volume = Volume::new();
    let mount = volume.mount_with(&preset);
    let count = bytes / CHUNK as u64;
    let mut expected = vec![0; CHUNK];
    let started = Instant::now();
    let mut file = File::create(mount.path("large")).expect("a file");
    for number in 0..count {
        chunk(number, &mut expected);
        file.write_all(&expected).expect("written");
    }
    file.sync_all().expect("synced");
    drop(file);
    let report = |mount: &common::Mount, verb: &str, started: Instant| {
        let (peak, now) = (mount.memory_kib("VmHWM"), mount.memory_kib("VmRSS"));
        let rate = bytes as f64 / started.elapsed().as_secs_f64() / (1 << 20) as f64;
        println!("{} MiB {verb} at {rate:.0} MiB/s: peak {peak} KiB = {:.1} MB, now {now} KiB", bytes >> 20, peak as f64 * 1.024e-3);
        peak
    };
    let mut peaks = vec![report(&mount, "written", started)];
    mount.unmount();
    let mount = volume.mount_with(&preset);
    let started = Instant::now();
    let mut file = File::open(mount.path("large")).expect("it is there");
    let mut found = vec![0; CHUNK];
    for number in 0..count {
        chunk(number, &mut expected);
        file.read_exact(&mut found).unwrap_or_else(|error| panic!("chunk {number}: {error}"));
        assert!(found == expected, "chunk {number} differs");
    }
    assert_eq!(file.read(&mut found).expect("the end"), 0);
    drop(file);
    peaks.push(report(&mount, "read", started));
    mount.unmount();
    volume.check();
    let peak = peaks.into_iter().max().unwrap_or(0);
    assert!(peak < PEAK_KIB, "the daemon had {peak} KiB in memory, {PEAK_KIB} are allowed");
}

#[test]
fn a_quarter_gibibyte_streams_through_the_smallest_preset() {
    stream(256 << 20);
}

#[test]
#[ignore = "make small"]
fn four_gibibytes_stream_through_the_smallest_preset() {
    stream(4 << 30);
}
