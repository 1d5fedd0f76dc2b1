//! The program `infmap`: hands its arguments to the library and exits with what that says.
//!
//! Owns: the allocator of the process. Fails: with the exit code of the library; an allocation that fails ends the process.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]

mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::BySize = allocator::BySize;

fn main() -> std::process::ExitCode {
    // Where the kernel gives huge pages to everybody, 2 MiB are resident where 4 KiB are used: 30 MB in all through `config/presets/small.yaml`.
    // A mount with memory to spare turns them on, for what asks for them.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    infmap::cli::main(std::env::args_os())
}
