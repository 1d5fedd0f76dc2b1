//! From a request to its reply: measured, caught, answered once.
//!
//! Owns: `Ticket`, a request under way, which the watchdog sees; `Refuse`, what all replies of fuser have in common; `Shared`, what all
//! requests need. Must be true: DOOR-1: a ticket that is dropped, or whose call panics, answers EIO. Fails: never.

use super::convert::{Lifetimes, file_attr};
use super::errno::{errno, label};
use super::herald::Herald;
use super::in_flight::{InFlight, Seat};
use super::meters::{Meters, Op};
use super::negotiate::Agreed;
use super::settings::{MountSettings, Noted, Shown};
use super::subject::Subject;
use fuser::{Errno, FileAttr};
use infmap_actors::Volume;
use infmap_actors::api::{Answer, Attributes, Refusal};
use infmap_actors::replier::Replier;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What every request needs.
pub(super) struct Shared {
    pub volume: Arc<Volume>,
    pub meters: Meters,
    pub in_flight: Arc<InFlight>,
    pub lifetimes: Lifetimes,
    pub shown: Shown,
    pub herald: Arc<Herald>,
    pub access: Option<Noted>,
}

thread_local! {
    /// Requests that this thread has answered.
    static ANSWERED: Cell<u64> = const { Cell::new(0) };
}

/// How many requests the calling thread has answered so far.
pub(super) fn answered_here() -> u64 {
    ANSWERED.get()
}

impl Shared {
    pub(super) fn new(
        volume: Arc<Volume>,
        settings: &MountSettings,
        agreed: Agreed,
        in_flight: Arc<InFlight>,
        herald: Arc<Herald>,
    ) -> Self {
        let lifetimes = Lifetimes::new(settings.entry_lifetime, settings.attribute_lifetime, agreed.writeback_cache);
        let access = settings.access.clone();
        Self { volume, meters: Meters::new(), in_flight, lifetimes, shown: settings.shown, herald, access }
    }

    /// What is shown of an inode, and for how long. Of a file that somebody has open to write the kernel may hold pages that we do not
    /// know of: it is never shown as one without blocks, which programs take for one of holes alone.
    pub(super) fn shown(&self, attributes: &Attributes) -> (FileAttr, Duration) {
        let mut shown = file_attr(attributes, &self.shown);
        if !self.lifetimes.owns_pages(attributes.kind) || !self.herald.is_written(attributes.inode.0) {
            return (shown, self.lifetimes.of(attributes.kind));
        }
        shown.blocks = shown.blocks.max(1);
        (shown, self.lifetimes.written_files())
    }

    /// Runs a callback's part. A panic is counted and said; the replier that it dropped has answered.
    pub(super) fn guarded(&self, op: Op, call: impl FnOnce(&Volume)) {
        if catch_unwind(AssertUnwindSafe(|| call(&self.volume))).is_err() {
            self.meters.panics.increment(1);
            tracing::error!(op = op.name(), "a request panicked; it was answered EIO");
        }
    }
}

/// A reply that can be an errno.
pub(super) trait Refuse: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ident)*) => { $(impl Refuse for fuser::$reply {
        fn refuse(self, errno: Errno) {
            self.error(errno);
        }
    })* };
}
refuse!(ReplyEntry ReplyAttr ReplyData ReplyEmpty ReplyOpen ReplyCreate ReplyWrite ReplyStatfs ReplyXattr ReplyDirectory ReplyDirectoryPlus);
refuse!(ReplyIoctl ReplyLseek);

/// A request under way.
pub(super) struct Ticket<R: Refuse> {
    shared: Arc<Shared>,
    about: Subject,
    began: Instant,
    seat: Seat,
    reply: Option<R>,
}

impl<R: Refuse> Ticket<R> {
    pub(super) fn new(shared: &Arc<Shared>, about: Subject, reply: R) -> Self {
        let began = Instant::now();
        let seat = shared.in_flight.begin(about.op, began);
        Self { shared: Arc::clone(shared), about, began, seat, reply: Some(reply) }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn op(&self) -> Op {
        self.about.op
    }

    /// The reply as it is being filled.
    pub(super) fn reply_mut(&mut self) -> Option<&mut R> {
        self.reply.as_mut()
    }

    /// Answers with success.
    pub(super) fn send(mut self, send: impl FnOnce(&Shared, R)) {
        if let Some(reply) = self.reply.take() {
            send(&self.shared, reply);
            self.answered(None);
        }
    }

    /// Answers with an errno.
    pub(super) fn refuse(mut self, errno: Errno) {
        self.end(errno);
    }

    /// Answers with what the volume said.
    pub(super) fn finish<T>(self, answer: Answer<T>, send: impl FnOnce(&Shared, R, T)) {
        match answer {
            Ok(value) => self.send(|shared, reply| send(shared, reply, value)),
            Err(refusal) => self.refuse_as(refusal),
        }
    }

    pub(super) fn refuse_as(self, refusal: Refusal) {
        self.refuse(errno(refusal));
    }

    /// A replier that answers this request.
    pub(super) fn replier<T: Send + 'static>(self, send: impl FnOnce(&Shared, R, T) + Send + 'static) -> Replier<Answer<T>> {
        Replier::from_fn(move |answer| self.finish(answer, send))
    }

    fn end(&mut self, errno: Errno) {
        if let Some(reply) = self.reply.take() {
            reply.refuse(errno);
            self.answered(Some(errno));
        }
    }

    /// The reply is on its way.
    fn answered(&self, errno: Option<Errno>) {
        self.shared.in_flight.end(&self.seat);
        ANSWERED.set(ANSWERED.get() + 1);
        self.shared.meters.answered(self.about.op, self.began, errno);
        if let Some(Noted(log)) = &self.shared.access {
            log.answered(self.about, self.began, errno.map(label));
        }
    }
}

impl<R: Refuse> Drop for Ticket<R> {
    fn drop(&mut self) {
        self.end(Errno::EIO);
    }
}
