//! What a running mount says of itself: over its control socket, by `infmap status` and `infmap info`, and by how it ends.
//!
//! A log that cannot be written is made by the limit of the size of files of the running daemon: from then on the kernel refuses each of
//! its writes, as a failing disk does.

mod common;

use common::{Mount, Volume, infmap};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn call(verb: &[&str], path: &Path) -> Output {
    infmap().args(verb).arg(path).output().expect("infmap starts")
}

/// Exit code, stdout, stderr.
fn status(path: &Path) -> (Option<i32>, String, String) {
    let output = call(&["status"], path);
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// From now on the daemon's files cannot be written to.
fn forbid_writes(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    let before = rustix::process::getrlimit(Resource::Fsize);
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: Some(0), maximum: before.maximum }).expect("limited");
}

fn write_and_sync(path: &Path) -> std::io::Result<()> {
    fs::write(path, b"something").and_then(|()| File::open(path)?.sync_all())
}

#[test]
fn a_mount_says_how_it_is_as_long_as_it_lives() {
    let Some(volume) = Volume::if_mountable() else { return };
    let (code, _, said) = status(&volume.path());
    assert!(code == Some(15) && said.starts_with("error[IM1033]"), "{said}");
    let mount = volume.mount();
    let socket = volume.path().join("run/control.sock");
    assert_eq!(fs::symlink_metadata(&socket).expect("there").permissions().mode() & 0o777, 0o600);
    for place in [mount.dir(), &volume.path()] {
        let (code, shown, said) = status(place);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
        assert!(shown.contains("\nmode      read and write\n") && shown.contains(&format!("by process {}", mount.pid())), "{shown}");
    }
    let output = call(&["--json", "status"], mount.dir());
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&facts["mode"], facts["pid"].as_u64()), (&"rw".into(), Some(mount.pid().into())));
    assert!(facts["space"]["available_bytes"].as_u64() > Some(0) && facts["actors"].as_array().is_some_and(|pools| pools.len() > 5));
    assert!(text(&call(&["info"], &volume.path()).stdout).contains("\nmode       read and write\n"));
    let all = infmap().arg("status").output().expect("infmap starts");
    assert!(text(&all.stdout).contains(&format!("{}\n", volume.path().display())), "{all:?}");
    mount.unmount();
    assert!(!socket.exists());
    assert_eq!(status(&volume.path()).0, Some(15));
    let mount = volume.mount_with(&["-o", "ro"]);
    let (code, shown, _) = status(mount.dir());
    assert!(code == Some(0) && shown.contains("\nmode      read-only since "), "asked for, so no failure: {shown}");
    mount.unmount();
}

#[test]
fn a_daemon_that_died_is_told_by_status() {
    let Some(volume) = Volume::if_mountable() else { return };
    volume.mount().kill();
    let (code, _, said) = status(&volume.mountpoint());
    assert!(code == Some(8) && said.contains("error[IM1052]") && said.contains("has died"), "{said}");
    assert!(said.contains("clears it and brings back what was synced"), "{said}");
    volume.mount().unmount();
}

/// The first reason and the moment are kept, and everybody who looks is told: people, scripts, and whoever waits for the daemon.
#[test]
fn a_log_that_cannot_be_written_is_told_by_everything_that_looks_at_the_volume() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut mount = volume.mount();
    write_and_sync(&mount.path("before")).expect("synced");
    forbid_writes(mount.pid());
    write_and_sync(&mount.path("after")).expect_err("the log takes nothing");
    assert_turned(&mount, &volume);
    assert_eq!(fs::read(mount.path("before")).expect("what was synced can be read"), b"something");
    let output = call(&["umount"], mount.dir());
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(5) && said.starts_with("error[IM1050]") && said.contains("the log cannot be written"), "{said}");
    let status = mount.join();
    assert_eq!(status.code(), Some(5), "{}", mount.said());
    let lines: Vec<String> = mount.said().lines().filter(|line| line.contains("read-only from now on")).map(Into::into).collect();
    assert!(lines.len() == 1 && lines[0].contains("ERROR"), "{}", mount.said());
    assert!(mount.said().contains("error[IM1050]"), "{}", mount.said());
    let mount = volume.mount();
    assert_eq!(fs::read(mount.path("before")).expect("read"), b"something");
    mount.unmount();
    volume.check();
}

fn assert_turned(mount: &Mount, volume: &Volume) {
    let (code, shown, said) = status(mount.dir());
    assert_eq!(code, Some(5), "{said}");
    assert!(shown.contains("mode      read-only since 2") && shown.contains("the log cannot be written"), "{shown}");
    assert!(said.starts_with("error[IM1050]") && said.contains("the log cannot be written") && said.contains("\nhelp: "), "{said}");
    let info = call(&["info"], &volume.path());
    assert_eq!(info.status.code(), Some(5), "{info:?}");
    assert!(text(&info.stdout).contains("\nmode       read-only since 2") && text(&info.stderr).contains("error[IM1050]"), "{info:?}");
    let json = call(&["--json", "info"], mount.dir());
    let facts: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&facts["mount"]["mode"], &facts["mount"]["failed"]), (&"ro".into(), &true.into()));
    assert!(facts["mount"]["reason"].as_str().is_some_and(|why| why.contains("the log cannot be written")), "{facts}");
}
