//! What a power cut leaves, decided: by a style, and by a seed.
//!
//! Owns: the generator of random numbers, and every choice between lost and kept. Must be true: FATE-1 the same style and seed give
//! the same answers to the same questions. Fails: never.

/// What happens to changes that were not synced when the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashStyle {
    /// All are lost.
    LoseAll,
    /// All had reached the medium by themselves.
    KeepAll,
    /// Names and sizes are kept, bytes are lost: files full of zeros or of old bytes.
    LoseData,
    /// Bytes are kept inside the old sizes; names and sizes are lost.
    LoseNames,
    /// Each is kept, lost, or torn at sectors, by this seed; so is the host's manner: a journal (the changes of a directory, and
    /// of a size, survive as a prefix) or none (as any subset).
    Random(u64),
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and good enough to choose.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `limit`, which is above 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }
}

/// Spreads every bit of a number over all others.
pub fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Which changes of one directory, or of one size, survive.
#[derive(Clone, Debug)]
pub struct Choice {
    /// How many more are kept, in a journal.
    prefix: Option<u64>,
}

/// Which sectors of one write survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    None,
    All,
    /// The first so many.
    Head(u64),
    /// All but the first so many.
    Tail(u64),
    /// Any.
    Any,
}

impl Tear {
    /// The runs of sectors that survive, of so many; none is empty.
    pub fn runs(self, sectors: u64, fate: &mut Fate) -> Vec<(u64, u64)> {
        match self {
            Tear::None | Tear::Head(0) => Vec::new(),
            Tear::Tail(count) if count == sectors => Vec::new(),
            Tear::All => vec![(0, sectors)],
            Tear::Head(count) => vec![(0, count)],
            Tear::Tail(count) => vec![(count, sectors)],
            Tear::Any => {
                let mut runs: Vec<(u64, u64)> = Vec::new();
                for sector in (0..sectors).filter(|_| fate.random.coin()) {
                    match runs.last_mut() {
                        Some((_, end)) if *end == sector => *end += 1,
                        _ => runs.push((sector, sector + 1)),
                    }
                }
                runs
            }
        }
    }
}

/// Answers, one after the other, what survives.
#[derive(Clone, Debug)]
pub struct Fate {
    style: CrashStyle,
    journal: bool,
    random: Random,
}

impl Fate {
    pub fn new(style: CrashStyle) -> Self {
        let seed = if let CrashStyle::Random(seed) = style { seed } else { 0 };
        let mut random = Random::new(mix(seed ^ 0x6661_7465));
        Self { style, journal: random.coin(), random }
    }

    /// Prepares the choice among `count` changes that have an order.
    pub fn choose(&mut self, count: usize) -> Choice {
        let prefix =
            if self.journal && matches!(self.style, CrashStyle::Random(_)) { Some(self.random.below(count as u64 + 1)) } else { None };
        Choice { prefix }
    }

    /// Whether the next change of a name or size survives.
    pub fn keeps(&mut self, choice: &mut Choice) -> bool {
        match (self.style, &mut choice.prefix) {
            (CrashStyle::LoseAll | CrashStyle::LoseNames, _) => false,
            (CrashStyle::KeepAll | CrashStyle::LoseData, _) => true,
            (CrashStyle::Random(_), Some(left)) => {
                let keeps = *left > 0;
                *left = left.saturating_sub(1);
                keeps
            }
            (CrashStyle::Random(_), None) => self.random.coin(),
        }
    }

    /// A number that tells this style and seed from others.
    pub fn fingerprint(&self) -> u64 {
        match self.style {
            CrashStyle::LoseAll => 2,
            CrashStyle::KeepAll => 3,
            CrashStyle::LoseData => 4,
            CrashStyle::LoseNames => 5,
            CrashStyle::Random(seed) => mix(seed ^ 6),
        }
    }

    /// What survives of a write of so many sectors.
    pub fn tear(&mut self, sectors: u64) -> Tear {
        match self.style {
            CrashStyle::LoseAll | CrashStyle::LoseData => Tear::None,
            CrashStyle::KeepAll | CrashStyle::LoseNames => Tear::All,
            CrashStyle::Random(_) => match self.random.below(6) {
                0 => Tear::None,
                1 | 2 => Tear::All,
                3 => Tear::Head(self.random.below(sectors + 1)),
                4 => Tear::Tail(self.random.below(sectors + 1)),
                _ => Tear::Any,
            },
        }
    }
}
