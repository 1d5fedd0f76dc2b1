//! What goes into the archive, piece by piece.
//!
//! Owns: the list of pieces, and what takes names out of them. Must be true: DBG-1, DBG-2. Fails: never; what cannot be had says why.

use super::super::config;
use super::super::settings::{self, SettingsArguments};
use crate::backend;
use crate::config::show;
use crate::control::client;
use crate::control::protocol::Status;
use crate::mount::daemon::LOG;
use crate::mount::lock;
use crate::mount::mountinfo::Mounted;
use infmap_storage::device::{Access, Device, FileDevice, HostDirectory, Kind};
use infmap_storage::limits::FORMAT_VERSION;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of the end of the daemon's messages.
const LOG_BYTES: u64 = 1 << 20;

pub struct Source {
    pub volume: PathBuf,
    /// All mounts of ours.
    pub mounts: Vec<Mounted>,
}

/// A file of the archive.
pub struct Piece {
    pub name: &'static str,
    pub text: String,
    /// It says why it is not what it should be.
    pub is_missing: bool,
}

impl Piece {
    fn of(name: &'static str, text: Result<String, String>) -> Self {
        let is_missing = text.is_err();
        Self { name, text: text.unwrap_or_else(|why| format!("could not be had: {why}\n")), is_missing }
    }
}

/// Everything.
pub fn all(source: &Source, with_names: bool) -> Vec<Piece> {
    let volume = source.volume.as_path();
    let status = client::status(volume);
    let owner = lock::held(volume).ok().flatten();
    let pid = status.as_ref().ok().map(|status| status.pid).or(owner.as_ref().and_then(|owner| owner.pid));
    let shown = status.map(|status| if with_names { status } else { without_names(status) });
    let shown = shown.map_err(|error| error.to_string()).and_then(|status| json(&status));
    let is_mounted = shown.is_ok();
    let mut pieces = vec![
        Piece::of("about.txt", Ok(about(source, with_names))),
        Piece::of("status.json", shown),
        Piece::of("metrics.txt", client::metrics(volume).map_err(|error| error.to_string())),
        Piece::of("caches.json", client::caches(volume).map_err(|error| error.to_string()).and_then(|tiers| json(&tiers))),
        Piece::of("config.yaml", settings_of(volume, is_mounted)),
        Piece::of("info.json", backend::facts(volume).map_err(|error| error.to_string()).and_then(|facts| json(&facts))),
        Piece::of("threads.txt", pid.ok_or_else(|| "no process has it".into()).and_then(threads)),
        Piece::of("limits.txt", pid.ok_or_else(|| "no process has it".into()).and_then(|pid| read(&format!("/proc/{pid}/limits")))),
        Piece::of("process.txt", pid.ok_or_else(|| "no process has it".into()).and_then(|pid| read(&format!("/proc/{pid}/status")))),
        Piece::of("memory.txt", read("/proc/meminfo")),
        Piece::of("mounts.txt", Ok(mounts(source))),
        Piece::of("images.txt", images(volume)),
        Piece::of("daemon.log", log(volume).map(|text| if with_names { text } else { plain_messages(&text, source) })),
    ];
    if with_names {
        pieces.push(Piece::of("damage.json", client::damage(volume).map_err(|error| error.to_string()).and_then(|damage| json(&damage))));
    }
    pieces
}

/// The settings, with where each came from: of the mount, or what the next one would have that whoever makes the archive begins.
fn settings_of(volume: &Path, is_mounted: bool) -> Result<String, String> {
    let (from, rows) = if is_mounted {
        ("in force, as the daemon says", config::in_force(volume).map_err(|error| error.to_string())?)
    } else {
        let loaded = settings::load(&SettingsArguments::default(), Some(volume), &[]).map_err(|error| error.message)?;
        ("not mounted, or no answer: as a mount would read them with the files and variables of this call", show::rows(&loaded))
    };
    Ok(format!("# {from}\n{}", show::yaml(&rows, true)))
}

fn json(value: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| error.to_string())
}

fn read(path: &str) -> Result<String, String> {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| format!("{path}: {error}"))
}

fn about(source: &Source, with_names: bool) -> String {
    let system = rustix::system::uname();
    let names = if with_names { "with names and paths of files of the volume" } else { "without names and paths of files of the volume" };
    format!(
        "infmap {}, format {FORMAT_VERSION}\n{} {} {} {}\nvolume {}\nmade {names}\n",
        env!("CARGO_PKG_VERSION"),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        system.version().to_string_lossy(),
        system.machine().to_string_lossy(),
        source.volume.display()
    )
}

/// What somebody scrubs by path is the one name that a status has.
fn without_names(mut status: Status) -> Status {
    for run in [&mut status.scrub.run, &mut status.scrub.last].into_iter().flatten() {
        if run.path.is_some() || run.path_hex.is_some() {
            (run.path, run.path_hex) = (Some(LEFT_OUT.into()), None);
        }
    }
    status
}

const LEFT_OUT: &str = "<name>";

