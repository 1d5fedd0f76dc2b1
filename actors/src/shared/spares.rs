//! Spare region files: recycled ones first, since their blocks are allocated already.
//!
//! Must be true: SPR-1 a file comes here only when nobody reads it any more and its new name is durable; SPR-2 an image is written here,
//! synced, and only then named under `map/` (4.1); SPR-3 a spare has one name when it is used: a file that a crash left under the name of
//! its image too is an image, one that it left under two names here is one spare, and one whose old name could come back has lost it for
//! good; SPR-5 room that is held is in files of full size: what others write cannot take it, and it is used where there is no other room
//! only, by pixel writers down to what is kept for roots; where room may become short it stays when the volume is closed, for the mount
//! after; SPR-4 `image_bytes` is the sum of the files under `map/`: counted when the volume
//! is opened, then with each image that comes or goes.

use infmap_storage::address::{Place, RegionId};
use infmap_storage::device::{Device, Kind, Open};
use infmap_storage::region::layout::HEADER_BYTES;
use infmap_storage::region::{IMAGE_MAX_BYTES, Mended, read_identity};
use infmap_storage::repair::{NotPutBack, put_back};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Spare files that are kept; more are removed.
const KEEP: usize = 16;
const DIRECTORY: &str = "spare";
/// Files of full size that are held where room may become short.
pub const HELD: usize = 8;
/// Of them, those that are for roots: without one nothing that was removed comes free.
pub const FOR_ROOTS: usize = 5;

/// The stock of spare files.
#[derive(Default)]
pub struct Spares {
    inner: Mutex<Inner>,
    /// Bytes of the files under `map/`.
    image_bytes: AtomicU64,
    /// How many those are.
    images: AtomicU64,
    /// Held while room is being held: one at a time.
    holding: Mutex<()>,
    /// Bytes that the medium had left when it was asked last.
    free_bytes: AtomicU64,
}

#[derive(Default)]
struct Inner {
    unused: Vec<Spare>,
    /// Files whose blocks are allocated, for when there is no other room.
    held: Vec<u64>,
    next: u64,
    /// Directories of `map/` that are known to be durable.
    directories: HashSet<String>,
    /// Those that were there when the volume was opened, durable or not.
    found: HashSet<String>,
}

/// A file that the next image is written into.
struct Spare {
    number: u64,
    bytes: u64,
}

impl Spares {
    /// Takes stock of what is there. A rename between two directories of which only one was synced may leave both names: the one here
    /// is taken away, or the next image would be written over one that is in use. So is the second of two names here, which one file has
    /// that went to the map and came back. What was synced in neither, because the process died, is synced now: or a power cut would
    /// give the old name back to whatever is written here by then. Files of full size that never were images are room that a mount before
    /// this one held: it is held on.
    ///
    /// # Errors
    /// The device's.
    pub fn load(device: &dyn Device, read_only: bool) -> io::Result<Self> {
        let mut inner = Inner::default();
        let mut removed = false;
        let (mut seen, mut left) = (HashSet::new(), BTreeSet::new());
        for entry in device.list(DIRECTORY)? {
            // Whatever else is there is somebody else's, as on the map; a name that is taken is not given again.
            let Some(number) = number_of(&entry.name) else { continue };
            inner.next = inner.next.max(number.saturating_add(1));
            if read_only || entry.kind != Kind::File {
                continue;
            }
            let image = image_of(device, &path(number))?;
            let named = image.map(|image| device.metadata(&image.path())).transpose()?.flatten();
            if named.is_some() || image.is_some_and(|image| !seen.insert(image)) {
                device.remove(&path(number))?;
                removed = true;
            } else {
                left.extend(image.map(|image| image.place.directory()));
                let may_be_held = image.is_none() && entry.size_bytes == IMAGE_MAX_BYTES as u64 && inner.held.len() < HELD;
                // Asked for again: in a copy of the volume it may be a hole.
                if may_be_held && allocate(device, number).is_ok() {
                    inner.held.push(number);
                } else {
                    inner.unused.push(Spare { number, bytes: entry.size_bytes });
                }
            }
        }
        if removed || !left.is_empty() {
            device.sync_dir(DIRECTORY)?;
        }
        for directory in left {
            if device.metadata(&directory)?.is_some() {
                device.sync_dir(&directory)?;
            }
        }
        let (images, bytes) = count_images(device, &mut inner.found)?;
        Ok(Self {
            inner: Mutex::new(inner),
            image_bytes: AtomicU64::new(bytes),
            images: AtomicU64::new(images),
            holding: Mutex::default(),
            free_bytes: AtomicU64::new(u64::MAX),
        })
    }

