//! Opening a volume: recovery, then the actors in the order in which they need each other.

use super::gate::Gate;
use super::retune::tune_slots;
use super::{Front, Volume};
use crate::api::Refusal;
use crate::cache::{Cache, CacheMessage, ShardPeers, shard_of};
use crate::checkpointer::Checkpointer;
use crate::cleaner::Cleaner;
use crate::clock::{Clock, RealClock};
use crate::keeper::{Keeper, KeeperMessage, look_at_space};
use crate::mailbox::Lane;
use crate::pixel_reader::PixelReader;
use crate::pixel_writer::{PixelWriter, WriteMessage};
use crate::runtime::actix_pool::ActixPools;
use crate::runtime::{Home, Runtime, RuntimeError};
use crate::scanner::{Board, ScanMessage, Scanner, Suspects};
use crate::settings::{Damaged, Settings, WRITER_SLOTS};
use crate::shared::{Budget, DamageList, Encoders, Figures, Health, LiveRows, Published, Reclaim, Shared, Spares, Streams};
use crate::slot::{Address, WeakAddress, spawn};
use crate::vat::{Checkpoint, Peers, Vat, VatMessage};
use crate::wal::Wal;
use crate::watchdog::Watchdog;
use arc_swap::ArcSwap;
use infmap_storage::blocks::BlockPool;
use infmap_storage::buffer::BufferPool;
use infmap_storage::device::{Device, MemoryDevice, ReadOnlyDevice, RetryingDevice};
use infmap_storage::images::Images;
use infmap_storage::limits::CLUSTER_BYTES;
use infmap_storage::names::{Dropped, trim, trim_logged};
use infmap_storage::nodes::NodeStore;
use infmap_storage::recover::{RecoverError, Recovered, empty_root, first_change, recover};
use infmap_storage::region::IMAGE_MAX_BYTES;
use infmap_storage::row::{Inode, Time};
use infmap_storage::state::{State, StateError, Txn};
use infmap_storage::tiers::Tiers;
use infmap_storage::vat::{NodeSource, TreeId};
use infmap_storage::volume_file::{create_directories, restore_directories};
use infmap_storage::wal::{Appender, LogPosition, LogWriter, Lsn, RecordKind, WriteError, WriterSettings};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

/// Slots of the shards and of the readers: keys map to them for ever.
const SHARDS: usize = 64;
const READERS: usize = 64;
/// Inodes whose end a crash interrupted and that are taken up at a mount; more are at the next.
const UNFINISHED: usize = 100_000;

