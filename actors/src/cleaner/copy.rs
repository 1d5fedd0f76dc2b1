//! The copying of a round: one image after the other is read, what is alive in it verified, and gathered into images of its own.
//!
//! Must be true: CLN-1; a row is handed out to be moved only when the image that it will name is durable under its name. CLN-5 an image
//! of which clusters are lost is left at the first that is met, and is no victim again while that is in use. Fails: an image of whose
//! clusters some cannot be verified, or that does not say whose they are, keeps those; an image that cannot be written ends the round.

use crate::keeper::look_at_space;
use crate::pixel_reader::notice;
use crate::shared::Shared;
use crate::vat::{Grant, NodeAt};
use infmap_storage::address::{Address, RegionId};
use infmap_storage::buffer::PooledBuf;
use infmap_storage::clean::{Candidate, Copy, Move, copies, is_live};
use infmap_storage::images::ImageError;
use infmap_storage::limits::{CLUSTER_BYTES, REGION_BYTES};
use infmap_storage::region::{Identity, OwnerEntry, OwnerKind, PlaceError, RegionBuilder};
use infmap_storage::row::{ExtentRow, Inode, RegionKind};
use infmap_storage::state::View;
use infmap_storage::vat::decode_orphan;
use std::collections::VecDeque;
use std::io;

/// Rows that are moved by one message: it may stand before the requests of people.
const ROWS_AT_ONCE: usize = 32;
/// Rows of a file that lie in one extent, at most; one that is cut into more stays.
const ROWS_OF_EXTENT: usize = 256;

/// Files of held room that are left for roots and for what was admitted.
const KEPT: usize = 4;

/// What a round gained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gained {
    /// Images that were cleaned, and bytes of their files.
    pub images: u64,
    pub image_bytes: u64,
    /// Images that were written for it, and bytes of their files.
    pub written: u64,
    pub written_bytes: u64,
    /// Rows that say another place now.
    pub rows: u64,
    /// Extents that stay where they are because their bytes cannot be verified.
    pub damaged: u64,
}

impl Gained {
    /// Bytes that come free.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.image_bytes.saturating_sub(self.written_bytes)
    }
}

/// An image that is being filled.
struct Open {
    builder: RegionBuilder<PooledBuf>,
    grant: Grant,
    moves: Vec<Move>,
}

/// A round's copying.
pub(super) struct Copying {
    victims: VecDeque<Candidate>,
    grants: VecDeque<Grant>,
    open: Option<Open>,
    ready: VecDeque<(Vec<Move>, Grant)>,
    nodes: Vec<NodeAt>,
    /// Something stays in the image that is being copied, so that it does not come free.
    stays: bool,
    /// First clusters of extents that are lost in part.
    lost: Vec<Address>,
}

impl Copying {
    pub(super) fn new(victims: Vec<Candidate>, grants: Vec<Grant>) -> Self {
        Self {
            victims: victims.into(),
            grants: grants.into(),
            open: None,
            ready: VecDeque::new(),
            nodes: Vec::new(),
            stays: false,
            lost: Vec::new(),
        }
    }

    /// Rows whose image is durable, a few at a time.
    pub(super) fn next_moves(&mut self) -> Option<(Vec<Move>, Grant)> {
        let (mut moves, grant) = self.ready.pop_front()?;
        // From the end, and rows of one unit together: the first of them makes its clusters live.
        let mut at = moves.len().saturating_sub(ROWS_AT_ONCE);
        while at > 0 && moves.get(at).map(|row| row.new.first) == moves.get(at - 1).map(|row| row.new.first) {
            at -= 1;
        }
        let some = moves.split_off(at);
        if !moves.is_empty() {
            self.ready.push_front((moves, grant.clone()));
        }
        Some((some, grant))
    }

    /// Nodes that are to be made anew.
    pub(super) fn next_nodes(&mut self) -> Option<Vec<NodeAt>> {
        (!self.nodes.is_empty()).then(|| std::mem::take(&mut self.nodes))
    }

