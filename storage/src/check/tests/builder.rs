//! Small volumes made by hand in memory, and checkpoints of them, so that tests can break one thing at a time.
//!
//! The state can be bent between the last fold and the writing of the nodes: then the trees on disk say what nobody would write.

use crate::address::{Address, RegionId};
use crate::check::{CheckOptions, CheckReport, check};
use crate::device::{Device, MemoryDevice, Open, read_all};
use crate::images::Images;
use crate::limits::CLUSTER_BYTES;
use crate::names::{NewNode, Settlement, create, settle};
use crate::nodes::NodeStore;
use crate::recover::{empty_root, first_change};
use crate::region::{Codec, IMAGE_MAX_BYTES, Identity, Owner, OwnerKind, ParityEncoder, RegionBuilder, SealedRegion};
use crate::root::RootRecord;
use crate::row::{ExtentRow, FileKind, Inode, Key, ROOT_INODE, RegionKind, RegionRow, Time};
use crate::state::{FoldProgress, Foldable, State, StateError, Txn};
use crate::unit::Compressor;
use crate::vat::{Released, Tree, TreeId, encode_node};
use crate::volume_file::create_skeleton;
use crate::wal::{Appender, LogPosition, LogWriter, Lsn, RecordKind, WriterSettings};
use std::sync::Arc;

pub(crate) const UUID: [u8; 16] = [7; 16];
pub(crate) const NOW: Time = Time { seconds: 1_763_630_491, nanos: 5 };

/// A data region that takes extents.
type OpenRegion = RegionBuilder<Vec<u8>>;

pub(crate) struct Builder {
    pub device: Arc<dyn Device>,
    pub state: State,
    pub nodes: NodeStore,
    appender: Appender,
    log: LogWriter,
    open: Option<OpenRegion>,
    encoder: ParityEncoder,
}

/// Only this region is still written.
struct Writing(Option<RegionId>);

impl Foldable for Writing {
    fn is_open(&self, region: RegionId) -> bool {
        self.0 == Some(region)
    }
}

impl Builder {
    /// A volume with an empty root directory, nothing of it in a checkpoint yet.
    pub fn new() -> Self {
        let device: Arc<dyn Device> = Arc::new(MemoryDevice::new());
        create_skeleton(device.as_ref(), UUID, NOW).unwrap();
        let start = LogPosition { uuid: UUID, epoch: 1, next_lsn: Lsn::FIRST, previous_crc: 0, replayed_bytes: 0 };
        let settings = WriterSettings { segment_bytes: 1 << 20, keep_ready: 1 };
        let log = LogWriter::start(Arc::clone(&device), &start, settings).unwrap();
        let nodes = NodeStore::new(Arc::new(Images::new(Arc::clone(&device), 1)), 8 << 20);
        let root = empty_root(UUID);
        let mut state = root.open(root.generation);
        let payload = first_change(&mut state, &nodes, 0, 0, NOW).unwrap();
        let appender = Appender::new(&start, settings.group_limit());
        let mut builder = Self { device, state, nodes, appender, log, open: None, encoder: ParityEncoder::new() };
        builder.append(RecordKind::Root, &root.encode());
        builder.append(RecordKind::Changes, &payload);
        builder
    }

    pub fn append(&mut self, kind: RecordKind, payload: &[u8]) -> Lsn {
        let lsn = self.appender.append(kind, &[payload], true).unwrap();
        let batch = self.appender.take(usize::MAX).unwrap();
        self.log.write(&batch).unwrap();
        let synced = self.log.sync().unwrap();
        self.appender.note_synced(synced);
        lsn
    }

