//! Replays the corpora of the fuzzers through the functions that they fuzz, with the stable toolchain.
//!
//! Seeds are made from the museum by `cargo test -p infmap-storage --test fuzz_corpus -- --ignored`; what a fuzzer finds is put
//! beside them by hand, under a name that says what it was.
#![allow(clippy::unwrap_used, reason = "tests")]

mod museum;

use infmap_storage::fuzz::TARGETS;
use infmap_storage::region::chunk::{Chunks, KIND_TABLES};
use infmap_storage::row::{Inode, Key};
use infmap_storage::state::change::Change;
use std::fs;
use std::path::Path;

fn corpus(target: &str) -> std::path::PathBuf {
    museum::path("fuzz/corpus").join(target)
}

#[test]
fn no_file_of_the_corpora_stops_a_decoder() {
    let mut replayed = 0;
    for (name, target) in TARGETS {
        let files = fs::read_dir(corpus(name)).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        assert!(!files.is_empty(), "the corpus of {name} is empty");
        for file in files {
            eprintln!("{}", file.display());
            target(&fs::read(&file).unwrap());
            replayed += 1;
        }
    }
    assert!(replayed >= 30, "{replayed} files");
}

#[test]
fn every_target_has_a_fuzzer_and_every_fuzzer_a_target() {
    let mut fuzzers = fs::read_dir(museum::path("fuzz/fuzz_targets")).unwrap();
    let mut found = fuzzers.by_ref().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    found.sort();
    let names = found.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect::<Vec<_>>();
    let mut expected = TARGETS.map(|(name, _)| name);
    expected.sort_unstable();
    assert_eq!(names, expected);
    for path in &found {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(fs::read_to_string(path).unwrap().contains(&format!("fuzz::{name}(data)")), "{}", path.display());
    }
}

#[test]
#[ignore = "writes the seeds into the working tree"]
fn write_the_seeds() {
    let put = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(corpus(target)).unwrap();
        fs::write(Path::new(&corpus(target)).join(name), bytes).unwrap();
    };
    let image = museum::region();
    put("region", "small", &image);
    put("region", "empty", &museum::empty_region());
    put("region", "cut", &image[..60_000]);
    put("region", "no-header", &image[4096..]);
    put("region", "header", &image[..1024]);
    for (name, image) in [("small", &image), ("empty", &museum::empty_region())] {
        let tables = Chunks::of(image).map(Result::unwrap).find(|chunk| chunk.kind == KIND_TABLES).unwrap().data;
        put("tables", name, tables);
        put("tables", &format!("{name}-unsealed"), &tables[..tables.len() - 4]);
    }
    put("node", "pointer", &museum::pointer(3).encode());
    put("node", "address", &museum::address().encode());
    put("node", "leaf", &museum::nodes(3)[0]);
    let nodes = museum::nodes(300);
    put("node", "packed", &nodes[0]);
    put("node", "inner", nodes.last().unwrap());
    put("wal", "segment", &museum::segment());
    put("wal", "cut", &museum::segment()[..5000]);
    put("wal", "header", &museum::segment_header().encode());
    for (n, key) in museum::keys().iter().map(Key::encode).enumerate() {
        put("row", &format!("key-{n:02}"), &key);
    }
    put("row", "inode", &museum::inode_row().encode());
    put("row", "extent", &museum::extent_row().encode());
    put("row", "packed-extent", &museum::packed_extent_row().encode());
    put("row", "entry", &museum::entry_row().encode());
    put("row", "cookie", &museum::cookie_row().encode());
    put("row", "region", &museum::region_row().encode());
    put("row", "target", &b"../somewhere/".repeat(100));
    put("root", "root", &museum::root().encode());
    put("root", "first", &infmap_storage::recover::empty_root(museum::UUID).encode());
    put("change", "all", &museum::payload());
    museum::with_changes(|changes| {
        for (n, change) in changes.iter().enumerate() {
            let mut one = Vec::new();
            change.encode(&mut one);
            put("change", &format!("one-{}", n + 1), &one);
        }
    });
    // Bugs: what a record says that no honest program logged.
    let inode = Inode(1);
    let data = |offset, bytes| Change::Data { inode, offset, sequence: 1, bytes };
    let cut = |from, to| Change::Cut { inode, from, to, sequence: 2 };
    let bugs: [(&str, &[Change<'_>]); 2] = [
        ("bug-a-cut-that-ends-before-it-begins", &[data(0, b"x"), cut(8192, 0)]),
        ("bug-data-beyond-the-end-of-numbers", &[data(u64::MAX, &[7; 8192]), cut(0, u64::MAX)]),
    ];
    for (name, changes) in bugs {
        let mut payload = Vec::new();
        changes.iter().for_each(|change| change.encode(&mut payload));
        put("change", name, &payload);
    }
}
