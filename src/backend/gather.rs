//! Finding the images of a volume in a directory: any names, any depth, anything else among them.
//!
//! Owns: `Gathered`, the walk over the directory, and the way to the files. Must be true: GTH-2 nothing is written, links are not followed,
//! and a file that is no image is read only as far as needed to see that. Memory: the path of each image, and one image. Fails: with the
//! system's error for the directory itself; what cannot be read below it is told.

use infmap_storage::address::RegionId;
use infmap_storage::device::DeviceFile;
use infmap_storage::rebuild::{Catalogue, Condition, GatheredDevice, Inspected, Offered, inspect};
use infmap_storage::region::{IMAGE_MAX_BYTES, Mender, RegionError};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Chunks of others in an image at most: what image tools add is a few KB.
const FOREIGN_BYTES: u64 = 1 << 20;
/// Bytes of a file that are read at most.
const FILE_MAX_BYTES: u64 = IMAGE_MAX_BYTES as u64 + FOREIGN_BYTES;
/// Bytes that are looked at before a file is read whole.
const HEAD_BYTES: usize = 1024;
/// Where the identity of an image stands, and how it begins.
const IDENTITY_AT: std::ops::Range<usize> = 41..48;
const IDENTITY: &[u8] = b"IMAPRGN";
/// Files that are told by name at most.
const TOLD_MAX: usize = 1000;

/// What was found in a directory.
#[derive(Default)]
pub struct Gathered {
    pub catalogue: Catalogue<PathBuf>,
    /// Files that were looked at.
    pub files: u64,
    /// Further files of an image that is there.
    pub duplicates: u64,
    /// Two sound files that say that they are the same image and are not.
    pub conflicts: Vec<([u8; 16], PathBuf, PathBuf)>,
    /// What looked like an image of ours and cannot be used, or cannot be read, with the reason.
    pub unusable: Vec<(PathBuf, String)>,
}

impl Gathered {
    /// Looks at everything below `from`.
    pub fn below(from: &Path, seen: &mut dyn FnMut(u64)) -> io::Result<Self> {
        let mut gathered = Self::default();
        let mut mender = Mender::default();
        let mut left = vec![from.to_path_buf()];
        while let Some(dir) = left.pop() {
            let entries = match std::fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) if dir == from => return Err(error),
                Err(error) => {
                    gathered.tell(dir, error.to_string());
                    continue;
                }
            };
            let mut found = entries.collect::<io::Result<Vec<_>>>()?;
            found.sort_by_key(std::fs::DirEntry::file_name);
            for entry in found {
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    left.push(entry.path());
                } else if kind.is_file() {
                    gathered.files += 1;
                    seen(gathered.files);
                    gathered.look_at(entry.path(), &mut mender);
                }
            }
        }
        Ok(gathered)
    }

    fn look_at(&mut self, path: PathBuf, mender: &mut Mender) {
        match read_candidate(&path) {
            Ok(None) => {}
            Err(error) => self.tell(path, error.to_string()),
            Ok(Some(bytes)) => match inspect(bytes, mender) {
                // A picture of somebody else's.
                Err(RegionError::NotAnImage("it has no identity")) => {}
                Err(error) => self.tell(path, error.to_string()),
                Ok(found) => {
                    let volume = found.identity.volume;
                    match self.catalogue.offer(path.clone(), found) {
                        Offered::New => {}
                        Offered::Again => self.duplicates += 1,
                        Offered::Conflict(other) => self.conflicts.push((volume, other, path)),
                    }
                }
            },
        }
    }

    fn tell(&mut self, path: PathBuf, why: String) {
        if self.unusable.len() < TOLD_MAX {
            self.unusable.push((path, why));
        }
    }
}

/// Opens a regular file to read; a link, or what took its place meanwhile, is an error.
fn open(path: &Path) -> io::Result<File> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file")) }
}

/// The bytes of a file that may be an image: a PNG, or one of which the beginning was damaged.
fn read_candidate(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    let mut head = vec![0; usize::try_from(size).map_or(HEAD_BYTES, |size| size.min(HEAD_BYTES))];
    file.read_exact_at(&mut head, 0).or_else(|error| if error.kind() == ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) })?;
    let is_png = head.starts_with(b"\x89PNG");
    let has_identity = head.get(IDENTITY_AT) == Some(IDENTITY);
    let is_named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    // Something may have been appended to an image of ours; other pictures are as large as they like.
    let is_candidate = has_identity || ((is_png || is_named) && size <= FILE_MAX_BYTES);
    if !is_candidate {
        return Ok(None);
    }
    read_whole(file, size.min(FILE_MAX_BYTES) as usize).map(Some)
}

/// All bytes that can be read, zeros for the others: parity may know them.
fn read_whole(mut file: File, size: usize) -> io::Result<Vec<u8>> {
    const PAGE: usize = 4096;
    let mut bytes = Vec::with_capacity(size);
    if file.by_ref().take(size as u64).read_to_end(&mut bytes).is_ok() {
        return Ok(bytes);
    }
    bytes.resize(size, 0);
    let mut unread = 0;
    for (number, page) in bytes.chunks_mut(PAGE).enumerate() {
        if file.read_exact_at(page, (number * PAGE) as u64).is_err() {
            page.fill(0);
            unread += 1;
        }
    }
    if unread * PAGE >= size { Err(io::Error::other("nothing of it can be read")) } else { Ok(bytes) }
}

/// An image, read whole.
pub(super) fn read_image(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len().min(FILE_MAX_BYTES);
    read_whole(file, size as usize)
}

/// The images of one volume as a device.
pub(super) fn device(images: &BTreeMap<RegionId, (PathBuf, Inspected)>) -> GatheredDevice {
    let sizes: Vec<(RegionId, u64)> = images.iter().map(|(id, (_, found))| (*id, found.file_bytes)).collect();
    let paths: BTreeMap<RegionId, PathBuf> = images.iter().map(|(id, (path, _))| (*id, path.clone())).collect();
    let open_image = move |id: RegionId| -> io::Result<Arc<dyn DeviceFile>> {
        let path = paths.get(&id).ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(ReadOnly(open(path)?)))
    };
    GatheredDevice::new(sizes, Box::new(open_image))
}

/// How many images are in which condition: mended, damaged beyond parity, without tables.
pub(super) fn conditions(images: &BTreeMap<RegionId, (PathBuf, Inspected)>) -> (u64, u64, u64) {
    images.values().fold((0, 0, 0), |(mended, damaged, blind), (_, found)| match found.condition {
        Condition::Sound => (mended, damaged, blind),
        Condition::Mended { .. } => (mended + 1, damaged, blind),
        Condition::Damaged { .. } => (mended, damaged + 1, blind),
        Condition::Blind => (mended, damaged, blind + 1),
    })
}

/// A file that is only read.
struct ReadOnly(File);

fn refused() -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, "images are only being read")
}

impl DeviceFile for ReadOnly {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(refused())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(refused())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(refused())
    }
}
