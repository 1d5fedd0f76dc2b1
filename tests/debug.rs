//! `infmap debug`: what is in the archive, and what is not: no name of a file, unless somebody asks for names.

mod common;

use common::{Volume, infmap, run};
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

const NAME: &str = "geheimplan-4711";

fn pieces(archive: &Path) -> BTreeMap<String, String> {
    let mut tar = tar::Archive::new(GzDecoder::new(File::open(archive).expect("there")));
    let entries = tar.entries().expect("an archive");
    let piece = |entry: std::io::Result<tar::Entry<'_, GzDecoder<File>>>| {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").file_name().expect("a name").to_string_lossy().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("UTF-8");
        (name, text)
    };
    entries.map(piece).collect()
}

/// Seen to fail when the path of a scrub stayed in the status.
#[test]
fn an_archive_says_everything_but_names() {
    let Some(volume) = Volume::if_mountable() else { return };
    run(infmap().args(["mount", "-d", "--set", "compression=off"]).arg(volume.path()).arg(volume.mountpoint()));
    let dir = volume.mountpoint().join(NAME);
    fs::create_dir(&dir).expect("made");
    fs::write(dir.join(format!("{NAME}.txt")), vec![7; 200_000]).expect("written");
    File::open(dir.join(format!("{NAME}.txt"))).and_then(|file| file.sync_all()).expect("synced");
    // A scrub by path: its status has the name.
    run(infmap().args(["scrub", "start", "--wait", "--path"]).arg(&dir).arg(volume.mountpoint()));
    let (plain, named) = (volume.beside("plain.tar.gz"), volume.beside("named.tar.gz"));
    let said = run(infmap().arg("debug").arg(volume.mountpoint()).arg("--out").arg(&plain));
    assert!(said.contains("without names of files"), "{said}");
    let facts: serde_json::Value =
        serde_json::from_str(&run(infmap().args(["--json", "debug", "--with-names", "--out"]).arg(&named).arg(volume.path())))
            .expect("JSON");
    assert!(facts["message_type"] == "debug" && facts["version"] == 1 && facts["with_names"] == true, "{facts}");
    let pieces_plain = pieces(&plain);
    for (name, text) in &pieces_plain {
        assert!(!text.contains(NAME) && !text.contains(&hex(NAME)), "{name}: {text}");
        assert!(!text.is_empty(), "{name}");
    }
    for name in [
        "about.txt",
        "status.json",
        "metrics.txt",
        "config.yaml",
        "threads.txt",
        "limits.txt",
        "mounts.txt",
        "daemon.log",
        "images.txt",
        "caches.json",
    ] {
        let text = pieces_plain.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(!text.starts_with("could not be had"), "{name}: {text}");
    }
    assert!(pieces_plain["threads.txt"].contains("infmap"), "{}", pieces_plain["threads.txt"]);
    assert!(pieces_plain["mounts.txt"].contains("fuse.infmap") && pieces_plain["daemon.log"].contains("mounted"));
    // Those of the mount, and not of whoever makes the archive.
    let settings = &pieces_plain["config.yaml"];
    assert!(
        settings.starts_with("# in force,") && settings.contains("compression: off") && settings.contains("# --set:1:13"),
        "{settings}"
    );
    let pieces_named = pieces(&named);
    assert!(pieces_named["status.json"].contains(NAME) && pieces_named.contains_key("damage.json"), "names were asked for");
    // The archive is for its maker alone, and replaces nothing.
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&plain).expect("there").permissions().mode() & 0o777, 0o600);
    let output = infmap().arg("debug").arg(volume.path()).arg("--out").arg(&plain).output().expect("it starts");
    assert!(output.status.code() == Some(2) && String::from_utf8_lossy(&output.stderr).starts_with("error[IM1018]"), "{output:?}");
    run(infmap().arg("umount").arg(volume.mountpoint()));
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_archive_is_made_of_a_volume_that_nobody_has_and_of_one_that_is_broken() {
    let volume = Volume::new();
    fs::write(volume.path().join("config.yaml"), "memory:\n  budgte: 1GiB\n").expect("written");
    let out = volume.beside("out.tar.gz");
    let output = infmap().arg("debug").arg(volume.path()).arg("--out").arg(&out).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("could not be had: status.json") && said.contains("config.yaml"), "{output:?}");
    let pieces = pieces(&out);
    assert!(pieces["config.yaml"].contains("budgte") && pieces["info.json"].contains("\"uuid\""), "{pieces:?}");
    let output = infmap().args(["debug", "/nonexistent", "--out"]).arg(volume.beside("none")).output().expect("it starts");
    assert_eq!(output.status.code(), Some(10));
    // What tar itself thinks of it.
    if common::has("tar", "the archive read by tar") {
        assert!(run(Command::new("tar").arg("-tzf").arg(&out)).contains("infmap-debug/about.txt"));
    }
}
