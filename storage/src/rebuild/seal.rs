//! The images that a rebuild adds: nodes of what was made anew, and a root over all.
//!
//! Owns: `Fresh`. Must be true: O4 the image that carries the root comes last; ROOT-2 the root names the nodes of the volume tree that stand
//! beside it, all others are in the tree. Fails: with the error of whoever takes the images.

use super::RebuildError;
use super::space::{Claimed, VolumeTree, volume_tree};
use crate::address::{Address, Cluster, Generation, Place, RegionId};
use crate::limits::{NODE_MAX_CLUSTERS, REGION_CLUSTERS};
use crate::nodes::NodeStore;
use crate::region::{Codec, IMAGE_MAX_BYTES, Identity, Owner, OwnerKind, ParityEncoder, RegionBuilder};
use crate::root::RootRecord;
use crate::row::RegionKind;
use crate::state::State;
use crate::vat::{Tree, TreeId, encode_node};
use crate::wal::Lsn;
use std::collections::BTreeMap;
use std::io;

/// Clusters of a region that nodes are sure to find, although none crosses its end.
const SURE_CLUSTERS: usize = REGION_CLUSTERS - NODE_MAX_CLUSTERS;

/// Takes an image and makes it durable under its name.
pub(super) type Put<'a> = &'a mut dyn FnMut(RegionId, &[u8]) -> io::Result<()>;

/// A volume in memory, as far as it is not in images.
pub(super) struct Fresh {
    pub uuid: [u8; 16],
    pub state: State,
    pub nodes: NodeStore,
    pub claimed: Claimed,
    pub kinds: BTreeMap<RegionId, RegionKind>,
    /// The least place that nothing stands at.
    pub next_place: Place,
    /// Images that hold what is lost.
    pub voids: BTreeMap<RegionId, Vec<u8>>,
}

impl Fresh {
    /// Writes everything, the root last.
    pub fn seal(mut self, put: Put<'_>) -> Result<RootRecord, RebuildError> {
        let generation = self.state.generation;
        self.voids.iter().try_for_each(|(region, image)| put(*region, image)).map_err(RebuildError::Write)?;
        let mut writer = NodeWriter { uuid: self.uuid, generation, open: None, written: Vec::new(), encoder: ParityEncoder::new(), put };
        let names = self.state.names.clone();
        let next_place = &mut self.next_place;
        let mut grant = || {
            let region = RegionId { place: *next_place, generation };
            *next_place = Place(next_place.0.checked_add(1).ok_or(RebuildError::NoPlace)?);
            Ok(region)
        };
        writer.write_tree(TreeId::Name, &names, &mut grant)?;
        writer.seal()?;
        for (region, nodes) in std::mem::take(&mut writer.written) {
            self.kinds.insert(region, RegionKind::Node);
            nodes.iter().for_each(|(cluster, clusters)| self.claimed.add(Address { region, cluster: *cluster }, *clusters, true));
        }
        let granted = self.volume_tree()?;
        let mut places = granted.iter();
        let volume = self.state.volume.clone();
        let mut grant = || places.next().copied().ok_or(RebuildError::Defect("more nodes than places were granted for"));
        writer.write_tree(TreeId::Volume, &volume, &mut grant)?;
        writer.begin_if_none(&mut grant)?;
        let open = places.map(|region| (*region, RegionKind::Node)).collect();
        let root = self.root(&writer, open);
        writer.carry(&root)?;
        writer.seal()?;
        Ok(root)
    }

    /// Makes the volume tree, and grants places for its own nodes.
    fn volume_tree(&mut self) -> Result<Vec<RegionId>, RebuildError> {
        let source = self.nodes.loading(TreeId::Volume);
        let state = &mut self.state;
        let kinds = &self.kinds;
        let kind = |id| kinds.get(&id).copied();
        let made = volume_tree(&self.claimed, kind, self.next_place, state.generation, &source, &state.gauge)?;
        let VolumeTree { tree, frontier, live_clusters } = made;
        (state.volume, state.frontier, state.live_clusters) = (tree, frontier, live_clusters);
        state.deltas = crate::space::SpaceDeltas::default();
        let mut granted = Vec::new();
        loop {
            let dirty = state.volume.dirty_links().len() * NODE_MAX_CLUSTERS;
            if granted.len() >= dirty.div_ceil(SURE_CLUSTERS).max(1) {
                break;
            }
            let (region, _) = state.grant(&source, RegionKind::Node)?;
            granted.push(region);
        }
        state.deltas = crate::space::SpaceDeltas::default();
        Ok(granted)
    }

