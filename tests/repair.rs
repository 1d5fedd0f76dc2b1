//! `infmap repair` on volumes whose images were damaged: what parity covers comes back byte for byte, what it does not is named exactly.
//!
//! Must be true: a dry run writes nothing; a second run has nothing to do; a repair that is killed is ended by the next; beyond parity
//! exactly the blocks that `check` lists give EIO, with the names of their files; `--damaged` settles those and nothing else.
//! Needs root and /dev/fuse; where those are missing each test says so and ends.

mod common;

use common::{Mount, Numbers, Volume, infmap, walk};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, chown};
use std::path::Path;
use std::process::Command;

const BLOCK: usize = 4096;

struct Sample {
    volume: Volume,
    files: BTreeMap<String, Vec<u8>>,
    /// The images as they were written.
    sound: BTreeMap<std::path::PathBuf, Vec<u8>>,
}

impl Sample {
    fn if_mountable() -> Option<Self> {
        let volume = Volume::if_mountable()?;
        let mut numbers = Numbers(5);
        let mount = volume.mount();
        fs::create_dir_all(mount.path("a/b c")).expect("made");
        let names = (0..14).map(|n| if n % 2 == 0 { format!("a/b c/large{n}") } else { format!("large{n}") });
        let mut files = BTreeMap::new();
        for (n, name) in names.enumerate() {
            let mut content = vec![0; 200_000 + 50_001 * n];
            numbers.fill(&mut content);
            fs::write(mount.path(&name), &content).expect("written");
            files.insert(name, content);
        }
        mount.unmount();
        volume.check();
        let sound = volume.images().into_iter().map(|path| (path.clone(), fs::read(path).expect("read"))).collect();
        Some(Self { volume, files, sound })
    }

    /// The image with the most bytes: it holds bytes of files.
    fn largest(&self) -> &Path {
        self.sound.iter().max_by_key(|(_, bytes)| bytes.len()).expect("an image").0
    }

    fn images_are_sound(&self) -> bool {
        self.sound.iter().all(|(path, bytes)| fs::read(path).expect("read") == *bytes)
    }

    /// Exit code and JSON.
    fn run(&self, verb: &str, arguments: &[&str]) -> (i32, Value) {
        let output = infmap().args(["--json", verb]).args(arguments).arg(self.volume.path()).output().expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("panicked"), "{stderr}");
        let line = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_else(|| panic!("{verb}: {stderr}")).to_string();
        (output.status.code().expect("no signal"), serde_json::from_str(&line).expect("JSON"))
    }

    /// Blocks of each file that give EIO; all others must have their bytes.
    fn refused(&self, mount: &Mount, zeroed: bool) -> BTreeSet<(String, usize)> {
        let mut refused = BTreeSet::new();
        for (name, content) in &self.files {
            let Ok(file) = File::open(mount.path(name)) else { continue };
            for (number, block) in content.chunks(BLOCK).enumerate() {
                let mut read = vec![0; block.len()];
                match file.read_exact_at(&mut read, (number * BLOCK) as u64) {
                    Ok(()) if read == block => {}
                    Ok(()) if zeroed && read.iter().all(|byte| *byte == 0) => drop(refused.insert((name.clone(), number))),
                    Ok(()) => panic!("{name}: block {number} has other bytes"),
                    Err(error) if error.raw_os_error() == Some(5) => drop(refused.insert((name.clone(), number))),
                    Err(error) => panic!("{name}: block {number}: {error}"),
                }
            }
        }
        refused
    }

    /// Damages more rows of the largest image than parity restores; returns the blocks that `check` lists.
    fn break_for_good(&self) -> BTreeSet<(String, usize)> {
        let file = File::options().write(true).open(self.largest()).expect("opened");
        // A bit in each of 45 rows, in different columns.
        for row in 0..45u64 {
            file.write_all_at(&[0xA5, 0x5A, 0xA5], 1040 + (row / 4) * 16_405 + (row % 4) * 4097 + row * 83).expect("written");
        }
        let (code, json) = self.run("check", &[]);
        assert_eq!(code, 3, "{json}");
        let lost = json["report"]["lost"].as_array().expect("a list");
        let number = |value: &Value| usize::try_from(value.as_u64().expect("a number")).expect("small");
        let blocks = lost.iter().flat_map(|damage| {
            let path = damage["paths"][0].as_str().expect("a path").to_string();
            let (from, length) = (number(&damage["offset"]), number(&damage["length"]));
            assert!(self.files.contains_key(&path) && damage["found"] == "checksum", "{damage}");
            (from / BLOCK..(from + length).div_ceil(BLOCK)).map(move |block| (path.clone(), block))
        });
        let blocks: BTreeSet<_> = blocks.collect();
        // The same, file by file, with the places.
        for (name, is_lost) in self.files.keys().map(|name| (name, blocks.iter().any(|(of, _)| of == name))) {
            let output = infmap().args(["--json", "check", "--path", name]).arg(self.volume.path()).output().expect("it starts");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let file: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
            assert_eq!(output.status.code(), Some(if is_lost { 3 } else { 0 }), "{name}: {text}");
            let listed: Vec<&Value> = lost.iter().filter(|damage| damage["paths"][0] == **name).collect();
            assert_eq!(file["lost"].as_array().expect("a list").iter().collect::<Vec<_>>(), listed);
            assert!(!file["places"].as_array().expect("a list").is_empty());
        }
        assert!(blocks.len() >= 11, "{blocks:?}");
        blocks
    }
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).expect("opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("written");
}

