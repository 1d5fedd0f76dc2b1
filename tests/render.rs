//! Where `infmap map render` writes: it replaces a picture, and never anything else.
//!
//! Needs root and /dev/fuse for a volume with an image; where those are missing each test says so and ends.

mod common;

use common::{Volume, infmap};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A volume with an image.
fn drawable() -> Option<Volume> {
    let volume = Volume::if_mountable()?;
    let mount = volume.mount();
    fs::write(mount.path("file"), vec![7; 100_000]).expect("written");
    mount.unmount();
    Some(volume)
}

fn render(volume: &Path, out: &Path) -> Output {
    infmap().args(["map", "render"]).arg(volume).arg(out).stdin(Stdio::null()).output().expect("it starts")
}

fn refused(volume: &Path, out: &Path, why: &str) {
    let output = render(volume, out);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{}: {said}", out.display());
    assert!(said.starts_with("error[IM1018]") && said.contains(why) && said.contains("\nhelp: "), "{}: {said}", out.display());
}

/// All files of a directory with their bytes.
fn content(dir: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    common::walk(dir).into_iter().map(|path| (path.clone(), fs::read(path).ok())).collect()
}

#[test]
fn a_picture_never_lands_in_a_volume() {
    let Some(volume) = drawable() else { return };
    let other = Volume::new();
    // What a volume looks like whose identity is damaged.
    let damaged = Volume::new();
    fs::write(damaged.path().join("volume.yaml"), "").expect("written");
    let by_link = volume.beside("link");
    symlink(volume.path().join("map"), &by_link).expect("linked");
    let image = volume.images().remove(0);
    for own in
        [volume.path().join("volume.yaml"), image, volume.path().join("lock"), volume.path().join("new.png"), by_link.join("new.png")]
    {
        let before = content(&volume.path());
        refused(&volume.path(), &own, &format!("it would lie in the volume {}", volume.path().display()));
        assert!(content(&volume.path()) == before, "{}", own.display());
    }
    for foreign in [&other, &damaged] {
        let before = content(&foreign.path());
        for name in ["volume.yaml", "map/new.png", "new.png"] {
            refused(&volume.path(), &foreign.path().join(name), "it would lie in the volume");
        }
        assert!(content(&foreign.path()) == before);
    }
    volume.check();
}

#[test]
fn a_picture_never_takes_the_place_of_what_is_no_regular_file() {
    let Some(volume) = drawable() else { return };
    let at = |name: &str| volume.beside(name);
    for (name, kind) in [("null", "c 1 3"), ("disk", "b 7 200"), ("pipe", "p")] {
        let made = Command::new("mknod").arg(at(name)).args(kind.split(' ')).output().expect("mknod starts");
        if !made.status.success() {
            eprintln!("skipped: no node can be made here: {}", String::from_utf8_lossy(&made.stderr));
            continue;
        }
        let before = fs::symlink_metadata(at(name)).expect("it is there").file_type();
        refused(&volume.path(), &at(name), if kind == "p" { "it is a pipe" } else { "it is a device" });
        assert_eq!(fs::symlink_metadata(at(name)).expect("it is there").file_type(), before, "{name}");
    }
    let socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("bound");
    refused(&volume.path(), &at("socket"), "it is a socket");
    assert!(fs::symlink_metadata(at("socket")).expect("it is there").file_type().is_socket());
    drop(socket);
    fs::write(at("target"), "mine").expect("written");
    for (link, target) in [("link", "target"), ("loose", "nothing")] {
        symlink(at(target), at(link)).expect("linked");
        refused(&volume.path(), &at(link), "it is a symbolic link");
        assert_eq!(fs::read_link(at(link)).expect("still a link"), at(target));
    }
    assert_eq!(fs::read_to_string(at("target")).expect("read"), "mine");
    refused(&volume.path(), &volume.mountpoint(), "it is a directory");
    refused(&volume.path(), &at("new/"), "it names no file");
    refused(&volume.path(), Path::new(".."), "it names no file");
}

#[test]
fn a_picture_replaces_a_file_whole_and_keeps_who_may_read_it() {
    let Some(volume) = drawable() else { return };
    let out = volume.beside("map.png");
    // Another name of the old file: who replaces whole does not write into it.
    let old = volume.beside("old.png");
    fs::write(&out, "old").and_then(|()| fs::hard_link(&out, &old)).expect("written");
    fs::set_permissions(&out, fs::Permissions::from_mode(0o604)).expect("set");
    // What a picture in the making was called once belongs to somebody else.
    fs::write(volume.beside("map.png.new"), "mine").expect("written");
    let output = render(&volume.path(), &out);
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read(&out).expect("read").starts_with(PNG));
    assert_eq!(fs::metadata(&out).expect("there").permissions().mode() & 0o777, 0o604);
    assert_eq!(fs::read_to_string(&old).expect("read"), "old");
    assert_eq!(fs::read_to_string(volume.beside("map.png.new")).expect("read"), "mine");
    let left = fs::read_dir(volume.beside("")).expect("listed").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_dash_is_stdout_unless_that_is_a_terminal() {
    let Some(volume) = drawable() else { return };
    let empty = volume.beside("empty");
    fs::create_dir(&empty).expect("made");
    let dash = |command: &mut Command| {
        command.args(["map", "render"]).arg(volume.path()).arg("-").current_dir(&empty).output().expect("it starts")
    };
    let output = dash(&mut infmap());
    assert!(output.status.success() && output.stdout.starts_with(PNG), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.ends_with(b"IEND\xAE\x42\x60\x82") && String::from_utf8_lossy(&output.stderr).contains("Drew "));
    assert!(fs::read_dir(&empty).expect("listed").next().is_none(), "a file was made");
    let full = infmap().args(["map", "render"]).arg(volume.path()).arg("-").stdout(File::create("/dev/full").expect("there")).output();
    let full = full.expect("it starts");
    let said = String::from_utf8_lossy(&full.stderr);
    assert!(full.status.code() == Some(14) && said.contains("no room is left where stdout is written"), "{said}");
    if !common::has("script", "a terminal as stdout") {
        return;
    }
    let command = format!("{} map render '{}' -", common::INFMAP, volume.path().display());
    let output = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output().expect("script starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(2) && said.contains("IM1018") && said.contains("stdout is a terminal"), "{said}");
}
