//! What an access log says: which requests took the time, how long each kind takes, which inodes are asked for, and in which order.
//!
//! Owns: `Profile`. Must be true: PRF-1 a line that is none is counted and passed over; PRF-2 memory is bounded whatever the file holds: kinds
//! of requests, and inodes, beyond a number are counted together. Fails: with the error of whoever reads.

mod histogram;
mod report;

pub use report::{Hot, OpReport, Report, SizeCount, Stream};

use crate::fuse::ACCESS_HEAD;
use histogram::Histogram;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, Read};

/// Bytes of a line at most; a longer one is none.
const LINE_MAX_BYTES: u64 = 256;
/// Kinds of requests that are told apart: more than there are.
const OPS_MAX: usize = 64;
/// Inodes that are told apart.
const INODES_MAX: usize = 1_000_000;

/// One line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Microseconds since 1970 at which it began.
    pub at_us: u64,
    pub op: &'a str,
    pub inode: u64,
    pub offset: u64,
    pub size: u64,
    /// `None`: it was done.
    pub errno: Option<&'a str>,
    pub took_us: u64,
}

impl<'a> Line<'a> {
    /// Reads `time_us op inode offset size errno took_us`.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut fields = text.split(' ');
        let mut next = || fields.next();
        let (at_us, op) = (next()?.parse().ok()?, next()?);
        let (inode, offset, size) = (next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?);
        let (errno, took_us) = (next()?, next()?.parse().ok()?);
        let is_word =
            |word: &str, letter: fn(&u8) -> bool| (1..=20).contains(&word.len()) && word.bytes().all(|byte| letter(&byte) || byte == b'_');
        let is_whole = next().is_none() && is_word(op, u8::is_ascii_lowercase) && is_word(errno, u8::is_ascii_alphanumeric);
        is_whole.then_some(Self { at_us, op, inode, offset, size, errno: (errno != "ok").then_some(errno), took_us })
    }

    /// Whether it moves bytes of a file.
    #[must_use]
    pub fn moves_bytes(&self) -> bool {
        self.errno.is_none() && matches!(self.op, "read" | "write")
    }
}

/// Calls `take` with each line of a log. Returns the lines that are none, and the requests that the log itself says it dropped.
///
/// # Errors
/// Those of the reader.
pub fn lines(from: &mut dyn BufRead, mut take: impl FnMut(&Line<'_>)) -> io::Result<(u64, u64)> {
    let (mut bad, mut dropped, mut bytes) = (0, 0, Vec::new());
    loop {
        bytes.clear();
        if from.take(LINE_MAX_BYTES).read_until(b'\n', &mut bytes)? == 0 {
            return Ok((bad, dropped));
        }
        if bytes.last() != Some(&b'\n') && bytes.len() as u64 == LINE_MAX_BYTES {
            bad += 1;
            skip_line(from)?;
            continue;
        }
        let text = std::str::from_utf8(&bytes).unwrap_or("\0").trim_end_matches('\n');
        if let Some(note) = text.strip_prefix("# dropped ") {
            match note.parse::<u64>() {
                Ok(count) => dropped = u64::saturating_add(dropped, count),
                Err(_) => bad += 1,
            }
        } else if let Some(line) = Line::parse(text) {
            take(&line);
        } else if text != ACCESS_HEAD {
            bad += 1;
        }
    }
}

/// Passes over the rest of a line.
fn skip_line(from: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let held = from.fill_buf()?;
        let (length, is_end) = match held.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (held.len(), held.is_empty()),
        };
        from.consume(length);
        if is_end {
            return Ok(());
        }
    }
}

/// What is counted of one kind of request.
#[derive(Default)]
struct Op {
    errors: BTreeMap<String, u64>,
    bytes: u64,
    took: Histogram,
    /// By the next power of two.
    sizes: BTreeMap<u64, u64>,
    /// Of those that move bytes: how many go on where the last one of their inode ended, and how many there could have been.
    sequential: u64,
    followers: u64,
}

/// What is counted of one inode.
#[derive(Default)]
struct Inode {
    requests: u64,
    bytes: u64,
    took_us: u64,
    /// Where the last read and the last write ended.
    ends: [Option<u64>; 2],
}

/// Everything that was read so far.
#[derive(Default)]
pub struct Profile {
    ops: BTreeMap<String, Op>,
    inodes: HashMap<u64, Inode>,
    requests: u64,
    bad: u64,
    dropped: u64,
    first_us: Option<u64>,
    last_us: u64,
}

impl Profile {
    /// Takes a log in. Several are taken in their order.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn read(&mut self, from: &mut dyn BufRead) -> io::Result<()> {
        let (bad, dropped) = lines(from, |line| self.take(line))?;
        self.bad = self.bad.saturating_add(bad);
        self.dropped = self.dropped.saturating_add(dropped);
        Ok(())
    }

    fn take(&mut self, line: &Line<'_>) {
        self.requests += 1;
        self.first_us = Some(self.first_us.map_or(line.at_us, |first| first.min(line.at_us)));
        self.last_us = self.last_us.max(line.at_us.saturating_add(line.took_us));
        let name = if self.ops.len() < OPS_MAX || self.ops.contains_key(line.op) { line.op } else { "others" };
        if !self.ops.contains_key(name) {
            self.ops.insert(name.to_string(), Op::default());
        }
        let Some(op) = self.ops.get_mut(name) else { return };
        op.took.add(line.took_us);
        if let Some(errno) = line.errno {
            let known = if op.errors.len() < OPS_MAX { errno } else { "others" };
            *op.errors.entry(known.to_string()).or_default() += 1;
        }
        // What was asked for: of a read beyond the end fewer bytes were given.
        let bytes = if line.moves_bytes() { line.size } else { 0 };
        op.bytes = op.bytes.saturating_add(bytes);
        let is_full = self.inodes.len() >= INODES_MAX && !self.inodes.contains_key(&line.inode);
        let inode = self.inodes.entry(if is_full { u64::MAX } else { line.inode }).or_default();
        inode.requests += 1;
        inode.bytes = inode.bytes.saturating_add(bytes);
        inode.took_us = inode.took_us.saturating_add(line.took_us);
        if line.moves_bytes() {
            *op.sizes.entry(line.size.checked_next_power_of_two().unwrap_or(u64::MAX)).or_default() += 1;
            let [read, written] = &mut inode.ends;
            let end = if line.op == "read" { read } else { written };
            op.followers += u64::from(end.is_some());
            op.sequential += u64::from(*end == Some(line.offset));
            *end = Some(line.offset.saturating_add(line.size));
        }
    }

    /// What it comes to, with so many of the hottest inodes.
    #[must_use]
    pub fn report(&self, hottest: usize) -> Report {
        Report::of(self, hottest)
    }
}

#[cfg(test)]
mod tests;
