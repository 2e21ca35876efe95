//! `preflight config check`: everything that is wrong with a load config, and what becomes of the rest.

use std::path::PathBuf;
use std::process::ExitCode;

use phi3::api::ErrorObject;
use phi3::load_config::{Effect, Knob, LoadConfig, LoadConfigError, leaves};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::page::{BAD, BOLD, Cell, DIM, GOOD, Page, WARN};
use crate::cli::{load_config, output};
use crate::error::{CliError, Exit};

/// Check a load config: unknown keys, bad values, and what this build would refuse to load.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// JSON file of overrides, in Hugging Face's field names.
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The answer; `error` says in one what `errors` says one by one.
#[derive(Debug, Default, Serialize)]
struct Report {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject>,
    errors: Vec<ErrorObject>,
    /// In one spelling.
    load_config: Map<String, Value>,
    values: Vec<Checked>,
    /// Why a load with it is refused, although it is valid.
    refused: Vec<ErrorObject>,
}

#[derive(Debug, Serialize)]
struct Checked {
    path: String,
    value: Value,
    #[serde(flatten)]
    effect: Effect,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let map = load_config::read_object(&args.file)?;
    let report = match LoadConfig::from_map_all(&map) {
        Ok(config) => valid(&config),
        Err(errors) => invalid(&errors),
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print_page(page(&args.file.display().to_string(), &report))?;
    }
    Ok(if report.valid { ExitCode::SUCCESS } else { ExitCode::from(Exit::BadInput as u8) })
}

fn valid(config: &LoadConfig) -> Report {
    let load_config = config.to_map();
    let values = load_config
        .iter()
        .filter_map(|(key, value)| Some((Knob::find(key)?, key, value)))
        .flat_map(|(knob, key, value)| {
            let checked = |(path, value)| Checked { path, value, effect: knob.effect };
            leaves(key, value).map(checked).collect::<Vec<_>>()
        })
        .collect();
    let refused = config.refusals().iter().map(ErrorObject::from).collect();
    Report { valid: true, load_config, values, refused, ..Report::default() }
}

fn invalid(errors: &[LoadConfigError]) -> Report {
    let errors: Vec<ErrorObject> = errors.iter().map(ErrorObject::from).collect();
    let messages: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
    let error = errors.first().map(|first| ErrorObject { message: messages.join("; "), ..first.clone() });
    Report { error, errors, ..Report::default() }
}

fn page(name: &str, report: &Report) -> Page {
    let mut page = Page::default();
    page.line(BOLD, name);
    match (report.valid, report.refused.is_empty()) {
        (true, true) => page.line(GOOD, "valid"),
        (true, false) => page.line(WARN, "valid, but this build refuses to load with it"),
        (false, _) => page.line(BAD, "not valid"),
    }
    let list = |page: &mut Page, heading: &str, errors: &[ErrorObject]| {
        if !errors.is_empty() {
            page.heading(heading);
            let row = |error: &ErrorObject| {
                let message = error.message.trim_start_matches("load config: ");
                vec![Cell::left(error.path.clone().unwrap_or_default()), Cell::left(message)]
            };
            page.table(&errors.iter().map(row).collect::<Vec<_>>());
        }
    };
    list(&mut page, "Errors", &report.errors);
    list(&mut page, "Refused", &report.refused);
    if !report.values.is_empty() {
        page.heading("Values");
        let row = |checked: &Checked| {
            vec![
                Cell::left(&checked.path),
                Cell::left(shown(&checked.value)).styled(BOLD),
                Cell::left(checked.effect.word()).styled(DIM),
                Cell::left(checked.effect.words()).styled(DIM),
            ]
        };
        page.table(&report.values.iter().map(row).collect::<Vec<_>>());
    }
    page
}

/// A value in a column: short, with the rest left to `--json`.
fn shown(value: &Value) -> String {
    const MOST: usize = 32;
    let text = value.to_string();
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}
