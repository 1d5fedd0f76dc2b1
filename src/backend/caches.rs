//! What the daemon does with its caches for whoever asks: says what they hold, fills, commits and empties them.
//!
//! Must be true: a request takes a second or two, however much is asked for: it says how far it came, and the next one goes on there; at
//! most [`PIECES`] pieces are under way. Fails: files that cannot be read are named by inode.

use crate::control::protocol::{CacheTier, Reply, Warmed};
use crate::fuse::Pages;
use infmap_actors::Volume;
use infmap_actors::api::{Answer, Attributes};
use infmap_actors::mailbox::Lane;
use infmap_actors::replier::Reply as Awaited;
use infmap_actors::volume::TierUse;
use infmap_storage::row::{FileKind, Inode};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes that are asked for at a time.
const PIECE_BYTES: u64 = 256 * 1024;
/// Pieces that are under way.
const PIECES: usize = 8;
/// How long a request takes.
const TURN: Duration = Duration::from_secs(1);

/// What they hold.
pub(super) fn facts(volume: &Volume) -> Reply {
    let tier = |TierUse { tier, limit_bytes, held }: TierUse| CacheTier {
        tier: tier.into(),
        bytes: held.bytes,
        limit_bytes,
        entries: held.entries,
        hits: held.hits,
        misses: held.missed,
    };
    Reply::Caches { tiers: volume.caches().map(tier).into() }
}

/// Everything that was done so far becomes durable, that of which the kernel holds the bytes too: `pages` of a mount that is there.
pub(super) fn flush(volume: &Volume, pages: Option<&Pages>) -> Reply {
    if let Err(error) = pages.map_or(Ok(()), Pages::hand_over) {
        return Reply::Refused { why: format!("the kernel may still hold what was written: {error}") };
    }
    match volume.ask(|replier| volume.sync_all(replier)).wait_blocking() {
        Ok(()) => Reply::Flushed { dirty_bytes: volume.shared().budget.used() },
        Err(refusal) => Reply::Refused { why: format!("not everything could be made durable: {refusal}") },
    }
}

/// A turn of filling: files, each from an offset on.
pub(super) fn warm(volume: &Volume, files: &[(u64, u64)], urgent: bool) -> Reply {
    let lane = if urgent { Lane::Foreground } else { Lane::Background };
    let mut turn = Turn { under_way: VecDeque::new(), warmed: Warmed::default() };
    let deadline = Instant::now() + TURN;
    for &(inode, from) in files {
        if turn.warmed.done > 0 && Instant::now() >= deadline {
            turn.warmed.next = from;
            break;
        }
        let next = turn.file(volume, Inode(inode), from, lane, deadline);
        if let Some(offset) = next {
            turn.warmed.next = offset;
            break;
        }
        turn.warmed.done += 1;
    }
    while turn.wait_for_one() {}
    Reply::Warmed(turn.warmed)
}

struct Turn {
    /// Pieces that were asked for, by inode.
    under_way: VecDeque<(u64, Awaited<Answer<u64>>)>,
    warmed: Warmed,
}

impl Turn {
    /// Asks for the pieces of a file. `Some`: the time was over before this offset.
    fn file(&mut self, volume: &Volume, inode: Inode, from: u64, lane: Lane, deadline: Instant) -> Option<u64> {
        let seen: Answer<Attributes> = volume.ask(|replier| volume.attributes(inode, replier)).wait_blocking();
        let size = match seen {
            Ok(seen) if seen.kind == FileKind::Regular => seen.size,
            Ok(_) => return None,
            Err(_) => {
                self.failed(inode.0);
                return None;
            }
        };
        let mut offset = from;
        while offset < size {
            // One piece at least, or it would never go on where the disk is slow.
            if offset > from && Instant::now() >= deadline {
                return Some(offset);
            }
            if self.under_way.len() >= PIECES {
                self.wait_for_one();
            }
            let piece = volume.ask(|replier| volume.warm_range(inode, offset, PIECE_BYTES, lane, replier));
            self.under_way.push_back((inode.0, piece));
            offset += PIECE_BYTES;
        }
        None
    }

    /// False: nothing is under way.
    fn wait_for_one(&mut self) -> bool {
        let Some((inode, piece)) = self.under_way.pop_front() else { return false };
        match piece.wait_blocking() {
            Ok(bytes) => self.warmed.bytes += bytes,
            Err(_) => self.failed(inode),
        }
        true
    }

    fn failed(&mut self, inode: u64) {
        if !self.warmed.failed.contains(&inode) {
            self.warmed.failed.push(inode);
        }
    }
}
