//! What became of what was read ahead.
//!
//! Owns: `Ahead`, one piece that was read ahead, and `AheadCounts`. Must be true: AHD-1 a piece that brought something into the cache is
//! counted once as used, when any of it is asked for, or once as wasted, when all of it has left the cache unasked. Fails: never.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Pieces so far.
#[derive(Debug, Default)]
pub struct AheadCounts {
    issued: AtomicU64,
    used: AtomicU64,
    wasted: AtomicU64,
}

impl AheadCounts {
    /// Pieces that brought something into the cache; of them those that were used, and those that were not.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.issued), of(&self.used), of(&self.wasted))
    }
}

/// One piece. Each entry of the cache that it brought holds it.
#[derive(Debug)]
pub struct Ahead {
    counts: Arc<AheadCounts>,
    is_kept: AtomicBool,
    is_used: AtomicBool,
}

impl Ahead {
    /// A piece that is about to be read.
    #[must_use]
    pub fn new(counts: &Arc<AheadCounts>) -> Arc<Self> {
        Arc::new(Self { counts: counts.clone(), is_kept: AtomicBool::new(false), is_used: AtomicBool::new(false) })
    }

    /// Something of it is in the cache.
    pub(crate) fn kept(&self) {
        if !self.is_kept.swap(true, Ordering::Relaxed) {
            self.counts.issued.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Something of it was asked for.
    pub(crate) fn used(&self) {
        if !self.is_used.load(Ordering::Relaxed) && !self.is_used.swap(true, Ordering::Relaxed) {
            self.counts.used.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if *self.is_kept.get_mut() && !*self.is_used.get_mut() {
            self.counts.wasted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_used_or_wasted_once_and_neither_if_all_of_it_was_there() {
        let counts = Arc::<AheadCounts>::default();
        drop(Ahead::new(&counts));
        assert_eq!(counts.counts(), (0, 0, 0));
        let piece = Ahead::new(&counts);
        (0..3).for_each(|_| piece.kept());
        let other = piece.clone();
        drop(piece);
        assert_eq!(counts.counts(), (1, 0, 0), "some of it is still there");
        drop(other);
        assert_eq!(counts.counts(), (1, 0, 1));
        let piece = Ahead::new(&counts);
        piece.kept();
        (0..3).for_each(|_| piece.used());
        drop(piece);
        assert_eq!(counts.counts(), (2, 1, 1));
    }
}
