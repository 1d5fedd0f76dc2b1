//! How a mount ends: asked by a signal in the middle of writing, and asked while somebody uses it.

mod common;

use common::{Mount, Numbers, Volume, can_mount, infmap};
use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc;

const MIB: usize = 1 << 20;

/// The `number`th mebibyte.
fn part(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; MIB];
    Numbers(number).fill(&mut bytes);
    bytes
}

#[test]
fn sigterm_while_writing_writes_everything_and_unmounts() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut mount = volume.mount();
    fs::write(mount.path("closed"), part(1000)).expect("a file");
    let (written, is_written) = mpsc::channel();
    let path = mount.path("stream");
    let writer = std::thread::spawn(move || {
        let mut file = File::create(path).expect("a file");
        for number in 0..64 {
            file.write_all(&part(number)).expect("written although the end is wished for");
            let _ = written.send(());
        }
    });
    // In the middle: some is written, and the writer holds the file for a while yet.
    assert_eq!(is_written.iter().take(8).count(), 8);
    mount.terminate();
    writer.join().expect("the writer may finish");
    let status = mount.join();
    assert!(status.success(), "{status}:\n{}", mount.said());
    assert!(mount.said().contains("everything is durable"), "{}", mount.said());
    assert!(fs::read_dir(mount.dir()).expect("the mountpoint is an ordinary directory again").next().is_none());
    volume.check();
    let mount = volume.mount();
    assert!(fs::read(mount.path("closed")).expect("read") == part(1000));
    let stream = fs::read(mount.path("stream")).expect("read");
    assert_eq!(stream.len(), 64 * MIB);
    for (number, found) in stream.chunks(MIB).enumerate() {
        assert!(found == part(number as u64), "mebibyte {number}");
    }
    mount.unmount();
}

#[test]
fn sigterm_without_users_leaves_nothing_behind() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut mount = volume.mount();
    fs::create_dir(mount.path("dir")).expect("a directory");
    fs::write(mount.path("dir/file"), b"unsynced").expect("a file");
    mount.terminate();
    assert!(mount.join().success(), "{}", mount.said());
    volume.check();
    let mount = volume.mount();
    assert_eq!(fs::read(mount.path("dir/file")).expect("read"), b"unsynced");
    mount.unmount();
}

#[test]
fn umount_of_a_busy_mount_names_the_holders_and_changes_nothing() {
    let Some(volume) = Volume::if_mountable() else { return };
    // The daemon stands in the directory that its mount hides, the caller in the mount itself: neither is to blame.
    let mut daemon = infmap();
    daemon.args(["mount", "--foreground"]).arg(volume.path()).arg(".").current_dir(volume.mountpoint());
    let mount = Mount::run(&mut daemon, &volume.mountpoint());
    fs::write(mount.path("file"), b"here").expect("a file");
    let file = File::open(mount.path("file")).expect("held");
    let mut holder = Command::new("cat").current_dir(mount.dir()).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat starts");
    let output = infmap().arg("umount").arg(".").current_dir(mount.dir()).output().expect("infmap umount starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it was unmounted although it is held");
    assert!(said.starts_with("error[IM1035]"), "{said}");
    for pid in [holder.id(), std::process::id()] {
        assert!(said.contains(&pid.to_string()), "process {pid} is not named: {said}");
    }
    assert!(!said.contains("infmap (process"), "{said}");
    assert!(!said.contains(&format!("process {},", mount.pid())), "{said}");
    assert_eq!(fs::read(mount.path("file")).expect("it is still there"), b"here");
    drop((holder.stdin.take(), file));
    holder.wait().expect("cat ends with its input");
    mount.unmount();
}

