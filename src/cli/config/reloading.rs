//! `infmap config reload DIR`: a mount reads its settings again.
//!
//! Must be true: what the daemon says of each key is printed; a mistake in any source changes nothing and is shown as `config check` would.
//! Fails: with [`Code::Config`] for mistakes, and for keys that were refused; with [`Code::NoAnswer`] or [`Code::NotMounted`].

use crate::cli::error::{CliError, Code};
use crate::cli::status::Behind;
use crate::cli::{Context, output};
use crate::control::client;
use crate::control::protocol::{Outcome, Reloaded};
use std::path::PathBuf;

/// A mount reads all sources of its settings again, as at the mount.
#[derive(clap::Args)]
pub struct Reload {
    /// Where it is mounted, or the volume's directory.
    #[arg(value_name = "DIR|VOLUME")]
    path: PathBuf,
}

impl Reload {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let place = Behind::of(&self.path)?;
        let reloaded = client::reload(&place.volume).map_err(|error| place.unanswered(&error))?;
        if let Some(mistakes) = &reloaded.mistakes {
            return Err(CliError::new(Code::Config, format!("nothing has changed:\n{mistakes}\n")));
        }
        if context.json {
            output::json("reloaded", &reloaded)?;
        } else {
            output::text_line(&text(&reloaded))?;
        }
        let refused: Vec<&str> = reloaded.keys.iter().filter(|key| key.outcome == Outcome::Refused).map(|key| key.key.as_str()).collect();
        if refused.is_empty() {
            return Ok(());
        }
        Err(CliError::new(Code::Config, format!("{} stayed as it was", refused.join(", "))).help("the reasons stand above, and in the log"))
    }
}

fn text(reloaded: &Reloaded) -> String {
    if reloaded.keys.is_empty() {
        return "The settings are as they were.".into();
    }
    reloaded.keys.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
