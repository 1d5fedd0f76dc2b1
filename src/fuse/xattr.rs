//! Extended attributes, as the kernel asks for them: with a size of zero for their length, else for what fits.
//!
//! Owns: that convention, and the flags of SETXATTR. Must be true: what does not fit is ERANGE, never cut. Fails: as the volume does.

use super::answer::{Shared, Ticket};
use crate::control::protocol::LocatedPage;
use fuser::{Errno, ReplyXattr};
use infmap_actors::Volume;
use infmap_actors::api::{Answer, Refusal, SetHow};
use infmap_actors::replier::Replier;
use infmap_storage::limits::XATTR_MAX_BYTES;
use infmap_storage::locate::FilePage;
use infmap_storage::names::TRUSTED;
use infmap_storage::row::{FileKind, Inode};
use std::ffi::OsStr;
use std::sync::Arc;

/// The attribute of a file that says where on the map it lies. It is not listed, so that no copy takes it along, and not stored.
pub(super) const LAYOUT: &str = "user.infmap.layout";
/// Extents that it names at most: of a longer file `next` says where the rest begins.
const LAYOUT_EXTENTS: usize = 200;

/// Asks where a file lies.
pub(super) fn ask_layout(shared: &Arc<Shared>, inode: Inode, replier: Replier<Answer<Vec<u8>>>) {
    let telling = shared.clone();
    shared.volume.file_places(inode, 0, LAYOUT_EXTENTS, replier.map(move |page| layout(&telling.volume, page)));
}

fn layout(volume: &Volume, page: Answer<FilePage>) -> Answer<Vec<u8>> {
    let page = page?;
    if page.kind != FileKind::Regular {
        return Err(Refusal::NoAttribute);
    }
    let unplaced = volume.shared().live.get(page.inode).is_some();
    let text = serde_json::to_vec(&LocatedPage::of(&page, unplaced)).map_err(|_| Refusal::Invalid)?;
    if text.len() <= XATTR_MAX_BYTES { Ok(text) } else { Err(Refusal::FileTooBig) }
}

/// A replier that sends bytes of which the caller takes `room`, or their number if that is zero.
pub(super) fn sized(ticket: Ticket<ReplyXattr>, room: u32) -> Replier<Answer<Vec<u8>>> {
    Replier::from_fn(move |answer: Answer<Vec<u8>>| match answer {
        Ok(value) if room > 0 && value.len() > room as usize => ticket.refuse(Errno::ERANGE),
        answer => ticket.finish(answer, |_, reply, value| if room == 0 { reply.size(value.len() as u32) } else { reply.data(&value) }),
    })
}

/// Names as LISTXATTR gives them, each with a zero byte; of `trusted.` none to a caller without privilege.
pub(super) fn list(names: &[Vec<u8>], uid: u32) -> Vec<u8> {
    let seen = names.iter().filter(|name| uid == 0 || !name.starts_with(TRUSTED));
    seen.flat_map(|name| name.iter().copied().chain([0])).collect()
}

/// The flags of SETXATTR; EINVAL for what nobody knows, EPERM for a name that is ours.
pub(super) fn set_how(name: &OsStr, flags: i32) -> Result<SetHow, Errno> {
    match flags {
        _ if name == LAYOUT => Err(Errno::EPERM),
        0 => Ok(SetHow::Any),
        1 => Ok(SetHow::Create),
        2 => Ok(SetHow::Replace),
        3 => Ok(SetHow::Never),
        _ => Err(Errno::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_with_a_zero_each_and_trusted_ones_for_root_alone() {
        let names = [b"security.a".to_vec(), b"trusted.b".to_vec(), b"user.c".to_vec()];
        assert_eq!(list(&names, 0), b"security.a\0trusted.b\0user.c\0");
        assert_eq!(list(&names, 1000), b"security.a\0user.c\0");
        assert_eq!(list(&[], 0), b"");
    }

    #[test]
    fn a_flag_that_nobody_knows_is_not_taken_for_another() {
        assert_eq!(
            [0, 1, 2, 3, 4, -1].map(|flags| set_how(OsStr::new("user.x"), flags).ok()),
            [Some(SetHow::Any), Some(SetHow::Create), Some(SetHow::Replace), Some(SetHow::Never), None, None]
        );
    }
}
