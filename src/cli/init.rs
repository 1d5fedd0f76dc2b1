//! `infmap init VOLUME`: makes a volume.

use super::error::{CliError, Code};
use super::{Context, output};
use crate::backend::{self, CreateOptions};
use crate::config::value::{Kind, Value};
use infmap_actors::settings::LIMIT_RANGE;
use std::path::PathBuf;

/// Make a new, empty volume.
#[derive(clap::Args)]
pub struct Init {
    /// The directory to make: it must not exist, or be empty.
    volume: PathBuf,
    /// How much of the disk the volume may take: none, or a size such as 100GiB.
    #[arg(long, default_value = "none")]
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
        let limit = if let Value::Number(bytes) = limit { Some(bytes) } else { None };
        let facts = backend::create_volume(&self.volume, &CreateOptions { limit, label: self.label })?;
        if context.json {
            return output::json(&facts);
        }
        let volume = self.volume.display();
        output::text_line(&format!("Made the volume {volume}.\nMount it with: infmap mount {volume} DIR"))
    }
}
