//! A disk that loses power: files in memory, with a page cache, a host filesystem, and everything that POSIX allows to go wrong.
//!
//! Owns: `SimulatedDisk`, a [`Device`] whose every outcome follows from seeds and the order of calls. Must be true: SIM-1..2
//! (`simulated/content.rs`), DSN-1..4 (`simulated/names.rs`), FATE-1 (`simulated/fate.rs`), STA-1..2 (`simulated/state.rs`);
//! SIM-3 what was synced survives every crash, what was not may be lost, kept, or torn at sectors of 512 bytes; SIM-4 after a cut,
//! and after `crash` or `kill`, every operation on the old disk and its handles fails with an error that [`is_power_off`] knows;
//! SIM-5 the same calls give the same [`SimulatedDisk::history_hash`] and the same crash. Fails: on command, and with the kinds of
//! error of a host.
//!
//! Not modelled: links, permissions, damage of synced bytes (write and sync to make some), and time.

mod content;
mod fate;
mod names;
mod state;
#[cfg(test)]
mod tests;

use super::{Access, Device, DeviceFile, DirEntry, Metadata, Open, Space, check_dir_path, check_path, end_of};
use content::PAGE_BYTES;
use fate::Fate;
use names::Inode;
use parking_lot::Mutex;
use state::{Fault, Refusal, State};
use std::io::{self, ErrorKind};
use std::sync::Arc;

pub use fate::CrashStyle;
pub use state::{Operation, is_power_off};

/// Bytes of a file here at most.
pub const FILE_LIMIT_BYTES: u64 = 16 << 30;

/// A volume directory on a disk that can lose power. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

impl SimulatedDisk {
    /// An empty disk; the seed decides what a failing operation leaves behind.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(State::new(seed))
    }

    fn with(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Another disk in the same state, page cache included; this one lives on. Commands to fail are not taken along.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self::with(self.state.lock().fork())
    }

    /// Cuts the power. Returns the disk as it is found afterwards; on this one, all fails from now on. Further calls show
    /// what else might have been found.
    #[must_use]
    pub fn crash(&self, how: CrashStyle) -> Self {
        self.state.lock().off = true;
        let found = self.snapshot();
        found.state.lock().settle(how);
        found
    }

    /// Kills the process that uses the disk. Returns the disk as the next process finds it: the page cache is intact, and what was
    /// not synced can still be lost. On this one, all fails from now on.
    #[must_use]
    pub fn kill(&self) -> Self {
        self.state.lock().off = true;
        let found = self.snapshot();
        found.state.lock().revive(1);
        found
    }

    /// Lets one operation of a kind fail, after `count` that succeed; then the command is spent. Commands add up. A failing write may
    /// have written a part; a failing sync loses what it likes of the bytes, calls them clean, and the next one succeeds.
    pub fn fail_after(&self, count: u64, which: Operation, kind: ErrorKind) {
        self.state.lock().faults.push(Fault { left: count, which, kind });
    }

    /// Lets the power fail in the mutating operation after the next `count`, which may or may not have its effect.
    pub fn power_off_after(&self, count: u64) {
        self.state.lock().power_left = Some(count);
    }

    /// Keeps the disk as it is before each mutating operation from now on, for [`Self::take_moments`].
    pub fn keep_moments(&self) {
        self.state.lock().moments.get_or_insert_default();
    }

    /// The disks that were kept since the last call, oldest first: every point at which the power might have failed. They share what
    /// did not change, so one costs what its operation touched.
    #[must_use]
    pub fn take_moments(&self) -> Vec<Self> {
        self.state.lock().moments.as_mut().map(std::mem::take).unwrap_or_default().into_iter().map(Self::with).collect()
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state.lock().off
    }

    /// Bytes that all files and directories may hold together, counted in pages of 16 KiB, one a directory. Beyond it: `StorageFull`.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity_bytes = bytes;
    }

    /// Mutating operations that were tried so far, crashes of forebears included: makes, writes, syncs, renames, removals.
    #[must_use]
    pub fn op_count(&self) -> u64 {
        self.state.lock().op_count
    }

    /// A hash over all operations so far: kind, path, offset, length, CRC32 of the bytes written, and whether it was allowed.
    #[must_use]
    pub fn history_hash(&self) -> u64 {
        self.state.lock().history
    }
}

fn fail(kind: ErrorKind, path: &str) -> io::Error {
    io::Error::new(kind, format!("{path}: {kind}"))
}

