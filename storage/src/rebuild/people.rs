//! Which inodes there are and what they are called, as far as loose rows say it.
//!
//! Owns: `Inodes`, `Known`. Must be true: NAM-1 to NAM-7 hold of what is given: a name leads to an inode that is there and of its kind, a
//! directory has one name and hangs below the root; what has no name is found in `lost+found`, under its number. Memory: 300 bytes an
//! inode and its names. Fails: never; what contradicts the rest is dropped and counted.

use super::orphans::{KeyRanges, Rows};
use super::owners::Pieces;
use crate::check::parts::Parts;
use crate::limits::LINK_MAX;
use crate::names::check_name;
use crate::row::{CookieRow, EntryRow, FileKind, Inode, InodeRow, Key, ROOT_INODE, Time};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Where inodes without a name are put.
const FOUND: &str = "lost+found";
/// No volume reaches this number; above it there would be none left for new files.
pub(super) const INODE_END: u64 = 1 << 62;

/// An inode.
pub(super) struct Known {
    pub row: InodeRow,
    /// Only its number, its names or its bytes were found.
    pub is_made_up: bool,
    names: u32,
    /// Of a directory, by name.
    pub children: BTreeMap<Vec<u8>, (u64, FileKind)>,
}

/// All inodes, and what is known of the finding.
#[derive(Default)]
pub(super) struct Inodes {
    pub all: BTreeMap<u64, Known>,
    /// Names that lead nowhere, each with its directory.
    pub dropped: Vec<(u64, Vec<u8>)>,
    /// Where inodes without a name were put, if a directory was made for them.
    pub home: Option<u64>,
    /// Inodes that were given a name by their number.
    pub nameless: u64,
    pub made_up: u64,
}

impl Inodes {
    /// Puts together what rows say; `pieces` are bytes of files that no row names.
    pub fn of(rows: &Rows, unknown: &KeyRanges, pieces: &Pieces) -> Self {
        let mut inodes = Self::default();
        let (entries, orphans, hints) = inodes.read(rows);
        inodes.make_up(unknown, &entries, &hints, pieces);
        inodes.all.retain(|inode, known| known.row.kind() != FileKind::Symlink || has_target(rows, *inode));
        for ((directory, name), (inode, kind)) in entries {
            if !inodes.accept(directory, &name, inode, kind) {
                inodes.dropped.push((directory, name));
            }
        }
        inodes.cut_cycles();
        inodes.all.retain(|inode, known| known.names > 0 || *inode == ROOT_INODE.0 || !orphans.contains(inode));
        inodes.adopt();
        inodes.count();
        inodes
    }

    /// Reads rows of inodes and names. Also gives the inodes that are to go, and what other rows say that an inode is.
    fn read(&mut self, rows: &Rows) -> (Entries, HashSet<u64>, BTreeMap<u64, FileKind>) {
        let (mut entries, mut cookies, mut orphans, mut hints) = (Entries::new(), Entries::new(), HashSet::new(), BTreeMap::new());
        for (key, value) in rows {
            match Key::decode(key) {
                Some(Key::Inode(inode)) => {
                    let row = InodeRow::decode(value).ok().filter(|row| row.kind().mode_bits() == row.mode & 0o170_000);
                    if let Some(row) = row.filter(|_| (1..INODE_END).contains(&inode.0)) {
                        self.all.insert(inode.0, Known { row, is_made_up: false, names: 0, children: BTreeMap::new() });
                    }
                }
                Some(Key::Entry(directory, name)) => {
                    if let Ok(entry) = EntryRow::decode(value) {
                        entries.insert((directory.0, name), (entry.inode.0, entry.kind));
                        hints.insert(directory.0, FileKind::Directory);
                    }
                }
                Some(Key::Cookie(directory, _)) => {
                    if let Ok(entry) = CookieRow::decode(value) {
                        cookies.insert((directory.0, entry.name), (entry.inode.0, entry.kind));
                        hints.insert(directory.0, FileKind::Directory);
                    }
                }
                Some(Key::Orphan(inode)) => drop(orphans.insert(inode.0)),
                Some(Key::Extent(inode, _) | Key::Content(inode, _) | Key::LargeContent(inode, _)) => {
                    hints.insert(inode.0, FileKind::Regular);
                }
                _ => {}
            }
        }
        for (name, entry) in cookies {
            entries.entry(name).or_insert(entry);
        }
        (entries, orphans, hints)
    }

    /// Makes rows for inodes of which only names, children or bytes are left, where nothing says that they are gone.
    fn make_up(&mut self, unknown: &KeyRanges, entries: &Entries, hints: &BTreeMap<u64, FileKind>, pieces: &Pieces) {
        let of_names = entries.values().copied();
        let of_pieces = pieces.keys().map(|inode| (*inode, FileKind::Regular));
        let all = of_names.chain(hints.iter().map(|(inode, kind)| (*inode, *kind))).chain(of_pieces);
        for (inode, kind) in all.chain([(ROOT_INODE.0, FileKind::Directory)]) {
            let permissions = match kind {
                FileKind::Regular => 0o600,
                FileKind::Directory => 0o700,
                FileKind::Symlink => 0o777,
                _ => continue,
            };
            let is_needed = inode == ROOT_INODE.0 || ((1..INODE_END).contains(&inode) && unknown.has(&Key::Inode(Inode(inode)).encode()));
            if is_needed && !self.all.contains_key(&inode) {
                let row = InodeRow::new(kind.mode_bits() | permissions, 0, 0, Time::default());
                self.all.insert(inode, Known { row, is_made_up: true, names: 0, children: BTreeMap::new() });
            }
        }
        let not_a_directory = self.all.get(&ROOT_INODE.0).is_some_and(|root| root.row.kind() != FileKind::Directory);
        if not_a_directory {
            let row = InodeRow::new(FileKind::Directory.mode_bits() | 0o700, 0, 0, Time::default());
            self.all.insert(ROOT_INODE.0, Known { row, is_made_up: true, names: 0, children: BTreeMap::new() });
        }
    }

