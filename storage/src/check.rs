//! The full check of a volume that is not mounted: everything is read, nothing is written.
//!
//! Owns: `check`, its options, progress and report. Must be true: OFF-1 the volume is not changed; CLM-1, CLM-2. Fails: `CheckError`
//! when there is nothing to check; whatever is wrong with a volume that can be opened is a `Finding`.
//!
//! A finding names what it breaks. Most names stand where the rule is kept: ADR-3, NOD-1, VAT-3, VAT-4, ROW-1 to ROW-3, EXT-4, EXT-6,
//! NAM-1 to NAM-4, PART-1, REG-1, REG-2, REG-5 to REG-7, PAR-1, PLC-1, SPC-1, UNI-2, WAL-5, REC-3, REC-5. These are kept here:
//! * TREE-4 a node is reached one way only; NODE-4 keys lie in the range that the parent gives.
//! * NAM-5 a directory's parent names it; NAM-6 directories hang below the root without a cycle; NAM-7 an entry leads to an inode of
//!   its kind; NAM-8 the next inode and the next cookie were never used.
//! * INO-1 rows belong to an inode that exists; INO-2 and suit its kind and size.
//! * SPC-3 no two extents or nodes share a cluster; SPC-4 the sums of the root are right.
//! * IMG-3 an image in use is there; IMG-4 it is as it was written; IMG-5 what else lies in `map/`; IMG-6 what nobody knows.
//! * DMG-1 what is lost of files is named block by block.
//!
//! Memory: the log's data, 56 bytes an inode, 32 a node, 40 an image, 40 a place, one image, and of claims on clusters
//! `claims_bytes`: the name tree is walked once for each batch of regions whose claims fit. Where nodes are lost, what is left is
//! read and verified, and nothing is concluded from what is missing.

mod claims;
mod finding;
mod image;
mod inodes;
mod links;
mod listing;
mod lost;
mod offline;
pub(crate) mod parts;
mod path;
mod places;
mod region;
pub(crate) mod tail;
pub(crate) mod tree;

#[cfg(test)]
pub(crate) mod tests;

pub use finding::{CheckCounts, CheckReport, Finding, Severity};
pub use offline::Offline;
pub use path::{FileSeen, PathReport, PathStep, check_path};

use crate::address::{Generation, RegionId};
use crate::device::Device;
use crate::recover::RecoverError;
use crate::state::{StateError, View};
use crate::vat::{NodeError, NodeSource, TreeId};
use crate::wal::{FaultReason, Lsn};
use claims::Claims;
use finding::{Findings, HELP_BACKUP, HELP_HARMLESS, HELP_LOG, HELP_NAMES, HELP_REPORT};
use image::ImageChecker;
use inodes::Inodes;
use listing::Listing;
use places::Places;
use region::Books;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use tree::{Event, walk};

/// Why there is nothing to check.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("the volume cannot be opened: {0}")]
    Open(#[from] RecoverError),
    #[error("listing the images: {0}")]
    Images(io::Error),
}

/// How thoroughly to check, and with how much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckOptions {
    /// Read every image and verify all that is in it; otherwise only its identity and tables.
    pub verify_data: bool,
    /// Compute parity again and compare it. Only with `verify_data`.
    pub deep: bool,
    /// Findings that are kept; further ones are counted.
    pub findings_max: usize,
    /// Bytes of memory for claims on clusters: 150 to 250 for each extent.
    pub claims_bytes: usize,
    /// Bytes of memory for nodes.
    pub node_bytes: u64,
    /// Images that an earlier check of the same state has passed, which are not read again.
    pub passed: Option<Passed>,
}

/// How far a check came before it found anything: all images up to `region` are as they should be, as seen from this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    pub generation: Generation,
    pub replayed: Lsn,
    pub region: RegionId,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { verify_data: true, deep: false, findings_max: 10_000, claims_bytes: 256 << 20, node_bytes: 64 << 20, passed: None }
    }
}

/// What a check is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nodes of the trees; how many there are is not known before.
    Trees,
    /// Images.
    Images,
}

/// How far a check has come: `done` of `of`, 0 if that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub step: Step,
    pub done: u64,
    pub of: u64,
    /// Where a check that is interrupted now could go on.
    pub passed: Option<Passed>,
}

