//! Bytes of files that the log holds and no image yet.
//!
//! Must be true: REC-3; of two writes of a block the higher sequence wins, whatever their order in the log.

use crate::limits::{CLUSTER_BYTES, FILE_MAX_BYTES};
use crate::row::{ExtentRow, Inode, Key};
use crate::state::StateError;
use crate::state::change::Change;
use std::collections::BTreeMap;

const BLOCK: u64 = CLUSTER_BYTES as u64;

/// Blocks by file and number, each with its write sequence. A block is at most 4096 bytes; what is short of that is zero.
#[derive(Default, Debug)]
pub struct LoggedData {
    blocks: BTreeMap<(Inode, u64), (u64, Vec<u8>)>,
}

impl LoggedData {
    /// Takes what a change adds, and drops what it supersedes.
    ///
    /// # Errors
    /// A row in the change that is none.
    pub fn note(&mut self, change: &Change<'_>) -> Result<(), StateError> {
        match *change {
            Change::Data { inode, offset, sequence, bytes } => {
                // No number of a block is so large that its offset is none.
                if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > FILE_MAX_BYTES) {
                    return Err(StateError::Contradiction("a log record holds data beyond the end of any file"));
                }
                self.add(inode, offset, sequence, bytes);
            }
            Change::PutExtent { inode, offset, row, .. } => {
                let row = ExtentRow::decode(row)?;
                self.cancel(inode, offset, offset.saturating_add(u64::from(row.length)), row.sequence);
            }
            Change::Cut { inode, from, to, sequence } => self.cancel(inode, from, to, sequence),
            Change::Delete { key } => {
                if let Some(Key::Inode(inode)) = Key::decode(key) {
                    self.cancel(inode, 0, u64::MAX, u64::MAX);
                }
            }
            Change::Put { .. } | Change::Grant { .. } | Change::Freed { .. } => {}
        }
        Ok(())
    }

    fn add(&mut self, inode: Inode, offset: u64, sequence: u64, bytes: &[u8]) {
        for (n, block) in bytes.chunks(CLUSTER_BYTES).enumerate() {
            let held = self.blocks.entry((inode, offset / BLOCK + n as u64)).or_default();
            if sequence >= held.0 {
                *held = (sequence, block.to_vec());
            }
        }
    }

    /// Drops what lies in the range and is not newer; a block that is cut in part keeps the rest.
    fn cancel(&mut self, inode: Inode, from: u64, to: u64, sequence: u64) {
        if from >= to {
            return;
        }
        let last = if to == u64::MAX { u64::MAX } else { to.div_ceil(BLOCK) };
        let touched: Vec<u64> = self.blocks.range((inode, from / BLOCK)..(inode, last)).map(|((_, number), _)| *number).collect();
        for number in touched {
            let start = number * BLOCK;
            let Some((held, bytes)) = self.blocks.get_mut(&(inode, number)) else { continue };
            if *held > sequence {
                continue;
            }
            let (cut_from, cut_to) = (from.saturating_sub(start) as usize, to.saturating_sub(start).min(BLOCK) as usize);
            if cut_from == 0 && cut_to >= bytes.len() {
                self.blocks.remove(&(inode, number));
            } else {
                let length = cut_to.saturating_sub(cut_from);
                bytes.iter_mut().skip(cut_from).take(length).for_each(|byte| *byte = 0);
            }
        }
    }

    /// The files of which there are bytes.
    #[must_use]
    pub fn inodes(&self) -> Vec<Inode> {
        let mut inodes: Vec<_> = self.blocks.keys().map(|(inode, _)| *inode).collect();
        inodes.dedup();
        inodes
    }

    /// Drops what lies behind the end of a file of this size: a power cut came before the size did. Returns whether there was anything;
    /// the caller logs the cut, or the next replay would find it again when the file has grown.
    pub fn trim(&mut self, inode: Inode, size: u64) -> bool {
        let within = usize::try_from(size % BLOCK).unwrap_or(0);
        let number = size / BLOCK;
        let behind = self.blocks.range((inode, number)..=(inode, u64::MAX)).any(|((_, at), (_, bytes))| {
            let from = if *at == number { within } else { 0 };
            bytes.iter().skip(from).any(|byte| *byte != 0)
        });
        if behind {
            self.cancel(inode, size, u64::MAX, u64::MAX);
        }
        behind
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The blocks, file by file: inode, block number, sequence, bytes.
    pub fn into_blocks(self) -> impl Iterator<Item = (Inode, u64, u64, Vec<u8>)> {
        self.blocks.into_iter().map(|((inode, number), (sequence, bytes))| (inode, number, sequence, bytes))
    }

    /// The bytes of a block, if there are any.
    #[must_use]
    pub fn block(&self, inode: Inode, number: u64) -> Option<&[u8]> {
        self.blocks.get(&(inode, number)).map(|(_, bytes)| bytes.as_slice())
    }
}
