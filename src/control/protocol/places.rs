//! Where files lie on the map, and whose a place is, as it is said on the control socket.
//!
//! Must be true: CTL-4. Fails: never.

use infmap_storage::address::{Address, MapCell};
use infmap_storage::locate::{FilePage, Laid, PlacePage, Tenant, Who, pixel};
use infmap_storage::region::Codec;
use serde::{Deserialize, Serialize};

/// A part of what is said of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LocatedPage {
    pub inode: u64,
    /// `regular`, `directory`, `symlink`, or something else.
    pub kind: String,
    /// As the tables have it: what was written last may not be in it.
    pub size: u64,
    /// Bytes that stand in the tables, and not in clusters of their own.
    pub inline_bytes: Option<u64>,
    /// It has bytes that were written and are in no image yet.
    pub unplaced: bool,
    pub extents: Vec<ExtentPlace>,
    /// What goes into `after` of the next request; `None`: this was the last.
    pub next: Option<u64>,
}

/// A run of a file's bytes, and the clusters that hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExtentPlace {
    pub offset: u64,
    pub length: u64,
    #[serde(flatten)]
    pub run: ClusterRun,
    /// `raw` or `zstd`.
    pub codec: String,
    /// Bytes of the whole extent as it is stored.
    pub stored_bytes: u64,
}

/// Clusters one behind the other, in an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterRun {
    /// Path of the image in the volume.
    pub image: String,
    /// The place on the map.
    pub x: i64,
    pub y: i64,
    /// Number of the first in its image, and how many there are.
    pub cluster: u16,
    pub clusters: u16,
    /// Upper left pixel of the first in its image; each is 256 pixels wide and 4 high.
    pub pixel_x: u16,
    pub pixel_y: u16,
}

/// A part of what is said of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FoundPage {
    /// Paths of the images at the place, in the volume.
    pub images: Vec<String>,
    pub tenants: Vec<TenantPlace>,
    /// What goes into `after` of the next request; `None`: this was the last.
    pub next: Option<(u64, u16)>,
}

/// Whoever has a run of clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TenantPlace {
    #[serde(flatten)]
    pub run: ClusterRun,
    /// `file`, `tables`, or `dead`: nobody's any more.
    pub who: String,
    pub codec: String,
    pub stored_bytes: u32,
    pub inode: Option<u64>,
    /// Offset and length of the file's bytes.
    pub ranges: Vec<(u64, u64)>,
    /// The paths of the file, each as the bytes that it has, in hexadecimal.
    pub paths_hex: Vec<String>,
    /// How many more names there are.
    pub unnamed: u64,
}

impl LocatedPage {
    #[must_use]
    pub fn of(page: &FilePage, unplaced: bool) -> Self {
        Self {
            inode: page.inode.0,
            kind: format!("{:?}", page.kind).to_lowercase(),
            size: page.size,
            inline_bytes: page.inline_bytes,
            unplaced,
            extents: page.laid.iter().map(ExtentPlace::of).collect(),
            next: page.next,
        }
    }
}

impl ExtentPlace {
    fn of(laid: &Laid) -> Self {
        let Laid { offset, length, first, clusters, codec, stored_bytes } = *laid;
        Self { offset, length, run: ClusterRun::of(first, clusters), codec: codec_name(codec).into(), stored_bytes }
    }
}

impl ClusterRun {
    fn of(first: Address, clusters: usize) -> Self {
        let MapCell { x, y } = first.region.place.cell();
        let (pixel_x, pixel_y) = pixel(first.cluster);
        Self {
            image: first.region.path(),
            x,
            y,
            cluster: first.cluster.number() as u16,
            clusters: clusters as u16,
            pixel_x: pixel_x as u16,
            pixel_y: pixel_y as u16,
        }
    }
}

impl FoundPage {
    #[must_use]
    pub fn of(page: &PlacePage) -> Self {
        Self {
            images: page.images.iter().map(|region| region.path()).collect(),
            tenants: page.tenants.iter().map(TenantPlace::of).collect(),
            next: page.next.map(|at| (at.region.generation.0, at.cluster.number() as u16)),
        }
    }
}

impl TenantPlace {
    fn of(tenant: &Tenant) -> Self {
        let codec = codec_name(tenant.codec).into();
        let base = Self { run: ClusterRun::of(tenant.at, tenant.clusters), codec, stored_bytes: tenant.stored_bytes, ..Self::default() };
        match &tenant.who {
            Who::Tables => Self { who: "tables".into(), ..base },
            Who::Dead { inode } => Self { who: "dead".into(), inode: Some(inode.0), ..base },
            Who::File { inode, ranges, paths, unnamed } => Self {
                who: "file".into(),
                inode: Some(inode.0),
                ranges: ranges.iter().map(|range| (range.start, range.end - range.start)).collect(),
                paths_hex: paths.iter().map(hex::encode).collect(),
                unnamed: *unnamed,
                ..base
            },
        }
    }

    /// The paths, without those that are no bytes.
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<u8>> {
        self.paths_hex.iter().filter_map(|path| hex::decode(path).ok()).collect()
    }
}

fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Raw => "raw",
        Codec::Zstd => "zstd",
    }
}
