//! What the tests on a real mount share: a volume in a temporary directory, and a daemon that is this test's own child.
//!
//! Owns: `Volume`, `Mount`, `Listener`, `run`, `until`, `Numbers`. Must be true: a mount that a test leaves behind is detached, and only the child that was
//! started here is killed, by its own handle; nothing sleeps: a mount is ready when the daemon says so. Fails: by panic, with
//! what the daemon said.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const INFMAP: &str = env!("CARGO_BIN_EXE_infmap");
pub const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

/// Whether a mount is possible here; if not, says why, and the test ends without a result.
#[must_use]
pub fn can_mount() -> bool {
    match fs::File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) => true,
        Err(error) => {
            eprintln!("skipped: /dev/fuse cannot be opened: {error}");
            false
        }
    }
}

/// Whether a program is there; if not, says what is left out.
#[must_use]
pub fn has(program: &str, left_out: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: {program} is missing (scripts/setup test programs installs it): {left_out}");
    }
    found
}

/// The program without the settings of whoever runs the tests.
#[must_use]
pub fn infmap() -> Command {
    let mut command = Command::new(INFMAP);
    command.env("XDG_CONFIG_HOME", "/nonexistent").env_remove("INFMAP__MEMORY__BUDGET");
    // Many tests mount at the same time.
    command.env("INFMAP__HTTP__LISTEN", "127.0.0.1:0");
    command
}

/// A number from the environment: how often a test is to do what it does.
#[must_use]
pub fn rounds(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |rounds| rounds.parse().unwrap_or_else(|_| panic!("{variable} is no number: {rounds}")))
}

/// Runs to the end and requires success; returns what it printed.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?} ends with {status}\n{}\n{}", tail(&out), tail(&err));
    out
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// A volume and a mountpoint beside it, both gone at the end.
pub struct Volume {
    temp: tempfile::TempDir,
    name: OsString,
}

impl Volume {
    /// A new, empty volume; `None`, with the reason on stderr, where it could not be mounted.
    #[must_use]
    pub fn if_mountable() -> Option<Self> {
        can_mount().then(Self::new)
    }

    /// A new, empty volume.
    #[must_use]
    pub fn new() -> Self {
        Self::named("my.map")
    }

    /// The same in a directory of this name; that of the mountpoint begins with it.
    #[must_use]
    pub fn named(name: impl Into<OsString>) -> Self {
        let temp = tempfile::Builder::new().prefix("infmap-proof-").tempdir().expect("a directory");
        let volume = Self { temp, name: name.into() };
        run(infmap().arg("init").arg("--").arg(volume.path()));
        fs::create_dir(volume.mountpoint()).expect("a mountpoint");
        volume
    }

    /// The directory of the volume.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.temp.path().join(&self.name)
    }

    #[must_use]
    pub fn mountpoint(&self) -> PathBuf {
        let mut name = self.name.clone();
        name.push(".mnt");
        self.temp.path().join(name)
    }

    /// A path outside of volume and mount, on the disk that holds the volume.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Mounts it and returns when the mount answers.
    #[must_use]
    pub fn mount(&self) -> Mount {
        self.mount_with(&[])
    }

    /// As [`Self::mount`], with arguments of `infmap mount`.
    #[must_use]
    pub fn mount_with(&self, arguments: &[&str]) -> Mount {
        Mount::start(&self.path(), &self.mountpoint(), arguments)
    }

    /// Requires that `infmap check` finds nothing.
    pub fn check(&self) {
        let output = infmap().arg("check").arg(self.path()).output().expect("infmap check starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "check ends with {}\n{}\n{text}", output.status, String::from_utf8_lossy(&output.stderr));
    }

    /// The region images, in order of their names.
    #[must_use]
    pub fn images(&self) -> Vec<PathBuf> {
        let mut images: Vec<PathBuf> =
            walk(&self.path().join("map")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "png")).collect();
        images.sort();
        images
    }
}

/// Looks until it is so, where nobody sends a word when it comes about; not longer than two minutes.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} does not happen");
        // Whoever makes it so wants the processor.
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// All paths below a directory, links not followed, in order.
#[must_use]
pub fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                left.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// What a child says on its stderr, kept as it comes.
pub struct Listener {
    said: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Begins to listen. A message comes with each line that holds `ready`; that no more can come is noticed when the child ends.
    #[must_use]
    pub fn new(stderr: ChildStderr, ready: &'static str) -> (Self, mpsc::Receiver<()>) {
        let said = Arc::new(Mutex::new(String::new()));
        let (is_ready, messages) = mpsc::channel();
        let thread = std::thread::spawn({
            let said = said.clone();
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    if line.contains(ready) {
                        let _ = is_ready.send(());
                    }
                    let mut said = said.lock().expect("no panic");
                    said.push_str(&line);
                    said.push('\n');
                }
            }
        });
        (Self { said, thread: Some(thread) }, messages)
    }

    /// All that was said so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }

    /// Waits for the last word.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the listener does not panic");
        }
    }
}

