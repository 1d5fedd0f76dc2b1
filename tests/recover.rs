//! A volume of which nothing is left but its images, under names that mean nothing, comes back as it was.
//!
//! Each test writes through a real mount, keeps the original beside it, and compares what `infmap recover` makes of the images.

mod common;
#[path = "common/trees.rs"]
mod trees;

use common::{Mount, Numbers, SOURCE, Volume, compare, infmap, run};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use trees::{contents, make_tree};

/// Copies the images of a volume into one directory, under random names, among other files. Gives where each went.
fn scatter(volume: &Volume, into: &Path, numbers: &mut Numbers) -> BTreeMap<PathBuf, PathBuf> {
    fs::create_dir_all(into.join("deep/er")).expect("directories");
    fs::write(into.join("letter.txt"), "no image").expect("a file");
    fs::write(into.join("broken.png"), b"\x89PNG\r\n\x1a\nand nothing else").expect("a file");
    fs::copy(Path::new(SOURCE).join("tests/fixtures/foreign.png"), into.join("foreign.png")).expect("a picture");
    symlink("/etc", into.join("link")).expect("a link");
    let place = |image: &PathBuf| {
        let directory = if numbers.below(3) == 0 { into.join("deep/er") } else { into.to_path_buf() };
        let to = directory.join(format!("{:016x}.{}", numbers.next(), if numbers.below(2) == 0 { "png" } else { "PNG" }));
        fs::copy(image, &to).expect("copied");
        (image.clone(), to)
    };
    volume.images().iter().map(place).collect()
}

