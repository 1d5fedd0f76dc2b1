//! Who keeps a mountpoint busy: the processes with a directory, file or mapping below it.
//!
//! Owns: a walk over `/proc`. Must be true: nothing below the mountpoint is touched, only links are read, so a dead mount
//! cannot hang it. Fails: never; processes that may not be looked into are left out.

use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// A process that holds something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    pub pid: u32,
    pub name: String,
    /// How: `cwd`, `root`, `exe`, `fd 3`, `mapping`.
    pub how: String,
    pub path: PathBuf,
}

/// The processes that hold something at or below `mountpoint`, one entry for each.
#[must_use]
pub fn of(mountpoint: &Path) -> Vec<Holder> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut holders: Vec<Holder> =
        processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(|pid| holder(pid, mountpoint)).collect();
    holders.sort_by_key(|holder| holder.pid);
    holders
}

fn holder(pid: u32, mountpoint: &Path) -> Option<Holder> {
    let base = PathBuf::from(format!("/proc/{pid}"));
    let (how, path) = held(&base, mountpoint)?;
    let name = fs::read_to_string(base.join("comm")).unwrap_or_default().trim().to_string();
    Some(Holder { pid, name, how, path })
}

fn held(base: &Path, mountpoint: &Path) -> Option<(String, PathBuf)> {
    let below = |link: PathBuf| fs::read_link(link).ok().filter(|path| path.starts_with(mountpoint));
    for link in ["cwd", "root", "exe"] {
        if let Some(path) = below(base.join(link)) {
            return Some((link.into(), path));
        }
    }
    for entry in fs::read_dir(base.join("fd")).into_iter().flatten().flatten() {
        if let Some(path) = below(entry.path()) {
            return Some((format!("fd {}", entry.file_name().display()), path));
        }
    }
    let maps = fs::read_to_string(base.join("maps")).ok()?;
    mapped(&maps).find(|path| path.starts_with(mountpoint)).map(|path| ("mapping".into(), path.into()))
}

/// The files in the text of `/proc/PID/maps`: the sixth field, which may hold spaces.
fn mapped(maps: &str) -> impl Iterator<Item = &Path> {
    maps.lines().filter_map(|line| line.find('/').and_then(|at| line.get(at..))).map(Path::new)
}

/// `: held by bash (process 12, cwd /mnt/a), vim (process 13, fd 4 /mnt/b)`; empty if nobody is known.
#[must_use]
pub fn sentence(holders: &[Holder]) -> String {
    const SHOWN: usize = 5;
    if holders.is_empty() {
        return String::new();
    }
    let mut names: Vec<String> =
        holders.iter().take(SHOWN).map(|h| format!("{} (process {}, {} {})", h.name, h.pid, h.how, h.path.display())).collect();
    if holders.len() > SHOWN {
        names.push(format!("{} more", holders.len() - SHOWN));
    }
    format!(": held by {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_names_its_process() {
        let temp = tempfile::tempdir().expect("a directory");
        let root = temp.path().canonicalize().expect("canonical");
        assert_eq!(of(&root), []);
        let file = fs::File::create(root.join("held")).expect("made");
        let holders = of(&root);
        let own = holders.iter().find(|holder| holder.pid == std::process::id()).expect("this process");
        assert!(own.how.starts_with("fd "), "{holders:?}");
        assert!(sentence(&holders).contains(&format!("process {}", std::process::id())));
        drop(file);
    }

    #[test]
    fn mappings_with_spaces_are_read() {
        let maps = "7f00-7f01 r--p 00000000 00:2f 12                 /mnt/a b/lib.so\n7fff-8000 rw-p 00000000 00:00 0  [stack]\n";
        assert_eq!(mapped(maps).collect::<Vec<_>>(), [Path::new("/mnt/a b/lib.so")]);
    }
}
