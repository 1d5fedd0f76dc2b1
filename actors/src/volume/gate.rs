//! The gates: what the door posts waits here, in order, while mailboxes are at their capacity.
//!
//! Owns: the posts held back for one address. Must be true: GATE-1 posts pass in the order in which they came: while one is held or on
//! its way, all later ones queue behind it; GATE-2 nobody waits here (O9): who is held back has its reply withheld; GATE-3 a post that is
//! held passes within a millisecond of there being room, or is dropped, and thereby answered, when the volume ends. Fails: never.
//! Posts among actors pass no gate, so that a full mailbox always empties.

use crate::mailbox::{Envelope, Lane, MailboxStats};
use crate::runtime::Runtime;
use crate::slot::Address;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Time after which a full mailbox is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Whether the mailboxes behind the one that is posted to have room.
type Behind = Box<dyn Fn() -> bool + Send + Sync>;

/// The way from the door to one address.
pub(super) struct Gate<M: Envelope>(Arc<Inner<M>>);

struct Inner<M: Envelope> {
    address: Address<M>,
    behind: Behind,
    runtime: Arc<dyn Runtime>,
    /// Something is held, or was and is not posted yet.
    busy: AtomicBool,
    ended: AtomicBool,
    held: Mutex<VecDeque<M>>,
}

impl<M: Envelope> Gate<M> {
    pub(super) fn new(runtime: &Arc<dyn Runtime>, address: &Address<M>, behind: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            address: address.clone(),
            behind: Box::new(behind),
            runtime: runtime.clone(),
            busy: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            held: Mutex::default(),
        }))
    }

    /// Whether a post may pass now. False counts as an admission withheld.
    pub(super) fn is_open(&self) -> bool {
        let inner = &self.0;
        inner.ended.load(Ordering::Acquire) || (!inner.busy.load(Ordering::Acquire) && inner.address.has_room() && (inner.behind)())
    }

    /// Posts as the door does, now or when there is room.
    pub(super) fn post(&self, message: M) {
        if self.is_open() { self.0.address.post(Lane::Foreground, message) } else { self.hold(message) }
    }

    /// Keeps a post until there is room.
    pub(super) fn hold(&self, message: M) {
        let mut held = self.0.held.lock();
        held.push_back(message);
        let first = !self.0.busy.swap(true, Ordering::AcqRel);
        drop(held);
        if first {
            self.0.clone().look_again();
        }
        if self.0.ended.load(Ordering::Acquire) {
            self.end();
        }
    }

    pub(super) fn stats(&self) -> MailboxStats {
        self.0.address.stats()
    }

    /// The volume ends: what is held is dropped, what comes is for the address to refuse.
    pub(super) fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
        let held = std::mem::take(&mut *self.0.held.lock());
        drop(held);
    }
}

impl<M: Envelope> Inner<M> {
    fn look_again(self: Arc<Self>) {
        let runtime = self.runtime.clone();
        runtime.after(LOOK_AGAIN, Box::new(move || self.let_through()));
    }

    fn let_through(self: Arc<Self>) {
        while self.address.admits() && (self.behind)() {
            let message = {
                let mut held = self.held.lock();
                let Some(message) = held.pop_front() else { return self.busy.store(false, Ordering::Release) };
                message
            };
            // Not under the lock: it may be handled, and answered, right here.
            self.address.post(Lane::Foreground, message);
        }
        self.look_again();
    }
}
