//! The rows of the name tree, inode by inode as the keys bring them.
//!
//! Owns: `Inodes`: the inode whose rows come by, and a compact fact for each inode that was seen. Must be true: NAM-1 to NAM-8, INO-1,
//! INO-2, EXT-4, EXT-6, PART-1; the links between inodes are judged by `links` when all have come by. Memory: 56 bytes an inode.
//! Fails: never.

use super::finding::{Findings, HELP_NAMES, HELP_REPORT};
use super::parts::Parts;
use super::tree::hex;
use crate::limits::{INLINE_FILE_BYTES, ROW_MAX_BYTES};
use crate::names::acl::{ACCESS, Acl, DEFAULT};
use crate::names::{check_name, check_xattr_name};
use crate::row::{CookieRow, EntryRow, ExtentRow, FileKind, Inode, InodeRow, Key, ROOT_INODE};
use crate::state::View;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

const HELP_BLOCKS: &str = "The bytes are right; writing the file anew corrects the number.";

/// What must be remembered of an inode until all have come by.
#[derive(Clone, Copy, Default)]
pub(super) struct Fact {
    /// The kind that its row says; `None` without a row.
    pub kind: Option<FileKind>,
    /// The kind that entries say.
    pub named_kind: Option<FileKind>,
    pub is_orphan: bool,
    /// Links that its row says.
    pub links: u32,
    /// Entries that lead to it.
    pub names: u32,
    /// The directory that its row says, of a directory.
    pub parent: u64,
    /// The directory of the last entry that leads to it.
    pub named_in: u64,
}

/// The inode whose rows come by.
#[derive(Default)]
struct Current {
    row: Option<InodeRow>,
    has_rows: bool,
    entries: u64,
    subdirectories: u32,
    cookies: u64,
    last_cookie: u64,
    /// Sums of hashes over the entries by name and by cookie: equal if they are the same.
    by_name: u64,
    by_cookie: u64,
    extents: u64,
    extents_end: u64,
    blocks: u64,
    content: Parts,
    target: Parts,
    xattr: (Vec<u8>, Parts),
}

/// The checker of the name tree.
pub(super) struct Inodes<'a> {
    pub facts: HashMap<u64, Fact>,
    view: View<'a>,
    at: Option<Inode>,
    current: Current,
    large: (Option<Inode>, Parts),
}

impl<'a> Inodes<'a> {
    pub fn new(view: View<'a>) -> Self {
        Self { facts: HashMap::new(), view, at: None, current: Current::default(), large: (None, Parts::default()) }
    }

    /// Takes a row of the name tree.
    pub fn row(&mut self, key: &[u8], value: &[u8], findings: &mut Findings) {
        if key.len() + value.len() > ROW_MAX_BYTES {
            findings.damage("ROW-3", hex(key), "the row is longer than a row may be", HELP_REPORT);
        }
        let Some(key) = Key::decode(key) else {
            findings.damage("ROW-1", hex(key), "the name tree holds a key that means nothing", HELP_REPORT);
            return;
        };
        match key {
            Key::Orphan(inode) => {
                findings.report.counts.orphans += 1;
                self.fact(inode).is_orphan = true;
            }
            Key::Work(_) => {}
            Key::LargeContent(inode, part) => self.large_content(inode, part, value, findings),
            Key::Region(_) | Key::Count(_) | Key::Dead(_) | Key::Free(_) => {
                findings.damage("VAT-3", format!("{key:?}"), "a row of the volume tree stands in the name tree", HELP_REPORT);
            }
            Key::Inode(inode)
            | Key::Entry(inode, _)
            | Key::Cookie(inode, _)
            | Key::Extent(inode, _)
            | Key::Xattr(inode, _, _)
            | Key::Target(inode, _)
            | Key::Content(inode, _) => {
                if self.at != Some(inode) {
                    self.close(findings);
                    self.at = Some(inode);
                }
                self.current.has_rows = true;
                if let Err(what) = self.take(inode, key, value, findings) {
                    findings.damage("ROW-2", format!("inode {inode}"), what, HELP_NAMES);
                }
            }
        }
    }

