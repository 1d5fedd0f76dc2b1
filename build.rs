//! Notes which compiler built the program, for `infmap_build_info`.
//!
//! Fails: never; a compiler that does not say what it is is `unknown`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=RUSTC");
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output().ok().and_then(|output| String::from_utf8(output.stdout).ok());
    // As in `rustc 1.90.0 (1159e78c4 2025-09-14)`.
    let version = said.as_deref().and_then(|said| said.split_whitespace().nth(1)).unwrap_or("unknown");
    println!("cargo::rustc-env=INFMAP_RUSTC={version}");
}
