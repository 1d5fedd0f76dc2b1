//! A node as bytes in clusters, and back.
//!
//! Owns: [`encode_node`], [`decode_node`], [`decode_orphan`], [`NodeHeader`]. Layout, little-endian, zero-filled to whole clusters:
//! header (44 bytes), first key, last key, then the body, raw or one zstd frame. Body, for each page: entries u16; for each
//! entry: key length u16, in a leaf value length u16, key, then the value or the pointer to the child.
//! Must be true: CODEC-1 what `encode_node` wrote `decode_node` reads back, page by page; CODEC-2 a decoder believes no length
//! before it is checked against what it has, and allocates `RAW_MAX_BYTES` at most. Fails: with what is wrong, never by a panic.

use super::link::{Link, NodeError, NodePtr};
use super::node::Node;
use super::page::Page;
use crate::address::{Address, Generation};
use crate::limits::{CLUSTER_BYTES, FORMAT_VERSION, NODE_MAX_CLUSTERS, NODE_MAX_PAGES, PAGE_BYTES, ROW_MAX_BYTES, TREE_MAX_LEVELS};
use std::cell::RefCell;
use std::sync::Arc;

const MAGIC: [u8; 4] = *b"IMvn";
const HEADER_BYTES: usize = 44;
/// Bytes of a body before compression: no page takes more than `PAGE_BYTES` of it.
const RAW_MAX_BYTES: usize = NODE_MAX_PAGES * PAGE_BYTES;
const ZSTD_LEVEL: i32 = 1;
const RAW: u8 = 0;
const ZSTD: u8 = 1;

const _: () = assert!(HEADER_BYTES + 2 * ROW_MAX_BYTES + RAW_MAX_BYTES <= NODE_MAX_CLUSTERS * CLUSTER_BYTES);

/// Which of the two trees of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TreeId {
    /// What snapshots keep and rollback turns back.
    Name = 1,
    /// What always goes forward.
    Volume = 2,
}

/// A node ready to be stored.
#[derive(Clone, Debug)]
pub struct EncodedNode {
    /// Whole clusters, 1..=`NODE_MAX_CLUSTERS`.
    pub bytes: Vec<u8>,
    /// CRC32 over `bytes`.
    pub crc: u32,
    /// The birth of the node.
    pub birth: Generation,
}

impl EncodedNode {
    /// The pointer to this node, stored at an address.
    #[must_use]
    pub fn ptr(&self, address: Address) -> NodePtr {
        NodePtr { address, clusters: (self.bytes.len() / CLUSTER_BYTES) as u8, crc: self.crc, birth: self.birth }
    }
}

/// What a stored node says of itself: enough to find it again without a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeHeader {
    pub tree: TreeId,
    /// 0 for a leaf, below `TREE_MAX_LEVELS`.
    pub level: u8,
    pub birth: Generation,
    /// The generation in which it was written.
    pub generation: Generation,
    /// Rows or children.
    pub entries: u16,
    /// The first key; empty in an inner node.
    pub first_key: Vec<u8>,
    pub last_key: Vec<u8>,
    pages: u8,
    codec: u8,
    raw_bytes: usize,
    stored_bytes: usize,
}

thread_local! {
    /// Contexts of zstd are 100 KB and more: one of each a thread.
    static CODERS: RefCell<(Option<zstd::bulk::Compressor<'static>>, Option<zstd::bulk::Decompressor<'static>>)> =
        const { RefCell::new((None, None)) };
}

