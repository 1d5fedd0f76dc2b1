//! A filesystem below the volume that loses power: FUSE in front, the simulated disk behind.
//!
//! Owns: `Layer`. What a program writes here is in the cache of the simulated disk until it syncs the file, and a name until it syncs the
//! directory; a crash of that disk takes the rest, torn and out of order. Must be true: LAY-1 the kernel keeps nothing of its own: files
//! are opened for direct I/O, names and attributes are not remembered; LAY-2 O_DIRECT works, as it does on a disk; LAY-3 an answer that
//! is given after the power went is an error. Fails: with EIO without power, and as the simulated disk does.

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, KernelConfig, LockOwner,
    MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use infmap_storage::device::{Device, DeviceFile, Kind, Open, SimulatedDisk};
use rustix::fs::FileType as HostType;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NOW: Duration = Duration::ZERO;
/// What the disk says it has.
const BYTES: u64 = 8 << 30;

/// A mounted disk. Dropped, it is unmounted.
pub struct Layer {
    _session: BackgroundSession,
}

impl Layer {
    /// Mounts a disk; `Err` where that cannot be.
    pub fn mount(disk: &SimulatedDisk, mountpoint: &Path) -> io::Result<Self> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("power".into()), MountOption::NoSuid, MountOption::NoDev];
        let names = Names { of: HashMap::from([(1, Node::new("", FileType::Directory))]), numbers: HashMap::new(), ..Names::default() };
        let files = Files { disk: disk.clone(), names: Mutex::new(names) };
        Ok(Self { _session: fuser::spawn_mount(files, mountpoint, &config)? })
    }
}

/// What the kernel knows by a number.
#[derive(Clone)]
struct Node {
    /// `None`: it has no name any more.
    path: Option<String>,
    kind: FileType,
    mode: u16,
    /// Held while it is open.
    file: Option<Arc<dyn DeviceFile>>,
    opened: usize,
}

impl Node {
    fn new(path: &str, kind: FileType) -> Self {
        let mode = if kind == FileType::Directory { 0o700 } else { 0o600 };
        Self { path: Some(path.into()), kind, mode, file: None, opened: 0 }
    }
}

#[derive(Default)]
struct Names {
    of: HashMap<u64, Node>,
    numbers: HashMap<String, u64>,
    last: u64,
    handles: HashMap<u64, (u64, Arc<dyn DeviceFile>)>,
    last_handle: u64,
    /// Sockets and their like: no disk keeps them.
    special: HashMap<String, FileType>,
}

struct Files {
    disk: SimulatedDisk,
    names: Mutex<Names>,
}

fn errno(error: &io::Error) -> Errno {
    match error.kind() {
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::AlreadyExists => Errno::EEXIST,
        ErrorKind::NotADirectory => Errno::ENOTDIR,
        ErrorKind::IsADirectory => Errno::EISDIR,
        ErrorKind::DirectoryNotEmpty => Errno::ENOTEMPTY,
        ErrorKind::InvalidInput => Errno::EINVAL,
        ErrorKind::StorageFull => Errno::ENOSPC,
        _ => Errno::EIO,
    }
}

type Done<T> = Result<T, Errno>;

fn host<T>(done: io::Result<T>) -> Done<T> {
    done.map_err(|error| errno(&error))
}

fn joined(dir: &str, name: &OsStr) -> Done<String> {
    let name = name.to_str().ok_or(Errno::EINVAL)?;
    Ok(if dir.is_empty() { name.into() } else { format!("{dir}/{name}") })
}

