//! Promises of the runtimes: no call is lost, pools are resized without disorder.

use super::actix_pool::ActixPools;
use super::*;
use crate::mailbox::{Envelope, Lane};
use crate::replier::{Replier, Unanswered};
use crate::slot::{Address, Context, Role, spawn};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Atomic};
use std::thread;
use std::time::Instant;

#[derive(Debug, PartialEq)]
struct Eio;

impl Unanswered for Eio {
    fn unanswered() -> Self {
        Self
    }
}

type Answer = Result<u64, Eio>;

/// The `number`th message of a sender.
struct Mark {
    sender: usize,
    number: u64,
    inline: bool,
    replier: Option<Replier<Answer>>,
}

impl Envelope for Mark {
    fn kind(&self) -> &'static str {
        "mark"
    }
    fn inline(&self) -> bool {
        self.inline
    }
    fn payload_bytes(&self) -> usize {
        8
    }
}

/// Checks that each sender's messages come in order, by one thread at a time, and passes them on.
struct Judge {
    expected: Vec<u64>,
    inside: AtomicBool,
    wrong: Arc<AtomicU64>,
    next: Option<Address<Mark>>,
}

impl Role for Judge {
    type Message = Mark;
    fn handle(&mut self, mark: Mark, cx: &mut Context<'_>) {
        let alone = !self.inside.swap(true, Atomic::AcqRel);
        let in_order = self.expected[mark.sender] == mark.number;
        self.expected[mark.sender] = mark.number + 1;
        if !alone || !in_order {
            self.wrong.fetch_add(1, Atomic::Relaxed);
        }
        match &self.next {
            Some(next) => cx.post(next, Lane::Foreground, mark),
            None => {
                if let Some(replier) = mark.replier {
                    cx.reply(replier, Ok(mark.number));
                }
            }
        }
        self.inside.store(false, Atomic::Release);
    }
}

const SENDERS: usize = 8;

struct Court {
    pools: Arc<ActixPools>,
    slots: Vec<Address<Mark>>,
    last: Address<Mark>,
    wrong: Arc<AtomicU64>,
}

impl Court {
    /// Slots of one pool that all pass on to one slot of another.
    fn new(slots: usize, threads: usize) -> Self {
        let pools = ActixPools::start(&[("judge", threads), ("last", 1)]).unwrap();
        let runtime: Arc<dyn Runtime> = pools.clone();
        let wrong = Arc::new(AtomicU64::new(0));
        let judge = |pool, index, senders, next| {
            let role = Judge { expected: vec![0; senders], inside: AtomicBool::new(false), wrong: wrong.clone(), next };
            spawn(&runtime, Home { pool, index }, 1000, |_| role).unwrap()
        };
        let last: Address<Mark> = judge("last", 0, SENDERS * slots, None);
        let slots = (0..slots).map(|index| judge("judge", index, SENDERS * slots, Some(last.clone()))).collect();
        Self { pools, slots, last, wrong }
    }

    /// Eight threads post `each` messages to every slot, some inline; each waits for the answers of `window` of them at a time.
    fn post_all(&self, each: u64, window: u64) {
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                scope.spawn(move || (0..each / window).for_each(|at| self.post_as(sender, at * window..(at + 1) * window)));
            }
        });
    }

    fn post_as(&self, sender: usize, numbers: Range<u64>) {
        let mut replies = Vec::new();
        for number in numbers {
            for (at, slot) in self.slots.iter().enumerate() {
                let (replier, reply) = Replier::future();
                let inline = (number.wrapping_mul(2_654_435_761) >> 7) % 3 != 0;
                slot.post(Lane::Foreground, Mark { sender: sender * self.slots.len() + at, number, inline, replier: Some(replier) });
                replies.push((number, reply));
            }
        }
        for (number, reply) in replies {
            assert_eq!(reply.wait_blocking(), Ok(number));
        }
    }

    fn verdict(&self, each: u64) {
        let all = each * (SENDERS * self.slots.len()) as u64;
        assert_eq!(self.wrong.load(Atomic::Relaxed), 0, "O1: an order was broken, or two turns met");
        assert_eq!(self.slots.iter().map(|slot| slot.stats().handled).sum::<u64>(), all);
        assert_eq!(self.last.stats().handled, all);
        self.pools.stop();
    }
}

#[test]
fn eight_posting_threads_keep_their_orders_through_two_slots() {
    for window in [1, 4, 1_000] {
        let court = Court::new(1, 2);
        court.post_all(4_000, window);
        assert!(window > 1 || court.slots[0].stats().handled_inline > 0);
        court.verdict(4_000);
    }
}

#[test]
fn resizing_under_load_keeps_every_order_and_loses_nothing() {
    let court = Court::new(16, 1);
    thread::scope(|scope| {
        let load = scope.spawn(|| court.post_all(500, 50));
        let mut sizes = [8, 2, 1, 3].into_iter().cycle();
        let mut resized = 0;
        while !load.is_finished() || resized < 4 {
            let size = sizes.next().unwrap();
            court.pools.resize("judge", size).unwrap();
            assert_eq!(court.pools.threads("judge"), size);
            resized += 1;
        }
    });
    court.verdict(500);
}

