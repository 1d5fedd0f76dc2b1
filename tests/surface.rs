//! What programs expect beside names and bytes: attributes, access lists, holes, copies, privileges, access times.
//!
//! Owns: a volume of its own for each test. Must be true: what is claimed holds on a real mount, after a remount too. Fails: a machine
//! without `/dev/fuse`, or without root where two users are needed, skips and says so.

mod common;

use common::{Mount, Volume, has, run};
use rustix::fs::{FallocateFlags, SeekFrom, XattrFlags, copy_file_range, fallocate, seek};
use rustix::fs::{getxattr, getxattr_query, listxattr, removexattr, setxattr};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

const USER: u32 = 1000;
const MIB: u64 = 1 << 20;

fn noise(length: usize) -> Vec<u8> {
    let mut x = 7u64;
    let next = |_| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8 | 1
    };
    (0..length).map(next).collect()
}

fn xattr(path: &Path, name: &str) -> Result<Vec<u8>, Errno> {
    let mut room = vec![0; 65536];
    getxattr(path, name, &mut room[..]).map(|length| room[..length].to_vec())
}

fn names(path: &Path) -> String {
    let mut room = vec![0; 65536];
    let length = listxattr(path, &mut room[..]).expect("a list");
    String::from_utf8_lossy(&room[..length]).replace('\0', " ").trim().into()
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).expect("opened")
}

/// Unmounts, requires a clean volume, and mounts again.
fn again(volume: &Volume, mount: Mount, arguments: &[&str]) -> Mount {
    mount.unmount();
    volume.check();
    volume.mount_with(arguments)
}

#[test]
fn extended_attributes_are_kept_and_refused_as_linux_has_them() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let file = volume.mountpoint().join("file");
    fs::write(&file, "x").unwrap();
    let value = noise(65_536);
    let set = |name: &str, value: &[u8], flags| setxattr(&file, name, value, flags);
    assert_eq!(set("user.large", &value, XattrFlags::empty()), Ok(()));
    assert_eq!(set("user.empty", b"", XattrFlags::CREATE), Ok(()));
    assert_eq!(set("trusted.t", b"for root", XattrFlags::empty()), Ok(()));
    let refusals: [(&str, Result<(), Errno>, Errno); 6] = [
        ("one that is there", set("user.empty", b"", XattrFlags::CREATE), Errno::EXIST),
        ("one that is not", set("user.none", b"", XattrFlags::REPLACE), Errno::NODATA),
        ("one of no kind", set("kind.none", b"", XattrFlags::empty()), Errno::OPNOTSUPP),
        ("one that is too large", set("user.huge", &noise(65_537), XattrFlags::empty()), Errno::TOOBIG),
        ("to read none", xattr(&file, "user.none").map(drop), Errno::NODATA),
        ("to remove none", removexattr(&file, "user.none"), Errno::NODATA),
    ];
    for (what, answer, errno) in refusals {
        assert_eq!(answer, Err(errno), "{what}");
    }
    let mut small = [0; 100];
    assert_eq!(getxattr(&file, "user.large", &mut small[..]), Err(Errno::RANGE), "no room for it");
    assert_eq!(getxattr_query(&file, "user.large"), Ok(65_536), "its size");
    assert_eq!(removexattr(&file, "trusted.t"), Ok(()));
    let _mount = again(&volume, mount, &[]);
    assert_eq!(names(&file), "user.empty user.large");
    assert_eq!((xattr(&file, "user.large"), xattr(&file, "user.empty")), (Ok(value), Ok(Vec::new())));
}

/// An access list as Linux keeps it: entries of tag, permissions, id.
fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let entry =
        |&(tag, permissions, id): &(u16, u16, u32)| [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat();
    [2u32.to_le_bytes().to_vec(), entries.iter().flat_map(entry).collect()].concat()
}

const NOBODY: u32 = u32::MAX;

