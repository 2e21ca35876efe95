//! `preflight models`: the registry.

use std::process::ExitCode;

use super::ledger::DataArgs;
use super::output;
use super::page::{BAD, BOLD, Cell, DIM, Page};
use crate::error::CliError;
use crate::registry::{self, Row};

/// List the registered models, or show one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show this one, with its card and the certificate of its known-good load config.
    id: Option<String>,
    #[command(flatten)]
    data: DataArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let Some(id) = args.id else {
        let rows = args.data.ask(async |store| registry::rows(&store).await)?;
        if args.json {
            output::print_json(&serde_json::json!({ "models": rows }))?;
        } else {
            output::print_page(list(&rows))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let found = args.data.ask(async |store| {
        let row = registry::rows(&store).await?.into_iter().find(|row| row.id == id);
        let certificate = registry::newest_certificate(&store, &id).await?;
        Ok(row.map(|row| serde_json::json!({ "model": row, "known_good": certificate })))
    })?;
    let unknown = || phi3::api::ErrorObject::new("no_such_model", format!("there is no model `{id}`"));
    output::print_json(&found.ok_or_else(unknown)?)?;
    Ok(ExitCode::SUCCESS)
}

fn list(rows: &[Row]) -> Page {
    let mut page = Page::default();
    if rows.is_empty() {
        page.line(DIM, "no model is registered; POST /api/models/offline stages one");
    }
    let cells = |row: &Row| {
        let load_config = serde_json::Value::Object(row.load_config.clone()).to_string();
        vec![
            Cell::left(row.id.clone()).styled(BOLD),
            Cell::left(row.name.clone()),
            Cell::left(row.source.to_string()),
            Cell::left(if row.load_config.is_empty() { String::new() } else { load_config }),
            match &row.error {
                Some(error) => Cell::left(error.message.clone()).styled(BAD),
                None => Cell::left(row.notes.lines().next().unwrap_or_default().to_owned()),
            },
        ]
    };
    page.table(&rows.iter().map(cells).collect::<Vec<_>>());
    page
}
