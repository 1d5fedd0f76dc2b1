//! The contract of a device, run over all three of them.

use super::*;
use crate::buffer::AlignedBuf;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// Runs a body on a fresh device of each kind; the third argument is the directory behind it, if there is one.
fn on_every_device(body: impl Fn(&dyn Device, &str, Option<&Path>)) {
    let directory = tempfile::tempdir().unwrap();
    body(&FileDevice::new(directory.path()).unwrap(), "file", Some(directory.path()));
    body(&MemoryDevice::new(), "memory", None);
    body(&SimulatedDisk::new(1), "simulated", None);
}

fn kind_of<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn names(device: &dyn Device, path: &str) -> Vec<String> {
    device.list(path).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn a_path_never_leaves_the_volume() {
    let long = "x".repeat(256);
    on_every_device(|device, kind, _| {
        for path in ["..", "a/../b", "/etc", "a//b", "a/", ".", "a/./b", "a\0b", "../a", &long] {
            let open = kind_of(device.open(path, Open::CREATE));
            let others =
                [device.create_dir(path), device.remove(path), device.sync_dir(path), device.rename(path, "b"), device.rename("b", path)];
            assert_eq!(open, Some(ErrorKind::InvalidInput), "{kind}: {path:?}");
            assert!(others.into_iter().all(|done| kind_of(done) == Some(ErrorKind::InvalidInput)), "{kind}: {path:?}");
            assert_eq!(kind_of(device.list(path)), Some(ErrorKind::InvalidInput), "{kind}: {path:?}");
            assert_eq!(kind_of(device.metadata(path)), Some(ErrorKind::InvalidInput), "{kind}: {path:?}");
        }
        for path in ["", "/"] {
            assert_eq!(kind_of(device.open(path, Open::CREATE)), Some(ErrorKind::InvalidInput), "{kind}");
        }
        assert!(device.list("").unwrap().is_empty(), "{kind}");
    });
}

#[test]
fn failures_have_the_same_kinds_everywhere() {
    on_every_device(|device, kind, _| {
        device.create_dir("d").unwrap();
        device.create_dir("d").unwrap();
        device.create_dir("").unwrap();
        device.create_dir("full").unwrap();
        device.open("f", Open::CREATE_NEW).unwrap();
        device.open("full/f", Open::CREATE).unwrap();
        let cases = [
            (kind_of(device.open("none", Open::READ)), ErrorKind::NotFound),
            (kind_of(device.open("none", Open::WRITE)), ErrorKind::NotFound),
            (kind_of(device.open("none/f", Open::CREATE)), ErrorKind::NotFound),
            (kind_of(device.open("f/f", Open::CREATE)), ErrorKind::NotADirectory),
            (kind_of(device.open("f", Open::CREATE_NEW)), ErrorKind::AlreadyExists),
            (kind_of(device.open("d", Open::READ)), ErrorKind::IsADirectory),
            (kind_of(device.open("d", Open::CREATE)), ErrorKind::IsADirectory),
            (kind_of(device.create_dir("f")), ErrorKind::AlreadyExists),
            (kind_of(device.create_dir("none/d")), ErrorKind::NotFound),
            (kind_of(device.list("f")), ErrorKind::NotADirectory),
            (kind_of(device.list("none")), ErrorKind::NotFound),
            (kind_of(device.sync_dir("none")), ErrorKind::NotFound),
            (kind_of(device.remove("none")), ErrorKind::NotFound),
            (kind_of(device.remove("full")), ErrorKind::DirectoryNotEmpty),
            (kind_of(device.rename("none", "x")), ErrorKind::NotFound),
            (kind_of(device.rename("f", "none/x")), ErrorKind::NotFound),
            (kind_of(device.rename("f", "d")), ErrorKind::IsADirectory),
            (kind_of(device.rename("d", "f")), ErrorKind::NotADirectory),
            (kind_of(device.rename("d", "full")), ErrorKind::DirectoryNotEmpty),
            (kind_of(device.rename("d", "d/x")), ErrorKind::InvalidInput),
        ];
        for (number, (found, wanted)) in cases.into_iter().enumerate() {
            assert_eq!(found, Some(wanted), "{kind}: case {number}");
        }
        assert_eq!(device.metadata("f/none").unwrap(), None, "{kind}");
        assert!(device.open("f", Open::READ).unwrap().write_at(b"x", 0).is_err(), "{kind}: written through a handle to read");
        assert!(device.open("f", Open::WRITE).unwrap().write_at(b"x", u64::MAX).is_err(), "{kind}");
        assert_eq!(device.open("f", Open::READ).unwrap().read_at(&mut [0; 8], u64::MAX).unwrap(), 0, "{kind}");
    });
}

#[test]
fn a_file_keeps_its_bytes_under_another_name_and_after_removal() {
    on_every_device(|device, kind, _| {
        device.create_dir("d").unwrap();
        let file = device.open("a", Open::CREATE).unwrap();
        file.write_at(b"hello", 3).unwrap();
        device.rename("a", "d/b").unwrap();
        file.write_at(b"y", 7).unwrap();
        assert_eq!(read_all(device, "d/b", 8).unwrap(), b"\0\0\0helly", "{kind}");
        assert_eq!(kind_of(read_all(device, "d/b", 7)), Some(ErrorKind::InvalidData), "{kind}");
        device.remove("d/b").unwrap();
        assert!(names(device, "d").is_empty(), "{kind}");
        let mut bytes = [0; 5];
        read_exact_at(&*file, &mut bytes, 3).unwrap();
        assert_eq!(&bytes, b"helly", "{kind}");
        assert_eq!(kind_of(read_exact_at(&*file, &mut bytes, 4)), Some(ErrorKind::UnexpectedEof), "{kind}");
    });
}

#[test]
fn a_directory_moves_with_all_in_it() {
    on_every_device(|device, kind, _| {
        for path in ["a", "a/b", "z"] {
            device.create_dir(path).unwrap();
        }
        write_whole(device, "a/b/f", b"1").unwrap();
        device.rename("a", "z").unwrap();
        assert_eq!(read_all(device, "z/b/f", 9).unwrap(), b"1", "{kind}");
        assert_eq!(names(device, ""), ["z"], "{kind}");
        assert_eq!(device.list("z").unwrap(), [DirEntry { name: "b".into(), kind: Kind::Directory, size_bytes: 0 }], "{kind}");
    });
}

#[test]
fn allocated_space_is_zero_and_counts_in_the_length() {
    on_every_device(|device, kind, _| {
        let file = device.open("f", Open::CREATE.direct()).unwrap();
        file.write_at(b"abc", 0).unwrap();
        file.allocate(10_000).unwrap();
        file.allocate(5_000).unwrap();
        file.allocate(0).unwrap();
        assert_eq!(file.len().unwrap(), 10_000, "{kind}");
        let mut bytes = vec![1; 10_001];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 10_000, "{kind}");
        assert!(bytes.starts_with(b"abc\0") && bytes[3..10_000].iter().all(|&byte| byte == 0), "{kind}");
        let space = device.space().unwrap();
        assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes, "{kind}");
    });
}

