//! Who keeps a mount busy: the processes with a directory, file or mapping in it.
//!
//! Owns: a walk over `/proc`. Must be true: the kernel's number of the mount decides and not the path, or a daemon that was started in
//! its own mountpoint would count; no request reaches the mount, so a dead one cannot hang it. Fails: never; processes that may
//! not be looked into are left out.

use super::mountinfo::{Mounted, unescape};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A process that holds something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub name: String,
    /// How: `cwd`, `root`, `exe`, `fd 3`, `mapping`.
    pub how: String,
    pub path: PathBuf,
}

/// The processes that hold something in this mount, one entry for each.
#[must_use]
pub fn of(mounted: &Mounted) -> Vec<Holder> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut holders: Vec<Holder> =
        processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(|pid| holder(pid, mounted)).collect();
    holders.sort_by_key(|holder| holder.pid);
    holders
}

fn holder(pid: u32, mounted: &Mounted) -> Option<Holder> {
    let base = PathBuf::from(format!("/proc/{pid}"));
    let (how, path) = held(&base, mounted)?;
    let name = fs::read_to_string(base.join("comm")).unwrap_or_default().trim().to_string();
    Some(Holder { pid, name, how, path })
}

fn held(base: &Path, mounted: &Mounted) -> Option<(String, PathBuf)> {
    let inside = |link: PathBuf| (mount_of(&link)? == mounted.id).then(|| fs::read_link(link).unwrap_or_default());
    for link in ["cwd", "root", "exe"] {
        if let Some(path) = inside(base.join(link)) {
            return Some((link.into(), path));
        }
    }
    for entry in fs::read_dir(base.join("fd")).into_iter().flatten().flatten() {
        if let Some(path) = inside(entry.path()) {
            return Some((format!("fd {}", entry.file_name().display()), path));
        }
    }
    let maps = fs::read(base.join("maps")).ok()?;
    mapped(&maps, mounted.device).map(|path| ("mapping".into(), path))
}

/// The number of the mount in which a link of `/proc` ends.
fn mount_of(link: &Path) -> Option<u64> {
    // Without asking the filesystem for anything (statx(2)): the number is the kernel's own.
    let found = statx(CWD, link, AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID).ok()?;
    StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID).then_some(found.stx_mnt_id)
}

/// The first file of a device in the text of `/proc/PID/maps`: `7f00-7f01 r--p 00000000 00:2f 12    /mnt/a b`.
fn mapped(maps: &[u8], device: (u32, u32)) -> Option<PathBuf> {
    let device = format!("{:02x}:{:02x}", device.0, device.1);
    let mut lines = maps.split(|byte| *byte == b'\n');
    let line = lines.find(|line| line.split(|byte| *byte == b' ').nth(3) == Some(device.as_bytes()))?;
    let path = line.get(line.iter().position(|byte| *byte == b'/')?..)?;
    Some(OsString::from_vec(unescape(path)).into())
}

/// `: held by bash (process 12, cwd /mnt/a), vim (process 13, fd 4 /mnt/b)`, and what is mounted inside; empty if nothing is known.
#[must_use]
pub fn sentence(holders: &[Holder], inside: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    let list = |what: &str, names: Vec<String>| {
        let more = names.len().saturating_sub(SHOWN);
        let mut shown: Vec<String> = names.into_iter().take(SHOWN).collect();
        shown.extend((more > 0).then(|| format!("{more} more")));
        if shown.is_empty() { String::new() } else { format!(": {what} {}", shown.join(", ")) }
    };
    let holders = holders.iter().map(|h| format!("{} (process {}, {} {})", h.name, h.pid, h.how, h.path.display())).collect();
    let inside = inside.iter().map(|path| path.display().to_string()).collect();
    list("held by", holders) + &list("something is mounted in it, at", inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::mountinfo;

    #[test]
    fn an_open_file_names_its_process_to_the_mount_that_it_is_in() {
        let file = tempfile::tempfile().expect("a file");
        let link = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)));
        let id = mount_of(&link).expect("Linux 5.8 says it");
        let all = mountinfo::all().expect("read");
        let mounted = all.iter().find(|mounted| mounted.id == id).expect("listed");
        let holders = of(mounted);
        assert!(holders.iter().any(|holder| holder.pid == std::process::id()), "{holders:?}");
        let unused = Mounted { id: u64::MAX, device: (0xfff, 0xfffff), ..mounted.clone() };
        assert_eq!(of(&unused), []);
    }

    #[test]
    fn what_holds_is_said_with_its_process() {
        let holder = Holder { pid: 12, name: "vim".into(), how: "fd 4".into(), path: "/mnt/a".into() };
        assert_eq!(sentence(std::slice::from_ref(&holder), &[]), ": held by vim (process 12, fd 4 /mnt/a)");
        assert_eq!(sentence(&[], &["/mnt/b".into()]), ": something is mounted in it, at /mnt/b");
        assert!(sentence(&vec![holder; 7], &[]).ends_with(", 2 more"));
        assert_eq!(sentence(&[], &[]), "");
    }

    #[test]
    fn a_mapping_is_found_by_its_device() {
        let maps = b"7f00-7f01 r--p 00000000 00:30 12 /lib/x\n7f00-7f01 r--p 00000000 00:2f 12         /mnt/a b\\012/lib.so\n7fff-8000 rw-p 00000000 00:00 0  [stack]\n";
        assert_eq!(mapped(maps, (0, 0x2f)).as_deref(), Some(Path::new("/mnt/a b\n/lib.so")));
        assert_eq!(mapped(maps, (0, 0x2e)), None);
        assert_eq!(mapped(maps, (0, 0)), None);
    }
}
