//! `preflight validate`: prove that a model computes.

use std::process::ExitCode;

use phi3::api::worker::{Load, Message, PromptSource, Request, Validate};
use phi3::units::{format_counted, format_small};
use phi3::validate::{ProbeKind, ProbeSet, Report, Verdict};

use super::page::{BAD, BOLD, Cell, DIM, GOOD, Page, WARN};
use super::{load, output, run};
use crate::error::{CliError, Exit};

/// Load a model, let it answer a short prompt, and judge what it computes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: run::Target,
    /// Text to continue, encoded as it is [default: a sentence cut to ten tokens].
    #[arg(long, value_name = "TEXT", conflicts_with = "chat")]
    prompt: Option<String>,
    /// Question to answer: one user message through the model's chat template.
    #[arg(long, value_name = "TEXT")]
    chat: Option<String>,
    /// Most tokens to generate.
    #[arg(long, value_name = "N", default_value_t = Validate::MAX_NEW_TOKENS as u32, value_parser = clap::value_parser!(u32).range(1..))]
    max_new_tokens: u32,
    /// Also run across the boundaries that a short prompt cannot reach: none, window, long or all.
    #[arg(long, value_name = "SET", default_value = "none", value_parser = parse_probes)]
    probe: ProbeSet,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let prompt = match (args.prompt, args.chat) {
        (Some(text), _) => PromptSource::Text(text),
        (None, Some(text)) => PromptSource::Chat(text),
        (None, None) => PromptSource::Default,
    };
    let spec =
        Validate { prompt, max_new_tokens: args.max_new_tokens as usize, probe: args.probe, reference: true };
    let load = Load { validate: Some(spec.clone()), ..args.target.load()? };
    let report = run::with_model(load, async |worker, _loaded| {
        let is_report = |message| match message {
            Message::Report(report) => Some(*report),
            _ => None,
        };
        worker.call("validating", &Request::Validate(spec), is_report).await
    })?;
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print_page(page(&args.target.path, &report))?;
    }
    Ok(match report.verdict {
        Verdict::Fail => ExitCode::from(Exit::Failed as u8),
        Verdict::Pass | Verdict::Unverified => ExitCode::SUCCESS,
    })
}

fn parse_probes(text: &str) -> Result<ProbeSet, String> {
    match text {
        "none" => Ok(ProbeSet::None),
        "window" => Ok(ProbeSet::Window),
        "long" => Ok(ProbeSet::Long),
        "all" => Ok(ProbeSet::All),
        _ => Err("use none, window, long or all".to_owned()),
    }
}

fn page(path: &str, report: &Report) -> Page {
    let mut page = Page::default();
    page.line(BOLD, path);
    let (style, word) = judged(report.verdict);
    page.line(style, &format!("{word}: {}", report.reason));
    sections(&mut page, report);
    page
}

/// What a run did, under headings of its own.
pub(super) fn sections(page: &mut Page, report: &Report) {
    if !report.text.is_empty() {
        page.heading("Text");
        for line in report.text.trim().lines() {
            page.sentences(2, anstyle::Style::new(), line);
        }
    }

    page.heading("Run");
    let row = |name: &str, value: String| vec![Cell::left(name), Cell::left(value)];
    let ended = match report.stop_reason.as_str() {
        "stop" => "a stop token",
        Report::BROKE_OFF => "logits that are no numbers",
        _ => "the limit",
    };
    page.table(&[
        row("device", format!("{}, {}", report.device, report.dtype)),
        row(
            "tokens",
            format!(
                "{} of prompt, {} generated, ended by {ended}",
                report.prompt_tokens.len(),
                report.generated_tokens.len()
            ),
        ),
        row("load", format!("{:.0} ms", report.load_ms)),
        row("first token", measured(report.ttft_ms, "ms")),
        row("prefill", measured(report.prefill_tokens_per_s, "tokens/s")),
        row(
            "decode",
            match report.generated_tokens.as_slice() {
                [_] => "not measured: it takes two tokens".to_owned(),
                _ => measured(report.decode_tokens_per_s, "tokens/s"),
            },
        ),
        row("NaN, infinite", format!("{}, {}", report.nan_count, report.inf_count)),
    ]);
    load::memory(page, &report.memory);

    if let Some(difference) = &report.difference {
        page.heading("Against f32 on the CPU");
        let (style, word) = judged(difference.verdict);
        page.table(&[
            vec![Cell::left("verdict"), Cell::left(word).styled(style)],
            row(
                "largest",
                format!(
                    "{}, bound {:.1e}",
                    format_small(difference.max),
                    difference.bound * difference.scale
                ),
            ),
            row("mean", format_small(difference.mean)),
            row(
                "same first id",
                format!(
                    "{:.0} % of {}",
                    difference.top1_agreement * 100.0,
                    format_counted(difference.rows as u64, "row")
                ),
            ),
        ]);
    }
    if !report.top_logits.is_empty() {
        page.heading("Likeliest after the prompt");
        let row = |top: &phi3::validate::TopLogit| {
            vec![
                Cell::right(top.token.to_string()),
                Cell::right(format!("{:.3}", top.logit)),
                Cell::left(format!("{:?}", top.text)),
            ]
        };
        page.table(&report.top_logits.iter().map(row).collect::<Vec<_>>());
    }

    if !report.probes.is_empty() {
        page.heading("Probes");
        let rows: Vec<_> = report
            .probes
            .iter()
            .map(|probe| {
                let name = match probe.kind {
                    ProbeKind::Window => "window",
                    ProbeKind::Long => "long",
                };
                let (style, word) = match (probe.verdict, probe.tokens) {
                    (Verdict::Unverified, 0) => (DIM, "not run"),
                    (verdict, _) => judged(verdict),
                };
                vec![Cell::left(name), Cell::left(word).styled(style), Cell::left(&probe.detail)]
            })
            .collect();
        page.table(&rows);
    }
}

/// What was timed; of a run that broke off nothing was.
fn measured(value: Option<f64>, unit: &str) -> String {
    value.map_or("not measured".to_owned(), |value| format!("{value:.1} {unit}"))
}

fn judged(verdict: Verdict) -> (anstyle::Style, &'static str) {
    match verdict {
        Verdict::Pass => (GOOD, "pass"),
        Verdict::Fail => (BAD, "fail"),
        Verdict::Unverified => (WARN, "unverified"),
    }
}
