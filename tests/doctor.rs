//! `infmap doctor`: what it finds here, and its drill, which leaves nothing behind however it ends.

mod common;

use common::{Volume, can_mount, infmap};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn doctor_finds_that_this_machine_can_do_it_and_names_a_dead_mount() {
    let Some(volume) = Volume::if_mountable() else { return };
    let doctor = || infmap().args(["--json", "doctor"]).output().expect("it starts");
    let mount = volume.mount();
    let findings: serde_json::Value = serde_json::from_slice(&doctor().stdout).expect("JSON");
    let grade = |findings: &serde_json::Value, what: &str, holds: &str| {
        let all = findings.as_array().expect("a list").clone();
        let found = all.into_iter().find(|f| f["what"] == what && f["found"].as_str().is_some_and(|found| found.contains(holds)));
        found.unwrap_or_else(|| panic!("{what} {holds} is not looked at: {findings}"))["grade"].clone()
    };
    for what in ["kernel", "/dev/fuse", "memory", "size of files"] {
        assert_eq!(grade(&findings, what, ""), "good", "{what}: {findings}");
    }
    let place = mount.dir().to_string_lossy().into_owned();
    assert_eq!(grade(&findings, "mount", &place), "good");
    mount.kill();
    let output = doctor();
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((grade(&findings, "mount", &place), output.status.code()), ("bad".into(), Some(1)));
    assert!(String::from_utf8_lossy(&output.stderr).contains("IM1053"), "{output:?}");
    volume.mount().unmount();
}

#[test]
fn the_drill_is_as_promised_and_leaves_nothing_behind() {
    if !can_mount() {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("mine"), "untouched").expect("written");
    let said = common::run(infmap().args(["doctor", "--drill", "--in"]).arg(place.path()));
    assert!(said.contains("\n   $ infmap check VOLUME\n") && !said.contains("NOT AS PROMISED"), "{said}");
    assert!(said.contains("REC-6") && said.contains("give EIO, none holds a wrong byte"), "{said}");
    assert_only_mine(place.path());
}

fn assert_only_mine(place: &std::path::Path) {
    let left: Vec<_> = fs::read_dir(place).expect("listed").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(left, ["mine"]);
    assert!(!fs::read_to_string("/proc/self/mountinfo").expect("read").contains(&*place.to_string_lossy()));
}

#[test]
fn a_drill_that_fails_says_in_which_step_and_leaves_nothing_behind() {
    if !can_mount() {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("mine"), "untouched").expect("written");
    // No file may be large: no log can be made.
    let script = "ulimit -f 1000; exec \"$0\" doctor --drill --in \"$1\"";
    let mut shell = Command::new("bash");
    let output = shell.args(["-c", script, common::INFMAP]).arg(place.path()).output().expect("bash starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("error[IM1054]: step 1, Make a volume"), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("NOT AS PROMISED"), "{output:?}");
    assert_only_mine(place.path());
    let output = infmap().args(["doctor", "--drill", "--in", "/nonexistent"]).output().expect("it starts");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("cannot work in /nonexistent"), "{output:?}");
}

#[test]
fn a_drill_that_a_signal_ends_leaves_nothing_behind() {
    if !can_mount() {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("mine"), "untouched").expect("written");
    let drill = infmap().args(["doctor", "--drill", "--in"]).arg(place.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut drill = drill.expect("it starts");
    // The first line is said when the first step is done: a volume is there, and files.
    let mut line = String::new();
    BufReader::new(drill.stdout.as_mut().expect("piped")).read_line(&mut line).expect("read");
    assert!(line.starts_with("1. Make a volume"), "{line}");
    rustix::process::kill_process(rustix::process::Pid::from_child(&drill), rustix::process::Signal::TERM).expect("it lives");
    let output = drill.wait_with_output().expect("waited");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("IM1054") && said.contains("a signal ended the drill"), "{said}");
    assert_only_mine(place.path());
}
