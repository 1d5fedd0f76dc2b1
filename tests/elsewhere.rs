//! A volume that was copied, archived or moved: on a disk that cannot be written, without its empty directories, at an odd path.
//!
//! Needs root and /dev/fuse; where those are missing each test says so and ends.

mod common;

use common::{Mount, Volume, can_mount, infmap, run};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Output;

const CONTENT: &[u8] = b"what was written before";

/// A sample file of which the log and not an image holds the bytes: the daemon dies.
fn leave_in_the_log(volume: &Volume) {
    let mount = volume.mount();
    let mut file = File::create(mount.path("file")).expect("a file");
    file.write_all(CONTENT).and_then(|()| file.sync_all()).expect("written");
    drop(file);
    mount.kill();
}

/// A sample file in an image.
fn leave_in_an_image(volume: &Volume) {
    let mount = volume.mount();
    fs::write(mount.path("file"), CONTENT).expect("written");
    mount.unmount();
}

/// The volume's directory as a host shows it that is mounted read-only.
struct ReadOnlyHost(PathBuf);

impl ReadOnlyHost {
    /// `None`, with the reason on stderr, where such a mount cannot be made.
    fn of(volume: &Volume) -> Option<Self> {
        let dir = volume.beside("read-only host");
        fs::create_dir_all(&dir).expect("a directory");
        let bound = rustix::mount::mount_bind(volume.path(), &dir)
            .and_then(|()| rustix::mount::mount_change(&dir, MountPropagationFlags::PRIVATE))
            .and_then(|()| rustix::mount::mount_remount(&dir, MountFlags::BIND | MountFlags::RDONLY, ""));
        let host = Self(dir);
        bound.inspect_err(|error| eprintln!("skipped: no bind mount here: {error}")).ok().map(|()| host)
    }
}

impl Drop for ReadOnlyHost {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The verbs that only look succeed; gives what `check` says beside its report.
fn look(volume: &Volume, path: &Path) -> String {
    assert!(run(infmap().arg("info").arg(path)).contains("\nstate "));
    let has_images = path.join("map").is_dir() && common::walk(&path.join("map")).len() > 1;
    if has_images {
        run(infmap().args(["map", "render"]).arg(path).arg(volume.beside("map.png")));
    }
    let check = infmap().arg("check").arg(path).output().expect("it starts");
    assert!(check.status.success(), "{check:?}");
    stderr(&check)
}

/// A read-only mount shows the file, and says nothing that sounds like a fault.
fn read(path: &Path, mountpoint: &Path) {
    let mut mount = Mount::start(path, mountpoint, &["-o", "ro"]);
    assert_eq!(fs::read(mount.path("file")).expect("read"), CONTENT);
    let refused = fs::write(mount.path("new"), "x").expect_err("read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    mount.terminate();
    assert!(mount.join().success(), "{}", mount.said());
    assert!(!mount.said().contains("ERROR"), "{}", mount.said());
}

#[test]
fn a_volume_on_a_host_that_is_read_only_is_looked_at_and_mounted_read_only() {
    if !can_mount() {
        return;
    }
    for (leave, has_lock_file) in [(leave_in_the_log as fn(&Volume), true), (leave_in_an_image, false)] {
        let volume = Volume::new();
        leave(&volume);
        if !has_lock_file {
            fs::remove_file(volume.path().join("lock")).expect("removed");
        }
        let Some(host) = ReadOnlyHost::of(&volume) else { return };
        let said = look(&volume, &host.0);
        assert!(said.starts_with("note: the volume cannot be written to"), "{said}");
        read(&host.0, &volume.mountpoint());
        let refused = infmap().arg("mount").arg(&host.0).arg(volume.mountpoint()).output().expect("it starts");
        assert!(
            stderr(&refused).contains("\nhelp: a volume that cannot be written to can only be mounted read-only: -o ro"),
            "{refused:?}"
        );
    }
}

#[test]
fn a_daemon_that_cannot_write_its_log_answers_and_is_found_by_its_mountpoint() {
    let Some(volume) = Volume::if_mountable() else { return };
    leave_in_an_image(&volume);
    fs::remove_dir_all(volume.path().join("run")).expect("removed");
    let Some(host) = ReadOnlyHost::of(&volume) else { return };
    run(infmap().args(["mount", "-d", "-o", "ro"]).arg(&host.0).arg(volume.mountpoint()));
    assert_eq!(fs::read(volume.mountpoint().join("file")).expect("read"), CONTENT);
    let info = run(infmap().arg("info").arg(volume.mountpoint()));
    assert!(info.contains(&*host.0.to_string_lossy()), "{info}");
    run(infmap().arg("umount").arg(volume.mountpoint()));
}

#[test]
fn a_volume_on_a_read_only_host_that_is_mounted_to_be_written_elsewhere_is_refused() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let Some(host) = ReadOnlyHost::of(&volume) else { return mount.unmount() };
    let refused = infmap().arg("check").arg(&host.0).output().expect("it starts");
    assert!(stderr(&refused).starts_with("error[IM1020]") && stderr(&refused).contains(&mount.pid().to_string()), "{refused:?}");
    drop(host);
    mount.unmount();
}

#[test]
fn directories_that_a_copy_left_out_are_empty_for_who_reads_and_made_again_for_who_writes() {
    if !can_mount() {
        return;
    }
    let (in_the_log, in_an_image) = (Volume::new(), Volume::new());
    leave_in_the_log(&in_the_log);
    leave_in_an_image(&in_an_image);
    let cases: [(&Volume, &[&str]); 5] = [
        (&in_the_log, &["map"]),
        (&in_the_log, &["spare", "run"]),
        (&in_an_image, &["spare"]),
        // All that it held is in the images.
        (&in_an_image, &["wal"]),
        (&in_an_image, &["wal", "spare", "run"]),
    ];
    for (volume, missing) in cases {
        let dirs: Vec<PathBuf> = missing.iter().map(|name| volume.path().join(name)).collect();
        dirs.iter().for_each(|dir| fs::remove_dir_all(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())));
        look(volume, &volume.path());
        read(&volume.path(), &volume.mountpoint());
        assert!(dirs.iter().all(|dir| !dir.exists()), "{missing:?}: who reads makes nothing");
        let mount = volume.mount();
        assert!(dirs.iter().all(|dir| dir.is_dir()), "{missing:?}");
        assert_eq!(fs::read(mount.path("file")).expect("read"), CONTENT, "{missing:?}");
        fs::write(mount.path("another"), missing.concat()).expect("written");
        mount.unmount();
        volume.check();
    }
}

