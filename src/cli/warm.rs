//! `infmap warm PATH...`: reads files into the daemon's cache before somebody asks for them.
//!
//! Must be true: its reads stand behind those of everybody else, unless --priority says otherwise; memory does not grow with the number of
//! files; what can be refused is refused before another process goes on with it. Fails: with [`Code::NothingThere`], with [`Code::NotWarmed`] behind what was done, and as a daemon does.

mod paths;

use super::error::{CliError, Code};
use super::output::{self, human};
use super::progress::Shown;
use super::status::{self, Behind};
use super::{Context, locate};
use crate::backend::Progress;
use crate::control::client;
use crate::control::protocol::Warmed;
use paths::{Paths, Warmable};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

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
    /// This is that process.
    #[arg(long, hide = true)]
    background_child: bool,
}

/// Its child is called with this.
const CHILD_FLAG: &str = "--background-child";

/// What was done.
#[derive(Default)]
struct Sum {
    files: u64,
    bytes: u64,
    failed: u64,
    named: Vec<PathBuf>,
}

/// How far it is.
struct Way {
    shown: Shown,
    /// Bytes of the files of all batches that are done.
    done: u64,
    total: Total,
}

impl Warm {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        if self.background && !self.background_child {
            self.paths.iter().try_for_each(|path| refuse_now(path))?;
            return elsewhere(&context.call_again("warm", CHILD_FLAG), context);
        }
        let urgent = self.priority == "high";
        let mut way = Way { shown: Shown::new(context), done: 0, total: Total::of(&self.paths, context) };
        let (mut sum, mut batch) = (Sum::default(), Vec::new());
        for file in Paths::new(self.paths) {
            let file = file?;
            let is_elsewhere = batch.first().is_some_and(|first: &Warmable| first.device != file.device);
            if batch.len() >= BATCH || is_elsewhere {
                sum.send(&batch, urgent, &mut way)?;
                batch.clear();
            }
            batch.push(file);
        }
        sum.send(&batch, urgent, &mut way)?;
        drop(way);
        sum.say(context)
    }
}

impl Sum {
    /// Has the daemon of a batch read it, turn by turn.
    fn send(&mut self, batch: &[Warmable], urgent: bool, way: &mut Way) -> Result<(), CliError> {
        let Some(first) = batch.first() else { return Ok(()) };
        // By its device: the file itself may be gone by now.
        let behind = Behind::of(&locate::mount_of(first.device, &first.path)?.mountpoint)?;
        let (mut at, mut offset, mut unread) = (0, 0, BTreeSet::new());
        while let Some(left) = batch.get(at..).filter(|left| !left.is_empty()) {
            let mut from = offset;
            let files = left.iter().map(|file| (file.inode, std::mem::take(&mut from))).collect();
            let Warmed { done, next, bytes, failed } =
                client::warm(&behind.volume, files, urgent).map_err(|error| locate::unanswered(&behind, &error))?;
            if done == 0 && next <= offset && bytes == 0 {
                return Err(CliError::new(Code::NoAnswer, format!("the daemon of {} does not go on", behind.volume.display())));
            }
            // One that is read in many turns may fail in each.
            unread.extend(failed);
            self.bytes += bytes;
            at += done as usize;
            offset = next;
            let behind_us: u64 = batch.iter().take(at).map(|file| file.size).sum();
            way.shown.step(Progress { phase: "bytes", done: way.done + behind_us + offset, total: way.total.known() });
        }
        way.done += batch.iter().map(|file| file.size).sum::<u64>();
        self.count(batch, &unread);
        Ok(())
    }

    /// Counts the files of a batch; one that is not there any more is passed over, as the walk does.
    fn count(&mut self, batch: &[Warmable], unread: &BTreeSet<u64>) {
        for Warmable { path, inode, .. } in batch {
            let is_gone = || fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
            match unread.contains(inode) {
                false => self.files += 1,
                true if is_gone() => {}
                true => {
                    self.failed += 1;
                    self.named.extend((self.named.len() < NAMED).then(|| path.clone()));
                }
            }
        }
    }

    fn say(self, context: &Context) -> Result<(), CliError> {
        let Self { files, bytes, failed, named } = self;
        if context.json {
            let named: Vec<String> = named.iter().map(|path| path.display().to_string()).collect();
            output::json("warmed", &serde_json::json!({ "files": files, "bytes": bytes, "failed": failed, "failed_paths": named }))?;
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

/// Bytes of all files that are meant, which a walk of its own sums up while the first are read. A list on stdin has no second reader.
struct Total(Option<JoinHandle<u64>>, u64);

impl Total {
    fn of(paths: &[PathBuf], context: &Context) -> Self {
        let is_wanted = !context.no_progress && !paths.iter().any(|path| path.as_os_str() == "-");
        let paths = paths.to_vec();
        let sum = move || Paths::new(paths).filter_map(Result::ok).map(|file| file.size).sum();
        Self(is_wanted.then(|| std::thread::spawn(sum)), 0)
    }

    /// 0: not yet.
    fn known(&mut self) -> u64 {
        if let Some(walk) = self.0.take_if(|walk| walk.is_finished()) {
            self.1 = walk.join().unwrap_or_default();
        }
        self.1
    }
}

/// Fails as the work itself would at its beginning: for what is not there, is in no mount, or in one that does not answer.
fn refuse_now(path: &Path) -> Result<(), CliError> {
    if path.as_os_str() == "-" {
        return Ok(());
    }
    let Some(file) = Paths::new(vec![path.to_path_buf()]).next().transpose()? else { return Ok(()) };
    status::ask(&locate::mount_of(file.device, &file.path)?.mountpoint).map(drop)
}

/// Makes this call in a process of its own, which no Ctrl-C reaches. Stdin is handed on: a list may come from there.
fn elsewhere(arguments: &[OsString], context: &Context) -> Result<(), CliError> {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe().map_err(CliError::io("cannot find this program"))?;
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let child = command.spawn().map_err(CliError::io("cannot start a process"))?;
    if context.json {
        return output::json("warming", &serde_json::json!({ "pid": child.id() }));
    }
    output::done(&format!("Process {} does it.", child.id()), context)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Meant to fail when what could not be read was counted as read too, and a file of many turns once for each.
    #[test]
    fn a_file_was_read_or_it_was_not_and_one_that_is_gone_is_neither() {
        let temp = tempfile::tempdir().expect("a directory");
        let batch: Vec<Warmable> = (1..=4)
            .map(|inode| Warmable { path: temp.path().join(inode.to_string()), device: 1, inode, size: 1 })
            .inspect(|file| fs::write(&file.path, "x").expect("written"))
            .collect();
        fs::remove_file(&batch[3].path).expect("removed");
        let mut sum = Sum::default();
        sum.count(&batch, &[2, 4, 2, 2].into());
        assert_eq!((sum.files, sum.failed, sum.named), (2, 1, vec![batch[1].path.clone()]));
    }
}