    pub fn change<T>(&mut self, body: impl FnOnce(&mut Txn<'_>) -> Result<T, StateError>) -> T {
        let done = self.state.transact(&self.nodes.loading(TreeId::Name), body).unwrap();
        if !done.payload.is_empty() {
            self.append(RecordKind::Changes, &done.payload);
        }
        done.value
    }

    pub fn make(&mut self, parent: Inode, name: &str, kind: FileKind) -> Inode {
        let node = NewNode { parent, name: name.into(), mode: kind.mode_bits() | 0o644, uid: 1, gid: 1, rdev: 0, umask: 0 };
        self.change(|txn| create(txn, &node, NOW)).0
    }

    pub fn grant(&mut self, kind: RegionKind) -> RegionId {
        let (region, payload) = self.state.grant(&self.nodes.loading(TreeId::Volume), kind).unwrap();
        self.append(RecordKind::Grant, &payload);
        region
    }

    /// Places bytes of a file as one extent in the open data region; the row that claims them.
    pub fn place(&mut self, inode: Inode, offset: u64, bytes: &[u8], sequence: u64, compress: bool) -> ExtentRow {
        if self.open.is_none() {
            let region = self.grant(RegionKind::Data);
            self.open = builder_for(region, RegionKind::Data);
        }
        let mut compressor = Compressor::default();
        let unit = if compress { compressor.compress(bytes) } else { None };
        let (codec, stored) = unit.map_or((Codec::Raw, bytes), |unit| (Codec::Zstd, unit));
        let open = self.open.as_mut().unwrap();
        let region = open.identity().region;
        let decoded_bytes = bytes.len() as u32;
        let owner = Owner { kind: OwnerKind::Extent, codec, inode: inode.0, offset_bytes: offset, decoded_bytes, sequence, home: None };
        let placed = open.place(owner, &[stored]).unwrap();
        ExtentRow {
            first: Address { region, cluster: placed.first },
            clusters: stored.len().div_ceil(CLUSTER_BYTES) as u8,
            codec,
            stored_bytes: stored.len() as u32,
            decoded_bytes,
            skip: 0,
            length: decoded_bytes,
            sequence,
            birth: self.state.generation,
            crcs_from: 0,
            crcs: placed.crcs.to_vec(),
        }
    }

    /// Places bytes and lets the file have them.
    pub fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8], sequence: u64, compress: bool) -> ExtentRow {
        let row = self.place(inode, offset, bytes, sequence, compress);
        self.put(inode, offset, &row);
        row
    }

    pub fn put(&mut self, inode: Inode, offset: u64, row: &ExtentRow) {
        let end = offset + u64::from(row.length);
        self.change(|txn| {
            let gained = txn.put_extent(inode, offset, row, true)?;
            let size = txn.view().inode(inode)?.size.max(end);
            let settled = Settlement { version: row.sequence, size, accessed: NOW, modified: NOW, changed: NOW };
            settle(txn, inode, &settled, gained).map(drop)
        });
    }

    pub fn put_inline(&mut self, inode: Inode, content: &[u8]) {
        self.change(|txn| {
            txn.put_inline_content(inode, content, 1)?;
            let size = content.len() as u64;
            let settled = Settlement { version: 1, size, accessed: NOW, modified: NOW, changed: NOW };
            settle(txn, inode, &settled, 0).map(drop)
        });
    }

    /// Seals the open data region.
    pub fn seal(&mut self) -> Option<RegionId> {
        let open = self.open.take()?;
        let region = open.identity().region;
        let sealed = open.finish(&mut self.encoder);
        self.write_image(region, &sealed);
        Some(region)
    }

    pub fn write_image(&mut self, region: RegionId, sealed: &SealedRegion<Vec<u8>>) {
        self.device.create_dir(&region.place.directory()).unwrap();
        self.device.open(&region.path(), Open::CREATE).unwrap().write_at(sealed.bytes(), 0).unwrap();
    }

    pub fn fold(&mut self) {
        let open = Writing(self.open.as_ref().map(|open| open.identity().region));
        while self.state.fold(&self.nodes.loading(TreeId::Volume), &open, usize::MAX).unwrap() != FoldProgress::Settled {}
    }

    /// Seals, folds, bends the state, and writes a root of what is then.
    pub fn checkpoint(&mut self, bend: impl FnOnce(&mut Self)) -> RootRecord {
        self.seal();
        let region = self.grant(RegionKind::Node);
        self.state.deltas.granted.remove(&region);
        self.state.deltas.suspects.remove(&region);
        self.fold();
        bend(self);
        let mut open = builder_for(region, RegionKind::Node).unwrap();
        let mut placed = Vec::new();
        for (tree, id) in [(&self.state.names, TreeId::Name), (&self.state.volume, TreeId::Volume)] {
            for link in tree.dirty_links() {
                let node = encode_node(id, &link.held().unwrap(), self.state.generation).unwrap();
                let owner = Owner {
                    kind: OwnerKind::Node,
                    codec: Codec::Zstd,
                    inode: 0,
                    offset_bytes: 0,
                    decoded_bytes: node.bytes.len() as u32,
                    sequence: 0,
                    home: None,
                };
                let first = open.place(owner, &[&node.bytes]).unwrap().first;
                assert!(link.assign(node.ptr(Address { region, cluster: first })));
                placed.push((first, (node.bytes.len() / CLUSTER_BYTES) as u8));
            }
        }
        let cut = self.appender.next_lsn().before();
        let ptr = |tree: &Tree| tree.root().and_then(|root| root.ptr());
        let root = RootRecord {
            volume_uuid: UUID,
            generation: self.state.generation,
            cut,
            low: cut,
            names: ptr(&self.state.names),
            volume: ptr(&self.state.volume),
            next_inode: self.state.next_inode,
            frontier: self.state.frontier,
            inodes: self.state.inodes,
            live_clusters: self.state.live_clusters,
            images: vec![(region, placed.clone())],
            open: Vec::new(),
        };
        open.set_root(&root.encode()).unwrap();
        let sealed = open.finish(&mut self.encoder);
        self.write_image(region, &sealed);
        self.append(RecordKind::Root, &root.encode());
        self.state.generation = self.state.generation.next();
        self.state.deltas.grant(region, RegionKind::Node);
        placed.into_iter().for_each(|(cluster, clusters)| self.state.deltas.born(Address { region, cluster }, clusters));
        self.state.settle_pending();
        root
    }

    /// Puts a row into the name tree behind everybody's back.
    pub fn bend_name(&mut self, key: &Key, value: &[u8]) {
        let source = self.nodes.loading(TreeId::Name);
        self.state.names.put(&source, self.state.generation, &key.encode(), value, &mut Released::default()).unwrap();
    }

    pub fn unbend_name(&mut self, key: &Key) {
        let source = self.nodes.loading(TreeId::Name);
        let old = self.state.names.remove(&source, self.state.generation, &key.encode(), &mut Released::default()).unwrap();
        assert!(old.is_some(), "the row to be taken away was there");
    }

    /// The same for the volume tree; `None` takes a row away.
    pub fn bend_volume(&mut self, key: &Key, value: Option<&[u8]>) {
        let source = self.nodes.loading(TreeId::Volume);
        let (generation, key) = (self.state.generation, key.encode());
        let released = &mut Released::default();
        match value {
            Some(value) => drop(self.state.volume.put(&source, generation, &key, value, released).unwrap()),
            None => assert!(self.state.volume.remove(&source, generation, &key, released).unwrap().is_some()),
        }
    }

    pub fn region_row(&self, region: RegionId) -> RegionRow {
        let row = self.state.volume.get(&self.nodes.loading(TreeId::Volume), &Key::Region(region.place).encode()).unwrap();
        RegionRow::decode(row.unwrap().value()).unwrap()
    }

    pub fn check(&self) -> CheckReport {
        self.check_with(&CheckOptions::default())
    }

    pub fn check_with(&self, options: &CheckOptions) -> CheckReport {
        check(&self.device, UUID, options, &mut |_| {}).unwrap()
    }

    /// All bytes of a file.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        read_all(self.device.as_ref(), path, usize::MAX).unwrap()
    }

    /// Replaces bytes of a file.
    pub fn damage(&self, path: &str, at: usize, bytes: &[u8]) {
        self.device.open(path, Open::WRITE).unwrap().write_at(bytes, at as u64).unwrap();
    }
}

