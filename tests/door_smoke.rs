//! A real mount: what programs see through the kernel and the door.
//!
//! Owns: a mount in a temporary directory for each test. Must be true: it is taken away however the test ends. Fails: a machine
//! without `/dev/fuse` skips, and says so.

use infmap::fuse::{MountSettings, Mounted, OpenMode, SessionError, Unmount, Unmounter};
use infmap::mount::mountinfo;
use infmap_actors::Volume;
use infmap_actors::api::{Answer, Attributes};
use infmap_actors::replier::Replier;
use infmap_actors::settings::Settings;
use rustix::mount::MountFlags;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A mount that is detached when the test is over, by panic too.
struct Mount {
    mounted: Option<Mounted>,
    unmounter: Unmounter,
    volume: Arc<Volume>,
    directory: tempfile::TempDir,
}

impl Mount {
    fn new(settings: &MountSettings) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            eprintln!("skipped: there is no /dev/fuse");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let volume = Arc::new(Volume::in_memory(Settings::default()).unwrap());
        let mounted = match Mounted::start(volume.clone(), directory.path(), settings) {
            Ok(mounted) => mounted,
            Err(error) if error.to_string().contains("ermi") => {
                eprintln!("skipped: {error}");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let unmounter = mounted.unmounter();
        Some(Self { mounted: Some(mounted), unmounter, volume, directory })
    }

    fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.directory.path().join(name.as_ref())
    }

    /// FORGETs come in the kernel's own time, but between other requests.
    fn wait_for_forgets(&self) {
        let rounds = (0..10_000).take_while(|_| self.volume.held() != 0 && rustix::fs::statvfs(self.directory.path()).is_ok()).count();
        assert_eq!(self.volume.held(), 0, "after {rounds} rounds");
    }

    /// Unmounts, and sees that nothing is left.
    fn end(mut self) {
        let mounted = self.mounted.take().unwrap();
        // What another test starts has our files for a moment, between its fork and its exec.
        let busy = |_: &u32| matches!(mounted.unmount(Unmount::IfIdle), Err(SessionError::Busy(_)));
        let rounds = (0..10_000).take_while(busy).count();
        mounted.unmount(Unmount::IfIdle).unwrap_or_else(|error| panic!("{error} after {rounds} rounds"));
        mounted.join().unwrap();
        assert_eq!(mountinfo::find(self.directory.path()).unwrap(), None);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.unmounter.unmount(Unmount::Lazy);
    }
}

fn errno(result: std::io::Result<impl Sized>) -> rustix::io::Errno {
    rustix::io::Errno::from_raw_os_error(result.err().expect("it must be refused").raw_os_error().unwrap())
}

/// Settings of every kind of mount that behaves differently at the door.
fn kinds() -> [MountSettings; 3] {
    let plain = MountSettings::default();
    [
        plain.clone(),
        MountSettings { writeback_cache: false, sync: true, threads: 2, ..plain.clone() },
        MountSettings { open: OpenMode::Kernel, attribute_lifetime: Duration::ZERO, entry_lifetime: Duration::ZERO, ..plain },
    ]
}

#[test]
fn programs_find_a_filesystem() {
    for settings in kinds() {
        let Some(mount) = Mount::new(&settings) else { return };
        bytes_and_sizes(&mount);
        names(&mount);
        attributes(&mount);
        listings(&mount);
        refusals(&mount);
        mount.end();
    }
}

fn bytes_and_sizes(mount: &Mount) {
    let path = mount.path("data");
    let bytes: Vec<u8> = (0..3_000_001u32).map(|i| ((i * 31) >> 3) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 3_000_001, "blocks are counted once the file is closed");
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    file.set_len(10).unwrap();
    file.seek(SeekFrom::Start(20)).unwrap();
    file.write_all(b"behind a hole").unwrap();
    file.sync_all().unwrap();
    file.rewind().unwrap();
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert_eq!(read, [&bytes[..10], &[0; 10], b"behind a hole"].concat());
    let mut appending = fs::OpenOptions::new().append(true).open(&path).unwrap();
    appending.write_all(b"!").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 34);
    fs::remove_file(&path).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 34, "an open file without a name lives on");
}