/// Why a volume does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Recover(#[from] RecoverError),
    #[error("the log cannot be written: {0}")]
    Log(#[from] WriteError),
    #[error("the tables cannot be read: {0}")]
    State(#[from] StateError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("the volume directory: {0}")]
    Device(#[from] std::io::Error),
}

/// One part in so many of the medium may be log when a checkpoint begins; the log may be twice that, and two roots keep theirs.
const LOG_SHARE: u64 = 16;
/// Two segments of the least size.
const LOG_LEAST_BYTES: u64 = 8 * 1024 * 1024;

/// Why a volume takes no changes when not even its log finds room.
const NO_ROOM: &str = "the disk is full: there is no room for a log segment; make room and mount it again";

/// How a volume is opened.
pub struct OpenOptions {
    pub uuid: [u8; 16],
    pub settings: Settings,
    /// Nothing is to be changed.
    pub read_only: bool,
}

/// Names of the pools of threads.
pub(super) mod pool {
    pub const VAT: &str = "vat";
    pub const CACHE: &str = "cache";
    pub const WRITER: &str = "pixel_writer";
    pub const READER: &str = "pixel_reader";
    pub const WAL: &str = "wal";
    pub const CHECKPOINTER: &str = "checkpointer";
    pub const CLEANER: &str = "cleaner";
    pub const SCANNER: &str = "scanner";
    pub const KEEPER: &str = "keeper";
}

impl Volume {
    /// Opens a volume on threads of its own.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(device: Arc<dyn Device>, options: OpenOptions) -> Result<Self, OpenError> {
        let actors = &options.settings.actors;
        let writers = options.settings.memory_plan().writer_threads;
        let pools = ActixPools::start(&[
            (pool::VAT, 1),
            (pool::CACHE, actors.cache.threads),
            (pool::WRITER, writers),
            (pool::READER, actors.pixel_reader.threads),
            (pool::WAL, 1),
            (pool::CHECKPOINTER, 1),
            (pool::CLEANER, 1),
            (pool::SCANNER, 1),
            (pool::KEEPER, 1),
        ])?;
        let runtime: Arc<dyn Runtime> = pools.clone();
        match Self::open_on(&runtime, device, options) {
            Ok(mut volume) => {
                volume.pools = Some(pools);
                *volume.watch.lock() = Some(volume.watchdog.start()?);
                Ok(volume)
            }
            Err(error) => {
                pools.stop();
                Err(error)
            }
        }
    }

    /// A new volume in memory, on threads of its own: for tests, and for programs that want the filesystem without the disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn in_memory(settings: Settings) -> Result<Self, OpenError> {
        let device: Arc<dyn Device> = Arc::new(MemoryDevice::new());
        let uuid = *b"a volume in RAM.";
        create_directories(device.as_ref()).map_err(std::io::Error::other)?;
        create(&device, uuid, 0, 0)?;
        Self::open(device, OpenOptions { uuid, settings, read_only: false })
    }

    /// Opens a volume on a runtime of the caller's: a deterministic one in tests.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_on(runtime: &Arc<dyn Runtime>, device: Arc<dyn Device>, mut options: OpenOptions) -> Result<Self, OpenError> {
        let log_share = log_share(&options.settings, device.as_ref());
        options.settings.durability.checkpoint_at = options.settings.durability.checkpoint_at.min(log_share);
        let settings = &options.settings;
        let plan = settings.memory_plan();
        // Zeros that stand for lost bytes must not be stored.
        let read_only = options.read_only || settings.mount.damaged == Damaged::Zero;
        let device = prepared(patient(device), read_only)?;
        let images = Arc::new(Images::new(device.clone(), settings.actors.pixel_reader.threads));
        let nodes = NodeStore::new(images.clone(), plan.nodes / 2);
        let began_us = runtime.clock().now_us();
        let mut recovered = recover(&device, options.uuid, &nodes)?;
        let health = Health::new(runtime.clock().clone());
        if let Some(fault) = &recovered.corrupt {
            health.fail(format!("the log is corrupt: {fault}"));
        }
        if read_only {
            health.ask_read_only("it was mounted read-only");
        }
        let mut log = start_log(&device, &recovered, settings, &health)?;
        if log.writer.is_some() {
            readable(&health, "what a crash left to be cut", finish_cuts(&nodes, &mut recovered, &mut log.appender))?;
        }
        let volatile = BlockPool::new((plan.dirty / CLUSTER_BYTES as u64) as usize);
        let published = Published { names: recovered.state.names.clone(), number: 1, inodes: recovered.state.inodes };
        let shared = Arc::new(Shared {
            uuid: options.uuid,
            clock: runtime.clock().clone(),
            damage: DamageList::new(runtime.clock().clone(), settings.memory.budget),
            published: ArcSwap::from_pointee(published),
            live: LiveRows::default(),
            images,
            nodes,
            tiers: Tiers::new(plan.l1, plan.l2),
            streams: Streams::new(settings.read_ahead_window()),
            blocks: volatile,
            reads: BufferPool::huge(settings.max_write() as usize, settings.actors.pixel_reader.threads + 2),
            image_buffers: BufferPool::huge(IMAGE_MAX_BYTES, plan.image_buffers),
            encoders: Encoders::new(plan.encoders),
            budget: Budget::new(plan.dirty),
            reclaim: Reclaim::default(),
            handed_out: std::sync::atomic::AtomicU64::new(0),
            most_writers: plan.writer_threads.into(),
            expecting: std::sync::atomic::AtomicBool::new(false),
            capabilities_given: std::sync::atomic::AtomicU64::new(0),
            on_privileges_cleared: std::sync::OnceLock::new(),
            spares: Spares::load(device.as_ref(), health.is_read_only())?,
            scrub: Board::default(),
            suspects: Suspects::default(),
            health,
            figures: Figures::default(),
            device,
            tuned: ArcSwap::from_pointee(options.settings),
            log_share,
        });
        tell_of_recovery(&shared, &recovered, began_us);
        look_at_space(&shared);
        spawn_all(runtime, shared, recovered, log)
    }
}

