//! Entries for fuzzers: every decoder of bytes from outside, by name.
//!
//! Owns: `TARGETS`, and putting checksums right, so that mutated bytes come past them. Must be true: FUZ-1 whatever the bytes, a
//! target returns; FUZ-2 what a decoder accepts encodes and decodes to itself. Fails: by a panic, which is a defect of the decoder.

use crate::address::{Address, Generation};
use crate::limits::{LOG_BLOCK_BYTES, PART_BYTES, SYMLINK_MAX_BYTES};
use crate::recover::LoggedData;
use crate::region::chunk::{Chunks, KIND_IDENTITY, KIND_TABLES};
use crate::region::layout::{CHUNK_HEAD_BYTES, IDENTITY_BYTES};
use crate::root::RootRecord;
use crate::row::{CookieRow, EntryRow, ExtentRow, FileKind, Inode, InodeRow, Key, RegionRow, Time};
use crate::state::View;
use crate::state::change::changes;
use crate::vat::{Node, NodeError, NodePtr, NodeSource, Released, Tree};
use crate::wal::record::{Lsn, RECORD_HEADER_BYTES, RecordHeader};
use crate::wal::volume_tag;
use crate::wire::{Put, Reader};
use std::sync::Arc;

/// A target: runs decoders on any bytes.
pub type Target = fn(&[u8]);

/// All targets, by the name of their fuzzer and of the directory of their corpus.
pub const TARGETS: [(&str, Target); 7] =
    [("region", region), ("tables", tables), ("node", node), ("wal", wal), ("row", row), ("root", root), ("change", change)];

/// A whole image, as it is and with the checksums of its identity and tables put right.
pub fn region(data: &[u8]) {
    crate::region::fuzz_region(data);
    let mut sealed = data.to_vec();
    for chunk in Chunks::of(data).map_while(Result::ok) {
        let at = chunk.offset + CHUNK_HEAD_BYTES;
        match chunk.kind {
            KIND_IDENTITY => seal(&mut sealed, at, IDENTITY_BYTES.min(chunk.data.len())),
            KIND_TABLES => {
                // The identity within, then all.
                seal(&mut sealed, at + 12, IDENTITY_BYTES);
                seal(&mut sealed, at, chunk.data.len());
            }
            _ => {}
        }
    }
    if sealed != data {
        crate::region::fuzz_region(&sealed);
    }
}

/// Tables of a region.
pub fn tables(data: &[u8]) {
    crate::region::fuzz_tables(data);
}

/// A node of the VAT.
pub fn node(data: &[u8]) {
    crate::vat::fuzz_node(data);
    if let Some(bytes) = data.first_chunk() {
        NodePtr::decode(bytes).into_iter().for_each(|ptr| assert_eq!(ptr.encode(), *bytes));
    }
    if let Some(bytes) = data.first_chunk() {
        Address::decode(*bytes).into_iter().for_each(|address| assert_eq!(address.encode(), *bytes));
    }
}

/// A segment of the log, as it is and with its records numbered, chained and checksummed.
pub fn wal(data: &[u8]) {
    crate::wal::fuzz_wal(data);
    crate::wal::fuzz_wal(&chained(data));
}

/// The segment with every record that can be read made to follow the one before it, from what the header says on.
fn chained(data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    let field = |at: usize| Reader::new(data.get(at..).unwrap_or(&[]));
    let tag = volume_tag(field(16).array().unwrap_or_default());
    let epoch = field(12).u32().unwrap_or_default();
    let (mut lsn, mut previous_crc) = (Lsn(field(40).u64().unwrap_or_default()), field(56).u32().unwrap_or_default());
    let mut at = LOG_BLOCK_BYTES;
    while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
        let read = RecordHeader::decode(rest).ok();
        let found = read.and_then(|(header, _)| Some((header, rest.get(RECORD_HEADER_BYTES..header.record_bytes())?)));
        let Some((header, payload)) = found else {
            at = (at + 1).next_multiple_of(LOG_BLOCK_BYTES);
            continue;
        };
        let header = RecordHeader { volume_tag: tag, epoch, lsn, previous_crc, ..header };
        let (bytes, crc) = header.encode(&[payload]);
        replace(&mut out, at, &bytes);
        (lsn, previous_crc, at) = (lsn.next(), crc, at + header.record_bytes());
    }
    out
}

