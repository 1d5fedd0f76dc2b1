//! Scaffolding: a volume in memory, so that the door can be compiled and tried. The real one takes this file's place.
//!
//! Owns: nothing that lasts. Must be true: it answers as POSIX has it where the door's tests look. Fails: loses all when dropped.

use crate::api::{Answer, AttributeChange, Attributes, DirEntry, NewNode, Refusal, Rename, RenameMode, SetTime, SpaceUse, WriteHow};
use crate::replier::{Replier, Unanswered};
use infmap_storage::row::{FileKind, Inode, InodeRow, ROOT_INODE, Time};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

impl Unanswered for Refusal {
    fn unanswered() -> Self {
        Self::Gone
    }
}

/// Bytes that a read answers.
pub struct ReadData(Vec<u8>);

impl std::ops::Deref for ReadData {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

struct Node {
    row: InodeRow,
    data: Vec<u8>,
    names: BTreeMap<Vec<u8>, (Inode, u64)>,
    holds: u64,
}

struct Model {
    nodes: BTreeMap<Inode, Node>,
    next: u64,
    /// Holds less forgets, of inodes other than the root.
    balance: i64,
}

/// A volume in memory.
pub struct Volume {
    model: Mutex<Model>,
}

impl Default for Volume {
    fn default() -> Self {
        let root = Node { row: InodeRow::new(0o40777, 0, 0, now()), data: Vec::new(), names: BTreeMap::new(), holds: 1 };
        Self { model: Mutex::new(Model { nodes: BTreeMap::from([(ROOT_INODE, root)]), next: 2, balance: 0 }) }
    }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

impl Model {
    fn node(&mut self, inode: Inode) -> Answer<&mut Node> {
        self.nodes.get_mut(&inode).ok_or(Refusal::Stale)
    }

    fn child(&mut self, parent: Inode, name: &[u8]) -> Answer<Inode> {
        if name.len() > 255 {
            return Err(Refusal::NameTooLong);
        }
        self.node(parent)?.names.get(name).map(|(inode, _)| *inode).ok_or(Refusal::NotFound)
    }

    fn of(&mut self, inode: Inode) -> Answer<Attributes> {
        Ok(Attributes::of(inode, &self.node(inode)?.row))
    }

    fn put_name(&mut self, parent: Inode, name: Vec<u8>, inode: Inode) -> Answer<()> {
        let directory = self.node(parent)?;
        let cookie = directory.row.next_cookie;
        directory.row.next_cookie += 1;
        directory.row.modified = now();
        directory.names.insert(name, (inode, cookie));
        Ok(())
    }

    fn make(&mut self, node: NewNode, data: Vec<u8>) -> Answer<Attributes> {
        match self.child(node.parent, &node.name) {
            Ok(_) => return Err(Refusal::Exists),
            Err(Refusal::NotFound) => {}
            Err(other) => return Err(other),
        }
        let inode = Inode(self.next);
        self.next += 1;
        let mut row = InodeRow::new(node.mode, node.uid, node.gid, now());
        row.rdev = node.rdev;
        row.size = data.len() as u64;
        row.parent = node.parent;
        self.nodes.insert(inode, Node { row, data, names: BTreeMap::new(), holds: 0 });
        self.put_name(node.parent, node.name, inode)?;
        if FileKind::of_mode(node.mode) == FileKind::Directory {
            self.node(node.parent)?.row.links += 1;
        }
        self.of(inode)
    }

    fn drop_name(&mut self, parent: Inode, name: &[u8]) -> Answer<()> {
        let inode = self.child(parent, name)?;
        self.node(parent)?.names.remove(name);
        let is_directory = self.node(inode)?.row.kind() == FileKind::Directory;
        if is_directory {
            self.node(parent)?.row.links -= 1;
        }
        let node = self.node(inode)?;
        node.row.links -= if is_directory { 2 } else { 1 };
        if node.row.links == 0 && node.holds == 0 {
            self.nodes.remove(&inode);
        }
        Ok(())
    }

    fn remove(&mut self, parent: Inode, name: &[u8], directory: bool) -> Answer<()> {
        let inode = self.child(parent, name)?;
        let node = self.node(inode)?;
        match (node.row.kind() == FileKind::Directory, directory) {
            (true, false) => Err(Refusal::IsDirectory),
            (false, true) => Err(Refusal::NotDirectory),
            _ if !node.names.is_empty() => Err(Refusal::NotEmpty),
            _ => self.drop_name(parent, name),
        }
    }

