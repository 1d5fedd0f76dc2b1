//! Parity over the rows of a region: 32 rows from which any 32 lost ones of 1056 come back.
//!
//! Owns: `ParityEncoder`, `RowRestorer`. Must be true: PAR-1 the code is that of 1024 original and 32 recovery shards of 4096
//! bytes of `reed-solomon-simd` 3.1.0 in its high-rate form, frozen with the format; PAR-2 rows of zeros at the end add nothing
//! to it, so they are neither read nor encoded. Fails: `TooManyLost` beyond 32; the rows say nothing about themselves,
//! checksums must tell which are lost.
//!
//! PAR-2 holds because the high-rate form adds up transforms of groups of 32 rows (Lin, Han, Chung 2016: Novel polynomial basis
//! with fast Fourier transform), and that of zeros is zero; a test compares it with the default form over all 1024.

use crate::limits::{PARITY_ROWS, REGION_SIDE_PX, ROW_BYTES};
use reed_solomon_simd::engine::{DefaultEngine, Engine, ShardsRefMut};
use reed_solomon_simd::rate::{HighRateDecoder, RateDecoder};

/// More rows are lost than the code can restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{lost} of 1056 rows are lost and parity restores 32: take these clusters from a backup")]
pub struct TooManyLost {
    pub lost: usize,
}

/// Rows that are transformed together: as many as there are parity rows.
const GROUP_ROWS: usize = PARITY_ROWS;
/// What the code sees of a row at a time: 64 bytes do not depend on their neighbours.
type Chunk = [u8; 64];
const ROW_CHUNKS: usize = ROW_BYTES / 64;
/// Part of the rows of a group that is transformed at a time: 32 KiB, which a processor has in its first cache.
const COLUMN_CHUNKS: usize = ROW_CHUNKS / 4;

/// Computes parity, group by group, in 160 KiB of work space.
pub struct ParityEncoder {
    engine: DefaultEngine,
    /// A quarter of the rows of one group.
    column: Vec<Chunk>,
    /// The sum of all transformed groups, quarter by quarter.
    sums: Vec<Chunk>,
}

/// Bytes of work space of an encoder.
pub const ENCODER_BYTES: usize = (GROUP_ROWS * (COLUMN_CHUNKS + ROW_CHUNKS)) * size_of::<Chunk>();

/// Bytes of the tables of the code, which `reed-solomon-simd` makes once a process: 128 for each of the 65,536 multipliers, and four tables
/// of 2 for each.
pub const CODE_TABLES_BYTES: usize = 65_536 * (128 + 4 * 2);

impl Default for ParityEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ParityEncoder {
    /// An encoder with its work space.
    #[must_use]
    pub fn new() -> Self {
        let zeros = |chunks: usize| vec![[0; 64]; GROUP_ROWS * chunks];
        Self { engine: DefaultEngine::new(), column: zeros(COLUMN_CHUNKS), sums: zeros(ROW_CHUNKS) }
    }