    /// Extents that were found lost.
    pub(super) fn take_lost(&mut self) -> Vec<Address> {
        std::mem::take(&mut self.lost)
    }

    /// Copies the next image, or finishes the last one that is open. Returns whether there was something to do.
    pub(super) fn copy_next(&mut self, shared: &Shared, gained: &mut Gained) -> io::Result<bool> {
        let Some(victim) = self.victims.pop_front() else {
            let has_open = self.open.is_some();
            self.seal(shared, gained)?;
            return Ok(has_open);
        };
        self.stays = false;
        match self.copy(shared, &victim, gained) {
            // It would be chosen again and again, were it a gain.
            Ok(()) if self.stays => Ok(true),
            Ok(()) => {
                gained.images += 1;
                gained.image_bytes +=
                    shared.device.metadata(&victim.region.path()).ok().flatten().map_or(0, |metadata| metadata.size_bytes);
                Ok(true)
            }
            // To move the rest would cost room and give none back.
            Err(Stop::Lost) => Ok(true),
            Err(Stop::Image(error)) => {
                tracing::warn!(%error, "an image is not cleaned");
                Ok(true)
            }
            Err(Stop::NoPlace) => {
                self.victims.clear();
                Ok(true)
            }
            Err(Stop::Write(error)) => Err(error),
        }
    }

    fn copy(&mut self, shared: &Shared, victim: &Candidate, gained: &mut Gained) -> Result<(), Stop> {
        let tables = shared.images.tables(victim.region).map_err(Stop::Image)?;
        for entry in tables.owners().iter().filter(|entry| is_live(&victim.live, entry.first)) {
            match (entry.owner.kind, victim.kind) {
                (OwnerKind::Extent, RegionKind::Data) => self.copy_extent(shared, victim.region, entry, gained)?,
                (OwnerKind::Node, _) => self.note_node(shared, victim.region, entry),
                (OwnerKind::Extent, _) => {}
            }
        }
        Ok(())
    }

    fn copy_extent(&mut self, shared: &Shared, region: RegionId, entry: &OwnerEntry, gained: &mut Gained) -> Result<(), Stop> {
        let inode = Inode(entry.owner.inode);
        let rows = rows_of(shared, entry);
        self.stays |= rows.is_none();
        for copy in copies(region, entry, &rows.unwrap_or_default()) {
            let mut bytes = vec![0; copy.crcs.len() * CLUSTER_BYTES];
            match shared.images.read(copy.from, &copy.crcs, &mut bytes) {
                Ok(()) => self.place(shared, copy, &bytes, gained)?,
                Err(error) => {
                    tracing::warn!(%error, %inode, "an extent that cannot be verified stays where it is");
                    gained.damaged += 1;
                    self.stays = true;
                    let Ok(lost) = shared.images.read_what_is(copy.from, &copy.crcs, &mut bytes) else { continue };
                    let (lease, source) = (shared.published.load_full(), shared.names());
                    let (from, length) = (entry.owner.offset_bytes, u64::from(entry.owner.decoded_bytes));
                    notice(shared, View::new(&lease.names, &source), inode, from, length, &lost);
                    self.lost.push(Address { region, cluster: entry.first });
                    return Err(Stop::Lost);
                }
            }
        }
        Ok(())
    }

