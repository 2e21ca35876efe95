//! `preflight load`: load, report, unload.

use std::process::ExitCode;

use phi3::api::worker::Loaded;
use phi3::engine::Memory;
use phi3::units::{format_bytes, format_count, format_counted};
use phi3::validate::PredictedMeasured;

use super::page::{BOLD, Cell, DIM, GOOD, Page};
use super::{output, run};
use crate::error::CliError;

/// Load a model in a process of its own, report, and unload it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: run::Target,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let loaded = run::with_model(args.target.load()?, async |_worker, loaded| Ok(loaded))?;
    if args.json {
        output::print_json(&loaded)?;
    } else {
        output::print_page(page(&args.target.path, &loaded))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn page(path: &str, loaded: &Loaded) -> Page {
    let mut page = Page::default();
    let engine = &loaded.engine;
    page.line(BOLD, path);
    page.line(GOOD, &format!("loaded in {:.0} ms, then unloaded", loaded.load_ms));
    page.heading("Engine");
    let row = |name: &str, value: String| vec![Cell::left(name), Cell::left(value)];
    page.table(&[
        row(
            "engine",
            format!(
                "{} on {}, {}",
                engine.engine,
                engine.device,
                format_counted(engine.threads as u64, "thread")
            ),
        ),
        row("dtype", engine.dtype.to_string()),
        row("parameters", format_count(loaded.params_total)),
        row("context", format_counted(loaded.context as u64, "token")),
        row("host peak", format_bytes(loaded.host_peak_bytes)),
    ]);
    memory(&mut page, &loaded.memory);
    for part in &loaded.devices {
        let budget = part.budget_bytes.map(|bytes| format!(", {} allowed", format_bytes(bytes)));
        page.heading(&format!("On {}{}", part.device, budget.unwrap_or_default()));
        terms(&mut page, &part.memory);
    }
    page
}

/// Predicted against measured, term by term.
pub(super) fn memory(page: &mut Page, memory: &PredictedMeasured) {
    page.heading("Memory");
    terms(page, memory);
}

fn terms(page: &mut Page, memory: &PredictedMeasured) {
    let head = |text: &str| Cell::right(text).styled(DIM);
    let mut rows = vec![vec![Cell::left(""), head("predicted"), head("measured")]];
    let term = |name: &str, of: fn(&Memory) -> u64| {
        let bytes = |memory: &Memory| Cell::right(format_bytes(of(memory)));
        vec![Cell::left(name), bytes(&memory.predicted), bytes(&memory.measured)]
    };
    rows.push(term("weights", |memory| memory.weights_bytes));
    rows.push(term("kv cache", |memory| memory.kv_cache_bytes));
    rows.push(term("activations", |memory| memory.activation_bytes));
    rows.push(term("overhead", |memory| memory.overhead_bytes));
    rows.push(term("total", |memory| memory.total_bytes));
    page.table(&rows);
}
