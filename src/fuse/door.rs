//! The callbacks: decode, call, reply.
//!
//! Owns: `Door`. Must be true: DOOR-1 to DOOR-4 of `fuse`; names pass as bytes; every callback is one call of the volume. Fails: through
//! `Ticket`, the one error path.
//!
//! The umask is ours to apply where no default list says what is given: DONT_MASK. What answers ENOSYS the kernel does itself, and does
//! not ask again until the next mount.

use super::answer::{Refuse, Shared, Ticket, answered_here};
use super::convert::{from_request, set_time};
use super::herald::Herald;
use super::in_flight::{InFlight, Traffic};
use super::listing::{Page, Walk};
use super::lookout::Lookout;
use super::meters::Op;
use super::negotiate::{Agreed, negotiate};
use super::request::{attribute_change, mode_of, new_node, rename_mode};
use super::send::{send_attributes, send_created, send_done, send_entry, send_space};
use super::settings::{MountSettings, OpenMode};
use super::shadow::Shadow;
use super::subject::Subject;
use super::{NO_HANDLE, range, xattr};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo, IoctlFlags, KernelConfig, LockOwner,
    OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use infmap_actors::Volume;
use infmap_actors::api::{Answer, Attributes, ClearRange, NewNode, Rename, SetXattr, WriteHow};
use infmap_actors::replier::Replier;
use infmap_actors::settings::Atime;
use infmap_actors::volume::CopyRange;
use infmap_storage::row::{FileKind, Inode};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// The flag of an open file whose readings are not noted (`include/uapi/asm-generic/fcntl.h`).
const O_NOATIME: i32 = 0o1_000_000;

/// A volume as the kernel sees it.
pub(super) struct Door {
    shared: Arc<Shared>,
    settings: MountSettings,
    agreed: Agreed,
    lookout: Option<Lookout>,
    herald: Arc<Herald>,
    shadow: Option<Arc<Shadow>>,
    /// A request was answered since the last look that followed a FORGET.
    has_answered: AtomicBool,
    /// The client is one that writes and syncs: nothing but writes and times came since its last sync.
    is_syncing: AtomicBool,
}

impl Door {
    pub(super) fn new(volume: Arc<Volume>, settings: &MountSettings, lookout: Option<Lookout>, herald: Arc<Herald>) -> Self {
        let agreed = Agreed { writeback_cache: settings.writeback_cache, open: settings.open };
        let in_flight = Arc::new(InFlight::new(&**volume.watchdog().clock()));
        let watched = in_flight.clone();
        volume.watchdog().watch(Box::new(move |now_us| watched.overdue(now_us)));
        Self {
            shared: Arc::new(Shared::new(volume, settings, agreed, in_flight, herald.clone())),
            settings: settings.clone(),
            agreed,
            lookout,
            herald,
            // The kernel opens by itself where it was told to, and would find a file without bytes.
            shadow: settings.stats.clone().filter(|_| settings.open == OpenMode::Daemon).map(|stats| Arc::new(Shadow::new(stats))),
            has_answered: AtomicBool::new(false),
            is_syncing: AtomicBool::new(false),
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic::new(self.shared.in_flight.clone(), self.herald.handles())
    }

    /// Asks the volume, and sends what it answers.
    fn answer<T: Send + 'static, R: Refuse>(
        &self,
        about: Subject,
        reply: R,
        ask: impl FnOnce(&Volume, Replier<Answer<T>>),
        send: impl FnOnce(&Shared, R, T) + Send + 'static,
    ) {
        let replier = Ticket::new(&self.shared, about, reply).replier(send);
        self.ask(about.op, |volume| ask(volume, replier));
    }

    /// Asks the volume, which answers by a replier that it was given.
    fn ask(&self, op: Op, ask: impl FnOnce(&Volume)) {
        self.watched(op, || self.shared.guarded(op, ask));
    }

