//! One image: the file itself, and what rows say about the bytes in it.
//!
//! Owns: `ImageChecker` and its buffer. Must be true: ADR-3 the identity inside is that of the name; IMG-3 an image that is in use is
//! there; IMG-4 it is as it was written; REG-6 its tables name the owners that rows name; REG-7 a cluster has the checksum that its row
//! and the tables say; UNI-2 a compressed unit decodes; PAR-1 parity is that of the pixels. Memory: two images, and 8 MiB to
//! mend. Fails: never; a file that cannot be read is a finding.

use super::claims::Claim;
use super::finding::{Findings, HELP_BACKUP, HELP_CLEAN, HELP_FILES, HELP_NAMES, HELP_NONE, HELP_REPAIR, HELP_SOUND};
use super::lost;
use super::tail::read_tables;
use crate::address::{Address, RegionId};
use crate::damage::Found;
use crate::device::{Device, Open};
use crate::images::read_what_can_be;
use crate::limits::{CLUSTER_BYTES, PARITY_ROWS, REGION_CLUSTERS, REGION_SIDE_PX, ROW_BYTES};
use crate::region::layout::{HEADER_BYTES, row_range};
use crate::region::{
    ClusterPieces, Codec, Identity, Mender, OwnerKind, ParityEncoder, RawBands, RawRegion, Region, Survey, Tables, read_identity,
};
use crate::row::{ExtentRow, Inode, RegionKind};
use crate::unit::decode_unit;
use std::collections::HashSet;

/// Inodes that a finding names at most.
const NAMED_MAX: usize = 8;

/// Checks image after image.
pub(super) struct ImageChecker<'a> {
    pub device: &'a dyn Device,
    pub uuid: [u8; 16],
    pub verify_data: bool,
    pub deep: bool,
    buffer: Vec<u8>,
    /// The whole file is in the buffer, and was read without an error.
    is_whole: bool,
    encoder: Option<ParityEncoder>,
    mender: Option<Mender>,
}

impl<'a> ImageChecker<'a> {
    pub fn new(device: &'a dyn Device, uuid: [u8; 16], verify_data: bool, deep: bool) -> Self {
        Self { device, uuid, verify_data, deep, buffer: Vec::new(), is_whole: false, encoder: None, mender: None }
    }

    /// Checks the image of a region that is in use; `kind` is what its row says.
    pub fn judge(&mut self, id: RegionId, kind: Option<RegionKind>, is_listed: bool, claims: &[Claim], findings: &mut Findings) {
        if !is_listed {
            findings.damage("IMG-3", id.path(), format!("the image is missing; it held {}", users(claims, |_| true)), HELP_BACKUP);
            lost::tell(claims, |_, _| Some(Found::Missing), findings);
            return;
        }
        findings.report.counts.images += 1;
        if !self.verify_data {
            self.judge_tables(id, kind, claims, findings);
        } else if let Err(error) = self.load(id) {
            findings.damage("IMG-4", id.path(), format!("it cannot be read: {error}"), HELP_BACKUP);
            lost::tell(claims, |_, _| Some(Found::Io(error.to_string())), findings);
        } else {
            self.judge_bytes(id, kind, claims, findings);
        }
    }

    fn load(&mut self, id: RegionId) -> std::io::Result<()> {
        let file = self.device.open(&id.path(), Open::READ)?;
        let found = read_what_can_be(file.as_ref());
        (self.buffer, self.is_whole) = (found.bytes, found.is_whole);
        Ok(())
    }

