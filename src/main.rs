//! The program `infmap`: hands its arguments to the library and exits with what that says.

fn main() -> std::process::ExitCode {
    infmap::cli::main(std::env::args_os())
}
