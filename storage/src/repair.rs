//! Putting images back as they were written, on the device: all of a volume that nobody has mounted, or one by one for who knows which.
//!
//! Owns: `repair_images`, `ImageRepair`, `judge`, `put_back`, `NotPutBack`. Must be true: FIX-1 the only thing that ever takes the place of
//! a damaged image is the identical file that was written there, verified in memory and once more after it was written: that is the same
//! image under the same name, so no image replaces another; FIX-2 the restored bytes are durable before they get the name, so a crash
//! leaves the damaged file or the restored one; FIX-3 what cannot be brought back whole is left exactly as it is; FIX-4 a second run finds
//! nothing to do. Fails: with the device's error when the device cannot be listed; what goes wrong with one image is said of that image.

use crate::address::{Cluster, RegionId};
use crate::buffer::AlignedBuf;
use crate::device::{Device, Kind, Open};
use crate::images::{Images, read_what_can_be};
use crate::region::{Identity, Mended, Mender, RawRegion, RegionError, RegionKind, Unmendable};
use std::io;

/// Where the restored bytes are written first: what lies there means nothing to the volume.
const SPARE: &str = "spare";
/// Bytes of a file that are read back at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// What became of a damaged image.
#[derive(Debug)]
pub enum Outcome {
    /// It is as it was written again, or would be.
    Restored {
        /// Rows that parity gave back.
        rows: usize,
    },
    /// It cannot be brought back whole: nothing was done.
    Left {
        why: RegionError,
        /// Clusters whose bytes are lost, whoever has them.
        lost: Vec<Cluster>,
    },
    /// It could be brought back, and the device refused.
    Failed(io::Error),
}

/// Why an image was not put back for sure.
#[derive(Debug, thiserror::Error)]
pub enum NotPutBack {
    /// The name leads to the damaged file.
    #[error("{0}")]
    Before(io::Error),
    /// The name leads to the restored file, and after a power cut perhaps not: a directory was not synced.
    #[error("it has its name, but a directory could not be synced: {0}")]
    After(io::Error),
}

impl From<NotPutBack> for io::Error {
    fn from(why: NotPutBack) -> Self {
        match why {
            NotPutBack::Before(error) | NotPutBack::After(error) => error,
        }
    }
}

/// A damaged image.
#[derive(Debug)]
pub struct ImageRepair {
    pub region: RegionId,
    pub outcome: Outcome,
}

/// Looks at every image of the volume and restores those that are not as they were written; with `dry_run` only says what it would do.
/// `seen` is told after each image how many there were and how many there are. Memory: two images and 8 MiB.
///
/// The caller holds the volume's lock.
///
/// # Errors
/// The device's, when it cannot be listed.
pub fn repair_images(device: &dyn Device, uuid: [u8; 16], dry_run: bool, seen: &mut dyn FnMut(u64, u64)) -> io::Result<Vec<ImageRepair>> {
    let named = |path: &String| RegionId::from_file_name(path.rsplit('/').next()?).filter(|id| id.path() == *path);
    let regions: Vec<RegionId> = Images::list(device)?.iter().filter_map(named).collect();
    let (mut mender, mut repairs) = (Mender::default(), Vec::new());
    for (number, &region) in (1..).zip(&regions) {
        if device.metadata(&region.path())?.is_some_and(|found| found.kind == Kind::File) {
            let outcome = repair(device, uuid, region, dry_run, &mut mender);
            repairs.extend(outcome.map(|outcome| ImageRepair { region, outcome }));
        }
        seen(number, regions.len() as u64);
    }
    Ok(repairs)
}

/// What the bytes of a file are that should hold an image.
pub enum Judged {
    /// As they were written.
    Sound,
    /// Another image, sound.
    Misplaced,
    /// Damaged, and this is the file as it was written.
    Mendable(Box<Mended>),
    /// Damaged beyond that.
    Lost(Unmendable),
}

/// Whether the bytes are the image as it was written. `is_whole`: they are all of the file, and the device gave each of them.
#[must_use]
pub fn is_sound(bytes: &[u8], is_whole: bool, volume: [u8; 16], region: RegionId) -> bool {
    let survey = RawRegion::new(bytes).survey();
    survey.is_sound() && is_whole && survey.identity.is_some_and(|is| is.region == region && is.volume == volume)
}

