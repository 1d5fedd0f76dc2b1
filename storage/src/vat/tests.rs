//! The tree against a model, with clones held, changes taken back, checkpoints in progress, tiny caches, and a full recount
//! of what is placed, reachable and released after every step.

use super::*;
use crate::address::{Address, Cluster, Generation, Place, RegionId};
use crate::limits::{CLUSTER_BYTES, REGION_CLUSTERS, ROW_MAX_BYTES, TREE_MAX_LEVELS};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

mod cases;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Clusters in memory: what checkpoints wrote.
#[derive(Default)]
struct Store {
    nodes: RefCell<HashMap<Address, Vec<u8>>>,
    next: RefCell<usize>,
    loads: RefCell<usize>,
}

impl Store {
    fn write(&self, encoded: &EncodedNode) -> NodePtr {
        let clusters = encoded.bytes.len() / CLUSTER_BYTES;
        let mut next = self.next.borrow_mut();
        if *next % REGION_CLUSTERS + clusters > REGION_CLUSTERS {
            *next = next.next_multiple_of(REGION_CLUSTERS);
        }
        let region = RegionId { place: Place((*next / REGION_CLUSTERS) as u32), generation: Generation(1) };
        let address = Address { region, cluster: Cluster::new(*next % REGION_CLUSTERS).unwrap() };
        *next += clusters;
        self.nodes.borrow_mut().insert(address, encoded.bytes.clone());
        encoded.ptr(address)
    }

    fn load(&self, ptr: &NodePtr) -> std::io::Result<Vec<u8>> {
        *self.loads.borrow_mut() += 1;
        self.nodes.borrow().get(&ptr.address).cloned().ok_or_else(|| std::io::Error::other("freed"))
    }

    fn placed(&self) -> BTreeSet<Address> {
        self.nodes.borrow().keys().copied().collect()
    }
}

/// A checkpoint that has begun: the frozen tree, its model, what it still writes, and what it frees when it ends.
struct Checkpoint {
    tree: Tree,
    model: Model,
    todo: Vec<Arc<Link>>,
    written: Vec<Arc<Link>>,
    frees: Released,
    generation: Generation,
}

/// The whole world around a tree that a Vat has, in one thread.
struct World {
    store: Store,
    cache: NodeCache,
    gauge: Arc<DirtyGauge>,
    tree: Tree,
    model: Model,
    birth: Generation,
    released: Released,
    held: Vec<(Tree, Model)>,
    checkpoint: Option<Checkpoint>,
    last_root: Option<(Tree, Model)>,
    /// Change through a source that never loads, and fetch what it misses.
    resident_only: bool,
}

impl World {
    fn new(cache_bytes: u64, resident_only: bool) -> Self {
        let gauge = Arc::new(DirtyGauge::default());
        Self {
            store: Store::default(),
            cache: NodeCache::new(cache_bytes),
            tree: Tree::empty(Arc::clone(&gauge)),
            gauge,
            model: Model::new(),
            birth: Generation(1),
            released: Released::default(),
            held: Vec::new(),
            checkpoint: None,
            last_root: None,
            resident_only,
        }
    }

