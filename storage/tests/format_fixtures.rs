//! Files of format 1 as they were first written: what reads them must go on reading them, what writes must write them again.
//!
//! `tests/fixtures/format-1/` is made once, by `cargo test -p infmap-storage --test format_fixtures -- --ignored`, and then kept for
//! ever: a change of these bytes is a change of the format and needs a new version and a new directory.
#![allow(clippy::unwrap_used, reason = "tests")]

mod museum;

use infmap_storage::address::Cluster;
use infmap_storage::device::{Device, MemoryDevice, Open};
use infmap_storage::limits::CLUSTER_BYTES;
use infmap_storage::region::{RawRegion, RowRestorer, Tables};
use infmap_storage::root::RootRecord;
use infmap_storage::row::{CookieRow, EntryRow, ExtentRow, Inode, InodeRow, Key, RegionRow};
use infmap_storage::state::change::changes;
use infmap_storage::vat::{NodePtr, TreeId, decode_node, decode_orphan};
use infmap_storage::wal::segment::{SegmentHeader, segment_path};
use infmap_storage::wal::{EndKind, Lsn, ReadError, RecordKind, scan};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

fn directory() -> PathBuf {
    museum::path("tests/fixtures/format-1")
}

fn read(name: &str) -> Vec<u8> {
    fs::read(directory().join(name)).unwrap()
}

/// The rows of the museum, by name of the file.
fn rows() -> Vec<(String, Vec<u8>)> {
    let mut rows = vec![
        ("row-inode.bin".to_string(), museum::inode_row().encode()),
        ("row-extent.bin".to_string(), museum::extent_row().encode()),
        ("row-packed-extent.bin".to_string(), museum::packed_extent_row().encode()),
        ("row-entry.bin".to_string(), museum::entry_row().encode()),
        ("row-cookie.bin".to_string(), museum::cookie_row().encode()),
        ("row-region.bin".to_string(), museum::region_row().encode()),
    ];
    let name = |key: &Key| format!("{key:?}").split('(').next().unwrap().to_lowercase();
    rows.extend(museum::keys().iter().map(|key| (format!("key-{}.bin", name(key)), key.encode())));
    rows
}

/// What must be written the same for ever.
fn written() -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("region.png".to_string(), museum::region()),
        ("root.bin".to_string(), museum::root().encode()),
        ("node-leaf.bin".to_string(), museum::nodes(3).remove(0)),
        ("segment-prefix.bin".to_string(), museum::segment()),
        ("changes.bin".to_string(), museum::payload()),
    ];
    files.extend(rows());
    files
}

/// What must be read for ever; another version of zstd, or another place to split a node, writes other bytes.
fn read_only() -> Vec<(String, Vec<u8>)> {
    let nodes = museum::nodes(300);
    vec![("node-packed.bin".to_string(), nodes[0].clone()), ("node-inner.bin".to_string(), nodes.last().unwrap().clone())]
}

#[test]
#[ignore = "writes the fixtures into the working tree; only for a new version of the format"]
fn write_the_fixtures() {
    fs::create_dir_all(directory()).unwrap();
    let mut sums = String::new();
    for (name, bytes) in written().into_iter().chain(read_only()) {
        sums += &format!("{:08x} {:>7} {name}\n", crc32fast::hash(&bytes), bytes.len());
        fs::write(directory().join(name), bytes).unwrap();
    }
    fs::write(directory().join("CRC32"), sums).unwrap();
}

#[test]
fn the_fixtures_are_those_that_were_made() {
    let sums = String::from_utf8(read("CRC32")).unwrap();
    let listed = sums.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect::<Vec<_>>();
    for line in &listed {
        let bytes = read(line[2]);
        let crc = format!("{:08x}", crc32fast::hash(&bytes));
        assert_eq!((line[0], line[1]), (crc.as_str(), bytes.len().to_string().as_str()), "{}", line[2]);
    }
    assert_eq!(fs::read_dir(directory()).unwrap().count(), listed.len() + 1, "files without a checksum");
}

#[test]
fn the_same_values_are_written_as_the_same_bytes() {
    for (name, bytes) in written() {
        assert!(read(&name) == bytes, "{name} is written differently");
    }
}

