//! A slot: the mailbox, the state and the turn of one actor.
//!
//! Owns: `Role` and the batch: how messages are taken, run, published and let go. Must be true: TURN-1..3; O1 the
//! messages of a lane are handled in posting order, by one thread at a time; O6 `turn_ended` runs before anything of its batch leaves;
//! O9 nobody waits: who does not get the turn leaves a mark. Fails: a panic of a role kills its slot alone: what its unfinished batch
//! would have posted and answered is thrown away (it was never published), and everything that waits, in the lanes, in the role, or
//! posted later, is dropped, so that its repliers answer. A role that owns nothing may go on instead ([`Role::RESTARTS`]): then only the
//! message that panicked is thrown away.

mod address;
mod context;
#[cfg(test)]
mod tests;

pub use address::{Address, WeakAddress};
pub use context::Context;

use address::Port;

use crate::clock::Clock;
use crate::effects::{self, Effect};
use crate::mailbox::{Entry, Envelope, Inbox, Lane, Mailbox, MailboxStats, Meter, Patience, Working};
use crate::runtime::{Home, Runtime, RuntimeError};
use crate::turn::{Turn, leave};
use metrics::Histogram;
use parking_lot::Mutex;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Messages of one turn of the owner; then its effects leave, and other slots of the same thread have theirs.
const OWNER_MESSAGES: u32 = 64;

