//! The buffer against a file of bytes with sequences, a tree that gets its rows, and placements that are late, partial and reordered.

mod drain;
mod held;

use super::*;
use crate::address::{Address, Cluster, Generation, Place, RegionId};
use crate::row::{Codec, ExtentRow, FileKind};
use proptest::prelude::*;
use std::collections::BTreeMap;

const BLOCKS: u64 = 12;
const LIMIT: u64 = BLOCKS * BLOCK;

fn time(n: u64) -> Time {
    Time { seconds: n.cast_signed(), nanos: 0 }
}

fn new_row() -> InodeRow {
    InodeRow::new(FileKind::Regular.mode_bits() | 0o644, 0, 0, time(0))
}

/// What was posted to the Vat and is not published yet, in order.
enum Post {
    /// A settlement, rows with the bytes that they give, the cut that goes with it, and the data of the log.
    Settle {
        ticket: Ticket,
        settlement: Settlement,
        rows: Vec<(u64, Vec<u8>, u64)>,
        cut: Option<(u64, u64, u64)>,
        data: Vec<(u64, Vec<u8>, u64)>,
    },
}

/// The file as it would be after a power cut: what the row says, bytes in extents, and bytes in the log.
#[derive(Clone)]
struct Durable {
    row: InodeRow,
    placed: Vec<u8>,
    logged: BTreeMap<u64, (u64, Vec<u8>)>,
}

impl Durable {
    fn content(&self) -> Vec<u8> {
        let mut bytes = self.placed.clone();
        for (number, (_, block)) in &self.logged {
            let at = (number * BLOCK) as usize;
            bytes[at..at + block.len()].copy_from_slice(block);
        }
        bytes.truncate(self.row.size as usize);
        bytes
    }

    fn cancel(&mut self, from: u64, to: u64, sequence: u64) {
        let touched: Vec<u64> = self.logged.range(from / BLOCK..to.div_ceil(BLOCK)).map(|(n, _)| *n).collect();
        for number in touched {
            let start = number * BLOCK;
            let (held, bytes) = self.logged.get_mut(&number).unwrap();
            if *held <= sequence {
                let range = from.saturating_sub(start) as usize..(to - start).min(BLOCK) as usize;
                if range.len() == BLOCK as usize { drop(self.logged.remove(&number)) } else { bytes[range].fill(0) }
            }
        }
    }

    fn apply(&mut self, post: &Post) -> Ticket {
        let Post::Settle { ticket, settlement, rows, cut, data } = post;
        if let Some((from, to, sequence)) = cut {
            self.placed[*from as usize..*to as usize].fill(0);
            self.cancel(*from, *to, *sequence);
        }
        for (offset, bytes, sequence) in rows {
            let at = *offset as usize;
            self.placed[at..at + bytes.len()].copy_from_slice(bytes);
            self.cancel(*offset, offset + bytes.len() as u64, *sequence);
        }
        for (number, bytes, sequence) in data {
            let held = self.logged.entry(*number).or_default();
            if *sequence >= held.0 {
                *held = (*sequence, bytes.clone());
            }
        }
        if settlement.version >= self.row.version {
            self.row.version = settlement.version;
            self.row.size = settlement.size;
        }
        *ticket
    }
}

/// A run that a pixel writer has: parts of it may come back at different times.
struct Flight {
    ticket: Ticket,
    parts: Vec<(PlacedExtent, Vec<u8>)>,
}

struct World {
    pool: BlockPool,
    buffer: FileBuffer,
    /// What the file holds now.
    bytes: Vec<u8>,
    /// The newest change of each byte: what may be seen after a power cut is old or this, never something else.
    history: Vec<Vec<(u64, u8)>>,
    flights: Vec<Flight>,
    posts: std::collections::VecDeque<Post>,
    published: Durable,
    cut: Option<(u64, u64, u64)>,
    cluster: usize,
    clock: u64,
}

impl World {
    fn new() -> Self {
        Self {
            pool: BlockPool::new(8),
            buffer: FileBuffer::new(&new_row()),
            bytes: Vec::new(),
            history: vec![Vec::new(); LIMIT as usize / 512],
            flights: Vec::new(),
            posts: std::collections::VecDeque::new(),
            published: Durable { row: new_row(), placed: vec![0; LIMIT as usize], logged: BTreeMap::new() },
            cut: None,
            cluster: 0,
            clock: 1,
        }
    }

    fn version(&self) -> u64 {
        self.buffer.live().version
    }

