//! The row of an inode: what `stat` shows, and what a directory needs to give out cookies.
//!
//! Owns: `InodeRow`, `Time`. Must be true: `version` is the write sequence up to which size, blocks and times are those of the
//! file's bytes; a live row above it lies over them (O10). Fails: see `RowError`.

use super::{FileKind, Inode, RowError, decode};
use crate::wire::Put;

/// A moment: seconds since 1970-01-01 UTC, negative before, and nanoseconds 0..1_000_000_000 that always count forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    pub seconds: i64,
    pub nanos: u32,
}

impl Time {
    /// The moment so many nanoseconds after 1970-01-01 UTC, or before.
    #[must_use]
    pub fn from_unix_ns(ns: i64) -> Self {
        const SECOND_NS: i64 = 1_000_000_000;
        Self { seconds: ns.div_euclid(SECOND_NS), nanos: ns.rem_euclid(SECOND_NS) as u32 }
    }
}

/// Attributes of an inode as the tree holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InodeRow {
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Names that lead here; a directory counts its own "." and the ".." of its children.
    pub links: u32,
    /// Device number of a device node.
    pub rdev: u32,
    /// Bytes of a file or of a link's target; 0 for a directory.
    pub size: u64,
    /// Units of 512 bytes that the content takes.
    pub blocks: u64,
    pub accessed: Time,
    pub modified: Time,
    pub changed: Time,
    pub created: Time,
    /// Write sequence that size, blocks and times reflect.
    pub version: u64,
    /// Directory that holds this one; of a file the inode itself means nothing, 0.
    pub parent: Inode,
    /// The next cookie of a directory; from 3, never used again.
    pub next_cookie: u64,
    /// Entries of a directory.
    pub entries: u64,
}

impl InodeRow {
    /// A new inode of this mode with one name (a directory: two), all times `now`.
    #[must_use]
    pub fn new(mode: u32, uid: u32, gid: u32, now: Time) -> Self {
        let links = if FileKind::of_mode(mode) == FileKind::Directory { 2 } else { 1 };
        Self {
            mode,
            uid,
            gid,
            links,
            rdev: 0,
            size: 0,
            blocks: 0,
            accessed: now,
            modified: now,
            changed: now,
            created: now,
            version: 0,
            parent: Inode(0),
            next_cookie: 3,
            entries: 0,
        }
    }

    /// What kind of file it is.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        FileKind::of_mode(self.mode)
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.put_u8(super::ENCODING);
        for v in [self.mode, self.uid, self.gid, self.links, self.rdev] {
            out.put_u32(v);
        }
        for v in [self.size, self.blocks, self.version, self.parent.0, self.next_cookie, self.entries] {
            out.put_u64(v);
        }
        for t in [self.accessed, self.modified, self.changed, self.created] {
            out.put_i64(t.seconds);
            out.put_u32(t.nanos);
        }
        out
    }

    /// # Errors
    /// [`RowError`] when the bytes are not such a row.
    pub fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        decode("inode", bytes, |r| {
            let (mode, uid, gid, links, rdev) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?, r.u32()?);
            let (size, blocks, version, parent) = (r.u64()?, r.u64()?, r.u64()?, Inode(r.u64()?));
            let (next_cookie, entries) = (r.u64()?, r.u64()?);
            let mut time = || {
                let t = Time { seconds: r.i64()?, nanos: r.u32()? };
                (t.nanos < 1_000_000_000).then_some(t)
            };
            let (accessed, modified, changed, created) = (time()?, time()?, time()?, time()?);
            Some(Self {
                mode,
                uid,
                gid,
                links,
                rdev,
                size,
                blocks,
                accessed,
                modified,
                changed,
                created,
                version,
                parent,
                next_cookie,
                entries,
            })
        })
    }
}
