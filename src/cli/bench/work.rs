//! The work that is timed: the same on any filesystem.
//!
//! Owns: `Plan`, `Measured`. Must be true: BEN-1 content is known from its place alone, so that every byte that is read is compared; BEN-2 the
//! directory that is made is removed, also after a failure, Ctrl-C and the loss of the terminal. Fails: with a [`Trouble`].

use rustix::fs::{Advice, fadvise};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Bytes of one call for the large file.
const CALL_BYTES: usize = 1 << 20;
const SMALL_BYTES: usize = 4096;
/// Random reads.
const READS: u64 = 2000;
/// Steps of one measurement, for progress.
pub const STEPS: u64 = 6;

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub bytes: u64,
    pub files: u64,
}

/// Why there are no figures.
#[derive(Debug)]
pub enum Trouble {
    Io(&'static str, io::Error),
    /// Something was read that was not written.
    Wrong(String),
    Interrupted,
}

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub struct Measured {
    pub bytes: u64,
    pub files: u64,
    /// With the fsync at the end.
    write_bytes_per_second: f64,
    read_bytes_per_second: f64,
    random_reads_per_second: f64,
    random_read_p99_seconds: f64,
    files_created_per_second: f64,
    files_read_per_second: f64,
    files_removed_per_second: f64,
}

impl Measured {
    /// What, how much, of what; more is better.
    pub fn rows(&self) -> [(&'static str, f64, &'static str); 6] {
        [
            ("write, with fsync", self.write_bytes_per_second, "B/s"),
            ("read", self.read_bytes_per_second, "B/s"),
            ("random 4 KiB reads", self.random_reads_per_second, "/s"),
            ("small files, created", self.files_created_per_second, "/s"),
            ("small files, read", self.files_read_per_second, "/s"),
            ("small files, removed", self.files_removed_per_second, "/s"),
        ]
    }
}

/// Whether a signal has asked for the end; one for all measurements, so that none is missed between two of them.
#[derive(Clone, Default)]
pub struct Ended(Arc<AtomicBool>);

impl Ended {
    /// Listens from now on.
    pub fn listen() -> Result<Self, Trouble> {
        let ended = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, ended.0.clone()).map_err(at("cannot listen to signals"))?;
        }
        Ok(ended)
    }
}

/// A directory that goes away.
struct Place {
    dir: PathBuf,
    ended: Ended,
}

impl Place {
    fn new(parent: &Path, ended: Ended) -> Result<Self, Trouble> {
        let dir = parent.join(format!(".infmap-bench-{}", std::process::id()));
        fs::create_dir(&dir).map_err(at("cannot make a directory"))?;
        Ok(Self { dir, ended })
    }

