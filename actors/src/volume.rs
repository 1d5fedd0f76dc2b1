//! A volume in this process: everything that can be asked of it, without FUSE.
//!
//! Owns: the slots of all actors, the runtime's threads, and who still uses which inode. Every method returns at once; the answer comes
//! through the replier, perhaps before the method returns, perhaps from another thread ([`Volume::ask`] makes a future of it).
//! Must be true: what is answered was published (O6); names and attributes are answered from resident nodes without a message.
//! Fails: refusals; after [`Volume::close`] everything is refused as `Gone`.

mod batch;
mod bytes;
mod copy;
mod damage;
mod durable;
mod ending;
mod gate;
mod holds;
mod listing;
mod open;
mod places;
mod publish;
mod retune;
#[cfg(test)]
mod tests;
mod vitals;
mod warm;

pub use batch::{NewFile, ReadPart, Warmed, Which};
pub use copy::CopyRange;
pub use damage::DamagePage;
pub use open::{OpenError, OpenOptions, create};
pub use retune::{Kept, layout_refused};
pub use vitals::{PoolVitals, Vitals};
pub use warm::TierUse;

use crate::api::{Answer, AttributeChange, Attributes, NewNode, Refusal, Rename, RenameMode, SetXattr, SpaceUse};
use crate::cache::{CacheMessage, shard_of};
use crate::cleaner::{CleanMessage, Gained};
use crate::keeper::{KeeperMessage, note_space};
use crate::mailbox::Lane;
use crate::pixel_reader::ReadMessage;
use crate::pixel_writer::WriteMessage;
use crate::replier::{Replier, Reply, Unanswered};
use crate::runtime::Runtime;
use crate::runtime::actix_pool::ActixPools;
use crate::scanner::{Order, ScanMessage, ScrubAnswer};
use crate::shared::{NoRoom, Shared, has_content};
use crate::slot::Address;
use crate::vat::{Done, NameOp, VatMessage};
use crate::watchdog::{Watch, Watchdog};
use durable::Covers;
use gate::Gate;
use holds::Holds;
use infmap_storage::names::{Removed, check_xattr_name, is_access_due};
use infmap_storage::row::{EntryRow, FileKind, Inode};
use infmap_storage::state::{StateError, View};
use parking_lot::Mutex;
use std::sync::Arc;

pub use crate::pixel_reader::ReadData;

impl Unanswered for Refusal {
    fn unanswered() -> Self {
        Self::Gone
    }
}

/// Inodes come out of the same space as all else: one costs a few hundred bytes of tables.
const INODE_BYTES: u64 = 512;

/// An open volume.
pub struct Volume {
    front: Arc<Front>,
    keeper: Address<KeeperMessage>,
    runtime: Arc<dyn Runtime>,
    watchdog: Arc<Watchdog>,
    /// It looks by itself until this is dropped.
    watch: Mutex<Option<Watch>>,
    writers: Vec<Address<WriteMessage>>,
    cleaner: Address<CleanMessage>,
    scanner: Address<ScanMessage>,
    pools: Option<Arc<ActixPools>>,
    /// One change of the settings at a time.
    retuning: Mutex<()>,
}

/// What answers need that come later.
struct Front {
    shared: Arc<Shared>,
    vat: Gate<VatMessage>,
    shards: Vec<Gate<CacheMessage>>,
    readers: Vec<Gate<ReadMessage>>,
    /// The same readers, for reads that first try to do without.
    reader_slots: Vec<Address<ReadMessage>>,
    holds: Holds,
}

impl Front {
    #[expect(clippy::indexing_slicing, reason = "`shard_of` is below the number of shards")]
    fn shard(&self, inode: Inode) -> &Gate<CacheMessage> {
        &self.shards[shard_of(inode, self.shards.len())]
    }

    /// An inode may have lost its last name and its last user.
    fn drop_if_unused(&self, inode: Inode) {
        if !self.holds.is_held(inode) {
            self.shard(inode).post(CacheMessage::Drop { inode });
        }
    }

    /// Somebody uses an inode `count` times less.
    fn forget(self: &Arc<Self>, inode: Inode, count: u64) {
        if self.holds.remove(inode, count) {
            let front = self.clone();
            let nameless = Replier::from_fn(move |links: Answer<u32>| {
                if links == Ok(0) {
                    front.drop_if_unused(inode);
                }
            });
            self.query(inode, move |_, view| Ok(view.inode(inode)?.links), nameless);
        }
    }

