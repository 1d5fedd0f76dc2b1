//! What an error of the host is about: bytes that the medium does not give, or something that passes.
//!
//! Owns: `HostError`. Must be true: MED-1 only an error that speaks of the stored bytes is called the medium's: too many open files or too
//! little memory lose nothing; MED-2 what stands in the place of a file and is none (a directory, a link, a pipe, a socket) is as good as no file.
//! Fails: never.

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

/// What an open says of a pipe or a device: the same as Linux says of a socket.
pub(super) const NO_FILE: Errno = Errno::NXIO;

/// What is there is not what we put there: a link, a pipe, a file of somebody else.
pub(super) fn foreign(said: String, errno: Errno) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, HostError { said, errno })
}

/// Whether a file could not be opened because there is none of that name: nothing, or something else.
#[must_use]
pub fn is_no_file(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    let said = error.get_ref().and_then(|inner| inner.downcast_ref::<HostError>()).map(|error| error.errno);
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory) || said.is_some_and(|errno| matches!(errno, NO_FILE | Errno::LOOP))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen to fail when only a missing file counted: a run of the scanner ended at a pipe that had the name of an image.
    #[test]
    fn whatever_is_no_file_is_as_good_as_none() {
        use super::super::{Device, FileDevice, Open};
        let directory = tempfile::tempdir().expect("a directory");
        let device = FileDevice::new(directory.path()).expect("opened");
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("directory")).expect("made");
        std::os::unix::fs::symlink("file", at("link")).expect("made");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("made");
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("made");
        std::fs::write(at("file"), "bytes").expect("written");
        for name in ["nothing", "directory", "link", "socket", "pipe", "file/below"] {
            let error = device.open(name, Open::READ).map(drop).expect_err("refused");
            assert!(is_no_file(&error) && !is_of_medium(&error), "{name}: {error:?}");
        }
        assert!(!is_no_file(&host_error("open it".into(), Errno::MFILE)) && !is_no_file(&host_error("open it".into(), Errno::IO)));
    }

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
