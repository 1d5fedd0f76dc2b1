//! What the simulated disk promises to those who test with it: it is honest about what was synced and ruthless about the rest.

use super::*;
use crate::device::{read_all, write_whole};
use proptest::prelude::*;
use std::collections::BTreeSet;

const STYLES: [CrashStyle; 4] = [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::LoseData, CrashStyle::LoseNames];

fn every_style() -> impl Iterator<Item = CrashStyle> {
    STYLES.into_iter().chain((0..60).map(CrashStyle::Random))
}

fn contents(disk: &SimulatedDisk, path: &str) -> Option<Vec<u8>> {
    disk.metadata(path).unwrap().map(|_| read_all(disk, path, 1 << 24).unwrap())
}

fn synced_file(disk: &SimulatedDisk, path: &str, bytes: &[u8]) -> Arc<dyn DeviceFile> {
    let file = disk.open(path, Open::CREATE).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(crate::device::split_path(path).0).unwrap();
    file
}

/// All that crashes of a disk may find at a path; the disk goes on.
fn outcomes(disk: &SimulatedDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    let disk = disk.snapshot();
    every_style().map(|style| contents(&disk.crash(style), path)).collect()
}

#[test]
fn what_was_synced_survives_every_crash() {
    let disk = SimulatedDisk::new(1);
    disk.create_dir("d").unwrap();
    disk.sync_dir("").unwrap();
    let bytes: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
    let file = synced_file(&disk, "d/f", &bytes);
    file.write_at(b"lost?", 50_000).unwrap();
    file.sync().unwrap();
    let mut wanted = bytes;
    wanted[50_000..50_005].copy_from_slice(b"lost?");
    assert_eq!(outcomes(&disk, "d/f"), BTreeSet::from([Some(wanted)]));
}

#[test]
fn a_name_is_lost_until_its_directory_is_synced_and_so_is_all_below_it() {
    let disk = SimulatedDisk::new(1);
    disk.create_dir("d").unwrap();
    synced_file(&disk, "d/f", b"x");
    let lost = disk.crash(CrashStyle::LoseAll);
    assert_eq!(lost.metadata("d").unwrap(), None);
    assert_eq!(outcomes(&disk, "d/f"), BTreeSet::from([None, Some(b"x".to_vec())]));

    let disk = SimulatedDisk::new(1);
    disk.create_dir("d").unwrap();
    disk.sync_dir("").unwrap();
    disk.open("d/f", Open::CREATE).unwrap().sync().unwrap();
    assert_eq!(disk.crash(CrashStyle::LoseAll).list("d").unwrap(), []);
}

#[test]
fn unsynced_writes_tear_at_sectors_and_nowhere_else() {
    let disk = SimulatedDisk::new(1);
    let file = synced_file(&disk, "f", &[1; 8192]);
    file.write_at(&[2; 5000], 700).unwrap();
    let mut torn = 0;
    for found in outcomes(&disk, "f") {
        let found = found.unwrap();
        assert_eq!(found.len(), 8192);
        for sector in 0..16 {
            let piece = &found[sector * 512..][..512];
            let inside: BTreeSet<u8> = (0..512).filter(|at| (700..5700).contains(&(sector * 512 + at))).map(|at| piece[at]).collect();
            assert!(inside.len() <= 1, "sector {sector} is torn inside");
        }
        assert!(found[..700].iter().chain(&found[5700..]).all(|&byte| byte == 1));
        torn += u32::from(found[700..5700].contains(&1) && found[700..5700].contains(&2));
    }
    assert!(torn > 10, "only {torn} tears");
}

