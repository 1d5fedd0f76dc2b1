//! Where files lie on the map, and whose a place is: of a mount and of a volume that nobody has, and what a read of those very pixels gives.

mod common;

use common::{Numbers, Volume, infmap, run};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

const PIECES: usize = 40;

fn lines(command: &mut Command) -> Vec<serde_json::Value> {
    run(command).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn located(arguments: &[&str], path: &Path) -> Vec<serde_json::Value> {
    lines(infmap().args(["--json", "locate"]).args(arguments).arg(path))
}

fn number(value: &serde_json::Value, field: &str) -> usize {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} of {value}")) as usize
}

/// The upper left pixel of a cluster: 256 wide and 4 high, in Hilbert order inside of a square of 4 x 4.
fn corner(number: usize) -> (usize, usize) {
    const COLUMN: [usize; 16] = [0, 0, 1, 1, 2, 3, 3, 2, 2, 3, 3, 2, 1, 1, 0, 0];
    const BAND: [usize; 16] = [0, 1, 1, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 2, 2, 3];
    (COLUMN[number % 16] * 256, (number / 16 * 4 + BAND[number % 16]) * 4)
}

/// The bytes of a cluster out of a decoded image: 4 rows of 256 pixels.
fn cluster(rgba: &[u8], number: usize) -> Vec<u8> {
    let (x, y) = corner(number);
    (y..y + 4).flat_map(|row| rgba[(row * 1024 + x) * 4..(row * 1024 + x + 256) * 4].to_vec()).collect()
}

fn decoded(image: &Path) -> Vec<u8> {
    let mut reader = png::Decoder::new(std::io::BufReader::new(File::open(image).expect("there"))).read_info().expect("a PNG");
    let mut rgba = vec![0; reader.output_buffer_size().expect("a size")];
    reader.next_frame(&mut rgba).expect("whole");
    rgba
}

/// The file as the pixels have it that `locate` names, for an incompressible one.
fn from_pixels(volume: &Path, lines: &[serde_json::Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for extent in lines.iter().filter(|line| line["message_type"] == "extent") {
        assert_eq!((extent["codec"].as_str(), number(extent, "offset")), (Some("raw"), bytes.len()), "{extent}");
        let rgba = decoded(&volume.join(extent["image"].as_str().expect("a path")));
        let first = number(extent, "cluster");
        assert_eq!(corner(first), (number(extent, "pixel_x"), number(extent, "pixel_y")), "{extent}");
        let held: Vec<u8> = (first..first + number(extent, "clusters")).flat_map(|n| cluster(&rgba, n)).collect();
        bytes.extend(&held[..number(extent, "length")]);
    }
    bytes
}

/// Seen to fail with rows and columns of pixels exchanged.
#[test]
fn the_pixels_that_locate_names_are_the_file_and_find_leads_back_to_it() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let mut content = vec![0; PIECES * 65_536 + 777];
    Numbers(7).fill(&mut content);
    fs::create_dir_all(mount.path("some/where")).expect("made");
    fs::write(mount.path("some/where/noise"), &content).expect("written");
    fs::write(mount.path("small"), b"a few bytes").expect("written");
    File::open(mount.path("some/where/noise")).and_then(|file| file.sync_all()).expect("synced");
    let small = located(&[], &mount.path("small"));
    assert!(small.len() == 1 && small[0]["message_type"] == "file" && small[0]["version"] == 1, "{small:?}");
    let text = run(infmap().arg("locate").arg(mount.path("small")));
    assert!(text.contains("inode ") && (text.contains("stand in the tables") || text.contains("in no image yet")), "{text}");
    mount.unmount();
    // Of a volume that nobody has.
    let offline = located(&["--volume", &volume.path().to_string_lossy()], Path::new("some/where/noise"));
    let seen = from_pixels(&volume.path(), &offline);
    assert_eq!(seen.len(), content.len());
    assert_eq!(seen.iter().zip(&content).position(|(a, b)| a != b), None, "the pixels are other bytes");
    // And of a mount, the same.
    let mount = volume.mount();
    let online = located(&[], &mount.path("some/where/noise"));
    assert_eq!(online[1..], offline[1..], "extents");
    for place in [volume.path(), mount.dir().to_path_buf()] {
        let extent = &online[PIECES / 2 / 4];
        let at = format!("{},{}", extent["x"], extent["y"]);
        let pixel = format!("{},{}", number(extent, "pixel_x") + 5, number(extent, "pixel_y") + 3);
        let tenants = lines(infmap().args(["--json", "find", "--pixel", &pixel]).arg(&place).arg("--").arg(&at));
        assert!(tenants.len() == 1 && tenants[0]["who"] == "file" && tenants[0]["message_type"] == "tenant", "{tenants:?}");
        assert_eq!((&tenants[0]["paths"][0], &tenants[0]["inode"]), (&"some/where/noise".into(), &online[0]["inode"]));
        let (offset, length) = (number(extent, "offset"), number(extent, "length"));
        let ranges = tenants[0]["ranges"].as_array().expect("ranges");
        let covers = |range: &serde_json::Value| range[0].as_u64() <= Some(offset as u64) && range[1].as_u64() >= Some(length as u64);
        assert!(ranges.iter().any(covers), "{ranges:?} {extent}");
        // All of the place: the file has most of it, and nobody has a cluster twice.
        let all = lines(infmap().args(["--json", "find"]).arg(&place).arg(&at));
        let mut clusters: Vec<usize> =
            all.iter().flat_map(|tenant| number(tenant, "cluster")..number(tenant, "cluster") + number(tenant, "clusters")).collect();
        let count = clusters.len();
        clusters.sort_unstable();
        clusters.dedup();
        assert!(clusters.len() == count && count >= 16, "{count} {all:?}");
    }
    mount.unmount();
}

