//! Two allocators, by size: mimalloc for what is small and comes by the thousand, the kernel for what is large.
//!
//! Pages of the trees and messages: glibc's allocator took a quarter of the time of a change of names. But mimalloc keeps what is large
//! resident, and touches what should stay untouched (the 16 MiB that fuser reads into): through `config/small.yaml` the daemon
//! grew 12 MB larger with it alone. Large buffers are pooled by whoever needs them often, so a mapping for each costs nothing.
//!
//! Must be true: who frees is who gave, because a layout alone decides. Fails: with null, as an allocator does.

use mimalloc::MiMalloc;
use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};
use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{copy_nonoverlapping, null_mut};

/// Bytes from which on memory is mapped.
const LARGE_BYTES: usize = 512 * 1024;
/// Pages of every processor that we run on are at least so large, so mappings are so aligned.
const PAGE_BYTES: usize = 4096;

/// The allocator of the program.
pub struct BySize;

fn is_mapped(layout: &Layout) -> bool {
    layout.size() >= LARGE_BYTES && layout.align() <= PAGE_BYTES
}

fn map(size: usize) -> *mut u8 {
    // SAFETY: a new private mapping touches nothing that exists.
    let mapped = unsafe { mmap_anonymous(null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
    mapped.map_or(null_mut(), <*mut _>::cast)
}

// SAFETY: a layout goes to the same one of two sound allocators whenever it is asked for; mappings are zeroed, page-aligned and of
// at least the size.
unsafe impl GlobalAlloc for BySize {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are handed on.
        if is_mapped(&layout) { map(layout.size()) } else { unsafe { MiMalloc.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are handed on.
        if is_mapped(&layout) { map(layout.size()) } else { unsafe { MiMalloc.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if is_mapped(&layout) {
            // SAFETY: this layout was mapped here, and the caller uses it no more.
            let _ = unsafe { munmap(start.cast(), layout.size()) };
        } else {
            // SAFETY: the caller's promises are handed on.
            unsafe { MiMalloc.dealloc(start, layout) }
        }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size, rounded up to the alignment, is no overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_mapped(&layout), is_mapped(&wanted)) {
            // SAFETY: the caller's promises are handed on.
            (false, false) => unsafe { MiMalloc.realloc(start, layout, size) },
            // SAFETY: this layout was mapped here, and the caller uses the old address no more.
            (true, true) => unsafe { mremap(start.cast(), layout.size(), size, MremapFlags::MAYMOVE) }.map_or(null_mut(), <*mut _>::cast),
            // What changes sides is copied: SAFETY: both hold as many bytes, and they do not overlap.
            _ => unsafe {
                let moved = self.alloc(wanted);
                if !moved.is_null() {
                    copy_nonoverlapping(start, moved, layout.size().min(size));
                    self.dealloc(start, layout);
                }
                moved
            },
        }
    }
}
