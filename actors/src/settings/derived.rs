//! What follows from the settings: how the memory budget is divided, and the sizes that depend on it.
//!
//! Owns: the arithmetic, no memory. Must be true: SET-2 the parts of a plan never add up to more than the budget; SET-3 a part
//! holds what it must hold at once: two of the largest writes among the dirty blocks, one among the messages.
//! Fails: never, for settings in range; with a promise to the kernel that is too large for the budget, [`Settings::is_plan_sound`] says so.
//!
//! The budget has a fixed part, allocated at start and never lent, and a flexible part, divided by percent:
//!
//! | part | 32 MiB | 512 MiB | what decides |
//! |---|---|---|---|
//! | image buffers, 4.6 MiB each | 2 = 9.2 | 11 = 50.6 | one a pixel writer thread, one for the checkpoint; from 64 MiB on two for cleaner and scanner |
//! | parity encoders, 160 KiB each | 1 = 0.2 | 8 = 1.3 | one a pixel writer thread; the checkpoint takes turns |
//! | parity tables | 8.5 | 8.5 | the code's; made once, with the first image |
//! | parity decoder | 8.0 | 8.0 | one, so that a repair never waits for memory |
//! | log buffers | 1.0 | 4.0 | 1 MiB below a budget of 64 MiB, else 4 |
//! | **fixed** | **26.9** | **72.3** | |
//! | L1 | 1.5 | 131.9 | `cache.l1` 30% of the rest |
//! | L2 | 1.0 | 87.9 | `cache.l2` 20% of the rest |
//! | dirty blocks | 1.0 | 87.9 | 40% of what the caches leave |
//! | nodes | 0.8 | 65.9 | 30% |
//! | messages | 0.5 | 44.0 | 20% |
//! | prefetch | 0.3 | 22.0 | 10% |
//!
//! The caches are not larger by default because the kernel's page cache already holds decoded data, while dirty blocks and
//! nodes are held nowhere else. Below 64 MiB there is no room for the image that the cleaner fills, nor for the one that the scanner
//! reads: while a round of cleaning lasts, or a scrub, it stands beside the budget. So does, with any budget, the file of a damaged image
//! as it was written (4.6 MiB, and 256 KiB to read it back) while the scanner puts it back.

use super::{KIB, MIB, Prefetch, Settings, WRITER_SLOTS};
use infmap_storage::limits::GROUP_MAX_BYTES;
use infmap_storage::region::{CODE_TABLES_BYTES, ENCODER_BYTES};

/// Bytes of a buffer for one region image: pixels, filter bytes, tables, parity and padding.
pub const IMAGE_BUFFER_BYTES: u64 = 4_710 * KIB;
/// Bytes of work space of the parity decoder.
pub const DECODER_BYTES: u64 = 8 * MIB;

/// Bytes of blocks that a mount touches at most: touching takes a millisecond a mebibyte, somebody waits for the mount, and a stream has
/// no more under way.
const READY_MAX_BYTES: u64 = 128 * MIB;

/// Bytes of budget below which everything is small.
const SMALL_BUDGET: u64 = 64 * MIB;
/// Bytes of budget that pay for one more pixel writer thread.
const BUDGET_PER_WRITER: u64 = 64 * MIB;

/// The budget, divided. Bytes, unless a field says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The whole.
    pub budget: u64,
    /// Threads of the pixel writers that the budget pays for, 1..=16.
    pub writer_threads: usize,
    /// Image buffers of [`IMAGE_BUFFER_BYTES`] each: one a writer thread, one for the checkpoint, and unless the budget is small one for the
    /// cleaner and one for the scanner. A number, at least 2.
    pub image_buffers: usize,
    /// Parity encoders of [`ENCODER_BYTES`] each: one a writer thread. A number.
    pub encoders: usize,
    /// Buffers of the write-ahead log together.
    pub log_buffers: u64,
    /// Decoded data.
    pub l1: u64,
    /// Compressed units as stored.
    pub l2: u64,
    /// Blocks that are not yet placed and logged.
    pub dirty: u64,
    /// Nodes of the trees, clean and dirty. Dirty ones above half of it start a checkpoint.
    pub nodes: u64,
    /// Payload of messages that wait.
    pub messages: u64,
    /// What was read ahead and not yet asked for.
    pub prefetch: u64,
}

impl MemoryPlan {
    /// Bytes that are allocated at start and never lent.
    #[must_use]
    pub fn fixed(&self) -> u64 {
        let parity = (self.encoders * ENCODER_BYTES + CODE_TABLES_BYTES) as u64 + DECODER_BYTES;
        self.image_buffers as u64 * IMAGE_BUFFER_BYTES + parity + self.log_buffers
    }