    /// Hands the 32 parity rows to `put`, for pixels of which the first `used` (0..=1024) rows are `row(n)` and the rest zero.
    pub fn encode<'r>(&mut self, used: usize, mut row: impl FnMut(usize) -> &'r [u8; ROW_BYTES], mut put: impl FnMut(usize, &[u8])) {
        let used = used.min(REGION_SIDE_PX);
        self.sums.fill([0; 64]);
        let mut first = 0;
        while first < used {
            let rows: Vec<&[u8; ROW_BYTES]> = (first..used.min(first + GROUP_ROWS)).map(&mut row).collect();
            self.add_group(first, &rows);
            first += GROUP_ROWS;
        }
        for sums in self.sums.chunks_exact_mut(GROUP_ROWS * COLUMN_CHUNKS) {
            self.engine.fft(&mut ShardsRefMut::new(GROUP_ROWS, COLUMN_CHUNKS, sums), 0, GROUP_ROWS, PARITY_ROWS, 0);
        }
        let mut out = [0; ROW_BYTES];
        for n in 0..PARITY_ROWS {
            let columns = self.sums.chunks_exact(GROUP_ROWS * COLUMN_CHUNKS);
            for (sums, part) in columns.zip(out.chunks_exact_mut(COLUMN_CHUNKS * 64)) {
                let row = sums.chunks_exact(COLUMN_CHUNKS).nth(n).unwrap_or(&[]);
                part.copy_from_slice(row.as_flattened());
            }
            put(n, &out);
        }
    }

    /// Adds the transform of the rows from number `first` on, a multiple of 32; missing rows at the end are zero.
    fn add_group(&mut self, first: usize, rows: &[&[u8; ROW_BYTES]]) {
        let columns = self.sums.chunks_exact_mut(GROUP_ROWS * COLUMN_CHUNKS);
        for (number, sums) in columns.enumerate() {
            let from = number * COLUMN_CHUNKS * 64;
            let (given, missing) = self.column.split_at_mut(rows.len() * COLUMN_CHUNKS);
            for (to, row) in given.chunks_exact_mut(COLUMN_CHUNKS).zip(rows) {
                if let Some(part) = row.get(from..from + COLUMN_CHUNKS * 64) {
                    to.as_flattened_mut().copy_from_slice(part);
                }
            }
            missing.fill([0; 64]);
            let mut shards = ShardsRefMut::new(GROUP_ROWS, COLUMN_CHUNKS, &mut self.column);
            // The place of the group in the whole transform is in its last argument.
            self.engine.ifft(&mut shards, 0, GROUP_ROWS, rows.len(), first + GROUP_ROWS);
            for (sum, chunk) in sums.iter_mut().zip(&self.column) {
                sum.iter_mut().zip(chunk).for_each(|(sum, byte)| *sum ^= byte);
            }
        }
    }
}

/// A restored row: its number, 0..1024 pixels or 1024..1056 parity, and its 4096 bytes.
pub type RestoredRow = (usize, Vec<u8>);

/// Restores lost rows; owns 8 MiB of work space.
pub struct RowRestorer {
    inner: HighRateDecoder<DefaultEngine>,
}

impl Default for RowRestorer {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::expect_used, reason = "counts and sizes are constants that the code supports, and rows have their size by type")]
impl RowRestorer {
    /// A restorer with its work space.
    #[must_use]
    pub fn new() -> Self {
        let inner = HighRateDecoder::new(REGION_SIDE_PX, PARITY_ROWS, ROW_BYTES, DefaultEngine::new(), None);
        Self { inner: inner.expect("1024 + 32 rows are supported") }
    }

