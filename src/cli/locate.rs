//! `infmap locate PATH`: where on the map a file lies.
//!
//! Must be true: a mounted file is known by its inode, however it is reached, by a bind mount or another name; the output is bounded by
//! nothing but the file, and is printed page by page. Fails: with [`Code::NothingThere`], [`Code::NotMounted`], and those of a daemon.

use super::error::{CliError, Code};
use super::output::{self, human};
use super::status::Behind;
use super::{Context, info};
use crate::backend;
use crate::control::client::{self, ControlError};
use crate::control::protocol::{ClusterRun, ExtentPlace, LocatedPage};
use crate::mount::lock::VolumeLock;
use crate::mount::mountinfo::{self, Mounted};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Say where on the map a file lies: its extents, with image, clusters and pixels.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  $ infmap locate DIR/photo.raw\n  $ infmap locate --volume my.map photos/photo.raw\n  \
                        $ getfattr -n user.infmap.layout --only-values DIR/photo.raw")]
pub struct Locate {
    /// A file in a mount; with --volume, its path in the volume.
    path: PathBuf,
    /// A volume that is not mounted.
    #[arg(long, value_name = "VOLUME")]
    volume: Option<PathBuf>,
}

impl Locate {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let (mut printer, path) = (Printer { path: &self.path, is_first: true, context, printed: Ok(()) }, &self.path);
        match &self.volume {
            Some(volume) => {
                let volume = info::volume(volume)?;
                let lock = VolumeLock::take_to_read(&volume, None, Duration::ZERO).map_err(|error| {
                    let error = CliError::from(error);
                    if error.code == Code::VolumeLocked { error.help("name the file where it is mounted, without --volume") } else { error }
                })?;
                let is_there = backend::locate_offline(&volume, path.as_os_str().as_bytes(), &mut |page| printer.page(&page));
                lock.give_back();
                if !is_there? {
                    return Err(CliError::new(Code::NothingThere, format!("there is no {} in {}", path.display(), volume.display()))
                        .help("name a path as it is in the mount, from the top of the volume on"));
                }
            }
            None => {
                let (mounted, inode) = reached(path)?;
                let behind = Behind::of(&mounted.mountpoint)?;
                client::locate(&behind.volume, inode, &mut |page| printer.page(&page)).map_err(|error| unanswered(&behind, &error))?;
            }
        }
        printer.printed
    }
}

/// The mount and the inode behind a path.
pub fn reached(path: &Path) -> Result<(Mounted, u64), CliError> {
    let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CliError::new(Code::NothingThere, format!("there is no {}", path.display())),
        _ => CliError::io(format!("cannot look at {}", path.display()))(error),
    })?;
    Ok((mount_of(meta.dev(), path)?, meta.ino()))
}

/// The mount behind a device, which `path` is on.
pub fn mount_of(device: u64, path: &Path) -> Result<Mounted, CliError> {
    let device = (rustix::fs::major(device), rustix::fs::minor(device));
    let mounted = mountinfo::all()?.into_iter().rfind(|mounted| mounted.is_ours() && mounted.device == device);
    mounted.ok_or_else(|| {
        CliError::new(Code::NotMounted, format!("{} is in no mount of Infinite Map", path.display()))
            .help("name a file in a mount, which `infmap ps` lists, or say --volume VOLUME")
    })
}

/// What it means that a daemon does not answer, or does not want to.
pub fn unanswered(behind: &Behind, error: &ControlError) -> CliError {
    match error {
        ControlError::Refused(why) => CliError::new(Code::NoAnswer, format!("the daemon of {} refuses: {why}", behind.volume.display())),
        error => behind.unanswered(error),
    }
}

struct Printer<'a> {
    path: &'a Path,
    is_first: bool,
    context: &'a Context,
    printed: Result<(), CliError>,
}

impl Printer<'_> {
    /// Prints a page; false if nobody reads any more.
    fn page(&mut self, page: &LocatedPage) -> bool {
        self.printed = self.print(page);
        self.printed.is_ok()
    }

    fn print(&mut self, page: &LocatedPage) -> Result<(), CliError> {
        if std::mem::take(&mut self.is_first) {
            if self.context.json {
                output::json(
                    "file",
                    &serde_json::json!({
                        "path": self.path.display().to_string(), "inode": page.inode, "kind": page.kind,
                        "size": page.size, "inline_bytes": page.inline_bytes, "unplaced": page.unplaced,
                    }),
                )?;
            } else {
                output::text_line(&head(self.path, page))?;
            }
        }
        for extent in &page.extents {
            if self.context.json {
                output::json("extent", extent)?;
            } else {
                output::text_line(&line(extent))?;
            }
        }
        Ok(())
    }
}

fn head(path: &Path, page: &LocatedPage) -> String {
    let mut head = format!("{}: inode {}, {}, {}", path.display(), page.inode, page.kind, human(page.size));
    if page.kind != "regular" {
        head += "; it has no bytes of its own on the map, but in the tables";
    } else if let Some(bytes) = page.inline_bytes {
        head += &format!("; its {bytes} bytes stand in the tables");
    }
    if page.unplaced {
        head += "; what was written last is in no image yet";
    }
    head
}

fn line(extent: &ExtentPlace) -> String {
    let ExtentPlace { offset, length, run, codec, stored_bytes } = extent;
    let part = if codec == "raw" { String::new() } else { format!(", {} stored", human(*stored_bytes)) };
    format!("  {offset:>12} +{length:<8} {codec:<4}  {}{part}", place(run))
}

/// Where clusters are, for people.
pub fn place(run: &ClusterRun) -> String {
    let last = run.cluster.saturating_add(run.clusters).saturating_sub(1);
    let clusters = if run.clusters == 1 { format!("cluster {}", run.cluster) } else { format!("clusters {} to {last}", run.cluster) };
    format!("{} {clusters}, from pixel {},{}", run.image, run.pixel_x, run.pixel_y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_says_bytes_image_clusters_and_pixel() {
        let run = ClusterRun { image: "map/0_0/0_0.1.png".into(), cluster: 16, clusters: 16, pixel_y: 16, ..ClusterRun::default() };
        let raw = ExtentPlace { offset: 65_536, length: 65_536, run, codec: "raw".into(), stored_bytes: 65_536 };
        assert_eq!(line(&raw), "         65536 +65536    raw   map/0_0/0_0.1.png clusters 16 to 31, from pixel 0,16");
        let mut packed = ExtentPlace { codec: "zstd".into(), stored_bytes: 5000, ..raw };
        packed.run.clusters = 1;
        assert!(line(&packed).ends_with("cluster 16, from pixel 0,16, 4.9 KiB stored"), "{}", line(&packed));
        assert_eq!(serde_json::to_value(&packed).expect("JSON")["image"], "map/0_0/0_0.1.png");
    }

    #[test]
    fn what_has_no_extents_says_where_its_bytes_are() {
        let page =
            LocatedPage { inode: 7, kind: "regular".into(), size: 5, inline_bytes: Some(5), unplaced: true, ..LocatedPage::default() };
        let head = head(Path::new("a"), &page);
        assert_eq!(head, "a: inode 7, regular, 5 B; its 5 bytes stand in the tables; what was written last is in no image yet");
    }
}