    /// Answers a question about the tree: at once if the nodes are resident, else from a reader.
    #[expect(clippy::indexing_slicing, reason = "a number modulo the number of readers, which is a constant above zero")]
    fn query<T: Send + 'static>(
        self: &Arc<Self>,
        spread: Inode,
        question: impl Fn(&Shared, View<'_>) -> Result<T, StateError> + Send + 'static,
        replier: Replier<Answer<T>>,
    ) {
        let shared = &self.shared;
        match shared.query(|view| question(shared, view)) {
            Err(StateError::Miss(_)) => {
                let ask = move |shared: &Shared| {
                    let answer = shared.query_waiting(|view| question(shared, view));
                    replier.reply(answer.map_err(|error| shared.refuse(&error)));
                };
                let reader = &self.readers[spread.0 as usize % self.readers.len()];
                reader.post(ReadMessage::Query(Box::new(ask)));
            }
            answer => replier.reply(answer.map_err(|error| shared.refuse(&error))),
        }
    }

    fn end(&self) {
        self.vat.end();
        self.shards.iter().for_each(Gate::end);
        self.readers.iter().for_each(Gate::end);
    }

    /// Requests that were held back.
    #[cfg(test)]
    fn withheld(&self) -> u64 {
        self.vat.stats().rejected + self.shards.iter().map(|shard| shard.stats().rejected).sum::<u64>()
    }

    fn posted(&self) -> u64 {
        let shards = self.shards.iter().map(Gate::stats);
        let readers = self.reader_slots.iter().map(Address::stats);
        shards.chain(readers).chain([self.vat.stats()]).map(|stats| stats.posted).sum()
    }

    /// Changes names or attributes. What makes the tables grow waits while the log is over its hard limit, unless there is no room for what
    /// would make it shorter: then the Vat decides.
    fn change_names(self: &Arc<Self>, op: NameOp, replier: Replier<Answer<Done>>) {
        let budget = &self.shared.budget;
        let seen = budget.releases();
        if op.adds() && budget.is_log_full() && budget.space() > 0 && !self.shared.health.is_read_only() {
            let front = self.clone();
            return budget.wait(NoRoom::Wait, seen, move || front.change_names(op, replier));
        }
        let replier = self.durable(Covers::Names, replier);
        self.vat.post(VatMessage::Names { op, replier });
    }
}

/// The attributes in an answer of the Vat.
fn attributes_of(done: Answer<Done>) -> Answer<Attributes> {
    match done? {
        Done::Attributes(attributes) => Ok(attributes),
        Done::Removed(_) | Done::Made(_) => Err(Refusal::Gone),
    }
}

