//! cargo: builds on the mount, and does not build twice.

use crate::again;
use crate::common::{SOURCE, Volume, can_mount, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// cargo without the settings of whoever runs the tests.
fn cargo(package: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(package).args(arguments).arg("--offline").env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    command
}

/// Whether each package was fresh, as this build says it.
fn fresh(build: &mut Command) -> Vec<bool> {
    let said = run(build);
    let messages = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    messages.filter_map(|message| message["fresh"].as_bool()).collect()
}

#[test]
fn cargo_builds_what_runs_and_does_not_build_it_twice() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let hello = mount.path("hello");
    fs::create_dir_all(hello.join("src")).expect("directories");
    fs::write(hello.join("Cargo.toml"), "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n")
        .expect("a file");
    fs::write(hello.join("src/main.rs"), "fn main() {\n    println!(\"hello from the map\");\n}\n").expect("a file");
    let build = || fresh(&mut cargo(&hello, &["build", "--message-format=json"]));
    assert_eq!(build(), [false]);
    assert_eq!(run(&mut Command::new(hello.join("target/debug/hello"))), "hello from the map\n");
    // The times are what cargo remembers, so another mount makes nothing stale.
    let mount = again(&volume, mount, &[]);
    assert_eq!(build(), [true], "cargo builds again what has not changed");
    assert_eq!(run(&mut Command::new(hello.join("target/debug/hello"))), "hello from the map\n");
    mount.unmount();
    volume.check();
}

/// Some thirty crates, all of them crates that this workspace needs too, with a macro that is built and loaded while building.
const MANIFEST: &str = r#"[package]
name = "medium"
version = "0.1.0"
edition = "2024"

[dependencies]
clap = { version = "*", features = ["derive"] }
png = "*"
serde = { version = "*", features = ["derive"] }
serde_json = "*"

[workspace]
"#;

const PROGRAM: &str = r#"use clap::Parser;

#[derive(Parser, serde::Serialize)]
struct Picture {
    #[arg(long)]
    width: u32,
    #[arg(long)]
    height: u32,
}

fn main() {
    let picture = Picture::parse();
    let pixels: Vec<u8> = (0..picture.width * picture.height).map(|n| (n * 7) as u8).collect();
    let mut file = std::io::Cursor::new(Vec::new());
    let mut encoder = png::Encoder::new(&mut file, picture.width, picture.height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels)).expect("encoded");
    file.set_position(0);
    let mut reader = png::Decoder::new(file).read_info().expect("a header");
    let mut read = vec![0; pixels.len()];
    reader.next_frame(&mut read).expect("a picture");
    println!("{} {}", serde_json::to_string(&picture).expect("JSON"), read == pixels);
}
"#;

/// Where the index of a registry keeps what it knows of a package.
fn index_entry(name: &str) -> PathBuf {
    match name.len() {
        1 | 2 => format!("{}/{name}", name.len()).into(),
        3 => format!("3/{}/{name}", &name[..1]).into(),
        _ => format!("{}/{}/{name}", &name[..2], &name[2..4]).into(),
    }
}

/// Writes the package, and a home of cargo with what it needs: archives of sources, and their index. Where cargo does not have them,
/// says so, and `false`.
fn medium(dir: &Path) -> bool {
    let (package, home) = (dir.join("medium"), dir.join("home"));
    fs::create_dir_all(package.join("src")).expect("directories");
    fs::write(package.join("Cargo.toml"), MANIFEST).expect("a file");
    fs::write(package.join("src/main.rs"), PROGRAM).expect("a file");
    let lock = fs::read_to_string(Path::new(SOURCE).join("Cargo.lock")).expect("readable");
    fs::write(package.join("Cargo.lock"), &lock).expect("a file");
    let version = run(Command::new("rustc").arg("-vV").current_dir(&package));
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a target");
    let known = cargo(&package, &["metadata", "--format-version=1", "--filter-platform", host]).output().expect("cargo starts");
    if !known.status.success() {
        eprintln!("skipped: cargo has no sources here to build from: {}", String::from_utf8_lossy(&known.stderr));
        return false;
    }
    let known: serde_json::Value = serde_json::from_slice(&known.stdout).expect("JSON");
    let packages = known["packages"].as_array().expect("packages").iter().filter(|package| package["source"].is_string());
    let unpacked: Vec<&Path> = packages.filter_map(|package| Path::new(package["manifest_path"].as_str()?).parent()).collect();
    // REGISTRY/src/INDEX/NAME-VERSION beside REGISTRY/cache/INDEX/NAME-VERSION.crate and REGISTRY/index/INDEX.
    let above = |levels| unpacked[0].ancestors().nth(levels).expect("a registry");
    let (index, registry) = (above(1).file_name().expect("a name"), above(3));
    let copy = |path: PathBuf| {
        let to = home.join("registry").join(&path);
        fs::create_dir_all(to.parent().expect("a directory")).and_then(|()| fs::copy(registry.join(path), to))
    };
    let archive = |path: &&Path| Path::new("cache").join(index).join(format!("{}.crate", path.file_name().expect("a name").display()));
    if let Some(error) = unpacked.iter().find_map(|path| copy(archive(path)).err()) {
        eprintln!("skipped: cargo has not kept the archives of its sources here: {error}");
        return false;
    }
    copy(Path::new("index").join(index).join("config.json")).expect("copied");
    // Of some packages nothing is known: those of the workspace.
    for name in lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')) {
        let _ = copy(Path::new("index").join(index).join(".cache").join(index_entry(name)));
    }
    true
}

#[test]
fn cargo_unpacks_thirty_crates_and_builds_them_at_home_on_the_mount() {
    if !can_mount() {
        return;
    }
    let volume = Volume::new();
    // Put together on the host, so that what cargo does not have is not our fault.
    if !medium(&volume.beside("put together")) {
        return;
    }
    let mount = volume.mount();
    run(Command::new("cp").arg("-rT").arg(volume.beside("put together")).arg(mount.dir()));
    let (package, home) = (mount.path("medium"), mount.path("home"));
    let build = || fresh(cargo(&package, &["build", "--message-format=json"]).env("CARGO_HOME", &home));
    let works = || {
        let said = run(Command::new(package.join("target/debug/medium")).args(["--width", "640", "--height", "480"]));
        assert_eq!(said, "{\"width\":640,\"height\":480} true\n");
    };
    let built = build();
    assert!(built.len() >= 30 && built.iter().all(|fresh| !fresh), "{built:?}");
    works();
    let mount = again(&volume, mount, &[]);
    assert_eq!(build(), vec![true; built.len()], "cargo builds again what has not changed");
    works();
    mount.unmount();
    volume.check();
}
