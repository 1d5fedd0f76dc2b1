//! What is done to a volume: a script that touches every mechanism once, and endless variations by seed.
//!
//! Owns: `Op`, `script`, `Random`, `generate`. Must be true: the same seed gives the same operations. Fails: never; an operation that
//! makes no sense at its time is passed over by whoever carries it out.

/// A name: a directory (0 is the root), and a name in it.
pub type Path = (u8, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Create(Path),
    Mkdir(u8),
    Rmdir(u8),
    /// At this offset so many bytes; compressible or not.
    Write(Path, u64, usize, bool),
    Append(Path, usize),
    /// Every other block, so many: as many extents.
    Scatter(Path, u64),
    Truncate(Path, u64),
    /// From this offset so many bytes become a hole.
    Punch(Path, u64, u64),
    /// They become zeros; the bool: the size stays.
    Zero(Path, u64, u64, bool),
    Rename(Path, Path),
    /// The two files have each other's name.
    Exchange(Path, Path),
    /// The bool: somebody uses it.
    Unlink(Path, bool),
    /// Nobody uses unlinked files any more.
    Forget,
    Link(Path, Path),
    Symlink(Path),
    /// The attribute of this number, so many bytes.
    SetXattr(Path, u8, usize),
    RemoveXattr(Path, u8),
    /// In this directory, from this name on so many: those that are there are removed and the others made, all or none.
    Batch(u8, u8, u8),
    /// What an editor does: a new file, written, renamed over the old one.
    Save(Path, usize),
    /// These four: wait for the answer before going on.
    Fsync(Path, bool),
    SyncAll(bool),
    Checkpoint(bool),
    /// A round of cleaning.
    Clean(bool),
    Read(Path),
    /// A bit flips in so many rows of every image, from the first on.
    Rot(usize),
    /// All images are verified, and what is damaged is put back.
    Scrub,
    Seconds(u64),
    Turns(usize),
    Idle,
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }
}

/// One run through everything: about a hundred operations, a few hundred writes of the device.
pub fn script() -> Vec<Op> {
    use Op::*;
    let (a, b, c, d, e) = ((0, 0), (0, 1), (0, 2), (1, 3), (1, 4));
    vec![
        // Small files: inline, synced, overwritten, cut, grown out of the tree and back.
        Create(a),
        Write(a, 0, 300, true),
        Fsync(a, true),
        Write(a, 100, 50, true),
        Fsync(a, true),
        Append(a, 3000),
        Fsync(a, true),
        Truncate(a, 900),
        Fsync(a, true),
        Write(a, 5000, 10, true),
        Checkpoint(true),
        Truncate(a, 0),
        Write(a, 0, 20, true),
        // Logged blocks, overwritten while they are placed.
        Create(b),
        Write(b, 0, 60_000, false),
        Fsync(b, true),
        Write(b, 8192, 4096, false),
        Checkpoint(false),
        Turns(30),
        Write(b, 12_288, 9000, false),
        Fsync(b, false),
        Write(b, 4000, 200, false),
        Turns(60),
        Write(b, 0, 8192, true),
        SyncAll(true),
        Read(b),
        Truncate(b, 30_001),
        Checkpoint(false),
        Turns(10),
        Write(b, 29_000, 500, true),
        Truncate(b, 70_000),
        Fsync(b, true),
        Idle,
        // Names.
        Mkdir(1),
        Create(d),
        Write(d, 0, 5000, true),
        Fsync(d, true),
        Link(d, e),
        Rename(a, (1, 0)),
        Symlink((1, 2)),
        SyncAll(true),
        Unlink(d, false),
        Save((1, 0), 7000),
        Save(b, 1000),
        Save(b, 12_000),
        Turns(5),
        Mkdir(2),
        Rmdir(2),
        SyncAll(false),
        // Regions are filled and sealed under pressure.
        Create(c),
        Write(c, 0, 900_000, false),
        Write(c, 900_000, 900_000, false),
        Write(c, 1_800_000, 700_000, false),
        Fsync(c, false),
        Write(c, 200_000, 300_000, true),
        Turns(200),
        Checkpoint(true),
        Read(c),
        Unlink(e, true),
        Write(c, 2_400_000, 4096, false),
        // Places die and are used again.
        Truncate(c, 4096),
        Checkpoint(true),
        Forget,
        Write(c, 4096, 400_000, false),
        Checkpoint(true),
        Checkpoint(true),
        Write(c, 0, 500_000, false),
        Seconds(11),
        Read(c),
        Unlink(c, false),
        Checkpoint(true),
        Create(c),
        Write(c, 0, 600_000, false),
        SyncAll(true),
        Checkpoint(true),
        // A file of many extents, cut in steps.
        Create(a),
        Scatter(a, 300),
        Checkpoint(true),
        Truncate(a, 1000),
        Turns(3),
        Truncate(a, 500_000),
        Fsync(a, false),
        Turns(40),
        Read(a),
        Scatter(a, 300),
        Checkpoint(true),
        Unlink(a, false),
        Turns(2),
        SyncAll(true),
        Seconds(6),
    ]
}

