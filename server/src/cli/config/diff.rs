//! `preflight config diff`: what differs between two load configs.

use std::path::PathBuf;
use std::process::ExitCode;

use phi3::load_config::{Change, diff};
use phi3::units::format_counted;
use serde::Serialize;

use crate::cli::page::{BOLD, Cell, GOOD, Page, WARN};
use crate::cli::{load_config, output};
use crate::error::CliError;

/// Compare two load configs: values that differ, not spellings.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// JSON file of the parent.
    a: PathBuf,
    /// JSON file of the child.
    b: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    changes: Vec<Change>,
    /// Whether an attempt may make this step without a branch.
    one_change: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let (_, a) = load_config::parse(Some(&args.a))?;
    let (_, b) = load_config::parse(Some(&args.b))?;
    let changes = diff(&a, &b);
    let report = Report { one_change: changes.len() <= 1, changes };
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print_page(page(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn page(report: &Report) -> Page {
    let mut page = Page::default();
    match report.changes.len() {
        0 => page.line(GOOD, "no difference"),
        1 => page.line(GOOD, "one change"),
        many => {
            let changes = format_counted(many as u64, "change");
            page.line(WARN, &format!("{changes}: an attempt makes one, unless it branches"));
        }
    }
    let row = |change: &Change| {
        let text = change.to_string();
        let (path, values) = text.split_once(": ").unwrap_or((&text, ""));
        vec![Cell::left(path).styled(BOLD), Cell::left(values.replace(char::is_control, " "))]
    };
    page.table(&report.changes.iter().map(row).collect::<Vec<_>>());
    page
}
