//! Spare region files: recycled ones first, since their blocks are allocated already.
//!
//! Must be true: SPR-1 a file comes here only when nobody reads it any more and its new name is durable; SPR-2 an image is written here,
//! synced, and only then named under `map/` (4.1); SPR-3 a file that a crash left under both names is an image, and no spare; SPR-4
//! `image_bytes` is the sum of the files under `map/`: counted when the volume is opened, then with each image that comes or goes.

use infmap_storage::address::RegionId;
use infmap_storage::device::{Device, DeviceFile, Kind, Open};
use infmap_storage::region::layout::HEADER_BYTES;
use infmap_storage::region::read_identity;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Spare files that are kept; more are removed.
const KEEP: usize = 16;
const DIRECTORY: &str = "spare";

/// The stock of spare files.
#[derive(Default)]
pub struct Spares {
    inner: Mutex<Inner>,
    /// Bytes of the files under `map/`.
    image_bytes: AtomicU64,
}

#[derive(Default)]
struct Inner {
    unused: Vec<u64>,
    next: u64,
    /// Directories of `map/` that are known to be durable.
    directories: HashSet<String>,
}

impl Spares {
    /// Takes stock of what is there. A rename between two directories of which only one was synced may leave both names: the one here
    /// is taken away, or the next image would be written over one that is in use.
    ///
    /// # Errors
    /// The device's.
    pub fn load(device: &dyn Device, read_only: bool) -> io::Result<Self> {
        let mut inner = Inner::default();
        let mut removed = false;
        for entry in device.list(DIRECTORY)? {
            let Some(number) = entry.name.strip_suffix(".png").and_then(|number| u64::from_str_radix(number, 16).ok()) else { continue };
            inner.next = inner.next.max(number.saturating_add(1));
            if read_only {
                continue;
            }
            if is_named_as_image(device, &path(number))? {
                device.remove(&path(number))?;
                removed = true;
            } else {
                inner.unused.push(number);
            }
        }
        if removed {
            device.sync_dir(DIRECTORY)?;
        }
        Ok(Self { inner: Mutex::new(inner), image_bytes: AtomicU64::new(bytes_of_images(device)?) })
    }

    /// Bytes that the images take on the device; spare files and the log are not among them.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        self.image_bytes.load(Ordering::Relaxed)
    }

    /// A file to write an image into.
    ///
    /// # Errors
    /// The device's.
    pub fn open(&self, device: &dyn Device) -> io::Result<SpareFile> {
        let (number, how) = {
            let mut inner = self.inner.lock();
            match inner.unused.pop() {
                Some(number) => (number, Open::CREATE),
                None => {
                    inner.next += 1;
                    (inner.next - 1, Open::CREATE)
                }
            }
        };
        let path = path(number);
        let file = device.open(&path, how.direct())?;
        Ok(SpareFile { path, file })
    }

    /// Writes a whole image into a spare file, makes it durable, and gives it its name; durable when this returns.
    ///
    /// # Errors
    /// The device's. The image is then not there, or must not be relied on.
    pub fn install(&self, device: &dyn Device, region: RegionId, image: &[u8]) -> io::Result<()> {
        let spare = self.open(device)?;
        spare.file.write_at(image, 0)?;
        if spare.file.len()? != image.len() as u64 {
            spare.file.set_len(image.len() as u64)?;
        }
        spare.file.sync()?;
        let directory = region.place.directory();
        let known = self.inner.lock().directories.contains(&directory);
        if !known {
            device.create_dir(&directory)?;
            device.sync_dir("map")?;
            self.inner.lock().directories.insert(directory.clone());
        }
        device.rename(&spare.path, &region.path())?;
        self.image_bytes.fetch_add(image.len() as u64, Ordering::Relaxed);
        device.sync_dir(&directory)?;
        Ok(())
    }

    /// Takes the files of dead images away: into the stock, or off the device. Durable when this returns.
    ///
    /// # Errors
    /// The device's; those not taken stay where they are.
    pub fn recycle(&self, device: &dyn Device, regions: &[RegionId]) -> io::Result<()> {
        let mut directories = HashSet::new();
        let mut taken = Vec::new();
        for region in regions {
            let from = region.path();
            let Some(metadata) = device.metadata(&from)? else { continue };
            let number = {
                let mut inner = self.inner.lock();
                let room = inner.unused.len() + taken.len() < KEEP;
                room.then(|| {
                    inner.next += 1;
                    inner.next - 1
                })
            };
            match number {
                Some(number) => {
                    device.rename(&from, &path(number))?;
                    taken.push(number);
                }
                None => device.remove(&from)?,
            }
            let _ = self
                .image_bytes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| Some(bytes.saturating_sub(metadata.size_bytes)));
            directories.insert(region.place.directory());
        }
        // Both ends, before anybody may overwrite the bytes: else a power cut could give them back under the old name.
        if !taken.is_empty() {
            device.sync_dir(DIRECTORY)?;
        }
        let mut directories: Vec<_> = directories.into_iter().collect();
        directories.sort();
        for directory in directories {
            device.sync_dir(&directory)?;
        }
        self.inner.lock().unused.extend(taken);
        Ok(())
    }
}

/// A file that will become an image.
pub struct SpareFile {
    pub path: String,
    pub file: Arc<dyn DeviceFile>,
}

/// The sum of all files in the directories of the map.
fn bytes_of_images(device: &dyn Device) -> io::Result<u64> {
    let mut bytes = 0;
    for block in device.list("map")?.into_iter().filter(|entry| entry.kind == Kind::Directory) {
        bytes += device.list(&format!("map/{}", block.name))?.iter().map(|entry| entry.size_bytes).sum::<u64>();
    }
    Ok(bytes)
}

/// Whether there is an image of the name that the file at `path` says it is.
fn is_named_as_image(device: &dyn Device, path: &str) -> io::Result<bool> {
    let mut head = vec![0; HEADER_BYTES];
    let got = device.open(path, Open::READ)?.read_at(&mut head, 0)?;
    match read_identity(head.get(..got).unwrap_or_default()) {
        Ok(identity) => Ok(device.metadata(&identity.region.path())?.is_some()),
        Err(_) => Ok(false),
    }
}

fn path(number: u64) -> String {
    format!("{DIRECTORY}/{number:016x}.png")
}