/// Checks the volume with this uuid. It must not be mounted, nor be mounted meanwhile: the caller holds its lock.
///
/// # Errors
/// See [`CheckError`].
pub fn check(
    device: &Arc<dyn Device>,
    uuid: [u8; 16],
    options: &CheckOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<CheckReport, CheckError> {
    let volume = Offline::open(device, uuid, options.node_bytes)?;
    let mut check = Check {
        volume: &volume,
        findings: Findings { report: CheckReport::default(), kept_max: options.findings_max },
        places: Places::default(),
        listing: Listing::new(),
        gaps: false,
        passed: None,
        progress,
    };
    // Of another state nothing is known.
    let state = (volume.recovered.root.generation, volume.recovered.replayed);
    let resumed = options.passed.filter(|passed| (passed.generation, passed.replayed) == state);
    check.passed = resumed;
    check.opening();
    check.listing = listing::list(volume.device.as_ref(), &mut check.findings).map_err(CheckError::Images)?;
    let mut batch = Some(check.first_pass(options.claims_bytes));
    let mut images = ImageChecker::new(volume.device.as_ref(), uuid, options.verify_data, options.deep);
    while let Some(claims) = batch {
        check.findings.report.counts.passes += 1;
        check.regions(&claims, resumed.map(|passed| passed.region), &mut images);
        batch = claims.next().map(|next| check.claims_of(next));
    }
    let mut report = check.findings.report;
    lost::name(&volume.recovered.state, &volume.nodes.loading(TreeId::Name), &mut report.lost);
    Ok(report)
}

struct Check<'a> {
    volume: &'a Offline,
    findings: Findings,
    places: Places,
    listing: Listing,
    /// Rows are missing: nothing is to be concluded from what is not there.
    gaps: bool,
    passed: Option<Passed>,
    progress: &'a mut dyn FnMut(Progress),
}

