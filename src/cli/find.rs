//! `infmap find VOLUME|DIR X,Y`: whose bytes lie at a place of the map.
//!
//! Must be true: a file is named only if it uses the place now; the output is printed page by page. Fails: with [`Code::NothingThere`], and
//! those of a daemon.

use super::error::{CliError, Code};
use super::locate::{place, unanswered};
use super::status::Behind;
use super::{Context, info, output, scrub};
use crate::backend;
use crate::control::client;
use crate::control::protocol::{FoundPage, TenantPlace};
use crate::mount::lock::VolumeLock;
use infmap_storage::locate::cluster_with;
use std::path::PathBuf;
use std::time::Duration;

/// Say whose bytes lie at a place of the map: the paths of the files, and their bytes.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  $ infmap find my.map 0,0\n  $ infmap find DIR -1,0 --pixel 300,17\n  $ infmap find DIR 2,5 --cluster 77"
)]
pub struct Find {
    /// The volume's directory, or the directory where it is mounted.
    #[arg(value_name = "VOLUME|DIR")]
    path: PathBuf,
    /// A place of the map: an image is called X_Y.
    #[arg(value_name = "X,Y", allow_hyphen_values = true, value_parser = scrub::parse_place)]
    place: (i64, i64),
    /// Only who has this pixel of the image.
    #[arg(long, value_name = "PX,PY", value_parser = pixel)]
    pixel: Option<u16>,
    /// Only who has the cluster of this number, 0 to 1023.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..1024), conflicts_with = "pixel")]
    cluster: Option<u16>,
}

/// The cluster that has a pixel.
fn pixel(text: &str) -> Result<u16, String> {
    let pixel = text.split_once(',').and_then(|(x, y)| Some((x.trim().parse().ok()?, y.trim().parse().ok()?)));
    let cluster = pixel.and_then(|(x, y)| cluster_with(x, y));
    cluster.map(|cluster| cluster.number() as u16).ok_or_else(|| "a pixel is two numbers of 0 to 1023: 300,17".into())
}

impl Find {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let cluster = self.cluster.or(self.pixel);
        let behind = Behind::of(&self.path)?;
        let (mut printed, mut has_image, mut count) = (Ok(()), false, 0);
        let mut tell = |page: FoundPage| {
            has_image |= !page.images.is_empty();
            count += page.tenants.len();
            printed = page.tenants.iter().try_for_each(|tenant| print(tenant, context));
            printed.is_ok()
        };
        if behind.is_mounted()? {
            client::find(&behind.volume, self.place, cluster, &mut tell).map_err(|error| unanswered(&behind, &error))?;
        } else {
            let volume = info::volume(&behind.volume)?;
            let lock = VolumeLock::take_to_read(&volume, None, Duration::ZERO)?;
            let found = backend::find_offline(&volume, self.place, cluster, &mut tell);
            lock.give_back();
            found?;
        }
        printed?;
        let (x, y) = self.place;
        match (has_image, count) {
            (false, _) => Err(CliError::new(Code::NothingThere, format!("there is no image at {x},{y} of {}", behind.volume.display()))),
            (true, 0) => output::done("Nobody has anything there.", context),
            (true, _) => Ok(()),
        }
    }
}

fn print(tenant: &TenantPlace, context: &Context) -> Result<(), CliError> {
    if context.json {
        let mut value = serde_json::to_value(tenant).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            let paths: Vec<String> = tenant.paths().iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
            fields.insert("paths".into(), paths.into());
        }
        return output::json("tenant", &value);
    }
    output::text_line(&text(tenant))
}

fn text(tenant: &TenantPlace) -> String {
    let place = place(&tenant.run);
    let inode = tenant.inode.unwrap_or(0);
    match tenant.who.as_str() {
        "file" => {
            let ranges: Vec<String> = tenant.ranges.iter().map(|(offset, length)| format!("{offset} +{length}")).collect();
            let paths: Vec<String> = tenant.paths().iter().map(|path| format!("/{}", path.escape_ascii())).collect();
            let name = if paths.is_empty() { format!("inode {inode} (without a name)") } else { paths.join(", ") };
            let more = if tenant.unnamed > 0 { format!(" and {} more names", tenant.unnamed) } else { String::new() };
            format!("{place}: {name}{more}: bytes {}", ranges.join(", "))
        }
        "tables" => format!("{place}: the tables"),
        _ => format!("{place}: nobody's any more; it was inode {inode}'s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::ClusterRun;

    #[test]
    fn a_pixel_means_its_cluster() {
        assert_eq!([pixel("0,0"), pixel("255,3"), pixel("0, 4")], [Ok(0), Ok(0), Ok(1)]);
        for wrong in ["1024,0", "0,1024", "-1,0", "5", "a,b", ""] {
            assert!(pixel(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tenant_says_its_names_and_bytes() {
        let run = ClusterRun { image: "i".into(), cluster: 1, clusters: 1, ..ClusterRun::default() };
        let base = TenantPlace { run, who: "file".into(), inode: Some(9), ranges: vec![(0, 4096)], ..TenantPlace::default() };
        let named = TenantPlace { paths_hex: vec!["612f62".into(), "0a".into()], ..base.clone() };
        assert_eq!(text(&named), "i cluster 1, from pixel 0,0: /a/b, /\\n: bytes 0 +4096");
        assert!(text(&base).contains("inode 9 (without a name)"));
        assert!(text(&TenantPlace { who: "dead".into(), ..base }).ends_with("it was inode 9's"));
    }
}
