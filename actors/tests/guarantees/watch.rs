//! A device that writes down what it is asked for, reads the log as it is written, and says when a rule is broken.
//!
//! Owns: `Watched`, `Ledger`. Must be true: an image counts as durable when its bytes were synced after their last change, and its
//! directory, and that directory's parent, after it got its name. Fails: broken rules are listed, the operation goes on: a panic in an
//! actor would be caught.

use infmap_storage::address::RegionId;
use infmap_storage::device::{Device, DeviceFile, DirEntry, Metadata, Open, Space, split_path};
use infmap_storage::images::Images;
use infmap_storage::limits::CLUSTER_BYTES;
use infmap_storage::nodes::NodeStore;
use infmap_storage::root::RootRecord;
use infmap_storage::row::{ExtentRow, FileKind, Inode, InodeRow, Key};
use infmap_storage::state::change::{Change, changes};
use infmap_storage::vat::{Node, NodeError, NodePtr, NodeSource, TreeId};
use infmap_storage::wal::{Lsn, Record, RecordKind};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;

const BLOCK: u64 = CLUSTER_BYTES as u64;

/// What was seen.
#[derive(Default)]
pub struct Ledger {
    pub broken: Vec<String>,
    /// Sizes are to be covered by bytes: no test of this device makes holes.
    pub no_holes: bool,
    /// Names of entries in the order of the log.
    pub entries: Vec<Vec<u8>>,
    pub extents_seen: usize,
    pub roots_seen: usize,
    pub log_syncs: usize,
    /// What the two newest durable roots reach.
    reach: Vec<BTreeSet<String>>,
    pub images_taken_away: usize,
    files: HashMap<String, u64>,
    next_file: u64,
    unsynced: HashSet<u64>,
    /// Names under `map/` that survive a power cut.
    durable: HashSet<String>,
    pending_names: BTreeMap<String, HashSet<String>>,
    last_lsn: Option<Lsn>,
    group: Vec<(RecordKind, Vec<u8>)>,
    pending_roots: Vec<RootRecord>,
    /// Blocks of files of which bytes are durable or logged.
    covered: HashMap<Inode, BTreeSet<u64>>,
}

impl Ledger {
    fn file(&mut self, path: &str) -> u64 {
        if let Some(&file) = self.files.get(path) {
            return file;
        }
        self.next_file += 1;
        self.files.insert(path.into(), self.next_file);
        self.next_file
    }

    fn breaks(&mut self, what: String) {
        self.broken.push(what);
    }

    fn must_be_durable(&mut self, rule: &str, region: RegionId) {
        let path = region.path();
        let synced = self.files.get(&path).is_some_and(|file| !self.unsynced.contains(file));
        if !synced || !self.durable.contains(&path) {
            self.breaks(format!("{rule}: the log names {path}, whose bytes are {synced} synced"));
        }
    }

