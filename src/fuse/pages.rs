//! Having the kernel hand over what it holds of files.
//!
//! Owns: `Pages`. Must be true: PAG-1 when it was done, every write that was answered to its caller before has reached the volume. After
//! syncfs(2) alone that need not be so: before Linux 6.16 the writeback of a page ends when its WRITE is queued (`fuse_writepages_send`), and
//! whether a later kernel waits for FUSE at all depends on its version (6.18.44 does). Fails: when the kernel cannot be seen to have
//! finished.

use super::herald::Herald;
use super::mounts::waiting;
use super::settings::OpenMode;
use std::io;
use std::sync::Weak;
use std::time::{Duration, Instant};

/// How long a mount is watched for a moment in which nothing is under way.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// The first Linux whose pages stay under writeback until their WRITE is answered.
const WAITS_SINCE: (u32, u32) = (6, 16);

/// What the kernel holds of the files of a mount.
#[derive(Clone)]
pub struct Pages {
    herald: Weak<Herald>,
    device: (u32, u32),
    /// To drop the pages of those that are open to write waits for all of their WRITEs.
    is_waited_for: bool,
}

impl Pages {
    pub(super) fn new(herald: Weak<Herald>, device: (u32, u32), open: OpenMode) -> Self {
        // Where the kernel opens files by itself nobody knows who writes.
        let is_waited_for = open == OpenMode::Daemon && waits(&rustix::system::uname().release().to_string_lossy());
        Self { herald, device, is_waited_for }
    }

    /// Waits until the kernel has handed over what it holds. On a thread that answers no requests.
    ///
    /// # Errors
    /// Requests were under way all the time, or nobody can see whether they are: perhaps it still holds something.
    pub fn hand_over(&self) -> io::Result<()> {
        // Without it the mount is gone, and the kernel holds nothing.
        let Some(herald) = self.herald.upgrade() else { return Ok(()) };
        herald.write_all_back();
        if self.is_waited_for { Ok(()) } else { idle(|| waiting(self.device), Instant::now() + PATIENCE) }
    }
}

/// Waits for a moment in which no request is under way: all WRITEs of before are answered then.
fn idle(mut waiting: impl FnMut() -> io::Result<u64>, deadline: Instant) -> io::Result<()> {
    while waiting()? > 0 {
        if Instant::now() >= deadline {
            let why = format!("the kernel had requests under way for {} s without a pause", PATIENCE.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Whether a kernel of this release keeps pages under writeback until they are written.
fn waits(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= WAITS_SINCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_handed_over_before_a_moment_without_requests() {
        let mut left = 3;
        let count_down = || {
            left -= 1;
            Ok(left)
        };
        assert!(idle(count_down, Instant::now() + PATIENCE).is_ok());
        assert_eq!(left, 0);
        let busy = idle(|| Ok(1), Instant::now()).expect_err("never");
        assert!(busy.kind() == io::ErrorKind::TimedOut && busy.to_string().contains("under way"), "{busy}");
        assert!(idle(|| Err(io::Error::other("unseen")), Instant::now()).is_err());
    }

    #[test]
    fn kernels_are_told_apart_by_their_release() {
        for (release, expected) in [
            ("5.12.0", false),
            ("6.8.0-45-generic", false),
            ("6.15", false),
            ("6.16-rc1", true),
            ("6.18.44-fc", true),
            ("7.0", true),
            ("", false),
        ] {
            assert_eq!(waits(release), expected, "{release}");
        }
    }
}
