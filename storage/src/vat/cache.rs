//! Clean nodes in memory: a bounded cache, a source that loads what it misses, and nodes pinned for one operation.
//!
//! Owns: [`NodeCache`], [`LoadingSource`], [`Pinned`]. Must be true: CACHE-1 an address never means two nodes (ADR-2), so
//! nothing here is ever stale; CACHE-2 only nodes that were verified, or that this program made, come in; CACHE-3 the weight of
//! a node is fixed, since a shared node is never edited (VAT-1). Fails: the cache with `Miss`, the loader with `Io` or `Damaged`.

use super::codec::{TreeId, decode_node};
use super::link::{NodeError, NodePtr, NodeSource};
use super::node::Node;
use crate::address::Address;
use crate::cached::{CacheUse, Evictions};
use crate::limits::{NODE_MAX_PAGES, PAGE_BYTES};
use quick_cache::{DefaultHashBuilder, Weighter, sync::Cache};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone)]
struct ByResidentBytes;

impl Weighter<Address, Arc<Node>> for ByResidentBytes {
    fn weight(&self, _: &Address, node: &Arc<Node>) -> u64 {
        node.resident_bytes() as u64
    }
}

/// Clean nodes by address, up to a number of bytes. Shared by all trees of a volume. As a source: resident nodes only.
pub struct NodeCache {
    nodes: Cache<Address, Arc<Node>, ByResidentBytes, DefaultHashBuilder, Evictions>,
    evictions: Evictions,
    /// Nodes that were loaded because they were not here.
    missed: AtomicU64,
}

impl NodeCache {
    /// A cache of up to `capacity_bytes` of memory.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Self {
        let items = capacity_bytes as usize / (NODE_MAX_PAGES * PAGE_BYTES);
        let evictions = Evictions::default();
        let nodes = Cache::with(items.max(1), capacity_bytes, ByResidentBytes, DefaultHashBuilder::default(), evictions.clone());
        Self { nodes, evictions, missed: AtomicU64::new(0) }
    }

    /// Makes it larger or smaller. What does not fit any more is evicted before this returns.
    pub fn resize(&self, capacity_bytes: u64) {
        self.nodes.set_capacity(capacity_bytes);
    }

    /// Keeps a node for a while: a loaded one, or one that its link gave up.
    pub fn insert(&self, ptr: &NodePtr, node: Arc<Node>) {
        self.nodes.insert(ptr.address, node);
    }

    /// Forgets a node whose clusters died.
    pub fn remove(&self, address: &Address) {
        self.nodes.remove(address);
    }

    /// Forgets everything: clean nodes can be loaded again.
    pub fn clear(&self) {
        self.nodes.clear();
    }

    /// Bytes of memory that are kept.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.nodes.weight()
    }

    /// Nodes that are kept.
    #[must_use]
    pub fn resident_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// How it is. A look-up of any node on the way from the root counts.
    #[must_use]
    pub fn state(&self) -> CacheUse {
        let (evicted_cold, evicted_hot) = self.evictions.counts();
        let missed = self.missed.load(Ordering::Relaxed);
        let (bytes, entries) = (self.resident_bytes(), self.resident_nodes() as u64);
        CacheUse { bytes, entries, hits: self.nodes.hits(), missed, evicted_cold, evicted_hot }
    }
}

impl NodeSource for NodeCache {
    fn node(&self, ptr: &NodePtr) -> Result<Arc<Node>, NodeError> {
        self.nodes.get(&ptr.address).ok_or(NodeError::Miss(*ptr))
    }

    fn resident(&self, ptr: &NodePtr) -> Option<Arc<Node>> {
        self.nodes.get(&ptr.address)
    }
}

/// Reads the clusters of a node, verified or not.
pub trait NodeLoader {
    /// The bytes of all clusters of the node.
    ///
    /// # Errors
    /// When the device refuses.
    fn load(&self, ptr: &NodePtr) -> std::io::Result<Vec<u8>>;
}

impl<F: Fn(&NodePtr) -> std::io::Result<Vec<u8>>> NodeLoader for F {
    fn load(&self, ptr: &NodePtr) -> std::io::Result<Vec<u8>> {
        self(ptr)
    }
}

/// A source that loads, verifies and caches what is not resident. For threads that may wait for the device.
pub struct LoadingSource<'a, L> {
    cache: &'a NodeCache,
    tree: TreeId,
    loader: L,
}

impl<'a, L: NodeLoader> LoadingSource<'a, L> {
    /// A source of the nodes of one tree.
    pub fn new(cache: &'a NodeCache, tree: TreeId, loader: L) -> Self {
        Self { cache, tree, loader }
    }
}

impl<L: NodeLoader> NodeSource for LoadingSource<'_, L> {
    fn node(&self, ptr: &NodePtr) -> Result<Arc<Node>, NodeError> {
        if let Some(node) = self.cache.resident(ptr) {
            return Ok(node);
        }
        self.cache.missed.fetch_add(1, Ordering::Relaxed);
        let bytes = self.loader.load(ptr).map_err(|error| NodeError::Io { ptr: *ptr, error })?;
        let node = Arc::new(decode_node(self.tree, ptr, &bytes)?);
        self.cache.insert(ptr, Arc::clone(&node));
        Ok(node)
    }

    fn resident(&self, ptr: &NodePtr) -> Option<Arc<Node>> {
        self.cache.resident(ptr)
    }
}

/// Nodes held for one operation, in front of another source: what was fetched for it cannot be evicted before it is done.
/// Meant for tens of nodes.
pub struct Pinned<'a, S: ?Sized> {
    held: Vec<(Address, Arc<Node>)>,
    behind: &'a S,
}

impl<'a, S: NodeSource + ?Sized> Pinned<'a, S> {
    /// Nothing held yet.
    pub fn over(behind: &'a S) -> Self {
        Self { held: Vec::new(), behind }
    }

    /// Holds a node.
    pub fn hold(&mut self, ptr: &NodePtr, node: Arc<Node>) {
        self.held.push((ptr.address, node));
    }
}

impl<S: NodeSource + ?Sized> NodeSource for Pinned<'_, S> {
    fn node(&self, ptr: &NodePtr) -> Result<Arc<Node>, NodeError> {
        let held = self.held.iter().find(|(address, _)| *address == ptr.address);
        held.map_or_else(|| self.behind.node(ptr), |(_, node)| Ok(Arc::clone(node)))
    }

    fn resident(&self, ptr: &NodePtr) -> Option<Arc<Node>> {
        let held = self.held.iter().find(|(address, _)| *address == ptr.address);
        held.map_or_else(|| self.behind.resident(ptr), |(_, node)| Some(Arc::clone(node)))
    }
}