/// What must be equal of a path, beside the bytes.
#[must_use]
pub fn facts(path: &Path) -> String {
    let meta = path.symlink_metadata().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let target = meta.is_symlink().then(|| fs::read_link(path).expect("a target"));
    // A directory's size is the filesystem's own affair.
    let size = if meta.is_dir() { 0 } else { meta.size() };
    let links = if meta.is_dir() { 0 } else { meta.nlink() };
    let owner = (meta.uid(), meta.gid());
    format!("{:o} {owner:?} {size} bytes, {links} links, {}.{:09} {target:?}", meta.mode(), meta.mtime(), meta.mtime_nsec())
}

/// Requires two trees to be equal in names and facts, and all files in bytes. Returns the number of paths.
pub fn compare(expected: &Path, actual: &Path) -> usize {
    let below = |root: &Path| walk(root).into_iter().map(|path| path.strip_prefix(root).expect("below").to_path_buf()).collect::<Vec<_>>();
    let names = below(expected);
    assert_eq!(names, below(actual), "the names differ");
    let wrong: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let (is, should) = (facts(&actual.join(name)), facts(&expected.join(name)));
            (is != should).then(|| format!("{}: {is} instead of {should}", name.display()))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} paths differ:\n{}", wrong.len(), names.len(), wrong[..wrong.len().min(20)].join("\n"));
    names.len()
}

/// A mount whose daemon is a child of this process.
pub struct Mount {
    child: Child,
    dir: PathBuf,
    listener: Listener,
    ended: bool,
}

impl Mount {
    /// Mounts the volume at `path` and returns when the mount answers.
    #[must_use]
    pub fn start(path: &Path, mountpoint: &Path, arguments: &[&str]) -> Self {
        Self::run(infmap().arg("mount").arg("--foreground").args(arguments).arg(path).arg(mountpoint), mountpoint)
    }

    /// Runs this call of `infmap mount --foreground`.
    #[must_use]
    pub fn run(command: &mut Command, mountpoint: &Path) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("infmap mount starts");
        let (listener, is_ready) = Listener::new(child.stderr.take().expect("piped"), "mounted; Ctrl-C unmounts");
        let mount = Self { child, dir: mountpoint.into(), listener, ended: false };
        // The sender goes with the daemon's stderr, so a daemon that ends is noticed at once.
        let answers = is_ready.recv_timeout(Duration::from_secs(120)).is_ok();
        assert!(answers, "the mount does not answer:\n{}", mount.said());
        mount
    }

    /// Where it is mounted.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the daemon has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.listener.said()
    }

    /// A line of `/proc/PID/status` in KiB: `VmRSS`, `VmHWM`.
    #[must_use]
    pub fn memory_kib(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the daemon lives");
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).expect("the kernel says it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// `infmap umount`: requires that it succeeds, and that the daemon ends well.
    pub fn unmount(mut self) {
        let output = infmap().arg("umount").arg(&self.dir).output().expect("infmap umount starts");
        assert!(output.status.success(), "umount: {}\n{}", String::from_utf8_lossy(&output.stderr), self.said());
        let status = self.join();
        assert!(status.success(), "the daemon ends with {status}:\n{}", self.said());
    }

    /// `kill -9` of the daemon. The mount stays behind, dead.
    pub fn kill(mut self) {
        self.child.kill().expect("the daemon lives until now");
        let status = self.join();
        assert_eq!(status.signal(), Some(9), "it died before it was killed: {status}\n{}", self.said());
        // The next mount clears it: no detaching here.
        self.ended = true;
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the daemon lives");
    }

    /// Waits for the end of the daemon.
    pub fn join(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("waited");
        self.listener.join();
        self.ended = true;
        status
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !self.ended {
            eprintln!("the daemon said:\n{}", self.said());
            let _ = infmap().arg("umount").arg("--lazy").arg(&self.dir).output();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A dead mount that no next one has cleared: the temporary directory could not be removed.
        while rustix::mount::unmount(self.mountpoint(), rustix::mount::UnmountFlags::DETACH).is_ok() {}
    }
}

/// Numbers that look random and are the same in each run (splitmix64).
#[derive(Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// So many bytes that no compressor shortens.
    #[must_use]
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
    }

    /// Bytes that no compressor shortens.
    pub fn fill(&mut self, out: &mut [u8]) {
        for part in out.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            part.copy_from_slice(&bytes[..part.len()]);
        }
    }
}
