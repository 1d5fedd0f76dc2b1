//! What two damaged copies of the same bytes come to, when each is sound where the other is not.
//!
//! Owns: `tables`, `root`. Must be true: SLV-1 nothing is given but what has its own checksum, and no more than 256 guesses are put to one,
//! so that a wrong one passes once in 2^24 of the cases in which there is no right one; checksums of rows and clusters are first
//! compared with the bytes that they describe, which needs no guess. Fails: `None`; hostile bytes make it try a bounded number of places.

use super::compose::PARITY_BYTES;
use super::layout::{CHUNK_FRAME_BYTES, CHUNK_HEAD_BYTES, cluster_pieces, row_range};
use super::tables::{MAGIC, Tables, tables_bytes};
use super::{crc, encode::ROOT_MAX_BYTES};
use crate::address::Cluster;
use crate::limits::{PIECE_BYTES, REGION_CLUSTERS, REGION_SIDE_PX, ROW_BYTES};
use std::ops::Range;

/// Bytes of the magic number that must be there for a place to be tried.
const MAGIC_MIN: usize = 5;
/// Places that are tried, from the end of the file on.
const TRIED_MAX: usize = 32;
/// Differences between the copies that are guessed at: 2^8 guesses.
const GUESSED_MAX: usize = 8;
/// Differences nearer to each other than this count as one, when there are too many.
const GAP_BYTES: usize = 16;
/// Offsets in the tables.
const OWNERS_AT: usize = 78;
const ROOT_AT: usize = 80;
const CRCS_AT: usize = 88;

/// Tables from their damaged copies in a file whose pixels stand `moved_by` bytes behind their place.
pub(super) fn tables(bytes: &[u8], moved_by: usize) -> Option<Tables> {
    let looks_so = |window: &[u8]| window.iter().zip(MAGIC).filter(|(a, b)| **a == *b).count() >= MAGIC_MIN;
    let starts: Vec<usize> =
        bytes.windows(MAGIC.len()).enumerate().rev().filter(|(_, w)| looks_so(w)).map(|(at, _)| at).take(TRIED_MAX).collect();
    // What one copy says of its size may be damaged; the other says it too.
    let sizes: Vec<Sizes> = starts.iter().filter_map(|&at| Sizes::at(bytes, at)).collect();
    for &at in &starts {
        for size in &sizes {
            let apart = size.copies_apart();
            for first in [at.checked_sub(apart), Some(at)].into_iter().flatten() {
                if let Some(found) = merge_tables(bytes, first, *size, moved_by) {
                    return Some(found);
                }
            }
        }
    }
    None
}

/// A root from its damaged copies, judged by its checksum.
pub(super) fn root(bytes: &[u8], copies: [usize; 2], length: usize, crc: u32) -> Option<Vec<u8>> {
    if length > ROOT_MAX_BYTES {
        return None;
    }
    let [a, b] = copies.map(|at| copy_of(bytes, at, length));
    merge(a, &b, |root| (crc32fast::hash(root) == crc).then(|| root.to_vec()))
}

/// What decides how far the copies are apart.
#[derive(Clone, Copy)]
struct Sizes {
    owners: usize,
    root: Option<usize>,
}

impl Sizes {
    fn at(bytes: &[u8], start: usize) -> Option<Self> {
        let owners = u16::from_le_bytes(*bytes.get(start + OWNERS_AT..)?.first_chunk()?);
        let root = u32::from_le_bytes(*bytes.get(start + ROOT_AT..)?.first_chunk()?) as usize;
        let crc = u32::from_le_bytes(*bytes.get(start + ROOT_AT + 4..)?.first_chunk()?);
        let fits = usize::from(owners) <= REGION_CLUSTERS && root <= ROOT_MAX_BYTES;
        fits.then_some(Self { owners: usize::from(owners), root: (root, crc).ne(&(0, 0)).then_some(root) })
    }

    fn root_chunk(self) -> usize {
        self.root.map_or(0, |root| root + CHUNK_FRAME_BYTES)
    }

    /// Bytes from the first copy to the parity rows.
    fn to_parity(self) -> usize {
        tables_bytes(self.owners) + 4 + self.root_chunk() + CHUNK_HEAD_BYTES
    }

    /// Bytes from one copy to the other.
    fn copies_apart(self) -> usize {
        self.to_parity() + PARITY_BYTES + 4 + self.root_chunk() + CHUNK_HEAD_BYTES
    }
}

fn copy_of(bytes: &[u8], at: usize, length: usize) -> Vec<u8> {
    let mut copy = bytes.get(at..).unwrap_or_default().to_vec();
    copy.resize(length, 0);
    copy
}

