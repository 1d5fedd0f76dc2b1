//! Opening a volume: the newest root of the log, and the replay of what came after it.
//!
//! Owns: `recover`, `Recovered`, `LoggedData`. Must be true: REC-1 nothing is trusted that was not synced by this very recovery; REC-2
//! every change above the root's cut is applied once, in order; REC-3 logged data survives unless something of its own or a higher
//! sequence placed, cut or dropped it (O1); REC-4 nothing is deleted; REC-5 a log that is older than the images is not the last word:
//! a segment was lost, or an old one brought back. Fails: `RecoverError`; corruption of the log ends the replay at
//! the last good record, and the volume must then stay read-only.

mod data;
#[cfg(test)]
mod tests;

pub use data::LoggedData;

use crate::address::{Generation, Place, RegionId};
use crate::device::{Device, Open};
use crate::images::Images;
use crate::nodes::NodeStore;
use crate::region::layout::HEADER_BYTES;
use crate::region::{RawRegion, read_identity};
use crate::root::{RootError, RootRecord};
use crate::row::{InodeRow, ROOT_INODE, Time};
use crate::state::change::{Change, changes};
use crate::state::{State, StateError};
use crate::vat::TreeId;
use crate::wal::{self, EndKind, Fault, FaultReason, LogPosition, LogScan, Lsn, ReadError, Record, RecordKind};
use std::sync::Arc;

/// Why a volume cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("replaying the log: {0}")]
    Replay(#[from] StateError),
    #[error("neither the log nor any image holds a root: the volume was never finished, or its files are gone")]
    NoRoot,
    #[error("the volume has been mounted more often than an epoch number can count")]
    Epochs,
    #[error("listing the images: {0}")]
    Images(std::io::Error),
}

/// A volume as it was when it was last safe.
pub struct Recovered {
    pub state: State,
    /// The root that the state was opened from.
    pub root: RootRecord,
    /// Bytes of files that were synced but not placed.
    pub data: LoggedData,
    /// Where the log goes on; `None` if it must not, because it is corrupt.
    pub position: Option<LogPosition>,
    /// What is wrong with the log.
    pub corrupt: Option<Fault>,
    /// The highest record that was replayed.
    pub replayed: Lsn,
    /// Bytes of payload that were replayed.
    pub replayed_bytes: u64,
    /// The youngest generation that the root and the log know of.
    pub granted: Generation,
}

/// Opens the newest state. Nodes come through `nodes`, which reads `images` of the same `device`.
///
/// # Errors
/// See [`RecoverError`].
pub fn recover(device: &Arc<dyn Device>, uuid: [u8; 16], nodes: &NodeStore) -> Result<Recovered, RecoverError> {
    wal::sync_all_segments(device.as_ref())?;
    let log = wal::scan(Arc::clone(device), uuid)?;
    let root = match log.newest(RecordKind::Root)? {
        Some(record) => RootRecord::decode(&record.payload)?,
        None => roots_in_images(device, uuid)?.pop().ok_or(RecoverError::NoRoot)?,
    };
    let epoch = log.newest_epoch().unwrap_or(0).max(root.generation.epoch()).checked_add(1).ok_or(RecoverError::Epochs)?;
    let generation = root.generation;
    let recovered = match replay(&log, root, uuid, epoch, nodes) {
        Ok(recovered) => recovered,
        // A root that is not the newest: what only it needs was taken away, and given out again, since.
        Err(RecoverError::Replay(error)) => {
            let newer = replay_from_images(device, &log, uuid, generation, nodes)?;
            return newer.map(|found| unwritable(found, FaultReason::Outdated)).ok_or(RecoverError::Replay(error));
        }
        Err(error) => return Err(error),
    };
    // Every image is granted in the log before it is made, so a log that does not know of one has lost its end.
    let Some(image) = image_behind(device.as_ref(), uuid, recovered.granted)? else { return Ok(recovered) };
    let newer = replay_from_images(device, &log, uuid, generation, nodes)?;
    Ok(unwritable(newer.unwrap_or(recovered), FaultReason::Behind(image)))
}

/// Replays from the newest root of the images, if it is newer than that of the log, which was made in `generation`.
fn replay_from_images(
    device: &Arc<dyn Device>,
    log: &LogScan,
    uuid: [u8; 16],
    generation: Generation,
    nodes: &NodeStore,
) -> Result<Option<Recovered>, RecoverError> {
    let Some(root) = roots_in_images(device, uuid)?.pop().filter(|root| root.generation > generation) else { return Ok(None) };
    let epoch = root.generation.epoch().checked_add(1).ok_or(RecoverError::Epochs)?;
    replay(log, root, uuid, epoch, nodes).map(Some)
}

/// Nothing is written behind a log of which nobody knows what else is missing.
fn unwritable(recovered: Recovered, reason: FaultReason) -> Recovered {
    let (lsn, path) = (recovered.replayed.next(), wal::segment::LOG_DIRECTORY.to_string());
    Recovered { corrupt: Some(Fault { lsn, path, offset: 0, reason }), position: None, ..recovered }
}

