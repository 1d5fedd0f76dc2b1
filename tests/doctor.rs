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
        let all = findings["findings"].as_array().expect("a list").clone();
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

/// What a doctor says who was called so, and how it ends.
struct Seen {
    code: Option<i32>,
    findings: Vec<serde_json::Value>,
}

impl Seen {
    fn of(command: &mut Command) -> Self {
        let output = command.output().expect("it starts");
        let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Self { code: output.status.code(), findings: findings["findings"].as_array().expect("a list").clone() }
    }

    /// Requires that it was found, with a grade, words that say so, and advice.
    fn finds(&self, what: &str, grade: &str, words: &str) {
        let is_it = |finding: &&serde_json::Value| {
            finding["what"] == what && finding["grade"] == grade && finding["found"].as_str().is_some_and(|found| found.contains(words))
        };
        let found = self.findings.iter().find(is_it).unwrap_or_else(|| panic!("{what} is not {grade}, {words}: {:?}", self.findings));
        assert!(found["advice"].as_str().is_some_and(|advice| advice.len() > 10), "{found}");
        assert_eq!(self.code == Some(1), self.findings.iter().any(|finding| finding["grade"] == "bad"), "{:?}", self.findings);
    }
}

fn doctor() -> Command {
    let mut command = infmap();
    command.args(["--json", "doctor"]);
    command
}

fn under_limit(limit: &str) -> Seen {
    Seen::of(Command::new("bash").args(["-c", &format!("ulimit {limit}; exec \"$0\" --json doctor"), common::INFMAP]))
}

/// Faults 1 to 5 of ten and more: of the machine, and of what the process may have.
#[test]
fn faults_of_the_machine_are_found() {
    under_limit("-n 100").finds("open files", "fair", "100 at a time");
    under_limit("-f 1000").finds("size of files", "bad", "1000.0 KiB");
    Seen::of(doctor().env("INFMAP__MEMORY__BUDGET", "1TiB")).finds("memory", "bad", "memory.budget is 1.0 TiB");
    Seen::of(doctor().env("INFMAP__MEMORY__BUDGET", "plenty")).finds("memory", "bad", "settings are refused");
    let grade = if rustix::process::geteuid().is_root() { "fair" } else { "bad" };
    Seen::of(doctor().env("PATH", "/nonexistent")).finds("fusermount3", grade, "");
}

/// Faults 6 to 10: of a volume.
#[test]
fn faults_of_a_volume_are_found() {
    let of = |volume: &Volume| Seen::of(doctor().arg(volume.path()));
    let sound = Volume::new();
    assert!(of(&sound).findings.iter().any(|finding| finding["what"] == "last mount" && finding["grade"] == "good"));
    fs::write(sound.path().join("config.yaml"), "memory:\n  budgte: 1GiB\n").expect("written");
    of(&sound).finds("its settings", "bad", "budgte");
    let newer = Volume::new();
    let yaml = fs::read_to_string(newer.path().join("volume.yaml")).expect("read");
    fs::write(newer.path().join("volume.yaml"), yaml.replacen("format: 1", "format: 99", 1)).expect("written");
    of(&newer).finds("volume", "bad", "format version 99");
    fs::remove_file(newer.path().join("volume.yaml")).expect("removed");
    of(&newer).finds("volume", "bad", "is not a volume");
    let Some(left) = Volume::if_mountable() else { return };
    let mount = left.mount();
    fs::write(mount.path("kept"), "x").expect("written");
    fs::File::open(mount.path("kept")).and_then(|file| file.sync_all()).expect("synced");
    mount.kill();
    of(&left).finds("last mount", "fair", "without finishing");
    fs::remove_dir_all(left.path().join("wal")).expect("removed");
    fs::create_dir(left.path().join("wal")).expect("made");
    of(&left).finds("last mount", "bad", "its log is gone");
}

/// Faults 11 to 14: of mounts.
#[test]
fn faults_of_mounts_are_found() {
    let Some(volume) = Volume::if_mountable() else { return };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let setting = format!("http.listen={}", taken.local_addr().expect("an address"));
    let mount = volume.mount_with(&["--set", &setting]);
    Seen::of(&mut doctor()).finds("mount", "fair", "no metrics are served");
    let mut noise = vec![0; 3 << 20];
    common::Numbers(1).fill(&mut noise);
    fs::write(mount.path("noise"), &noise).expect("written");
    mount.unmount();
    // A row of pixels that parity covers: read, and told.
    for image in volume.images() {
        use std::os::unix::fs::FileExt;
        let file = fs::File::options().read(true).write(true).open(&image).expect("open");
        let mut byte = [0];
        file.read_exact_at(&mut byte, 9_000).expect("read");
        file.write_all_at(&[byte[0] ^ 1], 9_000).expect("written");
    }
    let mount = volume.mount();
    assert!(fs::read(mount.path("noise")).expect("restored") == noise);
    let place = mount.dir().to_string_lossy().into_owned();
    Seen::of(&mut doctor()).finds("mount", "fair", &format!("{place}: read and write, but what is stored is damaged"));
    // Its files cannot be written to any more.
    let pid = rustix::process::Pid::from_raw(mount.pid() as i32).expect("a pid");
    let limit = rustix::process::Rlimit { current: Some(0), maximum: rustix::process::getrlimit(rustix::process::Resource::Fsize).maximum };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, limit).expect("limited");
    fs::write(mount.path("more"), "x").and_then(|()| fs::File::open(mount.path("more"))?.sync_all()).expect_err("the log takes nothing");
    Seen::of(&mut doctor()).finds("mount", "bad", &format!("{place}: read-only since"));
    mount.kill();
    Seen::of(&mut doctor()).finds("mount", "bad", "has died");
    volume.mount().unmount();
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