    fn rename(&mut self, rename: Rename) -> Answer<()> {
        let inode = self.child(rename.parent, &rename.name)?;
        let target = self.child(rename.new_parent, &rename.new_name);
        match (rename.mode, target) {
            (RenameMode::NoReplace, Ok(_)) => return Err(Refusal::Exists),
            (RenameMode::Exchange, Ok(other)) => {
                self.node(rename.parent)?.names.entry(rename.name).and_modify(|at| at.0 = other);
                self.node(rename.new_parent)?.names.entry(rename.new_name).and_modify(|at| at.0 = inode);
                return Ok(());
            }
            (RenameMode::Exchange, Err(missing)) => return Err(missing),
            (RenameMode::Replace, Ok(_)) => self.drop_name(rename.new_parent, &rename.new_name)?,
            (_, Err(_)) => {}
        }
        self.node(rename.parent)?.names.remove(&rename.name);
        self.put_name(rename.new_parent, rename.new_name, inode)
    }

    fn change(&mut self, inode: Inode, change: AttributeChange) -> Answer<Attributes> {
        let at = |time: SetTime| match time {
            SetTime::Now => now(),
            SetTime::At(time) => time,
        };
        let node = self.node(inode)?;
        let row = &mut node.row;
        if let Some(permissions) = change.permissions {
            row.mode = (row.mode & !0o7777) | permissions;
        }
        row.uid = change.uid.unwrap_or(row.uid);
        row.gid = change.gid.unwrap_or(row.gid);
        if let Some(size) = change.size {
            node.data.resize(usize::try_from(size).map_err(|_| Refusal::FileTooBig)?, 0);
            row.size = size;
        }
        row.accessed = change.accessed.map_or(row.accessed, at);
        row.modified = change.modified.map_or(row.modified, at);
        row.changed = change.changed.unwrap_or_else(now);
        if change.clear_privileges && row.kind() == FileKind::Regular {
            clear_privileges(row);
        }
        self.of(inode)
    }

    fn write(&mut self, inode: Inode, offset: u64, data: &[u8], how: WriteHow) -> Answer<u32> {
        let node = self.node(inode)?;
        let from = usize::try_from(offset).map_err(|_| Refusal::FileTooBig)?;
        if node.data.len() < from + data.len() {
            node.data.resize(from + data.len(), 0);
        }
        node.data[from..from + data.len()].copy_from_slice(data);
        node.row.size = node.data.len() as u64;
        node.row.blocks = node.row.size.div_ceil(512);
        if how.clear_privileges {
            clear_privileges(&mut node.row);
        }
        if !how.from_cache {
            node.row.modified = now();
        }
        Ok(data.len() as u32)
    }

