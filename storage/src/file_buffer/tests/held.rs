//! HLD-1: the groups against a plain map that is walked for every answer.

use super::super::held::{DirtyBlock, HeldBlocks};
use super::*;

/// Enough for four groups of 64.
const NUMBERS: u64 = 250;

#[derive(Default)]
struct Walked(BTreeMap<u64, DirtyBlock>);

impl Walked {
    fn numbers(&self, wanted: impl Fn(&DirtyBlock) -> bool) -> Vec<u64> {
        self.0.iter().filter(|(_, dirty)| wanted(dirty)).map(|(number, _)| *number).collect()
    }

    fn check(&self, held: &HeldBlocks, from: u64, max: usize) {
        let unplaced = self.numbers(|dirty| dirty.placing.is_none() && dirty.settling.is_none());
        let volatile = self.numbers(|dirty| !dirty.logged && dirty.settling.is_none());
        assert_eq!((held.len(), held.unplaced(), held.volatile()), (self.0.len(), unplaced.len(), volatile.len()));
        assert_eq!(held.first_unplaced(max), unplaced[..max.min(unplaced.len())]);
        let later: Vec<u64> = volatile.into_iter().filter(|number| *number >= from).collect();
        assert_eq!(held.volatile_from(from).map(|(number, _)| number).collect::<Vec<_>>(), later);
        let range = from..from + max as u64;
        let shown = |(number, dirty): (u64, &DirtyBlock)| (number, dirty.sequence, dirty.settling);
        let walked: Vec<_> = self.0.range(range.clone()).map(|(number, dirty)| shown((*number, dirty))).collect();
        assert_eq!(held.range(range).map(shown).collect::<Vec<_>>(), walked);
        assert_eq!(held.numbers(|dirty| dirty.logged), self.numbers(|dirty| dirty.logged));
        assert_eq!((held.is_empty(), held.contains(from)), (self.0.is_empty(), self.0.contains_key(&from)));
    }
}

fn step(held: &mut HeldBlocks, walked: &mut Walked, pool: &BlockPool, op: u8, number: u64, ticket: Ticket) {
    let change = |dirty: &mut DirtyBlock| match op {
        3 => dirty.placing = Some(ticket),
        4 => dirty.settling = Some(ticket),
        5 => (dirty.placing, dirty.settling) = (None, None),
        _ => dirty.logged = !dirty.logged,
    };
    match op {
        0..=2 => {
            let dirty = DirtyBlock { settling: (op == 2).then_some(ticket), ..DirtyBlock::fresh(pool.zeroed(), ticket, 1) };
            walked.0.insert(number, dirty.clone());
            held.insert(number, dirty);
        }
        3..=6 => assert_eq!(held.edit(number, change).is_some(), walked.0.get_mut(&number).map(change).is_some()),
        7 => {
            let gone: Vec<u64> = walked.numbers(|dirty| dirty.settling == Some(ticket));
            gone.iter().for_each(|number| drop(walked.0.remove(number)));
            assert_eq!(held.let_go(ticket), gone.len());
        }
        _ => {
            let end = if ticket == 1 { u64::MAX } else { number + 30 * ticket };
            let mut gone = walked.0.split_off(&number);
            walked.0.append(&mut gone.split_off(&end));
            assert_eq!(held.cut(number, end), gone.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_known_of_the_blocks_is_what_a_walk_finds(
        ops in proptest::collection::vec((0u8..60, 0..NUMBERS, 1u64..6, 0usize..100), 1..400),
    ) {
        let (pool, mut held, mut walked) = (BlockPool::new(9), HeldBlocks::default(), Walked::default());
        for (op, number, ticket, max) in ops {
            // Many inserts and few cuts, so that groups fill.
            let op = if op < 9 { op } else { op % 8 };
            step(&mut held, &mut walked, &pool, op, number, ticket);
            walked.check(&held, number, max);
        }
    }
}
