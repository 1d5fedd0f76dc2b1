//! `infmap mount --supervise`: a daemon that is killed comes back with all that was promised, and what cannot come back is given up.

mod common;

use common::{Volume, infmap};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// A mount with a process above it, in the foreground.
struct Supervised {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Supervised {
    fn start(volume: &Volume, arguments: &[&str]) -> Self {
        Self::start_with(infmap(), volume, arguments)
    }

    fn start_with(mut command: Command, volume: &Volume, arguments: &[&str]) -> Self {
        command.args(["mount", "--supervise"]).args(arguments).arg(volume.path()).arg(volume.mountpoint());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        Self { child, lines, said: String::new() }
    }

    /// Waits until a line with this text is said.
    fn wait_for(&mut self, text: &str) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("`{text}` is not said: {error}\n{}", self.said));
            self.said += &line;
            self.said += "\n";
            if line.contains(text) {
                return;
            }
        }
    }

    fn wait_for_mount(&mut self) {
        self.wait_for("mounted; Ctrl-C unmounts");
    }

    fn join(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("waited");
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.said += &line;
            self.said += "\n";
        }
        (status, self.said)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }
}

/// The process that has the volume.
fn daemon(volume: &Volume) -> Option<Pid> {
    let text = fs::read_to_string(volume.path().join("lock")).ok()?;
    text.lines().next()?.strip_prefix("pid ")?.parse().ok().and_then(Pid::from_raw)
}

fn kill(volume: &Volume, signal: Signal) {
    kill_process(daemon(volume).expect("a daemon"), signal).expect("it lives");
}

fn write_and_sync(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).and_then(|()| File::open(path)?.sync_all()).expect("synced");
}

fn is_mounted(volume: &Volume) -> bool {
    fs::read_to_string("/proc/self/mountinfo").expect("read").contains(&*volume.mountpoint().to_string_lossy())
}

#[test]
fn a_daemon_that_is_killed_comes_back_with_what_was_promised_and_ends_for_good_when_unmounted() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut mount = Supervised::start(&volume, &["--restarts", "9/1h"]);
    mount.wait_for_mount();
    let path = volume.mountpoint().join("file");
    for (round, signal) in [Signal::KILL, Signal::ABORT, Signal::ILL].into_iter().enumerate() {
        write_and_sync(&path, &[round as u8; 100_000]);
        let before = daemon(&volume);
        kill(&volume, signal);
        mount.wait_for("the daemon crashed; it is started again");
        mount.wait_for_mount();
        assert_ne!(daemon(&volume), before);
        assert!(fs::read(&path).expect("readable again") == [round as u8; 100_000], "{}", mount.said);
    }
    assert!(mount.said.contains("a dead mount of ours was cleared away"), "{}", mount.said);
    common::run(infmap().arg("umount").arg(volume.mountpoint()));
    let (status, said) = mount.join();
    assert!(status.success() && !is_mounted(&volume), "{status}\n{said}");
    volume.check();
}

#[test]
fn a_signal_is_passed_on_and_nothing_comes_back() {
    let Some(volume) = Volume::if_mountable() else { return };
    for signal in [Signal::TERM, Signal::INT] {
        let mut mount = Supervised::start(&volume, &[]);
        mount.wait_for_mount();
        fs::write(volume.mountpoint().join("unsynced"), b"unsynced").expect("written");
        mount.signal(signal);
        let (status, said) = mount.join();
        assert!(status.success() && said.matches("asked to end").count() == 1 && !is_mounted(&volume), "{status}\n{said}");
        volume.check();
    }
    // The volume is unmounted while the daemon is dead: somebody wants it gone.
    let mut mount = Supervised::start(&volume, &[]);
    mount.wait_for_mount();
    mount.signal(Signal::STOP);
    kill(&volume, Signal::KILL);
    let gone = infmap().arg("umount").arg(volume.mountpoint()).output().expect("it starts");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("IM1044"), "{gone:?}");
    mount.signal(Signal::CONT);
    let (status, said) = mount.join();
    assert!(status.code() == Some(1) && said.contains("error[IM1044]") && !is_mounted(&volume), "{status}\n{said}");
}

