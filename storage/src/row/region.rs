//! The row of a region: which image stands at a place and which of its clusters are alive.
//!
//! Owns: `RegionRow`, `LiveBits`. Must be true: REG-1 a cluster is live if and only if a row or a node pointer of one of the trees
//! claims the extent or node that it belongs to. Fails: see `RowError`.

use super::{RowError, decode};
use crate::address::Generation;
use crate::limits::REGION_CLUSTERS;
pub use crate::region::RegionKind;
use crate::wire::Put;

/// One bit for each cluster of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveBits([u64; REGION_CLUSTERS / 64]);

impl Default for LiveBits {
    fn default() -> Self {
        Self([0; REGION_CLUSTERS / 64])
    }
}

impl LiveBits {
    /// Sets or clears `count` bits from `first` on; those beyond the end are ignored. Returns how many really changed.
    pub fn set(&mut self, first: usize, count: usize, live: bool) -> usize {
        let mut changed = 0;
        for n in first..(first + count).min(REGION_CLUSTERS) {
            if self.get(n) != live
                && let Some(word) = self.0.get_mut(n / 64)
            {
                *word ^= 1 << (n % 64);
                changed += 1;
            }
        }
        changed
    }

    #[must_use]
    pub fn get(&self, n: usize) -> bool {
        self.0.get(n / 64).is_some_and(|word| word >> (n % 64) & 1 == 1)
    }

    /// How many clusters are alive.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }
}

/// State of the region at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionRow {
    pub generation: Generation,
    pub kind: RegionKind,
    pub live: LiveBits,
}

impl RegionRow {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![super::ENCODING];
        out.put_u64(self.generation.0);
        out.put_u8(self.kind as u8);
        self.live.0.iter().for_each(|&word| out.put_u64(word));
        out
    }

    /// # Errors
    /// [`RowError`] when the bytes are not such a row.
    pub fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        decode("region", bytes, |r| {
            let (generation, kind) = (Generation(r.u64()?), RegionKind::from_number(r.u8()?)?);
            let mut live = LiveBits::default();
            for word in &mut live.0 {
                *word = r.u64()?;
            }
            Some(Self { generation, kind, live })
        })
    }
}
