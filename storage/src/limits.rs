//! Every limit of the format and of the in-memory policies, named in one place.
//!
//! Owns: constants only. Must be true: a value here is a value of `docs/format.md`; a test compares the two.
//! Fails: at compile time, through the assertions at the end, when two of them contradict each other.

/// The format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Pixels of a region image in a row and in a column.
pub const REGION_SIDE_PX: usize = 1024;
/// Bytes of pixels in one row of a region image: RGBA, 8 bit each.
pub const ROW_BYTES: usize = REGION_SIDE_PX * 4;
/// Bytes of pixels in a region image.
pub const REGION_BYTES: usize = ROW_BYTES * REGION_SIDE_PX;

/// Bytes of a cluster, a block of a file, and a page of a node.
pub const CLUSTER_BYTES: usize = 4096;
/// Pixels of a cluster's tile across.
pub const CLUSTER_WIDTH_PX: usize = 256;
/// Pixels of a cluster's tile down.
pub const CLUSTER_HEIGHT_PX: usize = 4;
/// Bytes of a cluster in one pixel row: a piece.
pub const PIECE_BYTES: usize = CLUSTER_WIDTH_PX * 4;
/// Clusters of a region.
pub const REGION_CLUSTERS: usize = REGION_BYTES / CLUSTER_BYTES;

/// Clusters of a band: one stored deflate block, one IDAT chunk, four pixel rows.
pub const BAND_CLUSTERS: usize = 4;
/// Bytes of pixels in a band.
pub const BAND_BYTES: usize = BAND_CLUSTERS * CLUSTER_BYTES;
/// Bands of a region.
pub const REGION_BANDS: usize = REGION_CLUSTERS / BAND_CLUSTERS;
/// Clusters of a square: four bands, 64 KiB.
pub const SQUARE_CLUSTERS: usize = 16;

/// Rows of parity behind the pixels of a region: any so many damaged rows can be restored.
pub const PARITY_ROWS: usize = 32;
/// Rows that carry a checksum: pixels and parity.
pub const CHECKED_ROWS: usize = REGION_SIDE_PX + PARITY_ROWS;

/// Region files are multiples of this, so that they can be written with O_DIRECT.
pub const DIRECT_ALIGN: usize = 4096;

/// Bytes of a unit of a file: what is compressed at a time.
pub const UNIT_BYTES: usize = 64 * 1024;
/// Clusters of an extent at most.
pub const EXTENT_MAX_CLUSTERS: usize = 64;

/// Order of the Hilbert curves of the quadrants of the map. Fixed for ever: it gives every place its coordinates.
pub const MAP_CURVE_ORDER: u32 = 32;
/// Regions on a side of one directory of `map/`.
pub const MAP_BLOCK_SIDE: i64 = 16;
/// The places nearest to the origin that are kept for nodes while the map is small.
pub const NODE_PLACES: u32 = 8;

/// Bytes of the key and the value of a row together, so that a page holds four.
pub const ROW_MAX_BYTES: usize = 1000;
/// Bytes of value in a part row of a long value.
pub const PART_BYTES: usize = 960 - KEY_FIXED_BYTES;
/// Bytes that every key has: space, inode, kind.
pub const KEY_FIXED_BYTES: usize = 10;
/// Bytes of a value from which on it is stored as part rows.
pub const INLINE_ROW_BYTES: usize = 512;
/// Bytes of a file's content that is kept in the VAT instead of in extents.
pub const INLINE_FILE_BYTES: usize = 2048;
/// Bytes of a name in a directory.
pub const NAME_MAX_BYTES: usize = 255;
/// Bytes of a symbolic link's target.
pub const SYMLINK_MAX_BYTES: usize = 4095;
/// Bytes of an extended attribute's name, and of its value (`XATTR_NAME_MAX`, `XATTR_SIZE_MAX` of Linux).
pub const XATTR_NAME_MAX_BYTES: usize = 255;
pub const XATTR_MAX_BYTES: usize = 64 * 1024;
/// Bytes of the names of all extended attributes of an inode, each with a zero byte (`XATTR_LIST_MAX`).
pub const XATTR_LIST_MAX_BYTES: usize = 64 * 1024;
/// Names that one inode can have.
pub const LINK_MAX: u32 = 65_000;
/// Bytes of a file: the kernel's own limit (`MAX_LFS_FILESIZE`, a page short of 2^63).
pub const FILE_MAX_BYTES: u64 = (1 << 63) - CLUSTER_BYTES as u64;

/// Bytes of a page of a node in memory.
pub const PAGE_BYTES: usize = 4096;
/// Pages of a node in memory.
pub const NODE_MAX_PAGES: usize = 4;
/// Clusters that a node takes on disk at most.
pub const NODE_MAX_CLUSTERS: usize = 5;
/// Levels of a tree at most; a deeper one is not ours.
pub const TREE_MAX_LEVELS: u8 = 12;

/// Bytes of one log record at most, header included.
pub const RECORD_MAX_BYTES: usize = 1024 * 1024 + 64 * 1024;
/// Bytes of file data in one record at most.
pub const RECORD_DATA_MAX_BYTES: usize = 1024 * 1024;
/// Rows that one record changes at most.
pub const RECORD_MAX_ROWS: usize = 1000;
/// Bytes of a group of records that is applied whole or not at all.
pub const GROUP_MAX_BYTES: usize = REGION_BYTES / 2;
/// Rows of a group at most.
pub const GROUP_MAX_ROWS: usize = 4000;
/// Rows that one step of longer work changes at most.
pub const SLICE_ROWS: usize = 256;
/// Bytes of a log segment.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Groups of the log begin at multiples of this.
pub const LOG_BLOCK_BYTES: usize = 4096;

const _: () = assert!(REGION_CLUSTERS == 1024 && REGION_BANDS == 256 && REGION_BYTES == 4 << 20);
const _: () = assert!(PIECE_BYTES * CLUSTER_HEIGHT_PX == CLUSTER_BYTES);
const _: () = assert!(UNIT_BYTES == SQUARE_CLUSTERS * CLUSTER_BYTES);
const _: () = assert!(ROW_MAX_BYTES * 4 < PAGE_BYTES);
const _: () = assert!(PARITY_ROWS + REGION_SIDE_PX == CHECKED_ROWS);
