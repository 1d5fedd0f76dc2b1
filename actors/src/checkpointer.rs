//! The checkpointer: writes the dirty nodes of frozen trees and the root into images, and takes dead images away.
//!
//! Owns: the images of the checkpoint under way. Accepts: `Granted`, `Write`, `Recycle`. Sends: `RootWritten`, `Recycled`. Full: one
//! checkpoint at a time. Fails: an image that cannot be written ends the checkpoint; the Vat makes the volume read-only.
//!
//! Must be true: O4 the image that carries the root is written when all others are durable; children are placed before their parents.

use crate::keeper::{look_at_space, look_for_space};
use crate::mailbox::{Envelope, Lane};
use crate::shared::Shared;
use crate::slot::{Address, Context, Role};
use crate::vat::{Frozen, Grant, RootWritten, VatMessage};
use infmap_storage::address::{Address as MapAddress, Cluster, RegionId};
use infmap_storage::buffer::PooledBuf;
use infmap_storage::region::{Codec, Identity, Owner, OwnerKind, RegionBuilder};
use infmap_storage::root::RootRecord;
use infmap_storage::row::RegionKind;
use infmap_storage::vat::{EncodedNode, Link, Tree, TreeId, encode_node};
use std::collections::VecDeque;
use std::sync::Arc;

/// What the checkpointer is told.
pub enum CheckpointMessage {
    Granted(Vec<Grant>),
    Write(Box<Frozen>),
    /// Take the images of these dead regions away.
    Recycle {
        regions: Vec<RegionId>,
    },
}

impl Envelope for CheckpointMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Granted(_) => "granted",
            Self::Write(_) => "write_root",
            Self::Recycle { .. } => "recycle",
        }
    }
}

/// The role of the checkpointer.
pub struct Checkpointer {
    shared: Arc<Shared>,
    vat: Address<VatMessage>,
    grants: VecDeque<Grant>,
    frozen: Option<Box<Frozen>>,
}

/// The images of one checkpoint.
struct Images<'a> {
    shared: &'a Shared,
    grants: VecDeque<Grant>,
    used: Vec<Grant>,
    open: Option<(RegionId, RegionBuilder<PooledBuf>)>,
    written: Vec<(RegionId, Vec<(Cluster, u8)>)>,
}

type Failure = String;

impl Images<'_> {
    fn begin(&mut self) -> Result<(), Failure> {
        let grant = self.grants.pop_front().ok_or("more nodes than places were granted for")?;
        let region = grant.region();
        let identity = Identity { volume: self.shared.uuid, region, kind: RegionKind::Node };
        let builder = RegionBuilder::new(self.shared.image_buffers.take(), identity).ok_or("an image buffer is too small")?;
        self.used.push(grant);
        self.written.push((region, Vec::new()));
        self.open = Some((region, builder));
        Ok(())
    }

    fn seal(&mut self) -> Result<(), Failure> {
        let Some((region, builder)) = self.open.take() else { return Ok(()) };
        let sealed = self.shared.encoders.lend(|encoder| builder.finish(encoder));
        self.shared.spares.install(self.shared.device.as_ref(), region, sealed.bytes(), 0).map_err(|e| e.to_string())?;
        look_at_space(self.shared);
        Ok(())
    }

    fn place(&mut self, tree: TreeId, node: &EncodedNode) -> Result<MapAddress, Failure> {
        for _ in 0..2 {
            if self.open.is_none() {
                self.begin()?;
            }
            let Some((region, builder)) = &mut self.open else { break };
            let owner = Owner {
                kind: OwnerKind::Node,
                codec: Codec::Raw,
                inode: tree as u64,
                offset_bytes: 0,
                decoded_bytes: node.bytes.len() as u32,
                sequence: 0,
                home: None,
            };
            if let Ok(placed) = builder.place(owner, &[&node.bytes]) {
                let (first, clusters) = (placed.first, placed.crcs.len() as u8);
                if let Some((_, nodes)) = self.written.last_mut() {
                    nodes.push((first, clusters));
                }
                return Ok(MapAddress { region: *region, cluster: first });
            }
            self.seal()?;
        }
        Err("a node does not fit into an empty image".into())
    }

    /// Writes what is dirty in a tree, children before parents.
    fn write_tree(&mut self, id: TreeId, tree: &Tree, frozen: &Frozen, links: &mut Vec<Arc<Link>>) -> Result<(), Failure> {
        for link in tree.dirty_links() {
            let node = link.held().ok_or("a dirty node is not in memory")?;
            let encoded = encode_node(id, &node, frozen.generation).map_err(|e| e.to_string())?;
            let address = self.place(id, &encoded)?;
            link.assign(encoded.ptr(address));
            links.push(link);
        }
        Ok(())
    }
}

