//! rsync and tar: everything that an inode carries goes there and back.

use crate::common::{Volume, can_mount, has, run, walk};
use crate::{again, require_same, rsync};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A tree with everything that they carry: links, lists, attributes, labels, capabilities, holes, odd names, old times, a fifo.
fn curious_tree(dir: &Path) {
    let script = r#"set -e
mkdir -p dir/sub; printf 'one' > dir/file; ln dir/file hard; ln -s dir/file soft; ln -s nowhere dangling; mkfifo pipe
printf 'x' > "a name with $(printf '\t') and \\ in it"; : > empty; truncate -s 3M sparse; printf 'y' | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none
head -c 300000 /dev/urandom > noise; chmod 4755 noise; touch -d '1965-03-04 05:06:07.123456789' dir/file
setfattr -n user.colour -v blue dir/file; setfacl -m u:daemon:rwx,g:daemon:r dir/file; setfacl -d -m u:daemon:rx dir
if [ "$(id -u)" = 0 ]; then setcap cap_net_raw+ep noise; setfattr -n trusted.for -v root dir/sub; mknod null c 1 3; fi
"#;
    run(Command::new("bash").args(["-c", script]).current_dir(dir));
}

/// Labels of SELinux, with the zero at their end that its library gives them. Where it is not in the kernel, root may give any.
fn label(dir: &Path) {
    for (name, kind) in [("noise", "bin_t"), ("dir", "usr_t"), ("dangling", "etc_t"), ("pipe", "fifo_file_t")] {
        let mut command = Command::new("setfattr");
        command.args(["-h", "-n", "security.selinux", "-v", &format!("\"system_u:object_r:{kind}:s0\\000\"")]).arg(dir.join(name));
        let said = command.output().expect("it starts");
        if !said.status.success() {
            eprintln!("no label on {name}: {}", String::from_utf8_lossy(&said.stderr).trim());
        }
    }
}

/// All attributes of all that is below `dir`, labels too.
fn attributes(dir: &Path) -> String {
    let names = walk(dir).into_iter().map(|path| path.strip_prefix(dir).expect("below").to_path_buf());
    run(Command::new("getfattr").args(["-h", "-d", "-m", "-", "--"]).args(names).current_dir(dir))
}

fn has_programs() -> bool {
    can_mount() && ["rsync", "tar", "setfacl", "setfattr", "setcap"].iter().all(|program| has(program, "no tree is carried"))
}

#[test]
fn rsync_carries_everything_there_and_back() {
    if !has_programs() {
        return;
    }
    let volume = Volume::new();
    let (from, back) = (volume.beside("from"), volume.beside("back"));
    fs::create_dir(&from).expect("a directory");
    fs::create_dir(&back).expect("a directory");
    curious_tree(&from);
    // For others it leaves all attributes behind but user's.
    if rustix::process::geteuid().is_root() {
        label(&from);
    }
    let mut mount = volume.mount();
    let there = mount.path("tree");
    fs::create_dir(&there).expect("a directory");
    rsync(&[], &from, &there);
    for round in ["as copied", "after a remount"] {
        require_same(&from, &there, round);
        rsync(&[], &there, &back);
        require_same(&from, &back, round);
        assert_eq!(attributes(&there), attributes(&from), "{round}");
        mount = again(&volume, mount, &[]);
    }
    mount.unmount();
}

/// tar with everything that it knows of.
fn tar() -> Command {
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--acls", "--selinux", "--sparse", "--numeric-owner"]);
    tar
}

#[test]
fn tar_carries_attributes_lists_and_labels_there_and_back() {
    if !has_programs() {
        return;
    }
    let volume = Volume::new();
    let (from, back) = (volume.beside("from"), volume.beside("back"));
    fs::create_dir(&from).expect("a directory");
    fs::create_dir(&back).expect("a directory");
    curious_tree(&from);
    label(&from);
    let mount = volume.mount();
    let there = mount.path("there");
    fs::create_dir(&there).expect("a directory");
    // One archive lies on the host, the other on the mount.
    let pack = |dir: &Path, archive: &Path| run(tar().arg("-C").arg(dir).arg("-cf").arg(archive).arg("."));
    let unpack = |archive: &Path, dir: &Path| run(tar().arg("-C").arg(dir).arg("-xpf").arg(archive));
    pack(&from, &volume.beside("tree.tar"));
    unpack(&volume.beside("tree.tar"), &there);
    require_same(&from, &there, "as unpacked");
    let mount = again(&volume, mount, &[]);
    pack(&there, &mount.path("tree.tar"));
    unpack(&mount.path("tree.tar"), &back);
    require_same(&from, &back, "and back");
    let expected = attributes(&from);
    assert_eq!([attributes(&there), attributes(&back)], [expected.clone(), expected.clone()]);
    if !expected.contains("security.selinux") {
        eprintln!("skipped in part: no file here has a label (root gives them, or SELinux), so tar --selinux carried none");
    }
    mount.unmount();
    volume.check();
}
