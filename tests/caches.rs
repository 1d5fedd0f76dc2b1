//! `infmap warm` and `infmap cache`: what is brought into memory, made durable, and let go.

mod common;

use common::{Mount, Numbers, Volume, infmap, run};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn json(command: &mut Command) -> serde_json::Value {
    let text = run(command);
    serde_json::from_str(text.lines().last().expect("a line")).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn tier(mount: &Mount, name: &str) -> u64 {
    let facts = json(infmap().args(["--json", "cache", "stats"]).arg(mount.dir()));
    assert_eq!((&facts["message_type"], &facts["version"]), (&"caches".into(), &1.into()));
    let tiers = facts["tiers"].as_array().expect("a list");
    tiers.iter().find(|tier| tier["tier"] == name).and_then(|tier| tier["bytes"].as_u64()).unwrap_or_else(|| panic!("{name}: {facts}"))
}

/// A volume with a file of 8 MiB, which does not compress, and 30 small ones.
fn filled() -> Option<Volume> {
    let volume = Volume::if_mountable()?;
    let mount = volume.mount();
    let mut numbers = Numbers(3);
    let mut noise = vec![0; 8 << 20];
    numbers.fill(&mut noise);
    fs::write(mount.path("large.raw"), &noise).expect("written");
    fs::create_dir_all(mount.path("d/e")).expect("made");
    for n in 0..30 {
        let name = if n % 2 == 0 { format!("d/{n}") } else { format!("d/e/{n}.raw") };
        fs::write(mount.path(&name), &noise[n * 9000..(n + 1) * 9000]).expect("written");
    }
    mount.unmount();
    Some(volume)
}

fn warm(arguments: &[&str], paths: &[&Path]) -> Output {
    infmap().args(["--json", "warm"]).args(arguments).args(paths).output().expect("it starts")
}

fn last(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or("")).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Seen to fail without the reads, and with a pattern that stands for nothing.
#[test]
fn what_is_warmed_is_in_the_cache_and_what_is_dropped_is_not() {
    let Some(volume) = filled() else { return };
    let mount = volume.mount();
    assert!(tier(&mount, "l1") < 1 << 20);
    let output = warm(&[], &[&mount.path("large.raw")]);
    let told = last(&output);
    assert_eq!(
        (&told["message_type"], told["files"].as_u64(), told["bytes"].as_u64()),
        (&"warmed".into(), Some(1), Some(8 << 20)),
        "{output:?}"
    );
    assert!(tier(&mount, "l1") > 7 << 20, "{}", tier(&mount, "l1"));
    assert!(tier(&mount, "nodes") > 0);
    let dropped = json(infmap().args(["--json", "cache", "drop"]).arg(mount.dir()));
    assert!(dropped["bytes"].as_u64() > Some(7 << 20), "{dropped}");
    assert_eq!(tier(&mount, "l1"), 0);
    // Directories, patterns and lists.
    assert_eq!(last(&warm(&[], &[&mount.path("d")]))["files"], 30);
    assert_eq!(last(&warm(&["--priority", "high"], &[&mount.path("**/*.raw")]))["files"], 16);
    let mut child = infmap();
    child.args(["--json", "warm", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().expect("it starts");
    let list = format!("{}\n{}", mount.path("d/0").display(), mount.path("d/e").display());
    child.stdin.take().expect("piped").write_all(list.as_bytes()).expect("sent");
    assert_eq!(last(&child.wait_with_output().expect("it ends"))["files"], 16);
    let text = run(infmap().args(["cache", "stats"]).arg(mount.dir()));
    assert!(text.starts_with("CACHE ") && text.contains("\nl1 ") && text.contains("bytes of files, decoded"), "{text}");
    let text = run(infmap().arg("warm").arg(mount.path("d/0")));
    assert_eq!(text, "Read 1 file(s), 8.8 KiB.\n");
    for name in ["none", "*.none"] {
        let output = warm(&[], &[&mount.path(name)]);
        assert!(output.status.code() == Some(1) && String::from_utf8_lossy(&output.stderr).contains("IM1080"), "{output:?}");
    }
    let output = warm(&[], &[Path::new("/proc/self/status")]);
    assert!(output.status.code() == Some(15) && String::from_utf8_lossy(&output.stderr).contains("IM1033"), "{output:?}");
    mount.unmount();
}

#[test]
fn warming_in_the_background_returns_at_once_and_is_done() {
    let Some(volume) = filled() else { return };
    let mount = volume.mount();
    let told = last(&warm(&["--background"], &[&mount.path("large.raw")]));
    let pid = told["pid"].as_i64().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)).expect("a pid");
    assert_eq!(told["message_type"], "warming");
    // It is no child of ours: its end is that its process is gone, which a descriptor tells.
    if let Ok(descriptor) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        let mut fds = [rustix::event::PollFd::new(&descriptor, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&patience)), Ok(1));
    }
    assert!(tier(&mount, "l1") > 7 << 20);
    mount.unmount();
}

/// All processes that were called with a word like this, and with `warm`.
fn warming(word: &str) -> usize {
    let calls = fs::read_dir("/proc").expect("listed").flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let calls = calls.map(|call| String::from_utf8_lossy(&call).into_owned());
    calls.filter(|call| call.contains("warm") && call.contains(word)).count()
}