/// What the bytes are, and what they were if that can be said.
#[must_use]
pub fn judge(bytes: &[u8], is_whole: bool, volume: [u8; 16], region: RegionId, mender: &mut Mender) -> Judged {
    if is_sound(bytes, is_whole, volume, region) {
        return Judged::Sound;
    }
    let raw = RawRegion::new(bytes);
    match mend(&raw, volume, region, mender) {
        Ok(mended) => Judged::Mendable(Box::new(mended)),
        // A sound image under a wrong name is not damaged.
        Err(_) if is_whole && raw.survey().is_sound() => Judged::Misplaced,
        Err(error) => Judged::Lost(error),
    }
}

/// `None`: it is sound, or not of this volume.
fn repair(device: &dyn Device, uuid: [u8; 16], region: RegionId, dry_run: bool, mender: &mut Mender) -> Option<Outcome> {
    let found = match device.open(&region.path(), Open::READ) {
        Ok(file) => read_what_can_be(file.as_ref()),
        Err(error) => return Some(Outcome::Failed(error)),
    };
    match judge(&found.bytes, found.is_whole, uuid, region, mender) {
        Judged::Sound | Judged::Misplaced => None,
        Judged::Lost(error) => Some(Outcome::Left { why: error.reason, lost: error.lost }),
        Judged::Mendable(mended) => {
            let rows = mended.rows().len();
            let done = if dry_run { Ok(()) } else { unused_spare(device).and_then(|spare| Ok(put_back(device, &spare, region, &mended)?)) };
            Some(done.map_or_else(Outcome::Failed, |()| Outcome::Restored { rows }))
        }
    }
}

/// The name says everything of the identity but the kind.
fn mend(raw: &RawRegion<&[u8]>, volume: [u8; 16], region: RegionId, mender: &mut Mender) -> Result<Mended, Unmendable> {
    let of_kind = |kind, mender: &mut Mender| raw.mend(Some(&Identity { volume, region, kind }), mender);
    match of_kind(RegionKind::Data, mender) {
        Err(Unmendable { reason: RegionError::WrongIdentity { found, same_volume: true, .. }, .. }) if found == region => {
            of_kind(RegionKind::Node, mender)
        }
        done => done,
    }
}

/// A path under which there is no spare file.
fn unused_spare(device: &dyn Device) -> io::Result<String> {
    device.create_dir(SPARE)?;
    let used = device.list(SPARE)?;
    let number = |name: &str| name.strip_suffix(".png").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let next = used.iter().filter_map(|entry| number(&entry.name)).max().map_or(0, |last| last.wrapping_add(1));
    Ok(format!("{SPARE}/{next:016x}.png"))
}

/// Writes the file as `spare`, which is there or not and belongs to the caller, makes it durable, and gives it the name of the image. Durable
/// when this returns.
///
/// # Errors
/// The device's, or `InvalidData` where it gives back other bytes than it took; the spare file is then gone.
pub fn put_back(device: &dyn Device, spare: &str, region: RegionId, mended: &Mended) -> Result<(), NotPutBack> {
    let written = write_spare(device, spare, mended.bytes()).and_then(|()| device.rename(spare, &region.path()));
    if let Err(error) = written {
        // The next mount would take it away too.
        let _ = device.remove(spare);
        return Err(NotPutBack::Before(error));
    }
    // The second so that the name it had before cannot come back.
    let synced = device.sync_dir(&region.place.directory()).and_then(|()| device.sync_dir(SPARE));
    synced.map_err(NotPutBack::After)
}

fn write_spare(device: &dyn Device, spare: &str, bytes: &[u8]) -> io::Result<()> {
    let file = device.open(spare, Open::CREATE)?;
    file.write_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync()?;
    // Past the page cache, which would show what it was given.
    let file = device.open(spare, Open::READ.direct())?;
    let mut found = AlignedBuf::zeroed(PIECE_BYTES);
    let mut is_same = file.len()? == bytes.len() as u64;
    for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
        let read = file.read_at(&mut found, (number * PIECE_BYTES) as u64)?;
        is_same &= found.get(..read) == Some(piece);
    }
    if is_same {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{spare}: what was written there is read back differently: the disk is failing"),
    ))
}

#[cfg(test)]
mod tests;
