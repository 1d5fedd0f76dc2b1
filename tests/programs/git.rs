//! git: clones, verifies, commits and packs.

use crate::common::{SOURCE, Volume, can_mount, has, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// git without the settings of whoever runs the tests, for a repository of any owner.
fn git(dir: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    let settings =
        [("safe.directory", "*"), ("user.name", "A proof"), ("user.email", "proof@example.invalid"), ("protocol.file.allow", "always")];
    for (number, (key, value)) in settings.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
    command.env("GIT_CONFIG_COUNT", settings.len().to_string()).env("GIT_CONFIG_GLOBAL", "/dev/null");
    run(command.current_dir(dir).args(arguments))
}

/// This repository; made of its files where they are no checkout.
fn repository(volume: &Volume) -> PathBuf {
    if Path::new(SOURCE).join(".git").exists() {
        return SOURCE.into();
    }
    let made = volume.beside("repository");
    fs::create_dir(&made).expect("a directory");
    for part in ["src", "storage", "actors", "tests", "docs", "Cargo.toml", "Cargo.lock"] {
        run(Command::new("cp").arg("-a").arg(Path::new(SOURCE).join(part)).arg(&made));
    }
    git(&made, &["init", "-q"]);
    git(&made, &["add", "."]);
    git(&made, &["commit", "-q", "-m", "The files of a release"]);
    made
}

/// Requires a clone to be whole and clean, and to stand at `head`.
fn judge_clone(clone: &Path, head: &str) {
    git(clone, &["fsck", "--full", "--strict"]);
    assert_eq!(git(clone, &["rev-parse", "HEAD"]), head);
    assert_eq!(git(clone, &["status", "--porcelain"]), "", "the clone differs from what was checked out");
}

#[test]
fn git_clones_verifies_and_packs() {
    if !can_mount() || !has("git", "no clone is made") {
        return;
    }
    let volume = Volume::new();
    let source = repository(&volume);
    let head = git(&source, &["rev-parse", "HEAD"]);
    let mount = volume.mount();
    git(mount.dir(), &["clone", "-q", &format!("file://{}", source.display()), "clone"]);
    let clone = mount.path("clone");
    judge_clone(&clone, &head);
    git(&clone, &["checkout", "-q", "-b", "work"]);
    for number in 0..10 {
        fs::write(clone.join(format!("new-{number}")), format!("{number}\n").repeat(1000)).expect("a file");
        git(&clone, &["add", "-A"]);
        git(&clone, &["commit", "-q", "-m", &format!("Commit {number}")]);
    }
    let head = git(&clone, &["rev-parse", "HEAD"]);
    git(&clone, &["gc", "-q", "--prune=now"]);
    judge_clone(&clone, &head);
    mount.unmount();
    let mount = volume.mount();
    judge_clone(&mount.path("clone"), &head);
    mount.unmount();
    volume.check();
}
