//! `infmap doctor --drill`: disasters in a volume of its own, step by step, and what one would type.
//!
//! Owns: the list of steps, and the temporary directory in which all of them happen. A step is a line of [`STEPS`]: a title and a function
//! that does it, or says what was not as promised; it may use what the steps before have left. Must be true: DRL-1 nothing outside of that
//! directory is touched, and nothing is left: it is taken away however the drill ends; DRL-2 the calls that are shown are those that are
//! made. Fails: with [`Code::DrillFailed`], and the step.

use super::super::error::{CliError, Code};
use super::super::output::text_line;
use super::super::{Context, output};
use crate::mount::{lock, unmount};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes that parity restores wherever they lie, and bytes that it does not.
const COVERED_BYTES: usize = 64 << 10;
const BEYOND_BYTES: usize = 600 << 10;
/// Files of the tree, and bytes of the largest.
const FILES: u32 = 60;
const LARGE_BYTES: usize = 6 << 20;
/// How long a daemon that was killed is given to end.
const KILLED_BY: Duration = Duration::from_secs(10);

/// What a step says when all was as promised; else what was not.
type Done = Result<String, String>;

/// What is shown of it, and what it does.
type Step = (&'static str, fn(&mut Drill) -> Done);

const STEPS: &[Step] = &[
    ("Make a volume, and write a tree into it", write_tree),
    ("Check it", check_whole),
    ("Damage an image, less than its parity covers: nobody notices, but everybody is told", damage_covered),
    ("Repair it: the image is as it was written, to the byte", repair_image),
    ("Delete the log of a volume that was unmounted: the images alone are the volume", delete_log),
    ("Kill the daemon behind an fsync: what was promised is there", kill_daemon),
    (
        "Kill it again and delete the log, which is all that held the newest promise: that is told, and the rest is there",
        kill_and_delete_log,
    ),
    ("Make a volume of the images alone: it holds the same", recover_images),
    ("Damage an image beyond its parity: an error for what is hit, never a wrong byte", damage_beyond),
];

/// Runs all steps in a new directory below `place`.
pub fn run(place: PathBuf, context: &Context) -> Result<(), CliError> {
    let mut drill = Drill::new(&place, context.json).map_err(CliError::io(format!("cannot work in {}", place.display())))?;
    for (number, (title, step)) in STEPS.iter().enumerate() {
        let number = number + 1;
        let done = step(&mut drill);
        say(context, number, title, &std::mem::take(&mut drill.calls), &done)?;
        if let Err(why) = done {
            return Err(CliError::new(Code::DrillFailed, format!("step {number}, {title}: {why}")));
        }
    }
    drill.clear().map_err(|why| CliError::new(Code::DrillFailed, format!("cleaning up: {why}")))?;
    if context.json { Ok(()) } else { output::done("Everything is as promised. The directory of the drill is gone.", context) }
}

fn say(context: &Context, number: usize, title: &str, calls: &[String], done: &Done) -> Result<(), CliError> {
    let (is_good, text) = match done {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    };
    if context.json {
        return output::json(
            "step",
            &serde_json::json!({
                "number": number, "title": title, "calls": calls, "ok": is_good, "found": text,
            }),
        );
    }
    // A step that went well is a word on success.
    if context.quiet && is_good {
        return Ok(());
    }
    let calls: String = calls.iter().map(|call| format!("\n   $ {call}")).collect();
    text_line(&format!("{number}. {title}{calls}\n   {}: {text}\n", if is_good { "As promised" } else { "NOT AS PROMISED" }))
}

struct Drill {
    dir: PathBuf,
    program: PathBuf,
    /// What was typed in this step.
    calls: Vec<String>,
    /// An image that was damaged within its parity, and its bytes before.
    damaged: Option<(PathBuf, Vec<u8>)>,
    /// A signal asked for the end: no further call is made, and all is taken away.
    is_ended: Arc<AtomicBool>,
    says_json: bool,
}

impl Drill {
    fn new(place: &Path, says_json: bool) -> io::Result<Self> {
        let place = place.canonicalize()?;
        let is_ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&is_ended))?;
        }
        let dir = place.join(format!("infmap-drill-{}", std::process::id()));
        // A directory of that name is somebody's.
        DirBuilder::new().mode(0o700).create(&dir)?;
        fs::create_dir(dir.join("mnt"))?;
        Ok(Self { dir, program: std::env::current_exe()?, calls: Vec::new(), damaged: None, is_ended, says_json })
    }

    fn volume(&self) -> PathBuf {
        self.dir.join("drill.map")
    }

    fn mountpoint(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    /// Calls this program with `VOLUME` and `DIR` filled in, and requires one of these exit codes.
    fn call(&mut self, words: &str, codes: &[i32]) -> Result<Output, String> {
        self.calls.push(format!("infmap {words}"));
        let fill = |word: &str| match word {
            "VOLUME" => self.volume().into_os_string(),
            "VOLUME/map" => self.volume().join("map").into_os_string(),
            "AGAIN" => self.dir.join("again.map").into_os_string(),
            "DIR" => self.mountpoint().into_os_string(),
            word => word.into(),
        };
        let mut command = Command::new(&self.program);
        // The settings of whoever calls are not what is tried here.
        command.args(words.split(' ').map(fill)).env("XDG_CONFIG_HOME", &self.dir).current_dir(&self.dir).stdin(Stdio::null());
        let is_ended = || self.is_ended.load(Ordering::Relaxed).then(|| "a signal ended the drill".to_string());
        is_ended().map_or(Ok(()), Err)?;
        let output = command.output().map_err(|error| format!("infmap {words} cannot be started: {error}"))?;
        is_ended().map_or(Ok(()), Err)?;
        match output.status.code() {
            Some(code) if codes.contains(&code) => Ok(output),
            _ => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
                Err(format!("`infmap {words}` ended with {} and not with {codes:?}: {said}", output.status))
            }
        }
    }

    fn mount(&mut self, options: &str) -> Result<(), String> {
        self.call(&format!("mount -d{options} VOLUME DIR"), &[0]).map(drop)
    }

    fn umount(&mut self) -> Result<(), String> {
        self.call("umount DIR", &[0]).map(drop)
    }

    /// Compares the tree with what was written: files that are whole, and files that gave an error. Anything else is a broken promise.
    fn compare(&self) -> Result<(u32, u32), String> {
        let (mut whole, mut refused) = (0, 0);
        for number in 0..FILES {
            match read(&self.mountpoint().join(name(number))) {
                Ok(found) if found == content(number) => whole += 1,
                Ok(_) => return Err(format!("{} holds other bytes than were written", name(number))),
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => refused += 1,
                Err(error) => return Err(format!("{}: {error}", name(number))),
            }
        }
        Ok((whole, refused))
    }

    fn all_whole(&self) -> Result<(), String> {
        match self.compare()? {
            (_, 0) => Ok(()),
            (whole, refused) => Err(format!("{refused} files cannot be read, {whole} can")),
        }
    }

    /// Ends the daemon without warning.
    fn kill(&mut self) -> Result<(), String> {
        self.calls.push("kill -9 $(sed -n 's/^pid //p' VOLUME/lock)".into());
        let owner = lock::held(&self.volume()).map_err(|error| error.to_string())?;
        let pid = owner.and_then(|owner| owner.pid).and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or("no daemon has the volume")?;
        kill_process(pid, Signal::KILL).map_err(|error| format!("the daemon cannot be killed: {error}"))?;
        // Its memory goes first, and the lock after that.
        let deadline = Instant::now() + KILLED_BY;
        while lock::held(&self.volume()).map_err(|error| error.to_string())?.is_some() {
            if Instant::now() >= deadline {
                return Err("the daemon was killed and does not end".into());
            }
            std::thread::sleep(lock::LOOK_AGAIN);
        }
        Ok(())
    }

    /// The images, the largest first: those are full of bytes of files.
    fn images(&self) -> Result<Vec<PathBuf>, String> {
        let mut found = Vec::new();
        let failed = |error: io::Error| format!("the images cannot be listed: {error}");
        for block in fs::read_dir(self.volume().join("map")).map_err(failed)? {
            for image in fs::read_dir(block.map_err(failed)?.path()).map_err(failed)? {
                let path = image.map_err(failed)?.path();
                found.push((fs::metadata(&path).map_err(failed)?.len(), path));
            }
        }
        found.sort_by(|a, b| b.cmp(a));
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }

    fn delete_log(&mut self) -> Result<(), String> {
        self.calls.push("rm VOLUME/wal/*".into());
        let failed = |error: io::Error| format!("the log cannot be deleted: {error}");
        for segment in fs::read_dir(self.volume().join("wal")).map_err(failed)? {
            fs::remove_file(segment.map_err(failed)?.path()).map_err(failed)?;
        }
        Ok(())
    }

    /// Takes away everything that was made.
    fn clear(&mut self) -> Result<(), String> {
        let mountpoint = self.mountpoint();
        if crate::mount::mountinfo::find(&mountpoint).is_ok_and(|found| found.is_some()) {
            unmount::unmount(&mountpoint, true).map_err(|error| error.to_string())?;
        }
        // The daemon of a mount that was taken away so writes into the volume until it has ended.
        let deadline = Instant::now() + KILLED_BY;
        while matches!(lock::held(&self.volume()), Ok(Some(_))) && Instant::now() < deadline {
            std::thread::sleep(lock::LOOK_AGAIN);
        }
        // What is mounted there would be emptied.
        if !matches!(crate::mount::mountinfo::find(&mountpoint), Ok(None)) {
            return Err(format!("{} is still mounted", mountpoint.display()));
        }
        fs::remove_dir_all(&self.dir).or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error.to_string()) })
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        if let Err(why) = self.clear() {
            let message = format!("the directory {} was left behind: {why}", self.dir.display());
            if self.says_json { output::say_json("note", &serde_json::json!({ "message": message })) } else { output::say(&message) }
        }
    }
}