impl Check<'_> {
    fn opening(&mut self) {
        let recovered = &self.volume.recovered;
        let report = &mut self.findings.report;
        (report.generation, report.cut, report.low) = (recovered.root.generation, recovered.root.cut, recovered.root.low);
        report.replayed = recovered.replayed;
        if let Some(fault) = &recovered.corrupt {
            let what = format!("{fault}: what was synced behind it is lost");
            let invariant = if matches!(fault.reason, FaultReason::Behind(_)) { "REC-5" } else { "WAL-5" };
            self.findings.damage(invariant, "the log", what, HELP_LOG);
        }
        if let Some(error) = &self.volume.unfolded {
            // Of what cannot be read nothing is known; only what can be read and cannot be true is a fault of the program.
            let is_lost = matches!(error, StateError::Miss(_) | StateError::Node(NodeError::Damaged { .. } | NodeError::Io { .. }));
            let (invariant, help) = if is_lost { ("NOD-1", HELP_BACKUP) } else { ("SPC-1", HELP_REPORT) };
            self.findings.damage(invariant, "the volume tree", format!("{error}; space is not judged"), help);
            self.gaps = true;
        }
    }

    /// Walks both trees, judges what they say, and gathers the claims on the first regions.
    fn first_pass(&mut self, claims_bytes: usize) -> Claims {
        let state = &self.volume.recovered.state;
        let mut claims = Claims::new(claims_bytes);
        let (mut lost, mut nodes) = (false, 0);
        let (places, findings, progress) = (&mut self.places, &mut self.findings, &mut self.progress);
        let volume = self.volume.nodes.loading(TreeId::Volume);
        walk(&state.volume, &volume, &mut |event| match event {
            Event::Row(key, value) => places.row(key, value, findings),
            other => lost |= node_or_fault(TreeId::Volume, other, &mut claims, findings, &mut nodes, progress),
        });
        if !lost && !self.gaps {
            places.finish(state.frontier, state.live_clusters, findings);
        }
        let names = self.volume.nodes.loading(TreeId::Name);
        let mut inodes = Inodes::new(View::new(&state.names, &names));
        let mut names_lost = false;
        walk(&state.names, &names, &mut |event| match event {
            Event::Row(key, value) => {
                inodes.row(key, value, findings);
                claims.add_row(key, value);
            }
            other => names_lost |= node_or_fault(TreeId::Name, other, &mut claims, findings, &mut nodes, progress),
        });
        inodes.finish(findings);
        if !names_lost {
            links::judge(&inodes.facts, state.next_inode, state.inodes, findings);
            logged_data(self.volume, &inodes.facts, findings);
        }
        self.gaps |= lost || names_lost;
        claims
    }

    /// Walks both trees again for the claims on further regions.
    fn claims_of(&self, mut claims: Claims) -> Claims {
        let state = &self.volume.recovered.state;
        for (tree, id) in [(&state.volume, TreeId::Volume), (&state.names, TreeId::Name)] {
            walk(tree, &self.volume.nodes.loading(id), &mut |event| match event {
                Event::Node(ptr) => claims.add_node(id, ptr),
                Event::Row(key, value) => claims.add_row(key, value),
                Event::Fault { .. } | Event::Unknown(..) => {}
            });
        }
        claims
    }

    /// Judges all regions of a batch: those with rows, those that are claimed, and those that have files.
    fn regions(&mut self, claims: &Claims, behind: Option<RegionId>, images: &mut ImageChecker<'_>) {
        let known = self.places.regions.iter().chain(claims.by_region.keys()).chain(self.listing.keys());
        let regions: BTreeSet<RegionId> =
            known.copied().filter(|id| claims.covers(*id) && behind.is_none_or(|passed| *id > passed)).collect();
        let of = (self.places.regions.len().max(self.listing.len())) as u64;
        for id in regions {
            let of_region = claims.by_region.get(&id).map_or(&[][..], Vec::as_slice);
            if of_region.is_empty() && !self.places.regions.contains(&id) {
                listing::unknown(id, self.places.dead.contains(&id), &mut self.findings);
                continue;
            }
            let volume = self.volume.nodes.loading(TreeId::Volume);
            let books = Books::read(&self.volume.recovered.state.volume, &volume as &dyn NodeSource, id).ok();
            if let Some(books) = books.as_ref().filter(|_| !self.gaps) {
                region::judge(id, books, of_region, &mut self.findings);
            }
            let kind = books.and_then(|books| books.row).map(|row| row.kind);
            images.judge(id, kind, self.listing.contains_key(&id), of_region, &mut self.findings);
            let report = &self.findings.report;
            if report.is_clean() {
                let (generation, replayed) = (report.generation, report.replayed);
                self.passed = Some(Passed { generation, replayed, region: id });
            }
            (self.progress)(Progress { step: Step::Images, done: report.counts.images, of, passed: self.passed });
        }
    }
}

/// Whether all nodes of a tree can be read and stand where they belong.
#[must_use]
pub fn is_walkable(tree: &crate::vat::Tree, source: &dyn NodeSource) -> bool {
    let mut is_whole = true;
    walk(tree, source, &mut |event| is_whole &= !matches!(event, Event::Unknown(..) | Event::Fault { lost: true, .. }));
    is_whole
}

/// Takes what is no row. Returns whether rows are lost.
fn node_or_fault(
    tree: TreeId,
    event: Event<'_>,
    claims: &mut Claims,
    findings: &mut Findings,
    nodes: &mut u64,
    progress: &mut dyn FnMut(Progress),
) -> bool {
    match event {
        Event::Node(ptr) => {
            claims.add_node(tree, ptr);
            findings.report.counts.nodes += 1;
            *nodes += 1;
            if nodes.is_multiple_of(256) {
                progress(Progress { step: Step::Trees, done: *nodes, of: 0, passed: None });
            }
            false
        }
        Event::Fault { invariant, place, what, lost } => {
            findings.damage(invariant, place, what, if lost { HELP_BACKUP } else { HELP_NAMES });
            lost
        }
        Event::Row(..) | Event::Unknown(..) => false,
    }
}

/// REC-3: what the log holds belongs to files that are there.
fn logged_data(volume: &Offline, facts: &HashMap<u64, inodes::Fact>, findings: &mut Findings) {
    for (inode, blocks) in &volume.logged_blocks {
        findings.report.counts.logged_blocks += blocks;
        if facts.get(&inode.0).and_then(|fact| fact.kind) != Some(crate::row::FileKind::Regular) {
            let what = format!("the log holds {blocks} blocks of it, and it is no file that is there");
            findings.warning("REC-3", format!("inode {inode}"), what, HELP_HARMLESS);
        }
    }
}
