//! The end of a volume: everything durable, what nobody needs given back, and room left for the next mount.
//!
//! Must be true: END-1 what was answered is durable when [`Volume::close`] gives `Ok`: in a root, or, where there is no room for one, in the
//! log, which the next mount replays; END-2 where room may become short, a log segment and what is held for roots stay behind: others may
//! have filled the medium when the volume is opened again. Fails: with the refusal of the last checkpoint or commit.

use super::Volume;
use crate::api::{Answer, Refusal};
use crate::cleaner::CleanMessage;
use crate::keeper::may_become_short;
use crate::mailbox::Lane;
use crate::scanner::ScanMessage;
use crate::vat::VatMessage;
use infmap_storage::limits::SEGMENT_BYTES;

/// Bytes of log that a volume keeps which nobody uses.
const IDLE_LOG_BYTES: u64 = 4 * SEGMENT_BYTES;

/// Roots after which every log segment that can come free has.
const ROOTS: usize = 2;

impl Volume {
    /// Makes everything durable, ends the actors, and returns. Nothing else may be asked meanwhile. Not from a thread of a pool.
    ///
    /// # Errors
    /// The last checkpoint failed, and there was no room for the log either: what was synced is safe.
    pub fn close(&self) -> Answer<()> {
        self.cleaner.post(Lane::Foreground, CleanMessage::End);
        // It writes down how far it came; one that is dead answers nothing.
        let () = self.ask(|replier| self.scanner.post(Lane::Foreground, ScanMessage::End { replier })).wait_blocking();
        let done = match self.ask(|replier| self.checkpoint(replier)).wait_blocking() {
            Err(Refusal::NoSpace) => self.close_in_log(),
            Ok(()) => {
                self.tidy();
                Ok(())
            }
            failed => failed,
        };
        self.leave_room();
        if let Some(pools) = &self.pools {
            pools.stop();
        }
        drop(self.watch.lock().take());
        self.front.end();
        done
    }

    /// There is no room for a root: what is in the log is as safe, and the next mount finds it there.
    fn close_in_log(&self) -> Answer<()> {
        let done = self.ask(|replier| self.sync_all(replier)).wait_blocking();
        if done.is_ok() {
            tracing::warn!("there is no room for a root: everything is in the log, which the next mount replays");
        }
        done
    }

    /// Sees to it that the next mount has a log to begin with, and room for its roots, where others may fill the medium before it; elsewhere
    /// what is held is given back.
    fn leave_room(&self) {
        let shared = &self.front.shared;
        if shared.health.is_read_only() {
            return;
        }
        if !shared.device.space().is_ok_and(|space| may_become_short(&space)) {
            return shared.spares.let_go(shared.device.as_ref());
        }
        let reserve = || self.ask(|replier| self.front.vat.post(VatMessage::ReserveLog { replier })).wait_blocking();
        for _ in 0..ROOTS {
            if reserve() != Err(Refusal::NoSpace) || !self.make_room() {
                return;
            }
        }
        if reserve().is_err() {
            tracing::warn!("there is no room for another log segment: a mount is read-only until there is");
        }
    }

    fn make_room(&self) -> bool {
        self.ask(|replier| self.front.vat.post(VatMessage::MakeRoom { anyway: true, replier })).wait_blocking().is_ok()
    }

    /// Gives back what only the root before the newest needs, if that is much: a volume that nobody uses is not to keep what was removed
    /// from it, nor a log that it has no use for.
    fn tidy(&self) {
        let shared = &self.front.shared;
        let shrink = || self.ask(|replier| self.front.vat.post(VatMessage::Shrink { replier })).wait_blocking();
        let _ = shrink();
        let log_bytes = || shared.device.list("wal").map_or(0, |files| files.iter().map(|file| file.size_bytes).sum::<u64>());
        for _ in 0..ROOTS {
            if shared.health.is_read_only() || (log_bytes() <= IDLE_LOG_BYTES && !shared.reclaim.is_worth_a_root()) {
                return;
            }
            if !self.make_room() || shrink().is_err() {
                return;
            }
        }
    }
}