#[test]
fn an_orderly_stop_handles_what_waits_and_answers_what_comes_later() {
    let court = Court::new(4, 2);
    let replies: Vec<_> = (0..400)
        .map(|number: u64| {
            let (replier, reply) = Replier::future();
            let at = (number % 4) as usize;
            court.slots[at].post(Lane::Background, Mark { sender: at, number: number / 4, inline: false, replier: Some(replier) });
            reply
        })
        .collect();
    court.pools.stop();
    assert!(replies.into_iter().all(|reply| reply.wait_blocking().is_ok()));

    let (replier, reply) = Replier::future();
    court.slots[0].post(Lane::Foreground, Mark { sender: 0, number: 100, inline: false, replier: Some(replier) });
    assert_eq!(reply.wait_blocking(), Err(Eio));
    let runtime: Arc<dyn Runtime> = court.pools.clone();
    let role = |_| Judge { expected: Vec::new(), inside: AtomicBool::new(false), wrong: Arc::default(), next: None };
    assert!(matches!(spawn(&runtime, Home { pool: "judge", index: 0 }, 1, role), Err(RuntimeError::Stopped)));
    assert!(matches!(spawn(&runtime, Home { pool: "nobody", index: 0 }, 1, role), Err(RuntimeError::NoSuchPool("nobody"))));
    assert!(matches!(court.pools.resize("judge", 3), Err(RuntimeError::Stopped)));
    court.pools.stop();
}

#[test]
fn delayed_posts_arrive_in_order_and_end_with_the_runtime() {
    let court = Court::new(1, 1);
    let mut replies = Vec::new();
    for number in [1u64, 0] {
        let (replier, reply) = Replier::future();
        let mark = Mark { sender: 0, number, inline: true, replier: Some(replier) };
        court.slots[0].post_after(Duration::from_millis(1 + number * 20), Lane::Foreground, mark);
        replies.push(reply);
    }
    assert!(replies.into_iter().all(|reply| reply.wait_blocking().is_ok()));
    assert_eq!(court.wrong.load(Atomic::Relaxed), 0);
    let (replier, reply) = Replier::future();
    court.slots[0].post_after(
        Duration::from_secs(3600),
        Lane::Foreground,
        Mark { sender: 0, number: 2, inline: true, replier: Some(replier) },
    );
    court.pools.stop();
    assert_eq!(reply.wait_blocking(), Err(Eio));
}

#[test]
fn gauges_can_be_published_at_any_time() {
    let court = Court::new(2, 2);
    court.pools.publish();
    court.pools.stop();
    court.pools.publish();
}

/// What a request costs. Run in release: `cargo test -p infmap-actors --release what_a_request_costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_a_request_costs() {
    let court = Court::new(1, 1);
    // The tenth of a hundred parts, and the median: the machine may have other work.
    let timed = |what: &str, rounds: u64, act: &mut dyn FnMut(u64)| {
        let part = rounds / 100;
        let mut parts: Vec<u128> = (0..100)
            .map(|at| {
                let start = Instant::now();
                (at * part..(at + 1) * part).for_each(&mut *act);
                start.elapsed().as_nanos() / u128::from(part)
            })
            .collect();
        parts.sort_unstable();
        println!("{what}: {} ns, median {} ns", parts[10], parts[50]);
    };
    let mark = |sender, number, inline, replier| Mark { sender, number, inline, replier };
    timed("clock read", 1_000_000, &mut |_| {
        std::hint::black_box(court.pools.clock().now_us());
    });
    timed("inline post without a reply", 1_000_000, &mut |number| court.last.post(Lane::Foreground, mark(0, number, true, None)));
    timed("inline round trip", 1_000_000, &mut |number| {
        let (replier, reply) = Replier::future();
        court.last.post(Lane::Foreground, mark(1, number, true, Some(replier)));
        assert_eq!(reply.wait_blocking(), Ok(number));
    });
    timed("inline round trip through two slots", 1_000_000, &mut |number| {
        let (replier, reply) = Replier::future();
        court.slots[0].post(Lane::Foreground, mark(2, number, true, Some(replier)));
        assert_eq!(reply.wait_blocking(), Ok(number));
    });
    timed("hop round trip", 20_000, &mut |number| {
        let (replier, reply) = Replier::future();
        court.last.post(Lane::Foreground, mark(3, number, false, Some(replier)));
        assert_eq!(reply.wait_blocking(), Ok(number));
    });
    timed("queued message in a stream of them", 1_000_000, &mut |number| {
        court.last.post(Lane::Foreground, mark(4, number, false, None));
        if number % 10_000 == 0 {
            let (replier, reply) = Replier::future();
            court.last.post(Lane::Foreground, mark(5, number / 10_000, false, Some(replier)));
            assert!(reply.wait_blocking().is_ok());
        }
    });
    assert_eq!(court.wrong.load(Atomic::Relaxed), 0);
    court.pools.stop();
}
