//! A process above the daemon of a mount: when the daemon crashes, it is started again, which clears the dead mount and replays the log.
//!
//! Owns: the daemon as a child, and the record of its crashes. Must be true: SUP-1 who was asked to end, or was unmounted, is not started
//! again; SUP-2 between two starts passes a time that doubles, and after too many crashes in a window it gives up, loudly: then the mount
//! stays as it is, dead, which says more than an empty directory; SUP-3 every signal goes to the daemon that lives then, and to no other
//! process; one that is only a wish never to a daemon that does not listen yet, which it would end. Fails: with [`Ended::GaveUp`], or an
//! error of the system.

use super::daemon::{self, Outcome};
use super::notify::Notifier;
use super::{MountError, mountinfo, point, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pause before the first restart; each further one in the window waits twice as long as the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Exit codes that another start does not change: a call that is wrong, damage, no volume, another version.
const FINAL: &[u8] = &[2, 3, 10, 12];
/// How a Rust program ends whose main thread panicked.
const PANICKED: i32 = 101;

/// How many restarts are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub restarts: usize,
    pub within: Duration,
}

/// How supervision ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// As the daemon did, in order; its exit code. It has said why on its own.
    Daemon { code: u8 },
    /// The first start was too late; the daemon was asked to end.
    Late { pid: u32 },
    /// A signal ended the daemon before it was ever ready.
    Killed { signal: i32 },
    /// It was asked to end while no daemon lived: what the last one had not written waits for the next mount.
    WithoutDaemon,
    /// Too many crashes, or one that another start does not change.
    GaveUp { why: String },
}

/// What is supervised.
pub struct Supervised<'a> {
    /// Makes the call of the daemon, which says on stdout when it is ready.
    pub call: &'a dyn Fn() -> Command,
    pub dir: &'a Path,
    pub limit: Limit,
    /// Time for a daemon to get ready.
    pub patience: Duration,
    /// There is a terminal to lose: SIGHUP tells its end.
    pub has_terminal: bool,
    /// Who started this process, and may want signs of life while no daemon gives any.
    pub notifier: &'a Notifier,
}

/// Crashes of late.
#[derive(Debug, Default)]
struct Record(VecDeque<Instant>);

