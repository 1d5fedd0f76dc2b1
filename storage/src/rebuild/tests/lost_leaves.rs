//! Nodes and images of tables are lost, and everything that a rebuild gives is compared with what was written. Fails: as tests do.

use super::*;
use crate::check::tests::builder::noise;
use crate::limits::CLUSTER_BYTES;
use crate::names::{NewNode, symlink};
use crate::row::{FileKind, Inode, InodeRow, ROOT_INODE};
use crate::state::StateError;

/// What a file had at one time.
#[derive(Clone, Default)]
struct Version {
    bytes: Vec<u8>,
    target: Vec<u8>,
    attribute: Vec<u8>,
}

/// A file, and its versions, the newest last.
struct File {
    inode: Inode,
    name: String,
    versions: Vec<Version>,
}

impl File {
    fn newest(&self) -> &Version {
        self.versions.last().unwrap()
    }

    fn set_attribute(&mut self, builder: &mut Builder, value: Vec<u8>) {
        builder.change(|txn| txn.put_xattr(self.inode, b"user.word", &value));
        self.versions.last_mut().unwrap().attribute = value;
    }

    fn set_content(&mut self, builder: &mut Builder, bytes: Vec<u8>) {
        builder.put_inline(self.inode, &bytes);
        self.versions.last_mut().unwrap().bytes = bytes;
    }

    /// As `set_content`, with a hole behind it that an extent ends.
    fn set_mixed(&mut self, builder: &mut Builder, bytes: Vec<u8>, seed: u64) {
        self.set_content(builder, bytes);
        let last = noise(5000, seed);
        builder.write(self.inode, 16384, &last, seed, false);
        let bytes = &mut self.versions.last_mut().unwrap().bytes;
        bytes.resize(16384, 0);
        bytes.extend_from_slice(&last);
    }

    fn set_extents(&mut self, builder: &mut Builder, count: u64, seed: u64) {
        let bytes = &mut self.versions.last_mut().unwrap().bytes;
        for number in (0..count).filter(|number| number % 7 != 3) {
            let (offset, part) = (number * 4096, noise(4096, seed * 1000 + number));
            builder.write(self.inode, offset, &part, seed * 1000 + number, false);
            bytes.resize(bytes.len().max(offset as usize + 4096), 0);
            bytes[offset as usize..][..4096].copy_from_slice(&part);
        }
    }
}

/// A volume with files of all forms, after a checkpoint; some of them are changed before a second one.
fn volume() -> (Builder, Vec<File>) {
    let mut builder = Builder::new();
    let mut files = Vec::new();
    for number in 0..240u64 {
        let name = format!("file-{number}");
        let versions = vec![Version::default()];
        if number % 6 == 5 {
            let target = noise(1 + number as usize * 13 % 1500, number).iter().map(|byte| b'a' + byte % 26).collect::<Vec<u8>>();
            let name_bytes = name.clone().into_bytes();
            let node = NewNode { parent: ROOT_INODE, name: name_bytes, mode: 0o777, uid: 0, gid: 0, rdev: 0, umask: 0 };
            let inode = builder.change(|txn| symlink(txn, &node, &target, crate::check::tests::builder::NOW)).0;
            files.push(File { inode, name, versions: vec![Version { target, ..Version::default() }] });
            continue;
        }
        let mut file = File { inode: builder.make(ROOT_INODE, &name, FileKind::Regular), name, versions };
        match number % 6 {
            0 => file.set_content(&mut builder, noise(1 + number as usize * 7 % 512, number)),
            1 | 2 => file.set_content(&mut builder, noise(520 + number as usize * 101 % 1528, number)),
            3 => file.set_mixed(&mut builder, noise(100 + number as usize * 77 % 1900, number), number + 2),
            _ => file.set_extents(&mut builder, 10 + number % 60, number + 1),
        }
        if number % 3 == 0 {
            file.set_attribute(&mut builder, noise(1 + number as usize * 31 % 2500, number));
        }
        files.push(file);
    }
    builder.checkpoint(|_| {});
    for (number, file) in files.iter_mut().enumerate().filter(|(number, _)| number % 11 == 0 && number % 6 != 5) {
        file.versions.push(file.newest().clone());
        match number % 6 {
            0..=2 => file.set_content(&mut builder, noise(600 + number * 13 % 1400, 9000 + number as u64)),
            4 => file.set_extents(&mut builder, 20, 9000 + number as u64),
            _ => file.set_attribute(&mut builder, noise(30, number as u64)),
        }
    }
    builder.checkpoint(|_| {});
    (builder, files)
}

/// What is found of a file: its size and blocks, or its target; and its attribute, if it can be read.
fn look(view: View<'_>, images: &Images, inode: Inode, row: &InodeRow) -> (Vec<Option<Vec<u8>>>, Option<Vec<u8>>, Option<Vec<u8>>) {
    let (tiers, pool) = (Tiers::new(0, 0), BlockPool::new(0));
    let reader = FileReader { view, tiers: &tiers, pool: &pool, images: Some(images), ahead: None, lost: None };
    let block = |at: usize| {
        let mut out = vec![0; (row.size as usize - at).min(CLUSTER_BYTES)];
        reader.read(inode, at as u64, &[], &mut out).ok().map(|()| out)
    };
    let is_file = row.kind() == FileKind::Regular;
    let blocks = if is_file { (0..row.size as usize).step_by(CLUSTER_BYTES).map(block).collect() } else { Vec::new() };
    let target = if is_file { None } else { view.target(inode).ok() };
    (blocks, target, view.xattr(inode, b"user.word").ok().flatten())
}

