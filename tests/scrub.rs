//! `infmap scrub` on a real mount: what is damaged is put back while files are read, what cannot be is told, and the exit codes say which.
//!
//! Needs /dev/fuse and the right to mount; where those are missing each test says so and ends.

mod common;

use common::{Mount, Numbers, Volume, infmap, until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A call of `infmap scrub`: exit code, stdout, stderr.
fn scrub(arguments: &[&str], path: &Path) -> (Option<i32>, String, String) {
    let (verb, options) = arguments.split_first().expect("a verb");
    let output = infmap().args(["scrub", verb]).args(options).arg(path).output().expect("infmap starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(!text(&output.stderr).contains("panicked"), "{output:?}");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn json(path: &Path) -> Value {
    let output = infmap().args(["--json", "scrub", "status", "--history"]).arg(path).output().expect("infmap starts");
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((&facts["message_type"], &facts["version"]), (&"scrub".into(), &1.into()));
    facts["scrub"].clone()
}

struct Sample {
    volume: Volume,
    files: BTreeMap<String, Vec<u8>>,
    images: BTreeMap<PathBuf, Vec<u8>>,
}

impl Sample {
    fn if_mountable() -> Option<Self> {
        let volume = Volume::if_mountable()?;
        let (mut numbers, mut files) = (Numbers(11), BTreeMap::new());
        let mount = volume.mount();
        fs::create_dir(mount.path("some dir")).expect("made");
        for n in 0..10 {
            let name = if n % 2 == 0 { format!("some dir/file{n}") } else { format!("file{n}") };
            let mut content = vec![0; 1_000_000 + 50_001 * n];
            numbers.fill(&mut content);
            fs::write(mount.path(&name), &content).expect("written");
            files.insert(name, content);
        }
        mount.unmount();
        let images = volume.images().into_iter().map(|path| (path.clone(), fs::read(&path).expect("read"))).collect();
        Some(Self { volume, files, images })
    }

    /// Damages each image in so many rows; beyond what parity restores only those of files, so that the tables can be read.
    fn harm(&self, rows: u64) {
        for (path, _) in self.images.iter().filter(|(_, bytes)| rows <= 32 || bytes.len() > 1 << 20) {
            let file = File::options().read(true).write(true).open(path).expect("opened");
            for row in 0..rows {
                let at = 1040 + (row / 4) * 16_405 + (row % 4) * 4097 + row * 83;
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).expect("read");
                file.write_all_at(&[byte[0] ^ 0x10], at).expect("written");
            }
            file.sync_all().expect("synced");
        }
    }

    fn images_are_sound(&self) -> bool {
        self.images.iter().all(|(path, bytes)| fs::read(path).is_ok_and(|found| found == *bytes))
    }

    fn read_all(&self, mount: &Mount) {
        for (name, content) in &self.files {
            assert!(fs::read(mount.path(name)).expect("read") == *content, "{name}");
        }
    }
}

#[test]
fn what_is_damaged_is_put_back_while_it_is_mounted_and_the_exit_codes_say_so() {
    let Some(sample) = Sample::if_mountable() else { return };
    let mount = sample.volume.mount();
    let (code, shown, said) = scrub(&["start", "--wait"], mount.dir());
    assert!(code == Some(0) && shown.contains("Error summary:    no errors found") && shown.contains("(100.00%)"), "{shown}{said}");
    sample.harm(20);
    assert!(!sample.images_are_sound());
    let (code, shown, said) = scrub(&["start", "-B"], &sample.volume.path());
    assert!(code == Some(4) && said.starts_with("error[IM1073]"), "{shown}{said}");
    assert!(shown.contains(&format!("  Corrected:      {}\n", sample.images.len())), "{shown}");
    assert!(sample.images_are_sound());
    sample.read_all(&mount);
    assert!(
        json(mount.dir())["history"].as_array().is_some_and(|runs| runs.len() == 2 && runs[0]["found"]["corrected"].as_u64() > Some(0))
    );
    let status = infmap().arg("status").arg(mount.dir()).output().expect("infmap starts");
    assert!(String::from_utf8_lossy(&status.stdout).contains("\nscrub     finished 2"), "{status:?}");
    for arguments in [&["status"][..], &["wait"], &["status", "--history"]] {
        assert_eq!(scrub(arguments, mount.dir()).0, Some(4), "the last run says what it found");
    }
    assert_eq!(scrub(&["start", "--wait"], mount.dir()).0, Some(0), "there is nothing left to do");
    mount.unmount();
    sample.volume.check();
}

#[test]
fn a_file_that_is_read_has_its_images_put_back_on_the_disk() {
    let Some(sample) = Sample::if_mountable() else { return };
    sample.harm(30);
    let mount = sample.volume.mount();
    sample.read_all(&mount);
    until("an image as it was written", || {
        let mut of_files = sample.images.iter().filter(|(_, bytes)| bytes.len() > 1 << 20);
        of_files.all(|(path, bytes)| fs::read(path).is_ok_and(|found| found == *bytes))
    });
    assert!(json(mount.dir())["suspected"].as_u64() > Some(0));
    sample.read_all(&mount);
    mount.unmount();
}

#[test]
fn what_is_beyond_parity_is_told_and_a_read_only_mount_changes_nothing() {
    let Some(sample) = Sample::if_mountable() else { return };
    sample.harm(20);
    let harmed: Vec<Vec<u8>> = sample.images.keys().map(|path| fs::read(path).expect("read")).collect();
    let mount = sample.volume.mount_with(&["-o", "ro"]);
    let (code, shown, said) = scrub(&["start", "--wait"], mount.dir());
    assert!(code == Some(4) && said.starts_with("error[IM1025]") && shown.contains("  Not corrected:  "), "{shown}{said}");
    mount.unmount();
    assert!(sample.images.keys().map(|path| fs::read(path).expect("read")).eq(harmed), "nothing was written");
    let mount = sample.volume.mount();
    assert_eq!(scrub(&["start", "--wait"], mount.dir()).0, Some(4));
    sample.harm(45);
    let (code, shown, said) = scrub(&["start", "--wait"], mount.dir());
    assert!(code == Some(3) && said.starts_with("error[IM1072]") && shown.contains("  Lost:           "), "{shown}{said}");
    assert_eq!(scrub(&["status"], mount.dir()).0, Some(3));
    let listed = || infmap().args(["damage", "ls"]).arg(mount.dir()).output().expect("infmap starts");
    let (damage, files) = (listed(), sample.files.keys());
    assert_eq!(damage.status.code(), Some(3), "{damage:?}");
    let named = files.filter(|name| String::from_utf8_lossy(&damage.stdout).contains(*name)).count();
    assert!(named > 0, "files are named: {damage:?}");
    // One place, with a sign of its own in both numbers, and what there is not.
    let of_file = sample.images.iter().find(|(_, bytes)| bytes.len() > 1 << 20).map(|(path, _)| path);
    let place = of_file.and_then(|path| path.file_name()?.to_str()?.split_once('.').map(|(place, _)| place.replace('_', ",")));
    let place = place.expect("an image");
    let (code, shown, _) = scrub(&["start", "--wait", &format!("--region={place}")], mount.dir());
    assert!(code == Some(3) && shown.contains("Only:             the image at ("), "{shown}");
    assert_eq!(json(mount.dir())["history"][0]["images"], 1);
    let (code, _, said) = scrub(&["start", "--region", "-500,-500"], mount.dir());
    assert!(code == Some(2) && said.contains("no image at that place"), "{said}");
    // What was copied back from a backup is sound, and the list says so.
    sample.images.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("written"));
    assert_eq!(scrub(&["start", "--wait"], mount.dir()).0, Some(0));
    assert_eq!(listed().status.code(), Some(0), "{:?}", listed());
    let mut mount = mount;
    mount.terminate();
    assert!(mount.join().success());
}

