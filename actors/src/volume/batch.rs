//! Batches: several changes of names that are done whole or not at all, and many questions asked at once.
//!
//! Must be true: a batch is one group of the log, so that a crash leaves all of it or nothing. Fails: `BatchTooBig` beyond what one record
//! holds (1,000 rows: some 200 new files), and whatever the first change that cannot be done is refused with; nothing is changed then.

use super::Volume;
use super::durable::Covers;
use crate::api::{Answer, Attributes, Done, NameOp};
use crate::replier::{Replier, Reply};
use crate::vat::VatMessage;
use infmap_storage::names::Removed;
use infmap_storage::row::Inode;

impl Volume {
    /// Does all of these changes, or none. The answers are in their order.
    pub fn change_many(&self, ops: Vec<NameOp>, replier: Replier<Answer<Vec<Done>>>) {
        let front = self.front.clone();
        let replier = replier.map(move |done: Answer<Vec<Done>>| {
            for one in done.iter().flatten() {
                if let Done::Removed(Some(Removed { inode, orphaned: true })) = one {
                    front.drop_if_unused(*inode);
                }
            }
            done
        });
        let replier = self.front.durable(Covers::Names, replier);
        self.front.vat.post(VatMessage::Batch { ops, replier });
    }

    /// The attributes of many inodes, asked for at once: what has to wait for the disk waits together.
    #[must_use]
    pub fn attributes_of_many(&self, inodes: &[Inode]) -> Vec<Reply<Answer<Attributes>>> {
        inodes.iter().map(|&inode| self.ask(|replier| self.attributes(inode, replier))).collect()
    }
}
