//! O5 and O8: what is durable when a sync is answered, and what stays.

use crate::bed::{Bed, SMALL, node, noise};
use infmap_actors::api::{AttributeChange, NewNode, Rename, RenameMode};
use infmap_storage::images::Images;
use infmap_storage::row::ROOT_INODE;
use std::collections::BTreeSet;

// Seen to fail: `Vat::sync` answers at once; a large sync is answered when its blocks are handed out (`Cache::sync`).
#[test]
fn o5_fsync_answers_after_data_rows_and_names_are_durable() {
    for (seed, length) in [10, 2_000, 70_000, 1_900_000, 2_200_000, 5_000_000].into_iter().enumerate() {
        let bed = Bed::new(seed as u64, SMALL);
        let content = noise(7, length);
        let directory = NewNode { mode: 0o040_755, ..node("directory") };
        let directory = bed.ask(|volume, replier| volume.create(directory, replier)).unwrap().inode;
        let file = bed.ask(|volume, replier| volume.create(NewNode { parent: directory, ..node("new") }, replier)).unwrap().inode;
        bed.write(file, 0, &content);
        let rename =
            Rename { parent: directory, name: b"new".into(), new_parent: ROOT_INODE, new_name: b"name".into(), mode: RenameMode::Replace };
        assert_eq!(bed.ask(|volume, replier| volume.rename(rename, replier)), Ok(()));
        // Overwritten while the sync is under way: the newer bytes may be there, but none may be missing.
        let sync = bed.post(|volume, replier| volume.sync(file, false, replier));
        let newer = noise(8, 5_000.min(length));
        let write = bed.post_write(file, 0, &newer);
        assert_eq!(bed.wait(sync), Ok(()));
        let found = bed.after_a_cut();
        let inode = found.lookup("name").expect("the name is there").inode;
        let bytes = found.read_all(inode);
        assert!(bytes.len() == length && bytes[newer.len()..] == content[newer.len()..], "{length} bytes");
        let front = &bytes[..newer.len()];
        let is_old_or_new =
            |(n, page): (usize, &[u8])| page == &content[n * 4096..][..page.len()] || page == &newer[n * 4096..][..page.len()];
        assert!(front.chunks(4096).enumerate().all(is_old_or_new), "{length} bytes: neither old nor new");
        assert_eq!(bed.wait(write), Ok(newer.len() as u32));
        bed.assert_clean();
    }
}

// Seen to fail: `Cache::closed` does nothing.
#[test]
fn o5_a_file_that_was_emptied_written_and_closed_follows_its_cut() {
    for (seed, length) in [10, 3_000, 70_000, 400_000].into_iter().enumerate() {
        let bed = Bed::new(seed as u64, SMALL);
        let file = bed.create("settings");
        bed.write(file, 0, &noise(1, 5_000));
        assert_eq!(bed.sync(file), Ok(()));
        bed.change(file, AttributeChange { size: Some(0), ..AttributeChange::default() }).unwrap();
        bed.runtime.run_idle();
        let content = noise(2, length);
        bed.write(file, 0, &content);
        bed.volume.closed(file);
        // Somebody else's sync makes the cut durable.
        let other = bed.create("other");
        assert_eq!(bed.sync(other), Ok(()));
        let found = bed.after_a_cut();
        let inode = found.lookup("settings").unwrap().inode;
        assert!(found.read_all(inode) == content, "{length} bytes");
        bed.assert_clean();
    }
}

// Seen to fail: the Wal syncs for nobody, or for everybody (`Wal::sync`).
#[test]
fn o8_without_syncs_places_and_roots_are_synced_all_the_same_and_nothing_else_is() {
    let bed = Bed::without_syncs(1, SMALL);
    let syncs = || bed.ledger.lock().log_syncs;
    let file = bed.create("file");
    bed.write(file, 0, &noise(1, 100_000));
    let before = syncs();
    assert_eq!(bed.sync(file), Ok(()));
    assert_eq!(syncs(), before, "somebody waited for the disk");
    assert_eq!(bed.checkpoint(), Ok(()));
    assert!(syncs() > before + 1, "a grant and a root");
    assert!(bed.after_a_cut().read_all(file) == noise(1, 100_000), "the root is there");
    bed.assert_clean();
}

// Seen to fail: the tree that was published when the volume was opened counts as no lease (`Vat::new`).
#[test]
fn o8_nothing_that_a_held_lease_reaches_is_taken_away() {
    let bed = Bed::new(1, SMALL);
    let file = bed.create("file");
    bed.write(file, 0, &noise(1, 4_500_000));
    assert_eq!(bed.checkpoint(), Ok(()));
    let bed = bed.after_a_cut();
    let checkpoints = |round: &str| {
        for n in 0..4 {
            bed.create(&format!("{round}{n}"));
            assert_eq!(bed.checkpoint(), Ok(()));
        }
        bed.runtime.run_idle();
    };
    let images = || Images::list(&bed.disk).unwrap().into_iter().collect::<BTreeSet<_>>();
    let (lease, reached) = (bed.volume.shared().published.load_full(), images());
    assert_eq!(bed.ask(|volume, replier| volume.unlink(ROOT_INODE, b"file".to_vec(), replier)), Ok(()));
    checkpoints("held");
    assert!(images().is_superset(&reached), "an image went that a lease reaches");
    drop(lease);
    checkpoints("free");
    assert!(!images().is_superset(&reached), "nothing was ever taken away");
    bed.assert_clean();
}

// Seen to fail: what is dead in a root is freed when that root is durable, not the next (`checkpoint_synced`).
#[test]
fn o8_nothing_that_the_two_newest_roots_or_an_open_file_reach_is_overwritten_or_taken_away() {
    let mut taken_away = 0;
    for seed in 0..3 {
        let bed = Bed::new(seed, SMALL);
        let held = bed.create("held");
        let content = noise(seed, 3_000_000);
        bed.write(held, 0, &content);
        assert_eq!(bed.checkpoint(), Ok(()));
        bed.volume.hold(held);
        assert_eq!(bed.ask(|volume, replier| volume.unlink(ROOT_INODE, b"held".to_vec(), replier)), Ok(()));
        for round in 0..6 {
            let file = bed.create(&format!("file{round}"));
            bed.write(file, 0, &noise(round, 4_500_000));
            if round % 2 == 0 {
                let cut = AttributeChange { size: Some(100), ..AttributeChange::default() };
                bed.change(file, cut).unwrap();
            }
            assert_eq!(bed.checkpoint(), Ok(()));
            assert_eq!(bed.ask(|volume, replier| volume.unlink(ROOT_INODE, format!("file{round}").into(), replier)), Ok(()));
            assert!(bed.read_all(held) == content, "an open file without names, round {round}");
        }
        bed.volume.forget(held, 1);
        for round in 0..4 {
            bed.create(&format!("last{round}"));
            assert_eq!(bed.checkpoint(), Ok(()));
        }
        bed.runtime.run_idle();
        taken_away += bed.ledger.lock().images_taken_away;
        bed.assert_clean();
    }
    assert!(taken_away > 10, "only {taken_away} images were ever taken away");
}
