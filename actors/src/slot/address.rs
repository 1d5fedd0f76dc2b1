//! Where messages are posted to: the slot behind its mailbox, known by the type of its messages alone.
//!
//! Owns: `Address` and `WeakAddress`. Must be true: a post is accepted always and blocks never (O9); inside a handler it leaves when
//! the batch ends (O6); who only knows an address knows no role, so a test puts any other in its place. Fails: never; a message to a
//! dead slot is dropped, and thereby answered.

use super::Runnable;
use crate::effects::{self, Posted};
use crate::mailbox::{Envelope, Lane, MailboxStats};
use crate::runtime::Runtime;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A slot as those see it who post to it.
pub(super) trait Port<M>: Runnable {
    fn push(&self, lane: Lane, message: M) -> (u64, bool);
    fn has_room(&self) -> bool;
    fn runtime(&self) -> &Arc<dyn Runtime>;
}

/// Where messages of one type are posted to. Clones are cheap and mean the same slot.
pub struct Address<M: Envelope> {
    pub(super) slot: Arc<dyn Port<M>>,
}

impl<M: Envelope> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone() }
    }
}

impl<M: Envelope> Address<M> {
    /// Posts; always accepted. An inline message at the head of a free slot is handled before this returns, unless this thread is
    /// inside a turn: then the post leaves when the batch ends. To a dead slot: the message is dropped.
    pub fn post(&self, lane: Lane, message: M) {
        let slot = self.slot.clone();
        effects::post(move || {
            let (ticket, inline) = slot.push(lane, message);
            Posted { slot, ticket, inline }
        });
    }

    /// Posts after a delay, by the clock of the runtime. Dropped if the runtime stops before.
    pub fn post_after(&self, delay: Duration, lane: Lane, message: M) {
        let address = self.clone();
        self.slot.runtime().after(delay, Box::new(move || address.post(lane, message)));
    }

    /// Admission at the door: false if the mailbox is at its capacity. The caller then withholds the reply; it is counted as rejected.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.slot.has_room()
    }

    /// The same, for who looks again: not counted.
    #[must_use]
    pub(crate) fn admits(&self) -> bool {
        let stats = self.slot.stats();
        stats.depth < stats.capacity
    }

    #[must_use]
    pub fn stats(&self) -> MailboxStats {
        self.slot.stats()
    }

    /// Ends the slot, as [`Runnable::close`].
    pub fn close(&self) {
        let slot: Arc<dyn Runnable> = self.slot.clone();
        slot.close();
    }

    #[must_use]
    pub fn downgrade(&self) -> WeakAddress<M> {
        WeakAddress { slot: Arc::downgrade(&self.slot) }
    }
}

/// An address that does not keep its slot alive: for a role that posts to itself.
pub struct WeakAddress<M: Envelope> {
    pub(super) slot: Weak<dyn Port<M>>,
}

impl<M: Envelope> Clone for WeakAddress<M> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone() }
    }
}

impl<M: Envelope> WeakAddress<M> {
    /// The address, while the slot lives.
    #[must_use]
    pub fn upgrade(&self) -> Option<Address<M>> {
        Some(Address { slot: self.slot.upgrade()? })
    }
}