    /// A replier that answers when the kernel knows of privileges which the request cleared.
    fn after_clearing<T: Send + 'static>(&self, replier: Replier<Answer<T>>) -> Replier<Answer<T>> {
        let herald = self.herald.clone();
        Replier::from_fn(move |answer| herald.when_forgotten(move || replier.reply(answer)))
    }

    /// Answers without asking.
    fn say<R: Refuse>(&self, about: Subject, reply: R, send: impl FnOnce(R)) {
        self.watched(about.op, || Ticket::new(&self.shared, about, reply).send(|_, reply| send(reply)));
    }

    fn refuse<R: Refuse>(&self, about: Subject, reply: R, errno: Errno) {
        self.watched(about.op, || Ticket::new(&self.shared, about, reply).refuse(errno));
    }

    /// How the kernel treats the handle of a file that is opened or made. A reading that it answers by itself is none that we could note.
    fn handle_flags(&self) -> FopenFlags {
        if self.settings.atime == Atime::Strictatime { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::FOPEN_KEEP_CACHE }
    }

    /// The kernel may hold of a file that it has no blocks, while somebody is about to write to it.
    fn show_written_anew(&self, ino: INodeNo, mode: OpenAccMode) {
        if mode != OpenAccMode::O_RDONLY && self.agreed.writeback_cache && self.shared.volume.is_without_blocks(Inode(ino.0)) {
            self.herald.forget_attributes(ino);
        }
    }

    /// Somebody read an inode.
    fn note_access(&self, ino: INodeNo) {
        if self.settings.atime != Atime::Noatime {
            self.shared.volume.accessed(Inode(ino.0), self.settings.atime == Atime::Strictatime);
        }
    }

    fn list<P: Page>(&self, op: Op, ino: INodeNo, offset: u64, page: P) {
        if Shadow::has(ino) {
            return self.watched(op, || Shadow::list(&self.shared, offset, Ticket::new(&self.shared, op.about(ino.0, offset, 0), page)));
        }
        if offset == 0 {
            self.note_access(ino);
        }
        self.watched(op, || Walk::new(Ticket::new(&self.shared, op.about(ino.0, offset, 0), page), Inode(ino.0), offset).go_on());
    }

    /// Takes a request; if that answered it, the next one may be on its way already. What somebody else answers takes its time. A
    /// client that syncs each write waits mostly for the disk: looking for it would only drive it to another processor.
    fn watched(&self, op: Op, take: impl FnOnce()) {
        let before = answered_here();
        take();
        match op {
            Op::Fsync => self.is_syncing.store(true, Ordering::Relaxed),
            Op::Write | Op::Setattr => {}
            _ => self.is_syncing.store(false, Ordering::Relaxed),
        }
        if answered_here() != before {
            self.has_answered.store(true, Ordering::Relaxed);
            if !self.is_syncing.load(Ordering::Relaxed) {
                self.look_out();
            }
        }
    }

    fn look_out(&self) {
        if let Some(lookout) = &self.lookout {
            lookout.look();
        }
    }
}

impl Filesystem for Door {
    fn init(&mut self, _req: &Request, kernel: &mut KernelConfig) -> std::io::Result<()> {
        self.agreed = negotiate(&self.settings, kernel)?;
        let (volume, in_flight) = (self.shared.volume.clone(), self.shared.in_flight.clone());
        self.shared = Arc::new(Shared::new(volume, &self.settings, self.agreed, in_flight, self.herald.clone()));
        tracing::debug!(writeback_cache = self.agreed.writeback_cache, open = ?self.agreed.open, "the kernel and the door have agreed");
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if let Some(shadow) = self.shadow.as_ref().filter(|_| Shadow::may_have(parent, name)) {
            let ticket = Ticket::new(&self.shared, Op::Lookup.on(parent.0), reply);
            return self.watched(Op::Lookup, || shadow.clone().lookup(&self.shared, parent, name, ticket));
        }
        // A name that is not there is answered ENOENT, which the kernel does not keep: programs create such names next.
        self.answer(Op::Lookup.on(parent.0), reply, |volume, r| volume.lookup(Inode(parent.0), name.as_bytes(), r), send_entry);
    }

    /// Batches come here one by one: fuser's default does so, and its type for them cannot be named.
    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        let began = std::time::Instant::now();
        self.shared.guarded(Op::Forget, |volume| volume.forget(Inode(ino.0), nlookup));
        self.shared.meters.answered(Op::Forget, began, None);
        // One comes between a removal and the client's next request. Of many that come at once, only the first is followed by a look.
        if self.has_answered.swap(false, Ordering::Relaxed) {
            self.look_out();
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        if let Some(shadow) = self.shadow.as_ref().filter(|_| Shadow::has(ino)) {
            let shown = shadow.attributes(ino);
            return self.say(Op::Getattr.on(ino.0), reply, |reply| reply.attr(&Shadow::lifetime(), &shown));
        }
        self.answer(Op::Getattr.on(ino.0), reply, |volume, r| volume.attributes(Inode(ino.0), r), send_attributes);
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut change = attribute_change(req.uid(), mode, uid, gid, size);
        change.accessed = atime.map(set_time);
        change.modified = mtime.map(set_time);
        change.changed = ctime.map(from_request);
        self.answer(Op::Setattr.on(ino.0), reply, |volume, r| volume.change_attributes(Inode(ino.0), change, r), send_attributes);
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        self.note_access(ino);
        self.answer(Op::Readlink.on(ino.0), reply, |volume, r| volume.read_link(Inode(ino.0), r), |_, reply, target| reply.data(&target));
    }

