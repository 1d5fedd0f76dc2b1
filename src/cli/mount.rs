//! `infmap mount VOLUME DIR`: serves a volume in the foreground, or as a daemon.
//!
//! Owns: the order of the steps. Must be true: everything that can be refused is refused before the daemon detaches, on the
//! caller's terminal; with `-d` the command returns only when the mount answers. Fails: with the code of the step.

use super::error::{CliError, Code};
use super::settings::{self, SettingsArguments};
use super::{Context, info, options, output};
use crate::backend::{self, Left, Reload, Serve, Stop};
use crate::config::sources::{Look, Sources};
use crate::config::value;
use crate::logging::Logging;
use crate::memory;
use crate::mount::daemon::{self, Outcome};
use crate::mount::lock::{self, VolumeLock};
use crate::mount::notify::Notifier;
use crate::mount::supervisor::{self, Ended, Limit, Supervised};
use crate::mount::{MountError, dying, point, signals};
use infmap_actors::settings::Damaged;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a daemon leaves of the time of its parent, at most.
const EARLIER: Duration = Duration::from_secs(2);

/// Mount a volume. In the foreground unless -d is given.
#[derive(clap::Args)]
#[command(after_long_help = settings::keys_help())]
pub struct Mount {
    /// The volume's directory.
    volume: PathBuf,
    /// An existing directory, outside of the volume.
    dir: PathBuf,
    /// Run as a daemon; return when the mount answers.
    #[arg(short, long)]
    daemon: bool,
    /// Stay in the foreground; so it is anyway without -d.
    #[arg(short, long, conflicts_with = "daemon")]
    foreground: bool,
    /// How long -d waits for the mount, and a mount for its predecessor to finish.
    #[arg(long, default_value = "30s", value_parser = duration, allow_hyphen_values = true)]
    wait: Duration,
    #[command(flatten)]
    settings: SettingsArguments,
    /// Options as mount(8) has them, separated by commas, or any setting: ro, noatime, allow_other, memory.budget=1GiB.
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<String>,
    /// Stay above the daemon: when it crashes, mount again. Ends when the mount is taken away or a signal asks for it.
    #[arg(long)]
    supervise: bool,
    /// With --supervise: so many restarts within that time are too many.
    #[arg(long, value_name = "N/TIME", default_value = "5/10m", value_parser = restarts, requires = "supervise")]
    restarts: Limit,
    /// This is the daemon itself.
    #[arg(long, hide = true)]
    daemon_child: bool,
    /// This is what another process supervises.
    #[arg(long, hide = true)]
    supervised: bool,
}

fn restarts(text: &str) -> Result<Limit, String> {
    supervisor::limit(text, duration)
}

/// Reads a duration such as `30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    value::parse_duration_ms(text).map(Duration::from_millis).ok_or_else(|| "write it as 500ms, 30s or 5m".into())
}

impl Mount {
    pub fn run(mut self, context: &Context) -> Result<(), CliError> {
        let deadline = Instant::now() + self.patience();
        // One that mounts stays among the processes that an automounter lets pass, until it has: it would wait for itself.
        if self.daemon_child && self.supervise {
            daemon::leave_session();
        }
        let options = options::parse(self.options.iter().map(String::as_str))?;
        self.settings.config = self.settings.config.take().or(options.config.map(PathBuf::from));
        let volume = info::volume(&self.volume)?;
        let (mut sources, looks) = self.sources(&volume, &options.assignments);
        let loaded = settings::read(&sources)?;
        let settings = loaded.settings.clone();
        if let Some(what) = settings::too_large(&settings) {
            return Err(CliError::new(Code::Config, what).help("set memory.budget to what can be spared; `preset: small` runs in 32 MiB"));
        }
        let flags = if settings.mount.damaged == Damaged::Zero { options.flags.only_to_read()? } else { options.flags };
        let flags = flags.resolve(&volume.to_string_lossy());
        if self.daemon && !self.daemon_child {
            // What is wrong with the call itself is refused here, with its own code.
            return self.start_daemon(context);
        }
        let logging = Logging::start(&settings.log, || output::Messages);
        if self.supervise && !self.supervised {
            return self.stay_above(context, &volume);
        }
        if settings.memory_plan().is_small() {
            memory::keep_nothing_unused();
        } else {
            memory::use_huge_pages();
        }
        dying::wait_out(&volume, &self.dir, deadline)?;
        // Before the mountpoint is touched: its daemon may be stuck.
        lock::refuse_if_mounted(&volume, &self.dir)?;
        let point = point::prepare(&self.dir, &volume)?;
        if point.cleared {
            tracing::warn!(mountpoint = %point.path.display(), "a dead mount of ours was cleared away");
        }
        if point.hides_files {
            tracing::warn!(mountpoint = %point.path.display(), "the mountpoint holds files; the mount hides them");
        }
        if lock::was_left(&volume)? && backend::has_no_log(&volume)? {
            tracing::warn!("{}", backend::LOG_GONE);
        }
        let lock = take_lock(&volume, &point.path, flags.read_only, deadline.saturating_duration_since(Instant::now()))?;
        // A daemon leaves the directory that it was started in.
        sources.make_absolute();
        let ((wish, wishes), stop) = (backend::wishes(), Stop::default());
        if let Err(error) = signals::listen(stop.clone(), point.path.clone(), signals::has_terminal(), wish) {
            lock.give_back();
            return Err(error.into());
        }
        let ready = ready(self.daemon_child, self.supervised, &volume, &point.path);
        let notifier = Arc::new(self.notifier());
        let served = backend::serve(Serve {
            volume,
            mountpoint: point.path.clone(),
            settings,
            flags,
            ready,
            notifier,
            stop,
            reload: Reload { sources, looks, loaded, logging },
            wishes,
        });
        match served.left {
            Left::AsFound => lock.give_back(),
            Left::Unfinished => drop(lock),
            Left::Finished => lock.finish(),
        }
        Ok(served.result?)
    }