fn name(number: u32) -> String {
    format!("file-{number:02}")
}

/// Some small, most of some kilobytes, one large; half of them text, half noise.
fn content(number: u32) -> Vec<u8> {
    let length = match number {
        0 => LARGE_BYTES,
        number if number % 5 == 1 => 200,
        number => 20_000 + 700 * number as usize,
    };
    let mut state = 0x9e37_79b9_u64 + u64::from(number);
    // xorshift64 (Marsaglia, 2003).
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let text = format!("line of file {number}\n");
    match number % 2 {
        0 => std::iter::repeat_with(&mut noise).flatten().take(length).collect(),
        _ => text.bytes().cycle().take(length).collect(),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let written = fs::write(path, bytes).and_then(|()| File::open(path)?.sync_all());
    written.map_err(|error| format!("{}: {error}", path.display()))
}

/// Turns bytes in the middle of an image.
fn damage(image: &Path, length: usize) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", image.display());
    let file = File::options().read(true).write(true).open(image).map_err(failed)?;
    let mut bytes = vec![0; length];
    let at = file.metadata().map_err(failed)?.len() / 3;
    file.read_exact_at(&mut bytes, at).map_err(failed)?;
    bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
    file.write_all_at(&bytes, at).map_err(failed)
}

fn write_tree(drill: &mut Drill) -> Done {
    drill.call("init VOLUME", &[0])?;
    drill.mount("")?;
    for number in 0..FILES {
        write(&drill.mountpoint().join(name(number)), &content(number))?;
    }
    drill.all_whole()?;
    drill.umount()?;
    Ok(format!("{FILES} files in {} images", drill.images()?.len()))
}

