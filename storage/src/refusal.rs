//! Why an operation was refused, in the words of POSIX.
//!
//! Owns: `Refusal`. Must be true: each has one errno, given by an exhaustive match at the door. Details of damage are logged and
//! counted where they are found; what a caller of the filesystem gets is one of these.

/// The reason for which an operation was not done. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("no such file or directory")]
    NotFound,
    #[error("the name exists already")]
    Exists,
    #[error("not a directory")]
    NotDirectory,
    #[error("is a directory")]
    IsDirectory,
    #[error("the directory is not empty")]
    NotEmpty,
    #[error("the name is longer than 255 bytes")]
    NameTooLong,
    #[error("the file has as many names as it may have")]
    TooManyLinks,
    #[error("invalid argument")]
    Invalid,
    #[error("no space left on the volume")]
    NoSpace,
    #[error("the file would become larger than a file can be")]
    FileTooBig,
    #[error("the batch is larger than one group of the log")]
    BatchTooBig,
    #[error("the volume is read-only")]
    ReadOnly,
    #[error("the inode is gone")]
    Stale,
    #[error("in use")]
    Busy,
    #[error("not permitted")]
    NotPermitted,
    #[error("no such attribute")]
    NoAttribute,
    #[error("neither data nor a hole begins behind that offset")]
    NoData,
    #[error("not supported")]
    NotSupported,
    #[error("the bytes are damaged or could not be read")]
    Damaged,
    #[error("the volume is being unmounted, or the actor in charge has failed")]
    Gone,
}
