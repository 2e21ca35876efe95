//! `preflight config diff`: what differs between two load configs.

use std::path::PathBuf;
use std::process::ExitCode;

use phi3::estimate::Options;
use phi3::load_config::{Change, LoadConfig, TermChange, diff, term_changes};
use phi3::units::{format_bytes, format_counted};
use preflight_files::{Model, Source};
use serde::Serialize;

use crate::cli::page::{BOLD, Cell, DIM, GOOD, Page, WARN};
use crate::cli::{load_config, output};
use crate::error::CliError;
use crate::reports;

/// Compare two load configs: values that differ, not spellings.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// JSON file of the parent.
    a: PathBuf,
    /// JSON file of the child.
    b: PathBuf,
    /// The model whose memory is told with either: what `preflight estimate` takes as PATH.
    #[arg(long, value_name = "PATH")]
    model: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    changes: Vec<Change>,
    /// Whether an attempt may make this step without a branch.
    one_change: bool,
    /// Bytes with the parent and with the child, where a model is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<Vec<TermChange>>,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let (_, a) = load_config::parse(Some(&args.a))?;
    let (_, b) = load_config::parse(Some(&args.b))?;
    let changes = diff(&a, &b);
    let effect = args.model.map(|path| effect(&path, &a, &b)).transpose()?;
    let report = Report { one_change: changes.len() <= 1, changes, effect };
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print_page(page(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn effect(path: &str, a: &LoadConfig, b: &LoadConfig) -> Result<Vec<TermChange>, CliError> {
    let model = Model::open(&Source::resolve(path)?)?;
    let sized = |load_config: &LoadConfig| {
        reports::estimate(&model, &Options::default(), &load_config.to_map())
            .map(|estimated| estimated.report)
    };
    Ok(term_changes(a, &sized(a)?, b, &sized(b)?))
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
    if let Some(effect) = &report.effect {
        page.heading("Memory");
        let head = ["", "with the parent", "with the child"].map(|text| Cell::right(text).styled(DIM));
        let row = |term: &TermChange| {
            let style = if term.now_bytes == term.then_bytes { DIM } else { BOLD };
            let bytes =
                [term.now_bytes, term.then_bytes].map(|bytes| Cell::right(format_bytes(bytes)).styled(style));
            std::iter::once(Cell::left(term.name.replace('_', " "))).chain(bytes).collect()
        };
        page.table(&std::iter::once(head.into()).chain(effect.iter().map(row)).collect::<Vec<_>>());
    }
    page
}