#[test]
fn writes_reorder_and_sizes_are_lost() {
    let disk = SimulatedDisk::new(1);
    let file = synced_file(&disk, "f", &[0; 512]);
    for number in 1..=3u8 {
        file.write_at(&[number; 512], u64::from(number) * 512).unwrap();
    }
    let found: BTreeSet<Vec<u8>> =
        outcomes(&disk, "f").into_iter().flatten().map(|bytes| bytes.chunks(512).map(|sector| sector[0]).collect()).collect();
    for wanted in [vec![0], vec![0, 1, 2, 3], vec![0, 0, 0, 3]] {
        assert!(found.contains(&wanted), "{wanted:?} never found in {found:?}");
    }
    file.set_len(100).unwrap();
    assert_eq!(contents(&disk.snapshot().crash(CrashStyle::LoseAll), "f").unwrap().len(), 512);
    assert_eq!(contents(&disk.crash(CrashStyle::LoseData), "f").unwrap().len(), 100);
}

#[test]
fn a_rename_in_one_directory_is_old_or_new() {
    let disk = SimulatedDisk::new(1);
    synced_file(&disk, "f", b"old");
    synced_file(&disk, "g", b"new");
    disk.rename("g", "f").unwrap();
    let found: BTreeSet<_> =
        every_style().map(|style| disk.crash(style)).map(|disk| (contents(&disk, "f"), contents(&disk, "g"))).collect();
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    assert_eq!(found, BTreeSet::from([(old, new.clone()), (new, None)]));
}

fn moved() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    disk.create_dir("a").unwrap();
    disk.create_dir("b").unwrap();
    disk.sync_dir("").unwrap();
    synced_file(&disk, "a/f", b"x");
    disk.rename("a/f", "b/f").unwrap();
    disk
}

fn places(disk: &SimulatedDisk) -> BTreeSet<(bool, bool)> {
    let disk = disk.snapshot();
    every_style().map(|style| disk.crash(style)).map(|disk| (contents(&disk, "a/f").is_some(), contents(&disk, "b/f").is_some())).collect()
}

#[test]
fn a_rename_between_directories_needs_both_synced() {
    let (old, new, both) = ((true, false), (false, true), (true, true));
    let disk = moved();
    assert_eq!(places(&disk), BTreeSet::from([old, new, both]));
    disk.sync_dir("a").unwrap();
    assert_eq!(places(&disk), BTreeSet::from([old, new]));
    disk.sync_dir("b").unwrap();
    assert_eq!(places(&disk), BTreeSet::from([new]));

    let disk = moved();
    disk.sync_dir("b").unwrap();
    assert_eq!(places(&disk), BTreeSet::from([new, both]));
    disk.rename("b/f", "a/f").unwrap();
    disk.sync_dir("a").unwrap();
    disk.sync_dir("b").unwrap();
    assert_eq!(places(&disk), BTreeSet::from([old]));
}

#[test]
fn a_move_there_and_back_never_loses_the_file() {
    for order in [["a", "b"], ["b", "a"], ["a", "a"], ["b", "b"]] {
        let disk = moved();
        disk.rename("b/f", "a/f").unwrap();
        for directory in order {
            disk.sync_dir(directory).unwrap();
            assert!(places(&disk).iter().all(|&(a, b)| a || b), "{order:?}");
        }
    }
}

#[test]
fn two_names_of_one_file_stay_after_a_rename_onto_the_other() {
    let disk = moved();
    let found =
        (0..60).map(|seed| disk.crash(CrashStyle::Random(seed))).find(|disk| disk.list("a").unwrap() == disk.list("b").unwrap()).unwrap();
    found.rename("a/f", "b/f").unwrap();
    assert!(contents(&found, "a/f").is_some() && contents(&found, "b/f").is_some());
}

#[test]
fn a_replaced_file_by_safe_replacement_is_old_or_new_at_every_cut() {
    let mut found = BTreeSet::new();
    for cut in 0.. {
        let disk = SimulatedDisk::new(cut);
        write_whole(&disk, "f", b"old").unwrap();
        disk.power_off_after(cut);
        let replaced = write_whole(&disk, "f", b"newer");
        assert_eq!(replaced.as_ref().is_err_and(is_power_off), disk.is_off());
        for content in outcomes(&disk, "f") {
            let content = content.unwrap();
            assert!(content == b"newer" || content == b"old" && replaced.is_err(), "cut {cut}: {content:?}");
            found.insert(content);
        }
        if replaced.is_ok() {
            assert_eq!((cut, found.len()), (6, 2));
            break;
        }
    }
}

