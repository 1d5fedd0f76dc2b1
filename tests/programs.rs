//! Programs that people run on a filesystem, run on this one: git, cargo, SQLite, rsync, tar.
//!
//! Each asks for what few others ask: git for hard links, renames over and mmap; cargo for locks, executables and times; SQLite for
//! syncs, truncation and shared memory. What they made is judged again after another mount.

mod common;

use common::{SOURCE, Volume, can_mount, has, run};
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

#[test]
fn cargo_builds_what_runs_and_does_not_build_it_twice() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let hello = mount.path("hello");
    fs::create_dir_all(hello.join("src")).expect("directories");
    fs::write(hello.join("Cargo.toml"), "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n")
        .expect("a file");
    fs::write(hello.join("src/main.rs"), "fn main() {\n    println!(\"hello from the map\");\n}\n").expect("a file");
    let build = |hello: &Path| {
        let mut command = Command::new(env!("CARGO"));
        command
            .current_dir(hello)
            .args(["build", "--offline", "--message-format=json"])
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS");
        run(&mut command)
    };
    assert!(build(&hello).contains("\"fresh\":false"));
    assert_eq!(run(&mut Command::new(hello.join("target/debug/hello"))), "hello from the map\n");
    mount.unmount();
    // The times are what cargo remembers, so another mount makes nothing stale.
    let mount = volume.mount();
    assert!(!build(&hello).contains("\"fresh\":false"), "cargo builds again what has not changed");
    assert_eq!(run(&mut Command::new(hello.join("target/debug/hello"))), "hello from the map\n");
    mount.unmount();
    volume.check();
}

/// Writes rows, each in a transaction of its own; with no rows, only judges.
const TRANSACTIONS: &str = "
import sqlite3, sys
path, mode, rows, expected = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
db = sqlite3.connect(path, isolation_level=None)
got = db.execute(f'PRAGMA journal_mode={mode}').fetchone()[0]
assert got.lower() == mode.lower(), got
db.execute('PRAGMA synchronous=FULL')
db.execute('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, text TEXT, bytes BLOB)')
for i in range(rows):
    db.execute('INSERT INTO t (text, bytes) VALUES (?, ?)', (f'row {i}', bytes([i % 251]) * (i % 700)))
assert db.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
assert db.execute('SELECT count(*) FROM t').fetchone()[0] == expected
for i, (text, blob) in enumerate(db.execute('SELECT text, bytes FROM t ORDER BY id')):
    assert text == f'row {i}' and blob == bytes([i % 251]) * (i % 700), i
db.close()
";

fn sqlite_commits(mode: &str) {
    if !can_mount() || !has("python3", "SQLite is called through it") {
        return;
    }
    let volume = Volume::new();
    let sqlite = |path: PathBuf, rows: &str| run(Command::new("python3").arg("-c").arg(TRANSACTIONS).arg(path).args([mode, rows, "2000"]));
    let mount = volume.mount();
    sqlite(mount.path("db"), "2000");
    mount.unmount();
    let mount = volume.mount();
    sqlite(mount.path("db"), "0");
    mount.unmount();
    volume.check();
}

#[test]
fn sqlite_commits_two_thousand_times_with_a_write_ahead_log() {
    sqlite_commits("wal");
}

#[test]
fn sqlite_commits_two_thousand_times_with_a_rollback_journal() {
    sqlite_commits("delete");
}

/// A tree with everything that rsync and tar carry: links, lists, attributes, capabilities, holes, odd names, old times, a fifo.
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

#[test]
fn rsync_and_tar_carry_everything_there_and_back() {
    if !can_mount() || !["rsync", "tar", "setfacl", "setfattr", "setcap"].iter().all(|program| has(program, "no tree is carried")) {
        return;
    }
    let volume = Volume::new();
    let (from, back) = (volume.beside("from"), volume.beside("back"));
    fs::create_dir(&from).expect("a directory");
    fs::create_dir(&back).expect("a directory");
    curious_tree(&from);
    let mut mount = volume.mount();
    let slash = |path: &Path| format!("{}/", path.display());
    let rsync = |more: &[&str], from: &Path, to: &Path| {
        run(Command::new("rsync").args(["-aHAXS", "--delete", "--numeric-ids"]).args(more).args([slash(from), slash(to)]))
    };
    for round in 0..2 {
        let there = mount.path("tree");
        if round == 0 {
            fs::create_dir(&there).expect("a directory");
            rsync(&[], &from, &there);
        }
        let differs = rsync(&["--checksum", "--itemize-changes", "--dry-run"], &from, &there);
        assert_eq!(differs, "", "round {round}: the tree differs on the mount");
        rsync(&[], &there, &back);
        assert_eq!(rsync(&["--checksum", "--itemize-changes", "--dry-run"], &from, &back), "", "round {round}: and back");
        mount.unmount();
        volume.check();
        mount = volume.mount();
    }
    let (archive, unpacked) = (volume.beside("tree.tar"), mount.path("unpacked"));
    fs::create_dir(&unpacked).expect("a directory");
    let tar = || {
        let mut tar = Command::new("tar");
        tar.args(["--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--numeric-owner"]);
        tar
    };
    run(tar().arg("-C").arg(&from).arg("-cf").arg(&archive).arg("."));
    run(tar().arg("-C").arg(&unpacked).arg("-xpf").arg(&archive));
    assert_eq!(rsync(&["--checksum", "--itemize-changes", "--dry-run"], &from, &unpacked), "", "as tar unpacked it");
}
