//! The names and bytes of a volume that may be half broken.
//!
//! Owns: `Source`. Must be true: of the ways to the names the first is taken that reads all of them: log and newest root, as a mount does;
//! then the images alone, as `recover` does. Nothing is written. Fails: with the reason of the last way.

use crate::backend::Progress;
use crate::backend::gather::{self, Gathered};
use crate::backend::recover::{By, RecoveryError, choose, found_in};
use infmap_storage::blocks::{Block, BlockPool};
use infmap_storage::check::{CheckOptions, is_walkable};
use infmap_storage::device::{Device, FileDevice, ReadOnlyDevice};
use infmap_storage::images::Images;
use infmap_storage::nodes::NodeStore;
use infmap_storage::read::FileReader;
use infmap_storage::rebuild::{How, rebuild};
use infmap_storage::recover::recover;
use infmap_storage::row::{Inode, InodeRow};
use infmap_storage::state::View;
use infmap_storage::tiers::Tiers;
use infmap_storage::vat::{Tree, TreeId};
use infmap_storage::volume_file::VolumeFile;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Memory for what was read and may be read again.
const TIER_BYTES: u64 = 32 << 20;
const ENTRIES: usize = 256;
const BLOCK: u64 = 4096;

/// An extended attribute: its name, and its value.
pub type Attribute = (Vec<u8>, Vec<u8>);

/// A volume that is read.
pub struct Source {
    names: Tree,
    nodes: NodeStore,
    images: Images,
    tiers: Tiers,
    pool: BlockPool,
    /// Blocks that stand in the log only, in order.
    logged: HashMap<u64, Vec<(u64, Block)>>,
    notes: Vec<String>,
    found_by: &'static str,
    /// Inodes that may not be as they were.
    uncertain: BTreeSet<u64>,
}

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
        if let (Some(uuid), None) = (known, by) {
            match Self::by_log(&device, uuid) {
                Ok(source) => return Ok(Self { notes: [notes, source.notes].concat(), ..source }),
                Err(why) => notes.push(format!("{why}; the images alone are read: what only the log holds is not restored")),
            }
        }
        Self::by_images(path, known, by, notes, progress)
    }

    fn by_log(device: &Arc<dyn Device>, uuid: [u8; 16]) -> Result<Self, String> {
        let nodes = NodeStore::new(Arc::new(Images::new(Arc::clone(device), 1)), CheckOptions::default().node_bytes);
        let recovered = recover(device, uuid, &nodes).map_err(|error| error.to_string())?;
        if !is_walkable(&recovered.state.names, &nodes.loading(TreeId::Name)) {
            return Err("not all nodes of the newest tables can be read".into());
        }
        let notes = recovered.corrupt.iter().map(|fault| format!("the log: {fault}: what came after it is not restored")).collect();
        let pool = BlockPool::new(0);
        let mut logged: HashMap<u64, Vec<(u64, Block)>> = HashMap::new();
        for (inode, number, _, bytes) in recovered.data.into_blocks() {
            logged.entry(inode.0).or_default().push((number, pool.holding(0, &bytes)));
        }
        Ok(Self::of(recovered.state.names, nodes, Images::new(Arc::clone(device), 1), logged, notes, "log"))
    }

    fn by_images(
        path: &Path,
        uuid: Option<[u8; 16]>,
        by: Option<By>,
        mut notes: Vec<String>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, RecoveryError> {
        let mut seen = |done| progress(Progress { phase: "images", done, total: 0 });
        let map = path.join("map");
        let from = if map.is_dir() { map } else { path.to_path_buf() };
        let io = |source| RecoveryError::Io { what: format!("cannot read {}", from.display()), source };
        let mut gathered = Gathered::below(&from, &mut seen).map_err(io)?;
        let uuid = choose(&gathered, &from, uuid)?;
        let images = gathered.catalogue.volumes.remove(&uuid).unwrap_or_default();
        let device: Arc<dyn Device> = Arc::new(gather::device(&images));
        let rebuilt = rebuild(found_in(&images, uuid), by, &mut |phase, done| progress(Progress { phase, done, total: 0 }))?;
        let report = &rebuilt.report;
        let found_by = match report.how {
            How::Root { .. } => "root",
            How::Nodes { .. } => "nodes",
            How::Owners => "owners",
        };
        if report.how.root().is_some() && !report.newer_images.is_empty() {
            notes.push(format!("{} images are younger than the names that were found", report.newer_images.len()));
        }
        if !matches!(report.how, How::Root { .. }) {
            notes.push("no root is whole: some names may be older, or have been removed; what has none is in lost+found".into());
        }
        let uncertain = report.uncertain.clone();
        let (names, nodes) = rebuilt.into_names();
        Ok(Self { uncertain, ..Self::of(names, nodes, Images::new(device, 1), HashMap::new(), notes, found_by) })
    }

    fn of(
        names: Tree,
        nodes: NodeStore,
        images: Images,
        logged: HashMap<u64, Vec<(u64, Block)>>,
        notes: Vec<String>,
        found_by: &'static str,
    ) -> Self {
        let (tiers, pool) = (Tiers::new(TIER_BYTES, TIER_BYTES), BlockPool::new(0));
        Self { names, nodes, images, tiers, pool, logged, notes, found_by, uncertain: BTreeSet::new() }
    }

    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub fn found_by(&self) -> &'static str {
        self.found_by
    }

    /// Whether it is not known that the inode is as it was.
    pub fn is_uncertain(&self, inode: Inode) -> bool {
        self.uncertain.contains(&inode.0)
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