fn check_whole(drill: &mut Drill) -> Done {
    let output = drill.call("check VOLUME", &[0])?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

fn damage_covered(drill: &mut Drill) -> Done {
    let image = drill.images()?.into_iter().next().ok_or("there is no image")?;
    let before = read(&image).map_err(|error| format!("{}: {error}", image.display()))?;
    damage(&image, COVERED_BYTES)?;
    drill.calls.push(format!("# {} KiB of {} are turned", COVERED_BYTES >> 10, image.display()));
    drill.damaged = Some((image, before));
    drill.call("check VOLUME", &[4])?;
    drill.mount(" -o ro")?;
    drill.all_whole()?;
    let output = drill.call("status DIR", &[0, 7])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let saved = said.lines().find(|line| line.starts_with("damage")).unwrap_or("damage unknown").to_string();
    if saved.contains(" 0 saved by parity") {
        return Err(format!("nothing was restored, although an image is damaged: {saved}"));
    }
    drill.umount()?;
    Ok(format!("check names the image, and all {FILES} files are whole; {saved}"))
}

fn repair_image(drill: &mut Drill) -> Done {
    drill.call("repair VOLUME", &[4])?;
    let (image, before) = drill.damaged.as_ref().ok_or("no image was damaged")?;
    let after = read(image).map_err(|error| format!("{}: {error}", image.display()))?;
    if after != *before {
        return Err(format!("{} holds other bytes than before", image.display()));
    }
    drill.call("check VOLUME", &[0])?;
    Ok("the image is the same file again, and check finds nothing".into())
}

fn delete_log(drill: &mut Drill) -> Done {
    drill.delete_log()?;
    drill.mount("")?;
    drill.all_whole()?;
    drill.umount()?;
    Ok(format!("all {FILES} files are whole"))
}

fn kill_daemon(drill: &mut Drill) -> Done {
    let promised = drill.mountpoint().join("promised");
    drill.mount("")?;
    write(&promised, b"what fsync has answered")?;
    drill.kill()?;
    drill.mount("")?;
    let found = read(&promised).map_err(|error| format!("what was promised cannot be read: {error}"))?;
    if found != b"what fsync has answered" {
        return Err("what was promised holds other bytes".into());
    }
    drill.all_whole()?;
    drill.umount()?;
    Ok("what was synced before the kill is there, and so is the rest".into())
}

fn kill_and_delete_log(drill: &mut Drill) -> Done {
    drill.mount("")?;
    write(&drill.mountpoint().join("newest"), b"this stands in the log alone")?;
    drill.kill()?;
    drill.calls.push("umount -l DIR".into());
    unmount::unmount(&drill.mountpoint(), true).map_err(|error| error.to_string())?;
    drill.delete_log()?;
    let output = drill.call("check VOLUME", &[3])?;
    if !String::from_utf8_lossy(&output.stdout).contains("REC-6") {
        return Err("check does not say that the log is gone".into());
    }
    drill.mount("")?;
    drill.all_whole()?;
    let kept = read(&drill.mountpoint().join("newest")).is_ok();
    drill.umount()?;
    Ok(format!("check says so (REC-6), the older files are whole, and the newest {}", if kept { "too" } else { "is lost, as documented" }))
}

fn recover_images(drill: &mut Drill) -> Done {
    drill.call("recover VOLUME/map AGAIN", &[0])?;
    drill.call("check AGAIN", &[0])?;
    drill.call("mount -d -o ro AGAIN DIR", &[0])?;
    drill.all_whole()?;
    drill.umount()?;
    Ok(format!("all {FILES} files are whole in it"))
}

fn damage_beyond(drill: &mut Drill) -> Done {
    let damaged = drill.damaged.take().map(|(image, _)| image);
    let image = drill.images()?.into_iter().find(|image| Some(image) != damaged.as_ref()).ok_or("there is no second image")?;
    damage(&image, BEYOND_BYTES)?;
    drill.calls.push(format!("# {} KiB of {} are turned", BEYOND_BYTES >> 10, image.display()));
    drill.call("check VOLUME", &[3])?;
    drill.mount(" -o ro")?;
    let (whole, refused) = drill.compare()?;
    if refused == 0 {
        return Err("no file gives an error, although more is damaged than parity covers".into());
    }
    drill.call("umount DIR", &[0])?;
    Ok(format!("{whole} files are whole, {refused} give EIO, none holds a wrong byte; `infmap check` names what is to come from a backup"))
}