    fn place(&mut self, shared: &Shared, copy: Copy, bytes: &[u8], gained: &mut Gained) -> Result<(), Stop> {
        let stored = bytes.get(..copy.stored_bytes as usize).unwrap_or(bytes);
        for _ in 0..2 {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.begin(shared)?,
            };
            let region = open.grant.region();
            match open.builder.place_moved(copy.owner, &[stored], &copy.crcs) {
                Ok(placed) => {
                    let first = Address { region, cluster: placed.first };
                    open.moves.extend(copy.placed(first));
                    self.open = Some(open);
                    return Ok(());
                }
                Err(PlaceError::Full { .. }) => {
                    self.open = Some(open);
                    self.seal(shared, gained).map_err(Stop::Write)?;
                }
                Err(error @ PlaceError::Size { .. }) => {
                    tracing::warn!(%error, "an extent is not moved");
                    self.open = Some(open);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, shared: &Shared) -> Result<Open, Stop> {
        let grant = self.grants.pop_front().ok_or(Stop::NoPlace)?;
        let identity = Identity { volume: shared.uuid, region: grant.region(), kind: RegionKind::Data };
        let builder = RegionBuilder::new(shared.image_buffers.take(), identity).ok_or(Stop::NoPlace)?;
        Ok(Open { builder, grant, moves: Vec::new() })
    }

    /// Makes the open image durable; its rows can be moved then.
    fn seal(&mut self, shared: &Shared, gained: &mut Gained) -> io::Result<()> {
        let Some(Open { builder, grant, moves }) = self.open.take() else { return Ok(()) };
        let sealed = shared.encoders.lend(|encoder| builder.finish(encoder));
        shared.spares.install(shared.device.as_ref(), grant.region(), sealed.bytes(), KEPT)?;
        look_at_space(shared);
        gained.written += 1;
        gained.written_bytes += sealed.bytes().len() as u64;
        self.ready.push_back((moves, grant));
        Ok(())
    }

    /// A node is found by its own first key, or by that of what hangs below it.
    fn note_node(&mut self, shared: &Shared, region: RegionId, entry: &OwnerEntry) {
        let at = Address { region, cluster: entry.first };
        let header = shared.images.read_unverified(at, entry.clusters).ok().and_then(|bytes| decode_orphan(&bytes).ok());
        match header {
            Some((header, _)) => {
                let key = if header.level == 0 { header.first_key } else { header.last_key };
                self.nodes.push((header.tree, at, key));
            }
            None => self.stays = true,
        }
    }
}

/// The rows of a file in the range of an extent; `None` if they cannot be read, or are too many: what they use stays where it is.
fn rows_of(shared: &Shared, entry: &OwnerEntry) -> Option<Vec<(u64, ExtentRow)>> {
    let (inode, from) = (Inode(entry.owner.inode), entry.owner.offset_bytes);
    let to = from.saturating_add(u64::from(entry.owner.decoded_bytes));
    let lease = shared.published.load_full();
    let source = shared.names();
    match View::new(&lease.names, &source).extents(inode, from, to, ROWS_OF_EXTENT + 1) {
        Ok(rows) => (rows.len() <= ROWS_OF_EXTENT).then_some(rows),
        Err(error) => {
            tracing::warn!(%error, %inode, "an extent is not moved");
            None
        }
    }
}

/// Clusters of an image that rows and nodes really use; `None` if it does not say whose they are.
pub(super) fn used_clusters(shared: &Shared, candidate: &Candidate) -> Option<u64> {
    let tables = shared.images.tables(candidate.region).ok()?;
    let used = |entry: &OwnerEntry| match entry.owner.kind {
        OwnerKind::Node => entry.clusters,
        OwnerKind::Extent => {
            copies(candidate.region, entry, &rows_of(shared, entry).unwrap_or_default()).iter().map(|copy| copy.crcs.len()).sum()
        }
    };
    let live = tables.owners().iter().filter(|entry| is_live(&candidate.live, entry.first));
    Some(live.map(used).sum::<usize>() as u64)
}

/// Why an image is not copied, or not to its end.
enum Stop {
    /// It does not say whose its clusters are.
    Image(ImageError),
    /// Some of it is lost.
    Lost,
    /// Nothing more can be placed in this round.
    NoPlace,
    Write(io::Error),
}

const _: () = assert!(ROWS_OF_EXTENT * CLUSTER_BYTES <= REGION_BYTES);
