//! `cargo bench --bench versus -- ARGS`: starts the comparison with the rivals.
//!
//! They are a package of their own, with a lock file of its own, so that tokio never enters this one's tree:
//! see `benches/versus/README.md`.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let (marks, arguments): (Vec<OsString>, Vec<OsString>) = env::args_os()
        .skip(1)
        .partition(|argument| argument == "--bench");
    // `cargo test --all-targets` runs benches too, without this mark.
    if marks.is_empty() {
        return ExitCode::SUCCESS;
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/versus/Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--release", "--manifest-path"])
        .arg(manifest)
        .arg("--")
        .args(arguments)
        .status()
        .expect("cargo is what runs this");
    if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
