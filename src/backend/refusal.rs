//! What is to be done about a volume that does not open, or does not close.
//!
//! Must be true: no advice leads to a verb that fails for the same reason; what the system refused is told as that, not as damage.

use super::BackendError;
use infmap_actors::volume::OpenError;
use infmap_storage::recover::RecoverError;
use infmap_storage::root::RootError;
use infmap_storage::wal::{ReadError, WriteError};
use rustix::io::Errno;
use std::io;
use std::path::Path;

pub(super) const CHECK: &str = "`infmap check VOLUME` lists what is damaged";
pub(super) const READ_ONLY: &str = "its files can be read: mount it with -o ro and copy them to a new volume (`infmap init`); `infmap check \
     VOLUME` lists what is damaged";
pub(super) const STOPPED: &str = "what was synced before is safe, later changes may be lost; when the disk is well, mount it again";
const BACKUP: &str = "take the files that are named, or map/ and wal/ as a whole, from a backup of the volume";
const OTHER: &str = "volume.yaml, or this file of the log, belongs to another volume: remove nothing before it is clear which, for the log may \
     be the only place of what was synced last; if volume.yaml was changed or exchanged, take it from a backup of this volume; if files \
     of another volume were copied into wal/, move those out and keep them";
const MOVE_AWAY: &str = "move the file that does not belong there out of wal/, keep it, and try again";
const NEWER: &str = "use a newer version of infmap for this volume";

/// Why recovery could not open a volume: `check` and a read-only mount would fail in the same way.
pub(super) fn recovering(path: &Path, error: RecoverError) -> BackendError {
    let help = match &error {
        RecoverError::Log(ReadError::Io { .. }) => return system(path, io::Error::other(error)),
        RecoverError::Images(source) => return system(path, io::Error::new(source.kind(), error)),
        RecoverError::Log(ReadError::OtherVolume { .. }) => OTHER,
        RecoverError::Log(ReadError::Disorder { .. }) => MOVE_AWAY,
        RecoverError::Log(ReadError::Header { .. }) | RecoverError::Root(RootError::Newer(_)) => NEWER,
        RecoverError::Root(_) | RecoverError::Replay(_) | RecoverError::NoRoot | RecoverError::Epochs => BACKUP,
    };
    BackendError::Damaged { path: path.to_path_buf(), what: error.to_string(), help }
}

/// Why a volume could not be opened to be served.
pub(super) fn opening(path: &Path, error: OpenError) -> BackendError {
    let what = error.to_string();
    match error {
        OpenError::Recover(error) => recovering(path, error),
        OpenError::Log(WriteError::Failed { kind, .. }) => system(path, io::Error::new(kind, what)),
        OpenError::Device(source) => system(path, io::Error::new(source.kind(), what)),
        OpenError::Runtime(_) => system(path, io::Error::other(what)),
        OpenError::Log(_) | OpenError::State(_) => BackendError::Damaged { path: path.to_path_buf(), what, help: CHECK },
    }
}

/// Whether the system has no more of something: then nothing is missing that could be installed.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN];
    error.raw_os_error().is_some_and(|number| shortages.contains(&Errno::from_raw_os_error(number)))
}

fn system(path: &Path, source: io::Error) -> BackendError {
    BackendError::Io { what: format!("cannot open {}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_not_called_damage() {
        let refused = || io::Error::from(io::ErrorKind::StorageFull);
        let failed = WriteError::Failed { what: "grow", kind: io::ErrorKind::StorageFull, message: String::new() };
        let errors = [OpenError::Device(refused()), OpenError::Recover(RecoverError::Images(refused())), OpenError::Log(failed)];
        for error in errors {
            let error = opening(Path::new("/v"), error);
            assert!(matches!(&error, BackendError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull), "{error}");
        }
    }

    #[test]
    fn a_volume_that_nothing_opens_is_not_sent_to_check() {
        let error = recovering(Path::new("/v"), RecoverError::NoRoot);
        assert!(matches!(error, BackendError::Damaged { help: BACKUP, .. }), "{error}");
    }
}
