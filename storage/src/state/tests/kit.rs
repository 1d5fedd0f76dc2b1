//! A whole volume in memory, one thread, no device: nodes written by checkpoints, a log that is a list, and a recount of everything.

use crate::address::{Address, Cluster, Generation, Place, RegionId};
use crate::names::{self, NewNode};
use crate::root::RootRecord;
use crate::row::{Codec, ExtentRow, FileKind, Inode, InodeRow, Key, LiveBits, ROOT_INODE, RegionKind, RegionRow, Time};
use crate::space::SpaceDeltas;
use crate::state::change::{Change, changes};
use crate::state::{FoldProgress, Foldable, State, StateError, Txn};
use crate::vat::{DirtyGauge, Link, Node, NodeError, NodePtr, NodeSource, Tree, TreeId, decode_node, encode_node};
use crate::wal::Lsn;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub const NOW: Time = Time { seconds: 1000, nanos: 5 };
/// Clusters of a region of nodes that a checkpoint here uses, so that it needs several.
const NODE_CLUSTERS_USED: usize = 30;

/// Nodes that checkpoints wrote; may miss one of the calls.
#[derive(Default)]
pub struct Store {
    nodes: RefCell<HashMap<Address, Arc<Node>>>,
    pub calls: Cell<usize>,
    pub miss_at: Cell<Option<usize>>,
}

impl Store {
    pub fn write(&self, tree: TreeId, link: &Link, address: Address, generation: Generation) -> NodePtr {
        let encoded = encode_node(tree, &link.held().unwrap(), generation).unwrap();
        let ptr = encoded.ptr(address);
        let node = decode_node(tree, &ptr, &encoded.bytes).unwrap();
        assert!(self.nodes.borrow_mut().insert(address, Arc::new(node)).is_none(), "an address is written once");
        ptr
    }

    fn forget(&self, region: RegionId) {
        self.nodes.borrow_mut().retain(|address, _| address.region != region);
    }
}

impl NodeSource for Store {
    fn node(&self, ptr: &NodePtr) -> Result<Arc<Node>, NodeError> {
        self.calls.set(self.calls.get() + 1);
        if self.miss_at.get() == Some(self.calls.get()) {
            return Err(NodeError::Miss(*ptr));
        }
        Ok(Arc::clone(self.nodes.borrow().get(&ptr.address).expect("a node was freed while something reaches it")))
    }

    fn resident(&self, ptr: &NodePtr) -> Option<Arc<Node>> {
        self.nodes.borrow().get(&ptr.address).cloned()
    }
}

impl Foldable for BTreeSet<RegionId> {
    fn is_open(&self, region: RegionId) -> bool {
        self.contains(&region)
    }
}

/// A state without anything in it.
pub fn empty_state() -> State {
    let gauge = Arc::new(DirtyGauge::default());
    State {
        names: Tree::empty(Arc::clone(&gauge)),
        volume: Tree::empty(Arc::clone(&gauge)),
        gauge,
        generation: Generation::first_of(1),
        next_inode: 2,
        frontier: Place(0),
        inodes: 0,
        live_clusters: 0,
        given_up: 0,
        deltas: SpaceDeltas::default(),
        pending: Vec::new(),
    }
}

/// An empty state with a root directory.
pub fn new_state(store: &Store) -> (State, Vec<u8>) {
    let mut state = empty_state();
    let row = InodeRow { parent: ROOT_INODE, ..InodeRow::new(FileKind::Directory.mode_bits() | 0o755, 0, 0, NOW) };
    let payload = state.transact(store, |txn| txn.put_inode(ROOT_INODE, &row)).unwrap().payload;
    (state, payload)
}

pub fn file(parent: Inode, name: &[u8]) -> NewNode {
    NewNode { parent, name: name.to_vec(), mode: FileKind::Regular.mode_bits() | 0o644, uid: 1, gid: 1, rdev: 0, umask: 0 }
}

pub fn rows(tree: &Tree, source: &dyn NodeSource) -> Vec<(Vec<u8>, Vec<u8>)> {
    tree.range(source, &[], None).map(|row| row.unwrap()).map(|row| (row.key().to_vec(), row.value().to_vec())).collect()
}

pub fn raw_extent(first: Address, clusters: u8, sequence: u64) -> ExtentRow {
    let bytes = u32::from(clusters) * 4096;
    ExtentRow {
        first,
        clusters,
        codec: Codec::Raw,
        stored_bytes: bytes,
        decoded_bytes: bytes,
        skip: 0,
        length: bytes,
        sequence,
        birth: Generation(0),
        crcs_from: 0,
        crcs: (0..u32::from(clusters)).collect(),
    }
}

