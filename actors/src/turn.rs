//! The right to run a slot: one word that says who has it, who came by meanwhile, and whether the owner has been called.
//!
//! Owns: the protocol of push, try, release, look again, call, and the tally that says whether to look. It knows no mailbox and no actor,
//! so that the loom model in `tests/loom_turns.rs` compiles this very file. Must be true: TURN-1 never two turns of a slot at once;
//! TURN-2 no lost wake: a pushed message is seen by a holder, or the owner is called after it; TURN-3 at most one call is under way.
//! Fails: never; all operations are lock-free.
//!
//! A poster that does not get the turn leaves a mark instead of calling the owner: the holder finds it when it releases, and calls
//! only if the queue is not empty then. That is the coalesced wake of the design without a futex for a message that is already handled.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Somebody has the turn.
const HELD: u32 = 1;
/// Somebody came by while it was held: the holder looks at the queue again.
const CAME: u32 = 2;
/// The owner has been called and has not come yet.
const CALLED: u32 = 4;

/// The turn of one slot.
pub(crate) struct Turn {
    word: AtomicU32,
}

impl Turn {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(0) }
    }

    /// A poster, after its push: takes the turn, or marks that somebody came by. True: it is ours, to be given back by [`leave`].
    #[must_use]
    pub(crate) fn try_take(&self) -> bool {
        self.change(|word| if word & HELD == 0 { word | HELD } else { word | CAME }) & HELD == 0
    }

    /// The owner, when it comes because it was called: as [`Turn::try_take`], and from here on it can be called again.
    #[must_use]
    pub(crate) fn visit(&self) -> bool {
        self.change(|word| if word & HELD == 0 { (word | HELD) & !CALLED } else { (word | CAME) & !CALLED }) & HELD == 0
    }

    /// Somebody, after a push: true if the caller must call the owner now. False: the holder will look, or the owner is coming.
    #[must_use]
    pub(crate) fn ask(&self) -> bool {
        self.change(|word| if word & HELD == 0 { word | CALLED } else { word | CAME }) & (HELD | CALLED) == 0
    }

    /// True if nobody has it, and the owner is not called.
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        self.word.load(Ordering::Acquire) & (HELD | CALLED) == 0
    }

    /// Gives the turn back. True if somebody came by.
    #[must_use]
    fn release(&self) -> bool {
        self.change(|word| word & CALLED) & CAME != 0
    }

    /// Changes the word, always by a write, so that whoever changes it next sees what was done before. Returns the word before.
    fn change(&self, next: impl Fn(u32) -> u32) -> u32 {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            match self.word.compare_exchange_weak(word, next(word), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(before) => return before,
                Err(now) => word = now,
            }
        }
    }
}

/// Ends a turn: release, look at the queue again, and call the owner if it is not empty. `left_over` says that the holder itself knows
/// of messages that it leaves; `waiting` looks at the queue, without the turn. True: the caller must call the owner now.
#[must_use]
pub(crate) fn leave(turn: &Turn, left_over: bool, waiting: impl FnOnce() -> bool) -> bool {
    let came = turn.release();
    (came || left_over) && waiting() && turn.ask()
}

/// How many messages were posted to a mailbox, and how many of them taken.
pub(crate) struct Tally {
    posted: AtomicU64,
    taken: AtomicU64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { posted: AtomicU64::new(0), taken: AtomicU64::new(0) }
    }

    /// A poster, before its push: the number of its message.
    pub(crate) fn ticket(&self) -> u64 {
        self.posted.fetch_add(1, Ordering::AcqRel)
    }

    /// The holder of the turn took one.
    pub(crate) fn took_one(&self) {
        self.taken.store(self.taken.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Messages that were posted and not taken, some perhaps about to be pushed. `taken` is read first: who reads a count has then
    /// seen the posts of all that it counts, so a message that the caller posted is never overlooked.
    pub(crate) fn waiting(&self) -> u64 {
        let taken = self.taken.load(Ordering::Acquire);
        self.posted.load(Ordering::Acquire).saturating_sub(taken)
    }
}
