//! Checking the data of one file, or of all below one directory, and where it lies on the map.
//!
//! Owns: `check_path`, `PathReport`, `FileSeen`. Must be true: OFF-1; every byte that an extent of such a file gives is read as a mount
//! would read it, and what cannot be had is told as `Damage` with the path that was asked for. Memory: one directory path, one extent, the
//! images of one file. Fails: `CheckError` when the volume does not open; a name that is not there is told as that.

use super::finding::HELP_BACKUP;
use super::{CheckError, Offline};
use crate::address::RegionId;
use crate::damage::{self, Damage, Found};
use crate::device::Device;
use crate::images::{ImageError, Images};
use crate::limits::CLUSTER_BYTES;
use crate::row::{Codec, ExtentRow, FileKind, Inode, ROOT_INODE};
use crate::state::{StateError, View};
use crate::unit::decode_unit;
use crate::vat::TreeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Entries and extents that are fetched at a time.
const STEP: usize = 256;

/// What was seen of one file.
#[derive(Debug)]
pub struct FileSeen {
    pub path: Vec<u8>,
    pub inode: Inode,
    pub size: u64,
    /// Images that hold its bytes, each with how many of its clusters were read there.
    pub places: BTreeMap<RegionId, u64>,
    pub lost: Vec<Damage>,
}

/// What is told while it goes on.
#[derive(Debug)]
pub enum PathStep {
    /// Bytes of files that were read, of all that are to be; both count holes.
    Read { done: u64, total: u64 },
    /// A file was read to its end.
    Seen(FileSeen),
}

/// The outcome.
#[derive(Debug, Default)]
pub struct PathReport {
    /// Whether there is such a path.
    pub found: bool,
    pub files: u64,
    pub directories: u64,
    pub bytes: u64,
    pub clusters: u64,
    /// Clusters that only parity could give.
    pub restored: u64,
    /// Ranges that are lost, of all files.
    pub lost: u64,
    /// What could not be read of the tables, and what to do about it.
    pub unreadable: Vec<(String, &'static str)>,
}

/// Checks what is at `path`, with `/` between names, and below; `tell` hears of each file, one by one, and how far it is. What there is to
/// read is summed up before, from the tables alone.
///
/// # Errors
/// See [`CheckError`].
pub fn check_path(
    device: &Arc<dyn Device>,
    uuid: [u8; 16],
    path: &[u8],
    node_bytes: u64,
    tell: &mut dyn FnMut(PathStep),
) -> Result<PathReport, CheckError> {
    let volume = Offline::open(device, uuid, node_bytes)?;
    let source = volume.nodes.loading(TreeId::Name);
    let images = Images::new(Arc::clone(&volume.device), 1);
    let mut seen =
        Seen { view: View::new(&volume.recovered.state.names, &source), images: &images, total: 0, report: PathReport::default() };
    match seen.find(path) {
        Ok(Some(inode)) => {
            seen.report.found = true;
            let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
            seen.total = seen.bytes_below(inode);
            seen.below(inode, parts.join(&b'/'), tell);
        }
        Ok(None) => {}
        Err(error) => seen.unreadable(path, &error),
    }
    seen.report.restored = images.restored();
    Ok(seen.report)
}

struct Seen<'a> {
    view: View<'a>,
    images: &'a Images,
    /// Bytes of all files that are meant.
    total: u64,
    report: PathReport,
}

