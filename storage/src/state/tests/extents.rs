//! Extents against a file whose every byte knows which placement it comes from (EXT-1 to EXT-7).

use super::kit::*;
use crate::address::Address;
use crate::limits::{INLINE_FILE_BYTES, SLICE_ROWS};
use crate::row::{Codec, ExtentRow, Inode, InodeRow, Key};
use crate::state::extents::blocks_of;
use proptest::prelude::*;

const LIMIT: usize = 96 * 1024;

/// Where each byte of the file comes from: the extent, and the position in it.
type Model = Vec<Option<(Address, u32)>>;

fn rows_of(world: &World, file: Inode) -> Vec<(u64, ExtentRow)> {
    world.state.view(&world.store).extents(file, 0, u64::MAX, usize::MAX).unwrap()
}

fn check(world: &World, file: Inode, model: &Model) {
    let mut found: Model = vec![None; LIMIT];
    let mut blocks = 0;
    for (offset, row) in rows_of(world, file) {
        assert!(ExtentRow::decode(&row.encode()).is_ok(), "EXT-1, EXT-2");
        let (first, touched) = row.touched_clusters();
        for number in first..first + touched {
            assert_eq!(row.crc(number), Some(number as u32), "EXT-2: each cluster keeps its own checksum");
        }
        blocks += blocks_of(&row);
        for n in 0..row.length {
            let byte = &mut found[offset as usize + n as usize];
            assert!(byte.replace((row.first, row.skip + n)).is_none(), "EXT-4: extents overlap");
        }
    }
    assert!(found == *model, "a byte comes from elsewhere");
    assert_eq!(world.state.view(&world.store).inode(file).unwrap().blocks, blocks, "EXT-6");
}

/// EXT-6 on the side of whoever cuts.
fn cut(world: &mut World, file: Inode, from: u64, to: u64) -> Option<u64> {
    world
        .transact(|txn| {
            let (freed, rest) = txn.cut_extents(file, from, to, 1)?;
            let mut row = txn.view().inode(file)?;
            row.blocks = row.blocks.checked_add_signed(-freed).unwrap();
            txn.put_inode(file, &row)?;
            Ok(rest)
        })
        .unwrap()
}