    /// All rows have come by.
    pub fn finish(&mut self, findings: &mut Findings) {
        self.close(findings);
        self.close_large(findings);
    }

    fn fact(&mut self, inode: Inode) -> &mut Fact {
        self.facts.entry(inode.0).or_default()
    }

    fn take(&mut self, inode: Inode, key: Key, value: &[u8], findings: &mut Findings) -> Result<(), String> {
        let text = |error: crate::row::RowError| error.to_string();
        match key {
            Key::Inode(_) => self.attributes(inode, InodeRow::decode(value).map_err(text)?, findings),
            Key::Entry(_, name) => self.entry(inode, &name, EntryRow::decode(value).map_err(text)?, findings),
            Key::Cookie(_, cookie) => {
                let row = CookieRow::decode(value).map_err(text)?;
                self.current.cookies += 1;
                self.current.last_cookie = cookie;
                let sum = pair(&row.name, row.inode, row.kind, cookie);
                self.current.by_cookie = self.current.by_cookie.wrapping_add(sum);
            }
            Key::Extent(_, offset) => self.extent(inode, offset, &ExtentRow::decode(value).map_err(text)?, findings),
            Key::Xattr(_, name, part) => {
                if self.current.xattr.0 != name {
                    self.close_xattr(inode, findings);
                    self.current.xattr.0 = name;
                }
                self.current.xattr.1.add(part, value);
            }
            Key::Target(_, part) => self.current.target.add(part, value),
            Key::Content(_, part) => self.current.content.add(part, value),
            _ => {}
        }
        Ok(())
    }

    fn attributes(&mut self, inode: Inode, row: InodeRow, findings: &mut Findings) {
        findings.report.counts.inodes += 1;
        let kind = row.kind();
        if kind.mode_bits() != row.mode & 0o170_000 {
            findings.damage("INO-2", format!("inode {inode}"), format!("its mode {:o} is of no kind of file", row.mode), HELP_NAMES);
        }
        let fact = self.fact(inode);
        (fact.kind, fact.links, fact.parent) = (Some(kind), row.links, row.parent.0);
        findings.report.counts.directories += u64::from(kind == FileKind::Directory);
        self.current.row = Some(row);
    }

    fn entry(&mut self, directory: Inode, name: &[u8], row: EntryRow, findings: &mut Findings) {
        findings.report.counts.entries += 1;
        let current = &mut self.current;
        current.entries += 1;
        current.subdirectories = current.subdirectories.saturating_add(u32::from(row.kind == FileKind::Directory));
        current.by_name = current.by_name.wrapping_add(pair(name, row.inode, row.kind, row.cookie));
        let shown = || format!("directory {directory}, name {}", name.escape_ascii());
        if check_name(name).is_err() {
            findings.damage("NAM-1", shown(), "no directory may hold this name", HELP_NAMES);
        }
        let fact = self.fact(row.inode);
        fact.names = fact.names.saturating_add(1);
        fact.named_in = directory.0;
        if fact.named_kind.replace(row.kind).is_some_and(|before| before != row.kind) {
            findings.damage("NAM-7", shown(), format!("another name of inode {} says that it is of another kind", row.inode), HELP_NAMES);
        }
    }

    fn extent(&mut self, inode: Inode, offset: u64, row: &ExtentRow, findings: &mut Findings) {
        findings.report.counts.extents += 1;
        findings.report.counts.extent_bytes += u64::from(row.length);
        let current = &mut self.current;
        current.extents += 1;
        let place = || format!("inode {inode} at byte {offset}");
        if offset < current.extents_end {
            findings.damage("EXT-4", place(), format!("the extent before it reaches to byte {}", current.extents_end), HELP_NAMES);
        }
        let Some(end) = offset.checked_add(u64::from(row.length)) else {
            findings.damage("EXT-4", place(), "it ends beyond the greatest file", HELP_NAMES);
            return;
        };
        current.extents_end = current.extents_end.max(end);
        current.blocks = current.blocks.saturating_add(u64::from(row.length).div_ceil(512));
    }