    fn read_dir(&mut self, dir: Inode, after: u64, max: usize, with_attributes: bool) -> Answer<Vec<DirEntry>> {
        let node = self.node(dir)?;
        let mut all = vec![(1, b".".to_vec(), dir), (2, b"..".to_vec(), node.row.parent)];
        if dir == ROOT_INODE {
            all[1].2 = dir;
        }
        all.extend(node.names.iter().map(|(name, (inode, cookie))| (*cookie, name.clone(), *inode)));
        all.sort();
        let mut entries = Vec::new();
        for (cookie, name, inode) in all.into_iter().filter(|entry| entry.0 > after).take(max) {
            let attributes = self.of(inode)?;
            entries.push(DirEntry { inode, kind: attributes.kind, cookie, name, attributes: with_attributes.then_some(attributes) });
        }
        Ok(entries)
    }
}

fn clear_privileges(row: &mut InodeRow) {
    row.mode &= !0o4000;
    if row.mode & 0o010 != 0 {
        row.mode &= !0o2000;
    }
}

impl Volume {
    pub fn lookup(&self, parent: Inode, name: &[u8], r: Replier<Answer<Attributes>>) {
        let answer = {
            let mut model = self.model.lock();
            model.child(parent, name).and_then(|inode| model.of(inode))
        };
        assert!(name != b"panic", "asked for by a test");
        r.reply(answer);
    }
    pub fn attributes(&self, inode: Inode, r: Replier<Answer<Attributes>>) {
        let answer = self.model.lock().of(inode);
        r.reply(answer);
    }
    pub fn change_attributes(&self, inode: Inode, change: AttributeChange, r: Replier<Answer<Attributes>>) {
        let answer = self.model.lock().change(inode, change);
        r.reply(answer);
    }
    pub fn read_link(&self, inode: Inode, r: Replier<Answer<Vec<u8>>>) {
        let answer = self.model.lock().node(inode).map(|node| node.data.clone());
        r.reply(answer);
    }
    pub fn create(&self, node: NewNode, r: Replier<Answer<Attributes>>) {
        let answer = self.model.lock().make(node, Vec::new());
        r.reply(answer);
    }
    pub fn symlink(&self, node: NewNode, target: Vec<u8>, r: Replier<Answer<Attributes>>) {
        let answer = self.model.lock().make(node, target);
        r.reply(answer);
    }
    pub fn link(&self, inode: Inode, parent: Inode, name: Vec<u8>, r: Replier<Answer<Attributes>>) {
        let mut model = self.model.lock();
        let answer = match model.child(parent, &name) {
            Ok(_) => Err(Refusal::Exists),
            Err(Refusal::NotFound) => model.put_name(parent, name, inode).and_then(|()| {
                model.node(inode)?.row.links += 1;
                model.of(inode)
            }),
            Err(other) => Err(other),
        };
        drop(model);
        r.reply(answer);
    }
    pub fn unlink(&self, parent: Inode, name: Vec<u8>, r: Replier<Answer<()>>) {
        let answer = self.model.lock().remove(parent, &name, false);
        r.reply(answer);
    }
    pub fn rmdir(&self, parent: Inode, name: Vec<u8>, r: Replier<Answer<()>>) {
        let answer = self.model.lock().remove(parent, &name, true);
        r.reply(answer);
    }
    pub fn rename(&self, rename: Rename, r: Replier<Answer<()>>) {
        let answer = self.model.lock().rename(rename);
        r.reply(answer);
    }
    pub fn read(&self, inode: Inode, offset: u64, length: u32, r: Replier<Answer<ReadData>>) {
        let answer = self.model.lock().node(inode).map(|node| {
            let from = (offset as usize).min(node.data.len());
            let to = from.saturating_add(length as usize).min(node.data.len());
            ReadData(node.data[from..to].to_vec())
        });
        // From another thread, as a read of the disk would be.
        std::thread::spawn(move || r.reply(answer));
    }
    pub fn write(&self, inode: Inode, offset: u64, data: &[u8], how: WriteHow, r: Replier<Answer<u32>>) {
        let answer = self.model.lock().write(inode, offset, data, how);
        r.reply(answer);
    }
    pub fn sync(&self, _inode: Inode, _data_only: bool, r: Replier<Answer<()>>) {
        r.reply(Ok(()));
    }
    pub fn read_dir(&self, dir: Inode, after: u64, max: usize, with_attributes: bool, r: Replier<Answer<Vec<DirEntry>>>) {
        let answer = self.model.lock().read_dir(dir, after, max, with_attributes);
        r.reply(answer);
    }
    pub fn space(&self, r: Replier<Answer<SpaceUse>>) {
        let gib = 1 << 30;
        r.reply(Ok(SpaceUse { total_bytes: gib, free_bytes: gib, available_bytes: gib, inodes: 1000, free_inodes: 900 }));
    }
    pub fn hold(&self, inode: Inode) {
        let mut model = self.model.lock();
        model.balance += 1;
        if let Ok(node) = model.node(inode) {
            node.holds += 1;
        }
    }
    pub fn forget(&self, inode: Inode, count: u64) {
        if inode == ROOT_INODE {
            return;
        }
        let mut model = self.model.lock();
        model.balance -= count as i64;
        let Ok(node) = model.node(inode) else { return };
        node.holds = node.holds.saturating_sub(count);
        if node.row.links == 0 && node.holds == 0 {
            model.nodes.remove(&inode);
        }
    }
    /// Scaffolding for the test of balance: how often the kernel holds inodes other than the root.
    pub fn held(&self) -> i64 {
        self.model.lock().balance
    }
}
