//! `preflight ladder`: the tested sequence of tries, without a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use phi3::api::ErrorObject;
use phi3::ladder::{LadderReport, Next, Profile, Rung, RungReport, Status, next};
use phi3::units::format_bytes;
use preflight_files::{Source, read_small};
use tokio_util::sync::CancellationToken;

use super::page::{BAD, BOLD, DIM, GOOD, Page};
use super::{output, run};
use crate::climb::{Climber, Ground};
use crate::error::{CliError, Exit};
use crate::ladders::{PROFILE_BYTES, Profiles};
use crate::toml_text;
use crate::worker_client::Limits;

/// Climb the ladder: inspect, dry run, GPU, what mends it, validate, known-good.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Model directory, *.safetensors, index JSON, *.gguf, or hf:ORG/NAME[@REV] that is in the cache.
    path: String,
    /// Profile in TOML [default: the ladder of the product].
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let profile = match &args.profile {
        Some(file) => read(file)?,
        None => Profiles::standard(),
    };
    let path = Source::on_this_machine(&args.path)?;
    let report = run::on_runtime(async |cancel| climb(&profile, path, args.json, cancel).await)?;
    if args.json {
        output::print_json(&report)?;
    } else {
        let mut page = Page::default();
        let (style, word) = if report.passed { (GOOD, "passed") } else { (BAD, "failed") };
        page.line(style, &format!("{word}: {}", report.reason));
        if let Some(known) = &report.known_good {
            page.heading("Known good");
            let device = known.device.as_deref().unwrap_or("auto");
            page.line(
                DIM,
                &format!(
                    "validated by step {} on {device}; commit it with a server, or keep this",
                    known.step
                ),
            );
            page.sentences(
                2,
                anstyle::Style::new(),
                &serde_json::Value::Object(known.load_config.clone()).to_string(),
            );
        }
        output::print_page(page)?;
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) })
}

fn read(file: &Path) -> Result<Profile, CliError> {
    let refuse = |reason: String| {
        let name = file.display().to_string();
        ErrorObject::new("profile_invalid", format!("{name}: {reason}")).at(name)
    };
    let text = toml_text::utf8(read_small(file, PROFILE_BYTES as u64)?).map_err(refuse)?;
    Ok(Profiles::parse(&text).map_err(|error| refuse(error.message))?)
}

async fn climb(
    profile: &Profile,
    path: String,
    json: bool,
    cancel: CancellationToken,
) -> Result<LadderReport, CliError> {
    let ground = Ground::survey(&path)?;
    let mut climber = Climber::new(path, Limits::default(), cancel);
    let mut rungs: Vec<RungReport> = Vec::new();
    let mut progress = run::Progress::new();
    loop {
        let done: Vec<_> = rungs.iter().map(|rung| rung.outcome.clone()).collect();
        let step = &profile.steps[rungs.len().min(profile.steps.len() - 1)];
        let rung = match next(profile, &ground.facts(&[]), &done) {
            Next::Done => break,
            Next::Skip(outcome) => {
                let outcome = *outcome;
                RungReport { title: step.title.clone(), action: step.action, outcome, reports: Vec::new() }
            }
            Next::Run(rung) => {
                tell(json, |page| announce(page, &rung))?;
                let ran = climber.climb(&rung, &mut |step| progress.show(step)).await;
                progress.clear();
                match ran {
                    Ok(rung) => rung,
                    Err(error) => {
                        climber.unload().await;
                        return Err(error.into());
                    }
                }
            }
        };
        tell(json, |page| ended(page, &rung))?;
        rungs.push(rung);
    }
    climber.unload().await;
    Ok(LadderReport::new(profile, rungs))
}

/// Prints lines as they come, where people read.
fn tell(json: bool, write: impl FnOnce(&mut Page)) -> Result<(), CliError> {
    if json {
        return Ok(());
    }
    let mut page = Page::default();
    write(&mut page);
    output::print_page(page)
}

/// What will be tried, and what it is predicted to take.
fn announce(page: &mut Page, rung: &Rung) {
    page.line(BOLD, &format!("{}  {}", rung.step, rung.title));
    if let (Some(memory), Some(device)) = (&rung.predicted, &rung.device) {
        let free = rung.free_bytes.map_or("unknown".to_owned(), format_bytes);
        let predicted = format_bytes(memory.total_bytes);
        page.line(DIM, &format!("    predicted {predicted} on {device}, {free} free"));
    }
    for change in &rung.changes {
        page.line(DIM, &format!("    {change}"));
    }
}

fn ended(page: &mut Page, rung: &RungReport) {
    let outcome = &rung.outcome;
    let (style, word) = match outcome.status {
        Status::Passed => (GOOD, "passed"),
        Status::Failed => (BAD, "failed"),
        Status::Skipped => {
            page.line(BOLD, &format!("{}  {}", outcome.step, rung.title));
            (DIM, "skipped")
        }
    };
    page.sentences(4, style, &format!("{word}: {}", outcome.reason));
    if let (Some(predicted), Some(measured)) = (&outcome.predicted, &outcome.measured) {
        let [predicted, measured] = [predicted, measured].map(|memory| format_bytes(memory.total_bytes));
        page.line(DIM, &format!("    predicted {predicted}, measured {measured}"));
    }
}
