//! Directories in which somebody else has put what he likes.

use super::super::super::{Device, FileDevice, Open, is_no_file, write_whole};
use super::*;
use std::fs::{self as host, read, write};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::PathBuf;

/// Nobody of whom this process would know.
const USER: u32 = 65_534;

/// A volume, and beside it what is not to be reached from it.
struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { temp: tempfile::tempdir().unwrap() };
        host::create_dir(place.volume()).unwrap();
        host::create_dir(place.outside()).unwrap();
        write(place.outside().join("secret"), b"of somebody else").unwrap();
        place
    }

    /// The same in the directory of another user; `None`, with the reason, where none can be made.
    fn of_another() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can work in the directory of another user");
            return None;
        }
        let place = Self::new();
        chown(place.volume(), Some(USER), Some(USER)).unwrap();
        Some(place)
    }

    fn volume(&self) -> PathBuf {
        self.temp.path().join("volume")
    }

    fn outside(&self) -> PathBuf {
        self.temp.path().join("outside")
    }

    fn owner(&self, path: &str) -> u32 {
        host::symlink_metadata(self.volume().join(path)).unwrap().uid()
    }

    fn assert_outside_is_untouched(&self) {
        let names: Vec<_> = host::read_dir(self.outside()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"]);
        assert_eq!(read(self.outside().join("secret")).unwrap(), b"of somebody else");
        assert_eq!(host::metadata(self.outside().join("secret")).unwrap().uid(), rustix::process::geteuid().as_raw());
    }
}

/// Seen to fail when only the last part of a path was guarded: a directory replaced by a link led out of the volume.
#[test]
fn a_link_on_the_way_leads_nobody_out_of_the_volume() {
    for walks in [true, false] {
        let place = Place::new();
        let mut root = HostDirectory::open(&place.volume()).unwrap();
        assert!(root.walks || !walks, "the kernel of the tests walks by itself");
        root.walks = walks;
        let device = FileDevice { root };
        device.create_dir("below").unwrap();
        write_whole(&device, "mine", b"mine").unwrap();
        for (link, to) in [("spare", place.outside()), ("below/deep", place.outside()), ("here", place.volume())] {
            symlink(to, place.volume().join(link)).unwrap();
        }
        for directory in ["spare", "below/deep", "here"] {
            let at = |name: &str| format!("{directory}/{name}");
            for access in [Access::Read, Access::Write, Access::Create, Access::CreateNew] {
                for name in ["secret", "new", "mine"] {
                    let refused = device.open(&at(name), Open { access, direct: false }).err().expect("behind a link");
                    assert!(is_no_file(&refused), "{walks} {access:?} {refused}");
                }
            }
            assert!(device.create_dir(&at("new")).is_err());
            assert!(device.rename("mine", &at("new")).is_err() && device.rename(&at("secret"), "new").is_err());
            assert!(device.remove(&at("secret")).is_err() && device.remove(&at("mine")).is_err());
            assert!(device.list(directory).is_err() && device.sync_dir(directory).is_err());
            assert_eq!(device.metadata(&at("secret")).unwrap(), None);
            assert_eq!(device.metadata(directory).unwrap().map(|found| found.kind), Some(Kind::Other));
        }
        // What is no link is reached at any depth.
        device.create_dir("below/a").unwrap();
        write_whole(&device, "below/a/file", b"deep").unwrap();
        device.rename("below/a/file", "below/moved").unwrap();
        assert_eq!(read(place.volume().join("below/moved")).unwrap(), b"deep");
        assert_eq!(device.list("below/a").unwrap(), []);
        device.remove("below/moved").unwrap();
        device.remove("below/a").unwrap();
        place.assert_outside_is_untouched();
    }
}

/// Seen to fail when whatever was opened to be made was given to the owner of the directory, also if it was there before.
#[test]
fn root_gives_away_only_what_it_has_made() {
    let Some(place) = Place::of_another() else { return };
    write(place.volume().join("found"), b"of root").unwrap();
    host::create_dir(place.volume().join("dir of root")).unwrap();
    let root = HostDirectory::open(&place.volume()).unwrap();
    assert!(root.is_of_another());
    for path in ["found", "new"] {
        root.file(path, Access::Create).unwrap();
    }
    root.file("new 2", Access::CreateNew).unwrap();
    root.file_to_append("new 3").unwrap();
    for path in ["dir of root", "new dir"] {
        root.create_dir(path).unwrap();
    }
    let owners = ["found", "dir of root", "new", "new 2", "new 3", "new dir"].map(|path| place.owner(path));
    assert_eq!(owners, [0, 0, USER, USER, USER, USER]);
}

/// Seen to fail when a second name of a file of root was opened to write like any other file.
#[test]
fn a_second_name_of_a_file_of_somebody_else_is_not_written_through() {
    let Some(place) = Place::of_another() else { return };
    host::hard_link(place.outside().join("secret"), place.volume().join("1.png")).unwrap();
    // Of the owner himself, in a copy of the volume that is made of links.
    write(place.volume().join("own"), b"his").unwrap();
    chown(place.volume().join("own"), Some(USER), Some(USER)).unwrap();
    host::hard_link(place.volume().join("own"), place.volume().join("own again")).unwrap();
    let device = FileDevice::new(&place.volume()).unwrap();
    for how in [Open::WRITE, Open::CREATE, Open::CREATE.direct()] {
        let refused = device.open("1.png", how).err().expect("not ours").to_string();
        assert!(refused.contains("open 1.png: it has another name as well"), "{refused}");
        device.open("own", how).unwrap();
    }
    device.open("1.png", Open::READ).unwrap();
    assert!(matches!(device.root.file("1.png", Access::Read), Err(Refused::Shared)), "what is told to others");
    place.assert_outside_is_untouched();
    // Whose directory it is, his are its names.
    chown(place.volume(), Some(0), Some(0)).unwrap();
    FileDevice::new(&place.volume()).unwrap().open("1.png", Open::WRITE).unwrap();
}

#[test]
fn what_is_no_file_is_refused_at_once_and_says_what_it_is() {
    let place = Place::new();
    let at = |name: &str| place.volume().join(name);
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    symlink(place.outside().join("secret"), at("link")).unwrap();
    symlink("nothing", at("nowhere")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let root = HostDirectory::open(&place.volume()).unwrap();
    for access in [Access::Read, Access::Write, Access::Create] {
        for (name, why) in
            [("pipe", "not a regular file"), ("socket", "not a regular file"), ("link", "it is a link"), ("nowhere", "it is a link")]
        {
            let refused = io::Error::from(root.file(name, access).expect_err(name));
            assert!(refused.to_string().contains(why) && is_no_file(&refused), "{name}: {refused}");
        }
    }
    assert_eq!(io::Error::from(root.file("none", Access::Read).expect_err("nothing")).kind(), io::ErrorKind::NotFound);
    place.assert_outside_is_untouched();
}