#[test]
fn a_run_is_paused_survives_a_kill_goes_on_and_is_cancelled() {
    let Some(sample) = Sample::if_mountable() else { return };
    let (code, _, said) = scrub(&["status"], &sample.volume.path());
    assert!(code == Some(15) && said.contains("error[IM1033]") && said.contains("infmap check"), "{said}");
    let mount = sample.volume.mount();
    for order in ["pause", "resume", "cancel", "wait"] {
        let (code, _, said) = scrub(&[order], mount.dir());
        assert!(code == Some(1) && said.starts_with("error[IM1071]"), "{order}: {said}");
    }
    assert_eq!(scrub(&["start", "--limit", "2MiB/s"], mount.dir()).0, Some(0));
    let (code, _, said) = scrub(&["start"], mount.dir());
    assert!(code == Some(1) && said.starts_with("error[IM1070]"), "{said}");
    let (code, shown, said) = scrub(&["start", "--join"], mount.dir());
    assert!(code == Some(0) && shown.starts_with("It began, "), "{shown}{said}");
    until("an image", || json(mount.dir())["run"]["images"].as_u64() > Some(0));
    let (code, shown, _) = scrub(&["pause"], mount.dir());
    assert!(code == Some(0) && shown.starts_with("It is paused, "), "{shown}");
    let paused = json(mount.dir())["run"].clone();
    assert_eq!(paused["state"], "paused");
    let (code, _, said) = scrub(&["wait"], mount.dir());
    assert!(code == Some(1) && said.contains("paused"), "{said}");
    mount.kill();
    let mount = sample.volume.mount();
    let found = json(mount.dir())["run"].clone();
    assert_eq!((&found["state"], &found["bytes"], &found["started"]), (&paused["state"], &paused["bytes"], &paused["started"]));
    assert_eq!(scrub(&["resume"], mount.dir()).0, Some(0));
    let (code, shown, _) = scrub(&["wait"], mount.dir());
    assert!(code == Some(0) && shown.contains("Status:           finished"), "{shown}");
    // A path as it is called in the mount and from outside.
    let outside = mount.path("some dir");
    for path in ["/some dir", "some dir/", outside.to_str().expect("UTF-8")] {
        let (code, shown, said) = scrub(&["start", "--wait", "--path", path], mount.dir());
        assert!(code == Some(0) && shown.contains("the images of /some dir"), "{path}: {shown}{said}");
    }
    let (code, _, said) = scrub(&["start", "--path", "/no such"], mount.dir());
    assert!(code == Some(2) && said.contains("no such path"), "{said}");
    assert_eq!(scrub(&["start", "--limit", "64KiB/s"], mount.dir()).0, Some(0));
    assert_eq!(scrub(&["cancel"], mount.dir()).0, Some(0));
    let (code, shown, _) = scrub(&["wait"], mount.dir());
    assert!(code == Some(1) && shown.contains("aborted (it was cancelled)"), "{shown}");
    // An unmount interrupts; the next mount goes on by itself.
    assert_eq!(scrub(&["start", "--limit", "2MiB/s"], mount.dir()).0, Some(0));
    mount.unmount();
    let kept = || fs::read(sample.volume.path().join("run/scrub.json")).expect("read");
    let facts: Value = serde_json::from_slice(&kept()).expect("JSON");
    assert_eq!(facts["run"]["state"], "interrupted", "{facts}");
    // Where nothing may be changed nobody goes on with it, and another one can be had beside it.
    let before = kept();
    let mount = sample.volume.mount_with(&["-o", "ro"]);
    let (code, _, said) = scrub(&["wait"], mount.dir());
    assert!(code == Some(1) && said.starts_with("error[IM1071]") && said.contains("read-only"), "{said}");
    assert_eq!(scrub(&["start", "--wait"], mount.dir()).0, Some(0));
    mount.unmount();
    assert!(kept() == before);
    let mount = sample.volume.mount_with(&["-o", "durability.commit_interval=100ms"]);
    let (code, shown, _) = scrub(&["wait"], mount.dir());
    assert!(code == Some(0) && shown.contains("Status:           finished"), "{shown}");
    sample.read_all(&mount);
    mount.unmount();
    sample.volume.check();
}
