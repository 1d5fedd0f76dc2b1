//! Compression of units: 64 KiB of a file at a time, kept only when it pays.
//!
//! Owns: `Compressor`, `looks_like_noise`, `decode_unit`. Must be true: UNI-1 a unit is stored compressed only if that saves at least two
//! clusters; UNI-2 decoding allocates what the row says, never what the frame says. Fails: bytes that are no such frame give `None`.

use crate::blocks::Block;
use crate::limits::{CLUSTER_BYTES, UNIT_BYTES};

/// zstd level: 1 is faster than most disks (0.55 GB/s on text, 11 GB/s to see that random bytes do not pay).
const LEVEL: i32 = 1;
/// Clusters that compression must save to be worth the decoding.
const WORTH_CLUSTERS: usize = 2;

/// Compresses units; owns the work space.
pub struct Compressor {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    unit: Vec<u8>,
    out: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        // Without memory for the context everything is stored raw, which is always right.
        Self { zstd: zstd::bulk::Compressor::new(LEVEL).ok(), unit: Vec::with_capacity(UNIT_BYTES), out: vec![0; UNIT_BYTES] }
    }
}

impl Compressor {
    /// The compressed form of the blocks of at most one unit, if it pays.
    pub fn compress_blocks(&mut self, blocks: &[Block]) -> Option<&[u8]> {
        let mut unit = std::mem::take(&mut self.unit);
        unit.clear();
        blocks.iter().take(UNIT_BYTES / CLUSTER_BYTES).for_each(|block| unit.extend_from_slice(block.bytes()));
        let length = self.compress(&unit).map(<[u8]>::len);
        self.unit = unit;
        self.out.get(..length?)
    }

    /// The compressed form of at most one unit, if it pays.
    pub fn compress(&mut self, unit: &[u8]) -> Option<&[u8]> {
        let budget = unit.len().div_ceil(CLUSTER_BYTES).checked_sub(WORTH_CLUSTERS)? * CLUSTER_BYTES;
        let room = self.out.get_mut(..budget.min(UNIT_BYTES))?;
        // A frame that does not fit the room is one that does not pay.
        let length = self.zstd.as_mut()?.compress_to_buffer(unit, room).ok()?;
        self.out.get(..length)
    }
}

/// Bytes looked at of every so many.
const SAMPLE_BYTES: usize = 8;
const SAMPLE_EVERY_BYTES: usize = 512;

/// Whether bytes are so evenly spread that compressing them is not worth the try: in samples the collision entropy (Rényi's of order 2,
/// never above Shannon's) is over 7.5 bits a byte, when to pay it would have to be 7 at most. What repeats itself evenly is missed. After
/// the heuristic of btrfs (fs/btrfs/compression.c), which samples four times as much and asks for Shannon's entropy; this one costs a
/// twentieth of zstd's try.
#[must_use]
pub fn looks_like_noise(blocks: &[Block]) -> bool {
    const FEW_SAMPLES: usize = 64;
    let parts = blocks.iter().flat_map(|block| block.bytes().chunks_exact(SAMPLE_EVERY_BYTES));
    // Each sample from another place of its part: records of an even length would show the same field again and again.
    let places = (0..).map(|n| 37 * n * SAMPLE_BYTES % SAMPLE_EVERY_BYTES);
    // All are fetched before the first is counted: none of them is in the processor's cache, and so they come at the same time.
    let mut samples = [[0; SAMPLE_BYTES]; UNIT_BYTES / SAMPLE_EVERY_BYTES];
    let mut fetched = 0;
    for (sample, (part, at)) in samples.iter_mut().zip(parts.zip(places)) {
        if let Some(bytes) = part.get(at..).and_then(<[u8]>::first_chunk) {
            *sample = *bytes;
        }
        fetched += 1;
    }
    // Four tables, so that one count does not wait for the one before.
    let mut counts = [[0u32; 256]; 4];
    for sample in samples.iter().take(fetched) {
        for (n, byte) in sample.iter().enumerate() {
            if let Some(count) = counts.get_mut(n % 4).and_then(|table| table.get_mut(usize::from(*byte))) {
                *count += 1;
            }
        }
    }
    let [a, b, c, d] = &counts;
    let pairs: u64 = a.iter().zip(b).zip(c).zip(d).map(|(((a, b), c), d)| u64::from(a + b + c + d)).map(|count| count * count).sum();
    // Of evenly spread bytes, one pair in 256 is equal; at 7.5 bits, one in 181.
    let bytes = fetched * SAMPLE_BYTES;
    let expected = (bytes * bytes / 181 + bytes) as u64;
    fetched >= FEW_SAMPLES && pairs < expected
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

    fn blocks(bytes: &[u8]) -> Vec<Block> {
        let pool = crate::blocks::BlockPool::new(0);
        bytes.chunks(CLUSTER_BYTES).map(|block| pool.holding(0, block)).collect()
    }

    #[test]
    fn only_noise_looks_like_noise() {
        let mut x = 1u64;
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (x >> 56) as u8
        };
        let noise: Vec<u8> = (0..UNIT_BYTES).map(|_| next()).collect();
        assert!(looks_like_noise(&blocks(&noise)) && looks_like_noise(&blocks(&noise[..UNIT_BYTES / 2])));
        assert!(!looks_like_noise(&blocks(&noise[..8192])), "too little to judge by");
        assert!(!looks_like_noise(&blocks(&[0; UNIT_BYTES])));
        let base64: Vec<u8> = noise.iter().map(|byte| byte & 63 | 64).collect();
        assert!(!looks_like_noise(&blocks(&base64)));
        // Records that begin with a hash.
        for length in [32, 512] {
            let records: Vec<u8> = noise.iter().enumerate().map(|(n, byte)| if n % length < 8 { *byte } else { 0 }).collect();
            assert!(!looks_like_noise(&blocks(&records)), "records of {length} bytes");
        }
        // A third of it zeros: zstd saves that third.
        let holes: Vec<u8> =
            noise.iter().enumerate().map(|(n, byte)| if (n / CLUSTER_BYTES).is_multiple_of(3) { 0 } else { *byte }).collect();
        assert!(!looks_like_noise(&blocks(&holes)));
        assert!(Compressor::default().compress_blocks(&blocks(&holes)).is_some());
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
