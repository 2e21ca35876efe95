//! `preflight bench`: how fast a model answers here.

use std::process::ExitCode;
use std::time::Instant;

use phi3::api::worker::{Load, Loaded, Message, Request};
use phi3::api::{ErrorObject, Generate, PromptInput, StreamEvent};
use phi3::engine::{EngineInfo, Sampling};
use phi3::units::format_counted;
use phi3::validate::PredictedMeasured;
use serde::Serialize;

use super::page::{BOLD, Cell, DIM, Page};
use super::{load, output, run};
use crate::error::CliError;
use crate::worker_client::{Worker, WorkerError};

/// Load a model and measure it: time to first token, prefill and decode, the median of several runs after one to warm up.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: run::Target,
    /// Tokens of the prompt, of made-up ids.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    prompt_tokens: u32,
    /// Tokens to generate; a model may stop before.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=131_072))]
    max_new_tokens: u32,
    /// Runs that count.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One answer, timed where its tokens arrive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Run {
    /// Tokens generated, a stop id included.
    generated_tokens: usize,
    /// From the request to the first token.
    ttft_ms: f64,
    /// Tokens of the prompt by that time.
    prefill_tokens_per_s: f64,
    /// Tokens after the first by the time between the first and the last; `None` where there was one alone.
    decode_tokens_per_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report {
    engine: EngineInfo,
    load_ms: f64,
    prompt_tokens: u32,
    /// Medians, each by itself.
    ttft_ms: f64,
    prefill_tokens_per_s: f64,
    decode_tokens_per_s: Option<f64>,
    runs: Vec<Run>,
    memory: PredictedMeasured,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let (prompt_tokens, max_new_tokens, runs) = (args.prompt_tokens, args.max_new_tokens, args.runs);
    let load = Load { context: Some((prompt_tokens + max_new_tokens) as usize), ..args.target.load()? };
    let report = run::with_model(load, async |worker, loaded| {
        let mut kept = Vec::new();
        for id in 0..=u64::from(runs) {
            let run = answer(worker, id, prompt_tokens, max_new_tokens).await?;
            // The first pays for what is made when it is first used.
            if id > 0 {
                kept.push(run);
            }
        }
        Ok(Report::new(loaded, prompt_tokens, kept))
    })?;
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print_page(page(&args.target.path, &report))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn answer(worker: &mut Worker, id: u64, prompt: u32, most: u32) -> Result<Run, WorkerError> {
    let request = Request::Generate(Generate {
        id,
        request: id,
        // Ids that every vocabulary has; which they are changes no time.
        prompt: PromptInput::Ids((0..prompt).map(|index| 1 + index * 7 % 29).collect()),
        max_new_tokens: Some(most as usize),
        sampling: Sampling::GREEDY,
        stop: Vec::new(),
        logprobs: None,
    });
    let begun = Instant::now();
    let mut first = None;
    let ended = worker.call("generating", &request, |message| match message {
        Message::Stream { event: StreamEvent::Token { .. }, .. } => {
            first.get_or_insert_with(Instant::now);
            None
        }
        Message::Stream { event: StreamEvent::Finished { completion_tokens, .. }, .. } => {
            Some(Ok((completion_tokens, Instant::now())))
        }
        Message::Stream { event: StreamEvent::Failed { error }, .. } => Some(Err(error)),
        _ => None,
    });
    let (generated_tokens, last) = ended.await?.map_err(WorkerError::Refused)?;
    let first = first.ok_or_else(|| {
        let message = "the model stopped before its first token: nothing can be measured";
        WorkerError::Refused(ErrorObject::new("validation_failed", message))
    })?;
    let ttft_s = (first - begun).as_secs_f64();
    let decode_s = (last - first).as_secs_f64();
    Ok(Run {
        generated_tokens,
        ttft_ms: ttft_s * 1e3,
        prefill_tokens_per_s: f64::from(prompt) / ttft_s,
        decode_tokens_per_s: (generated_tokens > 1).then(|| (generated_tokens - 1) as f64 / decode_s),
    })
}

impl Report {
    fn new(loaded: Loaded, prompt_tokens: u32, runs: Vec<Run>) -> Self {
        let of = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect()).unwrap_or_default();
        Self {
            engine: loaded.engine,
            load_ms: loaded.load_ms,
            prompt_tokens,
            ttft_ms: of(|run| run.ttft_ms),
            prefill_tokens_per_s: of(|run| run.prefill_tokens_per_s),
            decode_tokens_per_s: median(runs.iter().filter_map(|run| run.decode_tokens_per_s).collect()),
            runs,
            memory: loaded.memory,
        }
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn page(path: &str, report: &Report) -> Page {
    let mut page = Page::default();
    let engine = &report.engine;
    page.line(BOLD, path);
    let threads = format_counted(engine.threads as u64, "thread");
    page.line(DIM, &format!("{} on {} in {}, {threads}", engine.engine, engine.device, engine.dtype));
    page.heading("Speed");
    let spread = |of: &dyn Fn(&Run) -> Option<f64>| {
        let values: Vec<f64> = report.runs.iter().filter_map(of).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        format!("{low:.1} to {high:.1} in {}", format_counted(values.len() as u64, "run"))
    };
    let row = |name: &str, value: String, range: String| {
        vec![Cell::left(name), Cell::right(value), Cell::left(range).styled(DIM)]
    };
    let decode = report.decode_tokens_per_s.map_or("–".to_owned(), |speed| format!("{speed:.1} tok/s"));
    let prompt = format_counted(u64::from(report.prompt_tokens), "token");
    page.table(&[
        row("load", format!("{:.0} ms", report.load_ms), String::new()),
        row("prompt", prompt, String::new()),
        row("first token", format!("{:.1} ms", report.ttft_ms), spread(&|run| Some(run.ttft_ms))),
        row(
            "prefill",
            format!("{:.1} tok/s", report.prefill_tokens_per_s),
            spread(&|run| Some(run.prefill_tokens_per_s)),
        ),
        row("decode", decode, spread(&|run| run.decode_tokens_per_s)),
    ]);
    load::memory(&mut page, &report.memory);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