impl Seen<'_> {
    fn find(&self, path: &[u8]) -> Result<Option<Inode>, StateError> {
        let mut at = ROOT_INODE;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match self.view.entry(at, name)? {
                Some(entry) => at = entry.inode,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn unreadable(&mut self, path: &[u8], error: &StateError) {
        self.report.unreadable.push((format!("/{}: {error}", path.escape_ascii()), HELP_BACKUP));
    }

    /// Sizes of all files from `inode` on. What cannot be read now is told when it is its turn.
    fn bytes_below(&self, inode: Inode) -> u64 {
        let (mut todo, mut entered, mut bytes) = (vec![inode], BTreeSet::new(), 0u64);
        while let Some(inode) = todo.pop() {
            let Ok(row) = self.view.inode(inode) else { continue };
            match row.kind() {
                FileKind::Directory if entered.insert(inode) => {
                    let mut after = 0;
                    while let Ok(entries) = self.view.entries_after(inode, after, STEP) {
                        let Some((last, _)) = entries.last() else { break };
                        after = *last;
                        todo.extend(entries.iter().map(|(_, row)| row.inode));
                    }
                }
                FileKind::Regular => bytes = bytes.saturating_add(row.size),
                _ => {}
            }
        }
        bytes
    }

    /// Everything from `inode` on; a directory is entered once, whatever the tables say.
    fn below(&mut self, inode: Inode, path: Vec<u8>, tell: &mut dyn FnMut(PathStep)) {
        let (mut todo, mut entered) = (vec![(inode, path)], BTreeSet::new());
        while let Some((inode, path)) = todo.pop() {
            let row = match self.view.inode(inode) {
                Ok(row) => row,
                Err(error) => {
                    self.unreadable(&path, &error);
                    continue;
                }
            };
            match row.kind() {
                FileKind::Directory if entered.insert(inode) => {
                    self.report.directories += 1;
                    if let Err(error) = self.entries(inode, &path, &mut todo) {
                        self.unreadable(&path, &error);
                    }
                }
                FileKind::Regular => {
                    let mut file = FileSeen { path, inode, size: row.size, places: BTreeMap::new(), lost: Vec::new() };
                    if let Err(error) = self.extents(&mut file, tell) {
                        self.unreadable(&file.path, &error);
                    }
                    self.report.files += 1;
                    self.report.bytes += file.size;
                    self.report.lost += file.lost.len() as u64;
                    tell(PathStep::Seen(file));
                    tell(PathStep::Read { done: self.report.bytes, total: self.total });
                }
                _ => {}
            }
        }
    }

    fn entries(&self, directory: Inode, path: &[u8], todo: &mut Vec<(Inode, Vec<u8>)>) -> Result<(), StateError> {
        let mut after = 0;
        loop {
            let entries = self.view.entries_after(directory, after, STEP)?;
            let Some((last, _)) = entries.last() else { return Ok(()) };
            after = *last;
            for (_, row) in entries {
                let name = if path.is_empty() { row.name } else { [path, b"/", &row.name].concat() };
                todo.push((row.inode, name));
            }
        }
    }

    fn extents(&mut self, file: &mut FileSeen, tell: &mut dyn FnMut(PathStep)) -> Result<(), StateError> {
        let mut at = 0;
        loop {
            let extents = self.view.extents(file.inode, at, u64::MAX, STEP)?;
            let Some((start, last)) = extents.last() else { return Ok(()) };
            at = start.saturating_add(u64::from(last.length));
            for (offset, row) in &extents {
                self.extent(file, *offset, row);
                let done = offset.saturating_add(u64::from(row.length)).min(file.size);
                tell(PathStep::Read { done: self.report.bytes.saturating_add(done), total: self.total });
            }
        }
    }

    fn extent(&mut self, file: &mut FileSeen, offset: u64, row: &ExtentRow) {
        let (first, count) = row.touched_clusters();
        self.report.clusters += count as u64;
        *file.places.entry(row.first.region).or_default() += count as u64;
        let crcs: Option<Vec<u32>> = (first..first + count).map(|number| row.crc(number)).collect();
        let mut bytes = vec![0; count * CLUSTER_BYTES];
        let is_whole = row.address(first).zip(crcs).is_some_and(|(at, crcs)| self.images.read(at, &crcs, &mut bytes).is_ok());
        if is_whole && row.codec == Codec::Zstd {
            bytes.truncate(row.stored_bytes as usize);
            if decode_unit(&bytes, row.decoded_bytes as usize).is_none() {
                let what =
                    format!("/{}: bytes from {offset} on do not decode, though they are as they were written", file.path.escape_ascii());
                self.report.unreadable.push((what, HELP_BACKUP));
            }
        }
        if !is_whole {
            damage::of_row(file.inode, offset, row, |at, crc| self.found(at, crc), &mut |damage| {
                file.lost.push(Damage { paths: vec![file.path.clone()], ..damage });
            });
        }
    }

    fn found(&self, at: crate::address::Address, crc: u32) -> Option<Found> {
        let mut cluster = [0; CLUSTER_BYTES];
        match self.images.read(at, &[crc], &mut cluster) {
            Ok(()) => None,
            Err(ImageError::Missing { .. }) => Some(Found::Missing),
            Err(ImageError::Damaged { .. }) => {
                let bytes = self.images.read_unverified(at, 1).ok();
                Some(bytes.map_or_else(|| Found::Io("the file ends before".into()), |bytes| Found::Crc(crc32fast::hash(&bytes))))
            }
            Err(error) => Some(Found::Io(error.to_string())),
        }
    }
}
