//! A writer that goes on until there is no room, and knows what it was promised.
//!
//! Owns: `Filler`. Must be true: a file counts as promised when its sync has answered; one that was removed counts no more, from before
//! the removal is tried. Fails: on any error that is not ENOSPC, and on a byte that is not what was promised.

use crate::common::Numbers;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Written,
    NoRoom,
}

/// What an error says; `None`: what it must not say.
pub fn outcome(error: &io::Error) -> Option<Outcome> {
    (error.kind() == ErrorKind::StorageFull).then_some(Outcome::NoRoom)
}

/// Makes files in a directory of its own.
pub struct Filler {
    id: u64,
    next: u64,
    /// Files that were synced, with their length.
    kept: BTreeMap<u64, usize>,
    pub promises: usize,
    pub refused: usize,
}

fn content(id: u64, number: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Numbers(id << 40 ^ number).fill(&mut bytes);
    bytes
}

impl Filler {
    pub fn new(id: u64) -> Self {
        Self { id, next: 0, kept: BTreeMap::new(), promises: 0, refused: 0 }
    }

    fn path(&self, dir: &Path, number: u64) -> PathBuf {
        dir.join(format!("filler-{}-{number}", self.id))
    }

    /// One file of anything between nothing and some MiB.
    pub fn write_one(&mut self, dir: &Path, numbers: &mut Numbers) -> Outcome {
        let length = [0, 100, 3000, 70_000, 1 << 20, 3 << 20, 5 << 20][numbers.below(7) as usize] + numbers.below(5000) as usize;
        self.write(dir, length, numbers.below(4) > 0)
    }

    /// One that needs little room, and a sync.
    pub fn write_small(&mut self, dir: &Path, numbers: &mut Numbers) -> Outcome {
        let length = 100_000 + numbers.below(5000) as usize;
        self.write(dir, length, true)
    }

    fn write(&mut self, dir: &Path, length: usize, sync: bool) -> Outcome {
        let number = self.next;
        self.next += 1;
        let path = self.path(dir, number);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(&content(self.id, number, length))?;
            if sync { file.sync_all() } else { Ok(()) }
        };
        match write() {
            Ok(()) => {
                if sync {
                    self.kept.insert(number, length);
                    self.promises += 1;
                }
                Outcome::Written
            }
            Err(error) => {
                self.refused += 1;
                let outcome = outcome(&error).unwrap_or_else(|| panic!("{}: {error}, and not ENOSPC", path.display()));
                // What is only partly there is of no use, and a removal must always go.
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => panic!("removing {} on a full disk: {error}", path.display()),
                    _ => outcome,
                }
            }
        }
    }

    /// Requires that what was promised can be read.
    pub fn judge(&mut self, dir: &Path) {
        for (&number, &length) in &self.kept {
            let path = self.path(dir, number);
            let found = fs::read(&path).unwrap_or_else(|error| panic!("{} was promised: {error}", path.display()));
            assert!(found == content(self.id, number, length), "{}: other bytes than the {length} promised", path.display());
        }
    }

    /// Removes every other file, and all that were not promised.
    pub fn remove_half(&mut self, dir: &Path, numbers: &mut Numbers) {
        for number in 0..self.next {
            if self.kept.contains_key(&number) && numbers.below(2) == 0 {
                continue;
            }
            self.kept.remove(&number);
            let path = self.path(dir, number);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => panic!("removing {} on a full disk: {error}", path.display()),
                _ => {}
            }
        }
        // Nobody else makes files of these numbers.
        if self.kept.is_empty() {
            self.next = 0;
        }
    }
}
