//! dpkg: unpacks a package as it does on the host, and installs one with its own database.

use crate::common::{Numbers, Volume, can_mount, has, run, walk};
use crate::{again, differences, require_same, rsync};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

/// A package of what packages hold: many small files, a large one, links of both kinds, long names, odd bits, old times.
fn made(volume: &Volume) -> PathBuf {
    let tree = volume.beside("package");
    let (control, share, bin, etc) = (tree.join("DEBIAN"), tree.join("usr/share/proof"), tree.join("usr/bin"), tree.join("etc"));
    let long = share.join("long".repeat(50));
    for dir in [&control, &bin, &etc, &long, &share.join("empty")] {
        fs::create_dir_all(dir).expect("a directory");
    }
    let write = |path: PathBuf, content: &[u8]| fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let described = "Package: proof\nVersion: 1\nArchitecture: all\nMaintainer: A proof <proof@example.invalid>\nDescription: A proof\n";
    write(control.join("control"), described.as_bytes());
    write(control.join("conffiles"), b"/etc/proof.conf\n");
    write(etc.join("proof.conf"), b"kept = yes\n");
    let link = |to: &str, path: PathBuf| symlink(to, path).expect("a link");
    let old = UNIX_EPOCH + Duration::from_secs(981_173_106);
    for number in 0..500 {
        let file = share.join(format!("file-{number}"));
        write(file.clone(), format!("{number}\n").repeat(number * 7 % 900).as_bytes());
        File::options().write(true).open(&file).and_then(|file| file.set_modified(old)).expect("its time");
        link(&format!("file-{number}"), share.join(format!("link-{number}")));
        if number < 50 {
            fs::hard_link(&file, long.join(format!("hard-{number}"))).expect("another name");
        }
    }
    link("/nowhere", bin.join("dangling"));
    link(&"far/".repeat(400), share.join("far"));
    let mut program = vec![0; 3_000_000];
    Numbers(1).fill(&mut program);
    write(bin.join("proof"), &program);
    // Whatever the umask was.
    for dir in walk(&tree).iter().chain([&tree]).filter(|path| path.is_dir()) {
        fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("its bits");
    }
    for (path, mode) in [(bin.join("proof"), 0o4755), (share.join("empty"), 0o2775)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("its bits");
    }
    let package = volume.beside("proof.deb");
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-Zgzip", "-b"]).arg(&tree).arg(&package));
    package
}

/// A package of the distribution with a thousand files and hundreds of links, where one can be had.
fn downloaded(volume: &Volume) -> Option<PathBuf> {
    let dir = volume.beside("download");
    fs::create_dir(&dir).expect("a directory");
    let mut command = Command::new("timeout");
    command.args(["30", "apt-get", "-qq", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=5", "download", "tzdata"]);
    let said = command.current_dir(&dir).output();
    let found = fs::read_dir(&dir).expect("listed").flatten().map(|entry| entry.path()).find(|path| path.extension().is_some());
    if found.is_none() {
        eprintln!("skipped in part: apt-get downloads nothing here, so only a package made here is unpacked: {said:?}");
    }
    found
}

#[test]
fn dpkg_unpacks_what_it_unpacks_on_the_host() {
    if !can_mount() || !["dpkg", "dpkg-deb", "rsync"].iter().all(|program| has(program, "no package is unpacked")) {
        return;
    }
    let volume = Volume::new();
    let packages: Vec<(String, PathBuf)> =
        [Some(made(&volume)), downloaded(&volume)].into_iter().flatten().enumerate().map(|(n, path)| (format!("root-{n}"), path)).collect();
    let seen = |name: &str| format!("seen-{name}");
    let mount = volume.mount();
    for (name, package) in &packages {
        for root in [volume.beside(name), mount.path(name)] {
            run(Command::new("dpkg").arg("-x").arg(package).arg(root));
        }
        // tar makes links that lead upwards last, behind the times of their directories, so these are those of the moment.
        assert_eq!(differences(&["--omit-dir-times"], &volume.beside(name), &mount.path(name)), "", "{name}: not as on the host");
        rsync(&[], &mount.path(name), &volume.beside(&seen(name)));
    }
    let mount = again(&volume, mount, &[]);
    for (name, _) in &packages {
        require_same(&volume.beside(&seen(name)), &mount.path(name), "after a remount");
    }
    mount.unmount();
    volume.check();
}

/// dpkg below another root. It syncs although images of containers tell it not to.
fn dpkg(root: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("dpkg");
    let at = |option: &str, path: &Path| format!("--{option}={}", path.display());
    command.args([at("root", root), at("log", &root.join("log")), "--no-force-unsafe-io".into(), "--force-bad-path".into()]);
    run(command.args(arguments))
}

/// It writes each file under another name, syncs it and renames it over; its database it syncs and replaces again and again.
#[test]
fn dpkg_installs_verifies_and_removes_with_a_database_on_the_mount() {
    if !can_mount() || !["dpkg", "dpkg-deb"].iter().all(|program| has(program, "no package is installed")) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root installs packages");
        return;
    }
    let volume = Volume::new();
    let package = made(&volume);
    let mount = volume.mount();
    let root = mount.path("root");
    for dir in ["info", "updates", "triggers"] {
        fs::create_dir_all(root.join("var/lib/dpkg").join(dir)).expect("a directory");
    }
    for file in ["status", "available"] {
        fs::write(root.join("var/lib/dpkg").join(file), "").expect("a file");
    }
    let package = package.to_str().expect("UTF-8");
    // The second one replaces every file of the first.
    for _ in 0..2 {
        dpkg(&root, &["--install", package]);
        assert_eq!(dpkg(&root, &["--verify"]), "");
    }
    let mount = again(&volume, mount, &[]);
    assert_eq!(dpkg(&root, &["--verify"]), "", "after a remount");
    assert_eq!(dpkg(&root, &["--audit"]), "");
    fs::write(root.join("usr/share/proof/file-77"), "changed").expect("written");
    assert_eq!(dpkg(&root, &["--verify"]), "??5??????   /usr/share/proof/file-77\n", "it looks at the bytes");
    dpkg(&root, &["--purge", "proof"]);
    assert!(!root.join("usr").exists() && !root.join("etc").exists(), "nothing is left of it");
    mount.unmount();
    volume.check();
}
