//! The program `infmap`: hands its arguments to the library and exits with what that says.

/// Pages of the trees and messages come and go by the thousand; glibc's allocator took a quarter of the time of a change of names.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    infmap::cli::main(std::env::args_os())
}
