//! Every failure that a person can meet: a code of the table (`code`), a message, and what to do.
//!
//! Owns: `CliError`. Must be true: every failure of the rooms below has exactly one code, by an exhaustive match. Fails: never.

use super::{advice, output};
use crate::backend::BackendError;
use crate::backend::recover::{RebuildError, RecoveryError};
use crate::backend::restore::RestoreError;
use crate::config::Mistake;
use crate::mount::MountError;

pub use super::code::Code;

/// A failure with its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    pub code: Code,
    pub message: String,
    /// Instead of the code's own help.
    pub help: Option<String>,
    /// Exit code of another process that is handed on instead of the code's own.
    pub exit: Option<u8>,
    /// It has been said already; only the exit code is left.
    pub silent: bool,
}

impl CliError {
    /// A failure with the help of its code.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None, exit: None, silent: false }
    }

    /// The end of another process that has said why, on the same terminal.
    #[must_use]
    pub fn handed_on(code: u8) -> Self {
        Self { exit: Some(code), silent: true, ..Self::new(Code::DaemonEnded, "the daemon ended") }
    }

    /// The same with a better help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// An error of the system, with what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self { help: advice::of(&source).map(Into::into), ..Self::new(system(&source), format!("{what}: {source}")) }
    }

    /// An error of the system where something is written that is no part of a volume.
    pub fn output(place: &str) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let (message, help) = (format!("cannot write to {place}"), format!("no room is left where {place} is written: free some there"));
        move |source| match system(&source) {
            Code::NoSpace => Self::new(Code::NoSpace, format!("{message}: {source}")).help(help),
            _ => Self::io(message)(source),
        }
    }

    /// A mistake in the configuration that is not in a file's text.
    #[must_use]
    pub fn mistakes(mistakes: &[Mistake]) -> Self {
        let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let message = match shown.len() {
            0 | 1 => shown.concat(),
            count => format!("{count} mistakes in the configuration\n\n{}\n", shown.join("\n\n")),
        };
        Self::new(Code::Config, message)
    }

    /// The help that is printed.
    #[must_use]
    pub fn help_text(&self) -> &str {
        self.help.as_deref().unwrap_or(self.code.help())
    }

    /// The exit code of a verb.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.exit.unwrap_or(self.code.exit())
    }

    /// Prints it on stderr: two lines for people, or one JSON object.
    pub fn print(&self, json: bool) {
        let number = self.code.number();
        match (self.silent, json) {
            (true, _) => {}
            (false, true) => {
                let fields = serde_json::json!({
                    "code": format!("IM{number}"), "message": self.message, "help": self.help_text(), "exit": self.exit_code(),
                });
                output::say_json("error", &fields);
            }
            (false, false) => output::say(&output::plain(&format!("error[IM{number}]: {}\nhelp: {}", self.message, self.help_text()))),
        }
    }
}

fn system(error: &std::io::Error) -> Code {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::NoSpace,
        _ => Code::System,
    }
}

impl From<BackendError> for CliError {
    fn from(error: BackendError) -> Self {
        let code = match &error {
            BackendError::Missing(_) => Code::VolumeMissing,
            BackendError::NotAVolume { .. } => Code::NotAVolume,
            BackendError::Exists(_) => Code::VolumeExists,
            BackendError::Version { .. } => Code::VolumeVersion,
            BackendError::Damaged { .. } => Code::Damaged,
            BackendError::TurnedReadOnly { .. } => Code::ReadOnly,
            BackendError::Fuse(_) => Code::Fuse,
            BackendError::NoPicture { .. } => Code::NoPicture,
            BackendError::NoDamageList { .. } => Code::DamageUnread,
            BackendError::Io { source, .. } => system(source),
        };
        let shown = Self::new(code, error.to_string());
        match error {
            BackendError::Damaged { help, .. } | BackendError::TurnedReadOnly { help, .. } => shown.help(help),
            BackendError::Io { source, .. } => Self { help: advice::of(&source).map(Into::into), ..shown },
            _ => shown,
        }
    }
}

impl From<RecoveryError> for CliError {
    fn from(error: RecoveryError) -> Self {
        let message = error.to_string();
        match error {
            RecoveryError::NoImages(_) | RecoveryError::NotThere { .. } => {
                Self::new(Code::VolumeMissing, message).help("name the directory that holds the PNG images of the volume, at any depth")
            }
            RecoveryError::Several { .. } => Self::new(Code::SeveralVolumes, message),
            RecoveryError::Conflict(..) => Self::new(Code::ImagesDiffer, message),
            RecoveryError::Exists(_) => Self::new(Code::VolumeExists, message).help("name a directory that does not exist: it is made"),
            RecoveryError::Unfinished(_) => Self::new(Code::HalfRecovered, message),
            RecoveryError::Overlap(..) => Self::new(Code::Inside, message),
            RecoveryError::Rebuild(RebuildError::Write(source)) | RecoveryError::Io { source, .. } => {
                Self { help: advice::of(&source).map(Into::into), ..Self::new(system(&source), message) }
            }
            RecoveryError::Rebuild(_) => {
                Self::new(Code::Damaged, message).help("add what images there are besides, or take them from a backup")
            }
        }
    }
}

impl From<RestoreError> for CliError {
    fn from(error: RestoreError) -> Self {
        let message = error.to_string();
        match error {
            RestoreError::Source(error) => error.into(),
            RestoreError::NotEmpty(_) => Self::new(Code::VolumeExists, message),
            RestoreError::Overlap(..) => Self::new(Code::Inside, message),
            RestoreError::NothingSelected(_) => Self::new(Code::Usage, message)
                .help("paths begin at the root of the volume; `*` and `?` stand for parts of a name, `**` for directories"),
            RestoreError::Io { source, .. } => Self { help: advice::of(&source).map(Into::into), ..Self::new(system(&source), message) },
        }
    }
}

impl From<MountError> for CliError {
    fn from(error: MountError) -> Self {
        let code = match &error {
            MountError::Point { .. } => Code::Mountpoint,
            MountError::Overlap { .. } => Code::Overlap,
            MountError::Occupied { .. } => Code::Occupied,
            MountError::OpenedReadOnly(_) => Code::OpenedReadOnly,
            MountError::NotMounted(_) => Code::NotMounted,
            MountError::Foreign { .. } => Code::Foreign,
            MountError::Busy { .. } => Code::Busy,
            MountError::Locked { .. } => Code::VolumeLocked,
            MountError::Io { source, .. } => system(source),
        };
        let advice = if let MountError::Io { source, .. } = &error { advice::of(source) } else { None };
        Self { help: advice.map(Into::into), ..Self::new(code, error.to_string()) }
    }
}
