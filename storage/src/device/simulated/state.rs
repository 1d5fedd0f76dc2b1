//! The state of a simulated disk, and the judge of every operation on it.
//!
//! Owns: `State`, behind the one lock of a disk. Must be true: STA-1 every operation passes `enter` once, so it is counted and hashed,
//! and can be refused; STA-2 a file lives while a name or a handle can reach it, or a crash can bring its name back.
//! Fails: on command, without power, and with `StorageFull`.

use super::content::{Body, PAGE_BYTES};
use super::fate::{CrashStyle, Fate, Random, mix};
use super::names::{Inode, Names, ROOT};
use crate::device::{Kind, Metadata};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

const DEFAULT_CAPACITY_BYTES: u64 = 1 << 40;

/// The operations of a device, to be counted, hashed, and failed on command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Open,
    Read,
    Write,
    Sync,
    SetLen,
    Allocate,
    CreateDir,
    List,
    Metadata,
    Rename,
    Remove,
    SyncDir,
    Space,
}

/// The error of a disk without power, or whose process is dead.
#[derive(Debug)]
pub(super) struct PowerOff;

impl fmt::Display for PowerOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated disk has lost power")
    }
}

impl std::error::Error for PowerOff {}

/// Whether an error came from a simulated disk that has no power any more.
#[must_use]
pub fn is_power_off(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<PowerOff>())
}

#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub left: u64,
    pub which: Operation,
    pub kind: ErrorKind,
}

/// Why an operation is not carried out.
pub(super) enum Refusal {
    /// The power went in this very operation, which may have had its effect.
    Cut,
    Failed(io::Error),
}

impl Refusal {
    pub fn error(self) -> io::Error {
        match self {
            Refusal::Cut => io::Error::other(PowerOff),
            Refusal::Failed(error) => error,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub names: Names,
    pub files: BTreeMap<Inode, Arc<Body>>,
    /// Open handles by file.
    pub handles: BTreeMap<Inode, usize>,
    pub last_inode: Inode,
    pub random: Random,
    pub capacity_bytes: u64,
    pub op_count: u64,
    pub history: u64,
    pub faults: Vec<Fault>,
    /// Mutating operations until the power fails.
    pub power_left: Option<u64>,
    pub off: bool,
    /// A name was taken away since the last look for files without one.
    pub has_garbage: bool,
    /// The disk as it was before each mutating operation, if that is wanted.
    pub moments: Option<Vec<State>>,
}

impl State {
    pub fn new(seed: u64) -> Self {
        Self {
            names: Names::new(),
            files: BTreeMap::new(),
            handles: BTreeMap::new(),
            last_inode: ROOT,
            random: Random::new(mix(seed)),
            capacity_bytes: DEFAULT_CAPACITY_BYTES,
            op_count: 0,
            history: mix(seed),
            faults: Vec::new(),
            power_left: None,
            off: false,
            has_garbage: false,
            moments: None,
        }
    }

    /// The same disk without its users and their commands.
    pub fn fork(&self) -> Self {
        Self {
            names: self.names.clone(),
            files: self.files.clone(),
            handles: BTreeMap::new(),
            random: self.random.clone(),
            faults: Vec::new(),
            power_left: None,
            moments: None,
            ..*self
        }
    }

    /// Loses what the power cut takes.
    pub fn settle(&mut self, how: CrashStyle) {
        let mut fate = Fate::new(how);
        self.names = self.names.settle(&mut fate);
        let named = self.names.reachable();
        self.files.retain(|inode, _| named.contains(inode));
        for body in self.files.values_mut().filter(|body| !body.is_settled()) {
            *body = Arc::new(body.settle(&mut fate));
        }
        self.revive(fate.fingerprint());
    }

    /// Makes a disk that was found usable again.
    pub fn revive(&mut self, cause: u64) {
        self.off = false;
        self.has_garbage = true;
        self.collect();
        self.history = mix(self.history ^ cause);
    }

    fn fold(&mut self, value: u64) {
        self.history = mix(self.history.rotate_left(5) ^ value);
    }

    /// Notes an operation in the history, and decides whether it may happen.
    pub fn enter(&mut self, which: Operation, mutates: bool, path: &str, numbers: [u64; 2], data: &[u8]) -> Result<(), Refusal> {
        self.check_power().map_err(Refusal::Failed)?;
        for value in [which as u64, u64::from(crc32fast::hash(path.as_bytes())), path.len() as u64] {
            self.fold(value);
        }
        for value in [numbers[0], numbers[1], u64::from(crc32fast::hash(data))] {
            self.fold(value);
        }
        let verdict = self.judge(which, mutates, path);
        self.fold(u64::from(verdict.is_ok()));
        verdict
    }

    fn judge(&mut self, which: Operation, mutates: bool, path: &str) -> Result<(), Refusal> {
        if mutates {
            if self.moments.is_some() {
                let moment = self.fork();
                self.moments.get_or_insert_default().push(moment);
            }
            self.op_count += 1;
            if let Some(left) = &mut self.power_left {
                if *left == 0 {
                    self.off = true;
                    return Err(Refusal::Cut);
                }
                *left -= 1;
            }
        }
        let mut verdict = Ok(());
        self.faults.retain_mut(|fault| {
            if fault.which != which || verdict.is_err() {
                return true;
            }
            if fault.left > 0 {
                fault.left -= 1;
                return true;
            }
            verdict = Err(Refusal::Failed(io::Error::new(fault.kind, format!("{which:?} {path}: failed on command"))));
            false
        });
        verdict
    }

    /// Carries out a change of names or sizes, or refuses it; in a power cut it may happen all the same.
    pub fn mutate<T>(
        &mut self,
        which: Operation,
        path: &str,
        numbers: [u64; 2],
        data: &[u8],
        act: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.enter(which, true, path, numbers, data) {
            Ok(()) => act(self),
            Err(refusal) => {
                if matches!(refusal, Refusal::Cut) && self.random.coin() {
                    // What it would have answered, nobody hears.
                    let _ = act(self);
                }
                Err(refusal.error())
            }
        }
    }

    pub fn check_power(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other(PowerOff)) } else { Ok(()) }
    }

