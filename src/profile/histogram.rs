//! Times by their size, so that percentiles are known within a sixteenth.
//!
//! Must be true: a percentile is never below the true one, nor more than a sixteenth above it.

/// Counts below this have a place each; above, sixteen places between a power of two and the next.
const FINE: u64 = 16;
const PLACES: usize = 16 * 61;

/// A histogram of numbers.
pub(super) struct Histogram {
    counts: Vec<u64>,
    pub(super) count: u64,
    pub(super) sum: u64,
    pub(super) max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; PLACES], count: 0, sum: 0, max: 0 }
    }
}

fn place(value: u64) -> usize {
    if value < FINE {
        return value as usize;
    }
    let power = value.ilog2();
    (power as usize - 3) * 16 + ((value >> (power - 4)) & 15) as usize
}

/// The greatest value of a place.
fn greatest(place: usize) -> u64 {
    if place < FINE as usize {
        return place as u64;
    }
    let shift = place / 16 - 1;
    let first = ((16 + place % 16) as u64) << shift;
    first + ((1 << shift) - 1)
}

impl Histogram {
    pub(super) fn add(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(place(value)) {
            *count += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// The value that so many percent do not exceed.
    pub(super) fn percentile(&self, percent: u64) -> u64 {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map_or(0, greatest).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_within_a_sixteenth() {
        for value in (0..5000).chain((0..64).map(|shift| u64::MAX >> shift)) {
            let shown = greatest(place(value));
            assert!(place(value) < PLACES && shown >= value && shown - value <= value / 16, "{value}: {shown}");
        }
        let mut all = Histogram::default();
        assert_eq!(all.percentile(50), 0);
        (1..=1000).for_each(|value| all.add(value));
        for percent in [1, 50, 90, 99, 100] {
            let shown = all.percentile(percent);
            assert!(shown >= 10 * percent && shown <= 10 * percent * 17 / 16, "{percent}: {shown}");
        }
        assert_eq!((all.count, all.sum, all.max), (1000, 500_500, 1000));
    }
}