    fn source(&self) -> LoadingSource<'_, impl NodeLoader> {
        LoadingSource::new(&self.cache, TreeId::Name, |ptr: &NodePtr| self.store.load(ptr))
    }

    /// One change; with a source that only has resident nodes it goes back, fetches and tries again, as the Vat does.
    fn change(&mut self, key: &[u8], value: Option<&[u8]>) -> Option<Vec<u8>> {
        let (mut tree, mut released) = (self.tree.clone(), std::mem::take(&mut self.released));
        let (before, mark) = (self.tree.clone(), released.0.len());
        let loading = self.source();
        let mut pinned = Pinned::over(&self.cache);
        let turn = |tree: &mut Tree, released: &mut Released, source: &dyn NodeSource| match value {
            Some(value) => tree.put(source, self.birth, key, value, released),
            None => tree.remove(source, self.birth, key, released),
        };
        let old = loop {
            let result =
                if self.resident_only { turn(&mut tree, &mut released, &pinned) } else { turn(&mut tree, &mut released, &loading) };
            match result {
                Ok(old) => break old,
                Err(NodeError::Miss(ptr)) => {
                    tree = before.clone();
                    released.0.truncate(mark);
                    pinned.hold(&ptr, loading.node(&ptr).unwrap());
                }
                Err(error) => panic!("{error}"),
            }
        };
        drop((pinned, loading));
        (self.tree, self.released) = (tree, released);
        old
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        let old = self.change(key, Some(value));
        assert_eq!(old, self.model.insert(key.to_vec(), value.to_vec()));
    }

    fn remove(&mut self, key: &[u8]) {
        let old = self.change(key, None);
        assert_eq!(old, self.model.remove(key));
    }

    /// Freezes the tree; what was released so far is free when the new root is durable.
    fn begin_checkpoint(&mut self) {
        if self.checkpoint.is_some() {
            return;
        }
        let generation = self.birth;
        self.birth = self.birth.next();
        let todo: Vec<_> = self.tree.dirty_links().into_iter().rev().collect();
        let frees = std::mem::take(&mut self.released);
        self.checkpoint =
            Some(Checkpoint { tree: self.tree.clone(), model: self.model.clone(), todo, written: Vec::new(), frees, generation });
    }

    /// Writes up to so many nodes of the checkpoint; ends it after the last.
    fn go_on_with_checkpoint(&mut self, nodes: usize) {
        let Some(mut checkpoint) = self.checkpoint.take() else { return };
        for _ in 0..nodes {
            let Some(link) = checkpoint.todo.pop() else { break };
            let encoded = encode_node(TreeId::Name, &link.held().unwrap(), checkpoint.generation).unwrap();
            assert!(link.assign(self.store.write(&encoded)));
            checkpoint.written.push(link);
        }
        if !checkpoint.todo.is_empty() {
            self.checkpoint = Some(checkpoint);
            return;
        }
        for (number, link) in checkpoint.written.iter().enumerate() {
            let node = link.detach().unwrap();
            if number % 2 == 0 {
                self.cache.insert(&link.ptr().unwrap(), node);
            }
        }
        // Leases hold older roots in life: here all clones are dropped with them.
        self.held.clear();
        for freed in &checkpoint.frees.0 {
            let ptr = freed.ptr().unwrap();
            assert!(self.store.nodes.borrow_mut().remove(&ptr.address).is_some(), "freed twice");
            self.cache.remove(&ptr.address);
        }
        let root = checkpoint.tree.root().map(|root| root.ptr().unwrap());
        self.last_root = Some((Tree::open(root, Arc::clone(&self.gauge)), checkpoint.model));
    }

    /// Addresses of all placed nodes that a tree reaches; checks order, levels and fill on the way.
    fn reachable(&self, tree: &Tree) -> BTreeSet<Address> {
        let mut found = BTreeSet::new();
        let mut todo: Vec<_> = tree.root().into_iter().map(|root| (Arc::clone(root), None)).collect();
        while let Some((link, level)) = todo.pop() {
            if let Some(ptr) = link.ptr() {
                assert!(found.insert(ptr.address), "reached twice");
            }
            let node = link.load(&self.source(), level).unwrap();
            let keys: Vec<_> = node.rows().map(|(key, _)| key.to_vec()).collect();
            assert!(!keys.is_empty() && keys.is_sorted_by(|a, b| a < b), "empty or out of order");
            assert!(node.level() == 0 || keys[0].is_empty());
            assert!(node.page_count() <= 4 && node.level() < TREE_MAX_LEVELS);
            todo.extend(node.children().map(|child| (Arc::clone(child), Some(node.level() - 1))));
        }
        found
    }

    /// VAT-3: what is placed is what the working tree reaches and what was released since, each once.
    fn recount(&self) {
        let reached = self.reachable(&self.tree);
        let mut all = reached.clone();
        let pending = self.checkpoint.iter().flat_map(|checkpoint| &checkpoint.frees.0);
        for freed in self.released.0.iter().chain(pending) {
            if let Some(ptr) = freed.ptr() {
                assert!(all.insert(ptr.address), "released twice, or released and reachable");
            }
        }
        assert_eq!(all, self.store.placed(), "leaked, or freed while in use");
        if let Some((root, _)) = &self.last_root {
            assert!(self.reachable(root).is_subset(&self.store.placed()));
            if self.checkpoint.is_none() {
                let mut placed = self.reachable(root);
                placed.extend(self.released.0.iter().filter_map(ReleasedNode::ptr).map(|ptr| ptr.address));
                assert_eq!(placed, self.store.placed());
            }
        }
    }

    fn compare(&self, tree: &Tree, model: &Model) {
        let source = self.source();
        let rows = tree.range(&source, &[], None).map(|row| row.unwrap());
        assert!(rows.map(|row| (row.key().to_vec(), row.value().to_vec())).eq(model.clone()));
        assert_eq!(tree.is_empty(), model.is_empty());
    }

    fn query(&self, key: &[u8], to: &[u8]) {
        let (source, model) = (self.source(), &self.model);
        assert_eq!(self.tree.get(&source, key).unwrap().as_deref(), model.get(key).map(Vec::as_slice));
        let after = self.tree.first_at_or_after(&source, key).unwrap();
        assert_eq!(after.as_ref().map(Row::key), model.range(key.to_vec()..).next().map(|(k, _)| k.as_slice()));
        let before = self.tree.last_before(&source, key).unwrap();
        assert_eq!(before.as_ref().map(Row::key), model.range(..key.to_vec()).next_back().map(|(k, _)| k.as_slice()));
        let (low, high) = if key < to { (key, to) } else { (to, key) };
        let expected = || model.range(low.to_vec()..high.to_vec()).map(|(k, v)| (k.clone(), v.clone()));
        let pair = |row: Result<Row, NodeError>| row.map(|row| (row.key().to_vec(), row.to_vec())).unwrap();
        assert!(self.tree.range(&source, low, Some(high)).map(pair).eq(expected()));
        assert!(self.tree.range_back(&source, low, high).map(pair).eq(expected().rev()));
    }

    fn finish(mut self) {
        for _ in 0..2 {
            self.go_on_with_checkpoint(usize::MAX);
            self.begin_checkpoint();
        }
        self.go_on_with_checkpoint(usize::MAX);
        self.recount();
        assert_eq!((self.gauge.nodes(), self.gauge.bytes()), (0, 0), "everything is placed");
        self.compare(&self.tree, &self.model);
        let (root, model) = self.last_root.take().unwrap();
        self.compare(&root, &model);
    }
}

