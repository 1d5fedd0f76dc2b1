//! What a scrub costs those who read: the throughput of sequential reads and the latency of random ones of 4 KiB, with a scrub under way
//! and with the same scrub paused: `cargo bench --bench scrub_cost` (`make scrub`).
//!
//! One mount, settings as they are by default; reads past the kernel's page cache, and the daemon's own caches as small as they can be.
//! Both take turns by the second, and which begins changes from round to round, because machines are noisy. Of sequential reads the figure
//! is the ratio of the medians of throughput, of random ones that of the medians of each second's 99th percentile. Every byte is compared,
//! outside of the times. It fails if the scanner did nothing in its seconds, or more than its limit. Wanted are at most 5 % of the
//! throughput and 10 % of the latency: on a machine where nothing else runs. `cargo test` runs one small round.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Mount, Numbers, Volume, can_mount};
use infmap::control::client::ask;
use infmap::control::protocol::{Reply, Request, Scrub, ScrubPlan, ScrubState};
use infmap_storage::buffer::AlignedBuf;
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
const PIECE: usize = 4096;

/// How much is read, and for how long.
#[derive(Clone, Copy)]
struct Scale {
    rounds: usize,
    slice: Duration,
    file_bytes: usize,
    limit: Option<u64>,
}

const FULL: Scale = Scale { rounds: 40, slice: Duration::from_secs(1), file_bytes: 1024 * MIB, limit: None };
const SMALL: Scale = Scale { rounds: 1, slice: Duration::from_secs(1), file_bytes: 24 * MIB, limit: Some(1 << 30) };

/// The scanner of the mount.
struct Scanner<'a> {
    volume: &'a Path,
    limit: Option<u64>,
}

impl Scanner<'_> {
    fn ask(&self, request: &Request) -> Scrub {
        match ask(self.volume, request).expect("the daemon answers") {
            Reply::Scrub(facts) => *facts,
            other => panic!("{request:?}: {other:?}"),
        }
    }

    /// Bytes of all runs.
    fn bytes(&self) -> u64 {
        let facts = self.ask(&Request::Scrub);
        facts.run.iter().chain(&facts.history).map(|run| run.bytes).sum()
    }

    /// Has it work, from the beginning if it came to the end.
    fn work(&self) {
        let request = match self.ask(&Request::Scrub).run.map(|run| run.state) {
            Some(ScrubState::Paused) => Request::ScrubResume,
            Some(_) => return,
            None => Request::ScrubStart(ScrubPlan { limit: self.limit, ..ScrubPlan::default() }),
        };
        self.ask(&request);
    }

    /// Whether it does an image at all: on a slow machine the seconds of a small round are too few for one.
    fn does_an_image(&self) -> bool {
        let began = Instant::now();
        while self.bytes() == 0 && began.elapsed() < Duration::from_secs(60) {
            self.work();
            std::thread::yield_now();
        }
        self.rest();
        self.bytes() > 0
    }

    fn rest(&self) {
        if self.ask(&Request::Scrub).run.is_some_and(|run| run.state == ScrubState::Running) {
            self.ask(&Request::ScrubPause);
        }
    }
}

/// What is read, one after the other or anywhere.
struct Reader {
    file: File,
    content: Vec<u8>,
    buffer: AlignedBuf,
    numbers: Numbers,
    next: usize,
}

impl Reader {
    fn open(mount: &Mount, scale: Scale) -> Self {
        let mut content = vec![0; scale.file_bytes];
        Numbers(3).fill(&mut content);
        fs::write(mount.path("file"), &content).expect("written");
        File::open(mount.path("file")).and_then(|file| file.sync_all()).expect("synced");
        let flags = i32::try_from(OFlags::DIRECT.bits()).expect("a flag");
        let file = File::options().read(true).custom_flags(flags).open(mount.path("file")).expect("opened");
        Self { file, content, buffer: AlignedBuf::zeroed(MIB), numbers: Numbers(9), next: 0 }
    }

