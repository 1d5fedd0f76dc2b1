//! A transaction on the name tree: every change is made, charged and written down for the log in one motion.
//!
//! Owns: `Txn`, `Outcome`. Must be true: VAT-2. Fails: see `StateError`; the caller of `State::transact` sees nothing changed.

use super::change::Change;
use super::{State, StateError, View};
use crate::address::Generation;
use crate::limits::{GROUP_MAX_ROWS, LINK_MAX, RECORD_DATA_MAX_BYTES, RECORD_MAX_ROWS};
use crate::refusal::Refusal;
use crate::row::{FileKind, Inode, InodeRow, Key};
use crate::space::SpaceDeltas;
use crate::vat::{NodeSource, Released};
use crate::wal::record::{PAYLOAD_MAX_BYTES, RECORD_HEADER_BYTES};

/// Bytes of the payload of a change of names: one allocation instead of several that grow.
const PAYLOAD_USUAL_BYTES: usize = 768;

/// What a finished transaction leaves.
#[derive(Debug)]
pub struct Outcome<T> {
    pub value: T,
    /// Payload of the log record that replays it; empty if nothing was changed.
    pub payload: Vec<u8>,
    /// Where it is to be divided, because one record does not hold it: only of [`super::State::transact_group`].
    ends: Vec<usize>,
}

impl<T> Outcome<T> {
    /// The payloads of the records that replay it, in order: one group of the log. None if nothing was changed.
    #[must_use]
    pub fn records(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ends = self.ends.iter().copied().chain([self.payload.len()]);
        starts.zip(ends).filter_map(|(from, to)| self.payload.get(from..to).filter(|record| !record.is_empty())).collect()
    }
}

/// A transaction in progress.
pub struct Txn<'a> {
    pub(super) state: &'a mut State,
    pub(super) source: &'a dyn NodeSource,
    pub(super) deltas: SpaceDeltas,
    released: Released,
    payload: Vec<u8>,
    /// Ends of the records that are full.
    ends: Vec<usize>,
    /// Rows of the last record, and of all.
    rows: usize,
    all_rows: usize,
    /// Bytes of log that it may take as a group of records; `None`: it is one record.
    group_bytes: Option<usize>,
    /// Replay applies changes that are in the log already.
    replaying: bool,
}

impl<'a> Txn<'a> {
    pub(super) fn new(state: &'a mut State, source: &'a dyn NodeSource, group_bytes: Option<usize>) -> Self {
        Self {
            state,
            source,
            deltas: SpaceDeltas::default(),
            released: Released::default(),
            payload: Vec::new(),
            ends: Vec::new(),
            rows: 0,
            all_rows: 0,
            group_bytes,
            replaying: false,
        }
    }

    pub(super) fn finish<T>(self, value: T) -> Outcome<T> {
        self.state.given_up += self.deltas.given_up();
        self.state.deltas.absorb(self.deltas);
        self.state.note_released(self.released);
        Outcome { value, payload: self.payload, ends: self.ends }
    }

    /// A reader of the trees as this transaction has changed them.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View::new(&self.state.names, self.source)
    }

    /// The generation that rows put now carry.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.state.generation
    }

    pub(super) fn replay(&mut self) {
        self.replaying = true;
    }

    pub(super) fn is_replay(&self) -> bool {
        self.replaying
    }

    /// Writes a change down for the log.
    pub(super) fn log(&mut self, change: &Change<'_>) -> Result<(), StateError> {
        if !self.replaying {
            self.rows += 1;
            self.all_rows += 1;
            if self.group_bytes.is_some() && (self.rows > RECORD_MAX_ROWS || self.record_bytes() >= RECORD_DATA_MAX_BYTES) {
                self.ends.push(self.payload.len());
                self.rows = 1;
            }
            if self.rows > RECORD_MAX_ROWS || self.all_rows > GROUP_MAX_ROWS {
                return Err(Refusal::BatchTooBig.into());
            }
            if self.payload.capacity() == 0 {
                self.payload.reserve(PAYLOAD_USUAL_BYTES);
            }
            change.encode(&mut self.payload);
            // Refused here: when the log refuses it, the state has changed.
            let group = self.payload.len() + (self.ends.len() + 1) * RECORD_HEADER_BYTES;
            if self.record_bytes() > PAYLOAD_MAX_BYTES || self.group_bytes.is_some_and(|most| group > most) {
                return Err(Refusal::BatchTooBig.into());
            }
        }
        Ok(())
    }

    /// Bytes of the last record.
    fn record_bytes(&self) -> usize {
        self.payload.len() - self.ends.last().copied().unwrap_or(0)
    }

    /// Puts a row of the name tree.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn put(&mut self, key: &Key, value: &[u8]) -> Result<(), StateError> {
        let key = key.encode();
        self.log(&Change::Put { key: &key, value })?;
        self.put_silently(&key, value)
    }

    /// Deletes a row of the name tree, if it is there.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn delete(&mut self, key: &Key) -> Result<(), StateError> {
        let key = key.encode();
        self.log(&Change::Delete { key: &key })?;
        self.delete_silently(&key)
    }

    /// Puts a row whose log entry stands elsewhere.
    pub(super) fn put_silently(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let state = &mut *self.state;
        let old = state.names.put(self.source, state.generation, key, value, &mut self.released)?;
        if let (None, Some(inode)) = (old, Key::inode_of(key)) {
            state.inodes += 1;
            state.next_inode = state.next_inode.max(inode.0.saturating_add(1));
        }
        Ok(())
    }

    /// Deletes a row whose log entry stands elsewhere.
    pub(super) fn delete_silently(&mut self, key: &[u8]) -> Result<(), StateError> {
        let state = &mut *self.state;
        let old = state.names.remove(self.source, state.generation, key, &mut self.released)?;
        if let (Some(_), Some(_)) = (old, Key::inode_of(key)) {
            state.inodes = state.inodes.saturating_sub(1);
        }
        Ok(())
    }

    /// Puts the row of an inode.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn put_inode(&mut self, inode: Inode, row: &InodeRow) -> Result<(), StateError> {
        // A directory counts those in it, and may have as many as there is room for.
        if row.links > LINK_MAX && row.kind() != FileKind::Directory {
            return Err(Refusal::TooManyLinks.into());
        }
        self.put(&Key::Inode(inode), &row.encode())
    }

    /// An inode number that was never used.
    pub fn new_inode(&mut self) -> Inode {
        let inode = Inode(self.state.next_inode);
        self.state.next_inode += 1;
        inode
    }

    /// Data of small synced writes goes into the record; it changes no row.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn log_data(&mut self, inode: Inode, offset: u64, sequence: u64, bytes: &[u8]) -> Result<(), StateError> {
        self.log(&Change::Data { inode, offset, sequence, bytes })
    }
}
