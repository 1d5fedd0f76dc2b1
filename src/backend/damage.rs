//! The list of damage outside of a process: kept in a file of the volume from mount to mount, and shown of a volume that is not mounted.
//!
//! Owns: `run/damage.json`, `Kept`, `Recorder`. Must be true: the file is replaced as a whole, and at most every few seconds; one that
//! cannot be understood is set aside and no reason to stop; OFF-1 to list it changes nothing. Fails: a medium that cannot be written keeps
//! no list.

use super::{BackendError, offline, refusal};
use crate::control::protocol::LostRange;
use infmap_actors::Volume;
use infmap_actors::shared::{DamageList, Noted};
use infmap_storage::check::Offline;
use infmap_storage::damage::{Damage, Resolved, resolve};
use infmap_storage::device::{Device, FileDevice, read_all, write_whole};
use infmap_storage::images::Images;
use infmap_storage::row::Inode;
use infmap_storage::state::View;
use infmap_storage::vat::TreeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

const FILE: &str = "run/damage.json";
/// Where one goes that cannot be understood.
const ASIDE: &str = "run/damage.json.unread";
const VERSION: u32 = 1;
/// Bytes of the file at most: 65,536 entries take half of it.
const FILE_MAX_BYTES: usize = 64 << 20;
/// Between two times that it is written.
const PAUSE: Duration = Duration::from_secs(2);

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Text {
    version: u32,
    #[serde(default)]
    not_kept: u64,
    #[serde(default)]
    ranges: Vec<LostRange>,
}

/// What is known of a volume's damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub noted: Vec<Noted>,
    /// How many names of an inode are not told, if there are such.
    pub unnamed: BTreeMap<Inode, u64>,
    pub not_kept: u64,
}

/// Reads the file. `None` if there is none.
fn read(device: &dyn Device) -> io::Result<Option<Kept>> {
    let bytes = match read_all(device, FILE, FILE_MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let text: Text = serde_json::from_slice(&bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    if text.version != VERSION {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("it has version {}, and not {VERSION}", text.version)));
    }
    let noted = text.ranges.iter().filter_map(LostRange::noted).collect();
    Ok(Some(Kept { noted, not_kept: text.not_kept, ..Kept::default() }))
}

fn write(device: &dyn Device, kept: &Kept) -> io::Result<()> {
    let text = Text { version: VERSION, not_kept: kept.not_kept, ranges: kept.noted.iter().map(LostRange::of).collect() };
    let bytes = serde_json::to_vec(&text).map_err(io::Error::other)?;
    device.create_dir("run")?;
    write_whole(device, FILE, &bytes)
}

/// What the file holds; one that cannot be understood is set aside. `None` if it still stands where the next one would.
fn load(device: &dyn Device, read_only: bool) -> Option<Kept> {
    read(device).map(Option::unwrap_or_default).map_or_else(
        |error| {
            let aside = !read_only && device.rename(FILE, ASIDE).is_ok();
            tracing::warn!(%error, aside, "the list of damage of earlier mounts, {FILE}, cannot be used: what is read or scanned is noted anew");
            aside.then(Kept::default)
        },
        Some,
    )
}