#[test]
fn after_a_cut_everything_fails_and_the_new_disk_works() {
    let disk = SimulatedDisk::new(1);
    let file = synced_file(&disk, "f", b"x");
    let before = disk.op_count();
    disk.power_off_after(2);
    file.write_at(b"y", 0).unwrap();
    file.sync().unwrap();
    assert!(is_power_off(&file.set_len(0).unwrap_err()));
    assert_eq!(disk.op_count(), before + 3);
    assert!(is_power_off(&file.read_at(&mut [0], 0).unwrap_err()));
    assert!(is_power_off(&file.len().unwrap_err()) && is_power_off(&disk.metadata("f").unwrap_err()));
    assert!(is_power_off(&disk.open("f", Open::READ).err().unwrap()) && is_power_off(&disk.list("").unwrap_err()));
    assert_eq!(disk.op_count(), before + 3, "what fails for want of power is not counted");
    let found = disk.crash(CrashStyle::LoseAll);
    assert_eq!(contents(&found, "f").unwrap(), b"y");
    found.open("f", Open::WRITE).unwrap().write_at(b"z", 0).unwrap();
    assert!(is_power_off(&file.sync().unwrap_err()));
    assert!(!is_power_off(&io::Error::other("else")));
}

#[test]
fn what_a_killed_process_wrote_can_still_be_lost() {
    let disk = SimulatedDisk::new(1);
    let file = synced_file(&disk, "f", b"old");
    file.write_at(b"new", 0).unwrap();
    synced_file(&disk, "gone", b"1");
    disk.remove("gone").unwrap();
    let next = disk.kill();
    assert!(is_power_off(&file.sync().unwrap_err()));
    assert_eq!(contents(&next, "f").unwrap(), b"new");
    assert_eq!(contents(&next, "gone"), None);
    let after = next.snapshot().crash(CrashStyle::LoseAll);
    assert_eq!((contents(&after, "f").unwrap(), contents(&after, "gone").unwrap()), (b"old".to_vec(), b"1".to_vec()));
    next.open("f", Open::WRITE).unwrap().sync().unwrap();
    assert_eq!(contents(&next.crash(CrashStyle::LoseAll), "f").unwrap(), b"new");
}