impl Record {
    /// The pause before the next start; `None`: there were too many.
    fn crashed(&mut self, now: Instant, limit: Limit) -> Option<Duration> {
        self.0.push_back(now);
        self.0.retain(|crash| now.saturating_duration_since(*crash) < limit.within);
        let doublings = u32::try_from(self.0.len().saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        (self.0.len() <= limit.restarts).then(|| (PAUSE_FIRST * 2u32.pow(doublings)).min(PAUSE_MAX))
    }
}

/// What a daemon left.
enum Fate {
    InOrder(u8),
    Crashed(String),
    /// It did not get ready, and no other start will.
    Hopeless(String),
}

/// Keeps a mount alive until it ends in order. `ready` is called when the first daemon is.
pub fn supervise(what: &Supervised<'_>, ready: impl FnOnce()) -> Result<Ended, MountError> {
    let reins = Reins::hold(what.has_terminal)?;
    let dir = point::untouched(what.dir);
    let mut record = Record::default();
    let (mut child, outcome) = start(what, &reins)?;
    match outcome {
        Outcome::Ready { .. } => ready(),
        Outcome::Ended { code } => return Ok(Ended::Daemon { code }),
        Outcome::Killed { signal } => return Ok(Ended::Killed { signal }),
        Outcome::Late { pid } => {
            reap(&mut child)?;
            return Ok(Ended::Late { pid });
        }
    }
    loop {
        let fate = fate_of(reap(&mut child)?, &dir);
        // A service manager that wants signs of life has none from a daemon that is not ready.
        child = match what.notifier.alive_while(|| revive(what, fate, &mut record, &reins, &dir))? {
            Ok(next) => next,
            Err(ended) => return Ok(ended),
        };
    }
}

/// Starts daemons until one is ready, which is returned, or until that is over.
fn revive(
    what: &Supervised<'_>,
    mut fate: Fate,
    record: &mut Record,
    reins: &Reins,
    dir: &Path,
) -> Result<Result<Child, Ended>, MountError> {
    // The first look at the mountpoint sees what the crash left, later ones what the starts did.
    let mut is_untouched = true;
    loop {
        reins.let_go();
        let why = match fate {
            Fate::InOrder(code) => return Ok(Err(Ended::Daemon { code })),
            Fate::Hopeless(why) => return Ok(Err(Ended::GaveUp { why })),
            Fate::Crashed(why) => why,
        };
        let Some(pause) = record.crashed(Instant::now(), what.limit) else {
            let Limit { restarts, within } = what.limit;
            return Ok(Err(Ended::GaveUp { why: format!("{why}, after {restarts} restarts within {} s", within.as_secs()) }));
        };
        tracing::error!(why, number = record.0.len(), pause_ms = pause.as_millis(), "the daemon crashed; it is started again");
        if reins.rest(pause) {
            return end_without_daemon(dir).map(Err);
        }
        if is_untouched && mountinfo::at(dir)?.is_none_or(|mounted| !mounted.is_ours()) {
            tracing::warn!(dir = %dir.display(), "somebody unmounted it meanwhile: it is not mounted again");
            return Ok(Err(Ended::WithoutDaemon));
        }
        is_untouched = false;
        let (mut next, outcome) = start(what, reins)?;
        fate = match outcome {
            Outcome::Ready { .. } => return Ok(Ok(next)),
            Outcome::Ended { code } if FINAL.contains(&code) => Fate::Hopeless(format!("it cannot be mounted any more (exit code {code})")),
            Outcome::Ended { code: 0 } => Fate::InOrder(0),
            Outcome::Ended { code } => Fate::Crashed(format!("it could not be mounted (exit code {code})")),
            Outcome::Killed { signal } => Fate::Crashed(format!("signal {signal} ended it before it was ready")),
            Outcome::Late { .. } => {
                reap(&mut next)?;
                Fate::Crashed("it was not ready in time".into())
            }
        };
    }
}

/// Starts a daemon, in a group of its own: a terminal's Ctrl-C comes to this process alone, which hands it on once.
fn start(what: &Supervised<'_>, reins: &Reins) -> Result<(Child, Outcome), MountError> {
    let mut command = (what.call)();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(MountError::io("cannot start the daemon"))?;
    reins.take(&child)?;
    let outcome = daemon::wait(&mut child, what.patience)?;
    if matches!(outcome, Outcome::Ready { .. }) {
        reins.is_ready();
    }
    Ok((child, outcome))
}

fn reap(child: &mut Child) -> Result<ExitStatus, MountError> {
    child.wait().map_err(MountError::io("cannot wait for the daemon"))
}

/// What the end of a daemon that was ready means: one that left its mount behind, dead, did not end in order, whatever its code.
fn fate_of(status: ExitStatus, dir: &Path) -> Fate {
    match (status.signal(), status.code()) {
        (Some(signal), _) => Fate::Crashed(format!("signal {signal} ended it")),
        (None, Some(PANICKED)) => Fate::Crashed("it panicked".into()),
        (None, Some(code)) if code != 0 && point::is_dead(dir) => Fate::Crashed(format!("it ended with code {code} and left its mount")),
        (None, code) => Fate::InOrder(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
    }
}

/// Takes the dead mount away, which nobody serves any more and somebody wants gone.
fn end_without_daemon(dir: &Path) -> Result<Ended, MountError> {
    if point::is_dead(dir) {
        unmount::unmount(dir, true)?;
    }
    Ok(Ended::WithoutDaemon)
}

/// What signals act on.
#[derive(Default)]
struct Reins {
    inner: Arc<(Mutex<Held>, Condvar)>,
}

#[derive(Default)]
struct Held {
    /// Somebody wants the end.
    ending: bool,
    daemon: Option<OwnedFd>,
    /// It listens for signals that are wishes: before, they would end it.
    is_ready: bool,
    /// Somebody wished for the settings to be read again when no daemon could hear it.
    reload: bool,
}

impl Held {
    fn wish(&self, wish: Signal) {
        let _ = self.daemon.as_ref().map(|daemon| pidfd_send_signal(daemon, wish));
    }
}

impl Reins {
    /// Listens for signals from now on.
    fn hold(has_terminal: bool) -> Result<Self, MountError> {
        let reins = Self::default();
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2]).map_err(MountError::io("cannot listen for signals"))?;
        let inner = reins.inner.clone();
        let listener = move || {
            for signal in signals.forever() {
                let mut held = inner.0.lock().unwrap_or_else(PoisonError::into_inner);
                let wish = match signal {
                    SIGHUP if !has_terminal => Some(Signal::HUP),
                    SIGUSR1 => Some(Signal::USR1),
                    SIGUSR2 => Some(Signal::USR2),
                    _ => None,
                };
                if let Some(wish) = wish {
                    // For a daemon that listens. For one that may have read its settings already a reload is kept; a look at the status,
                    // or other details, mean nothing then.
                    if held.is_ready {
                        held.wish(wish);
                    } else {
                        held.reload |= wish == Signal::HUP;
                    }
                    continue;
                }
                held.ending = true;
                let signal = if signal == SIGINT { Signal::INT } else { Signal::TERM };
                if let Some(daemon) = &held.daemon {
                    let _ = pidfd_send_signal(daemon, signal);
                }
                inner.1.notify_all();
            }
        };
        let spawned = std::thread::Builder::new().name("infmap-signals".into()).spawn(listener);
        spawned.map_err(MountError::io("cannot start the thread for signals"))?;
        Ok(reins)
    }

