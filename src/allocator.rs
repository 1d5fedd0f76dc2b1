//! Two allocators, by size: mimalloc for what is small and comes by the thousand, the kernel for what is large.
//!
//! Pages of the trees and messages: glibc's allocator took a quarter of the time of a change of names. But mimalloc keeps what is large
//! resident, and touches what should stay untouched (the 16 MiB that fuser reads into): through `config/presets/small.yaml` the daemon
//! grew 12 MB larger with it alone. Large buffers are pooled by whoever needs them often, so a mapping for each costs nothing.
//!
//! Buffers that begin at a huge page lie in huge pages; nothing else asks for them. mimalloc does by default, and then the first touch of
//! what a stream needs cost as much as the stream, in a virtual machine whose host takes unused memory back.
//!
//! Must be true: who frees is who gave, because a layout alone decides. Fails: with null, as an allocator does.

use infmap_storage::buffer::HUGE_PAGE_BYTES;
use mimalloc::MiMalloc;
use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mremap, munmap};
use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{copy_nonoverlapping, null_mut};

/// Bytes from which on memory is mapped.
const LARGE_BYTES: usize = 512 * 1024;
/// Pages of every processor that we run on are at least so large, so mappings are so aligned.
const PAGE_BYTES: usize = 4096;

/// The allocator of the program.
pub struct BySize;

fn is_mapped(layout: &Layout) -> bool {
    layout.size() >= LARGE_BYTES && (layout.align() <= PAGE_BYTES || is_huge(layout))
}

fn is_huge(layout: &Layout) -> bool {
    layout.align() == HUGE_PAGE_BYTES
}

/// Bytes of a mapping: a whole huge page for what is to lie in one. Of what is larger the end lies in small pages.
fn mapped_bytes(layout: &Layout) -> usize {
    if is_huge(layout) { layout.size().next_multiple_of(PAGE_BYTES).max(HUGE_PAGE_BYTES) } else { layout.size() }
}

fn map(layout: &Layout) -> *mut u8 {
    if is_huge(layout) { map_huge(mapped_bytes(layout)) } else { map_pages(layout.size()) }
}

fn map_pages(size: usize) -> *mut u8 {
    // SAFETY: a new private mapping touches nothing that exists.
    let mapped = unsafe { mmap_anonymous(null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
    mapped.map_or(null_mut(), <*mut _>::cast)
}

/// Maps more than is wanted, gives back what lies before the first huge page and behind the last, and asks for huge pages.
fn map_huge(size: usize) -> *mut u8 {
    let whole = map_pages(size + HUGE_PAGE_BYTES);
    if whole.is_null() {
        return whole;
    }
    let before = whole.align_offset(HUGE_PAGE_BYTES);
    let start = whole.wrapping_add(before);
    // SAFETY: all three ranges lie in the mapping of `size + HUGE_PAGE_BYTES` bytes that was just made, since `before` is at most the latter.
    unsafe {
        if before > 0 {
            let _ = munmap(whole.cast(), before);
        }
        if before < HUGE_PAGE_BYTES {
            let _ = munmap(start.wrapping_add(size).cast(), HUGE_PAGE_BYTES - before);
        }
        // A kernel that has none, or a process that wants none, gives small ones.
        let _ = madvise(start.cast(), size, Advice::LinuxHugepage);
    }
    start
}

// SAFETY: a layout goes to the same one of two sound allocators whenever it is asked for; mappings are zeroed, page-aligned and of
// at least the size.
unsafe impl GlobalAlloc for BySize {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are handed on.
        if is_mapped(&layout) { map(&layout) } else { unsafe { MiMalloc.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are handed on.
        if is_mapped(&layout) { map(&layout) } else { unsafe { MiMalloc.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if is_mapped(&layout) {
            // SAFETY: this layout was mapped here, and the caller uses it no more.
            let _ = unsafe { munmap(start.cast(), mapped_bytes(&layout)) };
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
            (true, true) if !is_huge(&layout) => {
                unsafe { mremap(start.cast(), layout.size(), size, MremapFlags::MAYMOVE) }.map_or(null_mut(), <*mut _>::cast)
            }
            // What changes sides, or must keep its alignment, is copied: SAFETY: both hold as many bytes, and they do not overlap.
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