/// Keeps the list of a mount in its file, on a thread of its own, until it is dropped.
pub(super) struct Recorder {
    volume: Arc<Volume>,
    ending: Arc<Ending>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Ending {
    ended: AtomicBool,
    lock: Mutex<()>,
    told: Condvar,
}

impl Recorder {
    /// Gives the volume what earlier mounts noticed, and keeps what this one does. A mount that is `read_only` takes nothing away: if what is
    /// there cannot be understood, it keeps nothing.
    ///
    /// # Errors
    /// The system has no thread, or does not open the directory.
    pub(super) fn start(volume: &Arc<Volume>, path: &Path, read_only: bool) -> io::Result<Self> {
        let ending = Arc::new(Ending::default());
        let Some(Kept { noted, not_kept, .. }) = load(&FileDevice::new(path)?, read_only) else {
            return Ok(Self { volume: volume.clone(), ending, thread: None });
        };
        volume.know_damage(noted, not_kept);
        let thread = std::thread::Builder::new().name("infmap-damage".into()).spawn({
            let (volume, ending, path) = (volume.clone(), ending.clone(), path.to_path_buf());
            // Opened each time: descriptors may be few, and this is rare.
            let keep = move |kept: &Kept| write(&FileDevice::new(&path)?, kept);
            move || record(&volume.shared().damage, &keep, &ending)
        })?;
        Ok(Self { volume: volume.clone(), ending, thread: Some(thread) })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.ending.ended.store(true, Ordering::Release);
        drop(self.ending.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.ending.told.notify_all();
        self.volume.shared().damage.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Keeps each version, but for the first, in which nothing has changed.
fn record(list: &DamageList, keep: &dyn Fn(&Kept) -> io::Result<()>, ending: &Ending) {
    let (mut written, mut is_said) = (0, false);
    loop {
        let version = list.wait_for_change(written, || ending.ended.load(Ordering::Acquire));
        if version != written {
            written = version;
            let (noted, not_kept) = list.all();
            if let Err(error) = keep(&Kept { noted, not_kept, ..Kept::default() })
                && !std::mem::replace(&mut is_said, true)
            {
                tracing::warn!(%error, "the list of damage cannot be kept in {FILE}: it ends with this mount");
            }
        }
        if ending.ended.load(Ordering::Acquire) && list.version() == written {
            return;
        }
        let guard = ending.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ending.told.wait_timeout_while(guard, PAUSE, |()| !ending.ended.load(Ordering::Acquire));
    }
}

/// What the volume at `path`, which is not mounted, has on its list that still is so, with names; in the order of inodes and offsets.
pub fn listed(path: &Path) -> Result<Kept, BackendError> {
    let file = offline::read_volume_file(path)?;
    let device: Arc<dyn Device> = Arc::new(open(path)?);
    let Some(kept) = read(device.as_ref()).map_err(unread(path))? else { return Ok(Kept::default()) };
    let volume = Offline::open(&device, file.uuid, offline::NODE_BYTES).map_err(|error| refusal::recovering(path, error))?;
    let source = volume.nodes.loading(TreeId::Name);
    let images = Images::new(volume.device.clone(), 1);
    let damages: Vec<Damage> = kept.noted.iter().map(|noted| noted.damage.clone()).collect();
    let Resolved { damages: left, unnamed } =
        resolve(&damages, &images, &|_| false, &mut |step| step(View::new(&volume.recovered.state.names, &source)));
    let noted = left.into_iter().filter_map(|(n, damage)| Some(Noted { source: kept.noted.get(n)?.source, damage }));
    let mut noted: Vec<Noted> = noted.collect();
    noted.sort_by_key(|noted| (noted.damage.inode, noted.damage.offset));
    Ok(Kept { noted, unnamed, not_kept: kept.not_kept })
}

/// Forgets entries of the list of a volume that is not mounted: those of some inodes, or all. Says how many.
pub fn forget(path: &Path, inodes: Option<&[u64]>) -> Result<u64, BackendError> {
    let device = open(path)?;
    let kept = match read(&device) {
        Ok(kept) => kept.unwrap_or_default(),
        // One that cannot be understood is what everything is to be forgotten of.
        Err(error) if error.kind() == ErrorKind::InvalidData && inodes.is_none() => Kept::default(),
        Err(error) => return Err(unread(path)(error)),
    };
    let before = kept.noted.len();
    let left = match inodes {
        None => Kept::default(),
        Some(inodes) => {
            let noted = kept.noted.into_iter().filter(|noted| !inodes.contains(&noted.damage.inode.0)).collect();
            Kept { noted, not_kept: kept.not_kept, ..Kept::default() }
        }
    };
    write(&device, &left).map_err(unread(path))?;
    Ok((before - left.noted.len()) as u64)
}

fn open(path: &Path) -> Result<FileDevice, BackendError> {
    FileDevice::new(path).map_err(|source| BackendError::Io { what: path.display().to_string(), source })
}

fn unread(path: &Path) -> impl FnOnce(io::Error) -> BackendError {
    let path = path.to_path_buf();
    move |source| match source.kind() {
        ErrorKind::InvalidData => BackendError::NoDamageList { path, why: source.to_string() },
        _ => BackendError::Io { what: path.join(FILE).display().to_string(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use infmap_actors::clock::RealClock;
    use infmap_actors::shared::Source;
    use infmap_storage::address::{Address, Cluster, Generation, Place, RegionId};
    use infmap_storage::damage::Found;
    use infmap_storage::device::MemoryDevice;
    use infmap_storage::row::Inode;

    fn list() -> DamageList {
        DamageList::new(Arc::new(RealClock::new()), 1 << 20)
    }

    fn note(list: &DamageList, cluster: usize) {
        let region = RegionId { place: Place(1), generation: Generation(7) };
        let at = Address { region, cluster: Cluster::new(cluster).expect("a cluster") };
        let (paths, found) = (Vec::new(), Found::Io("why \"not\"\n".into()));
        list.note(Damage { inode: Inode(3), paths, offset: 0, length: 1, at, expected_crc: 1, found, when: None }, Source::Read);
    }

    #[test]
    fn what_one_mount_noticed_the_next_one_knows() {
        let device = MemoryDevice::new();
        let before = list();
        (0..3).for_each(|n| note(&before, n));
        let (noted, _) = before.all();
        let kept = Kept { noted, not_kept: 4, ..Kept::default() };
        write(&device, &kept).expect("written");
        assert_eq!(load(&device, false), Some(kept));
    }

    #[test]
    fn a_torn_or_hostile_file_is_set_aside_and_the_next_one_is_written_in_its_place() {
        let device = MemoryDevice::new();
        let before = list();
        note(&before, 0);
        let sound = {
            write(&device, &Kept { noted: before.all().0, ..Kept::default() }).expect("written");
            read_all(&device, FILE, 1 << 20).expect("read")
        };
        let hostile: [&[u8]; 6] = [
            &sound[..sound.len() / 2],
            b"",
            b"{\"version\":2,\"ranges\":[]}",
            b"{\"version\":1,\"ranges\":[{\"inode\":-1}]}",
            &[0xff; 100],
            &[b'['; 100_000],
        ];
        for bytes in hostile {
            write_whole(&device, FILE, bytes).expect("written");
            assert_eq!(load(&device, true), None);
            assert_eq!(read_all(&device, FILE, 1 << 20).expect("a read-only mount leaves it"), bytes);
            assert!(load(&device, false) == Some(Kept::default()) && read(&device).expect("gone").is_none());
            assert_eq!(read_all(&device, ASIDE, 1 << 20).expect("there"), bytes);
        }
        // Entries that say no place are passed over, and no number is too many.
        write_whole(&device, FILE, b"{\"version\":1,\"not_kept\":18446744073709551615,\"ranges\":[{},{\"cluster\":9999}],\"more\":0}")
            .expect("written");
        let list = list();
        let kept = load(&device, false).expect("understood");
        list.restore(kept.noted, kept.not_kept);
        note(&list, 0);
        assert_eq!((list.len(), list.all().1), (1, u64::MAX));
    }

    #[test]
    fn a_recorder_that_ends_has_written_the_last_change() {
        let (device, list, ending) = (MemoryDevice::new(), list(), Ending::default());
        ending.ended.store(true, Ordering::Release);
        record(&list, &|_| Err(io::Error::other("nothing has changed")), &ending);
        note(&list, 7);
        record(&list, &|kept| write(&device, kept), &ending);
        assert_eq!(read(&device).expect("read").map(|kept| kept.noted), Some(list.all().0), "what changed before it began");
        let ending = Ending::default();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| record(&list, &|kept| write(&device, kept), &ending));
            note(&list, 0);
            note(&list, 1);
            ending.ended.store(true, Ordering::Release);
            ending.told.notify_all();
            list.wake();
            thread.join().expect("it ends");
        });
        assert_eq!(read(&device).expect("read").map(|kept| kept.noted), Some(list.all().0));
    }
}
