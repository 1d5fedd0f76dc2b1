//! What a handler can do to the world: post, answer, defer; all of it when its batch is published.
//!
//! Owns: nothing; the effects lie on the desk of the thread. Must be true: EFF-1..3; `Address::post` and `Replier::reply` inside a
//! handler do the very same. Fails: never.

use crate::clock::Clock;
use crate::effects;
use crate::mailbox::{Envelope, Lane};
use crate::replier::{Replier, Unanswered};
use crate::slot::Address;
use std::marker::PhantomData;
use std::time::Duration;

/// One batch of a slot. Bound to the thread that runs it.
pub struct Context<'a> {
    clock: &'a dyn Clock,
    thread: PhantomData<*const ()>,
}

impl<'a> Context<'a> {
    pub(super) fn new(clock: &'a dyn Clock) -> Self {
        Self { clock, thread: PhantomData }
    }

    /// Posts when the batch ends, in order with the other posts of this slot, whichever thread runs its turns.
    pub fn post<M: Envelope>(&mut self, to: &Address<M>, lane: Lane, message: M) {
        to.post(lane, message);
    }

    /// Posts after a delay from the end of the batch.
    pub fn post_after<M: Envelope>(&mut self, delay: Duration, to: &Address<M>, lane: Lane, message: M) {
        let to = to.clone();
        effects::defer(move || to.post_after(delay, lane, message));
    }

    /// Answers when the batch is published and the turn given back.
    pub fn reply<T: Unanswered + Send + 'static>(&mut self, replier: Replier<T>, value: T) {
        replier.reply(value);
    }

    /// Does something then, in order with the answers. Thrown away if the batch panics.
    pub fn defer(&mut self, action: impl FnOnce() + 'static) {
        effects::defer(action);
    }

    /// As [`Clock::now_us`].
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.clock.now_us()
    }

    /// As [`Clock::wall_ns`].
    #[must_use]
    pub fn wall_ns(&self) -> i64 {
        self.clock.wall_ns()
    }
}
