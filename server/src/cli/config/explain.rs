//! `preflight config explain`: what a knob means, what it does to memory, and what becomes of it here.

use std::process::ExitCode;

use phi3::api::ErrorObject;
use phi3::load_config::{Effect, KNOBS, Knob, LoadConfig};
use serde_json::{Value, json};

use crate::cli::output;
use crate::cli::page::{BOLD, Cell, DIM, GOOD, Page, WARN};
use crate::error::CliError;

/// Explain the knobs of a load config, or one of them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The knob, in any spelling [default: all].
    key: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let one = args.key.as_deref().map(find).transpose()?;
    match (one, args.json) {
        (Some(knob), true) => output::print_json(&described(knob))?,
        (None, true) => {
            let knobs: Vec<_> = KNOBS.iter().map(described).collect();
            output::print_json(&json!({ "knobs": knobs }))?;
        }
        (Some(knob), false) => output::print_page(one_page(knob))?,
        (None, false) => output::print_page(all_page())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn find(key: &str) -> Result<&'static Knob, CliError> {
    Knob::find(key).ok_or_else(|| {
        // The parser knows what is nearest, and what is refused by name.
        let map = [(key.to_owned(), Value::Bool(true))].into_iter().collect();
        match LoadConfig::from_map(&map) {
            Err(error) => ErrorObject::from(&error).into(),
            Ok(_) => CliError::internal(format!("{key}: a key without a knob")),
        }
    })
}

/// A knob with its default and candidates as JSON values, not as texts.
fn described(knob: &Knob) -> Value {
    let value = |json: &str| serde_json::from_str::<Value>(json).unwrap_or_default();
    json!({
        "key": knob.key,
        "spellings": knob.spellings,
        "states": knob.states,
        "kind": knob.kind,
        "allowed": knob.allowed,
        "candidates": knob.candidates.iter().map(|json| value(json)).collect::<Vec<_>>(),
        "default": knob.default.map(value),
        "null_is_a_value": knob.null_is_a_value,
        "meaning": knob.meaning,
        "memory": knob.memory,
        "quality": knob.quality,
        "effect": knob.effect.word(),
        "reason": knob.effect.words(),
    })
}

fn one_page(knob: &Knob) -> Page {
    let mut page = Page::default();
    page.line(BOLD, &knob.names().collect::<Vec<_>>().join(", "));
    page.sentences(0, anstyle::Style::new(), knob.meaning);
    page.heading("Knob");
    let row = |name: &str, text: &str| vec![Cell::left(name).styled(DIM), Cell::left(text)];
    page.table(&[
        row("allowed", knob.allowed),
        row("default", knob.default.unwrap_or("the model's files say")),
        row("null", if knob.null_is_a_value { "takes it away from the model" } else { "the default" }),
        row("memory", knob.memory),
        row("quality", knob.quality),
        row("in this build", &format!("{}: {}", knob.effect.word(), knob.effect.words())),
    ]);
    page
}

fn all_page() -> Page {
    let mut page = Page::default();
    page.line(BOLD, "Knobs of a load config");
    let row = |knob: &Knob| {
        let style = match knob.effect {
            Effect::Honoured(_) => GOOD,
            Effect::Nothing(_) => DIM,
            Effect::EstimateOnly(_) | Effect::Refused(_) => WARN,
        };
        vec![
            Cell::left(knob.key).styled(BOLD),
            Cell::left(knob.effect.word()).styled(style),
            Cell::left(knob.meaning),
        ]
    };
    page.table(&KNOBS.iter().map(row).collect::<Vec<_>>());
    page
}
