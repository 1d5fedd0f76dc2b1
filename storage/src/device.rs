//! The volume directory as the rest of the program sees it: a small tree of files, on a host or simulated.
//!
//! Owns: the traits [`Device`] and [`DeviceFile`], the rules of paths, and the few helpers made of them.
//! Must be true, for every device: DEV-1 a path is relative, '/'-separated and never leaves the volume; DEV-2 a read is short only
//! at the end of the file; DEV-3 bytes and size are durable only after `sync` of the file, a name only after `sync_dir` of the
//! directory that holds it (and of each new directory above); DEV-4 a sync that failed is never repeated on the same data: write
//! it again, elsewhere. Fails: with the host's `io::ErrorKind` and a message that names the operation and the path.

pub mod file;
mod medium;
pub mod memory;
mod read_only;
mod retry;
pub mod simulated;
#[cfg(test)]
mod tests;

use crate::limits::NAME_MAX_BYTES;
use std::io;
use std::sync::Arc;

pub use file::{FileDevice, HostDirectory, Refused};
pub use medium::{is_no_file, is_of_medium};
pub use memory::MemoryDevice;
pub use read_only::ReadOnlyDevice;
pub use retry::RetryingDevice;
pub use simulated::{CrashStyle, Operation, SimulatedDisk, is_power_off};

/// Bytes of a file on a device at most: offsets are signed 64-bit numbers for the host.
pub const DEVICE_FILE_MAX_BYTES: u64 = i64::MAX as u64;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Existing, to read.
    Read,
    /// Existing, to read and write.
    Write,
    /// New or existing, to read and write; never truncated.
    Create,
    /// New, to read and write; `AlreadyExists` if the name is taken.
    CreateNew,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    pub access: Access,
    /// Past the host's page cache (O_DIRECT), where the host can and address, offset and length are multiples of
    /// [`DIRECT_ALIGN`](crate::limits::DIRECT_ALIGN); otherwise silently through the cache. Never a reason to fail.
    pub direct: bool,
}

impl Open {
    pub const READ: Self = Self { access: Access::Read, direct: false };
    pub const WRITE: Self = Self { access: Access::Write, direct: false };
    pub const CREATE: Self = Self { access: Access::Create, direct: false };
    pub const CREATE_NEW: Self = Self { access: Access::CreateNew, direct: false };

    /// The same, past the page cache.
    #[must_use]
    pub const fn direct(self) -> Self {
        Self { direct: true, ..self }
    }

    /// Whether a missing file is made.
    #[must_use]
    pub const fn creates(self) -> bool {
        matches!(self.access, Access::Create | Access::CreateNew)
    }
}

/// What a name stands for. Links are never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    /// A link, socket, or a name that is not UTF-8: nothing of ours.
    Other,
}

/// What is known of a name without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub kind: Kind,
    /// Bytes of a file; 0 for all else.
    pub size_bytes: u64,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub kind: Kind,
    /// Bytes of a file; 0 for all else.
    pub size_bytes: u64,
}

/// Room on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    /// What this process may still fill.
    pub free_bytes: u64,
}

