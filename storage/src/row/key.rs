//! Keys: (space, inode, kind, sub-key), encoded so that bytes sort as the tuple does.
//!
//! Owns: the numbers of spaces and kinds. Must be true: ROW-1; a number is never given a second meaning.
//! Fails: a key that is none of ours decodes to `None`.

use crate::address::{Address, Cluster, Generation, Place, RegionId};
use crate::limits::KEY_FIXED_BYTES;

/// Number of an inode. Never used again, not even after a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode(pub u64);

/// The inode of the root directory, as the kernel's FUSE protocol numbers it.
pub const ROOT_INODE: Inode = Inode(1);

impl std::fmt::Display for Inode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a row is about. The first ten variants stand in the name tree, the rest in the volume tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Attributes of an inode.
    Inode(Inode),
    /// A name in a directory -> inode.
    Entry(Inode, Vec<u8>),
    /// A stable position in a directory -> name and inode.
    Cookie(Inode, u64),
    /// Bytes of a file from this offset on -> where they are.
    Extent(Inode, u64),
    /// One part of an extended attribute: the name itself, then the part's number.
    Xattr(Inode, Vec<u8>, u16),
    /// One part of a symbolic link's target.
    Target(Inode, u16),
    /// One part of a small file's content, up to `INLINE_ROW_BYTES` in all.
    Content(Inode, u16),
    /// An inode without names that is still in use.
    Orphan(Inode),
    /// Bytes of this file that are still to be cut, from the value's range.
    Work(Inode),
    /// One part of a small file's content above `INLINE_ROW_BYTES`; in leaves of their own.
    LargeContent(Inode, u16),

    /// State of the region at a place.
    Region(Place),
    /// Rows that refer to the extent or node at this address, when more than one.
    Count(Address),
    /// An image without live clusters; its place is free one checkpoint later.
    Dead(RegionId),
    /// A place that was used before and is free.
    Free(Place),
}

const NAMES: u8 = 1;
const CONTENTS: u8 = 2;
const PLACES: u8 = 3;
const DEAD: u8 = 4;
const FREE: u8 = 5;

