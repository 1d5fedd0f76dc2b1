//! The one place where a refusal becomes an errno.
//!
//! Owns: `errno`, and the names by which metrics count them. Must be true: the match is exhaustive; ENOSYS is never the errno of a
//! refusal, because the kernel remembers it for the whole mount. Fails: never.

use fuser::Errno;
use infmap_actors::api::Refusal;

/// What the caller of a system call gets for a refusal.
#[must_use]
pub fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::NotFound => Errno::ENOENT,
        Refusal::Exists => Errno::EEXIST,
        Refusal::NotDirectory => Errno::ENOTDIR,
        Refusal::IsDirectory => Errno::EISDIR,
        Refusal::NotEmpty => Errno::ENOTEMPTY,
        Refusal::NameTooLong => Errno::ENAMETOOLONG,
        Refusal::TooManyLinks => Errno::EMLINK,
        Refusal::Invalid => Errno::EINVAL,
        Refusal::NoSpace => Errno::ENOSPC,
        Refusal::FileTooBig => Errno::EFBIG,
        Refusal::BatchTooBig => Errno::E2BIG,
        Refusal::ReadOnly => Errno::EROFS,
        Refusal::Stale => Errno::ESTALE,
        Refusal::Busy => Errno::EBUSY,
        Refusal::NotPermitted => Errno::EPERM,
        Refusal::NoAttribute => Errno::NO_XATTR,
        Refusal::NoData => Errno::ENXIO,
        Refusal::NotSupported => Errno::EOPNOTSUPP,
        Refusal::Damaged | Refusal::Gone => Errno::EIO,
    }
}

/// Every errno that leaves this door, with the label that metrics give it. The last one stands for any other.
pub(super) const LABELS: [(Errno, &str); 22] = [
    (Errno::ENOENT, "ENOENT"),
    (Errno::EEXIST, "EEXIST"),
    (Errno::ENOTDIR, "ENOTDIR"),
    (Errno::EISDIR, "EISDIR"),
    (Errno::ENOTEMPTY, "ENOTEMPTY"),
    (Errno::ENAMETOOLONG, "ENAMETOOLONG"),
    (Errno::EMLINK, "EMLINK"),
    (Errno::EINVAL, "EINVAL"),
    (Errno::ENOSPC, "ENOSPC"),
    (Errno::EFBIG, "EFBIG"),
    (Errno::E2BIG, "E2BIG"),
    (Errno::EROFS, "EROFS"),
    (Errno::ESTALE, "ESTALE"),
    (Errno::EBUSY, "EBUSY"),
    (Errno::EPERM, "EPERM"),
    (Errno::NO_XATTR, "ENODATA"),
    (Errno::ENXIO, "ENXIO"),
    (Errno::ERANGE, "ERANGE"),
    (Errno::EOPNOTSUPP, "EOPNOTSUPP"),
    (Errno::ENOSYS, "ENOSYS"),
    (Errno::EIO, "EIO"),
    (Errno::ECANCELED, "other"),
];

/// Where in `LABELS` an errno stands.
pub(super) fn position(errno: Errno) -> usize {
    LABELS.iter().position(|(known, _)| *known == errno).unwrap_or(LABELS.len() - 1)
}

/// The name of an errno, as metrics and the access log have it.
#[expect(clippy::indexing_slicing, reason = "`position` gives positions in `LABELS`")]
pub(super) fn label(errno: Errno) -> &'static str {
    LABELS[position(errno)].1
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Refusal; 20] = [
        Refusal::NotFound,
        Refusal::Exists,
        Refusal::NotDirectory,
        Refusal::IsDirectory,
        Refusal::NotEmpty,
        Refusal::NameTooLong,
        Refusal::TooManyLinks,
        Refusal::Invalid,
        Refusal::NoSpace,
        Refusal::FileTooBig,
        Refusal::BatchTooBig,
        Refusal::ReadOnly,
        Refusal::Stale,
        Refusal::Busy,
        Refusal::NotPermitted,
        Refusal::NoAttribute,
        Refusal::NoData,
        Refusal::NotSupported,
        Refusal::Damaged,
        Refusal::Gone,
    ];

    #[test]
    fn every_refusal_has_an_errno_of_its_own_that_the_metrics_can_name() {
        let mut seen = std::collections::BTreeMap::new();
        for refusal in ALL {
            let errno = errno(refusal);
            assert_ne!(errno, Errno::ENOSYS, "{refusal:?}: the kernel would never ask again");
            assert_ne!(LABELS[position(errno)].1, "other", "{refusal:?} has no label");
            if let Some(other) = seen.insert(errno.code(), refusal) {
                assert_eq!((other, refusal), (Refusal::Damaged, Refusal::Gone), "two refusals share an errno");
            }
        }
        assert_eq!(seen.len(), ALL.len() - 1);
    }
}
