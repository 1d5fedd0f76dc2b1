//! The deflate block that closes an image: all unused bands as zeros, in a few kilobytes.
//!
//! Owns: `write_tail`, `tail_bytes`. Must be true: PIC-4 the block inflates to exactly the rows of the unused bands, and
//! needs nothing of what stands before it. Fails: never; the caller gives a slice of `tail_bytes`.
//!
//! A block with its own Huffman codes (RFC 1951, 3.2.7): one literal zero, then copies of 258 bytes from distance 1, each
//! two bits, then literals for what is left. Lengths 1 for symbol 285 and the only distance, 2 for literal 0 and the end.
//! All copies are zero bits, so the block is a constant head, zeros, and a short end. No unused band: an empty stored block.

use super::layout::{BAND_STORED_BYTES, ZLIB_HEADER};
use crate::limits::REGION_BANDS;

/// Bits of block header and code lengths.
const HEAD_BITS: usize = 103;
/// Bytes that one copy stands for.
const COPY_BYTES: usize = 258;
const ADLER_BYTES: usize = 4;
const EMPTY_STORED: [u8; 5] = [1, 0, 0, 0xFF, 0xFF];

/// Bytes of the data of the IDAT that closes the stream behind `used_bands` (0..=256), zlib header and Adler-32 included.
#[must_use]
pub fn tail_bytes(used_bands: usize) -> usize {
    let zlib = if used_bands == 0 { ZLIB_HEADER.len() } else { 0 };
    let block = match zeros_after(used_bands) {
        0 => EMPTY_STORED.len(),
        zeros => (HEAD_BITS + 2 + 2 * ((zeros - 1) / COPY_BYTES) + 2 * ((zeros - 1) % COPY_BYTES) + 2).div_ceil(8),
    };
    zlib + block + ADLER_BYTES
}

/// Writes that data into `out`, which is [`tail_bytes`] long. `adler` covers the rows of the used bands (1 for none).
pub fn write_tail(out: &mut [u8], used_bands: usize, adler: u32) {
    out.fill(0);
    let zeros = zeros_after(used_bands);
    let (block, sum) = out.split_at_mut(out.len() - ADLER_BYTES);
    sum.copy_from_slice(&adler_then_zeros(adler, zeros).to_be_bytes());
    let block = if used_bands == 0 {
        let (header, block) = block.split_at_mut(ZLIB_HEADER.len());
        header.copy_from_slice(&ZLIB_HEADER);
        block
    } else {
        block
    };
    if zeros == 0 {
        block.copy_from_slice(&EMPTY_STORED);
        return;
    }
    let mut bits = Bits { out: block, at: 0 };
    write_codes(&mut bits);
    bits.put_code(LITERAL_ZERO);
    bits.at += 2 * ((zeros - 1) / COPY_BYTES);
    for _ in 0..(zeros - 1) % COPY_BYTES {
        bits.put_code(LITERAL_ZERO);
    }
    bits.put_code(END_OF_BLOCK);
}

/// The Adler-32 of what `adler` covers followed by `zeros` zero bytes.
#[must_use]
pub fn adler_then_zeros(adler: u32, zeros: usize) -> u32 {
    const BASE: u64 = 65_521;
    let (a, b) = (u64::from(adler & 0xFFFF), u64::from(adler >> 16));
    let b = (b + a * (zeros as u64 % BASE)) % BASE;
    (b << 16 | a) as u32
}

fn zeros_after(used_bands: usize) -> usize {
    (REGION_BANDS - used_bands) * BAND_STORED_BYTES
}

// Codes are written from their first bit on, so these two read mirrored; symbol 285 and the distance are both a zero bit.
const LITERAL_ZERO: u8 = 0b01;
const END_OF_BLOCK: u8 = 0b11;

/// Block header and the lengths of the codes: 0 -> 2, 256 -> 2, 285 -> 1; distance 0 -> 1.
fn write_codes(bits: &mut Bits<'_>) {
    bits.put(1, 1); // the last block
    bits.put(2, 2); // with its own codes
    bits.put(29, 5); // 286 literal and length codes
    bits.put(0, 5); // 1 distance code
    bits.put(14, 4); // 18 lengths of the code of lengths follow, in the order of the RFC
    for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1] {
        let length = match symbol {
            18 => 1,
            1 | 2 => 2,
            _ => 0,
        };
        bits.put(length, 3);
    }
    let (zeros, one, two) = (0b0, 0b01, 0b11);
    bits.put(two, 2); // literal 0
    for run in [138, 117, 28] {
        if run == 28 {
            bits.put(two, 2); // 256, the end
        }
        bits.put(zeros, 1);
        bits.put(run - 11, 7);
    }
    bits.put(one, 2); // 285, a copy of 258
    bits.put(one, 2); // distance 1
}

/// Writes bits, lowest first, into zeroed bytes.
struct Bits<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Bits<'_> {
    fn put(&mut self, value: u32, count: usize) {
        for bit in 0..count {
            if let Some(byte) = self.out.get_mut(self.at / 8) {
                *byte |= ((value >> bit & 1) as u8) << (self.at % 8);
            }
            self.at += 1;
        }
    }

    fn put_code(&mut self, code: u8) {
        self.put(u32::from(code), 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_head_has_its_length() {
        let mut bytes = [0; 20];
        let mut bits = Bits { out: &mut bytes, at: 0 };
        write_codes(&mut bits);
        assert_eq!(bits.at, HEAD_BITS);
    }

    #[test]
    fn the_block_of_an_empty_region_is_a_few_kilobytes() {
        assert!((0..=REGION_BANDS).all(|used| tail_bytes(used) < 5 * 1024));
    }

    proptest! {
        #[test]
        fn zeros_extend_an_adler_sum(head in proptest::collection::vec(any::<u8>(), 0..100), zeros in 0usize..100_000) {
            let mut whole = head.clone();
            whole.resize(head.len() + zeros, 0);
            prop_assert_eq!(adler_then_zeros(simd_adler32::adler32(&&head[..]), zeros), simd_adler32::adler32(&&whole[..]));
        }
    }
}