/// A table of the threads of a process: what each is called, whether it runs, and what it waits for in the kernel.
fn threads(pid: u32) -> Result<String, String> {
    let mut out = format!("{:>8}  {:<16} {:<14} {:>10}  waits in\n", "thread", "name", "state", "switches");
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
    for task in tasks.flatten() {
        let dir = task.path();
        let text = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
        let status = text("status");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_string();
        let (name, state, switches) = (text("comm"), field("State:"), field("voluntary_ctxt_switches:"));
        out += &format!("{:>8}  {:<16} {state:<14} {switches:>10}  {}\n", task.file_name().display(), name.trim(), text("wchan"));
        // For root alone.
        out.extend(text("stack").lines().map(|line| format!("          {line}\n")));
    }
    Ok(out)
}

fn mounts(source: &Source) -> String {
    let line = |mounted: &Mounted| {
        let Mounted { id, device, mountpoint, options, fs_type, source, .. } = mounted;
        format!("{id} {}:{} {} {fs_type} {} {options}\n", device.0, device.1, mountpoint.display(), source.display())
    };
    if source.mounts.is_empty() { "nothing is mounted\n".into() } else { source.mounts.iter().map(line).collect() }
}

/// The images by name, which says place and generation, with their sizes; and the files of the log.
fn images(volume: &Path) -> Result<String, String> {
    let mut out = String::new();
    let device = FileDevice::new(volume).map_err(|error| error.to_string())?;
    let mut todo: Vec<String> = ["wal", "spare", "map"].map(String::from).into();
    while let Some(dir) = todo.pop() {
        for entry in device.list(&dir).map_err(|error| error.to_string())? {
            let path = format!("{dir}/{}", entry.name);
            match entry.kind {
                Kind::Directory => todo.push(path),
                Kind::File => out += &format!("{:>12} {path}\n", entry.size_bytes),
                Kind::Other => out += &format!("{:>12} {path}\n", "no file"),
            }
        }
    }
    Ok(out)
}

fn log(volume: &Path) -> Result<String, String> {
    let path = volume.join(LOG);
    let end = || {
        let mut file = File::from(HostDirectory::open(volume)?.file(LOG, Access::Read)?);
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    end().map_err(|error| format!("{}: {error} (a mount in the foreground says what it has to say where it was started)", path.display()))
}

/// Messages without what could be a path in the volume: a word with a slash that is no path which everybody may know, and, as names may hold
/// blanks, what stands behind it in its line.
fn plain_messages(text: &str, source: &Source) -> String {
    let mut known: Vec<String> = vec![source.volume.display().to_string()];
    known.extend(source.mounts.iter().map(|mounted| mounted.mountpoint.display().to_string()));
    let is_known = |word: &str, slash: usize| {
        let bare = word.get(slash..).unwrap_or("").trim_end_matches(['.', ',', ':', ';', ')', '"', '\'']);
        let is_of_machine = ["/proc/", "/dev/", "/sys/", "/etc/"].iter().any(|dir| bare.starts_with(dir));
        is_of_machine || is_of_volume(word) || known.iter().any(|known| known == bare)
    };
    let line = |line: &str| {
        let mut out = String::new();
        for word in line.split_inclusive(' ') {
            match word.find('/') {
                Some(slash) if !is_known(word.trim_end(), slash) => {
                    out += word.get(..slash).unwrap_or("");
                    return out + LEFT_OUT + " ...\n";
                }
                _ => out += word,
            }
        }
        out + "\n"
    };
    text.lines().map(line).collect()
}

/// A path of the volume's own files: `map/0_0/0_0.2.png`, `wal/3.seg`, `run/daemon.log`.
fn is_of_volume(word: &str) -> bool {
    ["map/", "wal/", "spare/", "run/"].iter().any(|dir| word.trim_start_matches(['(', '"', '`']).starts_with(dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{ScrubRun, ScrubSummary};
    use crate::mount::mountinfo;

    #[test]
    fn messages_keep_what_everybody_may_know_and_no_path_of_a_file() {
        let mounts = mountinfo::parse(b"36 35 0:52 / /mnt/a rw - fuse.infmap x rw\n");
        let source = Source { volume: "/v/my.map".into(), mounts };
        let text = "INFO mounted mountpoint=/mnt/a volume=/v/my.map\nWARN /secret/plan.txt: bytes 0 to 1 are lost: map/0_0/0_0.2.png\n\
                    ERROR see /proc/self/status. And /mnt/a/secret/my plan.txt, or secret/plan.txt.\n";
        let shown = plain_messages(text, &source);
        assert!(!shown.contains("plan") && !shown.contains("secret"), "{shown}");
        for kept in ["mountpoint=/mnt/a volume=/v/my.map", "/proc/self/status. And <name> ...", "WARN <name> ..."] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }

    #[test]
    fn a_status_without_names_has_no_path_of_a_scrub() {
        let run = ScrubRun { path: Some("secret".into()), path_hex: Some("736563726574".into()), ..ScrubRun::default() };
        let status = Status { scrub: ScrubSummary { run: Some(run), last: None }, ..Status::default() };
        let text = json(&without_names(status)).expect("JSON");
        assert!(!text.contains("secret") && !text.contains("736563") && text.contains(LEFT_OUT), "{text}");
    }

    #[test]
    fn this_process_has_a_table_of_threads() {
        let table = threads(std::process::id()).expect("read");
        assert!(table.lines().count() > 1 && table.contains("state"), "{table}");
        assert!(threads(u32::MAX).is_err());
    }
}
