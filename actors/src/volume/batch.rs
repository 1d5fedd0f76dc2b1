//! Batches: many changes that are done whole or not at all, and many questions that are answered together.
//!
//! Must be true: a batch of changes is one group of the log, so that a crash leaves all of it or nothing. Fails: `BatchTooBig` beyond what a
//! group holds (4,000 rows, some 800 new files, and 2 MiB), and whatever the first change that cannot be done is refused with; nothing is
//! changed then. Of questions each has an answer of its own.

mod join;
mod look;
mod read;
mod stat;
mod warm;
mod write;

pub use read::ReadPart;
pub use warm::Warmed;
pub use write::NewFile;

use super::durable::Covers;
use super::{Front, Volume};
use crate::api::{Answer, Done, NameOp, Refusal};
use crate::pixel_reader::ReadMessage;
use crate::replier::Replier;
use crate::shared::{NoRoom, Shared};
use crate::vat::VatMessage;
use infmap_storage::names::{Removed, check_name};
use infmap_storage::row::Inode;
use infmap_storage::state::{StateError, View};
use std::sync::Arc;

/// Files that one question may be about.
const FILES_MAX: usize = 65_536;
/// Files that one message to a reader is about: others have their turn between any two.
const FILES_A_MESSAGE: usize = 64;

/// Which file is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Inode(Inode),
    /// A name in a directory.
    Name {
        parent: Inode,
        name: Vec<u8>,
    },
}

impl Which {
    fn find(&self, view: View<'_>) -> Result<Inode, StateError> {
        match self {
            Self::Inode(inode) => Ok(*inode),
            Self::Name { parent, name } => find(view, *parent, name),
        }
    }
}

/// What a name in a directory leads to.
pub(super) fn find(view: View<'_>, parent: Inode, name: &[u8]) -> Result<Inode, StateError> {
    match name {
        b"." => Ok(parent),
        b".." => Ok(view.directory(parent)?.parent),
        name => {
            if let Some(entry) = view.entry(parent, name)? {
                return Ok(entry.inode);
            }
            view.directory(parent)?;
            // A name that nothing can have is told as that: programs ask so how long one may be.
            check_name(name)?;
            Err(Refusal::NotFound.into())
        }
    }
}

impl Front {
    /// Changes names in one group of the log. What makes the tables grow waits as in [`Front::change_names`].
    fn change_batch(self: &Arc<Self>, ops: Vec<NameOp>, replier: Replier<Answer<Vec<Done>>>) {
        let budget = &self.shared.budget;
        let seen = budget.releases();
        if budget.is_log_full() && budget.space() > 0 && !self.shared.health.is_read_only() && ops.iter().any(NameOp::adds) {
            let front = self.clone();
            return budget.wait(NoRoom::Wait, seen, move || front.change_batch(ops, replier));
        }
        self.vat.post(VatMessage::Batch { ops, replier });
    }

    /// Has something done on the threads that may wait for the disk: the `number`th of several, that are done side by side.
    #[expect(clippy::indexing_slicing, reason = "a number modulo the number of readers, which is a constant above zero")]
    fn on_reader(&self, number: usize, work: impl FnOnce(&Shared) + Send + 'static) {
        self.readers[number % self.readers.len()].post(ReadMessage::Query(Box::new(work)));
    }

    fn drop_what_lost_its_name(&self, removed: Option<Removed>) {
        if let Some(Removed { inode, orphaned: true }) = removed {
            self.drop_if_unused(inode);
        }
    }
}

impl Volume {
    /// Does all of these changes, or none. The answers are in their order.
    pub fn change_many(&self, ops: Vec<NameOp>, replier: Replier<Answer<Vec<Done>>>) {
        let front = self.front.clone();
        let replier = replier.map(move |done: Answer<Vec<Done>>| {
            for one in done.iter().flatten() {
                match one {
                    Done::Removed(removed) => front.drop_what_lost_its_name(*removed),
                    Done::Made(files) => files.iter().for_each(|(_, replaced)| front.drop_what_lost_its_name(*replaced)),
                    Done::Attributes(_) => {}
                }
            }
            done
        });
        self.front.change_batch(ops, self.front.durable(Covers::Names, replier));
    }
}