fn recover(from: &Path, to: &Path, arguments: &[&str]) -> Output {
    infmap().arg("recover").args(arguments).arg(from).arg(to).output().expect("infmap recover starts")
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn recovers(from: &Path, to: &Path) -> serde_json::Value {
    let output = recover(from, to, &["--json"]);
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[track_caller]
fn check(volume: &Path) {
    let output = infmap().arg("check").arg(volume).output().expect("infmap check starts");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_tree_comes_back_from_its_images_alone_under_any_name() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut numbers = Numbers(11);
    let tree = volume.beside("tree");
    make_tree(&tree, &mut numbers);
    let mount = volume.mount();
    run(Command::new("cp").arg("-a").arg("--sparse=auto").arg(&tree).arg(mount.dir()));
    mount.unmount();
    let pile = volume.beside("pile");
    let places = scatter(&volume, &pile, &mut numbers);
    let before = contents(&pile);
    let to = volume.beside("again.map");
    let dry = recover(&pile, &to, &["--dry-run"]);
    assert!(dry.status.success() && !to.exists(), "{}", said(&dry));
    let told = recovers(&pile, &to);
    assert_eq!(told["recovered"]["whole"], true, "{told}");
    assert!(contents(&pile) == before, "what it was made from has changed");
    assert_eq!(fs::read(to.join("volume.yaml")).expect("read").len(), fs::read(volume.path().join("volume.yaml")).expect("read").len());
    for line in ["format: ", "uuid: ", "region_side_px: ", "cluster_bytes: "] {
        let of =
            |dir: &Path| fs::read_to_string(dir.join("volume.yaml")).expect("read").lines().find(|l| l.starts_with(line)).map(String::from);
        assert_eq!(of(&to), of(&volume.path()));
    }
    check(&to);
    let mount = Mount::start(&to, &volume.mountpoint(), &[]);
    let paths = compare(&tree, &mount.path("tree"));
    run(Command::new("diff").args(["-r", "--no-dereference"]).arg(&tree).arg(mount.path("tree")));
    fs::write(mount.path("new"), b"written after all").expect("a new file");
    fs::remove_dir_all(mount.path("tree/docs")).expect("removed");
    mount.unmount();
    check(&to);
    let mount = Mount::start(&to, &volume.mountpoint(), &[]);
    assert_eq!(fs::read(mount.path("new")).expect("read"), b"written after all");
    mount.unmount();
    println!("{paths} paths came back from {} images", places.len());
}

#[test]
fn after_a_kill_the_tree_of_the_last_checkpoint_comes_back() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut numbers = Numbers(12);
    let tree = volume.beside("tree");
    make_tree(&tree, &mut numbers);
    let mount = volume.mount();
    run(Command::new("cp").arg("-a").arg(&tree).arg(mount.dir()));
    mount.unmount();
    let mount = volume.mount();
    let mut bytes = vec![0; 30 << 20];
    numbers.fill(&mut bytes);
    let late = fs::File::create(mount.path("late")).expect("a file");
    late.write_all_at(&bytes, 0).expect("written");
    late.sync_all().expect("synced");
    drop(late);
    mount.kill();
    let pile = volume.beside("pile");
    scatter(&volume, &pile, &mut numbers);
    let to = volume.beside("again.map");
    let output = recover(&pile, &to, &["--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(told["recovered"]["newer_images"].as_u64().is_some_and(|newer| newer > 0), "{told}");
    check(&to);
    // The dead mount that was left is another volume's.
    run(infmap().arg("umount").arg("--lazy").arg(volume.mountpoint()));
    let mount = Mount::start(&to, &volume.mountpoint(), &[]);
    compare(&tree, &mount.path("tree"));
    assert!(!mount.path("late").exists());
    fs::write(mount.path("new"), &bytes).expect("a new file");
    mount.unmount();
    check(&to);
}

/// A volume of files of noise, one or more of them in each image.
fn noisy(volume: &Volume, files: usize, numbers: &mut Numbers) -> PathBuf {
    let tree = volume.beside("tree");
    fs::create_dir(&tree).expect("a directory");
    for number in 0..files {
        let mut bytes = vec![0; 300_000 + numbers.below(1_200_000) as usize];
        numbers.fill(&mut bytes);
        fs::create_dir_all(tree.join(format!("d{}", number % 7))).expect("a directory");
        fs::write(tree.join(format!("d{}/f{number}", number % 7)), bytes).expect("a file");
    }
    let mount = volume.mount();
    run(Command::new("cp").arg("-a").arg(&tree).arg(mount.dir()));
    mount.unmount();
    tree
}

/// Requires that each file is as it was, or cannot be read just where it was told to be lost.
fn judge(tree: &Path, mounted: &Path, lost: &serde_json::Value) -> usize {
    let mut lost_in: BTreeMap<PathBuf, Vec<(u64, u64)>> = BTreeMap::new();
    for file in lost.as_array().expect("a list") {
        let ranges = file["ranges"].as_array().expect("ranges").iter();
        let ranges: Vec<(u64, u64)> = ranges.map(|range| (range[0].as_u64().unwrap(), range[1].as_u64().unwrap())).collect();
        for path in file["paths"].as_array().expect("paths") {
            lost_in.insert(PathBuf::from(path.as_str().expect("a path")), ranges.clone());
        }
    }
    let mut wrong = 0;
    for (path, expected) in contents(tree) {
        let ranges = lost_in.remove(&Path::new("tree").join(&path)).unwrap_or_default();
        let file = fs::File::open(mounted.join(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(file.metadata().expect("stat").len(), expected.len() as u64);
        for at in (0..expected.len()).step_by(4096) {
            let block = &expected[at..expected.len().min(at + 4096)];
            let is_lost = ranges.iter().any(|(from, to)| at as u64 >= *from && (at as u64) < *to);
            let mut got = vec![0; block.len()];
            match file.read_exact_at(&mut got, at as u64) {
                Ok(()) => assert!(got == block && !is_lost, "{} at {at}: read, and lost: {is_lost}", path.display()),
                Err(error) => {
                    assert!(is_lost && error.raw_os_error() == Some(5), "{} at {at}: {error}", path.display());
                    wrong += 1;
                }
            }
        }
    }
    assert!(lost_in.is_empty(), "files are told that do not exist: {lost_in:?}");
    wrong
}

#[test]
fn what_one_missing_image_held_is_named_and_nothing_else_is_missing() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut numbers = Numbers(13);
    let tree = noisy(&volume, 230, &mut numbers);
    let pile = volume.beside("pile");
    let places = scatter(&volume, &pile, &mut numbers);
    assert!(places.len() >= 40, "{} images", places.len());
    // Without the images of tables nobody can say what is missing.
    let holds_files = |at: &Path| fs::read(at).expect("read").get(53) != Some(&1);
    let of_files: Vec<_> = places.iter().filter(|(_, at)| holds_files(at)).collect();
    for (number, (image, at)) in of_files.into_iter().enumerate().filter(|(number, _)| number % 9 == 4) {
        let to = volume.beside(&format!("without{number}.map"));
        let aside = volume.beside("aside");
        fs::rename(at, &aside).expect("taken away");
        let output = recover(&pile, &to, &["--json"]);
        fs::rename(&aside, at).expect("put back");
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let missing = told["recovered"]["missing_images"].as_array().expect("a list");
        assert_eq!(missing.len(), 1, "{told}");
        assert!(image.ends_with(missing[0].as_str().expect("a path")), "{} is missing, not {}", image.display(), missing[0]);
        let mount = Mount::start(&to, &volume.mountpoint(), &[]);
        let wrong = judge(&tree, &mount.path("tree"), &told["recovered"]["lost"]);
        fs::write(mount.path("new"), b"still writable").expect("a new file");
        mount.unmount();
        assert!(wrong > 0);
        fs::remove_dir_all(&to).expect("removed");
    }
}

#[test]
fn damaged_images_are_restored_as_they_were_and_duplicates_do_no_harm() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut numbers = Numbers(14);
    noisy(&volume, 20, &mut numbers);
    let pile = volume.beside("pile");
    let places = scatter(&volume, &pile, &mut numbers);
    for (number, at) in places.values().enumerate() {
        if number % 2 == 0 {
            // A sound one beside a damaged one, that comes before or after it.
            fs::copy(at, pile.join(format!("{}{number}", if number % 4 == 0 { "0" } else { "z" }))).expect("copied");
        }
        let file = fs::File::options().write(true).open(at).expect("open");
        file.write_all_at(&vec![0x5A; 20_000], 100_000 + numbers.below(50_000)).expect("written");
        file.write_all_at(b"IDAX", 1028).expect("written");
    }
    let to = volume.beside("again.map");
    let told = recovers(&pile, &to);
    let restored = places.len() / 2;
    assert_eq!(told["recovered"]["restored_images"], restored, "{told}");
    check(&to);
    let mut same = 0;
    for image in places.keys() {
        let again = to.join(image.strip_prefix(volume.path()).expect("below"));
        if again.exists() {
            assert!(fs::read(&again).expect("read") == fs::read(image).expect("read"), "{}", image.display());
            same += 1;
        }
    }
    assert!(same > 3 && same >= places.len() - 2, "{same} of {}", places.len());
}

#[test]
fn wrong_calls_are_refused_and_change_nothing() {
    let (one, other) = (Volume::new(), Volume::new());
    let Some(mounted) = Volume::if_mountable() else { return };
    let mut numbers = Numbers(15);
    for volume in [&one, &other] {
        let mount = Mount::start(&volume.path(), &mounted.mountpoint(), &[]);
        fs::write(mount.path("file"), vec![7; 5000]).expect("a file");
        mount.unmount();
    }
    let pile = one.beside("pile");
    scatter(&one, &pile, &mut numbers);
    let to = one.beside("to");
    let refused = |from: &Path, to: &Path, arguments: &[&str], exit: i32, what: &str| {
        let output = recover(from, to, arguments);
        assert_eq!(output.status.code(), Some(exit), "{}", said(&output));
        assert!(said(&output).contains(what), "{} is not in {}", what, said(&output));
    };
    let empty = one.beside("empty");
    fs::create_dir(&empty).expect("a directory");
    refused(&empty, &to, &[], 10, "IM1010");
    refused(&one.beside("none"), &to, &[], 10, "IM1010");
    refused(&pile, &empty, &[], 1, "IM1012");
    refused(&pile, &pile.join("to"), &[], 2, "IM1024");
    refused(&pile, &one.beside(""), &[], 2, "IM1024");
    refused(&pile, &to, &["--volume", "what"], 2, "IM1001");
    refused(&pile, &to, &["--volume", "a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf"], 10, "IM1010");
    scatter(&other, &pile.join("other"), &mut numbers);
    refused(&pile, &to, &[], 2, "IM1021");
    assert!(!to.exists());
    let uuid = fs::read_to_string(one.path().join("volume.yaml")).expect("read");
    let uuid = uuid.lines().find_map(|line| line.strip_prefix("uuid: ")).expect("a uuid");
    let output = recover(&pile, &to, &["--volume", uuid]);
    assert!(output.status.success(), "{}", said(&output));
    // What an interrupted run leaves is no volume, and says so.
    fs::remove_file(to.join("volume.yaml")).expect("removed");
    fs::write(to.join("recovering"), "").expect("a file");
    refused(&pile, &to, &["--volume", uuid], 1, "IM1023");
    let output = infmap().arg("check").arg(&to).output().expect("it starts");
    assert!(said(&output).contains("IM1023"), "{}", said(&output));
}

/// Whether an image holds nodes of the tables.
fn is_of_nodes(image: &Path) -> bool {
    fs::read(image).expect("read").get(53) == Some(&1)
}

#[test]
fn without_a_root_names_come_back_from_single_nodes() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut numbers = Numbers(16);
    let tree = volume.beside("tree");
    make_tree(&tree, &mut numbers);
    // Without a root nobody knows a hole from bytes that are gone: both are errors.
    fs::remove_file(tree.join("odd \n\t'\"\\ \u{e9}\u{1f5fa}/sparse")).expect("removed");
    let mount = volume.mount();
    run(Command::new("cp").arg("-a").arg(&tree).arg(mount.dir()));
    mount.unmount();
    let pile = volume.beside("pile");
    for at in scatter(&volume, &pile, &mut numbers).values().filter(|at| is_of_nodes(at)) {
        let bytes = fs::read(at).expect("read");
        for (root, _) in bytes.windows(12).enumerate().filter(|(_, found)| *found == b"imRTIMAPROOT") {
            fs::File::options().write(true).open(at).expect("open").write_all_at(&[0; 90], root as u64 + 4).expect("written");
        }
    }
    let to = volume.beside("again.map");
    let output = recover(&pile, &to, &["--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&told["recovered"]["found_by"], &told["recovered"]["lost_bytes"]), (&"nodes".into(), &0.into()), "{told}");
    check(&to);
    let mount = Mount::start(&to, &volume.mountpoint(), &[]);
    compare(&tree, &mount.path("tree"));
    run(Command::new("diff").args(["-r", "--no-dereference"]).arg(&tree).arg(mount.path("tree")));
    fs::write(mount.path("new"), b"still writable").expect("a new file");
    mount.unmount();
    check(&to);
}

#[test]
fn without_any_tables_bytes_come_back_by_number() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut numbers = Numbers(17);
    let tree = noisy(&volume, 24, &mut numbers);
    let pile = volume.beside("pile");
    let places = scatter(&volume, &pile, &mut numbers);
    places.values().filter(|at| is_of_nodes(at)).for_each(|at| fs::remove_file(at).expect("removed"));
    let to = volume.beside("again.map");
    let output = recover(&pile, &to, &["--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&told["recovered"]["found_by"], &told["recovered"]["files"]), (&"owners".into(), &24.into()), "{told}");
    check(&to);
    let mount = Mount::start(&to, &volume.mountpoint(), &[]);
    let found: Vec<Vec<u8>> = contents(&mount.path("lost+found")).into_values().collect();
    for (path, expected) in contents(&tree) {
        let same = found.iter().find(|found| found.starts_with(&expected));
        let found = same.unwrap_or_else(|| panic!("{} did not come back", path.display()));
        assert!(found.len() - expected.len() < 4096 && found[expected.len()..].iter().all(|byte| *byte == 0));
    }
    mount.unmount();
}
