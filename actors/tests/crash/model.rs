//! What the volume has promised, kept outside of it, and which states it may be found in after a crash.
//!
//! Owns: `Model`: the namespace after each operation, the versions of each file, and how far both are promised. Must be true: MOD-1 the
//! names found are those after some operation, not before the last promise (log order is publication order); MOD-2 every block of a
//! file is of some version not before the promise, less what visible cuts took; MOD-3 a size covers only bytes of versions that had
//! it (BUF-4); MOD-4 a file that was renamed over another is not older than at its rename. Fails: with a sentence that says what is
//! wrong.

use infmap_storage::row::{FileKind, Inode};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const BLOCK: usize = 4096;

/// Content of a file, shared between versions block by block. `None` is zeros.
#[derive(Clone, Default)]
pub struct Content {
    blocks: Arc<Vec<Option<Arc<[u8; BLOCK]>>>>,
    pub size: u64,
}

impl Content {
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (offset as usize, bytes);
        while !rest.is_empty() {
            let (number, within) = (at / BLOCK, at % BLOCK);
            let (piece, others) = rest.split_at(rest.len().min(BLOCK - within));
            self.block_mut(number)[within..within + piece.len()].copy_from_slice(piece);
            (at, rest) = (at + piece.len(), others);
        }
        self.size = self.size.max(offset + bytes.len() as u64);
    }

    pub fn truncate(&mut self, size: u64) {
        if size < self.size {
            Arc::make_mut(&mut self.blocks).truncate((size as usize).div_ceil(BLOCK));
            if !(size as usize).is_multiple_of(BLOCK) && self.blocks.len() > size as usize / BLOCK {
                self.block_mut(size as usize / BLOCK)[size as usize % BLOCK..].fill(0);
            }
        }
        self.size = size;
    }

    /// Makes a range zero; the size stays.
    pub fn clear(&mut self, from: u64, to: u64) {
        let (mut at, end) = (from as usize, (to as usize).min(self.blocks.len() * BLOCK));
        while at < end {
            let (number, within) = (at / BLOCK, at % BLOCK);
            let count = (BLOCK - within).min(end - at);
            if count == BLOCK {
                Arc::make_mut(&mut self.blocks)[number] = None;
            } else {
                self.block_mut(number)[within..within + count].fill(0);
            }
            at += count;
        }
    }

    fn block_mut(&mut self, number: usize) -> &mut [u8; BLOCK] {
        let blocks = Arc::make_mut(&mut self.blocks);
        if blocks.len() <= number {
            blocks.resize(number + 1, None);
        }
        Arc::make_mut(blocks[number].get_or_insert_with(|| Arc::new([0; BLOCK])))
    }

    pub fn block(&self, number: usize) -> &[u8; BLOCK] {
        const ZEROS: &[u8; BLOCK] = &[0; BLOCK];
        self.blocks.get(number).and_then(Option::as_deref).unwrap_or(ZEROS)
    }

    pub fn bytes(&self, from: u64, to: u64) -> Vec<u8> {
        (from.min(self.size)..to.min(self.size)).map(|at| self.block(at as usize / BLOCK)[at as usize % BLOCK]).collect()
    }
}

/// A file after one change of it.
#[derive(Clone)]
struct Version {
    content: Content,
    /// It was cut to this size.
    cut: Option<u64>,
    /// This range was made zero. Whoever finds that need not find what was written before it, nor in the same block.
    cleared: Option<(u64, u64)>,
}

/// The changes of a file since the last promise.
#[derive(Clone)]
pub struct FileHistory {
    versions: Vec<Version>,
    /// Number of the first of them.
    base: u64,
}

impl FileHistory {
    fn new(content: Content) -> Self {
        Self { versions: vec![Version { content, cut: None, cleared: None }], base: 0 }
    }

    pub fn newest(&self) -> &Content {
        &self.versions.last().unwrap().content
    }

    fn number(&self) -> u64 {
        self.base + self.versions.len() as u64 - 1
    }

    fn promised(&mut self, number: u64) {
        let gone = number.saturating_sub(self.base) as usize;
        self.versions.drain(..gone.min(self.versions.len() - 1));
        self.base = self.base.max(number);
    }

