//! SQLite: a thousand small commits, and many processes on one database.
//!
//! Its promise is ours to keep: what a process was told had committed is there, whoever is killed.

use crate::common::{Volume, can_mount, has, run};
use crate::{Running, again, script};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// Transactions of a writer that is not killed.
const COUNT: u32 = 200;

/// A call of `tests/scripts/sqlite.py`.
fn shared(verb: &str, db: &Path) -> Command {
    let mut command = Command::new("python3");
    command.arg(script("sqlite.py")).arg(verb).arg(db);
    command
}

/// A process that commits transactions and says the number of each.
struct Writer {
    number: usize,
    process: Running,
    says: BufReader<std::process::ChildStdout>,
    told: u32,
}

impl Writer {
    fn start(db: &Path, number: usize, count: u32, complaints: Stdio) -> Self {
        let mut command = shared("write", db);
        command.args([number.to_string(), count.to_string()]).stdout(Stdio::piped()).stderr(complaints);
        let mut process = command.spawn().expect("it starts");
        let says = BufReader::new(process.stdout.take().expect("piped"));
        Self { number, process: Running(process), says, told: 0 }
    }

    /// Takes what it says until transaction `last`, or until it ends.
    fn listen(&mut self, last: u32) {
        let mut line = String::new();
        while self.told < last && self.says.read_line(&mut line).expect("lines") > 0 {
            self.told = line.trim().parse().expect("a number");
            line.clear();
        }
    }

    /// What the judge may find of it: all that it was told, and as many more as it may have committed and not said.
    fn expected(&self, more: u32) -> String {
        format!("{}:{}:{}", self.number, self.told, self.told + more)
    }
}

/// A process that reads and judges until it is told to end.
fn reader(db: &Path) -> Running {
    Running(shared("read", db).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts"))
}

/// Tells a reader to end; returns how often it has judged.
fn end(mut reader: Running) -> u32 {
    drop(reader.0.stdin.take());
    let mut said = String::new();
    reader.0.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(reader.0.wait().expect("waited").success(), "a reader saw something that nobody wrote");
    said.trim().parse().expect("a number")
}

/// One more writer is killed in the middle of its work. The locks that it holds go with it, and what it has begun is nobody's.
#[test]
fn sqlite_writers_and_readers_share_a_database_and_one_is_killed() {
    if !can_mount() || !has("python3", "SQLite is called through it") {
        return;
    }
    let volume = Volume::new();
    let mount = volume.mount();
    let db = mount.path("db");
    run(&mut shared("make", &db));
    let readers = [reader(&db), reader(&db)];
    let mut writers: Vec<Writer> = (1..=4).map(|number| Writer::start(&db, number, COUNT, Stdio::inherit())).collect();
    let mut victim = Writer::start(&db, 5, u32::MAX, Stdio::inherit());
    victim.listen(COUNT / 4);
    victim.process.0.kill().expect("it lives");
    victim.listen(u32::MAX);
    for writer in &mut writers {
        writer.listen(u32::MAX);
        assert!(writer.process.0.wait().expect("waited").success(), "writer {}", writer.number);
        assert_eq!(writer.told, COUNT);
    }
    let rounds = readers.map(end);
    println!("the readers judged {rounds:?} times; the killed writer was told of {}", victim.told);
    assert!(rounds.iter().all(|rounds| *rounds > 0) && victim.told >= COUNT / 4);
    let expected: Vec<String> = writers.iter().map(|writer| writer.expected(0)).chain([victim.expected(1)]).collect();
    run(shared("judge", &db).args(&expected));
    let mount = again(&volume, mount, &[]);
    run(shared("judge", &db).args(&expected));
    mount.unmount();
    volume.check();
}

/// The log is there then, and half copied into the database.
#[test]
fn what_sqlite_was_told_had_committed_survives_kill_9_of_the_daemon() {
    if !can_mount() || !has("python3", "SQLite is called through it") {
        return;
    }
    let volume = Volume::new();
    let mount = volume.mount();
    let db = mount.path("db");
    run(&mut shared("make", &db));
    // What they say of the dead mount is no news.
    let mut writers: Vec<Writer> = (1..=4).map(|number| Writer::start(&db, number, u32::MAX, Stdio::null())).collect();
    writers.iter_mut().for_each(|writer| writer.listen(COUNT / 4));
    mount.kill();
    for writer in &mut writers {
        writer.listen(u32::MAX);
        assert!(!writer.process.0.wait().expect("waited").success(), "it has committed without a filesystem");
    }
    volume.check();
    let expected: Vec<String> = writers.iter().map(|writer| writer.expected(1)).collect();
    let mount = volume.mount();
    run(shared("judge", &db).args(&expected));
    mount.unmount();
    volume.check();
}
