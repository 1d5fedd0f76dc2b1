//! Settings that change while a volume is mounted: by `infmap config reload`, by SIGHUP, and because a file of them has changed.
//!
//! Must be true: RLD-1 to RLD-4: what can change does, what cannot is told with its reason, one mistake changes nothing, and whoever uses the
//! mount meanwhile notices nothing.

mod common;

use common::{Mount, Numbers, Volume, infmap, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn reload(place: &Path) -> Output {
    infmap().args(["config", "reload"]).arg(place).output().expect("infmap starts")
}

/// Exit code and stdout of a reload after these settings of the volume were written.
fn reloaded(volume: &Volume, settings: &str) -> (Option<i32>, String) {
    fs::write(volume.path().join("config.yaml"), settings).expect("written");
    let output = reload(&volume.mountpoint());
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

fn status(place: &Path) -> Value {
    let output = infmap().args(["--json", "status"]).arg(place).output().expect("infmap starts");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Threads of a process whose name begins so.
fn threads(pid: u32, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives").flatten();
    tasks.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.starts_with(name))).count()
}

/// The settings without a watch over their files, so that a test says when they are read.
const UNWATCHED: &str = "config: { watch: false }\n";

/// Whether another process has this file open.
fn is_open_elsewhere(file: &Path) -> bool {
    let processes = fs::read_dir("/proc").expect("listed").flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = processes.filter(|pid| *pid != std::process::id());
    let files = others.flat_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten());
    files.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|open| open == file)
}

/// Seen to fail when the first look at the files was taken behind the lock and the recovery, by the thread that waits for changes.
#[test]
fn settings_that_change_while_a_mount_waits_for_the_volume_are_read_again() {
    let Some(volume) = Volume::if_mountable() else { return };
    let lock = volume.path().join("lock");
    let held = File::options().create(true).truncate(false).write(true).open(&lock).expect("a lock");
    rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("free");
    let starts = std::thread::spawn({
        let (path, dir) = (volume.path(), volume.mountpoint());
        move || Mount::start(&path, &dir, &["--wait", "60s"])
    });
    until("a mount that waits", || is_open_elsewhere(&lock));
    fs::write(volume.path().join("config.yaml"), "actors: { pixel_reader: { threads: 7 } }\n").expect("written");
    drop(held);
    let mount = starts.join().expect("it starts");
    until("a second reading", || threads(mount.pid(), "infmap-pixel_re") == 7);
    mount.unmount();
}

#[test]
fn each_key_is_told_as_applied_as_waiting_or_as_refused_and_a_mistake_changes_nothing() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount_with(&["--set", "config.watch=false", "--set", "log.level=info"]);
    let pid = mount.pid();
    assert_eq!((threads(pid, "infmap-pixel_re"), status(mount.dir())["config"]["generation"].as_u64()), (4, Some(1)));
    let (code, said) = reloaded(&volume, "actors: { pixel_reader: { threads: 7 }, cache: { mailbox: 99 } }\nmount: { atime: noatime }\n");
    let expected = "applied live: actors.cache.mailbox 1024 -> 99\napplied live: actors.pixel_reader.threads 4 -> 7\n\
                    needs remount: mount.atime relatime -> noatime\n";
    assert_eq!((code, said.as_str()), (Some(0), expected));
    assert_eq!(threads(pid, "infmap-pixel_re"), 7);
    let config = &status(mount.dir())["config"];
    assert_eq!(
        (config["generation"].as_u64(), &config["last_result"], &config["waiting"][0]),
        (Some(2), &"partial".into(), &"mount.atime".into())
    );
    // What --set said at the mount lies above every file.
    let (code, said) = reloaded(&volume, "actors: { pixel_reader: { threads: 7 }, cache: { mailbox: 99 } }\nlog: { level: debug }\n");
    assert_eq!((code, said.as_str()), (Some(0), "The settings are as they were.\n"));
    let (code, said) = reloaded(&volume, "actors: { pixel_reader: { threads: 1 } }\nmemory: { bugdet: 1GiB }\n");
    assert!(code == Some(2) && said.starts_with("error[IM1002]: nothing has changed:\nunknown key `bugdet`\n"), "{said}");
    assert!(said.contains("config.yaml:2:11") && said.contains("did you mean `budget`?"), "{said}");
    assert_eq!(threads(pid, "infmap-pixel_re"), 7);
    until("the mistake in the log", || mount.said().contains("did you mean `budget`?"));
    let config = &status(mount.dir())["config"];
    assert_eq!((config["failed"].as_u64(), &config["last_result"], config["generation"].as_u64()), (Some(1), &"failed".into(), Some(2)));
    let (code, said) = reloaded(&volume, "actors: { pixel_reader: { threads: 2 } }\nmemory: { budget: 40MiB }\n");
    assert!(code == Some(2) && said.contains("refused: memory.budget 512MiB -> 40MiB (") && said.contains("threads 7 -> 2\n"), "{said}");
    assert_eq!((threads(pid, "infmap-pixel_re"), status(mount.dir())["config"]["generation"].as_u64()), (2, Some(3)));
    mount.unmount();
    volume.check();
}

