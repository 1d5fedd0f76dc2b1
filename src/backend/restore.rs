//! `restore`: files out of a volume that need not be one that mounts, without changing it.
//!
//! Must be true: RST-4 nothing of the volume is changed; RST-5 a byte that is written was verified: what cannot be read is a hole in the
//! file, and the file and the range are named; RST-6 what is not restored is named. Memory: nodes, the log's bytes, 100 bytes a directory
//! and a file with several names, what is told. Fails: with a [`RestoreError`]; single files never end it.

mod select;
mod source;
mod target;

pub use select::{Meets, Selection};

use super::Progress;
use super::recover::{By, RecoveryError, is_unfinished};
use infmap_storage::row::{FileKind, Inode, InodeRow, ROOT_INODE};
use serde::Serialize;
use source::Source;
use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use target::{Place, Target};

/// Levels of directories that are followed.
const DEPTH_MAX: usize = 4096;
/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = 4096;
/// What is not restored and told by name at most.
const TOLD_MAX: usize = 100_000;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Neither log nor images give names.
    #[error(transparent)]
    Source(#[from] RecoveryError),
    #[error("{} is not empty: what stands there is not replaced", .0.display())]
    NotEmpty(PathBuf),
    #[error("{} lies inside of {}", .0.display(), .1.display())]
    Overlap(PathBuf, PathBuf),
    #[error("nothing in the volume has this name: {0}")]
    NothingSelected(String),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

/// What is to be done.
pub struct Restoring<'a> {
    pub volume: &'a Path,
    pub to: &'a Path,
    pub paths: Vec<Vec<u8>>,
    /// Which volume, where `volume.yaml` does not say it and there are images of several.
    pub uuid: Option<[u8; 16]>,
    pub by: Option<By>,
    pub dry_run: bool,
}

/// Something that is not as it was in the volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incomplete {
    /// What is not UTF-8 shows as U+FFFD.
    pub path: String,
    /// Bytes that cannot be read: the first, and the first behind them. A hole stands there.
    pub ranges: Vec<(u64, u64)>,
    /// What else is missing.
    pub why: Vec<String>,
}

/// What was restored.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Restored {
    #[serde(serialize_with = "super::path_text")]
    pub to: PathBuf,
    pub dry_run: bool,
    /// `log`, or as `recover` finds names: `root`, `nodes`, `owners`.
    pub found_by: &'static str,
    /// What is to be known of the volume.
    pub notes: Vec<String>,
    pub files: u64,
    pub directories: u64,
    pub others: u64,
    /// Sum of the sizes of files.
    pub bytes: u64,
    pub damaged_bytes: u64,
    pub incomplete: Vec<Incomplete>,
    pub incomplete_more: u64,
    /// Names that are known and lead to nothing that is left, from the root of the volume.
    pub lost_names: Vec<String>,
    /// What is in `lost+found` under its number, because its name is lost.
    pub nameless: u64,
    /// Whether nothing is known to be lost: the names are the newest, and nothing is incomplete.
    pub whole: bool,
}

/// Restores, or only reads everything that would be.
pub fn restore(asked: &Restoring<'_>, progress: &mut dyn FnMut(Progress)) -> Result<Restored, RestoreError> {
    let at = |what: String| move |source| RestoreError::Io { what, source };
    let volume = asked.volume.canonicalize().map_err(at(format!("cannot open {}", asked.volume.display())))?;
    if is_unfinished(&volume) {
        return Err(RecoveryError::Unfinished(volume).into());
    }
    let to = destination(asked.to, &volume)?;
    let source = Source::open(&volume, asked.uuid, asked.by, progress)?;
    let target = if asked.dry_run {
        None
    } else {
        if !to.exists() {
            std::fs::DirBuilder::new().mode(0o700).create(&to).map_err(at(format!("making {}", to.display())))?;
        }
        Some(Target::open(&to).map_err(at(format!("cannot open {}", to.display())))?)
    };
    let selection = Selection::of(asked.paths.iter().map(Vec::as_slice));
    let mut restored =
        Restored { to, dry_run: asked.dry_run, found_by: source.found_by(), notes: source.notes().to_vec(), ..Restored::default() };
    if let Some(report) = source.report() {
        let is_meant = |path: &&Vec<u8>| selection.meets(&path.split(|byte| *byte == b'/').collect::<Vec<_>>()) == Meets::Selected;
        restored.lost_names = report.lost_names.iter().filter(is_meant).map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        restored.nameless = report.nameless;
    }
    let mut work =
        Work { source: &source, target, selection, restored, links: HashMap::new(), seen: HashSet::new(), made: Vec::new(), progress };
    work.run();
    let mut restored = work.restored;
    restored.whole = source.is_whole() && restored.incomplete.is_empty() && restored.lost_names.is_empty();
    let is_nothing = restored.files + restored.others + restored.directories <= 1;
    if is_nothing && !asked.paths.is_empty() && restored.incomplete.is_empty() && restored.lost_names.is_empty() {
        if !asked.dry_run {
            // It was made for nothing; one that was there before is empty, and stays if it cannot be removed.
            let _ = std::fs::remove_dir(&restored.to);
        }
        let names: Vec<_> = asked.paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        return Err(RestoreError::NothingSelected(names.join(", ")));
    }
    Ok(restored)
}

