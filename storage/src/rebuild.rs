//! Rebuilding a volume from images alone: no log, no `volume.yaml`, names that mean nothing.
//!
//! Owns: `rebuild`, `Rebuilt`, `Report`. Must be true: RBL-2 nothing is read as a byte of a file that is not verified; what is not there is an
//! error when it is read, never zeros; RBL-3 the newest root whose name tree can be walked whole is taken as it is; only where there is none
//! are names put together from nodes that were found without parents, and files from the owner tables; RBL-4 what is written carries
//! generations above all that were seen, so no image is ever taken for another. Fails: `RebuildError`.
//!
//! The volume tree is always made anew: what it says follows from the name tree. Memory: 260 bytes an image, what `node_bytes` allows,
//! and 100 bytes a directory to name what was lost; without a whole root also all rows of the name tree.

pub mod catalogue;
mod fill;
pub mod gathered;
mod losses;
mod mend;
mod newer;
mod orphans;
mod owners;
mod paths;
mod people;
mod seal;
mod space;
mod voids;

#[cfg(test)]
mod tests;

pub use catalogue::{Catalogue, Condition, Inspected, Offered, inspect};
pub use gathered::GatheredDevice;
pub use losses::LostFile;

use crate::address::{Cluster, Generation, Place, RegionId};
use crate::check::tree::{Event, walk};
use crate::device::Device;
use crate::images::Images;
use crate::limits::REGION_CLUSTERS;
use crate::nodes::NodeStore;
use crate::recover::empty_root;
use crate::root::RootRecord;
use crate::row::{Inode, Key, RegionKind, Time};
use crate::state::{State, StateError};
use crate::vat::{NodeError, Tree, TreeId};
use losses::Survey;
use mend::{Mended, mend};
use newer::Newer;
use orphans::{KeyRanges, Leaves, Rows};
use seal::Fresh;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use voids::Voids;

/// Roots that are walked at most; each is older than the one before.
const ROOTS_TRIED: usize = 64;

/// Why nothing was rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("no image carries a root whose names can be read whole")]
    NoRoot,
    #[error("no image holds a name or a byte of a file that can be read")]
    Nothing,
    #[error("the places of the map, or the epochs of mounts, are used up: an image or a row says a number that no volume reaches")]
    NoPlace,
    #[error("the tables: {0}")]
    Tree(#[from] NodeError),
    #[error("the tables: {0}")]
    State(#[from] StateError),
    #[error("writing an image: {0}")]
    Write(io::Error),
    #[error("{0}; please report this")]
    Defect(&'static str),
}

/// What is known of an image.
#[derive(Clone, Debug)]
pub struct ImageFacts {
    pub kind: RegionKind,
    pub condition: Condition,
}

/// What a rebuild starts from.
pub struct Found {
    /// Gives the images, under their names.
    pub device: Arc<dyn Device>,
    pub uuid: [u8; 16],
    pub images: BTreeMap<RegionId, ImageFacts>,
    /// All roots that images carry.
    pub roots: Vec<RootRecord>,
    /// The newest tables, if there is a log that could be replayed: taken as far as they can be walked, and before all roots.
    pub replayed: Option<Replayed>,
    /// Memory for nodes.
    pub node_bytes: u64,
    /// Files whose loss is told by name at most.
    pub files_max: usize,
}

/// Tables as a log says that they are.
pub struct Replayed {
    pub state: State,
    /// The root that the log goes on from.
    pub root: Generation,
    /// The youngest generation that the log knows of.
    pub granted: Generation,
}

/// What a rebuild is doing: its name, and how much of it is done.
pub type Step<'a> = &'a mut dyn FnMut(&'static str, u64);

/// Where names are to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The newest root that can be walked whole.
    Root,
    /// What can be walked of the newest root, nodes without parents, and owner tables.
    Nodes,
    /// Owner tables only: files without names.
    Owners,
}

/// How names were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// From a root, whole.
    Root { generation: Generation },
    /// From a root and the log above it, if there are any, as far as they can be walked, and from so many leaves without a parent.
    Nodes { base: Option<Generation>, leaves: u64 },
    /// Only bytes were found.
    Owners,
}

impl How {
    /// The root that was walked.
    #[must_use]
    pub fn root(self) -> Option<Generation> {
        match self {
            Self::Root { generation } => Some(generation),
            Self::Nodes { base, .. } => base,
            Self::Owners => None,
        }
    }
}

/// What was found, and what was not.
#[derive(Clone, Debug)]
pub struct Report {
    pub how: How,
    /// Roots younger than the one that was taken, which could not be walked whole.
    pub roots_passed_over: usize,
    /// The youngest time of a change that the names know of.
    pub newest_change: Option<Time>,
    pub files: u64,
    pub directories: u64,
    /// Sum of the sizes of all regular files.
    pub file_bytes: u64,
    /// Images that names need and that are not there, each with the bytes of files that were in it.
    pub missing: Vec<(RegionId, u64)>,
    /// Files of which bytes are missing, as many as were asked for.
    pub lost: Vec<LostFile>,
    /// How many more there are.
    pub lost_more: u64,
    /// Bytes of files that are missing, in all.
    pub lost_bytes: u64,
    /// Images made after the root: what changed then is not known.
    pub newer_images: Vec<RegionId>,
    /// Inodes of which there is something in them, bytes or rows, as far as it can be read.
    pub newer: BTreeSet<u64>,
    /// The files and directories among them, by the names that the root knows.
    pub newer_files: Vec<Vec<u8>>,
    /// Images that nobody needs.
    pub unused_images: usize,
    /// Names that are in younger tables only, or that lead to nothing that is left; as many as were asked for.
    pub lost_names: Vec<Vec<u8>>,
    /// Where there was no whole root: names that led nowhere, and attributes that were not whole.
    pub dropped_names: u64,
    pub dropped_attributes: u64,
    /// Inodes that were put into `lost+found` under their number.
    pub nameless: u64,
    /// Inodes of which owner, mode and times are made up.
    pub made_up: u64,
    /// Files that are shorter than they were.
    pub cut: u64,
    /// Inodes that may not be as they were: rows of them come from nodes without a parent, are made up, or may be missing.
    pub uncertain: BTreeSet<u64>,
    /// The names of them.
    pub uncertain_files: Vec<Vec<u8>>,
}

impl Report {
    /// Whether something is known to be lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let Self { how, roots_passed_over, missing, lost, newer_images, .. } = self;
        matches!(how, How::Root { .. }) && *roots_passed_over == 0 && missing.is_empty() && lost.is_empty() && newer_images.is_empty()
    }
}