    /// The parts of an extended attribute have come by.
    fn close_xattr(&mut self, inode: Inode, findings: &mut Findings) {
        let (name, parts) = std::mem::take(&mut self.current.xattr);
        if !parts.is_there() {
            return;
        }
        let place = || format!("inode {inode}, attribute {}", name.escape_ascii());
        if check_xattr_name(&name).is_err() {
            findings.damage("XAT-1", place(), "no attribute has such a name", HELP_NAMES);
        }
        let list = match parts.value() {
            Err(what) => return findings.damage("PART-1", place(), format!("its value: {what}"), HELP_NAMES),
            Ok(value) if name == ACCESS || name == DEFAULT => Acl::decode(value),
            Ok(_) => return,
        };
        let mode = self.current.row.as_ref().map_or(0, |row| row.mode);
        let kind = self.current.row.as_ref().map(InodeRow::kind);
        let is_elsewhere = kind == Some(FileKind::Symlink) || (name == DEFAULT && kind != Some(FileKind::Directory));
        match list {
            Ok(Some(_)) if is_elsewhere => {
                findings.damage("ACL-1", place(), "an inode of this kind has no such access control list", HELP_NAMES);
            }
            Ok(Some(list)) if name == ACCESS && list.permissions() != mode & 0o777 => {
                let what = format!("the list says {:o} and the permission bits {:o}", list.permissions(), mode & 0o777);
                findings.damage("ACL-2", place(), what, HELP_NAMES);
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => findings.damage("ACL-1", place(), "it is no valid access control list", HELP_NAMES),
        }
    }

    /// The rows of an inode have come by.
    fn close(&mut self, findings: &mut Findings) {
        if let Some(inode) = self.at {
            self.close_xattr(inode, findings);
        }
        let current = std::mem::take(&mut self.current);
        let Some(inode) = self.at.take().filter(|_| current.has_rows) else { return };
        let place = format!("inode {inode}");
        let Some(row) = &current.row else {
            findings.damage("INO-1", place, "there are rows of it, and the inode itself is missing", HELP_NAMES);
            return;
        };
        self.close_directory(inode, &current, row, findings);
        self.close_content(inode, &current, row, findings);
        let kind = row.kind();
        let misfits = [
            (current.entries + current.cookies > 0 && kind != FileKind::Directory, "it has names in it and is no directory"),
            (current.extents > 0 && kind != FileKind::Regular, "it has extents and is no regular file"),
            (current.content.is_there() && kind != FileKind::Regular, "it has content and is no regular file"),
            (current.target.is_there() != (kind == FileKind::Symlink), "only a symbolic link has a target, and each has one"),
            (kind == FileKind::Directory && row.size != 0, "a directory has a size"),
        ];
        for (_, what) in misfits.into_iter().filter(|(is_wrong, _)| *is_wrong) {
            findings.damage("INO-2", &place, what, HELP_NAMES);
        }
    }

    fn close_directory(&mut self, inode: Inode, current: &Current, row: &InodeRow, findings: &mut Findings) {
        if row.kind() != FileKind::Directory {
            return;
        }
        let place = || format!("directory {inode}");
        if (current.entries, current.by_name) != (current.cookies, current.by_cookie) {
            let what = format!(
                "its {} names and {} positions do not belong together: listing it may miss names",
                current.entries, current.cookies
            );
            findings.damage("NAM-1", place(), what, HELP_NAMES);
            self.name_the_unpaired(inode, findings);
        }
        if row.entries != current.entries {
            let what = format!("it counts {} entries and has {}", row.entries, current.entries);
            findings.damage("NAM-4", place(), what, HELP_NAMES);
        }
        let links = if row.links == 0 { 0 } else { current.subdirectories.saturating_add(2) };
        if row.links != links || (row.links == 0 && current.entries > 0) {
            let what = format!("it counts {} links and has {links}", row.links);
            findings.warning("NAM-2", place(), what, HELP_NAMES);
        }
        if current.cookies > 0 && current.last_cookie >= row.next_cookie {
            let what = format!("its next position is {}, and {} is in use", row.next_cookie, current.last_cookie);
            findings.damage("NAM-8", place(), what, HELP_NAMES);
        }
    }

    /// Looks up the pairs of a directory one by one, once it is known that some do not fit.
    fn name_the_unpaired(&self, directory: Inode, findings: &mut Findings) {
        let mut after = 0;
        while let Ok(entries) = self.view.entries_after(directory, after, 256) {
            let Some((last, _)) = entries.last() else { return };
            after = *last;
            for (cookie, row) in entries {
                let entry = self.view.entry(directory, &row.name);
                if !matches!(entry, Ok(Some(entry)) if (entry.inode, entry.kind, entry.cookie) == (row.inode, row.kind, cookie)) {
                    let place = format!("directory {directory}, name {}", row.name.escape_ascii());
                    findings.damage("NAM-1", place, format!("position {cookie} and the name do not lead to each other"), HELP_NAMES);
                }
            }
        }
    }

    fn close_content(&mut self, inode: Inode, current: &Current, row: &InodeRow, findings: &mut Findings) {
        let place = || format!("inode {inode}");
        let blocks = current.blocks;
        if current.content.is_there() {
            match current.content.value() {
                Err(what) => findings.damage("PART-1", place(), format!("its content: {what}"), HELP_NAMES),
                Ok(content) => findings.report.counts.inline_bytes += content.len() as u64,
            }
        }
        if current.target.is_there() {
            match current.target.value() {
                Err(what) => findings.damage("PART-1", place(), format!("its target: {what}"), HELP_NAMES),
                Ok(target) if target.is_empty() || target.len() as u64 != row.size => {
                    findings.damage(
                        "INO-2",
                        place(),
                        format!("its target has {} bytes, its row says {}", target.len(), row.size),
                        HELP_NAMES,
                    );
                }
                Ok(_) => {}
            }
        }
        if row.kind() == FileKind::Regular && row.blocks != blocks {
            let what = format!("it counts {} units of 512 bytes and its extents have {blocks}", row.blocks);
            findings.warning("EXT-6", place(), what, HELP_BLOCKS);
        }
    }

    fn large_content(&mut self, inode: Inode, part: u16, value: &[u8], findings: &mut Findings) {
        if self.large.0 != Some(inode) {
            self.close_large(findings);
            self.large.0 = Some(inode);
        }
        self.large.1.add(part, value);
    }

    fn close_large(&mut self, findings: &mut Findings) {
        let (inode, parts) = std::mem::take(&mut self.large);
        let Some(inode) = inode else { return };
        let place = format!("inode {inode}");
        match parts.value() {
            Err(what) => findings.damage("PART-1", &place, format!("its content: {what}"), HELP_NAMES),
            Ok(content) if content.len() > INLINE_FILE_BYTES => {
                findings.damage("PART-1", &place, format!("{} bytes of content do not belong into the tables", content.len()), HELP_NAMES);
            }
            Ok(content) => findings.report.counts.inline_bytes += content.len() as u64,
        }
        self.close(findings);
        let fact = *self.fact(inode);
        match fact.kind {
            None => findings.damage("INO-1", place, "there is content of it, and the inode itself is missing", HELP_NAMES),
            Some(FileKind::Regular) => {}
            Some(_) => findings.damage("INO-2", place, "it has content and is no regular file", HELP_NAMES),
        }
    }
}

fn pair(name: &[u8], inode: Inode, kind: FileKind, cookie: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (name, inode, kind, cookie).hash(&mut hasher);
    hasher.finish()
}

/// The inode that a volume begins with.
pub(super) const ROOT: u64 = ROOT_INODE.0;
