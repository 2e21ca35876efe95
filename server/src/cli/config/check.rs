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
use crate::launcher;

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
    /// Why a load on the CPU is refused, although another device may take it.
    refused_on_cpu: Vec<ErrorObject>,
}

/// A value and what becomes of it: of this value, not of the knob's others.
#[derive(Debug, Serialize)]
struct Checked {
    path: String,
    value: Value,
    effect: &'static str,
    reason: String,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let map = load_config::read_object(&args.file)?;
    let report = match LoadConfig::from_map_all(&map) {
        Ok(config) => match launcher::check_template_early(config.chat_template.as_deref()) {
            Ok(()) => valid(&config),
            Err(error) => invalid(vec![error]),
        },
        Err(errors) => invalid(errors.iter().map(ErrorObject::from).collect()),
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print_page(page(&args.file.display().to_string(), &report))?;
    }
    Ok(match (report.valid, report.refused.is_empty()) {
        (false, _) => ExitCode::from(Exit::BadInput as u8),
        // As of an estimate that does not fit: nothing is wrong with it, and it cannot be loaded.
        (true, false) => ExitCode::from(Exit::Failed as u8),
        (true, true) => ExitCode::SUCCESS,
    })
}

fn valid(config: &LoadConfig) -> Report {
    let load_config = config.to_map();
    let [refused, refused_on_cpu] = [config.refusals(), config.refusals_on_cpu()];
    let values = load_config
        .iter()
        .filter_map(|(key, value)| Some((Knob::find(key)?, key, value)))
        .flat_map(|(knob, key, value)| {
            let (effect, reason) = effect(knob, &refused, &refused_on_cpu);
            let checked = |(path, value)| Checked { path, value, effect, reason: reason.clone() };
            leaves(key, value).map(checked).collect::<Vec<_>>()
        })
        .collect();
    let [refused, refused_on_cpu] =
        [refused, refused_on_cpu].map(|errors| errors.iter().map(ErrorObject::from).collect());
    Report { valid: true, load_config, values, refused, refused_on_cpu, ..Report::default() }
}

/// What becomes of a knob's value, as [`Effect`] is written, and why.
fn effect(knob: &Knob, refused: &[LoadConfigError], on_cpu: &[LoadConfigError]) -> (&'static str, String) {
    let of = |errors: &[LoadConfigError]| {
        errors.iter().find_map(|error| match error {
            LoadConfigError::Refused { key, reason } if key == knob.key => Some(reason.clone()),
            _ => None,
        })
    };
    match (knob.effect, of(refused), of(on_cpu)) {
        (Effect::EstimateOnly(_), Some(reason), _) => ("estimate_only", reason),
        (_, Some(reason), _) => ("refused", reason),
        (_, None, Some(reason)) => ("refused_on_cpu", reason),
        (Effect::Refused(_) | Effect::EstimateOnly(_), None, None) => {
            ("nothing", "this is what a load does in any case".to_owned())
        }
        (Effect::Honoured(words), ..) => ("honoured", words.to_owned()),
        (Effect::Nothing(words), ..) => ("nothing", words.to_owned()),
    }
}

fn invalid(errors: Vec<ErrorObject>) -> Report {
    let messages: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
    let error = errors.first().map(|first| ErrorObject { message: messages.join("; "), ..first.clone() });
    Report { error, errors, ..Report::default() }
}

fn page(name: &str, report: &Report) -> Page {
    let mut page = Page::default();
    page.line(BOLD, name);
    match (report.valid, report.refused.is_empty(), report.refused_on_cpu.is_empty()) {
        (true, true, true) => page.line(GOOD, "valid"),
        (true, true, false) => page.line(WARN, "valid; a load on the CPU is refused with it"),
        (true, false, _) => page.line(WARN, "valid, but this build refuses to load with it"),
        (false, ..) => page.line(BAD, "not valid"),
    }
    let list = |page: &mut Page, heading: &str, errors: &[ErrorObject]| {
        if !errors.is_empty() {
            page.heading(heading);
            let row = |error: &ErrorObject| {
                let message = error.message.trim_start_matches("load config: ");
                // The path stands before it.
                let message = message.split_once("is not supported: ").map_or(message, |(_, reason)| reason);
                vec![Cell::left(error.path.clone().unwrap_or_default()), Cell::left(message)]
            };
            page.table(&errors.iter().map(row).collect::<Vec<_>>());
        }
    };
    list(&mut page, "Errors", &report.errors);
    list(&mut page, "Refused", &report.refused);
    list(&mut page, "Refused on the CPU", &report.refused_on_cpu);
    if !report.values.is_empty() {
        page.heading("Values");
        let row = |checked: &Checked| {
            vec![
                Cell::left(&checked.path),
                Cell::left(shown(&checked.value)).styled(BOLD),
                Cell::left(checked.effect.replace('_', " ").replace("nothing", "no effect")).styled(DIM),
                Cell::left(&checked.reason).styled(DIM),
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
