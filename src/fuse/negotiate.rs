//! INIT: what this mount and the kernel agree on.
//!
//! Owns: the choice of flags. Must be true: `HANDLE_KILLPRIV_V2` is there. Without it every write asks for `security.capability` first
//! (532,000 buffered writes a second become 19,000). Never asked: `AUTO_INVAL_DATA`, `ATOMIC_O_TRUNC`, the lock flags, `EXPORT_SUPPORT`,
//! `SETXATTR_EXT`, `SECURITY_CTX`, `ALLOW_IDMAP`, `HAS_RESEND`. `POSIX_ACL` and `DONT_MASK` go together: with the one the kernel checks lists,
//! with the other what is made gets them. Fails: an old kernel is refused with a sentence.

use super::settings::{MountSettings, OpenMode, Shown};
use fuser::{InitFlags, KernelConfig};
use infmap_actors::settings::Atime;

/// Taken where the kernel has them; `ASYNC_READ`, `BIG_WRITES` and `MAX_PAGES` fuser asks by itself.
const WANTED: [InitFlags; 6] = [
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
];

/// For access lists, where what is shown is what is stored.
const LISTS: [InitFlags; 2] = [InitFlags::FUSE_POSIX_ACL, InitFlags::FUSE_DONT_MASK];

/// What came of it, where the kernel had a say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub writeback_cache: bool,
    pub open: OpenMode,
}

/// Asks for what the settings need.
pub(super) fn negotiate(settings: &MountSettings, kernel: &mut KernelConfig) -> std::io::Result<Agreed> {
    if kernel.add_capabilities(InitFlags::FUSE_HANDLE_KILLPRIV_V2).is_err() {
        return Err(std::io::Error::other("this kernel's FUSE lacks HANDLE_KILLPRIV_V2; Linux 5.12 or newer is needed"));
    }
    // The kernel would judge by lists that say what is stored, not what is shown.
    let lists: &[InitFlags] = if settings.shown == Shown::default() { &LISTS } else { &[] };
    for &flag in WANTED.iter().chain(lists) {
        if kernel.add_capabilities(flag).is_err() {
            tracing::debug!(?flag, "the kernel does not offer it");
        }
    }
    // Under it the kernel owns size and times, and changes none of them for a write that passes its pages by.
    let is_cached = !settings.read_only && settings.atime != Atime::Strictatime;
    let writeback_cache = settings.writeback_cache && is_cached && kernel.add_capabilities(InitFlags::FUSE_WRITEBACK_CACHE).is_ok();
    let kernel_opens = settings.open == OpenMode::Kernel && kernel.add_capabilities(InitFlags::FUSE_NO_OPEN_SUPPORT).is_ok();
    // Each setter that refuses says the nearest value that it takes.
    if let Err(nearest) = kernel.set_max_write(settings.max_write_bytes.max(4096)) {
        let _ = kernel.set_max_write(nearest);
    }
    if let Err(nearest) = kernel.set_max_readahead(settings.read_ahead_bytes.max(4096)) {
        let _ = kernel.set_max_readahead(nearest);
    }
    let _ = kernel.set_max_background(settings.background_requests);
    Ok(Agreed { writeback_cache, open: if kernel_opens { OpenMode::Kernel } else { OpenMode::Daemon } })
}