    /// Whether the budget is so small that memory goes before speed.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.budget < SMALL_BUDGET
    }

    /// Bytes of dirty blocks that a mount touches so that they are ready: four fifths of them, 128 MiB at most.
    #[must_use]
    pub fn ready_bytes(&self) -> u64 {
        (self.dirty / 5 * 4).min(READY_MAX_BYTES)
    }

    /// Bytes of all parts; never above the budget.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.fixed() + self.parts().iter().map(|(_, bytes)| bytes).sum::<u64>()
    }

    /// The flexible parts by the name that metrics and `config show` use.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, u64); 6] {
        [
            ("l1", self.l1),
            ("l2", self.l2),
            ("dirty", self.dirty),
            ("nodes", self.nodes),
            ("messages", self.messages),
            ("prefetch", self.prefetch),
        ]
    }
}

impl Settings {
    /// Divides the memory budget, as the table of this module says.
    #[must_use]
    pub fn memory_plan(&self) -> MemoryPlan {
        let budget = self.memory.budget;
        let affordable = usize::try_from(budget / BUDGET_PER_WRITER).unwrap_or(usize::MAX).clamp(1, WRITER_SLOTS);
        let writer_threads = self.actors.pixel_writer.threads.clamp(1, affordable);
        let mut plan = MemoryPlan {
            budget,
            writer_threads,
            image_buffers: writer_threads + 1 + if budget < SMALL_BUDGET { 0 } else { 2 },
            encoders: writer_threads,
            log_buffers: if budget < SMALL_BUDGET { MIB } else { 4 * MIB },
            l1: 0,
            l2: 0,
            dirty: 0,
            nodes: 0,
            messages: 0,
            prefetch: 0,
        };
        let flexible = budget.saturating_sub(plan.fixed());
        plan.l1 = flexible / 100 * self.cache.l1_percent;
        plan.l2 = flexible / 100 * self.cache.l2_percent;
        let working = flexible.saturating_sub(plan.l1 + plan.l2);
        plan.dirty = working / 10 * 4;
        plan.nodes = working / 10 * 3;
        plan.messages = working / 10 * 2;
        plan.prefetch = working / 10;
        if plan.messages < self.memory.promised {
            self.keep_promise(&mut plan);
        }
        plan
    }

    /// Gives messages what was promised, and divides the rest as before.
    fn keep_promise(&self, plan: &mut MemoryPlan) {
        let flexible = self.memory.budget.saturating_sub(plan.fixed());
        plan.messages = self.memory.promised.min(flexible);
        let rest = flexible - plan.messages;
        plan.l1 = rest / 100 * self.cache.l1_percent;
        plan.l2 = rest / 100 * self.cache.l2_percent;
        let working = rest.saturating_sub(plan.l1 + plan.l2);
        (plan.dirty, plan.nodes, plan.prefetch) = (working / 8 * 4, working / 8 * 3, working / 8);
    }

    /// Whether the parts of the plan hold what they must hold at once (SET-3). Only a promise can be too large for them.
    #[must_use]
    pub fn is_plan_sound(&self) -> bool {
        let plan = self.memory_plan();
        plan.dirty >= 2 * u64::from(self.max_write()) && plan.messages >= self.memory.promised
    }

    /// Bytes of the largest write that the kernel may send: 1 MiB, or 128 KiB when the budget is below 64 MiB.
    #[must_use]
    pub fn max_write(&self) -> u32 {
        if self.memory.budget < SMALL_BUDGET { 128 * 1024 } else { 1024 * 1024 }
    }

    /// Bytes that are fetched ahead of a stream: as much as one read may have, and no more than the budget sets aside.
    #[must_use]
    pub fn read_ahead_window(&self) -> u64 {
        match self.cache.prefetch {
            Prefetch::Off => 0,
            Prefetch::Adaptive => u64::from(self.max_write()).min(self.memory_plan().prefetch),
        }
    }

    /// Bytes of file data that go into the log at once at most: what a group of records may hold, or half the log's share of a small
    /// budget, because they are in memory three times on their way.
    #[must_use]
    pub fn log_at_once(&self) -> u64 {
        (self.memory_plan().log_buffers / 2).min(GROUP_MAX_BYTES as u64)
    }

    /// Requests without a caller that the kernel may have under way, write-back above all: their payload waits in the share of the
    /// messages.
    #[must_use]
    pub fn background_requests(&self) -> u16 {
        let fitting = self.memory_plan().messages / u64::from(self.max_write());
        u16::try_from(fitting).unwrap_or(u16::MAX).clamp(2, 64)
    }