#[test]
fn access_lists_keep_step_with_permission_bits_and_are_inherited() {
    const ACCESS: &str = "system.posix_acl_access";
    const DEFAULT: &str = "system.posix_acl_default";
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let at = |name: &str| volume.mountpoint().join(name);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    fs::write(at("file"), "x").unwrap();
    fs::create_dir(at("dir")).unwrap();
    let whole = |mask| list(&[(1, 6, NOBODY), (2, 7, USER), (4, 4, NOBODY), (0x10, mask, NOBODY), (0x20, 0, NOBODY)]);
    setxattr(at("file"), ACCESS, &whole(7), XattrFlags::empty()).unwrap();
    assert_eq!(mode(&at("file")), 0o670, "the mask is the group's bits");
    fs::set_permissions(at("file"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(xattr(&at("file"), ACCESS), Ok(whole(4)), "and the group's bits are the mask");
    setxattr(at("dir"), DEFAULT, &whole(7), XattrFlags::empty()).unwrap();
    run(Command::new("sh").args(["-c", "umask 077; touch new; mkdir sub"]).current_dir(at("dir")));
    assert_eq!(mode(&at("dir/new")), 0o660, "the list says what is given, not the umask");
    assert_eq!(xattr(&at("dir/sub"), DEFAULT), Ok(whole(7)));
    let plain = list(&[(1, 6, NOBODY), (4, 0, NOBODY), (0x20, 4, NOBODY)]);
    setxattr(at("file"), ACCESS, &plain, XattrFlags::empty()).unwrap();
    assert_eq!((mode(&at("file")), names(&at("file")).as_str()), (0o604, ""), "bits alone say it");
    assert_eq!(setxattr(at("file"), ACCESS, &plain[..12], XattrFlags::empty()), Err(Errno::INVAL));
    let _mount = again(&volume, mount, &[]);
    assert_eq!(
        (mode(&at("dir/new")), xattr(&at("dir/new"), ACCESS)),
        (0o660, Ok(list(&[(1, 6, NOBODY), (2, 7, USER), (4, 4, NOBODY), (0x10, 6, NOBODY), (0x20, 0, NOBODY),])))
    );
    fs::remove_dir_all(at("dir")).unwrap();
}

#[test]
fn somebody_whom_a_list_lets_in_gets_in_and_nobody_else() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: two users are needed, and only root has them");
        return;
    }
    let Some(volume) = Volume::if_mountable() else { return };
    let _mount = volume.mount_with(&["-o", "allow_other"]);
    let file = volume.mountpoint().join("file");
    fs::write(&file, "secret").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(volume.path().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let reads = |user| Command::new("cat").arg(&file).uid(user).gid(user).output().unwrap().status.success();
    assert!(!reads(USER) && !reads(USER + 1));
    let whole = list(&[(1, 6, NOBODY), (2, 4, USER), (4, 0, NOBODY), (0x10, 4, NOBODY), (0x20, 0, NOBODY)]);
    setxattr(&file, "system.posix_acl_access", &whole, XattrFlags::empty()).unwrap();
    assert!(reads(USER) && !reads(USER + 1));
}

/// Seen to fail: until it is told otherwise, the kernel takes the root directory for root's, and it asks only who looks.
#[test]
fn the_owner_of_the_root_directory_may_change_it_before_anybody_has_looked_at_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: two users are needed, and only root has them");
        return;
    }
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount_with(&["-o", "allow_other"]);
    fs::set_permissions(volume.path().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(mount.dir(), Some(USER), Some(USER)).unwrap();
    let mount = again(&volume, mount, &["-o", "allow_other"]);
    // It sets the times, and looks at nothing before.
    run(Command::new("touch").args(["-c", "-d", "2001-02-03"]).arg(mount.dir()).uid(USER).gid(USER));
    mount.unmount();
}

