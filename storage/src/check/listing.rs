//! The files under `map/`: which images there are, and what is somebody else's.
//!
//! Must be true: ADR-3 a file name says place and generation, and stands in the directory of that place. Fails: with the device's
//! error when a directory cannot be listed.

use super::finding::{Findings, HELP_NONE};
use crate::address::RegionId;
use crate::device::{Device, Kind};
use crate::volume_file::MAP_DIRECTORY;
use std::collections::BTreeMap;
use std::io;

/// Images by name, each with its bytes. 40 bytes of memory an image.
pub(super) type Listing = BTreeMap<RegionId, u64>;

const HELP_MOVE: &str = "If it is yours, move it elsewhere; the filesystem leaves it alone.";

/// Lists what stands under `map/`.
pub(super) fn list(device: &dyn Device, findings: &mut Findings) -> io::Result<Listing> {
    let mut found = Listing::new();
    for block in device.list(MAP_DIRECTORY)? {
        let directory = format!("{MAP_DIRECTORY}/{}", block.name);
        if block.kind != Kind::Directory {
            findings.info("IMG-5", &directory, "it is no directory of images", HELP_MOVE);
            continue;
        }
        for file in device.list(&directory)? {
            let path = format!("{directory}/{}", file.name);
            match RegionId::from_file_name(&file.name) {
                _ if file.kind != Kind::File => findings.info("IMG-5", &path, "it is no file", HELP_MOVE),
                None => findings.info("IMG-5", &path, "its name is not that of an image", HELP_MOVE),
                Some(id) if id.path() != path => {
                    let what = format!("the image {id} belongs into {}", id.place.directory());
                    findings.warning("ADR-3", &path, what, "Move it to that directory, unless an image of that name is there.");
                }
                Some(id) => {
                    findings.report.counts.image_bytes += file.size_bytes;
                    found.insert(id, file.size_bytes);
                }
            }
        }
    }
    Ok(found)
}

/// An image without a region row.
pub(super) fn unknown(id: RegionId, is_dead: bool, findings: &mut Findings) {
    if is_dead {
        findings.report.counts.dead_images += 1;
    } else {
        let what = "no table knows it: a crash left it before anything in it was used";
        findings.info("IMG-6", id.path(), what, HELP_NONE);
    }
}
