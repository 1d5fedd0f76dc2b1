//! Which bytes of files were found lost.
//!
//! Owns: `DamageList`. Must be true: DML-1 it is bounded, and what it did not keep is counted, each once as far as it can be told; DML-2 to
//! note something waits for nobody, and whoever reads the list holds it for a short step: any thread may, in any turn; DML-3 bytes of a
//! file at one place are listed once, with when they were first noticed and by whom. Fails: never. It is a help, not a truth: whoever shows
//! it asks the tables which of it still is so.

use crate::clock::Clock;
use infmap_storage::address::{Cluster, Generation, Place, RegionId};
use infmap_storage::damage::Damage;
use infmap_storage::row::{Inode, Time};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Entries that are kept at most.
const KEPT_MAX: u64 = 65_536;
/// One is kept for so many bytes of the budget of memory, if that is less.
const BUDGET_BYTES: u64 = 4096;

/// Entries that are copied before others get their turn.
const STEP: usize = 1024;

/// The least and the greatest name of an image.
const FIRST: RegionId = RegionId { place: Place(0), generation: Generation(0) };
const LAST: RegionId = RegionId { place: Place(u32::MAX), generation: Generation(u64::MAX) };

/// Who noticed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody wanted the bytes: a file was read, written in part, or moved.
    Read,
    /// The scan of all images.
    Scrub,
}

impl Source {
    /// As people and programs are told.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Scrub => "scrub",
        }
    }

    /// The source of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Read, Self::Scrub].into_iter().find(|source| source.name() == name)
    }
}

/// Something that was noticed. Its time is known, its names are not looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    pub damage: Damage,
    pub source: Source,
}

/// Images together, so that what lay in one can be taken out.
type Key = (RegionId, Cluster, Inode, u64);

struct Entries {
    kept: BTreeMap<Key, Noted>,
    /// The same by file and offset.
    by_file: BTreeSet<(Inode, u64, RegionId, Cluster)>,
    kept_max: usize,
    /// What an earlier mount did not keep.
    not_kept_before: u64,
    /// What this one did not, as hashes; no more than are kept.
    not_kept: HashSet<u64>,
    /// Counts changes.
    version: u64,
}

/// What became of something that was noticed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noticed {
    Known,
    Kept,
    /// The list was full, for the first time or not.
    First,
    More,
}

fn kept_max(budget_bytes: u64) -> usize {
    (budget_bytes / BUDGET_BYTES).min(KEPT_MAX) as usize
}

/// What was noticed, by place.
pub struct DamageList {
    clock: Arc<dyn Clock>,
    entries: Mutex<Entries>,
    changed: Condvar,
    /// As many as are kept, for whoever only wants to know whether there is any.
    count: AtomicUsize,
}