    fn accept(&mut self, directory: u64, name: &[u8], inode: u64, kind: FileKind) -> bool {
        let is_directory = self.all.get(&directory).is_some_and(|known| known.row.kind() == FileKind::Directory);
        let Some(target) = self.all.get_mut(&inode).filter(|target| target.row.kind() == kind) else { return false };
        let names_max = if kind == FileKind::Directory { 1 } else { LINK_MAX };
        if !is_directory || inode == ROOT_INODE.0 || check_name(name).is_err() || target.names >= names_max {
            return false;
        }
        target.names += 1;
        if kind == FileKind::Directory {
            target.row.parent = Inode(directory);
        }
        if let Some(known) = self.all.get_mut(&directory) {
            known.children.insert(name.to_vec(), (inode, kind));
        }
        true
    }

    /// Takes the name from a directory that would lie below itself.
    fn cut_cycles(&mut self) {
        let mut done: HashSet<u64> = HashSet::from([ROOT_INODE.0]);
        let directories: Vec<u64> = self.all.iter().filter(|(_, known)| known.row.kind() == FileKind::Directory).map(|(n, _)| *n).collect();
        for start in directories {
            let (mut at, mut path) = (start, BTreeSet::new());
            while !done.contains(&at) && self.all.get(&at).is_some_and(|known| known.names > 0) {
                if !path.insert(at) {
                    self.unname(at);
                    break;
                }
                at = self.all.get(&at).map_or(ROOT_INODE.0, |known| known.row.parent.0);
            }
            done.extend(path);
        }
    }

    fn unname(&mut self, directory: u64) {
        let Some(known) = self.all.get_mut(&directory) else { return };
        known.names = 0;
        let parent = known.row.parent.0;
        let Some(above) = self.all.get_mut(&parent) else { return };
        let names: Vec<Vec<u8>> =
            above.children.iter().filter(|(_, (inode, _))| *inode == directory).map(|(name, _)| name.clone()).collect();
        for name in names {
            above.children.remove(&name);
            self.dropped.push((parent, name));
        }
    }

    /// Gives inodes without a name one.
    fn adopt(&mut self) {
        let nameless = |(inode, known): (&u64, &Known)| (known.names == 0 && *inode != ROOT_INODE.0).then_some((*inode, known.row.kind()));
        let nameless: Vec<(u64, FileKind)> = self.all.iter().filter_map(nameless).collect();
        if nameless.is_empty() {
            return;
        }
        let home = self.home();
        for (inode, kind) in nameless.into_iter().filter(|(inode, _)| *inode != home) {
            let taken = |name: &String| self.all.get(&home).is_some_and(|home| home.children.contains_key(name.as_bytes()));
            let name = (0..u32::MAX).map(|n| if n == 0 { format!("inode-{inode}") } else { format!("inode-{inode}.{n}") });
            let Some(name) = name.into_iter().find(|name| !taken(name)) else { continue };
            self.accept(home, name.as_bytes(), inode, kind);
            self.nameless += 1;
        }
    }

    /// The directory for them: the one that has the name, or a new one.
    fn home(&mut self) -> u64 {
        let root = self.all.get(&ROOT_INODE.0);
        let taken: BTreeMap<Vec<u8>, (u64, FileKind)> = root.map(|root| root.children.clone()).unwrap_or_default();
        if let Some((inode, FileKind::Directory)) = taken.get(FOUND.as_bytes()) {
            return *inode;
        }
        let inode = self.all.keys().next_back().map_or(2, |last| last.saturating_add(1));
        self.home = Some(inode);
        let name = (0..u32::MAX).map(|n| if n == 0 { FOUND.to_string() } else { format!("{FOUND}.{n}") });
        let name = name.into_iter().find(|name| !taken.contains_key(name.as_bytes())).unwrap_or_default();
        let row = InodeRow::new(FileKind::Directory.mode_bits() | 0o700, 0, 0, Time::default());
        self.all.insert(inode, Known { row, is_made_up: false, names: 0, children: BTreeMap::new() });
        self.accept(ROOT_INODE.0, name.as_bytes(), inode, FileKind::Directory);
        inode
    }

    /// Says in each row how many names and entries there are.
    fn count(&mut self) {
        for (inode, known) in &mut self.all {
            self.made_up += u64::from(known.is_made_up);
            let row = &mut known.row;
            if row.kind() != FileKind::Directory {
                row.links = known.names;
                continue;
            }
            let below = known.children.values().filter(|(_, kind)| *kind == FileKind::Directory).count();
            row.links = 2 + below as u32;
            (row.entries, row.next_cookie, row.size, row.blocks) = (known.children.len() as u64, 3 + known.children.len() as u64, 0, 0);
            if *inode == ROOT_INODE.0 {
                row.parent = ROOT_INODE;
            }
        }
    }
}

/// Names by directory, each with inode and kind.
type Entries = BTreeMap<(u64, Vec<u8>), (u64, FileKind)>;

/// The value of a long row, from its parts.
pub(super) fn value(rows: &Rows, key: impl Fn(u16) -> Key) -> Option<Vec<u8>> {
    let mut parts = Parts::default();
    for number in 0..=u16::MAX {
        let Some(part) = rows.get(&key(number).encode()) else { break };
        parts.add(number, part);
    }
    parts.value().ok().map(<[u8]>::to_vec)
}

fn has_target(rows: &Rows, inode: u64) -> bool {
    value(rows, |part| Key::Target(Inode(inode), part)).is_some_and(|target| !target.is_empty())
}
