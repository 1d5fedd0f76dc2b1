//! A device in memory: the plainest one that keeps the contract, for tests of everything above it.
//!
//! Owns: a map from whole paths to files and directories. Must be true: MEM-1 it behaves as `FileDevice` does, with nothing
//! to sync. Fails: with the same kinds of error; a file over [`FILE_LIMIT_BYTES`] is `FileTooLarge`.

use super::{Access, Device, DeviceFile, DirEntry, Kind, Metadata, Open, Space, check_dir_path, check_path, end_of, is_below, split_path};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Bytes of a file here at most.
pub const FILE_LIMIT_BYTES: u64 = 1 << 30;
const TOTAL_BYTES: u64 = 1 << 40;

type Bytes = Arc<RwLock<Vec<u8>>>;

#[derive(Clone)]
enum Node {
    Directory,
    File(Bytes),
}

impl Node {
    fn metadata(&self) -> Metadata {
        match self {
            Node::Directory => Metadata { kind: Kind::Directory, size_bytes: 0 },
            Node::File(bytes) => Metadata { kind: Kind::File, size_bytes: bytes.read().len() as u64 },
        }
    }
}

/// A volume directory in memory.
#[derive(Default)]
pub struct MemoryDevice {
    nodes: Mutex<BTreeMap<String, Node>>,
}

impl MemoryDevice {
    /// An empty volume directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The node at a path; the volume directory itself is one.
fn look_up(nodes: &BTreeMap<String, Node>, path: &str) -> Option<Node> {
    if path.is_empty() { Some(Node::Directory) } else { nodes.get(path).cloned() }
}

fn check_parent(nodes: &BTreeMap<String, Node>, path: &str) -> io::Result<()> {
    match look_up(nodes, split_path(path).0) {
        Some(Node::Directory) => Ok(()),
        Some(Node::File(_)) => Err(fail(ErrorKind::NotADirectory, path)),
        None => Err(fail(ErrorKind::NotFound, path)),
    }
}

fn is_empty(nodes: &BTreeMap<String, Node>, path: &str) -> bool {
    !nodes.keys().any(|other| is_below(other, path))
}

fn fail(kind: ErrorKind, path: &str) -> io::Error {
    io::Error::new(kind, format!("{path}: {kind}"))
}

impl Device for MemoryDevice {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>> {
        check_path(path)?;
        let mut nodes = self.nodes.lock();
        let bytes = match nodes.get(path) {
            Some(_) if how.access == Access::CreateNew => return Err(fail(ErrorKind::AlreadyExists, path)),
            Some(Node::Directory) => return Err(fail(ErrorKind::IsADirectory, path)),
            Some(Node::File(bytes)) => Arc::clone(bytes),
            None => {
                check_parent(&nodes, path)?;
                if !how.creates() {
                    return Err(fail(ErrorKind::NotFound, path));
                }
                let bytes = Bytes::default();
                nodes.insert(path.to_owned(), Node::File(Arc::clone(&bytes)));
                bytes
            }
        };
        Ok(Arc::new(MemoryFile { bytes, writable: how.access != Access::Read }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        check_dir_path(path)?;
        let mut nodes = self.nodes.lock();
        match look_up(&nodes, path) {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(fail(ErrorKind::AlreadyExists, path)),
            None => {
                check_parent(&nodes, path)?;
                nodes.insert(path.to_owned(), Node::Directory);
                Ok(())
            }
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        check_dir_path(path)?;
        let nodes = self.nodes.lock();
        match look_up(&nodes, path) {
            Some(Node::Directory) => {}
            Some(Node::File(_)) => return Err(fail(ErrorKind::NotADirectory, path)),
            None => return Err(fail(ErrorKind::NotFound, path)),
        }
        let mut entries = Vec::new();
        for (other, node) in nodes.iter().filter(|(other, _)| split_path(other).0 == path) {
            let Metadata { kind, size_bytes } = node.metadata();
            entries.push(DirEntry { name: split_path(other).1.to_owned(), kind, size_bytes });
        }
        Ok(entries)
    }

    fn metadata(&self, path: &str) -> io::Result<Option<Metadata>> {
        check_dir_path(path)?;
        Ok(look_up(&self.nodes.lock(), path).map(|node| node.metadata()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_path(from)?;
        check_path(to)?;
        let mut nodes = self.nodes.lock();
        let Some(node) = nodes.get(from).cloned() else { return Err(fail(ErrorKind::NotFound, from)) };
        check_parent(&nodes, to)?;
        if from == to {
            return Ok(());
        }
        let inside_itself = is_below(to, from);
        match (&node, nodes.get(to)) {
            _ if inside_itself => return Err(fail(ErrorKind::InvalidInput, to)),
            (Node::File(_), Some(Node::Directory)) => return Err(fail(ErrorKind::IsADirectory, to)),
            (Node::Directory, Some(Node::File(_))) => return Err(fail(ErrorKind::NotADirectory, to)),
            (_, Some(Node::Directory)) if !is_empty(&nodes, to) => return Err(fail(ErrorKind::DirectoryNotEmpty, to)),
            _ => {}
        }
        let moved: Vec<String> = nodes.keys().filter(|other| is_below(other, from)).cloned().collect();
        for old in moved {
            if let (Some(node), Some(rest)) = (nodes.remove(&old), old.strip_prefix(from)) {
                nodes.insert(format!("{to}{rest}"), node);
            }
        }
        nodes.remove(from);
        nodes.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        check_path(path)?;
        let mut nodes = self.nodes.lock();
        match nodes.get(path) {
            None => Err(fail(ErrorKind::NotFound, path)),
            Some(Node::Directory) if !is_empty(&nodes, path) => Err(fail(ErrorKind::DirectoryNotEmpty, path)),
            Some(_) => {
                nodes.remove(path);
                Ok(())
            }
        }
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.list(path).map(drop)
    }

    fn space(&self) -> io::Result<Space> {
        let used: u64 = self.nodes.lock().values().map(|node| node.metadata().size_bytes).sum();
        Ok(Space { total_bytes: TOTAL_BYTES, free_bytes: TOTAL_BYTES.saturating_sub(used) })
    }
}

struct MemoryFile {
    bytes: Bytes,
    writable: bool,
}

impl MemoryFile {
    /// Makes the file `to` bytes long, or at least so long.
    fn resize(&self, to: u64, shrink: bool) -> io::Result<()> {
        if !self.writable {
            return Err(io::Error::new(ErrorKind::PermissionDenied, "the file was opened to read only"));
        }
        end_of(to, 0, FILE_LIMIT_BYTES)?;
        let to = usize::try_from(to).map_err(io::Error::other)?;
        let mut bytes = self.bytes.write();
        if shrink || bytes.len() < to {
            bytes.resize(to, 0);
        }
        Ok(())
    }
}

impl DeviceFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.read();
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or(&[]);
        let count = rest.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let end = end_of(offset, buf.len(), FILE_LIMIT_BYTES)?;
        self.resize(if buf.is_empty() { 0 } else { end }, false)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        // Another thread may have cut the file since; then only what is left of the range is there to be written.
        if let Some(range) = self.bytes.write().get_mut(start..) {
            range.iter_mut().zip(buf).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize(len, true)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.read().len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.resize(len, false)
    }
}
