//! Moving what stands in an image that is to come free: extents by compare and put, nodes by making them anew.
//!
//! Must be true: MOV-1 a row moves only if it is, byte for byte, the one whose extent was copied; whoever changed it meanwhile wins; MOV-2
//! a node that is made anew says the same, and nothing is logged of it: the next root finds it another place. Fails: see `StateError`.

use super::{State, StateError, Txn};
use crate::address::Address;
use crate::clean::Move;
use crate::row::{ExtentRow, Key};
use crate::vat::{NodeSource, Released, TreeId};

impl Txn<'_> {
    /// Puts a row in place of the one that it was copied from. Returns whether that was still there. `fresh`: it is the first row that
    /// claims this placement.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn move_extent(&mut self, change: &Move, fresh: bool) -> Result<bool, StateError> {
        let Some(value) = self.view().value(&Key::Extent(change.inode, change.offset))? else { return Ok(false) };
        if ExtentRow::decode(&value)? != change.old {
            return Ok(false);
        }
        self.put_extent(change.inode, change.offset, &change.new, fresh)?;
        Ok(true)
    }
}

impl State {
    /// Makes the node at `address` anew, with all above it, if it is the one on the way to `key`. Returns whether it was.
    ///
    /// # Errors
    /// See [`StateError`]; nothing is changed then.
    pub fn rewrite_node(&mut self, source: &dyn NodeSource, tree: TreeId, address: Address, key: &[u8]) -> Result<bool, StateError> {
        let mut changed = match tree {
            TreeId::Name => self.names.clone(),
            TreeId::Volume => self.volume.clone(),
        };
        if !changed.path(source, key)?.iter().any(|(ptr, _)| ptr.address == address) {
            return Ok(false);
        }
        let Some(row) = changed.first_at_or_after(source, key)? else { return Ok(false) };
        let mut released = Released::default();
        changed.put(source, self.generation, row.key(), row.value(), &mut released)?;
        match tree {
            TreeId::Name => self.names = changed,
            TreeId::Volume => self.volume = changed,
        }
        self.note_released(released);
        Ok(true)
    }
}
