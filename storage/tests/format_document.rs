//! `docs/format.md` against the code: every table in it is read and compared, so that neither can drift.
//!
//! A comment above a table names it. For a record the fields are given here as bytes that can be recognised: each must stand in what
//! the code encodes at the offset and with the width that the document says, and nothing else may stand there.
#![allow(clippy::unwrap_used, reason = "tests")]

mod museum;

use infmap_storage::address::{Generation, MapCell, Place, RegionId};
use infmap_storage::limits::*;
use infmap_storage::region::chunk::{Chunks, KIND_DATA, KIND_TABLES};
use infmap_storage::region::layout::{band_offset, cluster_pieces, tile_of};
use infmap_storage::region::{Codec, IMAGE_MAX_BYTES, Owner, OwnerKind, ParityEncoder, RegionBuilder};
use infmap_storage::row::{Inode, Key};
use infmap_storage::vat::NodePtr;
use museum::{UUID, address, identity};
use std::collections::BTreeMap;
use std::fs;

fn document() -> String {
    fs::read_to_string(museum::path("docs/format.md")).unwrap()
}

/// The tables under comments of this sort: what the comment says, and the cells of all rows but the head.
fn tables(sort: &str) -> Vec<(String, Vec<Vec<String>>)> {
    let (text, start) = (document(), format!("<!-- {sort}: "));
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(marker) = line.strip_prefix(&start).and_then(|rest| rest.strip_suffix(" -->")) else { continue };
        let rows = lines.by_ref().take_while(|line| line.starts_with('|')).map(|line| {
            let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_string());
            cells.collect::<Vec<_>>()
        });
        found.push((marker.to_string(), rows.filter(|cells| !cells.iter().all(|cell| cell.starts_with("---"))).skip(1).collect()));
    }
    found
}

fn the_table(sort: &str) -> Vec<Vec<String>> {
    let mut found = tables(sort);
    assert_eq!(found.len(), 1, "tables of the sort {sort}");
    found.remove(0).1
}

struct Field {
    offset: Option<usize>,
    bytes: Option<usize>,
    name: String,
}

/// The tables of records by name, each with the size that its comment says.
fn records() -> BTreeMap<String, (Option<usize>, Vec<Field>)> {
    let number = |cell: &String| cell.parse::<usize>().ok();
    let record = |(marker, rows): (String, Vec<Vec<String>>)| {
        let (name, code) = marker.split_once(" = ").unwrap();
        let size = code.strip_suffix(" bytes").and_then(|code| code.rsplit(' ').next()?.parse().ok());
        let fields = rows.iter().map(|cells| Field { offset: number(&cells[0]), bytes: number(&cells[1]), name: cells[2].clone() });
        (name.to_string(), (size, fields.collect()))
    };
    tables("table").into_iter().map(record).collect()
}

