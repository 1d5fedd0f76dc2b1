//! CRC32 of joined bytes from the CRCs of the parts, so that pixels are read once for three checksums.
//!
//! Owns: `Shift`, the operator that moves a CRC over a fixed number of bytes, as four tables. Must be true: CRC-1
//! `join(crc(a), crc(b)) = crc(a ++ b)` when b has the operator's length. Fails: never.
//!
//! Every piece of 1024 bytes is hashed once while it is hot; clusters, rows and IDAT chunks are joined from that. The
//! algebra is zlib's `crc32_combine` (Mark Adler), with a table in place of its loop: 3 ns a join instead of 60.

use crate::limits::{CLUSTER_BYTES, PIECE_BYTES, ROW_BYTES};

/// CRC32 of a piece of zeros.
pub const ZERO_PIECE_CRC: u32 = 0xEFB5_AF2E;
/// CRC32 of a cluster of zeros, and of a row of zeros.
pub const ZERO_CLUSTER_CRC: u32 = 0xC71C_0011;
/// CRC32 of one zero byte: the filter byte of a row.
pub const ZERO_BYTE_CRC: u32 = 0xD202_EF8D;

const POLYNOMIAL: u32 = 0xEDB8_8320;

const _: () = assert!(CLUSTER_BYTES == ROW_BYTES);

/// Joins at pieces.
static OVER_PIECE: Shift = Shift::over(PIECE_BYTES as u32);
/// Joins at rows and at clusters.
static OVER_ROW: Shift = Shift::over(ROW_BYTES as u32);
/// Joins at rows with their filter byte.
static OVER_FILTERED_ROW: Shift = Shift::over(ROW_BYTES as u32 + 1);

/// CRC32 of four pieces one after the other: of a cluster, or of a row.
#[must_use]
pub fn of_pieces(pieces: [u32; 4]) -> u32 {
    let [first, rest @ ..] = pieces;
    rest.into_iter().fold(first, |crc, piece| OVER_PIECE.join(crc, piece))
}

/// CRC32 of what `crc` covers followed by a row of 4096 bytes.
#[must_use]
pub fn then_row(crc: u32, row: u32) -> u32 {
    OVER_ROW.join(crc, row)
}

/// CRC32 of what `crc` covers followed by a zero filter byte and a row of 4096 bytes.
#[must_use]
pub fn then_filtered_row(crc: u32, row: u32) -> u32 {
    OVER_FILTERED_ROW.join(crc, OVER_ROW.join(ZERO_BYTE_CRC, row))
}

/// Moves a CRC over a fixed number of bytes: one table of 256 for each byte of the CRC.
struct Shift([[u32; 256]; 4]);

#[expect(clippy::indexing_slicing, reason = "every index is a byte, or counted below 256")]
impl Shift {
    const fn over(bytes: u32) -> Self {
        let factor = power_of_x(8 * bytes);
        let mut tables = [[0; 256]; 4];
        let mut byte = 0;
        while byte < 4 {
            let mut value = 1;
            while value < 256 {
                let rest = value & (value - 1);
                let lowest = value ^ rest;
                tables[byte][value] =
                    if rest == 0 { multiply(factor, (lowest as u32) << (8 * byte)) } else { tables[byte][rest] ^ tables[byte][lowest] };
                value += 1;
            }
            byte += 1;
        }
        Self(tables)
    }

    fn join(&self, left: u32, right: u32) -> u32 {
        let [a, b, c, d] = left.to_le_bytes().map(usize::from);
        let [ta, tb, tc, td] = &self.0;
        ta[a] ^ tb[b] ^ tc[c] ^ td[d] ^ right
    }
}

/// Product modulo the polynomial, in the reflected form (the top bit is x^0).
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1u32 << 31;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { (b >> 1) ^ POLYNOMIAL };
        bit >>= 1;
    }
    product
}

/// x to the power `n` modulo the polynomial.
const fn power_of_x(mut n: u32) -> u32 {
    let (mut power, mut square) = (1u32 << 31, 1u32 << 30);
    while n != 0 {
        if n & 1 != 0 {
            power = multiply(power, square);
        }
        square = multiply(square, square);
        n >>= 1;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;
    use crc32fast::hash;
    use proptest::prelude::*;

    #[test]
    fn the_checksums_of_zeros_are_right() {
        assert_eq!(ZERO_BYTE_CRC, hash(&[0]));
        assert_eq!(ZERO_PIECE_CRC, hash(&[0; PIECE_BYTES]));
        assert_eq!(ZERO_CLUSTER_CRC, hash(&[0; CLUSTER_BYTES]));
    }

    proptest! {
        #[test]
        fn joined_checksums_are_those_of_the_joined_bytes(head in proptest::collection::vec(any::<u8>(), 0..40), row in proptest::collection::vec(any::<u8>(), ROW_BYTES)) {
            let pieces = row.chunks(PIECE_BYTES).map(hash).collect::<Vec<_>>();
            prop_assert_eq!(of_pieces(pieces.try_into().unwrap()), hash(&row));
            prop_assert_eq!(then_row(hash(&head), hash(&row)), hash(&[&head[..], &row].concat()));
            prop_assert_eq!(then_filtered_row(hash(&head), hash(&row)), hash(&[&head[..], &[0], &row].concat()));
        }
    }
}