pub fn apply(state: &mut State, store: &Store, payload: &[u8]) {
    for change in changes(payload) {
        match change.unwrap() {
            change @ (Change::Grant { .. } | Change::Freed { .. }) => state.replay_place(store, &change).unwrap(),
            change => state.replay(store, &change).unwrap(),
        }
    }
}

pub fn fold_all(state: &mut State, store: &Store, writers: &dyn Foldable) {
    for _ in 0..1000 {
        if state.fold(store, writers, 3).unwrap() == FoldProgress::Settled {
            return;
        }
    }
    panic!("a fold never ends");
}

/// References to every extent and placed node, with its clusters, by walking both trees; those in `waiting` regions are left out.
fn references(state: &State, store: &Store, waiting: &BTreeSet<RegionId>) -> BTreeMap<Address, (i64, usize)> {
    let mut found: BTreeMap<Address, (i64, usize)> = BTreeMap::new();
    let mut todo: Vec<Arc<Link>> = state.names.root().into_iter().chain(state.volume.root()).cloned().collect();
    while let Some(link) = todo.pop() {
        if let Some(ptr) = link.ptr().filter(|ptr| !waiting.contains(&ptr.address.region)) {
            found.entry(ptr.address).or_insert((0, usize::from(ptr.clusters))).0 += 1;
        }
        let node = link.held().unwrap_or_else(|| store.node(&link.ptr().unwrap()).unwrap());
        todo.extend(node.children().cloned());
    }
    for (key, value) in rows(&state.names, store) {
        if let Some(Key::Extent(..)) = Key::decode(&key) {
            let row = ExtentRow::decode(&value).unwrap();
            found.entry(row.first).or_insert((0, usize::from(row.clusters))).0 += 1;
        }
    }
    found
}

/// The volume tree of a folded state says exactly what a walk over both trees counts.
pub fn recount(state: &State, store: &Store, open: &BTreeSet<RegionId>, waiting: &BTreeSet<RegionId>) {
    let references = references(state, store, waiting);
    let mut live: BTreeMap<RegionId, LiveBits> = BTreeMap::new();
    for (first, (_, clusters)) in &references {
        let set = live.entry(first.region).or_default().set(first.cluster.number(), *clusters, true);
        assert_eq!(set, *clusters, "extents or nodes overlap");
    }
    assert_eq!(state.live_clusters, live.values().map(|bits| bits.count() as u64).sum::<u64>(), "live clusters");
    let (mut counts, mut places) = (BTreeMap::new(), BTreeSet::new());
    for (key, value) in rows(&state.volume, store) {
        match Key::decode(&key).unwrap() {
            Key::Region(place) => {
                let row = RegionRow::decode(&value).unwrap();
                let region = RegionId { place, generation: row.generation };
                assert_eq!(row.live, live.remove(&region).unwrap_or_default(), "live bits of {region}");
                assert!(!row.live.is_empty() || open.contains(&region), "{region} is dead and has a row");
                assert!(places.insert(place));
            }
            Key::Count(first) => drop(counts.insert(first, i64::from_le_bytes(value.try_into().unwrap()))),
            Key::Dead(region) => assert!(places.insert(region.place), "a dead image and another use of {region}"),
            Key::Free(place) => assert!(place < state.frontier && places.insert(place), "{place} is free and in use"),
            other => panic!("{other:?} in the volume tree"),
        }
    }
    places.extend(waiting.iter().map(|region| region.place));
    assert!(live.is_empty(), "regions without a row: {:?}", live.keys());
    assert_eq!(counts, references.into_iter().map(|(first, (count, _))| (first, count)).filter(|(_, count)| *count > 1).collect());
    assert_eq!(places, (0..state.frontier.0).map(Place).collect(), "every place below the frontier is in use, dead or free");
}

/// A checkpoint under way.
struct Checkpoint {
    record: RootRecord,
    todo: Vec<(TreeId, Arc<Link>)>,
    written: Vec<Arc<Link>>,
    names: Tree,
    volume: Tree,
    dead: Vec<RegionId>,
    used: usize,
}

/// A data region that is being filled.
#[derive(Clone, Copy)]
pub struct OpenRegion {
    pub id: RegionId,
    used: usize,
}

/// A volume.
pub struct World {
    pub store: Store,
    pub state: State,
    pub log: Vec<(u64, Vec<u8>)>,
    pub lsn: u64,
    pub data: Option<OpenRegion>,
    /// Regions that somebody still writes, or reports of which are under way; those of nodes too.
    pub open: BTreeSet<RegionId>,
    checkpoint: Option<Checkpoint>,
    /// The two newest roots, newest last, with what was dead when they were frozen.
    pub roots: Vec<(RootRecord, Vec<RegionId>)>,
    /// Everything up to here is synced.
    pub synced: u64,
    places: Vec<(u64, RegionId, bool)>,
    pub files: Vec<Inode>,
    pub sequence: u64,
}