#[test]
fn what_parity_covers_comes_back_byte_for_byte_and_a_second_run_has_nothing_to_do() {
    let Some(sample) = Sample::if_mountable() else { return };
    for (n, path) in sample.sound.keys().enumerate() {
        let length = fs::metadata(path).expect("it is there").len();
        flip(path, 2_000 + 4_200 * n as u64);
        flip(path, length - 5);
        flip(path, 3);
        if n % 2 == 0 {
            File::options().append(true).open(path).and_then(|mut file| std::io::Write::write_all(&mut file, &[7; 5000])).expect("longer");
        }
    }
    let damaged: Vec<_> = sample.sound.keys().map(|path| fs::read(path).expect("read")).collect();
    assert_eq!(sample.run("check", &[]).0, 4);
    let (code, plan) = sample.run("repair", &["--dry-run"]);
    assert_eq!((code, plan["report"]["images"].as_array().map(Vec::len)), (4, Some(sample.sound.len())), "{plan}");
    assert!(sample.sound.keys().zip(&damaged).all(|(path, bytes)| fs::read(path).expect("read") == *bytes), "a dry run writes nothing");
    let (code, done) = sample.run("repair", &[]);
    assert_eq!(code, 4, "{done}");
    assert!(sample.images_are_sound(), "{done}");
    let (code, again) = sample.run("repair", &[]);
    assert_eq!((code, again["report"]["images"].as_array().map(Vec::len)), (0, Some(0)), "{again}");
    sample.volume.check();
    // By the name that fsck(8) calls.
    flip(sample.largest(), 9_000);
    let fsck = sample.volume.beside("fsck.infmap");
    std::os::unix::fs::symlink(common::INFMAP, &fsck).expect("linked");
    let run = |flag: &str| Command::new(&fsck).arg(flag).arg(sample.volume.path()).output().expect("it starts").status.code();
    assert_eq!([run("-n"), run("-y"), run("-y"), run("-n")], [Some(4), Some(1), Some(0), Some(0)]);
    assert!(sample.images_are_sound());
}

/// Seen to fail when root's repair of one byte closed an image to the owner of the volume, and root's check the lock.
#[test]
fn what_root_makes_in_the_volume_of_another_user_is_that_users() {
    let Some(sample) = Sample::if_mountable() else { return };
    let (volume, user) = (sample.volume.path(), 65_534);
    let of_another =
        || walk(&volume).into_iter().filter(|path| fs::symlink_metadata(path).expect("there").uid() != user).collect::<Vec<_>>();
    fs::remove_file(volume.join("lock")).expect("made anew");
    walk(&volume).iter().chain([&volume]).for_each(|path| chown(path, Some(user), Some(user)).expect("given away"));
    assert_eq!(sample.run("check", &[]).0, 0);
    flip(sample.largest(), 9_000);
    assert_eq!(sample.run("repair", &[]).0, 4);
    assert!(sample.images_are_sound());
    assert_eq!(of_another(), [] as [std::path::PathBuf; 0]);
    let mount = sample.volume.mount();
    fs::write(mount.path("more"), vec![7; 9_000_000]).expect("written");
    mount.unmount();
    assert_eq!(of_another(), [] as [std::path::PathBuf; 0]);
}