#[test]
fn a_failure_on_command_comes_once_and_as_told() {
    let disk = SimulatedDisk::new(1);
    disk.fail_after(1, Operation::Rename, ErrorKind::PermissionDenied);
    disk.fail_after(0, Operation::Read, ErrorKind::TimedOut);
    disk.fail_after(0, Operation::Read, ErrorKind::Interrupted);
    let file = synced_file(&disk, "f", b"x");
    disk.rename("f", "g").unwrap();
    assert_eq!(disk.rename("g", "h").unwrap_err().kind(), ErrorKind::PermissionDenied);
    disk.rename("g", "h").unwrap();
    assert_eq!(file.read_at(&mut [0], 0).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(file.read_at(&mut [0], 0).unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(file.read_at(&mut [0], 0).unwrap(), 1);
    for which in [Operation::Open, Operation::CreateDir, Operation::List, Operation::Metadata, Operation::Remove, Operation::SyncDir] {
        disk.fail_after(0, which, ErrorKind::OutOfMemory);
    }
    let failed = [
        disk.open("new", Open::CREATE).map(drop),
        disk.create_dir("d"),
        disk.list("").map(drop),
        disk.metadata("h").map(drop),
        disk.remove("h"),
        disk.sync_dir(""),
    ];
    assert!(failed.into_iter().all(|done| done.unwrap_err().kind() == ErrorKind::OutOfMemory));
    assert_eq!(disk.list("").unwrap().len(), 1, "nothing that failed was done");
}

#[test]
fn a_sync_that_failed_calls_lost_bytes_clean() {
    let mut lost = 0;
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let file = synced_file(&disk, "f", &[1; 4096]);
        file.write_at(&[2; 8192], 0).unwrap();
        disk.fail_after(0, Operation::Sync, ErrorKind::Other);
        assert_eq!(file.sync().unwrap_err().kind(), ErrorKind::Other);
        file.sync().unwrap();
        assert_eq!(contents(&disk, "f").unwrap(), [2; 8192], "the page cache still shows them");
        let found = contents(&disk.snapshot().crash(CrashStyle::KeepAll), "f").unwrap();
        assert_eq!(found.len(), 8192, "the size was synced by the second");
        lost += u32::from(found != [2; 8192]);
        // Written again, they are safe.
        file.write_at(&[2; 8192], 0).unwrap();
        file.sync().unwrap();
        assert_eq!(outcomes(&disk, "f"), BTreeSet::from([Some(vec![2; 8192])]));
    }
    assert!(lost > 5, "{lost} of 20 lost bytes");
}

#[test]
fn a_full_disk_says_so_and_takes_what_fits() {
    let disk = SimulatedDisk::new(1);
    disk.set_capacity(3 * 16_384);
    let file = disk.open("f", Open::CREATE).unwrap();
    assert_eq!(file.allocate(4 * 16_384).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 0);
    file.allocate(16_384).unwrap();
    assert_eq!(disk.space().unwrap(), Space { total_bytes: 3 * 16_384, free_bytes: 2 * 16_384 });
    let full = file.write_at(&[1; 4 * 16_384], 0).unwrap_err();
    assert_eq!((full.kind(), file.len().unwrap()), (ErrorKind::StorageFull, 3 * 16_384));
    assert_eq!(disk.space().unwrap().free_bytes, 0);
    file.write_at(&[2; 16_384], 16_384).unwrap();
    disk.remove("f").unwrap();
    assert_eq!(disk.space().unwrap().free_bytes, 0, "an open file holds its space");
    drop(file);
    assert_eq!(disk.space().unwrap().free_bytes, 3 * 16_384);
}

#[test]
fn files_that_nothing_can_reach_are_forgotten() {
    let disk = SimulatedDisk::new(1);
    for _ in 0..10 {
        drop(synced_file(&disk, "f", &[1; 4096]));
        disk.remove("f").unwrap();
        disk.sync_dir("").unwrap();
    }
    assert_eq!(disk.state.lock().files.len(), 0);
}

#[test]
fn a_snapshot_goes_its_own_way() {
    let disk = SimulatedDisk::new(1);
    let file = synced_file(&disk, "f", b"one");
    let other = disk.snapshot();
    assert_eq!(other.history_hash(), disk.history_hash());
    file.write_at(b"two", 0).unwrap();
    other.remove("f").unwrap();
    assert_eq!((contents(&disk, "f").unwrap(), contents(&other, "f")), (b"two".to_vec(), None));
    assert_ne!(other.history_hash(), disk.history_hash());
}

/// Some work that leaves much unsynced.
fn work(disk: &SimulatedDisk, seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..80 {
        let path = ["a", "b", "c", "d/a", "d/b"][random.below(5) as usize];
        let other = ["a", "b", "c", "d/a", "d/b"][random.below(5) as usize];
        match random.below(8) {
            0 => drop(disk.create_dir("d")),
            1 => drop(disk.rename(path, other)),
            2 => drop(disk.sync_dir(["", "d"][random.below(2) as usize])),
            _ => {
                let Ok(file) = disk.open(path, Open::CREATE) else { continue };
                let _ = file.write_at(&vec![random.next() as u8; random.below(9000) as usize], random.below(40_000));
                if random.below(3) == 0 {
                    let _ = file.sync();
                }
            }
        }
    }
}

fn all_of(disk: &SimulatedDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let mut paths: Vec<String> = disk.list("").unwrap().into_iter().map(|entry| entry.name).collect();
    paths.extend(disk.list("d").into_iter().flatten().map(|entry| format!("d/{}", entry.name)));
    paths.into_iter().filter(|path| path != "d").map(|path| (path.clone(), contents(disk, &path))).collect()
}

#[test]
fn same_seed_same_history_same_outcome_and_other_seeds_differ() {
    let run = |seed: u64, work_seed: u64, crash: u64| {
        let disk = SimulatedDisk::new(seed);
        disk.fail_after(5, Operation::Sync, ErrorKind::Other);
        disk.power_off_after(70);
        work(&disk, work_seed);
        let found = disk.crash(CrashStyle::Random(crash));
        (disk.history_hash(), found.history_hash(), all_of(&found))
    };
    let first = run(1, 2, 3);
    assert_eq!(first, run(1, 2, 3));
    assert_ne!(first.0, run(1, 4, 3).0, "other work, other history");
    assert_ne!(first.1, run(1, 2, 4).1, "another crash, another history");
    let crashes: BTreeSet<_> = (0..20).map(|crash| run(1, 2, crash).2).collect();
    assert!(crashes.len() > 10, "{} different outcomes of 20", crashes.len());
    let disks: BTreeSet<_> = (0..20).map(|seed| run(seed, 2, 3).2).collect();
    assert!(disks.len() > 2, "{} different outcomes of 20", disks.len());
}

#[test]
fn a_hundred_megabytes_crash_a_thousand_times() {
    let disk = SimulatedDisk::new(1);
    for number in 0..25u8 {
        synced_file(&disk, &format!("{number}"), &vec![number + 1; 4 << 20]);
    }
    let log = disk.open("log", Open::CREATE).unwrap();
    log.write_at(&[1; 8192], 0).unwrap();
    let held: usize = (0..1000)
        .map(|seed| {
            let found = disk.crash(CrashStyle::Random(seed));
            found.open("7", Open::WRITE).unwrap().write_at(&[0; 4096], 8192).unwrap();
            usize::from(found.metadata("log").unwrap().is_some())
        })
        .sum();
    assert!((200..800).contains(&held), "the new name survived {held} of 1000 times");
}

/// Whatever was written since the last sync of a byte's sector, or that sync itself, is all that a crash may show.
#[derive(Default)]
struct Versions {
    now: Vec<u8>,
    allowed: Vec<BTreeSet<u8>>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_shows_only_bytes_that_were_there_since_the_last_sync(
        steps in proptest::collection::vec((0..60_000u64, 1..20_000usize, 1..=255u8, 0..4u8), 1..30),
        seed in any::<u64>(),
    ) {
        const SIZE: usize = 80_000;
        let disk = SimulatedDisk::new(seed);
        let file = synced_file(&disk, "f", &[0; SIZE]);
        let mut versions = Versions { now: vec![0; SIZE], allowed: vec![BTreeSet::from([0]); SIZE] };
        for (offset, len, byte, then) in steps {
            file.write_at(&vec![byte; len], offset).unwrap();
            for at in offset as usize..offset as usize + len {
                versions.now[at] = byte;
                versions.allowed[at].insert(byte);
            }
            if then == 0 {
                file.sync().unwrap();
                versions.allowed = versions.now.iter().map(|&byte| BTreeSet::from([byte])).collect();
            }
        }
        for style in [CrashStyle::Random(seed), CrashStyle::Random(!seed), CrashStyle::LoseAll, CrashStyle::KeepAll] {
            let found = contents(&disk.crash(style), "f").unwrap();
            prop_assert_eq!(found.len(), SIZE);
            prop_assert!(found.iter().zip(&versions.allowed).all(|(byte, allowed)| allowed.contains(byte)));
        }
    }

    /// A second crash finds what the first one left: nothing is pending on a disk that was found.
    #[test]
    fn a_crash_settles_everything(work_seed in any::<u64>(), crash in any::<u64>(), next in any::<u64>()) {
        let disk = SimulatedDisk::new(1);
        work(&disk, work_seed);
        let found = disk.crash(CrashStyle::Random(crash));
        prop_assert_eq!(all_of(&found), all_of(&found.snapshot().crash(CrashStyle::Random(next))));
        prop_assert_eq!(all_of(&found), all_of(&found.snapshot().crash(CrashStyle::LoseAll)));
    }
}