/// A volume that is ready to be written.
pub struct Rebuilt {
    pub report: Report,
    /// The images that it needs, of those that were found.
    pub kept: Vec<RegionId>,
    /// When the root directory was made.
    pub created: Time,
    fresh: Fresh,
}

impl Rebuilt {
    /// Writes the images that are new: tables, and a root, which comes last. Those that are kept must be there before.
    ///
    /// # Errors
    /// `Write`, with the error of `put`; or the tree's.
    pub fn seal(self, put: &mut dyn FnMut(RegionId, &[u8]) -> io::Result<()>) -> Result<RootRecord, RebuildError> {
        self.fresh.seal(put)
    }

    /// The name tree, and the way to its nodes, for whoever only reads.
    #[must_use]
    pub fn into_names(self) -> (Tree, NodeStore) {
        (self.fresh.state.names, self.fresh.nodes)
    }
}

/// Finds out what can be had: by the best way there is, or by the one that is asked for.
///
/// # Errors
/// See [`RebuildError`].
pub fn rebuild(mut found: Found, by: Option<By>, step: Step<'_>) -> Result<Rebuilt, RebuildError> {
    let generation = generation_above(&found)?;
    found.roots.sort_by_key(|root| std::cmp::Reverse(root.generation));
    found.roots.dedup_by_key(|root| root.generation);
    let is_behind = found.replayed.is_some();
    if (by == Some(By::Root) || (by.is_none() && !is_behind))
        && let Some(rebuilt) = by_root(&found, generation, step)?
    {
        return Ok(rebuilt);
    }
    match by {
        Some(By::Root) => Err(RebuildError::NoRoot),
        Some(By::Owners) => by_pieces(found, generation, false, step),
        None | Some(By::Nodes) => by_pieces(found, generation, true, step),
    }
}

fn store(found: &Found) -> NodeStore {
    NodeStore::new(Arc::new(Images::new(Arc::clone(&found.device), 1)), found.node_bytes)
}

fn by_root(found: &Found, generation: Generation, step: Step<'_>) -> Result<Option<Rebuilt>, RebuildError> {
    for (passed_over, root) in found.roots.iter().take(ROOTS_TRIED).enumerate() {
        let (nodes, state) = (store(found), root.open(generation));
        let mut survey = Survey::new(found);
        if survey.walk(&state.names, &nodes.loading(TreeId::Name), step) {
            let how = How::Root { generation: root.generation };
            let made = Made { how, limit: Some(root.generation), mended: Mended::default(), voids: BTreeMap::new() };
            return finish(found, nodes, state, survey, made, passed_over, root.frontier).map(Some);
        }
    }
    Ok(None)
}

