//! A volume of another user, who puts links and pipes where root is to look, before and while root works on it.
//!
//! Needs root, and a mount /dev/fuse; where those are missing each test says so and ends.

mod common;

use common::{Mount, Numbers, Volume, infmap, run, walk};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};

const USER: u32 = 65_534;
const SECRET: &[u8] = b"of root";

/// A volume of that user, and beside it a directory with a file of root.
struct Foreign {
    volume: Volume,
    outside: PathBuf,
}

impl Foreign {
    /// `None`, with the reason on stderr, where there can be none.
    fn if_mountable() -> Option<Self> {
        let volume = Volume::if_mountable()?;
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can work in the directory of another user");
            return None;
        }
        walk(&volume.path()).iter().chain([&volume.path()]).for_each(|path| chown(path, Some(USER), Some(USER)).expect("given away"));
        let outside = volume.beside("outside");
        fs::create_dir(&outside).expect("made");
        fs::write(outside.join("secret"), SECRET).expect("written");
        Some(Self { volume, outside })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.volume.path().join(name)
    }

    fn link(&self, name: &str) {
        let _ = fs::remove_file(self.at(name));
        symlink(self.outside.join("secret"), self.at(name)).expect("linked");
    }

    fn assert_outside_is_untouched(&self) {
        let files: Vec<PathBuf> = walk(&self.outside).into_iter().filter(|path| !path.is_dir()).collect();
        assert_eq!(files, [self.outside.join("secret")]);
        assert_eq!(fs::read(self.outside.join("secret")).expect("read"), SECRET);
        assert_eq!(fs::metadata(self.outside.join("secret")).expect("there").uid(), 0);
    }
}

/// Seen to fail when `lock` was opened by its path: a check by root gave the file to the user, cut to one byte.
#[test]
fn a_lock_that_leads_elsewhere_is_refused_by_every_verb() {
    let Some(foreign) = Foreign::if_mountable() else { return };
    foreign.link("lock");
    let (volume, dir) = (foreign.volume.path(), foreign.volume.mountpoint());
    let verbs: [&[&str]; 7] =
        [&["check"], &["repair"], &["clean"], &["damage", "ls"], &["find"], &["mount", "-o", "ro"], &["mount", "--foreground"]];
    for verb in verbs {
        let more = match verb[0] {
            "mount" => Some(dir.as_path()),
            "find" => Some(Path::new("0,0")),
            _ => None,
        };
        let refused = infmap().args(verb).arg(&volume).args(more).output().expect("it starts");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("it is a link"), "{verb:?}: {said}");
        foreign.assert_outside_is_untouched();
    }
    fs::remove_file(foreign.at("lock")).expect("removed");
    foreign.volume.check();
}

/// Seen to fail when each was opened by its path: messages and lines at the end of the file, and its content as the label.
#[test]
fn logs_and_a_label_that_lead_elsewhere_are_done_without() {
    let Some(foreign) = Foreign::if_mountable() else { return };
    let dir = foreign.volume.mountpoint();
    ["label", "run/daemon.log", "run/access.log"].into_iter().for_each(|name| foreign.link(name));
    run(infmap().args(["mount", "-d", "--set", "log.access=true"]).arg(foreign.volume.path()).arg(&dir));
    fs::write(dir.join("file"), "x").expect("written");
    let info = run(infmap().arg("info").arg(foreign.volume.path()));
    assert!(info.contains("label      my.map\n"), "{info}");
    run(infmap().arg("umount").arg(&dir));
    foreign.assert_outside_is_untouched();
    // Where nothing is in the way they are made, and his. A mount that is read-only makes no access log.
    ["label", "run/daemon.log", "run/access.log"].into_iter().for_each(|name| fs::remove_file(foreign.at(name)).expect("a link"));
    for (options, is_made) in [("ro", false), ("rw", true)] {
        run(infmap().args(["mount", "-d", "--set", "log.access=true", "-o", options]).arg(foreign.volume.path()).arg(&dir));
        run(infmap().arg("umount").arg(&dir));
        assert_eq!(foreign.at("run/access.log").exists(), is_made, "{options}");
    }
    for name in ["run/daemon.log", "run/access.log", "lock"] {
        assert_eq!(fs::metadata(foreign.at(name)).expect("made").uid(), USER, "{name}");
    }
    run(infmap().arg("profile").arg(foreign.volume.path()));
}

/// Seen to fail when only the last part of a path was guarded: images went into the directory that a link led to.
#[test]
fn directories_that_become_links_while_it_is_mounted_lead_nobody_elsewhere() {
    let Some(foreign) = Foreign::if_mountable() else { return };
    let mount = foreign.volume.mount();
    for block in ["0_0", "-1_0", "0_-1", "-1_-1"] {
        fs::create_dir(foreign.outside.join(block)).expect("made");
    }
    let swapped = ["map", "run", "spare", "wal"];
    for name in swapped {
        fs::rename(foreign.at(name), foreign.at(&format!("{name}.mine"))).expect("moved");
        symlink(&foreign.outside, foreign.at(name)).expect("linked");
    }
    // It may fail, and must not be done elsewhere.
    let mut file = fs::File::create(mount.path("file")).expect("a name");
    let _ = file.write_all(&Numbers(1).bytes(9_000_000)).and_then(|()| file.sync_all());
    drop(file);
    foreign.assert_outside_is_untouched();
    mount.kill();
    foreign.assert_outside_is_untouched();
    for name in swapped {
        fs::remove_file(foreign.at(name)).expect("a link");
        fs::rename(foreign.at(&format!("{name}.mine")), foreign.at(name)).expect("moved back");
    }
    Mount::start(&foreign.volume.path(), &foreign.volume.mountpoint(), &[]).unmount();
    foreign.volume.check();
}
