//! `infmap clean`: what lives moves together, and the room of what does not comes back, with a mount and without.
//!
//! Must be true: no byte of a file changes, whoever reads meanwhile; a second call has nothing to do; the volume is clean by `check`.
//! Needs root and /dev/fuse; where those are missing each test says so and ends.

mod common;

use common::{Mount, Numbers, Volume, infmap};
use serde_json::Value;
use std::fs;
use std::path::Path;

const FILES: usize = 48;
const FILE_BYTES: usize = 1 << 20;

fn content(number: usize) -> Vec<u8> {
    let mut content = vec![0; FILE_BYTES];
    Numbers(number as u64 + 1).fill(&mut content);
    content
}

fn name(number: usize) -> String {
    format!("file{number}")
}

fn fill(mount: &Mount) {
    for number in 0..FILES {
        fs::write(mount.path(&name(number)), content(number)).expect("written");
    }
}

/// Removes most of them: each image is left with a little.
fn thin_out(mount: &Mount) {
    for number in (0..FILES).filter(|number| number % 4 != 0) {
        fs::remove_file(mount.path(&name(number))).expect("removed");
    }
}

fn require_files(mount: &Mount) {
    for number in (0..FILES).step_by(4) {
        assert!(fs::read(mount.path(&name(number))).expect("read") == content(number), "file {number}");
    }
}

fn image_bytes(volume: &Volume) -> u64 {
    volume.images().iter().map(|path| fs::metadata(path).map_or(0, |found| found.len())).sum()
}

fn clean(path: &Path) -> Value {
    let output = infmap().args(["--json", "clean"]).arg(path).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value["message_type"], "cleaned");
    value["cleaned"].clone()
}

#[test]
fn room_comes_back_while_it_is_mounted_and_while_it_is_not() {
    for is_mounted in [true, false] {
        let Some(volume) = Volume::if_mountable() else { return };
        // It is not to clean by itself before it is asked to.
        let arguments = ["--set", "actors.cleaner.start_at_dead=95%"];
        let mount = volume.mount_with(&arguments);
        fill(&mount);
        mount.unmount();
        let mount = volume.mount_with(&arguments);
        thin_out(&mount);
        mount.unmount();
        let before = image_bytes(&volume);
        let mount = is_mounted.then(|| volume.mount_with(&arguments));
        let gained = match &mount {
            Some(mount) => clean(mount.dir()),
            None => clean(&volume.path()),
        };
        assert!(gained["images"].as_u64() > Some(0) && gained["damaged"] == 0, "{gained}");
        assert!(gained["image_bytes"].as_u64() > gained["written_bytes"].as_u64(), "{gained}");
        let mount = mount.unwrap_or_else(|| volume.mount());
        require_files(&mount);
        assert_eq!(clean(mount.dir())["images"], 0, "nothing is left to do");
        mount.unmount();
        let after = image_bytes(&volume);
        let live = (FILES / 4 * FILE_BYTES) as u64;
        assert!(after < live + live / 2 && before > 2 * live, "{before} bytes before, {after} after");
        volume.check();
    }
}

#[test]
fn what_cannot_be_cleaned_is_told() {
    let Some(volume) = Volume::if_mountable() else { return };
    let refused = |path: &Path| {
        let output = infmap().arg("clean").arg(path).output().expect("it starts");
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(Path::new("/nowhere")).contains("/nowhere"));
    let mount = volume.mount();
    fs::write(mount.path("file"), "text").expect("written");
    mount.unmount();
    let mount = volume.mount_with(&["-o", "ro"]);
    let text = refused(mount.dir());
    assert!(text.contains("read-only") && text.contains("IM1055"), "{text}");
    assert_eq!(fs::read(mount.path("file")).expect("read"), b"text");
    mount.unmount();
}
