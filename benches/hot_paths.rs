//! What the hot paths cost inside the program, without kernel and disk: `cargo bench --bench hot_paths [part of a name]`.
//!
//! Every measurement checks the bytes that it made. A figure is the median of rounds; the ratio is to its base in the same round,
//! because machines are noisy: a plain copy of as many bytes, or the first files of the directory. `cargo test` runs one small round of
//! each, so that none can rot.

use infmap_actors::Volume;
use infmap_actors::api::{NewNode, Rename, RenameMode, WriteHow};
use infmap_actors::settings::Settings;
use infmap_storage::address::{Cluster, Generation, Place, RegionId};
use infmap_storage::blocks::{Block, BlockPool};
use infmap_storage::limits::{CLUSTER_BYTES, EXTENT_MAX_CLUSTERS, REGION_BYTES, REGION_CLUSTERS, UNIT_BYTES};
use infmap_storage::region::{Codec, IMAGE_MAX_BYTES, Identity, Owner, OwnerKind, ParityEncoder, RawRegion, RegionBuilder, RegionKind};
use infmap_storage::row::{FileKind, Inode, ROOT_INODE};
use infmap_storage::unit::{Compressor, looks_like_noise};
use std::hint::black_box;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// How much is done.
#[derive(Clone, Copy)]
struct Scale {
    rounds: usize,
    /// Of a full measurement, so much is done: 1 is all.
    share: usize,
}

/// What one round took, and what a copy of as many bytes took.
struct Round {
    work: Duration,
    copy: Duration,
    /// Bytes or operations.
    amount: usize,
}

type Measure = fn(Scale) -> Vec<Round>;

/// Name, unit of the amount, and how it is measured.
const MEASUREMENTS: [(&str, &str, Measure); 8] = [
    ("a region from blocks that the cache has", "B", region_from_hot_blocks),
    ("a region from blocks that memory has", "B", region_from_cold_blocks),
    ("seeing that noise does not compress", "B", noise_is_stored_raw),
    ("a file written in pieces of 1 MiB and synced", "B", stream),
    ("4 KiB written and synced", "op", small_syncs),
    ("a file created, renamed and removed", "op", names),
    ("the hundred-thousandth name of a directory", "op", full_directory),
    ("the hundred-thousandth file of a directory", "op", full_directory_of_bytes),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let full = arguments.iter().any(|argument| argument == "--bench");
    let scale = if full { Scale { rounds: 9, share: 1 } } else { Scale { rounds: 1, share: 32 } };
    let wanted = arguments.iter().find(|argument| !argument.starts_with("--"));
    for (name, unit, measure) in MEASUREMENTS {
        if wanted.is_none_or(|part| name.contains(part.as_str())) {
            println!("{}", line(name, unit, &measure(scale)));
        }
    }
}

fn line(name: &str, unit: &str, rounds: &[Round]) -> String {
    let each = median(rounds.iter().map(|round| round.work.as_secs_f64() / round.amount as f64));
    let rate = if unit == "B" { format!("{:8.0} MiB/s", 1.0 / each / MIB as f64) } else { format!("{:8.2} us each", each * 1e6) };
    let copies = rounds.iter().filter(|round| !round.copy.is_zero());
    let ratio = median(copies.map(|round| round.work.as_secs_f64() / round.copy.as_secs_f64()));
    let compared = if ratio.is_nan() { String::new() } else { format!("{ratio:6.1} times its base") };
    format!("{name:50} {rate} {compared}")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = black_box(work());
    (done, start.elapsed())
}

/// SplitMix64 (Steele, Lea, Flood 2014), as bytes.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let word = |n: u64| {
        let mut bits = (seed << 32 | n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)).to_le_bytes()
    };
    (0..length.div_ceil(8) as u64).flat_map(word).take(length).collect()
}

fn region_from_hot_blocks(scale: Scale) -> Vec<Round> {
    regions(scale, REGION_CLUSTERS)
}

fn region_from_cold_blocks(scale: Scale) -> Vec<Round> {
    regions(scale, 64 * REGION_CLUSTERS / scale.share.min(16))
}

