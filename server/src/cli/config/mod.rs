//! `preflight config`: check, compare, import and explain load configs; show the settings of the server.

mod check;
mod diff;
mod explain;
mod import;
mod show;

use std::process::ExitCode;

use crate::error::CliError;

/// Check, compare, import and explain load configs; show the settings of the server.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(check::Args),
    Diff(diff::Args),
    Import(import::Args),
    Explain(explain::Args),
    Show(show::Args),
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        Command::Check(args) => check::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Import(args) => import::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Show(args) => show::run(args),
    }
}