    /// Reads and compares; how long the read took.
    fn read(&mut self, at: usize, length: usize) -> Duration {
        let buffer = &mut self.buffer[..length];
        let start = Instant::now();
        self.file.read_exact_at(buffer, at as u64).expect("read");
        let took = start.elapsed();
        assert!(buffer == &self.content[at..at + length], "other bytes than were written at {at}");
        took
    }

    /// MiB a second, one after the other.
    fn sequential(&mut self, slice: Duration) -> f64 {
        let (began, mut took, mut mib) = (Instant::now(), Duration::ZERO, 0);
        while began.elapsed() < slice {
            took += self.read(self.next, MIB);
            mib += 1;
            self.next = (self.next + MIB) % (self.content.len() / MIB * MIB);
        }
        f64::from(mib) / took.as_secs_f64()
    }

    /// The 99th percentile of microseconds, anywhere.
    fn random(&mut self, slice: Duration) -> f64 {
        let (began, mut took) = (Instant::now(), Vec::new());
        while began.elapsed() < slice {
            let at = self.numbers.below((self.content.len() / PIECE) as u64) as usize * PIECE;
            took.push(self.read(at, PIECE).as_secs_f64() * 1e6);
        }
        took.sort_by(f64::total_cmp);
        took[took.len() * 99 / 100]
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Medians with a scrub under way and without, and the bytes a second that the scanner read in its slices.
fn compare(scanner: &Scanner<'_>, scale: Scale, mut measure: impl FnMut(Duration) -> f64) -> (f64, f64, f64) {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let (mut bytes, mut time) = (0, Duration::ZERO);
    for slice in 0..2 * scale.rounds {
        if (slice + slice / 2) % 2 == 0 {
            let before = scanner.bytes();
            scanner.work();
            let began = Instant::now();
            with.push(measure(scale.slice));
            scanner.rest();
            time += began.elapsed();
            bytes += scanner.bytes() - before;
        } else {
            without.push(measure(scale.slice));
        }
    }
    (median(with), median(without), bytes as f64 / time.as_secs_f64())
}

fn main() {
    if !can_mount() {
        return;
    }
    let is_full = std::env::args().any(|argument| argument == "--bench");
    let scale = if is_full { FULL } else { SMALL };
    let volume = Volume::new();
    let mount = volume.mount_with(&["-o", "cache.l1=5%,cache.l2=0%"]);
    let mut reader = Reader::open(&mount, scale);
    let path = volume.path();
    let scanner = Scanner { volume: &path, limit: scale.limit };
    let (with, without, scanned) = compare(&scanner, scale, |slice| reader.sequential(slice));
    let scanned_mib = scanned / MIB as f64;
    println!("sequential   {with:8.0} MiB/s with a scrub of {scanned_mib:.1} MiB/s, {without:8.0} without: {:.3}", with / without);
    assert!(scanned > 0.0 || (!is_full && scanner.does_an_image()), "the scanner did nothing");
    assert!(!is_full || scanned_mib < 21.0, "the scanner is beyond its limit");
    let (with, without, scanned) = compare(&scanner, scale, |slice| reader.random(slice));
    let scanned_mib = scanned / MIB as f64;
    println!(
        "random 4 KiB {with:8.1} us at the 99th percentile with a scrub of {scanned_mib:.1} MiB/s, {without:8.1} without: {:.3}",
        with / without
    );
    assert!(scanned > 0.0 || (!is_full && scanner.does_an_image()), "the scanner did nothing");
    let facts = scanner.ask(&Request::Scrub);
    assert!(facts.run.iter().chain(&facts.history).all(|run| run.found == Default::default()), "{facts:?}");
    drop(reader);
    mount.unmount();
    println!("{} rounds of {} s each", scale.rounds, scale.slice.as_secs_f64());
}