/// A volume directory. Paths are relative to it ([`check_path`]); where a directory is meant, "" is the volume itself.
pub trait Device: Send + Sync {
    /// Opens a regular file.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `IsADirectory`, or the host's.
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>>;
    /// Makes a directory; its parent must exist. Fine if it is there already.
    ///
    /// # Errors
    /// `NotFound` without a parent, `AlreadyExists` if the name is not a directory, or the host's.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// What a directory holds, sorted by the bytes of the name.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, or the host's.
    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>>;
    /// What stands at a path; `None` if nothing does.
    ///
    /// # Errors
    /// The host's.
    fn metadata(&self, path: &str) -> io::Result<Option<Metadata>>;
    /// Gives a file or directory another name, replacing a file (or empty directory) that has it. Two names of one file: no change.
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`, `NotADirectory`, `DirectoryNotEmpty`, or the host's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file or an empty directory. Open handles of the file go on working.
    ///
    /// # Errors
    /// `NotFound`, `DirectoryNotEmpty`, or the host's.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes the names in a directory durable (not what they lead to).
    ///
    /// # Errors
    /// The host's; then nothing is known about the names changed since the last.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// Room on the medium, now.
    ///
    /// # Errors
    /// The host's.
    fn space(&self) -> io::Result<Space>;
}

/// An open file. All methods may be called from many threads at once; overlapping writes at the same time leave either.
#[expect(clippy::len_without_is_empty, reason = "it is a file, not a collection")]
pub trait DeviceFile: Send + Sync {
    /// Reads at `offset` bytes until `buf` is full or the file ends; returns the bytes read.
    ///
    /// # Errors
    /// The host's.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf` at `offset` bytes, extending the file if need be.
    ///
    /// # Errors
    /// The host's (`StorageFull`, ..); then any part of the range may hold the new bytes.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes all bytes and the size durable (fdatasync).
    ///
    /// # Errors
    /// The host's; see DEV-4.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends the file to `len` bytes; new bytes are zero.
    ///
    /// # Errors
    /// The host's.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Bytes of the file.
    ///
    /// # Errors
    /// The host's.
    fn len(&self) -> io::Result<u64>;
    /// Holds space for the first `len` bytes, extending the file to it with zeros if it is shorter.
    ///
    /// # Errors
    /// `StorageFull` if the host has not that much, or the host's.
    fn allocate(&self, len: u64) -> io::Result<()>;
}

/// Accepts a path to a file or directory below the volume: parts of 1..=255 bytes without NUL, none of them "." or "..".
///
/// # Errors
/// `InvalidInput` that quotes the path.
pub fn check_path(path: &str) -> io::Result<()> {
    let fine = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= NAME_MAX_BYTES && !part.contains('\0');
    if path.split('/').all(fine) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} is not a path inside the volume")))
}

/// As [`check_path`], and "" is the volume directory itself.
///
/// # Errors
/// `InvalidInput` that quotes the path.
pub fn check_dir_path(path: &str) -> io::Result<()> {
    if path.is_empty() { Ok(()) } else { check_path(path) }
}

/// The directory that holds a path ("" for the volume itself), and the name in it.
#[must_use]
pub fn split_path(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Whether a path stands inside a directory, at any depth.
fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// The end of a range of a file, if a file can reach so far.
fn end_of(offset: u64, len: usize, limit: u64) -> io::Result<u64> {
    let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
    end.filter(|&end| end <= limit)
        .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, format!("{len} bytes at {offset} end beyond {limit}")))
}

/// Fills `buf` from `offset` bytes on.
///
/// # Errors
/// `UnexpectedEof` if the file ends before, or the device's.
pub fn read_exact_at(file: &dyn DeviceFile, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let read = file.read_at(buf, offset)?;
    if read == buf.len() {
        return Ok(());
    }
    let message = format!("the file ends {read} bytes into the {} wanted at {offset}", buf.len());
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
}

/// All of a small file, of at most `limit_bytes`.
///
/// # Errors
/// `InvalidData` if it is larger, or the device's.
pub fn read_all(device: &dyn Device, path: &str, limit_bytes: usize) -> io::Result<Vec<u8>> {
    let file = device.open(path, Open::READ)?;
    let size = file.len()?;
    let Some(size) = usize::try_from(size).ok().filter(|&size| size <= limit_bytes) else {
        let message = format!("{path} has {size} bytes, more than the {limit_bytes} that it may have");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    };
    let mut bytes = vec![0; size];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Replaces a small file so that a crash leaves the old or the new one, whole; durable when it returns, if its directory is.
/// Writes `<path>.new` first; what an earlier attempt left there is overwritten.
///
/// # Errors
/// The device's; then the old file may or may not have been replaced.
pub fn write_whole(device: &dyn Device, path: &str, bytes: &[u8]) -> io::Result<()> {
    check_path(path)?;
    let new = format!("{path}.new");
    let file = device.open(&new, Open::CREATE)?;
    file.set_len(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    device.rename(&new, path)?;
    device.sync_dir(split_path(path).0)
}