    /// Whether what was found is a state that may be, no older than version `least`.
    pub fn admits(&self, found: &Content, least: u64) -> Result<(), String> {
        let first = least.saturating_sub(self.base) as usize;
        let mut cuts: Vec<Option<usize>> = vec![None];
        cuts.extend((first + 1..self.versions.len()).filter(|n| self.versions[*n].cut.is_some()).map(Some));
        let mut why = Vec::new();
        for last_cut in cuts {
            match self.admits_with(found, first, last_cut) {
                Ok(()) => return Ok(()),
                Err(what) => why.push(format!("if the last cut seen is {last_cut:?}: {what}")),
            }
        }
        let shown: Vec<_> = self.versions.iter().map(|version| (version.content.size, version.cut)).collect();
        Err(format!("size {} after versions {shown:?} from {first} on: {}", found.size, why.join("; ")))
    }

    fn admits_with(&self, found: &Content, first: usize, last_cut: Option<usize>) -> Result<(), String> {
        let versions = &self.versions;
        let end = (last_cut.unwrap_or(first) + 1..versions.len()).find(|n| versions[*n].cut.is_some()).unwrap_or(versions.len());
        let cuts: Vec<(usize, u64)> = (first + 1..=last_cut.unwrap_or(first)).filter_map(|n| Some((n, versions[n].cut?))).collect();
        let least = cuts.iter().map(|(_, size)| *size).fold(versions[first].content.size, u64::min);
        let most = versions[last_cut.unwrap_or(first)..end].iter().map(|version| version.content.size).max().unwrap_or(0);
        if found.size < least || found.size > most {
            return Err(format!("the size is not between {least} and {most}"));
        }
        for number in 0..(found.size as usize).div_ceil(BLOCK) {
            let start = number * BLOCK;
            let length = (found.size as usize - start).min(BLOCK);
            let last = (start + length - 1) as u64;
            let gone = cuts.iter().rev().find(|(_, size)| *size <= last).map(|(n, _)| *n);
            let from = match gone {
                None if last < versions[first].content.size => Some(first),
                after => (after.unwrap_or(first)..end).find(|n| versions[*n].content.size > last),
            };
            let Some(from) = from else { return Err(format!("no version has byte {last}")) };
            let shown = &found.block(number)[..length];
            let fits = |n: usize| {
                let cut_at = cuts.iter().filter(|(cut, _)| *cut > n).map(|(_, size)| *size).min().unwrap_or(u64::MAX);
                let kept = usize::try_from(cut_at).unwrap_or(usize::MAX).saturating_sub(start).min(length);
                let mut block = *versions[n].content.block(number);
                let fits = |block: &[u8; BLOCK]| shown[..kept] == block[..kept] && shown[kept..].iter().all(|byte| *byte == 0);
                // Later ranges that were made zero may show, up to any of them.
                let later = versions[n + 1..end].iter().filter_map(|version| version.cleared);
                fits(&block)
                    || later.filter_map(|range| within(range, start)).any(|(from, to)| {
                        block[from..to].fill(0);
                        fits(&block)
                    })
            };
            if !(from..end).any(fits) {
                let older = (0..from).rev().find(|n| fits(*n));
                let zero = if shown.iter().all(|byte| *byte == 0) { ", it is zero" } else { "" };
                return Err(format!("block {number} is of none of the versions {from}..{end} (an older one: {older:?}{zero})"));
            }
        }
        Ok(())
    }
}

/// What a name leads to. An inode number of 0 is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub inode: Inode,
    pub kind: FileKind,
}

/// What the Vat alone changes, in the order of the log.
#[derive(Clone, Default)]
pub struct Names {
    /// By directory and name.
    pub entries: BTreeMap<(Inode, Vec<u8>), Entry>,
    /// Values of extended attributes, by inode and name. Those of an inode without names are nobody's.
    pub xattrs: BTreeMap<(Inode, Vec<u8>), Vec<u8>>,
}

