//! A storm of names: the same operations on a mount and on the host's own filesystem, and eight processes at once.
//!
//! Owns: the operations, which follow from a seed. Must be true: both sides answer each operation alike, errno included, and hold the same
//! tree in the end, after a remount too; what eight processes did to their own names in shared directories is what their logs say.
//! Fails: with the seed and the operation; who hangs is told with what its threads wait for.

mod common;

use common::{Mount, Volume, has, infmap, walk};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A generator of numbers: the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// A path of one to three names, of few, so that operations meet.
    fn path(&mut self) -> PathBuf {
        let depth = 1 + self.below(3);
        (0..depth).map(|_| ["a", "b", "c", "d", "\u{e4}", "a name with spaces"][self.below(6) as usize]).collect()
    }
}

#[derive(Debug)]
enum Op {
    Write(PathBuf, u64, u64),
    Truncate(PathBuf, u64),
    MakeDir(PathBuf),
    RemoveDir(PathBuf),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, RenameFlags),
    Link(PathBuf, PathBuf),
    Symlink(PathBuf, PathBuf),
    Mode(PathBuf, u32),
    Read(PathBuf),
    List(PathBuf),
}

fn draw(dice: &mut Dice) -> Op {
    let (path, other, number) = (dice.path(), dice.path(), dice.below(100_000));
    let flags = [RenameFlags::empty(), RenameFlags::empty(), RenameFlags::NOREPLACE, RenameFlags::EXCHANGE][number as usize % 4];
    match dice.below(20) {
        0..=3 => Op::Write(path, number % 20_000, 1 + number % 9_000),
        4 => Op::Truncate(path, number % 30_000),
        5..=7 => Op::MakeDir(path),
        8 => Op::RemoveDir(path),
        9 => Op::Unlink(path),
        10..=13 => Op::Rename(path, other, flags),
        14 => Op::Link(path, other),
        15 => Op::Symlink(other, path),
        16 => Op::Mode(path, number as u32 % 0o1000),
        17 | 18 => Op::Read(path),
        _ => Op::List(path),
    }
}

/// Does it below a directory, and gives what can be seen of the answer.
fn act(root: &Path, op: &Op, clock: u64) -> io::Result<Vec<u8>> {
    let at = |path: &PathBuf| root.join(path);
    match op {
        Op::Write(path, offset, length) => {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(at(path))?;
            file.write_all_at(&vec![(clock % 251) as u8 + 1; *length as usize], *offset)?;
        }
        Op::Truncate(path, size) => OpenOptions::new().write(true).open(at(path))?.set_len(*size)?,
        Op::MakeDir(path) => fs::create_dir(at(path))?,
        Op::RemoveDir(path) => fs::remove_dir(at(path))?,
        Op::Unlink(path) => fs::remove_file(at(path))?,
        Op::Rename(from, to, flags) => renameat_with(CWD, at(from), CWD, at(to), *flags)?,
        Op::Link(from, to) => fs::hard_link(at(from), at(to))?,
        Op::Symlink(target, path) => symlink(target, at(path))?,
        // Not through links: where they lead is not part of either tree.
        Op::Mode(path, mode) if !at(path).is_symlink() => fs::set_permissions(at(path), fs::Permissions::from_mode(*mode | 0o700))?,
        Op::Mode(..) => {}
        Op::Read(path) => return fs::read(at(path)),
        Op::List(path) => {
            let mut names =
                fs::read_dir(at(path))?.map(|entry| Ok(entry?.file_name().into_encoded_bytes())).collect::<io::Result<Vec<_>>>()?;
            names.sort();
            return Ok(names.join(&0));
        }
    }
    Ok(Vec::new())
}

/// All of a tree that both sides must agree on.
fn picture(root: &Path) -> Vec<(PathBuf, u32, u64, Vec<u8>)> {
    let look = |path: PathBuf| {
        let found = fs::symlink_metadata(&path).unwrap();
        let content = match found.file_type() {
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            kind if kind.is_file() => fs::read(&path).unwrap(),
            kind => vec![u8::from(kind.is_dir()), u8::from(kind.is_fifo())],
        };
        let links = if found.is_dir() { 0 } else { found.nlink() };
        (path.strip_prefix(root).unwrap().to_path_buf(), found.mode(), links, content)
    };
    walk(root).into_iter().map(look).collect()
}

