//! The pointer from a parent to a node, in memory and on disk; the gauge of what is dirty; the list of what was superseded.
//!
//! Owns: [`NodePtr`] (27 bytes on disk), [`Link`], [`DirtyGauge`], [`NodeSource`], [`NodeError`], [`Released`].
//! Must be true: LINK-1 a link without a place holds its node; LINK-2 the place is given once, by the checkpoint that wrote
//! the node; LINK-3 all versions of a parent that point to the same version of a child share one link, so a place given
//! through one is known to all. Fails: [`NodeError`] says which node, and what to do.

use super::node::Node;
use crate::address::{Address, Generation};
use crate::limits::{CLUSTER_BYTES, NODE_MAX_CLUSTERS, PAGE_BYTES, ROW_MAX_BYTES};
use parking_lot::Mutex;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Where a node is stored, and how to know it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodePtr {
    /// The first of its clusters.
    pub address: Address,
    /// Its clusters, 1..=`NODE_MAX_CLUSTERS`.
    pub clusters: u8,
    /// CRC32 over all bytes of its clusters.
    pub crc: u32,
    /// The generation in which this version of the node came to be.
    pub birth: Generation,
}

impl NodePtr {
    /// Bytes of an encoded pointer.
    pub const ENCODED_BYTES: usize = Address::ENCODED_BYTES + 1 + 4 + 8;

    /// address, clusters u8, CRC u32, birth u64, little-endian.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::ENCODED_BYTES] {
        let mut out = [0; Self::ENCODED_BYTES];
        let (address, rest) = out.split_at_mut(Address::ENCODED_BYTES);
        let (clusters, rest) = rest.split_at_mut(1);
        let (crc, birth) = rest.split_at_mut(4);
        address.copy_from_slice(&self.address.encode());
        clusters.copy_from_slice(&[self.clusters]);
        crc.copy_from_slice(&self.crc.to_le_bytes());
        birth.copy_from_slice(&self.birth.0.to_le_bytes());
        out
    }

    /// Reads an encoded pointer; `None` when no node can be there.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::ENCODED_BYTES]) -> Option<Self> {
        let (address, rest) = bytes.split_first_chunk::<{ Address::ENCODED_BYTES }>()?;
        let (&[clusters], rest) = rest.split_first_chunk::<1>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let birth = Generation(u64::from_le_bytes(rest.try_into().ok()?));
        let ptr = Self { address: Address::decode(*address)?, clusters, crc: u32::from_le_bytes(*crc), birth };
        (1..=NODE_MAX_CLUSTERS).contains(&usize::from(clusters)).then_some(ptr)
    }

    /// Bytes of the stored node, a multiple of `CLUSTER_BYTES`.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        usize::from(self.clusters) * CLUSTER_BYTES
    }
}

impl fmt::Display for NodePtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}+{} born {}", self.address, self.clusters, self.birth)
    }
}

/// Why a node could not be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Not in memory: fetch it through a [`super::LoadingSource`] and do the operation again.
    #[error("{0} is not resident; fetch it and try again")]
    Miss(NodePtr),
    /// The stored bytes are not that node.
    #[error("{ptr} is damaged: {what}; what it led to is in a backup only")]
    Damaged { ptr: NodePtr, what: &'static str },
    /// The device refused.
    #[error("{ptr} could not be read: {error}")]
    Io { ptr: NodePtr, error: std::io::Error },
    /// Key and value together are above `ROW_MAX_BYTES`; the caller stores long values as part rows.
    #[error("a row of {bytes} bytes, {ROW_MAX_BYTES} at most; store it as part rows")]
    RowTooLong { bytes: usize },
    /// The tree has `TREE_MAX_LEVELS` levels and its root is full.
    #[error("the tree has no room for another level")]
    TooDeep,
    /// An error of the program, never of the disk: report it.
    #[error("a node is not what this program made of it: {0}; please report this")]
    Inconsistent(&'static str),
}

/// Finds nodes that are clean and not held by their link.
pub trait NodeSource {
    /// The node.
    ///
    /// # Errors
    /// `Miss` when only resident nodes are to be touched; `Damaged` or `Io` when it could not be loaded.
    fn node(&self, ptr: &NodePtr) -> Result<Arc<Node>, NodeError>;

    /// The node if it is in memory. Never loads.
    fn resident(&self, ptr: &NodePtr) -> Option<Arc<Node>>;
}

/// How much is dirty: node versions without a place. Shared by trees; read by any thread.
#[derive(Debug, Default)]
pub struct DirtyGauge {
    nodes: AtomicU64,
    pages: AtomicU64,
}

impl DirtyGauge {
    /// Node versions that have no place yet, those that only old clones hold included.
    #[must_use]
    pub fn nodes(&self) -> u64 {
        self.nodes.load(Relaxed)
    }

    /// Bytes of the pages of those versions. Pages that versions share are counted for each: an upper bound.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pages.load(Relaxed) * PAGE_BYTES as u64
    }
}

/// A pointer to one version of a node: its place, its bytes in memory, or both.
pub struct Link {
    place: OnceLock<NodePtr>,
    node: Mutex<Option<Arc<Node>>>,
    gauge: Option<Arc<DirtyGauge>>,
    /// Pages that the gauge counts for this version; 0 once it is placed.
    charged: AtomicU32,
}

