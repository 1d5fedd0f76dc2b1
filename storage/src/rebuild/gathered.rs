//! Images that lie anywhere under any name, as a volume has them: the device that a rebuild reads.
//!
//! Owns: `GatheredDevice`. Must be true: GTH-1 it holds the images that it was given under the names that they say, and no log; nothing is
//! changed. Fails: with PermissionDenied for every change, else with the error of whoever opens the files.

use crate::address::RegionId;
use crate::device::{Access, Device, DeviceFile, DirEntry, Kind, Metadata, Open, Space, split_path};
use crate::volume_file::MAP_DIRECTORY;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Opens the file of an image.
pub type OpenImage = Box<dyn Fn(RegionId) -> io::Result<Arc<dyn DeviceFile>> + Send + Sync>;

/// A volume without a log, of images from elsewhere.
pub struct GatheredDevice {
    /// Images by directory and name, with their bytes.
    directories: BTreeMap<String, BTreeMap<String, (RegionId, u64)>>,
    open: OpenImage,
}

impl GatheredDevice {
    /// `images`: each with the bytes of its file.
    #[must_use]
    pub fn new(images: impl IntoIterator<Item = (RegionId, u64)>, open: OpenImage) -> Self {
        let mut directories: BTreeMap<String, BTreeMap<String, (RegionId, u64)>> = BTreeMap::new();
        for (region, bytes) in images {
            let path = region.path();
            let (directory, name) = split_path(&path);
            directories.entry(directory.to_string()).or_default().insert(name.to_string(), (region, bytes));
        }
        Self { directories, open }
    }

    fn image(&self, path: &str) -> Option<(RegionId, u64)> {
        let (directory, name) = split_path(path);
        self.directories.get(directory)?.get(name).copied()
    }
}

fn refused(path: &str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, format!("{path}: images are only being read"))
}

impl Device for GatheredDevice {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>> {
        if how.access != Access::Read {
            return Err(refused(path));
        }
        let (region, _) = self.image(path).ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
        (self.open)(region)
    }
    fn create_dir(&self, path: &str) -> io::Result<()> {
        Err(refused(path))
    }
    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        if path == MAP_DIRECTORY {
            let names = self.directories.keys().map(|directory| split_path(directory).1.to_string());
            return Ok(names.map(|name| DirEntry { name, kind: Kind::Directory, size_bytes: 0 }).collect());
        }
        let Some(images) = self.directories.get(path) else { return Ok(Vec::new()) };
        let entry = |(name, (_, size_bytes)): (&String, &(RegionId, u64))| DirEntry {
            name: name.clone(),
            kind: Kind::File,
            size_bytes: *size_bytes,
        };
        Ok(images.iter().map(entry).collect())
    }
    fn metadata(&self, path: &str) -> io::Result<Option<Metadata>> {
        if self.directories.contains_key(path) || path == MAP_DIRECTORY {
            return Ok(Some(Metadata { kind: Kind::Directory, size_bytes: 0 }));
        }
        Ok(self.image(path).map(|(_, size_bytes)| Metadata { kind: Kind::File, size_bytes }))
    }
    fn rename(&self, from: &str, _: &str) -> io::Result<()> {
        Err(refused(from))
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        Err(refused(path))
    }
    fn sync_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn space(&self) -> io::Result<Space> {
        Ok(Space { total_bytes: 0, free_bytes: 0 })
    }
}
