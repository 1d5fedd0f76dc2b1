//! What a check says: findings, each with the invariant that it breaks, and the sums of what was seen.
//!
//! Owns: `Finding`, `Severity`, `CheckReport`, the bounded list of findings. Must be true: every finding is counted, also those
//! beyond `findings_max`, which are not kept. Fails: never.

use crate::address::Generation;
use crate::damage::Damage;
use crate::wal::Lsn;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Info,
    /// Something is not as it should be, and no byte of a file is lost by it.
    Warning,
    /// Bytes or names are lost, or will be when the volume is used on.
    Damage,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// The name of the rule that is broken; see the head of `check.rs`.
    pub invariant: &'static str,
    /// Which file, image, inode or row.
    pub place: String,
    /// What is wrong, in a sentence.
    pub what: String,
    /// What to do about it.
    pub help: &'static str,
    /// `infmap repair` puts it right, and nothing is lost.
    pub repairable: bool,
}

/// What was seen. Bytes are bytes, clusters are of 4 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckCounts {
    /// Images that hold live clusters.
    pub images: u64,
    /// Bytes of all files under `map/`.
    pub image_bytes: u64,
    /// Images whose region is dead; they wait for their place to be freed.
    pub dead_images: u64,
    pub live_clusters: u64,
    /// Clusters whose bytes were read and had the checksum of their row.
    pub verified_clusters: u64,
    pub nodes: u64,
    pub inodes: u64,
    pub directories: u64,
    pub orphans: u64,
    pub entries: u64,
    pub extents: u64,
    /// Bytes of files that extents give.
    pub extent_bytes: u64,
    /// Bytes of files that stand in the tables.
    pub inline_bytes: u64,
    /// Blocks that are in the log and in no image yet.
    pub logged_blocks: u64,
    pub free_places: u64,
    /// Walks over the name tree that were needed to stay inside the memory given.
    pub passes: u64,
}

/// The outcome of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The root that the log was replayed upon.
    pub generation: Generation,
    pub cut: Lsn,
    pub low: Lsn,
    /// The last record that was replayed.
    pub replayed: Lsn,
    pub counts: CheckCounts,
    /// In the order of discovery, at most `findings_max`.
    pub findings: Vec<Finding>,
    /// Findings of each severity, kept or not.
    pub damage: u64,
    pub warnings: u64,
    pub infos: u64,
    /// Of `damage` and `warnings` together: what `infmap repair` puts right.
    pub repairable: u64,
    /// Bytes of files that are lost, at most `findings_max` of them, and how many there are.
    pub lost: Vec<Damage>,
    pub lost_count: u64,
}

impl CheckReport {
    /// Whether nothing is damaged and nothing is to be warned of.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damage == 0 && self.warnings == 0
    }

    /// Whether findings were counted but not kept.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.damage + self.warnings + self.infos > self.findings.len() as u64
    }
}

pub(super) const HELP_REPORT: &str =
    "This should not be possible. Mount it with -o ro only, copy the files to a new volume, keep this one, and report it.";
pub(super) const HELP_HARMLESS: &str = "No file is harmed by it, only what is counted and free. It should not be possible: report it.";
pub(super) const HELP_NAMES: &str = "Copy what you can reach to a new volume; the images keep the bytes.";
pub(super) const HELP_REPAIR: &str = "Nothing is lost: `infmap repair VOLUME` puts the image back as it was written.";
pub(super) const HELP_SOUND: &str =
    "Every byte in it can be read. Take the image from a backup of the volume, or copy all files to a new volume, before more breaks.";
pub(super) const HELP_BACKUP: &str =
    "Take the image from a backup of the volume, or the files from theirs (`find DIR -inum INODE` in the mount names them).";
pub(super) const HELP_FILES: &str =
    "The image is as it was written. Take the files from their own backup (`find DIR -inum INODE` in the mount names them).";
pub(super) const HELP_LOG: &str = "The volume can be mounted, and is read-only then: copy its files to a new volume (`infmap init`). \
     If files were taken out of wal/ or old ones put there, bring back those that belong there instead.";
pub(super) const HELP_CLEAN: &str =
    "No file has lost anything by it: `infmap clean VOLUME` moves what is used of the image to a sound one.";
pub(super) const HELP_NONE: &str = "Nothing to do.";

/// Collects findings.
pub(super) struct Findings {
    pub report: CheckReport,
    pub kept_max: usize,
}

impl Findings {
    pub fn add(&mut self, severity: Severity, invariant: &'static str, place: impl ToString, what: impl Into<String>, help: &'static str) {
        match severity {
            Severity::Info => self.report.infos += 1,
            Severity::Warning => self.report.warnings += 1,
            Severity::Damage => self.report.damage += 1,
        }
        if self.report.findings.len() < self.kept_max {
            let repairable = help == HELP_REPAIR;
            self.report.findings.push(Finding { severity, invariant, place: place.to_string(), what: what.into(), help, repairable });
        }
        self.report.repairable += u64::from(help == HELP_REPAIR);
    }

    /// Bytes of a file are lost. The finding about their image says so too.
    pub fn lost(&mut self, damage: Damage) {
        self.report.lost_count += 1;
        if self.report.lost.len() < self.kept_max {
            self.report.lost.push(damage);
        }
    }

    pub fn damage(&mut self, invariant: &'static str, place: impl ToString, what: impl Into<String>, help: &'static str) {
        self.add(Severity::Damage, invariant, place, what, help);
    }

    pub fn warning(&mut self, invariant: &'static str, place: impl ToString, what: impl Into<String>, help: &'static str) {
        self.add(Severity::Warning, invariant, place, what, help);
    }

    pub fn info(&mut self, invariant: &'static str, place: impl ToString, what: impl Into<String>, help: &'static str) {
        self.add(Severity::Info, invariant, place, what, help);
    }
}