    /// This daemon lives now. One that was started while somebody asked for the end is asked too.
    fn take(&self, child: &Child) -> Result<(), MountError> {
        let failed = MountError::io("cannot watch the daemon");
        let daemon = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).map_err(|errno| failed(errno.into()))?;
        let mut held = self.inner.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.ending {
            let _ = pidfd_send_signal(&daemon, Signal::TERM);
        }
        held.daemon = Some(daemon);
        Ok(())
    }

    /// The daemon listens.
    fn is_ready(&self) {
        let mut held = self.inner.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.is_ready = true;
        if std::mem::take(&mut held.reload) {
            held.wish(Signal::HUP);
        }
    }

    fn let_go(&self) {
        let mut held = self.inner.0.lock().unwrap_or_else(PoisonError::into_inner);
        (held.daemon, held.is_ready) = (None, false);
    }

    /// Waits; true: somebody wants the end.
    fn rest(&self, pause: Duration) -> bool {
        let held = self.inner.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.inner.1.wait_timeout_while(held, pause, |held| !held.ending);
        waited.unwrap_or_else(PoisonError::into_inner).0.ending
    }
}

/// Reads `5/10m`: restarts, and the time in which that many are allowed.
pub fn limit(text: &str, duration: impl Fn(&str) -> Result<Duration, String>) -> Result<Limit, String> {
    let wrong = || "write it as 5/10m: so many restarts within that time".to_string();
    let (restarts, within) = text.split_once('/').ok_or_else(wrong)?;
    let (restarts, within) = (restarts.parse().map_err(|_| wrong())?, duration(within).map_err(|_| wrong())?);
    if within.is_zero() { Err(wrong()) } else { Ok(Limit { restarts, within }) }
}

/// What is needed to call this program again from wherever it goes: its file, and where it was called.
pub fn place() -> Result<(PathBuf, PathBuf), MountError> {
    let program = std::env::current_exe().map_err(MountError::io("cannot find this program's file"))?;
    let here = std::env::current_dir().map_err(MountError::io("cannot tell the current directory"))?;
    Ok((program, here))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { restarts: 3, within: Duration::from_secs(60) };

    #[test]
    fn pauses_double_and_too_many_crashes_in_the_window_are_the_end() {
        let (mut record, start) = (Record::default(), Instant::now());
        let pauses: Vec<_> = (0..4).map(|second| record.crashed(start + Duration::from_secs(second), LIMIT)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(pauses, [ms(250), ms(500), ms(1000), None]);
        let mut record = Record::default();
        for minute in 0..100 {
            assert_eq!(record.crashed(start + Duration::from_secs(61 * minute), LIMIT), ms(250), "one a minute is no reason");
        }
        let (mut record, patient) = (Record::default(), Limit { restarts: 100, ..LIMIT });
        assert_eq!((0..50).filter_map(|_| record.crashed(start, patient)).max(), Some(PAUSE_MAX));
        assert_eq!(Record::default().crashed(start, Limit { restarts: 0, ..LIMIT }), None);
    }

    #[test]
    fn the_end_of_a_daemon_is_judged_by_how_it_came() {
        let fate = |raw| match fate_of(ExitStatus::from_raw(raw), Path::new("/")) {
            Fate::InOrder(code) => format!("in order {code}"),
            Fate::Crashed(why) | Fate::Hopeless(why) => why,
        };
        assert_eq!([fate(9), fate(6), fate(11)], ["signal 9 ended it", "signal 6 ended it", "signal 11 ended it"]);
        assert_eq!([fate(101 << 8), fate(0), fate(5 << 8)], ["it panicked", "in order 0", "in order 5"]);
    }

    #[test]
    fn a_limit_is_written_as_a_number_and_a_time() {
        let read = |text| {
            limit(text, |text: &str| {
                if text == "1m" {
                    Ok(LIMIT.within)
                } else if text == "0s" {
                    Ok(Duration::ZERO)
                } else {
                    Err(String::new())
                }
            })
        };
        assert_eq!(read("3/1m"), Ok(LIMIT));
        for wrong in ["", "3", "/1m", "x/1m", "3/", "3/0s", "-1/1m", "3/1m/2"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
