//! What an enemy, a bad disk or a hasty hand does to a volume's files, and what is left of it.
//!
//! Must be true: no damage gives wrong bytes; what parity can restore is read; damage of one image of data spares all other files;
//! `check` notices each damage of an image; a log that was tampered with never empties a volume silently; nothing panics.
//! Needs root and /dev/fuse; where those are missing each test says so and ends.

mod common;

use common::{Volume, infmap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

/// What is done to a file.
type Harm = fn(&Path) -> io::Result<()>;

/// What must be left of the files.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    /// Everything is read.
    All,
    /// What cannot be read gives EIO, and something can.
    Others,
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    File::options().write(true).open(path)?.write_all_at(bytes, at)
}

fn flip(path: &Path, at: u64) -> io::Result<()> {
    let mut byte = [0];
    File::open(path)?.read_exact_at(&mut byte, at)?;
    overwrite(path, at, &[byte[0] ^ 0x10])
}

fn cut(path: &Path, bytes: u64) -> io::Result<()> {
    File::options().write(true).open(path)?.set_len(bytes)
}

/// What happens to an image of data. The first byte of pixels stands at 1100 at the latest; a row has 4097.
const TO_AN_IMAGE: &[(&str, Left, Harm)] = &[
    ("signature", Left::All, |path| flip(path, 0)),
    ("length of IHDR", Left::All, |path| flip(path, 10)),
    ("width", Left::All, |path| flip(path, 17)),
    ("identity", Left::All, |path| flip(path, 45)),
    ("a pixel", Left::All, |path| flip(path, 9_000)),
    ("pixels in 32 rows", Left::All, |path| (0..32).try_for_each(|row| flip(path, 2_000 + row * 4_110))),
    ("a burst", Left::All, |path| overwrite(path, 50_000, &[0x5A; 120_000])),
    ("the last byte", Left::All, |path| flip(path, length(path) - 1)),
    ("cut by a byte", Left::All, |path| cut(path, length(path) - 1)),
    ("a tail of a terabyte", Left::All, |path| cut(path, 1 << 40)),
    ("too large a burst", Left::Others, |path| overwrite(path, 50_000, &vec![0x5A; 400_000])),
    ("cut in half", Left::Others, |path| cut(path, length(path) / 2)),
    ("cut in its first chunk", Left::Others, |path| cut(path, 20)),
    ("empty", Left::Others, |path| cut(path, 0)),
    ("zeros", Left::Others, |path| overwrite(path, 0, &vec![0; length(path) as usize])),
    ("missing", Left::Others, |path| fs::remove_file(path)),
    ("another name", Left::Others, |path| fs::rename(path, path.with_file_name("15_15.300000000.png"))),
    ("a directory", Left::Others, |path| fs::remove_file(path).and_then(|()| fs::create_dir(path))),
    ("a link", Left::Others, |path| fs::remove_file(path).and_then(|()| symlink("/etc/passwd", path))),
    ("another program's", Left::Others, |path| fs::copy(foreign_png(), path).map(drop)),
];

fn foreign_png() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/foreign.png")
}

/// What happens to one segment of the log of a volume that was unmounted: the images hold everything.
const TO_A_SEGMENT: &[(&str, Harm)] = &[
    ("missing", |path| fs::remove_file(path)),
    ("empty", |path| cut(path, 0)),
    ("without a header", |path| overwrite(path, 0, &[0; 4096])),
    ("noise", |path| overwrite(path, 0, &noise(77, 1 << 20))),
    ("its first record", |path| flip(path, 4_100)),
    ("cut in its records", |path| cut(path, 8_191)),
    ("longer", |path| cut(path, 1 << 30)),
];

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = |_| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    };
    (0..length).map(step).collect()
}

/// A volume with large and small files, unmounted.
struct Sample {
    volume: Volume,
    files: Vec<(String, Vec<u8>)>,
}

impl Sample {
    fn if_mountable() -> Option<Self> {
        let volume = Volume::if_mountable()?;
        let large = (0..12).map(|n| (format!("large{n}"), noise(n, 300_000 + 70_000 * n as usize)));
        let small = (0..60).map(|n| (format!("small{n}"), noise(100 + n, 37 * n as usize)));
        let files: Vec<_> = large.chain(small).collect();
        let mount = volume.mount();
        for (name, content) in &files {
            fs::write(mount.path(name), content).expect("written");
        }
        mount.unmount();
        volume.check();
        Some(Self { volume, files })
    }

