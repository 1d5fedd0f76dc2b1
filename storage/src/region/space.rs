//! Which clusters of an open region are taken, and where the next run goes.
//!
//! Owns: the placement policy. Must be true: PIC-7 a run is free before it is given and taken after; PIC-8 a run is never
//! refused while so many consecutive clusters are free. Fails: `None` when there is no such run.
//!
//! Whole raw units fill squares, so that reading one is reading four bands. A compressed run stays inside a square if that
//! leaves at most `SKIP_MAX` clusters unused at the end of the one before; runs of 9 to 13 clusters would otherwise waste what
//! compression has won. Everything else goes to the first gap that is wide enough.

use crate::limits::{REGION_CLUSTERS, SQUARE_CLUSTERS};
use std::ops::Range;

/// Clusters at the end of a square that are skipped rather than have a compressed run cross into the next.
const SKIP_MAX: usize = 2;

/// What the run is, as far as its place depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Raw bytes.
    Raw,
    /// One compressed unit or node, read whole.
    Compressed,
}

/// The taken clusters of one region.
pub struct Space {
    /// One bit a cluster, one word a square.
    squares: [u16; REGION_CLUSTERS / SQUARE_CLUSTERS],
    /// Behind the last taken cluster.
    end: usize,
    used: usize,
}

impl Space {
    /// A region with all clusters free.
    #[must_use]
    pub fn empty() -> Self {
        Self { squares: [0; REGION_CLUSTERS / SQUARE_CLUSTERS], end: 0, used: 0 }
    }

    /// Clusters taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Clusters not taken; not always consecutive.
    #[must_use]
    pub fn free(&self) -> usize {
        REGION_CLUSTERS - self.used
    }

    /// Whether a cluster is taken.
    #[must_use]
    pub fn is_taken(&self, cluster: usize) -> bool {
        self.squares.get(cluster / SQUARE_CLUSTERS).is_some_and(|square| square >> (cluster % SQUARE_CLUSTERS) & 1 == 1)
    }

    /// Takes `count` (1..=64) consecutive clusters and tells the first.
    pub fn take(&mut self, count: usize, shape: Shape) -> Option<usize> {
        let first = match shape {
            Shape::Raw if count.is_multiple_of(SQUARE_CLUSTERS) => self.at_end(self.end.next_multiple_of(SQUARE_CLUSTERS), count),
            Shape::Compressed if count <= SQUARE_CLUSTERS => self.inside_a_square(count).or_else(|| self.near_end(count)),
            _ => None,
        }
        .or_else(|| self.first_gap(count))?;
        self.mark(first..first + count);
        Some(first)
    }

    fn at_end(&self, first: usize, count: usize) -> Option<usize> {
        (first + count <= REGION_CLUSTERS).then_some(first)
    }

    /// The first gap inside one of the squares that have been begun.
    fn inside_a_square(&self, count: usize) -> Option<usize> {
        let begun = self.end.div_ceil(SQUARE_CLUSTERS);
        self.squares.iter().take(begun).enumerate().find_map(|(square, &taken)| {
            // Bit n stays set while n and the clusters after it are free: `count` of them in the end.
            let runs = (1..count).fold(!taken, |runs, _| runs & runs >> 1);
            (runs != 0).then(|| square * SQUARE_CLUSTERS + runs.trailing_zeros() as usize)
        })
    }

    /// Behind the last taken cluster, in the next square if only little is left of this one.
    fn near_end(&self, count: usize) -> Option<usize> {
        let next_square = self.end.next_multiple_of(SQUARE_CLUSTERS);
        let first = if next_square - self.end <= SKIP_MAX { next_square } else { self.end };
        self.at_end(first, count)
    }

    fn first_gap(&self, count: usize) -> Option<usize> {
        let mut start = 0;
        for (square, &taken) in self.squares.iter().enumerate() {
            let first = square * SQUARE_CLUSTERS;
            match taken {
                u16::MAX => start = first + SQUARE_CLUSTERS,
                0 if first + SQUARE_CLUSTERS - start >= count => return Some(start),
                0 => {}
                _ => {
                    for within in 0..SQUARE_CLUSTERS {
                        if taken >> within & 1 == 1 {
                            start = first + within + 1;
                        } else if first + within + 1 - start >= count {
                            return Some(start);
                        }
                    }
                }
            }
        }
        None
    }

    fn mark(&mut self, run: Range<usize>) {
        for cluster in run.clone() {
            if let Some(square) = self.squares.get_mut(cluster / SQUARE_CLUSTERS) {
                *square |= 1 << (cluster % SQUARE_CLUSTERS);
            }
        }
        self.used += run.len();
        self.end = self.end.max(run.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn raw_units_start_at_squares_and_small_runs_fill_the_gaps() {
        let mut space = Space::empty();
        let runs = [(3, Shape::Raw), (16, Shape::Raw), (2, Shape::Raw), (32, Shape::Raw), (11, Shape::Raw), (1, Shape::Raw)];
        let firsts = runs.map(|(count, shape)| space.take(count, shape).unwrap());
        assert_eq!(firsts, [0, 16, 3, 32, 5, 64]);
    }

    #[test]
    fn compressed_runs_stay_in_a_square_unless_that_wastes_much() {
        let mut space = Space::empty();
        let firsts = [14, 8, 8, 2, 11, 11].map(|count| space.take(count, Shape::Compressed).unwrap());
        assert_eq!(firsts, [0, 16, 24, 14, 32, 43]);
    }

    proptest! {
        #[test]
        fn a_run_is_free_before_it_is_given_and_none_is_refused_while_one_is_free(runs in proptest::collection::vec((1usize..=64, any::<bool>()), 1..400)) {
            let mut space = Space::empty();
            let mut taken = vec![false; REGION_CLUSTERS];
            for (count, raw) in runs {
                match space.take(count, if raw { Shape::Raw } else { Shape::Compressed }) {
                    Some(first) => {
                        prop_assert!(taken[first..first + count].iter().all(|t| !t));
                        taken[first..first + count].fill(true);
                    }
                    None => prop_assert!(taken.windows(count).all(|w| w.contains(&true))),
                }
                prop_assert_eq!(space.used(), taken.iter().filter(|t| **t).count());
            }
            prop_assert!((0..REGION_CLUSTERS).all(|n| space.is_taken(n) == taken[n]));
        }
    }
}