impl Link {
    /// A link to a node that is stored.
    pub(super) fn placed(ptr: NodePtr) -> Arc<Self> {
        Arc::new(Self { place: OnceLock::from(ptr), node: Mutex::new(None), gauge: None, charged: AtomicU32::new(0) })
    }

    /// A link to a new version, without a place.
    pub(super) fn dirty(node: Node, gauge: &Arc<DirtyGauge>) -> Arc<Self> {
        let pages = node.page_count().max(1);
        gauge.nodes.fetch_add(1, Relaxed);
        gauge.pages.fetch_add(u64::from(pages), Relaxed);
        let node = Mutex::new(Some(Arc::new(node)));
        Arc::new(Self { place: OnceLock::new(), node, gauge: Some(Arc::clone(gauge)), charged: AtomicU32::new(pages) })
    }

    /// Where the node is stored; `None` while it is dirty.
    #[must_use]
    pub fn ptr(&self) -> Option<NodePtr> {
        self.place.get().copied()
    }

    /// The node that this link holds: always while dirty, and after that until [`Link::detach`].
    #[must_use]
    pub fn held(&self) -> Option<Arc<Node>> {
        self.node.lock().clone()
    }

    /// Says where the node was written: best when that is durable, since it is said once (LINK-2). False, and nothing changes, if it was said before.
    pub fn assign(&self, ptr: NodePtr) -> bool {
        let first = self.place.set(ptr).is_ok();
        if first {
            self.uncharge();
        }
        first
    }

    /// Gives the node up once its place is durable, so that the caller puts it into the bounded cache. `None` while dirty.
    pub fn detach(&self) -> Option<Arc<Node>> {
        self.place.get().and_then(|_| self.node.lock().take())
    }

    /// The node, held or from the source; `level` is what the parent demands of it.
    pub(super) fn load<S: NodeSource + ?Sized>(&self, source: &S, level: Option<u8>) -> Result<Arc<Node>, NodeError> {
        if let Some(node) = self.held() {
            return Ok(node);
        }
        let ptr = self.place.get().ok_or(NodeError::Inconsistent("it has neither a place nor bytes"))?;
        let node = source.node(ptr)?;
        match level {
            Some(level) if node.level() != level => Err(NodeError::Damaged { ptr: *ptr, what: "it is not of the level below its parent" }),
            _ => Ok(node),
        }
    }

    /// The node if it is in memory and of this level.
    pub(super) fn resident<S: NodeSource + ?Sized>(&self, source: &S, level: u8) -> Option<Arc<Node>> {
        let node = self.held().or_else(|| source.resident(self.place.get()?))?;
        (node.level() == level).then_some(node)
    }

    /// The node for an edit in place: when this link is the only way to it, and it is dirty and of this birth.
    pub(super) fn editable(self: &mut Arc<Self>, birth: Generation) -> Option<&mut Node> {
        let link = Arc::get_mut(self)?;
        if link.place.get().is_some() {
            return None;
        }
        let node = Arc::get_mut(link.node.get_mut().as_mut()?)?;
        (node.birth() == birth).then_some(node)
    }

    /// Brings the gauge up to date after an edit in place.
    pub(super) fn recharge(&self, pages: u32) {
        if let Some(gauge) = &self.gauge {
            let pages = pages.max(1);
            let before = self.charged.swap(pages, Relaxed);
            gauge.pages.fetch_add(u64::from(pages), Relaxed);
            gauge.pages.fetch_sub(u64::from(before), Relaxed);
        }
    }

    fn uncharge(&self) {
        if let Some(gauge) = &self.gauge {
            let pages = self.charged.swap(0, Relaxed);
            gauge.nodes.fetch_sub(u64::from(pages > 0), Relaxed);
            gauge.pages.fetch_sub(u64::from(pages), Relaxed);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.uncharge();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("place", &self.place.get()).field("held", &self.node.lock().is_some()).finish()
    }
}

/// One version of a node that the working tree no longer reaches.
#[derive(Clone, Debug)]
pub enum ReleasedNode {
    /// It is stored here.
    Placed(NodePtr),
    /// It belongs to a frozen tree that a checkpoint is writing: [`Link::ptr`] says where once that has ended.
    Pending(Arc<Link>),
}

impl ReleasedNode {
    /// Where it is stored; `None` while its checkpoint has not placed it.
    #[must_use]
    pub fn ptr(&self) -> Option<NodePtr> {
        match self {
            Self::Placed(ptr) => Some(*ptr),
            Self::Pending(link) => link.ptr(),
        }
    }
}

/// What mutations superseded, each version once (VAT-3). Goes with the tree that was changed: whoever falls back to a clone
/// forgets what was collected since that clone.
#[derive(Debug, Default)]
pub struct Released(pub Vec<ReleasedNode>);

impl Released {
    /// Notes that a link has left the tree; `born` is the birth of its node, `birth` that of the change.
    pub(super) fn superseded(&mut self, link: &Arc<Link>, born: Generation, birth: Generation) {
        match link.ptr() {
            Some(ptr) => self.0.push(ReleasedNode::Placed(ptr)),
            None if born < birth => self.0.push(ReleasedNode::Pending(Arc::clone(link))),
            None => {}
        }
    }
}
