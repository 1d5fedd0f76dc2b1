//! Volumes are made by hand, everything but their images is taken away, and what is rebuilt is compared. Fails: as tests do.

use super::*;
use crate::blocks::BlockPool;
use crate::check::tests::builder::{Builder, Sample, UUID, sample};
use crate::device::{DeviceFile, MemoryDevice, Open, read_all};
use crate::read::FileReader;
use crate::region::{IMAGE_MAX_BYTES, Mender};
use crate::state::View;
use crate::tiers::Tiers;
use proptest::prelude::*;
use std::io::ErrorKind;

mod lost_leaves;

/// Files by number, as if somebody had poured them into a directory.
pub(super) type Pile = Vec<Vec<u8>>;

/// All images of a volume.
pub(super) fn pile(device: &dyn Device) -> Pile {
    Images::list(device).unwrap().iter().map(|path| read_all(device, path, IMAGE_MAX_BYTES).unwrap()).collect()
}

struct Bytes(Vec<u8>);

impl DeviceFile for Bytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buf.len());
        buf[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::PermissionDenied.into())
    }
}

/// What is found in a pile.
pub(super) fn found(pile: &Pile) -> Found {
    let mut catalogue = Catalogue::default();
    let mut mender = Mender::default();
    for (number, bytes) in pile.iter().enumerate() {
        if let Ok(seen) = inspect(bytes.clone(), &mut mender) {
            catalogue.offer(number, seen);
        }
    }
    let images = catalogue.volumes.remove(&UUID).unwrap_or_default();
    let files: BTreeMap<RegionId, Vec<u8>> = images.iter().map(|(id, (number, _))| (*id, pile[*number].clone())).collect();
    let open = move |id: RegionId| -> io::Result<Arc<dyn DeviceFile>> { Ok(Arc::new(Bytes(files[&id].clone()))) };
    let sizes: Vec<_> = images.iter().map(|(id, (_, seen))| (*id, seen.file_bytes)).collect();
    let roots = images.values().filter_map(|(_, seen)| seen.root.clone()).collect();
    let images = images.into_iter().map(|(id, (_, seen))| (id, ImageFacts { kind: seen.identity.kind, condition: seen.condition }));
    Found {
        device: Arc::new(GatheredDevice::new(sizes, Box::new(open))),
        uuid: UUID,
        images: images.collect(),
        roots,
        replayed: None,
        node_bytes: 8 << 20,
        files_max: 1000,
    }
}

/// Rebuilds a volume in memory out of a pile, by the best way there is.
pub(super) fn rebuilt(pile: &Pile) -> (Arc<dyn Device>, Report) {
    rebuilt_by(pile, None).unwrap()
}

pub(super) fn rebuilt_by(pile: &Pile, by: Option<By>) -> Result<(Arc<dyn Device>, Report), RebuildError> {
    let found = found(pile);
    let from = Arc::clone(&found.device);
    let rebuilt = rebuild(found, by, &mut |_, _| {})?;
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new());
    let put = |id: RegionId, bytes: &[u8]| {
        device.create_dir("map")?;
        device.create_dir(&id.place.directory())?;
        device.open(&id.path(), Open::CREATE_NEW)?.write_at(bytes, 0)
    };
    for id in &rebuilt.kept {
        put(*id, &read_all(from.as_ref(), &id.path(), IMAGE_MAX_BYTES).unwrap()).unwrap();
    }
    let report = rebuilt.report.clone();
    rebuilt.seal(&mut |id, bytes| put(id, bytes))?;
    Ok((device, report))
}

/// Findings of a check, informations left out.
pub(super) fn findings(device: &Arc<dyn Device>) -> Vec<String> {
    let report = crate::check::check(device, UUID, &crate::check::CheckOptions::default(), &mut |_| {}).unwrap();
    let told = report.findings.iter().filter(|finding| finding.severity != crate::check::Severity::Info);
    told.map(|finding| format!("{} {}: {}", finding.invariant, finding.place, finding.what)).collect()
}

/// All rows of the name tree.
pub(super) fn names(device: &Arc<dyn Device>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let offline = crate::check::Offline::open(device, UUID, 8 << 20).unwrap();
    let source = offline.nodes.loading(TreeId::Name);
    let tree = &offline.recovered.state.names;
    let rows = tree.range(&source, &[], None).map(|row| row.map(|row| (row.key().to_vec(), row.value().to_vec())).unwrap()).collect();
    let _ = View::new(tree, &source);
    rows
}

