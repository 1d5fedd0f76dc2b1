//! What the kernel asks for, in the volume's words.
//!
//! Must be true: names are bytes; what is not understood is refused, not guessed. Fails: with `None`.

use fuser::{INodeNo, RenameFlags, Request};
use infmap_actors::api::{AttributeChange, NewNode, RenameMode};
use infmap_storage::row::{FileKind, Inode};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub(super) fn new_node(req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32) -> NewNode {
    NewNode { parent: Inode(parent.0), name: name.as_bytes().to_vec(), mode, umask, uid: req.uid(), gid: req.gid(), rdev: 0 }
}

pub(super) fn mode_of(kind: FileKind, mode: u32) -> u32 {
    kind.mode_bits() | (mode & 0o7777)
}

pub(super) fn rename_mode(flags: RenameFlags) -> Option<RenameMode> {
    match flags {
        _ if flags.is_empty() => Some(RenameMode::Replace),
        RenameFlags::RENAME_NOREPLACE => Some(RenameMode::NoReplace),
        RenameFlags::RENAME_EXCHANGE => Some(RenameMode::Exchange),
        _ => None,
    }
}

/// What a SETATTR changes. Privileges fall with a size that somebody other than root sets: the kernel's own bit for that
/// (`FATTR_KILL_SUIDGID`, by CAP_FSETID) is hidden by fuser 0.18. That they fall with an owner or group the volume knows.
pub(super) fn attribute_change(
    uid_of_caller: u32,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
) -> AttributeChange {
    let clear_privileges = size.is_some() && uid_of_caller != 0;
    AttributeChange { permissions: mode.map(|mode| mode & 0o7777), uid, gid, size, clear_privileges, ..AttributeChange::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_that_are_not_understood_are_refused() {
        assert_eq!(rename_mode(RenameFlags::empty()), Some(RenameMode::Replace));
        assert_eq!(rename_mode(RenameFlags::RENAME_NOREPLACE), Some(RenameMode::NoReplace));
        assert_eq!(rename_mode(RenameFlags::RENAME_EXCHANGE), Some(RenameMode::Exchange));
        for bits in 3..64 {
            assert_eq!(rename_mode(RenameFlags::from_bits_retain(bits)), None, "{bits}");
        }
    }

    #[test]
    fn privileges_fall_with_a_size_that_a_user_sets_and_an_owner_is_the_volumes_affair() {
        let falls = |caller, uid, gid, size| attribute_change(caller, None, uid, gid, size).clear_privileges;
        assert!(falls(1000, None, None, Some(0)));
        assert!(!falls(0, None, None, Some(0)) && !falls(1000, None, None, None));
        // A directory keeps its setgid, so it is judged where the kind is known.
        assert!(!falls(0, Some(1), None, None) && !falls(0, None, Some(1), None));
    }
}
