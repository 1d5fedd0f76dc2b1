//! The table of keys: the one place that says which settings there are, what they take, and what they are for.
//!
//! Owns: [`KEYS`]. Must be true: CFG-1 parsing, `config show` and the tests of `config/*.yaml` read this table and no other
//! list; each key's path is its place in the file; CFG-4 setting a key to what `get` says changes nothing.
//! Fails: never; a path that is not in the table is `None`.

use super::value::{Kind, Value};
use infmap_actors::settings::{self as s, Atime, Compression, Damaged, FuseOpen, LogFormat, LogLevel, Prefetch, Preset, Settings, Sync};
use std::time::Duration;

/// When a change of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// At once, when the daemon reads its configuration again.
    Live,
    /// At the next mount.
    Remount,
    /// Never: it says how the file or the volume is written.
    Format,
}

impl Class {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Remount => "remount",
            Self::Format => "format",
        }
    }
}

/// One setting.
pub struct Key {
    /// Dotted path: `memory.budget`.
    pub path: &'static str,
    pub kind: Kind,
    pub class: Class,
    /// One sentence: what it does.
    pub doc: &'static str,
    pub get: fn(&Settings) -> Value,
    pub set: fn(&mut Settings, Value),
}

impl Key {
    /// The value in these settings, as one writes it.
    #[must_use]
    pub fn show(&self, settings: &Settings) -> String {
        self.kind.show((self.get)(settings))
    }
}

/// The row of a key that holds a number of type `$type`.
macro_rules! number {
    ($path:literal, $kind:expr, $doc:literal, $($field:ident).+ as $type:ty) => {
        Key {
            path: $path,
            kind: $kind,
            class: Class::Remount,
            doc: $doc,
            get: |s| Value::Number(s.$($field).+ as u64),
            // Every range of the table ends far below what a usize holds.
            set: |s, v| s.$($field).+ = v.number() as $type,
        }
    };
}

/// The row of a key that holds one of a few words.
macro_rules! word {
    ($path:literal, $type:ident, $doc:literal, $($field:ident).+) => {
        Key {
            path: $path,
            kind: Kind::Choice($type::NAMES),
            class: Class::Remount,
            doc: $doc,
            get: |s| Value::Choice(s.$($field).+ as usize),
            set: |s, v| {
                if let Value::Choice(position) = v && let Some(choice) = $type::ALL.get(position) {
                    s.$($field).+ = *choice;
                }
            },
        }
    };
}

/// The row of a switch.
macro_rules! switch {
    ($path:literal, $doc:literal, $($field:ident).+) => {
        Key {
            path: $path,
            kind: Kind::Switch,
            class: Class::Remount,
            doc: $doc,
            get: |s| Value::Switch(s.$($field).+),
            set: |s, v| s.$($field).+ = v == Value::Switch(true),
        }
    };
}

/// The row of a key that takes effect while a volume is mounted.
macro_rules! live {
    ($key:expr) => {
        Key { class: Class::Live, ..$key }
    };
}

const MAILBOX: Kind = Kind::Count { range: s::MAILBOX_RANGE, unit: "messages" };
const POOL: Kind = Kind::Count { range: s::POOL_THREADS_RANGE, unit: "threads" };
const WRITERS: Kind = Kind::Count { range: s::WRITER_THREADS_RANGE, unit: "threads" };
const PASSES: Kind = Kind::Count { range: s::PASSES_RANGE, unit: "messages" };
const DEADLINE: Kind = Kind::Duration { range: s::DEADLINE_RANGE_MS };
const FUSE_THREADS: Kind = Kind::Count { range: s::FUSE_THREADS_RANGE, unit: "threads" };
const FUSE_SPIN: Kind = Kind::Count { range: s::FUSE_SPIN_US_RANGE, unit: "us" };

