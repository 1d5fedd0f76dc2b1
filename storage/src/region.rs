//! The region image: one PNG of 1024 x 1024 pixels whose pixels are the stored bytes.
//!
//! Owns: the format of the file (`layout`, `zeros`, `chunk`, `identity`, `tables`, `parity`), gathering it (`encode`, `space`), and reading
//! it (`read` a few bands, `decode` a whole file, `survey` what is wrong with one, `mend` gives back the file as it was written, `salvage`
//! what is left of one, `two_copies` what two damaged copies come to). Must be true: PIC-1 to PIC-10, REG-6 and REG-7, named where they are
//! kept; bytes that are not verified and bytes that are have different types. Fails: with `RegionError`, never by panic.

mod anatomy;
pub mod chunk;
mod compose;
mod crc;
pub mod decode;
pub mod encode;
pub mod identity;
pub mod layout;
pub mod mend;
pub mod parity;
pub mod read;
pub mod salvage;
mod space;
pub mod survey;
pub mod tables;
mod two_copies;
mod zeros;

#[cfg(test)]
mod tests;

pub use decode::{RawRegion, Region, find_tables, read_identity};
pub use encode::{IMAGE_MAX_BYTES, PlaceError, Placed, ROOT_MAX_BYTES, RegionBuilder, RootTooLarge, SealedRegion};
pub use identity::{Identity, RegionKind};
pub use mend::{Mended, Mender, Unmendable};
pub use parity::{CODE_TABLES_BYTES, ENCODER_BYTES, ParityEncoder, RowRestorer, TooManyLost};
pub use read::{ClusterPieces, RawBands};
pub use salvage::Salvaged;
pub use survey::Survey;
pub use tables::{Codec, Owner, OwnerEntry, OwnerKind, Tables};

use crate::address::{Cluster, RegionId};

/// Why an image, or a part of one, cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// Not an image of ours, or too damaged to say whose.
    #[error("not a region image: {0}")]
    NotAnImage(&'static str),
    /// An image of another format.
    #[error("the image has format {0} and this program reads format 1: use a program that knows it")]
    Version(u32),
    /// A sound image, but another one: renamed, or of another volume.
    #[error("the image is region {found}{} where {expected} was expected: it was renamed or copied here", if *same_volume { "" } else { " of another volume" })]
    WrongIdentity { found: RegionId, expected: RegionId, same_volume: bool },
    /// Without tables nothing can be verified.
    #[error("both copies of the tables are damaged or missing: take the image from a backup")]
    TablesLost,
    /// Bytes differ from their checksums.
    #[error("{rows} rows are damaged, the first is row {first}: parity restores up to 32, so `infmap repair` is no help beyond that")]
    RowsDamaged { first: usize, rows: usize },
    /// A cluster differs from the checksum that the caller knows.
    #[error("cluster {} differs from its checksum: check the identity of the file", .0.number())]
    ClusterDamaged(Cluster),
    /// The caller read other bands than those that hold the cluster.
    #[error("cluster {} is not in the bytes that were read: the file is short, or this is a defect", .0.number())]
    NotCovered(Cluster),
    /// The image should carry a root and does not.
    #[error("both copies of the root in the image are damaged; the log has its own")]
    RootDamaged,
}

/// Runs the decoders of whole images on any bytes, for fuzzing.
#[doc(hidden)]
pub fn fuzz_region(data: &[u8]) {
    thread_local! {
        // 8 MiB of work space: to clear it for each image would take most of the time.
        static RESTORER: std::cell::RefCell<RowRestorer> = std::cell::RefCell::new(RowRestorer::new());
    }
    let _ = read_identity(data);
    let raw = RawRegion::new(data);
    let _ = raw.survey();
    if let Ok(region) = raw.verify(None) {
        let _ = (region.root(), region.poisoned().len());
    }
    let repaired = RESTORER.with_borrow_mut(|restorer| RawRegion::new(data.to_vec()).repair(None, restorer));
    if let Ok((region, _)) = repaired {
        for owner in region.tables().owners() {
            let _ = region.cluster(owner.first);
        }
    }
}

/// Runs the decoder of tables on any bytes, with and without a checksum that fits, for fuzzing.
#[doc(hidden)]
pub fn fuzz_tables(data: &[u8]) {
    let _ = Tables::decode(data);
    let mut sealed = data.to_vec();
    sealed.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
    if let Some(tables) = Tables::decode(&sealed) {
        assert_eq!(tables.encode(), sealed, "what is accepted is what would have been written");
    }
}
