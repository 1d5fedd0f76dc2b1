//! Where files lie on the map, and whose a place is: for whoever looks.
//!
//! Must be true: LOC-1 of `infmap_storage::locate`; a lease is held for one small step, and no actor is asked but where a question says so.
//! Fails: with refusals.

use super::Volume;
use crate::api::Answer;
use crate::replier::Replier;
use infmap_storage::address::{Address, Cluster, Place};
use infmap_storage::locate::{self, FilePage, LocateError, PlacePage};
use infmap_storage::row::Inode;
use infmap_storage::state::{StateError, View};

impl Volume {
    /// Where a file lies, from an offset on, in at most `max` extents: at once if its rows are resident, else from a reader.
    pub fn file_places(&self, inode: Inode, from: u64, max: usize, replier: Replier<Answer<FilePage>>) {
        self.front.query(inode, move |_, view| locate::file_page(view, inode, from, max), replier);
    }

    /// The same, and whether it has bytes that no cluster has yet. Waits for the disk: only on threads that may.
    ///
    /// # Errors
    /// When there is no such inode, or its rows cannot be read.
    pub fn file_places_waiting(&self, inode: Inode, from: u64) -> Result<(FilePage, bool), StateError> {
        let shared = self.shared();
        let is_unplaced = shared.live.get(inode).is_some();
        shared.query_waiting(|view| locate::file_page(view, inode, from, locate::PAGE_EXTENTS)).map(|page| (page, is_unplaced))
    }

    /// Whose the clusters at a place are, those behind `after`. Waits for the disk: only on threads that may.
    ///
    /// # Errors
    /// When an image there, or rows, cannot be read.
    pub fn place_tenants(&self, place: Place, only: Option<Cluster>, after: Option<Address>) -> Result<PlacePage, LocateError> {
        let shared = self.shared();
        locate::place_page(shared.device.as_ref(), &shared.images, place, only, after, &mut |step| {
            let (lease, source) = (shared.published.load_full(), shared.names());
            step(View::new(&lease.names, &source));
        })
    }
}
