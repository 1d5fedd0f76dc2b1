//! The tables of a region: the checksum of each cluster and row, and the owner of each run of clusters.
//!
//! Owns: `Tables`, `Owner`, and their bytes. Must be true: REG-6 owners are sorted, do not overlap and lie in used bands;
//! REG-7 row checksums describe the bytes as stored, cluster checksums what the bytes should be: a cluster whose own checksum
//! differs while its rows are sound is poisoned. Fails: `None` for bytes that are not tables, before anything is allocated.
//!
//! ```text
//!    0 magic 8   8 version u32   12 identity 64   76 used bands u16   78 owners u16   80 root bytes u32   84 root CRC32
//!   88 CRC32 of 1024 clusters   4184 CRC32 of 1056 rows   8408 owners, 50 bytes each   CRC32 of all before
//! owner: 0 first cluster u16   2 clusters u8   3 kind and codec u8   4 inode u64   12 byte offset u64   20 decoded bytes u32
//!   24 stored bytes u32   28 write sequence u64   36 home address 14
//! ```

use super::identity::Identity;
use super::layout::IDENTITY_BYTES;
use crate::address::{Address, Cluster};
use crate::limits::{CHECKED_ROWS, CLUSTER_BYTES, EXTENT_MAX_CLUSTERS, FORMAT_VERSION, REGION_BANDS, REGION_CLUSTERS};

pub(super) const MAGIC: [u8; 8] = *b"IMAPTAB\n";
const OWNER_BYTES: usize = 50;
const OWNERS_OFFSET: usize = 88 + 4 * (REGION_CLUSTERS + CHECKED_ROWS);
/// Bytes of tables with an owner for each cluster: the most there can be.
pub const TABLES_MAX_BYTES: usize = tables_bytes(REGION_CLUSTERS);

/// Bytes of tables with so many owners.
#[must_use]
pub const fn tables_bytes(owners: usize) -> usize {
    OWNERS_OFFSET + owners * OWNER_BYTES + 4
}

/// What a run of clusters is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerKind {
    /// A run of a file's bytes.
    Extent,
    /// A node of the VAT.
    Node,
}

/// How the bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    Raw = 0,
    /// One zstd frame that decodes to at most one unit.
    Zstd = 1,
}

impl Codec {
    /// The codec of this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Whose bytes a run of clusters holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub kind: OwnerKind,
    pub codec: Codec,
    /// The inode; of a node what its writer finds useful.
    pub inode: u64,
    /// Offset in the file, in bytes.
    pub offset_bytes: u64,
    /// Bytes after decoding, 1..=256 KiB.
    pub decoded_bytes: u32,
    /// The inode's write sequence.
    pub sequence: u64,
    /// The address by which rows call it, if it has been moved away from there; `None`: where it stands.
    pub home: Option<Address>,
}

/// An owner and the clusters it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerEntry {
    pub first: Cluster,
    /// 1..=64.
    pub clusters: usize,
    /// Bytes as stored; the rest of the last cluster is zero.
    pub stored_bytes: u32,
    pub owner: Owner,
}

/// The root that stands in the same image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootMark {
    pub bytes: u32,
    pub crc: u32,
}

/// The tables of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    pub identity: Identity,
    /// Bands with clusters, 0..=256; the rest of the picture is zero.
    pub used_bands: usize,
    pub root: Option<RootMark>,
    /// 1024.
    pub(super) cluster_crcs: Vec<u32>,
    /// 1024 of pixel rows, 32 of parity rows.
    pub(super) row_crcs: Vec<u32>,
    /// Sorted by first cluster.
    pub(super) owners: Vec<OwnerEntry>,
}

impl Tables {
    /// What the bytes of a cluster should have as CRC32.
    #[must_use]
    pub fn cluster_crc(&self, cluster: Cluster) -> u32 {
        self.cluster_crcs.get(cluster.number()).copied().unwrap_or_default()
    }