    /// Bytes that the images take on the device; spare files and the log are not among them.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        self.image_bytes.load(Ordering::Relaxed)
    }

    /// Images that there are.
    #[must_use]
    pub fn images(&self) -> u64 {
        self.images.load(Ordering::Relaxed)
    }

    /// Bytes of the files that images are written into.
    #[must_use]
    pub fn unused_bytes(&self) -> u64 {
        self.inner.lock().unused.iter().map(|spare| spare.bytes).sum()
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        (self.inner.lock().held.len() * IMAGE_MAX_BYTES) as u64
    }

    /// Bytes that images may find: of spare files, those that are held too, and what the medium had free when it was last looked at.
    #[must_use]
    pub fn room(&self) -> u64 {
        (self.unused_bytes() + self.held_bytes()).saturating_add(self.free_bytes.load(Ordering::Relaxed))
    }

    /// Holds room, as far as there is some: up to [`HELD`] files of full size.
    pub fn hold(&self, device: &dyn Device) {
        let Some(_turn) = self.holding.try_lock() else { return };
        while self.inner.lock().held.len() < HELD {
            let number = self.take_number();
            if allocate(device, number).is_err() {
                // There is none to be held now.
                let _ = device.remove(&path(number));
                return;
            }
            self.inner.lock().held.push(number);
        }
    }

    /// The medium has so many bytes left.
    pub fn note_free(&self, bytes: u64) {
        self.free_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether a root that needs at most so many images, at one of these places each, finds room: in what is held and in what was free
    /// when the medium was asked last.
    #[must_use]
    pub fn has_room_for_root(&self, images: usize, places: impl IntoIterator<Item = Place>) -> bool {
        let inner = self.inner.lock();
        let is_there = |directory: &String| inner.directories.contains(directory) || inner.found.contains(directory);
        // A directory takes a block, for which a file that is held may have to go.
        let has_new_directory = !places.into_iter().all(|place| is_there(&place.directory()));
        let free = self.free_bytes.load(Ordering::Relaxed) / IMAGE_MAX_BYTES as u64;
        free.saturating_add(inner.held.len() as u64) >= images as u64 + u64::from(has_new_directory)
    }

    /// Takes a file that is held, if more than `kept` are.
    fn take_held(&self, kept: usize) -> Option<u64> {
        let held = &mut self.inner.lock().held;
        if held.len() > kept { held.pop() } else { None }
    }

    /// Gives back the room that is held.
    pub fn let_go(&self, device: &dyn Device) {
        let held = std::mem::take(&mut self.inner.lock().held);
        held.into_iter().for_each(|number| drop(device.remove(&path(number))));
    }

    /// Writes a whole image into a spare file, makes it durable, and gives it its name; durable when this returns. Where there is no room
    /// it goes into what is held, if more than `kept` files are.
    ///
    /// # Errors
    /// The device's. The image is then not there, or must not be relied on.
    pub fn install(&self, device: &dyn Device, region: RegionId, image: &[u8], kept: usize) -> io::Result<()> {
        match self.install_in(device, self.take_number(), region, image, kept) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.take_held(kept).map_or(Err(error), |number| self.install_in(device, number, region, image, kept))
            }
            done => done,
        }
    }

    fn install_in(&self, device: &dyn Device, number: u64, region: RegionId, image: &[u8], kept: usize) -> io::Result<()> {
        let spare = path(number);
        self.install_from(device, &spare, region, image, kept).inspect_err(|_| {
            // Its number is not given out again, so nobody else would take it away before the next mount. If it has become the image after
            // all, there is none of this name.
            let _ = device.remove(&spare);
        })
    }

    fn install_from(&self, device: &dyn Device, spare: &str, region: RegionId, image: &[u8], kept: usize) -> io::Result<()> {
        let file = device.open(spare, Open::CREATE.direct())?;
        file.write_at(image, 0)?;
        if file.len()? != image.len() as u64 {
            file.set_len(image.len() as u64)?;
        }
        file.sync()?;
        let directory = region.place.directory();
        let known = self.inner.lock().directories.contains(&directory);
        if !known {
            self.make_directory(device, &directory, kept)?;
            device.sync_dir("map")?;
            self.inner.lock().directories.insert(directory.clone());
        }
        device.rename(spare, &region.path())?;
        self.image_bytes.fetch_add(image.len() as u64, Ordering::Relaxed);
        self.images.fetch_add(1, Ordering::Relaxed);
        device.sync_dir(&directory)
    }

    /// A directory takes room too: where there is none, a file that is held goes for it.
    fn make_directory(&self, device: &dyn Device, directory: &str, kept: usize) -> io::Result<()> {
        match device.create_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let Some(number) = self.take_held(kept) else { return Err(error) };
                device.remove(&path(number))?;
                device.create_dir(directory)
            }
            done => done,
        }
    }

    /// Puts a damaged image back as it was written (FIX-1 to FIX-3), by way of a spare file; durable when this returns. The caller sees to it
    /// that the image is not taken away meanwhile.
    ///
    /// # Errors
    /// The device's, and which file the name leads to.
    pub fn put_back(&self, device: &dyn Device, region: RegionId, mended: &Mended) -> Result<(), NotPutBack> {
        let before = device.metadata(&region.path()).map_err(NotPutBack::Before)?.map_or(0, |found| found.size_bytes);
        let put = |number| put_back(device, &path(number), region, mended);
        let done = match put(self.take_number()) {
            Err(NotPutBack::Before(error)) if error.kind() == io::ErrorKind::StorageFull => {
                self.take_held(FOR_ROOTS).map_or(Err(NotPutBack::Before(error)), put)
            }
            done => done,
        };
        if matches!(done, Err(NotPutBack::Before(_))) {
            return done;
        }
        let after = mended.bytes().len() as u64;
        let changed = |bytes: u64| Some(bytes.saturating_sub(before).saturating_add(after));
        let _ = self.image_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
        done
    }

    /// The number of a spare file, or of one that is to be made.
    fn take_number(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.unused.pop().map_or_else(
            || {
                inner.next += 1;
                inner.next - 1
            },
            |spare| spare.number,
        )
    }

    /// Takes spare files off the device, but so many: where room is short, it is worth more than the time that they save.
    pub fn shrink(&self, device: &dyn Device, keep: usize) {
        let surplus = {
            let mut inner = self.inner.lock();
            let keep = inner.unused.len().min(keep);
            inner.unused.split_off(keep)
        };
        // What cannot be removed is found again by the next mount.
        surplus.into_iter().for_each(|spare| drop(device.remove(&path(spare.number))));
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
                    taken.push(Spare { number, bytes: metadata.size_bytes });
                }
                None => device.remove(&from)?,
            }
            let _ = self
                .image_bytes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| Some(bytes.saturating_sub(metadata.size_bytes)));
            let _ = self.images.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |images| Some(images.saturating_sub(1)));
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