/// What the kernel was told of requests that it may have under way, if that can be read.
fn background(place: &Path) -> Option<String> {
    let minor = rustix::fs::minor(fs::metadata(place).expect("mounted").dev());
    fs::read_to_string(format!("/sys/fs/fuse/connections/{minor}/max_background")).ok()
}

/// The kernel is told what it may have under way only after the budget is judged: neither ten requests for 512 MiB, nor 44 MiB of 32.
#[test]
fn a_budget_that_is_refused_changes_nothing_that_goes_by_it() {
    let Some(volume) = Volume::if_mountable() else { return };
    for (first, second) in [("512MiB", "40MiB"), ("32MiB", "512MiB")] {
        fs::write(volume.path().join("config.yaml"), format!("memory: {{ budget: {first} }}\n")).expect("written");
        let mount = volume.mount_with(&["--set", "config.watch=false"]);
        let state = || (background(mount.dir()), status(mount.dir())["space"]["dirty_limit_bytes"].as_u64());
        let before = state();
        assert!(before.1.is_some_and(|bytes| bytes > 0));
        let (code, said) = reloaded(&volume, &format!("memory: {{ budget: {second} }}\n"));
        assert!(code == Some(2) && said.contains(&format!("refused: memory.budget {first} -> {second} (")), "{said}");
        assert_eq!(state(), before, "{first} to {second}");
        mount.unmount();
        fs::remove_file(volume.path().join("config.yaml")).expect("removed");
    }
    volume.check();
}

