//! `preflight attempts`: what was tried.

use std::process::ExitCode;

use anstyle::Style;
use phi3::api::{AttemptRecord, AttemptState, Comparison};
use phi3::units::format_bytes;
use serde_json::Value;

use super::ledger::DataArgs;
use super::page::{BOLD, Cell, DIM, Page};
use super::{attempt_page, output};
use crate::error::CliError;
use crate::ledger::{Filter, Format, Ledger, compare, export};

/// List, show, compare and export attempts.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Show what is kept of this one, as `show ID` does.
    #[arg(value_parser = parse_id)]
    id: Option<u64>,
    #[command(flatten)]
    data: DataArgs,
    /// Print one JSON object.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List attempts, newest first.
    List(ListArgs),
    /// What is kept of one attempt; all of it with --json.
    Show {
        /// Its id.
        id: u64,
    },
    /// The last lines of a worker's log.
    Log {
        /// Id of the attempt.
        id: u64,
    },
    /// What differs between attempts.
    Compare {
        /// Their ids.
        #[arg(required = true, value_name = "ID", num_args = 2..)]
        ids: Vec<u64>,
    },
    /// Write attempts, oldest first.
    Export {
        /// How: jsonl (everything), csv or markdown.
        #[arg(long, value_enum)]
        format: Format,
        /// Of this model.
        #[arg(long)]
        model: Option<String>,
    },
}

#[derive(Debug, Default, clap::Args)]
struct ListArgs {
    /// Of this model.
    #[arg(long)]
    model: Option<String>,
    /// In this state: stopped, failed, cancelled, lost, …
    #[arg(long, value_parser = parse_state)]
    state: Option<AttemptState>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

/// An id; a word that is no command comes here too.
fn parse_id(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_none| "expected list, show, log, compare, export, or the id of an attempt".to_owned())
}

