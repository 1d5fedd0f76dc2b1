//! How the process treats memory that it has and does not use.
//!
//! Must be true: nothing here changes what may be allocated. Fails: never; a kernel or an allocator that does not listen changes nothing.

mod limit;

pub use limit::limit;

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of mimalloc 3 (`include/mimalloc.h`), which the bindings leave out: milliseconds until memory that was freed
/// goes back to the kernel.
const PURGE_DELAY: mi_option_t = 15;

/// Gives huge pages to what asks for them: faster, and 2 MiB are resident where 4 KiB are used. The program starts without, see `main`.
pub fn use_huge_pages() {
    // A kernel that has none refuses.
    let _ = rustix::thread::disable_transparent_huge_pages(false);
}

/// Gives freed memory back at once. Kept for 10 ms, as mimalloc does by default, it was up to 8 MB of a daemon of 40.
pub fn keep_nothing_unused() {
    // SAFETY: sets a number that mimalloc reads whenever it frees; any thread may at any time.
    unsafe { mi_option_set(PURGE_DELAY, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reads a number.
        let before = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert!(before > 1, "a delay in milliseconds, not a switch: {before}");
        keep_nothing_unused();
        // SAFETY: reads a number.
        assert_eq!(unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }, 0);
    }
}