#[test]
fn umount_of_a_mount_that_holds_another_names_that_one() {
    if !can_mount() {
        return;
    }
    let (outer, inner) = (Volume::new(), Volume::new());
    let mount = outer.mount();
    let below = mount.path("below");
    fs::create_dir(&below).expect("a directory");
    let other = Mount::start(&inner.path(), &below, &[]);
    let output = infmap().arg("umount").arg(mount.dir()).output().expect("infmap umount starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("error[IM1035]"), "{said}");
    assert!(said.contains(&format!("something is mounted in it, at {}", below.display())) && !said.contains("held by"), "{said}");
    other.unmount();
    mount.unmount();
}

#[test]
fn info_says_whether_the_last_mount_ended_in_order() {
    let Some(volume) = Volume::if_mountable() else { return };
    let state = || {
        let info = common::run(infmap().arg("info").arg(volume.path()));
        info.lines().find_map(|line| line.strip_prefix("state ")).expect("a line").trim().to_string()
    };
    assert_eq!(state(), "clean");
    let mount = volume.mount();
    assert!(state().contains(&format!("by process {}", mount.pid())));
    // So small that its bytes stand in the tables.
    fs::write(mount.path("file"), b"unsynced").expect("a file");
    mount.kill();
    assert!(state().starts_with("not unmounted in order"), "{}", state());
    volume.mount().unmount();
    assert_eq!(state(), "clean");
}

/// What was not synced is lost then, so a script that copies the volume next must not go on.
#[test]
fn umount_of_a_mount_whose_daemon_died_says_so() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    mount.kill();
    let output = infmap().arg("umount").arg(volume.mountpoint()).output().expect("infmap umount starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("error[IM1044]") && said.contains("ended without finishing"), "{said}");
    volume.mount().unmount();
    volume.check();
}

/// The next mount comes while the kernel still takes the process apart: its lock is held, its mount looks alive.
#[test]
fn a_mount_that_follows_a_kill_at_once_waits_for_the_dying_daemon_and_clears_its_mount() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = || infmap().args(["mount", "-d"]).arg(volume.path()).arg(volume.mountpoint()).output().expect("it starts");
    for round in 0..10 {
        let output = mount();
        assert!(output.status.success(), "round {round}: {}", String::from_utf8_lossy(&output.stderr));
        let path = volume.mountpoint().join("file");
        fs::write(&path, part(round)).and_then(|()| File::open(&path)?.sync_all()).expect("synced");
        let info = common::run(infmap().args(["--json", "info"]).arg(volume.path()));
        let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
        let pid = info["pid"].as_i64().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
    }
    assert!(mount().status.success());
    assert!(fs::read(volume.mountpoint().join("file")).expect("read") == part(9));
    common::run(infmap().arg("umount").arg(volume.mountpoint()));
    volume.check();
}

/// Whoever sees only that a mount was too late does not learn who is in its way.
#[test]
fn a_daemon_that_waits_in_vain_for_a_predecessor_names_it() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut first = volume.mount();
    fs::write(first.path("file"), b"held").expect("written");
    let file = File::open(first.path("file")).expect("held open");
    common::run(infmap().args(["umount", "--lazy"]).arg(first.dir()));
    let mut second = infmap();
    let second = second.args(["mount", "-d", "--wait", "2s"]).arg(volume.path()).arg(volume.mountpoint()).output().expect("it starts");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(11) && said.contains("error[IM1020]"), "{said}");
    assert!(said.contains(&format!("process {}", first.pid())), "{said}");
    drop(file);
    assert!(first.join().success(), "{}", first.said());
    volume.check();
}

/// Its messages stand in a file on the disk that may be full or broken: what they say is lost then, and nothing else.
#[test]
fn a_daemon_that_cannot_write_its_messages_serves_all_the_same() {
    let Some(volume) = Volume::if_mountable() else { return };
    std::os::unix::fs::symlink("/dev/full", volume.path().join("run/daemon.log")).expect("a link");
    let mountpoint = volume.mountpoint();
    let mounted =
        infmap().args(["mount", "-d"]).arg(volume.path()).arg(&mountpoint).stderr(File::create("/dev/full").expect("it is there")).status();
    let written = fs::write(mountpoint.join("file"), part(1)).and_then(|()| File::open(mountpoint.join("file"))?.sync_all());
    let unmounted = infmap().arg("umount").arg(&mountpoint).status();
    assert!(mounted.expect("it starts").success() && unmounted.expect("it starts").success());
    written.expect("written and synced");
    volume.check();
}

/// The log is part of the promise as long as nobody has unmounted.
#[test]
fn a_log_that_is_missing_after_a_crash_is_told() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    fs::write(mount.path("older"), part(1)).expect("written");
    mount.unmount();
    let mount = volume.mount();
    fs::write(mount.path("kept"), part(2)).and_then(|()| File::open(mount.path("kept"))?.sync_all()).expect("synced");
    mount.kill();
    for segment in fs::read_dir(volume.path().join("wal")).expect("a directory") {
        fs::remove_file(segment.expect("an entry").path()).expect("removed");
    }
    let checked = infmap().arg("check").arg(volume.path()).output().expect("it starts");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(!checked.status.success() && said.contains("[REC-6]") && said.contains("its log is gone"), "{said}");
    // A mount that could not even read what the volume is has finished nothing. Seen to fail when that one erased the text of the lock.
    let identity = volume.path().join("volume.yaml");
    let text = fs::read_to_string(&identity).expect("read");
    fs::write(&identity, text.replace("format: ", "format: 9")).expect("written");
    let refused = infmap().arg("mount").arg(volume.path()).arg(volume.mountpoint()).output().expect("it starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("format version"), "{said}");
    fs::write(&identity, text).expect("written");
    let mount = volume.mount();
    assert!(mount.said().contains("its log is gone"), "{}", mount.said());
    mount.unmount();
    volume.check();
}

