//! The values of the fixtures of format 1, made the same on every machine.
//!
//! Shared by the tests of the document and of the corpora. Nothing here reads a clock or a random number.
#![allow(dead_code, reason = "each test that includes this uses a part of it")]

use infmap_storage::address::{Address, Cluster, Generation, Place, RegionId};
use infmap_storage::limits::{CLUSTER_BYTES, LOG_BLOCK_BYTES};
use infmap_storage::region::{Codec, IMAGE_MAX_BYTES, Identity, Owner, OwnerKind, ParityEncoder, RegionBuilder, RegionKind};
use infmap_storage::root::RootRecord;
use infmap_storage::row::{CookieRow, EntryRow, ExtentRow, FileKind, Inode, InodeRow, Key, LiveBits, RegionRow, Time};
use infmap_storage::state::change::Change;
use infmap_storage::vat::{Node, NodeError, NodePtr, NodeSource, Released, Tree, TreeId, encode_node};
use infmap_storage::wal::segment::SegmentHeader;
use infmap_storage::wal::{Appender, LogPosition, Lsn, RecordKind};
use std::path::PathBuf;
use std::sync::Arc;

pub const UUID: [u8; 16] = [0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF];

/// Path of a file below the workspace.
pub fn path(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(below)
}

pub fn region_id(place: u32, generation: u64) -> RegionId {
    RegionId { place: Place(place), generation: Generation(generation) }
}

/// place 0x11121314, generation 0x2122232425262728, cluster 0x0132: every byte tells where it is from.
pub fn address() -> Address {
    Address { region: region_id(0x1112_1314, 0x2122_2324_2526_2728), cluster: Cluster::new(0x0132).unwrap() }
}

pub fn identity() -> Identity {
    Identity { volume: UUID, region: region_id(5, 0x1_0000_0003), kind: RegionKind::Node }
}

pub fn pointer(n: u16) -> NodePtr {
    let address = Address { region: region_id(0, 0x1_0000_0001), cluster: Cluster::new(usize::from(n)).unwrap() };
    NodePtr { address, clusters: 1, crc: 0x3132_3334, birth: Generation(0x1_0000_0001) }
}

pub fn inode_row() -> InodeRow {
    let time = |n: u8| Time { seconds: i64::from_le_bytes([n; 8]), nanos: 0x0A0B_0C0D + u32::from(n) };
    InodeRow {
        mode: 0x0101_81A4,
        uid: 0x1112_1314,
        gid: 0x2122_2324,
        links: 0x3132_3334,
        rdev: 0x4142_4344,
        size: 0x5152_5354_5556_5758,
        blocks: 0x6162_6364_6566_6768,
        accessed: time(0x71),
        modified: time(0x72),
        changed: time(0x73),
        created: time(0x74),
        version: 0x8182_8384_8586_8788,
        parent: Inode(0x9192_9394_9596_9798),
        next_cookie: 0xA1A2_A3A4_A5A6_A7A8,
        entries: 0xB1B2_B3B4_B5B6_B7B8,
    }
}

pub fn extent_row() -> ExtentRow {
    ExtentRow {
        first: address(),
        clusters: 3,
        codec: Codec::Raw,
        stored_bytes: 0x2C2D,
        decoded_bytes: 0x2C2D,
        skip: 0x1011,
        length: 0x0102,
        sequence: 0x4142_4344_4546_4748,
        birth: Generation(0x5152_5354_5556_5758),
        crcs_from: 1,
        crcs: vec![0x6162_6364, 0x7172_7374],
    }
}

pub fn packed_extent_row() -> ExtentRow {
    let crcs = vec![1, 2, 3];
    ExtentRow { codec: Codec::Zstd, stored_bytes: 9000, decoded_bytes: 65_536, skip: 0, length: 65_536, crcs_from: 0, crcs, ..extent_row() }
}

pub fn entry_row() -> EntryRow {
    EntryRow { inode: Inode(0x1112_1314_1516_1718), kind: FileKind::Symlink, cookie: 0x2122_2324_2526_2728 }
}

pub fn cookie_row() -> CookieRow {
    CookieRow { inode: Inode(0x1112_1314_1516_1718), kind: FileKind::Symlink, name: b"a name".to_vec() }
}

pub fn region_row() -> RegionRow {
    let mut live = LiveBits::default();
    live.set(1, 3, true);
    live.set(1016, 8, true);
    RegionRow { generation: Generation(0x1112_1314_1516_1718), kind: RegionKind::Node, live }
}

/// One key of each kind.
pub fn keys() -> Vec<Key> {
    let inode = Inode(0x0102_0304_0506_0708);
    vec![
        Key::Inode(inode),
        Key::Entry(inode, b"name".to_vec()),
        Key::Cookie(inode, 0x1112_1314_1516_1718),
        Key::Extent(inode, 0x2122_2324_2526_2728),
        Key::Xattr(inode, b"user.x".to_vec(), 0x3132),
        Key::Target(inode, 0x4142),
        Key::Content(inode, 0x5152),
        Key::Orphan(inode),
        Key::Work(inode),
        Key::LargeContent(inode, 0x6162),
        Key::Region(address().region.place),
        Key::Count(address()),
        Key::Dead(address().region),
        Key::Free(address().region.place),
    ]
}

