//! One region: what its row and the counts say, against what is claimed of it.
//!
//! Must be true: REG-1 live bits are exactly what is claimed; SPC-1 a count is the number of references, absent for one; SPC-3 no two
//! extents or nodes share a cluster, and all rows of an extent describe the same one; REG-5 nodes and bytes of files have regions of
//! their own. Fails: never.

use super::claims::Claim;
use super::finding::{Findings, HELP_HARMLESS, HELP_NAMES, HELP_REPORT};
use crate::address::{Address, RegionId};
use crate::limits::REGION_CLUSTERS;
use crate::row::{Key, LiveBits, RegionKind, RegionRow};
use crate::vat::{NodeError, NodeSource, Tree};
use std::collections::BTreeMap;

/// The row of a region and the counts of references in it.
pub(super) struct Books {
    pub row: Option<RegionRow>,
    /// By number of the first cluster.
    counts: BTreeMap<usize, i64>,
}

impl Books {
    /// Reads them from the volume tree.
    pub fn read(volume: &Tree, source: &dyn NodeSource, id: RegionId) -> Result<Self, NodeError> {
        let row = volume.get(source, &Key::Region(id.place).encode())?;
        let row = row.and_then(|row| RegionRow::decode(row.value()).ok()).filter(|row| row.generation == id.generation);
        let all = Address::all_of(id);
        let mut to = Key::Count(*all.end()).encode();
        to.push(0);
        let mut counts = BTreeMap::new();
        for found in volume.range(source, &Key::Count(*all.start()).encode(), Some(&to)) {
            let found = found?;
            if let (Some(Key::Count(at)), Ok(count)) = (Key::decode(found.key()), found.value().try_into()) {
                counts.insert(at.cluster.number(), i64::from_le_bytes(count));
            }
        }
        Ok(Self { row, counts })
    }
}

/// Compares the books of a region with the claims on it.
pub(super) fn judge(id: RegionId, books: &Books, claims: &[Claim], findings: &mut Findings) {
    let references = references(id, claims, findings);
    let Some(row) = &books.row else {
        if let Some(claim) = claims.first() {
            let what = format!("{claim} and {} more refer to it, and no table knows it: it may be overwritten", claims.len() - 1);
            findings.damage("REG-1", id, what, HELP_REPORT);
        }
        return;
    };
    kinds(id, row.kind, claims, findings);
    live_bits(id, &row.live, &references, findings);
    for (&first, &(_, count)) in &references {
        let stored = books.counts.get(&first).copied();
        if stored.unwrap_or(1) != count {
            let what = format!("cluster {first} has {count} references and the table counts {}", stored.unwrap_or(1));
            findings.damage("SPC-1", id, what, HELP_REPORT);
        }
    }
    for first in books.counts.keys().filter(|first| !references.contains_key(first)) {
        findings.warning("SPC-1", id, format!("references to cluster {first} are counted, and there are none"), HELP_HARMLESS);
    }
}

/// References by first cluster, with the clusters of each.
fn references(id: RegionId, claims: &[Claim], findings: &mut Findings) -> BTreeMap<usize, (usize, i64)> {
    let mut by_first: BTreeMap<usize, (&Claim, i64)> = BTreeMap::new();
    for claim in claims {
        let (other, count) = by_first.entry(claim.first().cluster.number()).or_insert((claim, 0));
        *count += 1;
        if !describe_the_same(claim, other) {
            let what = format!("{claim} and {other} describe the extent at cluster {} differently", claim.first().cluster.number());
            findings.damage("SPC-3", id, what, HELP_NAMES);
        }
    }
    let mut before: Option<(&Claim, usize)> = None;
    for (first, (claim, _)) in &by_first {
        if let Some((other, end)) = before.filter(|(_, end)| end > first) {
            findings.damage("SPC-3", id, format!("{other} and {claim} share the clusters {first} to {}", end - 1), HELP_NAMES);
        }
        let end = first + claim.clusters();
        before = before.filter(|(_, other)| *other > end).or(Some((claim, end)));
    }
    by_first.into_iter().map(|(first, (claim, count))| (first, (claim.clusters(), count))).collect()
}

fn describe_the_same(a: &Claim, b: &Claim) -> bool {
    match (a, b) {
        (Claim::Node { ptr: a, .. }, Claim::Node { ptr: b, .. }) => a == b,
        (Claim::Extent { row: a, .. }, Claim::Extent { row: b, .. }) => {
            (a.clusters, a.codec, a.stored_bytes, a.decoded_bytes) == (b.clusters, b.codec, b.stored_bytes, b.decoded_bytes)
        }
        _ => false,
    }
}

fn kinds(id: RegionId, kind: RegionKind, claims: &[Claim], findings: &mut Findings) {
    let stranger = claims.iter().find(|claim| matches!(claim, Claim::Node { .. }) != (kind == RegionKind::Node));
    if let Some(claim) = stranger {
        let kind = if kind == RegionKind::Node { "nodes" } else { "bytes of files" };
        findings.warning("REG-5", id, format!("it is a region for {kind}, and {claim} is in it"), HELP_HARMLESS);
    }
}

fn live_bits(id: RegionId, live: &LiveBits, references: &BTreeMap<usize, (usize, i64)>, findings: &mut Findings) {
    let mut claimed = LiveBits::default();
    for (&first, &(clusters, _)) in references {
        claimed.set(first, clusters, true);
    }
    let which = |wrong: &dyn Fn(usize) -> bool| -> Vec<usize> { (0..REGION_CLUSTERS).filter(|&n| wrong(n)).collect() };
    let unprotected = which(&|n| claimed.get(n) && !live.get(n));
    if let Some(first) = unprotected.first() {
        let what = format!("{} clusters from {first} on are in use and called dead: they may be overwritten", unprotected.len());
        findings.damage("REG-1", id, what, HELP_REPORT);
    }
    let leaked = which(&|n| live.get(n) && !claimed.get(n));
    if let Some(first) = leaked.first() {
        let what = format!("{} clusters from {first} on are called live and nobody uses them: space is lost", leaked.len());
        findings.warning("REG-1", id, what, HELP_HARMLESS);
    }
}
