//! What limits a mailbox: how much it admits, and how patient its lanes are. All of it can change while messages wait.
//!
//! Owns: `Patience` and `Limits`. Must be true: MBX-2 holds under any patience: each lane but the first has both an end of its passes and a
//! deadline (O7), and a change of either moves no message. Fails: never.

use super::LANES;
use crate::settings::{LanePatience, Lanes};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// How long lanes let higher ones go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Messages of higher lanes after which a lane gives one of its own, by lane.
    passes: [u32; LANES],
    /// Microseconds of being passed over after which a lane gives one of its own, by lane.
    deadline_us: [u64; LANES],
}

impl From<&Lanes> for Patience {
    fn from(lanes: &Lanes) -> Self {
        let below = [&lanes.data, &lanes.write_behind, &lanes.background];
        let mut patience = Self { passes: [u32::MAX; LANES], deadline_us: [u64::MAX; LANES] };
        let (_, passes) = patience.passes.split_at_mut(1);
        let (_, deadlines) = patience.deadline_us.split_at_mut(1);
        for ((to_passes, to_deadline), LanePatience { passes, deadline_ms }) in passes.iter_mut().zip(deadlines).zip(below) {
            *to_passes = u32::try_from(*passes).unwrap_or(u32::MAX);
            *to_deadline = deadline_ms.saturating_mul(1000);
        }
        patience
    }
}

/// The limits of one mailbox.
pub(crate) struct Limits {
    capacity: AtomicUsize,
    passes: [AtomicU32; LANES],
    deadline_us: [AtomicU64; LANES],
}

impl Limits {
    pub(super) fn new(capacity: usize) -> Self {
        let Patience { passes, deadline_us } = Patience::from(&Lanes::default());
        Self { capacity: AtomicUsize::new(capacity), passes: passes.map(AtomicU32::new), deadline_us: deadline_us.map(AtomicU64::new) }
    }

    /// Messages that are admitted from the door.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    pub(crate) fn set_patience(&self, patience: &Patience) {
        self.passes.iter().zip(patience.passes).for_each(|(to, passes)| to.store(passes, Ordering::Relaxed));
        self.deadline_us.iter().zip(patience.deadline_us).for_each(|(to, us)| to.store(us, Ordering::Relaxed));
    }

    pub(super) fn passes(&self, lane: usize) -> u32 {
        self.passes.get(lane).map_or(u32::MAX, |passes| passes.load(Ordering::Relaxed))
    }

    /// By lane.
    pub(super) fn deadlines_us(&self) -> impl Iterator<Item = u64> + '_ {
        self.deadline_us.iter().map(|us| us.load(Ordering::Relaxed))
    }
}
