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
    let settings = args.serve.settings()?;
    if args.json {
        output::print_json(&serde_json::json!({ "file": settings.file, "settings": settings.shown }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut page = Page::default();
    if let Some(file) = &settings.file {
        page.line(DIM, &format!("config file {}", file.display()));
    }
    let rows = settings.shown.iter().map(|setting| {
        let value = match &setting.value {
            serde_json::Value::Null => "–".to_owned(),
            serde_json::Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let mut row = vec![Cell::left(setting.key).styled(BOLD), Cell::left(value)];
        if args.origin {
            row.insert(1, Cell::left(setting.origin.words()).styled(DIM));
        }
        row
    });
    page.table(&rows.collect::<Vec<_>>());
    output::print_page(page)?;
    Ok(ExitCode::SUCCESS)
}
