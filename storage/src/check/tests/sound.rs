//! Volumes in which nothing is wrong.

use super::builder::{Builder, UUID, noise, sample};
use crate::check::{CheckOptions, CheckReport, Offline, check};
use crate::device::{Device, DirEntry, Kind};
use crate::row::{FileKind, ROOT_INODE, RegionKind};
use proptest::prelude::*;

#[track_caller]
fn assert_sound(report: &CheckReport) {
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.is_clean() && !report.is_truncated());
}

#[test]
fn a_new_volume_is_sound() {
    assert_sound(&Builder::new().check());
}

#[test]
fn a_volume_that_lives_in_the_log_alone_is_sound() {
    let (b, _) = sample();
    let report = b.check();
    assert_sound(&report);
    assert_eq!((report.counts.nodes, report.counts.images), (0, 1));
}

#[test]
fn a_volume_is_sound_after_every_checkpoint() {
    let (mut b, s) = sample();
    b.checkpoint(|_| {});
    let report = b.check_with(&CheckOptions { deep: true, ..CheckOptions::default() });
    assert_sound(&report);
    let c = &report.counts;
    assert_eq!((c.inodes, c.directories, c.entries, c.orphans, c.extents), (9, 3, 8, 1, 6));
    assert_eq!(c.inline_bytes, 1911);
    assert_eq!((c.images, c.passes, c.dead_images), (2, 1, 0));
    assert!(c.verified_clusters >= 20 && c.live_clusters >= c.verified_clusters, "{c:?}");
    for round in 0..4 {
        b.write(s.raw, 0, &noise(64 << 10, round), 10 + round, false);
        b.make(s.below, &format!("file {round}"), FileKind::Regular);
        b.checkpoint(|_| {});
        b.write(s.small, 4096, &noise(9000, round), 20 + round, true);
        b.seal();
        assert_sound(&b.check());
    }
    let report = b.check();
    assert!(report.counts.dead_images > 0, "rewritten nodes leave dead images: {:?}", report.counts);
}

#[test]
fn a_check_goes_on_behind_what_an_earlier_one_has_passed_of_the_same_state() {
    let (mut b, s) = sample();
    b.checkpoint(|_| {});
    let mut all = Vec::new();
    let whole = check(&b.device, UUID, &CheckOptions::default(), &mut |seen| all.extend(seen.passed)).unwrap();
    let options = |passed: usize| CheckOptions { passed: Some(all[passed]), ..CheckOptions::default() };
    let rest = [0, 1].map(|passed| check(&b.device, UUID, &options(passed), &mut |_| {}).unwrap());
    assert_eq!((whole.counts.images, rest[0].counts.images, rest[1].counts.images), (2, 1, 0));
    rest.iter().for_each(assert_sound);
    // What was passed in another state says nothing of this one.
    b.make(s.below, "one more", FileKind::Regular);
    let afresh = check(&b.device, UUID, &options(1), &mut |_| {}).unwrap();
    assert!(afresh.counts == b.check().counts && afresh.counts.images > 0, "{:?}", afresh.counts);
}

#[test]
fn images_that_a_crash_left_are_told_and_harm_nothing() {
    let (mut b, _) = sample();
    b.checkpoint(|_| {});
    // Placed and sealed, but no row ever claimed it: dead from birth.
    b.place(ROOT_INODE, 0, &noise(5000, 1), 1, false);
    b.seal();
    let report = b.check();
    assert_sound(&report);
    assert_eq!(report.counts.dead_images, 1);
    let nobodys = crate::address::RegionId { place: crate::address::Place(500), generation: crate::address::Generation(9) };
    let image = super::builder::builder_for(nobodys, RegionKind::Data).unwrap().finish(&mut crate::region::ParityEncoder::new());
    b.write_image(nobodys, &image);
    let report = b.check();
    assert!(report.is_clean() && report.infos == 1 && report.findings[0].invariant == "IMG-6", "{report:?}");
}

#[test]
fn a_check_with_little_memory_finds_the_same_in_more_passes() {
    let (mut b, s) = sample();
    for round in 0..5 {
        b.write(s.raw, 0, &noise(8192, round), 10 + round, false);
        b.seal();
    }
    b.checkpoint(|_| {});
    let (much, little) = (b.check(), b.check_with(&CheckOptions { claims_bytes: 1, ..CheckOptions::default() }));
    assert!(little.counts.passes > much.counts.passes);
    let passes = much.counts.passes;
    assert_eq!(crate::check::CheckCounts { passes, ..little.counts }, much.counts);
    assert_sound(&little);
}

#[test]
fn without_data_names_and_tables_are_still_compared() {
    let (mut b, _) = sample();
    b.checkpoint(|_| {});
    let report = b.check_with(&CheckOptions { verify_data: false, ..CheckOptions::default() });
    assert_sound(&report);
    assert_eq!(report.counts.verified_clusters, 0);
}

#[test]
fn a_check_changes_nothing() {
    fn files(device: &dyn Device, at: &str) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for DirEntry { name, kind, .. } in device.list(at).unwrap() {
            let path = if at.is_empty() { name } else { format!("{at}/{name}") };
            match kind {
                Kind::Directory => found.extend(files(device, &path)),
                _ => found.push((path.clone(), crate::device::read_all(device, &path, usize::MAX).unwrap())),
            }
        }
        found
    }
    let (mut b, _) = sample();
    b.checkpoint(|_| {});
    let before = files(b.device.as_ref(), "");
    b.check();
    let offline = Offline::open(&b.device, UUID, 1 << 20).unwrap();
    assert!(offline.device.remove("volume.yaml").is_err());
    assert!(before == files(b.device.as_ref(), ""), "a file was changed");
}

#[test]
fn another_volumes_log_is_an_error_and_no_panic() {
    let (b, _) = sample();
    assert!(check(&b.device, [8; 16], &CheckOptions::default(), &mut |_| {}).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Wherever a few bytes of an image are changed, the check ends and tells it.
    #[test]
    fn damage_anywhere_in_an_image_is_told(which in 0usize..2, at in 0.0f64..1.0, bytes in proptest::collection::vec(any::<u8>(), 1..64)) {
        thread_local! {
            static VOLUME: (Builder, Vec<String>) = {
                let (mut b, s) = sample();
                let root = b.checkpoint(|_| {});
                (b, vec![s.data.path(), root.images[0].0.path()])
            };
        }
        VOLUME.with(|(b, paths)| {
            let path = &paths[which];
            let whole = b.bytes(path);
            let at = ((whole.len() - bytes.len()) as f64 * at) as usize;
            b.damage(path, at, &bytes);
            let changed = b.bytes(path) != whole;
            let report = b.check();
            b.damage(path, 0, &whole);
            prop_assert_eq!(changed, !report.findings.is_empty());
            Ok(())
        })?;
    }
    /// A log that was tampered with opens as an older state, or not at all; it never breaks the program.
    #[test]
    fn damage_anywhere_in_the_log_ends_in_a_report_or_an_error(at in 0usize..60_000, bytes in proptest::collection::vec(any::<u8>(), 1..64)) {
        let (mut b, _) = sample();
        b.checkpoint(|_| {});
        let path = format!("wal/{}", b.device.list("wal").unwrap()[0].name);
        b.damage(&path, at, &bytes);
        let report = check(&b.device, UUID, &CheckOptions::default(), &mut |_| {});
        prop_assert!(report.is_err() || report.is_ok_and(|report| report.counts.passes > 0));
    }
}
