//! `preflight ladder`: the tested sequence of tries, without a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use phi3::api::{Certificate, ErrorObject, Ladder, LadderRung, LadderState, RungState};
use phi3::ladder::{Action, Next, Profile, Rung, conclude, next};
use phi3::units::format_bytes;
use phi3::validate::Report;
use preflight_files::{Source, read_small};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::out_file::OutFile;
use super::page::{BAD, BOLD, DIM, GOOD, Page};
use super::{output, run};
use crate::attempts::now_ms;
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
    /// File for the certificate of what was validated: `preflight verify` runs it again, `export --load-config` and
    /// others take its load config.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A ladder as `GET /api/ladders/ID` tells it, with the reports and the certificate that a server keeps elsewhere.
#[derive(Debug, Serialize)]
struct Climbed {
    profile: String,
    state: LadderState,
    reason: String,
    rungs: Vec<ClimbedRung>,
    known_good: Option<Certificate>,
    created_ms: u64,
    finished_ms: u64,
}

#[derive(Debug, Serialize)]
struct ClimbedRung {
    #[serde(flatten)]
    rung: LadderRung,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reports: Vec<Report>,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let profile = match &args.profile {
        Some(file) => read(file)?,
        None => Profiles::standard(),
    };
    if args.out.is_some() && profile.steps.iter().all(|step| step.action != Action::Document) {
        let message = "--out: no step of the profile is `document`, so nothing would be certified; add one";
        return Err(CliError::usage(message));
    }
    let path = Source::on_this_machine(&args.path)?;
    // Before the first step: what was climbed for long must not be lost for want of a place.
    let out = args.out.as_deref().map(OutFile::at).transpose()?;
    let climbed = run::on_runtime(async |cancel| climb(&profile, &args, path, cancel).await)?;
    let written = match (out, &climbed.known_good) {
        (Some(out), Some(certificate)) => Some(out.write(certificate)?),
        _ => None,
    };
    if args.json {
        output::print_json(&climbed)?;
    } else {
        output::print_page(end(&climbed, written.as_deref()))?;
    }
    let passed = climbed.state == LadderState::Passed;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) })
}

/// How it ended, and what it leaves behind.
fn end(climbed: &Climbed, written: Option<&str>) -> Page {
    let mut page = Page::default();
    let style = if climbed.state == LadderState::Passed { GOOD } else { BAD };
    page.line(style, &format!("{}: {}", climbed.state.name(), climbed.reason));
    if let Some(known) = &climbed.known_good {
        page.heading("Known good");
        page.sentences(2, anstyle::Style::new(), &Value::Object(known.load_config.clone()).to_string());
        let told = match written {
            Some(file) => format!("certified in {file}: `preflight verify {file}` runs it again"),
            None => "--out FILE writes its certificate, which `preflight verify FILE` runs again".to_owned(),
        };
        page.sentences(2, DIM, &told);
    }
    page
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
    args: &Args,
    path: String,
    cancel: CancellationToken,
) -> Result<Climbed, CliError> {
    let ground = Ground::survey(&path)?;
    let mut climber = Climber::new(profile.name.clone(), args.path.clone(), path, Limits::default(), cancel);
    // A ladder as a server has it, of a model that is in no registry.
    let mut ladder = Ladder::new(String::new(), profile, String::new(), now_ms());
    let mut reports: Vec<Vec<Report>> = Vec::new();
    let mut progress = run::Progress::new();
    loop {
        let done = ladder.done();
        let at = done.len();
        match next(profile, &ground.facts(&[]), &done) {
            Next::Done => break,
            Next::Skip(outcome) => {
                ladder.rungs[at].settle(*outcome);
                reports.push(Vec::new());
            }
            Next::Run(rung) => {
                tell(args.json, |page| announce(page, &rung))?;
                ladder.rungs[at].begin(&rung);
                let ran = climber.climb(&rung, &mut |step| progress.show(step)).await;
                progress.clear();
                match ran {
                    Ok((outcome, ran)) => {
                        ladder.rungs[at].settle(outcome);
                        reports.push(ran);
                    }
                    Err(error) => {
                        climber.unload().await;
                        return Err(error.into());
                    }
                }
            }
        }
        tell(args.json, |page| ended(page, &ladder.rungs[at]))?;
    }
    climber.unload().await;
    let (passed, reason) = conclude(profile, &ladder.done());
    let rungs = ladder.rungs.into_iter().zip(reports);
    Ok(Climbed {
        profile: ladder.profile,
        state: if passed { LadderState::Passed } else { LadderState::Failed },
        reason,
        rungs: rungs.map(|(rung, reports)| ClimbedRung { rung, reports }).collect(),
        known_good: climber.into_certificate(),
        created_ms: ladder.created_ms,
        finished_ms: now_ms(),
    })
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
    if let (true, Some(memory), Some(device)) = (rung.action.loads(), &rung.predicted, &rung.device) {
        let free = rung.free_bytes.map_or("unknown".to_owned(), format_bytes);
        let predicted = format_bytes(memory.total_bytes);
        page.line(DIM, &format!("    predicted {predicted} on {device}, {free} free"));
    }
    for change in &rung.changes {
        page.line(DIM, &format!("    {change}"));
    }
}

fn ended(page: &mut Page, rung: &LadderRung) {
    let (style, word) = match rung.state {
        RungState::Passed => (GOOD, "passed"),
        RungState::Failed => (BAD, "failed"),
        RungState::Skipped | RungState::Waiting | RungState::Running => {
            page.line(BOLD, &format!("{}  {}", rung.step, rung.title));
            (DIM, "skipped")
        }
    };
    page.sentences(4, style, &format!("{word}: {}", rung.reason));
    if let (Some(predicted), Some(measured)) = (&rung.predicted, &rung.measured) {
        let [predicted, measured] = [predicted, measured].map(|memory| format_bytes(memory.total_bytes));
        page.line(DIM, &format!("    predicted {predicted}, measured {measured}"));
    }
}