#[test]
fn direct_handles_take_any_alignment() {
    on_every_device(|device, kind, _| {
        let file = device.open("f", Open::CREATE.direct()).unwrap();
        let mut aligned = AlignedBuf::zeroed(16_384);
        aligned.fill(5);
        file.write_at(&aligned, 0).unwrap();
        file.write_at(&[6; 100], 4_000).unwrap();
        file.write_at(&aligned[..8_192], 16_384).unwrap();
        file.write_at(&[7; 10], 24_576).unwrap();
        let mut back = AlignedBuf::zeroed(32_768);
        assert_eq!(file.read_at(&mut back, 0).unwrap(), 24_586, "{kind}");
        assert_eq!((back[3_999], back[4_000], back[4_099], back[4_100], back[24_575], back[24_585]), (5, 6, 6, 5, 5, 7), "{kind}");
        let mut odd = [0; 7];
        assert_eq!(file.read_at(&mut odd, 24_575).unwrap(), 7, "{kind}");
        assert_eq!(odd, [5, 7, 7, 7, 7, 7, 7], "{kind}");
        file.sync().unwrap();
    });
}

#[test]
fn threads_may_mix_aligned_and_unaligned_access() {
    on_every_device(|device, kind, _| {
        let file = device.open("f", Open::CREATE.direct()).unwrap();
        file.set_len(8 << 16).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let file = &file;
                scope.spawn(move || {
                    let base = u64::from(thread) << 16;
                    let mut buf = AlignedBuf::zeroed(4096);
                    for round in 0..20u8 {
                        let (len, at) = if (round + thread) % 2 == 0 { (4096, base) } else { (1000, base + 4500) };
                        buf.fill(round + 1);
                        file.write_at(&buf[..len], at).unwrap();
                        buf.fill(0);
                        file.read_at(&mut buf[..len], at).unwrap();
                        assert!(buf[..len].iter().all(|&byte| byte == round + 1), "{kind}");
                    }
                });
            }
        });
    });
}

