//! Writers of bytes: new files, appends, overwrites.

use super::{Writer, content};
use crate::common::Numbers;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Makes small files and syncs each: the name is promised with the bytes.
#[derive(Default)]
pub struct Creator {
    pub id: u64,
    next: u64,
    /// Number and length of each file that was promised.
    promised: Vec<(u64, usize)>,
}

impl Creator {
    pub fn new(id: u64) -> Self {
        Self { id, ..Self::default() }
    }

    fn bytes(&self, number: u64, length: usize) -> Vec<u8> {
        content(self.id << 32 | number, number, length)
    }
}

impl Writer for Creator {
    fn name(&self) -> String {
        format!("creator-{}", self.id)
    }

    fn step(&mut self, dir: &Path, numbers: &mut Numbers, promised: &mut dyn FnMut()) -> io::Result<()> {
        let number = self.next;
        self.next += 1;
        // Around what is kept in the tables, around a block, and more.
        let length = [0, 1, 511, 513, 2047, 2049, 4096, 4097, 9000, 70_000][numbers.below(10) as usize];
        let sub = dir.join(format!("{}", number / 50));
        if number.is_multiple_of(50) {
            fs::create_dir(&sub)?;
        }
        let mut file = File::create(sub.join(format!("{number}")))?;
        file.write_all(&self.bytes(number, length))?;
        file.sync_all()?;
        self.promised.push((number, length));
        promised();
        Ok(())
    }

    fn judge(&mut self, dir: &Path) -> usize {
        for &(number, length) in &self.promised {
            let path = dir.join(format!("{}/{number}", number / 50));
            let found = fs::read(&path).unwrap_or_else(|error| panic!("{} was promised: {error}", path.display()));
            assert!(found == self.bytes(number, length), "{}: {} bytes, other than the {length} promised", path.display(), found.len());
        }
        // A directory that was made but not promised may be there or not.
        self.next = self.next.next_multiple_of(50);
        while dir.join(format!("{}", self.next / 50)).exists() {
            self.next += 50;
        }
        self.promised.len()
    }
}

/// Appends to one file; what is found is always a beginning of the same endless text.
pub struct Appender {
    id: u64,
    stream: Vec<u8>,
    promised: usize,
    file: Option<File>,
    count: usize,
}

impl Appender {
    pub fn new(id: u64) -> Self {
        Self { id, stream: Vec::new(), promised: 0, file: None, count: 0 }
    }
}

impl Writer for Appender {
    fn name(&self) -> String {
        format!("appender-{}", self.id)
    }

    fn step(&mut self, dir: &Path, numbers: &mut Numbers, promised: &mut dyn FnMut()) -> io::Result<()> {
        let start = self.stream.len();
        let length = 1 + numbers.below(9000) as usize;
        self.stream.extend(content(self.id, start as u64, length));
        if self.file.is_none() {
            self.file = Some(File::options().append(true).create(true).open(dir.join("log"))?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.stream[start..])?;
            if numbers.below(3) > 0 {
                file.sync_data()?;
                self.promised = self.stream.len();
                self.count += 1;
                promised();
            }
        }
        Ok(())
    }

    fn judge(&mut self, dir: &Path) -> usize {
        self.file = None;
        let path = dir.join("log");
        let found = if self.promised == 0 && !path.exists() { Vec::new() } else { fs::read(&path).expect("what was promised") };
        let (length, promised) = (found.len(), self.promised);
        assert!(length >= promised, "{}: {length} bytes, {promised} were promised", path.display());
        let same = found.iter().zip(&self.stream).take_while(|(is, should)| is == should).count();
        assert!(same == length, "{}: of {length} bytes ({promised} promised) the first wrong one is {same}", path.display());
        self.stream.truncate(length);
        self.promised = length;
        self.count
    }
}

const CELL: usize = 1024;
const CELLS: usize = 8 * 1024;

/// Overwrites cells of one big file, from a part of a block to many; each cell is found at the promised version or a later attempt.
pub struct Overwriter {
    id: u64,
    version: u64,
    /// The version promised for each cell, 0: zeros, and those attempted since.
    cells: Vec<(u64, Vec<u64>)>,
    touched: Vec<usize>,
    file: Option<File>,
    count: usize,
}

impl Overwriter {
    pub fn new(id: u64) -> Self {
        Self { id, version: 0, cells: vec![(0, Vec::new()); CELLS], touched: Vec::new(), file: None, count: 0 }
    }

    fn cell(&self, cell: usize, version: u64) -> Vec<u8> {
        if version == 0 { vec![0; CELL] } else { content(self.id << 32 | cell as u64, version, CELL) }
    }
}

impl Writer for Overwriter {
    fn name(&self) -> String {
        format!("overwriter-{}", self.id)
    }

    fn step(&mut self, dir: &Path, numbers: &mut Numbers, promised: &mut dyn FnMut()) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = File::options().read(true).write(true).create(true).truncate(false).open(dir.join("big"))?;
                file.set_len((CELLS * CELL) as u64)?;
                file
            }
        };
        for _ in 0..1 + numbers.below(3) {
            let count = [1, 2, 4, 5, 64, 300][numbers.below(6) as usize];
            let first = numbers.below((CELLS - count) as u64) as usize;
            self.version += 1;
            let mut bytes = Vec::with_capacity(count * CELL);
            for cell in first..first + count {
                self.cells[cell].1.push(self.version);
                self.touched.push(cell);
                bytes.extend(self.cell(cell, self.version));
            }
            file.write_all_at(&bytes, (first * CELL) as u64)?;
        }
        file.sync_data()?;
        for cell in self.touched.drain(..) {
            let (held, attempts) = &mut self.cells[cell];
            *held = attempts.last().copied().unwrap_or(*held);
            attempts.clear();
        }
        self.count += 1;
        promised();
        self.file = Some(file);
        Ok(())
    }

    fn judge(&mut self, dir: &Path) -> usize {
        self.file = None;
        let path = dir.join("big");
        let mut found = match fs::read(&path) {
            // Not even its size was promised. What was attempted counts no more, or a later sync would seem to promise it.
            found if self.count == 0 => found.unwrap_or_default(),
            found => found.unwrap_or_else(|error| panic!("{} was promised: {error}", path.display())),
        };
        if self.count == 0 {
            found.resize(CELLS * CELL, 0);
        }
        assert_eq!(found.len(), CELLS * CELL, "{}", path.display());
        for cell in 0..CELLS {
            let is = &found[cell * CELL..(cell + 1) * CELL];
            let (promised, attempts) = self.cells[cell].clone();
            let version = std::iter::once(promised).chain(attempts.iter().copied()).find(|&version| is == self.cell(cell, version));
            let old = || (0..=self.version).find(|&version| is == self.cell(cell, version));
            let Some(version) = version else {
                panic!("{}: cell {cell} has version {:?}; promised {promised}, attempted {attempts:?}", path.display(), old())
            };
            self.cells[cell] = (version, Vec::new());
        }
        self.touched.clear();
        self.count
    }
}
