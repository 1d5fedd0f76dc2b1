//! What a request is about: numbers that the access log may hold, and no names.

use super::meters::Op;

/// A kind of request, and the inode and the bytes that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub op: Op,
    /// Of a name: its directory.
    pub inode: u64,
    pub offset: u64,
    /// Bytes that were asked for.
    pub size: u64,
}

impl Op {
    /// About an inode.
    pub(super) fn on(self, inode: u64) -> Subject {
        self.about(inode, 0, 0)
    }

    /// About bytes of an inode.
    pub(super) fn about(self, inode: u64, offset: u64, size: u64) -> Subject {
        Subject { op: self, inode, offset, size }
    }
}
