//! What to do about what the system has refused: most of it are limits, of which its own words do not say where they are set.
//!
//! Owns: the table. Must be true: who set a limit is not sent to repair a disk or a package. Fails: never; what is not in the table has
//! no advice.

use rustix::io::Errno;
use std::io;

const TABLE: &[(Errno, &str)] = &[
    (Errno::FBIG, "the size of files is limited here: raise it with `ulimit -f`, or LimitFSIZE= of the service"),
    (Errno::MFILE, "raise the limit of open files with `ulimit -n`, or LimitNOFILE= of the service"),
    (Errno::NFILE, "the machine has as many files open as it may: raise fs.file-max, or end what holds so many"),
    (Errno::NOMEM, "memory ran out: lower memory.budget, or raise what this process may have (`ulimit -v`, the limit of its cgroup)"),
    (
        Errno::AGAIN,
        "if it is a thread that cannot be started: raise the limit of processes (`ulimit -u`, TasksMax= of the service) or of memory \
         (`ulimit -v`), or lower memory.budget and the numbers of threads",
    ),
];

/// The advice for an error, also for one that was wrapped: it has lost its number then, and kept its text.
pub fn of(error: &io::Error) -> Option<&'static str> {
    let text = error.to_string();
    let is =
        |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error()) || text.contains(&format!("(os error {})", errno.raw_os_error()));
    TABLE.iter().find(|(errno, _)| is(*errno)).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_however_often_its_error_was_wrapped() {
        let plain = io::Error::from(Errno::MFILE);
        let wrapped = io::Error::other(format!("cannot read wal: list wal: {plain}"));
        for error in [plain, wrapped] {
            assert!(of(&error).is_some_and(|advice| advice.contains("ulimit -n")), "{error}");
        }
        assert_eq!(of(&io::Error::from(Errno::IO)), None);
        assert_eq!(of(&io::Error::from(Errno::NOSPC)), None);
    }
}
