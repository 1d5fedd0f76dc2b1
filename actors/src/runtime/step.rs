//! A runtime without threads: a test runs every turn, in an order that a seed gives, and moves the clock.
//!
//! Owns: the queue of calls, the timers, a simulated clock. Must be true: STEP-1 the same seed and the same posts give the same order;
//! STEP-2 inline turns happen on the posting thread just as they do elsewhere. Fails: a test that never comes to rest is stopped by
//! an assertion.

use super::{Action, Roster, Runtime, RuntimeError, Timer, delay_us};
use crate::clock::{Clock, SimClock};
use crate::effects;
use crate::replier::Reply;
use crate::slot::Runnable;
use parking_lot::Mutex;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Visits after which a test is taken to be without end.
const RESTLESS: usize = 10_000_000;

/// In which order the owners come when they are called.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// As they were called.
    Fifo,
    /// As a pseudo-random sequence picks them.
    Seeded(u64),
}

/// The runtime of deterministic tests.
pub struct StepRuntime {
    sim: Arc<SimClock>,
    clock: Arc<dyn Clock>,
    called: Mutex<VecDeque<Arc<dyn Runnable>>>,
    order: Mutex<Order>,
    timers: Mutex<(BinaryHeap<Timer>, u64)>,
    roster: Roster,
}

impl StepRuntime {
    /// A runtime whose clock stands at zero microseconds, and at 2001-09-09 01:46:40 UTC.
    #[must_use]
    pub fn new(order: Order) -> Arc<Self> {
        let sim = Arc::new(SimClock::new(1_000_000_000_000_000_000));
        Arc::new(Self {
            clock: sim.clone(),
            sim,
            called: Mutex::default(),
            order: Mutex::new(order),
            timers: Mutex::default(),
            roster: Roster::default(),
        })
    }

    /// The clock, for tests that set the wall clock. Moving it here fires no timer: use [`StepRuntime::advance`].
    #[must_use]
    pub fn sim_clock(&self) -> &Arc<SimClock> {
        &self.sim
    }

    /// One visit of one owner that was called. False: none was.
    pub fn step(&self) -> bool {
        debug_assert!(!effects::is_inside(), "a turn cannot drive the runtime that runs it");
        let slot = {
            let mut called = self.called.lock();
            let at = self.choose(called.len());
            called.remove(at)
        };
        slot.map(Runnable::visit).is_some()
    }

    fn choose(&self, among: usize) -> usize {
        match &mut *self.order.lock() {
            Order::Fifo => 0,
            Order::Seeded(seed) => {
                // splitmix64 (Steele, Lea, Flood 2014).
                *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut bits = *seed;
                bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                usize::try_from((bits ^ (bits >> 31)) >> 33).unwrap_or(0) % among.max(1)
            }
        }
    }

    /// Visits until no owner is called. Time stands still.
    #[expect(clippy::panic, reason = "this runtime is for tests: actors that never rest are what they look for")]
    pub fn run_idle(&self) {
        for _ in 0..RESTLESS {
            if !self.step() {
                return;
            }
        }
        panic!("the actors do not come to rest after {RESTLESS} turns");
    }

    /// Visits until the reply is here; when nobody is called any more, the clock jumps to the next timer. `None`: it cannot arrive.
    #[expect(clippy::panic, reason = "this runtime is for tests: actors that never rest are what they look for")]
    pub fn run_until<T>(&self, reply: &mut Reply<T>) -> Option<T> {
        for _ in 0..RESTLESS {
            if let Some(value) = reply.try_take() {
                return Some(value);
            }
            if !self.step() && !self.fire_next(u64::MAX) {
                return reply.try_take();
            }
        }
        panic!("the actors do not come to rest after {RESTLESS} turns");
    }

    /// Moves the clock, fires the timers that fall due in their order, and runs until idle after each.
    pub fn advance(&self, by: Duration) {
        let end_us = self.sim.now_us().saturating_add(delay_us(by));
        self.run_idle();
        while self.fire_next(end_us) {
            self.run_idle();
        }
        self.sim.advance_to(end_us);
    }

    /// Fires the next timer if it is due by `end_us`.
    fn fire_next(&self, end_us: u64) -> bool {
        let due = {
            let (heap, _) = &mut *self.timers.lock();
            if heap.peek().is_none_or(|timer| timer.due_us > end_us) {
                return false;
            }
            heap.pop()
        };
        let Some(timer) = due else { return false };
        self.sim.advance_to(timer.due_us);
        (timer.action)();
        true
    }

    /// Orderly: runs until idle, then closes every slot, so that whatever waits is answered. Timers are forgotten.
    pub fn stop(&self) {
        self.run_idle();
        let timers = std::mem::take(&mut self.timers.lock().0);
        drop(timers);
        self.roster.close();
        self.run_idle();
    }
}

impl Runtime for StepRuntime {
    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    fn wake(&self, slot: Arc<dyn Runnable>) {
        self.called.lock().push_back(slot);
    }

    fn after(&self, delay: Duration, action: Action) {
        let (heap, numbers) = &mut *self.timers.lock();
        *numbers += 1;
        heap.push(Timer { due_us: self.sim.now_us().saturating_add(delay_us(delay)), number: *numbers, action });
    }

    fn adopt(&self, slot: &Arc<dyn Runnable>) -> Result<(), RuntimeError> {
        self.roster.add(slot);
        Ok(())
    }

    fn slots(&self) -> Vec<Arc<dyn Runnable>> {
        self.roster.living()
    }

    fn publish(&self) {
        self.roster.publish(self.sim.now_us());
    }
}