/// All keys, in the order in which `config show` prints them.
pub static KEYS: &[Key] = &[
    Key {
        path: "version",
        kind: Kind::Count { range: 1..=1, unit: "version" },
        class: Class::Format,
        doc: "Version of this file's layout.",
        get: |_| Value::Number(1),
        set: |_, _| {},
    },
    live!(word!("preset", Preset, "The whole configuration that this one begins with.", preset)),
    live!(switch!("config.watch", "Whether a mount reads its files of settings again when one has changed.", config.watch)),
    live!(number!(
        "memory.budget",
        Kind::Size { range: s::BUDGET_RANGE },
        "Memory for everything: buffers, caches, tables, messages.",
        memory.budget as u64
    )),
    switch!("memory.ready", "Whether a mount touches the memory that writes will need.", memory.ready),
    live!(number!("actors.cache.threads", POOL, "Threads that take writes over and keep the caches.", actors.cache.threads as usize)),
    live!(number!("actors.cache.mailbox", MAILBOX, "Requests that wait for one part of the cache.", actors.cache.mailbox as usize)),
    live!(number!(
        "actors.pixel_writer.threads",
        WRITERS,
        "Threads that draw, protect and write images.",
        actors.pixel_writer.threads as usize
    )),
    live!(number!("actors.pixel_writer.mailbox", MAILBOX, "Requests that wait for one open image.", actors.pixel_writer.mailbox as usize)),
    live!(number!("actors.pixel_reader.threads", POOL, "Threads that read and verify images.", actors.pixel_reader.threads as usize)),
    live!(number!("actors.pixel_reader.mailbox", MAILBOX, "Requests that wait for one reader.", actors.pixel_reader.mailbox as usize)),
    live!(number!(
        "actors.cleaner.io_share",
        Kind::Percent { range: s::SHARE_RANGE },
        "Share of the time in which mostly dead images are cleaned while nobody waits for room.",
        actors.cleaner.io_share_percent as u64
    )),
    live!(number!(
        "actors.cleaner.start_at_dead",
        Kind::Percent { range: s::DEAD_RANGE },
        "Share of all images that must be dead for cleaning to begin by itself.",
        actors.cleaner.start_at_dead_percent as u64
    )),
    live!(number!(
        "actors.scanner.io_limit",
        Kind::Rate { range: s::SCAN_RATE_RANGE },
        "How fast images are verified that nobody waits for.",
        actors.scanner.io_limit as u64
    )),
    live!(number!(
        "actors.scanner.io_share",
        Kind::Percent { range: s::SHARE_RANGE },
        "Share of the time in which images are verified while somebody reads.",
        actors.scanner.io_share_percent as u64
    )),
    live!(number!("actors.vat.mailbox", MAILBOX, "Changes of names and tables that wait.", actors.vat_mailbox as usize)),
    live!(number!("actors.wal.mailbox", MAILBOX, "Syncs that wait for the log.", actors.wal_mailbox as usize)),
    live!(number!(
        "actors.lanes.data.passes",
        PASSES,
        "Urgent messages that go before a report of what was placed.",
        actors.lanes.data.passes as usize
    )),
    live!(number!("actors.lanes.data.deadline", DEADLINE, "How long urgent messages go before it.", actors.lanes.data.deadline_ms as u64)),
    live!(number!(
        "actors.lanes.write_behind.passes",
        PASSES,
        "Messages that go before writing behind and commits.",
        actors.lanes.write_behind.passes as usize
    )),
    live!(number!(
        "actors.lanes.write_behind.deadline",
        DEADLINE,
        "How long others go before them.",
        actors.lanes.write_behind.deadline_ms as u64
    )),
    live!(number!(
        "actors.lanes.background.passes",
        PASSES,
        "Messages that go before read-ahead, scanner and cleaner.",
        actors.lanes.background.passes as usize
    )),
    live!(number!(
        "actors.lanes.background.deadline",
        DEADLINE,
        "How long others go before those.",
        actors.lanes.background.deadline_ms as u64
    )),
    live!(number!(
        "cache.l1",
        Kind::Percent { range: s::L1_RANGE },
        "Share of the flexible memory for decoded data.",
        cache.l1_percent as u64
    )),
    live!(number!(
        "cache.l2",
        Kind::Percent { range: s::L2_RANGE },
        "Share of the flexible memory for compressed data.",
        cache.l2_percent as u64
    )),
    live!(word!("cache.prefetch", Prefetch, "Whether sequential readers are read ahead for.", cache.prefetch)),
    live!(word!("compression", Compression, "When file data is compressed.", compression)),
    word!("durability.sync", Sync, "What an acknowledged sync means.", durability.sync),
    Key {
        path: "durability.commit_interval",
        kind: Kind::Duration { range: s::COMMIT_INTERVAL_RANGE_MS },
        class: Class::Live,
        doc: "Time between ordered commits: what a power cut can take of unsynced work.",
        get: |s| Value::Number(u64::try_from(s.durability.commit_interval.as_millis()).unwrap_or(u64::MAX)),
        set: |s, v| s.durability.commit_interval = Duration::from_millis(v.number()),
    },
    live!(number!(
        "durability.checkpoint_at",
        Kind::Size { range: s::CHECKPOINT_AT_RANGE },
        "Bytes of log that start a checkpoint.",
        durability.checkpoint_at as u64
    )),
    Key {
        path: "integrity.scrub_every",
        kind: Kind::DurationOrNever { range: s::SCRUB_EVERY_RANGE_MS },
        class: Class::Live,
        doc: "Time from the end of one scrub of a mounted volume to the beginning of the next.",
        get: |s| {
            let ms = |every: Duration| Value::Number(u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
            s.integrity.scrub_every.map_or(Value::Nothing, ms)
        },
        set: |s, v| s.integrity.scrub_every = if let Value::Number(ms) = v { Some(Duration::from_millis(ms)) } else { None },
    },
    number!("mount.fuse_threads", FUSE_THREADS, "Threads that take requests from the kernel.", mount.fuse_threads as usize),
    number!("mount.fuse_spin_us", FUSE_SPIN, "How long the thread looks for the next request before it sleeps.", mount.fuse_spin_us as u64),
    word!("mount.fuse_open", FuseOpen, "Who tracks open files; only daemon in this version.", mount.fuse_open),
    word!("mount.atime", Atime, "Which readings change the access time of what is read.", mount.atime),
    switch!("mount.writeback", "Whether the kernel gathers small writes before it sends them.", mount.writeback),
    switch!("mount.allow_other", "Whether other users may enter, under the usual permission checks.", mount.allow_other),
    word!("mount.damaged", Damaged, "What is read where bytes are lost; zero makes the mount read-only.", mount.damaged),
    Key {
        path: "limit",
        kind: Kind::SizeOrNone { range: s::LIMIT_RANGE },
        class: Class::Remount,
        doc: "Bytes that the images of the volume may take on the disk.",
        get: |s| s.limit.map_or(Value::Nothing, Value::Number),
        set: |s, v| s.limit = if let Value::Number(bytes) = v { Some(bytes) } else { None },
    },
    Key {
        path: "http.listen",
        kind: Kind::Address,
        class: Class::Remount,
        doc: "Where metrics and health are asked for by HTTP.",
        get: |s| s.http.listen.map_or(Value::Nothing, Value::Address),
        set: |s, v| s.http.listen = if let Value::Address(address) = v { Some(address) } else { None },
    },
    live!(word!("log.level", LogLevel, "The least important message that is logged.", log.level)),
    live!(word!("log.format", LogFormat, "How a message is written.", log.format)),
    switch!("log.access", "Whether each request of the kernel is noted in run/access.log of the volume.", log.access),
    number!(
        "log.access_limit",
        Kind::Size { range: s::ACCESS_LIMIT_RANGE },
        "Bytes at which that file is begun anew; the one before is kept.",
        log.access_limit as u64
    ),
];

/// The key of a path.
#[must_use]
pub fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The names that may stand directly below a section (`""` is the whole file), each once.
#[must_use]
pub fn names_below(section: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for key in KEYS {
        let rest = match section {
            "" => Some(key.path),
            _ => key.path.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')),
        };
        let name = rest.and_then(|rest| rest.split('.').next());
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_a_key_to_its_value_changes_nothing() {
        let defaults = Settings::default();
        for key in KEYS {
            let mut settings = defaults.clone();
            (key.set)(&mut settings, (key.get)(&defaults));
            assert_eq!(settings, defaults, "{}", key.path);
            assert_eq!(key.kind.parse(&key.show(&defaults), false), Ok((key.get)(&defaults)), "{}", key.path);
        }
    }

    #[test]
    fn setting_one_key_changes_that_key_alone() {
        let defaults = Settings::default();
        for key in KEYS {
            let candidates =
                ["2", "3", "65MiB", "64MiB", "65MiB/s", "7s", "9d", "never", "31%", "true", "false", "off", "[::1]:9"].into_iter();
            let words = if let Kind::Choice(words) = key.kind { words } else { &[] };
            for value in candidates.chain(words.iter().copied()).filter_map(|text| key.kind.parse(text, false).ok()) {
                let mut settings = defaults.clone();
                (key.set)(&mut settings, value);
                assert_eq!((key.get)(&settings), value, "{}", key.path);
                (key.set)(&mut settings, (key.get)(&defaults));
                assert_eq!(settings, defaults, "{}", key.path);
            }
        }
    }

    #[test]
    fn every_path_stands_once_and_none_is_inside_another() {
        for (position, key) in KEYS.iter().enumerate() {
            for other in &KEYS[position + 1..] {
                assert_ne!(key.path, other.path);
                assert!(!other.path.starts_with(&format!("{}.", key.path)), "{} is a key and a section", key.path);
            }
        }
    }

    #[test]
    fn the_names_below_a_section_are_its_own() {
        assert_eq!(names_below("actors.cache"), ["threads", "mailbox"]);
        assert_eq!(names_below("memory.budget"), Vec::<&str>::new());
        assert!(names_below("").contains(&"compression"));
    }
}
