//! What a file says that it is, and the best file of each image.
//!
//! Owns: `Inspected`, `Condition`, `Catalogue`. Must be true: RBL-1 of files that say they are the same image the one that is least damaged
//! is kept, whatever the order in which they come; two sound ones that differ are a conflict, and neither is chosen. Memory: some 200 bytes
//! an image, and its root if it carries one. Fails: a file that is no image of ours is told with the reason.

use crate::address::{Cluster, RegionId};
use crate::recover::root_in_image;
use crate::region::{Identity, Mender, RawRegion, RegionError};
use crate::root::RootRecord;
use std::collections::BTreeMap;

/// How much of an image is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Exactly as it was written.
    Sound,
    /// All bytes are there; so many rows of pixels had to be restored, or the frame around them is damaged.
    Mended { rows: usize },
    /// The bytes of these clusters are gone.
    Damaged { lost: Vec<Cluster> },
    /// Its tables are gone: only rows that name its clusters can tell which are right.
    Blind,
}

impl Condition {
    /// The less, the better.
    fn rank(&self) -> (u8, usize) {
        match self {
            Self::Sound => (0, 0),
            Self::Mended { rows } => (1, *rows),
            Self::Damaged { lost } => (2, lost.len()),
            Self::Blind => (3, 0),
        }
    }
}

/// What was found out about a file.
#[derive(Clone, Debug)]
pub struct Inspected {
    pub identity: Identity,
    pub condition: Condition,
    /// CRC32 of its tables, which tells it from any other; `None` for a blind one.
    pub tables_crc: Option<u32>,
    pub root: Option<RootRecord>,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// Looks at the bytes of a file.
///
/// # Errors
/// Why it is no image of ours.
pub fn inspect(bytes: Vec<u8>, mender: &mut Mender) -> Result<Inspected, RegionError> {
    let file_bytes = bytes.len() as u64;
    let seen = RawRegion::new(&bytes[..]).survey().identity;
    let salvaged = match RawRegion::new(bytes).salvage(mender) {
        Ok(salvaged) => salvaged,
        Err(RegionError::TablesLost) => {
            let identity = seen.ok_or(RegionError::TablesLost)?;
            return Ok(Inspected { identity, condition: Condition::Blind, tables_crc: None, root: None, file_bytes });
        }
        Err(error) => return Err(error),
    };
    let condition = match salvaged.lost() {
        [] if salvaged.is_sound() => Condition::Sound,
        [] => Condition::Mended { rows: salvaged.restored_rows() },
        lost => Condition::Damaged { lost: lost.to_vec() },
    };
    let root = root_in_image(salvaged.bytes());
    let (identity, tables_crc) = (*salvaged.identity(), Some(salvaged.tables().crc()));
    Ok(Inspected { identity, condition, tables_crc, root, file_bytes })
}

/// What became of a file that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered<S> {
    /// The first of this image.
    New,
    /// There is another of the same image; the better one is kept.
    Again,
    /// Another sound file says that it is this image and holds something else.
    Conflict(S),
}

/// The images of each volume, with where they were found.
pub struct Catalogue<S> {
    pub volumes: BTreeMap<[u8; 16], BTreeMap<RegionId, (S, Inspected)>>,
}

impl<S> Default for Catalogue<S> {
    fn default() -> Self {
        Self { volumes: BTreeMap::new() }
    }
}

impl<S: Clone> Catalogue<S> {
    /// Takes a file that was found at `source`.
    pub fn offer(&mut self, source: S, found: Inspected) -> Offered<S> {
        let images = self.volumes.entry(found.identity.volume).or_default();
        let region = found.identity.region;
        let Some((held_at, held)) = images.get_mut(&region) else {
            images.insert(region, (source, found));
            return Offered::New;
        };
        let differ = matches!((held.tables_crc, found.tables_crc), (Some(held), Some(found)) if held != found);
        if differ {
            return Offered::Conflict(held_at.clone());
        }
        if found.condition.rank() < held.condition.rank() {
            (*held_at, *held) = (source, found);
        }
        Offered::Again
    }
}
