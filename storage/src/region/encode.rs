//! Building an image: clusters are gathered into the buffer that is written, and finished in place.
//!
//! Owns: `RegionBuilder` (open, grows) and `SealedRegion` (finished, ready for one write). Must be true: the gather is the only
//! copy, and every pixel byte is hashed once, while it is hot; what the buffer held before never
//! reaches the file. Fails: `PlaceError` when a run has no room or an impossible size.
#![expect(clippy::indexing_slicing, reason = "offsets come from the layout, and `new` refuses buffers shorter than the longest image")]

use super::compose::{self, Ends, PARITY_BYTES};
use super::crc;
use super::identity::Identity;
use super::layout::*;
use super::parity::ParityEncoder;
use super::read::ClusterPieces;
use super::space::{Shape, Space};
use super::tables::{Codec, Owner, OwnerEntry, OwnerKind, RootMark, TABLES_MAX_BYTES, Tables, clusters_for};
use crate::address::Cluster;
use crate::limits::*;
use std::ops::DerefMut;

/// Bytes of a root in an image at most.
pub const ROOT_MAX_BYTES: usize = 64 * 1024;
/// Bytes of an image at most: what a builder's buffer has.
pub const IMAGE_MAX_BYTES: usize = (HEADER_BYTES
    + ZLIB_HEADER.len()
    + REGION_BANDS * BAND_STRIDE
    + 16
    + 2 * TABLES_MAX_BYTES
    + PARITY_BYTES
    + 2 * ROOT_MAX_BYTES
    + 8 * CHUNK_FRAME_BYTES)
    .next_multiple_of(DIRECT_ALIGN);

/// Why a run was not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Finish this region and place the run in another.
    #[error("the region has no {clusters} consecutive free clusters")]
    Full { clusters: usize },
    /// A defect of the caller.
    #[error("{stored_bytes} stored bytes (decoded {decoded_bytes}) are no extent: 1 to 262144 are")]
    Size { stored_bytes: usize, decoded_bytes: u32 },
}

/// The root is longer than [`ROOT_MAX_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a root of {bytes} bytes does not fit an image: at most 65536 do")]
pub struct RootTooLarge {
    pub bytes: usize,
}

/// Where a run was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed<'a> {
    pub first: Cluster,
    /// CRC32 of each of its clusters, for its row.
    pub crcs: &'a [u32],
}

/// An open region.
pub struct RegionBuilder<B> {
    pub(super) image: B,
    identity: Identity,
    space: Space,
    /// CRC32 of the pieces as stored: four a row.
    pub(super) piece_crcs: Vec<u32>,
    /// CRC32 of the clusters as they should be.
    pub(super) cluster_crcs: Vec<u32>,
    pub(super) owners: Vec<OwnerEntry>,
    root: Option<Vec<u8>>,
}

impl<B: DerefMut<Target = [u8]>> RegionBuilder<B> {
    /// An empty region in a buffer of at least [`IMAGE_MAX_BYTES`], whatever it holds; `None` if it is shorter.
    #[must_use]
    pub fn new(image: B, identity: Identity) -> Option<Self> {
        (image.len() >= IMAGE_MAX_BYTES).then(|| Self {
            image,
            identity,
            space: Space::empty(),
            piece_crcs: vec![crc::ZERO_PIECE_CRC; REGION_SIDE_PX * BAND_CLUSTERS],
            cluster_crcs: vec![crc::ZERO_CLUSTER_CRC; REGION_CLUSTERS],
            owners: Vec::new(),
            root: None,
        })
    }

    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Clusters not taken; not always consecutive.
    #[must_use]
    pub fn clusters_free(&self) -> usize {
        self.space.free()
    }

    #[must_use]
    pub fn clusters_used(&self) -> usize {
        self.space.used()
    }

