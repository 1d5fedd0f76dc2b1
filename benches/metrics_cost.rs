//! What metrics cost: throughput and median latency of a mount that measures and is scraped every second, beside those of one that does
//! not (`http.listen: off`): `cargo bench --bench metrics_cost` (`make metrics-cost`).
//!
//! Two volumes on one disk, mounted at the same time, settings as they are by default. A round is three short slices, each in a turn of its own:
//! one with metrics, two without. The figure is the median, over all rounds, of the ratio of the first to the second, above 1 where metrics
//! cost something: what the machine does meanwhile meets all three alike. The noise beside it is the same for the third and the second, and
//! would be 1 on a machine without any. Wanted is less than 1 % beyond the noise. Every byte that is read is compared, outside of the times.
//! `cargo test` runs one small round.

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

const FULL: Scale = Scale { rounds: 301, slice: Duration::from_millis(50), file_bytes: 256 * MIB };
const SMALL: Scale = Scale { rounds: 1, slice: Duration::from_millis(200), file_bytes: 8 * MIB };

/// A mount is scraped once in so many of its slices: every second, with all three.
const SCRAPED_EVERY: usize = 7;

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
    slices: usize,
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
        Self { volume, mount, is_measured: listen != "off", file, content, buffer, numbers: Numbers(9), next: 0, slices: 0 }
    }

    /// Does something again and again for the time of a slice; each time it says how long it took.
    fn repeat(&mut self, slice: Duration, mut act: impl FnMut(&mut Self) -> Duration) -> Sample {
        let (began, mut took) = (Instant::now(), Vec::new());
        let mut is_scraped = !self.is_measured || self.slices % SCRAPED_EVERY != 0;
        self.slices += 1;
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

/// Has the sides do it in turn, and prints what metrics cost.
fn compare(name: &str, scale: Scale, sides: &mut [Side; 2], act: fn(&mut Side) -> Duration) {
    let mut rounds: Vec<[Sample; 3]> = Vec::new();
    for round in 0..scale.rounds {
        let mut samples = [(0.0, 0.0); 3];
        for turn in 0..3 {
            let which = (round + turn) % 3;
            samples[which] = sides[which.min(1)].repeat(scale.slice, act);
        }
        rounds.push(samples);
    }
    let of = |take: fn(&[Sample; 3]) -> f64| median(rounds.iter().map(take).collect());
    println!(
        "{name:<12} {:9.1}/s with metrics: {:.4} (noise {:.4}); median {:7.1} us: {:.4} (noise {:.4})",
        of(|round| round[0].0),
        of(|round| round[1].0 / round[0].0),
        of(|round| round[1].0 / round[2].0),
        of(|round| round[0].1),
        of(|round| round[0].1 / round[1].1),
        of(|round| round[2].1 / round[1].1)
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
