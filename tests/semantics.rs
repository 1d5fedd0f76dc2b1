//! `docs/semantics.md` says what is so: its errors and its examples, on a real mount.
//!
//! Owns: one body for each error of the document. Must be true: the document has exactly these, and each gives its errno. Fails: a machine
//! without `/dev/fuse` skips and says so.

mod common;

use common::{Volume, has};
use rustix::fs::{self as sys, AtFlags, CWD, FallocateFlags, Mode, OFlags, RenameFlags, SeekFrom, XattrFlags};
use rustix::io::Errno;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

type Body = fn(&Path) -> Result<(), Errno>;

fn open(path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd, Errno> {
    sys::open(path.as_ref(), flags, Mode::from_raw_mode(0o644))
}

fn file(dir: &Path) -> OwnedFd {
    open(dir.join("file"), OFlags::RDWR).unwrap()
}

fn rename(dir: &Path, from: &str, to: &str, flags: RenameFlags) -> Result<(), Errno> {
    sys::renameat_with(CWD, dir.join(from), CWD, dir.join(to), flags)
}

fn set(dir: &Path, name: &str, value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
    sys::setxattr(dir.join("file"), name, value, flags)
}

/// Fills the list of names of a file of its own until one more is refused.
fn set_too_many(dir: &Path) -> Result<(), Errno> {
    let path = dir.join("many");
    fs::write(&path, "").unwrap();
    (0..1000).try_for_each(|n| sys::setxattr(&path, format!("user.{n:0200}"), b"", XattrFlags::empty()))
}

fn clone(dir: &Path) -> Result<(), Errno> {
    let to = open(dir.join("clone"), OFlags::RDWR | OFlags::CREATE)?;
    sys::ioctl_ficlone(&to, file(dir))
}

/// The volume has a limit of 64 MiB; `file` holds 5 bytes; `full` is a directory with a file in it.
const ERRORS: &[(&str, &str, &str, Errno, Body)] = &[
    ("open", "there is no such name", "ENOENT", Errno::NOENT, |d| open(d.join("none"), OFlags::RDONLY).map(drop)),
    ("open", "`O_CREAT`, `O_EXCL`, and the name is there", "EEXIST", Errno::EXIST, |d| {
        open(d.join("file"), OFlags::RDWR | OFlags::CREATE | OFlags::EXCL).map(drop)
    }),
    ("open", "a name on the way is no directory", "ENOTDIR", Errno::NOTDIR, |d| open(d.join("file/x"), OFlags::RDONLY).map(drop)),
    ("open", "a directory, to write", "EISDIR", Errno::ISDIR, |d| open(d.join("full"), OFlags::RDWR).map(drop)),
    ("open", "a link that leads to itself", "ELOOP", Errno::LOOP, |d| open(d.join("loop"), OFlags::RDONLY).map(drop)),
    ("open", "a name of 256 bytes", "ENAMETOOLONG", Errno::NAMETOOLONG, |d| {
        open(d.join("n".repeat(256)), OFlags::RDWR | OFlags::CREATE).map(drop)
    }),
    ("open", "a path of 4,096 bytes", "ENAMETOOLONG", Errno::NAMETOOLONG, |d| open(d.join("./".repeat(2048)), OFlags::RDONLY).map(drop)),
    ("stat", "a name of 256 bytes", "ENAMETOOLONG", Errno::NAMETOOLONG, |d| sys::stat(d.join("n".repeat(256))).map(drop)),
    ("mkdir", "the name is there", "EEXIST", Errno::EXIST, |d| sys::mkdir(d.join("full"), Mode::RWXU)),
    ("rmdir", "the directory is not empty", "ENOTEMPTY", Errno::NOTEMPTY, |d| sys::rmdir(d.join("full"))),
    ("rmdir", "a file", "ENOTDIR", Errno::NOTDIR, |d| sys::rmdir(d.join("file"))),
    ("rmdir", "the mountpoint", "EBUSY", Errno::BUSY, |d| sys::rmdir(d)),
    ("unlink", "a directory", "EISDIR", Errno::ISDIR, |d| sys::unlink(d.join("full"))),
    ("symlink", "a target of 4,096 bytes", "ENAMETOOLONG", Errno::NAMETOOLONG, |d| sys::symlink("t".repeat(4096), d.join("long"))),
    ("symlink", "an empty target", "ENOENT", Errno::NOENT, |d| sys::symlink("", d.join("empty"))),
    ("readlink", "a file", "EINVAL", Errno::INVAL, |d| sys::readlink(d.join("file"), Vec::new()).map(drop)),
    ("link", "a directory", "EPERM", Errno::PERM, |d| sys::link(d.join("full"), d.join("twice"))),
    ("link", "the new name is there", "EEXIST", Errno::EXIST, |d| sys::link(d.join("file"), d.join("full"))),
    ("rename", "a directory into itself", "EINVAL", Errno::INVAL, |d| rename(d, "full", "full/in", RenameFlags::empty())),
    ("rename", "a directory over a file", "ENOTDIR", Errno::NOTDIR, |d| rename(d, "full", "file", RenameFlags::empty())),
    ("rename", "a file over a directory", "EISDIR", Errno::ISDIR, |d| rename(d, "file", "full", RenameFlags::empty())),
    ("rename", "over a directory that is not empty", "ENOTEMPTY", Errno::NOTEMPTY, |d| rename(d, "free", "full", RenameFlags::empty())),
    ("rename", "`RENAME_NOREPLACE`, and the name is there", "EEXIST", Errno::EXIST, |d| rename(d, "file", "full", RenameFlags::NOREPLACE)),
    ("rename", "`RENAME_EXCHANGE`, and there is no such name", "ENOENT", Errno::NOENT, |d| {
        rename(d, "file", "none", RenameFlags::EXCHANGE)
    }),
    ("rename", "`RENAME_WHITEOUT`", "EINVAL", Errno::INVAL, |d| rename(d, "file", "none", RenameFlags::WHITEOUT)),
    ("truncate", "beyond the greatest file", "EFBIG", Errno::FBIG, |d| sys::ftruncate(file(d), (1 << 63) - 1)),
    ("lseek", "`SEEK_DATA` behind all data", "ENXIO", Errno::NXIO, |d| sys::seek(file(d), SeekFrom::Data(5)).map(drop)),
    ("lseek", "`SEEK_HOLE` behind the end", "ENXIO", Errno::NXIO, |d| sys::seek(file(d), SeekFrom::Hole(5)).map(drop)),
    ("fallocate", "`COLLAPSE_RANGE`", "EOPNOTSUPP", Errno::OPNOTSUPP, |d| sys::fallocate(file(d), FallocateFlags::COLLAPSE_RANGE, 0, 4096)),
    ("fallocate", "`INSERT_RANGE`", "EOPNOTSUPP", Errno::OPNOTSUPP, |d| sys::fallocate(file(d), FallocateFlags::INSERT_RANGE, 0, 4096)),
    ("fallocate", "more than there is room for", "ENOSPC", Errno::NOSPC, |d| sys::fallocate(file(d), FallocateFlags::empty(), 0, 1 << 40)),
    ("ioctl", "`FICLONE`", "EOPNOTSUPP", Errno::OPNOTSUPP, clone),
    ("setxattr", "`XATTR_CREATE`, and it is there", "EEXIST", Errno::EXIST, |d| set(d, "user.set", b"", XattrFlags::CREATE)),
    ("setxattr", "`XATTR_REPLACE`, and it is not", "ENODATA", Errno::NODATA, |d| set(d, "user.none", b"", XattrFlags::REPLACE)),
    ("setxattr", "both flags, and it is there", "EEXIST", Errno::EXIST, |d| {
        set(d, "user.set", b"", XattrFlags::CREATE | XattrFlags::REPLACE)
    }),
    ("setxattr", "both flags, and it is not", "ENODATA", Errno::NODATA, |d| {
        set(d, "user.none", b"", XattrFlags::CREATE | XattrFlags::REPLACE)
    }),
    ("setxattr", "a name of no known kind", "EOPNOTSUPP", Errno::OPNOTSUPP, |d| set(d, "kind.of", b"", XattrFlags::empty())),
    ("setxattr", "a value of 65,537 bytes", "E2BIG", Errno::TOOBIG, |d| set(d, "user.huge", &[0; 65_537], XattrFlags::empty())),
    ("setxattr", "a name of 256 bytes", "ERANGE", Errno::RANGE, |d| set(d, &format!("user.{}", "n".repeat(251)), b"", XattrFlags::empty())),
    ("setxattr", "an access list that is none", "EINVAL", Errno::INVAL, |d| {
        set(d, "system.posix_acl_access", &[2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255], XattrFlags::empty())
    }),
    ("setxattr", "`user.` of a symbolic link", "EPERM", Errno::PERM, |d| {
        sys::lsetxattr(d.join("loop"), "user.x", b"", XattrFlags::empty())
    }),
    ("setxattr", "more names than a list takes", "ENOSPC", Errno::NOSPC, set_too_many),
    ("getxattr", "there is none of this name", "ENODATA", Errno::NODATA, |d| {
        sys::getxattr(d.join("file"), "user.none", &mut [0; 9][..]).map(drop)
    }),
    ("getxattr", "a buffer that is too small", "ERANGE", Errno::RANGE, |d| {
        sys::getxattr(d.join("file"), "user.set", &mut [0; 2][..]).map(drop)
    }),
    ("removexattr", "there is none of this name", "ENODATA", Errno::NODATA, |d| sys::removexattr(d.join("file"), "user.none")),
];

fn document() -> String {
    fs::read_to_string(Path::new(common::SOURCE).join("docs/semantics.md")).unwrap()
}

#[test]
fn every_error_of_the_document_is_what_a_mount_answers() {
    let text = document();
    let (_, table) = text.split_once("<!-- errors -->").expect("a table");
    let rows = table.trim_start().lines().skip(2).take_while(|line| line.starts_with('|'));
    let documented: Vec<Vec<&str>> = rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    let tested: Vec<Vec<&str>> = ERRORS.iter().map(|(call, when, name, ..)| vec![*call, *when, *name]).collect();
    assert_eq!(documented, tested);
    let Some(volume) = Volume::if_mountable() else { return };
    let _mount = volume.mount_with(&["-o", "limit=64MiB"]);
    let dir = volume.mountpoint();
    fs::write(dir.join("file"), "bytes").unwrap();
    fs::create_dir_all(dir.join("full/in it")).unwrap();
    fs::create_dir(dir.join("free")).unwrap();
    sys::symlinkat("loop", CWD, dir.join("loop")).unwrap();
    set(&dir, "user.set", b"value", XattrFlags::empty()).unwrap();
    for (call, when, _, errno, body) in ERRORS {
        assert_eq!(body(&dir), Err(*errno), "{call}: {when}");
    }
    assert!(sys::statat(CWD, dir.join("file"), AtFlags::empty()).is_ok(), "nothing of it did any harm");
}

#[test]
fn the_examples_of_the_document_give_what_it_shows() {
    if !(has("setfattr", "the examples") && has("setfacl", "the examples")) {
        return;
    }
    let text = document();
    let (_, rest) = text.split_once("```console\n").expect("examples");
    let (examples, _) = rest.split_once("```").expect("their end");
    let Some(volume) = Volume::if_mountable() else { return };
    let _mount = volume.mount();
    let (mut shown, mut script) = (String::new(), String::from("set -e\n"));
    for line in examples.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => script += &format!("{command}\n"),
            None => shown += &format!("{line}\n"),
        }
    }
    let output = Command::new("bash").args(["-c", &script]).current_dir(volume.mountpoint()).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // getfattr ends a value without a line end.
    let printed = String::from_utf8_lossy(&output.stdout).replacen("blue", "blue\n", 1);
    assert_eq!(printed, shown);
}
