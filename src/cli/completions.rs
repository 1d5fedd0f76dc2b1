//! `infmap completions bash|zsh|fish`: a script that lets a shell complete verbs and options.
//!
//! Must be true: it goes to stdout and nothing else does, so that it can be sourced. Fails: as stdout does.

use super::error::CliError;
use super::{Context, help, output};
use clap_complete::Shell;

/// Print a script that lets a shell complete verbs and options.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  $ source <(infmap completions bash)\n  $ infmap completions zsh >~/.zfunc/_infmap\n  \
                        $ infmap completions fish >~/.config/fish/completions/infmap.fish")]
pub struct Completions {
    /// The shell.
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

impl Completions {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let shell = match self.shell.as_str() {
            "zsh" => Shell::Zsh,
            "fish" => Shell::Fish,
            _ => Shell::Bash,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut help::command(), "infmap", &mut script);
        let script = String::from_utf8_lossy(&script);
        if context.json {
            return output::json("completions", &serde_json::json!({ "shell": self.shell, "script": script }));
        }
        output::raw(&script)
    }
}