fn names(mount: &Mount) {
    let odd = mount.path(OsStr::from_bytes(b"not \xff utf-8\n"));
    fs::write(&odd, "x").unwrap();
    let (other, link) = (mount.path("other"), mount.path("link"));
    fs::hard_link(&odd, &other).unwrap();
    assert_eq!(fs::metadata(&odd).unwrap().nlink(), 2);
    symlink(OsStr::from_bytes(b"to \xfe"), &link).unwrap();
    assert_eq!(fs::read_link(&link).unwrap().as_os_str().as_bytes(), b"to \xfe");
    let rename = |flags| rustix::fs::renameat_with(rustix::fs::CWD, &odd, rustix::fs::CWD, &link, flags);
    assert_eq!(rename(rustix::fs::RenameFlags::NOREPLACE), Err(rustix::io::Errno::EXIST));
    assert_eq!(rename(rustix::fs::RenameFlags::WHITEOUT), Err(rustix::io::Errno::INVAL));
    rename(rustix::fs::RenameFlags::EXCHANGE).unwrap();
    assert!(fs::symlink_metadata(&odd).unwrap().is_symlink());
    fs::rename(&link, &odd).unwrap();
    assert_eq!(fs::read(&odd).unwrap(), b"x");
    fs::create_dir(mount.path("made")).unwrap();
    assert!(fs::metadata(mount.path("made")).unwrap().is_dir());
    assert!(Command::new("mkfifo").arg(mount.path("fifo")).status().unwrap().success());
    assert!(fs::metadata(mount.path("fifo")).unwrap().file_type().is_fifo());
    for name in [odd, other, mount.path("fifo")] {
        fs::remove_file(name).unwrap();
    }
    fs::remove_dir(mount.path("made")).unwrap();
}

fn attributes(mount: &Mount) {
    let path = mount.path("attributes");
    let file = fs::File::create(&path).unwrap();
    for (before, nanos) in [(2_147_483_648u64, 1), (2, 800_000_000), (1, 0), (1, 999_999_999)] {
        let time = UNIX_EPOCH - Duration::from_secs(before) + Duration::from_nanos(nanos);
        file.set_modified(time).unwrap();
        assert_eq!(file.metadata().unwrap().modified().unwrap(), time);
    }
    // The lowest time that a caller can say: its negation overflows.
    let lowest = rustix::fs::Timespec { tv_sec: i64::MIN, tv_nsec: 1 };
    let times = rustix::fs::Timestamps { last_access: lowest, last_modification: lowest };
    rustix::fs::futimens(&file, &times).unwrap();
    assert_eq!((file.metadata().unwrap().mtime(), file.metadata().unwrap().mtime_nsec()), (i64::MIN, 0));
    let far = UNIX_EPOCH + Duration::new(15_032_385_535, 999_999_999);
    file.set_times(fs::FileTimes::new().set_accessed(far).set_modified(SystemTime::now())).unwrap();
    assert_eq!(file.metadata().unwrap().accessed().unwrap(), far);
    drop(file);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(&path, Some(1), Some(2)).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (1, 2, 0o755), "an owner's change takes the privileges away");
    }
    fs::remove_file(&path).unwrap();
    let space = rustix::fs::statvfs(mount.directory.path()).unwrap();
    assert_eq!((space.f_blocks > 0, space.f_bsize, space.f_namemax), (true, 4096, 255));
}

fn listings(mount: &Mount) {
    let dir = mount.path("listed");
    fs::create_dir(&dir).unwrap();
    let long = "n".repeat(200);
    let expected: BTreeSet<String> = (0..1500).map(|i| format!("{i}-{}", &long[..i % 200])).collect();
    for name in &expected {
        fs::write(dir.join(name), "").unwrap();
    }
    let list = || fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(list().count(), expected.len(), "no name twice");
    assert_eq!(list().collect::<BTreeSet<_>>(), expected);
    for entry in fs::read_dir(&dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::remove_dir(&dir).expect("removing while listing leaves none out");
}

fn refusals(mount: &Mount) {
    use rustix::io::Errno;
    fs::create_dir_all(mount.path("full/inner")).unwrap();
    assert_eq!(errno(fs::read(mount.path("absent"))), Errno::NOENT);
    assert_eq!(errno(fs::remove_dir(mount.path("full"))), Errno::NOTEMPTY);
    assert_eq!(errno(fs::create_dir(mount.path("full"))), Errno::EXIST);
    assert_eq!(errno(fs::write(mount.path("n".repeat(256)), "")), Errno::NAMETOOLONG);
    // Who only asks for one hears the same, which is how programs find out.
    for (length, expected) in [(255, Errno::NOENT), (256, Errno::NAMETOOLONG), (1000, Errno::NAMETOOLONG)] {
        assert_eq!(errno(fs::metadata(mount.path("n".repeat(length)))), expected, "{length}");
        assert_eq!(errno(fs::remove_file(mount.path("n".repeat(length)))), expected, "{length}");
    }
    let mut value = [0u8; 16];
    assert_eq!(rustix::fs::getxattr(mount.path("full"), "user.x", &mut value[..]), Err(Errno::NODATA));
    fs::remove_dir_all(mount.path("full")).unwrap();
}

#[test]
fn a_users_write_or_truncation_takes_privileges_away_and_roots_truncation_does_not() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: it takes root to become a user");
        return;
    }
    for settings in kinds() {
        let Some(mount) = Mount::new(&MountSettings { allow_other: true, ..settings }) else { return };
        let path = mount.path("tool");
        let mode_after = |uid: u32, how: &str| {
            fs::write(&path, "#!/bin/sh").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).unwrap();
            assert!(Command::new("sh").args(["-c", how, "sh"]).arg(&path).current_dir("/").uid(uid).gid(uid).status().unwrap().success());
            fs::metadata(&path).unwrap().mode() & 0o7777
        };
        for how in ["echo x >> \"$1\"", "echo x 1<> \"$1\"", "truncate -s 3 \"$1\""] {
            assert_eq!(mode_after(1000, how), 0o777, "{how} by a user");
        }
        assert_eq!(mode_after(0, "truncate -s 3 \"$1\""), 0o6777);
        let umask = format!("umask 027; mkdir '{0}/d' && : > '{0}/f'", mount.directory.path().display());
        assert!(Command::new("sh").args(["-c", &umask]).status().unwrap().success());
        assert_eq!(fs::metadata(mount.path("d")).unwrap().mode() & 0o7777, 0o750);
        assert_eq!(fs::metadata(mount.path("f")).unwrap().mode() & 0o7777, 0o640);
        mount.end();
    }
}

