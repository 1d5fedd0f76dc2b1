//! The bytes of a simulated file: what is in the page cache, what is on the medium, and what lies between them.
//!
//! Owns: `Content` (sparse pages, shared between copies) and `Body` (a cached and a durable content, and the changes since the
//! last sync). Must be true: SIM-1 while no sync of the file has failed, the cached content is the durable one with all pending
//! changes applied; SIM-2 bytes beyond the length that were ever visible are zero. Fails: never; the caller has checked limits.

use super::fate::Fate;
use std::sync::Arc;

/// Bytes of a page here: the grain of sharing and of space.
pub const PAGE_BYTES: usize = 16 * 1024;
/// Bytes that a disk writes whole or not at all.
pub const SECTOR_BYTES: u64 = 512;

#[derive(Clone, Debug, Default)]
enum Slot {
    /// No space is held.
    #[default]
    Hole,
    /// Space is held; all bytes are zero.
    Zero,
    Data(Arc<[u8]>),
}

impl Slot {
    /// The page for writing, on its own.
    fn bytes_mut(&mut self) -> &mut [u8] {
        if !matches!(self, Slot::Data(_)) {
            *self = Slot::Data(Arc::from([0; PAGE_BYTES]));
        }
        match self {
            Slot::Data(bytes) => Arc::make_mut(bytes),
            Slot::Hole | Slot::Zero => &mut [],
        }
    }

    fn fill(&mut self, start: usize, data: &[u8]) {
        if data.len() == PAGE_BYTES {
            let zero = data.iter().all(|&byte| byte == 0);
            *self = if zero { Slot::Zero } else { Slot::Data(Arc::from(data)) };
        } else if let Some(range) = self.bytes_mut().get_mut(start..start + data.len()) {
            range.copy_from_slice(data);
        }
    }
}

/// Sparse bytes. A copy costs a pointer a page.
#[derive(Clone, Debug, Default)]
pub struct Content {
    slots: Vec<Slot>,
    len: u64,
}

/// The parts of a range that fall into one page each: page, start in it, length.
fn pages_of(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut left = len;
    let mut position = usize::try_from(offset).unwrap_or(usize::MAX);
    std::iter::from_fn(move || {
        let start = position % PAGE_BYTES;
        let count = left.min(PAGE_BYTES - start);
        let page = position / PAGE_BYTES;
        position = position.saturating_add(count);
        left -= count;
        (count > 0).then_some((page, start, count))
    })
}

fn pages_for(len: u64) -> usize {
    usize::try_from(len.div_ceil(PAGE_BYTES as u64)).unwrap_or(usize::MAX)
}

impl Content {
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of space that are held.
    pub fn held_bytes(&self) -> u64 {
        self.slots.iter().filter(|slot| !matches!(slot, Slot::Hole)).count() as u64 * PAGE_BYTES as u64
    }

    /// Bytes of space that a write would add.
    pub fn wanted_bytes(&self, offset: u64, len: usize) -> u64 {
        pages_of(offset, len).filter(|&(page, ..)| matches!(self.slots.get(page), None | Some(Slot::Hole))).count() as u64
            * PAGE_BYTES as u64
    }

    /// The first so many bytes of a write that add no more than `room_bytes` of space.
    pub fn fitting(&self, offset: u64, len: usize, room_bytes: u64) -> usize {
        let (mut fits, mut room) = (0, room_bytes / PAGE_BYTES as u64);
        for (page, _, count) in pages_of(offset, len) {
            if matches!(self.slots.get(page), None | Some(Slot::Hole)) {
                let Some(left) = room.checked_sub(1) else { break };
                room = left;
            }
            fits += count;
        }
        fits
    }

    pub fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let available = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buf.len().min(available);
        let mut rest = buf.get_mut(..count).unwrap_or_default();
        for (page, start, len) in pages_of(offset, count) {
            let Some((part, tail)) = rest.split_at_mut_checked(len) else { break };
            match self.slots.get(page) {
                Some(Slot::Data(bytes)) => part.copy_from_slice(bytes.get(start..start + len).unwrap_or(part_of_zeros(len))),
                _ => part.fill(0),
            }
            rest = tail;
        }
        count
    }

    /// Puts bytes in place without touching the length.
    fn put(&mut self, data: &[u8], offset: u64) {
        let mut rest = data;
        for (page, start, len) in pages_of(offset, data.len()) {
            let Some((part, tail)) = rest.split_at_checked(len) else { break };
            if self.slots.len() <= page {
                self.slots.resize(page + 1, Slot::Hole);
            }
            if let Some(slot) = self.slots.get_mut(page) {
                slot.fill(start, part);
            }
            rest = tail;
        }
    }

    pub fn write(&mut self, data: &[u8], offset: u64) {
        self.put(data, offset);
        self.len = self.len.max(offset + data.len() as u64);
    }

    pub fn set_len(&mut self, len: u64) {
        self.slots.truncate(pages_for(len));
        self.len = len;
        let tail = usize::try_from(len % PAGE_BYTES as u64).unwrap_or(0);
        if tail > 0
            && self.slots.len() == pages_for(len)
            && let Some(slot @ Slot::Data(_)) = self.slots.last_mut()
        {
            slot.bytes_mut().iter_mut().skip(tail).for_each(|byte| *byte = 0);
        }
    }

    pub fn allocate(&mut self, len: u64) {
        let pages = pages_for(len);
        self.slots.resize(self.slots.len().max(pages), Slot::Hole);
        for slot in self.slots.iter_mut().take(pages).filter(|slot| matches!(slot, Slot::Hole)) {
            *slot = Slot::Zero;
        }
        self.len = self.len.max(len);
    }

    /// Takes over the pages of a range, and the length.
    fn share_pages(&mut self, from: &Content, offset: u64, len: usize) {
        self.slots.resize(from.slots.len(), Slot::Hole);
        for (page, ..) in pages_of(offset, len) {
            if let (Some(to), Some(slot)) = (self.slots.get_mut(page), from.slots.get(page)) {
                *to = slot.clone();
            }
        }
        self.len = from.len;
    }
}

