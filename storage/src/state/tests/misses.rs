//! VAT-1: a node that is not resident, at any point of a transaction, leaves everything as it was; with the node it succeeds alike.

use super::kit::*;
use crate::names::{self, NewNode, Rename, RenameMode};
use crate::row::{FileKind, Inode, ROOT_INODE, RegionKind};
use crate::state::{StateError, Txn};

type Body = fn(&mut Txn<'_>, &[Inode]) -> Result<(), StateError>;

fn long(n: usize) -> Vec<u8> {
    format!("{n:05}-{}", "x".repeat(180)).into_bytes()
}

const BODIES: [(&str, Body); 7] = [
    ("create", |txn, _| names::create(txn, &file(ROOT_INODE, &long(777)), NOW).map(drop)),
    ("symlink", |txn, _| {
        let node = NewNode { mode: FileKind::Symlink.mode_bits(), ..file(ROOT_INODE, b"link") };
        names::symlink(txn, &node, &[b't'; 2500], NOW).map(drop)
    }),
    ("unlink and drop", |txn, files| {
        names::unlink(txn, ROOT_INODE, &long(40), NOW)?;
        names::drop_orphan(txn, files[40]).map(drop)
    }),
    ("rename over", |txn, _| {
        let what = Rename { parent: ROOT_INODE, name: long(3), new_parent: ROOT_INODE, new_name: long(90), mode: RenameMode::Replace };
        names::rename(txn, &what, NOW).map(drop)
    }),
    ("cut", |txn, files| txn.cut_extents(files[5], 5000, 90_000, 9).map(drop)),
    ("inline", |txn, files| txn.put_inline_content(files[5], &[1; 1500], 99).map(drop)),
    ("many", |txn, files| {
        for (n, file) in files.iter().enumerate().step_by(17) {
            let first = crate::address::Address::all_of(crate::address::RegionId {
                place: crate::address::Place(50),
                generation: crate::address::Generation(n as u64),
            });
            txn.put_extent(*file, 8192, &raw_extent(*first.start(), 3, 1), true)?;
            txn.new_inode();
        }
        Ok(())
    }),
];

/// A volume of which every node was written and none is held.
fn world() -> World {
    let mut world = World::new(100);
    for n in 0..20 {
        let row = world.place(4);
        world.put_extent(world.files[n], 4096 * (n as u64 % 3), &row, true);
    }
    // So many regions that the volume tree has several nodes.
    (0..300).for_each(|_| {
        world.grant(RegionKind::Data);
    });
    world.begin_checkpoint();
    world.go_on_with_checkpoint(usize::MAX);
    world
}

#[test]
fn a_miss_at_any_point_leaves_everything_as_it_was() {
    for (what, body) in BODIES {
        let mut never_missed = world();
        let files = never_missed.files.clone();
        let expected = never_missed.state.transact(&never_missed.store, |txn| body(txn, &files)).unwrap();
        let mut world = world();
        let mut at = 1;
        let payload = loop {
            let before = (
                rows(&world.state.names, &world.store),
                world.state.deltas.clone(),
                (world.state.next_inode, world.state.inodes, world.state.pending.len()),
            );
            let (tree, pages) = (world.state.names.clone(), world.state.names.dirty_links().len());
            world.store.calls.set(0);
            world.store.miss_at.set(Some(at));
            let result = world.state.transact(&world.store, |txn| body(txn, &files));
            let missed = world.store.calls.get() >= at;
            world.store.miss_at.set(None);
            match result {
                Ok(outcome) => {
                    assert!(!missed, "{what}: a miss was swallowed");
                    break outcome.payload;
                }
                Err(StateError::Miss(_)) => {}
                Err(error) => panic!("{what}: {error}"),
            }
            assert!(world.state.names.same_as(&tree) && world.state.names.dirty_links().len() == pages);
            let after = (
                rows(&world.state.names, &world.store),
                world.state.deltas.clone(),
                (world.state.next_inode, world.state.inodes, world.state.pending.len()),
            );
            assert!(before == after, "{what}: a miss at call {at} left a trace");
            at += 1;
        };
        assert!(at > 3, "{what}: nothing was missed");
        assert_eq!(payload, expected.payload, "{what}");
        assert_eq!(rows(&world.state.names, &world.store), rows(&never_missed.state.names, &never_missed.store));
        assert_eq!(world.state.deltas, never_missed.state.deltas);
    }
}

#[test]
fn a_transaction_that_no_record_can_hold_is_refused_whole() {
    let mut world = World::new(3);
    let file = world.files[0];
    let before = rows(&world.state.names, &world.store);
    let bytes = vec![1; crate::limits::RECORD_DATA_MAX_BYTES];
    let mut too_big = |records: usize, rows: u64| {
        let done = world.transact(|txn| {
            txn.put(&crate::row::Key::Orphan(Inode(99)), &[])?;
            (0..records).try_for_each(|_| txn.log_data(file, 0, 1, &bytes))?;
            (0..rows).try_for_each(|n| txn.put(&crate::row::Key::Orphan(Inode(n)), &[]))
        });
        done.is_none()
    };
    assert!(too_big(2, 0) && too_big(0, 1000) && !too_big(1, 500));
    let after = rows(&world.state.names, &world.store);
    assert_eq!(after.len(), before.len() + 500);
}

/// A fold that misses keeps the regions that it has folded, and goes on when the node is there.
#[test]
fn a_fold_goes_on_after_a_miss() {
    let mut world = world();
    for file in world.files.clone() {
        world.transact(|txn| txn.cut_extents(file, 0, u64::MAX, 9));
    }
    let frontier = world.state.frontier;
    let mut at = 1;
    loop {
        world.store.calls.set(0);
        world.store.miss_at.set(Some(at));
        let result = world.state.fold(&world.store, &world.open, 100);
        world.store.miss_at.set(None);
        match result {
            Ok(crate::state::FoldProgress::Settled) => break,
            Ok(_) | Err(StateError::Miss(_)) => at += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(at > 1 && world.state.frontier == frontier);
    world.fold_and_recount();
}

/// What a grant or a release of places does is done whole or not at all, references of the tree's own nodes included.
#[test]
fn places_are_given_and_taken_back_whole() {
    let mut world = world();
    // Every second region dies, so that their rows lie all over the tree.
    let regions: Vec<_> = world.open.iter().copied().step_by(2).collect();
    world.open.retain(|region| !regions.contains(region));
    fold_all(&mut world.state, &world.store, &world.open);
    world.close();
    world.begin_checkpoint();
    world.go_on_with_checkpoint(usize::MAX);
    let root = &world.roots.last().unwrap().0;
    let mut state = world.recover(root, root.cut.0);
    let mut at = 1;
    loop {
        let before = (rows(&state.volume, &world.store), state.deltas.clone(), state.frontier);
        world.store.calls.set(0);
        world.store.miss_at.set(Some(at));
        let result = state.free(&world.store, &regions);
        world.store.miss_at.set(None);
        if result.is_ok() {
            break;
        }
        assert!(before == (rows(&state.volume, &world.store), state.deltas.clone(), state.frontier), "call {at}");
        at += 1;
    }
    assert!(at > 1);
    fold_all(&mut state, &world.store, &world.open);
    recount(&state, &world.store, &world.open, &std::collections::BTreeSet::new());
}
