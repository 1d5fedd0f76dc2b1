//! What an image is: of which volume, at which place, of which generation and kind.
//!
//! Owns: `Identity` and its 64 bytes. Must be true: PIC-5 the identity is that of the file name; an image whose identity is
//! not the expected one is not damaged but another image. Fails: with the version, or with what is wrong.
//!
//! ```text
//!  0 magic 8   8 version u32   12 kind u8, zeros 3   16 volume 16   32 place u32   36 generation u64   44 x i64   52 y i64
//! 60 CRC32 of these
//! ```

use super::RegionError;
use super::layout::IDENTITY_BYTES;
use crate::address::{Generation, MapCell, Place, RegionId};
use crate::limits::FORMAT_VERSION;

const MAGIC: [u8; 8] = *b"IMAPRGN\n";

/// What a region holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RegionKind {
    /// Bytes of files.
    Data = 0,
    /// Nodes of the VAT, and perhaps a root.
    Node = 1,
}

impl RegionKind {
    /// The kind of this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Data),
            1 => Some(Self::Node),
            _ => None,
        }
    }
}

/// The identity of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The uuid of the volume.
    pub volume: [u8; 16],
    pub region: RegionId,
    pub kind: RegionKind,
}

impl Identity {
    /// The 64 bytes of the identity chunk.
    #[must_use]
    pub fn encode(&self) -> [u8; IDENTITY_BYTES] {
        let MapCell { x, y } = self.region.place.cell();
        let mut out = [0; IDENTITY_BYTES];
        let (body, crc) = out.split_at_mut(IDENTITY_BYTES - 4);
        let mut rest = &mut *body;
        let kind = match self.kind {
            RegionKind::Data => 0,
            RegionKind::Node => 1,
        };
        for field in [
            &MAGIC[..],
            &FORMAT_VERSION.to_le_bytes(),
            &[kind, 0, 0, 0],
            &self.volume,
            &self.region.place.0.to_le_bytes(),
            &self.region.generation.0.to_le_bytes(),
            &x.to_le_bytes(),
            &y.to_le_bytes(),
        ] {
            let (head, tail) = rest.split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        }
        crc.copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        out
    }

    /// Reads the data of an identity chunk.
    ///
    /// # Errors
    /// `Version` for another format, `NotAnImage` for anything else that is wrong.
    pub fn decode(bytes: &[u8; IDENTITY_BYTES]) -> Result<Self, RegionError> {
        let damaged = RegionError::NotAnImage("its identity is damaged");
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(damaged)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(damaged);
        }
        let (magic, rest) = body.split_first_chunk::<8>().ok_or(damaged)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(damaged)?;
        if *magic != MAGIC {
            return Err(RegionError::NotAnImage("its identity is not one of ours"));
        }
        let version = u32::from_le_bytes(*version);
        if version != FORMAT_VERSION {
            return Err(RegionError::Version(version));
        }
        Self::decode_fields(rest).ok_or(RegionError::NotAnImage("its identity contradicts itself"))
    }

    fn decode_fields(rest: &[u8]) -> Option<Self> {
        let (kind, rest) = rest.split_first_chunk::<4>()?;
        let (volume, rest) = rest.split_first_chunk::<16>()?;
        let (place, rest) = rest.split_first_chunk::<4>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let (x, y) = rest.split_first_chunk::<8>()?;
        let kind = match kind {
            [0, 0, 0, 0] => RegionKind::Data,
            [1, 0, 0, 0] => RegionKind::Node,
            _ => return None,
        };
        let place = Place(u32::from_le_bytes(*place));
        let cell = MapCell { x: i64::from_le_bytes(*x), y: i64::from_le_bytes(y.try_into().ok()?) };
        let region = RegionId { place, generation: Generation(u64::from_le_bytes(*generation)) };
        (place.cell() == cell).then_some(Self { volume: *volume, region, kind })
    }

    /// Compares with the identity that the caller knows from the file name or an address.
    ///
    /// # Errors
    /// `WrongIdentity`, which names both.
    pub fn expect(&self, expected: &Self) -> Result<(), RegionError> {
        if self == expected {
            return Ok(());
        }
        Err(RegionError::WrongIdentity { found: self.region, expected: expected.region, same_volume: self.volume == expected.volume })
    }

    /// The plain words for people who open the file with a text or picture tool; ASCII, shorter than the chunk.
    #[must_use]
    pub fn describe(&self) -> String {
        let volume = u128::from_be_bytes(self.volume);
        let RegionId { place, generation } = self.region;
        let holds = match self.kind {
            RegionKind::Data => "bytes of files",
            RegionKind::Node => "tables of the filesystem",
        };
        format!(
            "This picture is part of a filesystem. It is region {place}, generation {generation}, of the Infinite Map volume {volume:032x} and holds {holds}. \
             Do not edit it or save it again: every pixel is data. \
             To read it: each pixel is 4 stored bytes, R G B A. A cluster of 4096 bytes is a tile of 256 x 4 pixels, row by row. \
             16 clusters fill a square of 4 x 4 tiles along a Hilbert curve, x and y swapped, from tile (0,0) to (0,3); 64 squares are stacked. \
             Chunk imID is the identity, imTB (twice) says for each cluster its CRC32 and which bytes of which inode it holds, raw or zstd, \
             imPY is Reed-Solomon parity over the rows, imRT a root of the tables, imPD padding."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::TEXT_BYTES;
    use super::*;
    use proptest::prelude::*;

    fn any_identity() -> impl Strategy<Value = Identity> {
        (any::<[u8; 16]>(), any::<u32>(), any::<u64>(), any::<bool>()).prop_map(|(volume, place, generation, data)| Identity {
            volume,
            region: RegionId { place: Place(place), generation: Generation(generation) },
            kind: if data { RegionKind::Data } else { RegionKind::Node },
        })
    }

    proptest! {
        #[test]
        fn identities_survive_encoding_and_every_flip_is_refused(identity in any_identity(), bit in 0..IDENTITY_BYTES * 8) {
            let mut bytes = identity.encode();
            prop_assert_eq!(Identity::decode(&bytes), Ok(identity));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Identity::decode(&bytes).is_err());
        }

        #[test]
        fn the_description_fits_its_chunk(identity in any_identity()) {
            let text = identity.describe();
            prop_assert!(text.is_ascii() && "Description\0".len() + text.len() <= TEXT_BYTES, "{}", text.len());
        }
    }

    #[test]
    fn another_version_is_named() {
        let identity =
            Identity { volume: [1; 16], region: RegionId { place: Place(0), generation: Generation(1) }, kind: RegionKind::Data };
        let mut bytes = identity.encode();
        bytes[8] = 9;
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Identity::decode(&bytes), Err(RegionError::Version(9)));
    }
}