    /// Notes what each sampled byte (one in 512) is from this version on.
    fn note(&mut self) {
        let version = self.version();
        for (n, history) in self.history.iter_mut().enumerate() {
            // Only while the file reaches so far: a zero under the size that was never written there is a loss (BUF-4).
            let Some(&byte) = self.bytes.get(n * 512) else { continue };
            if history.last().is_none_or(|(_, last)| *last != byte) {
                history.push((version, byte));
            }
        }
    }

    /// The bytes as a reader has them: dirty blocks over published extents over zeros, up to the live size.
    fn read(&self) -> Vec<u8> {
        let mut bytes = self.published.content_unlogged();
        let size = self.shown_size();
        bytes.resize(LIMIT as usize, 0);
        // Cuts and rows that are posted and not published lie between: the shard reads behind them.
        let mut shown = Durable { placed: bytes, ..self.published.clone() };
        for post in &self.posts {
            let Post::Settle { rows, cut, .. } = post;
            if let Some((from, to, _)) = cut {
                shown.placed[*from as usize..*to as usize].fill(0);
            }
            for (offset, bytes, _) in rows {
                shown.placed[*offset as usize..*offset as usize + bytes.len()].copy_from_slice(bytes);
            }
        }
        for (number, block) in self.buffer.blocks_in(0, LIMIT) {
            let at = (number * BLOCK) as usize;
            shown.placed[at..at + 4096].copy_from_slice(block.bytes());
        }
        shown.placed.truncate(size as usize);
        shown.placed
    }

    /// O10: the live row while its version is above that of the row.
    fn shown_size(&self) -> u64 {
        let live = self.buffer.live();
        if live.version > self.published.row.version { live.size } else { self.published.row.size }
    }

    fn write(&mut self, offset: u64, length: u64) {
        let end = (offset + length).min(LIMIT);
        let (offset, length) = (offset, end - offset);
        if length == 0 {
            return;
        }
        let old = self.read();
        for number in self.buffer.missing_for(offset, length) {
            let at = (number * BLOCK) as usize;
            let held = self.pool.holding(0, old.get(at..old.len().min(at + 4096)).unwrap_or(&[]));
            self.buffer.fill(number, held);
        }
        let fill = (self.version() % 250 + 1) as u8;
        let (mut at, content) = (offset, vec![fill; length as usize]);
        while at < end {
            let (number, within) = (at / BLOCK, (at % BLOCK) as usize);
            let part = &content[(at - offset) as usize..][..((BLOCK - at % BLOCK).min(end - at)) as usize];
            let whole = within == 0 && part.len() == 4096;
            let piece = if whole { WritePiece::Whole(self.pool.holding(0, part)) } else { WritePiece::Part(part) };
            self.buffer.write_block(&self.pool, number, within, piece);
            at += part.len() as u64;
        }
        self.buffer.wrote(end, Some(time(self.clock)));
        self.bytes.resize(self.bytes.len().max(end as usize), 0);
        self.bytes[offset as usize..end as usize].copy_from_slice(&content);
        self.note();
    }

    fn truncate(&mut self, size: u64) {
        let from = size.min(self.bytes.len() as u64);
        let sequence = self.buffer.truncate(size, time(self.clock));
        self.bytes.resize(size as usize, 0);
        self.note();
        self.cut = Some((from, LIMIT, sequence));
        // Its rows go first: a cut and what is written after it must not change places.
        let ticket = self.buffer.ticket();
        self.post(ticket, Vec::new(), Vec::new());
    }

    /// Punches a hole, or makes zeros as far as they reach.
    fn clear(&mut self, from: u64, length: u64, extend: bool) {
        let to = (from + length).min(LIMIT);
        let sequence = self.buffer.clear(from, to, extend, time(self.clock));
        let size = self.bytes.len().max(if extend { to as usize } else { 0 });
        self.bytes.resize(size, 0);
        self.bytes[(from as usize).min(size)..(to as usize).min(size)].fill(0);
        self.note();
        self.cut = Some((from, to, sequence));
        let ticket = self.buffer.ticket();
        self.post(ticket, Vec::new(), Vec::new());
    }

    fn post(&mut self, ticket: Ticket, rows: Vec<(u64, Vec<u8>, u64)>, data: Vec<(u64, Vec<u8>, u64)>) {
        let settlement = self.buffer.settlement();
        self.posts.push_back(Post::Settle { ticket, settlement, rows, cut: self.cut.take(), data });
    }

    fn publish(&mut self) {
        let Some(post) = self.posts.pop_front() else { return };
        let ticket = self.published.apply(&post);
        self.buffer.settled(ticket);
        self.check_durable();
    }