    /// Identity and tables only.
    fn judge_tables(&self, id: RegionId, kind: Option<RegionKind>, claims: &[Claim], findings: &mut Findings) {
        let mut head = [0; HEADER_BYTES];
        let read = self.device.open(&id.path(), Open::READ).and_then(|file| file.read_at(&mut head, 0));
        let identity = match read {
            Ok(read) => read_identity(head.get(..read).unwrap_or_default()).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match identity {
            Err(what) => findings.damage("IMG-4", id.path(), what, HELP_BACKUP),
            Ok(identity) if !self.is_it(id, kind, &identity, findings) => {}
            Ok(_) => match read_tables(self.device, self.uuid, id) {
                Ok(Some(tables)) => claims.iter().for_each(|claim| compare(id, &tables, claim, findings)),
                _ => findings.warning("IMG-4", id.path(), "its second tables cannot be read", "Check it with its data."),
            },
        }
    }

    fn judge_bytes(&mut self, id: RegionId, kind: Option<RegionKind>, claims: &[Claim], findings: &mut Findings) {
        let raw = RawRegion::new(self.buffer.as_slice());
        let survey = raw.survey();
        let is_it = match survey.identity {
            Some(identity) => self.is_it(id, kind, &identity, findings).then_some(identity),
            None => {
                let what = format!("it is no image of this program any more; it held {}", users(claims, |_| true));
                findings.damage("IMG-4", id.path(), what, HELP_BACKUP);
                None
            }
        };
        let is_sound = survey.is_sound() && self.is_whole;
        // What can be mended is as good as sound, for all that is judged below.
        let mended = is_it.filter(|_| !is_sound).map(|identity| raw.mend(Some(&identity), self.mender.get_or_insert_default()));
        let is_mendable = matches!(mended, Some(Ok(_)));
        if is_it.is_some() {
            report(id, &survey, self.is_whole, is_mendable, claims, findings);
        }
        let bytes = match &mended {
            Some(Ok(mended)) => mended.bytes(),
            _ => self.buffer.as_slice(),
        };
        let region = is_it.and_then(|_| RawRegion::new(bytes).verify(None).ok());
        let bands = RawBands::new(bytes, 0);
        lost::tell(claims, |at, crc| is_lost(region.as_ref(), &bands, at, crc), findings);
        let Some(region) = region else { return };
        let mut decoded = HashSet::new();
        for claim in claims {
            compare(id, region.tables(), claim, findings);
            if let Claim::Extent { inode, offset, row } = claim {
                verify(&region, *inode, *offset, row, decoded.insert(row.first), findings);
            }
        }
        if self.deep && is_sound {
            recompute_parity(id, &region, bytes, &mut self.encoder, findings);
        }
    }

    /// Whether it is the image that its name says.
    fn is_it(&self, id: RegionId, kind: Option<RegionKind>, identity: &Identity, findings: &mut Findings) -> bool {
        if identity.volume != self.uuid {
            findings.damage("ADR-3", id.path(), "it is an image of another volume", HELP_BACKUP);
        } else if identity.region != id {
            let what = format!("it says that it is image {}", identity.region);
            findings.damage("ADR-3", id.path(), what, "Give it its own name back, if no other file has it.");
        } else {
            if kind.is_some_and(|kind| kind != identity.kind) {
                findings.damage("REG-5", id.path(), "its row and its identity say different kinds", HELP_NAMES);
            }
            return true;
        }
        false
    }
}

fn recompute_parity(id: RegionId, region: &Region<&[u8]>, bytes: &[u8], encoder: &mut Option<ParityEncoder>, findings: &mut Findings) {
    let tables = region.tables();
    let zeros = [0; ROW_BYTES];
    let row = |n: usize| bytes.get(row_range(n).start..).and_then(|bytes| bytes.first_chunk()).unwrap_or(&zeros);
    let mut wrong = 0;
    encoder.get_or_insert_default().encode(tables.used_bands * 4, row, |n, parity| {
        wrong += usize::from(tables.row_crc(REGION_SIDE_PX + n) != Some(crc32fast::hash(parity)));
    });
    if wrong > 0 {
        let what = format!("{wrong} of its {PARITY_ROWS} parity rows are not those of its pixels: they could not restore anything");
        findings.warning("PAR-1", id.path(), what, HELP_SOUND);
    }
}

/// What is there in place of a cluster with this checksum, if neither the image as a whole nor the place itself gives it.
fn is_lost(region: Option<&Region<&[u8]>>, bands: &RawBands<'_>, at: Address, crc: u32) -> Option<Found> {
    let fits = |pieces: &ClusterPieces<'_>| pieces.crc() == crc;
    if region.and_then(|region| region.cluster(at.cluster)).is_some_and(|pieces| fits(&pieces)) {
        return None;
    }
    match bands.unverified(at.cluster) {
        Some(pieces) if fits(&pieces) => None,
        Some(pieces) => Some(Found::Crc(pieces.crc())),
        None => Some(Found::Io("the file ends before".into())),
    }
}

/// Tells what a survey found. What can be mended is said as that, whatever it is.
fn report(id: RegionId, survey: &Survey, is_whole: bool, is_mendable: bool, claims: &[Claim], findings: &mut Findings) {
    let path = id.path();
    let help = |otherwise| if is_mendable { HELP_REPAIR } else { otherwise };
    if !survey.tables_known {
        findings.damage("IMG-4", &path, "both copies of its tables are lost: nothing in it can be verified", HELP_BACKUP);
    } else if survey.tables_sound == [false; 2] {
        findings.warning("IMG-4", &path, "both copies of its tables are damaged, and complete each other", help(HELP_SOUND));
    } else if survey.tables_sound != [true; 2] {
        findings.warning("IMG-4", &path, "one of the two copies of its tables is damaged", help(HELP_SOUND));
    }
    let is_damaged = |cluster: usize| survey.damaged_clusters.iter().any(|c| c.number() == cluster);
    let rows = survey.damaged_rows.len();
    if rows > 0 && (is_mendable || survey.is_repairable()) {
        let what = format!("{rows} rows of it are damaged, in {}", users(claims, is_damaged));
        findings.damage("IMG-4", &path, what, help(HELP_BACKUP));
    } else if rows > 0 {
        let what = format!("{rows} rows of it are damaged, more than parity restores, in {}", users(claims, is_damaged));
        let is_used = claims.iter().any(|claim| (0..REGION_CLUSTERS).any(|cluster| is_damaged(cluster) && has(claim, cluster)));
        findings.damage("IMG-4", &path, what, if is_used { HELP_BACKUP } else { HELP_CLEAN });
    }
    match survey.roots_damaged {
        0 => {}
        1 => findings.warning("IMG-4", &path, "one of the two copies of the root that it carries is damaged", help(HELP_SOUND)),
        _ => findings.warning("IMG-4", &path, "both copies of the root that it carries are damaged; the log has its own", help(HELP_SOUND)),
    }
    if survey.moved_by > 0 {
        findings.damage("IMG-4", &path, "chunks were added before its pixels, which are not found there any more", help(HELP_BACKUP));
    } else if survey.foreign_chunks > 0 || survey.trailing_bytes > 0 {
        let what = format!("{} chunks and {} bytes behind its end are not ours", survey.foreign_chunks, survey.trailing_bytes);
        findings.warning("IMG-4", &path, what, help(HELP_NONE));
    } else if !is_whole {
        findings.warning("IMG-4", &path, "parts of the file cannot be read, or it goes on behind its end", help(HELP_BACKUP));
    }
    let framing = !survey.has_signature || !survey.damaged_chunks.is_empty() || survey.broken_at.is_some();
    if framing && rows == 0 && survey.tables_sound == [true; 2] {
        findings.warning("IMG-4", &path, "its framing as a PNG is damaged; the pixels are sound", help(HELP_SOUND));
    }
    let poisoned = survey.poisoned.iter().filter(|cluster| claims.iter().any(|claim| has(claim, cluster.number()))).count();
    if poisoned > 0 {
        let is_poisoned = |cluster: usize| survey.poisoned.iter().any(|c| c.number() == cluster);
        let what = format!("{poisoned} clusters were lost before they were written here, of {}", users(claims, is_poisoned));
        findings.damage("REG-7", &path, what, HELP_FILES);
    }
}

/// Compares a claim with the tables.
fn compare(id: RegionId, tables: &Tables, claim: &Claim, findings: &mut Findings) {
    let first = claim.first();
    let wrong = |what: &str| format!("{claim}: the tables of the image {what}");
    let entry = tables.owner_of(first.cluster).filter(|entry| entry.first == first.cluster && entry.clusters == claim.clusters());
    let Some(entry) = entry else {
        return findings.damage("REG-6", id, wrong("know no such run of clusters"), HELP_NAMES);
    };
    let Claim::Extent { inode, offset, row } = claim else {
        if entry.owner.kind != OwnerKind::Node {
            findings.damage("REG-6", id, wrong("call it bytes of a file"), HELP_NAMES);
        }
        return;
    };
    let owner = &entry.owner;
    let sizes = (entry.stored_bytes, owner.decoded_bytes, owner.codec) == (row.stored_bytes, row.decoded_bytes, row.codec);
    if owner.kind != OwnerKind::Extent || !sizes {
        findings.damage("REG-6", id, wrong("describe it otherwise"), HELP_NAMES);
    } else if owner.home.is_none() {
        let at = owner.offset_bytes.checked_add(u64::from(row.skip));
        if owner.inode != inode.0 || at != Some(*offset) || row.sequence > owner.sequence {
            let what = wrong(&format!("say inode {} at byte {}, sequence {}", owner.inode, owner.offset_bytes, owner.sequence));
            findings.warning(
                "REG-6",
                id,
                what,
                "Reads are right, for they go by the rows. Writing the file anew corrects what the image says of it.",
            );
        }
    }
    for number in 0..usize::from(row.clusters) {
        let stored = row.address(number).map(|at| tables.cluster_crc(at.cluster));
        if row.crc(number).is_some_and(|crc| stored != Some(crc)) {
            let what = wrong(&format!("have another checksum for its cluster {number} than the row"));
            findings.damage("REG-7", id, what, HELP_BACKUP);
            return;
        }
    }
}

/// Reads what a row uses, with its own checksums; a compressed unit is decoded once.
fn verify(region: &Region<&[u8]>, inode: Inode, offset: u64, row: &ExtentRow, decode: bool, findings: &mut Findings) {
    let (from, count) = row.touched_clusters();
    let mut stored = Vec::with_capacity(if row.codec == Codec::Zstd { count * CLUSTER_BYTES } else { 0 });
    for number in from..from + count {
        let pieces = row.address(number).and_then(|at| region.cluster(at.cluster));
        let Some(pieces) = pieces.filter(|pieces| Some(pieces.crc()) == row.crc(number)) else { return };
        findings.report.counts.verified_clusters += 1;
        if row.codec == Codec::Zstd {
            pieces.pieces().iter().for_each(|piece| stored.extend_from_slice(&piece[..]));
        }
    }
    if row.codec == Codec::Zstd && decode {
        stored.truncate(row.stored_bytes as usize);
        if decode_unit(&stored, row.decoded_bytes as usize).is_none() {
            let what = format!("its bytes are as they were written, and do not decode to {} bytes", row.decoded_bytes);
            findings.damage("UNI-2", format!("inode {inode} at byte {offset}"), what, HELP_FILES);
        }
    }
}

fn has(claim: &Claim, cluster: usize) -> bool {
    let first = claim.first().cluster.number();
    (first..first + claim.clusters()).contains(&cluster)
}

/// Who has clusters that `concerned` says, for people.
fn users(claims: &[Claim], concerned: impl Fn(usize) -> bool) -> String {
    let is_concerned = |claim: &&Claim| {
        let first = claim.first().cluster.number();
        (first..first + claim.clusters()).any(&concerned)
    };
    let (mut inodes, mut nodes) = (Vec::new(), 0);
    for claim in claims.iter().filter(is_concerned) {
        match claim {
            Claim::Node { .. } => nodes += 1,
            Claim::Extent { inode, .. } => inodes.push(inode.0),
        }
    }
    inodes.sort_unstable();
    inodes.dedup();
    let named: Vec<String> = inodes.iter().take(NAMED_MAX).map(u64::to_string).collect();
    match (inodes.len(), nodes) {
        (0, 0) => "nothing that is used".into(),
        (0, nodes) => format!("{nodes} nodes of the tables"),
        (files, nodes) => {
            format!("{files} files (inodes {}{}), {nodes} nodes", named.join(", "), if files > NAMED_MAX { ", .." } else { "" })
        }
    }
}
