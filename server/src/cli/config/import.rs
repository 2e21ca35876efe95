//! `preflight config import`: existing rows in one spelling, and those that need a hand.

use std::path::PathBuf;
use std::process::ExitCode;

use phi3::units::format_counted;
use serde_json::Value;

use crate::cli::output;
use crate::cli::page::{BAD, BOLD, Cell, DIM, GOOD, Page};
use crate::error::{CliError, Exit};
use crate::import::{Imported, import};

/// Read existing rows of load_config_json: JSON, JSON Lines, CSV or a SQLite table.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file.
    file: PathBuf,
    /// Table of a SQLite database [default: the one with a column load_config_json].
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let imported = import(&args.file, args.table.as_deref())?;
    if args.json {
        output::print_json(&imported)?;
    } else {
        output::print_page(page(&args.file.display().to_string(), &imported))?;
    }
    Ok(if imported.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Exit::BadInput as u8) })
}

fn page(name: &str, imported: &Imported) -> Page {
    let mut page = Page::default();
    page.line(BOLD, name);
    let (rows, errors) = (imported.rows.len(), imported.errors.len());
    let style = if errors == 0 { GOOD } else { BAD };
    page.line(style, &format!("{} understood, {errors} not", format_counted(rows as u64, "row")));
    let line = |text: &str| text.replace(char::is_control, " ");
    if rows > 0 {
        page.heading("Rows");
        let rows: Vec<_> = imported
            .rows
            .iter()
            .map(|row| {
                vec![
                    Cell::right(row.row.to_string()).styled(DIM),
                    Cell::left(line(row.name.as_deref().unwrap_or_default())),
                    Cell::left(Value::Object(row.load_config.clone()).to_string()),
                ]
            })
            .collect();
        page.table(&rows);
    }
    if errors > 0 {
        page.heading("Not understood");
        let rows: Vec<_> = imported
            .errors
            .iter()
            .flat_map(|row| row.errors.iter().map(move |error| (row, error)))
            .map(|(row, error)| {
                vec![
                    Cell::right(row.row.to_string()).styled(DIM),
                    Cell::left(line(row.name.as_deref().unwrap_or_default())),
                    Cell::left(line(&error.message)),
                ]
            })
            .collect();
        page.table(&rows);
    }
    page
}
