//! The catalogue: every figure that a mount gives, once.
//!
//! Owns: [`all`], in parts by subject. Must be true: MET-1 a name stands here once, in base units, counters and only they end in `_total`;
//! MET-2 no label holds a path, an inode or a user: each has a number of values that does not grow with what is stored. Tests compare it
//! with the sources, with `docs/metrics.md` and with what a mount says. Fails: never.

mod actors;
mod door;
mod process;
mod stored;

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows, from zero at the mount.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Samples in buckets, of these upper bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The word that Prometheus has for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// What a figure is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Seconds,
    BytesPerSecond,
    /// From 0 to 1, or above.
    Ratio,
    /// A number of things, or no number at all.
    Number,
}

impl Unit {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
            Self::BytesPerSecond => "bytes per second",
            Self::Ratio => "ratio",
            Self::Number => "number",
        }
    }
}

/// Whether a name may be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Name, unit and labels stay; labels may get more values.
    Stable,
    /// It may change with any version.
    Experimental,
}

impl Stability {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Experimental => "experimental",
        }
    }
}

/// When a series of a metric is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// From the mount on.
    Always,
    /// Once it has happened.
    Happened,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub labels: &'static [&'static str],
    pub help: &'static str,
    pub stability: Stability,
    pub presence: Presence,
}

impl Metric {
    const fn of(kind: Kind, name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        let (stability, presence) = (Stability::Stable, Presence::Always);
        Self { name, kind, unit: Unit::Number, labels, help, stability, presence }
    }

    const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::of(Kind::Counter, name, labels, help)
    }

    const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::of(Kind::Gauge, name, labels, help)
    }

    /// A histogram has series once something was measured.
    const fn histogram(name: &'static str, bounds: &'static [f64], labels: &'static [&'static str], help: &'static str) -> Self {
        Self::of(Kind::Histogram(bounds), name, labels, help).happened()
    }

    const fn unit(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }

    const fn bytes(self) -> Self {
        self.unit(Unit::Bytes)
    }

    const fn seconds(self) -> Self {
        self.unit(Unit::Seconds)
    }

    const fn ratio(self) -> Self {
        self.unit(Unit::Ratio)
    }

    const fn experimental(self) -> Self {
        Self { stability: Stability::Experimental, ..self }
    }

    const fn happened(self) -> Self {
        Self { presence: Presence::Happened, ..self }
    }
}

/// Upper bounds, in seconds, of what somebody waits for: 10 us to 10 s.
const WAITED: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

/// Upper bounds, in seconds, of what takes its time: 1 ms to 100 s.
const WORKED: &[f64] = &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0];

/// Upper bounds, in bytes, of what is written at once: 4 KiB to 16 MiB.
const WRITTEN: &[f64] = &[4096.0, 16_384.0, 65_536.0, 262_144.0, 524_288.0, 1_048_576.0, 2_097_152.0, 4_194_304.0, 16_777_216.0];

/// Upper bounds of how many share something.
const CALLERS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// Every part: its heading, and its metrics.
#[must_use]
pub fn parts() -> [(&'static str, &'static [Metric]); 4] {
    [
        ("Requests of the kernel", door::METRICS),
        ("Actors and their mailboxes", actors::METRICS),
        ("What is stored", stored::METRICS),
        ("The mount and its process", process::METRICS),
    ]
}

/// Every metric.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    parts().into_iter().flat_map(|(_, metrics)| metrics)
}

/// The metric of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Metric> {
    all().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests;
