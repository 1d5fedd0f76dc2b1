//! The names and bytes of a volume that may be half broken.
//!
//! Owns: `Source`. Must be true: RST-7 names are those of log and newest root, as a mount has them, as far as they can be read, and around them
//! what `recover` finds; if the log cannot be replayed, the images alone; whatever keeps the names from being the newest is said, and the
//! source is not whole. Nothing is written. Fails: with the reason of the last way.

use crate::backend::Progress;
use crate::backend::gather::{self, Gathered};
use crate::backend::recover::{By, RecoveryError, choose, found_in};
use infmap_storage::address::RegionId;
use infmap_storage::blocks::{Block, BlockPool};
use infmap_storage::check::{CheckOptions, is_walkable};
use infmap_storage::device::{Device, FileDevice, ReadOnlyDevice};
use infmap_storage::images::Images;
use infmap_storage::nodes::NodeStore;
use infmap_storage::read::FileReader;
use infmap_storage::rebuild::{How, Inspected, Replayed, Report, rebuild};
use infmap_storage::recover::{LoggedData, Recovered, recover};
use infmap_storage::row::{Inode, InodeRow, Key, ROOT_INODE};
use infmap_storage::state::View;
use infmap_storage::tiers::Tiers;
use infmap_storage::vat::{Tree, TreeId};
use infmap_storage::volume_file::VolumeFile;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Memory for what was read and may be read again.
const TIER_BYTES: u64 = 32 << 20;
const ENTRIES: usize = 256;
const BLOCK: u64 = 4096;

/// An extended attribute: its name, and its value.
pub type Attribute = (Vec<u8>, Vec<u8>);

/// The images of a volume.
struct Pile {
    uuid: [u8; 16],
    images: BTreeMap<RegionId, (PathBuf, Inspected)>,
}

impl Pile {
    fn gather(path: &Path, uuid: Option<[u8; 16]>, progress: &mut dyn FnMut(Progress)) -> Result<Self, RecoveryError> {
        let mut seen = |done| progress(Progress { phase: "images", done, total: 0 });
        let map = path.join("map");
        let from = if map.is_dir() { map } else { path.to_path_buf() };
        let io = |source| RecoveryError::Io { what: format!("cannot read {}", from.display()), source };
        let mut gathered = Gathered::below(&from, &mut seen).map_err(io)?;
        let uuid = choose(&gathered, &from, uuid)?;
        Ok(Self { uuid, images: gathered.catalogue.volumes.remove(&uuid).unwrap_or_default() })
    }
}

/// Log and newest root, replayed as a mount does it.
struct Replay {
    recovered: Recovered,
    nodes: NodeStore,
}

impl Replay {
    fn of(device: &Arc<dyn Device>, uuid: [u8; 16]) -> Result<Self, String> {
        let nodes = NodeStore::new(Arc::new(Images::new(Arc::clone(device), 1)), CheckOptions::default().node_bytes);
        let recovered = recover(device, uuid, &nodes).map_err(|error| error.to_string())?;
        Ok(Self { recovered, nodes })
    }

    fn is_walkable(&self) -> bool {
        is_walkable(&self.recovered.state.names, &self.nodes.loading(TreeId::Name))
    }

    /// Whether a part of the tables at either end can be read: else an older root is worth more.
    fn is_usable(&self) -> bool {
        let source = self.nodes.loading(TreeId::Name);
        let view = View::new(&self.recovered.state.names, &source);
        [Key::Inode(ROOT_INODE), Key::LargeContent(Inode(u64::MAX), 0)].iter().any(|key| view.value(key).is_ok())
    }

    /// What is wrong with the log.
    fn note(&self) -> Option<String> {
        self.recovered.corrupt.as_ref().map(|fault| format!("the log: {fault}: what came after it is not restored"))
    }

    fn into_source(self, device: &Arc<dyn Device>, mut notes: Vec<String>) -> Source {
        let note = self.note();
        let is_whole = note.is_none();
        notes.extend(note);
        let names = self.recovered.state.names;
        let logged = in_blocks(self.recovered.data);
        Source { is_whole, ..Source::of(names, self.nodes, Images::new(Arc::clone(device), 1), logged, notes, "log") }
    }
}

fn in_blocks(data: LoggedData) -> Logged {
    let pool = BlockPool::new(0);
    let mut logged = Logged::new();
    for (inode, number, _, bytes) in data.into_blocks() {
        logged.entry(inode.0).or_default().push((number, pool.holding(0, &bytes)));
    }
    logged
}