    /// The log is written.
    fn log_written(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            match Record::decode(&bytes[at..]) {
                Ok(record) => {
                    at += record.header.record_bytes();
                    self.record(&record);
                }
                Err(_) => at = (at + 1).next_multiple_of(CLUSTER_BYTES),
            }
        }
    }

    fn record(&mut self, record: &Record<'_>) {
        let lsn = record.header.lsn;
        if self.last_lsn.is_some_and(|last| last.next() != lsn) {
            self.breaks(format!("O2: record {} follows {:?} in the log", lsn.0, self.last_lsn));
        }
        self.last_lsn = Some(lsn);
        self.group.push((record.header.kind, record.payload.to_vec()));
        if record.header.commit {
            self.group_written();
        }
    }

    /// A group is there whole: only now is it looked at, since rows stand before the data that they go with.
    fn group_written(&mut self) {
        let mut sizes = Vec::new();
        for (kind, payload) in std::mem::take(&mut self.group) {
            if kind == RecordKind::Root {
                self.root(RootRecord::decode(&payload).unwrap());
                continue;
            }
            for change in changes(&payload) {
                self.change(&change.unwrap(), &mut sizes);
            }
        }
        if !self.no_holes {
            return;
        }
        for (inode, size) in sizes {
            let covered = self.covered.get(&inode).map_or(0, |blocks| blocks.range(..size.div_ceil(BLOCK)).count() as u64);
            if covered < size.div_ceil(BLOCK) {
                self.breaks(format!("O3: inode {} is logged with {size} bytes, of which {covered} blocks are durable or logged", inode.0));
            }
        }
    }

    fn change(&mut self, change: &Change<'_>, sizes: &mut Vec<(Inode, u64)>) {
        match *change {
            Change::PutExtent { inode, offset, row, .. } => {
                let row = ExtentRow::decode(row).unwrap();
                self.extents_seen += 1;
                self.must_be_durable("O3", row.first.region);
                self.cover(inode, offset, u64::from(row.length));
            }
            Change::Data { inode, offset, bytes, .. } => self.cover(inode, offset, bytes.len() as u64),
            Change::Put { key, value } => match Key::decode(key) {
                Some(Key::Entry(_, name)) => self.entries.push(name),
                Some(Key::Content(inode, 0) | Key::LargeContent(inode, 0)) => self.cover(inode, 0, 1),
                Some(Key::Inode(inode)) => {
                    let row = InodeRow::decode(value).unwrap();
                    if row.kind() == FileKind::Regular {
                        sizes.push((inode, row.size));
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn cover(&mut self, inode: Inode, offset: u64, length: u64) {
        self.covered.entry(inode).or_default().extend(offset / BLOCK..(offset + length).div_ceil(BLOCK));
    }

    fn root(&mut self, root: RootRecord) {
        self.roots_seen += 1;
        for (region, _) in &root.images {
            self.must_be_durable("O4", *region);
        }
        for ptr in [root.names, root.volume].into_iter().flatten() {
            self.must_be_durable("O4", ptr.address.region);
        }
        self.pending_roots.push(root);
    }

    /// Somebody takes an image away, or changes it.
    fn must_be_unreached(&mut self, what: &str, path: &str) {
        if !path.starts_with("map/") || !self.files.contains_key(path) {
            return;
        }
        self.images_taken_away += 1;
        if self.reach.iter().rev().take(2).any(|reach| reach.contains(path)) {
            self.breaks(format!("O8: {path} is {what}, and one of the two newest roots reaches it"));
        }
    }

    fn renamed(&mut self, from: &str, to: &str) {
        self.must_be_unreached("renamed", from);
        self.must_be_unreached("replaced", to);
        let file = self.file(from);
        self.files.remove(from);
        self.durable.remove(from);
        self.files.insert(to.into(), file);
        self.pending_names.entry(split_path(to).0.into()).or_default().insert(to.into());
    }

    fn directory_synced(&mut self, path: &str) {
        // The names in a directory that is not named durably itself are not either.
        let parent_is_pending = self.pending_names.get(split_path(path).0).is_some_and(|names| names.contains(path));
        if !parent_is_pending || path.is_empty() {
            self.durable.extend(self.pending_names.remove(path).unwrap_or_default());
        }
    }
}

/// A device that is watched.
pub struct Watched {
    inner: Arc<dyn Device>,
    pub ledger: Arc<Mutex<Ledger>>,
}

struct WatchedFile {
    inner: Arc<dyn DeviceFile>,
    device: Arc<dyn Device>,
    ledger: Arc<Mutex<Ledger>>,
    id: u64,
    is_log: bool,
}

impl Watched {
    pub fn new(inner: Arc<dyn Device>) -> Self {
        let mut ledger = Ledger::default();
        for path in Images::list(&*inner).unwrap() {
            ledger.file(&path);
            ledger.durable.insert(path);
        }
        Self { inner, ledger: Arc::new(Mutex::new(ledger)) }
    }
}

/// Nodes, and which images they came from.
struct Noting<'a, S> {
    source: S,
    seen: &'a Mutex<BTreeSet<String>>,
}

impl<S: NodeSource> NodeSource for Noting<'_, S> {
    fn node(&self, ptr: &NodePtr) -> Result<Arc<Node>, NodeError> {
        self.seen.lock().insert(ptr.address.region.path());
        self.source.node(ptr)
    }

    fn resident(&self, ptr: &NodePtr) -> Option<Arc<Node>> {
        self.source.resident(ptr)
    }
}

/// The paths of all images that a root reaches.
fn reach(device: &Arc<dyn Device>, root: &RootRecord) -> BTreeSet<String> {
    let seen = Mutex::default();
    let nodes = NodeStore::new(Arc::new(Images::new(device.clone(), 1)), 16 << 20);
    let state = root.open(root.generation);
    let noting = |tree| Noting { source: nodes.loading(tree), seen: &seen };
    for row in state.names.range(&noting(TreeId::Name), &[], None) {
        let row = row.expect("a row of a root that was just logged");
        if let Some(Key::Extent(..)) = Key::decode(row.key()) {
            seen.lock().insert(ExtentRow::decode(row.value()).unwrap().first.region.path());
        }
    }
    for row in state.volume.range(&noting(TreeId::Volume), &[], None) {
        row.expect("a row of a root that was just logged");
    }
    seen.into_inner()
}

impl DeviceFile for WatchedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut ledger = self.ledger.lock();
        ledger.unsynced.insert(self.id);
        if self.is_log {
            ledger.log_written(buf);
        } else {
            let named = ledger.files.iter().find(|(_, file)| **file == self.id).map(|(path, _)| path.clone());
            ledger.must_be_unreached("written over", &named.unwrap_or_default());
        }
        drop(ledger);
        self.inner.write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()?;
        let mut ledger = self.ledger.lock();
        ledger.unsynced.remove(&self.id);
        if self.is_log {
            ledger.log_syncs += 1;
            let roots = std::mem::take(&mut ledger.pending_roots);
            drop(ledger);
            let reach: Vec<_> = roots.iter().map(|root| reach(&self.device, root)).collect();
            self.ledger.lock().reach.extend(reach);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.ledger.lock().unsynced.insert(self.id);
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }
}

impl Device for Watched {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>> {
        let inner = self.inner.open(path, how)?;
        let id = self.ledger.lock().file(path);
        let (device, ledger) = (self.inner.clone(), self.ledger.clone());
        Ok(Arc::new(WatchedFile { inner, device, ledger, id, is_log: path.starts_with("wal/") }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        if self.inner.metadata(path)?.is_none() {
            self.ledger.lock().pending_names.entry(split_path(path).0.into()).or_default().insert(path.into());
        }
        self.inner.create_dir(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path)
    }

    fn metadata(&self, path: &str) -> io::Result<Option<Metadata>> {
        self.inner.metadata(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.ledger.lock().renamed(from, to);
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut ledger = self.ledger.lock();
        ledger.must_be_unreached("removed", path);
        ledger.files.remove(path);
        ledger.durable.remove(path);
        drop(ledger);
        self.inner.remove(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.inner.sync_dir(path)?;
        self.ledger.lock().directory_synced(path);
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
}
