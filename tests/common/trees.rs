//! A tree to be written onto a volume and looked for again.

use super::common::{Numbers, SOURCE, run, walk};
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT, utimensat};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tree with files of many sizes, links, holes, modes and times.
pub fn make_tree(tree: &Path, numbers: &mut Numbers) {
    fs::create_dir(tree).expect("a directory");
    for part in ["storage/src", "docs", "tests/fixtures"] {
        run(Command::new("cp").arg("-a").arg("--parents").arg(part).arg(tree).current_dir(SOURCE));
    }
    let odd = tree.join("odd \n\t'\"\\ \u{e9}\u{1f5fa}");
    fs::create_dir_all(odd.join("a/b/c/d")).expect("directories");
    for (name, size) in [("large", 9_000_001), ("unit", 65_536), ("block", 4096), ("inline", 2000), ("tiny", 3), ("empty", 0)] {
        let mut bytes = vec![0; size];
        numbers.fill(&mut bytes);
        fs::write(odd.join(name), bytes).expect("a file");
    }
    symlink("x".repeat(3000), odd.join("long link")).expect("a link");
    fs::hard_link(odd.join("unit"), odd.join("a/b/c/hard")).expect("a link");
    let sparse = fs::File::create(odd.join("sparse")).expect("a file");
    sparse.set_len(50_000_000).expect("set_len");
    sparse.write_all_at(b"in the middle", 20_000_001).expect("written");
    for (path, mode) in [("large", 0o4755), ("unit", 0o400), ("a/b", 0o1777)] {
        fs::set_permissions(odd.join(path), fs::Permissions::from_mode(mode)).expect("chmod");
    }
    for (number, path) in walk(tree).iter().rev().enumerate().step_by(7) {
        let time = Timespec { tv_sec: -141_868_800 + number as i64 * 86_400_000, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: time };
        utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("utimensat");
    }
}

/// Names and bytes of all files below a directory.
pub fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = walk(dir).into_iter().filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_file()));
    files.map(|path| (path.strip_prefix(dir).expect("below").to_path_buf(), fs::read(&path).expect("read"))).collect()
}
