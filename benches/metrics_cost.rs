//! What metrics cost: throughput and median latency of a mount that measures and is scraped every second, beside those of one that does
//! not (`http.listen: off`): `cargo bench --bench metrics_cost` (`make metrics-cost`).
//!
//! Two volumes on one disk, mounted at the same time, settings as they are by default. They take turns by the slice, and which begins changes
//! from round to round, because machines are noisy. The figure is the ratio of the medians of all slices, above 1 where metrics cost
//! something. Beside it stands the noise: the same ratio for two halves of the slices without metrics, as they came. Wanted is less than 1 %
//! beyond that. Every byte that is read is compared, outside of the times. `cargo test` runs one small round.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Mount, Numbers, Volume, can_mount};
use infmap::control::client;
use infmap_storage::buffer::AlignedBuf;
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
const PIECE: usize = 4096;
/// Small files that are made before they are removed again.
const FILES: usize = 64;

/// How much is done, and for how long.
#[derive(Clone, Copy)]
struct Scale {
    rounds: usize,
    slice: Duration,
    file_bytes: usize,
}

const FULL: Scale = Scale { rounds: 60, slice: Duration::from_millis(500), file_bytes: 256 * MIB };
const SMALL: Scale = Scale { rounds: 1, slice: Duration::from_millis(200), file_bytes: 8 * MIB };

/// One of the two mounts, and what is done with it.
struct Side {
    volume: Volume,
    mount: Mount,
    is_measured: bool,
    file: File,
    content: Vec<u8>,
    buffer: AlignedBuf,
    numbers: Numbers,
    next: usize,
}

/// Of one slice: operations a second, and the median of the microseconds of each.
type Sample = (f64, f64);

impl Side {
    fn new(listen: &str, scale: Scale) -> Self {
        let volume = Volume::new();
        let mount = volume.mount_with(&["--set", &format!("http.listen={listen}")]);
        let mut content = vec![0; scale.file_bytes];
        Numbers(3).fill(&mut content);
        fs::write(mount.path("file"), &content).expect("written");
        let flags = i32::try_from(OFlags::DIRECT.bits()).expect("a flag");
        let file = File::options().read(true).write(true).custom_flags(flags).open(mount.path("file")).expect("opened");
        file.sync_all().expect("synced");
        let buffer = AlignedBuf::zeroed(MIB);
        Self { volume, mount, is_measured: listen != "off", file, content, buffer, numbers: Numbers(9), next: 0 }
    }

    /// Does something again and again for the time of a slice; each time it says how long it took.
    fn repeat(&mut self, slice: Duration, mut act: impl FnMut(&mut Self) -> Duration) -> Sample {
        let (began, mut took) = (Instant::now(), Vec::new());
        let mut is_scraped = !self.is_measured;
        while began.elapsed() < slice {
            took.push(act(self).as_secs_f64() * 1e6);
            // In the middle of it, as Prometheus would.
            if !is_scraped && began.elapsed() > slice / 2 {
                is_scraped = true;
                assert!(client::metrics(&self.volume.path()).expect("it is measured").contains("infmap_fuse_requests_total"));
            }
        }
        let rate = took.len() as f64 / (took.iter().sum::<f64>() / 1e6);
        (rate, median(took))
    }

    fn forward(&mut self) -> usize {
        let at = self.next;
        self.next = (self.next + MIB) % (self.content.len() / MIB * MIB);
        at
    }

    fn write(&mut self) -> Duration {
        let at = self.forward();
        self.buffer.copy_from_slice(&self.content[at..at + MIB]);
        timed(|| self.file.write_all_at(&self.buffer, at as u64).expect("written"))
    }

    fn read(&mut self, at: usize, length: usize) -> Duration {
        let buffer = &mut self.buffer[..length];
        let took = timed(|| self.file.read_exact_at(buffer, at as u64).expect("read"));
        assert!(buffer == &self.content[at..at + length], "other bytes than were written at {at}");
        took
    }

    fn read_forward(&mut self) -> Duration {
        let at = self.forward();
        self.read(at, MIB)
    }

    fn read_anywhere(&mut self) -> Duration {
        let at = self.numbers.below((self.content.len() / PIECE) as u64) as usize * PIECE;
        self.read(at, PIECE)
    }

    /// Makes a small file, or takes one away.
    fn small_file(&mut self) -> Duration {
        let number = self.next / MIB % (2 * FILES);
        self.next += MIB;
        let path = self.mount.path(&format!("small-{}", number % FILES));
        if number < FILES {
            timed(|| fs::write(&path, &self.content[..1000]).expect("written"))
        } else {
            // Of an earlier slice, which ended in between, there may be none.
            timed(|| drop(fs::remove_file(&path)))
        }
    }
}

fn timed(act: impl FnOnce()) -> Duration {
    let began = Instant::now();
    act();
    began.elapsed()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The ratio of two medians.
fn ratio(above: impl Iterator<Item = f64>, below: impl Iterator<Item = f64>) -> f64 {
    median(above.collect()) / median(below.collect())
}

/// Has both sides do it in turn, and prints what metrics cost.
fn compare(name: &str, scale: Scale, sides: &mut [Side; 2], act: fn(&mut Side) -> Duration) {
    let mut samples: [Vec<Sample>; 2] = Default::default();
    for turn in 0..2 * scale.rounds {
        let side = (turn + turn / 2) % 2;
        samples[side].push(sides[side].repeat(scale.slice, act));
    }
    let [with, without] = &samples;
    let half =
        |which| without.iter().enumerate().filter(move |(turn, _)| turn % 2 == which || without.len() == 1).map(|(_, sample)| *sample);
    let (rate, latency) = (|sample: &Sample| sample.0, |sample: &Sample| sample.1);
    let cost = ratio(without.iter().map(rate), with.iter().map(rate));
    let cost_latency = ratio(with.iter().map(latency), without.iter().map(latency));
    let noise = ratio(half(0).map(|sample| sample.0), half(1).map(|sample| sample.0));
    let noise_latency = ratio(half(0).map(|sample| sample.1), half(1).map(|sample| sample.1));
    println!(
        "{name:<18} {:9.1}/s with metrics: {cost:.4} (noise {noise:.4}); median {:8.1} us: {cost_latency:.4} (noise {noise_latency:.4})",
        median(with.iter().map(rate).collect()),
        median(with.iter().map(latency).collect())
    );
}

fn main() {
    if !can_mount() {
        return;
    }
    let is_full = std::env::args().any(|argument| argument == "--bench");
    let scale = if is_full { FULL } else { SMALL };
    let mut sides = [Side::new("127.0.0.1:0", scale), Side::new("off", scale)];
    assert!(client::metrics(&sides[1].volume.path()).is_err(), "nothing is measured there");
    compare("write 1 MiB", scale, &mut sides, Side::write);
    compare("read 1 MiB", scale, &mut sides, Side::read_forward);
    compare("read 4 KiB", scale, &mut sides, Side::read_anywhere);
    compare("small files", scale, &mut sides, Side::small_file);
    for Side { volume, mount, file, .. } in sides {
        drop(file);
        mount.unmount();
        drop(volume);
    }
    println!("{} rounds of {} s each", scale.rounds, scale.slice.as_secs_f64());
}
