//! What a mount shows that is in no volume: the file `.infmap/stats` in its top directory.
//!
//! Owns: `Shadow`, its two inodes and their names. Must be true: SHD-1 neither is listed by the directory that it is in, so that no walk and no
//! copy meets it, and a name of the volume goes before; SHD-2 the mount's owner alone reads it; DOOR-3. Fails: refusals; the text is made
//! when its beginning is read, and later parts are those of the text that was made last.

use super::answer::{Shared, Ticket};
use super::listing::Page;
use super::meters::Op;
use super::send::send_entry;
use fuser::{Errno, FileAttr, FileType, Generation, INodeNo, ReplyData, ReplyEntry};
use infmap_actors::api::{Answer, Attributes, DirEntry, Refusal};
use infmap_actors::replier::Replier;
use infmap_storage::row::{FileKind, Inode, ROOT_INODE};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The directory, in the top directory of the mount.
const DIRECTORY_NAME: &str = ".infmap";
/// The file in it.
const FILE_NAME: &str = "stats";
/// No inode of a volume comes so far: they are counted from one, and a volume does not live for that long.
const DIRECTORY: INodeNo = INodeNo(u64::MAX - 1);
const FILE: INodeNo = INodeNo(u64::MAX - 2);
/// How long the kernel trusts what is said of them.
const LIFETIME: Duration = Duration::from_secs(60);

/// What makes the text.
pub type Text = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

/// The file's text, as often as it is asked for.
#[derive(Clone)]
pub struct Stats(pub Text);

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stats")
    }
}

impl PartialEq for Stats {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Stats {}

/// The directory and the file.
pub(super) struct Shadow {
    stats: Stats,
    /// What was made last.
    last: Mutex<Arc<Vec<u8>>>,
    since: SystemTime,
}

impl Shadow {
    pub(super) fn new(stats: Stats) -> Self {
        Self { stats, last: Mutex::default(), since: SystemTime::now() }
    }

    /// Whether this inode is one of the two.
    pub(super) fn has(inode: INodeNo) -> bool {
        inode == DIRECTORY || inode == FILE
    }

    /// Whether a name may be one of the two: the directory's, if the volume does not have it, or any in the directory.
    pub(super) fn may_have(parent: INodeNo, name: &OsStr) -> bool {
        parent == DIRECTORY || (parent.0 == ROOT_INODE.0 && name == DIRECTORY_NAME)
    }

    /// Answers a lookup of such a name.
    pub(super) fn lookup(self: Arc<Self>, shared: &Arc<Shared>, parent: INodeNo, name: &OsStr, ticket: Ticket<ReplyEntry>) {
        let found = move |inode| {
            let attributes = self.attributes(inode);
            move |_: &Shared, reply: ReplyEntry| reply.entry(&LIFETIME, &attributes, Generation(0))
        };
        match (parent == DIRECTORY, name == FILE_NAME) {
            (true, true) => return ticket.send(found(FILE)),
            (true, false) => return ticket.refuse(Errno::ENOENT),
            (false, _) => {}
        }
        let replier = Replier::from_fn(move |answer: Answer<Attributes>| match answer {
            Err(Refusal::NotFound) => ticket.send(found(DIRECTORY)),
            answer => ticket.finish(answer, send_entry),
        });
        shared.guarded(Op::Lookup, |volume| volume.lookup(Inode(parent.0), name.as_bytes(), replier));
    }

    /// What `stat` shows: a size of zero, as files of `/proc` have it.
    pub(super) fn attributes(&self, inode: INodeNo) -> FileAttr {
        let (kind, perm, nlink) = if inode == DIRECTORY { (FileType::Directory, 0o555, 2) } else { (FileType::RegularFile, 0o400, 1) };
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let time = self.since;
        FileAttr {
            ino: inode,
            size: 0,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink,
            uid,
            gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    pub(super) fn lifetime() -> Duration {
        LIFETIME
    }

    /// Answers a read of the file.
    pub(super) fn read(&self, offset: u64, size: u32, ticket: Ticket<ReplyData>) {
        let text = self.text(offset);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        let to = from.saturating_add(size as usize).min(text.len());
        ticket.send(|_, reply| reply.data(text.get(from..to).unwrap_or_default()));
    }

    fn text(&self, offset: u64) -> Arc<Vec<u8>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 {
            *last = Arc::new((self.stats.0)());
        }
        last.clone()
    }

    /// Answers a listing of the directory.
    pub(super) fn list<P: Page>(shared: &Shared, offset: u64, mut ticket: Ticket<P>) {
        let entry = |inode: INodeNo, kind, cookie, name: &str| DirEntry {
            inode: Inode(inode.0),
            kind,
            cookie,
            name: name.as_bytes().to_vec(),
            attributes: None,
        };
        let all = [
            entry(DIRECTORY, FileKind::Directory, 1, "."),
            entry(INodeNo(ROOT_INODE.0), FileKind::Directory, 2, ".."),
            entry(FILE, FileKind::Regular, 3, FILE_NAME),
        ];
        if let Some(page) = ticket.reply_mut() {
            let _ = all.iter().filter(|entry| entry.cookie > offset).all(|entry| page.put(shared, entry));
        }
        ticket.send(|_, page| page.send());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_text_is_made_when_its_beginning_is_read_and_stays_until_the_next_time() {
        let made = Arc::new(AtomicU32::new(0));
        let count = made.clone();
        let shadow = Shadow::new(Stats(Arc::new(move || format!("text {}", count.fetch_add(1, Ordering::Relaxed)).into_bytes())));
        assert_eq!(shadow.text(5).as_slice(), b"", "nothing was begun");
        assert_eq!((shadow.text(0).as_slice(), shadow.text(3).as_slice()), (&b"text 0"[..], &b"text 0"[..]));
        assert_eq!(shadow.text(0).as_slice(), b"text 1");
        assert!(Shadow::has(DIRECTORY) && Shadow::has(FILE) && !Shadow::has(INodeNo(1)));
        let name = OsStr::new(".infmap");
        assert!(Shadow::may_have(INodeNo(1), name) && !Shadow::may_have(INodeNo(2), name) && Shadow::may_have(DIRECTORY, OsStr::new("x")));
        assert_eq!((shadow.attributes(FILE).perm, shadow.attributes(DIRECTORY).kind), (0o400, FileType::Directory));
    }
}
