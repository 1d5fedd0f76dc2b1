//! Nodes of the tables that are lost for good: what hangs on them gives EIO, at once and to whoever asks for it; all else goes on.
//!
//! Must be true: no request hangs, nothing panics, and the volume is written to as before, over unmounting and mounting. Needs root and
//! /dev/fuse; where those are missing each test says so and ends.

mod common;

use common::{Mount, Numbers, Volume, infmap};
use infmap_storage::region::layout::cluster_pieces;
use infmap_storage::region::{OwnerKind, RawRegion};
use infmap_storage::row::Key;
use infmap_storage::vat::{TreeId, decode_orphan};
use std::fs::{self, File};
use std::io::Error;
use std::os::unix::fs::{FileExt, MetadataExt};

/// Damages every leaf of the names that holds such a key, beyond what parity restores, and nothing else. Returns how many there are.
fn lose_leaves(volume: &Volume, wanted: impl Fn(&Key) -> bool) -> usize {
    let mut lost = 0;
    for path in volume.images() {
        let mut bytes = fs::read(&path).expect("read");
        let targets: Vec<usize> = {
            let region = RawRegion::new(bytes.as_slice()).verify(None).expect("sound");
            let nodes = region.tables().owners().iter().filter(|entry| entry.owner.kind == OwnerKind::Node);
            let is_target = |entry: &&infmap_storage::region::OwnerEntry| {
                let clusters = entry.first.number()..entry.first.number() + entry.clusters;
                let stored: Vec<u8> = clusters
                    .flat_map(|n| {
                        let cluster = infmap_storage::address::Cluster::new(n).and_then(|cluster| region.cluster(cluster));
                        cluster.expect("there").pieces().iter().flat_map(|piece| piece.to_vec()).collect::<Vec<u8>>()
                    })
                    .collect();
                let Ok((header, node)) = decode_orphan(&stored) else { return false };
                header.tree == TreeId::Name
                    && header.level == 0
                    && node.rows().any(|(key, _)| Key::decode(key).is_some_and(|key| wanted(&key)))
            };
            nodes.filter(is_target).map(|entry| cluster_pieces(entry.first)[0]).collect()
        };
        if targets.is_empty() {
            continue;
        }
        lost += targets.len();
        let parity = bytes.windows(4).rposition(|kind| kind == b"imPY").expect("parity") + 4;
        (0..32).for_each(|row| bytes[parity + row * 4096 + 9] ^= 1);
        targets.into_iter().for_each(|at| bytes[at + 5] ^= 1);
        fs::write(&path, bytes).expect("written");
    }
    lost
}

fn is_eio(error: &Error) -> bool {
    error.raw_os_error() == Some(5)
}

/// How the mount is: its mode.
fn mode(mount: &Mount) -> String {
    let output = infmap().args(["--json", "status"]).arg(mount.dir()).output().expect("it starts");
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    facts["mode"].as_str().expect("a mode").to_string()
}

#[test]
fn names_and_files_on_lost_nodes_give_eio_and_all_others_go_on() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let mut inode_of = std::collections::BTreeMap::new();
    for directory in ["a", "b", "c"] {
        fs::create_dir(mount.path(directory)).expect("made");
        inode_of.insert(directory, fs::metadata(mount.path(directory)).expect("there").ino());
        for n in 0..300 {
            fs::write(mount.path(&format!("{directory}/file{n:03}")), format!("{directory}{n}").repeat(40)).expect("written");
        }
    }
    let small = fs::metadata(mount.path("c/file150")).expect("there").ino();
    mount.unmount();
    volume.check();
    // Names of b, and in c what one file is.
    let b = inode_of["b"];
    let lost = lose_leaves(&volume, |key| {
        matches!(key, Key::Entry(directory, name) if directory.0 == b && name == b"file150")
            || *key == Key::Inode(infmap_storage::row::Inode(small))
    });
    assert!(lost >= 2, "{lost}");
    for round in 0..2 {
        let mount = volume.mount();
        // Lookup of a name, and creating, renaming or removing one there.
        assert!(is_eio(&fs::metadata(mount.path("b/file150")).expect_err("lost")));
        assert!(is_eio(&File::create(mount.path("b/file150x")).expect_err("where it would stand is lost")));
        assert!(is_eio(&fs::rename(mount.path("a/file000"), mount.path("b/file150x")).expect_err("the same")));
        assert!(is_eio(&fs::remove_file(mount.path("b/file150")).expect_err("lost")));
        // Content and attributes.
        let near = mount.path("c/file150");
        for error in [
            fs::read(&near).expect_err("lost"),
            fs::write(&near, b"x").expect_err("lost"),
            fs::metadata(&near).map(drop).expect_err("lost"),
            fs::remove_file(&near).expect_err("what its row says is lost"),
        ] {
            assert!(is_eio(&error), "{error}");
        }
        // All that the directory lists: no end that is none.
        let listed: Result<Vec<_>, _> =
            fs::read_dir(mount.path("b")).expect("opened").map(|entry| entry.map(|entry| entry.file_name())).collect();
        let mut listed = listed.expect("names by cookie stand in other leaves");
        listed.sort();
        assert!(listed == (0..300).map(|n| format!("file{n:03}").into()).collect::<Vec<std::ffi::OsString>>(), "{listed:?}");
        // All else.
        for n in (0..300).filter(|n| *n != 0) {
            assert_eq!(fs::read(mount.path(&format!("a/file{n:03}"))).expect("read"), format!("a{n}").repeat(40).into_bytes());
        }
        let new = mount.path(&format!("a/new{round}"));
        let mut content = vec![0; 9_000_000];
        Numbers(round).fill(&mut content);
        fs::write(&new, &content).expect("written");
        File::open(&new).expect("opened").sync_all().expect("durable");
        fs::rename(mount.path("a/file000"), mount.path("a/moved")).expect("renamed");
        fs::rename(mount.path("a/moved"), mount.path("a/file000")).expect("renamed back");
        fs::remove_file(mount.path(&format!("a/file{:03}", 299 - round))).expect("removed");
        fs::write(mount.path(&format!("a/file{:03}", 299 - round)), format!("a{}", 299 - round).repeat(40)).expect("written anew");
        assert_ne!(mode(&mount), "ro");
        assert!(!mount.said().contains("panicked"), "{}", mount.said());
        mount.unmount();
    }
    // What was written is there.
    let mount = volume.mount();
    let mut content = vec![0; 9_000_000];
    Numbers(1).fill(&mut content);
    assert!(fs::read(mount.path("a/new1")).expect("read") == content);
    mount.unmount();
}

