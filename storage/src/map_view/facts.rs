//! What `infmap info` says about a volume that is not mounted.
//!
//! Owns: `VolumeFacts`. Must be true: nothing is computed from pixels; it takes as long as opening the volume and listing its files.
//! Fails: with the device's error, or that of a node.

use super::Bounds;
use crate::address::{Generation, RegionId};
use crate::check::Offline;
use crate::device::Kind;
use crate::images::Images;
use crate::limits::CLUSTER_BYTES;
use crate::row::{Key, RegionKind, RegionRow, Time};
use crate::vat::TreeId;
use crate::volume_file::{LOG_DIRECTORY, SPARE_DIRECTORY, VolumeFile};
use crate::wal::Lsn;
use std::io;

/// The facts of a volume; bytes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFacts {
    pub format: u32,
    pub uuid: [u8; 16],
    pub created: Time,
    /// Of the root that was opened.
    pub generation: Generation,
    pub cut: Lsn,
    pub low: Lsn,
    /// The last record of the log that counts.
    pub replayed: Lsn,
    pub log_is_corrupt: bool,
    pub inodes: u64,
    pub live_clusters: u64,
    pub live_bytes: u64,
    pub data_regions: u64,
    pub node_regions: u64,
    /// Images that wait to be taken away.
    pub dead_places: u64,
    pub free_places: u64,
    /// Places that were ever given out.
    pub places: u64,
    pub image_files: u64,
    pub image_bytes: u64,
    pub spare_bytes: u64,
    /// Bytes of the files of the log, and of the records that were replayed.
    pub log_bytes: u64,
    pub replayed_bytes: u64,
    /// Blocks of files that are in the log and in no image yet.
    pub logged_blocks: u64,
    /// The part of the map that regions take.
    pub bounds: Option<Bounds>,
}

impl VolumeFacts {
    /// Gathers them.
    ///
    /// # Errors
    /// The device's; a node that cannot be read is `InvalidData`.
    pub fn read(file: &VolumeFile, volume: &Offline) -> io::Result<Self> {
        let recovered = &volume.recovered;
        let state = &recovered.state;
        let device = volume.device.as_ref();
        let mut facts = Self {
            format: file.format,
            uuid: file.uuid,
            created: file.created,
            generation: recovered.root.generation,
            cut: recovered.root.cut,
            low: recovered.root.low,
            replayed: recovered.replayed,
            log_is_corrupt: recovered.corrupt.is_some(),
            inodes: state.inodes,
            live_clusters: state.live_clusters,
            live_bytes: state.live_clusters.saturating_mul(CLUSTER_BYTES as u64),
            data_regions: 0,
            node_regions: 0,
            dead_places: 0,
            free_places: 0,
            places: u64::from(state.frontier.0),
            image_files: 0,
            image_bytes: 0,
            spare_bytes: file_bytes(volume, SPARE_DIRECTORY)?,
            log_bytes: file_bytes(volume, LOG_DIRECTORY)?,
            replayed_bytes: recovered.replayed_bytes,
            logged_blocks: volume.logged_blocks.values().sum(),
            bounds: None,
        };
        for path in Images::list(device)? {
            let name = path.rsplit('/').next().unwrap_or_default();
            if let (Some(_), Some(metadata)) = (RegionId::from_file_name(name), device.metadata(&path)?) {
                facts.image_files += 1;
                facts.image_bytes += metadata.size_bytes;
            }
        }
        facts.count_places(volume)?;
        Ok(facts)
    }

    fn count_places(&mut self, volume: &Offline) -> io::Result<()> {
        let source = volume.nodes.loading(TreeId::Volume);
        let from = Key::places().0;
        let mut cells = Vec::new();
        for row in volume.recovered.state.volume.range(&source, &from, None) {
            let row = row.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            match Key::decode(row.key()) {
                Some(Key::Region(place)) => {
                    cells.push(place.cell());
                    match RegionRow::decode(row.value()).map(|row| row.kind) {
                        Ok(RegionKind::Node) => self.node_regions += 1,
                        _ => self.data_regions += 1,
                    }
                }
                Some(Key::Dead(_)) => self.dead_places += 1,
                Some(Key::Free(_)) => self.free_places += 1,
                _ => {}
            }
        }
        self.bounds = Bounds::around(cells);
        Ok(())
    }
}

/// Bytes of the files in a directory; none if there is no such directory.
fn file_bytes(volume: &Offline, directory: &str) -> io::Result<u64> {
    match volume.device.list(directory) {
        Ok(entries) => Ok(entries.iter().filter(|entry| entry.kind == Kind::File).map(|entry| entry.size_bytes).sum()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}
