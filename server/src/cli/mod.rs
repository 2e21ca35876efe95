//! The command line: one file a command.

mod inspect;
mod estimate;
mod gpus;
mod load;
mod validate;
mod bench;
mod logits;
mod convert;
mod synth;
mod config;
mod export;
mod serve;
mod models;
mod attempt_page;
mod attempts;
mod verify;
mod doctor;
mod ledger;
mod link;
mod ladder;
mod run;
mod load_config;
mod input;
mod out_dir;
mod out_file;
mod page;
mod output;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::error::CliError;

/// Tells whether a language model will load on your hardware and how, then proves it.
#[derive(Debug, Parser)]
#[command(name = "preflight", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Estimate(estimate::Args),
    Gpus(gpus::Args),
    Load(load::Args),
    Validate(validate::Args),
    Bench(bench::Args),
    Logits(logits::Args),
    Convert(convert::Args),
    Synth(synth::Args),
    Config(config::Args),
    Export(export::Args),
    Serve(serve::Args),
    Models(models::Args),
    Attempts(attempts::Args),
    Verify(verify::Args),
    Doctor(doctor::Args),
    Link(link::Args),
    Ladder(ladder::Args),
}

/// Runs the command line and tells how the process shall end.
#[must_use]
pub fn main(args: Vec<OsString>) -> ExitCode {
    let json = args.iter().any(|arg| arg == "--json");
    let result = match Cli::try_parse_from(args) {
        Ok(cli) => match cli.command {
            Command::Inspect(args) => inspect::run(args),
            Command::Estimate(args) => estimate::run(args),
            Command::Gpus(args) => gpus::run(args),
            Command::Load(args) => load::run(args),
            Command::Validate(args) => validate::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Logits(args) => logits::run(args),
            Command::Convert(args) => convert::run(args),
            Command::Synth(args) => synth::run(args),
            Command::Config(args) => config::run(args),
            Command::Export(args) => export::run(args),
            Command::Serve(args) => serve::run(args),
            Command::Models(args) => models::run(args),
            Command::Attempts(args) => attempts::run(args),
            Command::Verify(args) => verify::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Link(args) => link::run(args),
            Command::Ladder(args) => ladder::run(args),
        },
        Err(error) => usage(&error),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            output::failure(&error, json);
            ExitCode::from(error.exit as u8)
        }
    }
}

/// A line with its middle left out where it is too long to be read: a value of the command line stands in it.
fn short(line: &str) -> String {
    const END: usize = 120;
    let count = line.chars().count();
    if count <= 2 * END + 1 {
        return line.to_owned();
    }
    line.chars().take(END).chain(['…']).chain(line.chars().skip(count - END)).collect()
}

/// Help and version are answers; all else is a wrong use, told in one line.
fn usage(error: &clap::Error) -> Result<ExitCode, CliError> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output::print(&error.render().to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(CliError::usage("no command given; see `preflight --help`"))
        }
        _ => {
            let text = error.render().to_string();
            // clap goes on with hints and the usage, each after an empty line.
            let first = text.split("\n\n").next().unwrap_or_default();
            let line = short(&first.split_whitespace().collect::<Vec<_>>().join(" "));
            Err(CliError::usage(format!("{}; see `preflight --help`", line.trim_start_matches("error: "))))
        }
    }
}
