//! Bytes that are lost for good: exactly they give EIO, they are listed with the names of their files, and all else goes on.
//!
//! Must be true: what reading refuses, what `infmap damage ls` lists and what `infmap check` lists are the same blocks, by every name of
//! each file; a test that damaged nothing fails. Needs root and /dev/fuse; where those are missing each test says so and ends.

mod common;
#[path = "damage/sample.rs"]
mod sample;

use common::{Mount, Numbers, infmap};
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use sample::{BLOCK, Blocks, Sample};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Damages the largest images beyond parity; returns what is lost by the word of `check`. There is something of every kind.
fn break_for_good(sample: &Sample, seed: u64) -> Blocks {
    let mut numbers = Numbers(seed);
    for image in sample.images().iter().take(2) {
        sample.damage(image, 60, &mut numbers);
    }
    let lost = sample.checked();
    for kind in ["raw", "deep/text", "deep/link"] {
        assert!(lost.iter().any(|(path, _)| path.starts_with(kind)), "nothing is lost of {kind}");
    }
    lost
}

#[test]
fn exactly_the_lost_blocks_give_eio_and_are_listed_by_every_name() {
    let Some(sample) = Sample::if_mountable(1) else { return };
    let lost = break_for_good(&sample, 2);
    let mut mount = sample.volume.mount();
    assert!(sample.listed(mount.dir()).is_empty(), "nobody has met it yet");
    assert_eq!(sample.refused(&mount), lost);
    assert_eq!(sample.listed(mount.dir()), lost);
    assert_eq!(sample.listed(&sample.volume.path()), lost, "by the volume's own path");
    mount.terminate();
    assert!(mount.join().success());
    assert_eq!(sample.listed(&sample.volume.path()), lost, "from the file");
    let mount = sample.volume.mount();
    assert_eq!(sample.listed(mount.dir()), lost, "the next mount knows it before anything is read");
    assert_eq!(sample.refused(&mount), lost);
    mount.unmount();
    assert_eq!(sample.checked(), lost);
}

/// The kernel reads ahead, and a request that meets lost bytes fails as a whole: it must ask again for each page.
#[test]
fn a_large_read_loses_no_more_than_a_small_one_however_it_is_made() {
    let Some(sample) = Sample::if_mountable(3) else { return };
    let lost = break_for_good(&sample, 4);
    for (flags, size) in [(OFlags::empty(), 1 << 20), (OFlags::DIRECT, BLOCK), (OFlags::empty(), 60_000)] {
        let mount = sample.volume.mount();
        assert_eq!(refused_by_stream(&sample, &mount, flags, size), lost, "{flags:?} {size}");
        assert_eq!(sample.listed(mount.dir()), lost);
        mount.unmount();
    }
    let mount = sample.volume.mount();
    for (name, content) in &sample.files {
        let copy = sample.volume.beside("copy");
        let of = |key: &str, path: &Path| format!("{key}={}", path.display());
        let arguments = [of("if", &mount.path(name)), of("of", &copy), "bs=4096".into(), "conv=noerror,sync".into()];
        Command::new("dd").args(arguments).stderr(Stdio::null()).status().expect("dd starts");
        let copied = fs::read(&copy).expect("read");
        for (number, block) in content.chunks(BLOCK).enumerate() {
            let copied = &copied[number * BLOCK..][..block.len()];
            let is_lost = lost.contains(&(name.clone(), number));
            assert!(if is_lost { copied.iter().all(|byte| *byte == 0) } else { copied == block }, "{name}: block {number}");
        }
        assert_eq!(mapped(&mount.path(name), content), lost.iter().filter(|(path, _)| path == name).map(|(_, number)| *number).collect());
    }
    mount.unmount();
}

/// Reads every file from its beginning on, in pieces of this size, and goes on a block behind each error.
fn refused_by_stream(sample: &Sample, mount: &Mount, flags: OFlags, size: usize) -> Blocks {
    let mut refused = Blocks::new();
    let mut buffer = vec![0; size + BLOCK];
    // As direct reads must have it.
    let start = buffer.as_ptr().align_offset(BLOCK);
    for (name, content) in &sample.files {
        let file = rustix::fs::open(mount.path(name), OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty()).expect("opened");
        let mut at = 0;
        while at < content.len() {
            match rustix::io::pread(&file, &mut buffer[start..][..size], at as u64) {
                Ok(0) => panic!("{name} ends at {at}"),
                Ok(read) => {
                    assert!(buffer[start..][..read] == content[at..][..read], "{name} from {at} on");
                    at += read;
                }
                Err(Errno::IO) => {
                    refused.insert((name.clone(), at / BLOCK));
                    at = (at + 1).next_multiple_of(BLOCK);
                }
                Err(error) => panic!("{name} at {at}: {error}"),
            }
        }
    }
    refused
}