/// Keys and values of typed rows, and long values in parts.
pub fn row(data: &[u8]) {
    if let Some(key) = Key::decode(data) {
        assert_eq!(key.encode(), data);
    }
    // The version first, so that no time is lost on finding it.
    let versioned = [&[1], data].concat();
    for bytes in [data, &versioned] {
        InodeRow::decode(bytes).into_iter().for_each(|row| assert_eq!(row.encode(), bytes));
        EntryRow::decode(bytes).into_iter().for_each(|row| assert_eq!(row.encode(), bytes));
        CookieRow::decode(bytes).into_iter().for_each(|row| assert_eq!(row.encode(), bytes));
        RegionRow::decode(bytes).into_iter().for_each(|row| assert_eq!(row.encode(), bytes));
        if let Ok(row) = ExtentRow::decode(bytes) {
            assert_eq!(row.encode(), bytes);
            extent(&row);
        }
    }
    parts(data);
}

fn extent(row: &ExtentRow) {
    let (first, count) = row.touched_clusters();
    for number in first..first + count {
        assert!(row.crc(number).is_some() && row.address(number).is_some(), "a cluster without a checksum or an address");
    }
    let middle = row.length / 2;
    for (from, to) in [(0, middle), (middle, row.length), (middle, middle.saturating_add(1))] {
        row.part(from, to).into_iter().for_each(|part| assert_eq!(ExtentRow::decode(&part.encode()), Ok(part)));
    }
}

/// Bytes as the part rows of a link's target: as they are, and behind the head that fits them.
fn parts(data: &[u8]) {
    let held = |whole: &[u8], second: Option<&[u8]>| {
        let inode = Inode(2);
        let mut tree = Tree::empty(Arc::default());
        let mut put = |key: Key, value: &[u8]| {
            let _ = tree.put(&Nothing, Generation(1), &key.encode(), value, &mut Released::default());
        };
        put(Key::Inode(inode), &InodeRow::new(FileKind::Symlink.mode_bits(), 0, 0, Time::default()).encode());
        whole.chunks(PART_BYTES).zip(0..).for_each(|(part, number)| put(Key::Target(inode, number), part));
        second.into_iter().for_each(|part| put(Key::Target(inode, 1), part));
        View::new(&tree, &Nothing).target(inode).ok()
    };
    let _ = held(data, None);
    let mut whole = Vec::with_capacity(data.len() + 8);
    whole.put_u32(data.len() as u32);
    whole.put_u32(crc32fast::hash(data));
    whole.put(data);
    assert_eq!(held(&whole, None).is_some(), data.len() <= SYMLINK_MAX_BYTES, "a value of {} bytes in parts", data.len());
    assert_eq!(held(&whole, Some(&[])).is_some(), whole.len() <= PART_BYTES, "an empty part is none");
}

/// A root record, as it is and with its checksum put right.
pub fn root(data: &[u8]) {
    let mut sealed = data.to_vec();
    seal(&mut sealed, 0, data.len());
    for bytes in [data, &sealed] {
        let Ok(root) = RootRecord::decode(bytes) else { continue };
        assert_eq!(RootRecord::decode(&root.encode()).as_ref(), Ok(&root));
        let _ = root.open(Generation::first_of(2));
    }
}

/// The changes of a log record, and the data that they carry and cancel.
pub fn change(data: &[u8]) {
    let (mut logged, mut again) = (LoggedData::default(), Vec::new());
    let sound = || changes(data).map_while(Result::ok);
    for change in sound() {
        let _ = logged.note(&change);
        change.encode(&mut again);
    }
    assert!(changes(&again).map(Result::ok).eq(sound().map(Some)), "a change did not survive encoding");
    for (_, number, _, bytes) in logged.into_blocks() {
        assert!(number.checked_mul(4096).is_some() && bytes.len() <= 4096, "a block that no file has");
    }
}

/// Writes the CRC32 of all before them into the last four of `len` bytes at `at`.
fn seal(bytes: &mut [u8], at: usize, len: usize) {
    let Some(range) = at.checked_add(len).and_then(|end| bytes.get_mut(at..end)) else { return };
    if let Some((body, crc)) = range.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(body).to_le_bytes();
    }
}

fn replace(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(room) = at.checked_add(with.len()).and_then(|end| bytes.get_mut(at..end)) {
        room.copy_from_slice(with);
    }
}

/// A tree that was never stored needs no source.
struct Nothing;

impl NodeSource for Nothing {
    fn node(&self, ptr: &NodePtr) -> Result<Arc<Node>, NodeError> {
        Err(NodeError::Miss(*ptr))
    }

    fn resident(&self, _: &NodePtr) -> Option<Arc<Node>> {
        None
    }
}