    /// Gathers the bytes of `stored`, one after the other, into consecutive clusters; the rest of the last one is zero.
    ///
    /// # Errors
    /// `Full` if there is no run of so many free clusters, `Size` if the sizes are not those of an extent. Nothing has changed then.
    pub fn place(&mut self, owner: Owner, stored: &[&[u8]]) -> Result<Placed<'_>, PlaceError> {
        let run = self.gather(owner, stored)?;
        Ok(Placed { first: run.first, crcs: &self.cluster_crcs[run.first.number()..][..run.clusters] })
    }

    /// As [`Self::place`], for clusters that come from another region with their checksums: one that carries poison keeps it.
    /// `crcs` has one for each cluster; of the bytes, the caller has verified what is not poisoned.
    ///
    /// # Errors
    /// As [`Self::place`]; `Size` also if the number of checksums is not that of the clusters.
    pub fn place_moved(&mut self, owner: Owner, stored: &[&[u8]], crcs: &[u32]) -> Result<Placed<'_>, PlaceError> {
        let stored_bytes = stored.iter().map(|part| part.len()).sum();
        if clusters_for(stored_bytes) != Some(crcs.len()) {
            return Err(PlaceError::Size { stored_bytes, decoded_bytes: owner.decoded_bytes });
        }
        let run = self.gather(owner, stored)?;
        let carried = &mut self.cluster_crcs[run.first.number()..][..run.clusters];
        carried.copy_from_slice(crcs);
        Ok(Placed { first: run.first, crcs: carried })
    }

    fn gather(&mut self, owner: Owner, stored: &[&[u8]]) -> Result<OwnerEntry, PlaceError> {
        let stored_bytes = stored.iter().map(|part| part.len()).sum();
        let size = PlaceError::Size { stored_bytes, decoded_bytes: owner.decoded_bytes };
        let clusters = clusters_for(stored_bytes).filter(|_| owner.has_valid_size()).ok_or(size)?;
        let shape = match (owner.kind, owner.codec) {
            (OwnerKind::Extent, Codec::Raw) => Shape::Raw,
            _ => Shape::Compressed,
        };
        let first = self.space.take(clusters, shape).and_then(Cluster::new).ok_or(PlaceError::Full { clusters })?;
        let mut source = Source { parts: stored, current: &[] };
        for number in first.number()..first.number() + clusters {
            self.fill_cluster(number, &mut source);
        }
        let entry = OwnerEntry { first, clusters, stored_bytes: stored_bytes as u32, owner };
        self.owners.push(entry);
        Ok(entry)
    }

    /// Fills one cluster, zeros behind the end of the source, and takes its checksums.
    fn fill_cluster(&mut self, number: usize, source: &mut Source<'_>) {
        let Tile { band, column } = tile_of(number);
        let mut crcs = [0; CLUSTER_HEIGHT_PX];
        for (line, crc) in crcs.iter_mut().enumerate() {
            let row = band * CLUSTER_HEIGHT_PX + line;
            let at = filter_offset(row) + 1 + column * PIECE_BYTES;
            *crc = source.fill(&mut self.image[at..at + PIECE_BYTES]);
            self.piece_crcs[row * BAND_CLUSTERS + column] = *crc;
        }
        self.cluster_crcs[number] = crc::of_pieces(crcs);
    }

    /// The bytes of a cluster that has been placed; `None` for one that is free.
    #[must_use]
    pub fn cluster(&self, cluster: Cluster) -> Option<ClusterPieces<'_>> {
        self.space.is_taken(cluster.number()).then(|| ClusterPieces::at(&self.image, 0, cluster))?
    }

    /// Lets the image carry a root, opaque here.
    ///
    /// # Errors
    /// `RootTooLarge` above [`ROOT_MAX_BYTES`].
    pub fn set_root(&mut self, root: &[u8]) -> Result<(), RootTooLarge> {
        if root.len() > ROOT_MAX_BYTES {
            return Err(RootTooLarge { bytes: root.len() });
        }
        self.root = Some(root.to_vec());
        Ok(())
    }

    /// Completes the image.
    #[must_use]
    pub fn finish(mut self, encoder: &mut ParityEncoder) -> SealedRegion<B> {
        let last_taken = (0..REGION_CLUSTERS).filter(|&n| self.space.is_taken(n)).map(|n| tile_of(n).band + 1).max();
        let used_bands = last_taken.unwrap_or(0);
        self.clear_gaps(used_bands);
        self.complete(used_bands, encoder)
    }

    /// Completes an image whose pixels, checksums and owners are as they are to be.
    pub(super) fn complete(mut self, used_bands: usize, encoder: &mut ParityEncoder) -> SealedRegion<B> {
        let rows = self.piece_crcs.chunks_exact(BAND_CLUSTERS);
        let mut row_crcs = rows.map(|p| crc::of_pieces([p[0], p[1], p[2], p[3]])).collect::<Vec<_>>();
        self.owners.sort_unstable_by_key(|entry| entry.first);
        let root = self.root.take();
        let ends = Ends::of(used_bands, self.owners.len(), root.as_ref().map(Vec::len));
        compose::write_header(&mut self.image, &self.identity, None);
        compose::write_bands(&mut self.image, used_bands, &row_crcs);
        let adler = self.write_parity(encoder, used_bands * CLUSTER_HEIGHT_PX, &ends, &mut row_crcs);
        compose::write_tail(&mut self.image, &ends, used_bands, adler);
        let tables = Tables {
            identity: self.identity,
            used_bands,
            root: root.as_ref().map(|root| RootMark { bytes: root.len() as u32, crc: crc32fast::hash(root) }),
            cluster_crcs: self.cluster_crcs,
            row_crcs,
            owners: self.owners,
        };
        let encoded = tables.encode();
        let len = compose::write_end(&mut self.image, &ends, &encoded, root.as_deref());
        SealedRegion { image: self.image, len, tables_crc: super::tables::crc_of(&encoded), tables }
    }

    /// Zeros in the clusters of used bands that nobody took.
    fn clear_gaps(&mut self, used_bands: usize) {
        let squares = used_bands.div_ceil(BAND_CLUSTERS);
        for number in 0..squares * SQUARE_CLUSTERS {
            if !self.space.is_taken(number) && tile_of(number).band < used_bands {
                self.fill_cluster(number, &mut Source { parts: &[], current: &[] });
            }
        }
    }

    /// Writes the parity chunk and appends the checksums of its rows. The same pass over the pixels takes their Adler-32.
    #[expect(clippy::expect_used, reason = "a row's range has the length of a row")]
    fn write_parity(&mut self, encoder: &mut ParityEncoder, used_rows: usize, ends: &Ends, row_crcs: &mut Vec<u32>) -> u32 {
        let (pixels, parity) = self.image.split_at_mut(ends.parity + CHUNK_HEAD_BYTES);
        let mut adler = simd_adler32::Adler32::new();
        let row = |n: usize| {
            let filtered = &pixels[filter_offset(n)..][..FILTERED_ROW_BYTES];
            adler.write(filtered);
            filtered[1..].first_chunk().expect("a whole row")
        };
        encoder.encode(used_rows, row, |n, row| {
            parity[n * ROW_BYTES..][..ROW_BYTES].copy_from_slice(row);
            row_crcs.push(crc32fast::hash(row));
        });
        let adler = adler.finish();
        compose::frame_parity(&mut self.image, ends, &row_crcs[REGION_SIDE_PX..]);
        adler
    }
}

