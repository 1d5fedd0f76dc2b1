//! A batch of files is there whole or not at all, wherever power goes and whatever fails.

use crate::bed::{Bed, SMALL, node, noise};
use infmap_actors::api::{Answer, Attributes, Refusal};
use infmap_actors::replier::Reply;
use infmap_actors::volume::NewFile;
use infmap_storage::device::{CrashStyle, Operation};
use infmap_storage::row::ROOT_INODE;
use std::io::ErrorKind;

const FILES: u64 = 12;

fn name(number: u64) -> String {
    format!("file{number}")
}

/// Every third is too long for the tables; the first takes the place of another.
fn content(number: u64) -> Vec<u8> {
    noise(number, if number % 3 == 2 { 9000 + 5000 * number as usize } else { 100 * number as usize })
}

fn files() -> Vec<NewFile> {
    (0..FILES).map(|number| NewFile { node: node(&name(number)), content: content(number), replace: number == 0 }).collect()
}

/// A volume with a file whose place one of the batch takes, and that batch under way.
fn begun(seed: u64) -> (Bed, Reply<Answer<Vec<Attributes>>>) {
    let bed = Bed::new(seed, SMALL);
    let old = bed.create(&name(0));
    bed.write(old, 0, b"as it was");
    assert_eq!((bed.sync(old), bed.sync(ROOT_INODE)), (Ok(()), Ok(())));
    let reply = bed.post(|volume, replier| volume.write_many(files(), replier));
    (bed, reply)
}

/// Whether the batch is there; panics if a part of it is.
fn is_there(bed: &Bed, what: &str) -> bool {
    let found: Vec<u64> = (1..FILES).filter(|number| bed.lookup(&name(*number)).is_ok()).collect();
    let old = bed.lookup(&name(0)).unwrap_or_else(|error| panic!("{what}: what was there before is gone: {error}"));
    if found.is_empty() {
        assert_eq!(bed.read_all(old.inode), b"as it was", "{what}");
        return false;
    }
    assert_eq!(found.len() as u64, FILES - 1, "{what}: only {found:?}");
    for number in 0..FILES {
        let inode = bed.lookup(&name(number)).unwrap().inode;
        assert!(bed.read_all(inode) == content(number), "{what}: the content of {}", name(number));
    }
    true
}

/// Cuts the power after each turn until the actors rest. How often the batch was not there, and how often it was.
fn cut_after_each_turn(bed: &Bed, style: CrashStyle) -> [usize; 2] {
    let mut found = [0, 0];
    for turn in 0..10_000 {
        let (cut, what) = (Bed::on(bed.disk.snapshot().crash(style), 1, SMALL), format!("{style:?} after {turn} turns"));
        found[usize::from(is_there(&cut, &what))] += 1;
        assert_eq!(cut.ask(|volume, replier| volume.sync_all(replier)), Ok(()));
        let orphans = cut.volume.shared().query_waiting(|view| view.orphans(10)).unwrap();
        assert!(orphans.is_empty(), "{what}: {orphans:?} are left");
        if !bed.runtime.step() {
            return found;
        }
    }
    panic!("the actors do not come to rest");
}

#[test]
fn a_power_cut_leaves_all_files_of_a_batch_or_none() {
    let mut found = [0, 0];
    for style in [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::LoseNames, CrashStyle::Random(5)] {
        let (bed, mut reply) = begun(7);
        let before = cut_after_each_turn(&bed, style);
        assert_eq!(reply.try_take().expect("an answer").unwrap().len() as u64, FILES);
        assert!(is_there(&bed, "when it was answered"));
        let mut synced = bed.post(|volume, replier| volume.sync(ROOT_INODE, false, replier));
        let after = cut_after_each_turn(&bed, style);
        assert_eq!(synced.try_take(), Some(Ok(())));
        assert!(is_there(&Bed::on(bed.disk.snapshot().crash(style), 1, SMALL), "after a sync of the directory"));
        bed.assert_clean();
        found = [found[0] + before[0] + after[0], found[1] + before[1] + after[1]];
    }
    assert!(found[0] > 10 && found[1] > 3, "{found:?} cuts without and with it");
}

#[test]
fn a_batch_that_a_failing_disk_refuses_made_nothing() {
    let mut refused = 0;
    for (count, which) in (0..6).flat_map(|n| [(n, Operation::Write), (n, Operation::Sync)]) {
        let (bed, mut reply) = begun(count);
        (count..count + 4).for_each(|n| bed.disk.fail_after(n, which, ErrorKind::Other));
        let answer = bed.runtime.run_until(&mut reply).expect("an answer");
        let there = is_there(&bed, &format!("{which:?} {count} failed"));
        match answer {
            Ok(_) => assert!(there),
            Err(Refusal::Damaged | Refusal::ReadOnly) => {
                refused += 1;
                assert!(!there);
            }
            Err(other) => panic!("{other}"),
        }
        let cut = bed.after_a_cut();
        is_there(&cut, &format!("a cut after {which:?} {count} failed"));
    }
    assert!(refused > 0);
}