/// The next operation of an endless workload.
pub fn generate(random: &mut Random) -> Op {
    let mut path = || ((random.next() % 3) as u8, (random.next() % 5) as u8);
    let (at, other) = (path(), path());
    // Most of the time the same few files, so that things meet.
    let at = if random.below(3) > 0 { (0, at.1 % 3) } else { at };
    let size = match random.below(8) {
        0 => random.below(40),
        1 | 2 => random.below(2100),
        3 | 4 => random.below(9000),
        5 => random.below(20) * 4096,
        6 => random.below(100_000),
        _ => random.below(400_000),
    };
    let wait = random.below(3) > 0;
    match random.below(128) {
        0..8 => Op::Create(at),
        8..20 => Op::Save(at, size as usize % 60_000 + 1),
        20..38 => Op::Write(at, size, 1 + random.below(6000) as usize, wait),
        38..44 => Op::Write(at, size / 2, 1 + random.below(300_000) as usize, random.coin()),
        44..52 => Op::Write(at, random.below(6) * 4096, 4096 * (1 + random.below(3) as usize), random.coin()),
        52..58 => Op::Append(at, 1 + size as usize % 70_000),
        58..68 => Op::Truncate(at, size),
        68..74 => Op::Rename(at, other),
        74..79 => Op::Unlink(at, random.coin()),
        79 => Op::Forget,
        80..82 => Op::Link(at, other),
        82 => Op::Symlink(other),
        83 => Op::Mkdir(1 + random.below(2) as u8),
        84 => Op::Rmdir(1 + random.below(2) as u8),
        85 => Op::Scatter(at, 20 + random.below(400)),
        86..100 => Op::Fsync(at, wait),
        100..104 => Op::SyncAll(wait),
        104..109 => Op::Checkpoint(random.coin()),
        109..114 => Op::Read(at),
        114 => Op::Seconds(1 + random.below(12)),
        115..126 => Op::Turns(1 + random.below(60) as usize),
        _ => Op::Idle,
    }
}

/// The same with what came later: seeds of `generate` that once found something go on meaning what they meant.
pub fn generate_any(random: &mut Random) -> Op {
    let at = (random.below(2) as u8, random.below(4) as u8);
    let (from, length) = (random.below(100_000), 1 + random.below(60_000));
    match random.below(40) {
        0 => Op::Punch(at, from, length),
        1 => Op::Punch(at, from / 4096 * 4096, 4096 * (1 + random.below(6))),
        2 => Op::Zero(at, from, length, random.coin()),
        3 => Op::SetXattr(at, random.below(3) as u8, 1 + random.below(3000) as usize),
        4 => Op::RemoveXattr(at, random.below(3) as u8),
        5 => Op::Batch(at.0, random.below(4) as u8, 1 + random.below(5) as u8),
        6 => Op::Exchange(at, (random.below(3) as u8, random.below(4) as u8)),
        7 => Op::Clean(random.coin()),
        _ => generate(random),
    }
}
