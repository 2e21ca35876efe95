//! `preflight link`: the share link of a page, made and read.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use phi3::api::ErrorObject;
use phi3::config::PRESETS;
use phi3::link::{self, Decoded, LinkError, MAX_STATE_BYTES, State};
use serde_json::{Value, json};

use super::page::{BOLD, Cell, DIM, Page, WARN};
use super::{input, output};
use crate::error::CliError;

/// Make or read the link that shares a page of the dashboard.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print the part of an address after `#` that holds a state.
    Encode {
        /// The state as JSON, as `link decode --json` prints it under `state`; - is stdin.
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print the state that a link holds. Nothing is loaded.
    Decode {
        /// The address, or its part after `#`.
        link: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.action {
        Action::Encode { file, json } => encode(&file, json)?,
        Action::Decode { link, json } => {
            let decoded = link::decode(&link, PRESETS).map_err(refuse)?;
            if json {
                output::print_json(&json!({ "state": decoded.state.to_json(), "unknown": decoded.unknown }))?;
            } else {
                output::print_page(page(&decoded))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn encode(file: &Path, json: bool) -> Result<(), CliError> {
    let bytes = input::read(file, MAX_STATE_BYTES as u64)?;
    let Decoded { state, unknown } = State::parse(&bytes, PRESETS).map_err(refuse)?;
    // A key that is dropped would be missed by whoever opens the link.
    if let Some(key) = unknown.first() {
        let message =
            format!("{}: `{key}` is no key of a page's state; see `link decode --json`", file.display());
        return Err(ErrorObject::new("link_invalid", message).at(key).into());
    }
    let link = link::encode(&state, PRESETS).map_err(refuse)?;
    if json { output::print_json(&json!({ "link": link })) } else { output::print(&(link + "\n")) }
}

fn refuse(error: LinkError) -> CliError {
    let object = ErrorObject::new(error.code(), error.to_string());
    match error.path() {
        Some(path) => object.at(path).into(),
        None => object.into(),
    }
}

fn page(decoded: &Decoded) -> Page {
    let mut page = Page::default();
    page.line(BOLD, decoded.state.label.as_deref().unwrap_or("Link"));
    let mut rows = Vec::new();
    flatten("", &decoded.state.to_json(), &mut rows);
    if rows.is_empty() {
        page.sentences(2, DIM, "holds nothing: every choice is the page's default");
    }
    page.table(&rows);
    if !decoded.unknown.is_empty() {
        let keys = decoded.unknown.join(", ");
        page.sentences(2, WARN, &format!("Not known to this build, and left out: {keys}"));
    }
    page
}

/// One row for each value that is no object.
fn flatten(path: &str, value: &Value, rows: &mut Vec<Vec<Cell>>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, rows);
            }
        }
        Value::Object(_) if path.is_empty() => {}
        value => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            rows.push(vec![Cell::left(path), Cell::left(text)]);
        }
    }
}
