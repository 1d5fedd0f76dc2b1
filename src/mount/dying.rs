//! A daemon that was killed and is not gone yet: for a moment it still has its lock, and its mount does not look dead.
//!
//! Owns: nothing. Must be true: nobody waits for a daemon that is well; what is waited for is of the volume that is meant. The order of
//! an end is the kernel's (`do_exit` in kernel/exit.c): the memory goes first, which takes a while, then the files with lock and device.
//! Fails: with an error of the system; when the time is over it returns, and what is found then is told as what it looks like.

use super::lock::{self, LOOK_AGAIN};
use super::{MountError, mountinfo, point, server};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Looks at a process that must find it well: between two steps of its end nothing shows for microseconds.
const LOOKS: u32 = 2;
/// `PF_EXITING` of include/linux/sched.h.
const EXITING: u64 = 0x4;
/// SIGKILL in a mask of signals.
const KILLED: u64 = 1 << 8;

/// Waits until no dying daemon has the volume, or its mount at `dir`; until `deadline` at most.
pub fn wait_out(volume: &Path, dir: &Path, deadline: Instant) -> Result<(), MountError> {
    let mut well = 0;
    while let Some(pid) = lock::held(volume)?.and_then(|owner| owner.pid) {
        well = if is_ending(pid) { 0 } else { well + 1 };
        if well >= LOOKS || Instant::now() >= deadline {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let path = point::untouched(dir);
    while is_left(volume, &path)? && !point::is_dead(&path) && Instant::now() < deadline {
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Whether the place is a mount of this volume that nobody serves any more.
fn is_left(volume: &Path, path: &Path) -> Result<bool, MountError> {
    let Some(mounted) = mountinfo::at(path)?.filter(mountinfo::Mounted::is_ours) else { return Ok(false) };
    if !lock::is_left_at(volume, path)? {
        return Ok(false);
    }
    // Another volume may be mounted where this one was when its daemon died.
    let server = server::of(&mounted)?;
    Ok(!server.is_held() && server.volume.is_none_or(|found| found == volume))
}

/// Whether a process is about to end, or has and was not reaped. One that is not there is another world's: it has something of ours.
fn is_ending(pid: u32) -> bool {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
    read("stat").is_ok_and(|stat| is_ending_by_stat(&stat)) || read("status").is_ok_and(|status| is_killed(&status))
}

/// `7 (a name) S 1 7 7 0 -1 4194560 ...`: the state, and six fields behind it the flags.
fn is_ending_by_stat(stat: &str) -> bool {
    let mut fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    let state = fields.next().unwrap_or("");
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u64>().ok()).unwrap_or(0);
    matches!(state, "Z" | "X") || flags & EXITING != 0
}

fn is_killed(status: &str) -> bool {
    let pending = status.lines().filter_map(|line| line.strip_prefix("SigPnd:").or(line.strip_prefix("ShdPnd:")));
    pending.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask & KILLED != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_lives_is_well_and_one_that_was_killed_is_ending() {
        assert!(!is_ending(std::process::id()));
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat starts");
        assert!(!is_ending(child.id()));
        child.kill().expect("killed");
        assert!(is_ending(child.id()), "killed, exiting or not yet reaped");
        child.wait().expect("reaped");
        assert!(!is_ending(child.id()), "who is not there cannot be asked");
    }

    #[test]
    fn the_texts_of_the_kernel_are_read() {
        let stat = |state: &str, flags: u64| format!("7 (a) R 1 (x) {state} 1 7 7 0 -1 {flags} 0 0");
        assert!(is_ending_by_stat(&stat("R", 0x40_0104)) && is_ending_by_stat(&stat("Z", 0)));
        assert!(!is_ending_by_stat(&stat("S", 0x40_0100)) && !is_ending_by_stat("") && !is_ending_by_stat("7 (a) "));
        assert!(is_killed("Name:\ta\nSigPnd:\t0000000000000100\n") && is_killed("ShdPnd:\t0000000000000101\n"));
        assert!(!is_killed("SigPnd:\t0000000000000001\nSigBlk:\t0000000000000100\n"));
    }
}