    fn root(&self, writer: &NodeWriter<'_>, open: Vec<(RegionId, RegionKind)>) -> RootRecord {
        let state = &self.state;
        let ptr = |tree: &Tree| tree.root().and_then(|root| root.ptr());
        RootRecord {
            volume_uuid: self.uuid,
            generation: state.generation,
            // There is no log that it could go on with.
            cut: Lsn::NONE,
            low: Lsn::NONE,
            names: ptr(&state.names),
            volume: ptr(&state.volume),
            next_inode: state.next_inode,
            frontier: state.frontier,
            inodes: state.inodes,
            live_clusters: state.live_clusters,
            images: writer.written.clone(),
            open,
        }
    }
}

/// The nodes of an image: first cluster, and how many.
type Nodes = Vec<(Cluster, u8)>;

/// Packs nodes into images.
struct NodeWriter<'a> {
    uuid: [u8; 16],
    generation: Generation,
    open: Option<(RegionId, RegionBuilder<Vec<u8>>)>,
    written: Vec<(RegionId, Nodes)>,
    encoder: ParityEncoder,
    put: Put<'a>,
}

type Grant<'a> = &'a mut dyn FnMut() -> Result<RegionId, RebuildError>;

impl NodeWriter<'_> {
    /// Writes the dirty nodes of a tree, children before parents.
    fn write_tree(&mut self, id: TreeId, tree: &Tree, grant: Grant<'_>) -> Result<(), RebuildError> {
        for link in tree.dirty_links() {
            let node = link.held().ok_or(RebuildError::Defect("a dirty node is not in memory"))?;
            let encoded = encode_node(id, &node, self.generation)?;
            let address = self.place(id, &encoded.bytes, grant)?;
            link.assign(encoded.ptr(address));
        }
        Ok(())
    }

    fn place(&mut self, id: TreeId, bytes: &[u8], grant: Grant<'_>) -> Result<Address, RebuildError> {
        let owner = Owner {
            kind: OwnerKind::Node,
            codec: Codec::Raw,
            inode: id as u64,
            offset_bytes: 0,
            decoded_bytes: bytes.len() as u32,
            sequence: 0,
            home: None,
        };
        for _ in 0..2 {
            self.begin_if_none(grant)?;
            let Some((region, builder)) = &mut self.open else { break };
            if let Ok(placed) = builder.place(owner, &[bytes]) {
                let (cluster, clusters) = (placed.first, placed.crcs.len() as u8);
                if let Some((_, nodes)) = self.written.last_mut() {
                    nodes.push((cluster, clusters));
                }
                return Ok(Address { region: *region, cluster });
            }
            self.seal()?;
        }
        Err(RebuildError::Defect("a node does not fit into an empty image"))
    }

    fn begin_if_none(&mut self, grant: Grant<'_>) -> Result<(), RebuildError> {
        if self.open.is_none() {
            let region = grant()?;
            let identity = Identity { volume: self.uuid, region, kind: RegionKind::Node };
            let builder = RegionBuilder::new(vec![0; IMAGE_MAX_BYTES], identity);
            self.open = Some((region, builder.ok_or(RebuildError::Defect("an image buffer is too small"))?));
            self.written.push((region, Vec::new()));
        }
        Ok(())
    }

    fn carry(&mut self, root: &RootRecord) -> Result<(), RebuildError> {
        let Some((_, builder)) = &mut self.open else { return Err(RebuildError::Defect("there is no image for the root")) };
        builder.set_root(&root.encode()).map_err(|_| RebuildError::Defect("the root does not fit into an image"))
    }

    fn seal(&mut self) -> Result<(), RebuildError> {
        let Some((region, builder)) = self.open.take() else { return Ok(()) };
        let sealed = builder.finish(&mut self.encoder);
        (self.put)(region, sealed.bytes()).map_err(RebuildError::Write)
    }
}