/// Reads a mapped file a page at a time; returns the pages that cannot be had: what would be SIGBUS is EFAULT of a write from there.
fn mapped(path: &Path, content: &[u8]) -> BTreeSet<usize> {
    let file = File::open(path).expect("opened");
    let sink = rustix::fs::memfd_create("sink", rustix::fs::MemfdFlags::empty()).expect("made");
    let length = content.len().next_multiple_of(BLOCK);
    // SAFETY: a new mapping of a file that nobody makes shorter, which is only given to the kernel, and is taken away below.
    let start = unsafe { mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, &file, 0) }.expect("mapped");
    let mut refused = BTreeSet::new();
    for (number, block) in content.chunks(BLOCK).enumerate() {
        // SAFETY: within the mapping; that a page of it cannot be had is for the kernel to find out.
        let page = unsafe { std::slice::from_raw_parts(start.cast::<u8>().add(number * BLOCK), block.len()) };
        match rustix::io::pwrite(&sink, page, 0) {
            Ok(written) => {
                let mut read = vec![0; block.len()];
                rustix::io::pread(&sink, &mut read[..], 0).expect("read");
                assert!(written == block.len() && read == block, "block {number}");
            }
            Err(Errno::FAULT) => drop(refused.insert(number)),
            Err(error) => panic!("block {number}: {error}"),
        }
    }
    // SAFETY: the mapping of above, of which nothing is used any more.
    unsafe { munmap(start, length) }.expect("unmapped");
    refused
}

/// Of one file by that name: the number of a lost block that is followed by a whole one.
fn lost_block(sample: &Sample, lost: &Blocks, name: &str) -> u64 {
    let last = sample.files[name].len() / BLOCK;
    let found = lost.iter().find(|(path, number)| path == name && *number < last).unwrap_or_else(|| panic!("nothing is lost of {name}"));
    found.1 as u64
}

/// The names of files of which something is lost, of those that begin so.
fn lost_names(lost: &Blocks, begin: &str) -> Vec<String> {
    let names: BTreeSet<&String> = lost.iter().map(|(path, _)| path).filter(|path| path.starts_with(begin)).collect();
    names.into_iter().cloned().collect()
}

#[test]
fn a_lost_block_is_well_again_when_it_is_written_as_a_whole_and_a_part_of_it_is_refused() {
    for options in ["rw", "nowriteback"] {
        let Some(mut sample) = Sample::if_mountable(5) else { return };
        let mut lost = break_for_good(&sample, 6);
        let mount = sample.volume.mount_with(&["-o", options]);
        assert_eq!(sample.refused(&mount), lost);
        let forget = |lost: &mut Blocks, names: &[&str], number: u64| {
            lost.retain(|(path, n)| !(names.contains(&path.as_str()) && *n as u64 == number))
        };
        for (number, name) in lost_names(&lost, "raw").iter().take(4).enumerate() {
            let link = name.replace("raw", "deep/link");
            let file = File::options().read(true).write(true).open(mount.path(name)).expect("opened");
            let block = lost_block(&sample, &lost, name);
            let at = block * BLOCK as u64;
            let error = file.write_all_at(&[1; 100], at + 50).expect_err("a part of a lost block");
            assert_eq!(error.raw_os_error(), Some(5), "{name}: {error}");
            file.sync_all().expect("nothing was written");
            assert_eq!(file.read_exact_at(&mut [0; 10], at).expect_err("still lost").raw_os_error(), Some(5));
            let new = match number % 2 {
                0 => {
                    file.write_all_at(&[7; BLOCK], at).expect("a whole block");
                    7
                }
                _ => {
                    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                    fallocate(&file, punch, at, BLOCK as u64).expect("punched");
                    0
                }
            };
            file.sync_all().expect("durable");
            for path in [name, &link] {
                let content = sample.files.get_mut(path).expect("there");
                content[at as usize..][..BLOCK].fill(new);
            }
            forget(&mut lost, &[name, &link], block);
        }
        assert_eq!(sample.refused(&mount), lost, "{options}");
        assert_eq!(sample.listed(mount.dir()), lost, "{options}");
        mount.kill();
        let mut mount = sample.volume.mount();
        assert_eq!(sample.refused(&mount), lost, "{options}: what was synced survives");
        assert_eq!(sample.listed(mount.dir()), lost);
        mount.terminate();
        assert!(mount.join().success());
        assert_eq!(sample.checked(), lost, "{options}");
    }
}