    fn take(&mut self, blocks: u64) {
        let (ticket, runs) = self.buffer.take_for_placing(blocks * BLOCK);
        let mut parts = Vec::new();
        for run in runs {
            // A writer may have to split a run over two regions.
            let split = run.blocks.len().div_ceil(2);
            for (from, to) in [(0, split), (split, run.blocks.len())].into_iter().filter(|(from, to)| from < to) {
                let bytes: Vec<u8> = run.blocks[from..to].iter().flat_map(|block| *block.bytes()).collect();
                let row = self.row((to - from) as u8);
                let extent = PlacedExtent { offset: run.offset + from as u64 * BLOCK, row, sequences: run.sequences[from..to].to_vec() };
                parts.push((extent, bytes));
            }
        }
        if !parts.is_empty() {
            self.flights.push(Flight { ticket, parts });
        }
    }

    fn row(&mut self, clusters: u8) -> ExtentRow {
        self.cluster = (self.cluster + 1) % 900;
        extent_row(self.cluster, clusters)
    }

    /// One part of some flight is durable, or its region failed.
    fn land(&mut self, which: usize, fails: bool) {
        if self.flights.is_empty() {
            return;
        }
        let which = which % self.flights.len();
        let flight = &mut self.flights[which];
        let ticket = flight.ticket;
        if fails {
            self.flights.remove(which);
            return self.buffer.unplaced(ticket);
        }
        let (extent, bytes) = flight.parts.pop().unwrap();
        if flight.parts.is_empty() {
            self.flights.remove(which);
        }
        let settling = self.buffer.ticket();
        let rows = self.buffer.placed(ticket, std::slice::from_ref(&extent), settling);
        assert_eq!(rows.iter().filter(|(.., fresh)| *fresh).count(), usize::from(!rows.is_empty()), "one row is the first");
        let with_bytes = |(offset, row, _): &(u64, ExtentRow, bool)| {
            assert!(ExtentRow::decode(&row.encode()).is_ok());
            let from = (offset - extent.offset) as usize;
            assert_eq!(row.skip as usize, from);
            (*offset, bytes[from..from + row.length as usize].to_vec(), row.sequence)
        };
        let rows = rows.iter().map(with_bytes).collect();
        self.post(settling, rows, Vec::new());
    }

    fn sync(&mut self) {
        let ticket = self.buffer.ticket();
        let data = self.buffer.take_for_log(u64::MAX);
        let blocks = |run: &Run| {
            (0..)
                .zip(&run.blocks)
                .zip(&run.sequences)
                .map(|((n, b), s)| (run.offset / BLOCK + n, b.bytes().to_vec(), *s))
                .collect::<Vec<_>>()
        };
        let data = data.iter().flat_map(blocks).collect();
        self.post(ticket, Vec::new(), data);
        assert_eq!(self.buffer.volatile_bytes(), 0);
        assert!(self.buffer.is_safe_up_to(self.version()));
        let mut after = self.published.clone();
        self.posts.iter().for_each(|post| {
            after.apply(post);
        });
        assert_eq!(after.content(), self.bytes, "what was synced is there after a power cut");
    }

    /// After a power cut each byte is what it once was while the file was being written, and BUF-4: none is missing under the size.
    fn check_durable(&self) {
        let content = self.published.content();
        for (n, byte) in content.iter().enumerate().step_by(512) {
            assert!(self.history[n / 512].iter().any(|(_, was)| was == byte), "byte {n} was never {byte}");
        }
    }

    fn check(&self) {
        assert_eq!(self.buffer.live().size as usize, self.bytes.len());
        assert_eq!(self.read(), self.bytes, "a reader sees every change");
        if self.buffer.is_settled() {
            let mut after = self.published.clone();
            self.posts.iter().for_each(|post| {
                after.apply(post);
            });
            assert_eq!((after.row.size, after.row.version), (self.bytes.len() as u64, self.version()));
            let extents = after.content_unlogged();
            assert_eq!(&extents[..self.bytes.len()], &self.bytes, "settled means placed");
        }
        assert_eq!(
            self.buffer.is_shown_by(&self.published.row) && self.posts.is_empty(),
            self.buffer.is_settled() && self.posts.is_empty()
        );
    }

