//! Counts, live bits and places against a full recount, and VAT-2: a root and the log after it give the same volume again.

use super::kit::*;
use crate::address::RegionId;
use crate::limits::NODE_PLACES;
use crate::names;
use crate::row::{Inode, Key, ROOT_INODE, RegionKind, RegionRow};
use crate::state::State;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Rows of the volume tree that do not depend on which nodes were rewritten when: what is about data, and free places.
fn about_data(state: &State, store: &Store, node_regions: &BTreeSet<RegionId>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = rows(&state.volume, store);
    found.retain(|(key, value)| match Key::decode(key).unwrap() {
        Key::Region(_) => RegionRow::decode(value).unwrap().kind == RegionKind::Data,
        Key::Count(first) => !node_regions.contains(&first.region),
        Key::Dead(region) => !node_regions.contains(&region),
        _ => true,
    });
    found
}

fn node_regions(world: &World) -> BTreeSet<RegionId> {
    let in_log = world.log.iter().flat_map(|(_, payload)| crate::state::change::changes(payload).map(|change| change.unwrap()));
    in_log
        .filter_map(|change| match change {
            crate::state::change::Change::Grant { region, kind: RegionKind::Node } => Some(region),
            _ => None,
        })
        .collect()
}

/// Both roots and the log after them give what the running volume has.
fn compare_recovered(world: &mut World) {
    world.fold_and_recount();
    let nodes = node_regions(world);
    let open: BTreeSet<RegionId> = world.open.difference(&nodes).copied().collect();
    for (root, _) in &world.roots {
        let mut state = world.recover(root, world.lsn);
        fold_all(&mut state, &world.store, &open);
        recount(&state, &world.store, &open, &BTreeSet::new());
        assert_eq!(rows(&state.names, &world.store), rows(&world.state.names, &world.store));
        assert_eq!(about_data(&state, &world.store, &nodes), about_data(&world.state, &world.store, &nodes));
        assert_eq!((state.next_inode, state.inodes, state.frontier), (world.state.next_inode, world.state.inodes, world.state.frontier));
    }
}