/// What opening found is shown from now on.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating")]
fn tell_of_recovery(shared: &Shared, recovered: &Recovered, began_us: u64) {
    let took_us = shared.clock.now_us().saturating_sub(began_us);
    metrics::gauge!("infmap_wal_replay_seconds").set(took_us as f64 / 1e6);
    metrics::gauge!("infmap_wal_replayed_bytes").set(recovered.replayed_bytes as f64);
    shared.figures.set_live_clusters(recovered.state.live_clusters);
    shared.figures.count_dirty_nodes(&recovered.state.gauge);
}

/// The log of a small medium, or of a volume that is to stay small, takes no more of it than a share.
fn log_share(settings: &Settings, device: &dyn Device) -> u64 {
    let total = device.space().map_or(u64::MAX, |space| space.total_bytes);
    (total.min(settings.limit.unwrap_or(u64::MAX)) / LOG_SHARE).max(LOG_LEAST_BYTES)
}

/// A device that is asked again when a read fails in passing, which is said and counted.
fn patient(device: Arc<dyn Device>) -> Arc<dyn Device> {
    let note = |what: &str, error: &std::io::Error| {
        tracing::warn!(%error, "the disk failed to {what} and is asked again");
        metrics::counter!("infmap_device_retries_total").increment(1);
    };
    Arc::new(RetryingDevice::new(device, Box::new(note)))
}

/// A device that takes no changes, or one that has all directories of a volume.
fn prepared(device: Arc<dyn Device>, read_only: bool) -> Result<Arc<dyn Device>, OpenError> {
    if read_only {
        return Ok(Arc::new(ReadOnlyDevice::new(device)));
    }
    for directory in restore_directories(device.as_ref())? {
        tracing::warn!(directory, "a directory of the volume was missing, as after a copy that leaves out empty ones; it was made again");
    }
    Ok(device)
}

/// The log of this mount; none if nothing may be changed.
struct Log {
    writer: Option<LogWriter>,
    appender: Appender,
}

fn writer_settings(settings: &Settings) -> WriterSettings {
    let whole = WriterSettings::default();
    // Small logs in small segments, so that a checkpoint frees most of them.
    let segment_bytes = whole.segment_bytes.min(settings.checkpoint_at() / 2).max(4 * 1024 * 1024);
    WriterSettings { segment_bytes, ..whole }
}

fn start_log(device: &Arc<dyn Device>, recovered: &Recovered, settings: &Settings, health: &Health) -> Result<Log, OpenError> {
    let writer_settings = writer_settings(settings);
    let group_limit = writer_settings.group_limit();
    match &recovered.position {
        Some(position) if !health.is_read_only() => {
            match LogWriter::start(device.clone(), position, writer_settings) {
                Ok(writer) => return Ok(Log { writer: Some(writer), appender: Appender::new(position, group_limit) }),
                // The header of a segment comes last: what failed has changed nothing.
                Err(WriteError::Failed { kind: ErrorKind::StorageFull, .. }) => health.open_without_room(NO_ROOM),
                Err(error) => return Err(error.into()),
            }
        }
        _ => {}
    }
    let epoch = recovered.state.generation.epoch();
    let (uuid, next_lsn) = (recovered.root.volume_uuid, recovered.replayed.next());
    let nowhere = LogPosition { uuid, epoch, next_lsn, previous_crc: 0, replayed_bytes: 0 };
    Ok(Log { writer: None, appender: Appender::new(&nowhere, group_limit) })
}