impl Key {
    /// The bytes of this key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Inode(i) => fixed(NAMES, i.0, 1),
            Self::Entry(i, name) => with(NAMES, i.0, 2, name),
            Self::Cookie(i, cookie) => with(NAMES, i.0, 3, &cookie.to_be_bytes()),
            Self::Extent(i, offset) => with(NAMES, i.0, 4, &offset.to_be_bytes()),
            Self::Xattr(i, name, part) => {
                let mut key = with(NAMES, i.0, 5, name);
                // Names hold no NUL, so it ends the name and keeps the parts of one attribute together.
                key.push(0);
                key.extend_from_slice(&part.to_be_bytes());
                key
            }
            Self::Target(i, part) => with(NAMES, i.0, 6, &part.to_be_bytes()),
            Self::Content(i, part) => with(NAMES, i.0, 7, &part.to_be_bytes()),
            Self::Orphan(i) => with(NAMES, 0, 8, &i.0.to_be_bytes()),
            Self::Work(i) => with(NAMES, 0, 9, &i.0.to_be_bytes()),
            Self::LargeContent(i, part) => with(CONTENTS, i.0, 7, &part.to_be_bytes()),
            Self::Region(place) => fixed(PLACES, u64::from(place.0), 1),
            Self::Count(at) => {
                let mut sub = at.region.generation.0.to_be_bytes().to_vec();
                sub.extend_from_slice(&(at.cluster.number() as u16).to_be_bytes());
                with(PLACES, u64::from(at.region.place.0), 2, &sub)
            }
            Self::Dead(id) => with(DEAD, u64::from(id.place.0), 3, &id.generation.0.to_be_bytes()),
            Self::Free(place) => fixed(FREE, u64::from(place.0), 4),
        }
    }

    /// Reads a key; `None` if it is none of ours.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&space, rest) = bytes.split_first()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let number = u64::from_be_bytes(*number);
        let (&kind, sub) = rest.split_first()?;
        let inode = Inode(number);
        let place = || u32::try_from(number).ok().map(Place);
        Some(match (space, kind) {
            (NAMES, 1) if sub.is_empty() => Self::Inode(inode),
            (NAMES, 2) if !sub.is_empty() => Self::Entry(inode, sub.to_vec()),
            (NAMES, 3) => Self::Cookie(inode, be_u64(sub)?),
            (NAMES, 4) => Self::Extent(inode, be_u64(sub)?),
            (NAMES, 5) => {
                let (head, part) = sub.split_last_chunk::<2>()?;
                let (&0, name) = head.split_last()? else { return None };
                Self::Xattr(inode, name.to_vec(), u16::from_be_bytes(*part))
            }
            (NAMES, 6) => Self::Target(inode, be_u16(sub)?),
            (NAMES, 7) => Self::Content(inode, be_u16(sub)?),
            (NAMES, 8) if number == 0 => Self::Orphan(Inode(be_u64(sub)?)),
            (NAMES, 9) if number == 0 => Self::Work(Inode(be_u64(sub)?)),
            (CONTENTS, 7) => Self::LargeContent(inode, be_u16(sub)?),
            (PLACES, 1) if sub.is_empty() => Self::Region(place()?),
            (PLACES, 2) => {
                let (generation, cluster) = sub.split_first_chunk::<8>()?;
                let region = RegionId { place: place()?, generation: Generation(u64::from_be_bytes(*generation)) };
                Self::Count(Address { region, cluster: Cluster::new(usize::from(be_u16(cluster)?))? })
            }
            (DEAD, 3) => Self::Dead(RegionId { place: place()?, generation: Generation(be_u64(sub)?) }),
            (FREE, 4) if sub.is_empty() => Self::Free(place()?),
            _ => return None,
        })
    }

    /// The inode whose attributes stand under this key; `None` for all other keys, without taking them apart.
    #[must_use]
    pub fn inode_of(bytes: &[u8]) -> Option<Inode> {
        match bytes {
            [NAMES, number @ .., 1] => Some(Inode(be_u64(number)?)),
            _ => None,
        }
    }

    /// The least key of the directory entries by cookie above `after`, and the least key behind them all.
    #[must_use]
    pub fn cookies_after(dir: Inode, after: u64) -> (Vec<u8>, Vec<u8>) {
        (with(NAMES, dir.0, 3, &after.saturating_add(1).to_be_bytes()), fixed(NAMES, dir.0, 4))
    }

    /// The bounds of all extents of an inode.
    #[must_use]
    pub fn extents_of(inode: Inode) -> (Vec<u8>, Vec<u8>) {
        (fixed(NAMES, inode.0, 4), fixed(NAMES, inode.0, 5))
    }

    /// The bounds of all parts of all extended attributes of an inode.
    #[must_use]
    pub fn xattrs_of(inode: Inode) -> (Vec<u8>, Vec<u8>) {
        (fixed(NAMES, inode.0, 5), fixed(NAMES, inode.0, 6))
    }

    /// The bounds of everything that stands under an inode among the names.
    #[must_use]
    pub fn all_of(inode: Inode) -> (Vec<u8>, Vec<u8>) {
        (fixed(NAMES, inode.0, 0), fixed(NAMES, inode.0, u8::MAX))
    }

    /// The bounds of the orphans.
    #[must_use]
    pub fn orphans() -> (Vec<u8>, Vec<u8>) {
        (fixed(NAMES, 0, 8), fixed(NAMES, 0, 9))
    }

    /// The bounds of the rows that say what remains to be cut.
    #[must_use]
    pub fn works() -> (Vec<u8>, Vec<u8>) {
        (fixed(NAMES, 0, 9), fixed(NAMES, 0, 10))
    }

    /// The bounds of all rows about regions and counts.
    #[must_use]
    pub fn places() -> (Vec<u8>, Vec<u8>) {
        (vec![PLACES], vec![DEAD])
    }

    /// The bounds of the rows about dead images.
    #[must_use]
    pub fn dead() -> (Vec<u8>, Vec<u8>) {
        (vec![DEAD], vec![FREE])
    }

    /// The bounds of the rows about free places from `place` on.
    #[must_use]
    pub fn free_from(place: Place) -> (Vec<u8>, Vec<u8>) {
        (fixed(FREE, u64::from(place.0), 0), vec![FREE + 1])
    }
}

fn fixed(space: u8, number: u64, kind: u8) -> Vec<u8> {
    with(space, number, kind, &[])
}

fn with(space: u8, number: u64, kind: u8, sub: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(KEY_FIXED_BYTES + sub.len() + 3);
    key.push(space);
    key.extend_from_slice(&number.to_be_bytes());
    key.push(kind);
    key.extend_from_slice(sub);
    key
}

fn be_u64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn be_u16(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}