fn compress(raw: &[u8]) -> Option<Vec<u8>> {
    CODERS.with_borrow_mut(|(compressor, _)| {
        if compressor.is_none() {
            *compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        compressor.as_mut()?.compress(raw).ok()
    })
}

fn decompress(stored: &[u8], raw_bytes: usize) -> Option<Vec<u8>> {
    CODERS.with_borrow_mut(|(_, decompressor)| {
        if decompressor.is_none() {
            *decompressor = zstd::bulk::Decompressor::new().ok();
        }
        let mut raw = vec![0; raw_bytes];
        let written = decompressor.as_mut()?.decompress_to_buffer(stored, raw.as_mut_slice()).ok()?;
        (written == raw_bytes).then_some(raw)
    })
}

/// The bytes of a node that is written in `generation`; its children must have been placed.
///
/// # Errors
/// `Inconsistent` when a child has no place yet.
pub fn encode_node(tree: TreeId, node: &Node, generation: Generation) -> Result<EncodedNode, NodeError> {
    encode_node_with(tree, node, generation, |_| None)
}

/// Like [`encode_node`], for a checkpoint that assigns places only when all is durable: `planned` says where a child without a
/// place will be, so that nodes of a region that failed can be planned anew.
///
/// # Errors
/// `Inconsistent` when a child has no place and none is planned.
pub fn encode_node_with(
    tree: TreeId,
    node: &Node,
    generation: Generation,
    planned: impl Fn(&Arc<Link>) -> Option<NodePtr>,
) -> Result<EncodedNode, NodeError> {
    let raw = encode_body(node, planned)?;
    let (first, last) = (node.first_key().unwrap_or_default(), node.last_key().unwrap_or_default());
    let front = HEADER_BYTES + first.len() + last.len();
    let clusters = |body: usize| (front + body).div_ceil(CLUSTER_BYTES);
    let packed = compress(&raw).filter(|packed| clusters(packed.len()) < clusters(raw.len()));
    let (codec, stored) = packed.as_ref().map_or((RAW, &raw), |packed| (ZSTD, packed));
    let mut out = Vec::with_capacity(clusters(stored.len()) * CLUSTER_BYTES);
    out.extend(MAGIC);
    out.extend(FORMAT_VERSION.to_le_bytes());
    out.extend([tree as u8, node.level(), codec, node.page_count() as u8]);
    out.extend((first.len() as u16).to_le_bytes());
    out.extend((last.len() as u16).to_le_bytes());
    out.extend((node.entries() as u16).to_le_bytes());
    out.extend([0, 0]);
    out.extend((raw.len() as u32).to_le_bytes());
    out.extend((stored.len() as u32).to_le_bytes());
    out.extend(node.birth().0.to_le_bytes());
    out.extend(generation.0.to_le_bytes());
    debug_assert_eq!(out.len(), HEADER_BYTES);
    out.extend(first);
    out.extend(last);
    out.extend(stored);
    out.resize(clusters(stored.len()) * CLUSTER_BYTES, 0);
    Ok(EncodedNode { crc: crc32fast::hash(&out), birth: node.birth(), bytes: out })
}

fn encode_body(node: &Node, planned: impl Fn(&Arc<Link>) -> Option<NodePtr>) -> Result<Vec<u8>, NodeError> {
    let mut raw = Vec::with_capacity(RAW_MAX_BYTES);
    for page in node.pages() {
        raw.extend((page.count() as u16).to_le_bytes());
        for slot in 0..page.count() {
            let (key, value) = (page.key(slot), page.value(slot));
            raw.extend((key.len() as u16).to_le_bytes());
            if node.level() == 0 {
                raw.extend((value.len() as u16).to_le_bytes());
                raw.extend(key);
                raw.extend(value);
            } else {
                let ptr = page.child(slot).and_then(|child| child.ptr().or_else(|| planned(child)));
                raw.extend(key);
                raw.extend(ptr.ok_or(NodeError::Inconsistent("written before its children"))?.encode());
            }
        }
    }
    Ok(raw)
}

/// Bytes still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|&[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

impl NodeHeader {
    /// Reads the header of a stored node; the rest need not be there.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        Self::parse(&mut Bytes(bytes))
    }

    fn parse(from: &mut Bytes<'_>) -> Result<Self, &'static str> {
        const CUT: &str = "its header is cut off";
        if from.array() != Some(&MAGIC) {
            return Err("it does not begin like a node");
        }
        if from.u32().ok_or(CUT)? != FORMAT_VERSION {
            return Err("it is of another format version");
        }
        let tree = match from.u8() {
            Some(1) => TreeId::Name,
            Some(2) => TreeId::Volume,
            _ => return Err("it is of an unknown tree"),
        };
        let (level, codec, pages) = (from.u8().ok_or(CUT)?, from.u8().ok_or(CUT)?, from.u8().ok_or(CUT)?);
        let (first, last) = (usize::from(from.u16().ok_or(CUT)?), usize::from(from.u16().ok_or(CUT)?));
        let (entries, reserved) = (from.u16().ok_or(CUT)?, from.u16().ok_or(CUT)?);
        let (raw_bytes, stored_bytes) = (from.u32().ok_or(CUT)? as usize, from.u32().ok_or(CUT)? as usize);
        let (birth, generation) = (Generation(from.u64().ok_or(CUT)?), Generation(from.u64().ok_or(CUT)?));
        if level >= TREE_MAX_LEVELS {
            return Err("it has a level that no tree of ours has");
        }
        if codec > ZSTD || reserved != 0 || !(1..=NODE_MAX_PAGES).contains(&usize::from(pages)) || entries == 0 {
            return Err("its header has values that no node has");
        }
        if raw_bytes > RAW_MAX_BYTES || stored_bytes > RAW_MAX_BYTES || first.max(last) > ROW_MAX_BYTES {
            return Err("it is longer than a node can be");
        }
        let first_key = from.take(first).ok_or(CUT)?.to_vec();
        let last_key = from.take(last).ok_or(CUT)?.to_vec();
        Ok(Self { tree, level, birth, generation, entries, first_key, last_key, pages, codec, raw_bytes, stored_bytes })
    }
}

/// Reads the node that a pointer names; `bytes` are those of its clusters.
///
/// # Errors
/// `Damaged` when they are not that node of that tree.
pub fn decode_node(tree: TreeId, ptr: &NodePtr, bytes: &[u8]) -> Result<Node, NodeError> {
    let damaged = |what| NodeError::Damaged { ptr: *ptr, what };
    if bytes.len() != ptr.stored_bytes() {
        return Err(damaged("it has another length than its parent says"));
    }
    if crc32fast::hash(bytes) != ptr.crc {
        return Err(damaged("its checksum is not the one that its parent has"));
    }
    let (header, node) = decode_orphan(bytes).map_err(damaged)?;
    if header.tree != tree || header.birth != ptr.birth {
        return Err(damaged("it is not the node that its parent means"));
    }
    Ok(node)
}

/// Reads a node without a parent, for a rebuild from images. Nothing vouches for its bytes but the region that they came from.
///
/// # Errors
/// With what is wrong.
pub fn decode_orphan(bytes: &[u8]) -> Result<(NodeHeader, Node), &'static str> {
    let mut from = Bytes(bytes);
    let header = NodeHeader::parse(&mut from)?;
    let stored = from.take(header.stored_bytes).ok_or("its body is cut off")?;
    let unpacked;
    let raw = if header.codec == ZSTD {
        unpacked = decompress(stored, header.raw_bytes).ok_or("its body does not unpack to the length that it says")?;
        unpacked.as_slice()
    } else {
        stored
    };
    if raw.len() != header.raw_bytes {
        return Err("its body is not as long as it says");
    }
    let node = decode_body(&header, raw)?;
    if node.entries() != usize::from(header.entries) {
        return Err("it has another number of entries than it says");
    }
    if node.first_key() != Some(header.first_key.as_slice()) || node.last_key() != Some(header.last_key.as_slice()) {
        return Err("its keys are not those that its header says");
    }
    Ok((header, node))
}