/// A pseudo-random number, from a seed and a counter (splitmix64).
fn mix(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Key number n: 10 to 270 bytes; some share a long prefix, so that inner nodes fill too. Order follows n loosely.
fn key(n: u64) -> Vec<u8> {
    let r = mix(7, n);
    let mut key = ((n / 16) as u32).to_be_bytes().to_vec();
    if !n.is_multiple_of(3) {
        key.extend(vec![b'p'; 200]);
    }
    key.extend((n as u16).to_be_bytes());
    key.extend(std::iter::repeat_n(r as u8, 4 + (r % 60) as usize));
    key
}

fn value(seed: u64) -> Vec<u8> {
    let length = mix(seed, 1) % 701;
    (0..length).map(|i| if seed.is_multiple_of(2) { (seed >> 8) as u8 } else { mix(seed, i) as u8 }).collect()
}

#[derive(Clone, Debug)]
enum Op {
    Put { n: u64, seed: u64 },
    PutRun { from: u64, count: u64, step: u64, seed: u64 },
    Remove { n: u64 },
    RemoveRun { from: u64, count: u64 },
    Query { a: u64, b: u64 },
    Hold,
    Transaction { from: u64, count: u64, seed: u64 },
    Begin,
    GoOn { nodes: usize },
}

const KEYS: u64 = 3000;

fn op() -> impl Strategy<Value = Op> {
    let n = 0..KEYS;
    prop_oneof![
        3 => (n.clone(), any::<u64>()).prop_map(|(n, seed)| Op::Put { n, seed }),
        3 => (n.clone(), 1u64..400, 1u64..8, any::<u64>()).prop_map(|(from, count, step, seed)| Op::PutRun { from, count, step, seed }),
        2 => n.clone().prop_map(|n| Op::Remove { n }),
        2 => (n.clone(), 1u64..600).prop_map(|(from, count)| Op::RemoveRun { from, count }),
        2 => (n.clone(), n.clone()).prop_map(|(a, b)| Op::Query { a, b }),
        1 => Just(Op::Hold),
        1 => (n, 1u64..40, any::<u64>()).prop_map(|(from, count, seed)| Op::Transaction { from, count, seed }),
        2 => Just(Op::Begin),
        3 => (0usize..60).prop_map(|nodes| Op::GoOn { nodes }),
    ]
}

fn apply(world: &mut World, op: &Op) {
    match *op {
        Op::Put { n, seed } => world.put(&key(n), &value(seed)),
        Op::PutRun { from, count, step, seed } => {
            (0..count).for_each(|i| world.put(&key((from + i * step) % KEYS), &value(seed.wrapping_add(i))));
        }
        Op::Remove { n } => world.remove(&key(n)),
        Op::RemoveRun { from, count } => (from..from + count).for_each(|n| world.remove(&key(n % KEYS))),
        Op::Query { a, b } => world.query(&key(a), &key(b)),
        Op::Hold => {
            world.held.push((world.tree.clone(), world.model.clone()));
        }
        Op::Transaction { from, count, seed } => {
            let (tree, model, mark) = (world.tree.clone(), world.model.clone(), world.released.0.len());
            for i in 0..count {
                let n = (from + i * 5) % KEYS;
                if mix(seed, i).is_multiple_of(2) { world.put(&key(n), &value(i)) } else { world.remove(&key(n)) }
            }
            (world.tree, world.model) = (tree, model);
            world.released.0.truncate(mark);
        }
        Op::Begin => world.begin_checkpoint(),
        Op::GoOn { nodes } => world.go_on_with_checkpoint(nodes),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_is_a_sorted_map_whose_clones_never_change_and_whose_nodes_are_counted(
        ops in prop::collection::vec(op(), 1..60), cache_kib in prop_oneof![Just(24u64), Just(200), Just(8000)], resident_only: bool
    ) {
        let mut world = World::new(cache_kib * 1024, resident_only);
        for op in &ops {
            apply(&mut world, op);
            world.recount();
            for (tree, model) in &world.held {
                world.compare(tree, model);
            }
        }
        world.compare(&world.tree, &world.model);
        world.finish();
    }

    #[test]
    fn hostile_bytes_decode_to_an_error_or_to_a_node(
        from in 0u64..2000, count in 1u64..60, inner: bool, flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), cut in 0usize..20_480
    ) {
        let node = if inner { inner_node(from, count) } else { leaf_node(from, count) };
        let mut bytes = encode_node(TreeId::Volume, &node, Generation(9)).unwrap().bytes;
        fuzz_node(&bytes);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz_node(&bytes);
        fuzz_node(&bytes[..cut.min(bytes.len())]);
    }

    #[test]
    fn random_bytes_behind_a_header_never_panic(level in 0u8..14, pages in 0u8..6, codec in 0u8..3, entries in 0u16..4, body in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = b"IMvn\x01\0\0\0\x01".to_vec();
        bytes.extend([level, codec, pages, 0, 0, 0, 0]);
        bytes.extend(entries.to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend(body);
        fuzz_node(&bytes);
    }

    #[test]
    fn pointers_survive_encoding(place: u32, generation: u64, cluster in 0usize..1024, clusters in 1u8..=5, crc: u32, birth: u64) {
        let region = RegionId { place: Place(place), generation: Generation(generation) };
        let ptr = NodePtr { address: Address { region, cluster: Cluster::new(cluster).unwrap() }, clusters, crc, birth: Generation(birth) };
        prop_assert_eq!(NodePtr::decode(&ptr.encode()), Some(ptr));
        for clusters in [0, 6] {
            prop_assert_eq!(NodePtr::decode(&NodePtr { clusters, ..ptr }.encode()), None);
        }
    }
}

fn leaf_node(from: u64, count: u64) -> Node {
    let mut tree = Tree::empty(Arc::default());
    let cache = NodeCache::new(1);
    for n in from..from + count.min(18) {
        tree.put(&cache, Generation(3), &key(n), &value(n), &mut Released::default()).unwrap();
    }
    let node = tree.dirty_links()[0].held().unwrap();
    Node::clone(&node)
}

fn inner_node(from: u64, count: u64) -> Node {
    let region = RegionId { place: Place(1), generation: Generation(2) };
    let address = Address { region, cluster: Cluster::new(5).unwrap() };
    let ptr = NodePtr { address, clusters: 2, crc: 7, birth: Generation(3) };
    let keys = (0..count.min(12)).map(|n| if n == 0 { Vec::new() } else { key((from / 16 + n) * 16) });
    Node::of(3, Generation(4), keys.map(|key| (key, Link::placed(ptr))))
}

#[test]
fn a_long_life_of_random_changes_keeps_every_promise() {
    for seed in 0..3 {
        let mut world = World::new(300 * 1024, seed == 1);
        for step in 0..250 {
            let r = |n| mix(seed * 1000 + step, n);
            let from = r(1) % KEYS;
            let op = match r(0) % 12 {
                0..=3 => Op::PutRun { from, count: r(2) % 500, step: 1 + r(3) % 7, seed: r(4) },
                4 | 5 if step % 60 < 40 => Op::RemoveRun { from, count: r(2) % 300 },
                4..=6 => Op::RemoveRun { from, count: r(2) % 1500 },
                7 => Op::Transaction { from, count: 30, seed: r(2) },
                8 => Op::Hold,
                9 => Op::Begin,
                10 => Op::GoOn { nodes: (r(2) % 100) as usize },
                _ => Op::Query { a: from, b: r(2) % KEYS },
            };
            apply(&mut world, &op);
            world.recount();
        }
        for (tree, model) in &world.held {
            world.compare(tree, model);
        }
        for n in 0..KEYS {
            world.remove(&key(n));
        }
        assert!(world.tree.is_empty());
        world.recount();
        world.finish();
    }
}