    /// Exit code of `check`, which must not panic.
    fn check(&self) -> i32 {
        let output = infmap().arg("check").arg(self.volume.path()).output().expect("infmap check starts");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
        output.status.code().expect("no signal")
    }

    /// Mounts and reads everything: how many files are whole, and how many give EIO. Nothing else may happen to one.
    fn read(&self, what: &str) -> (usize, usize) {
        let mut mount = self.volume.mount();
        let (mut whole, mut refused) = (0, 0);
        for (name, content) in &self.files {
            match fs::read(mount.path(name)) {
                Ok(read) => {
                    assert!(read == *content, "{what}: {name} has other bytes");
                    whole += 1;
                }
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(5), "{what}: {name}: {error}");
                    refused += 1;
                }
            }
        }
        mount.terminate();
        // 5: it was damaged, and served read-only.
        let code = mount.join().code();
        assert!(matches!(code, Some(0 | 5)) && !mount.said().contains("panicked"), "{what}: {code:?} {}", mount.said());
        (whole, refused)
    }

    /// Copies of the files of the volume, to begin anew from.
    fn keep(&self) -> PathBuf {
        let kept = self.volume.beside("kept");
        copy(&self.volume.path(), &kept);
        kept
    }

    fn begin_anew(&self, kept: &Path) {
        fs::remove_dir_all(self.volume.path()).expect("removed");
        copy(kept, &self.volume.path());
    }
}

fn copy(from: &Path, to: &Path) {
    common::run(std::process::Command::new("cp").arg("-a").arg(from).arg(to));
}

#[test]
fn harm_to_an_image_is_noticed_and_never_gives_wrong_bytes() {
    let Some(sample) = Sample::if_mountable() else { return };
    let kept = sample.keep();
    // The image with the most bytes holds data and no tables.
    let image = sample.volume.images().into_iter().max_by_key(|path| length(path)).expect("an image");
    for (what, left, harm) in TO_AN_IMAGE {
        sample.begin_anew(&kept);
        harm(&image).unwrap_or_else(|error| panic!("{what}: {error}"));
        // 4: nothing is lost, and a repair puts it right.
        assert_eq!(sample.check(), if *left == Left::All { 4 } else { 3 }, "{what}: check finds it");
        let (whole, refused) = sample.read(what);
        assert!(whole > 0, "{what}: one image spares the others");
        assert_eq!(refused == 0, *left == Left::All, "{what}: {whole} files are whole, {refused} give EIO");
    }
}

#[test]
fn harm_to_the_log_of_an_unmounted_volume_loses_nothing() {
    let Some(sample) = Sample::if_mountable() else { return };
    let kept = sample.keep();
    let segments: Vec<PathBuf> = common::walk(&sample.volume.path().join("wal"));
    for (what, harm) in TO_A_SEGMENT {
        for segment in &segments {
            sample.begin_anew(&kept);
            harm(segment).unwrap_or_else(|error| panic!("{what}: {error}"));
            let what = format!("{what}: {}", segment.display());
            assert!([0, 3].contains(&sample.check()), "{what}");
            assert_eq!(sample.read(&what), (sample.files.len(), 0), "{what}");
        }
    }
    sample.begin_anew(&kept);
    segments.iter().for_each(|segment| fs::remove_file(segment).expect("removed"));
    assert_eq!(sample.read("no log at all"), (sample.files.len(), 0));
}

#[test]
fn a_log_that_lost_its_end_makes_the_volume_read_only_and_says_the_way_out() {
    let Some(sample) = Sample::if_mountable() else { return };
    let (wal, old) = (sample.volume.path().join("wal"), sample.volume.beside("old log"));
    copy(&wal, &old);
    let mount = sample.volume.mount();
    fs::write(mount.path("later"), noise(7, 3 << 20)).expect("written");
    mount.unmount();
    fs::remove_dir_all(&wal).expect("removed");
    copy(&old, &wal);
    let check = infmap().arg("check").arg(sample.volume.path()).output().expect("infmap check starts");
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.code() == Some(3) && said.contains("[REC-5]") && said.contains("copy its files to a new volume"), "{said}");
    let mut mount = sample.volume.mount();
    assert!(mount.said().contains("read-only: copy its files to a new volume"), "{}", mount.said());
    assert!(fs::write(mount.path("new"), "x").is_err());
    // The newest root of the images holds what was unmounted.
    assert!(fs::read(mount.path("later")).expect("read") == noise(7, 3 << 20));
    mount.terminate();
    assert_eq!(mount.join().code(), Some(5));
    assert!(mount.said().contains("error[IM1050]") && mount.said().contains("\nhelp: its files can be read"), "{}", mount.said());
}

