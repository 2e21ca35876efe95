//! `preflight inspect`: what a config says, means and implies.

use std::process::ExitCode;

use phi3::inspect::card::{Card, Origin};
use phi3::inspect::{InspectReport, Severity, Status, Support};
use phi3::units::{format_count, format_counted};
use preflight_files::Source;
use serde_json::Value;

use super::output;
use super::page::{BAD, BOLD, Cell, DIM, GOOD, Page, WARN};
use crate::error::{CliError, Exit};
use crate::reports;

/// Explain a model: its parameters, every key of its config, and what is odd about it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Model directory, config.json, *.safetensors, index JSON, *.gguf, preset:NAME, hf:ORG/NAME[@REV] or an address
    /// of the Hub.
    path: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let source = Source::resolve(&args.path)?;
    let inspected = reports::inspect_source(&source)?;
    if args.json {
        output::print_json(&inspected)?;
    } else {
        output::print_page(page(&inspected.name, &inspected.report))?;
    }
    if let Some(error) = inspected.error {
        let error = CliError::from(error);
        if !args.json {
            output::failure(&error, false);
        }
        return Ok(ExitCode::from(error.exit as u8));
    }
    Ok(match inspected.report.support {
        Support::Unknown => ExitCode::from(Exit::Unknown as u8),
        _ => ExitCode::SUCCESS,
    })
}

fn page(name: &str, report: &InspectReport) -> Page {
    let mut page = Page::default();
    let (style, verdict) = match report.support {
        Support::Run => (GOOD, "this build runs it"),
        Support::Estimate => (WARN, "this build sizes it, but does not run it"),
        Support::Unknown => (BAD, "this build does not know it"),
    };
    page.line(BOLD, name);
    let architecture = report.architecture.as_deref().unwrap_or("no class named");
    page.line(
        style,
        &match report.model_type.as_str() {
            "" => format!("no architecture named: {verdict}"),
            model_type => format!("{model_type} ({architecture}): {verdict}"),
        },
    );

    if let Some(total) = report.params.total {
        page.heading(&format!("{} parameters", format_count(total)));
        let share = |count: u64| format!("{:.1} %", count as f64 / total as f64 * 100.0);
        let groups = report.params.groups.iter().filter(|group| group.count > 0);
        let rows: Vec<_> = groups
            .map(|group| {
                vec![
                    Cell::left(group.name.name()),
                    Cell::right(format_count(group.count)),
                    Cell::right(share(group.count)).styled(DIM),
                ]
            })
            .collect();
        page.table(&rows);
    }
    if let Some(rule) = &report.rule_of_thumb {
        let text = format!(
            "Rule of thumb (hidden × intermediate × layers × 2): {}, off by {:+.1} %",
            format_count(rule.value),
            rule.error * 100.0
        );
        page.sentences(2, DIM, &text);
    }

    if !report.findings.is_empty() {
        page.heading("Findings");
        let rows: Vec<_> = report
            .findings
            .iter()
            .map(|finding| {
                let (style, word) = match finding.severity {
                    Severity::Error => (BAD, "error"),
                    Severity::Warning => (WARN, "warning"),
                    Severity::Info => (DIM, "note"),
                };
                vec![Cell::left(word).styled(style), Cell::left(&finding.message)]
            })
            .collect();
        page.table(&rows);
    }

    if let Some(card) = &report.card {
        page.heading("Card");
        page.table(&card_rows(card));
    }

    let (idle, telling): (Vec<_>, Vec<_>) =
        report.fields.iter().partition(|field| field.status == Status::NoEffect);
    if !report.fields.is_empty() {
        page.heading("Config");
    }
    let rows: Vec<_> = telling
        .into_iter()
        .map(|field| {
            let said = if field.implication.is_empty() { &field.meaning } else { &field.implication };
            let said = match field.status {
                // Of an unknown architecture every key is unknown; its heading has said so.
                Status::UnknownKey if report.support == Support::Unknown => String::new(),
                Status::Honoured => said.clone(),
                other => format!("[{}] {said}", other.words()),
            };
            vec![
                Cell::left(&field.key),
                Cell::left(shown(&field.value)).styled(BOLD),
                Cell::left(said).styled(DIM),
            ]
        })
        .collect();
    page.table(&rows);
    if !idle.is_empty() {
        let keys: Vec<_> = idle.iter().map(|field| field.key.as_str()).collect();
        page.sentences(2, DIM, &format!("Without effect here: {}", keys.join(", ")));
    }
    page
}

/// Where the files come from and how their authors mean them; what is missing stands among the findings.
pub(super) fn card_rows(card: &Card) -> Vec<Vec<Cell>> {
    let row = |name: &str, text: String| vec![Cell::left(name), Cell::left(text)];
    let mut rows = Vec::new();
    let mut text =
        |name: &str, text: &Option<String>| rows.extend(text.iter().map(|text| row(name, text.clone())));
    text("page", &card.url);
    text("license", &card.license_name.clone().or(card.license.clone()));
    text("made for", &card.pipeline_tag);
    if !card.base_model.is_empty() {
        rows.push(row("made from", card.base_model.join(", ")));
    }
    for (origin, name) in [
        (Origin::GenerationConfig, "authors' defaults"),
        (Origin::CardExample, "example in the card"),
        (Origin::CardInference, "the Hub's page"),
    ] {
        let of_origin = card.recommended.iter().filter(|value| value.origin == origin);
        let values: Vec<String> = of_origin.map(|value| format!("{} = {}", value.key, value.value)).collect();
        if !values.is_empty() {
            rows.push(row(name, values.join(", ")));
        }
    }
    rows
}

/// A value in a column: short, with the rest left to `--json`.
fn shown(value: &Value) -> String {
    const MOST: usize = 24;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => format!("{{{}}}", format_counted(map.len() as u64, "key")),
        Value::Array(list) if list.len() > 3 => format!("[{}]", format_counted(list.len() as u64, "value")),
        other => other.to_string(),
    };
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}
