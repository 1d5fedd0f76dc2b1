//! Serving a mount: open the volume, open the door, wait for the end, make everything durable.
//!
//! Must be true: when this returns, what was written is durable, or the outcome says that it is not, whatever else went wrong.

use super::access;
use super::attending::attend;
use super::damage::Recorder;
use super::reloading::Reloader;
use super::telling;
use super::{BackendError, Left, Serve, Served, offline, refusal};
use crate::fuse::{MountSettings, Mounted, OpenMode, SessionError, Unmount};
use crate::metrics::Name;
use infmap_actors::Volume;
use infmap_actors::settings::{FuseOpen, Sync};
use infmap_actors::volume::OpenOptions;
use infmap_storage::device::{Device, FileDevice};
use infmap_storage::volume_file::uuid_text;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that the kernel reads ahead, in its largest requests: so many are under way at once, which a disk answers side by side. With one
/// a cold file was read a fifth slower.
const READ_AHEAD_WRITES: u32 = 8;

/// Bytes that the kernel may collect for a mount with memory to spare: with a quarter, the kernel's default on many machines, a stream
/// lost a fifth of its speed to waiting.
const WRITTEN_BYTES: u64 = 64 * 1024 * 1024;

/// Serves a mount until it is unmounted or asked to stop, and returns when everything is durable.
pub fn serve(mount: Serve) -> Served {
    begin(mount).unwrap_or_else(|error| Served { left: Left::AsFound, result: Err(error) })
}

/// # Errors
/// Why nothing could be served.
fn begin(mut mount: Serve) -> Result<Served, BackendError> {
    if mount.flags.sync {
        // The kernel syncs what is written; what changes names it answers as we do.
        mount.settings.durability.sync = Sync::Always;
    }
    let file = offline::read_volume_file(&mount.volume)?;
    let device: Arc<dyn Device> = Arc::new(FileDevice::new(&mount.volume).map_err(io_at(&mount.volume))?);
    let mut door = door_settings(&mount);
    door.access = access::open(&mount.volume, &mount.settings.log, mount.flags.read_only);
    let name = Name { label: offline::label(&mount.volume), uuid: uuid_text(file.uuid), format: file.format };
    // Before anything is measured.
    let exposition = telling::install(&mount.settings);
    let volume = open(&mount, device, file.uuid)?;
    let close_help = if volume.shared().health.is_read_only() { refusal::READ_ONLY } else { refusal::STOPPED };
    let (notifier, looks) = (mount.notifier.clone(), mount.notifier.clone());
    volume.watchdog().on_look(Box::new(move |stuck| looks.looked(stuck)));
    let reloader = Arc::new(Reloader::new(volume.clone(), mount.reload, mount.flags.sync, mount.settings));
    // Until the volume is closed.
    let _recorder = recorder(&volume, &mount.volume, mount.flags.read_only)?;
    // Before there is a mount, so that a process without descriptors to spare is refused while that is easy; held until the volume is closed.
    let measured = exposition.map(|exposition| (exposition, name));
    let told = match telling::begin(&volume, &mount.volume, &mount.mountpoint, measured, reloader.clone()) {
        Ok(told) => told,
        Err(error) => {
            let _ = volume.close();
            return Err(error);
        }
    };
    door.stats = Some(told.stats());
    let mounted = match Mounted::start(volume.clone(), &mount.mountpoint, &door) {
        Ok(mounted) => mounted,
        Err(error) => {
            // Nothing was changed: closing can only repeat what recovery found.
            let _ = volume.close();
            return Err(session_error(error));
        }
    };
    told.mounted(mounted.traffic(), mounted.pages());
    let unmounter = mounted.unmounter();
    reloader.mounted(unmounter.clone());
    attend(told.desk(), reloader, mount.wishes);
    (mount.ready)();
    notifier.ready(&format!("mounted at {}", mount.mountpoint.display()));
    told.say();
    let (stop, watched) = (mount.stop.clone(), unmounter.clone());
    let watcher = std::thread::Builder::new().name("infmap-stop".into()).spawn(move || {
        stop.wait();
        notifier.stopping();
        take_down(&watched);
    });
    let ended = mounted.join().map_err(session_error);
    told.unmounted();
    mount.stop.request();
    if let Ok(watcher) = watcher {
        let _ = watcher.join();
    }
    let closed = close(&volume, &mount.volume, close_help);
    Ok(served(closed, ended))
}

/// Opens the volume, and has it ready for the first requests.
fn open(mount: &Serve, device: Arc<dyn Device>, uuid: [u8; 16]) -> Result<Arc<Volume>, BackendError> {
    let options = OpenOptions { uuid, settings: mount.settings.clone(), read_only: mount.flags.read_only };
    let volume = Volume::open(device, options).map_err(|error| refusal::opening(&mount.volume, error))?;
    if let Some(reason) = volume.shared().health.reason().filter(|_| !mount.flags.read_only) {
        tracing::error!(%reason, "the volume is served read-only: copy its files to a new volume (`infmap init`)");
    }
    let settings = volume.shared().settings();
    if settings.memory.ready && !settings.memory_plan().is_small() && !volume.shared().health.is_read_only() {
        // Before there is a mount, or it would be in the way of the first requests. Without it those are slower, no more.
        let _ = volume.ask(|replier| volume.get_ready(replier)).wait_blocking();
    }
    drop(settings);
    Ok(Arc::new(volume))
}