/// What a record is made of: name of a field, and its bytes.
type Parts = Vec<(&'static str, Vec<u8>)>;

/// Compares one record as the code encodes it with its table and with the bytes that each field should have.
fn compare(name: &str, encoded: &[u8], parts: &Parts) {
    let records = records();
    let (_, fields) = records.get(name).unwrap_or_else(|| panic!("the document has no table {name}"));
    let documented = fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>();
    assert_eq!(documented, parts.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "fields of {name}");
    let mut at = 0;
    for (field, (_, bytes)) in fields.iter().zip(parts) {
        assert!(field.offset.is_none_or(|offset| offset == at), "{name}: {} stands at {at}", field.name);
        assert!(field.bytes.is_none_or(|width| width == bytes.len()), "{name}: {} has {} bytes", field.name, bytes.len());
        assert_eq!(encoded.get(at..at + bytes.len()), Some(&bytes[..]), "{name}: {} at {at}", field.name);
        at += bytes.len();
    }
    assert_eq!(at, encoded.len(), "{name}: bytes that no field of the table has");
}

fn le(value: u64, bytes: usize) -> Vec<u8> {
    value.to_le_bytes()[..bytes].to_vec()
}

fn crc_of(parts: &[u8]) -> Vec<u8> {
    crc32fast::hash(parts).to_le_bytes().to_vec()
}

/// A table's fields leave no gap, and come to the size that is written above it.
#[test]
fn the_fields_of_every_table_follow_each_other() {
    for (name, (size, fields)) in records() {
        let mut at = Some(0);
        let mut starts = Vec::new();
        for field in &fields {
            assert_eq!(field.offset, at, "{name}: offset of {}", field.name);
            starts.extend(at);
            at = at.zip(field.bytes).map(|(at, bytes)| at + bytes);
        }
        starts.extend(at);
        assert!(size.is_none_or(|size| starts.contains(&size)), "{name}: no field ends at {size:?}");
        assert!(at.is_none() || size == at, "{name}: a record of fixed size has that size above its table");
    }
}

#[test]
fn every_table_is_compared_with_the_code() {
    let compared: Vec<&str> = all_records().iter().map(|(name, ..)| *name).collect();
    let mut sorted = compared.clone();
    sorted.sort_unstable();
    assert_eq!(records().into_keys().collect::<Vec<_>>(), sorted);
}

#[test]
fn every_field_stands_where_its_table_says() {
    for (name, encoded, parts) in all_records() {
        compare(name, &encoded, &parts);
    }
}

fn all_records() -> Vec<(&'static str, Vec<u8>, Parts)> {
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

#[test]
fn the_numbers_are_those_of_the_code() {
    macro_rules! values {
        ($($name:ident)*) => { [$((stringify!($name), $name as u64)),*] };
    }
    let code = BTreeMap::from(values![
        FORMAT_VERSION REGION_SIDE_PX ROW_BYTES REGION_BYTES CLUSTER_BYTES CLUSTER_WIDTH_PX CLUSTER_HEIGHT_PX PIECE_BYTES
        REGION_CLUSTERS BAND_CLUSTERS BAND_BYTES REGION_BANDS SQUARE_CLUSTERS PARITY_ROWS CHECKED_ROWS DIRECT_ALIGN UNIT_BYTES
        EXTENT_MAX_CLUSTERS MAP_CURVE_ORDER MAP_BLOCK_SIDE NODE_PLACES ROW_MAX_BYTES PART_BYTES KEY_FIXED_BYTES INLINE_ROW_BYTES
        INLINE_FILE_BYTES NAME_MAX_BYTES SYMLINK_MAX_BYTES LINK_MAX FILE_MAX_BYTES PAGE_BYTES NODE_MAX_PAGES NODE_MAX_CLUSTERS
        TREE_MAX_LEVELS RECORD_MAX_BYTES RECORD_DATA_MAX_BYTES RECORD_MAX_ROWS GROUP_MAX_BYTES GROUP_MAX_ROWS SEGMENT_BYTES
        LOG_BLOCK_BYTES
    ]);
    let documented = the_table("limits");
    let documented = documented.iter().map(|cells| (cells[0].as_str(), cells[1].parse().unwrap())).collect::<BTreeMap<&str, u64>>();
    assert_eq!(documented, code);
    // A constant that is added to the code is a policy (below), or missing in the document.
    let policies = ["SLICE_ROWS"];
    let source = fs::read_to_string(museum::path("storage/src/limits.rs")).unwrap();
    for name in source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()) {
        assert!(code.contains_key(name) || policies.contains(&name), "{name} is not in docs/format.md");
    }
}

#[test]
fn the_places_have_the_cells_and_paths_of_the_document() {
    let rows = the_table("places");
    assert!(rows.len() >= 7);
    for cells in rows {
        let id = RegionId { place: Place(cells[0].parse().unwrap()), generation: Generation(cells[1].parse().unwrap()) };
        let (x, y) = cells[2].split_once(", ").unwrap();
        let cell = MapCell { x: x.parse().unwrap(), y: y.parse().unwrap() };
        assert_eq!((id.place.cell(), Place::at(cell), id.path()), (cell, Some(id.place), cells[3].clone()));
    }
}

#[test]
fn the_square_is_that_of_the_code() {
    let text = document();
    let mut lines = text.lines().skip_while(|line| !line.starts_with("<!-- square: "));
    let mut row = |name: &str| {
        let line = lines.find(|line| line.starts_with(&format!("| {name} |"))).unwrap();
        line.trim_matches('|').split('|').skip(1).map(|cell| cell.trim().parse::<usize>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(row("cluster"), (0..16).collect::<Vec<_>>());
    assert_eq!(row("column"), (0..16).map(|n| tile_of(n).column).collect::<Vec<_>>());
    assert_eq!(row("band"), (0..16).map(|n| tile_of(n).band).collect::<Vec<_>>());
    for number in [0, 1, 5, 16, 511, 1023] {
        let tile = tile_of(number);
        let documented = [0, 1, 2, 3].map(|p| 1024 + 8 + 2 + 5 + 16_405 * tile.band + 4097 * p + 1 + 1024 * tile.column);
        assert_eq!(cluster_pieces(infmap_storage::address::Cluster::new(number).unwrap()), documented);
    }
}

#[test]
fn the_chunks_stand_in_the_order_of_the_document() {
    let (image, rows) = (museum::region(), the_table("chunks"));
    let chunks = Chunks::of(&image).map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(rows[0][..3], ["signature", "0", "8"]);
    assert_eq!(rows.len() - 1, chunks.len());
    for (cells, chunk) in rows[1..].iter().zip(&chunks) {
        assert_eq!(cells[0].as_bytes(), chunk.kind);
        assert!(cells[1].parse().is_ok_and(|offset: usize| offset == chunk.offset) || cells[1].is_empty(), "offset of {}", cells[0]);
        assert!(cells[2].parse().map_or(true, |bytes: usize| bytes == chunk.data.len()), "{} bytes in {}", chunk.data.len(), cells[0]);
    }
    assert_eq!((image.len() % DIRECT_ALIGN, chunks.last().unwrap().end()), (0, image.len()));
    assert!((1..256).all(|band| band_offset(band) == 1026 + band * 16_405));
}

#[test]
fn the_closing_block_has_the_length_of_the_document() {
    for cells in the_table("tails") {
        let used: usize = cells[0].parse().unwrap();
        let mut builder = RegionBuilder::new(vec![0; IMAGE_MAX_BYTES], identity()).unwrap();
        let place = |clusters: usize, builder: &mut RegionBuilder<Vec<u8>>| {
            let bytes = vec![7; clusters * CLUSTER_BYTES];
            let (kind, codec, decoded_bytes) = (OwnerKind::Extent, Codec::Raw, bytes.len() as u32);
            builder.place(Owner { kind, codec, inode: 2, offset_bytes: 0, decoded_bytes, sequence: 1, home: None }, &[&bytes]).unwrap();
        };
        match used {
            0 => {}
            1 => place(1, &mut builder),
            _ => (0..used / 16).for_each(|_| place(64, &mut builder)),
        }
        let sealed = builder.finish(&mut ParityEncoder::new());
        let last = Chunks::of(sealed.bytes()).map(Result::unwrap).filter(|chunk| chunk.kind == KIND_DATA).last().unwrap();
        assert_eq!((sealed.tables().used_bands, last.data.len()), (used, cells[1].parse().unwrap()));
    }
}

#[test]
fn the_keys_are_those_of_the_document() {
    let (rows, keys) = (the_table("keys"), museum::keys());
    assert_eq!(rows.len(), keys.len());
    for key in keys {
        let (name, bytes) = (format!("{key:?}").split('(').next().unwrap().to_string(), key.encode());
        let cells = rows.iter().find(|cells| cells[2] == name).unwrap_or_else(|| panic!("no row for {name}"));
        assert_eq!((bytes[0].to_string(), bytes[9].to_string()), (cells[0].clone(), cells[1].clone()), "{name}");
        let number = u64::from_be_bytes(bytes[1..9].try_into().unwrap());
        let expected = match cells[4].as_str() {
            "0" => 0,
            "place" => 0x1112_1314,
            _ => 0x0102_0304_0506_0708,
        };
        assert_eq!(number, expected, "{name}");
        let sub: &[u8] = match cells[5].as_str() {
            "none" => b"",
            "name" => b"name",
            "cookie, 8 bytes" => &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18],
            "offset in the file, 8 bytes" | "generation, 8 bytes" => &[0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28],
            "name, a zero byte, part, 2 bytes" => b"user.x\x00\x31\x32",
            "part, 2 bytes" if name == "Target" => &[0x41, 0x42],
            "part, 2 bytes" if name == "Content" => &[0x51, 0x52],
            "part, 2 bytes" if name == "LargeContent" => &[0x61, 0x62],
            "inode, 8 bytes" => &[1, 2, 3, 4, 5, 6, 7, 8],
            "generation, 8 bytes; cluster, 2 bytes" => &[0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x01, 0x32],
            other => panic!("the document says of {name}: {other}"),
        };
        assert_eq!(&bytes[10..], sub, "{name}");
        assert_eq!(cells[3] == "name", bytes[0] <= 2, "tree of {name}");
    }
}