#[test]
fn holes_are_made_found_and_kept() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let path = volume.mountpoint().join("file");
    let file = open(&path);
    let mut expected = noise(2 * MIB as usize);
    file.write_all_at(&expected, 0).unwrap();
    // Neither end is that of a block.
    let punched = 5_000..700_000;
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, punched.start, punched.end - punched.start).unwrap();
    expected[5_000..700_000].fill(0);
    fallocate(&file, FallocateFlags::ZERO_RANGE, 2 * MIB - 100, 8_292).unwrap();
    expected[2 * MIB as usize - 100..].fill(0);
    expected.resize(2 * MIB as usize + 8_192, 0);
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 64 * MIB).unwrap();
    for refused in [FallocateFlags::COLLAPSE_RANGE, FallocateFlags::INSERT_RANGE] {
        assert_eq!(fallocate(&file, refused, 0, 4096), Err(Errno::OPNOTSUPP));
    }
    let look = |file: &File| {
        let hole = seek(file, SeekFrom::Hole(0)).unwrap();
        assert_eq!((hole, seek(file, SeekFrom::Data(hole)).unwrap()), (8_192, 696_320), "whole blocks");
        assert_eq!(seek(file, SeekFrom::Data(2 * MIB + 4_096)), Err(Errno::NXIO));
        assert_eq!(seek(file, SeekFrom::Hole(3 * MIB)), Err(Errno::NXIO));
        assert!(fs::read(&path).unwrap() == expected);
    };
    look(&file);
    drop(file);
    let blocks = fs::metadata(&path).unwrap().blocks();
    assert!(blocks * 512 < 2 * MIB - 600_000, "{blocks} blocks");
    let _mount = again(&volume, mount, &[]);
    look(&open(&path));
}

/// Seen to fail: the kernel asks us where data is without writing back what it holds.
#[test]
fn what_only_the_kernel_holds_is_data_and_sparse_copies_are_whole() {
    let Some(volume) = Volume::if_mountable() else { return };
    let _mount = volume.mount();
    let file = open(&volume.mountpoint().join("sparse"));
    file.set_len(64 * MIB).unwrap();
    for n in [3, 40] {
        file.write_all_at(&noise(4_096), n * MIB).unwrap();
        assert_eq!(seek(&file, SeekFrom::Data((n - 1) * MIB)), Ok(n * MIB));
        assert_eq!(seek(&file, SeekFrom::Hole(n * MIB)), Ok(n * MIB + 4_096));
    }
    let copy = volume.mountpoint().join("copy");
    run(Command::new("cp").arg("--sparse=auto").arg(volume.mountpoint().join("sparse")).arg(&copy));
    assert!(fs::read(&copy).unwrap() == fs::read(volume.mountpoint().join("sparse")).unwrap());
}

#[test]
fn a_range_is_copied_inside_of_the_daemon() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let at = |name: &str| volume.mountpoint().join(name);
    let content = noise(40 * MIB as usize + 123);
    fs::write(at("from"), &content).unwrap();
    let (from, to) = (open(&at("from")), open(&at("to")));
    let (mut read, mut written) = (1_001, 77);
    while copy_file_range(&from, Some(&mut read), &to, Some(&mut written), 1 << 30).unwrap() > 0 {}
    assert_eq!((read, written), (content.len() as u64, content.len() as u64 - 1_001 + 77));
    drop((from, to));
    let _mount = again(&volume, mount, &[]);
    let copied = fs::read(at("to")).unwrap();
    assert!(copied[..77].iter().all(|byte| *byte == 0) && copied[77..] == content[1_001..]);
}

