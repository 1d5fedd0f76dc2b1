//! One page of Python, without anything of ours, reads a volume out of its images.

mod common;
#[path = "common/trees.rs"]
mod trees;

use common::{Numbers, SOURCE, Volume, has, run};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use trees::{contents, make_tree};

#[test]
fn a_page_of_python_lists_and_extracts_the_tree() {
    if !has("python3", "contrib/read_map.py is not run") || !has("zstd", "what is compressed cannot be read by it") {
        return;
    }
    let Some(volume) = Volume::if_mountable() else { return };
    let tree = volume.beside("tree");
    make_tree(&tree, &mut Numbers(31));
    let mount = volume.mount();
    run(Command::new("cp").arg("-a").arg("--sparse=auto").arg(&tree).arg(mount.dir()));
    mount.unmount();
    let pile = volume.beside("pile");
    fs::create_dir(&pile).expect("a directory");
    for (number, image) in volume.images().iter().enumerate() {
        fs::copy(image, pile.join(format!("{number}"))).expect("copied");
    }
    let script = Path::new(SOURCE).join("contrib/read_map.py");
    let listed = run(Command::new("python3").arg(&script).arg(&pile));
    let line = listed.lines().find(|line| line.ends_with(" tree/docs/format.md")).expect("listed");
    let size = fs::metadata(tree.join("docs/format.md")).expect("stat").len();
    assert!(line.starts_with("-rw") && line.contains(&format!(" {size} ")), "{line}");
    let out = volume.beside("out");
    run(Command::new("python3").arg(&script).arg(&pile).arg(&out));
    let (expected, found) = (contents(&tree), contents(&out.join("tree")));
    let names = |of: &std::collections::BTreeMap<PathBuf, Vec<u8>>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&expected), names(&found));
    assert!(expected == found, "the bytes differ");
    let link = fs::read_link(out.join("tree").join("odd \n\t'\"\\ \u{e9}\u{1f5fa}/long link")).expect("a link");
    assert_eq!(link.as_os_str().len(), 3000);
    let one = volume.beside("one");
    run(Command::new("python3").arg(&script).arg(&pile).arg(&one).arg("tree/docs"));
    assert_eq!(contents(&one.join("tree/docs")), contents(&tree.join("docs")));
    assert_eq!(fs::read_dir(one.join("tree")).expect("read").count(), 1, "and nothing beside it");
    let none = Command::new("python3").arg(&script).arg(&pile).arg(volume.beside("none")).arg("tree/doc").output().expect("it starts");
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("there is no tree/doc"), "{none:?}");
    // An older root is not all that there was.
    let mount = volume.mount();
    fs::write(mount.path("later"), b"in a second root").expect("a file");
    mount.unmount();
    let newest = volume.images().into_iter().filter(|image| fs::read(image).expect("read").get(53) == Some(&1)).max_by_key(|image| {
        let name = image.file_name().expect("a name").to_string_lossy().into_owned();
        u64::from_str_radix(name.split('.').nth(1).expect("a generation"), 16).expect("a number")
    });
    let newest = newest.expect("an image of tables");
    let file = fs::File::options().write(true).open(&newest).expect("open");
    file.write_all_at(&[0x5A; 9000], 2000).expect("written");
    let output = Command::new("python3").arg(&script).arg(volume.path().join("map")).arg(volume.beside("older")).output();
    let output = output.expect("python3 starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && said.contains("all may be older"), "{said}");
    assert!(expected == contents(&volume.beside("older").join("tree")), "the bytes differ");
}