/// Meant to fail when it knew only the settings of whoever called it.
#[test]
fn config_show_tells_what_a_mount_has_in_force_and_what_the_next_one_would() {
    let Some(volume) = Volume::if_mountable() else { return };
    let show = |arguments: &[&str], place: &Path| {
        let output = infmap().args(["config", "show", "--origin"]).args(arguments).arg(place).output().expect("infmap starts");
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let line = |shown: &str, key: &str| {
        let line =
            shown.lines().find(|line| line.trim_start().starts_with(&format!("{key}: "))).unwrap_or_else(|| panic!("{key}: {shown}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let file = volume.path().join("config.yaml");
    fs::write(&file, "limit: 3GiB\n").expect("written");
    let origin = |at: &str| format!("{}:{at}", file.display());
    let (code, shown) = show(&["--set", "log.level=error"], &volume.path());
    assert_eq!((code, line(&shown, "limit")), (Some(0), format!("limit: 3GiB # {}", origin("1:8"))));
    assert_eq!(line(&shown, "level"), "level: error # --set:1:11");
    let mount = volume.mount_with(&["--set", "config.watch=false", "--set", "log.level=info", "-o", "noatime"]);
    for place in [mount.dir(), &volume.path()] {
        let (code, shown) = show(&[], place);
        assert_eq!((code, line(&shown, "level")), (Some(0), "level: info # --set:1:11".into()));
        assert!(line(&shown, "atime").starts_with("atime: noatime # -o:"), "{shown}");
        assert_eq!(line(&shown, "limit"), format!("limit: 3GiB # {}", origin("1:8")));
        assert_eq!(line(&shown, "compression"), "compression: auto # default");
    }
    // What a reload put into force has its new place, what waits for a mount has neither its value nor its place.
    let (code, _) = reloaded(&volume, "compression: off\nmount: { fuse_threads: 2 }\n");
    let (_, shown) = show(&[], mount.dir());
    assert_eq!((code, line(&shown, "compression")), (Some(0), format!("compression: off # {}", origin("1:14"))));
    assert_eq!(line(&shown, "fuse_threads"), "fuse_threads: 1 # default");
    let output = infmap().args(["--json", "config", "show"]).arg(mount.dir()).output().expect("infmap starts");
    let facts: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&facts["settings"]["compression"]["value"], &facts["settings"]["compression"]["applies"]), (&"off".into(), &"live".into()));
    let (code, said) = show(&["--set", "limit=1GiB"], mount.dir());
    assert!(code == Some(2) && said.contains("with settings of its own"), "{said}");
    mount.unmount();
}

#[test]
fn a_smaller_budget_takes_its_memory_back_and_a_larger_one_gives_it() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount_with(&["--set", "config.watch=false"]);
    let dirty = || status(mount.dir())["space"]["dirty_limit_bytes"].as_u64().expect("a number");
    let (before, resident) = (dirty(), mount.memory_kib("VmRSS"));
    let (code, said) = reloaded(&volume, "memory: { budget: 128MiB }\n");
    assert_eq!((code, said.as_str()), (Some(0), "applied live: memory.budget 512MiB -> 128MiB\n"));
    assert!(dirty() < before / 3, "{before} {}", dirty());
    // The mount had touched the memory of a first stream.
    until("memory coming back", || mount.memory_kib("VmRSS") + 30 * 1024 < resident);
    let content = Numbers(7).bytes(40 << 20);
    fs::write(mount.path("file"), &content).expect("written");
    assert!(fs::read(mount.path("file")).expect("read") == content);
    let (code, _) = reloaded(&volume, "memory: { budget: 512MiB }\n");
    assert!(code == Some(0) && dirty() + (8 << 20) > before, "{before} {}", dirty());
    mount.unmount();
    volume.check();
}

#[test]
fn a_file_that_changes_is_read_again_when_it_is_still_and_hup_reads_it_at_once() {
    let Some(volume) = Volume::if_mountable() else { return };
    let daemon = Daemon::start(&volume);
    let path = volume.path().join("config.yaml");
    fs::write(&path, "actors: { pixel_reader: { threads: 9 } }\n").expect("written");
    until("a reload by the file", || threads(daemon.0, "infmap-pixel_re") == 9);
    fs::remove_file(&path).expect("removed");
    until("a reload by the file that went", || threads(daemon.0, "infmap-pixel_re") == 4);
    // Put in its place by a rename, as editors do, and unwatched from then on.
    fs::write(volume.path().join("new.yaml"), UNWATCHED).expect("written");
    fs::rename(volume.path().join("new.yaml"), &path).expect("renamed");
    let generation = || status(&volume.mountpoint())["config"]["generation"].as_u64();
    until("a reload by the file that came", || generation() == Some(4));
    fs::write(&path, format!("{UNWATCHED}actors: {{ pixel_reader: {{ threads: 3 }} }}\n")).expect("written");
    daemon.signal(Signal::HUP);
    until("a reload by SIGHUP", || threads(daemon.0, "infmap-pixel_re") == 3);
    let log = || fs::read_to_string(volume.path().join("run/daemon.log")).expect("a log");
    assert!(log().contains("settings (SIGHUP): applied live: actors.pixel_reader.threads 4 -> 3"), "{}", log());
    daemon.signal(Signal::USR1);
    until("the status in the log", || log().contains("asked for the status by SIGUSR1 status={\""));
    assert!(!log().contains("DEBUG"));
    daemon.signal(Signal::USR2);
    until("another level", || log().contains("asked for another log level by SIGUSR2 level=\"debug\""));
    daemon.signal(Signal::USR2);
    until("the level as it was", || log().contains("by SIGUSR2 level=\"info\""));
    drop(daemon);
    volume.check();
}

/// A daemon without a terminal. Unmounts when dropped.
struct Daemon<'a>(u32, &'a Volume);