impl Volume {
    /// Makes a future of a question: `volume.ask(|replier| volume.lookup(dir, b"name", replier)).await`.
    pub fn ask<T: Unanswered + Send + 'static>(&self, question: impl FnOnce(Replier<T>)) -> Reply<T> {
        let (replier, reply) = Replier::future();
        question(replier);
        reply
    }

    /// Touches the memory that the volume will write from: for one that is to be fast from the first byte, and whose memory need not
    /// stay small. Answers in some tens of milliseconds.
    pub fn get_ready(&self, replier: Replier<Answer<()>>) {
        self.keeper.post(Lane::Background, KeeperMessage::GetReady { replier });
    }

    /// Messages posted so far, by anybody, to the actors that answer requests: the Vat, the cache's shards and the pixel readers.
    #[must_use]
    pub fn posted(&self) -> u64 {
        self.front.posted()
    }

    /// Has somebody told of each inode that loses suid, sgid or capabilities by a write, before that write is answered. Once for a volume.
    pub fn on_privileges_cleared(&self, tell: impl Fn(Inode) + Send + Sync + 'static) {
        let _ = self.front.shared.on_privileges_cleared.set(Box::new(tell));
    }

    /// What is shared by the actors: for whoever shows figures.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.front.shared
    }

    /// What names whoever takes too long.
    #[must_use]
    pub fn watchdog(&self) -> &Arc<Watchdog> {
        &self.watchdog
    }

    /// Finds a name in a directory.
    pub fn lookup(&self, parent: Inode, name: &[u8], replier: Replier<Answer<Attributes>>) {
        let name = name.to_vec();
        let question = move |shared: &Shared, view: View<'_>| {
            let entry = batch::find(view, parent, &name)?;
            shared.attributes_of(view, entry)
        };
        self.front.query(parent, question, replier);
    }

    /// What `stat` shows.
    pub fn attributes(&self, inode: Inode, replier: Replier<Answer<Attributes>>) {
        self.front.query(inode, move |shared, view| shared.attributes_of(view, inode), replier);
    }

    /// Whether an inode is known to have no blocks: not, where its row is not in memory.
    #[must_use]
    pub fn is_without_blocks(&self, inode: Inode) -> bool {
        let shared = &self.front.shared;
        shared.query(|view| shared.attributes_of(view, inode)).is_ok_and(|attributes| attributes.blocks == 0)
    }

    /// Changes attributes; sizes and times of regular files through their shard (O10).
    pub fn change_attributes(&self, inode: Inode, change: AttributeChange, replier: Replier<Answer<Attributes>>) {
        if !change.has_possible_times() {
            return replier.reply(Err(Refusal::Invalid));
        }
        let replier = self.front.durable(Covers::File(inode), replier);
        self.front.shard(inode).post(CacheMessage::Change { inode, change, replier });
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, inode: Inode, replier: Replier<Answer<Vec<u8>>>) {
        self.front.query(inode, move |_, view| view.target(inode), replier);
    }

    /// Somebody read a file, a directory or a link. Noted if `always`, or if the last reading is not after the last change, or a day old.
    pub fn accessed(&self, inode: Inode, always: bool) {
        let shared = &self.front.shared;
        // What is not resident is looked at when it is read again.
        let Ok(seen) = shared.query(|view| shared.attributes_of(view, inode)) else { return };
        let at = shared.now();
        if shared.health.is_read_only() || !(always || is_access_due(seen.accessed, seen.modified, seen.changed, at)) {
            return;
        }
        if has_content(seen.kind) {
            self.front.shard(inode).post(CacheMessage::Accessed { inode, at });
        } else {
            self.front.change_names(NameOp::Accessed { inode, at }, Replier::ignored());
        }
    }

    /// The value of an extended attribute.
    pub fn xattr(&self, inode: Inode, name: Vec<u8>, replier: Replier<Answer<Vec<u8>>>) {
        if let Err(refusal) = check_xattr_name(&name) {
            return replier.reply(Err(refusal));
        }
        let question = move |_: &Shared, view: View<'_>| match view.xattr(inode, &name)? {
            Some(value) => Ok(value),
            None => Err(Refusal::NoAttribute.into()),
        };
        self.front.query(inode, question, replier);
    }

    /// The names of all extended attributes.
    pub fn xattr_names(&self, inode: Inode, replier: Replier<Answer<Vec<Vec<u8>>>>) {
        self.front.query(inode, move |_, view| view.xattr_names(inode), replier);
    }

    /// Sets an extended attribute; an access list sets the permission bits too.
    pub fn set_xattr(&self, what: SetXattr, replier: Replier<Answer<Attributes>>) {
        self.front.change_names(NameOp::SetXattr(what), replier.map(attributes_of));
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&self, inode: Inode, name: Vec<u8>, replier: Replier<Answer<Attributes>>) {
        self.front.change_names(NameOp::RemoveXattr { inode, name }, replier.map(attributes_of));
    }

    /// Makes a file, a directory or a special file, as the type bits of the mode say.
    pub fn create(&self, node: NewNode, replier: Replier<Answer<Attributes>>) {
        self.front.change_names(NameOp::Create(node), replier.map(attributes_of));
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, node: NewNode, target: Vec<u8>, replier: Replier<Answer<Attributes>>) {
        self.front.change_names(NameOp::Symlink(node, target), replier.map(attributes_of));
    }

    /// Gives an inode one more name.
    pub fn link(&self, inode: Inode, parent: Inode, name: Vec<u8>, replier: Replier<Answer<Attributes>>) {
        self.front.change_names(NameOp::Link { inode, parent, name }, replier.map(attributes_of));
    }

    /// Removes a name of anything but a directory.
    pub fn unlink(&self, parent: Inode, name: Vec<u8>, replier: Replier<Answer<()>>) {
        self.remove(NameOp::Unlink { parent, name }, replier);
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, parent: Inode, name: Vec<u8>, replier: Replier<Answer<()>>) {
        self.remove(NameOp::Rmdir { parent, name }, replier);
    }

    /// An operation that may take the last name from an inode.
    fn remove(&self, op: NameOp, replier: Replier<Answer<()>>) {
        let replier = self.removing(replier);
        self.front.change_names(op, replier);
    }

    fn removing(&self, replier: Replier<Answer<()>>) -> Replier<Answer<Done>> {
        let front = self.front.clone();
        replier.map(move |done: Answer<Done>| {
            if let Done::Removed(Some(Removed { inode, orphaned: true })) = done? {
                front.drop_if_unused(inode);
            }
            Ok(())
        })
    }

    /// Renames. When a file with unplaced bytes takes the place of another, its bytes go into the log before the rename does: whoever
    /// finds the new name after a crash finds the new content.
    pub fn rename(&self, rename: Rename, replier: Replier<Answer<()>>) {
        let question = {
            let rename = rename.clone();
            move |_: &Shared, view: View<'_>| {
                let target = view.entry(rename.new_parent, &rename.new_name)?;
                let source = view.entry(rename.parent, &rename.name)?;
                Ok(target.and(source).filter(|source| source.kind == FileKind::Regular))
            }
        };
        let replier = self.front.durable(Covers::Names, self.removing(replier));
        let (front, parent) = (self.front.clone(), rename.parent);
        let replaced = Replier::from_fn(move |replaced: Answer<Option<EntryRow>>| {
            let dirty = replaced.ok().flatten().map(|source| source.inode).filter(|inode| front.shared.live.get(*inode).is_some());
            let dirty = dirty.filter(|_| rename.mode != RenameMode::NoReplace);
            let message = VatMessage::Names { op: NameOp::Rename(rename), replier };
            match dirty {
                Some(inode) => {
                    let message = Box::new(message);
                    front.shard(inode).post(CacheMessage::FlushThen { inode, message });
                }
                None => front.vat.post(message),
            }
        });
        self.front.query(parent, question, replaced);
    }

    /// Answers when the bytes, attributes and names of an inode are durable.
    pub fn sync(&self, inode: Inode, _data_only: bool, replier: Replier<Answer<()>>) {
        self.front.shard(inode).post(CacheMessage::Sync { inode, replier });
    }

    /// Answers when everything that was done so far is durable.
    pub fn sync_all(&self, replier: Replier<Answer<()>>) {
        self.front.vat.post(VatMessage::Commit { replier });
    }

    /// Moves what lives out of images that are mostly dead, as much as one round does, and answers when these are free. What it gained is
    /// nothing when there is nothing worth it.
    pub fn clean(&self, replier: Replier<Answer<Gained>>) {
        self.cleaner.post(Lane::Foreground, CleanMessage::Clean { replier });
    }

    /// Has the scanner begin, pause, go on or leave off. What it is at, and what it found, is shown by `shared().scrub`.
    pub fn scrub(&self, order: Order, replier: Replier<ScrubAnswer>) {
        self.scanner.post(Lane::Foreground, ScanMessage::Order { order, replier });
    }

    /// Makes a root durable, so that the images alone hold everything.
    pub fn checkpoint(&self, replier: Replier<Answer<()>>) {
        self.front.vat.post(VatMessage::Checkpoint { replier });
    }

    /// How much there is and how much is free.
    pub fn space(&self, replier: Replier<Answer<SpaceUse>>) {
        let shared = &self.front.shared;
        let answer = shared.device.space().map_err(|_| Refusal::Damaged).map(|space| {
            // Others may have filled the disk since anybody looked.
            let free = note_space(shared, &space);
            let total = shared.settings().limit.unwrap_or(space.total_bytes).min(space.total_bytes);
            let available = shared.budget.space().min(total);
            let inodes = shared.published.load().inodes;
            let free_inodes = available / INODE_BYTES;
            SpaceUse {
                total_bytes: total,
                free_bytes: free.min(total),
                available_bytes: available,
                inodes: inodes + free_inodes,
                free_inodes,
            }
        });
        replier.reply(answer);
    }

    /// Somebody uses an inode once more: it outlives its names until as many [`Volume::forget`]s have come.
    pub fn hold(&self, inode: Inode) {
        self.front.holds.add(inode);
    }

    /// Somebody who had a file open closed it. A file that was emptied and written anew is made to follow its cut: see `docs/durability.md`.
    pub fn closed(&self, inode: Inode) {
        // Without a live row nothing is dirty.
        if self.front.shared.live.get(inode).is_some() {
            self.front.shard(inode).post(CacheMessage::Closed { inode });
        }
    }

    /// Somebody uses an inode `count` times less.
    pub fn forget(&self, inode: Inode, count: u64) {
        self.front.forget(inode, count);
    }

    /// Inodes that somebody uses.
    #[must_use]
    pub fn held(&self) -> usize {
        self.front.holds.count()
    }
}

impl Drop for Volume {
    /// Whoever is held back at a gate waits for nothing any more; some hold the front, which would never go.
    fn drop(&mut self) {
        self.front.end();
    }
}
