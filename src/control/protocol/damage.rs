//! What is lost of files, as it is said on the control socket and kept in a file of the volume.
//!
//! Must be true: CTL-4. Fails: a value that says no place is none of ours: `LostRange::noted` gives nothing for it.

use infmap_actors::shared::{Noted, Source};
use infmap_storage::address::{Address, Cluster, Generation, MapCell, Place, RegionId};
use infmap_storage::damage::{Damage, Found};
use infmap_storage::limits::UNIT_BYTES;
use infmap_storage::row::{Inode, Time};
use serde::{Deserialize, Serialize};

/// A part of the list of what is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DamagePage {
    /// In the order of inodes and offsets.
    pub ranges: Vec<LostRange>,
    /// How the files of `ranges` are called.
    pub files: Vec<NamedFile>,
    /// What was noticed when the list was full.
    pub not_kept: u64,
    /// Behind what the next page begins; `None`: this was the last.
    pub next: Option<(u64, u64)>,
}

/// A file and its paths, each as the bytes that it has, in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamedFile {
    pub inode: u64,
    pub paths_hex: Vec<String>,
    /// How many more names there are.
    pub unnamed: u64,
}

/// Bytes of a file that are lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LostRange {
    pub inode: u64,
    pub offset: u64,
    pub length: u64,
    /// The place on the map, the generation of the image there in hexadecimal, the number of the cluster in it.
    pub x: i64,
    pub y: i64,
    pub generation: String,
    pub cluster: u16,
    pub expected_crc: u32,
    /// `checksum`, `io`, `missing` or `undecodable`.
    pub found: String,
    pub found_crc: u32,
    /// What the device said.
    pub detail: String,
    /// When it was noticed first.
    pub seconds: i64,
    pub nanos: u32,
    /// By whom: `read` or `scrub`.
    pub source: String,
}

impl LostRange {
    #[must_use]
    pub fn of(noted: &Noted) -> Self {
        let damage = &noted.damage;
        let MapCell { x, y } = damage.at.region.place.cell();
        let (found, found_crc, detail) = match &damage.found {
            Found::Crc(crc) => ("checksum", *crc, ""),
            Found::Io(error) => ("io", 0, error.as_str()),
            Found::Missing => ("missing", 0, ""),
            Found::Undecodable => ("undecodable", 0, ""),
        };
        let when = damage.when.unwrap_or_default();
        Self {
            inode: damage.inode.0,
            offset: damage.offset,
            length: damage.length,
            x,
            y,
            generation: damage.at.region.generation.to_string(),
            cluster: damage.at.cluster.number() as u16,
            expected_crc: damage.expected_crc,
            found: found.into(),
            found_crc,
            detail: detail.into(),
            seconds: when.seconds,
            nanos: when.nanos,
            source: noted.source.name().into(),
        }
    }

    /// The damage that this says, if it says one.
    #[must_use]
    pub fn noted(&self) -> Option<Noted> {
        let place = Place::at(MapCell { x: self.x, y: self.y })?;
        let region = RegionId { place, generation: Generation(u64::from_str_radix(&self.generation, 16).ok()?) };
        let at = Address { region, cluster: Cluster::new(usize::from(self.cluster))? };
        let found = match self.found.as_str() {
            "checksum" => Found::Crc(self.found_crc),
            "io" => Found::Io(self.detail.clone()),
            "missing" => Found::Missing,
            "undecodable" => Found::Undecodable,
            _ => return None,
        };
        // No row gives more in one piece.
        let is_range = (1..=UNIT_BYTES as u64).contains(&self.length) && self.offset.checked_add(self.length).is_some();
        is_range.then_some(())?;
        let when = Some(Time { seconds: self.seconds, nanos: self.nanos.min(999_999_999) });
        let (inode, offset, length, expected_crc) = (Inode(self.inode), self.offset, self.length, self.expected_crc);
        let damage = Damage { inode, paths: Vec::new(), offset, length, at, expected_crc, found, when };
        Some(Noted { damage, source: Source::from_name(&self.source)? })
    }
}

impl NamedFile {
    #[must_use]
    pub fn new(inode: Inode, paths: &[Vec<u8>], unnamed: u64) -> Self {
        Self { inode: inode.0, paths_hex: paths.iter().map(hex::encode).collect(), unnamed }
    }

    /// The paths, without those that are no bytes.
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<u8>> {
        self.paths_hex.iter().filter_map(|path| hex::decode(path).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(found: Found) -> Noted {
        let region = RegionId { place: Place(7), generation: Generation(0x3_0000_0001) };
        let at = Address { region, cluster: Cluster::new(1023).expect("a cluster") };
        let when = Some(Time { seconds: -5, nanos: 7 });
        let damage = Damage { inode: Inode(9), paths: Vec::new(), offset: 4096, length: 100, at, expected_crc: 1, found, when };
        Noted { damage, source: Source::Scrub }
    }

    #[test]
    fn what_is_said_of_a_damage_is_all_of_it() {
        for found in [Found::Crc(0xABC), Found::Io("too hot".into()), Found::Missing, Found::Undecodable] {
            let noted = noted(found);
            assert_eq!(LostRange::of(&noted).noted().as_ref(), Some(&noted));
        }
        let file = NamedFile::new(Inode(9), &[b"a/\xff".to_vec(), Vec::new()], 0);
        assert_eq!((file.paths(), file.paths_hex[0].as_str()), (vec![b"a/\xff".to_vec(), Vec::new()], "612fff"));
        let hostile = NamedFile { inode: 1, paths_hex: ["6", "6x", "+1", "\u{e4}", "61"].map(Into::into).into(), unnamed: 0 };
        assert_eq!(hostile.paths(), [b"a".to_vec()], "only bytes are paths");
    }

    #[test]
    fn what_says_no_place_is_no_damage() {
        let sound = LostRange::of(&noted(Found::Missing));
        let broken: [fn(&mut LostRange); 8] = [
            |range| range.x = i64::MAX,
            |range| range.generation = "xyz".into(),
            |range| range.cluster = 1024,
            |range| range.found = "moon".into(),
            |range| range.source = String::new(),
            |range| range.offset = u64::MAX,
            |range| range.length = 0,
            |range| range.length = u64::MAX,
        ];
        for (n, break_it) in broken.iter().enumerate() {
            let mut range = sound.clone();
            break_it(&mut range);
            assert_eq!(range.noted(), None, "{n}");
        }
        assert_eq!(LostRange::default().noted(), None);
    }
}
