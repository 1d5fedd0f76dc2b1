//! A thread that does things when their time comes.
//!
//! Owns: the timers of a runtime with threads. Must be true: of equal times the one that was set first goes first; an action runs
//! without the lock, so it may set others. Fails: an action that panics ends alone.

use super::{Action, Timer};
use crate::clock::Clock;
use crate::effects;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Default)]
struct Timers {
    heap: BinaryHeap<Timer>,
    numbers: u64,
    stopped: bool,
}

/// The timers, and whom to tell when an earlier one comes.
#[derive(Default)]
pub(super) struct Alarm {
    timers: Mutex<Timers>,
    changed: Condvar,
}

impl Alarm {
    /// Does something at `due_us` of the clock that the thread goes by; nothing after the stop.
    pub(super) fn set(&self, due_us: u64, action: Action) {
        let mut timers = self.timers.lock();
        if timers.stopped {
            drop(timers);
            return drop(action);
        }
        timers.numbers += 1;
        let number = timers.numbers;
        timers.heap.push(Timer { due_us, number, action });
        drop(timers);
        self.changed.notify_one();
    }

    /// The thread: does what falls due until it is stopped.
    pub(super) fn run(&self, clock: &dyn Clock) {
        let mut timers = self.timers.lock();
        while !timers.stopped {
            let now_us = clock.now_us();
            match timers.heap.peek().map(|timer| timer.due_us) {
                None => self.changed.wait(&mut timers),
                Some(due_us) if due_us > now_us => {
                    self.changed.wait_for(&mut timers, Duration::from_micros(due_us - now_us));
                }
                Some(_) => {
                    let Some(timer) = timers.heap.pop() else { continue };
                    MutexGuard::unlocked(&mut timers, || effects::contain(timer.action));
                }
            }
        }
    }

    /// Ends the thread; what was set is forgotten.
    pub(super) fn stop(&self) {
        let mut timers = self.timers.lock();
        timers.stopped = true;
        let forgotten = std::mem::take(&mut timers.heap);
        drop(timers);
        self.changed.notify_one();
        drop(forgotten);
    }
}
