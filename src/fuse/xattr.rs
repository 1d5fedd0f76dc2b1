//! Extended attributes, as the kernel asks for them: with a size of zero for their length, else for what fits.
//!
//! Owns: that convention, and the flags of SETXATTR. Must be true: what does not fit is ERANGE, never cut. Fails: as the volume does.

use super::answer::Ticket;
use fuser::{Errno, ReplyXattr};
use infmap_actors::api::{Answer, SetHow};
use infmap_actors::replier::Replier;
use infmap_storage::names::TRUSTED;

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

/// The flags of SETXATTR; `None` for what nobody knows.
pub(super) fn set_how(flags: i32) -> Option<SetHow> {
    match flags {
        0 => Some(SetHow::Any),
        1 => Some(SetHow::Create),
        2 => Some(SetHow::Replace),
        3 => Some(SetHow::Never),
        _ => None,
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
            [0, 1, 2, 3, 4, -1].map(set_how),
            [Some(SetHow::Any), Some(SetHow::Create), Some(SetHow::Replace), Some(SetHow::Never), None, None]
        );
    }
}
