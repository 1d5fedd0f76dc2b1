//! `kill -9` of the daemon in the middle of a mixed load, again and again: nothing that an fsync has answered may be lost.
//!
//! The outside list of promises is kept by the writers in `load`. The daemon dies without warning, so its unsynced state is lost as it is
//! in a crash of the program; what only the host's page cache holds survives, and the simulated disk in `actors/` tests that part.

mod common;
mod load;

use common::{Mount, Numbers, Volume};
use load::{Appender, Churner, Creator, Overwriter, Saver, Writer};
use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

const ROUNDS: u64 = 20;
/// Rounds after which the volume is checked as the crash has left it.
const CHECK_EVERY: u64 = 4;

fn writers() -> Vec<Box<dyn Writer>> {
    vec![
        Box::new(Creator::new(1)),
        Box::new(Creator::new(2)),
        Box::new(Appender::new(3)),
        Box::new(Appender::new(4)),
        Box::new(Overwriter::new(5)),
        Box::new(Saver::new(6)),
        Box::new(Saver::new(7)),
        Box::new(Churner::new(8)),
    ]
}

/// Lets all writers run until `promises` fsyncs have answered, and kills the daemon there.
fn one_crash(mount: Mount, writers: &mut [Box<dyn Writer>], seed: u64, promises: u64) {
    let killing = AtomicBool::new(false);
    let (promised, is_promised) = mpsc::channel();
    std::thread::scope(|scope| {
        for (number, writer) in writers.iter_mut().enumerate() {
            let (promised, killing) = (promised.clone(), &killing);
            let dir = mount.path(&writer.name());
            let mut numbers = Numbers(seed << 8 | number as u64);
            scope.spawn(move || {
                loop {
                    let done = writer.step(&dir, &mut numbers, &mut || promised.send(()).unwrap_or(()));
                    if let Err(error) = done {
                        assert!(killing.load(Ordering::SeqCst), "{}: {error} although the daemon lives", writer.name());
                        break;
                    }
                }
            });
        }
        drop(promised);
        // Ends early only if all writers have failed, which their own panics explain.
        let _ = is_promised.iter().take(promises as usize).count();
        killing.store(true, Ordering::SeqCst);
        mount.kill();
    });
}

fn judge(mount: &Mount, writers: &mut [Box<dyn Writer>]) -> Vec<(String, usize)> {
    writers.iter_mut().map(|writer| (writer.name(), writer.judge(&mount.path(&writer.name())))).collect()
}

#[test]
fn what_fsync_has_answered_survives_kill_9_of_the_daemon() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut writers = writers();
    let mut numbers = Numbers(0x6b69_6c6c);
    let mount = volume.mount();
    for writer in &writers {
        fs::create_dir(mount.path(&writer.name())).expect("a directory");
    }
    File::open(mount.dir()).and_then(|root| root.sync_all()).expect("the directories are promised");
    mount.kill();
    for round in 1..=ROUNDS {
        // The mount clears the dead one away, recovers, and is killed in its turn.
        let mount = volume.mount();
        judge(&mount, &mut writers);
        one_crash(mount, &mut writers, round, 1 + numbers.below(600));
        if round.is_multiple_of(CHECK_EVERY) {
            volume.check();
        }
    }
    let mount = volume.mount();
    let judged = judge(&mount, &mut writers);
    mount.unmount();
    volume.check();
    println!("{ROUNDS} crashes; promises kept: {judged:?}");
    assert!(judged.iter().all(|(_, promises)| *promises > 0), "nothing was promised to some writer, so nothing was proved: {judged:?}");
}
