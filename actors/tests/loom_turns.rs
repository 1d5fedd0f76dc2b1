//! The turn, in every interleaving that loom can find.
//!
//! Owns: a model of two slots around the real `src/turn.rs`, compiled here on loom's atomics; it needs no special flag and runs with
//! the other tests: `cargo test -p infmap-actors --test loom_turns`. Must be true: TURN-1 never two turns at once, TURN-2 no lost
//! wake, O1 the messages of a sender are handled in the order in which it posted them, through a second slot too.

use loom::sync::atomic::{AtomicBool, AtomicUsize};
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::collections::VecDeque;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

#[path = "../src/turn.rs"]
mod turn;

use sync::Ordering;
use turn::{Tally, Turn, leave};

/// A message: its sender, its number there, and whether it may run on the poster's thread.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Message {
    sender: usize,
    number: usize,
    inline: bool,
}

/// A slot as `slot.rs` has it: a queue, a turn, a state that only the holder touches, and a count of calls to the owner.
struct Slot {
    queue: Mutex<VecDeque<Message>>,
    tally: Tally,
    turn: Turn,
    inside: AtomicBool,
    handled: Mutex<Vec<Message>>,
    calls: AtomicUsize,
    next: Option<Arc<Slot>>,
}

impl Slot {
    fn new(next: Option<Arc<Slot>>) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(VecDeque::new()),
            tally: Tally::new(),
            turn: Turn::new(),
            inside: AtomicBool::new(false),
            handled: Mutex::new(Vec::new()),
            calls: AtomicUsize::new(0),
            next,
        })
    }

    fn push(&self, message: Message) {
        self.tally.ticket();
        self.queue.lock().unwrap().push_back(message);
    }

    fn call(&self) {
        self.calls.fetch_add(1, Ordering::AcqRel);
    }

    fn waiting(&self) -> bool {
        self.tally.waiting() > 0
    }

    fn post(&self, message: Message) {
        self.push(message);
        self.attend(message);
    }

    fn attend(&self, message: Message) {
        if !self.waiting() {
            return;
        }
        if !message.inline {
            if self.turn.ask() {
                self.call();
            }
        } else if self.turn.try_take() {
            self.run(Some(message));
        }
    }

    /// One batch. A poster runs its own message if that is at the head, and inline ones behind it; the owner runs all.
    fn run(&self, mine: Option<Message>) {
        assert!(!self.inside.swap(true, Ordering::AcqRel), "TURN-1: two turns at once");
        let mut batch = Vec::new();
        let left_over = loop {
            let head = self.queue.lock().unwrap().front().copied();
            let Some(head) = head else { break false };
            let first = batch.is_empty();
            if mine.is_some_and(|mine| !head.inline || (first && head != mine)) {
                break true;
            }
            self.queue.lock().unwrap().pop_front();
            self.tally.took_one();
            batch.push(head);
        };
        self.handled.lock().unwrap().extend(&batch);
        // What the batch posts gets its position before the turn is given back, and is attended to after.
        if let Some(next) = &self.next {
            batch.iter().for_each(|message| next.push(*message));
        }
        self.inside.store(false, Ordering::Release);
        if leave(&self.turn, left_over, || self.waiting()) {
            self.call();
        }
        if let Some(next) = &self.next {
            batch.iter().for_each(|message| next.attend(*message));
        }
    }

    /// The owner's thread, once for each call.
    fn visits(&self) {
        while self.calls.fetch_update(Ordering::AcqRel, Ordering::Acquire, |calls| calls.checked_sub(1)).is_ok() {
            if self.turn.visit() {
                self.run(None);
            }
        }
    }

    /// When all is quiet: nothing waits, nobody was called in vain, and every sender's messages are in order.
    fn check(&self, senders: &[usize]) {
        assert_eq!(self.calls.load(Ordering::Acquire), 0, "a call is still under way");
        assert!(self.turn.is_idle(), "the turn is held, or a call is noted that nobody makes");
        assert!(!self.waiting(), "TURN-2: a message waits and nobody was called");
        for (sender, count) in senders.iter().enumerate() {
            let numbers: Vec<usize> = self.handled.lock().unwrap().iter().filter(|m| m.sender == sender).map(|m| m.number).collect();
            assert_eq!(numbers, (0..*count).collect::<Vec<_>>(), "O1: the order of sender {sender}");
        }
    }
}

/// Explores the interleavings, up to some preemptions, of posters, which post what they are given, and owners, which come when called.
fn explore(plan: &'static [&'static [bool]], chained: bool, owner_thread: bool) {
    let mut model = loom::model::Builder::new();
    // Two find a lost wake, a double turn and posts that cross, each put in on purpose; `LOOM_MAX_PREEMPTIONS=3` looks deeper.
    model.preemption_bound = model.preemption_bound.or(Some(2));
    model.check(move || {
        let last = Slot::new(None);
        let first = if chained { Slot::new(Some(last.clone())) } else { last.clone() };
        let mut threads: Vec<_> = plan
            .iter()
            .enumerate()
            .skip(1)
            .map(|(sender, inline)| {
                let first = first.clone();
                thread::spawn(move || post_all(&first, sender, inline))
            })
            .collect();
        if owner_thread {
            let (first, last) = (first.clone(), last.clone());
            threads.push(thread::spawn(move || {
                first.visits();
                last.visits();
            }));
        }
        post_all(&first, 0, plan[0]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // The owners are still there when the posters are gone, and come for every call that was made.
        while first.calls.load(Ordering::Acquire) + last.calls.load(Ordering::Acquire) > 0 {
            first.visits();
            last.visits();
        }
        let counts: Vec<usize> = plan.iter().map(|inline| inline.len()).collect();
        first.check(&counts);
        last.check(&counts);
        let handled = first.handled.lock().unwrap().clone();
        let passed_on = last.handled.lock().unwrap().clone();
        assert_eq!(handled, passed_on, "what turns post arrives in the order of the turns");
    });
}

fn post_all(slot: &Slot, sender: usize, inline: &[bool]) {
    for (number, inline) in inline.iter().enumerate() {
        slot.post(Message { sender, number, inline: *inline });
    }
}

#[test]
fn two_inline_posters_lose_nothing_and_never_share_a_turn() {
    explore(&[&[true, true], &[true, true]], false, false);
}

#[test]
fn an_inline_poster_a_queued_poster_and_the_owner_lose_nothing() {
    explore(&[&[true], &[false, true]], false, true);
}

#[test]
fn three_posters_and_no_owner_thread_leave_a_call_for_what_waits() {
    explore(&[&[true], &[false], &[true]], false, false);
}

#[test]
fn what_turns_post_arrives_in_the_order_of_the_turns() {
    explore(&[&[true, true], &[true]], true, false);
}