/// Builds images, taking turns with so many blocks.
fn regions(scale: Scale, blocks: usize) -> Vec<Round> {
    let pool = BlockPool::new(0);
    let content = noise(1, REGION_BYTES);
    let blocks: Vec<Block> =
        (0..blocks).map(|n| pool.holding(0, &content[n % REGION_CLUSTERS * CLUSTER_BYTES..][..CLUSTER_BYTES])).collect();
    let mut encoder = ParityEncoder::new();
    let mut buffer = vec![0u8; IMAGE_MAX_BYTES];
    let region = RegionId { place: Place(0), generation: Generation(1) };
    let identity = Identity { volume: [7; 16], region, kind: RegionKind::Data };
    let mut copy_to = vec![0u8; REGION_BYTES];
    let mut round = |n: usize| {
        let first = n * REGION_CLUSTERS % blocks.len();
        let taken = &blocks[first..first + REGION_CLUSTERS];
        let ((), copy) =
            timed(|| copy_to.chunks_exact_mut(CLUSTER_BYTES).zip(taken).for_each(|(to, block)| to.copy_from_slice(block.bytes())));
        let (sealed, work) = timed(|| {
            let mut builder = RegionBuilder::new(&mut buffer[..], identity).unwrap();
            for (n, run) in taken.chunks(EXTENT_MAX_CLUSTERS).enumerate() {
                let bytes = EXTENT_MAX_CLUSTERS * CLUSTER_BYTES;
                let (offset_bytes, decoded_bytes) = ((n * bytes) as u64, bytes as u32);
                let owner =
                    Owner { kind: OwnerKind::Extent, codec: Codec::Raw, inode: 9, offset_bytes, decoded_bytes, sequence: 1, home: None };
                let pieces: Vec<&[u8]> = run.iter().map(|block| &block.bytes()[..]).collect();
                builder.place(owner, &pieces).unwrap();
            }
            builder.finish(&mut encoder)
        });
        assert_eq!(copy_to, content);
        let found = RawRegion::new(sealed.bytes()).verify(Some(&identity)).unwrap();
        for (number, bytes) in content.chunks_exact(CLUSTER_BYTES).enumerate() {
            let mut stored = [0; CLUSTER_BYTES];
            found.cluster(Cluster::new(number).unwrap()).unwrap().copy_to(&mut stored);
            assert!(stored == bytes, "cluster {number}");
        }
        Round { work, copy, amount: REGION_BYTES }
    };
    (0..scale.rounds * 16 / scale.share.min(16)).map(&mut round).collect()
}

fn noise_is_stored_raw(scale: Scale) -> Vec<Round> {
    let units = 1024 / scale.share;
    let content = noise(2, units * UNIT_BYTES);
    let mut copy_to = vec![0u8; UNIT_BYTES];
    let pool = BlockPool::new(0);
    let blocks: Vec<Block> = content.chunks(CLUSTER_BYTES).map(|block| pool.holding(0, block)).collect();
    let mut compressor = Compressor::default();
    let mut round = |_| {
        let ((), copy) = timed(|| content.chunks(UNIT_BYTES).for_each(|unit| copy_to.copy_from_slice(unit)));
        let mut tried = |unit: &[Block]| !looks_like_noise(unit) && compressor.compress_blocks(unit).is_some();
        let (pays, work) = timed(|| blocks.chunks(UNIT_BYTES / CLUSTER_BYTES).filter(|unit| tried(unit)).count());
        assert_eq!(pays, 0);
        Round { work, copy, amount: content.len() }
    };
    (0..scale.rounds).map(&mut round).collect()
}

fn volume() -> Volume {
    Volume::in_memory(Settings::default()).unwrap()
}

fn create(volume: &Volume, name: &str) -> Inode {
    let mode = FileKind::Regular.mode_bits() | 0o644;
    let node = NewNode { parent: ROOT_INODE, name: name.into(), mode, uid: 0, gid: 0, rdev: 0, umask: 0 };
    volume.ask(|replier| volume.create(node, replier)).wait_blocking().unwrap().inode
}