/// What an answered sync covers.
#[derive(Clone, Default)]
pub struct Promise {
    names: u64,
    files: Vec<(Inode, u64)>,
    /// A power cut keeps it too, not only the death of the process.
    firm: bool,
}

/// The record of what happened and what was promised.
#[derive(Clone)]
pub struct Model {
    /// Names after each change, from the last promise on.
    names: Vec<Arc<Names>>,
    base: u64,
    pub files: BTreeMap<Inode, FileHistory>,
    pub targets: BTreeMap<Inode, Vec<u8>>,
    /// From this state of the names on, this file is at least of this version.
    saves: Vec<(u64, Inode, u64)>,
    /// What holds as long as the power does.
    weak: Vec<Promise>,
    /// Promises that were kept in mind.
    pub promises: usize,
    /// Bits of images have flipped: not more than their parity covers.
    pub rotten: bool,
}

/// A volume as it was found.
pub struct Found {
    pub names: Names,
    pub files: BTreeMap<Inode, Content>,
    pub targets: BTreeMap<Inode, Vec<u8>>,
}

impl Model {
    pub fn new() -> Self {
        Self {
            names: vec![Arc::default()],
            base: 0,
            files: BTreeMap::new(),
            targets: BTreeMap::new(),
            saves: Vec::new(),
            weak: Vec::new(),
            promises: 0,
            rotten: false,
        }
    }

    pub fn names(&self) -> &Names {
        self.names.last().unwrap()
    }

    pub fn find(&self, dir: Inode, name: &str) -> Option<Entry> {
        self.names().entries.get(&(dir, name.as_bytes().to_vec())).copied()
    }

    /// The names changed.
    pub fn change_names(&mut self, change: impl FnOnce(&mut Names)) {
        let mut names = self.names().clone();
        change(&mut names);
        self.names.push(Arc::new(names));
    }

    /// The last change of names brought this inode.
    pub fn learn(&mut self, dir: Inode, name: &str, inode: Inode) {
        let names = Arc::make_mut(self.names.last_mut().unwrap());
        let entry = names.entries.get_mut(&(dir, name.as_bytes().to_vec())).unwrap();
        entry.inode = inode;
        if entry.kind == FileKind::Regular {
            self.files.insert(inode, FileHistory::new(Content::default()));
        }
    }

    /// The file is saved by the last change of names: whoever sees that change sees this version.
    pub fn saved(&mut self, inode: Inode) {
        let version = self.files[&inode].number();
        self.saves.push((self.base + self.names.len() as u64 - 1, inode, version));
    }

    pub fn change_file(&mut self, inode: Inode, change: impl FnOnce(&mut Content)) {
        let file = self.files.get_mut(&inode).unwrap();
        let mut content = file.newest().clone();
        let before = content.size;
        change(&mut content);
        let cut = (content.size < before).then_some(content.size);
        file.versions.push(Version { content, cut, cleared: None });
    }

    /// A range is made zero; the file grows to its end if it `extends`.
    pub fn clear_file(&mut self, inode: Inode, (from, to): (u64, u64), extends: bool) {
        self.change_file(inode, |content| {
            content.clear(from, to);
            content.size = if extends { content.size.max(to) } else { content.size };
        });
        if let Some(version) = self.files.get_mut(&inode).and_then(|file| file.versions.last_mut()) {
            version.cleared = Some((from, to));
        }
    }

    /// The last change of a file was refused: nothing was changed.
    pub fn take_back(&mut self, inode: Inode) {
        let versions = &mut self.files.get_mut(&inode).unwrap().versions;
        if versions.len() > 1 {
            versions.pop();
        }
    }

    /// So was the last change of names.
    pub fn take_back_names(&mut self) {
        if self.names.len() > 1 {
            self.names.pop();
        }
    }

    /// What a sync that is asked for now will promise: of one file, or of all.
    pub fn promise(&self, file: Option<Inode>, firm: bool) -> Promise {
        let files = self.files.iter().filter(|(inode, _)| file.is_none_or(|file| file == **inode));
        let names = self.base + self.names.len() as u64 - 1;
        Promise { names, files: files.map(|(inode, file)| (*inode, file.number())).collect(), firm }
    }

