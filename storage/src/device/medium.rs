//! What an error of the host is about: bytes that the medium does not give, or something that passes.
//!
//! Owns: `HostError`. Must be true: MED-1 only an error that speaks of the stored bytes is called the medium's: too many open files or too
//! little memory lose nothing. Fails: never.

use rustix::io::Errno;
use std::io;

/// What block devices and the filesystems above them say of bytes that they cannot give: Linux, block/blk-core.c (`blk_errors`); ext4, XFS
/// and btrfs say EBADMSG and EUCLEAN where checksums do not match.
const OF_MEDIUM: [Errno; 6] = [Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::REMOTEIO, Errno::BADMSG, Errno::UCLEAN];

/// The host's error with what was tried, and where.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
struct HostError {
    said: String,
    errno: Errno,
}

/// An error of the host, with words.
pub(super) fn host_error(said: String, errno: Errno) -> io::Error {
    io::Error::new(io::Error::from(errno).kind(), HostError { said, errno })
}

/// Whether an error says that the medium does not give the bytes.
#[must_use]
pub fn is_of_medium(error: &io::Error) -> bool {
    let said = error.get_ref().and_then(|inner| inner.downcast_ref::<HostError>()).map(|error| error.errno);
    let errno = said.or_else(|| error.raw_os_error().map(Errno::from_raw_os_error));
    errno.is_some_and(|errno| OF_MEDIUM.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_not_the_mediums() {
        for (errno, is_it) in
            [(Errno::IO, true), (Errno::NODATA, true), (Errno::MFILE, false), (Errno::NFILE, false), (Errno::NOMEM, false)]
        {
            for error in [host_error("read it".into(), errno), errno.into()] {
                assert_eq!(is_of_medium(&error), is_it, "{error:?}");
            }
        }
        assert!(!is_of_medium(&io::ErrorKind::TimedOut.into()) && !is_of_medium(&io::Error::other("else")));
    }
}
