//! When to read ahead: a file that is read in order is a stream.
//!
//! Owns: `Stream`, what is remembered of the reads of one file, and the decision. Must be true: RA-1 what was asked for ahead is not asked
//! for again while the stream goes on; RA-2 no more than one window lies between the reader and what is fetched. Fails: never.

/// Reads in order that make a stream.
const STREAM_READS: u32 = 3;

/// The reads of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Where the last read ended.
    next: u64,
    /// Reads in order so far.
    run: u32,
    /// Bytes up to here were asked for.
    ahead_to: u64,
}

impl Stream {
    /// Takes notice of a read, and says what to fetch now: offset and length. `window` is how many bytes may lie ahead; 0 for none.
    pub fn read(&mut self, offset: u64, length: u64, window: u64) -> Option<(u64, u64)> {
        let end = offset.saturating_add(length);
        // The kernel keeps several reads under way, which may come in either order: close by is in order.
        let in_order = offset <= self.next.saturating_add(length) && end > self.next;
        self.run = if in_order { self.run.saturating_add(1) } else { 0 };
        if !in_order {
            self.ahead_to = 0;
        }
        self.next = end;
        let fetched = self.ahead_to.max(end);
        if self.run < STREAM_READS || length >= window || fetched - end > window / 2 {
            return None;
        }
        self.ahead_to = end.saturating_add(window);
        Some((fetched, self.ahead_to - fetched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stream_is_fetched_once_and_random_reads_are_not() {
        let mut stream = Stream::default();
        let mut fetched = Vec::new();
        for n in 0..64 {
            fetched.extend(stream.read(n * 4096, 4096, 65_536));
        }
        assert!(fetched.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0), "{fetched:?}");
        assert!(fetched.iter().map(|(_, length)| length).sum::<u64>() >= 60 * 4096);
        let mut random = Stream::default();
        assert!((0..100u64).all(|n| random.read(n * 7_919_000 % 50_000_000, 4096, 65_536).is_none()));
    }

    proptest! {
        #[test]
        fn what_is_fetched_lies_ahead_within_one_window(reads in proptest::collection::vec((0u64..100, 1u64..20), 1..200), window in 0u64..100_000) {
            let mut stream = Stream::default();
            for (at, blocks) in reads {
                let (offset, length) = (at * 4096, blocks * 4096);
                if let Some((from, count)) = stream.read(offset, length, window) {
                    prop_assert!(from >= offset + length && from + count <= offset + length + window);
                }
            }
        }
    }
}