#[test]
fn a_whole_write_replaces_and_leaves_nothing_behind() {
    on_every_device(|device, kind, _| {
        device.open("v.yaml.new", Open::CREATE).unwrap().write_at(&[9; 100], 0).unwrap();
        write_whole(device, "v.yaml", b"one").unwrap();
        write_whole(device, "v.yaml", b"two2").unwrap();
        assert_eq!(read_all(device, "v.yaml", 100).unwrap(), b"two2", "{kind}");
        assert_eq!(names(device, ""), ["v.yaml"], "{kind}");
    });
}

#[test]
fn host_files_are_private_and_strangers_are_not_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("volume");
    std::fs::create_dir(&root).unwrap();
    let device = FileDevice::new(&root).unwrap();
    device.create_dir("d").unwrap();
    device.open("d/f", Open::CREATE).unwrap();
    std::fs::write(outer.path().join("secret"), b"x").unwrap();
    symlink(outer.path().join("secret"), root.join("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let mode = |path: &str| std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("d"), mode("d/f")), (0o700, 0o600));
    assert!(device.open("link", Open::READ).is_err());
    assert_eq!(kind_of(device.open("pipe", Open::READ)), Some(ErrorKind::InvalidInput));
    assert_eq!(device.metadata("link").unwrap().unwrap().kind, Kind::Other);
    // The volume is known by its descriptor, not by its path.
    std::fs::rename(&root, outer.path().join("elsewhere")).unwrap();
    write_whole(&device, "d/f", b"after").unwrap();
    assert_eq!(std::fs::read(outer.path().join("elsewhere/d/f")).unwrap(), b"after");
}

const PATHS: [&str; 8] = ["a", "b", "d", "d/a", "d/b", "e", "e/a", "e/d"];

#[derive(Clone, Debug)]
enum Step {
    Open { slot: usize, path: usize, how: Open },
    CreateDir(usize),
    Rename(usize, usize),
    Remove(usize),
    SyncDir(usize),
    Write { slot: usize, offset: u64, len: usize, byte: u8 },
    SetLen { slot: usize, len: u64 },
    Allocate { slot: usize, len: u64 },
    Sync(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (path, slot) = (0..PATHS.len(), 0..3usize);
    // Offsets fall on and around pages and sectors, or anywhere.
    let offset = prop_oneof![0..70_000u64, (0..18u64).prop_map(|page| page * 4096)];
    let len = prop_oneof![0..40_000usize, (0..10usize).prop_map(|pages| pages * 4096)];
    let access = prop_oneof![3 => Just(Access::Create), 1 => Just(Access::CreateNew), 1 => Just(Access::Write)];
    let how = (access, any::<bool>()).prop_map(|(access, direct)| Open { access, direct });
    prop_oneof![
        4 => (slot.clone(), path.clone(), how).prop_map(|(slot, path, how)| Step::Open { slot, path, how }),
        2 => path.clone().prop_map(Step::CreateDir),
        3 => (path.clone(), path.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => path.clone().prop_map(Step::Remove),
        1 => path.prop_map(Step::SyncDir),
        6 => (slot.clone(), offset.clone(), len, 0..4u8).prop_map(|(slot, offset, len, byte)| Step::Write { slot, offset, len, byte }),
        2 => (slot.clone(), offset.clone()).prop_map(|(slot, len)| Step::SetLen { slot, len }),
        1 => (slot.clone(), offset).prop_map(|(slot, len)| Step::Allocate { slot, len }),
        1 => slot.prop_map(Step::Sync),
    ]
}

/// What a device should hold: names of directories (`None`) and of files (an index).
#[derive(Default)]
struct Model {
    names: BTreeMap<String, Option<usize>>,
    files: Vec<Vec<u8>>,
    slots: [Option<usize>; 3],
}

impl Model {
    fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.names.get(path) == Some(&None)
    }

    fn below(&self, path: &str) -> Vec<String> {
        self.names.keys().filter(|name| is_below(name, path)).cloned().collect()
    }

    fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(&node) = self.names.get(from) else { return false };
        let fits = match self.names.get(to) {
            None => true,
            Some(target) => target.is_some() == node.is_some() && self.below(to).is_empty(),
        };
        if from == to {
            return true;
        }
        if !fits || is_below(to, from) || !self.is_dir(split_path(to).0) {
            return false;
        }
        for old in self.below(from) {
            let moved = self.names.remove(&old).unwrap();
            self.names.insert(format!("{to}{}", &old[from.len()..]), moved);
        }
        self.names.remove(from);
        self.names.insert(to.to_owned(), node);
        true
    }

    fn open(&mut self, path: &str, access: Access) -> Option<usize> {
        match (self.names.get(path), access) {
            (Some(_), Access::CreateNew) | (Some(None), _) | (None, Access::Read | Access::Write) => None,
            (Some(&Some(file)), _) => Some(file),
            (None, _) if !self.is_dir(split_path(path).0) => None,
            (None, _) => {
                self.files.push(Vec::new());
                self.names.insert(path.to_owned(), Some(self.files.len() - 1));
                Some(self.files.len() - 1)
            }
        }
    }
}

/// One step on the model and the device, which must agree on whether it works.
fn take(step: &Step, model: &mut Model, device: &dyn Device, handles: &mut [Option<Arc<dyn DeviceFile>>; 3]) {
    match *step {
        Step::Open { slot, path, how } => {
            let (opened, found) = (device.open(PATHS[path], how), model.open(PATHS[path], how.access));
            assert_eq!(opened.is_ok(), found.is_some(), "{step:?} {:?}", opened.err());
            if let Ok(handle) = opened {
                (handles[slot], model.slots[slot]) = (Some(handle), found);
            }
        }
        Step::CreateDir(path) => {
            let works = model.is_dir(PATHS[path]) || !model.names.contains_key(PATHS[path]) && model.is_dir(split_path(PATHS[path]).0);
            assert_eq!(device.create_dir(PATHS[path]).is_ok(), works, "{step:?}");
            works.then(|| model.names.insert(PATHS[path].to_owned(), None));
        }
        Step::Rename(from, to) => {
            assert_eq!(device.rename(PATHS[from], PATHS[to]).is_ok(), model.rename(PATHS[from], PATHS[to]), "{step:?}")
        }
        Step::Remove(path) => {
            let works = model.names.contains_key(PATHS[path]) && model.below(PATHS[path]).is_empty();
            assert_eq!(device.remove(PATHS[path]).is_ok(), works, "{step:?}");
            works.then(|| model.names.remove(PATHS[path]));
        }
        Step::SyncDir(path) => assert_eq!(device.sync_dir(PATHS[path]).is_ok(), model.is_dir(PATHS[path]), "{step:?}"),
        Step::Write { slot, .. } | Step::SetLen { slot, .. } | Step::Allocate { slot, .. } | Step::Sync(slot) => {
            let (Some(handle), Some(file)) = (&handles[slot], model.slots[slot]) else { return };
            change(step, &mut model.files[file], &**handle);
        }
    }
}

fn change(step: &Step, bytes: &mut Vec<u8>, handle: &dyn DeviceFile) {
    match *step {
        Step::Write { offset, len, byte, .. } => {
            let mut data = AlignedBuf::zeroed(len);
            data.fill(byte);
            handle.write_at(&data[..len], offset).unwrap();
            let (start, end) = (offset as usize, offset as usize + len);
            if len > 0 {
                bytes.resize(bytes.len().max(end), 0);
                bytes[start..end].fill(byte);
            }
        }
        Step::SetLen { len, .. } => {
            handle.set_len(len).unwrap();
            bytes.resize(len as usize, 0);
        }
        Step::Allocate { len, .. } => {
            handle.allocate(len).unwrap();
            bytes.resize(bytes.len().max(len as usize), 0);
        }
        _ => handle.sync().unwrap(),
    }
}

fn assert_same(model: &Model, device: &dyn Device, handles: &[Option<Arc<dyn DeviceFile>>; 3]) {
    let directories = std::iter::once("").chain(model.names.iter().filter(|(_, node)| node.is_none()).map(|(name, _)| name.as_str()));
    for directory in directories {
        let wanted: Vec<DirEntry> = model
            .names
            .iter()
            .filter(|(name, _)| split_path(name).0 == directory)
            .map(|(name, node)| DirEntry {
                name: split_path(name).1.to_owned(),
                kind: if node.is_some() { Kind::File } else { Kind::Directory },
                size_bytes: node.map_or(0, |file| model.files[file].len() as u64),
            })
            .collect();
        assert_eq!(device.list(directory).unwrap(), wanted, "in {directory:?}");
    }
    for (name, file) in model.names.iter().filter_map(|(name, node)| node.map(|file| (name, file))) {
        assert!(read_all(device, name, 1 << 20).unwrap() == model.files[file], "bytes of {name}");
    }
    for (handle, file) in handles.iter().zip(model.slots) {
        let (Some(handle), Some(file)) = (handle, file) else { continue };
        let wanted = &model.files[file];
        let mut bytes = AlignedBuf::zeroed(wanted.len());
        assert_eq!(handle.read_at(&mut bytes, 0).unwrap(), wanted.len());
        assert!(bytes[..wanted.len()] == wanted[..] && handle.len().unwrap() == wanted.len() as u64, "bytes through a handle");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_leaves_what_a_plain_model_holds(steps in proptest::collection::vec(step(), 1..60)) {
        on_every_device(|device, _, _| {
            let (mut model, mut handles) = (Model::default(), [None, None, None]);
            for step in &steps {
                take(step, &mut model, device, &mut handles);
            }
            assert_same(&model, device, &handles);
        });
    }

    /// Everything kept, by a crash or by a kill, is everything seen before.
    #[test]
    fn a_kept_crash_and_a_kill_change_nothing(steps in proptest::collection::vec(step(), 1..60)) {
        let disk = SimulatedDisk::new(1);
        let (mut model, mut handles) = (Model::default(), [None, None, None]);
        for step in &steps {
            take(step, &mut model, &disk, &mut handles);
        }
        assert_same(&model, &disk.snapshot(), &[None, None, None]);
        assert_same(&model, &disk.kill(), &[None, None, None]);
        assert_same(&model, &disk.crash(CrashStyle::KeepAll), &[None, None, None]);
    }
}
