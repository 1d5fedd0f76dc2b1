//! The program as a person calls it: what it prints, where, and how it exits.

use std::process::{Command, Output};

fn infmap(arguments: &[&str]) -> Output {
    // Settings of whoever runs the tests must not reach them.
    let mut command = Command::new(env!("CARGO_BIN_EXE_infmap"));
    command.args(arguments).env("XDG_CONFIG_HOME", "/nonexistent").env_remove("INFMAP__MEMORY__BUDGET");
    command.output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A call, its exit code, and what stderr begins with.
const REFUSED: &[(&[&str], i32, &str)] = &[
    (&["moutn"], 2, "error[IM1001]: unrecognized subcommand"),
    (&["init"], 2, "error[IM1001]: the following required arguments"),
    (&["init", "--limit", "5", "/nonexistent/v"], 2, "error[IM1001]: --limit: `5` is not a size"),
    (&["mount", "/nonexistent/v", "/nonexistent/m"], 10, "error[IM1010]: there is no volume at /nonexistent/v"),
    (&["mount", "-f", "/proc", "/nonexistent/m"], 10, "error[IM1011]: /proc is not a volume"),
    (&["mount", "--wait", "3", "/proc", "/tmp"], 2, "error[IM1001]: invalid value '3' for '--wait"),
    (
        &["mount", "--wait", "-1s", "/proc", "/tmp"],
        2,
        "error[IM1001]: invalid value '-1s' for '--wait <WAIT>': write it as 500ms, 30s or 5m",
    ),
    (&["init", "--limit", "-5GiB", "/nonexistent/v"], 2, "error[IM1001]: --limit: `-5GiB` is not a size"),
    (&["--json", "map"], 2, "{\"code\":\"IM1001\""),
    (&["mount", "-o", "ro,noatme", "/proc", "/tmp"], 2, "error[IM1003]: unknown mount option `noatme`\nhelp: did you mean `noatime`?"),
    (&["umount", "/nonexistent/m"], 15, "error[IM1033]: /nonexistent/m is not mounted"),
    (&["unmount", "/proc"], 15, "error[IM1034]: /proc is a mount of type proc"),
    (&["fsck", "/nonexistent/v"], 10, "error[IM1010]"),
    (&["config", "check", "/nonexistent.yaml"], 2, "error[IM1002]: there is no file"),
    (&["config", "show", "--set", "memory.budget=1MiB"], 2, "error[IM1002]: `memory.budget`: `1MiB` is out of range\n  --> --set:1:15"),
];

#[test]
fn every_refusal_has_a_code_a_help_line_and_an_exit_code() {
    for (arguments, exit, begins) in REFUSED {
        let output = infmap(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*exit), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with(begins), "{arguments:?}: {stderr}");
        assert!((stderr.contains("\nhelp: ") || stderr.contains("\"help\":")) && output.stdout.is_empty(), "{arguments:?}: {stderr}");
    }
}

#[test]
fn errors_are_json_when_json_is_asked_for() {
    let output = infmap(&["--json", "info", "/nonexistent/v"]);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("one JSON object");
    assert_eq!((&error["code"], &error["exit"], output.status.code()), (&"IM1010".into(), &10.into(), Some(10)));
}

#[test]
fn facts_go_to_stdout_and_nothing_else_does() {
    let output = infmap(&["version", "--json"]);
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&facts["program_version"], output.stderr.len()), (&env!("CARGO_PKG_VERSION").into(), 0));
}

#[test]
fn what_config_show_prints_is_a_config() {
    let shown = infmap(&["config", "show", "--set", "memory.budget=48MiB"]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &shown.stdout).expect("written");
    let path = file.path().to_str().expect("UTF-8");
    assert!(infmap(&["config", "check", path]).status.success());
    assert_eq!(infmap(&["config", "show", "--config", path]).stdout, shown.stdout);
}

