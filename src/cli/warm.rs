//! `infmap warm PATH...`: reads files into the daemon's cache before somebody asks for them.
//!
//! Must be true: its reads stand behind those of everybody else, unless --priority says otherwise; memory does not grow with the number of
//! files. Fails: with [`Code::NothingThere`], with [`Code::NotWarmed`] behind what was done, and as a daemon does.

mod paths;

use super::error::{CliError, Code};
use super::output::{self, human};
use super::progress::Shown;
use super::status::Behind;
use super::{Context, locate};
use crate::backend::Progress;
use crate::control::client;
use crate::control::protocol::Warmed;
use paths::{Paths, Warmable};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Files of one request.
const BATCH: usize = 256;
/// Names of files that could not be read, that are told.
const NAMED: usize = 20;

/// Read files into the cache before somebody asks for them; behind the reads of everybody else.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  $ infmap warm DIR/photos\n  $ infmap warm 'DIR/2026-*/*.raw'\n  \
                        $ find DIR -newer stamp -type f | infmap warm --background -")]
pub struct Warm {
    /// Files, directories with all that is below them, patterns (`*`, `?`, `[..]`, `**`); `-` reads paths from stdin, one a line.
    #[arg(required = true, value_name = "PATH|-")]
    paths: Vec<PathBuf>,
    /// Who goes first: `low` stands behind every request, `high` among them.
    #[arg(long, default_value = "low", value_parser = ["low", "high"])]
    priority: String,
    /// Do it in another process, and return at once.
    #[arg(short, long)]
    background: bool,
}

/// What was done.
#[derive(Default)]
struct Sum {
    files: u64,
    bytes: u64,
    failed: u64,
    named: Vec<PathBuf>,
}

impl Warm {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        if self.background {
            return elsewhere(context);
        }
        let urgent = self.priority == "high";
        let (mut shown, mut sum) = (Shown::new(context), Sum::default());
        let mut batch: Vec<Warmable> = Vec::new();
        for file in Paths::new(self.paths) {
            let file = file?;
            let is_elsewhere = batch.first().is_some_and(|first| first.device != file.device);
            if batch.len() >= BATCH || is_elsewhere {
                sum.send(&mut batch, urgent, &mut shown)?;
            }
            batch.push(file);
        }
        sum.send(&mut batch, urgent, &mut shown)?;
        drop(shown);
        sum.say(context)
    }
}

impl Sum {
    /// Has the daemon of a batch read it, turn by turn.
    fn send(&mut self, batch: &mut Vec<Warmable>, urgent: bool, shown: &mut Shown) -> Result<(), CliError> {
        let Some(first) = batch.first() else { return Ok(()) };
        let (mounted, _) = locate::reached(&first.path)?;
        let behind = Behind::of(&mounted.mountpoint)?;
        let (mut at, mut offset) = (0, 0);
        while let Some(left) = batch.get(at..).filter(|left| !left.is_empty()) {
            let mut from = offset;
            let files = left.iter().map(|file| (file.inode, std::mem::take(&mut from))).collect();
            let Warmed { done, next, bytes, failed } =
                client::warm(&behind.volume, files, urgent).map_err(|error| locate::unanswered(&behind, &error))?;
            for inode in failed {
                self.failed += 1;
                let path = left.iter().find(|file| file.inode == inode).map(|file| file.path.clone());
                self.named.extend(path.filter(|_| self.named.len() < NAMED));
            }
            if done == 0 && next <= offset && bytes == 0 {
                return Err(CliError::new(Code::NoAnswer, format!("the daemon of {} does not go on", behind.volume.display())));
            }
            self.files += done;
            self.bytes += bytes;
            at += done as usize;
            offset = next;
            shown.step(Progress { phase: "bytes", done: self.bytes, total: 0 });
        }
        batch.clear();
        Ok(())
    }

    fn say(self, context: &Context) -> Result<(), CliError> {
        let Self { files, bytes, failed, named } = self;
        if context.json {
            let named: Vec<String> = named.iter().map(|path| path.display().to_string()).collect();
            output::json(&serde_json::json!({
                "message_type": "warmed", "version": 1, "files": files, "bytes": bytes, "failed": failed, "failed_paths": named,
            }))?;
        } else {
            output::done(&format!("Read {files} file(s), {}.", human(bytes)), context)?;
        }
        match named.first() {
            None if failed == 0 => Ok(()),
            first => {
                let which = first.map(|path| format!(", {} among them", path.display())).unwrap_or_default();
                Err(CliError::new(Code::NotWarmed, format!("{failed} file(s) could not be read{which}")))
            }
        }
    }
}

/// Makes the same call in a process of its own, which no Ctrl-C reaches. Stdin is handed on: a list may come from there.
fn elsewhere(context: &Context) -> Result<(), CliError> {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe().map_err(CliError::io("cannot find this program"))?;
    let is_flag = |argument: &&std::ffi::OsString| *argument != "-b" && *argument != "--background";
    let mut command = Command::new(program);
    command.arg("--no-progress").args(context.arguments.iter().filter(is_flag));
    let child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().map_err(CliError::io("cannot start a process"))?;
    if context.json {
        return output::json(&serde_json::json!({ "message_type": "warming", "version": 1, "pid": child.id() }));
    }
    output::done(&format!("Process {} does it.", child.id()), context)
}
