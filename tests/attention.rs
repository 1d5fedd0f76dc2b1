//! What asks for attention, and for how long: damage that a scrub leaves, images that are no files, images that nothing uses, and a mount
//! that ends while somebody waits for its scrub.
//!
//! Needs /dev/fuse and the right to mount; where those are missing each test says so and ends.

mod common;

use common::{Numbers, Volume, infmap};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Sample {
    volume: Volume,
    files: BTreeMap<String, Vec<u8>>,
    /// The images that hold bytes of files.
    images: Vec<PathBuf>,
}

fn sample() -> Option<Sample> {
    let volume = Volume::if_mountable()?;
    let (mut numbers, mut files) = (Numbers(31), BTreeMap::new());
    let mount = volume.mount();
    for n in 0..8 {
        let mut content = vec![0; 1_500_000];
        numbers.fill(&mut content);
        fs::write(mount.path(&format!("file{n}")), &content).expect("written");
        files.insert(format!("file{n}"), content);
    }
    mount.unmount();
    let is_large = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.len() > 1 << 20);
    let images: Vec<_> = volume.images().into_iter().filter(is_large).collect();
    assert!(images.len() > 1, "{images:?}");
    Some(Sample { volume, files, images })
}

fn ask(arguments: &[&str], path: &Path) -> Output {
    let output = infmap().args(arguments).arg(path).output().expect("infmap starts");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    output
}

fn code(arguments: &[&str], path: &Path) -> Option<i32> {
    ask(arguments, path).status.code()
}

/// Seen to fail when a run ended at what was no file, `status` knew of reads only, and nothing ever made it forget them.
#[test]
fn an_image_that_is_no_file_is_lost_until_it_is_put_back_and_a_scrub_has_found_all_well() {
    let Some(Sample { volume, files, images }) = sample() else { return };
    let (image, aside) = (&images[0], volume.beside("aside"));
    type Put<'a> = &'a dyn Fn(&Path);
    let pipe: Put = &|path| assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
    let link: Put = &|path| std::os::unix::fs::symlink("/dev/null", path).expect("made");
    let directory: Put = &|path| fs::create_dir(path).expect("made");
    for (what, put) in [("pipe", pipe), ("link", link), ("directory", directory)] {
        fs::rename(image, &aside).expect("moved");
        put(image);
        let mount = volume.mount();
        let run = ask(&["scrub", "start", "--wait"], mount.dir());
        let shown = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(run.status.code() == Some(3) && shown.contains("(100.00%)"), "{what}: {run:?}");
        assert_eq!(code(&["status"], mount.dir()), Some(7), "{what}: a scrub left something");
        let refused = files.keys().filter(|name| fs::read(mount.path(name)).is_err()).count();
        assert!(refused > 0, "{what}");
        let listed = ask(&["--json", "damage", "ls"], mount.dir());
        assert!(String::from_utf8_lossy(&listed.stdout).contains("missing"), "{what}: {listed:?}");
        if what == "directory" { fs::remove_dir(image) } else { fs::remove_file(image) }.expect("removed");
        fs::rename(&aside, image).expect("moved back");
        assert_eq!(code(&["status"], mount.dir()), Some(7), "{what}: nobody has looked yet");
        assert_eq!(code(&["scrub", "start", "--wait"], mount.dir()), Some(0), "{what}");
        let status = ask(&["status"], mount.dir());
        assert_eq!(status.status.code(), Some(0), "{what}: {status:?}");
        for (name, content) in &files {
            assert!(fs::read(mount.path(name)).expect("read") == *content, "{what}: {name}");
        }
        mount.unmount();
    }
}

/// Seen to fail when an image that was beyond repair counted although nothing used it any more: each repair said that damage was left.
#[test]
fn a_repair_that_settles_everything_says_so_and_leaves_nothing_for_the_next() {
    let Some(Sample { volume, images, .. }) = sample() else { return };
    for image in &images {
        let length = fs::metadata(image).expect("looked at").len();
        fs::write(image, vec![0x5A; usize::try_from(length).expect("small")]).expect("written");
    }
    let path = volume.path();
    assert_eq!(code(&["check"], &path), Some(3));
    let repaired = ask(&["repair", "--damaged", "zero"], &path);
    assert_eq!(repaired.status.code(), Some(4), "{repaired:?}");
    assert_eq!(code(&["check"], &path), Some(0));
    let again = ask(&["repair", "--damaged", "zero"], &path);
    assert_eq!(again.status.code(), Some(0), "{again:?}");
}

/// Seen to fail when the place was looked at anew each time: it was no volume then, and `recover` was what was said to help.
#[test]
fn who_waits_for_a_scrub_is_told_that_the_volume_was_unmounted() {
    let Some(Sample { volume, .. }) = sample() else { return };
    let mount = volume.mount();
    let dir = mount.dir().to_path_buf();
    let mut start = infmap();
    start.args(["scrub", "start", "--wait", "--limit", "1MiB/s"]).arg(&dir).stdout(Stdio::null()).stderr(Stdio::piped());
    let waits = start.spawn().expect("it starts");
    let is_running = || String::from_utf8_lossy(&ask(&["--json", "scrub", "status"], &dir).stdout).contains("\"state\":\"running\"");
    common::until("a scrub that runs", is_running);
    mount.unmount();
    let told = waits.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.code() == Some(15) && said.contains("goes on with the next mount"), "{told:?}");
    let status = ask(&["status"], &dir);
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(status.status.code() == Some(15) && said.contains("nothing is mounted there"), "{said}");
}
