//! The kernel's door: FUSE requests in, calls of a `Volume`, replies out. Decides nothing about files.
//!
//! Owns: the vocabulary of the kernel (errno, `FileAttr`, INIT flags, mount options) and the session with it. Must be true: DOOR-1
//! every request is answered once, a panic with EIO; DOOR-2 the volume hears `hold` of an inode before the kernel is given it, exactly
//! once each time; DOOR-3 no callback waits; DOOR-4 no state hangs on file handles. Fails: a refusal is an errno (`errno`), a session
//! that cannot start or end is a `SessionError`.

mod access;
mod answer;
mod convert;
mod direct;
mod door;
pub mod errno;
mod helper;
mod herald;
mod in_flight;
mod listing;
mod lookout;
mod meters;
mod mounts;
mod negotiate;
mod pages;
mod range;
mod request;
mod send;
mod session;
mod settings;
mod shadow;
mod subject;
mod xattr;

use fuser::FileHandle;

pub use access::{AccessLog, HEAD as ACCESS_HEAD};
pub use in_flight::{Traffic, UnderWay};
pub use mounts::{is_plain, plain};
pub use pages::Pages;
pub use session::{Mounted, SessionError, Unmount, Unmounter};
pub use settings::{MountSettings, Noted, OpenMode, Shown};
pub use shadow::Stats;

/// Handles mean nothing (DOOR-4).
const NO_HANDLE: FileHandle = FileHandle(0);