/// A mount that only reads leaves the text of the process that died before it, which says nothing of its own end.
#[test]
fn umount_of_a_read_only_mount_is_no_failure_because_an_earlier_mount_was_not_finished() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    fs::write(mount.path("file"), b"synced").and_then(|()| File::open(mount.path("file"))?.sync_all()).expect("synced");
    mount.kill();
    // Once with the dead mount still in its place, once without.
    for _ in 0..2 {
        let mount = volume.mount_with(&["-o", "ro"]);
        assert_eq!(fs::read(mount.path("file")).expect("read"), b"synced");
        mount.unmount();
        let info = common::run(infmap().arg("info").arg(volume.path()));
        assert!(info.contains("not unmounted in order"), "who only read has finished nothing: {info}");
    }
    volume.mount().unmount();
    volume.check();
}

/// Removes a volume under its daemon, which may still make a file in it meanwhile.
fn remove(volume: &Volume) {
    let is_gone = |_: u32| match fs::remove_dir_all(volume.path()) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => false,
        Err(error) => panic!("removed: {error}"),
    };
    assert!((0..100).any(is_gone), "the daemon makes files without end");
}

/// Whoever calls it next would take the volume for safe, and copy it, or switch the machine off.
#[test]
fn umount_says_so_when_the_volume_was_removed_under_its_daemon() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut mount = volume.mount();
    fs::write(mount.path("file"), part(1)).expect("written");
    remove(&volume);
    let output = infmap().arg("umount").arg(mount.dir()).output().expect("infmap umount starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.starts_with("error[IM1044]"), "{said}");
    assert!(said.contains("was removed while it was mounted: nobody knows whether what was written is safe"), "{said}");
    // It was waited for: its lock is the last that it lets go.
    mount.join();
    // The same of a daemon that died, of which nothing is left but its mount.
    let other = Volume::new();
    other.mount().kill();
    remove(&other);
    let output = infmap().arg("umount").arg(other.mountpoint()).output().expect("infmap umount starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("error[IM1044]") && said.contains("no volume is found behind it"), "{said}");
}

/// Some shells and services limit the size of files: that is told, and no process dies of it without a word.
#[test]
fn a_limit_of_the_size_of_files_is_told_as_an_error() {
    let Some(volume) = Volume::if_mountable() else { return };
    let limited = |call: &str, dir: &std::path::Path| {
        let script = format!("ulimit -f 1000; exec \"$0\" {call}");
        let mut shell = Command::new("bash");
        shell.args(["-c", &script, common::INFMAP]).arg(volume.path()).arg(dir).env("XDG_CONFIG_HOME", "/nonexistent");
        shell.output().expect("bash starts")
    };
    let new = volume.beside("new");
    for output in [limited("mount -d \"$1\" \"$2\"", &volume.mountpoint()), limited("init \"$2\"", &new)] {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("error[IM1060]") && said.contains("File too large") && said.contains("ulimit -f"), "{said}");
    }
    volume.mount().unmount();
    volume.check();
}

#[test]
fn a_limit_of_open_files_or_of_memory_is_told_and_not_taken_for_a_missing_package() {
    let Some(volume) = Volume::if_mountable() else { return };
    let limited = |limit: &str| {
        let script = format!("ulimit {limit}; exec \"$0\" mount -d \"$1\" \"$2\"");
        let mut shell = Command::new("bash");
        shell.args(["-c", &script, common::INFMAP]).arg(volume.path()).arg(volume.mountpoint()).env("XDG_CONFIG_HOME", "/nonexistent");
        shell.output().expect("bash starts")
    };
    let mut refused = 0;
    // Each step of a mount finds that there are no more.
    for files in 6..16 {
        let output = limited(&format!("-n {files}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            common::run(infmap().arg("umount").arg(volume.mountpoint()));
            continue;
        }
        assert!(
            said.contains("error[IM1060]") && said.contains("\nhelp: raise the limit of open files with `ulimit -n`"),
            "{files}: {said}"
        );
        refused += 1;
    }
    assert!(refused > 3, "{refused}");
    let output = limited("-v 300000");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("`ulimit -v`"), "{said}");
}

#[test]
fn info_in_json_calls_no_mounted_volume_clean() {
    let Some(volume) = Volume::if_mountable() else { return };
    let info = || {
        let info = common::run(infmap().args(["--json", "info"]).arg(volume.path()));
        let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
        (info["mounted"].clone(), info["clean"].clone())
    };
    assert_eq!(info(), (false.into(), true.into()));
    let mount = volume.mount();
    assert_eq!(info(), (true.into(), serde_json::Value::Null));
    fs::write(mount.path("file"), b"unsynced").expect("a file");
    mount.kill();
    assert_eq!(info(), (false.into(), false.into()));
    volume.mount().unmount();
}