#[test]
fn what_is_lost_can_be_cut_replaced_and_removed_with_everything_around_it() {
    let Some(mut sample) = Sample::if_mountable(7) else { return };
    let mut lost = break_for_good(&sample, 8);
    let mount = sample.volume.mount();
    assert_eq!(sample.refused(&mount), lost);
    let raw = lost_names(&lost, "raw");
    let [cut, short, replaced, removed] = [0, 1, 2, 3].map(|n| raw[n].clone());
    let link = |name: &str| name.replace("raw", "deep/link");
    File::create(mount.path(&cut)).expect("cut to nothing").sync_all().expect("durable");
    let first = lost.iter().filter(|(path, _)| *path == short).map(|(_, number)| *number).min().expect("one") * BLOCK;
    let file = File::options().write(true).open(mount.path(&short)).expect("opened");
    file.set_len(first as u64 + 10).expect("cut within the lost block");
    file.set_len(first as u64).expect("cut before it");
    file.sync_all().expect("durable");
    drop(file);
    fs::rename(mount.path("sparse"), mount.path(&replaced)).expect("renamed over");
    fs::remove_file(mount.path(&removed)).expect("removed");
    fs::remove_file(mount.path(&link(&removed))).expect("removed, the other name too");
    for (name, length) in [(&cut, 0), (&short, first)] {
        for path in [name.clone(), link(name)] {
            sample.files.get_mut(&path).expect("there").truncate(length);
        }
    }
    let sparse = sample.files.remove("sparse").expect("there");
    let is_lost_of_sparse: Vec<usize> = lost.iter().filter(|(path, _)| path == "sparse").map(|(_, number)| *number).collect();
    sample.files.insert(replaced.clone(), sparse);
    [removed.clone(), link(&removed)].iter().for_each(|path| drop(sample.files.remove(path)));
    let gone = [cut.clone(), link(&cut), short.clone(), link(&short), replaced.clone(), removed.clone(), link(&removed), "sparse".into()];
    lost.retain(|(path, _)| !gone.contains(path));
    lost.extend(is_lost_of_sparse.into_iter().map(|number| (replaced.clone(), number)));
    assert_eq!(sample.refused(&mount), lost);
    assert_eq!(sample.listed(mount.dir()), lost);
    // A directory full of it.
    fs::remove_dir_all(mount.path("deep")).expect("removed");
    sample.files.retain(|path, _| !path.starts_with("deep/"));
    lost.retain(|(path, _)| !path.starts_with("deep/"));
    assert_eq!(sample.refused(&mount), lost);
    assert_eq!(sample.listed(mount.dir()), lost);
    assert!(!lost.is_empty());
    mount.unmount();
    assert_eq!(sample.checked(), lost);
}

#[test]
fn cleaning_gives_no_lost_byte_a_checksum() {
    let Some(mut sample) = Sample::if_mountable(9) else { return };
    let mut lost = break_for_good(&sample, 10);
    let mount = sample.volume.mount();
    for n in [1, 3, 5, 7, 9] {
        for name in [format!("raw{n}"), format!("deep/link{n}"), format!("deep/text{n}")] {
            fs::remove_file(mount.path(&name)).expect("removed");
            sample.files.remove(&name);
            lost.retain(|(path, _)| *path != name);
        }
    }
    mount.unmount();
    let before = sample.volume.images();
    let (code, json) = sample.run(&["--no-progress", "clean"], &sample.volume.path());
    assert!(code == 0 && json["cleaned"]["written"].as_u64() > Some(0) && json["cleaned"]["damaged"].as_u64() > Some(0), "{json}");
    assert!(sample.volume.images() != before && !lost.is_empty());
    assert_eq!(sample.checked(), lost);
    let mount = sample.volume.mount();
    assert_eq!(sample.refused(&mount), lost);
    assert_eq!(sample.listed(mount.dir()), lost);
    // An image that cannot be emptied is tried once.
    let clean = || sample.run(&["--no-progress", "clean"], mount.dir()).1["cleaned"].clone();
    let (first, again) = (clean(), clean());
    assert!(first["damaged"].as_u64() > Some(0), "{first}");
    assert_eq!((again["damaged"].as_u64(), again["written"].as_u64()), (Some(0), Some(0)), "{again}");
    mount.unmount();
}

