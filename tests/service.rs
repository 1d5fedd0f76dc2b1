//! What a service manager hears of a mount, and the units that are shipped for it.

mod common;

use common::{Mount, Volume, can_mount, infmap};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A manager that listens.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("bound");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        Self(socket)
    }

    /// Messages up to the first that begins so.
    fn hear(&self, begins: &str) -> Vec<String> {
        let mut heard: Vec<String> = Vec::new();
        while !heard.last().is_some_and(|last| last.starts_with(begins)) {
            let mut buffer = [0; 4096];
            let length = self.0.recv(&mut buffer).unwrap_or_else(|error| panic!("no {begins}: {error}; heard {heard:?}"));
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        heard
    }
}

#[test]
fn a_service_manager_hears_when_a_mount_answers_that_it_lives_and_when_it_ends() {
    if !can_mount() {
        return;
    }
    let volume = Volume::new();
    let manager = Manager::listen(&volume.beside("notify"));
    let mountpoint = volume.mountpoint();
    let mut command = infmap();
    command.arg("mount").arg("--foreground").arg(volume.path()).arg(&mountpoint);
    command.env("NOTIFY_SOCKET", volume.beside("notify")).env("WATCHDOG_USEC", "2000000");
    let mut mount = Mount::run(&mut command, &mountpoint);
    let heard = manager.hear("READY=1");
    assert!(heard.last().is_some_and(|ready| ready.contains("\nSTATUS=mounted at ")), "{heard:?}");
    assert!(fs::write(mount.path("file"), b"it answers").is_ok());
    manager.hear("WATCHDOG=1");
    manager.hear("WATCHDOG=1");
    mount.terminate();
    manager.hear("STOPPING=1");
    assert!(mount.join().success(), "{}", mount.said());
    volume.check();
}

#[test]
fn a_daemon_that_was_started_by_somebody_else_speaks_to_nobody() {
    if !can_mount() {
        return;
    }
    let volume = Volume::new();
    let manager = Manager::listen(&volume.beside("notify"));
    manager.0.set_nonblocking(true).expect("set");
    let mountpoint = volume.mountpoint();
    let run = |command: &mut Command| assert!(command.status().expect("it starts").success());
    let mut command = infmap();
    run(command.arg("mount").arg("-d").arg(volume.path()).arg(&mountpoint).env("NOTIFY_SOCKET", volume.beside("notify")));
    run(infmap().arg("umount").arg(&mountpoint));
    assert!(manager.0.recv(&mut [0; 100]).is_err());
}

#[test]
fn the_units_that_are_shipped_are_understood_by_systemd() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        println!("skipped: systemd-analyze is not installed");
        return;
    };
    println!("{}", String::from_utf8_lossy(&version.stdout).lines().next().unwrap_or_default());
    let directory = tempfile::tempdir().expect("a directory");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd");
    let mut units = Vec::new();
    for entry in fs::read_dir(&source).expect("listed") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        // The program is where a package would have put it.
        let text = fs::read_to_string(source.join(&name)).expect("readable").replace("/usr/bin/infmap", env!("CARGO_BIN_EXE_infmap"));
        let instance = directory.path().join(name.replace('@', "@photos"));
        fs::write(directory.path().join(&name), &text).expect("written");
        fs::write(&instance, text).expect("written");
        units.push(instance);
    }
    assert_eq!(units.len(), 3);
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let of_ours: Vec<&str> = said.lines().filter(|line| line.contains("infmap")).collect();
    assert!(output.status.success() && of_ours.is_empty(), "{said}");
}

/// Meant to fail with a list of `make install` that had lost `umount.fuse.infmap`.
#[test]
fn the_program_the_package_and_make_install_have_the_same_names_for_helpers() {
    let sbin = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/debian/sbin");
    let mut shipped: Vec<String> =
        fs::read_dir(&sbin).expect("listed").map(|entry| entry.expect("read").file_name().into_string().expect("UTF-8")).collect();
    shipped.sort();
    for name in &shipped {
        assert_eq!(fs::read_link(sbin.join(name)).expect("a link"), Path::new("../bin/infmap"), "{name}");
    }
    let into = tempfile::tempdir().expect("a directory");
    let output = infmap().args(["--json", "install-helpers", "--into"]).arg(into.path()).output().expect("it starts");
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut named: Vec<&str> = facts["names"].as_array().expect("a list").iter().filter_map(|name| name.as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, shipped);
    let makefile = include_str!("../Makefile");
    let recipe = makefile.split("\ninstall: ").nth(1).expect("a target");
    assert!(recipe.contains("for name in config/debian/sbin/*;"), "{recipe}");
}

/// As a shell would call it for these lines of a file of /etc/infmap/mounts.
#[test]
fn the_call_in_the_unit_is_one_that_the_program_understands() {
    let unit = include_str!("../config/systemd/infmap@.service");
    let call = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/infmap ")).expect("a call");
    let prevented = unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus=")).expect("exit codes");
    assert!(prevented.split(' ').any(|code| code == "6"), "what --supervise has given up is not begun again: {prevented}");
    for (options, exit, says) in [("-o ro", 10, "IM1010"), ("", 10, "IM1010"), ("-o nonsense", 2, "IM1003")] {
        let call = call.replace("$OPTIONS", options).replace("${VOLUME}", "/nonexistent/v").replace("${DIR}", "/nonexistent/m");
        let output = infmap().args(call.split_whitespace()).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(exit) && said.contains(says), "{call}: {said}");
    }
}
