//! A real source tree on a real mount: what goes in comes out, to the nanosecond, and stock tools agree about the pictures.
//!
//! The tree is the source of this workspace's own dependencies. It goes in with tar, is read back after another mount, and then
//! the images are put before pngcheck, before the png crate, and before a decoder that shares no code with this project.

mod common;

use common::{SOURCE, Volume, compare, has, run, walk};
use infmap_storage::address::Cluster;
use infmap_storage::limits::{PIECE_BYTES, REGION_BYTES, REGION_CLUSTERS, ROW_BYTES};
use infmap_storage::region::decode::RawRegion;
use infmap_storage::region::layout::tile;
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Files that the tree must have to count as a real one.
const FILES_AT_LEAST: usize = 3000;

/// Seconds and nanoseconds that are easily got wrong: before 1970, 2038 and its neighbours, far away.
const TIMES: &[(i64, i64)] = &[
    (-141_868_800, 123_456_789), // 1965
    (-1, 999_999_999),
    (0, 1),
    (1_577_836_800, 1),
    (2_147_483_647, 999_999_999),
    (2_147_483_648, 0),
    (13_569_465_600, 987_654_321), // 2400
];

/// Directories of the sources that cargo has unpacked for this workspace.
fn sources() -> Vec<PathBuf> {
    let compiler = run(Command::new("rustc").arg("-vV"));
    let host = compiler.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_string();
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(SOURCE).args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &host]);
    let metadata: serde_json::Value = serde_json::from_str(&run(&mut command)).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let foreign = packages.iter().filter(|package| !package["source"].is_null());
    let manifests = foreign.map(|package| PathBuf::from(package["manifest_path"].as_str().expect("a path")));
    manifests.map(|manifest| manifest.parent().expect("a directory").to_path_buf()).collect()
}

/// Puts the tree together on an ordinary filesystem: sources, links of both kinds, modes, names, times.
fn make_tree(tree: &Path) {
    fs::create_dir(tree).expect("a directory");
    for source in sources() {
        run(Command::new("cp").arg("-a").arg("--reflink=auto").arg(&source).arg(tree));
    }
    let files: Vec<PathBuf> = walk(tree).into_iter().filter(|path| path.symlink_metadata().expect("stat").is_file()).collect();
    assert!(
        files.len() >= FILES_AT_LEAST,
        "the registry has {} files of this workspace's dependencies, {FILES_AT_LEAST} are needed",
        files.len()
    );
    for (path, mode) in files.iter().zip([0o400, 0o4755, 0o2755, 0o640, 0o777, 0o1644].into_iter().cycle()).step_by(37) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let extra = tree.join("extra \n\t'\"\\ \u{e9}\u{1f5fa}");
    fs::create_dir(&extra).expect("a directory");
    symlink("../nowhere", extra.join("dangling")).expect("a link");
    symlink("x".repeat(3000), extra.join("long")).expect("a link");
    fs::hard_link(&files[0], extra.join("hard")).expect("a link");
    fs::write(extra.join("n".repeat(255)), b"the longest name").expect("a file");
    fs::write(extra.join("empty"), b"").expect("a file");
    let sparse = fs::File::create(extra.join("sparse")).expect("a file");
    sparse.set_len(300_000_000).expect("set_len");
    fs::create_dir_all(extra.join("a/b/c/d/e/f/g")).expect("directories");
    fs::set_permissions(&extra, fs::Permissions::from_mode(0o1777)).expect("chmod");
    // Last, and the deepest first: nothing below changes a directory's times afterwards.
    for (path, &(seconds, nanoseconds)) in walk(tree).iter().rev().zip(TIMES.iter().cycle()).step_by(11) {
        set_mtime(path, seconds, nanoseconds);
    }
}

fn set_mtime(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let times = Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: Timespec { tv_sec, tv_nsec } };
    utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("utimensat");
}

/// The pixels of an image as the png crate decodes them.
fn pixels_by_crate(image: &Path) -> Vec<u8> {
    let file = std::io::BufReader::new(fs::File::open(image).expect("open"));
    let mut reader = png::Decoder::new(file).read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("pixels");
    assert_eq!((info.width, info.height, pixels.len()), (1024, 1024, REGION_BYTES), "{}", image.display());
    pixels
}

