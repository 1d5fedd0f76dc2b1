//! `docs/format.md` against the code: every table in it is read and compared, so that neither can drift.
//!
//! A comment above a table names it. For a record the fields are given here as bytes that can be recognised: each must stand in what
//! the code encodes at the offset and with the width that the document says, and nothing else may stand there.
#![allow(clippy::unwrap_used, reason = "tests")]

mod museum;
#[path = "format_document/records.rs"]
mod records;

use infmap_storage::address::{Generation, MapCell, Place, RegionId};
use infmap_storage::limits::*;
use infmap_storage::region::chunk::{Chunks, KIND_DATA};
use infmap_storage::region::layout::{band_offset, cluster_pieces, tile_of};
use infmap_storage::region::{Codec, IMAGE_MAX_BYTES, Owner, OwnerKind, ParityEncoder, ROOT_MAX_BYTES, RegionBuilder};
use infmap_storage::row::Time;
use infmap_storage::volume_file::VolumeFile;
use infmap_storage::wal::appender::GROUP_LOG_MAX_BYTES;
use infmap_storage::wal::record::PAYLOAD_MAX_BYTES;
use museum::identity;
use records::{Parts, all_records};
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
fn documented() -> BTreeMap<String, (Option<usize>, Vec<Field>)> {
    let number = |cell: &String| cell.parse::<usize>().ok();
    let record = |(marker, rows): (String, Vec<Vec<String>>)| {
        let (name, code) = marker.split_once(" = ").unwrap();
        let size = code.strip_suffix(" bytes").and_then(|code| code.rsplit(' ').next()?.parse().ok());
        let fields = rows.iter().map(|cells| Field { offset: number(&cells[0]), bytes: number(&cells[1]), name: cells[2].clone() });
        (name.to_string(), (size, fields.collect()))
    };
    tables("table").into_iter().map(record).collect()
}

/// Compares one record as the code encodes it with its table and with the bytes that each field should have.
fn compare(name: &str, encoded: &[u8], parts: &Parts) {
    let tables = documented();
    let (_, fields) = tables.get(name).unwrap_or_else(|| panic!("the document has no table {name}"));
    let names = fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, parts.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "fields of {name}");
    let mut at = 0;
    for (field, (_, bytes)) in fields.iter().zip(parts) {
        assert!(field.offset.is_none_or(|offset| offset == at), "{name}: {} stands at {at}", field.name);
        assert!(field.bytes.is_none_or(|width| width == bytes.len()), "{name}: {} has {} bytes", field.name, bytes.len());
        assert_eq!(encoded.get(at..at + bytes.len()), Some(&bytes[..]), "{name}: {} at {at}", field.name);
        at += bytes.len();
    }
    assert_eq!(at, encoded.len(), "{name}: bytes that no field of the table has");
}

/// A table's fields leave no gap, and come to the size that is written above it.
#[test]
fn the_fields_of_every_table_follow_each_other() {
    for (name, (size, fields)) in documented() {
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
    assert_eq!(documented().into_keys().collect::<Vec<_>>(), sorted);
}

#[test]
fn every_field_stands_where_its_table_says() {
    for (name, encoded, parts) in all_records() {
        compare(name, &encoded, &parts);
    }
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
        INLINE_FILE_BYTES NAME_MAX_BYTES SYMLINK_MAX_BYTES XATTR_NAME_MAX_BYTES XATTR_MAX_BYTES XATTR_LIST_MAX_BYTES LINK_MAX FILE_MAX_BYTES PAGE_BYTES NODE_MAX_PAGES NODE_MAX_CLUSTERS
        TREE_MAX_LEVELS RECORD_MAX_BYTES RECORD_DATA_MAX_BYTES RECORD_MAX_ROWS GROUP_MAX_BYTES GROUP_MAX_ROWS SEGMENT_BYTES
        LOG_BLOCK_BYTES
    ]);
    let documented = the_table("limits");
    let documented = documented.iter().map(|cells| (cells[0].as_str(), cells[1].parse().unwrap())).collect::<BTreeMap<&str, u64>>();
    assert_eq!(documented, code);
    let text = document();
    for said in [
        format!("A group, headers included, has at most {GROUP_LOG_MAX_BYTES} bytes"),
        format!("| `imRT` | | up to {ROOT_MAX_BYTES} |"),
        format!("| payload bytes | at most {PAYLOAD_MAX_BYTES} |"),
        format!("parts\nof {PART_BYTES} bytes"),
        format!("less of the {ROW_MAX_BYTES} bytes of a row"),
    ] {
        assert!(text.contains(&said), "the document does not say: {said}");
    }
    // A constant that is added to the code is a policy (below), or missing in the document.
    let policies = ["SLICE_ROWS"];
    let source = fs::read_to_string(museum::path("storage/src/limits.rs")).unwrap();
    for name in source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()) {
        assert!(code.contains_key(name) || policies.contains(&name), "{name} is not in docs/format.md");
    }
}

#[test]
fn the_identity_of_a_volume_is_the_text_of_the_document() {
    let text = document();
    let (_, rest) = text.split_once("<!-- volume: volume_file::VolumeFile -->\n```yaml\n").unwrap();
    let (yaml, _) = rest.split_once("```").unwrap();
    let created = Time { seconds: 1_769_860_800, nanos: 1 };
    let file = VolumeFile::new(museum::UUID, created);
    assert_eq!((file.render().as_str(), VolumeFile::parse(yaml.as_bytes()).unwrap()), (yaml, file));
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
