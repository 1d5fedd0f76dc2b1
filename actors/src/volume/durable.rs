//! `durability.sync: always`: what changes something is answered when it is durable.
//!
//! Must be true: ALW-1 the answer of a change leaves after a sync that began when the change was published, and that covers the bytes of
//! its file, its row and the names that lead to it (O5). Those that wait at the same time share a sync. Fails: the change was made, and
//! the answer is the error of its sync.

use super::Front;
use crate::api::Answer;
use crate::cache::CacheMessage;
use crate::replier::Replier;
use crate::settings::Sync;
use crate::vat::VatMessage;
use infmap_storage::row::Inode;
use std::sync::Arc;

/// What has to be durable.
#[derive(Clone, Copy)]
pub(super) enum Covers {
    /// Names and attributes: the log as it is.
    Names,
    /// The bytes of a file too.
    File(Inode),
}

impl Front {
    /// Under `always`, a replier that syncs before it answers; else the same one.
    pub(super) fn durable<T: Send + 'static>(self: &Arc<Self>, covers: Covers, replier: Replier<Answer<T>>) -> Replier<Answer<T>> {
        if self.shared.settings().durability.sync != Sync::Always {
            return replier;
        }
        let front = self.clone();
        Replier::from_fn(move |answer: Answer<T>| match answer {
            Err(refusal) => replier.reply(Err(refusal)),
            Ok(value) => {
                let replier = replier.map(|synced: Answer<()>| synced.map(|()| value));
                match covers {
                    Covers::Names => front.vat.post(VatMessage::Sync { replier }),
                    Covers::File(inode) => front.shard(inode).post(CacheMessage::Sync { inode, replier }),
                }
            }
        })
    }
}