/// What an actor does.
pub trait Role: Send + 'static {
    type Message: Envelope;
    /// Whether a panic can leave nothing half done in this role, nor in what it posts: it owns nothing, and each message answers for itself.
    const RESTARTS: bool = false;
    /// Handles one message. What is posted and answered in here leaves when the batch ends. Must not block unless the message is not
    /// inline and its pool is made for it.
    fn handle(&mut self, message: Self::Message, cx: &mut Context<'_>);
    /// Once at the end of a batch, before its effects leave: the place to publish (O6).
    fn turn_ended(&mut self, _cx: &mut Context<'_>) {}
    /// After a panic at this time, if [`Role::RESTARTS`]: makes it as it was when it was new, or says that it must not go on.
    fn restart(&mut self, _now_us: u64) -> bool {
        false
    }
    /// Once, after a panic in this role that it does not survive. What is answered in here still leaves; then the role is dropped.
    fn dead(&mut self) {}
}

/// What a runtime, and an effect, know of a slot.
pub trait Runnable: Send + Sync {
    /// The owner's visit, after it was called: runs one batch.
    fn visit(self: Arc<Self>);
    /// The poster's look, after its push: runs its message inline, or calls the owner.
    fn attend(self: Arc<Self>, ticket: u64, inline: bool);
    /// Which thread of which pool runs it.
    fn home(&self) -> Home;
    fn stats(&self) -> MailboxStats;
    /// Changes how many messages it admits from the door, and how patient its lanes are. No message moves.
    fn tune(&self, capacity: Option<usize>, patience: &Patience);
    /// The message that it is in, and since when.
    fn working(&self) -> Option<Working>;
    /// True if nothing waits, nobody runs it, and its owner is not called.
    fn is_quiet(&self) -> bool;
    /// Ends it: what waits and what comes is dropped, and thereby answered.
    fn close(self: Arc<Self>);
}

/// Makes a slot at `home` with an admission limit of `capacity` messages. `role` is given the address of its own slot.
///
/// # Errors
/// The pool does not exist, or the runtime has stopped.
pub fn spawn<R: Role>(
    runtime: &Arc<dyn Runtime>,
    home: Home,
    capacity: usize,
    role: impl FnOnce(WeakAddress<R::Message>) -> R,
) -> Result<Address<R::Message>, RuntimeError> {
    let slot = Arc::new_cyclic(|me: &Weak<Slot<R>>| {
        let me: Weak<dyn Port<R::Message>> = me.clone();
        Slot {
            mailbox: Mailbox::new(capacity),
            turn: Turn::new(),
            dead: AtomicBool::new(false),
            swept: AtomicBool::new(false),
            state: Mutex::new(State { role: Some(role(WeakAddress { slot: me })), inbox: Inbox::new(), kinds: Vec::new() }),
            clock: runtime.clock().clone(),
            runtime: runtime.clone(),
            meter: Meter::new(home.pool),
            home,
        }
    });
    let runnable: Arc<dyn Runnable> = slot.clone();
    runtime.adopt(&runnable)?;
    Ok(Address { slot })
}

struct Slot<R: Role> {
    mailbox: Mailbox<R::Message>,
    turn: Turn,
    /// It panicked or was closed: nothing is handled any more.
    dead: AtomicBool,
    /// Its role has been dropped since.
    swept: AtomicBool,
    /// Locked by the holder of the turn only, so never waited for.
    state: Mutex<State<R>>,
    clock: Arc<dyn Clock>,
    runtime: Arc<dyn Runtime>,
    meter: Meter,
    home: Home,
}

struct State<R: Role> {
    /// `None` when dead.
    role: Option<R>,
    inbox: Inbox<R::Message>,
    kinds: Vec<(&'static str, Histogram)>,
}

/// Who runs a batch, and how far.
#[derive(Clone, Copy, PartialEq)]
enum Runner {
    Owner,
    /// A poster whose message has this ticket.
    Poster(u64),
}

/// What a runner does next.
enum Next {
    /// It looks at the next message, at this time in microseconds.
    At(u64),
    Empty,
    Limit,
}

/// A panic of a role, already caught.
struct Panicked;

impl<R: Role> Slot<R> {
    /// One turn, which the caller has taken; gives it back. Only inside [`effects::outermost`].
    fn run(self: &Arc<Self>, runner: Runner) {
        loop {
            let mut state = self.state.lock();
            let (outcome, effects) = effects::handling(|| self.batch(&mut state, runner));
            self.meter.rests();
            let left_over = match outcome {
                Ok(left_over) => {
                    effects::let_go(effects);
                    left_over
                }
                Err(Panicked) => {
                    self.bury(&mut state, effects);
                    false
                }
            };
            let is_dead = self.dead.load(Ordering::Acquire);
            if is_dead {
                self.sweep(&mut state);
            }
            drop(state);
            if !leave(&self.turn, left_over, || self.has_work()) {
                return;
            }
            if !is_dead {
                self.meter.called.fetch_add(1, Ordering::Relaxed);
                return self.runtime.wake(self.clone());
            }
            // The owner of a dead slot may be gone: whoever is here comes in its place.
            if !self.turn.visit() {
                return;
            }
        }
    }

    /// Looks at the queue, with the turn or without it; and whether it was closed meanwhile.
    fn has_work(&self) -> bool {
        self.mailbox.is_waiting() || (self.dead.load(Ordering::Acquire) && !self.swept.load(Ordering::Acquire))
    }

    /// Handles messages, and ends their turn. True if it stops with messages left. A dead slot handles nothing.
    fn batch(&self, state: &mut State<R>, runner: Runner) -> Result<bool, Panicked> {
        let State { role: Some(role), inbox, kinds } = state else { return Ok(false) };
        let mut cx = Context::new(&*self.clock);
        let mut handled = 0;
        let left_over = loop {
            let now_us = match self.may_go_on(runner, handled) {
                Next::At(now_us) => now_us,
                Next::Empty => break false,
                Next::Limit => break true,
            };
            let Some(source) = inbox.pick(&self.mailbox, now_us) else { break false };
            let allowed = |head: &Entry<R::Message>| match runner {
                Runner::Owner => true,
                Runner::Poster(ticket) => head.inline && (handled > 0 || head.ticket == ticket),
            };
            if !inbox.head(source).is_some_and(allowed) {
                break true;
            }
            let Some(entry) = inbox.take(&self.mailbox, source, now_us) else { break false };
            handled += 1;
            let before = if R::RESTARTS { effects::in_batch() } else { 0 };
            if self.handle(role, entry, now_us, kinds, &mut cx).is_err() {
                self.restart(role, now_us)?;
                effects::throw_away(before);
            }
        };
        if handled > 0 {
            self.meter.handled(u64::from(handled), runner != Runner::Owner);
            self.guard(|| role.turn_ended(&mut cx))?;
        }
        Ok(left_over)
    }

    /// Whether a runner that has handled so many messages may look at the next. Reads the clock only when one may be there.
    fn may_go_on(&self, runner: Runner, handled: u32) -> Next {
        if self.dead.load(Ordering::Acquire) || !self.mailbox.is_waiting() {
            return Next::Empty;
        }
        match runner {
            Runner::Owner if handled < OWNER_MESSAGES => Next::At(self.clock.now_us()),
            Runner::Owner => Next::Limit,
            Runner::Poster(_) => effects::may_run_inline(&*self.clock).map_or(Next::Limit, Next::At),
        }
    }

    /// Lets a role go on after a panic, if it may.
    fn restart(&self, role: &mut R, now_us: u64) -> Result<(), Panicked> {
        let mut goes_on = false;
        if R::RESTARTS {
            self.guard(|| goes_on = role.restart(now_us))?;
        }
        if !goes_on {
            return Err(Panicked);
        }
        self.meter.restarted();
        let Home { pool, index } = self.home;
        tracing::warn!(pool, index, "the actor that panicked goes on; the message that it was in was answered with an error");
        Ok(())
    }

    /// Handles one message, from `start_us` on, and measures it if it carries its time.
    fn handle(
        &self,
        role: &mut R,
        entry: Entry<R::Message>,
        start_us: u64,
        kinds: &mut Vec<(&'static str, Histogram)>,
        cx: &mut Context<'_>,
    ) -> Result<(), Panicked> {
        let kind = self.meter.kind(kinds, entry.message.kind());
        self.meter.begins(start_us, kind);
        let Some(posted_us) = entry.posted_us else {
            return self.guard(|| role.handle(entry.message, cx));
        };
        self.meter.waited(entry.lane, start_us.saturating_sub(posted_us));
        self.guard(|| role.handle(entry.message, cx))?;
        if let Some((_, seconds)) = kinds.get(kind) {
            Meter::took(seconds, self.clock.now_us().saturating_sub(start_us));
        }
        Ok(())
    }

    /// Nothing unwinds out of a role.
    fn guard(&self, act: impl FnOnce()) -> Result<(), Panicked> {
        catch_unwind(AssertUnwindSafe(act)).map_err(|panic| {
            self.meter.panicked();
            let Home { pool, index } = self.home;
            tracing::error!(pool, index, reason = reason(&*panic), "an actor panicked");
            // A payload may panic when it is dropped.
            effects::later(move || drop(panic));
            Panicked
        })
    }

    /// After a panic: the slot is dead, and nothing of its unpublished batch leaves.
    fn bury(&self, state: &mut State<R>, unpublished: Vec<Effect>) {
        self.dead.store(true, Ordering::Release);
        let Home { pool, index } = self.home;
        tracing::error!(pool, index, "the slot of the actor that panicked is dead, and answers with errors");
        for effect in unpublished {
            effects::later(move || drop(effect));
        }
        let (_, last) = effects::handling(|| state.role.as_mut().map(|role| self.guard(|| role.dead())));
        effects::let_go(last);
    }

    /// Drops what a dead slot has, when the turn is given back: each piece by itself, so that all of it answers.
    fn sweep(&self, state: &mut State<R>) {
        if let Some(role) = state.role.take() {
            effects::later(move || drop(role));
        }
        self.swept.store(true, Ordering::Release);
        for message in state.inbox.take_all(&self.mailbox) {
            effects::later(move || drop(message));
        }
    }

    fn call_owner(self: Arc<Self>) {
        if self.turn.ask() {
            self.meter.called.fetch_add(1, Ordering::Relaxed);
            let runtime = self.runtime.clone();
            runtime.wake(self);
        }
    }
}

impl<R: Role> Runnable for Slot<R> {
    fn visit(self: Arc<Self>) {
        effects::outermost(|| {
            if self.turn.visit() {
                self.run(Runner::Owner);
            }
        });
    }

    fn attend(self: Arc<Self>, ticket: u64, inline: bool) {
        if !self.mailbox.is_waiting() {
            return;
        }
        if !inline && !self.dead.load(Ordering::Acquire) {
            return self.call_owner();
        }
        if self.turn.try_take() {
            self.run(Runner::Poster(ticket));
        }
    }

    fn home(&self) -> Home {
        self.home
    }

    fn stats(&self) -> MailboxStats {
        MailboxStats {
            handled: self.meter.handled.load(Ordering::Relaxed),
            handled_inline: self.meter.handled_inline.load(Ordering::Relaxed),
            called: self.meter.called.load(Ordering::Relaxed),
            dead: self.dead.load(Ordering::Relaxed),
            restarted: self.meter.restarted.load(Ordering::Relaxed),
            ..self.mailbox.stats()
        }
    }

    fn tune(&self, capacity: Option<usize>, patience: &Patience) {
        capacity.into_iter().for_each(|capacity| self.mailbox.limits.set_capacity(capacity));
        self.mailbox.limits.set_patience(patience);
    }

    fn working(&self) -> Option<Working> {
        self.meter.working()
    }

    fn is_quiet(&self) -> bool {
        !self.mailbox.is_waiting() && self.turn.is_idle()
    }

    fn close(self: Arc<Self>) {
        effects::outermost(|| {
            self.dead.store(true, Ordering::Release);
            if self.turn.try_take() {
                self.run(Runner::Owner);
            }
        });
    }
}

impl<R: Role> Port<R::Message> for Slot<R> {
    fn push(&self, lane: Lane, message: R::Message) -> (u64, bool) {
        self.mailbox.push(lane, message, || self.clock.now_us())
    }

    fn has_room(&self) -> bool {
        let room = self.mailbox.has_room();
        if !room {
            self.meter.rejected();
        }
        room
    }

    fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given")
}
