//! Reading bytes of files so that what is lost is noticed: counted, listed, said once.
//!
//! Must be true: a read that meets lost bytes fails, or gives zeros for them where the mount was asked for that; whichever it is, each lost
//! range is on the list of damage. Fails: as `FileReader` does.

use crate::settings::Damaged;
use crate::shared::{Shared, Source};
use infmap_storage::blocks::Block;
use infmap_storage::damage::{Found, LostCluster, of_clusters};
use infmap_storage::images::ImageError;
use infmap_storage::read::{FileReader, ReadError};
use infmap_storage::row::Inode;
use infmap_storage::state::View;
use std::cell::RefCell;

/// Reads with leave to touch the disk. What `out` holds after an error is undefined.
///
/// # Errors
/// See [`ReadError`]; `Damaged` or `Undecodable` with the first cluster that is lost.
pub(super) fn read(
    shared: &Shared,
    reader: FileReader<'_>,
    inode: Inode,
    offset: u64,
    dirty: &[(u64, Block)],
    out: &mut [u8],
) -> Result<(), ReadError> {
    let (view, length) = (reader.view, out.len() as u64);
    let lost = RefCell::new(Vec::new());
    FileReader { lost: Some(&lost), ..reader }.read(inode, offset, dirty, out)?;
    let lost = lost.into_inner();
    let Some(first) = lost.first() else { return Ok(()) };
    let at = first.at;
    let refused = match first.found {
        Found::Undecodable => ReadError::Undecodable { at },
        _ => ImageError::Damaged { at }.into(),
    };
    notice(shared, view, inode, offset, length, &lost);
    match shared.settings().mount.damaged {
        Damaged::Zero => Ok(()),
        Damaged::Error => Err(refused),
    }
}

/// Takes notice of clusters that cannot be had, of a file's bytes from `offset` on.
pub fn notice(shared: &Shared, view: View<'_>, inode: Inode, offset: u64, length: u64, lost: &[LostCluster]) {
    match of_clusters(view, inode, offset, offset.saturating_add(length), lost) {
        Ok(damages) => damages.into_iter().for_each(|damage| {
            let said = damage.to_string();
            if shared.damage.note(damage, Source::Read) {
                tracing::error!("{said}: `infmap damage ls` lists what is lost");
            }
        }),
        Err(error) => tracing::error!(inode = inode.0, offset, %error, "bytes of a file are lost, and its rows cannot be read"),
    }
}