impl<'a> Daemon<'a> {
    fn start(volume: &'a Volume) -> Self {
        common::run(infmap().args(["mount", "-d"]).arg(volume.path()).arg(volume.mountpoint()));
        let pid = status(&volume.mountpoint())["pid"].as_u64().expect("a number");
        Self(u32::try_from(pid).expect("a pid"), volume)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("it lives");
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = infmap().arg("umount").arg(self.1.mountpoint()).output();
    }
}

/// Writes files, syncs some, removes some, and reads all of them back, until it is told to end.
fn load(mount: &Mount, thread: u64, ended: &AtomicBool, done: &AtomicU64) {
    let mut numbers = Numbers(thread);
    let mut kept: Vec<(std::path::PathBuf, Vec<u8>)> = Vec::new();
    for turn in 0.. {
        let path = mount.path(&format!("{thread}-{turn}"));
        let length = 1 + numbers.below(700_000) as usize;
        let mut content = numbers.bytes(length);
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).expect("made");
        file.write_all(&content).expect("written");
        let at = numbers.below(content.len() as u64);
        file.write_all_at(b"*", at).expect("written over");
        content[at as usize] = b'*';
        if numbers.below(4) == 0 {
            file.sync_all().expect("synced");
        }
        kept.push((path, content));
        let (path, content) = &kept[numbers.below(kept.len() as u64) as usize];
        assert!(fs::read(path).expect("read") == *content, "{} is not what was written", path.display());
        if kept.len() > 20 {
            let (path, _) = kept.swap_remove(numbers.below(20) as usize);
            fs::remove_file(path).expect("removed");
        }
        done.fetch_add(1, Ordering::Relaxed);
        if ended.load(Ordering::Relaxed) {
            break;
        }
    }
    for (path, content) in kept {
        assert!(fs::read(&path).expect("read") == content, "{} is not what was written", path.display());
    }
}

#[test]
fn a_mount_under_load_is_resized_again_and_again_and_nobody_notices() {
    let Some(volume) = Volume::if_mountable() else { return };
    let seconds = common::rounds("INFMAP_RESIZE_SECONDS", 4);
    let mount = volume.mount_with(&["--set", "config.watch=false"]);
    let (ended, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut reloads, mut longest) = (0, Duration::ZERO);
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..3)
            .map(|thread| {
                scope.spawn({
                    let (mount, ended, done) = (&mount, &ended, &done);
                    move || load(mount, thread, ended, done)
                })
            })
            .collect();
        let end = Instant::now() + Duration::from_secs(seconds);
        while (Instant::now() < end || reloads < 6) && !loads.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            for (threads, budget, mailbox) in [(1, "192MiB", 16), (8, "512MiB", 1024), (2, "256MiB", 64)] {
                let pool = format!("{{ threads: {threads}, mailbox: {mailbox} }}");
                let settings = format!(
                    "memory: {{ budget: {budget} }}\nactors: {{ cache: {pool}, pixel_reader: {pool}, pixel_writer: {pool} }}\n\
                     durability: {{ commit_interval: {threads}00ms }}\n"
                );
                let start = Instant::now();
                let (code, said) = reloaded(&volume, &settings);
                assert_eq!(code, Some(0), "{said}");
                longest = longest.max(start.elapsed());
                reloads += 1;
            }
        }
        ended.store(true, Ordering::Relaxed);
        loads.into_iter().for_each(|load| load.join().expect("a load"));
    });
    println!("{reloads} reloads, the longest took {longest:?}; {} files written and read", done.load(Ordering::Relaxed));
    assert!(reloads >= 6 && done.load(Ordering::Relaxed) > 10);
    assert_eq!(status(mount.dir())["mode"], "rw");
    mount.unmount();
    volume.check();
}

#[test]
fn a_mount_that_is_not_there_cannot_be_told() {
    let volume = Volume::new();
    let output = reload(&volume.path());
    assert_eq!(output.status.code(), Some(15), "{}", text(&output.stderr));
}
