//! A daemon that is killed with a long log behind it: the next mount has everything that was synced, after a moment.
//!
//! `make replay` fills a log up to where a checkpoint would begin, and prints how long the mount takes. Needs /dev/fuse and the right to
//! mount; where those are missing the test says so and ends.

mod common;

use common::{Numbers, Volume, rounds};
use std::fs::{self, File};
use std::io::Write;
use std::time::Instant;

const MIB: u64 = 1 << 20;
/// Bytes of a file: such contents stand in the log, beside the row of the inode and its name.
const FILE_BYTES: usize = 2000;
const FILES_PER_DIRECTORY: u64 = 250;
/// How often each file is written: tables that grow with the log would be written before it is full.
const TIMES: u64 = 8;
/// Writers that wait for the same syncs of the log.
const WRITERS: u64 = 4;

/// Bytes of the log that are not zero, by pages: segments have their length before anything stands in them.
fn log_bytes(volume: &Volume) -> u64 {
    let pages = |path: &std::path::PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.chunks(4096).filter(|page| page.iter().any(|byte| *byte != 0)).count() as u64 * 4096
    };
    common::walk(&volume.path().join("wal")).iter().filter(|path| path.is_file()).map(pages).sum()
}

fn content(file: u64, time: u64) -> Vec<u8> {
    let mut content = vec![0; FILE_BYTES];
    Numbers(file * TIMES + time).fill(&mut content);
    content
}

#[test]
fn a_long_log_is_replayed_and_nothing_of_it_is_missing() {
    let Some(volume) = Volume::if_mountable() else { return };
    let wanted = rounds("INFMAP_REPLAY_MIB", 4) * MIB;
    // No checkpoint by time or by size comes between.
    let settings = ["--set", "durability.commit_interval=5m", "--set", "durability.checkpoint_at=256MiB"];
    let mount = volume.mount_with(&settings);
    let path = |file: u64| format!("{}/{file}", file / FILES_PER_DIRECTORY);
    let directories = (wanted / (FILE_BYTES as u64 * TIMES)).div_ceil(FILES_PER_DIRECTORY);
    let files = directories * FILES_PER_DIRECTORY;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (path, mount) = (&path, &mount);
            scope.spawn(move || {
                for directory in (0..directories).filter(|directory| directory % WRITERS == writer) {
                    fs::create_dir(mount.path(&directory.to_string())).expect("made");
                    let numbers = directory * FILES_PER_DIRECTORY..(directory + 1) * FILES_PER_DIRECTORY;
                    for (time, number) in (0..TIMES).flat_map(|time| numbers.clone().map(move |number| (time, number))) {
                        let mut file = File::create(mount.path(&path(number))).expect("made");
                        file.write_all(&content(number, time)).and_then(|()| file.sync_all()).expect("durable");
                    }
                }
            });
        }
    });
    mount.kill();
    let mib = log_bytes(&volume) / MIB;
    let began = Instant::now();
    let mount = volume.mount_with(&settings);
    let took = began.elapsed();
    let said = mount.said();
    for file in 0..files {
        assert!(fs::read(mount.path(&path(file))).expect("read") == content(file, TIMES - 1), "{file}");
    }
    mount.unmount();
    let began = Instant::now();
    volume.mount_with(&settings).unmount();
    println!(
        "{files} files in {mib} MiB of log: mounted in {took:?}; with nothing to replay it is mounted and unmounted in {:?}",
        began.elapsed()
    );
    println!("{said}");
}