#[test]
fn the_image_is_read_and_repaired() {
    let image = read("region.png");
    assert!(RawRegion::new(&image[..]).survey().is_sound());
    let check = |tables: &Tables, root: Option<&[u8]>| {
        let owners = tables.owners().iter().map(|entry| (entry.first.number(), entry.clusters, entry.stored_bytes)).collect::<Vec<_>>();
        assert_eq!(owners, [(0, 2, 5000), (2, 1, 100), (3, 1, 4096)]);
        assert_eq!(tables.owners()[1].owner.home, Some(museum::address()));
        assert_eq!(root.map(RootRecord::decode), Some(Ok(museum::root())));
    };
    let region = RawRegion::new(&image[..]).verify(Some(&museum::identity())).unwrap();
    check(region.tables(), region.root().unwrap());
    let mut node = [0; CLUSTER_BYTES];
    region.cluster(Cluster::new(3).unwrap()).unwrap().copy_to(&mut node);
    assert!(node[..] == read("node-leaf.bin"));
    // Every used row is damaged, and parity alone brings them back.
    let mut damaged = image.clone();
    (0..8).for_each(|row| damaged[infmap_storage::region::layout::row_range(row)].fill(0xBD));
    let (region, rows) = RawRegion::new(damaged).repair(Some(&museum::identity()), &mut RowRestorer::new()).unwrap();
    assert_eq!(rows, (0..8).collect::<Vec<_>>());
    check(region.tables(), region.root().unwrap());
}

#[test]
fn the_nodes_are_read() {
    let ptr = |bytes: &[u8]| NodePtr {
        clusters: (bytes.len() / CLUSTER_BYTES) as u8,
        crc: crc32fast::hash(bytes),
        birth: infmap_storage::address::Generation(0x1_0000_0002),
        ..museum::pointer(0)
    };
    let value = museum::inode_row().encode();
    for (name, rows, codec) in [("node-leaf.bin", 3, 0), ("node-packed.bin", 116, 1)] {
        let bytes = read(name);
        assert_eq!(bytes[10], codec, "{name}");
        let node = decode_node(TreeId::Name, &ptr(&bytes), &bytes).unwrap();
        let expected = (1..).map(|n| Key::Inode(Inode(n)).encode());
        assert!(node.rows().zip(expected).all(|((key, row), expected)| key == expected && row == value), "{name}");
        assert_eq!(node.entries(), rows, "{name}");
    }
    let inner = read("node-inner.bin");
    let (header, node) = decode_orphan(&inner).unwrap();
    let children = node.children().map(|child| child.ptr().unwrap().address.cluster.number()).collect::<Vec<_>>();
    assert_eq!((header.level, children), (1, (0..node.entries()).collect()));
}

#[test]
fn the_log_is_read() {
    let bytes = read("segment-prefix.bin");
    assert_eq!(SegmentHeader::decode(&bytes), Ok(museum::segment_header()));
    let device = Arc::new(MemoryDevice::default());
    device.create_dir("wal").unwrap();
    // The museum keeps the beginning: the rest of the file is zeros.
    let file = device.open(&segment_path(1), Open::CREATE).unwrap();
    file.write_at(&bytes, 0).and_then(|()| file.set_len(museum::segment_header().segment_bytes)).unwrap();
    let scan = scan(device as Arc<dyn Device>, museum::UUID).unwrap();
    let mut found = Vec::new();
    let end = scan
        .for_each(Lsn(77), Lsn::NONE, |record| {
            found.push((record.header.kind, record.header.lsn.0, record.header.synced.0, record.payload.to_vec()));
            Ok::<_, ReadError>(())
        })
        .unwrap();
    let (changes, root) = (museum::payload(), museum::root().encode());
    let expected = [(RecordKind::Grant, 77, 76, changes.clone()), (RecordKind::Changes, 78, 76, changes), (RecordKind::Root, 79, 78, root)];
    assert_eq!((found.as_slice(), end.next_lsn, end.kind), (&expected[..], Lsn(80), EndKind::Clean));
    assert_eq!(RootRecord::decode(&read("root.bin")), Ok(museum::root()));
}

#[test]
fn changes_and_rows_are_read() {
    let payload = read("changes.bin");
    let found = changes(&payload).map(Result::unwrap).collect::<Vec<_>>();
    museum::with_changes(|expected| assert_eq!(found, expected));
    assert_eq!(InodeRow::decode(&read("row-inode.bin")), Ok(museum::inode_row()));
    assert_eq!(ExtentRow::decode(&read("row-extent.bin")), Ok(museum::extent_row()));
    assert_eq!(ExtentRow::decode(&read("row-packed-extent.bin")), Ok(museum::packed_extent_row()));
    assert_eq!(EntryRow::decode(&read("row-entry.bin")), Ok(museum::entry_row()));
    assert_eq!(CookieRow::decode(&read("row-cookie.bin")), Ok(museum::cookie_row()));
    assert_eq!(RegionRow::decode(&read("row-region.bin")), Ok(museum::region_row()));
    let files = rows().into_iter().map(|(name, _)| name).filter(|name| name.starts_with("key-"));
    let keys = files.map(|name| Key::decode(&read(&name)).unwrap()).collect::<Vec<_>>();
    assert_eq!(keys, museum::keys());
}
