//! A volume with files of every kind, and damage in its images beyond what parity covers.

use crate::common::{Mount, Numbers, Volume, infmap};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub const BLOCK: usize = 4096;

/// A block of a file, by one of the paths of it.
pub type Blocks = BTreeSet<(String, usize)>;

/// A volume, and what was written into it by path: raw, compressed, hard-linked, sparse, small.
pub struct Sample {
    pub volume: Volume,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Sample {
    pub fn if_mountable(seed: u64) -> Option<Self> {
        let volume = Volume::if_mountable()?;
        let (mut numbers, mut files) = (Numbers(seed), BTreeMap::new());
        let mount = volume.mount();
        fs::create_dir_all(mount.path("deep/er \n\"x\"")).expect("made");
        for n in 0..10 {
            let mut raw = vec![0; 100_000 + 33_333 * n];
            numbers.fill(&mut raw);
            files.insert(format!("raw{n}"), raw);
            let words = (0..30_000 + 3000 * n).map(|_| format!("word{} ", numbers.below(5000)));
            files.insert(format!("deep/text{n}"), words.collect::<String>().into_bytes());
            let mut small = vec![0; 10 + 190 * n];
            numbers.fill(&mut small);
            files.insert(format!("deep/er \n\"x\"/small{n}"), small);
        }
        for (name, content) in &files {
            fs::write(mount.path(name), content).expect("written");
        }
        let sparse = File::create(mount.path("sparse")).expect("made");
        let mut content = vec![0; 1_000_000];
        for n in 0..12 {
            let block = &mut content[n * 20 * BLOCK..][..2 * BLOCK];
            numbers.fill(block);
            sparse.write_all_at(block, (n * 20 * BLOCK) as u64).expect("written");
        }
        sparse.set_len(1_000_000).expect("longer");
        drop(sparse);
        files.insert("sparse".into(), content);
        for n in 0..10 {
            let name = format!("deep/link{n}");
            fs::hard_link(mount.path(&format!("raw{n}")), mount.path(&name)).expect("linked");
            files.insert(name, files[&format!("raw{n}")].clone());
        }
        mount.unmount();
        volume.check();
        Some(Self { volume, files })
    }

    /// The images with the most bytes first: those hold bytes of files.
    pub fn images(&self) -> Vec<PathBuf> {
        let mut images = self.volume.images();
        images.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).expect("there").len()));
        images
    }

    /// Flips bytes at so many random places among the pixels of an image.
    pub fn damage(&self, image: &Path, places: usize, numbers: &mut Numbers) {
        let file = File::options().read(true).write(true).open(image).expect("opened");
        let bands = (file.metadata().expect("there").len() - 160_000) / 16_405;
        for _ in 0..places {
            let (band, row) = (numbers.below(bands), numbers.below(4));
            let at = 1040 + band * 16_405 + row * 4097 + numbers.below(4096);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("read");
            file.write_all_at(&[!byte[0]], at).expect("written");
        }
    }

    /// Exit code and the last line of what is printed as JSON.
    pub fn run(&self, arguments: &[&str], place: &Path) -> (i32, Value) {
        let output = infmap().arg("--json").args(arguments).arg(place).output().expect("it starts");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!stderr.contains("panicked"), "{stderr}");
        let line = stdout.lines().last().unwrap_or_else(|| panic!("{arguments:?}: {stderr}"));
        (output.status.code().expect("no signal"), serde_json::from_str(line).expect("JSON"))
    }

    /// What `infmap damage ls` lists, with its exit code.
    pub fn listed(&self, place: &Path) -> Blocks {
        let (code, json) = self.run(&["damage", "ls"], place);
        let blocks = self.blocks(&json["lost"]);
        assert_eq!((code, &json["version"]), (if blocks.is_empty() { 0 } else { 3 }, &1.into()), "{json}");
        blocks
    }

    /// What a check of the volume, which is not mounted, lists.
    pub fn checked(&self) -> Blocks {
        let (code, json) = self.run(&["check"], &self.volume.path());
        let blocks = self.blocks(&json["report"]["lost"]);
        assert!(code == 3 || blocks.is_empty(), "{json}");
        blocks
    }

    fn blocks(&self, lost: &Value) -> Blocks {
        let number = |value: &Value| usize::try_from(value.as_u64().expect("a number")).expect("small");
        let mut blocks = Blocks::new();
        for damage in lost.as_array().expect("a list") {
            let (from, length) = (number(&damage["offset"]), number(&damage["length"]));
            let paths = damage["paths"].as_array().expect("a list");
            assert!(!paths.is_empty() && length > 0 && from.is_multiple_of(BLOCK), "{damage}");
            for path in paths {
                let path = path.as_str().expect("a path");
                let size = self.files[path].len();
                assert!(from + length <= size.next_multiple_of(BLOCK), "{damage}");
                blocks.extend((from / BLOCK..(from + length).div_ceil(BLOCK)).map(|block| (path.to_string(), block)));
            }
        }
        blocks
    }

    /// Reads every block of every file, one by one; returns those that give EIO. All others must have their bytes.
    pub fn refused(&self, mount: &Mount) -> Blocks {
        let mut refused = Blocks::new();
        for (name, content) in &self.files {
            let file = File::open(mount.path(name)).expect("opened");
            for (number, block) in content.chunks(BLOCK).enumerate() {
                let mut read = vec![0; block.len()];
                match file.read_exact_at(&mut read, (number * BLOCK) as u64) {
                    Ok(()) => assert!(read == block, "{name}: block {number} has other bytes"),
                    Err(error) if error.raw_os_error() == Some(5) => drop(refused.insert((name.clone(), number))),
                    Err(error) => panic!("{name}: block {number}: {error}"),
                }
            }
        }
        refused
    }
}