impl Device for SimulatedDisk {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>> {
        check_path(path)?;
        let mut state = self.state.lock();
        state.check_power()?;
        let numbers = [how.access as u64, u64::from(how.direct)];
        let inode = match state.names.look_up(path)? {
            None if how.creates() => state.mutate(Operation::Open, path, numbers, &[], |state| {
                let inode = state.last_inode + 1;
                state.names.link(path, inode, false)?;
                state.last_inode = inode;
                state.files.insert(inode, Arc::default());
                Ok(inode)
            })?,
            found => {
                state.enter(Operation::Open, false, path, numbers, &[]).map_err(Refusal::error)?;
                match found {
                    Some(_) if how.access == Access::CreateNew => return Err(fail(ErrorKind::AlreadyExists, path)),
                    Some(inode) if state.names.is_directory(inode) => return Err(fail(ErrorKind::IsADirectory, path)),
                    Some(inode) => inode,
                    None => return Err(fail(ErrorKind::NotFound, path)),
                }
            }
        };
        *state.handles.entry(inode).or_default() += 1;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode, path: path.into(), writable: how.access != Access::Read }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        check_dir_path(path)?;
        let mut state = self.state.lock();
        state.check_power()?;
        match state.names.look_up(path)? {
            Some(inode) => {
                state.enter(Operation::CreateDir, false, path, [0, 0], &[]).map_err(Refusal::error)?;
                if state.names.is_directory(inode) { Ok(()) } else { Err(fail(ErrorKind::AlreadyExists, path)) }
            }
            None => state.mutate(Operation::CreateDir, path, [0, 0], &[], |state| {
                if state.is_limited() && state.room() < PAGE_BYTES as u64 {
                    return Err(fail(ErrorKind::StorageFull, path));
                }
                state.names.link(path, state.last_inode + 1, true)?;
                state.last_inode += 1;
                Ok(())
            }),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        check_dir_path(path)?;
        let mut state = self.state.lock();
        state.enter(Operation::List, false, path, [0, 0], &[]).map_err(Refusal::error)?;
        let directory = state.names.directory(path)?;
        let described = |(name, inode): (&Arc<str>, Inode)| {
            let Metadata { kind, size_bytes } = state.metadata(inode);
            DirEntry { name: name.to_string(), kind, size_bytes }
        };
        Ok(state.names.entries(directory).map(described).collect())
    }

    fn metadata(&self, path: &str) -> io::Result<Option<Metadata>> {
        check_dir_path(path)?;
        let mut state = self.state.lock();
        state.enter(Operation::Metadata, false, path, [0, 0], &[]).map_err(Refusal::error)?;
        // A file on the way is not an error here, as on a host.
        Ok(state.names.look_up(path).unwrap_or(None).map(|inode| state.metadata(inode)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_path(from)?;
        check_path(to)?;
        self.state.lock().mutate(Operation::Rename, from, [to.len() as u64, 0], to.as_bytes(), |state| {
            state.has_garbage = true;
            state.names.rename(from, to)
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        check_path(path)?;
        self.state.lock().mutate(Operation::Remove, path, [0, 0], &[], |state| {
            state.has_garbage = true;
            state.names.unlink(path)
        })
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        check_dir_path(path)?;
        self.state.lock().mutate(Operation::SyncDir, path, [0, 0], &[], |state| {
            let directory = state.names.directory(path)?;
            state.names.sync(directory);
            state.collect();
            Ok(())
        })
    }

    fn space(&self) -> io::Result<Space> {
        let mut state = self.state.lock();
        state.enter(Operation::Space, false, "", [0, 0], &[]).map_err(Refusal::error)?;
        Ok(Space { total_bytes: state.capacity_bytes, free_bytes: state.room() })
    }
}

/// An open file of a simulated disk.
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: Inode,
    path: Box<str>,
    writable: bool,
}

impl SimulatedFile {
    fn check_write(&self, offset: u64, len: usize) -> io::Result<()> {
        if !self.writable {
            return Err(fail(ErrorKind::PermissionDenied, &self.path));
        }
        end_of(offset, len, FILE_LIMIT_BYTES).map(drop)
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if let Some(count) = state.handles.get_mut(&self.inode) {
            *count -= 1;
            if *count == 0 {
                state.handles.remove(&self.inode);
            }
        }
    }
}

impl DeviceFile for SimulatedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state.lock();
        state.enter(Operation::Read, false, &self.path, [offset, buf.len() as u64], &[]).map_err(Refusal::error)?;
        Ok(state.body(self.inode)?.cached().read(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_write(offset, buf.len())?;
        let mut state = self.disk.state.lock();
        let verdict = state.enter(Operation::Write, true, &self.path, [offset, buf.len() as u64], buf);
        let written = match &verdict {
            Ok(()) => buf.len(),
            Err(Refusal::Failed(_)) if state.off => 0,
            // All, nothing, or the first so many bytes.
            Err(_) => match state.random.below(3) {
                0 => 0,
                1 => buf.len(),
                _ => usize::try_from(state.random.below(buf.len() as u64 + 1)).unwrap_or(0),
            },
        };
        let done = state.write(self.inode, buf.get(..written).unwrap_or(buf), offset);
        verdict.map_err(Refusal::error)?;
        done.map_err(|error| fail(error.kind(), &self.path))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        match state.enter(Operation::Sync, true, &self.path, [0, 0], &[]) {
            Ok(()) => state.body_mut(self.inode)?.sync(),
            Err(Refusal::Failed(error)) if !state.off => {
                let mut fate = Fate::new(CrashStyle::Random(state.random.next()));
                state.body_mut(self.inode)?.fail_sync(&mut fate);
                return Err(error);
            }
            // The style of the crash decides what had arrived.
            Err(refusal) => return Err(refusal.error()),
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_write(len, 0)?;
        self.disk.state.lock().mutate(Operation::SetLen, &self.path, [len, 0], &[], |state| {
            state.body_mut(self.inode)?.set_len(len);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state.lock();
        state.check_power()?;
        Ok(state.body(self.inode)?.cached().len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.check_write(len, 0)?;
        self.disk.state.lock().mutate(Operation::Allocate, &self.path, [len, 0], &[], |state| {
            let wanted = state.body(self.inode)?.cached().wanted_bytes(0, usize::try_from(len).map_err(io::Error::other)?);
            if wanted > 0 && wanted > state.room() {
                return Err(fail(ErrorKind::StorageFull, &self.path));
            }
            state.body_mut(self.inode)?.allocate(len);
            Ok(())
        })
    }
}