#[test]
fn a_file_of_which_rows_are_lost_refuses_what_needs_them_and_harms_nobody() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount_with(&["--set", "compression=off"]);
    let mut content = vec![0; 40 << 20];
    Numbers(3).fill(&mut content);
    fs::write(mount.path("large"), &content).expect("written");
    fs::write(mount.path("other"), &content[..5 << 20]).expect("written");
    let large = fs::metadata(mount.path("large")).expect("there").ino();
    mount.unmount();
    volume.check();
    // Those in the middle: the leaf with the row of its inode is another.
    let middle = 20u64 << 20;
    let is_wanted =
        |key: &Key| matches!(key, Key::Extent(inode, offset) if inode.0 == large && (middle..middle + (1 << 20)).contains(offset));
    assert!(lose_leaves(&volume, is_wanted) >= 1);
    let mount = volume.mount();
    let file = File::options().read(true).write(true).open(mount.path("large")).expect("opened");
    let mut read = vec![0; 1 << 20];
    assert!(is_eio(&file.read_exact_at(&mut read, middle).expect_err("its rows are lost")));
    for at in [0, (40 << 20) - read.len()] {
        file.read_exact_at(&mut read, at as u64).expect("read");
        assert!(read == content[at..][..read.len()]);
    }
    // What is written there cannot be put. The kernel may have taken it: then it is the sync that fails.
    let written = file.write_all_at(&[7; 8192], middle).and_then(|()| file.sync_all());
    assert!(is_eio(&written.expect_err("refused")));
    // Elsewhere in the same file, also where rows are lost not far from there.
    let near =
        (0..middle).rev().step_by(4096).find(|at| file.read_exact_at(&mut [0; 1], *at).is_ok()).expect("a block before") / 4096 * 4096;
    assert!(near > 0, "{near}");
    for at in [0, near, 0] {
        file.write_all_at(&[9; 4096], at).unwrap_or_else(|error| panic!("{at}: {error}"));
    }
    file.sync_all().expect("durable");
    drop(file);
    fs::write(mount.path("other"), &content[1 << 20..9 << 20]).expect("written");
    File::open(mount.path("other")).expect("opened").sync_all().expect("durable");
    fs::remove_file(mount.path("large")).expect("the name goes");
    fs::write(mount.path("after"), &content[..3 << 20]).expect("written");
    File::open(mount.path("after")).expect("opened").sync_all().expect("durable");
    assert_ne!(mode(&mount), "ro", "{}", mount.said());
    mount.unmount();
    let mount = volume.mount();
    assert!(!mount.path("large").exists());
    assert!(fs::read(mount.path("after")).expect("read") == content[..3 << 20]);
    assert!(fs::read(mount.path("other")).expect("read") == content[1 << 20..9 << 20]);
    assert_ne!(mode(&mount), "ro", "{}", mount.said());
    mount.unmount();
}

/// Contents of 512 bytes to 2 KiB stand in leaves of their own, the last of which has room for those of all files to come.
#[test]
fn writes_over_lost_contents_are_refused_and_the_volume_goes_on() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let mut content = vec![0; 9 << 20];
    Numbers(5).fill(&mut content);
    for n in 0..40 {
        fs::write(mount.path(&format!("small{n:02}")), &content[n * 2000..][..2000]).expect("written");
    }
    fs::write(mount.path("large"), &content).expect("written");
    File::create(mount.path("empty")).expect("made");
    mount.unmount();
    volume.check();
    assert!(lose_leaves(&volume, |key| matches!(key, Key::LargeContent(..))) >= 1);
    for round in 0..2u8 {
        let mount = volume.mount();
        File::create(mount.path(&format!("new{round}"))).expect("a name stands elsewhere");
        for name in ["large", "small03", "empty", &format!("new{round}")] {
            let file = File::options().write(true).open(mount.path(name)).expect("opened");
            // The kernel may have taken it: then it is the sync that fails.
            let written = file.write_all_at(&[7; 4096], 0).and_then(|()| file.sync_all());
            assert!(is_eio(&written.expect_err(name)), "{name}");
        }
        assert!(is_eio(&fs::read(mount.path("small05")).map(drop).expect_err("lost")));
        let file = File::options().read(true).write(true).open(mount.path("large")).expect("opened");
        file.write_all_at(&[round + 1; 8192], 1 << 20).expect("written elsewhere");
        file.sync_all().expect("durable");
        drop(file);
        assert_ne!(mode(&mount), "ro", "{}", mount.said());
        assert!(!mount.said().contains("panicked"), "{}", mount.said());
        mount.unmount();
    }
    content[1 << 20..][..8192].fill(2);
    let mount = volume.mount();
    assert!(fs::read(mount.path("large")).expect("read")[4096..] == content[4096..]);
    assert_ne!(mode(&mount), "ro", "{}", mount.said());
    mount.unmount();
}