/// Compares a file with what was written; what is wrong, if anything is.
fn judge(file: &File, view: View<'_>, images: &Images, report: &Report) -> Result<usize, String> {
    let is_named = |inode: u64| {
        report.uncertain.contains(&inode) || report.newer.contains(&inode) || report.lost.iter().any(|lost| lost.inode == inode)
    };
    let is_named = is_named(file.inode.0);
    let row = match view.inode(file.inode) {
        Ok(row) => row,
        Err(StateError::Refused(_)) => {
            // Whatever said that it was there may be gone; a name that is left is told.
            let is_told = report.lost_names.contains(&file.name.clone().into_bytes());
            let has_name = matches!(view.entry(ROOT_INODE, file.name.as_bytes()), Ok(Some(_)));
            return if has_name && !is_told { Err("its name leads nowhere".into()) } else { Ok(0) };
        }
        Err(error) => return Err(error.to_string()),
    };
    let (blocks, target, attribute) = look(view, images, file.inode, &row);
    let newest = file.newest();
    if row.kind() == FileKind::Symlink {
        let target = target.ok_or("no target")?;
        return if target == newest.target { Ok(1) } else { Err("another target".into()) };
    }
    let of = |version: &Version, number: usize| {
        let mut block: Vec<u8> = version.bytes.iter().skip(number * CLUSTER_BYTES).take(CLUSTER_BYTES).copied().collect();
        block.resize(blocks.get(number).and_then(Option::as_ref).map_or(0, Vec::len), 0);
        block
    };
    for (number, found) in blocks.iter().enumerate() {
        let Some(found) = found else { continue };
        if !file.versions.iter().any(|version| of(version, number) == *found) {
            let what = if found.iter().all(|byte| *byte == 0) { "zeros" } else { "other bytes" };
            return Err(format!("block {number} has {what}"));
        }
        if of(newest, number) != *found && !is_named {
            return Err(format!("block {number} is older, and nobody says so"));
        }
    }
    if !is_named && (row.size != newest.bytes.len() as u64 || blocks.contains(&None)) {
        return Err("it is not whole, and nobody says so".into());
    }
    match attribute {
        Some(value) if file.versions.iter().any(|version| version.attribute == value) => {}
        Some(_) => return Err("its attribute is another".into()),
        None if newest.attribute.is_empty() || is_named => return Ok(blocks.len()),
        None => return Err("its attribute is gone, and nobody says so".into()),
    }
    Ok(blocks.len())
}

/// Rebuilds, and compares all files. Gives how names were found, and how many blocks were compared.
fn judge_all(pile: &Pile, files: &[File], by: Option<By>) -> (How, usize) {
    let found = found(pile);
    let device = Arc::clone(&found.device);
    let rebuilt = rebuild(found, by, &mut |_, _| {}).unwrap();
    let report = rebuilt.report.clone();
    let (tree, nodes) = rebuilt.into_names();
    let (source, images) = (nodes.loading(TreeId::Name), Images::new(device, 1));
    let view = View::new(&tree, &source);
    let mut judged = 0;
    for file in files {
        judged += judge(file, view, &images, &report).unwrap_or_else(|what| panic!("{} (inode {}): {what}", file.name, file.inode));
    }
    (report.how, judged)
}

/// The nodes of the name tree that an image holds.
fn nodes_in(pile: &Pile) -> Vec<(usize, std::ops::Range<usize>)> {
    let mut nodes = Vec::new();
    for (number, bytes) in pile.iter().enumerate() {
        let Ok(tables) = crate::region::RawRegion::new(bytes.clone()).salvage(&mut Mender::default()) else { continue };
        for entry in tables.tables().owners().iter().filter(|entry| entry.owner.kind == crate::region::OwnerKind::Node) {
            let first = entry.first.number();
            nodes.push((number, first..first + entry.clusters));
        }
    }
    nodes
}

/// Bytes that were written, or an error, or a file that is named: whatever nodes are lost.
#[test]
fn whatever_nodes_are_lost_no_zeros_stand_for_bytes_and_what_is_not_whole_is_named() {
    let (builder, files) = volume();
    let whole = pile(builder.device.as_ref());
    let nodes = nodes_in(&whole);
    assert!(nodes.len() > 30, "{}", nodes.len());
    let (mut judged, mut by_nodes) = (0, 0);
    for round in 0..nodes.len() / 2 {
        let mut pile = whole.clone();
        let lost = noise(1 + round % 3, round as u64);
        let mut by_image: BTreeMap<usize, Vec<std::ops::Range<usize>>> = BTreeMap::new();
        for (number, clusters) in lost.iter().map(|byte| &nodes[(usize::from(*byte) + round * 2) % nodes.len()]) {
            let ranges = by_image.entry(*number).or_default();
            if !ranges.contains(clusters) {
                ranges.push(clusters.clone());
            }
        }
        for (number, ranges) in by_image {
            pile[number] = poisoned(&pile[number], ranges.into_iter().flatten());
        }
        let (how, compared) = judge_all(&pile, &files, Some(By::Nodes));
        judged += compared;
        by_nodes += usize::from(matches!(how, How::Nodes { base: Some(_), .. }));
    }
    assert!(judged > 5000 && by_nodes > 5, "{judged} {by_nodes}");
}

#[test]
fn whatever_image_of_tables_is_lost_no_zeros_stand_for_bytes() {
    let (builder, files) = volume();
    let whole = pile(builder.device.as_ref());
    for number in 0..whole.len() {
        let mut pile = whole.clone();
        pile.remove(number);
        for by in [None, Some(By::Nodes)] {
            judge_all(&pile, &files, by);
        }
    }
    judge_all(&whole, &files, Some(By::Nodes));
}
