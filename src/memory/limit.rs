//! How much memory this process can have: what the machine has, and what its control groups allow.
//!
//! Must be true: the least of all limits counts, for groups lie in each other. Fails: never; what cannot be read limits nothing.

use std::fs;
use std::path::Path;

/// A limit, and what sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub bytes: u64,
    pub by: String,
}

/// The limit of this process.
#[must_use]
pub fn limit() -> Option<Limit> {
    below(Path::new("/"))
}

/// The same with `proc` and `sys` below another directory.
fn below(root: &Path) -> Option<Limit> {
    groups(root).into_iter().chain(machine(root)).min_by_key(|limit| limit.bytes)
}

/// `MemTotal:       24046392 kB`.
fn machine(root: &Path) -> Option<Limit> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(Limit { bytes: kib.checked_mul(1024)?, by: "the memory of this machine".into() })
}

/// The limits of the groups that the process is in, those of version 2: `0::/system.slice/infmap@my.service`.
fn groups(root: &Path) -> Vec<Limit> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let Some(group) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let mounted = root.join("sys/fs/cgroup");
    let all = mounted.join(group);
    let groups = all.ancestors().take_while(|dir| dir.starts_with(&mounted));
    let limits = groups.filter_map(|dir| {
        let bytes = fs::read_to_string(dir.join("memory.max")).ok()?.trim().parse().ok()?;
        let file = dir.join("memory.max");
        Some(Limit { bytes, by: format!("the limit of the control group, /{}", file.strip_prefix(root).unwrap_or(&file).display()) })
    });
    limits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        root
    }

    #[test]
    fn the_least_limit_of_machine_and_groups_counts() {
        let meminfo = ("proc/meminfo", "MemTotal:        1000 kB\nMemFree:         500 kB\n");
        let cgroup = ("proc/self/cgroup", "12:cpu:/x\n0::/a.slice/b.service\n");
        let limit = |files: &[(&str, &str)]| below(world(files).path()).map(|limit| (limit.bytes, limit.by));
        let machine = Some((1_024_000, "the memory of this machine".to_string()));
        assert_eq!(limit(&[]), None);
        assert_eq!(limit(&[meminfo]), machine);
        let unlimited = ("sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
        assert_eq!(limit(&[meminfo, cgroup, unlimited]), machine);
        let above = ("sys/fs/cgroup/a.slice/memory.max", "4096\n");
        let group = "the limit of the control group, /sys/fs/cgroup/a.slice/memory.max".to_string();
        assert_eq!(limit(&[meminfo, cgroup, unlimited, above]), Some((4096, group)));
        let (whole, container) = (("sys/fs/cgroup/memory.max", "8192\n"), ("proc/self/cgroup", "0::/\n"));
        assert_eq!(limit(&[meminfo, container, whole]).map(|(bytes, _)| bytes), Some(8192));
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(limit().is_some_and(|limit| limit.bytes > 32 << 20));
    }
}