impl DamageList {
    /// A list whose size suits so many bytes of memory in all.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, budget_bytes: u64) -> Self {
        let kept_max = kept_max(budget_bytes);
        let (kept, by_file, not_kept) = (BTreeMap::new(), BTreeSet::new(), HashSet::new());
        let entries = Entries { kept, by_file, kept_max, not_kept_before: 0, not_kept, version: 0 };
        Self { clock, entries: Mutex::new(entries), changed: Condvar::new(), count: AtomicUsize::new(0) }
    }

    /// Has it suit so many bytes of memory in all. What is kept already stays.
    pub fn set_budget(&self, budget_bytes: u64) {
        self.entries.lock().kept_max = kept_max(budget_bytes);
    }

    /// Takes notice of bytes that are lost. What is known already stays as it was first noticed. Returns whether it is new on the list.
    pub fn note(&self, damage: Damage, source: Source) -> bool {
        let key = key_of(&damage);
        let when = damage.when.or_else(|| Some(self.now()));
        let noted = Noted { damage: Damage { when, paths: Vec::new(), ..damage }, source };
        let mut noticed = Noticed::Known;
        self.change(|entries| {
            noticed = entries.insert(key, noted);
            // Whoever waits is not woken for each that is not kept.
            entries.version += u64::from(noticed == Noticed::More);
            matches!(noticed, Noticed::Kept | Noticed::First)
        });
        if noticed == Noticed::First {
            tracing::error!("the list of damage is full: what else is found lost is counted only; `infmap check` names all of it");
        }
        if noticed != Noticed::Known {
            metrics::counter!("infmap_integrity_unrepairable_total", "source" => source.name()).increment(1);
        }
        noticed == Noticed::Kept
    }

    /// An image is as it was written again: nothing that lay in it is lost.
    pub fn mended(&self, region: RegionId) {
        self.change(|entries| {
            let keys = entries.kept.range(first_of(region)..=last_of(region)).map(|(key, _)| *key).collect();
            entries.remove(keys) > 0
        });
    }

    /// Bytes of a file are about to be others: what lay in them is of no interest any more, if it lay nowhere else.
    pub fn replaced(&self, inode: Inode, from: u64, to: u64) {
        if self.is_empty() {
            return;
        }
        self.change(|entries| {
            let inside = entries.by_file.range((inode, from, FIRST, Cluster::FIRST)..=(inode, to, LAST, Cluster::LAST));
            let is_covered =
                |key: &Key| entries.kept.get(key).is_some_and(|noted| noted.damage.offset.saturating_add(noted.damage.length) <= to);
            let keys = inside.map(|(inode, offset, region, cluster)| (*region, *cluster, *inode, *offset)).filter(is_covered).collect();
            entries.remove(keys) > 0
        });
    }

    /// Takes entries out, and says how many. They come back when they are met again.
    pub fn forget(&self, which: impl Fn(&Noted) -> bool) -> usize {
        let mut count = 0;
        self.change(|entries| {
            count = entries.remove(entries.kept.iter().filter(|(_, noted)| which(noted)).map(|(key, _)| *key).collect());
            count > 0
        });
        count
    }

    /// Takes these out.
    pub fn forget_these(&self, damages: &[Damage]) {
        self.change(|entries| entries.remove(damages.iter().map(key_of).collect()) > 0);
    }

    /// Forgets that there was more than was kept.
    pub fn forget_not_kept(&self) {
        self.change(|entries| {
            let count = entries.count_not_kept();
            (entries.not_kept_before, entries.not_kept) = (0, HashSet::new());
            count > 0
        });
    }

    /// What an earlier mount had noticed.
    pub fn restore(&self, noted: Vec<Noted>, not_kept: u64) {
        self.change(|entries| {
            entries.not_kept_before = entries.not_kept_before.max(not_kept);
            for noted in noted {
                entries.insert(key_of(&noted.damage), noted);
            }
            false
        });
    }

    /// All entries, in the order of their places, and how many were not kept. What changes meanwhile may be among them or not.
    #[must_use]
    pub fn all(&self) -> (Vec<Noted>, u64) {
        let (mut all, mut after) = (Vec::new(), Bound::Unbounded);
        loop {
            let entries = self.entries.lock();
            let before = all.len();
            for (key, noted) in entries.kept.range((after, Bound::Unbounded)).take(STEP) {
                after = Bound::Excluded(*key);
                all.push(noted.clone());
            }
            if all.len() - before < STEP {
                return (all, entries.count_not_kept());
            }
        }
    }

    /// At least `count` entries behind a byte of an inode, if there are so many, in the order of inodes and offsets; those of one offset
    /// together. And how many were not kept.
    #[must_use]
    pub fn behind(&self, after: Option<(Inode, u64)>, count: usize) -> (Vec<Noted>, u64) {
        let entries = self.entries.lock();
        let from = after.map_or(Bound::Unbounded, |(inode, offset)| Bound::Excluded((inode, offset, LAST, Cluster::LAST)));
        let mut page: Vec<Noted> = Vec::new();
        for (inode, offset, region, cluster) in entries.by_file.range((from, Bound::Unbounded)) {
            if page.len() >= count && page.last().is_none_or(|last| (last.damage.inode, last.damage.offset) != (*inode, *offset)) {
                break;
            }
            page.extend(entries.kept.get(&(*region, *cluster, *inode, *offset)).cloned());
        }
        (page, entries.count_not_kept())
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number that is another after each change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.entries.lock().version
    }

    /// Waits until the version is another than `seen`, or `ended` says that nobody waits any more, and gives it. For a thread of its own.
    pub fn wait_for_change(&self, seen: u64, ended: impl Fn() -> bool) -> u64 {
        let mut entries = self.entries.lock();
        self.changed.wait_while(&mut entries, |entries| entries.version == seen && !ended());
        entries.version
    }

    /// Has whoever waits for a change look whether that has ended.
    pub fn wake(&self) {
        let _entries = self.entries.lock();
        self.changed.notify_all();
    }

    fn now(&self) -> Time {
        Time::from_unix_ns(self.clock.wall_ns())
    }

    fn change(&self, body: impl FnOnce(&mut Entries) -> bool) {
        let mut entries = self.entries.lock();
        if body(&mut entries) {
            entries.version += 1;
            self.changed.notify_all();
        }
        self.count.store(entries.kept.len(), Ordering::Relaxed);
    }
}