fn spawn_all(runtime: &Arc<dyn Runtime>, shared: Arc<Shared>, recovered: Recovered, log: Log) -> Result<Volume, OpenError> {
    let Recovered { state, root, data, .. } = recovered;
    let (actors, low) = (shared.settings().actors.clone(), root.low);
    let dead = state.dead(&shared.nodes.loading(TreeId::Volume), usize::MAX).map_err(OpenError::from);
    let dead = readable(&shared.health, "which images are dead", dead)?;
    let orphans = state.view(&shared.names()).orphans(UNFINISHED).map_err(OpenError::from);
    let orphans = readable(&shared.health, "which files have no name", orphans)?;
    let checkpoint = Checkpoint::after(&root, dead);
    let home = |pool, index| Home { pool, index };
    let vat = {
        let shared = shared.clone();
        spawn(runtime, home(pool::VAT, 0), actors.vat_mailbox, move |own| Vat::new(shared, own, state, log.appender, checkpoint))?
    };
    let reader = |n| spawn(runtime, home(pool::READER, n), actors.pixel_reader.mailbox, |_| PixelReader::new(shared.clone()));
    let readers = (0..READERS).map(reader).collect::<Result<Vec<_>, _>>()?;
    // On the Keeper's thread: no read waits behind what the Wal has done there.
    let errands = spawn(runtime, home(pool::KEEPER, 1), actors.pixel_reader.mailbox, |_| PixelReader::for_errands(shared.clone()))?;
    let wal =
        spawn(runtime, home(pool::WAL, 0), actors.wal_mailbox, |own| Wal::new(shared.clone(), log.writer, vat.clone(), errands, own, low))?;
    let writer =
        |n| spawn(runtime, home(pool::WRITER, n), actors.pixel_writer.mailbox, |own| PixelWriter::new(shared.clone(), own, vat.clone(), n));
    let writers = (0..WRITER_SLOTS).map(writer).collect::<Result<Vec<_>, _>>()?;
    let cleaner = spawn(runtime, home(pool::CLEANER, 0), 64, |own| Cleaner::new(shared.clone(), own, vat.clone()))?;
    let peers = ShardPeers { vat: vat.clone(), readers: readers.clone(), writers: writers.clone(), cleaner: cleaner.clone() };
    let mut logged = logged_files(&shared, data)?;
    let shard = |n| {
        let mine = logged.split_off_shard(n);
        spawn(runtime, home(pool::CACHE, n), actors.cache.mailbox, |own| {
            let mut shard = Cache::new(shared.clone(), own, peers.clone());
            mine.into_iter().for_each(|(inode, (row, blocks))| shard.restore(inode, &row, blocks));
            shard
        })
    };
    let shards = (0..SHARDS).map(shard).collect::<Result<Vec<_>, _>>()?;
    let scanner = spawn(runtime, home(pool::SCANNER, 0), 64, |own| Scanner::new(shared.clone(), own, vat.clone(), shards.clone()))?;
    tell_of_suspects(&shared, &scanner);
    let checkpointer = spawn(runtime, home(pool::CHECKPOINTER, 0), 64, |_| Checkpointer::new(shared.clone(), vat.clone()))?;
    let keeper =
        spawn(runtime, home(pool::KEEPER, 0), 64, |own| Keeper::new(shared.clone(), own, vat.clone(), cleaner.clone(), scanner.clone()))?;
    let (log, places) = (wal.clone(), writers.clone());
    // What the door asks for goes on from the Vat to the log, and from the shards to the writers: no room there is none here.
    let vat_gate = Gate::new(runtime, &vat, move || log.has_room());
    let shard_gate = |shard| {
        let (places, shared) = (places.clone(), shared.clone());
        Gate::new(runtime, shard, move || places.iter().take(shared.writers()).all(Address::has_room))
    };
    let shard_gates = shards.iter().map(shard_gate).collect();
    let reader_gates = readers.iter().map(|reader| Gate::new(runtime, reader, || true)).collect();
    tell_of_deaths(&shared, &vat, &shards, &writers);
    let budgets = shared.clone();
    let watchdog = Arc::new(Watchdog::new(runtime.clone(), Box::new(move || budgets.budget.holds_back())));
    let join = Peers { wal, shards, readers: readers.clone(), writers: writers.clone(), checkpointer };
    vat.post(Lane::Foreground, VatMessage::Join(Box::new(join)));
    tune_slots(runtime, &shared.settings());
    if !shared.health.is_read_only() {
        orphans.into_iter().for_each(|inode| vat.post(Lane::Background, VatMessage::Drop { inode }));
        keeper.post_after(shared.settings().durability.commit_interval, Lane::Foreground, KeeperMessage::Tick { series: 0 });
    }
    let front = Arc::new(Front {
        shared,
        vat: vat_gate,
        shards: shard_gates,
        readers: reader_gates,
        reader_slots: readers,
        holds: super::Holds::default(),
    });
    Ok(Volume {
        front,
        keeper,
        writers,
        cleaner,
        scanner,
        runtime: runtime.clone(),
        watchdog,
        watch: Mutex::default(),
        pools: None,
        retuning: Mutex::default(),
    })
}