pub fn root() -> RootRecord {
    RootRecord {
        volume_uuid: UUID,
        generation: Generation(0x1_0000_0003),
        cut: Lsn(0x2122_2324_2526_2728),
        low: Lsn(0x2122_2324_2526_2727),
        names: Some(NodePtr { address: address(), clusters: 2, crc: 0x3132_3334, birth: Generation(0x4142_4344_4546_4748) }),
        volume: None,
        next_inode: 0x5152_5354_5556_5758,
        frontier: Place(0x6162_6364),
        inodes: 0x7172_7374_7576_7778,
        live_clusters: 0x8182_8384_8586_8788,
        images: vec![(region_id(5, 0x1_0000_0003), vec![(Cluster::new(0x0102).unwrap(), 3), (Cluster::new(0x0105).unwrap(), 1)])],
        open: vec![(region_id(0x9192_9394, 0xA1A2_A3A4_A5A6_A7A8), RegionKind::Node)],
    }
}

/// A tree that was never stored needs no source.
pub struct Nothing;

impl NodeSource for Nothing {
    fn node(&self, ptr: &NodePtr) -> Result<Arc<Node>, NodeError> {
        Err(NodeError::Miss(*ptr))
    }

    fn resident(&self, _: &NodePtr) -> Option<Arc<Node>> {
        None
    }
}

/// The nodes of a tree of `rows` inodes, children before parents, encoded: a leaf of few rows is raw, of many is packed.
pub fn nodes(rows: u64) -> Vec<Vec<u8>> {
    let mut tree = Tree::empty(Arc::default());
    for n in 1..=rows {
        let (key, value) = (Key::Inode(Inode(n)).encode(), inode_row().encode());
        tree.put(&Nothing, Generation(0x1_0000_0002), &key, &value, &mut Released::default()).unwrap();
    }
    let mut encoded = Vec::new();
    for (n, link) in tree.dirty_links().into_iter().enumerate() {
        encoded.push(encode_node(TreeId::Name, &link.held().unwrap(), Generation(0x1_0000_0003)).unwrap().bytes);
        link.assign(NodePtr { birth: Generation(0x1_0000_0002), ..pointer(n as u16) });
    }
    encoded
}

/// An image with a raw extent of two clusters, the second in part zero, a packed one that has been moved, a node, and a root.
pub fn region() -> Vec<u8> {
    let extent = Owner {
        kind: OwnerKind::Extent,
        codec: Codec::Raw,
        inode: 0x1112_1314_1516_1718,
        offset_bytes: 0x2122_2324_2526_2000,
        decoded_bytes: 5000,
        sequence: 0x3132_3334_3536_3738,
        home: None,
    };
    let mut builder = RegionBuilder::new(vec![0xEE; IMAGE_MAX_BYTES], identity()).unwrap();
    let bytes: Vec<u8> = (0..5000u32).map(|n| (n / 64) as u8).collect();
    builder.place(extent, &[&bytes]).unwrap();
    let moved = Owner { codec: Codec::Zstd, decoded_bytes: 65_536, home: Some(address()), ..extent };
    builder.place(moved, &[&[0x5A; 100]]).unwrap();
    let node = nodes(3).remove(0);
    let owner = Owner { kind: OwnerKind::Node, inode: 1, offset_bytes: 0, decoded_bytes: CLUSTER_BYTES as u32, sequence: 0, ..extent };
    builder.place(owner, &[&node]).unwrap();
    builder.set_root(&root().encode()).unwrap();
    builder.finish(&mut ParityEncoder::new()).bytes().to_vec()
}

/// An image without a single cluster.
pub fn empty_region() -> Vec<u8> {
    let builder = RegionBuilder::new(vec![0xEE; IMAGE_MAX_BYTES], identity()).unwrap();
    builder.finish(&mut ParityEncoder::new()).bytes().to_vec()
}

/// One change of each kind.
pub fn with_changes<T>(body: impl FnOnce(&[Change<'_>]) -> T) -> T {
    let (key, row) = (Key::Inode(Inode(7)).encode(), extent_row().encode());
    let inode = Inode(0x1112_1314_1516_1718);
    let (offset, sequence) = (0x2122_2324_2526_2728, 0x3132_3334_3536_3738);
    let region = address().region;
    body(&[
        Change::Put { key: &key, value: b"value" },
        Change::Delete { key: &key },
        Change::PutExtent { inode, offset, fresh: true, row: &row },
        Change::Cut { inode, from: offset, to: 0x4142_4344_4546_4748, sequence },
        Change::Data { inode, offset, sequence, bytes: b"data" },
        Change::Grant { region, kind: RegionKind::Node },
        Change::Freed { region },
    ])
}

/// The payload of a record with one change of each kind.
pub fn payload() -> Vec<u8> {
    let mut out = Vec::new();
    with_changes(|changes| changes.iter().for_each(|change| change.encode(&mut out)));
    out
}

pub fn segment_header() -> SegmentHeader {
    SegmentHeader { uuid: UUID, epoch: 0x0102_0304, sequence: 9, first_lsn: Lsn(77), previous_crc: 0x1112_1314, segment_bytes: 1 << 24 }
}

/// What a segment begins with: the header, a batch of a group of two records, and a batch of a root.
pub fn segment() -> Vec<u8> {
    let SegmentHeader { uuid, epoch, first_lsn, previous_crc, .. } = segment_header();
    let mut appender = Appender::new(&LogPosition { uuid, epoch, next_lsn: first_lsn, previous_crc, replayed_bytes: 0 }, 1 << 20);
    let mut out = segment_header().encode().to_vec();
    out.resize(LOG_BLOCK_BYTES, 0);
    appender.append(RecordKind::Grant, &[&payload()], false).unwrap();
    appender.append(RecordKind::Changes, &[&payload()], true).unwrap();
    out.extend_from_slice(appender.take(1 << 20).unwrap().bytes());
    appender.note_synced(Lsn(78));
    appender.append(RecordKind::Root, &[&root().encode()], true).unwrap();
    out.extend_from_slice(appender.take(1 << 20).unwrap().bytes());
    out
}
