//! mount(8) and umount(8) with the helpers that `install-helpers` makes: a line of fstab, `mount -t infmap`, and an end that is waited for.
//!
//! They look for helpers in /sbin alone, so each script runs in a mount namespace of its own, where that is another directory. Needs root.

mod common;

use common::{Volume, has, infmap, run};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a script where /sbin holds these helpers and nothing else.
fn script(volume: &Volume, helpers: &Path, text: &str) -> Output {
    let sbin = Path::new("/sbin").canonicalize().expect("there");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", &format!("mount --bind \"$HELPERS\" \"$SBIN\"\n{text}")]);
    command.env("HELPERS", helpers).env("SBIN", sbin).env("VOLUME", volume.path()).env("DIR", volume.mountpoint());
    command.env("FSTAB", volume.beside("fstab")).env("PATH", "/usr/bin:/bin").output().expect("unshare starts")
}

/// It is `umount -c`, as systemd calls it: for root, umount(8) of util-linux 2.38 otherwise takes the type from statfs(2), which is `fuse` for
/// all that have FUSE, and asks no helper. Seen to fail with that, when nothing called the name
/// `umount.fuse.infmap`: umount(8) was back before everything was durable.
#[test]
fn a_line_of_fstab_and_mount_8_mount_a_volume_and_umount_8_waits_for_its_end() {
    if !rustix::process::geteuid().is_root() || !has("unshare", "mounts by fstab") {
        eprintln!("skipped: only root makes a mount namespace");
        return;
    }
    let Some(volume) = Volume::if_mountable() else { return };
    let helpers = volume.beside("sbin");
    fs::create_dir(&helpers).expect("made");
    run(infmap().arg("install-helpers").arg("--into").arg(&helpers));
    for fs_type in ["infmap", "fuse.infmap"] {
        let line = format!(
            "{}\t{}\t{fs_type}\trw,noatime,nofail,x-systemd.requires-mounts-for=/var,memory.budget=128MiB\t0\t0\n",
            volume.path().display(),
            volume.mountpoint().display()
        );
        fs::write(volume.beside("fstab"), line).expect("written");
        for mount in ["mount -t TYPE \"$VOLUME\" \"$DIR\"", "mount --fstab \"$FSTAB\" -a", "mount --fstab \"$FSTAB\" \"$DIR\""] {
            let mount = mount.replace("TYPE", fs_type);
            let text = format!(
                "{mount}\nmountpoint -q \"$DIR\"\nmount --fstab \"$FSTAB\" -a\ngrep -c \" $DIR \" /proc/self/mountinfo\n\
                 head -c 30000000 /dev/urandom >\"$DIR/file\"\numount -c \"$DIR\"\n"
            );
            let output = script(&volume, &helpers, &text);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.starts_with("1\n"), "{mount}: {output:?}");
            let facts: serde_json::Value = serde_json::from_str(&run(infmap().args(["--json", "info"]).arg(volume.path()))).expect("JSON");
            assert_eq!(facts["clean"], true, "{mount}: umount was back too early: {facts}");
        }
    }
    // What is wrong with a line is said, with a code that mount(8) hands on.
    fs::write(volume.beside("fstab"), format!("{} {} infmap rw,nonsense 0 0\n", volume.path().display(), volume.mountpoint().display()))
        .expect("written");
    let output = script(&volume, &helpers, "mount --fstab \"$FSTAB\" -a");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("IM1003"), "{output:?}");
    volume.check();
}