/// Gives a spare file all the room that an image may need.
fn allocate(device: &dyn Device, number: u64) -> io::Result<()> {
    device.open(&path(number), Open::CREATE)?.allocate(IMAGE_MAX_BYTES as u64)
}

/// All files in the directories of the map, and the sum of their bytes.
fn count_images(device: &dyn Device, found: &mut HashSet<String>) -> io::Result<(u64, u64)> {
    let (mut images, mut bytes) = (0, 0);
    for block in device.list("map")?.into_iter().filter(|entry| entry.kind == Kind::Directory) {
        let directory = format!("map/{}", block.name);
        let files = device.list(&directory)?;
        found.insert(directory);
        images += files.len() as u64;
        bytes += files.iter().map(|entry| entry.size_bytes).sum::<u64>();
    }
    Ok((images, bytes))
}

/// The image that the file at `path` says it is, or was.
fn image_of(device: &dyn Device, path: &str) -> io::Result<Option<RegionId>> {
    let mut head = vec![0; HEADER_BYTES];
    let got = device.open(path, Open::READ)?.read_at(&mut head, 0)?;
    Ok(read_identity(head.get(..got).unwrap_or_default()).ok().map(|identity| identity.region))
}

fn path(number: u64) -> String {
    format!("{DIRECTORY}/{}", name(number))
}

fn name(number: u64) -> String {
    format!("{number:016x}.png")
}

/// The number of a spare file of this name, exactly as [`name`] makes it.
fn number_of(found: &str) -> Option<u64> {
    let number = u64::from_str_radix(found.strip_suffix(".png")?, 16).ok()?;
    // The last numbers would leave none for new files.
    (name(number) == found && number <= u64::MAX / 2).then_some(number)
}

#[cfg(test)]
mod tests;