/// Has the scanner told of each image that did not give a reader what it should.
fn tell_of_suspects(shared: &Arc<Shared>, scanner: &Address<ScanMessage>) {
    let (weak, scanner) = (Arc::downgrade(shared), scanner.downgrade());
    shared.images.on_suspect(move |region| {
        let Some((shared, scanner)) = weak.upgrade().zip(scanner.upgrade()) else { return };
        if shared.suspects.add(region, shared.clock.now_us()) {
            scanner.post(Lane::Foreground, ScanMessage::Suspect);
        }
    });
}

/// Has those told of the death of an actor who wait for others: for rows, for places, for what is durable.
fn tell_of_deaths(shared: &Shared, vat: &Address<VatMessage>, shards: &[Address<CacheMessage>], writers: &[Address<WriteMessage>]) {
    let vat = vat.downgrade();
    let shards: Vec<_> = shards.iter().map(Address::downgrade).collect();
    let writers: Vec<_> = writers.iter().map(Address::downgrade).collect();
    shared.health.on_death(move || {
        vat.upgrade().into_iter().for_each(|vat| vat.post(Lane::Foreground, VatMessage::ActorDied));
        shards.iter().filter_map(WeakAddress::upgrade).for_each(|shard| shard.post(Lane::Foreground, CacheMessage::ActorDied));
        writers.iter().filter_map(WeakAddress::upgrade).for_each(|writer| writer.post(Lane::Foreground, WriteMessage::ActorDied));
    });
}

/// What opening found out; or nothing, and a volume that is served read-only, where its tables cannot be read: one damaged node must not
/// keep anybody from all the others.
fn readable<T: Default>(health: &Health, what: &str, found: Result<T, OpenError>) -> Result<T, OpenError> {
    match found {
        Err(OpenError::State(error @ (StateError::Node(_) | StateError::Row(_) | StateError::Contradiction(_)))) => {
            health.fail(format!("the tables do not say {what}: {error}"));
            Ok(T::default())
        }
        other => other,
    }
}

/// Finishes the cuts that a crash interrupted, before anybody can write where they are still to be made.
fn finish_cuts(nodes: &NodeStore, recovered: &mut Recovered, appender: &mut Appender) -> Result<(), OpenError> {
    let source = nodes.loading(TreeId::Name);
    let state = &mut recovered.state;
    loop {
        let works = state.view(&source).works(UNFINISHED)?;
        if works.is_empty() {
            break;
        }
        for inode in works {
            while transact(state, &source, appender, |txn| trim(txn, inode))? == Dropped::More {}
        }
    }
    // Bytes that were logged under a size which never arrived.
    for inode in recovered.data.inodes() {
        let Some(row) = state.view(&source).find_inode(inode)? else { continue };
        if recovered.data.trim(inode, row.size) {
            transact(state, &source, appender, |txn| trim_logged(txn, inode))?;
        }
    }
    Ok(())
}

