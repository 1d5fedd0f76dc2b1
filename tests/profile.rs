//! The access log of a mount, and what `infmap profile` says of it.

mod common;

use common::{Volume, can_mount, infmap};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Output, Stdio};

fn profile(arguments: &[&str]) -> Output {
    infmap().arg("profile").args(arguments).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_mount_notes_its_requests_without_names_and_profile_tells_them() {
    if !can_mount() {
        return;
    }
    let volume = Volume::new();
    let mount = volume.mount_with(&["--set", "log.access=true"]);
    let content = vec![7; 1 << 20];
    fs::write(mount.path("a secret name"), &content).expect("written");
    assert_eq!(fs::metadata(mount.path("another one")).map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::NotFound));
    let inode = fs::metadata(mount.path("a secret name")).expect("there").ino();
    mount.unmount();
    let log = volume.path().join("run/access.log");
    assert_eq!(log.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    let lines = fs::read_to_string(&log).expect("readable");
    assert!(!lines.contains("secret") && lines.contains(" ENOENT "), "{lines}");
    let path = volume.path();
    let of_volume = profile(&["--json", path.to_str().expect("UTF-8")]);
    let report: serde_json::Value = serde_json::from_slice(&of_volume.stdout).expect("JSON");
    assert_eq!((&report["message_type"], &report["version"], &report["bad_lines"]), (&"profile".into(), &1.into(), &0.into()), "{report}");
    assert_eq!(report["writes"]["bytes"].as_u64(), Some(1 << 20), "{report}");
    let ops: Vec<&str> = report["ops"].as_array().expect("a list").iter().filter_map(|op| op["op"].as_str()).collect();
    assert!(["write", "lookup", "create"].iter().all(|op| ops.contains(op)), "{ops:?}");
    assert!(report["inodes"].as_array().expect("a list").iter().any(|hot| hot["inode"].as_u64() == Some(inode)), "{report}");
    let shown = text(&profile(&["--top", "1", log.to_str().expect("UTF-8")]).stdout);
    assert!(shown.contains("\nOPERATION ") && shown.contains("\nWrites: 1.0 MiB, ") && shown.contains("\nINODE "), "{shown}");
}

#[test]
fn a_mount_notes_nothing_unless_it_is_asked_to() {
    if !can_mount() {
        return;
    }
    let volume = Volume::new();
    let mount = volume.mount();
    fs::write(mount.path("file"), b"content").expect("written");
    mount.unmount();
    assert!(!volume.path().join("run/access.log").exists());
}

#[test]
fn logs_are_read_from_files_and_stdin_and_bad_lines_are_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    fs::write(&path, "1000 read 5 0 4096 ok 10\nnonsense\n2000 read 5 4096 4096 ok 20\n").expect("written");
    let path = path.to_str().expect("UTF-8");
    let shown = text(&profile(&[path]).stdout);
    assert!(shown.starts_with("2 requests in 0.0 s, 1 lines that are none.\n"), "{shown}");
    assert!(shown.contains("Reads: 8.0 KiB, 100.0% one after the other; 2 up to 4.0 KiB"), "{shown}");
    let mut child = infmap().args(["profile", path, "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(b"3000 write 6 0 1 EIO 5\n# dropped 4\n").expect("taken");
    let shown = text(&child.wait_with_output().expect("it ended").stdout);
    assert!(shown.starts_with("3 requests in 0.0 s, 4 more that were not noted, 1 lines that are none.\n"), "{shown}");
    let empty = directory.path().join("empty");
    fs::write(&empty, "").expect("written");
    assert_eq!(text(&profile(&[empty.to_str().expect("UTF-8")]).stdout), "0 requests in 0.0 s.\n");
    let missing = profile(&["/nonexistent/log"]);
    assert!(
        missing.status.code() == Some(1) && text(&missing.stderr).contains("error[IM1060]: cannot read /nonexistent/log"),
        "{missing:?}"
    );
    assert_eq!(profile(&[]).status.code(), Some(2));
}