fn merge_tables(bytes: &[u8], first: usize, sizes: Sizes, moved_by: usize) -> Option<Tables> {
    let length = tables_bytes(sizes.owners);
    let (mut a, mut b) = (copy_of(bytes, first, length), copy_of(bytes, first + sizes.copies_apart(), length));
    let described = |word: usize| match word.checked_sub(REGION_CLUSTERS) {
        None => cluster_crc(bytes, moved_by, word),
        Some(row) if row < REGION_SIDE_PX => row_crc(bytes, row_range(row).start + moved_by),
        Some(row) => row_crc(bytes, first + sizes.to_parity() + (row - REGION_SIDE_PX) * ROW_BYTES),
    };
    settle_checksums(&mut a, &mut b, described);
    merge(a, &b, Tables::decode)
}

/// Where the copies say two checksums of a row or a cluster, both get the one that its bytes have, or that of zeros.
fn settle_checksums(a: &mut [u8], b: &mut [u8], described: impl Fn(usize) -> Option<u32>) {
    let words = REGION_CLUSTERS + crate::limits::CHECKED_ROWS;
    let (Some(a), Some(b)) = (a.get_mut(CRCS_AT..), b.get_mut(CRCS_AT..)) else { return };
    for (word, (a, b)) in a.chunks_exact_mut(4).zip(b.chunks_exact_mut(4)).take(words).enumerate() {
        if a == b {
            continue;
        }
        let actual = described(word).map(u32::to_le_bytes);
        let zero = crc::ZERO_CLUSTER_CRC.to_le_bytes();
        let says = |crc: [u8; 4]| *a == crc || *b == crc;
        // Both may be damaged there: then only the bytes themselves know.
        let right = actual.filter(|crc| says(*crc)).or(Some(zero).filter(|zero| says(*zero))).or(actual);
        if let Some(right) = right {
            a.copy_from_slice(&right);
            b.copy_from_slice(&right);
        }
    }
}

fn row_crc(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<ROW_BYTES>().map(|row| crc32fast::hash(row))
}

fn cluster_crc(bytes: &[u8], moved_by: usize, number: usize) -> Option<u32> {
    let mut hasher = crc32fast::Hasher::new();
    for at in cluster_pieces(Cluster::new(number)?) {
        hasher.update(bytes.get(at + moved_by..)?.first_chunk::<PIECE_BYTES>()?);
    }
    Some(hasher.finalize())
}

/// Tries each way of taking the differences from one copy or the other until `judge` accepts.
fn merge<T>(mut a: Vec<u8>, b: &[u8], judge: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    for gap in [1, GAP_BYTES] {
        let runs = differences(&a, b, gap);
        if runs.len() > GUESSED_MAX {
            continue;
        }
        let own: Vec<Vec<u8>> = runs.iter().filter_map(|run| a.get(run.clone()).map(<[u8]>::to_vec)).collect();
        for guess in 0..1u32 << runs.len() {
            for (n, (run, own)) in runs.iter().zip(&own).enumerate() {
                let from = if guess >> n & 1 == 0 { Some(own.as_slice()) } else { b.get(run.clone()) };
                if let (Some(to), Some(from)) = (a.get_mut(run.clone()), from) {
                    to.copy_from_slice(from);
                }
            }
            if let Some(found) = judge(&a) {
                return Some(found);
            }
        }
        for (run, own) in runs.iter().zip(&own) {
            a.get_mut(run.clone()).into_iter().for_each(|to| to.copy_from_slice(own));
        }
    }
    None
}

/// Runs of bytes that differ; those with fewer than `gap` equal bytes between them are one.
fn differences(a: &[u8], b: &[u8], gap: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in a.iter().zip(b).enumerate().filter(|(_, (a, b))| a != b) {
        match runs.last_mut().filter(|run| at < run.end + gap) {
            Some(run) => run.end = at + 1,
            None => runs.push(at..at + 1),
        }
        if runs.len() > GUESSED_MAX && gap == 1 {
            break;
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_are_damaged_in_different_places_complete_each_other() {
        let whole: Vec<u8> = (0..4000u32).map(|n| (n * 7) as u8).collect();
        let judge = |bytes: &[u8]| (bytes == whole).then_some(());
        let (mut a, mut b) = (whole.clone(), whole.clone());
        a[100..900].fill(0);
        b[1000..2000].fill(0);
        (a[3000], a[3010], b[3020]) = (!a[3000], !a[3010], !b[3020]);
        assert_eq!(merge(a.clone(), &b, judge), None, "too near to each other, and too many to guess");
        (a[3000], a[3010]) = (whole[3000], whole[3010]);
        assert_eq!(merge(a, &b, judge), Some(()));
    }
}