#[test]
fn whatever_changes_a_program_takes_its_privileges() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: two users are needed, and only root has them");
        return;
    }
    let Some(volume) = Volume::if_mountable() else { return };
    let mut mount = volume.mount_with(&["-o", "allow_other,suid"]);
    fs::set_permissions(volume.path().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(volume.mountpoint(), fs::Permissions::from_mode(0o777)).unwrap();
    let program: PathBuf = volume.mountpoint().join("program");
    let changes = [
        "dd if=/dev/zero of=program bs=1 count=1 conv=notrunc status=none",
        "dd if=/dev/zero of=program bs=4096 count=1 oflag=direct conv=notrunc status=none",
        "truncate -s 7 program",
        "fallocate -l 100000 program",
        ": > program",
    ];
    for change in changes {
        fs::write(&program, noise(10_000)).unwrap();
        chown(&program, Some(USER), Some(USER)).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
        assert_eq!(fs::metadata(&program).unwrap().mode() & 0o7777, 0o6755);
        run(Command::new("sh").args(["-c", change]).current_dir(volume.mountpoint()).uid(USER).gid(USER));
        assert_eq!(fs::metadata(&program).unwrap().mode() & 0o7777, 0o755, "{change}");
        fs::remove_file(&program).unwrap();
    }
    let shared = volume.mountpoint().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o2775)).unwrap();
    run(Command::new("chgrp").arg("7").arg(&shared));
    assert_eq!(fs::metadata(&shared).unwrap().mode() & 0o7777, 0o2775, "a directory stays shared with its group");
    if !has("setcap", "capabilities of files") {
        return;
    }
    for change in ["echo >> program", "truncate -s 7 program", "chown 7 program"] {
        fs::write(&program, noise(10_000)).unwrap();
        run(Command::new("setcap").arg("cap_net_raw+ep").arg(&program));
        assert_eq!(names(&program), "security.capability");
        run(Command::new("sh").args(["-c", change]).current_dir(volume.mountpoint()));
        assert_eq!(names(&program), "", "{change}");
    }
    fs::write(volume.mountpoint().join("other"), noise(10_000)).unwrap();
    for options in ["allow_other,suid", "allow_other,suid,strictatime"] {
        mount = again(&volume, mount, &["-o", options]);
        // The second is known as a file without capabilities when it gets them.
        for change in ["dd if=other of=program bs=1 count=1 conv=notrunc status=none", "dd if=other of=program conv=notrunc status=none"] {
            fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).unwrap();
            run(Command::new("setcap").arg("cap_net_raw+ep").arg(&program));
            run(Command::new("sh").args(["-c", change]).current_dir(volume.mountpoint()).uid(USER).gid(USER));
            assert_eq!(names(&program), "", "{options}: {change}");
        }
    }
    mount.unmount();
}

/// A write that takes privileges away keeps its pages locked until it is answered, and a search for holes has the kernel drop these pages.
#[test]
fn writes_that_take_privileges_and_searches_for_holes_do_not_wait_for_each_other() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: two users are needed, and only root has them");
        return;
    }
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount_with(&["-o", "allow_other,suid"]);
    fs::set_permissions(volume.path().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = mount.path("program");
    fs::write(&program, noise(MIB as usize)).unwrap();
    chown(&program, Some(USER), Some(USER)).unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let file = open(&program);
                while !ended.load(Ordering::Acquire) {
                    assert_eq!(seek(&file, SeekFrom::Hole(0)), Ok(MIB));
                }
            });
        }
        for round in 0..60 {
            fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
            let mut write = Command::new("dd");
            write.args(["if=/dev/zero", "of=program", "bs=256K", "count=4", "conv=notrunc", "status=none"]);
            let mut writing = write.current_dir(mount.dir()).uid(USER).gid(USER).spawn().unwrap();
            common::until(&format!("write {round}"), || writing.try_wait().unwrap().is_some());
            assert_eq!(fs::metadata(&program).unwrap().mode() & 0o7777, 0o755);
        }
        ended.store(true, Ordering::Release);
    });
    mount.unmount();
}

