//! READDIR and READDIRPLUS: pages of a directory, by cookie.
//!
//! Owns: the walk that fills one page. Must be true: no state between pages; DOOR-2: `hold` for exactly the entries that are in the page
//! and carry attributes, never for "." and "..". Fails: a refusal after the first entries ends the page; the next one says it.

use super::answer::{Refuse, Shared, Ticket};
use super::convert::{file_type, unknown_attr};
use fuser::{Errno, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use infmap_actors::api::{Answer, DirEntry};
use infmap_actors::replier::Replier;
use infmap_storage::row::Inode;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Entries that are asked for at once at most.
const BATCH_MAX: usize = 1024;

/// A page that is being filled.
pub(super) trait Page: Refuse {
    /// Whether entries carry attributes, and are held.
    const PLUS: bool;
    /// Entries asked for first: as many as the kernel's smallest page (4 KiB) takes of short names.
    const FIRST_BATCH: usize;
    /// Puts an entry; false when it does not fit.
    fn put(&mut self, shared: &Shared, entry: &DirEntry) -> bool;
    /// The kernel is about to be given this inode.
    fn hold(shared: &Shared, inode: Inode);
    fn send(self);
}

impl Page for ReplyDirectory {
    const PLUS: bool = false;
    const FIRST_BATCH: usize = 128;

    fn put(&mut self, _shared: &Shared, entry: &DirEntry) -> bool {
        !self.add(INodeNo(entry.inode.0), entry.cookie, file_type(entry.kind), OsStr::from_bytes(&entry.name))
    }

    fn hold(_shared: &Shared, _inode: Inode) {}

    fn send(self) {
        self.ok();
    }
}

impl Page for ReplyDirectoryPlus {
    const PLUS: bool = true;
    const FIRST_BATCH: usize = 25;

    fn put(&mut self, shared: &Shared, entry: &DirEntry) -> bool {
        // fuser gives name and attributes one lifetime; the shorter one is always right.
        let (attr, lifetime) = match &entry.attributes {
            Some(known) => {
                let (shown, lifetime) = shared.shown(known);
                (shown, shared.lifetimes.entry.min(lifetime))
            }
            None => (unknown_attr(entry.inode, entry.kind), Duration::ZERO),
        };
        !self.add(attr.ino, entry.cookie, OsStr::from_bytes(&entry.name), &lifetime, &attr, Generation(0))
    }

    fn hold(shared: &Shared, inode: Inode) {
        shared.volume.hold(inode);
    }

    fn send(self) {
        self.ok();
    }
}

/// What became of a batch of entries.
#[derive(Debug, PartialEq, Eq)]
struct Packed {
    /// Entries that are in the page.
    entries: usize,
    /// Cookie of the last of them.
    last_cookie: Option<u64>,
    /// The next one did not fit.
    full: bool,
}

/// Puts entries until one does not fit, and holds those that went in and that the kernel will count.
fn pack(entries: &[DirEntry], mut put: impl FnMut(&DirEntry) -> bool, mut hold: impl FnMut(Inode)) -> Packed {
    let mut packed = Packed { entries: 0, last_cookie: None, full: false };
    for entry in entries {
        if !put(entry) {
            packed.full = true;
            break;
        }
        packed.entries += 1;
        packed.last_cookie = Some(entry.cookie);
        if !matches!(entry.name.as_slice(), b"." | b"..") {
            hold(entry.inode);
        }
    }
    packed
}

/// A page being filled: where it is, and how much it asks for next.
pub(super) struct Walk<P: Page> {
    ticket: Ticket<P>,
    directory: Inode,
    after: u64,
    batch: usize,
    packed: usize,
}

impl<P: Page> Walk<P> {
    pub(super) fn new(ticket: Ticket<P>, directory: Inode, after: u64) -> Self {
        Self { ticket, directory, after, batch: P::FIRST_BATCH, packed: 0 }
    }

    /// Asks for the next batch. The size of the kernel's page is fuser's secret, so each batch is twice the one before until it is full.
    pub(super) fn go_on(self) {
        let shared = self.ticket.shared().clone();
        let (op, directory, after, batch) = (self.ticket.op(), self.directory, self.after, self.batch);
        let replier = Replier::from_fn(move |answer| self.take(answer));
        shared.guarded(op, |volume| volume.read_dir(directory, after, batch, P::PLUS, replier));
    }

    fn take(mut self, answer: Answer<Vec<DirEntry>>) {
        let entries = match answer {
            Ok(entries) => entries,
            Err(refusal) if self.packed == 0 => return self.ticket.refuse_as(refusal),
            Err(_) => return self.send(),
        };
        let shared = self.ticket.shared().clone();
        let Some(page) = self.ticket.reply_mut() else { return };
        let packed = pack(&entries, |entry| page.put(&shared, entry), |inode| P::hold(&shared, inode));
        self.packed += packed.entries;
        if packed.full && self.packed == 0 {
            // An empty page would mean the end of the directory.
            return self.ticket.refuse(Errno::EINVAL);
        }
        // Fewer than asked for may be the end: the kernel asks again, and only an empty page ends the listing.
        if packed.full || entries.len() < self.batch {
            return self.send();
        }
        self.after = packed.last_cookie.unwrap_or(self.after);
        self.batch = (self.batch * 2).min(BATCH_MAX);
        self.go_on();
    }

    fn send(self) {
        self.ticket.send(|_, page| page.send());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use infmap_storage::row::FileKind;

    fn entries(count: u64) -> Vec<DirEntry> {
        let name = |cookie: u64| match cookie {
            1 => b".".to_vec(),
            2 => b"..".to_vec(),
            other => format!("{other}").into_bytes(),
        };
        (1..=count)
            .map(|cookie| DirEntry { inode: Inode(cookie + 10), kind: FileKind::Regular, cookie, name: name(cookie), attributes: None })
            .collect()
    }

    #[test]
    fn only_what_went_into_the_page_is_held_and_dots_never() {
        for room in 0..8usize {
            let (mut fitted, mut held) = (0, Vec::new());
            let put = |_: &DirEntry| {
                fitted += 1;
                fitted <= room
            };
            let packed = pack(&entries(6), put, |inode| held.push(inode.0));
            assert_eq!(packed.entries, room.min(6));
            assert_eq!(packed.full, room < 6);
            assert_eq!(packed.last_cookie, (room > 0).then(|| room.min(6) as u64));
            assert_eq!(held, (3..=room.min(6) as u64).map(|cookie| cookie + 10).collect::<Vec<_>>());
        }
    }
}