fn checkpointed() -> (Builder, Sample) {
    let (mut builder, sample) = sample();
    builder.checkpoint(|_| {});
    (builder, sample)
}

/// All bytes of a file, or `None` where a block cannot be read.
pub(super) fn blocks(device: &Arc<dyn Device>, path: &str) -> Option<Vec<Option<Vec<u8>>>> {
    let offline = crate::check::Offline::open(device, UUID, 8 << 20).unwrap();
    let source = offline.nodes.loading(TreeId::Name);
    let view = View::new(&offline.recovered.state.names, &source);
    let mut inode = crate::row::ROOT_INODE;
    for part in path.split('/') {
        inode = view.entry(inode, part.as_bytes()).unwrap()?.inode;
    }
    let size = view.inode(inode).unwrap().size as usize;
    let (tiers, pool, images) = (Tiers::new(0, 0), BlockPool::new(0), Images::new(Arc::clone(device), 1));
    let reader = FileReader { view, tiers: &tiers, pool: &pool, images: Some(&images), ahead: None, lost: None };
    let block = |at: usize| {
        let mut out = vec![0; (size - at).min(4096)];
        reader.read(inode, at as u64, &[], &mut out).ok().map(|()| out)
    };
    Some((0..size).step_by(4096).map(block).collect())
}

const FILES: [&str; 5] = ["letters/raw", "letters/old/packed", "small", "medium", "also raw"];

#[test]
fn a_pile_of_images_gives_the_volume_back_whole() {
    let (builder, _) = checkpointed();
    let expected = names(&builder.device);
    let mut pile = pile(builder.device.as_ref());
    pile.reverse();
    pile.push(b"no image at all".to_vec());
    pile.push(pile[0].clone());
    let (device, report) = rebuilt(&pile);
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(findings(&device), [""; 0]);
    assert_eq!(names(&device), expected);
}

#[test]
fn without_a_root_nodes_give_names_and_bytes_back() {
    let (mut builder, sample) = checkpointed();
    builder.make(sample.directory, "later", crate::row::FileKind::Regular);
    builder.checkpoint(|_| {});
    let (device, report) = rebuilt_by(&without_roots(&pile(builder.device.as_ref())), None).unwrap();
    assert!(matches!(report.how, How::Nodes { base: None, leaves } if leaves > 0), "{report:?}");
    assert!(!report.is_whole());
    assert_eq!(findings(&device), [""; 0], "{report:?}");
    for file in FILES {
        assert_eq!(blocks(&device, file), blocks(&builder.device, file), "{file}");
    }
    assert!(blocks(&device, "letters/later").is_some());
    assert_eq!(report.lost, []);
}

#[test]
fn without_names_owner_tables_give_bytes_back_under_numbers() {
    let (builder, sample) = checkpointed();
    let (device, report) = rebuilt_by(&pile(builder.device.as_ref()), Some(By::Owners)).unwrap();
    assert_eq!(report.how, How::Owners);
    assert_eq!(findings(&device), [""; 0], "{report:?}");
    for (inode, file) in [(sample.raw, FILES[0]), (sample.packed, FILES[1])] {
        let found = blocks(&device, &format!("lost+found/inode-{inode}")).unwrap();
        for (number, (found, expected)) in found.iter().zip(blocks(&builder.device, file).unwrap()).enumerate() {
            let (found, expected) = (found.as_ref().unwrap(), expected.unwrap());
            assert!(found.starts_with(&expected) || found[..] == expected[..found.len()], "{file} {number}");
        }
    }
}