#[test]
fn readings_are_noted_as_the_mount_says() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let (file, old) = (volume.mountpoint().join("file"), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    fs::write(&file, noise(100_000)).unwrap();
    let mut mount = Some(mount);
    for (policy, first, second) in [("noatime", false, false), ("relatime", true, false), ("strictatime", true, true)] {
        mount = mount.take().map(|mount| again(&volume, mount, &["-o", policy]));
        open(&file).set_times(fs::FileTimes::new().set_accessed(old).set_modified(old)).unwrap();
        let read = || {
            let before = fs::metadata(&file).unwrap().accessed().unwrap();
            fs::read(&file).unwrap();
            fs::metadata(&file).unwrap().accessed().unwrap() > before
        };
        assert_eq!((read(), read()), (first, second), "{policy}");
    }
    let mount = again(&volume, mount.take().unwrap(), &[]);
    let accessed = fs::metadata(&file).unwrap().accessed().unwrap();
    assert!(accessed.elapsed().unwrap() < Duration::from_secs(600), "it is kept");
    mount.unmount();
}

#[test]
fn a_file_that_is_open_to_write_is_not_taken_for_one_of_holes() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let blocks = |path: &Path| fs::metadata(path).unwrap().blocks();
    fs::write(mount.path("old"), "").unwrap();
    assert_eq!(blocks(&mount.path("old")), 0);
    for name in ["new", "old"] {
        let (path, content) = (mount.path(name), noise(MIB as usize));
        let file = open(&path);
        // What was asked before it was opened is taken back from the kernel, which nobody waits for.
        let known_by = Instant::now() + Duration::from_secs(10);
        while blocks(&path) == 0 {
            assert!(Instant::now() < known_by, "{name}: what the kernel holds is not known");
        }
        file.write_all_at(&content, 0).unwrap();
        assert!(blocks(&path) > 0, "{name}");
        let archive = Command::new("tar").args(["-cSf", "-", name]).current_dir(mount.dir()).output().unwrap().stdout;
        assert!(archive.windows(4096).any(|window| window == &content[..4096]), "{name}: its content is not in a sparse archive");
        file.sync_all().unwrap();
        drop(file);
        assert_eq!(blocks(&path), 2048, "{name}");
    }
    mount.unmount();
}

#[test]
fn a_write_past_the_kernels_pages_is_seen_in_the_times_at_once() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let mount = again(&volume, mount, &["-o", "strictatime"]);
    let (path, old) = (mount.path("file"), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    fs::write(&path, "x").unwrap();
    let file = open(&path);
    file.set_times(fs::FileTimes::new().set_accessed(old).set_modified(old)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), old);
    file.write_all_at(b"y", 0).unwrap();
    assert!(fs::metadata(&path).unwrap().modified().unwrap() > old);
    fs::rename(&path, mount.path("renamed")).unwrap();
    drop(file);
    let mount = again(&volume, mount, &[]);
    assert!(fs::metadata(mount.path("renamed")).unwrap().modified().unwrap() > old, "and kept");
    mount.unmount();
}

#[test]
fn whoever_made_a_file_is_noted_reading_it_too() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let mount = again(&volume, mount, &["-o", "strictatime"]);
    let path = mount.path("file");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
    file.write_all_at(&noise(10_000), 0).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for reading in 0..2 {
        file.set_times(fs::FileTimes::new().set_accessed(old)).unwrap();
        file.read_exact_at(&mut [0; 10_000], 0).unwrap();
        assert!(file.metadata().unwrap().accessed().unwrap() > old, "reading {reading}");
    }
    drop(file);
    mount.unmount();
}

