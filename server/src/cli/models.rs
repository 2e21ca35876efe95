//! `preflight models`: the registry.

use std::process::ExitCode;

use phi3::api::Certificate;

use super::ledger::DataArgs;
use super::page::{BAD, BOLD, Cell, DIM, Page};
use super::{inspect, output};
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
        Ok(row.map(|row| (row, certificate)))
    })?;
    let unknown = || phi3::api::ErrorObject::new("no_such_model", format!("there is no model `{id}`"));
    let (row, certificate) = found.ok_or_else(unknown)?;
    if args.json {
        output::print_json(&serde_json::json!({ "model": row, "known_good": certificate }))?;
    } else {
        output::print_page(one(&row, certificate.as_ref()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn one(row: &Row, certificate: Option<&Certificate>) -> Page {
    let mut page = Page::default();
    page.line(BOLD, &format!("{}: {}", row.id, row.name));
    if let Some(error) = &row.error {
        page.sentences(0, BAD, &error.message);
    }
    let cells = |name: &str, value: String| vec![Cell::left(name), Cell::left(value)];
    let values = |map: &serde_json::Map<String, serde_json::Value>| -> Vec<Vec<Cell>> {
        map.iter().map(|(key, value)| cells(key, value.to_string())).collect()
    };
    page.table(&[cells("files", row.source.to_string())]);
    for line in row.notes.lines() {
        page.sentences(2, DIM, line);
    }
    if !row.load_config.is_empty() {
        page.heading("Load config");
        page.table(&values(&row.load_config));
    }
    if let Some(card) = &row.card {
        page.heading("Card");
        page.table(&inspect::card_rows(card));
    }
    match certificate {
        Some(certificate) => {
            page.heading(&format!("Known good, by attempt {}", certificate.attempt));
            page.table(&values(&certificate.load_config));
            page.sentences(2, DIM, &certificate.report.reason);
        }
        None => page.heading("No load config is known to be good yet"),
    }
    page
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
