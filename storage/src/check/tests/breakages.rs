//! Each rule is broken on purpose, one at a time, and the finding with its name appears.

use super::builder::{Builder, NOW, Sample, UUID, builder_for, noise, sample};
use crate::address::{Address, Cluster, Generation, Place, RegionId};
use crate::check::{CheckOptions, CheckReport, Severity};
use crate::device::Open;
use crate::limits::REGION_SIDE_PX;
use crate::names::acl::{ACCESS, DEFAULT};
use crate::region::layout::row_range;
use crate::row::{CookieRow, EntryRow, FileKind, Inode, InodeRow, Key, ROOT_INODE, RegionKind};
use crate::wal::RecordKind;

type Bend = fn(&mut Builder, &Sample);

/// What is bent in the trees before they are written, and the rule that it breaks.
const IN_THE_TREES: &[(&str, Bend)] = &[
    ("NAM-1", |b, s| b.unbend_name(&Key::Cookie(s.directory, 3))),
    ("NAM-1", |b, s| b.unbend_name(&Key::Entry(s.directory, b"raw".to_vec()))),
    ("NAM-1", |b, s| {
        let row = CookieRow { inode: s.raw, kind: FileKind::Regular, name: b"roh".to_vec() };
        b.bend_name(&Key::Cookie(s.directory, 4), &row.encode());
    }),
    ("NAM-1", |b, s| both(b, s.directory, b"a/b", s.raw, FileKind::Regular, 90)),
    ("NAM-2", |b, s| inode(b, s.raw, |row| row.links = 3)),
    ("NAM-2", |b, s| inode(b, s.directory, |row| row.links = 2)),
    ("NAM-3", |b, s| b.unbend_name(&Key::Orphan(s.orphan))),
    ("NAM-3", |b, s| b.bend_name(&Key::Orphan(s.small), &[])),
    ("NAM-3", |b, _| b.bend_name(&Key::Orphan(Inode(2_000)), &[])),
    ("NAM-4", |b, s| inode(b, s.directory, |row| row.entries = 7)),
    ("NAM-5", |b, s| inode(b, s.below, |row| row.parent = ROOT_INODE)),
    ("NAM-6", |b, s| {
        let row = EntryRow { inode: s.directory, kind: FileKind::Directory, cookie: 8 };
        b.bend_name(&Key::Entry(s.below, b"up".to_vec()), &row.encode());
        b.unbend_name(&Key::Entry(ROOT_INODE, b"letters".to_vec()));
    }),
    ("NAM-6", |b, _| b.unbend_name(&Key::Inode(ROOT_INODE))),
    ("NAM-7", |b, s| both(b, s.directory, b"nobody", Inode(900), FileKind::Regular, 90)),
    ("NAM-7", |b, s| both(b, s.directory, b"odd", s.raw, FileKind::Socket, 90)),
    ("NAM-8", |b, s| inode(b, s.directory, |row| row.next_cookie = 4)),
    ("NAM-8", |b, _| b.state.next_inode = 3),
    ("INO-1", |b, s| b.unbend_name(&Key::Inode(s.raw))),
    ("INO-1", |b, s| b.unbend_name(&Key::Inode(s.medium))),
    ("INO-2", |b, s| inode(b, s.raw, |row| row.mode = FileKind::Fifo.mode_bits())),
    ("INO-2", |b, s| inode(b, s.raw, |row| row.mode = 0o644)),
    ("INO-2", |b, s| inode(b, s.link, |row| row.size = 3)),
    ("INO-2", |b, s| b.unbend_name(&Key::Target(s.link, 0))),
    ("PART-1", |b, s| b.unbend_name(&Key::LargeContent(s.medium, 1))),
    ("PART-1", |b, s| b.bend_name(&Key::Content(s.small, 0), b"\x03\0\0\0\0\0\0\0abc")),
    ("PART-1", |b, s| b.bend_name(&Key::Xattr(s.small, b"user.x".to_vec(), 1), b"late")),
    ("PART-1", |b, s| b.bend_name(&Key::Xattr(s.small, b"user.x".to_vec(), 0), b"\x03\0\0\0\0\0\0\0abc")),
    ("ACL-1", |b, s| xattr(b, s.small, DEFAULT, b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff")),
    ("ACL-2", |b, s| {
        let all = |tag: u8| [tag, 0, 7, 0, 255, 255, 255, 255];
        xattr(b, s.small, ACCESS, &[&[2, 0, 0, 0][..], &all(1), &all(4), &all(16), &all(32)].concat());
    }),
    ("EXT-4", |b, s| {
        let row = extent(b, s, 16 << 10);
        b.bend_name(&Key::Extent(s.raw, 12 << 10), &row);
    }),
    ("EXT-6", |b, s| inode(b, s.raw, |row| row.blocks += 1)),
    ("EXT-6", |b, s| inode(b, s.medium, |row| row.blocks = 3)),
    ("ROW-1", |b, _| {
        let source = b.nodes.loading(crate::vat::TreeId::Name);
        b.state.names.put(&source, b.state.generation, b"\x09what", b"", &mut crate::vat::Released::default()).unwrap();
    }),
    ("ROW-2", |b, s| b.bend_name(&Key::Inode(s.raw), b"\x01short")),
    ("ROW-2", |b, s| b.bend_volume(&Key::Region(s.data.place), Some(b"\x02"))),
    ("VAT-3", |b, _| b.bend_name(&Key::Free(Place(4)), &[])),
    ("VAT-3", |b, s| b.bend_volume(&Key::Orphan(s.raw), Some(&[]))),
    ("REG-1", |b, s| region(b, s.data, |row| assert_eq!(row.live.set(0, 1, false), 1))),
    ("REG-1", |b, s| region(b, s.data, |row| assert_eq!(row.live.set(1000, 1, true), 1))),
    ("REG-1", |b, s| b.bend_volume(&Key::Region(s.data.place), None)),
    ("REG-2", |b, _| {
        let region = RegionId { place: Place(0), generation: Generation(5) };
        let row = crate::row::RegionRow { generation: region.generation, kind: RegionKind::Data, live: crate::row::LiveBits::default() };
        b.bend_volume(&Key::Region(Place(200)), Some(&row.encode()));
    }),
    ("REG-5", |b, s| region(b, s.data, |row| row.kind = RegionKind::Node)),
    ("REG-6", |b, s| move_extent(b, s, |row| row.first.cluster = Cluster::new(row.first.cluster.number() + 1).unwrap())),
    ("REG-6", |b, s| {
        let row = extent(b, s, 64 << 10);
        b.unbend_name(&Key::Extent(s.raw, 64 << 10));
        b.bend_name(&Key::Extent(s.raw, 128 << 10), &row);
    }),
    ("REG-7", |b, s| move_extent(b, s, |row| row.crcs[0] ^= 1)),
    ("PLC-1", |b, s| b.bend_volume(&Key::Free(s.data.place), Some(&[]))),
    ("PLC-1", |b, _| b.bend_volume(&Key::Free(Place(3)), None)),
    ("PLC-1", |b, _| b.bend_volume(&Key::Free(Place(4_000_000_000)), Some(&[]))),
    ("SPC-1", |b, s| b.bend_volume(&Key::Count(first(s)), None)),
    ("SPC-1", |b, s| b.bend_volume(&Key::Count(first(s)), Some(&9i64.to_le_bytes()))),
    ("SPC-1", |b, s| b.bend_volume(&Key::Count(first(s)), Some(&1i64.to_le_bytes()))),
    ("SPC-1", |b, s| {
        let cluster = Cluster::new(700).unwrap();
        b.bend_volume(&Key::Count(Address { region: s.data, cluster }), Some(&2i64.to_le_bytes()));
    }),
    ("SPC-1", |b, _| b.bend_volume(&Key::Count(*Address::all_of(nowhere()).start()), Some(&2i64.to_le_bytes()))),
    ("SPC-3", |b, s| move_extent(b, s, |row| row.first.cluster = Cluster::new(3).unwrap())),
    ("SPC-3", |b, s| {
        move_extent(b, s, |row| (row.first.cluster, row.clusters) = (Cluster::new(0).unwrap(), 3));
    }),
    ("SPC-4", |b, _| b.state.live_clusters += 1),
    ("SPC-4", |b, _| b.state.inodes += 1),
    ("IMG-3", |b, s| move_extent(b, s, |row| row.first.region = nowhere())),
];

/// What happens to the files of a sound volume, and the rule that it breaks.
const IN_THE_FILES: &[(&str, Bend)] = &[
    ("IMG-3", |b, s| b.device.remove(&s.data.path()).unwrap()),
    ("IMG-4", |b, s| b.damage(&s.data.path(), row_range(2).start + 9, b"?")),
    ("IMG-4", |b, s| (0..40).for_each(|row| b.damage(&s.data.path(), row_range(row).start, b"damage"))),
    ("IMG-4", |b, s| b.damage(&s.data.path(), b.bytes(&s.data.path()).len(), b"behind the end")),
    ("IMG-4", |b, s| b.device.open(&s.data.path(), Open::WRITE).unwrap().set_len(30_000).unwrap()),
    ("IMG-4", |b, s| b.device.open(&s.data.path(), Open::WRITE).unwrap().set_len(0).unwrap()),
    ("IMG-4", |b, s| b.damage(&s.data.path(), 0, b"x")),
    ("ADR-3", |b, s| {
        let other = RegionId { generation: s.data.generation.next(), ..s.data };
        b.write_image(s.data, &builder_for(other, RegionKind::Data).unwrap().finish(&mut crate::region::ParityEncoder::new()));
    }),
    ("ADR-3", |b, s| {
        b.device.create_dir("map/9_9").unwrap();
        let path = s.data.path();
        b.device.rename(&path, &path.replace(&s.data.place.directory(), "map/9_9")).unwrap();
    }),
    ("IMG-5", |b, s| drop(b.device.open(&format!("{}/holiday.png", s.data.place.directory()), Open::CREATE).unwrap())),
    ("IMG-5", |b, _| drop(b.device.open("map/notes.txt", Open::CREATE).unwrap())),
    ("NOD-1", |b, _| {
        let root = b.checkpoint(|_| {});
        let at = root.names.unwrap().address;
        // Without tables parity cannot bring it back.
        b.device.open(&at.region.path(), Open::WRITE).unwrap().set_len(1000).unwrap();
        // What the builder still holds in memory is not what a check reads.
    }),
    ("IMG-4", |b, _| {
        let at = b.checkpoint(|_| {}).names.unwrap().address;
        for offset in crate::region::layout::cluster_pieces(at.cluster) {
            b.damage(&at.region.path(), offset, &[0x55; 64]);
        }
    }),
    ("WAL-5", |b, _| {
        let path = "wal/".to_string() + &b.device.list("wal").unwrap()[0].name;
        let log = b.bytes(&path);
        b.append(RecordKind::Changes, &[]);
        b.append(RecordKind::Changes, &[]);
        let used = log.iter().rposition(|byte| *byte != 0).unwrap();
        b.append(RecordKind::Changes, &[]);
        b.damage(&path, used.next_multiple_of(4096), &[0xAA; 16]);
    }),
    ("REC-3", |b, s| {
        let inode = s.directory;
        b.change(|txn| txn.log_data(inode, 0, 77, b"bytes of a directory"));
    }),
];

#[test]
fn each_rule_that_is_broken_in_the_trees_is_named() {
    for (n, (rule, bend)) in IN_THE_TREES.iter().enumerate() {
        let (mut b, s) = sample();
        b.checkpoint(|b| bend(b, &s));
        assert_named(&b.check(), rule, n);
    }
}

#[test]
fn each_rule_that_is_broken_in_the_files_is_named() {
    for (n, (rule, bend)) in IN_THE_FILES.iter().enumerate() {
        let (mut b, s) = sample();
        b.checkpoint(|_| {});
        assert!(b.check().findings.is_empty());
        bend(&mut b, &s);
        assert_named(&b.check(), rule, n);
    }
}

#[track_caller]
fn assert_named(report: &CheckReport, rule: &str, case: usize) {
    let names: Vec<_> = report.findings.iter().map(|f| f.invariant).collect();
    assert!(names.contains(&rule), "case {case} should break {rule}, found {:#?}", report.findings);
    assert!(report.findings.iter().all(|f| !f.place.is_empty() && !f.what.is_empty() && !f.help.is_empty()));
}

#[test]
fn a_unit_that_does_not_decode_is_told_although_its_checksums_fit() {
    let (mut b, s) = sample();
    let mut row = b.place(s.packed, 1 << 20, &noise(4096, 9), 9, false);
    (row.codec, row.stored_bytes, row.decoded_bytes, row.length) = (crate::row::Codec::Zstd, 4096, 60_000, 60_000);
    b.put(s.packed, 1 << 20, &row);
    b.checkpoint(|_| {});
    assert_named(&b.check(), "UNI-2", 0);
}

#[test]
fn parity_that_restores_nothing_is_found_by_a_deep_check_only() {
    let (mut b, s) = sample();
    b.checkpoint(|_| {});
    // An image of the same pixels whose parity, with its checksums, is that of others.
    let path = s.data.path();
    let forged = forge_parity(&b.bytes(&path));
    b.device.remove(&path).unwrap();
    b.device.open(&path, Open::CREATE).unwrap().write_at(&forged, 0).unwrap();
    assert!(b.check().findings.is_empty());
    let deep = b.check_with(&CheckOptions { deep: true, ..CheckOptions::default() });
    assert_named(&deep, "PAR-1", 0);
}

/// Flips a byte in a parity row and puts all checksums right.
fn forge_parity(image: &[u8]) -> Vec<u8> {
    use crate::region::chunk::{Chunks, KIND_PARITY, KIND_TABLES, frame};
    let mut forged = image.to_vec();
    let chunks: Vec<_> = Chunks::of(image).map(|c| c.unwrap()).map(|c| (c.kind, c.offset, c.data.len())).collect();
    let &(_, parity, bytes) = chunks.iter().find(|c| c.0 == KIND_PARITY).unwrap();
    forged[parity + 8] ^= 1;
    frame(&mut forged, parity, KIND_PARITY, bytes);
    let crc = crc32fast::hash(&forged[parity + 8..][..4096]);
    for &(_, at, bytes) in chunks.iter().filter(|c| c.0 == KIND_TABLES) {
        // Row checksums stand behind those of the 1024 clusters, see `region/tables.rs`.
        let row = at + 8 + 88 + 4 * (1024 + REGION_SIDE_PX);
        forged[row..row + 4].copy_from_slice(&crc.to_le_bytes());
        let sum = crc32fast::hash(&forged[at + 8..][..bytes - 4]);
        forged[at + 8 + bytes - 4..][..4].copy_from_slice(&sum.to_le_bytes());
        frame(&mut forged, at, KIND_TABLES, bytes);
    }
    forged
}

#[test]
fn findings_beyond_the_limit_are_counted() {
    let (mut b, s) = sample();
    b.checkpoint(|b| (0..50).for_each(|n| both(b, s.directory, format!("n{n}").as_bytes(), Inode(5000 + n), FileKind::Fifo, 100 + n)));
    let report = b.check_with(&CheckOptions { findings_max: 5, ..CheckOptions::default() });
    assert_eq!(report.findings.len(), 5);
    assert!(report.damage >= 50 && report.is_truncated());
    assert!(report.findings.iter().any(|f| f.severity == Severity::Damage));
}

fn nowhere() -> RegionId {
    RegionId { place: Place(77), generation: Generation(3) }
}

/// The first cluster of the extent that a write has split.
fn first(s: &Sample) -> Address {
    Address { region: s.data, cluster: Cluster::new(0).unwrap() }
}

fn inode(b: &mut Builder, inode: Inode, bend: fn(&mut InodeRow)) {
    let mut row = b.state.view(&b.nodes.loading(crate::vat::TreeId::Name)).inode(inode).unwrap();
    bend(&mut row);
    b.bend_name(&Key::Inode(inode), &row.encode());
}

fn region(b: &mut Builder, region: RegionId, bend: fn(&mut crate::row::RegionRow)) {
    let mut row = b.region_row(region);
    bend(&mut row);
    b.bend_volume(&Key::Region(region.place), Some(&row.encode()));
}

/// Both rows of an entry.
fn both(b: &mut Builder, directory: Inode, name: &[u8], inode: Inode, kind: FileKind, cookie: u64) {
    b.bend_name(&Key::Entry(directory, name.to_vec()), &EntryRow { inode, kind, cookie }.encode());
    b.bend_name(&Key::Cookie(directory, cookie), &CookieRow { inode, kind, name: name.to_vec() }.encode());
}

fn xattr(b: &mut Builder, inode: Inode, name: &[u8], value: &[u8]) {
    let head = [(value.len() as u32).to_le_bytes(), crc32fast::hash(value).to_le_bytes()].concat();
    b.bend_name(&Key::Xattr(inode, name.to_vec(), 0), &[&head, value].concat());
}

fn extent(b: &Builder, s: &Sample, offset: u64) -> Vec<u8> {
    b.state.view(&b.nodes.loading(crate::vat::TreeId::Name)).value(&Key::Extent(s.raw, offset)).unwrap().unwrap()
}

/// Bends the last extent of the raw file.
fn move_extent(b: &mut Builder, s: &Sample, bend: fn(&mut crate::row::ExtentRow)) {
    let mut row = crate::row::ExtentRow::decode(&extent(b, s, 64 << 10)).unwrap();
    bend(&mut row);
    b.bend_name(&Key::Extent(s.raw, 64 << 10), &row.encode());
}

#[test]
fn the_sample_is_the_one_that_the_cases_are_made_for() {
    assert_eq!((UUID[0], NOW.nanos), (7, 5));
    let (b, s) = sample();
    assert_eq!(crate::row::ExtentRow::decode(&extent(&b, &s, 0)).unwrap().first, first(&s));
}