impl Entries {
    fn insert(&mut self, key: Key, noted: Noted) -> Noticed {
        if self.kept.contains_key(&key) {
            return Noticed::Known;
        }
        if self.kept.len() < self.kept_max {
            let (region, cluster, inode, offset) = key;
            self.by_file.insert((inode, offset, region, cluster));
            self.kept.insert(key, noted);
            return Noticed::Kept;
        }
        let is_first = self.not_kept.is_empty();
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let is_new = self.not_kept.len() < self.kept_max && self.not_kept.insert(hasher.finish());
        match (is_new, is_first) {
            (true, true) => Noticed::First,
            (true, false) => Noticed::More,
            (false, _) => Noticed::Known,
        }
    }

    /// At least so many: what was met by an earlier mount may have been met again.
    fn count_not_kept(&self) -> u64 {
        self.not_kept_before.max(self.not_kept.len() as u64)
    }

    fn remove(&mut self, keys: Vec<Key>) -> usize {
        for (region, cluster, inode, offset) in &keys {
            self.by_file.remove(&(*inode, *offset, *region, *cluster));
        }
        keys.iter().filter(|key| self.kept.remove(key).is_some()).count()
    }
}

fn key_of(damage: &Damage) -> Key {
    (damage.at.region, damage.at.cluster, damage.inode, damage.offset)
}

fn first_of(region: RegionId) -> Key {
    (region, Cluster::FIRST, Inode(0), 0)
}