#[test]
fn the_same_operations_have_the_same_answers_as_on_the_hosts_own_filesystem() {
    let Some(volume) = Volume::if_mountable() else { return };
    let host = volume.beside("host");
    fs::create_dir(&host).unwrap();
    let mut mount = volume.mount();
    let (mut done, mut refused) = (0, 0);
    for seed in 1..=4 {
        let mut dice = Dice(seed);
        for clock in 0..6_000 {
            let op = draw(&mut dice);
            let [ours, theirs] = [&volume.mountpoint(), &host].map(|root| act(root, &op, clock).map_err(|error| error.raw_os_error()));
            assert_eq!(ours, theirs, "seed {seed}, operation {clock}: {op:?}");
            if ours.is_ok() { done += 1 } else { refused += 1 }
        }
        assert!(picture(&volume.mountpoint()) == picture(&host), "seed {seed}: the trees differ");
        mount.unmount();
        volume.check();
        mount = volume.mount();
        assert!(picture(&volume.mountpoint()) == picture(&host), "seed {seed}: the trees differ after a remount");
    }
    assert!(done > 3_000 && refused > 5_000, "{done} done, {refused} refused");
}

/// Seconds of the storm of processes: `INFMAP_STORM_SECONDS`, or few.
fn seconds() -> u64 {
    std::env::var("INFMAP_STORM_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// What the threads of a process wait for, as the kernel says it.
fn stacks(pid: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let look = |task: fs::DirEntry| {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        format!("{} waits in {}\n{}", read("comm").trim(), read("wchan"), read("stack"))
    };
    tasks.map(look).collect::<Vec<_>>().join("\n")
}

/// Waits for all, and says who hangs.
fn wait_for(children: Vec<Child>, mount: &Mount, limit: Duration) {
    let (ended, ends) = mpsc::channel();
    let mut running: Vec<u32> = children.iter().map(Child::id).collect();
    for mut child in children {
        let ended = ended.clone();
        std::thread::spawn(move || ended.send((child.id(), child.wait())));
    }
    let deadline = Instant::now() + limit;
    while !running.is_empty() {
        match ends.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((pid, status)) => {
                let status = status.unwrap();
                assert!(status.success(), "a worker ends with {status}");
                running.retain(|other| *other != pid);
            }
            Err(_) => panic!("process {} hangs:\n{}\nthe daemon:\n{}", running[0], stacks(running[0]), stacks(mount.pid())),
        }
    }
}

#[test]
fn eight_processes_in_the_same_directories_leave_what_their_logs_say() {
    const WORKERS: u32 = 8;
    if !has("python3", "eight processes") {
        return;
    }
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let logs = volume.beside("logs");
    fs::create_dir(&logs).unwrap();
    let script = Path::new(common::SOURCE).join("tests/scripts/storm.py");
    let start = |worker: u32| {
        let arguments = [worker.to_string(), seconds().to_string()];
        let mut command = Command::new("python3");
        command.arg(&script).arg(volume.mountpoint()).arg(&logs).args(arguments).stdin(Stdio::null());
        command.spawn().expect("a worker")
    };
    let workers: Vec<Child> = (0..WORKERS).map(start).collect();
    wait_for(workers, &mount, Duration::from_secs(seconds() + 120));
    let verify = || common::run(Command::new("python3").arg(&script).arg("--verify").arg(volume.mountpoint()).arg(&logs));
    let said = verify();
    println!("{said}");
    mount.unmount();
    volume.check();
    let _mount = volume.mount();
    assert_eq!(verify(), said, "after a remount");
    assert!(infmap().arg("info").arg(volume.path()).output().unwrap().status.success());
    drop(File::open(volume.mountpoint()).unwrap());
}