/// A directory that is empty or can be made, and does not overlap the volume.
fn destination(to: &Path, volume: &Path) -> Result<PathBuf, RestoreError> {
    let io = |source| RestoreError::Io { what: format!("cannot use {}", to.display()), source };
    let path = match to.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let absolute = std::path::absolute(to).map_err(io)?;
            let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else { return Err(io(error)) };
            parent.canonicalize().map_err(io)?.join(name)
        }
        Err(error) => return Err(io(error)),
    };
    if path.starts_with(volume) {
        return Err(RestoreError::Overlap(path, volume.into()));
    }
    if volume.starts_with(&path) {
        return Err(RestoreError::Overlap(volume.into(), path));
    }
    match std::fs::read_dir(&path).map(Iterator::count) {
        Ok(1..) => Err(RestoreError::NotEmpty(path)),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io(error)),
        _ => Ok(path),
    }
}

/// A directory that is to be gone through.
struct Pending {
    inode: Inode,
    place: Place,
    depth: usize,
    /// Everything in it is meant.
    whole: bool,
}

struct Work<'a> {
    source: &'a Source,
    target: Option<Target>,
    selection: Selection,
    restored: Restored,
    /// The first name of inodes that have several, and where in the list it stands if it is incomplete.
    links: HashMap<u64, (Place, Option<usize>)>,
    /// Directories that were gone through.
    seen: HashSet<u64>,
    /// Directories whose modes and times come at the end, when nothing changes them any more.
    made: Vec<(Place, Inode)>,
    progress: &'a mut dyn FnMut(Progress),
}

