//! `infmap version`: which program this is, and which formats it reads.

use super::error::CliError;
use super::{Context, output};
use infmap_storage::limits::FORMAT_VERSION;

/// Say which version this is, and which format it writes.
#[derive(clap::Args)]
pub struct Version {}

impl Version {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let version = env!("CARGO_PKG_VERSION");
        if context.json {
            return output::json("version", &serde_json::json!({ "program_version": version, "format": FORMAT_VERSION }));
        }
        output::text_line(&format!("infmap {version}, format {FORMAT_VERSION}"))
    }
}
