//! Names that are looked for in small steps.

use super::*;
use crate::check::tests::builder::{Builder, NOW, noise};
use crate::check::tree::walk;
use crate::names::link;
use crate::row::FileKind;
use crate::vat::TreeId;

/// A file and its paths.
type Named = (Inode, Vec<Vec<u8>>);

/// A volume with more leaves than one step reads: directories in directories, a large file among them, one file with three names.
fn volume() -> (Builder, Vec<Named>) {
    let mut b = Builder::new();
    let (mut wanted, mut above, mut path) = (Vec::new(), ROOT_INODE, String::new());
    for n in 0..6 {
        let name = format!("directory {n}");
        above = b.make(above, &name, FileKind::Directory);
        path = if path.is_empty() { name } else { format!("{path}/{name}") };
        for m in 0..800 {
            let name = format!("a file with a name that is not so short, number {m}");
            let inode = b.make(above, &name, FileKind::Regular);
            if m % 266 == 0 {
                wanted.push((inode, vec![format!("{path}/{name}").into_bytes()]));
            }
        }
        if n == 2 {
            // Rows that are no names.
            let large = b.make(above, "large", FileKind::Regular);
            (0..300).for_each(|m| drop(b.write(large, m * 8192, &noise(4096, m), m + 1, false)));
            wanted.push((large, vec![format!("{path}/large").into_bytes()]));
        }
    }
    let (linked, names) = &mut wanted[3];
    for name in ["at the top", "another"] {
        b.change(|txn| link(txn, *linked, ROOT_INODE, name.as_bytes(), NOW));
        names.push(name.as_bytes().to_vec());
    }
    names.sort();
    (b, wanted)
}

#[test]
fn all_names_are_found_whatever_a_step_reads_and_however_the_tree_is_stored() {
    let (mut b, wanted) = volume();
    for stored in [false, true] {
        if stored {
            b.checkpoint(|_| {});
        }
        let source = b.nodes.loading(TreeId::Name);
        let mut search = NameSearch::new(wanted.iter().map(|(inode, _)| *inode).chain([Inode(999_999)]));
        let mut steps = 0;
        while search.step(View::new(&b.state.names, &source)) {
            steps += usize::from(search.next.is_some());
        }
        assert!(steps >= 2, "{steps}: all was read at once");
        for (inode, paths) in &wanted {
            assert_eq!(search.paths(*inode), (paths.clone(), 0));
        }
        assert!(search.paths(Inode(999_999)).0.is_empty());
        assert!(!NameSearch::new([]).step(View::new(&b.state.names, &source)));
    }
}

/// What is told of a file fits a reply of the control socket, whatever its names are.
#[test]
fn of_many_and_of_long_names_the_short_ones_are_told_and_the_others_counted() {
    let mut b = Builder::new();
    let mut deep = ROOT_INODE;
    let file = b.make(ROOT_INODE, "first", FileKind::Regular);
    for n in 0..300 {
        deep = b.make(deep, &"d".repeat(255), FileKind::Directory);
        if n % 100 == 99 {
            b.change(|txn| link(txn, file, deep, b"below", NOW));
        }
    }
    let told = |b: &Builder| {
        let source = b.nodes.loading(TreeId::Name);
        let mut search = NameSearch::new([file]);
        while search.step(View::new(&b.state.names, &source)) {}
        search.paths(file)
    };
    // Of 25, 51 and 77 thousand bytes.
    let (paths, left_out) = told(&b);
    assert_eq!((paths.len(), left_out), (2, 2));
    assert!(paths.contains(&b"first".to_vec()) && paths.iter().map(Vec::len).sum::<usize>() <= NAMES_MAX_BYTES);
    for n in 0..20 {
        b.change(|txn| link(txn, file, ROOT_INODE, format!("link {n}").as_bytes(), NOW));
    }
    let (paths, left_out) = told(&b);
    assert_eq!(paths.len() as u64 + left_out, 24);
    assert!(left_out >= 8);
}

#[test]
fn a_walk_in_parts_meets_what_a_whole_one_does() {
    let (b, _) = volume();
    let source = b.nodes.loading(TreeId::Name);
    let keys = |from: &[u8], leaves: usize, out: &mut Vec<Vec<u8>>| {
        walk_part(&b.state.names, &source, from, leaves, &mut |event| {
            if let Event::Row(key, _) = event {
                out.push(key.to_vec());
            }
        })
    };
    let mut all = Vec::new();
    walk(&b.state.names, &source, &mut |event| {
        if let Event::Row(key, _) = event {
            all.push(key.to_vec());
        }
    });
    for leaves in [1, 2, 7, usize::MAX] {
        let (mut found, mut from) = (Vec::new(), Some(Vec::new()));
        while let Some(at) = from {
            from = keys(&at, leaves, &mut found);
        }
        assert!(found == all, "{leaves}: {} of {}", found.len(), all.len());
    }
    // From a key that is there, and from one that is not.
    let mut found = Vec::new();
    keys(&all[777], usize::MAX, &mut found);
    assert!(found == all[777..]);
    found.clear();
    keys(&[&all[777][..], &[0]].concat(), usize::MAX, &mut found);
    assert!(found == all[778..]);
}

#[test]
fn a_directory_that_lies_in_itself_gives_no_name_and_no_end_that_never_comes() {
    let mut b = Builder::new();
    let outer = b.make(ROOT_INODE, "outer", FileKind::Directory);
    let inner = b.make(outer, "inner", FileKind::Directory);
    let file = b.make(inner, "file", FileKind::Regular);
    // Nobody writes this: the outer one says that it lies in the inner one, where it has a name.
    b.change(|txn| {
        let mut row = txn.view().inode(outer)?;
        row.parent = inner;
        let cookie = CookieRow { inode: outer, kind: FileKind::Directory, name: b"outer".to_vec() };
        txn.put(&Key::Cookie(inner, 1000), &cookie.encode())?;
        txn.put(&Key::Inode(outer), &row.encode())
    });
    let source = b.nodes.loading(TreeId::Name);
    let mut search = NameSearch::new([file]);
    while search.step(View::new(&b.state.names, &source)) {}
    assert!(search.paths(file).0.is_empty());
}