/// Keeps the list of damage, where it can be kept.
fn recorder(volume: &Arc<Volume>, path: &Path, read_only: bool) -> Result<Option<Recorder>, BackendError> {
    match Recorder::start(volume, path, read_only) {
        Ok(recorder) => Ok(Some(recorder)),
        Err(error) if refusal::is_shortage(&error) => {
            let _ = volume.close();
            Err(BackendError::Io { what: "cannot keep the list of damage".into(), source: error })
        }
        Err(error) => {
            tracing::warn!(%error, "the list of damage is not kept beyond this mount");
            Ok(None)
        }
    }
}

/// What is not durable is said first: a session that broke lost nothing that was answered.
fn served(closed: Result<(), BackendError>, ended: Result<(), BackendError>) -> Served {
    let left = if closed.is_ok() { Left::Finished } else { Left::Unfinished };
    Served { left, result: closed.and(ended) }
}

/// Unmounts because somebody asked the process to end: at once if nobody uses it, else when the last user is gone.
fn take_down(unmounter: &crate::fuse::Unmounter) {
    match unmounter.unmount(Unmount::IfIdle) {
        Ok(()) => {}
        Err(SessionError::Busy(mountpoint)) => {
            tracing::warn!(mountpoint = %mountpoint.display(), "busy: detached, served until its last user is gone");
            if let Err(error) = unmounter.unmount(Unmount::Lazy) {
                tracing::error!(%error, "cannot detach");
            }
        }
        Err(error) => tracing::error!(%error, "cannot unmount"),
    }
}

pub(super) fn close(volume: &Volume, path: &Path, help: &'static str) -> Result<(), BackendError> {
    match volume.close() {
        Ok(()) => {
            tracing::info!("everything is durable");
            Ok(())
        }
        // Read-only from the start: there was nothing to make durable.
        Err(_) if volume.shared().health.is_unchanged() => Ok(()),
        Err(error) => {
            let path = path.to_path_buf();
            match volume.shared().health.reason() {
                Some(why) => Err(BackendError::TurnedReadOnly { path, why, help }),
                None => Err(BackendError::Damaged { path, what: error.to_string(), help }),
            }
        }
    }
}

fn door_settings(mount: &Serve) -> MountSettings {
    let (settings, flags) = (&mount.settings, &mount.flags);
    MountSettings {
        source: flags.source_name.clone(),
        read_only: flags.read_only,
        allow_other: settings.mount.allow_other,
        sync: flags.sync,
        allow_suid: flags.suid,
        allow_devices: flags.dev,
        allow_exec: flags.exec,
        threads: settings.mount.fuse_threads,
        look_out: Duration::from_micros(settings.mount.fuse_spin_us),
        // Under `always` what is answered is durable: the kernel is to answer nothing for us.
        writeback_cache: settings.mount.writeback && settings.durability.sync != Sync::Always,
        open: match settings.mount.fuse_open {
            FuseOpen::Daemon => OpenMode::Daemon,
            FuseOpen::Kernel => OpenMode::Kernel,
        },
        atime: settings.mount.atime,
        shown: flags.shown,
        max_write_bytes: settings.max_write(),
        read_ahead_bytes: READ_AHEAD_WRITES * settings.max_write(),
        written_bytes: (!settings.memory_plan().is_small()).then_some(WRITTEN_BYTES),
        background_requests: settings.background_requests(),
        ..MountSettings::default()
    }
}

fn session_error(error: SessionError) -> BackendError {
    match error {
        SessionError::Mount { mountpoint, error } if refusal::is_shortage(&error) => {
            BackendError::Io { what: format!("cannot mount at {}", mountpoint.display()), source: error }
        }
        SessionError::Source(_) | SessionError::Mount { .. } => BackendError::Fuse(error.to_string()),
        SessionError::Busy(_) | SessionError::Unmount { .. } => {
            BackendError::Io { what: "ending the mount".into(), source: io::Error::other(error) }
        }
        SessionError::Broken(source) => BackendError::Io { what: "the session with the kernel broke off".into(), source },
    }
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(std::io::Error) -> BackendError {
    let what = path.display().to_string();
    move |source| BackendError::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen to fail when the session's error hid the other.
    #[test]
    fn a_close_that_failed_is_told_although_the_session_broke_too() {
        let broken = || Err(session_error(SessionError::Broken(io::Error::other("gone"))));
        let damaged = Err(BackendError::Damaged { path: "/v".into(), what: "no log".into(), help: refusal::STOPPED });
        let both = served(damaged, broken());
        assert_eq!(both.left, Left::Unfinished);
        assert!(matches!(both.result, Err(BackendError::Damaged { .. })), "{:?}", both.result);
        let one = served(Ok(()), broken());
        assert_eq!(one.left, Left::Finished, "everything is durable all the same");
        assert!(matches!(one.result, Err(BackendError::Io { .. })), "{:?}", one.result);
    }
}