    /// It was answered.
    pub fn promised(&mut self, promise: &Promise) {
        if promise.firm {
            self.promises += 1;
            self.keep(promise);
        } else {
            self.weak.push(promise.clone());
        }
    }

    /// The process died and the power did not fail: what was answered is there.
    pub fn killed(&mut self) {
        std::mem::take(&mut self.weak).iter().for_each(|promise| self.keep(promise));
    }

    fn keep(&mut self, promise: &Promise) {
        let gone = promise.names.saturating_sub(self.base) as usize;
        self.names.drain(..gone.min(self.names.len() - 1));
        self.base = self.base.max(promise.names);
        for (inode, number) in &promise.files {
            if let Some(file) = self.files.get_mut(inode) {
                file.promised(*number);
            }
        }
    }

    /// Judges what was found after a crash.
    pub fn admits(&self, found: &Found) -> Result<(), String> {
        let mut why = Vec::new();
        for (n, names) in self.names.iter().enumerate() {
            if !same(names, &found.names) {
                continue;
            }
            match self.admits_files(found, self.base + n as u64) {
                Ok(()) => return Ok(()),
                Err(what) => why.push(what),
            }
        }
        if why.is_empty() {
            let shown = |names: &Names| {
                let one = |((dir, name), entry): (&(Inode, Vec<u8>), &Entry)| {
                    format!("{}/{}={}", dir.0, String::from_utf8_lossy(name), entry.inode.0)
                };
                let attributes = names
                    .xattrs
                    .iter()
                    .map(|((inode, name), value)| format!("{}@{}={} bytes", inode.0, String::from_utf8_lossy(name), value.len()));
                names.entries.iter().map(one).chain(attributes).collect::<Vec<_>>().join(" ")
            };
            let all: Vec<_> = self.names.iter().map(|names| shown(names)).collect();
            return Err(format!("the names [{}] are none of the states promised:\n  {}", shown(&found.names), all.join("\n  ")));
        }
        Err(why.join("\n or "))
    }

    fn admits_files(&self, found: &Found, names: u64) -> Result<(), String> {
        for (inode, content) in &found.files {
            let Some(file) = self.files.get(inode) else {
                // Its creation was not answered: nothing was written to it.
                if content.size == 0 { continue } else { return Err(format!("file {} was never written", inode.0)) }
            };
            let saved = self.saves.iter().filter(|(at, saved, _)| *at <= names && saved == inode).map(|(_, _, version)| *version).max();
            let least = saved.unwrap_or(0).max(file.base);
            file.admits(content, least).map_err(|what| format!("file {} (saved {saved:?}, base {}): {what}", inode.0, file.base))?;
        }
        for (inode, target) in &found.targets {
            if self.targets.get(inode).is_some_and(|promised| promised != target) {
                return Err(format!("link {} leads to {:?}", inode.0, String::from_utf8_lossy(target)));
            }
        }
        Ok(())
    }

    /// From now on what was found is what is promised.
    pub fn adopt(&mut self, found: Found) {
        *self = Self {
            names: vec![Arc::new(found.names)],
            files: found.files.into_iter().map(|(inode, content)| (inode, FileHistory::new(content))).collect(),
            targets: found.targets,
            promises: self.promises,
            rotten: self.rotten,
            ..Self::new()
        };
    }
}

/// The part of a range that lies in the block which starts there.
fn within((from, to): (u64, u64), start: usize) -> Option<(usize, usize)> {
    let (from, to) = ((from as usize).max(start), (to as usize).min(start + BLOCK));
    (from < to).then(|| (from - start, to - start))
}

fn same(expected: &Names, found: &Names) -> bool {
    let named = |names: &Names, inode: Inode| names.entries.values().any(|entry| entry.inode == inode);
    expected.entries.len() == found.entries.len()
        && expected.entries.iter().zip(&found.entries).all(|((key, entry), (found_key, found_entry))| {
            key == found_key && entry.kind == found_entry.kind && (entry.inode == found_entry.inode || entry.inode == Inode(0))
        })
        && expected.xattrs.iter().filter(|((inode, _), _)| named(expected, *inode)).eq(&found.xattrs)
}
