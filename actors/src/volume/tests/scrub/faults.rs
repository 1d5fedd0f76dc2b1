//! The scanner on a disk that refuses: what it puts back, what it says, and what it never calls lost.

use super::*;
use infmap_storage::address::{Address, Cluster};
use infmap_storage::buffer::AlignedBuf;
use infmap_storage::device::Operation;
use infmap_storage::region::layout::cluster_pieces;
use infmap_storage::region::{IMAGE_MAX_BYTES, OwnerEntry, OwnerKind, ParityEncoder, RawBands, RegionBuilder, find_tables};
use infmap_storage::vat::TreeId;
use std::io::ErrorKind;

fn largest(device: &dyn Device) -> String {
    let all = images(device);
    all.iter().max_by_key(|(_, bytes)| bytes.len()).map(|(path, _)| path.clone()).unwrap()
}

fn region_of(path: &str) -> RegionId {
    RegionId::from_file_name(path.rsplit('/').next().unwrap()).unwrap()
}

fn new_disk() -> SimulatedDisk {
    let disk = SimulatedDisk::new(3);
    ["map", "spare", "wal", "run"].iter().for_each(|directory| disk.create_dir(directory).unwrap());
    disk.sync_dir("").unwrap();
    let device: Arc<dyn Device> = Arc::new(disk.clone());
    open::create(&device, UUID, 0, 0).unwrap();
    disk
}

/// A run in which the first operation of a kind fails.
fn scrub_failing(bed: &Bed, disk: &SimulatedDisk, after: u64, which: Operation, kind: ErrorKind) -> Run {
    assert_eq!(bed.order(Do::Start(Plan::default())), Ok(()));
    disk.fail_after(after, which, kind);
    bed.ended()
}

/// Seen to fail when the error of a directory was told like all others: the volume went on with a name that a power cut may take back.
#[test]
fn an_image_that_cannot_be_put_back_is_told_and_a_directory_that_is_not_synced_closes_the_volume() {
    use Operation::{Open, Rename, Sync, SyncDir, Write};
    let filled = new_disk();
    let bed = Bed::open(Arc::new(filled.clone()));
    let files = bed.fill(2);
    let _ = bed.stopped();
    let path = largest(&filled);
    let whole = bytes_of(&filled, &path);
    // One that is cut changes what all images take.
    harm(&filled, &path, 0, 9);
    filled.open(&path, infmap_storage::device::Open::WRITE).unwrap().set_len(whole.len() as u64 - 9000).unwrap();
    let faults =
        [(Write, 0, ErrorKind::StorageFull), (Write, 0, ErrorKind::Other), (Sync, 0, ErrorKind::Other), (Rename, 0, ErrorKind::Other)];
    for (which, after, kind) in faults.into_iter().chain([(SyncDir, 0, ErrorKind::Other), (SyncDir, 1, ErrorKind::Other)]) {
        let disk = filled.snapshot();
        let bed = Bed::open(Arc::new(disk.clone()));
        let spares = disk.list("spare").unwrap().len();
        let run = scrub_failing(&bed, &disk, after, which, kind);
        let shared = bed.volume.shared();
        let all = || images(&disk).values().map(|bytes| bytes.len() as u64).sum::<u64>();
        assert_eq!(shared.spares.image_bytes(), all(), "{which:?}");
        if which == SyncDir {
            assert_eq!(run.tally, Tally { mendable: 1, ..Tally::default() }, "{which:?}");
            let reason = shared.health.reason().unwrap_or_default();
            assert!(reason.contains("was put back") && reason.contains("directory"), "{reason}");
            assert!(bytes_of(&disk, &path) == whole);
        } else {
            assert!(shared.health.reason().is_none() && disk.list("spare").unwrap().len() <= spares, "{which:?}");
            assert_eq!(run.tally.mendable + run.tally.corrected, 1, "{which:?} {run:?}");
            assert_eq!(bed.scrub(Plan::default()).tally.corrected, run.tally.mendable);
            assert!(bytes_of(&disk, &path) == whole);
        }
        bed.assert_filled(&files);
    }
    // No right, no memory or no descriptor for a file is no loss of it.
    let disk = filled.snapshot();
    let bed = Bed::open(Arc::new(disk.clone()));
    let run = scrub_failing(&bed, &disk, 0, Open, ErrorKind::PermissionDenied);
    assert!(run.state == RunState::Aborted && run.tally == Tally::default(), "{run:?}");
    assert!(run.why.as_ref().is_some_and(|why| why.contains("cannot be opened")), "{run:?}");
    assert_eq!(bed.scrub(Plan::default()).tally.corrected, 1);
}

