//! Many files: a directory of thousands is listed and emptied as it should, and a million cost nothing at a mount.
//!
//! The million is `make million`, which prints figures; the rest runs always.

mod common;

use common::{Mount, Volume};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MIB: u64 = 1024;

fn name(number: usize) -> String {
    format!("file-{number:07}")
}

/// Makes files of a few bytes.
fn fill(dir: &Path, count: usize) {
    for number in 0..count {
        fs::write(dir.join(name(number)), format!("{number}\n")).unwrap_or_else(|error| panic!("file {number}: {error}"));
    }
}

/// Requires that `ls -l` shows each name once, with the right size.
fn list(dir: &Path, count: usize) {
    let listing = common::run(Command::new("ls").arg("-l").arg(dir).env("LC_ALL", "C"));
    let mut seen = HashSet::with_capacity(count);
    for line in listing.lines().filter(|line| line.starts_with('-')) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (size, found) = (fields[4], fields[8]);
        assert!(seen.insert(found), "{found} is listed twice");
        let number: usize = found.trim_start_matches("file-").parse().expect("one of the names");
        assert_eq!(size.parse().ok(), Some(format!("{number}\n").len()), "{found}");
    }
    assert_eq!(seen.len(), count);
}

/// Removes all while another lists again and again: no listing fails or shows a name twice, and nothing is left.
fn empty_under_readers(dir: &Path, count: usize) {
    let removed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut listings = 0;
            while !removed.load(Ordering::SeqCst) {
                let mut seen = HashSet::new();
                for entry in fs::read_dir(dir).expect("it can be opened") {
                    let found = entry.expect("no error while it is emptied").file_name();
                    assert!(seen.insert(found.clone()), "{} is listed twice", found.display());
                }
                listings += 1;
            }
            listings
        });
        for number in 0..count {
            // From both ends, so that no reader's place is only before or only behind.
            let number = if number.is_multiple_of(2) { number / 2 } else { count - 1 - number / 2 };
            fs::remove_file(dir.join(name(number))).unwrap_or_else(|error| panic!("{}: {error}", name(number)));
        }
        removed.store(true, Ordering::SeqCst);
        println!("{} listings while {count} files were removed", reader.join().expect("the reader is content"));
    });
    assert_eq!(fs::read_dir(dir).expect("it can be opened").count(), 0);
    fs::remove_dir(dir).expect("it is empty");
}

/// Mounts within a second, lists the root and one directory, and says the time of the mount, that of `ls -l`, and the memory, in KiB,
/// which it returns.
fn mount_and_list(volume: &Volume, directory: &str, count: usize) -> (Mount, u64) {
    let started = Instant::now();
    let mount = volume.mount();
    let took = started.elapsed();
    common::run(Command::new("ls").arg(mount.dir()));
    let started = Instant::now();
    list(&mount.path(directory), count);
    let listed = started.elapsed().as_millis();
    let memory = mount.memory_kib("VmRSS");
    println!("mount: {} ms, ls -l of {count} files: {listed} ms, VmRSS then {} MiB", took.as_millis(), memory / MIB);
    assert!(took < Duration::from_secs(1), "the mount took {} ms", took.as_millis());
    (mount, memory)
}

/// Requires that the disk of the volume has room, before it is filled.
fn require_room(volume: &Volume) {
    let stat = rustix::fs::statvfs(volume.path()).expect("the disk says it");
    let free_gib = (stat.f_bavail * stat.f_frsize) >> 30;
    assert!(free_gib >= 8, "{free_gib} GiB are free at {}, 8 are needed; set TMPDIR to another disk", volume.path().display());
}

fn one_directory(count: usize) {
    let Some(volume) = Volume::if_mountable() else { return };
    if count >= 1_000_000 {
        require_room(&volume);
    }
    let mount = volume.mount();
    fs::create_dir(mount.path("dir")).expect("a directory");
    let started = Instant::now();
    fill(&mount.path("dir"), count);
    println!("{count} files in one directory: {:.0} a second", count as f64 / started.elapsed().as_secs_f64());
    list(&mount.path("dir"), count);
    mount.unmount();
    let (mount, _) = mount_and_list(&volume, "dir", count);
    empty_under_readers(&mount.path("dir"), count);
    mount.unmount();
    volume.check();
}

#[test]
fn a_directory_of_twenty_thousand_is_listed_and_emptied_under_a_reader() {
    one_directory(20_000);
}

#[test]
#[ignore = "make million"]
fn a_directory_of_a_hundred_thousand_is_listed_and_emptied_under_a_reader() {
    one_directory(100_000);
}

#[test]
#[ignore = "make million"]
fn a_directory_of_a_million_is_listed_and_emptied_under_a_reader() {
    one_directory(1_000_000);
}

#[test]
#[ignore = "make million"]
fn a_million_files_mount_in_a_second_and_in_200_mib() {
    const DIRECTORIES: usize = 1000;
    const EACH: usize = 1000;
    let Some(volume) = Volume::if_mountable() else { return };
    require_room(&volume);
    let mount = volume.mount();
    let started = Instant::now();
    for directory in 0..DIRECTORIES {
        let path = mount.path(&format!("dir-{directory}"));
        fs::create_dir(&path).expect("a directory");
        fill(&path, EACH);
        if directory % 100 == 99 {
            let files = (directory + 1) * EACH;
            let rate = files as f64 / started.elapsed().as_secs_f64();
            println!("{files} files, {rate:.0} a second, VmRSS {} MiB", mount.memory_kib("VmRSS") / MIB);
        }
    }
    println!("peak of the daemon that wrote them: {} MiB", mount.memory_kib("VmHWM") / MIB);
    let started = Instant::now();
    mount.unmount();
    println!("unmount: {} ms", started.elapsed().as_millis());
    let (mount, memory) = mount_and_list(&volume, "dir-500", EACH);
    assert!(memory < 200 * MIB, "{memory} KiB");
    mount.unmount();
    volume.check();
}