/// What is to be known of names that were put together.
fn notes_of(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |count: u64, what: &str| notes.extend((count > 0).then(|| format!("{count} {what}")));
    if matches!(report.how, How::Root { .. }) {
        note(report.roots_passed_over as u64, "younger root(s) cannot be read: the names are those of an older one");
    }
    note(report.newer_images.len() as u64, "image(s) are younger than the names that were found");
    note(report.nameless, "file(s) and directories have lost their names; they are in lost+found");
    note(report.made_up, "file(s) and directories have lost owner, mode and times");
    note(report.dropped_names, "name(s) led to nothing that is left, and are gone");
    note(report.dropped_attributes, "extended attribute(s) were not whole, and are gone");
    note(report.cut, "file(s) are shorter than they were: of their ends nothing is left");
    if !matches!(report.how, How::Root { .. }) {
        notes.push("no root is whole: some names may be older, or have been removed; what has none is in lost+found".into());
    }
    notes
}

/// A volume that is read.
pub struct Source {
    names: Tree,
    nodes: NodeStore,
    images: Images,
    tiers: Tiers,
    pool: BlockPool,
    /// Blocks that stand in the log only, in order.
    logged: Logged,
    notes: Vec<String>,
    found_by: &'static str,
    /// Nothing is known to be lost of the names.
    is_whole: bool,
    /// What a rebuild found out.
    report: Option<Report>,
}

/// Bytes of files that only the log has.
type Logged = HashMap<u64, Vec<(u64, Block)>>;

impl Source {
    /// Opens the volume in a directory.
    pub fn open(path: &Path, uuid: Option<[u8; 16]>, by: Option<By>, progress: &mut dyn FnMut(Progress)) -> Result<Self, RecoveryError> {
        let io = |source: io::Error| RecoveryError::Io { what: format!("cannot read {}", path.display()), source };
        let device: Arc<dyn Device> = Arc::new(ReadOnlyDevice::new(Arc::new(FileDevice::new(path).map_err(io)?)));
        let mut notes = Vec::new();
        let said = VolumeFile::read(device.as_ref());
        if let Err(error) = &said {
            notes.push(format!("volume.yaml: {error}; the images say which volume it is"));
        }
        let known = uuid.or(said.ok().map(|file| file.uuid));
        let mut pile = None;
        let uuid = match known {
            Some(uuid) => uuid,
            None => pile.insert(Pile::gather(path, None, progress)?).uuid,
        };
        let replay = if by.is_none() { Some(Replay::of(&device, uuid)) } else { None };
        let replay = match replay {
            Some(Ok(replay)) if replay.is_walkable() => return Ok(replay.into_source(&device, notes)),
            Some(Ok(replay)) if replay.is_usable() => {
                notes.push(
                    "not all nodes of the newest tables can be read: what stood there is as old as other nodes of the images have it"
                        .into(),
                );
                Some(replay)
            }
            Some(refused) => {
                let why = refused.err().unwrap_or_else(|| "the newest tables cannot be read".into());
                notes.push(format!("{why}; the images alone are read: what only the log holds is not restored"));
                None
            }
            None => None,
        };
        let pile = pile.map_or_else(|| Pile::gather(path, Some(uuid), progress), Ok)?;
        Self::by_images(pile, by, replay, notes, progress)
    }

    fn by_images(
        pile: Pile,
        by: Option<By>,
        replay: Option<Replay>,
        mut notes: Vec<String>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, RecoveryError> {
        let device: Arc<dyn Device> = Arc::new(gather::device(&pile.images));
        let mut found = found_in(&pile.images, pile.uuid);
        // A log that was asked to be left out is not one that is lost.
        let mut is_whole = by.is_some() || replay.is_some();
        let mut logged = Logged::new();
        if let Some(replay) = replay {
            notes.extend(replay.note());
            let Recovered { state, root, data, granted, .. } = replay.recovered;
            found.replayed = Some(Replayed { state, root: root.generation, granted });
            logged = in_blocks(data);
        }
        let rebuilt = rebuild(found, by, &mut |phase, done| progress(Progress { phase, done, total: 0 }))?;
        let report = rebuilt.report.clone();
        is_whole &= report.is_whole();
        let found_by = match report.how {
            How::Root { .. } => "root",
            How::Nodes { .. } => "nodes",
            How::Owners => "owners",
        };
        notes.extend(notes_of(&report));
        let (names, nodes) = rebuilt.into_names();
        Ok(Self { report: Some(report), is_whole, ..Self::of(names, nodes, Images::new(device, 1), logged, notes, found_by) })
    }

    fn of(names: Tree, nodes: NodeStore, images: Images, logged: Logged, notes: Vec<String>, found_by: &'static str) -> Self {
        let (tiers, pool) = (Tiers::new(TIER_BYTES, TIER_BYTES), BlockPool::new(0));
        Self { names, nodes, images, tiers, pool, logged, notes, found_by, is_whole: true, report: None }
    }

    /// Whether the names are the newest that there were, as far as is known.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// What a rebuild found out, if there was one.
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub fn found_by(&self) -> &'static str {
        self.found_by
    }

