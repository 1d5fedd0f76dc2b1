//! `infmap damage ls|show|clear`: which bytes of which files are lost, as reads and scans have noticed it.
//!
//! Must be true: a mounted volume is asked through its daemon, one that is not mounted is read and not changed, but for its list; it exits
//! with 3 if anything is listed, with 0 if not. Fails: with the code of the step.

use super::error::{CliError, Code};
use super::output::human;
use super::status::Behind;
use super::{Context, info, output};
use crate::backend::damage::{self, Kept};
use crate::control::client::{self, ControlError};
use crate::mount::lock::VolumeLock;
use infmap_actors::shared::Noted;
use infmap_storage::damage::{Damage as Lost, Found};
use infmap_storage::row::Inode;
use infmap_storage::volume_file::time_text;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ranges that one line names.
const RANGES_SHOWN: usize = 8;

/// List which bytes of which files are lost: what reads and scans found damaged beyond parity.
#[derive(clap::Args)]
pub struct Damage {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// One line a file: its names, and which bytes of it are lost.
    Ls {
        /// The volume's directory, or where it is mounted.
        #[arg(value_name = "VOLUME|DIR")]
        volume: PathBuf,
    },
    /// Each lost range of a file: where it lies on the map, what was expected there and what was found, when and by whom it was noticed.
    Show {
        /// The volume's directory, or where it is mounted.
        #[arg(value_name = "VOLUME|DIR")]
        volume: PathBuf,
        /// A path in the volume, from its top on, or the number of an inode.
        #[arg(value_name = "PATH|INODE")]
        file: PathBuf,
    },
    /// Forget what was noticed, of one file or of all. It comes back when it is met again.
    Clear {
        /// The volume's directory, or where it is mounted.
        #[arg(value_name = "VOLUME|DIR")]
        volume: PathBuf,
        /// A path in the volume, from its top on, or the number of an inode.
        #[arg(value_name = "PATH|INODE", required_unless_present = "all", conflicts_with = "all")]
        file: Option<PathBuf>,
        /// Of all files.
        #[arg(long)]
        all: bool,
    },
}

impl Damage {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        match self.verb {
            Verb::Ls { volume } => {
                let kept = Place::of(&volume)?.listed()?;
                show(&kept, context, |files| files.iter().map(line).collect())?;
                judge(&kept, &volume)
            }
            Verb::Show { volume, file } => {
                let mut kept = Place::of(&volume)?.listed()?;
                let inodes = inodes_of(&kept, &file);
                kept.noted.retain(|noted| inodes.contains(&noted.damage.inode.0));
                if kept.noted.is_empty() && !context.json {
                    return output::text_line(&format!("Nothing of {} is listed as lost.", file.display()));
                }
                kept.not_kept = 0;
                show(&kept, context, |files| files.iter().flat_map(lines).collect())?;
                judge(&kept, &volume)
            }
            Verb::Clear { volume, file, .. } => clear(&volume, file.as_deref(), context),
        }
    }
}

/// Who is asked.
enum Place {
    /// The daemon of a mount.
    Mounted(Behind),
    /// The files of a volume that nobody has.
    Files { volume: PathBuf, _lock: VolumeLock },
}

impl Place {
    fn of(path: &Path) -> Result<Self, CliError> {
        let behind = Behind::of(path)?;
        if behind.is_mounted()? {
            return Ok(Self::Mounted(behind));
        }
        let volume = info::volume(&behind.volume)?;
        let lock = VolumeLock::take_to_read(&volume, None, Duration::ZERO)?;
        Ok(Self::Files { volume, _lock: lock })
    }

    fn listed(&self) -> Result<Kept, CliError> {
        match self {
            Self::Files { volume, .. } => Ok(damage::listed(volume)?),
            Self::Mounted(behind) => {
                let page = client::damage(&behind.volume).map_err(|error| unanswered(behind, &error))?;
                let unnamed = page.files.iter().filter(|file| file.unnamed > 0).map(|file| (Inode(file.inode), file.unnamed)).collect();
                let paths: BTreeMap<u64, Vec<Vec<u8>>> = page.files.iter().map(|file| (file.inode, file.paths())).collect();
                let named = |noted: Noted| {
                    let paths = paths.get(&noted.damage.inode.0).cloned().unwrap_or_default();
                    Noted { damage: Lost { paths, ..noted.damage }, ..noted }
                };
                let noted = page.ranges.iter().filter_map(|range| range.noted()).map(named).collect();
                Ok(Kept { noted, unnamed, not_kept: page.not_kept })
            }
        }
    }

    /// `None`: everything.
    fn forget(&self, inodes: Option<Vec<u64>>) -> Result<u64, CliError> {
        match self {
            Self::Files { volume, .. } => Ok(damage::forget(volume, inodes.as_deref())?),
            Self::Mounted(behind) => client::forget_damage(&behind.volume, inodes).map_err(|error| unanswered(behind, &error)),
        }
    }
}

