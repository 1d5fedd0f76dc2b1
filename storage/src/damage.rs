//! Bytes of a file that cannot be had: which, where they lay, and what was found there instead.
//!
//! Owns: `Damage`, its sentence and its JSON, `LostCluster`; below it, what rows say of it and how files are called. Must be true: DMG-1 a
//! damage names whole blocks of a file as far as the file goes, and every name by which the file can be reached, as far as they are known;
//! names are bytes, and JSON has them twice, once as text for people and once exactly. Fails: never.

mod names;
mod resolve;
mod rows;

pub use names::NameSearch;
pub use resolve::{Resolved, resolve};
pub use rows::{of_clusters, of_range, of_row, still};

use crate::address::Address;
use crate::row::{Inode, Time};
use std::fmt::{self, Write};

/// What was found in place of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Bytes with another checksum.
    Crc(u32),
    /// The device refused, in its words.
    Io(String),
    /// There is no such image.
    Missing,
    /// The right bytes, which do not decode to what their row says.
    Undecodable,
}

/// A cluster that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostCluster {
    pub at: Address,
    pub expected_crc: u32,
    pub found: Found,
}

/// Bytes of a file that are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub inode: Inode,
    /// From the root of the volume on, without a slash before; empty if no name is known.
    pub paths: Vec<Vec<u8>>,
    /// Bytes of the file.
    pub offset: u64,
    pub length: u64,
    /// The cluster that does not have its checksum.
    pub at: Address,
    pub expected_crc: u32,
    pub found: Found,
    /// When it was noticed; `None`: now.
    pub when: Option<Time>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.paths.split_first() {
            Some((first, [])) => write!(f, "/{}", first.escape_ascii())?,
            Some((first, others)) => write!(f, "/{} (and {} more names)", first.escape_ascii(), others.len())?,
            None => write!(f, "inode {}", self.inode)?,
        }
        let end = self.offset.saturating_add(self.length);
        write!(f, ": bytes {} to {} are lost: {}: ", self.offset, end.saturating_sub(1), self.at)?;
        match &self.found {
            Found::Crc(crc) => write!(f, "checksum {crc:08x} instead of {:08x}", self.expected_crc),
            Found::Io(error) => write!(f, "{error}"),
            Found::Missing => write!(f, "the image is missing"),
            Found::Undecodable => write!(f, "the compressed unit does not decode"),
        }
    }
}

impl Damage {
    /// One JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        let texts: Vec<String> = self.paths.iter().map(|path| text(&String::from_utf8_lossy(path))).collect();
        let exact: Vec<String> = self.paths.iter().map(|path| text(&hex::encode(path))).collect();
        let (kind, detail) = match &self.found {
            Found::Crc(crc) => ("checksum", text(&format!("{crc:08x}"))),
            Found::Io(error) => ("io", text(error)),
            Found::Missing => ("missing", "null".into()),
            Found::Undecodable => ("undecodable", "null".into()),
        };
        let when = self.when.map_or("null".into(), |time| format!("{{\"seconds\":{},\"nanos\":{}}}", time.seconds, time.nanos));
        let region = self.at.region;
        let cell = region.place.cell();
        let _ = write!(
            out,
            "{{\"inode\":{},\"paths\":[{}],\"paths_hex\":[{}],\"offset\":{},\"length\":{},\"place\":{{\"x\":{},\"y\":{}}},\
             \"generation\":\"{}\",\"cluster\":{},\"image\":{},\"expected_crc\":\"{:08x}\",\"found\":\"{kind}\",\"detail\":{detail},\"when\":{when}}}",
            self.inode,
            texts.join(","),
            exact.join(","),
            self.offset,
            self.length,
            cell.x,
            cell.y,
            region.generation,
            self.at.cluster.number(),
            text(&region.path()),
            self.expected_crc,
        );
        out
    }
}

/// A JSON string (RFC 8259, 7).
fn text(plain: &str) -> String {
    let mut out = String::from('"');
    for c in plain.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Cluster, Generation, Place, RegionId};

    #[test]
    fn a_damage_says_file_bytes_and_place() {
        let at = Address { region: RegionId { place: Place(1), generation: Generation(255) }, cluster: Cluster::new(7).unwrap() };
        let paths = vec![b"a \"b\"/\xff\n".to_vec()];
        let (inode, found) = (Inode(9), Found::Crc(0xABC));
        let mut damage = Damage { inode, paths, offset: 4096, length: 100, at, expected_crc: 1, found, when: None };
        assert_eq!(
            damage.to_string(),
            "/a \\\"b\\\"/\\xff\\n: bytes 4096 to 4195 are lost: (-1, 0).ff#7: checksum 00000abc instead of 00000001"
        );
        assert_eq!(
            damage.to_json(),
            "{\"inode\":9,\"paths\":[\"a \\\"b\\\"/\u{fffd}\\u000a\"],\"paths_hex\":[\"6120226222\
             2fff0a\"],\"offset\":4096,\"length\":100,\"place\":{\"x\":-1,\"y\":0},\"generation\":\"ff\",\"cluster\":7,\
             \"image\":\"map/-1_0/-1_0.ff.png\",\"expected_crc\":\"00000001\",\"found\":\"checksum\",\"detail\":\"00000abc\",\"when\":null}"
        );
        (damage.paths, damage.found) = (Vec::new(), Found::Missing);
        assert!(damage.to_string().starts_with("inode 9: bytes ") && damage.to_string().ends_with("the image is missing"));
    }
}