#[test]
fn bits_that_a_mount_does_not_show_let_nobody_in_by_a_list_either() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: two users are needed, and only root has them");
        return;
    }
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount_with(&["-o", "allow_other"]);
    fs::set_permissions(volume.path().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(mount.path("file"), "secret").unwrap();
    let lets_in = list(&[(1, 6, NOBODY), (2, 6, 5), (4, 4, NOBODY), (0x10, 6, NOBODY), (0x20, 4, NOBODY)]);
    setxattr(mount.path("file"), "system.posix_acl_access", &lets_in, XattrFlags::empty()).unwrap();
    fs::set_permissions(mount.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let can_read = |mount: &Mount| {
        let mut cat = Command::new("cat");
        cat.arg(mount.path("file")).uid(USER).gid(USER).output().unwrap().status.success()
    };
    assert!(can_read(&mount));
    let mount = again(&volume, mount, &["-o", "allow_other,umask=006"]);
    assert!(!can_read(&mount), "shown as 0660");
    mount.unmount();
}

#[test]
fn a_mount_shows_the_owners_and_bits_that_it_is_told() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    let file = volume.mountpoint().join("file");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mount = again(&volume, mount, &["-o", "uid=1234,gid=77,umask=037"]);
    let shown = |file: &Path| fs::metadata(file).map(|found| (found.uid(), found.gid(), found.mode() & 0o7777)).unwrap();
    assert_eq!(shown(&file), (1234, 77, 0o640));
    let _mount = again(&volume, mount, &[]);
    assert_eq!(shown(&file).2, 0o644, "nothing is stored");
}

#[test]
fn mount_8_finds_the_program_by_its_names_and_changes_a_mount_that_is_there() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may remount");
        return;
    }
    let Some(volume) = Volume::if_mountable() else { return };
    let (helpers, mountpoint) = (volume.beside("sbin"), volume.mountpoint());
    fs::create_dir(&helpers).unwrap();
    let install = || common::infmap().arg("install-helpers").arg("--into").arg(&helpers).output().unwrap();
    assert!(install().status.success() && install().status.success(), "also over its own links");
    let helper = |name: &str, options: &str| {
        let mut command = Command::new(helpers.join(name));
        command.arg(volume.path()).arg(&mountpoint).args(["-o", options]).output().unwrap()
    };
    let mounted = helper("mount.infmap", "rw,nofail,_netdev,x-systemd.automount,noatime");
    assert!(mounted.status.success(), "{mounted:?}");
    let writes = || fs::write(mountpoint.join("file"), "x").map_err(|error| error.raw_os_error().unwrap());
    assert_eq!(writes(), Ok(()));
    // As mount(8) calls it: with what is so already.
    let changes = [("rw,nosuid,nodev,relatime,user_id=0,remount,ro", Err(Errno::ROFS.raw_os_error())), ("ro,nosuid,remount,rw", Ok(()))];
    for (options, expected) in changes {
        let changed = helper("mount.fuse.infmap", options);
        assert!(changed.status.success(), "{changed:?}");
        assert_eq!(writes(), expected, "{options}");
    }
    let refused = helper("mount.infmap", "remount,memory.budget=1GiB");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    run(Command::new(helpers.join("umount.infmap")).arg(&mountpoint));
    assert!(helper("mount.infmap", "ro").status.success());
    assert_eq!(helper("mount.infmap", "remount,rw").status.code(), Some(32), "what was opened read-only stays so");
    run(Command::new(helpers.join("umount.infmap")).arg(&mountpoint));
    // The last of the names, so that what stands before it shows whether anything was done.
    let (theirs, first) = (helpers.join("mkfs.infmap"), helpers.join("mount.infmap"));
    let put: [fn(&Path); 2] = [|path| fs::write(path, "").unwrap(), |path| std::os::unix::fs::symlink("/bin/true", path).unwrap()];
    for put in put {
        fs::remove_file(&theirs).unwrap();
        put(&theirs);
        for remove in [false, true] {
            let mut command = common::infmap();
            command.arg("install-helpers").arg("--into").arg(&helpers).args(remove.then_some("--remove"));
            assert!(!command.output().unwrap().status.success(), "what somebody else put there is left alone");
            assert!(theirs.symlink_metadata().is_ok() && first.symlink_metadata().is_ok(), "and nothing is done by halves");
        }
    }
}