    fn mknod(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, rdev: u32, reply: ReplyEntry) {
        let node = NewNode { rdev, ..new_node(req, parent, name, mode_of(FileKind::of_mode(mode), mode), umask) };
        self.answer(Op::Mknod.on(parent.0), reply, |volume, r| volume.create(node, r), send_entry);
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let node = new_node(req, parent, name, mode_of(FileKind::Directory, mode), umask);
        self.answer(Op::Mkdir.on(parent.0), reply, |volume, r| volume.create(node, r), send_entry);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.answer(Op::Unlink.on(parent.0), reply, |volume, r| volume.unlink(Inode(parent.0), name.as_bytes().to_vec(), r), send_done);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.answer(Op::Rmdir.on(parent.0), reply, |volume, r| volume.rmdir(Inode(parent.0), name.as_bytes().to_vec(), r), send_done);
    }

    fn symlink(&self, req: &Request, parent: INodeNo, link_name: &OsStr, target: &Path, reply: ReplyEntry) {
        let node = new_node(req, parent, link_name, mode_of(FileKind::Symlink, 0o777), 0);
        let target = target.as_os_str().as_bytes().to_vec();
        self.answer(Op::Symlink.on(parent.0), reply, |volume, r| volume.symlink(node, target, r), send_entry);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let Some(mode) = rename_mode(flags) else { return self.refuse(Op::Rename.on(parent.0), reply, Errno::EINVAL) };
        let (parent, new_parent) = (Inode(parent.0), Inode(newparent.0));
        let rename = Rename { parent, name: name.as_bytes().to_vec(), new_parent, new_name: newname.as_bytes().to_vec(), mode };
        self.answer(Op::Rename.on(parent.0), reply, |volume, r| volume.rename(rename, r), send_done);
    }

    fn link(&self, _req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let (inode, parent, name) = (Inode(ino.0), Inode(newparent.0), newname.as_bytes().to_vec());
        self.answer(Op::Link.on(ino.0), reply, |volume, r| volume.link(inode, parent, name, r), send_entry);
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if Shadow::has(ino) {
            return self.say(Op::Open.on(ino.0), reply, |reply| reply.opened(NO_HANDLE, FopenFlags::FOPEN_DIRECT_IO));
        }
        self.herald.opened(ino, flags.acc_mode());
        self.show_written_anew(ino, flags.acc_mode());
        match self.agreed.open {
            OpenMode::Daemon => {
                let flags = self.handle_flags();
                self.say(Op::Open.on(ino.0), reply, |reply| reply.opened(NO_HANDLE, flags));
            }
            OpenMode::Kernel => self.refuse(Op::Open.on(ino.0), reply, Errno::ENOSYS),
        }
    }