#[test]
fn what_is_cut_is_found_as_nobodys_and_what_is_not_there_is_told() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let mut content = vec![0; 1 << 20];
    Numbers(9).fill(&mut content);
    fs::write(mount.path("gone"), &content).expect("written");
    fs::write(mount.path("stays"), &content).expect("written");
    mount.unmount();
    let mount = volume.mount();
    let extent = located(&[], &mount.path("gone"))[1].clone();
    let inode = located(&[], &mount.path("gone"))[0]["inode"].clone();
    let emptied = File::options().write(true).truncate(true).open(mount.path("gone")).expect("emptied");
    emptied.sync_all().expect("synced");
    drop(emptied);
    let at = format!("{},{}", extent["x"], extent["y"]);
    let cluster = extent["cluster"].to_string();
    let tenants = lines(infmap().args(["--json", "find", "--cluster", &cluster]).arg(mount.dir()).arg(&at));
    assert_eq!((&tenants[0]["who"], &tenants[0]["inode"]), (&"dead".into(), &inode), "{tenants:?}");
    let refused = |command: &mut Command| {
        let output = command.output().expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = refused(infmap().arg("find").arg(mount.dir()).arg("900,-900"));
    assert!(code == Some(1) && said.starts_with("error[IM1080]: there is no image at 900,-900"), "{said}");
    let (code, said) = refused(infmap().arg("locate").arg(mount.path("never")));
    assert!(code == Some(1) && said.starts_with("error[IM1080]"), "{said}");
    let (code, said) = refused(infmap().args(["locate", "/proc/self/status"]));
    assert!(code == Some(15) && said.starts_with("error[IM1033]") && said.contains("infmap ps"), "{said}");
    let (code, said) = refused(infmap().arg("locate").arg("--volume").arg(volume.path()).arg("stays"));
    assert!(code == Some(11) && said.starts_with("error[IM1020]") && said.contains("without --volume"), "{said}");
    let (code, said) = refused(infmap().arg("find").arg(mount.dir()).arg("here"));
    assert!(code == Some(2) && said.starts_with("error[IM1001]"), "{said}");
    mount.unmount();
    let (code, said) = refused(infmap().arg("locate").arg("--volume").arg(volume.path()).arg("stays/below"));
    assert!(code == Some(1) && said.starts_with("error[IM1080]"), "{said}");
    volume.check();
}

