//! `preflight config show`: the settings that `preflight serve` would have, and where they come from.

use std::process::ExitCode;

use super::super::page::{BOLD, Cell, DIM, Page};
use super::super::{output, serve};
use crate::error::CliError;

/// Show the settings that `serve` would have with these flags.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// Say for each value where it comes from: flag, environment, file or default.
    #[arg(long)]
    origin: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: serve::Args,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let settings = args.serve.settings()?.told();
    serve::strange_variables().for_each(|sentence| eprintln!("warning: {sentence}"));
    if args.json {
        output::print_json(&settings)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut page = Page::default();
    if let Some(file) = &settings.file {
        page.line(DIM, &format!("config file {file}"));
    }
    let rows = settings.settings.iter().map(|setting| {
        let mut row = vec![Cell::left(setting.key.clone()).styled(BOLD), Cell::left(setting.told())];
        if args.origin {
            row.insert(1, Cell::left(setting.origin.words()).styled(DIM));
        }
        row
    });
    page.table(&rows.collect::<Vec<_>>());
    output::print_page(page)?;
    Ok(ExitCode::SUCCESS)
}
