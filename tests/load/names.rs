//! Writers of names: saving as editors do, and churn of files and directories.

use super::{Writer, content};
use crate::common::Numbers;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Replaces a file by a new one of the same name: what is found is one whole version, never an older one than promised.
pub struct Saver {
    id: u64,
    attempted: u64,
    promised: u64,
    count: usize,
}

impl Saver {
    pub fn new(id: u64) -> Self {
        Self { id, attempted: 0, promised: 0, count: 0 }
    }

    fn bytes(&self, version: u64) -> Vec<u8> {
        content(self.id, version, 1 + (version * 7919 % 30_000) as usize)
    }
}

impl Writer for Saver {
    fn name(&self) -> String {
        format!("saver-{}", self.id)
    }

    fn step(&mut self, dir: &Path, numbers: &mut Numbers, promised: &mut dyn FnMut()) -> io::Result<()> {
        self.attempted += 1;
        let mut file = File::create(dir.join("new"))?;
        file.write_all(&self.bytes(self.attempted))?;
        // Without the sync too, whole versions only: a rename that replaces takes the data along.
        if numbers.below(2) == 0 {
            file.sync_all()?;
        }
        drop(file);
        fs::rename(dir.join("new"), dir.join("saved"))?;
        if numbers.below(3) > 0 {
            File::open(dir)?.sync_all()?;
            self.promised = self.attempted;
            self.count += 1;
            promised();
        }
        Ok(())
    }

    fn judge(&mut self, dir: &Path) -> usize {
        let path = dir.join("saved");
        if self.promised == 0 && !path.exists() {
            return 0;
        }
        let found = fs::read(&path).unwrap_or_else(|error| panic!("{} was promised: {error}", path.display()));
        let version = (self.promised.max(1)..=self.attempted).find(|&version| found == self.bytes(version));
        let old = || (0..self.promised).find(|&version| found == self.bytes(version));
        let (length, promised, attempted) = (found.len(), self.promised, self.attempted);
        let what = || format!("{}: {length} bytes, version {:?}; promised {promised}, attempted {attempted}", path.display(), old());
        self.promised = version.unwrap_or_else(|| panic!("{}", what()));
        self.count
    }
}

const NAMES: u64 = 40;

/// Makes and removes files and directories: what is found is what some change left, none older than the last that was promised.
pub struct Churner {
    id: u64,
    /// The names there after the last promise, and after each change since.
    states: Vec<BTreeSet<String>>,
    count: usize,
}

impl Churner {
    pub fn new(id: u64) -> Self {
        Self { id, states: vec![BTreeSet::new()], count: 0 }
    }
}

impl Writer for Churner {
    fn name(&self) -> String {
        format!("churner-{}", self.id)
    }

    fn step(&mut self, dir: &Path, numbers: &mut Numbers, promised: &mut dyn FnMut()) -> io::Result<()> {
        let mut names = self.states.last().cloned().unwrap_or_default();
        let number = numbers.below(NAMES);
        let is_dir = number.is_multiple_of(3);
        let name = format!("{}{number}", if is_dir { "d" } else { "f" });
        let there = !names.insert(name.clone());
        if there {
            names.remove(&name);
        }
        self.states.push(names);
        let path = dir.join(&name);
        match (is_dir, there) {
            (true, false) => fs::create_dir(&path)?,
            (true, true) => fs::remove_dir(&path)?,
            (false, false) => drop(File::create(&path)?),
            (false, true) => fs::remove_file(&path)?,
        }
        if numbers.below(8) == 0 {
            File::open(dir)?.sync_all()?;
            self.states.drain(..self.states.len() - 1);
            self.count += 1;
            promised();
        }
        Ok(())
    }

    fn judge(&mut self, dir: &Path) -> usize {
        let entries = fs::read_dir(dir).expect("the directory was promised");
        let found: BTreeSet<String> = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        let promised = &self.states[0];
        assert!(
            self.states.contains(&found),
            "{}: what is there is no state of the last {} changes; missing since the promise {:?}, new {:?}",
            dir.display(),
            self.states.len() - 1,
            promised.difference(&found).collect::<Vec<_>>(),
            found.difference(promised).collect::<Vec<_>>()
        );
        self.states = vec![found];
        self.count
    }
}