    /// Power goes: the log gives its data back.
    fn crash(&mut self) {
        self.check_durable();
        let mut buffer = FileBuffer::new(&self.published.row);
        for (number, (sequence, bytes)) in &self.published.logged {
            buffer.restore(*number, self.pool.holding(0, bytes), *sequence);
        }
        self.buffer = buffer;
        self.flights.clear();
        self.posts.clear();
        self.cut = None;
        self.bytes = self.published.content();
        // Bytes behind the end are cut by the mount before the file can grow again.
        let size = self.bytes.len();
        self.published.placed[size..].fill(0);
        self.buffer.blocks.cut((size as u64).div_ceil(BLOCK), u64::MAX);
        self.published.logged.retain(|number, _| number * BLOCK < size as u64);
        self.note();
    }
}

impl Durable {
    fn content_unlogged(&self) -> Vec<u8> {
        self.placed.clone()
    }
}

/// A raw extent of so many whole clusters.
fn extent_row(cluster: usize, clusters: u8) -> ExtentRow {
    let region = RegionId { place: Place(0), generation: Generation(1) };
    let bytes = u32::from(clusters) * 4096;
    ExtentRow {
        first: Address { region, cluster: Cluster::new(cluster).unwrap() },
        clusters,
        codec: Codec::Raw,
        stored_bytes: bytes,
        decoded_bytes: bytes,
        skip: 0,
        length: bytes,
        sequence: 0,
        birth: Generation(1),
        crcs_from: 0,
        crcs: vec![0; usize::from(clusters)],
    }
}