    pub fn body(&self, inode: Inode) -> io::Result<&Arc<Body>> {
        self.files.get(&inode).ok_or_else(|| io::Error::from(ErrorKind::NotFound))
    }

    pub fn body_mut(&mut self, inode: Inode) -> io::Result<&mut Body> {
        self.files.get_mut(&inode).map(Arc::make_mut).ok_or_else(|| io::Error::from(ErrorKind::NotFound))
    }

    /// Bytes of space still free.
    pub fn room(&self) -> u64 {
        let named = self.names.reachable();
        let held = self.files.iter().filter(|(inode, _)| named.contains(inode) || self.handles.contains_key(inode));
        let directories = named.iter().filter(|inode| **inode != ROOT && self.names.is_directory(**inode)).count() as u64;
        let bytes: u64 = held.map(|(_, body)| body.cached().held_bytes()).sum();
        self.capacity_bytes.saturating_sub(bytes + directories * PAGE_BYTES as u64)
    }

    /// Forgets the files that neither a name nor a handle can reach, not even after a crash.
    pub fn collect(&mut self) {
        if std::mem::take(&mut self.has_garbage) {
            let named = self.names.referenced();
            self.files.retain(|inode, _| named.contains(inode) || self.handles.contains_key(inode));
        }
    }

    pub fn metadata(&self, inode: Inode) -> Metadata {
        match self.files.get(&inode) {
            Some(body) => Metadata { kind: Kind::File, size_bytes: body.cached().len() },
            None => Metadata { kind: Kind::Directory, size_bytes: 0 },
        }
    }

    /// Whether somebody said how much it holds.
    pub fn is_limited(&self) -> bool {
        self.capacity_bytes != DEFAULT_CAPACITY_BYTES
    }

    pub fn write(&mut self, inode: Inode, buf: &[u8], offset: u64) -> io::Result<()> {
        let wanted = self.body(inode)?.cached().wanted_bytes(offset, buf.len());
        let mut fits = buf.len();
        if wanted > 0 && self.is_limited() {
            fits = self.body(inode)?.cached().fitting(offset, buf.len(), self.room());
        }
        self.body_mut(inode)?.write(buf.get(..fits).unwrap_or(buf), offset);
        if fits < buf.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}