/// Puts a name tree together from what is left. `with_nodes`: not from bytes of files alone.
fn by_pieces(mut found: Found, generation: Generation, with_nodes: bool, step: Step<'_>) -> Result<Rebuilt, RebuildError> {
    let (nodes, images) = (store(&found), Images::new(Arc::clone(&found.device), 1));
    let base = if with_nodes { Base::of(&mut found, generation) } else { None };
    let mut rows = Rows::new();
    let unknown = base.as_ref().map_or_else(KeyRanges::all, |base| rows_of(&base.state.names, &nodes, &mut rows));
    let limit = base.as_ref().map(|base| base.limit);
    let youngest = youngest_of(&found, limit);
    let regions: Vec<RegionId> = youngest.values().copied().collect();
    let (leaves, filled) =
        if with_nodes { Leaves::find(&found, &images, &regions, step).fill(&images, &unknown, &mut rows) } else { (0, BTreeSet::new()) };
    let is_wanted = |inode: u64| {
        let (from, to) = Key::extents_of(Inode(inode));
        !unknown.between(&from, &to).is_empty()
    };
    let pieces = owners::pieces(&found, &regions, is_wanted, step);
    if rows.is_empty() && pieces.is_empty() {
        return Err(RebuildError::Nothing);
    }
    let how = match (&base, leaves) {
        (None, 0) => How::Owners,
        (base, leaves) => How::Nodes { base: base.as_ref().map(|base| base.root), leaves },
    };
    let mut state = empty_root(found.uuid).open(generation);
    state.inodes = 0;
    state.next_inode = base.as_ref().map_or(0, |base| base.state.next_inode);
    let frontier = base.as_ref().map_or(Place(0), |base| base.state.frontier);
    let images_end = found.images.keys().map(|id| id.place).max().map_or(Some(0), |place| place.0.checked_add(1));
    let next_place = frontier.max(Place(images_end.ok_or(RebuildError::NoPlace)?));
    let mut voids = Voids::new(found.uuid, generation, next_place);
    let is_stale = |id: RegionId| youngest.get(&id.place).is_some_and(|youngest| youngest.generation > id.generation);
    let with_pieces: Vec<u64> = pieces.keys().copied().collect();
    let mut mended = mend(&rows, &unknown, pieces, &is_stale, &nodes, &mut state, &mut voids)?;
    mended.uncertain.extend(filled);
    mended.uncertain.extend(with_pieces);
    drop(rows);
    for id in voids.images.keys() {
        let lost = (0..REGION_CLUSTERS).filter_map(Cluster::new).collect();
        found.images.insert(*id, ImageFacts { kind: RegionKind::Data, condition: Condition::Damaged { lost } });
    }
    let mut survey = Survey::new(&found);
    if !survey.walk(&state.names, &nodes.loading(TreeId::Name), step) {
        return Err(RebuildError::Defect("a name tree that was just made cannot be walked"));
    }
    let made = Made { how, limit, mended, voids: voids.images };
    let passed_over = found.roots.len();
    finish(&found, nodes, state, survey, made, passed_over, frontier)
}

/// The tables that pieces are put around.
struct Base {
    state: State,
    root: Generation,
    /// What is younger than this is younger than the tables.
    limit: Generation,
}

impl Base {
    /// What the log gives, or else the newest root.
    fn of(found: &mut Found, generation: Generation) -> Option<Self> {
        if let Some(Replayed { state, root, granted }) = found.replayed.take() {
            return Some(Self { state, root, limit: granted });
        }
        let root = found.roots.first()?;
        Some(Self { state: root.open(generation), root: root.generation, limit: root.generation })
    }
}

/// All rows of a tree that can be reached, and the keys of which it says nothing.
fn rows_of(names: &Tree, nodes: &NodeStore, rows: &mut Rows) -> KeyRanges {
    if names.is_empty() {
        return KeyRanges::all();
    }
    let mut unknown = Vec::new();
    walk(names, &nodes.loading(TreeId::Name), &mut |event| match event {
        Event::Row(key, value) => drop(rows.insert(key.to_vec(), value.to_vec())),
        Event::Unknown(from, to) => unknown.push((from.to_vec(), to.map(<[u8]>::to_vec))),
        Event::Node(_) | Event::Fault { .. } => {}
    });
    KeyRanges::of(&unknown)
}

