//! What is drawn is what is counted.

use super::picture::{GROUND, origin};
use super::*;
use crate::check::tests::builder::{NOW, UUID, noise, sample};
use crate::hilbert;
use crate::row::{FileKind, ROOT_INODE};
use crate::volume_file::VolumeFile;

fn offline(b: &crate::check::tests::builder::Builder) -> Offline {
    Offline::open(&b.device, UUID, 1 << 20).unwrap()
}

/// Pixels of the map's part with a colour, in clusters.
fn clusters_of(picture: &MapPicture, colour: [u8; 4]) -> usize {
    let map = &picture.rgba[..picture.width * picture.map_height * 4];
    map.chunks_exact(4).filter(|pixel| *pixel == colour).count() / (picture.scale * picture.scale)
}

#[test]
fn the_totals_of_the_colours_are_those_of_the_recount() {
    let (mut b, s) = sample();
    b.checkpoint(|_| {});
    for round in 0..5 {
        b.write(s.raw, 0, &noise(64 << 10, round), 10 + round, false);
        b.make(ROOT_INODE, &format!("n{round}"), FileKind::Regular);
        b.checkpoint(|_| {});
    }
    let (report, volume) = (b.check(), offline(&b));
    assert!(report.is_clean(), "{:?}", report.findings);
    let view = MapView::read(&volume).unwrap();
    let [free, data, vat, dead, damaged] = view.counts();
    assert_eq!(data + vat, report.counts.live_clusters);
    assert_eq!(free + data + vat + dead + damaged, 1024 * view.regions.len() as u64);
    assert_eq!(view.regions.len() as u64, report.counts.images + report.counts.dead_images);
    assert_eq!(vat, volume_nodes(&volume));
    assert!(dead > 0 && damaged == 0);
    let picture = MapPicture::draw(&view).unwrap();
    for (class, count) in ClusterClass::ALL.into_iter().zip(view.counts()) {
        assert_eq!(clusters_of(&picture, class.colour()) as u64, count, "{}", class.label());
    }
    assert!(picture.width.min(picture.map_height) >= 512 && picture.rgba.len() == picture.width * picture.height * 4);
    assert!(picture.rgba[picture.width * picture.map_height * 4..].chunks_exact(4).any(|pixel| pixel != GROUND));
}

/// Clusters of live nodes, by what the nodes' regions say.
fn volume_nodes(volume: &Offline) -> u64 {
    let mut sum = 0;
    let source = volume.nodes.loading(TreeId::Volume);
    for row in volume.recovered.state.volume.range(&source, &Key::places().0, Some(&Key::dead().0)) {
        let row = row.unwrap();
        if let Some(Key::Region(_)) = Key::decode(row.key()) {
            let row = RegionRow::decode(row.value()).unwrap();
            sum += if row.kind == RegionKind::Node { row.live.count() as u64 } else { 0 };
        }
    }
    sum
}

#[test]
fn a_cluster_stands_where_the_curve_says() {
    let (mut b, _) = sample();
    b.checkpoint(|_| {});
    let view = MapView::read(&offline(&b)).unwrap();
    let picture = MapPicture::draw(&view).unwrap();
    let gap = if picture.scale > 1 { 2 } else { 1 };
    for region in &view.regions {
        let (left, top) = origin(&view.bounds.unwrap(), region.cell, 32 * picture.scale + gap, gap);
        for n in [0, 1, 17, 1023] {
            let (x, y) = hilbert::cell(5, n);
            let at = (left + x as usize * picture.scale, top + y as usize * picture.scale);
            assert_eq!(picture.pixel(at.0, at.1), Some(region.classes[n as usize].colour()));
        }
    }
}

#[test]
fn a_missing_image_is_seen_on_the_map() {
    let (mut b, s) = sample();
    b.checkpoint(|_| {});
    let before = MapView::read(&offline(&b)).unwrap().counts();
    b.device.remove(&s.data.path()).unwrap();
    let after = MapView::read(&offline(&b)).unwrap().counts();
    assert_eq!((after[1], after[4]), (0, before[1]));
}

#[test]
fn an_empty_map_has_no_picture_and_one_too_large_neither() {
    let (b, _) = sample();
    let mut view = MapView::read(&offline(&b)).unwrap();
    view.bounds = Some(Bounds { least: MapCell { x: -1 << 40, y: 0 }, greatest: MapCell { x: 1 << 40, y: 0 } });
    assert_eq!(MapPicture::draw(&view), None);
    assert_eq!(MapPicture::draw(&MapView { regions: Vec::new(), bounds: None }), None);
}

#[test]
fn the_facts_are_those_of_the_check() {
    let (mut b, _) = sample();
    b.checkpoint(|_| {});
    let (report, volume) = (b.check(), offline(&b));
    let facts = VolumeFacts::read(&VolumeFile::read(b.device.as_ref()).unwrap(), &volume).unwrap();
    assert_eq!((facts.uuid, facts.created, facts.inodes), (UUID, NOW, report.counts.inodes));
    assert_eq!((facts.live_clusters, facts.image_bytes), (report.counts.live_clusters, report.counts.image_bytes));
    assert_eq!((facts.data_regions, facts.node_regions, facts.image_files), (1, 1, 2));
    assert_eq!(facts.places, facts.data_regions + facts.node_regions + facts.dead_places + facts.free_places);
    assert!(facts.log_bytes > 0 && facts.bounds.is_some() && !facts.log_is_corrupt);
}