/// Meant to fail when every signal went to a daemon that had just been started, and without signs of life from the process above it.
#[test]
fn while_a_new_daemon_waits_for_the_volume_wishes_do_not_end_it_and_a_manager_hears_that_it_lives() {
    let Some(volume) = Volume::if_mountable() else { return };
    let manager = UnixDatagram::bind(volume.beside("notify")).expect("bound");
    manager.set_read_timeout(Some(PATIENCE)).expect("set");
    let hear = || {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).expect("the manager hears something");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut command = infmap();
    command.env("NOTIFY_SOCKET", volume.beside("notify")).env("WATCHDOG_USEC", "1000000");
    let mut mount = Supervised::start_with(command, &volume, &["--restarts", "1/1h", "--wait", "110s", "--set", "log.level=info"]);
    mount.wait_for_mount();
    while !hear().starts_with("READY=1") {}
    // As a predecessor that was unmounted and takes its time to end.
    let lock = File::open(volume.path().join("lock")).expect("there");
    let finishing = format!("pid {}\n", std::process::id());
    mount.signal(Signal::STOP);
    kill(&volume, Signal::KILL);
    flock(&lock, FlockOperation::LockExclusive).expect("free soon");
    fs::write(volume.path().join("lock"), finishing).expect("written");
    manager.set_nonblocking(true).expect("set");
    while manager.recv(&mut [0; 100]).is_ok() {}
    manager.set_nonblocking(false).expect("set");
    mount.signal(Signal::CONT);
    mount.wait_for("the daemon crashed; it is started again");
    // The pause, and then the new daemon's wait: nobody else gives them.
    for _ in 0..8 {
        assert_eq!(hear(), "WATCHDOG=1");
        for wish in [Signal::HUP, Signal::USR1, Signal::USR2] {
            mount.signal(wish);
        }
    }
    drop(lock);
    mount.wait_for_mount();
    mount.wait_for("settings (SIGHUP): as they were");
    mount.signal(Signal::TERM);
    let (status, said) = mount.join();
    assert!(status.success() && said.matches("is started again").count() == 1, "{status}\n{said}");
    volume.check();
}

#[test]
fn crashes_that_do_not_end_are_given_up() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mut mount = Supervised::start(&volume, &["--restarts", "2/1h"]);
    for _ in 0..3 {
        mount.wait_for_mount();
        kill(&volume, Signal::KILL);
    }
    let (status, said) = mount.join();
    assert_eq!(status.code(), Some(6), "{said}");
    assert!(said.contains("error[IM1046]") && said.contains("after 2 restarts within 3600 s") && said.contains("\nhelp: "), "{said}");
    assert!(is_mounted(&volume), "the dead mount says more than an empty directory");
    volume.mount().unmount();
}

#[test]
fn a_volume_that_cannot_be_opened_any_more_is_given_up() {
    let Some(volume) = Volume::if_mountable() else { return };
    let identity = volume.path().join("volume.yaml");
    let text = fs::read_to_string(&identity).expect("read");
    // No start will change this.
    let mut mount = Supervised::start(&volume, &[]);
    mount.wait_for_mount();
    fs::write(&identity, text.replace("format: ", "format: 9")).expect("written");
    kill(&volume, Signal::KILL);
    let (status, said) = mount.join();
    assert!(status.code() == Some(6) && said.contains("error[IM1046]") && said.contains("exit code 12"), "{status}\n{said}");
    fs::write(&identity, text).expect("written");
    // This might change: it is tried as often as is allowed.
    let mut mount = Supervised::start(&volume, &["--restarts", "2/1h"]);
    mount.wait_for_mount();
    let daemon = daemon(&volume);
    let lock = volume.path().join("lock");
    fs::rename(&lock, volume.beside("lock")).and_then(|()| fs::create_dir(&lock)).expect("moved");
    kill_process(daemon.expect("a daemon"), Signal::KILL).expect("it lives");
    let (status, said) = mount.join();
    assert!(status.code() == Some(6) && said.contains("after 2 restarts"), "{status}\n{said}");
    assert_eq!(said.matches("the daemon crashed; it is started again").count(), 2, "{said}");
    // Never mounted at all: told at once, with its own code.
    let mount = Supervised::start(&volume, &[]);
    let (status, said) = mount.join();
    assert!(status.code() == Some(1) && said.contains("error[IM1060]") && !said.contains("IM1046"), "{status}\n{said}");
}

#[test]
fn a_daemon_with_d_is_supervised_too() {
    let Some(volume) = Volume::if_mountable() else { return };
    // By names that mean something only where it is called.
    let parent = volume.path().parent().expect("a directory").to_path_buf();
    let name = |path: std::path::PathBuf| path.file_name().expect("a name").to_os_string();
    let mut command: Command = infmap();
    command.args(["mount", "-d", "--supervise"]).arg(name(volume.path())).arg(name(volume.mountpoint())).current_dir(&parent);
    common::run(&mut command);
    let path = volume.mountpoint().join("file");
    write_and_sync(&path, b"promised");
    let before = daemon(&volume).expect("a daemon");
    let status = fs::read_to_string(format!("/proc/{}/status", before.as_raw_nonzero())).expect("it lives");
    let above: u32 = status.lines().find_map(|line| line.strip_prefix("PPid:")).and_then(|pid| pid.trim().parse().ok()).expect("a parent");
    kill(&volume, Signal::KILL);
    let deadline = Instant::now() + PATIENCE;
    while daemon(&volume) == Some(before) || !infmap().arg("status").arg(volume.mountpoint()).output().expect("it starts").status.success()
    {
        assert!(Instant::now() < deadline, "{}", fs::read_to_string(volume.path().join("run/daemon.log")).unwrap_or_default());
    }
    assert_eq!(fs::read(&path).expect("readable again"), b"promised");
    let log = fs::read_to_string(volume.path().join("run/daemon.log")).expect("a log");
    assert!(log.contains("the daemon crashed; it is started again"), "{log}");
    common::run(infmap().arg("umount").arg(volume.mountpoint()));
    let is_alive = || fs::read_to_string(format!("/proc/{above}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    common::until("that the process above has ended", || !is_alive());
    volume.check();
}
