//! One record of each table of the document: as the code encodes it, and as the fields that it must consist of.
//!
//! Fields are written out here, not taken from the encoder, so that a test compares two things.

use crate::museum::{self, UUID, address, identity};
use infmap_storage::address::Generation;
use infmap_storage::limits::{CLUSTER_BYTES, LOG_BLOCK_BYTES, PIECE_BYTES, REGION_CLUSTERS, REGION_SIDE_PX, ROW_BYTES};
use infmap_storage::region::chunk::{Chunks, KIND_DATA, KIND_TABLES};
use infmap_storage::row::{Inode, Key};
use infmap_storage::vat::NodePtr;

/// What a record is made of: name of a field, and its bytes.
pub type Parts = Vec<(&'static str, Vec<u8>)>;

fn le(value: u64, bytes: usize) -> Vec<u8> {
    value.to_le_bytes()[..bytes].to_vec()
}

fn crc_of(parts: &[u8]) -> Vec<u8> {
    crc32fast::hash(parts).to_le_bytes().to_vec()
}

/// Name of the table, bytes, fields.
pub fn all_records() -> Vec<(&'static str, Vec<u8>, Parts)> {
    let mut all = vec![
        ("address", address().encode().to_vec(), address_parts()),
        ("identity", identity().encode().to_vec(), identity_parts()),
        ("node pointer", museum::root().names.unwrap().encode().to_vec(), pointer_parts()),
    ];
    all.extend(image_records());
    all.extend(node_records());
    all.extend(row_records());
    all.extend(log_records());
    all.extend(change_records());
    all.extend(root_records());
    all
}

fn address_parts() -> Parts {
    vec![("place", le(0x1112_1314, 4)), ("generation", le(0x2122_2324_2526_2728, 8)), ("cluster", le(0x0132, 2))]
}

fn identity_parts() -> Parts {
    // Place 5 is cell (-2, 0).
    let mut parts = vec![
        ("magic", b"IMAPRGN\n".to_vec()),
        ("version", le(1, 4)),
        ("kind", vec![1]),
        ("reserved", vec![0; 3]),
        ("volume", UUID.to_vec()),
        ("place", le(5, 4)),
        ("generation", le(0x1_0000_0003, 8)),
        ("x", (-2i64).to_le_bytes().to_vec()),
        ("y", 0i64.to_le_bytes().to_vec()),
    ];
    seal(&mut parts);
    parts
}

/// Adds the checksum over all parts so far.
fn seal(parts: &mut Parts) {
    let crc = crc_of(&parts.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>());
    parts.push(("checksum", crc));
}

fn pointer_parts() -> Parts {
    vec![
        ("address", address().encode().to_vec()),
        ("clusters", vec![2]),
        ("checksum", le(0x3132_3334, 4)),
        ("birth", le(0x4142_4344_4546_4748, 8)),
    ]
}

/// The clusters of the image of the museum: a raw extent of two, a packed one, a node.
fn clusters() -> Vec<Vec<u8>> {
    let mut raw: Vec<u8> = (0..5000u32).map(|n| (n / 64) as u8).collect();
    raw.resize(2 * CLUSTER_BYTES, 0);
    let mut packed = vec![0x5A; 100];
    packed.resize(CLUSTER_BYTES, 0);
    vec![raw[..CLUSTER_BYTES].to_vec(), raw[CLUSTER_BYTES..].to_vec(), packed, museum::nodes(3).remove(0)]
}

fn image_records() -> Vec<(&'static str, Vec<u8>, Parts)> {
    let (image, clusters) = (museum::region(), clusters());
    let names = ["row 0", "row 1", "row 2", "row 3"];
    let mut band = vec![("block header", vec![0, 0x04, 0x40, 0xFB, 0xBF])];
    for (line, filter) in ["filter 0", "filter 1", "filter 2", "filter 3"].into_iter().enumerate() {
        // Band 1 has clusters 1 and 2, then two that nobody has.
        let piece = |cluster: usize| &clusters[cluster][line * PIECE_BYTES..][..PIECE_BYTES];
        band.extend([(filter, vec![0]), (names[line], [piece(1), piece(2), &[0; 2 * PIECE_BYTES]].concat())]);
    }
    let band_1 = Chunks::of(&image).map(Result::unwrap).filter(|chunk| chunk.kind == KIND_DATA).nth(1).unwrap();
    let tables = Chunks::of(&image).map(Result::unwrap).find(|chunk| chunk.kind == KIND_TABLES).unwrap().data;
    let owner = [
        ("first cluster", le(2, 2)),
        ("clusters", vec![1]),
        ("kind and codec", vec![0x10]),
        ("inode", le(0x1112_1314_1516_1718, 8)),
        ("byte offset", le(0x2122_2324_2526_2000, 8)),
        ("decoded bytes", le(65_536, 4)),
        ("stored bytes", le(100, 4)),
        ("write sequence", le(0x3132_3334_3536_3738, 8)),
        ("home", address().encode().to_vec()),
    ];
    let owner_bytes = tables[8408 + 50..][..50].to_vec();
    vec![
        ("band", band_1.data.to_vec(), band),
        ("tables", tables.to_vec(), tables_parts(&image, tables)),
        ("owner", owner_bytes, owner.to_vec()),
    ]
}

fn tables_parts(image: &[u8], tables: &[u8]) -> Parts {
    let zero = crc_of(&[0; CLUSTER_BYTES]);
    let mut cluster_crcs = clusters().iter().flat_map(|cluster| crc_of(cluster)).collect::<Vec<_>>();
    cluster_crcs.extend(zero.repeat(REGION_CLUSTERS - 4));
    // Rows are taken from the file at the offsets of the document.
    let row = |n: usize| &image[1024 + 15 + 16_405 * (n / 4) + 4097 * (n % 4) + 1..][..ROW_BYTES];
    let mut row_crcs = (0..8).flat_map(|n| crc_of(row(n))).collect::<Vec<_>>();
    row_crcs.extend(zero.repeat(REGION_SIDE_PX - 8));
    let parity = Chunks::of(image).map(Result::unwrap).find(|chunk| chunk.kind == *b"imPY").unwrap().data;
    row_crcs.extend(parity.chunks(ROW_BYTES).flat_map(crc_of));
    let root = museum::root().encode();
    let mut parts = vec![
        ("magic", b"IMAPTAB\n".to_vec()),
        ("version", le(1, 4)),
        ("identity", identity().encode().to_vec()),
        ("used bands", le(2, 2)),
        ("owners", le(3, 2)),
        ("root bytes", le(root.len() as u64, 4)),
        ("root checksum", crc_of(&root)),
        ("cluster checksums", cluster_crcs),
        ("row checksums", row_crcs),
        ("owner entries", tables[8408..tables.len() - 4].to_vec()),
    ];
    assert_eq!(parts.last().unwrap().1.len(), 3 * 50);
    seal(&mut parts);
    parts
}

fn node_records() -> Vec<(&'static str, Vec<u8>, Parts)> {
    let leaf = museum::nodes(3).remove(0);
    let key = |n: u64| Key::Inode(Inode(n)).encode();
    let value = museum::inode_row().encode();
    let raw_bytes = 2 + 3 * (4 + 10 + 117);
    let header = vec![
        ("magic", b"IMvn".to_vec()),
        ("version", le(1, 4)),
        ("tree", vec![1]),
        ("level", vec![0]),
        ("codec", vec![0]),
        ("pages", vec![1]),
        ("first key bytes", le(10, 2)),
        ("last key bytes", le(10, 2)),
        ("entries", le(3, 2)),
        ("reserved", le(0, 2)),
        ("raw bytes", le(raw_bytes, 4)),
        ("stored bytes", le(raw_bytes, 4)),
        ("birth", le(0x1_0000_0002, 8)),
        ("generation", le(0x1_0000_0003, 8)),
    ];
    assert_eq!(leaf[44..64], [key(1), key(3)].concat());
    assert_eq!(leaf[64..66], [3, 0]);
    assert!(leaf[44 + 20 + raw_bytes as usize..].iter().all(|byte| *byte == 0) && leaf.len() == CLUSTER_BYTES);
    let leaf_entry = vec![("key bytes", le(10, 2)), ("value bytes", le(117, 2)), ("key", key(1)), ("value", value)];
    let inner = museum::nodes(300).pop().unwrap();
    assert_eq!((inner[9], inner[10], &inner[12..14]), (1, 0, &[0, 0][..]), "a raw inner node with an empty first key");
    let body = 44 + usize::from(inner[14]);
    let pointer = |n| NodePtr { birth: Generation(0x1_0000_0002), ..museum::pointer(n) }.encode().to_vec();
    assert_eq!(inner[body + 2..][..2 + 27], [vec![0, 0], pointer(0)].concat(), "the entry of the first child");
    let second = &inner[body + 2 + 29..];
    let key_bytes = usize::from(second[0]);
    let second = &second[..2 + key_bytes + 27];
    // A separator is as short as it can be.
    let separator = second[2..][..key_bytes].to_vec();
    assert!(separator > key(1) && separator < key(300) && key_bytes <= 10);
    let inner_entry = vec![("key bytes", le(key_bytes as u64, 2)), ("key", separator), ("child", pointer(1))];
    vec![
        ("node header", leaf[..44].to_vec(), header),
        ("leaf entry", leaf[66..][..4 + 10 + 117].to_vec(), leaf_entry),
        ("inner entry", second.to_vec(), inner_entry),
    ]
}

fn row_records() -> Vec<(&'static str, Vec<u8>, Parts)> {
    let mut inode = vec![
        ("encoding", vec![1]),
        ("mode", le(0x0101_81A4, 4)),
        ("uid", le(0x1112_1314, 4)),
        ("gid", le(0x2122_2324, 4)),
        ("links", le(0x3132_3334, 4)),
        ("rdev", le(0x4142_4344, 4)),
        ("size", le(0x5152_5354_5556_5758, 8)),
        ("blocks", le(0x6162_6364_6566_6768, 8)),
        ("version", le(0x8182_8384_8586_8788, 8)),
        ("parent", le(0x9192_9394_9596_9798, 8)),
        ("next cookie", le(0xA1A2_A3A4_A5A6_A7A8, 8)),
        ("entries", le(0xB1B2_B3B4_B5B6_B7B8, 8)),
    ];
    let times = [
        ("accessed, seconds", "accessed, nanoseconds"),
        ("modified, seconds", "modified, nanoseconds"),
        ("changed, seconds", "changed, nanoseconds"),
        ("created, seconds", "created, nanoseconds"),
    ];
    for ((seconds, nanos), n) in times.into_iter().zip(0x71u8..) {
        inode.extend([(seconds, vec![n; 8]), (nanos, le(0x0A0B_0C0D + u64::from(n), 4))]);
    }
    let head = |kind| vec![("encoding", vec![1]), ("inode", le(0x1112_1314_1516_1718, 8)), ("kind", vec![kind])];
    let entry = [head(10), vec![("cookie", le(0x2122_2324_2526_2728, 8))]].concat();
    let cookie = [head(10), vec![("name bytes", le(6, 2)), ("name", b"a name".to_vec())]].concat();
    let extent = vec![
        ("encoding", vec![1]),
        ("first", address().encode().to_vec()),
        ("clusters", vec![3]),
        ("codec", vec![0]),
        ("stored bytes", le(0x2C2D, 4)),
        ("decoded bytes", le(0x2C2D, 4)),
        ("skip", le(0x1011, 4)),
        ("length", le(0x0102, 4)),
        ("write sequence", le(0x4142_4344_4546_4748, 8)),
        ("birth", le(0x5152_5354_5556_5758, 8)),
        ("checksums from", vec![1]),
        ("checksums", vec![2]),
        ("cluster checksums", [le(0x6162_6364, 4), le(0x7172_7374, 4)].concat()),
    ];
    let mut live = vec![0; 128];
    (live[0], live[127]) = (0b1110, 0xFF);
    let region = vec![("encoding", vec![1]), ("generation", le(0x1112_1314_1516_1718, 8)), ("kind", vec![1]), ("live", live)];
    vec![
        ("inode row", museum::inode_row().encode(), inode),
        ("entry row", museum::entry_row().encode(), entry),
        ("cookie row", museum::cookie_row().encode(), cookie),
        ("extent row", museum::extent_row().encode(), extent),
        ("region row", museum::region_row().encode(), region),
    ]
}

fn log_records() -> Vec<(&'static str, Vec<u8>, Parts)> {
    let mut segment = vec![
        ("magic", b"IMapLog\0".to_vec()),
        ("version", le(1, 4)),
        ("epoch", le(0x0102_0304, 4)),
        ("volume", UUID.to_vec()),
        ("sequence", le(9, 8)),
        ("first LSN", le(77, 8)),
        ("segment bytes", le(1 << 24, 8)),
        ("previous checksum", le(0x1112_1314, 4)),
    ];
    seal(&mut segment);
    let (bytes, payload) = (museum::segment(), museum::payload());
    // The root stands in a batch of its own, behind the block that holds the group of two.
    let first = 48 + payload.len();
    assert!(LOG_BLOCK_BYTES + 2 * first <= 2 * LOG_BLOCK_BYTES, "the group fits one block");
    let group = &bytes[LOG_BLOCK_BYTES..2 * LOG_BLOCK_BYTES];
    assert_eq!((group[4], group[5]), (3, 0), "a grant that does not end its group");
    assert_eq!((group[first + 4], group[first + 5]), (1, 1), "changes that do");
    assert!(group[2 * first..].iter().all(|byte| *byte == 0), "zeros up to the next block");
    let previous_crc = group[first + 44..][..4].to_vec();
    let root = museum::root().encode();
    let record = &bytes[2 * LOG_BLOCK_BYTES..][..48 + root.len()];
    let tag = (0..8).map(|n| UUID[n] ^ UUID[n + 8]).collect::<Vec<_>>();
    let header = vec![
        ("magic", b"IMlr".to_vec()),
        ("kind", vec![2]),
        ("flags", vec![1]),
        ("reserved", vec![0; 2]),
        ("payload bytes", le(root.len() as u64, 4)),
        ("epoch", le(0x0102_0304, 4)),
        ("volume tag", tag),
        ("LSN", le(79, 8)),
        ("synced", le(78, 8)),
        ("previous checksum", previous_crc),
        ("checksum", crc_of(&[&record[..44], &root].concat())),
    ];
    assert_eq!(record[48..], root);
    vec![("segment header", museum::segment_header().encode().to_vec(), segment), ("record header", record[..48].to_vec(), header)]
}

fn change_records() -> Vec<(&'static str, Vec<u8>, Parts)> {
    let encoded = museum::with_changes(|changes| {
        let one = |change: &infmap_storage::state::change::Change<'_>| {
            let mut out = Vec::new();
            change.encode(&mut out);
            out
        };
        changes.iter().map(one).collect::<Vec<_>>()
    });
    let (key, row) = (Key::Inode(Inode(7)).encode(), museum::extent_row().encode());
    let op = |code: u8| ("opcode", vec![code]);
    let inode = || ("inode", le(0x1112_1314_1516_1718, 8));
    let at = |name| (name, le(0x2122_2324_2526_2728, 8));
    let sequence = || ("write sequence", le(0x3132_3334_3536_3738, 8));
    let place = || [("place", le(0x1112_1314, 4)), ("generation", le(0x2122_2324_2526_2728, 8))];
    let keyed = || vec![("key bytes", le(key.len() as u64, 2)), ("key", key.clone())];
    let parts = [
        ("change 1 put", [vec![op(1)], keyed(), vec![("value bytes", le(5, 2)), ("value", b"value".to_vec())]].concat()),
        ("change 2 delete", [vec![op(2)], keyed()].concat()),
        (
            "change 3 put extent",
            vec![op(3), inode(), at("offset"), ("fresh", vec![1]), ("row bytes", le(row.len() as u64, 2)), ("row", row)],
        ),
        ("change 4 cut", vec![op(4), inode(), at("from"), ("to", le(0x4142_4344_4546_4748, 8)), sequence()]),
        ("change 5 data", vec![op(5), inode(), at("offset"), sequence(), ("data bytes", le(4, 4)), ("data", b"data".to_vec())]),
        ("change 6 grant", [&[op(6)], &place()[..], &[("kind", vec![1])]].concat()),
        ("change 7 freed", [&[op(7)], &place()[..]].concat()),
    ];
    parts.into_iter().zip(encoded).map(|((name, parts), bytes)| (name, bytes, parts)).collect()
}