    /// The lost pixel rows, restored. `row(n)` gives the sound rows, 0..1024 pixels (asked below `used`, zero from there on) and
    /// 1024..1056 parity, and `None` for lost ones.
    ///
    /// # Errors
    /// `TooManyLost` if more than 32 are lost.
    pub fn restore<'r>(
        &mut self,
        used: usize,
        row: impl Fn(usize) -> Option<&'r [u8; ROW_BYTES]>,
    ) -> Result<Vec<RestoredRow>, TooManyLost> {
        let used = used.min(REGION_SIDE_PX);
        let parity = REGION_SIDE_PX..REGION_SIDE_PX + PARITY_ROWS;
        let lost_pixels = (0..used).filter(|&n| row(n).is_none()).count();
        let lost = lost_pixels + parity.clone().filter(|&n| row(n).is_none()).count();
        if lost > PARITY_ROWS {
            return Err(TooManyLost { lost });
        }
        if lost_pixels == 0 {
            return Ok(Vec::new());
        }
        self.inner.reset(used, PARITY_ROWS, ROW_BYTES).expect("up to 1024 + 32 rows are supported");
        for n in 0..used {
            row(n).into_iter().for_each(|row| self.inner.add_original_shard(n, row).expect("each row once"));
        }
        for n in parity {
            row(n).into_iter().for_each(|row| self.inner.add_recovery_shard(n - REGION_SIDE_PX, row).expect("each row once"));
        }
        let restored = self.inner.decode().expect("no more rows lost than restorable");
        Ok(restored.restored_original_iter().map(|(n, row)| (n, row.to_vec())).collect())
    }

    /// As [`Self::restore`], with the lost parity rows computed anew.
    ///
    /// # Errors
    /// `TooManyLost` if more than 32 are lost.
    pub fn restore_all<'r>(
        &mut self,
        encoder: &mut ParityEncoder,
        used: usize,
        row: impl Fn(usize) -> Option<&'r [u8; ROW_BYTES]>,
    ) -> Result<Vec<RestoredRow>, TooManyLost> {
        let mut restored = self.restore(used, &row)?;
        let mut parity = Vec::new();
        let whole = |n: usize| match row(n) {
            Some(row) => row,
            None => restored.iter().find(|(number, _)| *number == n).and_then(|(_, row)| row.first_chunk()).expect("restored just now"),
        };
        encoder.encode(used, whole, |n, bytes| {
            if row(REGION_SIDE_PX + n).is_none() {
                parity.push((REGION_SIDE_PX + n, bytes.to_vec()));
            }
        });
        restored.append(&mut parity);
        Ok(restored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    type Row = [u8; ROW_BYTES];

    fn pixels(used: usize, seed: u64) -> Vec<Row> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..used)
            .map(|_| {
                let mut row = [0; ROW_BYTES];
                row.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&next().to_le_bytes()));
                row
            })
            .collect()
    }

    fn with_parity(encoder: &mut ParityEncoder, pixels: &[Row]) -> Vec<Row> {
        let mut rows = pixels.to_vec();
        rows.resize(REGION_SIDE_PX, [0; ROW_BYTES]);
        encoder.encode(pixels.len(), |n| &pixels[n], |_, row| rows.push(row.try_into().unwrap()));
        rows
    }

    #[test]
    fn parity_is_that_of_the_published_code_over_all_rows_whatever_is_used() {
        let mut encoder = ParityEncoder::new();
        for used in [1024, 0, 4, 28, 32, 36, 64, 100, 512, 1020] {
            let rows = with_parity(&mut encoder, &pixels(used, 77));
            let published = reed_solomon_simd::encode(REGION_SIDE_PX, PARITY_ROWS, &rows[..REGION_SIDE_PX]).unwrap();
            assert!(published.iter().zip(&rows[REGION_SIDE_PX..]).all(|(a, b)| a[..] == b[..]), "{used} used rows");
        }
    }

    #[test]
    fn the_code_is_frozen() {
        let rows = with_parity(&mut ParityEncoder::new(), &pixels(1024, 77));
        assert_eq!(
            (crc32fast::hash(rows[..1024].as_flattened()), crc32fast::hash(rows[1024..].as_flattened())),
            (100_598_060, 4_255_809_644)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_32_lost_rows_come_back(bands in 1usize..=256, seed: u64, lost in proptest::collection::btree_set(0usize..1056, 0..=32), burst in 0usize..1056) {
            let used = bands * 4;
            let (mut encoder, mut restorer) = (ParityEncoder::new(), RowRestorer::new());
            let rows = with_parity(&mut encoder, &pixels(used, seed));
            for lost in [lost, (burst..burst + 32).filter(|n| *n < 1056).collect::<BTreeSet<_>>()] {
                let restored = restorer.restore_all(&mut encoder, used, |n| (!lost.contains(&n)).then(|| &rows[n])).unwrap();
                let expected = lost.iter().filter(|n| **n < used || **n >= 1024).collect::<Vec<_>>();
                prop_assert_eq!(restored.iter().map(|(n, _)| n).collect::<Vec<_>>(), expected);
                prop_assert!(restored.iter().all(|(n, row)| row[..] == rows[*n][..]));
            }
        }

        #[test]
        fn the_33rd_lost_row_is_an_error(lost in proptest::collection::btree_set(0usize..1056, 33..60)) {
            let rows = vec![[5; ROW_BYTES]; 1056];
            let result = RowRestorer::new().restore(1024, |n| (!lost.contains(&n)).then(|| &rows[n]));
            prop_assert_eq!(result, Err(TooManyLost { lost: lost.len() }));
        }
    }
}