impl Checkpointer {
    #[must_use]
    pub fn new(shared: Arc<Shared>, vat: Address<VatMessage>) -> Self {
        Self { shared, vat, grants: VecDeque::new(), frozen: None }
    }

    /// Writes the frozen trees once there are places enough.
    fn pump(&mut self, cx: &mut Context<'_>) {
        let Some(frozen) = self.frozen.take_if(|frozen| frozen.images <= self.grants.len()) else { return };
        let mut images =
            Images { shared: &self.shared, grants: std::mem::take(&mut self.grants), used: Vec::new(), open: None, written: Vec::new() };
        let root = write(&frozen, &mut images);
        let grants = std::mem::take(&mut images.used);
        cx.post(&self.vat, Lane::Data, VatMessage::RootWritten(RootWritten { root, grants }));
    }
}

fn write(frozen: &Frozen, images: &mut Images<'_>) -> Result<RootRecord, Failure> {
    let mut links = Vec::new();
    images.write_tree(TreeId::Name, &frozen.names, frozen, &mut links)?;
    images.write_tree(TreeId::Volume, &frozen.volume, frozen, &mut links)?;
    if images.open.is_none() {
        images.begin()?;
    }
    let root = RootRecord {
        volume_uuid: images.shared.uuid,
        generation: frozen.generation,
        cut: frozen.cut,
        low: frozen.low,
        names: frozen.names.root().and_then(|link| link.ptr()),
        volume: frozen.volume.root().and_then(|link| link.ptr()),
        next_inode: frozen.next_inode,
        frontier: frozen.frontier,
        inodes: frozen.inodes,
        live_clusters: frozen.live_clusters,
        images: images.written.clone(),
        open: frozen.open.clone(),
    };
    if let Some((_, builder)) = &mut images.open {
        builder.set_root(&root.encode()).map_err(|e| e.to_string())?;
    }
    images.seal()?;
    // They are on the device now: the cache may keep them or not.
    for link in links {
        if let (Some(ptr), Some(node)) = (link.ptr(), link.detach()) {
            images.shared.nodes.resident.insert(&ptr, node);
        }
    }
    Ok(root)
}

impl Role for Checkpointer {
    type Message = CheckpointMessage;

    fn handle(&mut self, message: CheckpointMessage, cx: &mut Context<'_>) {
        match message {
            CheckpointMessage::Granted(grants) => self.grants.extend(grants),
            CheckpointMessage::Write(frozen) => self.frozen = Some(frozen),
            CheckpointMessage::Recycle { regions } => {
                regions.iter().for_each(|region| self.shared.images.forget(*region));
                let recycled = self.shared.spares.recycle(self.shared.device.as_ref(), &regions);
                look_for_space(&self.shared);
                let regions = recycled.map(|()| regions).unwrap_or_else(|error| {
                    // They stay dead in the tree: the next mount tries again.
                    tracing::warn!(%error, "images of dead regions could not be taken away");
                    Vec::new()
                });
                cx.post(&self.vat, Lane::Background, VatMessage::Recycled { regions });
            }
        }
        self.pump(cx);
    }

    fn dead(&mut self) {
        self.shared.health.died("the actor that writes roots has failed");
    }
}