pub(crate) fn builder_for(region: RegionId, kind: RegionKind) -> Option<OpenRegion> {
    RegionBuilder::new(vec![0xEE; IMAGE_MAX_BYTES], Identity { volume: UUID, region, kind })
}

/// Bytes that no codec shortens.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(2) + 1;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// What a sample volume has in it.
pub(crate) struct Sample {
    pub directory: Inode,
    pub below: Inode,
    pub raw: Inode,
    pub packed: Inode,
    pub small: Inode,
    pub medium: Inode,
    pub link: Inode,
    pub orphan: Inode,
    pub data: RegionId,
}

/// A volume with one of everything, not yet in a checkpoint.
pub(crate) fn sample() -> (Builder, Sample) {
    let mut b = Builder::new();
    let directory = b.make(ROOT_INODE, "letters", FileKind::Directory);
    let below = b.make(directory, "old", FileKind::Directory);
    let raw = b.make(directory, "raw", FileKind::Regular);
    let packed = b.make(below, "packed", FileKind::Regular);
    let (small, medium) = (b.make(ROOT_INODE, "small", FileKind::Regular), b.make(ROOT_INODE, "medium", FileKind::Regular));
    b.write(raw, 0, &noise(64 << 10, 1), 1, false);
    b.write(raw, 64 << 10, &noise(10_000, 2), 2, false);
    // A write over the middle splits the first extent.
    b.write(raw, 16 << 10, &noise(8 << 10, 3), 3, false);
    b.write(packed, 0, &b"all work and no play makes a dull map. ".repeat(1680)[..65_000], 1, true);
    b.put_inline(small, b"a few words");
    b.put_inline(medium, &noise(1900, 4));
    b.change(|txn| crate::names::link(txn, raw, ROOT_INODE, b"also raw", NOW));
    let node = NewNode { parent: ROOT_INODE, name: b"way".to_vec(), mode: 0o777, uid: 0, gid: 0, rdev: 0, umask: 0 };
    let link = b.change(|txn| crate::names::symlink(txn, &node, b"letters/raw", NOW)).0;
    let orphan = b.make(ROOT_INODE, "gone", FileKind::Regular);
    b.write(orphan, 0, &noise(5000, 5), 1, false);
    b.change(|txn| crate::names::unlink(txn, ROOT_INODE, b"gone", NOW));
    let data = b.seal().unwrap();
    (b, Sample { directory, below, raw, packed, small, medium, link, orphan, data })
}
