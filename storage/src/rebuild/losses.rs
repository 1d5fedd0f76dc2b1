//! One walk over a name tree: what it holds, what it claims of the map, and which bytes of which files are not there.
//!
//! Owns: `Survey`, `LostFile`. Must be true: RBL-5 every byte of a file that a row names and that cannot be read is told: as a range of its
//! file, or in the sum if there are too many. Memory: 260 bytes a region; of files with losses, those that are kept, 16 bytes a range.
//! Fails: never; a tree that cannot be walked whole is told.

use super::paths::Paths;
use super::space::Claimed;
use super::{Condition, Found, Step};
use crate::address::RegionId;
use crate::check::tree::{Event, walk};
use crate::images::Images;
use crate::limits::CLUSTER_BYTES;
use crate::row::{Codec, ExtentRow, FileKind, Inode, InodeRow, Key, ROOT_INODE, Time};
use crate::vat::{NodeSource, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// A file of which bytes are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostFile {
    pub inode: u64,
    /// Below the root directory, without a leading slash. None: no name leads to it.
    pub paths: Vec<Vec<u8>>,
    pub size: u64,
    /// Ranges of bytes that cannot be read, ascending and apart.
    pub ranges: Vec<Range<u64>>,
}

/// Keys from the first up to the second, which is not among them; all if there is none.
pub(super) type KeyRange = (Vec<u8>, Option<Vec<u8>>);

/// What a walk found out.
pub(super) struct Survey<'a> {
    found: &'a Found,
    images: Images,
    pub claimed: Claimed,
    pub inodes: u64,
    pub directories: u64,
    pub directory_numbers: BTreeSet<u64>,
    pub file_bytes: u64,
    pub last_inode: u64,
    pub newest_change: Option<Time>,
    /// When the root directory was made; `None`: there is none.
    pub created: Option<Time>,
    pub missing: BTreeMap<RegionId, u64>,
    pub lost_bytes: u64,
    lost: BTreeMap<u64, (u64, Vec<Range<u64>>)>,
    lost_more: u64,
    /// The inode whose rows come by, and its size.
    at: (u64, u64),
    is_whole: bool,
    /// Ranges of keys of which nothing is known: from the first up to the second, if there is one.
    pub unknown: Vec<KeyRange>,
}

impl<'a> Survey<'a> {
    pub fn new(found: &'a Found) -> Self {
        Self {
            found,
            images: Images::new(Arc::clone(&found.device), 1),
            claimed: Claimed::default(),
            inodes: 0,
            directories: 0,
            directory_numbers: BTreeSet::new(),
            file_bytes: 0,
            last_inode: 0,
            newest_change: None,
            created: None,
            missing: BTreeMap::new(),
            lost_bytes: 0,
            lost: BTreeMap::new(),
            lost_more: 0,
            at: (0, 0),
            is_whole: true,
            unknown: Vec::new(),
        }
    }

    /// Walks a tree; whether all of it could be read, and it has a root directory.
    pub fn walk(&mut self, tree: &Tree, source: &dyn NodeSource, step: Step<'_>) -> bool {
        let mut nodes = 0;
        walk(tree, source, &mut |event| match event {
            Event::Node(ptr) => {
                self.claimed.add(ptr.address, ptr.clusters, true);
                nodes += 1;
                step("nodes", nodes);
            }
            Event::Row(key, value) => self.row(key, value),
            Event::Fault { lost, .. } => self.is_whole &= !lost,
            Event::Unknown(from, to) => self.unknown.push((from.to_vec(), to.map(<[u8]>::to_vec))),
        });
        self.is_whole && self.unknown.is_empty() && self.created.is_some()
    }

    fn row(&mut self, key: &[u8], value: &[u8]) {
        match Key::decode(key) {
            Some(Key::Inode(inode)) => self.inode(inode, value),
            Some(Key::Extent(inode, offset)) => {
                if let Ok(row) = ExtentRow::decode(value) {
                    self.extent(inode, offset, &row);
                }
            }
            _ => {}
        }
    }