    /// The sources of the settings, and what their files look like before they are read: what changes from here on is read again.
    fn sources(&self, volume: &Path, assignments: &[String]) -> (Sources, Vec<Look>) {
        let sources = settings::sources(&self.settings, Some(volume), assignments);
        let looks = sources.looks();
        (sources, looks)
    }

    /// Who hears how the mount is: whoever started what is a daemon by now has gone on.
    fn notifier(&self) -> Notifier {
        if self.daemon_child { Notifier::silent() } else { Notifier::of_environment() }
    }

    /// How long this process waits for a predecessor.
    fn patience(&self) -> Duration {
        // A daemon gives up before its parent does, who else would only see that it is late, and not who is in its way.
        let above = u32::from(self.daemon_child) + u32::from(self.supervised);
        self.wait.saturating_sub((self.wait / 4).min(EARLIER) * above)
    }

    /// Supervises a process that mounts, in which this call is made again.
    fn stay_above(&self, context: &Context, volume: &Path) -> Result<(), CliError> {
        let (program, here) = supervisor::place()?;
        let arguments = context.call_again("mount", "--supervised");
        let call = || {
            let mut command = Command::new(&program);
            command.args(&arguments).current_dir(&here);
            command
        };
        let (limit, patience) = (self.restarts, self.patience());
        let (dir, has_terminal) = (here.join(&self.dir), signals::has_terminal());
        let what = Supervised { call: &call, dir: &dir, limit, patience, has_terminal, notifier: &self.notifier() };
        let ended = supervisor::supervise(&what, || {
            if self.daemon_child
                && let Err(error) = daemon::say_ready(volume)
            {
                tracing::error!(%error, log = %volume.join(daemon::LOG).display(), "cannot detach from the terminal");
            }
        })?;
        let dir = self.dir.display();
        match ended {
            Ended::Daemon { code: 0 } => Ok(()),
            Ended::Daemon { code } => Err(CliError::handed_on(code)),
            Ended::Late { pid } => Err(self.late(pid)),
            Ended::Killed { signal } => Err(self.killed(signal)),
            Ended::WithoutDaemon => {
                Err(CliError::new(Code::Unfinished, format!("{dir} is not mounted any more, and its daemon had crashed")))
            }
            Ended::GaveUp { why } => Err(CliError::new(Code::GaveUp, format!("{dir} is not mounted again: {why}"))),
        }
    }

    fn start_daemon(&self, context: &Context) -> Result<(), CliError> {
        let dir = self.dir.display();
        match daemon::start(&context.call_again("mount", daemon::CHILD_FLAG), self.wait)? {
            Outcome::Ready { pid } if context.json => {
                output::json("mounted", &serde_json::json!({ "mounted": dir.to_string(), "pid": pid }))
            }
            Outcome::Ready { .. } => Ok(()),
            Outcome::Ended { code: 0 } => Err(CliError::new(Code::DaemonEnded, format!("the daemon ended before {dir} answered"))
                .help("see its log in the volume, run/daemon.log")),
            Outcome::Ended { code } => Err(CliError::handed_on(code)),
            Outcome::Killed { signal } => Err(self.killed(signal)),
            Outcome::Late { pid } => Err(self.late(pid)),
        }
    }

    fn killed(&self, signal: i32) -> CliError {
        let message = format!("the daemon was ended by signal {signal} before {} answered", self.dir.display());
        CliError::new(Code::DaemonEnded, message)
            .help("memory that ran out, or a limit of it (`ulimit -v`, that of its cgroup), may have ended it: see dmesg")
    }

    fn late(&self, pid: u32) -> CliError {
        let (dir, ms) = (self.dir.display(), self.wait.as_millis());
        CliError::new(Code::MountLate, format!("{dir} did not answer within {ms} ms; process {pid} was asked to end"))
    }
}

/// The lock, as what the mount is for needs it.
fn take_lock(volume: &Path, mountpoint: &Path, read_only: bool, patience: Duration) -> Result<VolumeLock, CliError> {
    if read_only {
        let lock = VolumeLock::take_to_read(volume, Some(mountpoint), patience)?;
        lock.note().into_iter().for_each(|note| tracing::info!("{note}"));
        return Ok(lock);
    }
    VolumeLock::take(volume, Some(mountpoint), patience).map_err(|error| match error {
        MountError::Io { ref source, .. } if lock::is_not_writable(source) => {
            CliError::from(error).help("a volume that cannot be written to can only be mounted read-only: -o ro")
        }
        error => error.into(),
    })
}

/// What is done when the mount answers.
fn ready(daemon_child: bool, supervised: bool, volume: &Path, mountpoint: &Path) -> Box<dyn FnOnce() + Send> {
    let (volume, mountpoint) = (volume.to_path_buf(), mountpoint.to_path_buf());
    Box::new(move || {
        if !daemon_child {
            if supervised && let Err(error) = daemon::report_ready() {
                tracing::error!(%error, "the process that supervises this one does not hear that it is ready");
            }
            tracing::info!(mountpoint = %mountpoint.display(), "mounted; Ctrl-C unmounts");
            return;
        }
        daemon::leave_session();
        if let Err(error) = daemon::say_ready(&volume) {
            tracing::error!(%error, log = %volume.join(daemon::LOG).display(), "cannot detach from the terminal");
        } else {
            tracing::info!(mountpoint = %mountpoint.display(), "mounted");
        }
    })
}
