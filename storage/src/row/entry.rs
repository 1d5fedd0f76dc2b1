//! The two rows of a directory entry: by name, and by cookie for readers of the directory.
//!
//! Owns: `EntryRow`, `CookieRow`, `FileKind`. Must be true: an entry has both rows, and they name each other.
//! Fails: see `RowError`.

use super::{Inode, RowError, decode};
use crate::limits::NAME_MAX_BYTES;
use crate::wire::Put;

/// Kind of a file, numbered as `d_type` is (`dirent.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FileKind {
    Fifo = 1,
    CharDevice = 2,
    Directory = 4,
    BlockDevice = 6,
    Regular = 8,
    Symlink = 10,
    Socket = 12,
}

impl FileKind {
    /// The kind that the type bits of a mode say; anything unknown counts as a regular file, as type bits of 0 do in `mknod`.
    #[must_use]
    pub fn of_mode(mode: u32) -> Self {
        Self::from_number(((mode >> 12) & 0xf) as u8).unwrap_or(Self::Regular)
    }

    /// The type bits of `st_mode`.
    #[must_use]
    pub fn mode_bits(self) -> u32 {
        u32::from(self as u8) << 12
    }

    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Fifo,
            2 => Self::CharDevice,
            4 => Self::Directory,
            6 => Self::BlockDevice,
            8 => Self::Regular,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => return None,
        })
    }
}

/// Value of a name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRow {
    pub inode: Inode,
    pub kind: FileKind,
    pub cookie: u64,
}

impl EntryRow {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(18);
        out.put_u8(super::ENCODING);
        out.put_u64(self.inode.0);
        out.put_u8(self.kind as u8);
        out.put_u64(self.cookie);
        out
    }

    /// # Errors
    /// [`RowError`] when the bytes are not such a row.
    pub fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        decode("entry", bytes, |r| Some(Self { inode: Inode(r.u64()?), kind: FileKind::from_number(r.u8()?)?, cookie: r.u64()? }))
    }
}

/// Value of a position in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieRow {
    pub inode: Inode,
    pub kind: FileKind,
    pub name: Vec<u8>,
}

impl CookieRow {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 + self.name.len());
        out.put_u8(super::ENCODING);
        out.put_u64(self.inode.0);
        out.put_u8(self.kind as u8);
        out.put_short_bytes(&self.name);
        out
    }

    /// # Errors
    /// [`RowError`] when the bytes are not such a row.
    pub fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        decode("cookie", bytes, |r| {
            let (inode, kind) = (Inode(r.u64()?), FileKind::from_number(r.u8()?)?);
            let name = r.short_bytes()?;
            (1..=NAME_MAX_BYTES).contains(&name.len()).then(|| Self { inode, kind, name: name.to_vec() })
        })
    }
}
