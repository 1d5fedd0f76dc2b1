//! The reply travels in the message: a value that must be spent.
//!
//! Owns: `Replier`, its other half `Reply`, and the count of those that were dropped. Must be true: REP-1 every replier answers exactly
//! once: a dropped one answers `Unanswered::unanswered` and is counted; REP-2 (for O6) nothing is answered inside a turn: a replier
//! that is spent or dropped there answers after the batch is published and the turn is given back. Fails: never.

use crate::effects;
use parking_lot::{Condvar, Mutex};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Repliers of this process that were dropped unspent. Tests require zero.
#[must_use]
pub fn replies_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// What is answered when nobody answers.
pub trait Unanswered {
    fn unanswered() -> Self;
}

impl<X, E: Unanswered> Unanswered for Result<X, E> {
    fn unanswered() -> Self {
        Err(E::unanswered())
    }
}

impl Unanswered for () {
    fn unanswered() -> Self {}
}

/// The right, and the duty, to answer one request.
#[must_use = "a replier that is dropped answers with an error"]
pub struct Replier<T: Unanswered + Send + 'static> {
    sink: Option<Sink<T>>,
}

enum Sink<T> {
    Call(Box<dyn FnOnce(T) + Send>),
    Cell(Arc<Cell<T>>),
}

impl<T: Unanswered + Send + 'static> Replier<T> {
    /// A replier that hands its answer to `answer`, on the thread that finishes the request.
    pub fn from_fn(answer: impl FnOnce(T) + Send + 'static) -> Self {
        Self { sink: Some(Sink::Call(Box::new(answer))) }
    }

    /// A replier and the place where its answer arrives.
    pub fn future() -> (Self, Reply<T>) {
        let cell = Arc::new(Cell { inner: Mutex::new(Inner { value: None, waker: None, blocked: false }), arrived: Condvar::new() });
        (Self { sink: Some(Sink::Cell(cell.clone())) }, Reply { cell })
    }

    /// A replier for a request whose answer nobody wants.
    pub fn ignored() -> Self {
        Self::from_fn(drop)
    }

    /// Spends it. Inside a turn the answer leaves after the batch is published.
    pub fn reply(mut self, value: T) {
        let Some(sink) = self.sink.take() else { return };
        if effects::is_handling() {
            // Until the answer leaves, a replier holds the sink: an effect that is thrown away still answers.
            let held = Self { sink: Some(sink) };
            effects::defer(move || held.reply(value));
        } else {
            sink.answer(value);
        }
    }

    /// A replier of another type that answers this one through `turn_into`. Left unspent it passes on its own `unanswered`.
    pub fn map<U: Unanswered + Send + 'static>(self, turn_into: impl FnOnce(U) -> T + Send + 'static) -> Replier<U> {
        Replier::from_fn(move |value| self.reply(turn_into(value)))
    }
}

impl<T: Unanswered + Send + 'static> Drop for Replier<T> {
    fn drop(&mut self) {
        let Some(sink) = self.sink.take() else { return };
        if effects::is_handling() {
            let held = Self { sink: Some(sink) };
            effects::defer(move || drop(held));
            return;
        }
        DROPPED.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("infmap_replies_dropped_total").increment(1);
        sink.answer(T::unanswered());
    }
}

impl<T> Sink<T> {
    fn answer(self, value: T) {
        match self {
            Self::Call(answer) => answer(value),
            Self::Cell(cell) => cell.put(value),
        }
    }
}

struct Cell<T> {
    inner: Mutex<Inner<T>>,
    arrived: Condvar,
}

struct Inner<T> {
    value: Option<T>,
    waker: Option<Waker>,
    blocked: bool,
}

impl<T> Cell<T> {
    fn put(&self, value: T) {
        let mut inner = self.inner.lock();
        inner.value = Some(value);
        let (waker, blocked) = (inner.waker.take(), inner.blocked);
        drop(inner);
        if blocked {
            self.arrived.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Where one answer arrives. It always does (REP-1). Dropping it does not cancel the request.
#[must_use = "an answer that nobody reads"]
pub struct Reply<T> {
    cell: Arc<Cell<T>>,
}

impl<T> Reply<T> {
    /// The answer, if it is here.
    pub fn try_take(&mut self) -> Option<T> {
        self.cell.inner.lock().value.take()
    }

    /// Blocks this thread until the answer is here. Never inside a turn, nor on a thread that runs slots.
    #[must_use]
    pub fn wait_blocking(self) -> T {
        debug_assert!(!effects::is_inside(), "O9: no thread waits inside a turn");
        let mut inner = self.cell.inner.lock();
        loop {
            if let Some(value) = inner.value.take() {
                return value;
            }
            inner.blocked = true;
            self.cell.arrived.wait(&mut inner);
        }
    }
}

impl<T> Future for Reply<T> {
    type Output = T;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut inner = self.cell.inner.lock();
        if let Some(value) = inner.value.take() {
            return Poll::Ready(value);
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Lost;

    impl Unanswered for Lost {
        fn unanswered() -> Self {
            Self
        }
    }

    type Answer = Result<u32, Lost>;

    #[test]
    fn a_replier_answers_once_also_when_it_is_dropped_and_through_a_map() {
        let (replier, mut reply) = Replier::<Answer>::future();
        assert_eq!(reply.try_take(), None);
        replier.reply(Ok(7));
        assert_eq!(reply.try_take(), Some(Ok(7)));

        let before = replies_dropped();
        let (replier, mut reply) = Replier::<Answer>::future();
        drop(replier);
        assert_eq!(reply.try_take(), Some(Err(Lost)));
        assert!(replies_dropped() > before);

        let (replier, mut reply) = Replier::<Answer>::future();
        let mapped: Replier<Answer> = replier.map(|answer: Answer| answer.map(|number| number + 1));
        mapped.reply(Ok(1));
        assert_eq!(reply.try_take(), Some(Ok(2)));
    }

    #[test]
    fn an_answer_reaches_a_thread_that_blocks_for_it() {
        let (replier, reply) = Replier::<Answer>::future();
        let waiter = std::thread::spawn(|| reply.wait_blocking());
        replier.reply(Ok(9));
        assert_eq!(waiter.join().unwrap(), Ok(9));
    }
}