/// The pixels of an image as Python decodes them.
fn pixels_by_python(image: &Path) -> Vec<u8> {
    let script = Path::new(SOURCE).join("tests/scripts/pixels.py");
    let mut command = Command::new("python3");
    let mut child = command.arg(script).arg(image).stdout(Stdio::piped()).spawn().expect("python3 starts");
    let mut pixels = Vec::with_capacity(REGION_BYTES);
    child.stdout.take().expect("piped").read_to_end(&mut pixels).expect("read");
    assert!(child.wait().expect("waited").success(), "{}", image.display());
    pixels
}

/// The pixels of an image as the storage reads its clusters.
fn pixels_by_storage(image: &Path) -> Vec<u8> {
    let region = RawRegion::new(fs::read(image).expect("read")).verify(None).unwrap_or_else(|error| panic!("{}: {error}", image.display()));
    let mut pixels = vec![0; REGION_BYTES];
    for cluster in (0..REGION_CLUSTERS).filter_map(Cluster::new) {
        let place = tile(cluster);
        for (line, piece) in region.cluster(cluster).expect("no poison").pieces().into_iter().enumerate() {
            let start = (place.band * 4 + line) * ROW_BYTES + place.column * PIECE_BYTES;
            pixels[start..start + PIECE_BYTES].copy_from_slice(piece);
        }
    }
    pixels
}

/// Requires that stock tools accept each image, and that three decoders see the same pixels.
fn judge_images(volume: &Volume) {
    let images = volume.images();
    assert!(!images.is_empty(), "there are no images");
    let (pngcheck, python) = (has("pngcheck", "images are not put before it"), has("python3", "no foreign decoder"));
    for image in &images {
        if pngcheck {
            run(Command::new("pngcheck").arg("-q").arg(image));
        }
        let pixels = pixels_by_crate(image);
        assert!(pixels == pixels_by_storage(image), "{}: the storage sees other pixels than the png crate", image.display());
        assert!(!python || pixels == pixels_by_python(image), "{}: Python sees other pixels than the png crate", image.display());
    }
    let count = |judged: bool| if judged { images.len() } else { 0 };
    println!("{} images: {} by pngcheck, {} by Python", images.len(), count(pngcheck), count(python));
}

#[test]
fn a_real_source_tree_comes_back_exactly() {
    let Some(volume) = Volume::if_mountable() else { return };
    let (tree, archive) = (volume.beside("tree"), volume.beside("tree.tar"));
    make_tree(&tree);
    run(Command::new("tar").arg("--format=posix").arg("-cSf").arg(&archive).arg("-C").arg(volume.beside("")).arg("tree"));
    let mount = volume.mount();
    run(Command::new("tar").arg("--numeric-owner").arg("-xpf").arg(&archive).arg("-C").arg(mount.dir()));
    let paths = compare(&tree, &mount.path("tree"));
    mount.unmount();
    let mount = volume.mount();
    assert_eq!(compare(&tree, &mount.path("tree")), paths);
    run(Command::new("diff").args(["-r", "--no-dereference"]).arg(&tree).arg(mount.path("tree")));
    mount.unmount();
    println!("{paths} paths are equal in names, modes, owners, sizes, links, targets, times and bytes");
    judge_images(&volume);
    volume.check();
}

#[test]
fn times_set_on_the_mount_itself_are_kept() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    for (number, &(seconds, nanoseconds)) in TIMES.iter().enumerate() {
        for kind in ["file", "dir", "link"] {
            let path = mount.path(&format!("{kind}{number}"));
            match kind {
                "file" => fs::write(&path, b"x").expect("a file"),
                "dir" => fs::create_dir(&path).expect("a directory"),
                _ => symlink("target", &path).expect("a link"),
            }
            set_mtime(&path, seconds, nanoseconds);
        }
    }
    let expect = |dir: &Path| {
        for (number, &(seconds, nanoseconds)) in TIMES.iter().enumerate() {
            for kind in ["file", "dir", "link"] {
                let meta = dir.join(format!("{kind}{number}")).symlink_metadata().expect("stat");
                assert_eq!((meta.mtime(), meta.mtime_nsec()), (seconds, nanoseconds), "{kind} {number}");
            }
        }
    };
    expect(mount.dir());
    mount.unmount();
    let mount = volume.mount();
    expect(mount.dir());
    // "Now" is now, not a time of its own.
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs().cast_signed();
    utimensat(rustix::fs::CWD, mount.path("file0"), &Timestamps { last_access: now, last_modification: now }, AtFlags::empty())
        .expect("utimensat");
    let mtime = mount.path("file0").metadata().expect("stat").mtime();
    assert!((before - 1..before + 600).contains(&mtime), "{mtime} is not now");
    mount.unmount();
    volume.check();
}
