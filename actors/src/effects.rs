//! What a thread still has to do: the effects of the batch that it runs, and those that wait until it is outside of every turn.
//!
//! Owns: one desk a thread. Must be true: EFF-1 nothing leaves a batch before it is published (O6): what a handler posts or answers is
//! kept here; EFF-2 posts enter their mailboxes in order before the turn is given back, so that two turns of a slot on two threads
//! cannot cross; EFF-3 answers and deferred actions follow in order when it has been, then the turns of the slots posted to: flat, no
//! turn inside a turn; EFF-4 a panic of an effect ends there. Fails: never.

use crate::clock::Clock;
use crate::slot::Runnable;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Messages that a thread runs inline for one post from outside, at most.
pub(crate) const INLINE_MESSAGES: u32 = 16;
/// Microseconds after which it starts no further one.
pub(crate) const INLINE_US: u64 = 60;

/// A message that has its position in a mailbox, and whose slot is to be run or its owner called.
pub(crate) struct Posted {
    pub(crate) slot: Arc<dyn Runnable>,
    pub(crate) ticket: u64,
    pub(crate) inline: bool,
}

pub(crate) enum Effect {
    Post(Box<dyn FnOnce() -> Posted>),
    Run(Box<dyn FnOnce()>),
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// In no turn.
    Outside,
    /// Performing effects, between turns.
    Between,
    /// In a handler.
    Handling,
}

struct Desk {
    phase: Cell<Phase>,
    batch: RefCell<Vec<Effect>>,
    actions: RefCell<VecDeque<Box<dyn FnOnce()>>>,
    attend: RefCell<VecDeque<Posted>>,
    messages_left: Cell<u32>,
    until_us: Cell<u64>,
}

thread_local! {
    static DESK: Desk = const {
        Desk {
            phase: Cell::new(Phase::Outside),
            batch: RefCell::new(Vec::new()),
            actions: RefCell::new(VecDeque::new()),
            attend: RefCell::new(VecDeque::new()),
            messages_left: Cell::new(0),
            until_us: Cell::new(0),
        }
    };
}

/// The phase of this thread. A thread that ends, and has no desk any more, is outside.
fn phase() -> Phase {
    DESK.try_with(|desk| desk.phase.get()).unwrap_or(Phase::Outside)
}

/// True while a handler runs on this thread.
pub(crate) fn is_handling() -> bool {
    phase() == Phase::Handling
}

/// True while this thread runs a turn or the effects of one.
pub(crate) fn is_inside() -> bool {
    phase() != Phase::Outside
}

/// Keeps an action until the batch is published. Only inside a handler.
pub(crate) fn defer(action: impl FnOnce() + 'static) {
    DESK.with(|desk| desk.batch.borrow_mut().push(Effect::Run(Box::new(action))));
}

/// Posts: now when no handler runs here, at the end of the batch otherwise.
pub(crate) fn post(push: impl FnOnce() -> Posted + 'static) {
    match phase() {
        Phase::Handling => DESK.with(|desk| desk.batch.borrow_mut().push(Effect::Post(Box::new(push)))),
        Phase::Between => {
            let posted = push();
            DESK.with(|desk| desk.attend.borrow_mut().push_back(posted));
        }
        Phase::Outside => {
            let posted = push();
            outermost(|| attend(posted));
        }
    }
}

/// Runs `first`, then what it leaves on the desk, until that is empty. Inside already: `first` only, the desk is emptied further out.
pub(crate) fn outermost(first: impl FnOnce()) {
    let started = DESK.try_with(|desk| {
        let started = desk.phase.get() == Phase::Outside;
        if started {
            desk.phase.set(Phase::Between);
            desk.messages_left.set(INLINE_MESSAGES);
            desk.until_us.set(0);
        }
        started
    });
    first();
    if started != Ok(true) {
        return;
    }
    DESK.with(|desk| {
        loop {
            let action = desk.actions.borrow_mut().pop_front();
            if let Some(action) = action {
                contain(action);
                continue;
            }
            let Some(posted) = desk.attend.borrow_mut().pop_front() else { break };
            attend(posted);
        }
        desk.phase.set(Phase::Outside);
    });
}

fn attend(posted: Posted) {
    posted.slot.attend(posted.ticket, posted.inline);
}

/// Runs an action whose panic must not unwind into a thread of ours (EFF-4).
pub(crate) fn contain(action: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(action)).is_err() {
        metrics::counter!("infmap_actor_panics_total", "pool" => "effects").increment(1);
        tracing::error!("an effect of a turn panicked; the turns go on");
    }
}

/// Effects that the batch of this thread has left so far. Only inside a handler's batch.
pub(crate) fn in_batch() -> usize {
    DESK.with(|desk| desk.batch.borrow().len())
}

/// Throws away what a batch has left beyond so many; what waits in it is answered when the batch has ended.
pub(crate) fn throw_away(beyond: usize) {
    let thrown = DESK.with(|desk| {
        let mut batch = desk.batch.borrow_mut();
        let at = beyond.min(batch.len());
        batch.split_off(at)
    });
    thrown.into_iter().for_each(|effect| later(move || drop(effect)));
}

/// Runs the handlers of one batch, and returns what they leave, not yet performed.
pub(crate) fn handling<X>(handlers: impl FnOnce() -> X) -> (X, Vec<Effect>) {
    let outer = DESK.with(|desk| desk.phase.replace(Phase::Handling));
    let outcome = handlers();
    DESK.with(|desk| {
        desk.phase.set(outer);
        (outcome, desk.batch.take())
    })
}

/// Ends a batch that is published: its posts enter their mailboxes now (EFF-2), all else waits on the desk.
pub(crate) fn let_go(effects: Vec<Effect>) {
    DESK.with(|desk| {
        for effect in effects {
            match effect {
                Effect::Post(push) => {
                    let posted = push();
                    desk.attend.borrow_mut().push_back(posted);
                }
                Effect::Run(action) => desk.actions.borrow_mut().push_back(action),
            }
        }
    });
}

/// Puts an action behind those on the desk. Only while effects are performed, or in a batch that has ended.
pub(crate) fn later(action: impl FnOnce() + 'static) {
    DESK.with(|desk| desk.actions.borrow_mut().push_back(Box::new(action)));
}

/// The time in microseconds, if this thread may run one more message inline for the post that it serves; it is counted.
pub(crate) fn may_run_inline(clock: &dyn Clock) -> Option<u64> {
    DESK.with(|desk| {
        desk.messages_left.set(desk.messages_left.get().checked_sub(1)?);
        let now_us = clock.now_us();
        if desk.until_us.get() == 0 {
            desk.until_us.set(now_us.saturating_add(INLINE_US));
        }
        (now_us <= desk.until_us.get()).then_some(now_us)
    })
}