fn root_records() -> Vec<(&'static str, Vec<u8>, Parts)> {
    let nodes = [le(0x0102, 2), vec![3], le(0x0105, 2), vec![1]].concat();
    let image = vec![("place", le(5, 4)), ("generation", le(0x1_0000_0003, 8)), ("nodes", le(2, 4)), ("node entries", nodes)];
    let open = vec![("place", le(0x9192_9394, 4)), ("generation", le(0xA1A2_A3A4_A5A6_A7A8, 8)), ("kind", vec![1])];
    let join = |parts: &Parts| parts.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>();
    let mut root = vec![
        ("magic", b"IMAPROOT".to_vec()),
        ("version", le(1, 2)),
        ("volume", UUID.to_vec()),
        ("generation", le(0x1_0000_0003, 8)),
        ("cut", le(0x2122_2324_2526_2728, 8)),
        ("low", le(0x2122_2324_2526_2727, 8)),
        ("next inode", le(0x5152_5354_5556_5758, 8)),
        ("inodes", le(0x7172_7374_7576_7778, 8)),
        ("live clusters", le(0x8182_8384_8586_8788, 8)),
        ("frontier", le(0x6162_6364, 4)),
        ("has names", vec![1]),
        ("names", join(&pointer_parts())),
        ("has volume", vec![0]),
        ("volume tree", vec![0; 27]),
        ("images", le(1, 4)),
        ("image entries", join(&image)),
        ("open", le(1, 4)),
        ("open entries", join(&open)),
    ];
    seal(&mut root);
    let bytes = museum::root().encode();
    let image_bytes = bytes[138..][..join(&image).len()].to_vec();
    let open_bytes = bytes[bytes.len() - 4 - 13..][..13].to_vec();
    vec![("root", bytes, root), ("root image", image_bytes, image), ("root open", open_bytes, open)]
}