    /// Why it is not known that the inode is as it was.
    pub fn doubt(&self, inode: Inode) -> Option<&'static str> {
        let report = self.report.as_ref()?;
        if report.uncertain.contains(&inode.0) {
            return Some("perhaps not as it was: older, shorter, longer, or without some of its attributes or names");
        }
        report.newer.contains(&inode.0).then_some("perhaps older than it was")
    }

    fn with<T>(&self, look: impl FnOnce(View<'_>) -> T) -> T {
        let source = self.nodes.loading(TreeId::Name);
        look(View::new(&self.names, &source))
    }

    /// The row of an inode.
    pub fn row(&self, inode: Inode) -> Result<InodeRow, String> {
        self.with(|view| view.inode(inode)).map_err(|error| error.to_string())
    }

    /// Names in a directory, with their inodes; what cannot be read is told.
    pub fn entries(&self, directory: Inode, failed: &mut dyn FnMut(String)) -> Vec<(Vec<u8>, Inode)> {
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            match self.with(|view| view.entries_after(directory, after, ENTRIES)) {
                Err(error) => {
                    failed(format!("it cannot be listed as a whole: {error}"));
                    return found;
                }
                Ok(entries) => {
                    let Some((last, _)) = entries.last() else { return found };
                    after = *last;
                    found.extend(entries.into_iter().map(|(_, row)| (row.name, row.inode)));
                    if after == u64::MAX {
                        return found;
                    }
                }
            }
        }
    }

    /// The target of a link.
    pub fn link(&self, inode: Inode) -> Result<Vec<u8>, String> {
        self.with(|view| view.target(inode)).map_err(|error| error.to_string())
    }

    /// All extended attributes that can be read, and why others cannot.
    pub fn attributes(&self, inode: Inode) -> (Vec<Attribute>, Vec<String>) {
        let (mut found, mut failed) = (Vec::new(), Vec::new());
        match self.with(|view| view.xattr_names(inode)) {
            Err(error) => failed.push(format!("its attributes: {error}")),
            Ok(names) => {
                for name in names {
                    match self.with(|view| view.xattr(inode, &name)) {
                        Ok(Some(value)) => found.push((name, value)),
                        Ok(None) => {}
                        Err(error) => failed.push(format!("attribute {}: {error}", String::from_utf8_lossy(&name))),
                    }
                }
            }
        }
        (found, failed)
    }

    /// The next bytes of a file that are no hole.
    pub fn next_data(&self, inode: Inode, from: u64, size: u64) -> Result<Option<Range<u64>>, String> {
        let blocks = self.logged.get(&inode.0).map_or(&[][..], Vec::as_slice);
        let dirty: Vec<Range<u64>> = blocks.iter().map(|(number, _)| number * BLOCK..(number + 1) * BLOCK).collect();
        self.with(|view| {
            let Some(start) = view.next_data(inode, from, size, &dirty)? else { return Ok(None) };
            let end = view.next_hole(inode, start, size, &dirty)?.unwrap_or(size);
            Ok((start < end).then_some(start..end))
        })
        .map_err(|error: infmap_storage::state::StateError| error.to_string())
    }

    /// Reads bytes of a file; false if they cannot be had.
    pub fn read(&self, inode: Inode, offset: u64, out: &mut [u8]) -> bool {
        let end = offset + out.len() as u64;
        let blocks = self.logged.get(&inode.0).map_or(&[][..], Vec::as_slice);
        let from = blocks.partition_point(|(number, _)| (number + 1) * BLOCK <= offset);
        let to = blocks.partition_point(|(number, _)| number * BLOCK < end);
        let dirty = blocks.get(from..to).unwrap_or_default();
        self.with(|view| {
            let reader = FileReader { view, tiers: &self.tiers, pool: &self.pool, images: Some(&self.images), ahead: None, lost: None };
            reader.read(inode, offset, dirty, out).is_ok()
        })
    }
}