impl Work<'_> {
    fn run(&mut self) {
        let whole = self.selection.meets(&[]) == Meets::Selected;
        let mut left = vec![Pending { inode: ROOT_INODE, place: Place::TOP, depth: 0, whole }];
        self.made.push((Place::TOP, ROOT_INODE));
        self.seen.insert(ROOT_INODE.0);
        self.restored.directories = 1;
        while let Some(at) = left.pop() {
            let entries = self.source.entries(at.inode, &mut |why| self.restored.tell(&at.place, Vec::new(), vec![why]));
            for (name, inode) in entries {
                match at.place.join(&name) {
                    Ok(place) => self.entry(&at, place, inode, &mut left),
                    Err(error) => self.restored.tell(&at.place, Vec::new(), vec![format!("a name in it: {error}")]),
                }
            }
        }
        for (place, inode) in std::mem::take(&mut self.made).into_iter().rev() {
            let Ok(row) = self.source.row(inode) else { continue };
            self.finish(&place, inode, |target, attributes| target.finish_directory(&place, &row, attributes));
        }
    }

    fn entry(&mut self, parent: &Pending, place: Place, inode: Inode, left: &mut Vec<Pending>) {
        let meets = if parent.whole { Meets::Selected } else { self.selection.meets(&place.parts()) };
        if meets == Meets::No {
            return;
        }
        let row = match self.source.row(inode) {
            Ok(row) => row,
            Err(why) => return self.restored.tell(&place, Vec::new(), vec![why]),
        };
        if row.kind() == FileKind::Directory {
            return self.directory(parent, place, inode, meets == Meets::Selected, left);
        }
        if meets != Meets::Selected {
            return;
        }
        let done = self.file(&place, inode, &row);
        if let Err(error) = done {
            self.restored.tell(&place, Vec::new(), vec![error.to_string()]);
        }
        let done = self.restored.files + self.restored.others;
        (self.progress)(Progress { phase: "files", done, total: 0 });
    }

    fn directory(&mut self, parent: &Pending, place: Place, inode: Inode, whole: bool, left: &mut Vec<Pending>) {
        if parent.depth >= DEPTH_MAX || !self.seen.insert(inode.0) {
            return self.restored.tell(&place, Vec::new(), vec!["the directory is too deep, or has two names".into()]);
        }
        if let Some(Err(error)) = self.target.as_ref().map(|target| target.make_directory(&place)) {
            return self.restored.tell(&place, Vec::new(), vec![error.to_string()]);
        }
        self.restored.directories += 1;
        self.made.push((place.clone(), inode));
        left.push(Pending { inode, place, depth: parent.depth + 1, whole });
    }

    /// Restores what is no directory.
    fn file(&mut self, place: &Place, inode: Inode, row: &InodeRow) -> io::Result<()> {
        if let Some((first, told)) = self.links.get(&inode.0) {
            self.restored.others += 1;
            let told = told.and_then(|number| self.restored.incomplete.get(number)).cloned();
            if let Some(Incomplete { ranges, why, .. }) = told {
                self.restored.tell(place, ranges, why);
            }
            return self.target.as_ref().map_or(Ok(()), |target| target.make_link(place, first));
        }
        let told = self.restored.incomplete.len();
        match row.kind() {
            FileKind::Regular => self.regular(place, inode, row)?,
            FileKind::Symlink => {
                let link = self.source.link(inode).map_err(io::Error::other)?;
                self.target.as_ref().map_or(Ok(()), |target| target.make_symlink(place, &link))?;
                self.restored.others += 1;
                self.finish(place, inode, |target, attributes| target.finish_special(place, row, attributes));
            }
            _ => {
                self.target.as_ref().map_or(Ok(()), |target| target.make_special(place, row))?;
                self.restored.others += 1;
                self.finish(place, inode, |target, attributes| target.finish_special(place, row, attributes));
            }
        }
        if row.links > 1 {
            let is_told = self.restored.incomplete.len() > told;
            self.links.insert(inode.0, (place.clone(), is_told.then_some(told)));
        }
        Ok(())
    }

    fn regular(&mut self, place: &Place, inode: Inode, row: &InodeRow) -> io::Result<()> {
        let file = self.target.as_ref().map(|target| target.make_file(place)).transpose()?;
        file.as_ref().map_or(Ok(()), |file| file.set_len(row.size))?;
        self.restored.files += 1;
        self.restored.bytes = self.restored.bytes.saturating_add(row.size);
        let mut lost: Vec<(u64, u64)> = Vec::new();
        let mut at = 0;
        let copied = loop {
            match self.source.next_data(inode, at, row.size) {
                Ok(Some(data)) => match self.copy(inode, data.clone(), file.as_ref(), &mut lost) {
                    Ok(()) => at = data.end,
                    Err(error) => break Err(error),
                },
                Ok(None) => break Ok(()),
                Err(why) => {
                    // Where it has data is not known from here on.
                    add(&mut lost, (at, row.size));
                    break Err(io::Error::other(why));
                }
            }
        };
        self.restored.damaged_bytes += lost.iter().map(|(from, to)| to - from).sum::<u64>();
        let mut why: Vec<String> = copied.err().map(|error| error.to_string()).into_iter().collect();
        let (attributes, unread) = self.source.attributes(inode);
        why.extend(unread);
        why.extend(self.source.doubt(inode).map(String::from));
        if let (Some(target), Some(file)) = (&self.target, &file) {
            why.extend(target.finish_file(file, row, &attributes));
        }
        if !lost.is_empty() || !why.is_empty() {
            self.restored.tell(place, lost, why);
        }
        Ok(())
    }

    /// Copies a range; where it cannot be read, block by block.
    fn copy(&self, inode: Inode, data: std::ops::Range<u64>, file: Option<&std::fs::File>, lost: &mut Vec<(u64, u64)>) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES.min(usize::try_from(data.end - data.start).unwrap_or(READ_BYTES))];
        let mut at = data.start;
        while at < data.end {
            let length = (data.end - at).min(READ_BYTES as u64) as usize;
            let part = buffer.get_mut(..length).unwrap_or_default();
            if self.source.read(inode, at, part) {
                file.map_or(Ok(()), |file| file.write_all_at(part, at))?;
            } else {
                let mut from = at;
                while from < at + length as u64 {
                    // Up to the next block of the file.
                    let to = (from - from % BLOCK_BYTES as u64 + BLOCK_BYTES as u64).min(at + length as u64);
                    let block = buffer.get_mut(..(to - from) as usize).unwrap_or_default();
                    if self.source.read(inode, from, block) {
                        file.map_or(Ok(()), |file| file.write_all_at(block, from))?;
                    } else {
                        add(lost, (from, to));
                    }
                    from = to;
                }
            }
            at += length as u64;
        }
        Ok(())
    }

    fn finish(&mut self, place: &Place, inode: Inode, finish: impl FnOnce(&Target, &[(Vec<u8>, Vec<u8>)]) -> Vec<String>) {
        let (attributes, mut why) = self.source.attributes(inode);
        why.extend(self.source.doubt(inode).map(String::from));
        why.extend(self.target.as_ref().map(|target| finish(target, &attributes)).unwrap_or_default());
        if !why.is_empty() {
            self.restored.tell(place, Vec::new(), why);
        }
    }
}

/// Adds a range behind all others.
fn add(lost: &mut Vec<(u64, u64)>, range: (u64, u64)) {
    match lost.last_mut() {
        Some(last) if last.1 == range.0 => last.1 = range.1,
        _ => lost.push(range),
    }
}

impl Restored {
    fn tell(&mut self, place: &Place, ranges: Vec<(u64, u64)>, why: Vec<String>) {
        if self.incomplete.len() >= TOLD_MAX {
            self.incomplete_more += 1;
            return;
        }
        let path = String::from_utf8_lossy(&place.path()).into_owned();
        self.incomplete.push(Incomplete { path: if path.is_empty() { ".".into() } else { path }, ranges, why });
    }
}
