//! Where files lie on the map, and whose a place is: of a mount, and of a volume that nobody has.
//!
//! Must be true: OFF-1 to look changes nothing. Fails: with a sentence on the control socket, with a [`BackendError`] otherwise.

use super::{BackendError, offline, refusal};
use crate::control::protocol::{FoundPage, LocatedPage, Reply};
use infmap_actors::Volume;
use infmap_storage::address::{Address, Cluster, Generation, MapCell, Place, RegionId};
use infmap_storage::check::Offline;
use infmap_storage::images::Images;
use infmap_storage::locate::{self, LocateError};
use infmap_storage::refusal::Refusal;
use infmap_storage::row::{Inode, ROOT_INODE};
use infmap_storage::state::{StateError, View};
use infmap_storage::vat::TreeId;
use std::path::Path;

/// What the daemon answers of a file.
pub(super) fn located(volume: &Volume, inode: u64, after: u64) -> Reply {
    match volume.file_places_waiting(Inode(inode), after) {
        Ok((page, is_unplaced)) => Reply::Located(Box::new(LocatedPage::of(&page, is_unplaced))),
        Err(error) => Reply::Refused { why: format!("the rows of inode {inode} cannot be read: {error}") },
    }
}

/// What the daemon answers of a place.
pub(super) fn found(volume: &Volume, x: i64, y: i64, cluster: Option<u16>, after: Option<(u64, u16)>) -> Reply {
    let Some(place) = Place::at(MapCell { x, y }) else { return Reply::Found(Box::default()) };
    match volume.place_tenants(place, cluster.and_then(one), after.and_then(|after| behind(place, after))) {
        Ok(page) => Reply::Found(Box::new(FoundPage::of(&page))),
        Err(error) => Reply::Refused { why: format!("the image at {x},{y} cannot be looked at: {error}") },
    }
}

fn one(cluster: u16) -> Option<Cluster> {
    Cluster::new(usize::from(cluster))
}

fn behind(place: Place, (generation, cluster): (u64, u16)) -> Option<Address> {
    Some(Address { region: RegionId { place, generation: Generation(generation) }, cluster: one(cluster)? })
}

/// Tells of a file of the volume at `path`, which nobody has mounted, page by page. False: there is no such file.
///
/// # Errors
/// The volume does not open, or the rows cannot be read.
pub fn locate_offline(path: &Path, inside: &[u8], tell: &mut dyn FnMut(LocatedPage) -> bool) -> Result<bool, BackendError> {
    let (_, volume) = offline::open(path)?;
    let source = volume.nodes.loading(TreeId::Name);
    let view = View::new(&volume.recovered.state.names, &source);
    let Some(inode) = walk(view, inside).map_err(|error| damaged(path, &error))? else { return Ok(false) };
    let is_logged = volume.logged_blocks.contains_key(&inode);
    let mut after = 0;
    loop {
        let page = locate::file_page(view, inode, after, locate::PAGE_EXTENTS).map_err(|error| damaged(path, &error))?;
        let goes_on = tell(LocatedPage::of(&page, is_logged));
        match page.next.filter(|_| goes_on) {
            Some(next) => after = next,
            None => return Ok(true),
        }
    }
}

/// The inode at a path; a path through something that is no directory leads nowhere.
fn walk(view: View<'_>, path: &[u8]) -> Result<Option<Inode>, StateError> {
    let mut at = ROOT_INODE;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        match view.entry(at, name) {
            Ok(Some(entry)) => at = entry.inode,
            Ok(None) | Err(StateError::Refused(Refusal::NotDirectory)) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(at))
}

/// Tells whose a place of the volume at `path` is, page by page.
///
/// # Errors
/// The volume does not open, or an image or the rows cannot be read.
pub fn find_offline(
    path: &Path,
    (x, y): (i64, i64),
    cluster: Option<u16>,
    tell: &mut dyn FnMut(FoundPage) -> bool,
) -> Result<(), BackendError> {
    let (_, volume) = offline::open(path)?;
    let Offline { device, recovered, nodes, .. } = &volume;
    let source = nodes.loading(TreeId::Name);
    let images = Images::new(device.clone(), 1);
    let Some(place) = Place::at(MapCell { x, y }) else {
        tell(FoundPage::default());
        return Ok(());
    };
    let mut after = None;
    loop {
        let page = locate::place_page(device.as_ref(), &images, place, cluster.and_then(one), after, &mut |step| {
            step(View::new(&recovered.state.names, &source));
        });
        let page = page.map_err(|error| unlocated(path, error))?;
        let goes_on = tell(FoundPage::of(&page));
        match page.next.filter(|_| goes_on) {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

fn damaged(path: &Path, error: &StateError) -> BackendError {
    BackendError::Damaged { path: path.to_path_buf(), what: error.to_string(), help: refusal::CHECK }
}

fn unlocated(path: &Path, error: LocateError) -> BackendError {
    match error {
        LocateError::State(error) => damaged(path, &error),
        LocateError::Image(error) => BackendError::Damaged { path: path.to_path_buf(), what: error.to_string(), help: refusal::CHECK },
        LocateError::Io(source) => BackendError::Io { what: path.join("map").display().to_string(), source },
    }
}