/// An image of this volume that is younger than everything that was granted, if there is one. Only names are looked at, unless one
/// says that it is.
fn image_behind(device: &dyn Device, uuid: [u8; 16], granted: Generation) -> Result<Option<RegionId>, RecoverError> {
    let paths = Images::list(device).map_err(RecoverError::Images)?;
    let ids = paths.iter().filter_map(|path| RegionId::from_file_name(path.rsplit('/').next()?));
    Ok(ids.filter(|id| id.generation > granted).find(|id| {
        let mut head = [0; HEADER_BYTES];
        let read = device.open(&id.path(), Open::READ).and_then(|file| file.read_at(&mut head, 0));
        let identity = read.ok().and_then(|read| read_identity(head.get(..read)?).ok());
        identity.is_some_and(|identity| identity.volume == uuid && identity.region == *id)
    }))
}

fn replay(log: &LogScan, root: RootRecord, uuid: [u8; 16], epoch: u32, nodes: &NodeStore) -> Result<Recovered, RecoverError> {
    let mut replay = Replay {
        state: root.open(Generation::first_of(epoch)),
        data: LoggedData::default(),
        cut: root.cut,
        epoch: root.generation.epoch(),
        last: root.cut,
        bytes: 0,
        granted: root.generation,
        nodes,
    };
    let end = log.for_each(root.low.next(), root.low, |record| replay.record(&record))?;
    let corrupt = match &end.kind {
        EndKind::Corrupt(fault) => Some(fault.clone()),
        _ => None,
    };
    let Replay { state, data, last, bytes, granted, .. } = replay;
    let position = end.position(uuid, epoch);
    Ok(Recovered { state, root, data, position, corrupt, replayed: last, replayed_bytes: bytes, granted })
}

struct Replay<'a> {
    state: State,
    data: LoggedData,
    cut: Lsn,
    /// The mount that made the root. Its trees hold nothing of a later one, whatever the numbers say: after a mount from images alone the
    /// log begins again below `cut`.
    epoch: u32,
    last: Lsn,
    bytes: u64,
    granted: Generation,
    nodes: &'a NodeStore,
}

impl Replay<'_> {
    fn record(&mut self, record: &Record<'_>) -> Result<(), RecoverError> {
        self.bytes += record.payload.len() as u64;
        self.last = self.last.max(record.header.lsn);
        if !matches!(record.header.kind, RecordKind::Changes | RecordKind::Grant) {
            return Ok(());
        }
        let applied = record.header.lsn <= self.cut && record.header.epoch <= self.epoch;
        for change in changes(record.payload) {
            let change = change?;
            if let Change::Grant { region, .. } = &change {
                self.granted = self.granted.max(region.generation);
            }
            self.data.note(&change)?;
            if !applied {
                self.apply(&change)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, change: &Change<'_>) -> Result<(), RecoverError> {
        match change {
            Change::Grant { .. } | Change::Freed { .. } => self.state.replay_place(&self.nodes.loading(TreeId::Volume), change)?,
            _ => self.state.replay(&self.nodes.loading(TreeId::Name), change)?,
        }
        Ok(())
    }
}

/// The roots that images carry, oldest first. Reads every image.
///
/// # Errors
/// The device's, for the directories; images that cannot be read are passed over.
pub fn roots_in_images(device: &Arc<dyn Device>, uuid: [u8; 16]) -> Result<Vec<RootRecord>, RecoverError> {
    let mut roots = Vec::new();
    for path in Images::list(device.as_ref()).map_err(RecoverError::Images)? {
        let Ok(bytes) = crate::device::read_all(device.as_ref(), &path, crate::region::IMAGE_MAX_BYTES) else { continue };
        roots.extend(root_in_image(&bytes).filter(|root| root.volume_uuid == uuid));
    }
    roots.sort_by_key(|root| root.generation);
    Ok(roots)
}

/// The root that an image carries, if it has one of its own volume. Damage to pixels does not matter: the root has its own checksum.
#[must_use]
pub fn root_in_image(bytes: &[u8]) -> Option<RootRecord> {
    let image = RawRegion::new(bytes);
    let (identity, root) = image.root().ok()?;
    RootRecord::decode(root?).ok().filter(|root| root.volume_uuid == identity.volume)
}

/// The root of a volume without anything in it.
#[must_use]
pub fn empty_root(uuid: [u8; 16]) -> RootRecord {
    RootRecord {
        volume_uuid: uuid,
        generation: Generation::first_of(1),
        cut: Lsn::NONE,
        low: Lsn::NONE,
        names: None,
        volume: None,
        next_inode: ROOT_INODE.0,
        frontier: Place(0),
        inodes: 0,
        live_clusters: 0,
        images: Vec::new(),
        open: Vec::new(),
    }
}

/// The change that makes the root directory of a new volume, with all times `now`.
///
/// # Errors
/// See [`StateError`].
pub fn first_change(state: &mut State, nodes: &NodeStore, uid: u32, gid: u32, now: Time) -> Result<Vec<u8>, StateError> {
    let mut row = InodeRow::new(crate::row::FileKind::Directory.mode_bits() | 0o755, uid, gid, now);
    row.parent = ROOT_INODE;
    Ok(state.transact(&nodes.loading(TreeId::Name), |txn| txn.put_inode(ROOT_INODE, &row))?.payload)
}
