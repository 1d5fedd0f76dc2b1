//! `kill -9` of the daemon in the middle of a mixed load, again and again: nothing that an fsync has answered may be lost.
//!
//! The writers sync at the same time, so that commits are shared. The outside list of promises is kept by the writers in `load`. The
//! daemon dies without warning, so its unsynced state is lost as it is in a crash of the program; what only the host's page cache holds
//! survives: the simulated disk in `actors/` tests that part, and `power` does on a disk that forgets. `INFMAP_KILL_ROUNDS` says how often
//! (`make kill`).

mod common;
mod load;

use common::{Numbers, Volume, rounds};
use load::{judge, run_until, writers};
use std::fs::{self, File};

/// Rounds, if nobody says how many.
const ROUNDS: u64 = 20;
/// Rounds after which the volume is checked as the crash has left it.
const CHECK_EVERY: u64 = 4;

/// Nobody asks for a sync, and everything that was answered is there.
#[test]
fn under_always_what_was_answered_survives_kill_9_without_a_sync() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut numbers = Numbers(0x616c_7761);
    for (round, options) in ["durability.sync=always", "sync", "durability.sync=always"].into_iter().enumerate() {
        let mount = volume.mount_with(&["-o", options]);
        let mut promised = Vec::new();
        for number in 0..20 {
            let mut content = vec![0; numbers.below(20_000) as usize];
            numbers.fill(&mut content);
            let name = format!("{round}-{number}");
            fs::write(mount.path("new"), &content).expect("written");
            fs::rename(mount.path("new"), mount.path(&name)).expect("renamed");
            promised.push((name, content));
        }
        fs::remove_file(mount.path(&promised.remove(7).0)).expect("removed");
        fs::create_dir(mount.path(&format!("directory-{round}"))).expect("made");
        mount.kill();
        let mount = volume.mount();
        for (name, content) in &promised {
            assert!(fs::read(mount.path(name)).expect("it was answered") == *content, "{name}: other bytes than were answered");
        }
        assert!(mount.path(&format!("directory-{round}")).is_dir(), "{options}");
        assert!(!mount.path(&format!("{round}-7")).exists() && !mount.path("new").exists(), "a removal or rename that was answered");
        mount.kill();
    }
    volume.check();
}

#[test]
fn what_fsync_has_answered_survives_kill_9_of_the_daemon() {
    let rounds = rounds("INFMAP_KILL_ROUNDS", ROUNDS);
    let Some(volume) = Volume::if_mountable() else { return };
    let mut writers = writers();
    let mut numbers = Numbers(0x6b69_6c6c);
    let mount = volume.mount();
    for writer in &writers {
        fs::create_dir(mount.path(&writer.name())).expect("a directory");
    }
    File::open(mount.dir()).and_then(|root| root.sync_all()).expect("the directories are promised");
    mount.kill();
    for round in 1..=rounds {
        // The mount clears the dead one away, recovers, and is killed in its turn.
        let mount = volume.mount();
        let dir = mount.dir().to_path_buf();
        judge(&dir, &mut writers);
        run_until(&dir, &mut writers, round, 1 + numbers.below(600), || mount.kill());
        if round.is_multiple_of(CHECK_EVERY) {
            volume.check();
        }
    }
    let mount = volume.mount();
    let judged = judge(mount.dir(), &mut writers);
    mount.unmount();
    volume.check();
    println!("{rounds} crashes; promises kept: {judged:?}");
    assert!(judged.iter().all(|(_, promises)| *promises > 0), "nothing was promised to some writer, so nothing was proved: {judged:?}");
}