fn parse_state(text: &str) -> Result<AttemptState, String> {
    let known = || AttemptState::ALL.map(AttemptState::name).join(", ");
    let found = AttemptState::ALL.into_iter().find(|state| state.name() == text);
    found.ok_or_else(|| format!("there are {}", known()))
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let Args { command, id, data, json } = args;
    if command.is_some() && id.is_some() {
        return Err(CliError::usage("an id alone shows that attempt; behind an id no command can stand"));
    }
    let asked = id.map(|id| Command::Show { id });
    match command.or(asked).unwrap_or(Command::List(ListArgs { limit: 50, ..ListArgs::default() })) {
        Command::List(ListArgs { model, state, limit }) => {
            let filter = Filter { model, state, limit: Some(limit), ..Filter::default() };
            let records = data.ask(async |store| Ledger::new(store).list(&filter).await)?;
            if json {
                let attempts: Vec<_> = records.into_iter().map(|record| record.attempt).collect();
                output::print_json(&serde_json::json!({ "attempts": attempts }))?;
            } else {
                output::print_page(list(&records))?;
            }
        }
        Command::Show { id } => {
            let record = one(&data, id)?;
            if json {
                output::print_json(&record)?;
            } else {
                output::print_page(attempt_page::page(&record))?;
            }
        }
        Command::Log { id } => {
            let log = data.ask(async |store| Ledger::new(store).log(id).await)?.ok_or_else(|| absent(id))?;
            if json {
                output::print_json(&serde_json::json!({ "id": id, "log": log }))?;
            } else {
                output::print(&log.into_iter().map(|line| line + "\n").collect::<String>())?;
            }
        }
        Command::Compare { ids } => {
            let records = ids.iter().map(|id| one(&data, *id)).collect::<Result<Vec<_>, _>>()?;
            let compared = compare(&records);
            if json {
                output::print_json(&compared)?;
            } else {
                output::print_page(compared_page(&compared))?;
            }
        }
        Command::Export { format, model } => {
            let filter = Filter { model, ..Filter::default() };
            let mut records = data.ask(async |store| Ledger::new(store).list(&filter).await)?;
            records.reverse();
            output::print(&export(&records, format)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn one(data: &DataArgs, id: u64) -> Result<AttemptRecord, CliError> {
    let found = data.ask(async |store| {
        let ledger = Ledger::new(store);
        let Some(mut record) = ledger.get(id).await? else { return Ok(None) };
        record.attempt.log = ledger.log(id).await?.unwrap_or_default();
        Ok(Some(record))
    })?;
    found.ok_or_else(|| absent(id))
}

fn absent(id: u64) -> CliError {
    phi3::api::ErrorObject::new("no_such_attempt", format!("there is no attempt {id}")).into()
}

fn list(records: &[AttemptRecord]) -> Page {
    let mut page = Page::default();
    if records.is_empty() {
        page.line(DIM, "no attempts");
    }
    let rows: Vec<Vec<Cell>> = records.iter().map(row).collect();
    page.table(&rows);
    page
}

/// The attempts side by side, one table for all topics so that their columns align; values in full.
fn compared_page(compared: &Comparison) -> Page {
    let first = |cell: Cell, rest: Vec<Cell>| std::iter::once(cell).chain(rest).collect::<Vec<_>>();
    let ids = compared.ids.iter().map(|id| Cell::left(format!("attempt {id}")).styled(BOLD)).collect();
    let mut rows = vec![first(Cell::left(""), ids)];
    for (topic, differences) in compared.by_topic() {
        rows.push(vec![Cell::left(topic.heading()).styled(BOLD)]);
        for difference in differences {
            let cell = |value: &Value| {
                let style = if value.is_null() { DIM } else { Style::new() };
                Cell::left(difference.shown(value)).styled(style)
            };
            rows.push(first(Cell::left(&difference.path), difference.values.iter().map(cell).collect()));
        }
    }
    let mut page = Page::default();
    if rows.len() == 1 {
        page.line(DIM, "nothing differs");
    } else {
        page.side_by_side(&rows);
    }
    page
}

fn row(record: &AttemptRecord) -> Vec<Cell> {
    let attempt = &record.attempt;
    let (style, ended) = attempt_page::standing(record);
    let changes: Vec<String> = attempt.changes.iter().map(ToString::to_string).collect();
    let memory = attempt.report.as_ref().map(|report| report.memory).or(record.evidence.memory);
    let memory = memory.map_or_else(String::new, |memory| format_bytes(memory.measured.total_bytes));
    let parent = attempt.parent.map_or_else(String::new, |parent| format!("of {parent}"));
    let said = attempt.error.as_ref().map_or_else(|| attempt.note.clone(), ToString::to_string);
    vec![
        Cell::right(attempt.id.to_string()).styled(BOLD),
        Cell::left(attempt.model.clone()),
        Cell::left(attempt.kind.name()),
        Cell::left(ended).styled(style),
        Cell::left(parent).styled(DIM),
        Cell::left(changes.join(", ")),
        Cell::right(memory),
        Cell::left(said),
    ]
}

#[cfg(test)]
mod tests {
    use phi3::api::Difference;
    use serde_json::json;

    use super::*;

    /// What differs may be at the end of a long value.
    #[test]
    fn long_values_are_compared_in_full() {
        let words = |last: &str| format!("{} {last}", "the same words in both of them ".repeat(8).trim());
        let ids = |last: u32| (1000..1040).chain([last]).collect::<Vec<u32>>();
        let row = |path: &str, values| Difference { path: path.to_owned(), values };
        let compared = Comparison {
            ids: vec![3, 2],
            differences: vec![
                row("report.text", vec![json!(words("first")), json!(words("second"))]),
                row("report.generated_tokens", vec![json!(ids(7)), json!(ids(8))]),
                row("load_config.dtype", vec![json!("float32"), Value::Null]),
                row("report.memory.predicted.activation_bytes", vec![json!(1), json!(2)]),
            ],
        };
        let plain = anstream::adapter::strip_str(&compared_page(&compared).into_text()).to_string();
        assert!(plain.lines().all(|line| line.chars().count() <= 110), "{plain}");
        for part in ["first", "second", "7]", "8]", "float32", "–", "activation_bytes  1 B"] {
            assert!(plain.contains(part), "{part}: {plain}");
        }
        let count = |word: &str| plain.matches(word).count();
        assert_eq!((count("words"), count("…")), (16, 0), "{plain}");
    }
}
