//! Promises of the mailbox: order, fairness, figures.

use super::*;
use proptest::prelude::*;

#[derive(Debug, PartialEq, Clone)]
struct Note {
    number: usize,
    key: Option<u64>,
    bytes: usize,
}

impl Envelope for Note {
    fn kind(&self) -> &'static str {
        "note"
    }
    fn payload_bytes(&self) -> usize {
        self.bytes
    }
    fn order_key(&self) -> Option<u64> {
        self.key
    }
}

fn note(number: usize) -> Note {
    Note { number, key: None, bytes: 0 }
}

fn next(inbox: &mut Inbox<Note>, mailbox: &Mailbox<Note>, now_us: u64) -> Option<Note> {
    let source = inbox.pick(mailbox, now_us)?;
    Some(inbox.take(mailbox, source, now_us).unwrap().message)
}

const ALL: [Lane; LANES] = [Lane::Foreground, Lane::Data, Lane::WriteBehind, Lane::Background];

#[test]
fn foreground_goes_first_and_no_lane_starves_by_count_or_by_time() {
    let (mailbox, mut inbox) = (Mailbox::new(1), Inbox::new());
    for lane in [Lane::Background, Lane::Background] {
        mailbox.push(lane, note(1000), || 0);
    }
    for number in 0..200 {
        mailbox.push(Lane::Foreground, note(number), || 0);
    }
    let taken: Vec<usize> = (0..130).map(|_| next(&mut inbox, &mailbox, 0).unwrap().number).collect();
    let background: Vec<usize> = (0..130).filter(|at| taken[*at] == 1000).collect();
    assert_eq!(background, [64, 129]);

    mailbox.push(Lane::Data, note(2000), || 0);
    mailbox.push(Lane::Foreground, note(200), || 0);
    while next(&mut inbox, &mailbox, 0).unwrap().number != 199 {}
    // The last foreground message is younger than the data message, which has been passed over since 0.
    assert_eq!(next(&mut inbox, &mailbox, 2_000).unwrap().number, 2000);
    assert_eq!(next(&mut inbox, &mailbox, 0).unwrap().number, 200);
    assert!(!mailbox.is_waiting());
}

#[test]
fn a_foreground_message_lifts_those_of_its_key_posted_before_it() {
    let (mailbox, mut inbox) = (Mailbox::new(1), Inbox::new());
    let keyed = |number, key| Note { number, key: Some(key), bytes: 0 };
    mailbox.push(Lane::Data, keyed(0, 7), || 0);
    mailbox.push(Lane::Data, keyed(1, 8), || 0);
    mailbox.push(Lane::Foreground, keyed(2, 8), || 0);
    mailbox.push(Lane::Data, keyed(3, 8), || 0);
    let order: Vec<usize> = std::iter::from_fn(|| next(&mut inbox, &mailbox, 0)).map(|note| note.number).collect();
    assert_eq!(order, [1, 2, 0, 3]);
}

#[test]
fn capacity_withholds_admission_and_never_a_post() {
    let mailbox = Mailbox::new(2);
    for number in 0..3 {
        assert_eq!(mailbox.has_room(), number < 2);
        mailbox.push(Lane::Foreground, Note { number, key: None, bytes: 10 }, || 0);
    }
    let stats = mailbox.stats();
    assert_eq!((stats.depth, stats.capacity, stats.bytes, stats.rejected, stats.posted), (3, 2, 30, 1, 3));
    assert_eq!(Inbox::new().take_all(&mailbox).len(), 3);
    assert_eq!((mailbox.stats().depth, mailbox.stats().bytes, mailbox.stats().lanes[0].depth), (0, 0, 0));
}

proptest! {
    /// MBX-1 and MBX-3, in any mixture of posts and takes: nothing is lost, lanes are FIFO, keys keep their order to the foreground.
    #[test]
    fn any_mixture_keeps_the_orders_and_loses_nothing(steps in prop::collection::vec((0usize..6, 0u64..4), 1..400)) {
        let (mailbox, mut inbox) = (Mailbox::new(1), Inbox::new());
        let (mut posted, mut taken) = (Vec::new(), Vec::new());
        for (at, (lane, key)) in steps.iter().enumerate() {
            match ALL.get(*lane) {
                Some(lane) => {
                    mailbox.push(*lane, Note { number: posted.len(), key: Some(*key), bytes: 1 }, || 0);
                    posted.push((*lane, *key));
                }
                None => taken.extend(next(&mut inbox, &mailbox, at as u64 * 500)),
            }
        }
        taken.extend(std::iter::from_fn(|| next(&mut inbox, &mailbox, 0)));
        prop_assert_eq!(taken.len(), posted.len());
        prop_assert_eq!(mailbox.stats().bytes, 0);
        for (at, later) in taken.iter().enumerate() {
            for earlier in &taken[..at] {
                let ((lane_a, key_a), (lane_b, key_b)) = (posted[earlier.number], posted[later.number]);
                if earlier.number > later.number {
                    prop_assert!(lane_a != lane_b || (lane_a == Lane::Data && key_a != key_b), "a lane is FIFO");
                    let cut_past_its_data = lane_a == Lane::Foreground && lane_b == Lane::Data && key_a == key_b;
                    prop_assert!(!cut_past_its_data, "a foreground message lifts its data");
                    prop_assert!(!(lane_b == Lane::Foreground && lane_a != Lane::Foreground), "patience does not jump the queue");
                }
            }
        }
    }
}

#[test]
fn patience_that_changes_while_messages_wait_counts_for_them() {
    let (mailbox, mut inbox) = (Mailbox::new(1), Inbox::new());
    mailbox.push(Lane::Background, note(1000), || 0);
    for number in 0..100 {
        mailbox.push(Lane::Foreground, note(number), || 0);
    }
    // Nothing is older than what would go first but by its number: the background one was first.
    for number in 0..5 {
        assert_eq!(next(&mut inbox, &mailbox, 0).unwrap().number, number);
    }
    let mut lanes = crate::settings::Lanes::default();
    lanes.background.passes = 6;
    mailbox.limits.set_patience(&Patience::from(&lanes));
    assert_eq!(next(&mut inbox, &mailbox, 0).unwrap().number, 5);
    assert_eq!(next(&mut inbox, &mailbox, 0).unwrap().number, 1000);
    mailbox.limits.set_capacity(95);
    assert!(mailbox.has_room());
    mailbox.limits.set_capacity(94);
    assert!(!mailbox.has_room());
}