fn transact<T>(
    state: &mut State,
    source: &dyn NodeSource,
    appender: &mut Appender,
    body: impl FnOnce(&mut Txn<'_>) -> Result<T, StateError>,
) -> Result<T, OpenError> {
    let outcome = state.transact(source, body)?;
    let appended = appender.append(RecordKind::Changes, &[&outcome.payload], true);
    appended.map_err(|_| StateError::Refused(Refusal::BatchTooBig))?;
    Ok(outcome.value)
}

/// Files of which the log holds bytes, by inode.
struct LoggedFiles(BTreeMap<Inode, LoggedFile>);

type LoggedFile = (infmap_storage::row::InodeRow, Vec<(u64, infmap_storage::blocks::Block, u64)>);

impl LoggedFiles {
    fn split_off_shard(&mut self, shard: usize) -> Vec<(Inode, LoggedFile)> {
        let mine: Vec<Inode> = self.0.keys().copied().filter(|inode| shard_of(*inode, SHARDS) == shard).collect();
        mine.into_iter().filter_map(|inode| self.0.remove_entry(&inode)).collect()
    }
}

fn logged_files(shared: &Shared, data: infmap_storage::recover::LoggedData) -> Result<LoggedFiles, OpenError> {
    let source = shared.names();
    let lease = shared.published.load_full();
    let view = infmap_storage::state::View::new(&lease.names, &source);
    let mut files = BTreeMap::new();
    for (inode, number, sequence, bytes) in data.into_blocks() {
        if let std::collections::btree_map::Entry::Vacant(entry) = files.entry(inode) {
            let row = readable(&shared.health, "whose bytes the log holds", view.find_inode(inode).map_err(OpenError::from))?;
            let Some(row) = row else { continue };
            entry.insert((row, Vec::new()));
        }
        if let Some((_, blocks)) = files.get_mut(&inode) {
            blocks.push((number, shared.blocks.holding(0, &bytes), sequence));
        }
    }
    Ok(LoggedFiles(files))
}

/// Makes the log of a new volume in a directory that has its skeleton, with a root directory owned by `uid` and `gid`.
///
/// # Errors
/// See [`OpenError`].
pub fn create(device: &Arc<dyn Device>, uuid: [u8; 16], uid: u32, gid: u32) -> Result<(), OpenError> {
    let now = Time::from_unix_ns(RealClock::new().wall_ns());
    let root = empty_root(uuid);
    let nodes = NodeStore::new(Arc::new(Images::new(device.clone(), 1)), 1024 * 1024);
    let mut state = root.open(root.generation);
    let change = first_change(&mut state, &nodes, uid, gid, now)?;
    let position = LogPosition { uuid, epoch: root.generation.epoch(), next_lsn: Lsn::FIRST, previous_crc: 0, replayed_bytes: 0 };
    let mut writer = LogWriter::start(device.clone(), &position, writer_settings(&Settings::default()))?;
    let mut appender = Appender::new(&position, WriterSettings::default().group_limit());
    let appended = appender.append(RecordKind::Root, &[&root.encode()], true);
    let appended = appended.and_then(|_| appender.append(RecordKind::Changes, &[&change], true));
    appended.map_err(|_| StateError::Refused(Refusal::BatchTooBig))?;
    if let Some(batch) = appender.take(usize::MAX) {
        writer.write(&batch)?;
    }
    writer.sync()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_cannot_be_read_make_a_volume_read_only_and_nothing_else_does() {
        let health = Health::new(Arc::new(RealClock::new()));
        let damaged = || Err::<Vec<u64>, _>(OpenError::State(StateError::Contradiction("two rows")));
        let full = || Err::<Vec<u64>, _>(OpenError::State(StateError::Refused(Refusal::BatchTooBig)));
        assert!(readable(&health, "this", full()).is_err() && readable(&health, "this", Ok(vec![7])).is_ok_and(|found| found == [7]));
        assert!(!health.is_read_only());
        assert!(readable(&health, "this", damaged()).is_ok_and(|found| found.is_empty()));
        assert!(health.reason().is_some_and(|reason| reason.contains("do not say this")));
    }
}