    /// CRC32 of a row as stored: 0..1024 pixels, 1024..1056 parity.
    #[must_use]
    pub fn row_crc(&self, row: usize) -> Option<u32> {
        self.row_crcs.get(row).copied()
    }

    /// All owners, by first cluster.
    #[must_use]
    pub fn owners(&self) -> &[OwnerEntry] {
        &self.owners
    }

    /// Whose cluster this is; `None` for one that nobody had.
    #[must_use]
    pub fn owner_of(&self, cluster: Cluster) -> Option<&OwnerEntry> {
        let after = self.owners.partition_point(|entry| entry.first <= cluster);
        let entry = self.owners.get(after.checked_sub(1)?)?;
        (cluster.number() < entry.first.number() + entry.clusters).then_some(entry)
    }

    /// The bytes of the tables.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(tables_bytes(self.owners.len()));
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.identity.encode());
        out.extend_from_slice(&(self.used_bands as u16).to_le_bytes());
        out.extend_from_slice(&(self.owners.len() as u16).to_le_bytes());
        let root = self.root.unwrap_or(RootMark { bytes: 0, crc: 0 });
        out.extend_from_slice(&root.bytes.to_le_bytes());
        out.extend_from_slice(&root.crc.to_le_bytes());
        for crc in self.cluster_crcs.iter().chain(&self.row_crcs) {
            out.extend_from_slice(&crc.to_le_bytes());
        }
        for entry in &self.owners {
            self.encode_owner(entry, &mut out);
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn encode_owner(&self, entry: &OwnerEntry, out: &mut Vec<u8>) {
        let OwnerEntry { first, clusters, stored_bytes, owner } = entry;
        let kind = u8::from(owner.kind == OwnerKind::Node) | u8::from(owner.codec == Codec::Zstd) << 4;
        let home = owner.home.unwrap_or(Address { region: self.identity.region, cluster: *first });
        out.extend_from_slice(&(first.number() as u16).to_le_bytes());
        out.extend_from_slice(&[*clusters as u8, kind]);
        out.extend_from_slice(&owner.inode.to_le_bytes());
        out.extend_from_slice(&owner.offset_bytes.to_le_bytes());
        out.extend_from_slice(&owner.decoded_bytes.to_le_bytes());
        out.extend_from_slice(&stored_bytes.to_le_bytes());
        out.extend_from_slice(&owner.sequence.to_le_bytes());
        out.extend_from_slice(&home.encode());
    }

    /// CRC32 of the tables: the last four of their bytes, over all others. It tells one image's tables from any other's.
    #[must_use]
    pub fn crc(&self) -> u32 {
        crc_of(&self.encode())
    }

    /// Reads tables; `None` for bytes that are not exactly one sound copy of this version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let (magic, rest) = body.split_first_chunk::<8>()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (identity, rest) = rest.split_first_chunk::<IDENTITY_BYTES>()?;
        let (used_bands, rest) = rest.split_first_chunk::<2>()?;
        let (owners, rest) = rest.split_first_chunk::<2>()?;
        let (root_bytes, rest) = rest.split_first_chunk::<4>()?;
        let (root_crc, rest) = rest.split_first_chunk::<4>()?;
        let used_bands = usize::from(u16::from_le_bytes(*used_bands));
        let owners = usize::from(u16::from_le_bytes(*owners));
        let is_ours = *magic == MAGIC && u32::from_le_bytes(*version) == FORMAT_VERSION;
        let fits = used_bands <= REGION_BANDS && owners <= REGION_CLUSTERS && bytes.len() == tables_bytes(owners);
        if !is_ours || !fits || crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let identity = Identity::decode(identity).ok()?;
        let (crcs, rest) = rest.split_at_checked(4 * (REGION_CLUSTERS + CHECKED_ROWS))?;
        let mut cluster_crcs = crcs.chunks_exact(4).map(|c| c.try_into().map_or(0, u32::from_le_bytes)).collect::<Vec<_>>();
        let row_crcs = cluster_crcs.split_off(REGION_CLUSTERS);
        let mark = RootMark { bytes: u32::from_le_bytes(*root_bytes), crc: u32::from_le_bytes(*root_crc) };
        let root = (mark != RootMark { bytes: 0, crc: 0 }).then_some(mark);
        let owners = decode_owners(rest, &identity, used_bands)?;
        Some(Self { identity, used_bands, root, cluster_crcs, row_crcs, owners })
    }
}