#[test]
fn what_does_not_belong_there_is_left_alone() {
    let Some(sample) = Sample::if_mountable() else { return };
    for directory in ["map", "map/0_0", "wal", "spare"] {
        let directory = sample.volume.path().join(directory);
        fs::create_dir_all(directory.join("a directory")).expect("made");
        fs::write(directory.join("notes.txt"), "mine").expect("written");
        fs::copy(foreign_png(), directory.join("7_7.100000001.png")).expect("copied");
        symlink("/etc/passwd", directory.join("link")).expect("linked");
    }
    assert_eq!(sample.read("strangers"), (sample.files.len(), 0));
    for directory in ["map", "map/0_0", "wal", "spare"] {
        let notes = fs::read_to_string(sample.volume.path().join(directory).join("notes.txt"));
        assert_eq!(notes.expect("left alone"), "mine", "{directory}");
    }
}

#[test]
fn a_volume_file_that_is_broken_is_refused_by_every_verb() {
    let volume = Volume::new();
    let path = volume.path().join("volume.yaml");
    let sound = fs::read_to_string(&path).expect("read");
    let cases = [
        (10, String::new(), "volume.yaml is damaged: it is empty; take it from a backup"),
        (10, "\u{0}".repeat(300), "volume.yaml is damaged: it is no text; take it from a backup"),
        (10, sound.replace("format: 1", "format: 0"), "line 2 of volume.yaml should read `format: ...`"),
        (12, sound.replace("format: 1", "format: 2"), "format version 2"),
        (10, sound.replace("cluster_bytes: 4096", "cluster_bytes: 8192"), "should read `cluster_bytes: ...`"),
        (10, sound.replace("uuid: ", "uuid: zz"), "should read `uuid: ...`"),
        (10, format!("{sound}foo: bar\n"), "volume.yaml goes on behind its last line, with line 7"),
        (10, "# x\n".repeat(1 << 20), "belongs to something else"),
    ];
    for (exit, content, why) in cases {
        fs::write(&path, &content).expect("written");
        for verb in [&["info"][..], &["check"], &["mount"]] {
            let mut command = infmap();
            command.args(verb).arg(volume.path());
            if verb == ["mount"] {
                command.arg(volume.mountpoint());
            }
            let output = command.output().expect("it starts");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(exit), "{verb:?} of {:.60}: {said}", content);
            assert!(said.starts_with("error[IM10") && said.contains(why) && said.contains("\nhelp: "), "{verb:?}: {said}");
        }
    }
}

/// Whoever follows the advice to move the log away loses what was synced last.
#[test]
fn a_volume_file_that_is_of_another_volume_is_no_reason_to_move_the_log_away() {
    let volume = Volume::new();
    let path = volume.path().join("volume.yaml");
    let other = Volume::new();
    fs::copy(other.path().join("volume.yaml"), &path).expect("copied");
    for verb in [&["info"][..], &["check"], &["mount"]] {
        let mut command = infmap();
        command.args(verb).arg(volume.path()).args((verb == ["mount"]).then(|| volume.mountpoint()));
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(3) && said.contains("error[IM1014]"), "{verb:?}: {said}");
        assert!(said.contains("remove nothing before it is clear which") && !said.contains("move it away"), "{verb:?}: {said}");
    }
}

#[test]
fn images_that_are_gone_are_damage_and_no_fault_of_the_program() {
    let Some(sample) = Sample::if_mountable() else { return };
    let kept = sample.keep();
    let images = sample.volume.images();
    let all = sample.volume.path().join("map");
    let harms = images.into_iter().chain([all]);
    for gone in harms {
        sample.begin_anew(&kept);
        if gone.is_dir() { fs::remove_dir_all(&gone) } else { fs::remove_file(&gone) }.expect("removed");
        let check = infmap().arg("check").arg(sample.volume.path()).output().expect("infmap check starts");
        let said = String::from_utf8_lossy(&check.stdout);
        assert!(check.status.code() == Some(3) && said.contains("[IMG-3]"), "{}: {said}", gone.display());
        assert!(!said.contains("should not be possible") && !said.contains("[SPC-"), "{}: {said}", gone.display());
    }
    let info = infmap().arg("info").arg(sample.volume.path()).output().expect("it starts");
    let said = String::from_utf8_lossy(&info.stderr);
    assert!(info.status.code() == Some(3) && said.contains("`infmap check VOLUME` lists what is damaged"), "{said}");
}
