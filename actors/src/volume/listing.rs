//! What is in a directory.
//!
//! Must be true: `.` and `..` come first, under the cookies 1 and 2; the others under their own. Fails: refusals.

use super::Volume;
use crate::api::{Answer, DirEntry};
use crate::replier::Replier;
use crate::shared::Shared;
use infmap_storage::row::{FileKind, Inode};
use infmap_storage::state::{StateError, View};

impl Volume {
    /// Entries of a directory whose cookies are above `after_cookie`; none at the end.
    pub fn read_dir(
        &self,
        dir: Inode,
        after_cookie: u64,
        max_entries: usize,
        with_attributes: bool,
        replier: Replier<Answer<Vec<DirEntry>>>,
    ) {
        let question = move |shared: &Shared, view: View<'_>| list(shared, view, dir, after_cookie, max_entries.max(1), with_attributes);
        self.front.query(dir, question, replier);
    }
}

fn list(shared: &Shared, view: View<'_>, dir: Inode, after: u64, max: usize, with_attributes: bool) -> Result<Vec<DirEntry>, StateError> {
    let row = view.directory(dir)?;
    let mut entries = Vec::new();
    for (cookie, name, inode) in [(1, b".".as_slice(), dir), (2, b"..", row.parent)] {
        if cookie > after && entries.len() < max {
            entries.push(DirEntry { inode, kind: FileKind::Directory, cookie, name: name.to_vec(), attributes: None });
        }
    }
    if entries.len() < max {
        for (cookie, entry) in view.entries_after(dir, after.max(2), max - entries.len())? {
            entries.push(DirEntry { inode: entry.inode, kind: entry.kind, cookie, name: entry.name, attributes: None });
        }
    }
    if with_attributes {
        for entry in &mut entries {
            entry.attributes = Some(shared.attributes_of(view, entry.inode)?);
        }
    }
    Ok(entries)
}