fn step(world: &mut World, file: Inode, model: &mut Model, op: u8, r: u64) {
    let (a, b) = ((r >> 8) as usize % LIMIT, (r >> 28) as usize % LIMIT);
    if op < 5 {
        let clusters = 1 + (r >> 48) as u8 % 6;
        let mut row = world.place(clusters);
        if op == 4 {
            (row.codec, row.stored_bytes, row.decoded_bytes) = (Codec::Zstd, u32::from(clusters) * 4096 - 5, 60_000);
            (row.length, row.crcs_from) = (60_000, 0);
        }
        // Sometimes only a part of a placement is still wanted.
        let (from, to) = ((r >> 52) as u32 % 5000 * u32::from(op == 3), row.length - (r >> 40) as u32 % 4096 * u32::from(op >= 3));
        let Some(row) = row.part(from.min(to), to) else { return };
        let at = a / 4096 * 4096;
        if at + row.length as usize > LIMIT {
            return;
        }
        world.put_extent(file, at as u64, &row, true);
        for n in 0..row.length {
            model[at + n as usize] = Some((row.first, row.skip + n));
        }
    } else {
        let (from, to) = if op == 5 { (a, LIMIT * 2) } else { (a, a + b % 9000) };
        assert_eq!(cut(world, file, from as u64, to as u64), None);
        let to = to.min(LIMIT);
        model[from.min(to)..to].fill(None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_comes_from_where_it_was_put_last(ops in proptest::collection::vec((0u8..9, any::<u64>()), 1..60)) {
        let mut world = World::new(2);
        let (file, other) = (world.files[0], world.files[1]);
        let row = world.place(2);
        world.put_extent(other, 0, &row, true);
        let mut model: Model = vec![None; LIMIT];
        for (op, r) in ops {
            step(&mut world, file, &mut model, op, r);
            check(&world, file, &model);
            world.fold_and_recount();
        }
        assert_eq!(rows_of(&world, other).len(), 1, "the neighbour keeps its extents");
        // Any part of the file is found from anywhere.
        for from in (0..LIMIT).step_by(1777) {
            let found = world.state.view(&world.store).extents(file, from as u64, from as u64 + 1, 9).unwrap();
            assert_eq!(found.first().map(|(at, row)| (row.first, row.skip + (from as u64 - at) as u32)), model[from]);
        }
    }
}

#[test]
fn a_long_file_is_cut_in_slices() {
    let mut world = World::new(1);
    let file = world.files[0];
    for n in 0..600u64 {
        let row = world.place(1);
        world.put_extent(file, n * 8192, &row, true);
    }
    let from = 4096 * 2 + 100;
    assert_eq!(cut(&mut world, file, from, u64::MAX), Some((1 + SLICE_ROWS as u64) * 8192));
    assert_eq!(cut(&mut world, file, from, u64::MAX), Some((1 + 2 * SLICE_ROWS as u64) * 8192));
    assert_eq!(cut(&mut world, file, from, u64::MAX), None);
    let left: Vec<_> = rows_of(&world, file).iter().map(|(offset, row)| (*offset, row.length)).collect();
    assert_eq!(left, [(0, 4096), (8192, 100)]);
    world.fold_and_recount();
}

#[test]
fn a_file_that_is_being_dropped_counts_what_is_left_of_it() {
    use crate::names::{Dropped, drop_orphan};
    let mut world = World::new(1);
    let file = world.files[0];
    let row = world.place(1);
    for n in 0..600u64 {
        world.put_extent(file, n * 8192, &row, n == 0);
    }
    for n in 0..300u64 {
        world.transact(|txn| txn.put(&Key::Xattr(file, n.to_string().into_bytes(), 0), b"value")).unwrap();
    }
    world.transact(|txn| {
        let row = txn.view().inode(file)?;
        txn.put_inode(file, &InodeRow { links: 0, ..row })?;
        txn.put(&Key::Orphan(file), &[])
    });
    let mut left = Vec::new();
    while world.transact(|txn| drop_orphan(txn, file)).unwrap() == Dropped::More {
        let extents = rows_of(&world, file);
        let blocks: u64 = extents.iter().map(|(_, row)| blocks_of(row)).sum();
        assert_eq!(world.state.view(&world.store).inode(file).unwrap().blocks, blocks, "EXT-6");
        left.push(extents.len());
        world.fold_and_recount();
    }
    assert_eq!(left, [600 - SLICE_ROWS, 600 - 2 * SLICE_ROWS, 0], "the last step between has attributes only");
}

#[test]
fn what_a_crash_left_behind_a_size_never_shows_when_the_file_grows() {
    use crate::names::{Dropped, Settlement, settle, trim};
    let mut world = World::new(1);
    let file = world.files[0];
    let at = |version, size| Settlement { version, size, accessed: NOW, modified: NOW, changed: NOW };
    let works = |world: &World| world.state.view(&world.store).works(9).unwrap();
    for n in (1..700u64).chain([0]) {
        let row = world.place(1);
        // Block 0 is late: until it is durable the size stays 0.
        let settlement = if n == 0 { at(700, 700 * 4096) } else { at(0, 0) };
        world.transact(|txn| {
            let gained = txn.put_extent(file, n * 4096, &row, true)?;
            settle(txn, file, &settlement, gained)
        });
        assert_eq!(works(&world).len(), usize::from(n != 0));
    }
    // Again, and this time power goes.
    world.transact(|txn| settle(txn, file, &at(701, 4097), 0)).unwrap();
    assert_eq!(works(&world), [file]);
    let mut steps = 1;
    while world.transact(|txn| trim(txn, file)).unwrap() == Dropped::More {
        steps += 1;
    }
    let row = world.state.view(&world.store).inode(file).unwrap();
    assert_eq!((steps, works(&world).len(), rows_of(&world, file).len(), row.blocks, row.size), (3, 0, 2, 16, 4097));
    world.fold_and_recount();
}

fn inline(world: &World, file: Inode) -> Option<Vec<u8>> {
    world.state.view(&world.store).inline_content(file).unwrap()
}

#[test]
fn inline_content_replaces_extents_and_never_comes_back_after_a_cut() {
    for length in [1, 300, 513, INLINE_FILE_BYTES] {
        let mut world = World::new(1);
        let file = world.files[0];
        let row = world.place(3);
        world.put_extent(file, 0, &row, true);
        let content: Vec<u8> = (0..length).map(|n| n as u8 | 1).collect();
        let freed = world.transact(|txn| txn.put_inline_content(file, &content, 5)).unwrap();
        assert_eq!((freed, rows_of(&world, file).len(), inline(&world, file)), (24, 0, Some(content.clone())));
        cut(&mut world, file, 0, 1);
        cut(&mut world, file, length as u64 / 2, u64::MAX);
        let expected = Some([&[0], &content[..length / 2][1.min(length / 2)..]].concat()).filter(|_| length > 1);
        assert_eq!(inline(&world, file), expected, "{length}");
        let row = world.place(1);
        world.put_extent(file, 0, &row, true);
        assert_eq!(inline(&world, file), None, "an extent takes the place of the bytes under it");
        world.fold_and_recount();
    }
}

#[test]
fn what_is_inline_survives_replay_and_goes_with_its_inode() {
    let mut world = World::new(2);
    let (file, other) = (world.files[0], world.files[1]);
    world.begin_checkpoint();
    world.go_on_with_checkpoint(usize::MAX);
    for file in [file, other] {
        world.transact(|txn| txn.put_inline_content(file, &[7; 1999], 5)).unwrap();
    }
    cut(&mut world, file, 10, 1500);
    let replayed = world.recover(&world.roots[0].0, world.lsn);
    assert_eq!(rows(&replayed.names, &world.store), rows(&world.state.names, &world.store));
    let before = rows(&world.state.names, &world.store);
    world.transact(|txn| {
        let mut row = txn.view().inode(other)?;
        row.links = 0;
        txn.put_inode(other, &row)?;
        txn.put(&Key::Xattr(other, b"user.x".to_vec(), 0), b"value")?;
        txn.put(&Key::Work(other), &[])?;
        crate::names::drop_orphan(txn, other)
    });
    let about = |inode: Inode, rows: &[(Vec<u8>, Vec<u8>)]| rows.iter().filter(|(key, _)| key[1..9] == inode.0.to_be_bytes()).count();
    let after = rows(&world.state.names, &world.store);
    assert!(about(other, &before) > 3 && about(other, &after) == 0 && about(file, &after) == about(file, &before));
    assert_eq!(world.state.view(&world.store).works(9).unwrap(), []);
}
