//! Parity encoders: as many as the memory plan pays for, made when first needed, lent for one encoding.
//!
//! Must be true: there are never more than were planned; who finds all in use waits for one, which is half a millisecond. Fails: never.

use infmap_storage::region::ParityEncoder;
use parking_lot::{Mutex, MutexGuard};

/// The encoders of a volume.
pub struct Encoders {
    all: Vec<Mutex<Option<ParityEncoder>>>,
}

impl Encoders {
    /// `count` encoders, at least one.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { all: (0..count.max(1)).map(|_| Mutex::default()).collect() }
    }

    /// Lends one. Only on threads that may wait.
    #[expect(clippy::indexing_slicing, reason = "`new` makes at least one")]
    pub fn lend<T>(&self, body: impl FnOnce(&mut ParityEncoder) -> T) -> T {
        let free = self.all.iter().find_map(Mutex::try_lock);
        let mut lent: MutexGuard<'_, _> = free.unwrap_or_else(|| self.all[0].lock());
        body(lent.get_or_insert_default())
    }
}
