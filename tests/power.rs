//! A real mount on a disk that loses power, again and again, under a mixed load: nothing that an fsync has answered may be lost.
//!
//! The volume lies on a filesystem of this test (`power/layer.rs`), which keeps what is not synced apart from what is. When the power
//! fails it forgets: all that was not synced, or parts of it, torn, in any order. Then the daemon is killed, and the next one finds only
//! what the disk has. Unlike the simulated disk in `actors/` this is the program as it is built, with its threads, on the system calls that
//! it makes. The list of promises is kept outside, by the writers in `load`. `INFMAP_POWER_ROUNDS` says how often (`make power`).

mod common;
#[path = "power/layer.rs"]
mod layer;
mod load;

use common::{Mount, Numbers, can_mount, infmap, rounds, run};
use infmap_storage::device::{CrashStyle, SimulatedDisk};
use layer::Layer;
use load::{judge, run_until, writers};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Rounds, if nobody says how many.
const ROUNDS: u64 = 3;
/// Rounds after which the volume is checked as the power cut has left it.
const CHECK_EVERY: u64 = 3;

/// Directories that are gone at the end, with whatever is still mounted on them.
struct Place(tempfile::TempDir);

impl Place {
    fn disk(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    fn volume(&self) -> PathBuf {
        self.disk().join("my.map")
    }

    fn mountpoint(&self) -> PathBuf {
        self.0.path().join("mnt")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for path in [self.mountpoint(), self.disk()] {
            while rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).is_ok() {}
        }
    }
}

fn style(round: u64) -> CrashStyle {
    match round % 4 {
        1 => CrashStyle::LoseAll,
        2 => CrashStyle::LoseData,
        _ => CrashStyle::Random(round),
    }
}

fn check(volume: &Path) {
    run(infmap().arg("check").arg(volume));
}

#[test]
fn what_fsync_has_answered_survives_power_cuts_of_the_disk_below() {
    let rounds = rounds("INFMAP_POWER_ROUNDS", ROUNDS);
    if !can_mount() {
        return;
    }
    let place = Place(tempfile::Builder::new().prefix("infmap-power-").tempdir().expect("a directory"));
    for dir in [place.disk(), place.mountpoint()] {
        fs::create_dir(dir).expect("a directory");
    }
    let mut disk = SimulatedDisk::new(1);
    let mut layer = match Layer::mount(&disk, &place.disk()) {
        Ok(layer) => layer,
        Err(error) => return eprintln!("skipped: the layer cannot be mounted: {error}"),
    };
    run(infmap().arg("init").arg(place.volume()));
    let (mut writers, mut numbers) = (writers(), Numbers(0x706f_7765));
    let (mut cuts, mut judged) = (0, Vec::new());
    for round in 0..=rounds {
        let mount = Mount::start(&place.volume(), &place.mountpoint(), &[]);
        if round == 0 {
            writers.iter().for_each(|writer| fs::create_dir(mount.path(&writer.name())).expect("a directory"));
            File::open(mount.dir()).and_then(|root| root.sync_all()).expect("the directories are promised");
        }
        judged = judge(mount.dir(), &mut writers);
        if round == rounds {
            mount.unmount();
            break;
        }
        let mut found = None;
        let dir = mount.dir().to_path_buf();
        run_until(&dir, &mut writers, round, 1 + numbers.below(600), || {
            // From here on the disk answers nothing but errors, so that no promise is made that it does not know of.
            found = Some(disk.crash(style(round)));
            mount.kill();
        });
        drop(layer);
        disk = found.expect("the power was cut");
        cuts += 1;
        layer = Layer::mount(&disk, &place.disk()).expect("as before");
        if round.is_multiple_of(CHECK_EVERY) {
            check(&place.volume());
        }
    }
    check(&place.volume());
    drop(layer);
    println!("{cuts} power cuts; promises kept: {judged:?}");
    assert!(cuts > 0 && judged.iter().all(|(_, promises)| *promises > 0), "to some writer nothing was promised: {judged:?}");
}