#[test]
fn a_mountpoint_that_overlaps_the_volume_is_refused_in_the_daemon_too() {
    let volume = tempfile::tempdir().expect("a directory");
    std::fs::write(volume.path().join("volume.yaml"), "").expect("written");
    let path = volume.path().to_str().expect("UTF-8");
    for daemon in [&["mount", path, path][..], &["mount", "-d", path, path], &["--json", "mount", path, path, "--daemon"]] {
        let output = infmap(daemon);
        assert_eq!(output.status.code(), Some(15), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("IM1031"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_locked_volume_is_refused_with_its_owner() {
    let volume = tempfile::tempdir().expect("a directory");
    std::fs::write(volume.path().join("volume.yaml"), "").expect("written");
    let mountpoint = tempfile::tempdir().expect("a directory");
    let _lock = infmap::mount::lock::VolumeLock::take(volume.path(), None, std::time::Duration::ZERO).expect("free");
    let (volume, mountpoint) = (volume.path().to_str().expect("UTF-8"), mountpoint.path().to_str().expect("UTF-8"));
    for call in [&["check", volume][..], &["mount", "--wait", "1ms", volume, mountpoint]] {
        let output = infmap(call);
        assert_eq!(output.status.code(), Some(11), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(&format!("process {}", std::process::id())), "{}", text(&output.stderr));
    }
}

#[test]
fn mount_8_finds_its_helper_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let helper = dir.path().join("mount.infmap");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_infmap"), &helper).expect("linked");
    let run = |arguments: &[&str]| Command::new(&helper).args(arguments).output().expect("it starts").status.code();
    assert_eq!(run(&["/nonexistent/v", "/nonexistent/m", "-o", "rw,nofail"]), Some(32));
    assert_eq!(run(&["/nonexistent/v", "/nonexistent/m", "-o", "nonsense"]), Some(1));
    assert_eq!(run(&["/nonexistent/v"]), Some(1));
    assert_eq!(run(&["/nonexistent/v", "/nonexistent/m", "-f"]), Some(0));
}

#[test]
fn what_an_interrupted_init_left_is_told_as_that_and_made_a_volume_by_the_next() {
    let temp = tempfile::tempdir().expect("a directory");
    let path = temp.path().join("v");
    let volume = path.to_str().expect("UTF-8");
    assert!(infmap(&["init", volume]).status.success());
    // As it is a moment before the last step, and in the middle.
    for missing in [&["volume.yaml"][..], &["volume.yaml", "run"]] {
        for name in missing {
            let name = path.join(name);
            if name.is_dir() { std::fs::remove_dir(name) } else { std::fs::remove_file(name) }.expect("removed");
        }
        for verb in [&["check", volume][..], &["info", volume], &["mount", volume, "/nonexistent/m"]] {
            let output = infmap(verb);
            let said = text(&output.stderr);
            assert!(output.status.code() == Some(10) && said.contains("an `init` that was interrupted has left"), "{said}");
            assert!(said.contains(&format!("help: `infmap init {volume}`")), "{said}");
        }
        let output = infmap(&["init", volume]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(infmap(&["check", volume]).status.success());
        std::fs::remove_file(path.join("lock")).expect("made by check");
    }
    // The same with a lock was a volume once: its log may be all that is left of it.
    std::fs::remove_file(path.join("volume.yaml")).expect("removed");
    std::fs::write(path.join("lock"), "").expect("written");
    let output = infmap(&["init", volume]);
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("error[IM1012]"), "{}", text(&output.stderr));
    assert!(text(&infmap(&["check", volume]).stderr).contains("take volume.yaml from a backup"));
    assert!(path.join("wal/0000000000000001.seg").is_file());
}

#[test]
fn two_inits_of_one_directory_do_not_undo_each_other() {
    let temp = tempfile::tempdir().expect("a directory");
    let directory = std::fs::File::open(temp.path()).expect("a directory");
    rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive).expect("free");
    let output = infmap(&["init", temp.path().to_str().expect("UTF-8")]);
    assert!(!output.status.success() && text(&output.stderr).contains("another process is making a volume there"), "{output:?}");
    assert_eq!(std::fs::read_dir(temp.path()).expect("listed").count(), 0);
}

/// The kernel would end the daemon, or another process, when the memory is used: long after the mount.
#[test]
fn a_budget_above_the_memory_of_the_machine_is_refused_by_a_mount_and_noted_by_config_check() {
    let temp = tempfile::tempdir().expect("a directory");
    let (volume, mountpoint) = (temp.path().join("v"), temp.path().join("m"));
    let (volume, mountpoint) = (volume.to_str().expect("UTF-8"), mountpoint.to_str().expect("UTF-8"));
    assert!(infmap(&["init", volume]).status.success());
    std::fs::create_dir(mountpoint).expect("made");
    for daemon in [&["mount"][..], &["mount", "-d"]] {
        let output = infmap(&[daemon, &["--set", "memory.budget=1TiB", volume, mountpoint]].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.starts_with("error[IM1002]: memory.budget is 1.0 TiB, and the ") && said.contains("\nhelp: set memory.budget"),
            "{said}"
        );
    }
    let file = temp.path().join("large.yaml");
    std::fs::write(&file, "memory: { budget: 1TiB }\n").expect("written");
    let output = infmap(&["config", "check", file.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "it may be for another machine: {output:?}");
    assert!(
        text(&output.stderr).starts_with("note: memory.budget is 1.0 TiB") && text(&output.stdout).contains("no mistakes"),
        "{output:?}"
    );
}

#[test]
fn a_full_disk_behind_stdout_is_told_and_not_blamed_on_the_volume() {
    let temp = tempfile::tempdir().expect("a directory");
    let volume = temp.path().join("v");
    let volume = volume.to_str().expect("UTF-8");
    for call in [&["init", volume][..], &["info", volume], &["--json", "info", volume], &["check", volume], &["--help"], &["--version"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
        let mut command = Command::new(env!("CARGO_BIN_EXE_infmap"));
        let output = command.args(call).env("XDG_CONFIG_HOME", "/nonexistent").stdout(full).output().expect("it starts");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(14), "{call:?}: {said}");
        assert!(said.contains("no room is left where stdout is written") && !said.contains("holds the volume"), "{call:?}: {said}");
    }
}

#[test]
fn info_prints_the_facts_although_the_settings_of_the_volume_are_bad() {
    let temp = tempfile::tempdir().expect("a directory");
    let path = temp.path().join("v");
    let volume = path.to_str().expect("UTF-8");
    assert!(infmap(&["init", "--limit", "1GiB", volume]).status.success());
    std::fs::write(path.join("config.yaml"), "limit: 1GB\n").expect("written");
    let output = infmap(&["info", volume]);
    let said = text(&output.stderr);
    assert!(output.status.success() && text(&output.stdout).contains("\nlimit      unknown\n"), "{output:?}");
    assert!(said.starts_with("note: the settings are refused, and a mount will be: ") && said.contains("`1GB` is not a size"), "{said}");
    let output = infmap(&["--json", "info", volume]);
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(info["limit_bytes"].is_null() && info["settings_error"].as_str().is_some_and(|error| error.contains("1GB")), "{info}");
    assert_eq!((info["inodes"].as_u64(), output.stderr.len()), (Some(1), 0));
}

/// A name can be made by whoever writes into a directory, and is shown to somebody else.
#[test]
fn names_are_no_commands_to_the_terminal() {
    let temp = tempfile::tempdir().expect("a directory");
    let path = temp.path().join("v\x1b[2J\r\n");
    let volume = path.to_str().expect("UTF-8");
    let made = infmap(&["init", "--label", "\x1b]0;owned\x07\nstate clean", volume]);
    assert!(made.status.success(), "{made:?}");
    let calls = [infmap(&["info", volume]), infmap(&["info", &format!("{volume}none")]), infmap(&["umount", volume])];
    for output in [made].into_iter().chain(calls) {
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.contains("\\x1b") && !said.contains(['\x1b', '\x07', '\r']), "{said:?}");
        assert!(!said.contains("\nstate clean"), "{said:?}");
    }
}