/// Needs the model's count of holds.
#[test]
fn the_kernel_forgets_exactly_as_often_as_it_was_given() {
    let Some(mount) = Mount::new(&MountSettings::default()) else { return };
    for i in 0..200 {
        fs::write(mount.path(format!("f{i}")), "x").unwrap();
    }
    fs::hard_link(mount.path("f0"), mount.path("again")).unwrap();
    for _ in 0..3 {
        for entry in fs::read_dir(mount.directory.path()).unwrap() {
            entry.unwrap().metadata().unwrap();
        }
        assert!(mount.volume.held() >= 200, "every inode was given at least once");
        // A remount drops what the kernel remembers of this mount alone. Takes root.
        if rustix::mount::mount_remount(mount.directory.path(), MountFlags::NOSUID | MountFlags::NODEV, c"").is_ok() {
            mount.wait_for_forgets();
        }
    }
    for entry in fs::read_dir(mount.directory.path()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    mount.wait_for_forgets();
    mount.end();
}

#[test]
fn times_that_the_kernel_flushes_by_itself_arrive_for_any_user() {
    let Some(mount) = Mount::new(&MountSettings::default()) else { return };
    let mut file = fs::File::create(mount.path("open")).unwrap();
    let inode = infmap_storage::row::Inode(file.metadata().unwrap().ino());
    let asked = || {
        let (sender, receiver) = std::sync::mpsc::channel();
        mount.volume.attributes(inode, Replier::from_fn(move |answer: Answer<Attributes>| sender.send(answer.unwrap().modified).unwrap()));
        let modified = receiver.recv().unwrap();
        UNIX_EPOCH + Duration::new(modified.seconds as u64, modified.nanos)
    };
    let created = asked();
    // The kernel's clock for times ticks every few milliseconds.
    while file.metadata().unwrap().modified().unwrap() <= created + Duration::from_millis(50) {
        file.write_all(b"x").unwrap();
    }
    rustix::fs::syncfs(&file).unwrap();
    assert_eq!(asked(), file.metadata().unwrap().modified().unwrap());
    drop(file);
    mount.end();
}

#[test]
fn a_busy_mount_is_refused_and_a_lazy_one_ends_with_its_last_user() {
    let Some(mut mount) = Mount::new(&MountSettings { source: "/a map".into(), ..MountSettings::default() }) else { return };
    let entry = mountinfo::find(mount.directory.path()).unwrap().unwrap();
    assert_eq!((entry.is_ours(), entry.source.as_bytes()), (true, &b"/a map"[..]));
    let file = fs::File::create(mount.path("open")).unwrap();
    let mounted = mount.mounted.take().unwrap();
    let error = mounted.unmount(Unmount::IfIdle).unwrap_err();
    assert!(matches!(error, SessionError::Busy(_)), "{error}");
    assert!(mount.unmounter.is_mounted().unwrap());
    mount.unmounter.unmount(Unmount::Lazy).unwrap();
    assert!(!mount.unmounter.is_mounted().unwrap());
    mount.unmounter.unmount(Unmount::IfIdle).expect("what is gone need not be unmounted");
    (&file).write_all(b"still served").unwrap();
    file.sync_all().unwrap();
    drop(file);
    mounted.join().unwrap();
}

#[test]
fn a_dropped_session_leaves_no_mount_behind_even_in_use() {
    let Some(mut mount) = Mount::new(&MountSettings::default()) else { return };
    let _open = fs::File::create(mount.path("open")).unwrap();
    drop(mount.mounted.take());
    assert_eq!(mountinfo::find(mount.directory.path()).unwrap(), None);
}

#[test]
fn a_name_that_could_be_an_option_is_refused_before_anything_is_mounted() {
    let directory = tempfile::tempdir().unwrap();
    let settings = MountSettings { source: "a,suid".into(), ..MountSettings::default() };
    let volume = Volume::in_memory(Settings::default()).unwrap();
    assert!(matches!(Mounted::start(Arc::new(volume), directory.path(), &settings), Err(SessionError::Source(_))));
    assert_eq!(mountinfo::find(directory.path()).unwrap(), None);
}
