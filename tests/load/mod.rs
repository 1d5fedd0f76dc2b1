//! A mixed load whose writers remember what an fsync has promised, and judge after a crash what is there.
//!
//! Owns: the writers of `kill` and `power`. Must be true: a promise is recorded after the fsync has answered, an attempt before it is made; so what
//! is found must lie between the two. What is found after a crash counts as promised from then on, for recovery makes durable what
//! it shows. Fails: `judge` panics with the path and what is wrong with it.

mod files;
mod names;

pub use files::{Appender, Creator, Overwriter};
pub use names::{Churner, Saver};

use crate::common::Numbers;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

/// One writer, with a directory of its own.
pub trait Writer: Send {
    /// Name of its directory.
    fn name(&self) -> String;

    /// One step; calls `promised` whenever an fsync has answered. An error means that the mount is gone.
    fn step(&mut self, dir: &Path, numbers: &mut Numbers, promised: &mut dyn FnMut()) -> io::Result<()>;

    /// Requires that what was promised is there. Returns the number of promises that it has looked at.
    fn judge(&mut self, dir: &Path) -> usize;
}

/// One of each, and two of those that make new files, so that syncs meet.
pub fn writers() -> Vec<Box<dyn Writer>> {
    vec![
        Box::new(Creator::new(1)),
        Box::new(Creator::new(2)),
        Box::new(Appender::new(3)),
        Box::new(Appender::new(4)),
        Box::new(Overwriter::new(5)),
        Box::new(Saver::new(6)),
        Box::new(Saver::new(7)),
        Box::new(Churner::new(8)),
    ]
}

/// Lets all writers run at once below a directory until `promises` fsyncs have answered, and ends it there: from then on errors are no fault.
pub fn run_until(dir: &Path, writers: &mut [Box<dyn Writer>], seed: u64, promises: u64, end: impl FnOnce()) {
    let ending = AtomicBool::new(false);
    let (promised, is_promised) = mpsc::channel();
    std::thread::scope(|scope| {
        for (number, writer) in writers.iter_mut().enumerate() {
            let (promised, ending) = (promised.clone(), &ending);
            let dir = dir.join(writer.name());
            let mut numbers = Numbers(seed << 8 | number as u64);
            scope.spawn(move || {
                loop {
                    let done = writer.step(&dir, &mut numbers, &mut || promised.send(()).unwrap_or(()));
                    if let Err(error) = done {
                        assert!(ending.load(Ordering::SeqCst), "{}: {error} although nothing has ended", writer.name());
                        break;
                    }
                }
            });
        }
        drop(promised);
        // Ends early only if all writers have failed, which their own panics explain.
        let _ = is_promised.iter().take(promises as usize).count();
        ending.store(true, Ordering::SeqCst);
        end();
    });
}

/// Requires that what was promised to each writer is there; how many promises each has looked at.
pub fn judge(dir: &Path, writers: &mut [Box<dyn Writer>]) -> Vec<(String, usize)> {
    writers.iter_mut().map(|writer| (writer.name(), writer.judge(&dir.join(writer.name())))).collect()
}

/// The bytes of version `version` of a thing: none is like another.
pub fn content(thing: u64, version: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    // Every other version is text, so that the compressor has something to do.
    if version.is_multiple_of(2) {
        Numbers(thing.wrapping_mul(0x1_0000_0001) ^ version).fill(&mut bytes);
    } else {
        let line = format!("thing {thing} has version {version}\n");
        bytes.iter_mut().zip(line.bytes().cycle()).for_each(|(byte, letter)| *byte = letter);
    }
    bytes
}
