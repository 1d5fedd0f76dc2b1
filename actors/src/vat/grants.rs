//! Places on the map for those who write images.
//!
//! Must be true: a grant reaches its writer after its record is synced (4.1); a region counts as open while anybody holds its grant,
//! since rows that claim a part of it may still come (REG-2).

use super::{Pins, Vat, VatMessage, with_nodes};
use crate::api::{Answer, Refusal};
use crate::checkpointer::CheckpointMessage;
use crate::mailbox::Lane;
use crate::pixel_writer::WriteMessage;
use crate::replier::Replier;
use crate::slot::{Address, Context};
use infmap_storage::address::RegionId;
use infmap_storage::row::RegionKind;
use infmap_storage::state::Foldable;
use infmap_storage::wal::{Lsn, RecordKind};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// The right to write one image, and the sign that rows about it may still come. Clones are the same grant.
#[derive(Clone, Debug)]
pub struct Grant(Arc<RegionId>);

impl Grant {
    #[must_use]
    pub fn region(&self) -> RegionId {
        *self.0
    }
}

enum Receiver {
    Writer(Address<WriteMessage>),
    Checkpointer(Address<CheckpointMessage>),
    Asker(Replier<Answer<Vec<Grant>>>),
}

/// The grants that are out.
#[derive(Default)]
pub(super) struct Grants {
    open: BTreeMap<RegionId, (Weak<RegionId>, RegionKind)>,
    /// Those whose record is not synced yet.
    pending: Vec<(Lsn, Receiver, Vec<Grant>)>,
}

impl Foldable for Grants {
    fn is_open(&self, region: RegionId) -> bool {
        self.open.get(&region).is_some_and(|(grant, _)| grant.strong_count() > 0)
    }
}

impl Grants {
    fn hand_out(&mut self, region: RegionId, kind: RegionKind) -> Grant {
        let grant = Grant(Arc::new(region));
        self.open.insert(region, (Arc::downgrade(&grant.0), kind));
        grant
    }

    /// Keeps grants until the log is synced up to `lsn`, for whoever asked.
    pub(super) fn wait_for_sync(&mut self, lsn: Lsn, to: Replier<Answer<Vec<Grant>>>, grants: Vec<Grant>) {
        self.pending.push((lsn, Receiver::Asker(to), grants));
    }

    /// The regions that are open, and forgets those that are not.
    pub(super) fn open(&mut self) -> Vec<(RegionId, RegionKind)> {
        self.open.retain(|_, (grant, _)| grant.strong_count() > 0);
        self.open.iter().map(|(region, (_, kind))| (*region, *kind)).collect()
    }
}

impl Vat {
    /// Grants places to a pixel writer.
    pub(super) fn grant(&mut self, kind: RegionKind, count: usize, to: Address<WriteMessage>, pins: Pins, cx: &mut Context<'_>) {
        match self.take_places(kind, count, &pins) {
            Ok((lsn, grants)) => {
                self.grants.pending.push((lsn, Receiver::Writer(to), grants));
                self.sync_for_order(lsn);
            }
            Err(error) => self.failed(error, VatMessage::Grant { kind, count, to }, pins, cx),
        }
    }

    /// Grants places to the checkpointer.
    pub(super) fn grant_to_checkpointer(&mut self, count: usize, pins: &Pins) -> Result<(), infmap_storage::state::StateError> {
        let (lsn, grants) = self.take_places(RegionKind::Node, count, pins)?;
        if let Some(peers) = &self.peers {
            self.grants.pending.push((lsn, Receiver::Checkpointer(peers.checkpointer.clone()), grants));
        }
        self.sync_for_order(lsn);
        Ok(())
    }

    pub(super) fn take_places(
        &mut self,
        kind: RegionKind,
        count: usize,
        pins: &Pins,
    ) -> Result<(Lsn, Vec<Grant>), infmap_storage::state::StateError> {
        let mut grants = Vec::with_capacity(count);
        let mut lsn = self.appender.next_lsn().before();
        for _ in 0..count {
            let (region, payload) = with_nodes!(self, pins, |state, source| state.grant(source, kind))?;
            lsn = self.append(RecordKind::Grant, &payload)?;
            grants.push(self.grants.hand_out(region, kind));
        }
        Ok((lsn, grants))
    }

    /// The log cannot be written: no grant goes out any more. Who waits for one looks again, and gives up.
    pub(super) fn grants_refused(&mut self, cx: &mut Context<'_>) {
        for (_, receiver, _) in std::mem::take(&mut self.grants.pending) {
            match receiver {
                Receiver::Writer(to) => cx.post(&to, Lane::Foreground, WriteMessage::Granted(Vec::new())),
                Receiver::Asker(replier) => cx.reply(replier, Err(Refusal::Damaged)),
                Receiver::Checkpointer(_) => {}
            }
        }
    }

    /// The log was synced: grants whose records are durable go out.
    pub(super) fn grants_synced(&mut self, cx: &mut Context<'_>) {
        let synced = self.appender.synced();
        for (lsn, receiver, grants) in std::mem::take(&mut self.grants.pending) {
            if lsn > synced {
                self.grants.pending.push((lsn, receiver, grants));
                continue;
            }
            match receiver {
                Receiver::Writer(to) => cx.post(&to, Lane::Foreground, WriteMessage::Granted(grants)),
                Receiver::Asker(replier) => cx.reply(replier, Ok(grants)),
                Receiver::Checkpointer(to) => cx.post(&to, Lane::Foreground, CheckpointMessage::Granted(grants)),
            }
        }
    }
}