#[test]
fn a_volume_and_its_mountpoint_may_have_any_name() {
    if !can_mount() {
        return;
    }
    let names = ["a b", "a\tb", "a\nb", "a\\b", "a\\040b", "a,suid", "a#b", "-o", "a\"b"].map(|name| name.as_bytes().to_vec());
    for name in names.into_iter().chain([b"\xFF\xFE".to_vec()]) {
        let volume = Volume::named(OsString::from_vec(name));
        let mount = volume.mount();
        fs::write(mount.path("file"), CONTENT).expect("written");
        let info = run(infmap().args(["--json", "info"]).arg(mount.dir()));
        let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
        assert_eq!(info["pid"], mount.pid(), "{}: found by its mountpoint: {info}", volume.path().display());
        let refused = infmap().arg("mount").arg(volume.path()).arg(mount.dir()).output().expect("it starts");
        assert!(stderr(&refused).contains("error[IM1032]"), "{refused:?}");
        mount.unmount();
        volume.check();
        let mounted = run(infmap().args(["--json", "mount", "-d", "-o", "ro", "--"]).arg(volume.path()).arg(volume.mountpoint()));
        assert_eq!(fs::read(volume.mountpoint().join("file")).expect("read"), CONTENT);
        let unmounted = run(infmap().args(["--json", "umount"]).arg(volume.mountpoint()));
        for (line, key) in [(mounted, "mounted"), (unmounted, "unmounted")] {
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(line[key], *volume.mountpoint().display().to_string());
        }
    }
}

#[test]
fn a_volume_without_log_and_images_is_refused_with_advice_that_can_be_followed() {
    let volume = Volume::new();
    for name in ["map", "wal"] {
        fs::remove_dir_all(volume.path().join(name)).expect("removed");
    }
    for verb in [&["info"][..], &["check"], &["mount"], &["mount", "-o", "ro"]] {
        let mut command = infmap();
        command.args(verb).arg(volume.path()).args((verb[0] == "mount").then(|| volume.mountpoint()));
        let output = command.output().expect("it starts");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{verb:?}: {said}");
        assert!(said.contains("error[IM1014]") && said.contains("\nhelp: take the files that are named, or map/ and wal/"), "{said}");
    }
}