    /// Bytes of log that start a checkpoint: what is set, but at most half the budget, so that replay of a full log finds
    /// room for what it holds; one segment (16 MiB) at least.
    #[must_use]
    pub fn checkpoint_at(&self) -> u64 {
        self.durability.checkpoint_at.min((self.memory.budget / 2).max(*super::CHECKPOINT_AT_RANGE.start()))
    }

    /// Bytes of log at which the door withholds replies until a checkpoint has made room.
    #[must_use]
    pub fn log_limit(&self) -> u64 {
        self.checkpoint_at() * 2
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use proptest::prelude::*;

    fn with(budget: u64, writers: usize, l1: u64, l2: u64) -> Settings {
        let mut settings = Settings::default();
        settings.memory.budget = budget;
        settings.actors.pixel_writer.threads = writers;
        (settings.cache.l1_percent, settings.cache.l2_percent) = (l1, l2);
        settings
    }

    #[test]
    fn thirty_two_mebibytes_hold_everything_and_two_image_buffers() {
        let settings = with(32 * MIB, 16, 30, 20);
        let plan = settings.memory_plan();
        assert_eq!((plan.writer_threads, plan.image_buffers, plan.encoders), (1, 2, 1));
        assert!(plan.total() <= 32 * MIB, "{plan:?}");
        assert_eq!(settings.max_write(), 128 * 1024);
        assert_eq!(settings.checkpoint_at(), 16 * MIB);
        assert_eq!(settings.log_at_once(), 512 * KIB);
    }

    /// Seen to fail when it was four fifths of the dirty blocks whatever the budget: 140 GiB of the largest, and a mount that took minutes.
    #[test]
    fn a_mount_with_a_huge_budget_touches_no_more_memory_than_a_stream_has_under_way() {
        let ready = |budget| with(budget, 8, 30, 20).memory_plan().ready_bytes();
        assert_eq!([ready(4096 * MIB), ready(*BUDGET_RANGE.end())], [128 * MIB; 2]);
        assert!((64 * MIB..80 * MIB).contains(&ready(512 * MIB)), "the default");
    }

    #[test]
    fn the_default_runs_the_threads_that_were_asked_for() {
        let settings = Settings::default();
        assert_eq!(settings.memory_plan().writer_threads, settings.actors.pixel_writer.threads);
        assert_eq!(settings.checkpoint_at(), 256 * MIB);
    }

    #[test]
    fn the_table_of_this_module_is_what_is_computed() {
        let table = include_str!("derived.rs");
        for (column, budget) in [(2, 32 * MIB), (3, 512 * MIB)] {
            let settings = with(budget, Settings::default().actors.pixel_writer.threads, 30, 20);
            let plan = settings.memory_plan();
            let mut rows = vec![("**fixed**", plan.fixed()), ("log buffers", plan.log_buffers)];
            let names = ["L1", "L2", "dirty blocks", "nodes", "messages", "prefetch"];
            rows.extend(names.into_iter().zip(plan.parts().map(|(_, bytes)| bytes)));
            for (name, bytes) in rows {
                let row = table.lines().find(|line| line.starts_with(&format!("//! | {name} "))).expect(name);
                let cell = row.split('|').nth(column).expect("a cell").trim().trim_matches('*');
                assert_eq!(cell, format!("{:.1}", bytes as f64 / MIB as f64), "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_set_fits_into_the_budget(
            budget in BUDGET_RANGE, small in proptest::bool::ANY, writers in 1usize..=16, l1 in L1_RANGE, l2 in L2_RANGE,
            promise in 0..100 * MIB
        ) {
            let budget = if small { *BUDGET_RANGE.start() + budget % (256 * MIB) } else { budget };
            let settings = with(budget, writers, l1, l2);
            prop_assume!(settings.contradiction().is_none());
            let plan = settings.memory_plan();
            prop_assert!(plan.total() <= budget, "{:?}", plan);
            prop_assert!(settings.is_plan_sound());
            let mut promised = settings.clone();
            promised.memory.promised = plan.messages + promise;
            let kept = promised.memory_plan();
            prop_assert!(kept.total() <= budget, "{:?}", kept);
            prop_assert!(!promised.is_plan_sound() || kept.messages >= promised.memory.promised, "{:?}", kept);
            prop_assert!(plan.dirty >= 2 * u64::from(settings.max_write()), "{:?}", plan);
            prop_assert!(plan.messages >= u64::from(settings.max_write()), "{:?}", plan);
            let background = u64::from(settings.background_requests()) * u64::from(settings.max_write());
            prop_assert!(background <= plan.messages.max(2 * u64::from(settings.max_write())), "{:?}", plan);
        }
    }
}
