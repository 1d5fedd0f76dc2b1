//! Defects that these tests found once, each with the least that shows it.

use crate::run_seeds;

/// Seeds that failed: hangs of checkpoints over blocks changed meanwhile, images under two names.
#[test]
fn seeds_that_once_failed_pass() {
    run_seeds([2, 3, 19, 30, 45, 55, 62, 145, 287].into_iter());
}