fn part_of_zeros(len: usize) -> &'static [u8] {
    static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
    ZEROS.get(..len).unwrap_or(&ZEROS)
}

/// A change that no sync has made durable.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, data: Arc<[u8]>, extends: bool },
    SetLen(u64),
    Allocate(u64),
}

impl Change {
    fn is_of_size(&self) -> bool {
        !matches!(self, Change::Write { extends: false, .. })
    }

    fn apply(&self, content: &mut Content) {
        match self {
            Change::Write { offset, data, .. } => content.write(data, *offset),
            Change::SetLen(len) => content.set_len(*len),
            Change::Allocate(len) => content.allocate(*len),
        }
    }
}

/// A file of the simulated disk.
#[derive(Clone, Debug, Default)]
pub struct Body {
    cached: Content,
    durable: Content,
    pending: Vec<Change>,
    /// A sync failed: what is cached may differ from the medium although nothing is pending.
    tainted: bool,
}

impl Body {
    /// What a running program sees.
    pub fn cached(&self) -> &Content {
        &self.cached
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    pub fn write(&mut self, data: &[u8], offset: u64) {
        if !data.is_empty() {
            let extends = offset + data.len() as u64 > self.cached.len;
            self.change(Change::Write { offset, data: Arc::from(data), extends });
        }
    }

    pub fn set_len(&mut self, len: u64) {
        self.change(Change::SetLen(len));
    }

    pub fn allocate(&mut self, len: u64) {
        self.change(Change::Allocate(len));
    }

    /// A sync that succeeded: what is pending is on the medium.
    pub fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if self.tainted {
            // Only what was written again since the failure reaches the medium.
            pending.iter().for_each(|change| change.apply(&mut self.durable));
        } else if pending.iter().any(|change| !matches!(change, Change::Write { .. })) {
            self.durable = self.cached.clone();
        } else {
            for change in &pending {
                if let Change::Write { offset, data, .. } = change {
                    self.durable.share_pages(&self.cached, *offset, data.len());
                }
            }
        }
    }

    /// A sync that failed: the host calls the pages clean, whatever part of them reached the medium. Sizes stay pending.
    pub fn fail_sync(&mut self, fate: &mut Fate) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|change| match change {
            Change::Write { offset, data, .. } => {
                put_surviving(&mut self.durable, *offset, data, fate);
                false
            }
            Change::SetLen(_) | Change::Allocate(_) => true,
        });
        self.pending = pending;
        if self.durable.len != self.cached.len {
            self.pending.push(Change::SetLen(self.cached.len));
        }
        self.tainted = true;
    }

    /// The file as it is found after the power failed.
    pub fn settle(&self, fate: &mut Fate) -> Self {
        let mut found = self.durable.clone();
        let mut sizes = fate.choose(self.pending.iter().filter(|change| change.is_of_size()).count());
        for change in &self.pending {
            let keeps_size = change.is_of_size() && fate.keeps(&mut sizes);
            match change {
                Change::Write { offset, data, .. } => {
                    put_surviving(&mut found, *offset, data, fate);
                    if keeps_size {
                        found.len = found.len.max(offset + data.len() as u64);
                    }
                }
                Change::SetLen(_) | Change::Allocate(_) if keeps_size => change.apply(&mut found),
                Change::SetLen(_) | Change::Allocate(_) => {}
            }
        }
        let len = found.len;
        found.set_len(len);
        Self { cached: found.clone(), durable: found, pending: Vec::new(), tainted: false }
    }

    /// Whether nothing can be lost.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty() && !self.tainted
    }
}

/// Puts those sectors of a write that reached the medium.
fn put_surviving(content: &mut Content, offset: u64, data: &[u8], fate: &mut Fate) {
    let first = offset / SECTOR_BYTES;
    let sectors = (offset + data.len() as u64).div_ceil(SECTOR_BYTES) - first;
    let tear = fate.tear(sectors);
    for (from, to) in tear.runs(sectors, fate) {
        let begin = ((first + from) * SECTOR_BYTES).max(offset);
        let end = ((first + to) * SECTOR_BYTES).min(offset + data.len() as u64);
        let part = usize::try_from(begin - offset).ok().zip(usize::try_from(end - offset).ok());
        if let Some(part) = part.and_then(|(from, to)| data.get(from..to)) {
            content.put(part, begin);
        }
    }
}
