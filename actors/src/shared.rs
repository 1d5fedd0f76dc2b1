//! What the actors of one volume share: the published tree, live rows, caches, budgets, health.
//!
//! Owns: `Shared`, `Published`, `LiveRows`, `Budget`, `Health`, `DamageList`. Must be true: O6 a published tree and a live row are there
//! before the answer of the change leaves; a reader loads the live row first and the tree second; a lease (an `Arc<Published>`) is held no
//! longer than one request. Fails: never; `Health` says when the volume has become read-only, and why.

mod budget;
mod damage;
mod encoders;
mod figures;
mod health;
mod live;
mod reclaim;
mod spares;
mod streams;

pub use budget::{Budget, NoRoom};
pub use damage::{DamageList, Noted, Source};
pub use encoders::Encoders;
pub use figures::Figures;
pub use health::{Health, Turned};
pub use live::LiveRows;
pub use reclaim::{Reclaim, dead};
pub use spares::{FOR_ROOTS, HELD, Spares};
pub use streams::Streams;

use crate::api::{Answer, Attributes, Refusal};
use crate::clock::Clock;
use crate::scanner::{Board, Suspects};
use crate::settings::Settings;
use arc_swap::{ArcSwap, Guard};
use infmap_storage::blocks::BlockPool;
use infmap_storage::buffer::BufferPool;
use infmap_storage::device::Device;
use infmap_storage::images::Images;
use infmap_storage::limits::{CLUSTER_BYTES, REGION_BYTES};
use infmap_storage::nodes::NodeStore;
use infmap_storage::row::{FileKind, Inode, InodeRow, Time};
use infmap_storage::state::{StateError, View};
use infmap_storage::tiers::Tiers;
use infmap_storage::vat::{NodeSource, Tree, TreeId};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// A version of the tree that everybody may read. To hold it is a lease.
pub struct Published {
    pub names: Tree,
    /// Counts publications.
    pub number: u64,
    /// Inodes that exist.
    pub inodes: u64,
}

/// Everything that is shared.
pub struct Shared {
    pub uuid: [u8; 16],
    pub device: Arc<dyn Device>,
    /// The settings in force: [`Shared::settings`].
    pub tuned: ArcSwap<Settings>,
    /// Bytes of log that start a checkpoint at most: a share of the medium, or of the volume's limit.
    pub log_share: u64,
    pub clock: Arc<dyn Clock>,
    pub published: ArcSwap<Published>,
    pub live: LiveRows,
    pub images: Arc<Images>,
    pub nodes: NodeStore,
    pub tiers: Tiers,
    pub streams: Streams,
    pub blocks: BlockPool,
    pub reads: BufferPool,
    pub image_buffers: BufferPool,
    pub encoders: Encoders,
    pub budget: Budget,
    pub reclaim: Reclaim,
    pub health: Health,
    pub figures: Figures,
    pub damage: DamageList,
    pub spares: Spares,
    /// What is shown of the scanner.
    pub scrub: Board,
    /// Images that it is to look at soon.
    pub suspects: Suspects,
    /// Bytes that were ever handed to pixel writers.
    pub handed_out: AtomicU64,
    /// Pixel writers that ever got work: those that may have something open.
    pub most_writers: AtomicUsize,
    /// The pixel writers were told that something will come.
    pub expecting: AtomicBool,
    /// How often a file was given capabilities since the volume was opened.
    pub capabilities_given: AtomicU64,
    /// Who hears of inodes that lost suid, sgid or capabilities because somebody wrote: before that write is answered.
    pub on_privileges_cleared: OnceLock<Box<dyn Fn(Inode) + Send + Sync>>,
}

impl Shared {
    /// The settings in force. To be asked whenever one is needed: `volume::retune` changes them while the volume is in use.
    #[must_use]
    pub fn settings(&self) -> Guard<Arc<Settings>> {
        self.tuned.load()
    }

    /// Pixel writers that get work; those beyond, of their slots, seal what they have and rest.
    #[must_use]
    pub fn writers(&self) -> usize {
        self.settings().memory_plan().writer_threads
    }

