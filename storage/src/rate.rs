//! How fast something goes that nobody waits for: a bucket of bytes that fills with time.
//!
//! Owns: `Bucket`. Must be true: RAT-1 whoever pauses as he is told takes, in any stretch of time, no more than the rate allows for it and
//! [`Bucket::burst`] besides; RAT-2 no pause is longer than what was taken needs. Fails: never; a clock that goes back is taken as one that
//! stands.

const SECOND_US: u64 = 1_000_000;
/// Time after which a bucket that nobody takes from is full.
const FULL_AFTER_US: u64 = 50_000;

/// Bytes that may be taken, as they come in. Time is given by the caller, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    bytes_per_second: u64,
    /// Bytes times a million, so that nothing is lost by rounding; below zero what was taken in advance.
    level: i128,
    seen_us: u64,
}

impl Bucket {
    /// A full bucket; a rate of 0 is taken as 1.
    #[must_use]
    pub fn new(bytes_per_second: u64, now_us: u64) -> Self {
        let mut bucket = Self { bytes_per_second: bytes_per_second.max(1), level: 0, seen_us: now_us };
        bucket.level = bucket.full();
        bucket
    }

    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    /// Bytes in a full bucket.
    #[must_use]
    pub fn burst(&self) -> u64 {
        u64::try_from(self.full() / i128::from(SECOND_US)).unwrap_or(u64::MAX)
    }

    fn full(&self) -> i128 {
        i128::from(self.bytes_per_second) * i128::from(FULL_AFTER_US)
    }

    /// Takes `bytes` at this time, whether they are there or not. Returns how long to pause, in microseconds, before the next.
    pub fn take(&mut self, bytes: u64, now_us: u64) -> u64 {
        let passed = i128::from(now_us.saturating_sub(self.seen_us));
        self.seen_us = self.seen_us.max(now_us);
        let rate = i128::from(self.bytes_per_second);
        self.level = (self.level + passed * rate).min(self.full()) - i128::from(bytes) * i128::from(SECOND_US);
        if self.level >= 0 {
            return 0;
        }
        u64::try_from((-self.level + rate - 1) / rate).unwrap_or(u64::MAX)
    }
}

/// The pause after work of so many microseconds that leaves the disk to others for all but `percent` of the time.
#[must_use]
pub fn pause_for_share(busy_us: u64, percent: u64) -> u64 {
    let percent = percent.clamp(1, 100);
    busy_us.saturating_mul(100 - percent) / percent
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn in_any_stretch_of_time_no_more_is_taken_than_the_rate_allows(
            rate in 1u64..1 << 34, start in 0u64..1 << 50, steps in proptest::collection::vec((0u64..1 << 23, 0u64..200_000), 1..200)
        ) {
            let mut bucket = Bucket::new(rate, start);
            let (mut now, mut taken) = (start, Vec::new());
            for (bytes, late) in steps {
                let pause = bucket.take(bytes, now);
                taken.push((now, bytes));
                // RAT-2: one more microsecond for the rounding.
                prop_assert!(u128::from(pause) <= u128::from(bytes) * 1_000_000 / u128::from(rate) + 1, "{pause} us for {bytes} bytes");
                now += pause + late;
            }
            // Between any two moments, the second not counted: what is taken there is paid by the pause behind it.
            for from in 0..taken.len() {
                let mut sum = 0u128;
                for to in from..taken.len() - 1 {
                    sum += u128::from(taken[to].1);
                    let time = u128::from(taken[to + 1].0 - taken[from].0);
                    prop_assert!(sum * 1_000_000 <= u128::from(rate) * (time + 1) + u128::from(bucket.burst() + 1) * 1_000_000);
                }
            }
        }

        #[test]
        fn whoever_takes_as_he_is_told_has_the_whole_rate(rate in 1u64 << 10..1 << 30, piece in 1u64..1 << 20) {
            let mut bucket = Bucket::new(rate, 0);
            let (mut now, mut taken) = (0, 0u128);
            for _ in 0..100 {
                now += bucket.take(piece, now);
                taken += u128::from(piece);
            }
            prop_assert!(taken * 1_000_000 + u128::from(rate) * 100 >= u128::from(rate) * u128::from(now), "{taken} bytes in {now} us");
        }

        #[test]
        fn no_numbers_make_it_panic(rate: u64, takes in proptest::collection::vec(any::<(u64, u64)>(), 0..20)) {
            let mut bucket = Bucket::new(rate, u64::MAX / 2);
            for (bytes, now) in takes {
                let _ = bucket.take(bytes, now);
            }
            let _ = pause_for_share(rate, rate);
        }
    }

    #[test]
    fn a_share_of_the_time_is_kept() {
        assert_eq!(
            [pause_for_share(100, 5), pause_for_share(100, 50), pause_for_share(100, 100), pause_for_share(1, 0)],
            [1900, 100, 0, 99]
        );
    }
}