    fn go_on(&self) -> Result<(), Trouble> {
        if self.ended.0.load(Ordering::Acquire) { Err(Trouble::Interrupted) } else { Ok(()) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn at(what: &'static str) -> impl FnOnce(io::Error) -> Trouble {
    move |error| Trouble::Io(what, error)
}

/// Content that no compressor shortens, and that is known from its place (splitmix64).
fn fill(seed: u64, out: &mut [u8]) {
    for (number, part) in (0u64..).zip(out.chunks_mut(8)) {
        let mut z = seed.wrapping_add(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        for (byte, value) in part.iter_mut().zip((z ^ (z >> 31)).to_le_bytes()) {
            *byte = value;
        }
    }
}

/// The content of a block of 4 KiB of a file.
fn block(file: u64, number: u64, out: &mut [u8]) {
    fill((file << 40).wrapping_add(number.wrapping_mul(SMALL_BYTES as u64)), out);
}

fn compare(file: &str, offset: u64, seen: &[u8], wanted: &[u8]) -> Result<(), Trouble> {
    match seen.iter().zip(wanted).position(|(a, b)| a != b) {
        None if seen.len() == wanted.len() => Ok(()),
        found => {
            let byte = offset + found.unwrap_or(seen.len().min(wanted.len())) as u64;
            Err(Trouble::Wrong(format!("byte {byte} of {file} is not what was written")))
        }
    }
}

/// Does the work in a directory of its own below `parent`.
pub fn measure(parent: &Path, plan: Plan, ended: &Ended, step: &mut dyn FnMut()) -> Result<Measured, Trouble> {
    let place = Place::new(parent, ended.clone())?;
    place.go_on()?;
    let blocks = plan.bytes / SMALL_BYTES as u64;
    let bytes = blocks * SMALL_BYTES as u64;
    let large = place.dir.join("large");
    let mut measured = Measured { bytes, files: plan.files, ..Measured::default() };
    measured.write_bytes_per_second = per_second(bytes, write(&place, &large, bytes)?);
    step();
    measured.read_bytes_per_second = per_second(bytes, read(&place, &large, bytes)?);
    step();
    let mut times = random(&place, &large, blocks)?;
    let all: f64 = times.iter().sum();
    measured.random_reads_per_second = per_second(READS, all);
    times.sort_by(f64::total_cmp);
    measured.random_read_p99_seconds = times.get(times.len() * 99 / 100).copied().unwrap_or(0.0);
    step();
    let name = |number: u64| place.dir.join(format!("{}", number / 100)).join(format!("{number}"));
    let (mut content, mut wanted) = (vec![0; SMALL_BYTES], vec![0; SMALL_BYTES]);
    let began = Instant::now();
    for number in 0..plan.files {
        if number % 100 == 0 {
            place.go_on()?;
            fs::create_dir(place.dir.join(format!("{}", number / 100))).map_err(at("cannot make a directory"))?;
        }
        block(number + 1, 0, &mut content);
        fs::write(name(number), &content).map_err(at("cannot write a small file"))?;
    }
    measured.files_created_per_second = per_second(plan.files, began.elapsed().as_secs_f64());
    step();
    let mut time = 0.0;
    for number in 0..plan.files {
        place.go_on()?;
        let began = Instant::now();
        content = fs::read(name(number)).map_err(at("cannot read a small file"))?;
        time += began.elapsed().as_secs_f64();
        block(number + 1, 0, &mut wanted);
        compare("a small file", 0, &content, &wanted)?;
    }
    measured.files_read_per_second = per_second(plan.files, time);
    step();
    let began = Instant::now();
    for number in 0..plan.files {
        place.go_on()?;
        fs::remove_file(name(number)).map_err(at("cannot remove a small file"))?;
    }
    measured.files_removed_per_second = per_second(plan.files, began.elapsed().as_secs_f64());
    step();
    Ok(measured)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(1e-9)
}

/// Seconds, without those that making the content took.
fn write(place: &Place, path: &Path, bytes: u64) -> Result<f64, Trouble> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(at("cannot make the large file"))?;
    let (mut content, mut time, mut offset) = (vec![0; CALL_BYTES], 0.0, 0);
    while offset < bytes {
        place.go_on()?;
        let length = (bytes - offset).min(CALL_BYTES as u64) as usize;
        let part = content.get_mut(..length).unwrap_or_default();
        for (number, out) in (offset / SMALL_BYTES as u64..).zip(part.chunks_mut(SMALL_BYTES)) {
            block(0, number, out);
        }
        let began = Instant::now();
        file.write_all(part).map_err(at("cannot write the large file"))?;
        time += began.elapsed().as_secs_f64();
        offset += length as u64;
    }
    let began = Instant::now();
    file.sync_all().map_err(at("cannot sync the large file"))?;
    Ok(time + began.elapsed().as_secs_f64())
}

fn read(place: &Place, path: &Path, bytes: u64) -> Result<f64, Trouble> {
    let file = File::open(path).map_err(at("cannot open the large file"))?;
    // What the kernel keeps of it was synced, so that it may go.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    let (mut content, mut wanted, mut time, mut offset) = (vec![0; CALL_BYTES], vec![0; SMALL_BYTES], 0.0, 0);
    while offset < bytes {
        place.go_on()?;
        let length = (bytes - offset).min(CALL_BYTES as u64) as usize;
        let part = content.get_mut(..length).unwrap_or_default();
        let began = Instant::now();
        file.read_exact_at(part, offset).map_err(at("cannot read the large file"))?;
        time += began.elapsed().as_secs_f64();
        for (number, seen) in (offset / SMALL_BYTES as u64..).zip(part.chunks(SMALL_BYTES)) {
            block(0, number, &mut wanted);
            compare("the large file", number * SMALL_BYTES as u64, seen, &wanted)?;
        }
        offset += length as u64;
    }
    Ok(time)
}

/// The time of each read.
fn random(place: &Place, path: &Path, blocks: u64) -> Result<Vec<f64>, Trouble> {
    let file = File::open(path).map_err(at("cannot open the large file"))?;
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    let _ = fadvise(&file, 0, None, Advice::Random);
    let (mut seen, mut wanted, mut times) = (vec![0; SMALL_BYTES], vec![0; SMALL_BYTES], Vec::new());
    for number in 0..READS {
        place.go_on()?;
        let mut bytes = [0; 8];
        fill(number.wrapping_add(1 << 50), &mut bytes);
        let at_block = u64::from_le_bytes(bytes) % blocks;
        let began = Instant::now();
        file.read_exact_at(&mut seen, at_block * SMALL_BYTES as u64).map_err(at("cannot read the large file"))?;
        times.push(began.elapsed().as_secs_f64());
        block(0, at_block, &mut wanted);
        compare("the large file", at_block * SMALL_BYTES as u64, &seen, &wanted)?;
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_there_and_nothing_is_left() {
        let temp = tempfile::tempdir().expect("a directory");
        let mut steps = 0;
        let measured = measure(temp.path(), Plan { bytes: 3 << 20, files: 150 }, &Ended::default(), &mut || steps += 1).expect("measured");
        assert!(measured.rows().iter().all(|(_, figure, _)| *figure > 0.0) && steps == STEPS, "{measured:?}");
        assert_eq!(fs::read_dir(temp.path()).expect("listed").count(), 0);
        assert!(matches!(
            measure(Path::new("/nonexistent"), Plan { bytes: 1 << 20, files: 1 }, &Ended::default(), &mut || ()),
            Err(Trouble::Io(..))
        ));
    }

    /// Meant to fail when each measurement had a word of its own from the signals: one between the two was heard by nobody.
    #[test]
    fn who_asks_for_the_end_between_two_measurements_is_heard() {
        let temp = tempfile::tempdir().expect("a directory");
        let (ended, plan) = (Ended::listen().expect("it listens"), Plan { bytes: 1 << 20, files: 1 });
        measure(temp.path(), plan, &ended, &mut || ()).expect("measured");
        signal_hook::low_level::raise(SIGHUP).expect("sent");
        assert!(matches!(measure(temp.path(), plan, &ended, &mut || ()), Err(Trouble::Interrupted)));
        assert_eq!(fs::read_dir(temp.path()).expect("listed").count(), 0);
    }

    #[test]
    fn a_byte_that_is_another_is_told_with_its_place() {
        let (mut a, mut b) = (vec![0; 4096], vec![0; 4096]);
        block(3, 7, &mut a);
        block(3, 7, &mut b);
        assert!(compare("f", 0, &a, &b).is_ok());
        b[100] ^= 1;
        assert!(matches!(compare("f", 8192, &a, &b), Err(Trouble::Wrong(what)) if what == "byte 8292 of f is not what was written"));
        assert!(compare("f", 0, &a[..10], &a).is_err());
        block(4, 7, &mut b);
        assert_ne!(a, b);
    }
}
