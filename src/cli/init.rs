//! `infmap init VOLUME`: makes a volume.
//!
//! Must be true: the limit has one home, the key `limit` of the settings; what is said here is written into the volume's own
//! config.yaml. Fails: with the backend's code, or the system's.

use super::error::{CliError, Code};
use super::{Context, output};
use crate::backend::{self, CreateOptions, LABEL_MAX_BYTES};
use crate::config::value::{Kind, Value};
use infmap_actors::settings::LIMIT_RANGE;
use infmap_storage::device::{Access, HostDirectory};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Make a new, empty volume.
#[derive(clap::Args)]
pub struct Init {
    /// The directory to make: it must not exist, or be empty.
    volume: PathBuf,
    /// How much of the disk the volume may take: none, or a size such as 100GiB.
    #[arg(long, default_value = "none", allow_hyphen_values = true)]
    limit: String,
    /// A name for people; the directory's name if left out.
    #[arg(long)]
    label: Option<String>,
}

impl Init {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let kind = Kind::SizeOrNone { range: LIMIT_RANGE };
        let limit = kind.parse(&self.limit, false).map_err(|refused| {
            let help = refused.help.unwrap_or_else(|| format!("allowed: {}", kind.allowed()));
            CliError::new(Code::Usage, format!("--limit: {}", refused.found)).help(help)
        })?;
        if let Some(long) = self.label.as_ref().filter(|label| label.len() as u64 > LABEL_MAX_BYTES) {
            let message = format!("--label: {} bytes are too many", long.len());
            return Err(CliError::new(Code::Usage, message).help(format!("allowed: one line of at most {LABEL_MAX_BYTES} bytes")));
        }
        let facts = backend::create_volume(&self.volume, &CreateOptions { label: self.label })?;
        if limit != Value::Nothing {
            self::limit(&self.volume, &kind.show(limit))?;
        }
        if context.json {
            return output::json("created", &facts);
        }
        let volume = self.volume.display();
        output::done(&format!("Made the volume {volume}.\nMount it with: infmap mount {volume} DIR"), context)
    }
}

fn limit(volume: &Path, limit: &str) -> Result<(), CliError> {
    let path = volume.join("config.yaml");
    let text = format!("# Settings of this volume; every mount of it reads them. `infmap config show` lists the keys.\nlimit: {limit}\n");
    let written = || {
        let mut file = File::from(HostDirectory::open(volume)?.file("config.yaml", Access::CreateNew)?);
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    written().map_err(CliError::io(format!("cannot write {}", path.display())))
}
