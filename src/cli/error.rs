//! Every failure that a person can meet: a number that never changes, an exit code, and what to do.
//!
//! Owns: the list of codes. Must be true: a number is never given to another failure; every failure of the rooms below has
//! exactly one code, by an exhaustive match. Fails: never.

use super::{advice, output};
use crate::backend::BackendError;
use crate::config::Mistake;
use crate::mount::MountError;

/// Declares the codes: number, exit code, and what one can do about it in general.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $exit:literal, $help:literal;)+) => {
        /// A kind of failure. Its number is stable: `IM1010` means the same in every version.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $name),+ }

        impl Code {
            /// All codes, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable number.
            #[must_use]
            pub fn number(self) -> u16 {
                match self { $(Self::$name => $number),+ }
            }

            /// The exit code of a verb that fails so.
            #[must_use]
            pub fn exit(self) -> u8 {
                match self { $(Self::$name => $exit),+ }
            }

            /// What to do, when nothing better is known.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$name => $help),+ }
            }
        }
    };
}

codes! {
    /// The command line is not understood.
    Usage = 1001, 2, "`infmap --help` lists the verbs and options";
    /// The configuration is refused.
    Config = 1002, 2, "`infmap config check FILE` shows what is wrong, `infmap config show` what is allowed";
    /// An option of `-o` is not known or not possible.
    Option = 1003, 2, "`infmap mount --help` lists the options";
    /// There is no volume.
    VolumeMissing = 1010, 10, "`infmap init VOLUME` makes a volume";
    /// It is a directory, but not a volume.
    NotAVolume = 1011, 10, "name the directory that holds volume.yaml and map/; if this is it, take volume.yaml from a backup of the volume";
    /// Something is there already.
    VolumeExists = 1012, 1, "name a directory that does not exist, or an empty one";
    /// Written by a newer version.
    VolumeVersion = 1013, 12, "use a newer version of infmap for this volume";
    /// What is stored is damaged.
    Damaged = 1014, 3, "`infmap check VOLUME` lists what is damaged";
    /// Findings of `check`.
    CheckFound = 1015, 3, "each finding above says what to do about it";
    /// The disk is full.
    NoSpace = 1016, 14, "free space on the disk that holds the volume, or raise the key `limit` of its settings";
    /// The map cannot be drawn.
    NoPicture = 1017, 1, "a map has a picture when an image was written, as an unmount does; each image is one by itself";
    /// The place for a picture is none.
    Output = 1018, 2, "name a new file, or a regular file that may be replaced, outside of every volume; `-` is stdout";
    /// Findings of `check`, all of which `repair` puts right.
    Repairable = 1019, 4, "`infmap repair VOLUME` puts the images back as they were written";
    /// Another process has the volume.
    VolumeLocked = 1020, 11, "unmount it with `infmap umount DIR`, use the mount that exists, or wait for the process that works on it";
    /// The mountpoint cannot be used.
    Mountpoint = 1030, 15, "name an existing directory that you may enter";
    /// Mountpoint and volume overlap.
    Overlap = 1031, 15, "mount outside of the volume, and not above it: the mount would wait for itself";
    /// Something else is mounted there.
    Occupied = 1032, 15, "unmount it first, or choose another directory";
    /// There is nothing to unmount.
    NotMounted = 1033, 15, "`findmnt -t fuse.infmap` lists the mounts of Infinite Map";
    /// The mount is another filesystem's.
    Foreign = 1034, 15, "use umount(8) for it";
    /// Processes use the mount.
    Busy = 1035, 15, "end those processes or let them leave the directory, unmount what is mounted in it, or detach it with `infmap umount --lazy DIR`; \
         root sees the processes of all users";
    /// A volume that was opened read-only cannot be written to.
    OpenedReadOnly = 1036, 15, "unmount it and mount it again without `ro`";
    /// The daemon did not get ready in time.
    MountLate = 1040, 1, "give it longer with --wait, or run it in the foreground to see what it does";
    /// The daemon is still writing.
    UnmountLate = 1041, 1, "the mount is gone, but its daemon is still writing: do not cut the power; `infmap info VOLUME` says when no process has it";
    /// The daemon ended before it was ready; it has said why.
    DaemonEnded = 1042, 1, "the message above says why";
    /// The kernel's side is missing.
    Fuse = 1043, 1, "install the package fuse3; /dev/fuse must exist and may be opened; allow_other needs user_allow_other in /etc/fuse.conf";
    /// The daemon died, or could not make everything durable.
    Unfinished = 1044, 1, "its messages say why, in the volume's run/daemon.log or where it was started; the next mount brings back what was synced";
    /// A file that is not ours stands where a helper's name is to be.
    Helper = 1045, 1, "look at what it is; remove it, or name another directory with --into";
    /// Damage was found and all of it was put right; the report has said what.
    Repaired = 1050, 4, "nothing is left to do; look at the health of the disk";
    /// The system refused something.
    System = 1060, 1, "the message names the system's reason";
}

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
    pub fn output(place: &str) -> impl FnOnce(std::io::Error) -> Self {
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
                let line = serde_json::json!({
                    "message_type": "error", "code": format!("IM{number}"), "message": self.message, "help": self.help_text(),
                    "exit": self.exit_code(),
                });
                output::say(&line.to_string());
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
            BackendError::Fuse(_) => Code::Fuse,
            BackendError::NoPicture { .. } => Code::NoPicture,
            BackendError::Io { source, .. } => system(source),
        };
        let shown = Self::new(code, error.to_string());
        match error {
            BackendError::Damaged { help, .. } => shown.help(help),
            BackendError::Io { source, .. } => Self { help: advice::of(&source).map(Into::into), ..shown },
            _ => shown,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_in_order() {
        let numbers: Vec<u16> = Code::ALL.iter().map(|code| code.number()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    }

    #[test]
    fn every_code_says_what_to_do_and_fails() {
        for code in Code::ALL {
            assert!(!code.help().is_empty() && code.exit() != 0, "{code:?}");
        }
    }
}
