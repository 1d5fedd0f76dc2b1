//! Parity encoders: as many as the memory plan pays for, made when first needed, lent for one encoding.
//!
//! Must be true: there are never more than were planned, but for those that are in use when fewer are; who finds all in use waits for one,
//! which is half a millisecond. Fails: never.

use crate::settings::WRITER_SLOTS;
use infmap_storage::region::ParityEncoder;
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The encoders of a volume.
pub struct Encoders {
    all: [Mutex<Option<ParityEncoder>>; WRITER_SLOTS],
    /// How many of them may be used.
    count: AtomicUsize,
}

impl Encoders {
    /// `count` encoders, at least one, at most one for each slot.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { all: std::array::from_fn(|_| Mutex::default()), count: AtomicUsize::new(count) }
    }

    /// From now on so many. Those beyond are freed: at once, or when they come back.
    pub fn set_count(&self, count: usize) {
        self.count.store(count, Ordering::Relaxed);
        self.all.iter().skip(count.max(1)).filter_map(Mutex::try_lock).for_each(|mut free| *free = None);
    }

    /// Lends one. Only on threads that may wait.
    pub fn lend<T>(&self, body: impl FnOnce(&mut ParityEncoder) -> T) -> T {
        let [first, ..] = &self.all;
        let count = || self.count.load(Ordering::Relaxed).max(1);
        let free = self.all.iter().take(count()).enumerate().find_map(|(number, one)| Some((number, one.try_lock()?)));
        let (number, mut lent): (usize, MutexGuard<'_, _>) = free.unwrap_or_else(|| (0, first.lock()));
        let done = body(lent.get_or_insert_default());
        if number >= count() {
            *lent = None;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoders_beyond_a_smaller_number_are_freed_at_once_or_when_they_come_back() {
        let encoders = Encoders::new(3);
        let made = || encoders.all.iter().filter(|one| one.try_lock().is_none_or(|one| one.is_some())).count();
        encoders.lend(|_| encoders.lend(|_| encoders.lend(|_| encoders.set_count(2))));
        assert_eq!(made(), 2, "the third was lent when it became one too many");
        encoders.set_count(0);
        assert_eq!(made(), 1);
        encoders.lend(|_| ());
    }
}