impl World {
    pub fn new(files: usize) -> Self {
        let store = Store::default();
        let (state, payload) = new_state(&store);
        let mut world = Self {
            store,
            state,
            log: vec![(1, payload)],
            lsn: 1,
            data: None,
            open: BTreeSet::new(),
            checkpoint: None,
            roots: Vec::new(),
            synced: 1,
            places: Vec::new(),
            files: Vec::new(),
            sequence: 0,
        };
        (0..files).for_each(|n| world.create(n));
        world
    }

    pub fn create(&mut self, n: usize) {
        // Long names, so that few files fill many nodes.
        let name = format!("{n:05}-{}", "x".repeat(180));
        if let Some((inode, _)) = self.transact(|txn| names::create(txn, &file(ROOT_INODE, name.as_bytes()), NOW)) {
            self.files.push(inode);
        }
    }

    /// Runs and logs a transaction; `None` if it was refused.
    pub fn transact<T>(&mut self, body: impl FnOnce(&mut Txn<'_>) -> Result<T, StateError>) -> Option<T> {
        match self.state.transact(&self.store, body) {
            Ok(outcome) => {
                self.append(outcome.payload);
                Some(outcome.value)
            }
            Err(StateError::Refused(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn append(&mut self, payload: Vec<u8>) {
        self.lsn += 1;
        self.log.push((self.lsn, payload));
    }

    pub fn grant(&mut self, kind: RegionKind) -> RegionId {
        let (region, payload) = self.state.grant(&self.store, kind).unwrap();
        self.append(payload);
        self.synced = self.lsn;
        let in_use = self.places_in_use();
        assert!(!in_use.iter().any(|used| used.place == region.place), "{region} is granted while in use");
        assert!(kind == RegionKind::Node || region.place.0 >= crate::limits::NODE_PLACES);
        assert!(!self.places.iter().any(|(_, used, granted)| *granted && *used == region), "{region} is granted twice");
        self.places.push((self.lsn, region, true));
        self.open.insert(region);
        region
    }

    fn places_in_use(&self) -> BTreeSet<RegionId> {
        let mut used = BTreeSet::new();
        for (_, region, granted) in &self.places {
            if *granted {
                used.insert(*region)
            } else {
                used.remove(region)
            };
        }
        used
    }

    /// Room for an extent in the open data region; a full one is closed.
    pub fn place(&mut self, clusters: u8) -> ExtentRow {
        if self.data.is_none_or(|open| open.used + usize::from(clusters) > 100) {
            self.close();
        }
        let mut open = self.data.unwrap_or(OpenRegion { id: RegionId { place: Place(0), generation: Generation(0) }, used: 100 });
        if open.used == 100 {
            open = OpenRegion { id: self.grant(RegionKind::Data), used: 0 };
        }
        let first = Address { region: open.id, cluster: Cluster::new(open.used).unwrap() };
        open.used += usize::from(clusters);
        self.data = Some(open);
        self.sequence += 1;
        raw_extent(first, clusters, self.sequence)
    }

    /// The data region is durable, and nobody will claim a part of it any more.
    pub fn close(&mut self) {
        if let Some(open) = self.data.take() {
            self.open.remove(&open.id);
        }
    }

    pub fn put_extent(&mut self, file: Inode, offset: u64, row: &ExtentRow, fresh: bool) {
        self.transact(|txn| {
            let gained = txn.put_extent(file, offset, row, fresh)?;
            let mut inode = txn.view().inode(file)?;
            inode.blocks = inode.blocks.saturating_add_signed(gained);
            txn.put_inode(file, &inode)
        });
    }

    pub fn fold(&mut self, regions: usize) {
        self.state.fold(&self.store, &self.open, regions).unwrap();
    }

    /// Regions that a checkpoint under way writes.
    pub fn waiting(&self) -> BTreeSet<RegionId> {
        self.checkpoint.iter().flat_map(|checkpoint| checkpoint.record.images.iter().map(|(region, _)| *region)).collect()
    }

    pub fn fold_and_recount(&mut self) {
        fold_all(&mut self.state, &self.store, &self.open);
        recount(&self.state, &self.store, &self.open, &self.waiting());
    }

    /// Freezes both trees.
    pub fn begin_checkpoint(&mut self) {
        if self.checkpoint.is_some() {
            return;
        }
        fold_all(&mut self.state, &self.store, &self.open);
        let state = &mut self.state;
        assert!(state.deltas.is_settled() && state.pending.is_empty());
        let (names, volume) = (state.names.clone(), state.volume.clone());
        let links = |id, tree: &Tree| tree.dirty_links().into_iter().map(move |link| (id, link)).collect::<Vec<_>>();
        let mut todo = links(TreeId::Name, &names);
        todo.extend(links(TreeId::Volume, &volume));
        todo.reverse();
        let kind = RegionKind::Data;
        let record = RootRecord {
            volume_uuid: [7; 16],
            generation: state.generation,
            cut: Lsn(self.lsn),
            low: Lsn(self.lsn),
            names: None,
            volume: None,
            next_inode: state.next_inode,
            frontier: state.frontier,
            inodes: state.inodes,
            live_clusters: state.live_clusters,
            images: Vec::new(),
            open: self.open.iter().map(|region| (*region, kind)).collect(),
        };
        state.generation = state.generation.next();
        let dead = state.dead(&self.store, 1000).unwrap();
        self.checkpoint = Some(Checkpoint { record, todo, written: Vec::new(), names, volume, dead, used: NODE_CLUSTERS_USED });
    }

    /// Writes up to `nodes` nodes of the checkpoint under way, and ends it after the last.
    pub fn go_on_with_checkpoint(&mut self, nodes: usize) {
        let Some(mut checkpoint) = self.checkpoint.take() else { return };
        for _ in 0..nodes {
            let Some((tree, link)) = checkpoint.todo.pop() else { break };
            if checkpoint.used + crate::limits::NODE_MAX_CLUSTERS > NODE_CLUSTERS_USED {
                checkpoint.record.images.push((self.grant(RegionKind::Node), Vec::new()));
                checkpoint.used = 0;
            }
            let (region, written) = checkpoint.record.images.last_mut().unwrap();
            let address = Address { region: *region, cluster: Cluster::new(checkpoint.used).unwrap() };
            let ptr = self.store.write(tree, &link, address, checkpoint.record.generation);
            checkpoint.used += usize::from(ptr.clusters);
            written.push((address.cluster, ptr.clusters));
            assert!(link.assign(ptr));
            checkpoint.written.push(link);
        }
        if checkpoint.todo.is_empty() { self.end_checkpoint(checkpoint) } else { self.checkpoint = Some(checkpoint) }
    }

    fn end_checkpoint(&mut self, mut checkpoint: Checkpoint) {
        checkpoint.record.names = checkpoint.names.root().map(|root| root.ptr().unwrap());
        checkpoint.record.volume = checkpoint.volume.root().map(|root| root.ptr().unwrap());
        self.synced = self.lsn;
        for (region, nodes) in &checkpoint.record.images {
            for (cluster, clusters) in nodes {
                self.state.deltas.born(Address { region: *region, cluster: *cluster }, *clusters);
            }
            self.open.remove(region);
        }
        self.state.settle_pending();
        assert!(self.state.pending.is_empty());
        checkpoint.written.iter().for_each(|link| drop(link.detach()));
        self.roots.push((checkpoint.record, checkpoint.dead));
        if self.roots.len() > 2 {
            self.roots.remove(0);
        }
        if let [(_, dead), _] = self.roots.as_slice() {
            self.free(&dead.clone());
        }
    }

    fn free(&mut self, dead: &[RegionId]) {
        let payload = self.state.free(&self.store, dead).unwrap();
        let freed: Vec<RegionId> = changes(&payload)
            .map(|change| match change.unwrap() {
                Change::Freed { region } => region,
                other => panic!("{other:?}"),
            })
            .collect();
        if !freed.is_empty() {
            self.append(payload);
        }
        for region in freed {
            self.places.push((self.lsn, region, false));
            self.store.forget(region);
        }
    }

    /// What the root and the log up to `lsn` give.
    pub fn recover(&self, root: &RootRecord, lsn: u64) -> State {
        let root_read = RootRecord::decode(&root.encode()).unwrap();
        assert_eq!(&root_read, root);
        let mut state = root_read.open(Generation::first_of(self.state.generation.epoch() + 1));
        for (at, payload) in &self.log {
            if *at > root.cut.0 && *at <= lsn {
                apply(&mut state, &self.store, payload);
            }
        }
        state
    }

    /// Power goes, and with it all that was not synced, up to `lost` records.
    pub fn crash(&mut self, lost: u64) {
        let Some((root, _)) = self.roots.last() else { return };
        self.lsn = self.lsn.saturating_sub(lost).max(self.synced);
        self.state = self.recover(root, self.lsn);
        self.log.retain(|(at, _)| *at <= self.lsn);
        self.places.retain(|(at, ..)| *at <= self.lsn);
        (self.checkpoint, self.data) = (None, None);
        self.open.clear();
        self.fold_and_recount();
        self.files = (0..self.state.next_inode).map(Inode).filter(|inode| self.is_file(*inode)).collect();
    }

    fn is_file(&self, inode: Inode) -> bool {
        let row = self.state.view(&self.store).find_inode(inode).unwrap();
        row.is_some_and(|row| row.kind() == FileKind::Regular && row.links > 0)
    }
}
