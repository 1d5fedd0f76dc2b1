//! A mixed load whose writers remember what an fsync has promised, and judge after a crash what is there.
//!
//! Owns: the writers of `kill`. Must be true: a promise is recorded after the fsync has answered, an attempt before it is made; so what
//! is found must lie between the two. What is found after a crash counts as promised from then on, for recovery makes durable what
//! it shows. Fails: `judge` panics with the path and what is wrong with it.

mod files;
mod names;

pub use files::{Appender, Creator, Overwriter};
pub use names::{Churner, Saver};

use crate::common::Numbers;
use std::io;
use std::path::Path;

/// One writer, with a directory of its own.
pub trait Writer: Send {
    /// Name of its directory.
    fn name(&self) -> String;

    /// One step; calls `promised` whenever an fsync has answered. An error means that the mount is gone.
    fn step(&mut self, dir: &Path, numbers: &mut Numbers, promised: &mut dyn FnMut()) -> io::Result<()>;

    /// Requires that what was promised is there. Returns the number of promises that it has looked at.
    fn judge(&mut self, dir: &Path) -> usize;
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