/// Seen to fail when poison did not count in an image that was put back: what the list had of it went away, and the run said that all is well.
#[test]
fn what_was_lost_before_it_was_written_is_told_of_an_image_that_is_put_back() {
    let bed = Bed::open(new_device());
    let files = bed.fill(2);
    let device = bed.stopped();
    let path = largest(device.as_ref());
    let bytes = bytes_of(device.as_ref(), &path);
    let tables = find_tables(&bytes).unwrap();
    let bands = RawBands::new(&bytes, 0);
    let mut open = RegionBuilder::new(AlignedBuf::zeroed(IMAGE_MAX_BYTES), tables.identity).unwrap();
    for (number, entry) in tables.owners().iter().enumerate() {
        let clusters = (entry.first.number()..entry.first.number() + entry.clusters).filter_map(Cluster::new);
        let (mut stored, mut crcs) = (Vec::new(), Vec::new());
        for cluster in clusters {
            let mut slot = [0; 4096];
            bands.unverified(cluster).unwrap().copy_to(&mut slot);
            stored.extend(slot);
            crcs.push(tables.cluster_crc(cluster));
        }
        if number == 0 {
            stored[77] ^= 1;
        }
        assert_eq!(open.place_moved(entry.owner, &[&stored], &crcs).unwrap().first, entry.first);
    }
    let poisoned = open.finish(&mut ParityEncoder::default()).bytes().to_vec();
    write_whole(device.as_ref(), &path, &poisoned).unwrap();
    harm(device.as_ref(), &path, 100, 9);
    let bed = Bed::open(device);
    let run = bed.scrub(Plan::default());
    assert_eq!(run.tally, Tally { corrected: 1, uncorrectable: 1, lost_ranges: 1, ..Tally::default() });
    assert!(bytes_of(bed.device.as_ref(), &path) == poisoned && bed.volume.shared().damage.len() == 1);
    assert_eq!(bed.scrub(Plan::default()).tally, Tally { uncorrectable: 1, lost_ranges: 1, ..Tally::default() });
    assert!(files.iter().any(|file| bed.ask(|volume, replier| volume.read(*file, 0, 1 << 21, replier)).is_err()));
}

/// Seen to fail when each image that reads complain of had the run begin its image again.
#[test]
fn images_that_reads_complain_of_do_not_keep_a_run_from_going_on() {
    let bed = Bed::open(new_device());
    let files = bed.fill(6);
    let bed = bed.reopen(true);
    let path = largest(bed.device.as_ref());
    harm(bed.device.as_ref(), &path, 0, 40);
    assert_eq!(bed.order(Do::Start(Plan { limit: Some(MIB as u64), ..Plan::default() })), Ok(()));
    for _ in 0..60 {
        // As if it were another one each time.
        bed.volume.shared().suspects.settled(region_of(&path));
        for file in &files {
            let _ = bed.ask(|volume, replier| volume.read(*file, 0, 2 * MIB as u32, replier));
        }
        bed.runtime.advance(Duration::from_secs(1));
    }
    let shown = bed.shown();
    let images = shown.run.as_ref().or(shown.history.first()).map(|run| run.images);
    assert!(images > Some(2) && shown.suspected > 2, "{shown:?}");
}

#[test]
fn an_image_that_is_missing_is_told_as_missing_where_one_is_in_use_only() {
    let bed = Bed::open(new_device());
    let _ = bed.fill(3);
    let path = largest(bed.device.as_ref());
    bed.device.remove(&path).unwrap();
    let place = |place| Plan { scope: Scope::Place(place), limit: None };
    let run = bed.scrub(place(region_of(&path).place.0));
    assert_eq!((run.state, run.tally.uncorrectable), (RunState::Finished, 1));
    assert_eq!(bed.order(Do::Start(place(9999))), Err(ScrubRefusal::NoImage));
}

