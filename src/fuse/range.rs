//! Ranges of files, as the kernel names them: the modes of `fallocate`, the whences of `lseek`.
//!
//! Owns: their numbers (`include/uapi/linux/falloc.h`, `include/uapi/linux/fs.h`). Must be true: what is not understood is refused, never
//! taken for another. Fails: with `None`, which the caller answers EOPNOTSUPP or EINVAL.

use super::answer::{Shared, Ticket};
use super::meters::Op;
use fuser::ReplyLseek;
use infmap_actors::api::{Answer, Attributes, ClearHow, Refusal, SeekWhat};
use infmap_storage::row::Inode;
use std::sync::Arc;

const KEEP_SIZE: i32 = 0x01;
const PUNCH_HOLE: i32 = 0x02;
const ZERO_RANGE: i32 = 0x10;
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// What a mode of `fallocate` asks for; `None` for collapsing, inserting, and whatever comes.
pub(super) fn clear_how(mode: i32) -> Option<ClearHow> {
    let keep_size = mode & KEEP_SIZE != 0;
    match mode & !KEEP_SIZE {
        0 => Some(ClearHow::Reserve { keep_size }),
        PUNCH_HOLE if keep_size => Some(ClearHow::Punch),
        ZERO_RANGE => Some(ClearHow::Zero { keep_size }),
        _ => None,
    }
}

/// What a whence of `lseek` looks for; the kernel does the others itself.
pub(super) fn seek_what(whence: i32) -> Option<SeekWhat> {
    match whence {
        SEEK_DATA => Some(SeekWhat::Data),
        SEEK_HOLE => Some(SeekWhat::Hole),
        _ => None,
    }
}

/// Looks for data or a hole; `known`: the volume has all that was written. What is called returns before it is found.
pub(super) fn look(shared: Arc<Shared>, inode: Inode, offset: u64, what: SeekWhat, ticket: Ticket<ReplyLseek>) -> impl FnOnce(bool) + Send {
    let found = ticket.replier(|_, reply, at: u64| reply.offset(i64::try_from(at).unwrap_or(i64::MAX)));
    move |known| {
        shared.guarded(Op::Lseek, |volume| match known {
            true => volume.seek(inode, offset, what, found),
            // Somebody writes while we look: all of it is data then.
            false => volume.attributes(inode, found.map(move |seen: Answer<Attributes>| all_data(seen?.size, offset, what))),
        });
    }
}

/// Where data or a hole begins in a file that is all data.
fn all_data(size: u64, offset: u64, what: SeekWhat) -> Answer<u64> {
    match what {
        _ if offset >= size => Err(Refusal::NoData),
        SeekWhat::Data => Ok(offset),
        SeekWhat::Hole => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_hole_has_one_at_its_end() {
        assert_eq!((all_data(9, 3, SeekWhat::Data), all_data(9, 3, SeekWhat::Hole)), (Ok(3), Ok(9)));
        assert_eq!((all_data(9, 9, SeekWhat::Data), all_data(9, 9, SeekWhat::Hole)), (Err(Refusal::NoData), Err(Refusal::NoData)));
    }

    #[test]
    fn each_mode_is_what_linux_means_by_it_and_the_others_are_refused() {
        assert_eq!(clear_how(0), Some(ClearHow::Reserve { keep_size: false }));
        assert_eq!(clear_how(1), Some(ClearHow::Reserve { keep_size: true }));
        assert_eq!(clear_how(3), Some(ClearHow::Punch));
        assert_eq!(
            (clear_how(0x10), clear_how(0x11)),
            (Some(ClearHow::Zero { keep_size: false }), Some(ClearHow::Zero { keep_size: true }))
        );
        // A hole without keeping the size, collapse, insert, unshare, both at once.
        assert!([2, 8, 0x20, 0x40, 0x13, 0x12, -1].into_iter().all(|mode| clear_how(mode).is_none()));
        assert_eq!((seek_what(3), seek_what(4), seek_what(0)), (Some(SeekWhat::Data), Some(SeekWhat::Hole), None));
    }
}