/// The checksum at the end of encoded tables. Not a hash of all their bytes: over bytes and checksum that is a constant.
pub(super) fn crc_of(encoded: &[u8]) -> u32 {
    encoded.last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc))
}

/// Reads entries and checks that they are sorted, apart, and in used bands.
fn decode_owners(bytes: &[u8], identity: &Identity, used_bands: usize) -> Option<Vec<OwnerEntry>> {
    let mut owners = Vec::with_capacity(bytes.len() / OWNER_BYTES);
    let mut free_from = 0;
    for entry in bytes.chunks_exact(OWNER_BYTES) {
        let entry = decode_owner(entry, identity)?;
        let end = entry.first.number() + entry.clusters;
        // A square is four whole bands, so the last cluster of the last used square bounds all.
        if entry.first.number() < free_from || end > used_bands.next_multiple_of(4) * 4 {
            return None;
        }
        free_from = end;
        owners.push(entry);
    }
    Some(owners)
}

fn decode_owner(entry: &[u8], identity: &Identity) -> Option<OwnerEntry> {
    let (first, rest) = entry.split_first_chunk::<2>()?;
    let ([clusters, kind], rest) = rest.split_first_chunk::<2>()?;
    let (inode, rest) = rest.split_first_chunk::<8>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let (decoded, rest) = rest.split_first_chunk::<4>()?;
    let (stored, rest) = rest.split_first_chunk::<4>()?;
    let (sequence, home) = rest.split_first_chunk::<8>()?;
    let first = Cluster::new(usize::from(u16::from_le_bytes(*first)))?;
    let (kind, codec) = match kind {
        0x00 => (OwnerKind::Extent, Codec::Raw),
        0x01 => (OwnerKind::Node, Codec::Raw),
        0x10 => (OwnerKind::Extent, Codec::Zstd),
        0x11 => (OwnerKind::Node, Codec::Zstd),
        _ => return None,
    };
    let home = Address::decode(home.try_into().ok()?)?;
    let entry = OwnerEntry {
        first,
        clusters: usize::from(*clusters),
        stored_bytes: u32::from_le_bytes(*stored),
        owner: Owner {
            kind,
            codec,
            inode: u64::from_le_bytes(*inode),
            offset_bytes: u64::from_le_bytes(*offset),
            decoded_bytes: u32::from_le_bytes(*decoded),
            sequence: u64::from_le_bytes(*sequence),
            home: (home != Address { region: identity.region, cluster: first }).then_some(home),
        },
    };
    let stored_bytes = usize::try_from(entry.stored_bytes).ok()?;
    let sizes_agree = clusters_for(stored_bytes) == Some(entry.clusters) && entry.owner.has_valid_size();
    sizes_agree.then_some(entry)
}

impl Owner {
    /// Whether the decoded size is one that an extent can have.
    #[must_use]
    pub(super) fn has_valid_size(&self) -> bool {
        (1..=EXTENT_MAX_CLUSTERS * CLUSTER_BYTES).contains(&(self.decoded_bytes as usize))
    }
}

/// Clusters for so many stored bytes; `None` for no bytes or more than an extent may have.
#[must_use]
pub fn clusters_for(stored_bytes: usize) -> Option<usize> {
    let clusters = stored_bytes.div_ceil(CLUSTER_BYTES);
    (1..=EXTENT_MAX_CLUSTERS).contains(&clusters).then_some(clusters)
}

#[cfg(test)]
mod tests;