#[test]
fn a_read_only_mount_begins_another_run_beside_one_that_was_interrupted() {
    let bed = Bed::open(new_device());
    let _ = bed.fill(10);
    assert_eq!(bed.order(Do::Start(Plan { limit: Some(MIB as u64), ..Plan::default() })), Ok(()));
    bed.runtime.advance(Duration::from_secs(13));
    let device = bed.stopped();
    let before = bytes_of(device.as_ref(), "run/scrub.json");
    let runtime = StepRuntime::new(Order::Fifo);
    let as_runtime: Arc<dyn Runtime> = runtime.clone();
    let options = OpenOptions { uuid: UUID, settings: Settings::default(), read_only: true };
    let volume = Volume::open_on(&as_runtime, device.clone(), options).unwrap();
    let bed = Bed { runtime, device, volume };
    bed.runtime.advance(Duration::from_secs(60));
    assert_eq!(bed.shown().run.map(|run| run.state), Some(RunState::Interrupted), "nothing goes on by itself");
    let run = bed.scrub(Plan::default());
    assert_eq!((run.state, run.limit, run.tally), (RunState::Finished, None, Tally::default()));
    assert!(bytes_of(bed.device.as_ref(), "run/scrub.json") == before, "the next mount that may write goes on");
}

/// Seen to fail when the run that was cancelled counted as the last one.
#[test]
fn a_run_that_did_not_come_to_its_end_puts_the_next_one_off_for_a_day() {
    let day = Duration::from_secs(24 * 3600);
    let mut settings = Settings::default();
    settings.integrity.scrub_every = Some(4 * day);
    settings.durability.commit_interval = Duration::from_secs(300);
    let bed = Bed::open_with(new_device(), settings);
    let _ = bed.fill(1);
    bed.runtime.advance(4 * day - day / 4);
    assert_eq!((bed.order(Do::Start(Plan::default())), bed.order(Do::Cancel)), (Ok(()), Ok(())));
    bed.runtime.advance(day / 2);
    assert_eq!(bed.shown().history.len(), 1);
    bed.runtime.advance(day);
    assert_eq!(bed.shown().history.first().map(|run| (run.is_scheduled, run.state)), Some((true, RunState::Finished)));
}

/// Damages the nodes of one tree, and the first blocks of files, beyond what parity restores. None of the nodes is resident then.
fn lose_nodes(bed: &Bed, tree: TreeId) {
    for (path, mut bytes) in images(bed.device.as_ref()) {
        let entries = find_tables(&bytes).unwrap().owners().to_vec();
        let is_lost = |entry: &&OwnerEntry| entry.owner.kind == OwnerKind::Extent || entry.owner.inode == tree as u64;
        for entry in entries.iter().filter(is_lost) {
            bed.volume.shared().nodes.resident.remove(&Address { region: region_of(&path), cluster: entry.first });
            bytes[cluster_pieces(entry.first)[0] + 5] ^= 1;
        }
        let parity = bytes.windows(4).rposition(|kind| kind == b"imPY").unwrap() + 4;
        (0..32).for_each(|row| bytes[parity + row * 4096 + 9] ^= 1);
        bed.device.open(&path, infmap_storage::device::Open::WRITE).unwrap().write_at(&bytes, 0).unwrap();
    }
}

/// Seen to fail when a lost node of the names ended the run: what stood behind it was never looked at. And when a run that lost tables end
/// was told like one that somebody cancelled: nothing was found.
#[test]
fn a_run_goes_on_where_it_is_not_known_whose_lost_bytes_are_and_ends_with_damage_where_not_what_is_in_use() {
    for tree in [TreeId::Name, TreeId::Volume] {
        let bed = Bed::open(new_device());
        let _ = bed.fill(3);
        let bed = Bed::open(bed.stopped());
        let all = images(bed.device.as_ref()).len() as u64;
        lose_nodes(&bed, tree);
        let run = bed.scrub(Plan::default());
        let told = (run.state, run.images, run.tally.uncorrectable, run.tally.lost_ranges, run.tally.lost_nodes);
        match tree {
            TreeId::Name => assert_eq!(told, (RunState::Finished, all, all, 0, 1), "{run:?}"),
            TreeId::Volume => assert_eq!(told, (RunState::Aborted, 0, 1, 0, 1), "{run:?}"),
        }
    }
}