    fn create(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, flags: i32, reply: ReplyCreate) {
        let node = new_node(req, parent, name, mode_of(FileKind::Regular, mode), umask);
        let (herald, mode, handle) = (self.herald.clone(), OpenFlags(flags).acc_mode(), self.handle_flags());
        self.answer(
            Op::Create.on(parent.0),
            reply,
            |volume, r| volume.create(node, r),
            move |shared, reply, attributes: Attributes| {
                herald.opened(INodeNo(attributes.inode.0), mode);
                send_created(shared, reply, attributes, handle);
            },
        );
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let about = Op::Read.about(ino.0, offset, size.into());
        if let Some(shadow) = self.shadow.as_ref().filter(|_| Shadow::has(ino)) {
            return self.watched(Op::Read, || shadow.read(offset, size, Ticket::new(&self.shared, about, reply)));
        }
        if flags.0 & O_NOATIME == 0 {
            self.note_access(ino);
        }
        let ask = |volume: &Volume, r| volume.read(Inode(ino.0), offset, size, r);
        self.answer(about, reply, ask, |shared, reply, data| {
            shared.meters.read_bytes.increment(data.len() as u64);
            reply.data(&data);
        });
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // Pages of a mapping come flagged as cached in any case; the kernel owns the times only if we agreed on the writeback cache.
        let from_cache = self.agreed.writeback_cache && write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let how = WriteHow { from_cache, clear_privileges: write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) };
        let ticket = Ticket::new(&self.shared, Op::Write.about(ino.0, offset, data.len() as u64), reply);
        let replier = ticket.replier(|shared, reply: ReplyWrite, written: u32| {
            shared.meters.written_bytes.increment(u64::from(written));
            reply.written(written);
        });
        let replier = if how.clear_privileges { self.after_clearing(replier) } else { replier };
        self.ask(Op::Write, |volume| volume.write(Inode(ino.0), offset, data, how, replier));
    }

    fn flush(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        if self.settings.sync {
            self.answer(Op::Flush.on(ino.0), reply, |volume, r| volume.sync(Inode(ino.0), false, r), send_done);
        } else {
            self.refuse(Op::Flush.on(ino.0), reply, Errno::ENOSYS);
        }
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if !Shadow::has(ino) {
            self.herald.closed(ino, flags.acc_mode());
            self.shared.guarded(Op::Release, |volume| volume.closed(Inode(ino.0)));
        }
        self.say(Op::Release.on(ino.0), reply, ReplyEmpty::ok);
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.answer(Op::Fsync.on(ino.0), reply, |volume, r| volume.sync(Inode(ino.0), datasync, r), send_done);
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Not FOPEN_CACHE_DIR: walks after reads became slower. So not ENOSYS either, which means the same to the kernel.
        self.herald.opened_directory();
        self.say(Op::Opendir.on(ino.0), reply, |reply| reply.opened(NO_HANDLE, FopenFlags::empty()));
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.list(Op::Readdir, ino, offset, reply);
    }

    fn readdirplus(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        self.list(Op::Readdirplus, ino, offset, reply);
    }

    fn releasedir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.herald.closed_directory();
        self.say(Op::Releasedir.on(ino.0), reply, ReplyEmpty::ok);
    }

    fn fsyncdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.answer(Op::Fsyncdir.on(ino.0), reply, |volume, r| volume.sync(Inode(ino.0), datasync, r), send_done);
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        self.answer(Op::Statfs.on(0), reply, |volume, r| volume.space(r), send_space);
    }

    fn setxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, value: &[u8], flags: i32, _position: u32, reply: ReplyEmpty) {
        let how = match xattr::set_how(name, flags) {
            Ok(how) => how,
            Err(errno) => return self.refuse(Op::Setxattr.on(ino.0), reply, errno),
        };
        let what = SetXattr { inode: Inode(ino.0), name: name.as_bytes().to_vec(), value: value.to_vec(), how };
        self.answer(Op::Setxattr.on(ino.0), reply, |volume, r| volume.set_xattr(what, r), |_, reply, _| reply.ok());
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let replier = xattr::sized(Ticket::new(&self.shared, Op::Getxattr.on(ino.0), reply), size);
        if name == xattr::LAYOUT {
            return self.ask(Op::Getxattr, |_| xattr::ask_layout(&self.shared, Inode(ino.0), replier));
        }
        self.ask(Op::Getxattr, |volume| volume.xattr(Inode(ino.0), name.as_bytes().to_vec(), replier));
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let (replier, uid) = (xattr::sized(Ticket::new(&self.shared, Op::Listxattr.on(ino.0), reply), size), req.uid());
        let replier = replier.map(move |names: Answer<Vec<Vec<u8>>>| names.map(|names| xattr::list(&names, uid)));
        self.ask(Op::Listxattr, |volume| volume.xattr_names(Inode(ino.0), replier));
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes().to_vec();
        self.answer(Op::Removexattr.on(ino.0), reply, |volume, r| volume.remove_xattr(Inode(ino.0), name, r), |_, reply, _| reply.ok());
    }

    fn access(&self, _req: &Request, ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        // The kernel checks (`default_permissions`).
        self.refuse(Op::Access.on(ino.0), reply, Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        self.refuse(Op::Other.on(ino.0), reply, Errno::ENOSYS);
    }

    fn fallocate(&self, req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, length: u64, mode: i32, reply: ReplyEmpty) {
        let ticket = Ticket::new(&self.shared, Op::Fallocate.about(ino.0, offset, length), reply);
        let Some(how) = range::clear_how(mode) else { return self.watched(Op::Fallocate, || ticket.refuse(Errno::EOPNOTSUPP)) };
        let range = ClearRange { offset, length, how, clear_privileges: req.uid() != 0 };
        let replier = self.after_clearing(ticket.replier(send_done));
        self.ask(Op::Fallocate, |volume| volume.clear(Inode(ino.0), range, replier));
    }

    fn lseek(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let (Some(what), Ok(offset)) = (range::seek_what(whence), u64::try_from(offset)) else {
            return self.refuse(Op::Lseek.about(ino.0, offset as u64, 0), reply, Errno::EINVAL);
        };
        let ticket = Ticket::new(&self.shared, Op::Lseek.about(ino.0, offset, 0), reply);
        let look = range::look(self.shared.clone(), Inode(ino.0), offset, what, ticket);
        self.watched(Op::Lseek, || self.herald.when_known(ino, look));
    }

    fn copy_file_range(
        &self,
        req: &Request,
        ino_in: INodeNo,
        _fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        _fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (from, to, clear_privileges) = (Inode(ino_in.0), Inode(ino_out.0), req.uid() != 0);
        let range = CopyRange { from, from_offset: offset_in, to, to_offset: offset_out, length: len, clear_privileges };
        let ticket = Ticket::new(&self.shared, Op::CopyFileRange.about(ino_in.0, offset_in, len), reply);
        let replier = self.after_clearing(ticket.replier(|_, reply: ReplyWrite, copied: u64| reply.written(copied as u32)));
        self.ask(Op::CopyFileRange, |volume| volume.copy(range, replier));
    }
}