#[test]
fn a_repair_that_is_killed_is_ended_by_the_next() {
    let Some(sample) = Sample::if_mountable() else { return };
    for round in 0..12u64 {
        sample.sound.keys().for_each(|path| flip(path, 9_000 + round));
        let mut child = infmap().args(["--no-progress", "repair"]).arg(sample.volume.path()).spawn().expect("it starts");
        // Somewhere in its work: when a spare file is there, or the first image is sound, or at once.
        let begun = || !walk(&sample.volume.path().join("spare")).is_empty() || child_is_done(&sample);
        for _ in 0..round * 40 {
            if begun() {
                break;
            }
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().expect("waited");
        assert!([0, 4].contains(&sample.run("repair", &[]).0));
        assert!(sample.images_are_sound(), "round {round}");
    }
    let mount = sample.volume.mount();
    assert!(sample.refused(&mount, false).is_empty());
    mount.unmount();
    sample.volume.check();
}

fn child_is_done(sample: &Sample) -> bool {
    let (path, bytes) = sample.sound.iter().next().expect("an image");
    fs::read(path).is_ok_and(|read| read == *bytes)
}

#[test]
fn beyond_parity_exactly_the_listed_blocks_give_eio_and_keep_changes_nothing() {
    let Some(sample) = Sample::if_mountable() else { return };
    let lost = sample.break_for_good();
    let before = fs::read(sample.largest()).expect("read");
    let (code, report) = sample.run("repair", &[]);
    assert_eq!(code, 3, "{report}");
    assert!(fs::read(sample.largest()).expect("read") == before, "what cannot be brought back is left");
    let mut mount = sample.volume.mount();
    assert_eq!(sample.refused(&mount, false), lost);
    mount.terminate();
    assert!(mount.join().success());
}

#[test]
fn lost_blocks_become_zeros_or_the_end_of_the_file_or_go_to_lost_found() {
    for policy in ["zero", "truncate", "lost+found"] {
        let Some(sample) = Sample::if_mountable() else { return };
        let lost = sample.break_for_good();
        let names: BTreeSet<&String> = lost.iter().map(|(name, _)| name).collect();
        let (_, plan) = sample.run("repair", &["--dry-run", "--damaged", policy]);
        assert_eq!(plan["report"]["files"].as_array().map(Vec::len), Some(names.len()), "{plan}");
        let (_, report) = sample.run("repair", &["--damaged", policy]);
        let files = report["report"]["files"].as_array().expect("a list");
        assert!(files.len() == names.len() && files.iter().all(|file| file["done"] == true), "{policy}: {report}");
        let mount = sample.volume.mount();
        match policy {
            "zero" => assert_eq!(sample.refused(&mount, true), lost),
            "truncate" => {
                for name in &names {
                    let first = lost.iter().filter(|(of, _)| of == *name).map(|(_, block)| block * BLOCK).min().expect("one");
                    assert!(fs::read(mount.path(name)).expect("read") == sample.files[*name][..first], "{name}");
                }
            }
            _ => {
                let moved: Vec<_> = walk(&mount.path("lost+found"));
                assert_eq!(moved.len(), names.len(), "{moved:?}");
                for name in &names {
                    let end = name.replace('/', ".");
                    assert!(
                        !mount.path(name).exists() && moved.iter().any(|path| path.to_string_lossy().ends_with(&end)),
                        "{name}: {moved:?}"
                    );
                }
                assert!(sample.refused(&mount, false).is_empty(), "the others are where they were");
            }
        }
        mount.unmount();
        let (_, again) = sample.run("repair", &["--damaged", policy]);
        let left = again["report"]["lost"].as_array().map_or(0, Vec::len);
        assert_eq!(left > 0, policy == "lost+found", "{policy}: {again}");
    }
}