fn unanswered(behind: &Behind, error: &ControlError) -> CliError {
    match error {
        ControlError::Refused(why) => CliError::new(Code::NoAnswer, format!("the daemon of {} refuses: {why}", behind.volume.display())),
        error => behind.unanswered(error),
    }
}

fn clear(volume: &Path, file: Option<&Path>, context: &Context) -> Result<(), CliError> {
    let place = Place::of(volume)?;
    let inodes = match file {
        None => None,
        Some(file) => Some(inodes_of(&place.listed()?, file)),
    };
    // Of no inode: nobody has to be asked, and to ask for nothing could be understood as to ask for all.
    let count = if inodes.as_ref().is_some_and(Vec::is_empty) { 0 } else { place.forget(inodes)? };
    if context.json {
        return output::json("forgotten", &serde_json::json!({ "count": count }));
    }
    output::done(&format!("Forgot {count} lost range(s). What is still lost comes back when it is met again."), context)
}

/// The inodes that a path or a number means, of those that are listed.
fn inodes_of(kept: &Kept, file: &Path) -> Vec<u64> {
    let wanted = file.as_os_str().as_bytes();
    let parts: Vec<&[u8]> = wanted.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let path = parts.join(&b'/');
    let by_name = kept.noted.iter().filter(|noted| noted.damage.paths.contains(&path)).map(|noted| noted.damage.inode.0);
    let mut inodes: Vec<u64> = by_name.collect();
    // A file may be called by a number: it is meant before an inode is.
    if inodes.is_empty() {
        let number: Option<u64> = std::str::from_utf8(wanted).ok().and_then(|text| text.parse().ok());
        inodes.extend(kept.noted.iter().map(|noted| noted.damage.inode.0).filter(|inode| Some(*inode) == number));
    }
    inodes.dedup();
    inodes
}

/// What is listed of one file.
struct File<'a> {
    inode: Inode,
    noted: Vec<&'a Noted>,
    /// Names that are not told.
    unnamed: u64,
}

impl File<'_> {
    fn names(&self) -> String {
        let paths = self.noted.first().map(|noted| noted.damage.paths.as_slice()).unwrap_or_default();
        let names: Vec<String> = paths.iter().map(|path| format!("/{}", path.escape_ascii())).collect();
        match (names.is_empty(), self.unnamed) {
            (true, 0) => format!("inode {} (without a name)", self.inode),
            (true, more) => format!("inode {} ({more} long names)", self.inode),
            (false, 0) => names.join(", "),
            (false, more) => format!("{} and {more} more names", names.join(", ")),
        }
    }

    /// Bytes that are lost: first, and first behind them; what touches is one.
    fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut all: Vec<(u64, u64)> =
            self.noted.iter().map(|noted| (noted.damage.offset, noted.damage.offset.saturating_add(noted.damage.length))).collect();
        all.sort_unstable();
        for (from, to) in all {
            match ranges.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => ranges.push((from, to)),
            }
        }
        ranges
    }

    fn lost_bytes(&self) -> u64 {
        self.ranges().iter().map(|(from, to)| to - from).sum()
    }
}

fn by_file(kept: &Kept) -> Vec<File<'_>> {
    let mut files: BTreeMap<Inode, Vec<&Noted>> = BTreeMap::new();
    kept.noted.iter().for_each(|noted| files.entry(noted.damage.inode).or_default().push(noted));
    files.into_iter().map(|(inode, noted)| File { inode, noted, unnamed: kept.unnamed.get(&inode).copied().unwrap_or(0) }).collect()
}

