//! The `preflight` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    preflight::cli::main(std::env::args_os().collect())
}