/// Seen to fail when the child's call was this one without `-b` and with `--no-progress`: in `-qb` the flag stood all the same, so that the
/// child started another, and a second `--no-progress` made a call a wrong one.
#[test]
fn however_the_flags_are_written_one_process_warms_in_the_background() {
    let Some(volume) = filled() else { return };
    let mount = volume.mount();
    for flags in
        [&["warm", "-qb"][..], &["warm", "-bq"], &["--no-progress", "warm", "-b"], &["--json", "--no-progress", "warm", "--background"]]
    {
        run(infmap().args(["cache", "drop"]).arg(mount.dir()));
        run(infmap().args(flags).arg(mount.path("large.raw")));
        common::until("a large file in the cache", || tier(&mount, "l1") > 7 << 20);
        let dir = mount.dir().to_string_lossy().into_owned();
        common::until("that nobody warms any more", || warming(&dir) == 0);
    }
    for (path, exit, code) in
        [(mount.path("none"), 1, "IM1080"), (mount.path("*.none"), 1, "IM1080"), ("/proc/self/status".into(), 15, "IM1033")]
    {
        let output = warm(&["-b"], &[&path]);
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(code) && output.stdout.is_empty(), "{output:?}");
    }
    mount.unmount();
}

/// Seen to fail when the mount was looked for by the first file of a batch: that ended it, with all that was behind.
#[test]
fn files_that_go_away_while_a_list_is_read_are_passed_over() {
    let Some(volume) = filled() else { return };
    let mount = volume.mount();
    let mut child = infmap();
    child.args(["--json", "warm", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("it starts");
    let mut list = child.stdin.take().expect("piped");
    // Who has taken the second line has looked at the file of the first.
    for name in ["d/0", "d/2"] {
        writeln!(list, "{}", mount.path(name).display()).expect("sent");
        common::until("that a line is taken", || rustix::io::ioctl_fionread(&list).expect("told") == 0);
    }
    fs::remove_file(mount.path("d/0")).expect("removed");
    writeln!(list, "{}", mount.path("large.raw").display()).expect("sent");
    drop(list);
    let output = child.wait_with_output().expect("it ends");
    let told = last(&output);
    // The daemon may have the one that went for a moment still.
    assert!(output.status.success() && told["files"].as_u64() >= Some(2) && told["failed"] == 0, "{output:?}");
    mount.unmount();
}

/// What `flush` returned for is there after the daemon was killed, although nobody called fsync.
#[test]
fn what_was_flushed_survives_the_daemon() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount_with(&["--set", "durability.commit_interval=60s"]);
    fs::write(mount.path("kept"), vec![7; 300_000]).expect("written");
    let told = json(infmap().args(["--json", "cache", "flush"]).arg(mount.dir()));
    assert_eq!(told["message_type"], "flushed");
    mount.kill();
    let mount = volume.mount();
    assert!(fs::read(mount.path("kept")).expect("there") == vec![7; 300_000]);
    mount.unmount();
    let output = infmap().args(["cache", "flush"]).arg(volume.path()).output().expect("it starts");
    assert!(output.status.code() == Some(15) && String::from_utf8_lossy(&output.stderr).starts_with("error[IM1033]"), "{output:?}");
}

/// The files stay open, so that no close hands anything over, and the daemon alone is asked, as where syncfs(2) waits for nothing: that of
/// Linux 6.18.44 does wait, that of others does not. INFMAP_FLUSH_MIB: how much is written. Seen to fail when the daemon did not have the
/// kernel hand over what it holds.
#[test]
fn what_was_flushed_while_its_file_stays_open_survives_the_daemon() {
    let Some(volume) = Volume::if_mountable() else { return };
    let length = usize::try_from(common::rounds("INFMAP_FLUSH_MIB", 48)).expect("a size") << 20;
    let mount = volume.mount_with(&["--set", "durability.commit_interval=60s"]);
    let content = Numbers(length as u64).bytes(length);
    fs::write(mount.path("small"), b"before").expect("written");
    let mut large = fs::File::create(mount.path("large")).expect("made");
    let mut small = fs::OpenOptions::new().write(true).open(mount.path("small")).expect("opened");
    large.write_all(&content).and_then(|()| small.write_all(b"behind")).expect("written");
    infmap::control::client::flush(&volume.path()).expect("flushed");
    mount.kill();
    drop((large, small));
    let mount = volume.mount();
    assert!(fs::read(mount.path("large")).expect("there") == content);
    assert_eq!(fs::read(mount.path("small")).expect("there"), b"behind");
    mount.unmount();
    volume.check();
}

/// Dropping while somebody writes: nothing dirty goes.
#[test]
fn dropping_loses_nothing_that_is_dirty() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let mut numbers = Numbers(11);
    let mut content = vec![0; 100_000];
    for n in 0..60 {
        numbers.fill(&mut content);
        fs::write(mount.path(&format!("f{n}")), &content).expect("written");
        if n % 10 == 0 {
            run(infmap().args(["cache", "drop"]).arg(mount.dir()));
        }
    }
    run(infmap().args(["cache", "drop"]).arg(mount.dir()));
    let mut numbers = Numbers(11);
    for n in 0..60 {
        numbers.fill(&mut content);
        assert!(fs::read(mount.path(&format!("f{n}"))).expect("read") == content, "f{n}");
    }
    mount.unmount();
    volume.check();
}