fn show(kept: &Kept, context: &Context, lines: fn(&[File<'_>]) -> Vec<String>) -> Result<(), CliError> {
    let files = by_file(kept);
    if context.json {
        return output::json("damage", &json(kept, &files));
    }
    let mut lines = lines(&files);
    if kept.not_kept > 0 {
        lines.push(format!("{} more lost ranges were noticed when the list was full", kept.not_kept));
    }
    if lines.is_empty() {
        lines.push("Nothing is listed as lost.".into());
    }
    output::text_line(&lines.join("\n"))
}

fn json(kept: &Kept, files: &[File<'_>]) -> serde_json::Value {
    let lost = |noted: &Noted| {
        let mut value: serde_json::Value = serde_json::from_str(&noted.damage.to_json()).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.insert("source".into(), noted.source.name().into());
        }
        value
    };
    let file = |file: &File<'_>| {
        let paths = file.noted.first().map(|noted| noted.damage.paths.as_slice()).unwrap_or_default();
        let texts: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
        let ranges: Vec<_> = file.ranges().iter().map(|(from, to)| serde_json::json!({ "offset": from, "length": to - from })).collect();
        serde_json::json!({ "inode": file.inode.0, "paths": texts, "paths_hex": paths.iter().map(hex::encode).collect::<Vec<_>>(), "names_left_out": file.unnamed, "ranges": ranges, "lost_bytes": file.lost_bytes() })
    };
    serde_json::json!({
        "files": files.iter().map(file).collect::<Vec<_>>(),
        "lost": kept.noted.iter().map(lost).collect::<Vec<_>>(), "not_kept": kept.not_kept,
    })
}

fn line(file: &File<'_>) -> String {
    let ranges = file.ranges();
    let mut shown: Vec<String> = ranges.iter().take(RANGES_SHOWN).map(|(from, to)| format!("{from}-{}", to.saturating_sub(1))).collect();
    if ranges.len() > RANGES_SHOWN {
        shown.push(format!("and {} more ranges", ranges.len() - RANGES_SHOWN));
    }
    format!("{}: bytes {}: {} lost", file.names(), shown.join(", "), human(file.lost_bytes()))
}

fn lines(file: &File<'_>) -> Vec<String> {
    let mut lines = vec![format!("{} (inode {}), {} lost", file.names(), file.inode, human(file.lost_bytes()))];
    for Noted { damage, source } in &file.noted {
        let end = damage.offset.saturating_add(damage.length).saturating_sub(1);
        let found = match &damage.found {
            Found::Crc(crc) => format!("checksum {crc:08x} was found"),
            Found::Io(error) => format!("it could not be read: {error}"),
            Found::Missing => "there is no such image".into(),
            Found::Undecodable => "it was found, and does not decode".into(),
        };
        let when = damage.when.map_or_else(String::new, |when| format!(" on {}", time_text(when)));
        lines.push(format!("  bytes {} to {end}", damage.offset));
        lines.push(format!("    at {}, cluster {} of {}", damage.at.region.place, damage.at.cluster.number(), damage.at.region.path()));
        lines.push(format!("    checksum {:08x} was expected, {found}", damage.expected_crc));
        lines.push(format!("    noticed by a {}{when}", source.name()));
    }
    lines
}

fn judge(kept: &Kept, volume: &Path) -> Result<(), CliError> {
    if kept.noted.is_empty() && kept.not_kept == 0 {
        return Ok(());
    }
    let (files, volume) = (by_file(kept).len(), volume.display());
    Err(CliError::new(Code::DamageListed, format!("bytes of {files} file(s) in {volume} are lost")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use infmap_actors::shared::Source;
    use infmap_storage::address::{Address, Cluster, Generation, Place, RegionId};
    use infmap_storage::row::Time;

    fn noted(inode: u64, offset: u64, paths: &[&[u8]]) -> Noted {
        let region = RegionId { place: Place(1), generation: Generation(255) };
        let at = Address { region, cluster: Cluster::new(7).expect("a cluster") };
        let (paths, found) = (paths.iter().map(|path| path.to_vec()).collect(), Found::Crc(0xABC));
        let when = Some(Time { seconds: 0, nanos: 0 });
        Noted { damage: Lost { inode: Inode(inode), paths, offset, length: 4096, at, expected_crc: 1, found, when }, source: Source::Read }
    }

    fn sample() -> Kept {
        let names: &[&[u8]] = &[b"a/\x1bb", b"c"];
        let all = [noted(3, 0, names), noted(3, 4096, names), noted(3, 12_288, names), noted(9, 0, &[])];
        Kept { noted: all.into(), ..Kept::default() }
    }

    #[test]
    fn a_file_is_one_line_with_all_its_names_and_what_touches_is_one_range() {
        let kept = sample();
        let shown: Vec<String> = by_file(&kept).iter().map(line).collect();
        assert_eq!(
            shown,
            ["/a/\\x1bb, /c: bytes 0-8191, 12288-16383: 12.0 KiB lost", "inode 9 (without a name): bytes 0-4095: 4.0 KiB lost"]
        );
        let many = Kept { noted: (0..20).map(|n| noted(3, n * 8192, &[])).collect(), ..Kept::default() };
        assert!(line(&by_file(&many)[0]).contains(", and 12 more ranges: "));
        let known = Kept { unnamed: [(Inode(3), 4), (Inode(9), 2)].into(), ..kept };
        let shown: Vec<String> = by_file(&known).iter().map(File::names).collect();
        assert_eq!(shown, ["/a/\\x1bb, /c and 4 more names", "inode 9 (2 long names)"]);
    }

    #[test]
    fn a_range_says_where_it_lies_and_what_was_found_there() {
        let kept = sample();
        let shown = lines(&by_file(&kept)[1]).join("\n");
        assert_eq!(
            shown,
            "inode 9 (without a name) (inode 9), 4.0 KiB lost\n  bytes 0 to 4095\n    at (-1, 0), cluster 7 of map/-1_0/-1_0.ff.png\n    \
             checksum 00000001 was expected, checksum 00000abc was found\n    noticed by a read on 1970-01-01T00:00:00.000000000Z"
        );
    }

    #[test]
    fn a_path_is_meant_before_a_number_is() {
        let mut kept = sample();
        let of = |kept: &Kept, text: &str| inodes_of(kept, Path::new(text));
        assert_eq!((of(&kept, "/c/"), of(&kept, "c"), of(&kept, "9"), of(&kept, "8")), (vec![3], vec![3], vec![9], vec![]));
        kept.noted.push(noted(10, 0, &[b"9"]));
        assert_eq!((of(&kept, "9"), of(&kept, "/9")), (vec![10], vec![10]));
    }
}