fn last_of(region: RegionId) -> Key {
    (region, Cluster::LAST, Inode(u64::MAX), u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RealClock;
    use infmap_storage::address::Address;
    use infmap_storage::damage::Found;

    fn damage(place: u32, cluster: usize, inode: u64, offset: u64) -> Damage {
        let region = RegionId { place: Place(place), generation: Generation(7) };
        let at = Address { region, cluster: Cluster::new(cluster).expect("a cluster") };
        let (paths, found) = (Vec::new(), Found::Missing);
        Damage { inode: Inode(inode), paths, offset, length: 4096, at, expected_crc: 1, found, when: None }
    }

    fn list(kept_max: u64) -> DamageList {
        DamageList::new(Arc::new(RealClock::new()), kept_max * BUDGET_BYTES)
    }

    #[test]
    fn what_is_noticed_again_stays_as_it_was_first_noticed() {
        let list = list(10);
        list.note(damage(1, 2, 3, 0), Source::Read);
        let (first, _) = list.all();
        assert!(first[0].damage.when.is_some());
        let version = list.version();
        list.note(damage(1, 2, 3, 0), Source::Scrub);
        assert_eq!((list.all().0, list.len(), list.version()), (first, 1, version));
        list.note(damage(1, 2, 3, 4096), Source::Scrub);
        assert_eq!((list.len(), list.all().0[1].source), (2, Source::Scrub), "another row may use the same cluster");
    }

    #[test]
    fn what_is_not_kept_is_counted_once() {
        let list = list(6);
        assert_eq!((0..10).filter(|n| list.note(damage(1, *n, 3, 0), Source::Read)).count(), 6);
        assert_eq!((list.len(), list.all().1), (6, 4));
        let version = list.version();
        assert_eq!((0..10).filter(|n| list.note(damage(1, *n, 3, 0), Source::Read)).count(), 0);
        assert_eq!((list.all().1, list.version()), (4, version), "all of it is known");
        list.note(damage(1, 10, 3, 0), Source::Read);
        assert!(list.all().1 == 5 && list.version() != version);
        let noted = (11..1000).filter(|n| list.note(damage(1, *n, 3, 0), Source::Read));
        assert_eq!(noted.count(), 0);
        assert_eq!(list.all().1, 6, "it is bounded");
        list.restore(vec![Noted { damage: damage(2, 0, 3, 0), source: Source::Read }], 9);
        assert_eq!((list.len(), list.all().1), (6, 9));
        list.forget_not_kept();
        assert_eq!((list.forget(|_| true), list.all().1, list.is_empty()), (6, 0, true));
    }

    #[test]
    fn a_mended_image_takes_its_entries_along_and_no_others() {
        let list = list(10);
        for (place, n) in [(1, 0), (2, 0), (2, 1023), (3, 1023)] {
            list.note(damage(place, n, u64::MAX, 0), Source::Read);
        }
        list.mended(RegionId { place: Place(2), generation: Generation(6) });
        assert_eq!(list.len(), 4, "another generation is another image");
        list.mended(RegionId { place: Place(2), generation: Generation(7) });
        let places: Vec<u32> = list.all().0.iter().map(|noted| noted.damage.at.region.place.0).collect();
        assert_eq!(places, [1, 3]);
    }

    #[test]
    fn only_what_is_replaced_as_a_whole_goes() {
        let list = list(100);
        list.note(damage(1, 0, 3, 8192), Source::Read);
        [(3, 8192, 12_287), (3, 8193, 20_000), (4, 0, u64::MAX)].into_iter().for_each(|(i, from, to)| list.replaced(Inode(i), from, to));
        assert_eq!(list.len(), 1);
        list.replaced(Inode(3), 8192, 12_288);
        assert!(list.is_empty());
        // Of many, those in the range.
        for n in 0..100 {
            list.note(damage(n, 0, 3 + u64::from(n % 2), 4096 * u64::from(n)), Source::Read);
        }
        list.replaced(Inode(4), 0, 4096 * 50);
        let left: Vec<u64> = list.all().0.iter().map(|noted| noted.damage.offset / 4096).collect();
        assert_eq!(left, (0..100).filter(|n| n % 2 == 0 || *n >= 50).collect::<Vec<_>>());
    }

    #[test]
    fn it_is_read_in_pages_by_file_and_as_a_whole_by_place() {
        let list = list(5000);
        // Two images may have lost bytes of one offset: those are not torn.
        let noted = (0..4000).filter(|n| list.note(damage(9 - n / 2000, 0, 3, u64::from(n % 2000) * 4096), Source::Read));
        assert_eq!(noted.count(), 4000);
        assert_eq!(list.all().0.len(), 4000);
        assert!(list.all().0.is_sorted_by_key(|noted| noted.damage.at));
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (page, _) = list.behind(after, 333);
            let Some(last) = page.last() else { break };
            after = Some((last.damage.inode, last.damage.offset));
            assert!(page.len() == 334 || seen.len() + page.len() == 4000, "{}", page.len());
            seen.extend(page);
        }
        assert!(seen.len() == 4000 && seen.is_sorted_by_key(|noted| noted.damage.offset));
        list.forget_these(&[seen[0].damage.clone(), seen[7].damage.clone()]);
        assert_eq!((list.len(), list.behind(None, 1).0), (3998, vec![seen[1].clone()]));
    }

    #[test]
    fn who_waits_hears_of_a_change() {
        let list = Arc::new(list(10));
        let (seen, waits) = (list.version(), list.clone());
        let waiter = std::thread::spawn(move || waits.wait_for_change(seen, || false));
        list.note(damage(1, 0, 3, 0), Source::Read);
        assert_ne!(waiter.join().expect("it ends"), seen);
        list.wake();
        let seen = list.version();
        assert_eq!(list.wait_for_change(seen, || true), seen);
    }
}
