//! `infmap recover FROM TO`: makes a volume out of nothing but PNG images.
//!
//! Must be true: what is lost is told by name, and makes the exit code 3; the volume is there all the same.

use super::error::{CliError, Code};
use super::output::human;
use super::progress::Shown;
use super::{Context, output};
use crate::backend::recover::{self, By, Recovered, Recovery};
use std::path::PathBuf;

/// Names of files and images that people are shown.
const NAMES_SHOWN: usize = 100;

const EXAMPLES: &str = "\
Examples:
  infmap recover pictures/ my.map            make the volume my.map of the images below pictures/
  infmap recover --dry-run pictures/ my.map  say what would come back, and write nothing
  infmap recover --volume UUID pile/ my.map  take the images of this volume, of several

FROM is only read. Its files may have any name and lie in any directory; what is no image is passed over. Images are restored from their
parity where they need it. TO is made; it is a volume when the verb has ended, and never before. Exit code 3: something is
lost; the volume is there, and reading what is lost gives EIO, never other bytes.";

/// Make a volume out of its PNG images alone: without log, names or volume.yaml.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Recover {
    /// A directory with the images, at any depth, under any name.
    from: PathBuf,
    /// The directory to make; nothing may stand there.
    to: PathBuf,
    /// The uuid of the volume, where there are images of several.
    #[arg(long, value_name = "UUID")]
    volume: Option<String>,
    /// Where names come from: the newest root that is whole, nodes of the tables that lost their parents, or nowhere (files by number).
    #[arg(long, value_enum, default_value_t = Names::Best)]
    by: Names,
    /// Say what would come back, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Where names come from.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Names {
    /// The first of the others that gives any.
    Best,
    /// The newest root whose names can all be read.
    Root,
    /// What is left of the newest root, and single nodes; the newest names, perhaps not all.
    Nodes,
    /// No names: files by number, in lost+found.
    Owners,
}

impl Names {
    pub fn by(self) -> Option<By> {
        match self {
            Self::Best => None,
            Self::Root => Some(By::Root),
            Self::Nodes => Some(By::Nodes),
            Self::Owners => Some(By::Owners),
        }
    }
}

impl Recover {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let volume = self.volume.as_deref().map(uuid).transpose()?;
        if !self.from.is_dir() {
            return Err(CliError::new(Code::VolumeMissing, format!("there is no directory {}", self.from.display())));
        }
        let mut shown = Shown::new(context);
        let asked = Recovery { from: &self.from, to: &self.to, volume, by: self.by.by(), dry_run: self.dry_run };
        let recovered = recover::recover(&asked, &mut |progress| shown.step(progress));
        drop(shown);
        let recovered = recovered?;
        if context.json {
            output::json("recovered", &serde_json::json!({ "recovered": recovered }))?;
        } else {
            output::done(&text(&recovered), context)?;
        }
        if recovered.whole {
            return Ok(());
        }
        let message = if self.dry_run { "something would be lost" } else { "the volume is there, and something is lost" };
        Err(CliError::new(Code::Lost, format!("{message}: {}", summary(&recovered))))
    }
}

/// The value of `--volume`.
pub fn uuid(text: &str) -> Result<[u8; 16], CliError> {
    let refused =
        || CliError::new(Code::Usage, format!("--volume: {text:?} is no uuid")).help("such as a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf");
    recover::uuid_of(text).ok_or_else(refused)
}

fn summary(recovered: &Recovered) -> String {
    let Recovered { missing_images, lost, lost_more, newer_images, roots_passed_over, lost_bytes, .. } = recovered;
    let mut parts = Vec::new();
    let files = lost.len() as u64 + lost_more;
    let by = match recovered.found_by {
        "nodes" => Some("no root is whole: names are those of single nodes, and some may be older, or have been removed"),
        "owners" => Some("no names are left: files are in lost+found, by number"),
        _ => None,
    };
    parts.extend(by.map(String::from));
    parts.extend((*roots_passed_over > 0 && by.is_none()).then(|| format!("{roots_passed_over} younger root(s) cannot be read")));
    parts.extend((!missing_images.is_empty()).then(|| format!("{} image(s) are missing", missing_images.len())));
    parts.extend((files > 0).then(|| format!("{} of {files} file(s) cannot be read", human(*lost_bytes))));
    parts.extend((*newer_images > 0).then(|| format!("{newer_images} image(s) are younger than the root: changes after it are lost")));
    parts.join("; ")
}

/// The first names of many.
fn some<T>(lines: &mut Vec<String>, all: &[T], line: impl Fn(&T) -> String) {
    lines.extend(all.iter().take(NAMES_SHOWN).map(line));
    if all.len() > NAMES_SHOWN {
        lines.push(format!("  and {} more (--json names all)", all.len() - NAMES_SHOWN));
    }
}

fn text(r: &Recovered) -> String {
    let mut lines = Vec::new();
    some(&mut lines, &r.unusable, |what| format!("not used: {what}"));
    some(&mut lines, &r.missing_images, |image| format!("missing: {image}"));
    some(&mut lines, &r.lost, |file| {
        let name = if file.paths.is_empty() { format!("inode {}", file.inode) } else { file.paths.join(", ") };
        let ranges: Vec<String> = file.ranges.iter().take(8).map(|(from, to)| format!("{from}..{to}")).collect();
        let more = if file.ranges.len() > 8 { format!(" and {} ranges more", file.ranges.len() - 8) } else { String::new() };
        format!("lost: {name}: bytes {}{more} of {}", ranges.join(", "), file.size)
    });
    some(&mut lines, &r.lost_names, |path| format!("lost: {path}: only its name is left"));
    some(&mut lines, &r.uncertain_files, |path| format!("perhaps not as it was (older, shorter, longer, or without an attribute): {path}"));
    some(&mut lines, &r.newer_files, |path| format!("perhaps older than it was: {path}"));
    for (count, what) in [
        (r.restored_images, "image(s) were damaged and are restored from their parity"),
        (r.damaged_images, "image(s) are damaged beyond their parity"),
        (r.images_without_tables, "image(s) have lost their tables"),
        (r.duplicates, "file(s) are further copies of an image"),
        (r.unused_images as u64, "image(s) are not needed: nothing in them was in use"),
        (r.nameless, "file(s) and directories have lost their names; they are in lost+found"),
        (r.made_up, "file(s) and directories have lost owner, mode and times; they belong to root now"),
        (r.dropped_names, "name(s) led to nothing that is left, and are gone"),
        (r.dropped_attributes, "extended attribute(s) were not whole, and are gone"),
        (r.cut, "file(s) are shorter than they were: of their ends nothing is left"),
    ] {
        lines.extend((count > 0).then(|| format!("{count} {what}.")));
    }
    if let Some(root) = r.root.as_ref().filter(|_| r.found_by == "root") {
        let change = r.newest_change.as_deref().map_or(String::new(), |time| format!("; the last change in it is of {time}"));
        lines.push(format!("The names are those of root {root}{change}. What was changed after it is not in the images."));
    }
    let (verb, files, bytes) = (if r.dry_run { "Would recover" } else { "Recovered" }, r.files, human(r.file_bytes));
    lines.push(format!("{verb} the volume {} into {}: {files} files, {} directories, {bytes}.", r.uuid, r.to.display(), r.directories));
    if !r.dry_run {
        lines.push(format!("Check it with: infmap check {0}\nMount it with: infmap mount {0} DIR", r.to.display()));
    }
    lines.join("\n")
}