fn step(world: &mut World, op: u8, r: u64) {
    world.clock += 1;
    let offset = r % LIMIT;
    match op {
        0 | 1 => world.write(offset / BLOCK * BLOCK, (1 + (r >> 20) % 4) * BLOCK),
        2 | 3 => world.write(offset, 1 + (r >> 20) % 9000),
        4 => world.truncate(offset),
        5 => world.truncate((r >> 20) % 4 * BLOCK),
        6..=8 => world.take(1 + (r >> 20) % 6),
        9..=12 => world.land(r as usize, r >> 60 == 0),
        13 | 14 => world.publish(),
        15 => world.sync(),
        16 => {
            world.buffer.set_times(None, Some(time(r % 100)), time(world.clock));
            let ticket = world.buffer.ticket();
            world.post(ticket, Vec::new(), Vec::new());
        }
        17 => world.clear(offset, 1 + (r >> 20) % 20_000, r >> 62 == 0),
        18 => world.clear(offset / BLOCK * BLOCK, (1 + (r >> 20) % 4) * BLOCK, false),
        _ => (0..9).for_each(|_| world.publish()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_is_lost_on_its_way_out(ops in proptest::collection::vec((0u8..20, any::<u64>()), 1..120), crash in any::<bool>()) {
        let mut world = World::new();
        for (n, (op, r)) in ops.iter().enumerate() {
            step(&mut world, *op, *r);
            world.check();
            if crash && n % 50 == 49 {
                world.crash();
                world.check();
            }
        }
        // In the end everything is placed and shown by its row.
        for _ in 0..200 {
            world.take(BLOCKS);
            world.land(0, false);
            world.publish();
        }
        let ticket = world.buffer.ticket();
        world.post(ticket, Vec::new(), Vec::new());
        while !world.posts.is_empty() {
            world.publish();
        }
        world.check();
        assert!(world.buffer.is_settled() && world.buffer.is_shown_by(&world.published.row));
        assert_eq!(world.published.content(), world.bytes);
    }
}

fn write(buffer: &mut FileBuffer, pool: &BlockPool, number: u64, byte: u8) {
    buffer.write_block(pool, number, 0, WritePiece::Whole(pool.holding(0, &[byte; 4096])));
    buffer.wrote((number + 1) * BLOCK, None);
}

#[test]
fn a_settlement_holds_the_size_back_until_the_bytes_below_it_are_durable() {
    let (pool, mut buffer) = (BlockPool::new(1), FileBuffer::new(&new_row()));
    write(&mut buffer, &pool, 0, 1);
    write(&mut buffer, &pool, 1, 2);
    let held = buffer.settlement();
    assert_eq!((held.size, held.version), (0, 0), "the row stays below the live row");
    assert!(!buffer.is_settled());
    buffer.take_for_log(u64::MAX);
    let settlement = buffer.settlement();
    assert_eq!((settlement.size, settlement.version), (8192, 2));
}

#[test]
fn what_a_posted_row_claims_is_not_logged_as_well() {
    let mut world = World::new();
    world.write(0, 4 * BLOCK);
    world.take(2);
    world.land(0, false);
    assert_eq!(world.buffer.volatile_bytes(), 3 * BLOCK, "half of a flight has landed");
    let logged: u64 = world.buffer.take_for_log(u64::MAX).iter().map(Run::bytes).sum();
    assert_eq!(logged, 3 * BLOCK);
}

#[test]
fn old_content_that_was_cut_meanwhile_does_not_come_back() {
    let pool = BlockPool::new(1);
    let mut buffer = FileBuffer::new(&InodeRow { size: 3 * BLOCK, ..new_row() });
    assert_eq!(buffer.missing_for(5000, 10), [1]);
    buffer.truncate(4100, time(1));
    buffer.fill(2, pool.holding(0, &[7; 4096]));
    buffer.fill(1, pool.holding(0, &[7; 4096]));
    assert!(buffer.block(2).is_none());
    assert_eq!(buffer.block(1).unwrap().bytes()[..5], [7, 7, 7, 7, 0]);
}

#[test]
fn only_content_that_fits_goes_inline() {
    let (pool, mut buffer) = (BlockPool::new(1), FileBuffer::new(&new_row()));
    buffer.write_block(&pool, 0, 0, WritePiece::Part(&[7; 2048]));
    buffer.wrote(2048, None);
    let ticket = buffer.ticket();
    assert_eq!(buffer.take_inline(ticket).unwrap(), [7; 2048]);
    assert_eq!((buffer.settlement().size, buffer.settled(ticket)), (2048, 1));
    buffer.write_block(&pool, 0, 0, WritePiece::Part(&[7; 2049]));
    buffer.wrote(2049, None);
    assert!(buffer.take_inline(ticket).is_none());
}

#[test]
fn a_write_after_the_inline_form_was_taken_is_not_let_go() {
    let (pool, mut buffer) = (BlockPool::new(1), FileBuffer::new(&new_row()));
    buffer.write_block(&pool, 0, 0, WritePiece::Part(b"old"));
    buffer.wrote(3, None);
    let ticket = buffer.ticket();
    assert_eq!(buffer.take_inline(ticket).unwrap(), b"old");
    buffer.write_block(&pool, 0, 0, WritePiece::Part(b"new"));
    buffer.wrote(3, None);
    assert_eq!(buffer.settled(ticket), 0);
    assert_eq!(&buffer.block(0).unwrap().bytes()[..3], b"new");
}

#[test]
fn older_bytes_of_the_log_do_not_replace_newer_ones() {
    let (pool, mut buffer) = (BlockPool::new(1), FileBuffer::new(&new_row()));
    buffer.restore(0, pool.holding(0, b"newer"), 9);
    buffer.restore(0, pool.holding(0, b"older"), 8);
    assert_eq!((&buffer.block(0).unwrap().bytes()[..5], buffer.live().version), (&b"newer"[..], 9));
}

#[test]
fn what_was_refused_is_said_again() {
    let (pool, mut buffer) = (BlockPool::new(1), FileBuffer::new(&new_row()));
    for number in 0..3 {
        buffer.write_block(&pool, number, 0, WritePiece::Whole(pool.holding(0, &[7; 4096])));
    }
    buffer.wrote(3 * BLOCK, None);
    assert_eq!(buffer.take_for_log(2 * BLOCK).iter().map(super::Run::bytes).sum::<u64>(), 2 * BLOCK);
    assert_eq!((buffer.volatile_bytes(), buffer.settlement().size), (BLOCK, 2 * BLOCK));
    let ticket = buffer.ticket();
    buffer.refused(ticket);
    assert_eq!((buffer.volatile_bytes(), buffer.unplaced_bytes(), buffer.is_settled()), (3 * BLOCK, 3 * BLOCK, false));
    // The row never got the size that was refused: nothing may be said of it before the bytes are there again.
    assert_eq!((buffer.settlement().size, buffer.settlement().version), (0, 0));
    buffer.take_for_log(BLOCK);
    assert_eq!((buffer.settlement().size, buffer.settlement().version), (BLOCK, 0));
    buffer.take_for_log(2 * BLOCK);
    assert_eq!((buffer.settlement().size, buffer.settlement().version), (3 * BLOCK, 1));
}

#[test]
fn times_that_were_set_after_a_settlement_are_news_although_it_held_the_size_back() {
    let (pool, mut buffer) = (BlockPool::new(4), FileBuffer::new(&new_row()));
    write(&mut buffer, &pool, 0, 1);
    assert!(buffer.has_news());
    buffer.take_for_placing(u64::MAX);
    let held_back = buffer.settlement();
    assert!(held_back.size == 0 && buffer.has_more_to_say() && !buffer.has_news());
    buffer.set_times(None, Some(time(7)), time(8));
    assert!(buffer.has_news());
    assert!(buffer.settlement().modified == time(7) && !buffer.has_news());
}