    fn inode(&mut self, inode: Inode, value: &[u8]) {
        self.inodes += 1;
        self.last_inode = self.last_inode.max(inode.0);
        let Ok(row) = InodeRow::decode(value) else { return };
        self.at = (inode.0, row.size);
        self.newest_change = self.newest_change.max(Some(row.changed));
        match row.kind() {
            FileKind::Directory => {
                self.directories += 1;
                self.directory_numbers.insert(inode.0);
                if inode == ROOT_INODE {
                    self.created = Some(row.created);
                }
            }
            FileKind::Regular => self.file_bytes = self.file_bytes.saturating_add(row.size),
            _ => {}
        }
    }

    fn extent(&mut self, inode: Inode, offset: u64, row: &ExtentRow) {
        let region = row.first.region;
        self.claimed.add(row.first, row.clusters, false);
        let length = u64::from(row.length);
        let Some(facts) = self.found.images.get(&region) else {
            *self.missing.entry(region).or_insert(0) += length;
            return self.lose(inode, offset..offset.saturating_add(length));
        };
        match &facts.condition {
            Condition::Sound | Condition::Mended { .. } => {}
            Condition::Damaged { lost } => {
                let lost = lost.clone();
                self.clusters(inode, offset, row, |number| row.address(number).is_some_and(|at| lost.binary_search(&at.cluster).is_err()));
            }
            Condition::Blind => {
                let mut out = [0; CLUSTER_BYTES];
                let readable: Vec<bool> = (0..usize::from(row.clusters))
                    .map(|number| match (row.address(number), row.crc(number)) {
                        (Some(at), Some(crc)) => self.images.read(at, &[crc], &mut out).is_ok(),
                        _ => true,
                    })
                    .collect();
                self.clusters(inode, offset, row, |number| readable.get(number).copied().unwrap_or(false));
            }
        }
    }

    /// Tells what of a row is lost with the clusters that are not there.
    fn clusters(&mut self, inode: Inode, offset: u64, row: &ExtentRow, is_there: impl Fn(usize) -> bool) {
        let (first, count) = row.touched_clusters();
        let gone: Vec<usize> = (first..first + count).filter(|number| !is_there(*number)).collect();
        if gone.is_empty() {
            return;
        }
        let end = offset.saturating_add(u64::from(row.length));
        if row.codec == Codec::Zstd {
            return self.lose(inode, offset..end);
        }
        for number in gone {
            let from = (number * CLUSTER_BYTES) as u64;
            let at = |byte: u64| offset.saturating_add(byte.saturating_sub(u64::from(row.skip))).min(end);
            self.lose(inode, at(from)..at(from + CLUSTER_BYTES as u64));
        }
    }

    /// Bytes behind the end of the file are nobody's.
    fn lose(&mut self, inode: Inode, range: Range<u64>) {
        let size = if self.at.0 == inode.0 { self.at.1 } else { u64::MAX };
        let range = range.start..range.end.min(size);
        if range.is_empty() {
            return;
        }
        self.lost_bytes = self.lost_bytes.saturating_add(range.end - range.start);
        let is_full = self.lost.len() >= self.found.files_max;
        if is_full && !self.lost.contains_key(&inode.0) {
            self.lost_more += 1;
            return;
        }
        let (_, ranges) = self.lost.entry(inode.0).or_insert((size, Vec::new()));
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }

    /// The paths of what was lost, and of some more inodes. `with_directories`: those of directories, if nothing else is asked for.
    pub fn paths(&self, tree: &Tree, source: &dyn NodeSource, more: &BTreeSet<u64>, with_directories: bool) -> Paths {
        let wanted: BTreeSet<u64> = self.lost.keys().chain(more).copied().collect();
        let is_needed = with_directories || !wanted.is_empty();
        let mut paths = Paths::to(wanted);
        if is_needed {
            walk(tree, source, &mut |event| {
                if let Event::Row(key, value) = event {
                    paths.row(key, value);
                }
            });
        }
        paths
    }

    /// The files with losses, and how many more losses there are.
    pub fn lost_files(&self, paths: &Paths) -> (Vec<LostFile>, u64) {
        let file = |(inode, (size, ranges)): (&u64, &(u64, Vec<Range<u64>>))| LostFile {
            inode: *inode,
            paths: paths.of(*inode),
            size: *size,
            ranges: ranges.clone(),
        };
        (self.lost.iter().map(file).collect(), self.lost_more)
    }
}