fn stream(scale: Scale) -> Vec<Round> {
    let pieces = 256 / scale.share;
    let content = noise(3, MIB);
    let mut copy_to = vec![0u8; pieces * MIB];
    let mut round = |_| {
        let volume = volume();
        let file = create(&volume, "stream");
        let ((), copy) = timed(|| copy_to.chunks_exact_mut(MIB).for_each(|to| to.copy_from_slice(&content)));
        let write = |n: usize| volume.ask(|replier| volume.write(file, (n * MIB) as u64, &content, WriteHow::default(), replier));
        let ((), work) = timed(|| {
            (0..pieces).for_each(|n| assert_eq!(write(n).wait_blocking(), Ok(MIB as u32)));
            volume.ask(|replier| volume.sync(file, false, replier)).wait_blocking().unwrap();
        });
        for n in 0..pieces {
            let read = volume.ask(|replier| volume.read(file, (n * MIB) as u64, MIB as u32, replier));
            assert_eq!(read.wait_blocking().unwrap().to_vec(), content);
        }
        volume.close().unwrap();
        Round { work, copy, amount: pieces * MIB }
    };
    (0..scale.rounds).map(&mut round).collect()
}

fn small_syncs(scale: Scale) -> Vec<Round> {
    let volume = volume();
    let file = create(&volume, "small");
    let content = noise(4, CLUSTER_BYTES);
    let count = 2000 / scale.share;
    let mut round = |_| {
        let ((), work) = timed(|| {
            for n in 0..count {
                let at = (n * CLUSTER_BYTES) as u64;
                volume.ask(|replier| volume.write(file, at, &content, WriteHow::default(), replier)).wait_blocking().unwrap();
                volume.ask(|replier| volume.sync(file, false, replier)).wait_blocking().unwrap();
            }
        });
        let last = volume.ask(|replier| volume.read(file, ((count - 1) * CLUSTER_BYTES) as u64, CLUSTER_BYTES as u32, replier));
        assert_eq!(last.wait_blocking().unwrap().to_vec(), content);
        Round { work, copy: Duration::ZERO, amount: count }
    };
    let rounds = (0..scale.rounds).map(&mut round).collect();
    volume.close().unwrap();
    rounds
}

fn names(scale: Scale) -> Vec<Round> {
    let volume = volume();
    let count = 10_000 / scale.share;
    let moved = |n: usize| Rename {
        parent: ROOT_INODE,
        name: format!("before-{n}").into(),
        new_parent: ROOT_INODE,
        new_name: format!("after-{n}").into(),
        mode: RenameMode::Replace,
    };
    let mut round = |_| {
        let ((), work) = timed(|| {
            for n in 0..count {
                create(&volume, &format!("before-{n}"));
            }
            (0..count).for_each(|n| volume.ask(|replier| volume.rename(moved(n), replier)).wait_blocking().unwrap());
            for n in 0..count {
                let name = format!("after-{n}").into_bytes();
                volume.ask(|replier| volume.unlink(ROOT_INODE, name, replier)).wait_blocking().unwrap();
            }
        });
        let left = volume.ask(|replier| volume.read_dir(ROOT_INODE, 2, 10, false, replier)).wait_blocking().unwrap();
        assert!(left.is_empty());
        Round { work, copy: Duration::ZERO, amount: 3 * count }
    };
    let rounds = (0..scale.rounds).map(&mut round).collect();
    volume.close().unwrap();
    rounds
}

fn full_directory(scale: Scale) -> Vec<Round> {
    filled(scale, false)
}

fn full_directory_of_bytes(scale: Scale) -> Vec<Round> {
    filled(scale, true)
}

/// The last tenth of the files of a directory; the first tenth stands in the place of the copy.
fn filled(scale: Scale, with_bytes: bool) -> Vec<Round> {
    let count = 100_000 / scale.share;
    let make = |volume: &Volume, numbers: std::ops::Range<usize>| {
        for n in numbers {
            let file = create(volume, &format!("file-{n:07}"));
            if with_bytes {
                let content = format!("{n}\n").into_bytes();
                volume.ask(|replier| volume.write(file, 0, &content, WriteHow::default(), replier)).wait_blocking().unwrap();
            }
        }
    };
    let mut round = |_| {
        let volume = volume();
        let tenth = count / 10;
        let ((), first) = timed(|| make(&volume, 0..tenth));
        make(&volume, tenth..count - tenth);
        let ((), last) = timed(|| make(&volume, count - tenth..count));
        let found = volume.ask(|replier| volume.read_dir(ROOT_INODE, 2, count + 1, true, replier)).wait_blocking().unwrap();
        assert_eq!(found.len(), count);
        volume.close().unwrap();
        Round { work: last, copy: first, amount: tenth }
    };
    (0..scale.rounds.min(3)).map(&mut round).collect()
}