    /// Pixel writers that may have something open: those that ever got work.
    #[must_use]
    pub fn most_writers(&self) -> usize {
        self.most_writers.load(Ordering::Acquire)
    }

    /// Now, as files have it.
    #[must_use]
    pub fn now(&self) -> Time {
        Time::from_unix_ns(self.clock.wall_ns())
    }

    /// The pixel writer, of those that get work, that the next `bytes` go to: one has a region's worth before the next has its turn, so that small
    /// files fill images together and large ones keep all writers busy.
    #[must_use]
    pub fn next_writer(&self, bytes: u64) -> usize {
        let before = self.handed_out.fetch_add(bytes, Ordering::Relaxed);
        (before / REGION_BYTES as u64) as usize % self.writers()
    }

    /// What `stat` shows: the row with the live row laid over it.
    #[must_use]
    pub fn attributes(&self, inode: Inode, row: &InodeRow) -> Attributes {
        let live = self.live.get(inode);
        LiveRows::overlay(Attributes::of(inode, row), row.version, live.as_ref())
    }

    /// Runs a query on the published tree with resident nodes only. `Miss` is for the pixel reader.
    ///
    /// # Errors
    /// Whatever the query fails with.
    pub fn query<T>(&self, body: impl FnOnce(View<'_>) -> Result<T, StateError>) -> Result<T, StateError> {
        let lease = self.published.load();
        body(View::new(&lease.names, &self.nodes.resident))
    }

    /// The same, waiting for the disk where nodes are not resident. Only on threads that may wait.
    ///
    /// # Errors
    /// Whatever the query fails with.
    pub fn query_waiting<T>(&self, body: impl FnOnce(View<'_>) -> Result<T, StateError>) -> Result<T, StateError> {
        let lease = self.published.load_full();
        body(View::new(&lease.names, &self.names()))
    }

    /// Nodes of the name tree, loaded where they are not resident.
    pub fn names(&self) -> impl NodeSource + '_ {
        self.nodes.loading(TreeId::Name)
    }

    /// The attributes of an inode, from resident nodes.
    ///
    /// # Errors
    /// `Miss`, or the inode is gone.
    pub fn attributes_of(&self, view: View<'_>, inode: Inode) -> Result<Attributes, StateError> {
        // The live row first: if it was let go, then for a tree that is newer than it and may be newer than the one in `view` (O6).
        let live = self.live.get(inode);
        let newest = if live.is_some() { None } else { view.on(&self.published.load().names).find_inode(inode)? };
        // One that lost its last name meanwhile is shown as it was.
        let row = newest.map_or_else(|| view.inode(inode), Ok)?;
        Ok(LiveRows::overlay(Attributes::of(inode, &row), row.version, live.as_ref()))
    }

    /// Touches the memory that a stream of writes will use: its first blocks, the image buffers, the tables of the parity code. The first
    /// touch of a page takes longer than what a write does with it.
    pub fn get_ready(&self) {
        self.blocks.fill(self.settings().memory_plan().ready_bytes() as usize / CLUSTER_BYTES);
        self.image_buffers.fill();
        self.encoders.lend(|_| ());
    }

    /// Keeps as many unused blocks as may be dirty. On the thread that made them, the allocator gives what is too much back to the system.
    pub fn stock_blocks(&self) {
        self.blocks.set_keep((self.settings().memory_plan().dirty / CLUSTER_BYTES as u64) as usize);
    }

    /// Refuses changes of a volume that is read-only.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn writable(&self) -> Answer<()> {
        if self.health.is_read_only() { Err(Refusal::ReadOnly) } else { Ok(()) }
    }

    /// What a caller hears of an error of the state; the details are logged here.
    #[must_use]
    pub fn refuse(&self, error: &StateError) -> Refusal {
        match error {
            StateError::Refused(refusal) => *refusal,
            StateError::Miss(_) => Refusal::Gone,
            other => {
                tracing::error!(error = %other, "metadata could not be used");
                self.health.found_unreadable();
                Refusal::Damaged
            }
        }
    }
}

/// Whether the content of a file of this kind is ours to keep.
#[must_use]
pub fn has_content(kind: FileKind) -> bool {
    kind == FileKind::Regular
}
