//! Becoming a daemon: the program starts itself again, and the parent returns when the mount answers.
//!
//! Owns: the pipe between the two. Must be true: nobody forks with threads running (this is a new process, not a fork); until
//! the child is ready its errors appear on the parent's own terminal; a child that ends early ends the parent with its code, or is
//! told of if a signal ended it; a child that is too late is asked to end. Fails: with [`Outcome::Ended`], [`Outcome::Killed`] or
//! [`Outcome::Late`].

use super::MountError;
use infmap_storage::device::HostDirectory;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process, setsid};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The hidden flag that makes the program the child.
pub const CHILD_FLAG: &str = "--daemon-child";
const READY: &[u8] = b"ready\n";
const STATE_DIRECTORY: &str = "run";
/// Where a daemon's messages go, in the volume.
pub const LOG: &str = "run/daemon.log";

/// How the start of a daemon went.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The mount answers; this is the daemon.
    Ready { pid: u32 },
    /// The daemon ended, having said why on stderr; its exit code.
    Ended { code: u8 },
    /// A signal ended the daemon, which could not say why.
    Killed { signal: i32 },
    /// The time is over; the daemon was asked to end.
    Late { pid: u32 },
}

/// Starts this program again with these arguments as a daemon, and waits until it is ready.
pub fn start(arguments: &[OsString], patience: Duration) -> Result<Outcome, MountError> {
    let program = std::env::current_exe().map_err(MountError::io("cannot find this program's file"))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(MountError::io("cannot start the daemon"))?;
    wait(&mut child, patience)
}

/// Waits until a child is ready whose stdout is a pipe.
pub(super) fn wait(child: &mut Child, patience: Duration) -> Result<Outcome, MountError> {
    let failed = || MountError::io("cannot wait for the daemon");
    let deadline = Instant::now() + patience;
    let mut said = Vec::new();
    let mut pipe = child.stdout.take().ok_or_else(|| failed()(std::io::ErrorKind::BrokenPipe.into()))?;
    while !said.ends_with(READY) {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        let ready = match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.map_err(|errno| failed()(errno.into()))?,
        };
        let mut buffer = [0; 64];
        let read = if ready == 0 { None } else { Some(pipe.read(&mut buffer).map_err(failed())?) };
        match read {
            None => {
                if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::TERM);
                }
                return Ok(Outcome::Late { pid: child.id() });
            }
            Some(0) => {
                let status = child.wait().map_err(failed())?;
                return Ok(match status.signal() {
                    Some(signal) => Outcome::Killed { signal },
                    None => Outcome::Ended { code: status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1) },
                });
            }
            Some(length) => said.extend_from_slice(buffer.get(..length).unwrap_or(&[])),
        }
    }
    Ok(Outcome::Ready { pid: child.id() })
}

/// The child leaves the terminal's session, and the group of processes of whoever started it.
pub fn leave_session() {
    // Fails only for the leader of a group, which a process started by `start` is not.
    let _ = setsid();
}

fn open_log(volume: &Path) -> std::io::Result<File> {
    let directory = HostDirectory::open(volume)?;
    directory.create_dir(STATE_DIRECTORY)?;
    Ok(directory.file_to_append(LOG)?.into())
}

/// The child's word that the mount answers. From here on its messages go to the log in the volume, if that can be written.
pub fn say_ready(volume: &Path) -> std::io::Result<()> {
    let log = open_log(volume).or_else(|error| {
        tracing::info!(%error, log = %volume.join(LOG).display(), "from here on this daemon keeps no log");
        File::options().write(true).open("/dev/null")
    })?;
    std::env::set_current_dir("/")?;
    rustix::stdio::dup2_stderr(&log)?;
    report_ready()
}

/// A child's word that it is ready, when its messages stay where they are.
pub fn report_ready() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(READY)?;
    out.flush()?;
    rustix::stdio::dup2_stdout(&File::options().write(true).open("/dev/null")?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen to fail when the log was opened by its path: root's daemon wrote its messages at the end of the target of a link.
    #[test]
    fn a_log_that_is_a_link_or_behind_one_is_not_written() {
        use std::os::unix::fs::symlink;
        let temp = tempfile::tempdir().expect("a directory");
        let (volume, outside) = (temp.path().join("volume"), temp.path().join("outside"));
        for dir in [&volume, &outside] {
            std::fs::create_dir(dir).expect("made");
        }
        open_log(&volume).and_then(|mut log| log.write_all(b"first\n")).expect("written");
        open_log(&volume).and_then(|mut log| log.write_all(b"second\n")).expect("written");
        assert_eq!(std::fs::read(volume.join(LOG)).expect("read"), b"first\nsecond\n");
        std::fs::write(outside.join("file"), "theirs").expect("written");
        std::fs::remove_file(volume.join(LOG)).expect("removed");
        symlink(outside.join("file"), volume.join(LOG)).expect("linked");
        open_log(&volume).expect_err("it is a link");
        std::fs::remove_dir_all(volume.join(STATE_DIRECTORY)).expect("removed");
        symlink(&outside, volume.join(STATE_DIRECTORY)).expect("linked");
        open_log(&volume).expect_err("it is behind one");
        assert_eq!(std::fs::read(outside.join("file")).expect("read"), b"theirs");
        assert_eq!(std::fs::read_dir(&outside).expect("listed").count(), 1);
    }

    fn shell(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("a shell")
    }

    #[test]
    fn the_parent_returns_when_the_child_is_ready() {
        let mut child = shell("printf rea; printf 'dy\\n'; exec cat /dev/null");
        let pid = child.id();
        assert_eq!(wait(&mut child, Duration::from_secs(60)).expect("waited"), Outcome::Ready { pid });
        child.wait().expect("reaped");
    }

    #[test]
    fn a_child_that_ends_early_hands_over_its_code() {
        assert_eq!(wait(&mut shell("exit 11"), Duration::from_secs(60)).expect("waited"), Outcome::Ended { code: 11 });
        assert_eq!(wait(&mut shell("kill -9 $$"), Duration::from_secs(60)).expect("waited"), Outcome::Killed { signal: 9 });
    }

    #[test]
    fn a_child_that_is_too_late_is_asked_to_end() {
        let mut child = shell("exec tail -f /dev/null");
        let pid = child.id();
        assert_eq!(wait(&mut child, Duration::from_millis(1)).expect("waited"), Outcome::Late { pid });
        assert!(!child.wait().expect("it ended").success());
    }
}