fn decode_body(header: &NodeHeader, raw: &[u8]) -> Result<Node, &'static str> {
    let (mut from, mut pages, mut last) = (Bytes(raw), Vec::with_capacity(NODE_MAX_PAGES), None);
    for _ in 0..header.pages {
        let count = from.u16().filter(|&count| count > 0).ok_or("a page has no entries")?;
        let mut page = Page::new();
        for slot in 0..usize::from(count) {
            let key = decode_entry(header, &mut from, &mut page, slot)?;
            let ordered = if header.level > 0 && last.is_none() { key.is_empty() } else { last.is_none_or(|last| last < key) };
            if !ordered {
                return Err("its keys do not ascend");
            }
            last = Some(key);
        }
        pages.push(Arc::new(page));
    }
    if !from.0.is_empty() {
        return Err("bytes follow its last entry");
    }
    Ok(Node::new(header.level, header.birth, pages))
}

/// Reads one entry into a page; gives its key.
fn decode_entry<'a>(header: &NodeHeader, from: &mut Bytes<'a>, page: &mut Page, slot: usize) -> Result<&'a [u8], &'static str> {
    const CUT: &str = "an entry is cut off";
    let key_bytes = usize::from(from.u16().ok_or(CUT)?);
    let value_bytes = if header.level == 0 { usize::from(from.u16().ok_or(CUT)?) } else { 0 };
    if key_bytes + value_bytes > ROW_MAX_BYTES {
        return Err("a row is longer than a row can be");
    }
    let (key, value) = (from.take(key_bytes).ok_or(CUT)?, from.take(value_bytes).ok_or(CUT)?);
    let child = if header.level == 0 {
        None
    } else {
        let ptr = NodePtr::decode(from.array().ok_or(CUT)?).ok_or("a child has an impossible place")?;
        if ptr.birth > header.birth {
            return Err("a child is younger than its parent");
        }
        Some(Link::placed(ptr))
    };
    if page.insert(slot, key, value, child) { Ok(key) } else { Err("a page has more than fits a page") }
}

/// Entry of the fuzzer: any bytes decode to an error, or to a node that encodes and decodes to itself.
#[doc(hidden)]
pub fn fuzz_node(data: &[u8]) {
    let Ok((header, node)) = decode_orphan(data) else { return };
    let again = encode_node(header.tree, &node, header.generation).ok().and_then(|encoded| decode_orphan(&encoded.bytes).ok());
    let same = again.is_some_and(|(_, other)| {
        let places = |node: &Node| node.children().map(|child| child.ptr()).collect::<Vec<_>>();
        node.rows().eq(other.rows()) && places(&node) == places(&other) && node.page_count() == other.page_count()
    });
    assert!(same, "a decoded node did not survive encoding");
}