/// The youngest image of each place: an older one was dead when its place was given out again. None that is younger than `limit`.
fn youngest_of(found: &Found, limit: Option<Generation>) -> BTreeMap<Place, RegionId> {
    let known = found.images.keys().filter(|id| limit.is_none_or(|limit| id.generation <= limit));
    // In the order of place and generation.
    known.map(|id| (id.place, *id)).collect()
}

/// The first generation of an epoch that no image knows of.
fn generation_above(found: &Found) -> Result<Generation, RebuildError> {
    let images = found.images.keys().map(|id| id.generation);
    let epoch = images.chain(found.roots.iter().map(|root| root.generation)).map(Generation::epoch).max().unwrap_or(0);
    Ok(Generation::first_of(epoch.checked_add(1).ok_or(RebuildError::NoPlace)?))
}

/// The least place that nothing stands at or claims.
fn place_above(found: &Found, survey: &Survey<'_>, frontier: Place) -> Result<Place, RebuildError> {
    let places = found.images.keys().chain(survey.claimed.0.keys()).map(|id| id.place.0);
    let behind = places.max().map_or(Some(0), |last| last.checked_add(1)).ok_or(RebuildError::NoPlace)?;
    Ok(frontier.max(Place(behind)))
}

/// How names were made, and images that hold what is lost.
struct Made {
    how: How,
    /// What is younger than this is younger than the names.
    limit: Option<Generation>,
    mended: Mended,
    voids: BTreeMap<RegionId, Vec<u8>>,
}

fn finish(
    found: &Found,
    nodes: NodeStore,
    mut state: State,
    mut survey: Survey<'_>,
    made: Made,
    roots_passed_over: usize,
    frontier: Place,
) -> Result<Rebuilt, RebuildError> {
    let Made { how, limit, mended, voids } = made;
    let next_place = place_above(found, &survey, frontier)?;
    survey.claimed.settle(|id| found.images.contains_key(&id));
    let is_kept = |id: &&RegionId| found.images.contains_key(id) && !voids.contains_key(id);
    let kept: Vec<RegionId> = survey.claimed.0.keys().filter(is_kept).copied().collect();
    let is_newer = |id: &&RegionId| limit.is_some_and(|limit| id.generation > limit) && !voids.contains_key(id);
    let newer_images: Vec<RegionId> = found.images.keys().filter(is_newer).copied().collect();
    let source = nodes.loading(TreeId::Name);
    let newer = Newer::find(found, &newer_images, &state.names, &source);
    let asked: BTreeSet<u64> = newer.inodes.iter().chain(mended.uncertain.iter().take(found.files_max)).copied().collect();
    let lost_names: BTreeSet<&(u64, Vec<u8>)> = newer.names.iter().chain(&mended.dropped).take(found.files_max).collect();
    let named = survey.paths(&state.names, &source, &asked, !lost_names.is_empty());
    drop(source);
    let newer_files = newer.inodes.iter().flat_map(|inode| named.of(*inode)).take(found.files_max).collect();
    let (lost, lost_more) = survey.lost_files(&named);
    let uncertain_files = mended.uncertain.iter().take(found.files_max).flat_map(|inode| named.of(*inode)).collect();
    let report = Report {
        how,
        roots_passed_over,
        newest_change: survey.newest_change,
        files: survey.inodes - survey.directories,
        directories: survey.directories,
        file_bytes: survey.file_bytes,
        missing: survey.missing.iter().map(|(id, bytes)| (*id, *bytes)).collect(),
        lost,
        lost_more,
        lost_bytes: survey.lost_bytes,
        unused_images: found.images.len() - kept.len() - newer_images.len() - voids.len(),
        newer_images,
        newer: newer.inodes,
        newer_files,
        lost_names: lost_names.iter().filter_map(|(directory, name)| named.resolve(*directory, name)).collect(),
        dropped_names: mended.dropped.len() as u64,
        dropped_attributes: mended.dropped_attributes,
        nameless: mended.nameless,
        made_up: mended.made_up,
        cut: mended.cut,
        uncertain: mended.uncertain,
        uncertain_files,
    };
    state.inodes = survey.inodes;
    state.next_inode = state.next_inode.max(survey.last_inode.saturating_add(1));
    let kinds = found.images.iter().map(|(id, facts)| (*id, facts.kind)).collect();
    let created = survey.created.unwrap_or_default();
    let fresh = Fresh { uuid: found.uuid, state, nodes, claimed: std::mem::take(&mut survey.claimed), kinds, next_place, voids };
    Ok(Rebuilt { report, kept, created, fresh })
}