fn step(world: &mut World, late: &mut Vec<(Inode, u64, crate::row::ExtentRow)>, op: u8, r: u64) {
    let files = world.files.clone();
    let file = files.get((r % 13) as usize * 7 % files.len().max(1)).copied().unwrap_or(Inode(2));
    let offset = (r >> 8) % 40 * 4096;
    match op {
        0 => world.create(10_000 + (r % 500) as usize),
        1..=4 => {
            let row = world.place(1 + (r >> 20) as u8 % 12);
            world.put_extent(file, offset, &row, true);
        }
        5 => {
            // A placement of which the middle was overwritten meanwhile: two rows, perhaps in two transactions.
            let row = world.place(3 + (r >> 20) as u8 % 9);
            let (first, second) = (row.part(0, 4096).unwrap(), row.part(8192, row.length).unwrap());
            world.put_extent(file, offset, &first, true);
            if r & 1 << 40 == 0 { late.push((file, offset + 8192, second)) } else { world.put_extent(file, offset + 8192, &second, false) }
        }
        6 => {
            for (file, offset, row) in late.drain(..) {
                world.put_extent(file, offset, &row, false);
            }
        }
        7 | 8 => {
            let (from, to) = (offset + (r >> 30) % 5000, offset + (r >> 44) % 100_000);
            world.transact(|txn| txn.cut_extents(file, from, to, u64::MAX));
        }
        9 => {
            let name = world.state.view(&world.store).entries_after(ROOT_INODE, r % 200, 1).unwrap().pop().map(|(_, row)| row.name);
            let removed = name.and_then(|name| world.transact(|txn| names::unlink(txn, ROOT_INODE, &name, NOW)));
            if let Some(removed) = removed {
                world.files.retain(|file| *file != removed.inode);
            }
        }
        10 => {
            for inode in world.state.view(&world.store).orphans(3).unwrap() {
                world.transact(|txn| names::drop_orphan(txn, inode));
            }
        }
        11 if late.is_empty() => world.close(),
        12 => world.fold((r % 4) as usize),
        13 | 14 => world.begin_checkpoint(),
        15..=17 => world.go_on_with_checkpoint((r % 6) as usize),
        18 => world.go_on_with_checkpoint(usize::MAX),
        19 => compare_recovered(world),
        20 if r.is_multiple_of(3) => {
            late.clear();
            world.crash((r >> 3) % 5);
        }
        21 => world.synced = world.lsn,
        _ => {}
    }
    // A late part keeps its region open.
    if let Some((.., row)) = late.first() {
        let regions: BTreeSet<RegionId> = late.iter().map(|(.., row)| row.first.region).collect();
        world.open.extend(regions);
        let _ = row;
    } else {
        let current: BTreeSet<RegionId> = world.data.iter().map(|open| open.id).chain(world.waiting()).collect();
        world.open.retain(|region| current.contains(region));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_root_and_the_log_after_it_give_the_volume_again(ops in proptest::collection::vec((0u8..22, any::<u64>()), 1..120)) {
        let mut world = World::new(90);
        let mut late = Vec::new();
        for (op, r) in ops {
            step(&mut world, &mut late, op, r);
        }
        late.clear();
        world.close();
        let waiting = world.waiting();
        world.open.retain(|region| waiting.contains(region));
        compare_recovered(&mut world);
        for _ in 0..3 {
            world.go_on_with_checkpoint(usize::MAX);
            compare_recovered(&mut world);
            world.begin_checkpoint();
        }
        world.go_on_with_checkpoint(usize::MAX);
        compare_recovered(&mut world);
    }
}

#[test]
fn nodes_stand_near_the_origin_and_data_keeps_away() {
    let mut world = World::new(0);
    let node = world.grant(RegionKind::Node);
    let data = world.grant(RegionKind::Data);
    let second = world.grant(RegionKind::Node);
    assert_eq!((node.place.0, data.place.0, second.place.0), (0, NODE_PLACES, 1));
}

#[test]
fn a_region_that_is_not_dead_cannot_be_freed() {
    let mut world = World::new(0);
    let region = world.grant(RegionKind::Data);
    fold_all(&mut world.state, &world.store, &world.open);
    let before = rows(&world.state.volume, &world.store);
    assert!(world.state.free(&world.store, &[region]).unwrap().is_empty());
    assert_eq!(rows(&world.state.volume, &world.store), before);
    fold_all(&mut world.state, &world.store, &());
    assert_eq!(world.state.dead(&world.store, 9).unwrap(), [region]);
    assert!(!world.state.free(&world.store, &[region, region]).unwrap().is_empty());
    recount(&world.state, &world.store, &BTreeSet::new(), &BTreeSet::new());
}

/// Its image is found without a log: nothing has said that the places of its own images are in use.
#[test]
fn a_root_that_is_found_without_its_log_keeps_its_own_places() {
    let mut world = World::new(200);
    let row = world.place(5);
    world.put_extent(world.files[0], 0, &row, true);
    world.close();
    for _ in 0..2 {
        world.begin_checkpoint();
        world.go_on_with_checkpoint(usize::MAX);
    }
    for granted_first in [true, false] {
        let (root, _) = world.roots.last().unwrap();
        let mut state = world.recover(root, root.cut.0);
        let images: BTreeSet<_> = root.images.iter().map(|(region, _)| region.place).collect();
        let mut open = BTreeSet::new();
        if granted_first {
            for kind in [RegionKind::Node, RegionKind::Data, RegionKind::Node] {
                let region = state.grant(&world.store, kind).unwrap().0;
                assert!(!images.contains(&region.place), "{region} is an image of the root");
                open.insert(region);
            }
        }
        fold_all(&mut state, &world.store, &());
        recount(&state, &world.store, &BTreeSet::new(), &BTreeSet::new());
    }
}