/// Seen to fail with the name among those that are listed.
#[test]
fn the_layout_of_a_file_is_an_attribute_that_no_copy_takes_along() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let mut content = vec![0; 300_000];
    Numbers(5).fill(&mut content);
    let (file, copy) = (mount.path("file"), mount.path("copy"));
    fs::write(&file, &content).expect("written");
    let get = |path: &Path| {
        let mut value = vec![0; 65_536];
        rustix::fs::getxattr(path, "user.infmap.layout", &mut value).map(|length| {
            value.truncate(length);
            serde_json::from_slice::<serde_json::Value>(&value).expect("JSON")
        })
    };
    let set = |path: &Path| rustix::fs::setxattr(path, "user.infmap.layout", b"mine", rustix::fs::XattrFlags::empty());
    drop(get(&file).expect("there"));
    rustix::fs::setxattr(&file, "user.mine", b"taken along", rustix::fs::XattrFlags::empty()).expect("set");
    run(Command::new("cp").arg("-a").arg(&file).arg(&copy));
    let mut names = vec![0; 4096];
    let length = rustix::fs::listxattr(&copy, &mut names).expect("listed");
    assert_eq!(&names[..length], b"user.mine\0");
    assert_eq!(
        (set(&file), rustix::fs::removexattr(&file, "user.infmap.layout")),
        (Err(rustix::io::Errno::PERM), Err(rustix::io::Errno::NODATA))
    );
    assert_eq!(get(mount.dir()), Err(rustix::io::Errno::NODATA), "a directory has no bytes of its own");
    mount.unmount();
    let mount = volume.mount();
    let layout = get(&mount.path("file")).expect("there");
    let located = located(&[], &mount.path("file"));
    let extents = layout["extents"].as_array().expect("a list");
    assert!(extents.len() + 1 == located.len() && extents[0]["image"] == located[1]["image"], "{layout} {located:?}");
    assert_eq!((&layout["size"], &layout["unplaced"]), (&300_000.into(), &false.into()));
    mount.unmount();
}

#[test]
fn a_mount_has_a_file_of_its_figures_that_nobody_meets_by_chance() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let stats = mount.path(".infmap/stats");
    let text = fs::read(&stats).expect("readable");
    let facts: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!((&facts["mode"], facts["pid"].as_u64()), (&"rw".into(), Some(mount.pid().into())));
    assert_eq!(common::walk(mount.dir()), Vec::<std::path::PathBuf>::new(), "it is listed nowhere");
    let listed: Vec<_> = fs::read_dir(mount.path(".infmap")).expect("listed").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(listed, ["stats"]);
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let meta = fs::metadata(&stats).expect("there");
    assert_eq!((meta.permissions().mode() & 0o777, meta.uid()), (0o400, rustix::process::geteuid().as_raw()));
    // In two pieces, as a reader with a small buffer has it.
    let file = File::open(&stats).expect("open");
    let mut pieces = vec![0; 10];
    use std::os::unix::fs::FileExt;
    file.read_exact_at(&mut pieces, 0).expect("read");
    let mut rest = vec![0; 1 << 20];
    let length = file.read_at(&mut rest, 10).expect("read");
    assert!(serde_json::from_slice::<serde_json::Value>(&[&pieces, &rest[..length]].concat()).is_ok());
    drop(file);
    assert_eq!(fs::metadata(mount.path(".infmap/other")).expect_err("there is none").kind(), std::io::ErrorKind::NotFound);
    for refused in [fs::write(mount.path(".infmap/mine"), "x"), fs::remove_file(&stats), fs::remove_dir(mount.path(".infmap"))] {
        assert!(refused.is_err());
    }
    assert_eq!(fs::metadata(mount.path("sub/.infmap")).expect_err("only at the top").kind(), std::io::ErrorKind::NotFound);
    mount.unmount();
    volume.check();
}