/// What is left to gather.
struct Source<'a> {
    parts: &'a [&'a [u8]],
    current: &'a [u8],
}

impl Source<'_> {
    /// Fills `out` with the next bytes, and with zeros when there are none left. Returns its CRC32: taken where the bytes come from if
    /// they lie there in one piece, because where they go the processor would wait for its own writing.
    fn fill(&mut self, out: &mut [u8]) -> u32 {
        if self.current.is_empty()
            && let Some((next, parts)) = self.parts.split_first()
        {
            (self.current, self.parts) = (next, parts);
        }
        if let Some((bytes, left)) = self.current.split_at_checked(out.len()) {
            let crc = crc32fast::hash(bytes);
            out.copy_from_slice(bytes);
            self.current = left;
            return crc;
        }
        self.fill_from_parts(out);
        crc32fast::hash(out)
    }

    fn fill_from_parts(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            if self.current.is_empty() {
                let Some((next, parts)) = self.parts.split_first() else { return out.fill(0) };
                (self.current, self.parts) = (next, parts);
            }
            let step = out.len().min(self.current.len());
            let (head, rest) = out.split_at_mut(step);
            let (bytes, left) = self.current.split_at(step);
            head.copy_from_slice(bytes);
            (out, self.current) = (rest, left);
        }
    }
}

/// A finished image, ready for one write; readable until it is durable.
pub struct SealedRegion<B> {
    image: B,
    len: usize,
    tables_crc: u32,
    tables: Tables,
}

impl<B: DerefMut<Target = [u8]>> SealedRegion<B> {
    /// The bytes of the file: a multiple of 4096, at the start of the buffer.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.image[..self.len]
    }

    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.tables.identity
    }

    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// CRC32 of the tables ([`Tables::crc`]), for the row of the region.
    #[must_use]
    pub fn tables_crc(&self) -> u32 {
        self.tables_crc
    }

    /// The bytes of a cluster; `None` for one that nobody has.
    #[must_use]
    pub fn cluster(&self, cluster: Cluster) -> Option<ClusterPieces<'_>> {
        self.tables.owner_of(cluster).and_then(|_| ClusterPieces::at(&self.image, 0, cluster))
    }

    /// An image that stands in its buffer as it was written.
    pub(super) fn of(image: B, len: usize, tables: &Tables) -> Self {
        Self { image, len, tables_crc: tables.crc(), tables: tables.clone() }
    }

    /// Gives the buffer back.
    #[must_use]
    pub fn into_buffer(self) -> B {
        self.image
    }
}