#[test]
fn what_lies_in_no_image_is_an_error_and_not_zeros() {
    let (mut builder, sample) = checkpointed();
    builder.write(sample.raw, 128 << 10, &crate::check::tests::builder::noise(64 << 10, 9), 9, false);
    let second = builder.seal().unwrap();
    builder.checkpoint(|_| {});
    let expected = blocks(&builder.device, FILES[0]).unwrap();
    for by in [None, Some(By::Nodes), Some(By::Owners)] {
        for gone in [sample.data, second] {
            builder.device.rename(&gone.path(), "aside").unwrap();
            let (device, report) = rebuilt_by(&pile(builder.device.as_ref()), by).unwrap();
            builder.device.rename("aside", &gone.path()).unwrap();
            assert!(!report.is_whole());
            let path = if by == Some(By::Owners) { format!("lost+found/inode-{}", sample.raw) } else { FILES[0].to_string() };
            let Some(found) = blocks(&device, &path) else { panic!("{by:?} {gone} {path}") };
            let lost = &report.lost.iter().find(|file| file.inode == sample.raw.0).map(|file| file.ranges.clone()).unwrap_or_default();
            for (number, found) in found.iter().enumerate() {
                let is_lost = lost.iter().any(|range| range.contains(&(number as u64 * 4096)));
                assert_eq!(found.is_none(), is_lost, "{by:?} {gone} block {number}: {lost:?}");
                let expected = expected.get(number).cloned().flatten();
                // Of a size that is made up, the last block may be cut or filled up.
                let starts_so = |found: &Vec<u8>, expected: &Vec<u8>| found.iter().zip(expected).all(|(a, b)| a == b);
                let is_same = found.as_ref().is_none_or(|found| expected.is_some_and(|expected| starts_so(found, &expected)));
                assert!(is_same, "{by:?} {gone} block {number} is another");
            }
            assert!(by == Some(By::Owners) || found.iter().any(Option::is_none));
            let wrong: Vec<String> = findings(&device).into_iter().filter(|f| !f.starts_with("IMG-3") && !f.starts_with("REG-7")).collect();
            assert_eq!(wrong, [""; 0], "{by:?} {gone}");
        }
    }
}

#[test]
fn a_leaf_that_is_gone_loses_no_file_silently() {
    let mut builder = Builder::new();
    let mut files = Vec::new();
    for number in 0..120u64 {
        let inode = builder.make(crate::row::ROOT_INODE, &format!("file-{number:03}-{}", "x".repeat(100)), crate::row::FileKind::Regular);
        for unit in 0..6 {
            builder.write(inode, unit << 14, &crate::check::tests::builder::noise(16384, number * 10 + unit), unit + 1, false);
        }
        files.push((inode, format!("file-{number:03}-{}", "x".repeat(100))));
        if number % 40 == 39 {
            builder.seal();
        }
    }
    builder.checkpoint(|_| {});
    let root = found(&pile(builder.device.as_ref())).roots.pop().unwrap();
    let (region, nodes) = root.images.first().unwrap().clone();
    let (mut judged, mut by_nodes) = (0, 0);
    for (cluster, clusters) in nodes.iter().step_by(3) {
        // As if those clusters had been lost before the image was written: poison, beyond parity.
        let mut pile = pile(builder.device.as_ref());
        let image = pile.iter_mut().find(|bytes| crate::region::read_identity(bytes).unwrap().region == region).unwrap();
        *image = poisoned(image, cluster.number()..cluster.number() + usize::from(*clusters));
        let (device, report) = rebuilt(&pile);
        by_nodes += usize::from(matches!(report.how, How::Nodes { .. }));
        // Images are copied here as they are found.
        let wrong: Vec<String> = findings(&device).into_iter().filter(|f| !f.starts_with("IMG-") && !f.starts_with("REG-7")).collect();
        assert_eq!(wrong, [""; 0], "{report:?}");
        for (inode, name) in &files {
            let expected = blocks(&builder.device, name).unwrap();
            let found = blocks(&device, name).or_else(|| blocks(&device, &format!("lost+found/inode-{inode}")));
            let Some(found) = found else { panic!("{name} is nowhere: {report:?}") };
            assert!(found.len() == expected.len(), "{name}: {} of {} blocks, {report:?}", found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!(found.is_none() || found == expected, "{name}");
                judged += usize::from(found.is_some());
            }
        }
    }
    assert!(judged > 10_000 && by_nodes > 3, "{judged} {by_nodes}");
}

/// The pile without the roots that images carry.
fn without_roots(pile: &Pile) -> Pile {
    let mut without = pile.clone();
    for bytes in &mut without {
        if crate::recover::root_in_image(bytes).is_some() {
            let copies: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"imRTIMAPROOT")).collect();
            assert_eq!(copies.len(), 2);
            copies.into_iter().for_each(|at| bytes[at + 20] ^= 0xFF);
        }
    }
    without
}