impl Files {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().expect("no panic")
    }

    fn path(&self, ino: INodeNo) -> Done<String> {
        self.names().of.get(&ino.0).and_then(|node| node.path.clone()).ok_or(Errno::ESTALE)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Done<String> {
        joined(&self.path(parent)?, name)
    }

    /// The number of what stands at a path.
    fn number(&self, path: &str, kind: FileType) -> u64 {
        let mut names = self.names();
        if let Some(number) = names.numbers.get(path) {
            return *number;
        }
        names.last = names.last.max(1) + 1;
        let number = names.last;
        names.numbers.insert(path.into(), number);
        names.of.insert(number, Node::new(path, kind));
        number
    }

    fn find(&self, path: &str) -> Done<FileAttr> {
        // Not in the condition: what it locks would stay locked.
        let special = self.names().special.get(path).copied();
        if let Some(kind) = special {
            let number = self.number(path, kind);
            return self.attributes(INodeNo(number));
        }
        let found = host(self.disk.metadata(path))?.ok_or(Errno::ENOENT)?;
        let kind = if found.kind == Kind::Directory { FileType::Directory } else { FileType::RegularFile };
        self.attributes(INodeNo(self.number(path, kind)))
    }

    fn attributes(&self, ino: INodeNo) -> Done<FileAttr> {
        let node = self.names().of.get(&ino.0).cloned().ok_or(Errno::ESTALE)?;
        let size = match (&node.file, &node.path, node.kind) {
            (Some(file), _, _) => host(file.len())?,
            (None, Some(path), FileType::RegularFile) => host(self.disk.metadata(path))?.ok_or(Errno::ENOENT)?.size_bytes,
            (None, Some(_), _) => 4096,
            (None, None, _) => return Err(Errno::ESTALE),
        };
        Ok(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: node.kind,
            perm: node.mode,
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn open_at(&self, ino: u64, path: &str, how: Open) -> Done<FileHandle> {
        let file = host(self.disk.open(path, how))?;
        let mut names = self.names();
        if let Some(node) = names.of.get_mut(&ino) {
            node.file = Some(file.clone());
            node.opened += 1;
        }
        names.last_handle += 1;
        let handle = names.last_handle;
        names.handles.insert(handle, (ino, file));
        Ok(FileHandle(handle))
    }

    fn file(&self, handle: FileHandle) -> Done<Arc<dyn DeviceFile>> {
        self.names().handles.get(&handle.0).map(|(_, file)| file.clone()).ok_or(Errno::EBADF)
    }

    fn make(&self, parent: INodeNo, name: &OsStr, mode: u32) -> Done<(FileAttr, FileHandle)> {
        let path = self.child(parent, name)?;
        host(self.disk.open(&path, Open::CREATE_NEW)).map(drop)?;
        let number = self.number(&path, FileType::RegularFile);
        if let Some(node) = self.names().of.get_mut(&number) {
            node.mode = (mode & 0o7777) as u16;
        }
        let handle = self.open_at(number, &path, Open::WRITE)?;
        Ok((self.attributes(INodeNo(number))?, handle))
    }

    fn forget_name(&self, path: &str) {
        let mut names = self.names();
        if let Some(node) = names.numbers.remove(path).and_then(|number| names.of.get_mut(&number)) {
            node.path = None;
        }
    }

    fn remove(&self, parent: INodeNo, name: &OsStr) -> Done<()> {
        let path = self.child(parent, name)?;
        if self.names().special.remove(&path).is_none() {
            host(self.disk.remove(&path))?;
        }
        self.forget_name(&path);
        Ok(())
    }

    fn move_to(&self, from: &str, to: &str) -> Done<()> {
        host(self.disk.rename(from, to))?;
        self.forget_name(to);
        let mut names = self.names();
        let below = format!("{from}/");
        let moved: Vec<String> = names.numbers.keys().filter(|path| *path == from || path.starts_with(&below)).cloned().collect();
        for path in moved {
            let new = format!("{to}{}", &path[from.len()..]);
            if let Some(number) = names.numbers.remove(&path) {
                names.numbers.insert(new.clone(), number);
                if let Some(node) = names.of.get_mut(&number) {
                    node.path = Some(new);
                }
            }
        }
        Ok(())
    }

    fn set_size(&self, ino: INodeNo, handle: Option<FileHandle>, size: u64) -> Done<()> {
        let file = match handle {
            Some(handle) => self.file(handle)?,
            None => host(self.disk.open(&self.path(ino)?, Open::WRITE))?,
        };
        host(file.set_len(size))
    }

    fn list(&self, ino: INodeNo) -> Done<Vec<(u64, FileType, String)>> {
        let dir = self.path(ino)?;
        let kind = |kind| if kind == Kind::Directory { FileType::Directory } else { FileType::RegularFile };
        let mut entries = vec![(ino.0, FileType::Directory, ".".into()), (ino.0, FileType::Directory, "..".into())];
        let found: Vec<_> = host(self.disk.list(&dir))?.into_iter().map(|entry| (entry.name, kind(entry.kind))).collect();
        for (name, kind) in found {
            let number = self.number(&joined(&dir, OsStr::new(&name))?, kind);
            entries.push((number, kind, name));
        }
        Ok(entries)
    }
}

/// Sends what was found, or the error.
macro_rules! answer {
    ($reply:ident, $done:expr, |$value:pat_param| $send:expr) => {
        match $done {
            Ok($value) => $send,
            Err(errno) => $reply.error(errno),
        }
    };
}

impl Filesystem for Files {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let _ = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.child(parent, name).and_then(|path| self.find(&path));
        answer!(reply, found, |attributes| reply.entry(&NOW, &attributes, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.attributes(ino), |attributes| reply.attr(&NOW, &attributes));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if let (Some(mode), Some(node)) = (mode, self.names().of.get_mut(&ino.0)) {
            node.mode = (mode & 0o7777) as u16;
        }
        let done = size.map_or(Ok(()), |size| self.set_size(ino, handle, size)).and_then(|()| self.attributes(ino));
        answer!(reply, done, |attributes| reply.attr(&NOW, &attributes));
    }

    fn mknod(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.child(parent, name).and_then(|path| {
            let kind = match HostType::from_raw_mode(mode) {
                HostType::Socket => FileType::Socket,
                HostType::Fifo => FileType::NamedPipe,
                _ => return self.make(parent, name, mode).map(|(attributes, _)| attributes),
            };
            self.names().special.insert(path.clone(), kind);
            self.find(&path)
        });
        answer!(reply, made, |attributes| reply.entry(&NOW, &attributes, Generation(0)));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.child(parent, name).and_then(|path| {
            if host(self.disk.metadata(&path))?.is_some() {
                return Err(Errno::EEXIST);
            }
            host(self.disk.create_dir(&path))?;
            self.find(&path)
        });
        answer!(reply, made, |attributes| reply.entry(&NOW, &attributes, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.remove(parent, name), |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.remove(parent, name), |()| reply.ok());
    }

    fn rename(&self, _: &Request, dir: INodeNo, name: &OsStr, new_dir: INodeNo, new_name: &OsStr, _: RenameFlags, reply: ReplyEmpty) {
        let paths = self.child(dir, name).and_then(|from| Ok((from, self.child(new_dir, new_name)?)));
        answer!(reply, paths.and_then(|(from, to)| self.move_to(&from, &to)), |()| reply.ok());
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let how = if flags.0 & 3 == 0 { Open::READ } else { Open::WRITE };
        let opened = self.path(ino).and_then(|path| self.open_at(ino.0, &path, how));
        answer!(reply, opened, |handle| reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO));
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: i32, reply: ReplyCreate) {
        answer!(reply, self.make(parent, name, mode), |(attributes, handle)| {
            reply.created(&NOW, &attributes, Generation(0), handle, FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        let read = self.file(handle).and_then(|file| host(file.read_at(&mut bytes, offset)));
        answer!(reply, read, |count| reply.data(&bytes[..count]));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.file(handle).and_then(|file| host(file.write_at(data, offset)));
        answer!(reply, written, |()| reply.written(data.len() as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(&self, _: &Request, ino: INodeNo, handle: FileHandle, _: OpenFlags, _: Option<LockOwner>, _: bool, reply: ReplyEmpty) {
        let mut names = self.names();
        names.handles.remove(&handle.0);
        if let Some(node) = names.of.get_mut(&ino.0) {
            node.opened = node.opened.saturating_sub(1);
            if node.opened == 0 {
                node.file = None;
            }
        }
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.file(handle).and_then(|file| host(file.sync())), |()| reply.ok());
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.path(ino).and_then(|path| host(self.disk.sync_dir(&path))), |()| reply.ok());
    }

    fn fallocate(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, length: u64, mode: i32, reply: ReplyEmpty) {
        let done = match mode {
            0 => self.file(handle).and_then(|file| host(file.allocate(offset + length))),
            _ => Err(Errno::EOPNOTSUPP),
        };
        answer!(reply, done, |()| reply.ok());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = match self.list(ino) {
            Ok(entries) => entries,
            Err(errno) => return reply.error(errno),
        };
        for (at, (number, kind, name)) in entries.into_iter().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(number), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = BYTES / 4096;
        reply.statfs(blocks, blocks, blocks, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