#[test]
fn lost_bytes_read_as_zeros_where_that_was_asked_for_and_nothing_can_be_written() {
    let Some(mut sample) = Sample::if_mountable(11) else { return };
    let lost = break_for_good(&sample, 12);
    let mount = sample.volume.mount_with(&["-o", "damaged=zero"]);
    for (name, number) in &lost {
        let content = sample.files.get_mut(name).expect("there");
        let end = content.len().min((number + 1) * BLOCK);
        content[number * BLOCK..end].fill(0);
    }
    for (name, content) in &sample.files {
        assert!(fs::read(mount.path(name)).expect("read") == *content, "{name}");
    }
    assert!(sample.refused(&mount).is_empty());
    assert_eq!(sample.listed(mount.dir()), lost);
    let error = File::options().write(true).open(mount.path("raw0")).expect_err("nothing is written");
    assert_eq!(error.raw_os_error(), Some(30), "{error}");
    let status = infmap().arg("status").arg(mount.dir()).output().expect("it starts");
    let shown = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(shown.contains("; lost bytes read as zeros") && shown.contains("listed as lost by `infmap damage ls`"), "{shown}");
    let said = mount.said();
    let times = lost.iter().filter(|(path, _)| path.starts_with("raw")).count();
    // Of messages from one place no more are written in a minute.
    assert!(said.matches(" are lost: ").count() >= times.min(20), "{said}");
    assert!(said.lines().filter(|line| line.contains(" are lost: ")).collect::<BTreeSet<_>>().len() == said.matches(" are lost: ").count());
    mount.unmount();
    assert_eq!(sample.listed(&sample.volume.path()), lost, "kept by a mount that changes nothing else");
    assert_eq!(sample.checked(), lost);
    let refused = infmap().args(["mount", "-o", "rw,damaged=zero"]).arg(sample.volume.path()).arg(sample.volume.mountpoint()).output();
    let refused = refused.expect("it starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(2) && said.starts_with("error[IM1003]") && said.contains("help: write ro,damaged=zero"),
        "{said}"
    );
}

#[test]
fn what_is_listed_is_shown_with_its_place_and_can_be_forgotten_until_it_is_met_again() {
    let Some(sample) = Sample::if_mountable(13) else { return };
    let lost = break_for_good(&sample, 14);
    let mount = sample.volume.mount();
    assert_eq!(sample.refused(&mount), lost);
    let call = |arguments: &[&str]| {
        let output = infmap().arg("damage").args(arguments).output().expect("it starts");
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code().expect("no signal"), out, err)
    };
    let dir = mount.dir().to_str().expect("UTF-8");
    let name = lost_names(&lost, "raw").remove(0);
    let of_name = |blocks: &Blocks| blocks.iter().filter(|(path, _)| *path == name).count();
    let (code, shown, said) = call(&["ls", dir]);
    assert!(code == 3 && said.starts_with("error[IM1027]"), "{said}");
    let lines: Vec<&str> = shown.lines().filter(|line| line.contains(&format!("/{name}"))).collect();
    assert!(lines.len() == 1 && lines[0].starts_with(&format!("/{}, /{name}: bytes ", name.replace("raw", "deep/link"))), "{shown}");
    let (code, shown, _) = call(&["show", dir, &name]);
    assert_eq!((code, shown.matches("\n  bytes ").count()), (3, of_name(&lost)), "{shown}");
    assert!(
        shown.contains(" of map/") && shown.contains("was expected, checksum ") && shown.contains("noticed by a read on 20"),
        "{shown}"
    );
    assert_eq!(call(&["show", dir, "/nothing/here"]), (0, "Nothing of /nothing/here is listed as lost.\n".into(), String::new()));
    let (code, shown, _) = call(&["clear", dir, "/nothing/here"]);
    assert!(code == 0 && shown.starts_with("Forgot 0 "), "{shown}");
    let (code, shown, _) = call(&["clear", dir, &format!("/{name}")]);
    assert!(code == 0 && shown.contains("comes back when it is met again"), "{shown}");
    let listed = sample.listed(mount.dir());
    assert!(of_name(&listed) == 0 && !listed.is_empty());
    assert_eq!(call(&["clear", dir, "--all"]).0, 0);
    assert_eq!(call(&["ls", dir]), (0, "Nothing is listed as lost.\n".into(), String::new()));
    assert_eq!(sample.refused(&mount), lost);
    assert_eq!(sample.listed(mount.dir()), lost, "it was met again");
    mount.unmount();
    // A list that was cut, and one of another version: the mount goes on, and what it reads is noted anew.
    let (file, volume) = (sample.volume.path().join("run/damage.json"), sample.volume.path());
    let sound = fs::read(&file).expect("read");
    fs::write(&file, &sound[..sound.len() / 2]).expect("cut");
    let (code, _, said) = call(&["ls", volume.to_str().expect("UTF-8")]);
    assert!(code == 1 && said.starts_with("error[IM1028]"), "{said}");
    let mount = sample.volume.mount();
    assert!(mount.said().contains("cannot be used") && sample.listed(mount.dir()).is_empty());
    assert_eq!(sample.refused(&mount), lost);
    mount.unmount();
    assert_eq!(sample.listed(&volume), lost);
    assert_eq!(call(&["clear", "--all", volume.to_str().expect("UTF-8")]).0, 0);
    assert!(sample.listed(&volume).is_empty());
}