/// The image with these clusters poisoned.
fn poisoned(image: &[u8], clusters: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut bytes = image.to_vec();
    for number in clusters {
        for at in crate::region::layout::cluster_pieces(Cluster::new(number).unwrap()) {
            bytes[at..at + 1024].iter_mut().for_each(|byte| *byte ^= 0x5A);
        }
    }
    // More rows than parity restores, so that nothing is.
    let parity = bytes.windows(4).rposition(|kind| kind == b"imPY").unwrap() + 4;
    for row in 0..32 {
        bytes[parity + row * 4096] ^= 1;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_images_never_panic_and_never_give_other_bytes(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 1usize..3000), 0..30),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..2),
        by in prop_oneof![Just(None), Just(Some(By::Root)), Just(Some(By::Nodes)), Just(Some(By::Owners))],
    ) {
        let (builder, sample) = checkpointed();
        let mut pile = pile(builder.device.as_ref());
        for (image, at, byte, length) in hits {
            let number = image.index(pile.len());
            let bytes = &mut pile[number];
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + length);
            bytes[at..end].fill(byte);
        }
        for (image, at) in cuts {
            let number = image.index(pile.len());
            let length = at.index(pile[number].len());
            pile[number].truncate(length);
        }
        let Ok((device, report)) = rebuilt_by(&pile, by) else { return Ok(()) };
        for (inode, file) in [(sample.raw, FILES[0]), (sample.packed, FILES[1]), (sample.small, FILES[2]), (sample.medium, FILES[3])] {
            let expected = blocks(&builder.device, file).unwrap();
            let found = blocks(&device, file).or_else(|| blocks(&device, &format!("lost+found/inode-{inode}")));
            for (found, expected) in found.iter().flatten().zip(&expected) {
                let is_same = found.as_ref().is_none_or(|found| found.iter().zip(expected.iter().flatten()).all(|(a, b)| a == b));
                prop_assert!(is_same, "{file}: {report:?}");
            }
        }
        let wrong = findings(&device).into_iter().filter(|f| !["IMG-", "REG-7", "PAR-1"].iter().any(|known| f.starts_with(known)));
        prop_assert_eq!(wrong.collect::<Vec<_>>(), [""; 0], "{:?}", report);
    }
}

/// Tables that nobody would write: whatever is done with them, it ends, and what can be had is a sound volume.
#[test]
fn hostile_rows_are_dropped_and_lead_nowhere() {
    use crate::row::{CookieRow, EntryRow, FileKind, Inode, InodeRow, ROOT_INODE};
    let bend = |builder: &mut Builder, sample: &Sample| {
        let entry = |inode: Inode, kind| EntryRow { inode, kind, cookie: 900 }.encode();
        for name in [&b".."[..], b".", b"a/b", b"a\0b", &[b'x'; 300]] {
            builder.bend_name(&Key::Entry(ROOT_INODE, name.to_vec()), &entry(sample.small, FileKind::Regular));
        }
        // A directory below itself, one with two names, and names of what is not there.
        builder.bend_name(&Key::Entry(sample.below, b"up".to_vec()), &entry(sample.directory, FileKind::Directory));
        builder.bend_name(&Key::Entry(sample.below, b"top".to_vec()), &entry(ROOT_INODE, FileKind::Directory));
        builder.bend_name(&Key::Entry(ROOT_INODE, b"ghost".to_vec()), &entry(Inode(u64::MAX), FileKind::Regular));
        builder.bend_name(
            &Key::Cookie(ROOT_INODE, u64::MAX),
            &CookieRow { inode: Inode(77), kind: FileKind::Fifo, name: b"?".to_vec() }.encode(),
        );
        builder.bend_name(
            &Key::Inode(Inode(u64::MAX - 1)),
            &InodeRow { size: u64::MAX, ..InodeRow::new(0o100_644, 0, 0, Time::default()) }.encode(),
        );
        builder.bend_name(&Key::Extent(sample.raw, u64::MAX - 9), b"no extent at all");
        builder.bend_name(&Key::Xattr(sample.raw, b"user.x".to_vec(), 0), &[0xFF; 8]);
    };
    let (mut builder, sample) = sample();
    builder.checkpoint(|builder| bend(builder, &sample));
    let pile = pile(builder.device.as_ref());
    let (_, report) = rebuilt_by(&pile, Some(By::Root)).unwrap();
    assert!(matches!(report.how, How::Root { .. }), "a tree that can be walked is taken as it is: {report:?}");
    let (device, report) = rebuilt_by(&without_roots(&pile), None).unwrap();
    assert!(report.dropped_names > 5 && report.dropped_attributes == 1, "{report:?}");
    let wrong: Vec<String> = findings(&device).into_iter().filter(|f| !f.starts_with("REG-7")).collect();
    assert_eq!(wrong, [""; 0], "{report:?}");
    for file in FILES {
        assert_eq!(blocks(&device, file), blocks(&builder.device, file), "{file}");
    }
}
