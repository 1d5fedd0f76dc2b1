//! What callers of a `Volume` say and hear: plain values, no FUSE.
//!
//! Owns: `Attributes`, `DirEntry`, `NewNode`, `AttributeChange`, `Rename`, `SpaceUse`. Must be true: names are bytes; times are signed
//! seconds and nanoseconds; sizes are bytes. Fails: refused operations are `Refusal`s.

use infmap_storage::limits::INLINE_FILE_BYTES;
use infmap_storage::row::{FileKind, Inode, InodeRow, Time};

pub use infmap_storage::names::{AttributeChange, NewNode, Rename, RenameMode, SetHow, SetTime, SetXattr};
pub use infmap_storage::refusal::Refusal;

pub use crate::vat::{Done, NameOp};

/// What an operation answers.
pub type Answer<T> = Result<T, Refusal>;

/// What `stat` shows of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    pub inode: Inode,
    pub kind: FileKind,
    /// Permission bits with suid, sgid and sticky: 12 bits.
    pub permissions: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub rdev: u32,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes.
    pub blocks: u64,
    pub accessed: Time,
    pub modified: Time,
    pub changed: Time,
    pub created: Time,
}

impl Attributes {
    /// The attributes that a row says.
    #[must_use]
    pub fn of(inode: Inode, row: &InodeRow) -> Self {
        let kind = row.kind();
        Self {
            inode,
            kind,
            permissions: row.mode & 0o7777,
            uid: row.uid,
            gid: row.gid,
            links: row.links,
            rdev: row.rdev,
            size: if kind == FileKind::Directory { 4096 } else { row.size },
            // Content that stands in the tree counts as if it stood in blocks: to `tar -S`, none would mean a hole.
            blocks: if row.blocks == 0 && row.size <= INLINE_FILE_BYTES as u64 { row.size.div_ceil(512) } else { row.blocks },
            accessed: row.accessed,
            modified: row.modified,
            changed: row.changed,
            created: row.created,
        }
    }
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub inode: Inode,
    pub kind: FileKind,
    /// Where a reader of the directory goes on: the listing after this cookie begins with the next entry. 1 is ".", 2 is "..".
    pub cookie: u64,
    pub name: Vec<u8>,
    /// Given when asked for.
    pub attributes: Option<Attributes>,
}

/// How a write came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WriteHow {
    /// From the kernel's writeback cache: it owns size and times, so the write changes no times.
    pub from_cache: bool,
    /// Clear suid, and sgid of a group-executable file.
    pub clear_privileges: bool,
}

/// Bytes of a file that are made zero, as `fallocate` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClearRange {
    pub offset: u64,
    /// Above zero.
    pub length: u64,
    pub how: ClearHow,
    /// Clear suid, and sgid of a group-executable file.
    pub clear_privileges: bool,
}

/// What is done with the bytes of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearHow {
    /// `FALLOC_FL_PUNCH_HOLE`: they become a hole; the size stays.
    Punch,
    /// `FALLOC_FL_ZERO_RANGE`: they become zeros, which take no room here either.
    Zero { keep_size: bool },
    /// Nothing: they stay as they are. Room is promised to nobody: what is written goes elsewhere than what was there.
    Reserve { keep_size: bool },
}

impl ClearRange {
    /// Whether bytes that are there go.
    #[must_use]
    pub fn cuts(&self) -> bool {
        !matches!(self.how, ClearHow::Reserve { .. })
    }

    /// Whether the file grows to the end of the range.
    #[must_use]
    pub fn extends(&self) -> bool {
        matches!(self.how, ClearHow::Zero { keep_size: false } | ClearHow::Reserve { keep_size: false })
    }
}

/// What is looked for in a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekWhat {
    /// `SEEK_DATA`
    Data,
    /// `SEEK_HOLE`; the end of the file is one.
    Hole,
}

/// Space of the volume, in bytes, and inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceUse {
    pub total_bytes: u64,
    /// With what nobody may write: the cleaner and roots need it.
    pub free_bytes: u64,
    /// What may still be written.
    pub available_bytes: u64,
    pub inodes: u64,
    pub free_inodes: u64,
}
