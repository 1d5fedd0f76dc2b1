//! Compression of units: 64 KiB of a file at a time, kept only when it pays.
//!
//! Owns: `Compressor`, `decode_unit`. Must be true: UNI-1 a unit is stored compressed only if that saves at least two
//! clusters; UNI-2 decoding allocates what the row says, never what the frame says. Fails: bytes that are no such frame give `None`.

use crate::limits::{CLUSTER_BYTES, UNIT_BYTES};

/// zstd level: 1 is faster than most disks (0.55 GB/s on text, 11 GB/s to see that random bytes do not pay).
const LEVEL: i32 = 1;
/// Clusters that compression must save to be worth the decoding.
const WORTH_CLUSTERS: usize = 2;

/// Compresses units; owns the work space.
pub struct Compressor {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    out: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        // Without memory for the context everything is stored raw, which is always right.
        Self { zstd: zstd::bulk::Compressor::new(LEVEL).ok(), out: vec![0; UNIT_BYTES] }
    }
}

impl Compressor {
    /// The compressed form of at most one unit, if it pays.
    pub fn compress(&mut self, unit: &[u8]) -> Option<&[u8]> {
        let budget = unit.len().div_ceil(CLUSTER_BYTES).checked_sub(WORTH_CLUSTERS)? * CLUSTER_BYTES;
        let room = self.out.get_mut(..budget.min(UNIT_BYTES))?;
        // A frame that does not fit the room is one that does not pay.
        let length = self.zstd.as_mut()?.compress_to_buffer(unit, room).ok()?;
        self.out.get(..length)
    }
}

/// The bytes of a compressed unit; `None` unless they are exactly `decoded_bytes`.
#[must_use]
pub fn decode_unit(stored: &[u8], decoded_bytes: usize) -> Option<Vec<u8>> {
    if decoded_bytes > UNIT_BYTES {
        return None;
    }
    zstd::bulk::decompress(stored, decoded_bytes).ok().filter(|unit| unit.len() == decoded_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_pays_and_noise_does_not() {
        let mut compressor = Compressor::default();
        let text = b"all work and no play makes a dull map. ".repeat(2000);
        let text = &text[..UNIT_BYTES];
        let stored = compressor.compress(text).unwrap().to_vec();
        assert!(stored.len() < UNIT_BYTES / 10);
        assert_eq!(decode_unit(&stored, UNIT_BYTES).unwrap(), text);
        let mut x = 1u64;
        let noise: Vec<u8> = (0..UNIT_BYTES)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (x >> 56) as u8
            })
            .collect();
        assert!(compressor.compress(&noise).is_none());
        assert!(compressor.compress(&text[..8192]).is_none());
    }

    proptest! {
        #[test]
        fn hostile_frames_give_nothing_or_the_length_asked_for(bytes in proptest::collection::vec(any::<u8>(), 0..500), length in 0usize..100_000) {
            if let Some(unit) = decode_unit(&bytes, length) {
                prop_assert_eq!(unit.len(), length);
            }
        }
    }
}
