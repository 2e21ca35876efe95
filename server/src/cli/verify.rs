//! `preflight verify`: runs a known-good load config again, here, and says what differs.

use std::path::PathBuf;
use std::process::ExitCode;

use phi3::api::worker::{Load, Message, Request};
use phi3::api::{Certificate, ErrorObject, FileFact, ModelSource};
use phi3::config::{JsonLimits, parse_json};
use phi3::dtype::DType;
use phi3::units::{format_bytes, format_counted, format_small};
use phi3::validate::{Difference, Probe, Report, Verdict};
use preflight_files::{Source, read_small};
use serde::Serialize;
use serde_json::{Value, json};

use super::page::{BAD, BOLD, Cell, DIM, GOOD, Page};
use super::{output, run};
use crate::error::{CliError, Exit};
use crate::{evidence, values};

/// Largest certificate that is read.
const CERTIFICATE_BYTES: u64 = 16 << 20;

/// Run a known-good load config again and compare.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The certificate: what `preflight ladder --out` wrote, or GET /api/models/ID/known-good answers.
    certificate: PathBuf,
    /// The model, where it is not from the Hub or lies elsewhere than the certificate says.
    #[arg(long, value_name = "PATH")]
    model: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Verified {
    /// The same files, the same tokens, and no check failed.
    verified: bool,
    /// What proves or disproves it.
    checks: Vec<Check>,
    /// What may differ between machines.
    measured: Vec<Measured>,
    /// The report of this run.
    report: Report,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    passed: bool,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Measured {
    name: &'static str,
    certified: Value,
    here: Value,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let certificate = read(&args.certificate)?;
    let path = match (&args.model, &certificate.source) {
        (Some(path), _) => path.clone(),
        (None, ModelSource::Hub(hub)) => format!("hf:{hub}"),
        (None, ModelSource::Path(path)) => path.clone(),
    };
    let place = Source::on_this_machine(&path).map_err(|error| {
        let object = ErrorObject::from(error);
        let message = format!("{}; give the model with --model PATH", object.message);
        ErrorObject { message, ..object }
    })?;
    let files = evidence::hashed(place.as_ref()).map_err(|error| CliError::internal(error.to_string()))?;
    let load = Load {
        path: place,
        load_config: certificate.load_config.clone(),
        validate: Some(certificate.run.clone()),
        ..Load::default()
    };
    let spec = certificate.run.clone();
    let report = run::with_model(load, async |worker, _loaded| {
        let request = Request::Validate(spec);
        let is_report = |message| if let Message::Report(report) = message { Some(*report) } else { None };
        worker.call("validating", &request, is_report).await
    })?;
    let verified = compare(&certificate, &files, report);
    if args.json {
        output::print_json(&verified)?;
    } else {
        output::print_page(page(&certificate, &verified))?;
    }
    Ok(if verified.verified { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) })
}

fn read(path: &std::path::Path) -> Result<Certificate, CliError> {
    let shown = path.display().to_string();
    let refuse =
        |why: String| ErrorObject::new("certificate_invalid", format!("{shown}: {why}")).at(shown.clone());
    let json = read_small(path, CERTIFICATE_BYTES)?;
    let limits = JsonLimits { depth: 64, values: 1 << 20, string_bytes: usize::MAX };
    let value = parse_json(&json, limits).map_err(|error| refuse(error.to_string()))?;
    match value["preflight_certificate"].as_u64() {
        Some(version) if version == u64::from(Certificate::VERSION) => {}
        Some(version) => {
            let message =
                format!("is of version {version}, this build reads version {}", Certificate::VERSION);
            return Err(refuse(message).into());
        }
        None => return Err(refuse("is no certificate".to_owned()).into()),
    }
    let certificate: Certificate =
        values::from_json(&value).map_err(|wrong| refuse(format!("{}{}", wrong.path, wrong.rest)))?;
    if let Some(key) = values::unread_key(&value, &certificate) {
        return Err(refuse(format!("unknown key `{key}`")).into());
    }
    // Nothing that failed is ever certified, and nothing of which a part is not known.
    let report = &certificate.report;
    let is_too_far = |difference: &Difference| {
        difference.verdict == Verdict::Fail || difference.share() > Difference::bound(report.dtype)
    };
    let differs = report.difference.as_ref().is_some_and(is_too_far);
    let in_layers = report.layers.iter().any(|layer| layer.nan + layer.inf > 0);
    let is_odd = report.difference.as_ref().is_some_and(|difference| {
        difference.bound != Difference::bound(report.dtype) || difference.mean > difference.max
    });
    let in_probes = report.probes.iter().any(|probe| probe.non_finite > 0);
    if report.verdict == Verdict::Fail
        || differs
        || is_odd
        || in_probes
        || in_layers
        || report.nan_count + report.inf_count > 0
    {
        return Err(refuse("its own report says that the validation failed".to_owned()).into());
    }
    if let Some(missing) = certificate.lacks() {
        return Err(refuse(format!("lacks {missing}")).into());
    }
    Ok(certificate)
}

fn compare(certificate: &Certificate, files: &[FileFact], report: Report) -> Verified {
    let certified = &certificate.report;
    let differ = evidence::differing(&certificate.files, files);
    let same = || format!("{}, the same", format_counted(certificate.files.len() as u64, "file"));
    let detail = if differ.is_empty() { same() } else { differ.join("; ") };
    let mut checks = vec![Check { name: "files", passed: differ.is_empty(), detail }];
    let same = certified.prompt_tokens == report.prompt_tokens;
    checks.push(Check { name: "prompt tokens", passed: same, detail: tokens(same, &report.prompt_tokens) });
    let same = certified.generated_tokens == report.generated_tokens;
    let ends = [&certified.stop_reason, &report.stop_reason];
    let detail = match ends[0] == ends[1] {
        false if same => format!("ended by `{}`, here by `{}`", ends[0], ends[1]),
        _ => tokens(same, &report.generated_tokens),
    };
    checks.push(Check { name: "generated tokens", passed: same && ends[0] == ends[1], detail });
    let same = certified.text == report.text;
    let detail = if same { "the same".to_owned() } else { format!("another here: {:?}", report.text) };
    checks.push(Check { name: "text", passed: same, detail });
    let same = certified.dtype == report.dtype;
    let detail =
        if same { report.dtype.to_string() } else { format!("{}, here {}", certified.dtype, report.dtype) };
    checks.push(Check { name: "dtype", passed: same, detail });
    checks.push(likeliest_are_the_same(certified, &report));
    checks.extend(reference_is_as_far(certified, &report));
    checks.extend(probes_are_the_same(certified, &report));
    let [there, here] = [certified, &report].map(|report| report.layers.len());
    let detail = if there == here {
        format!("{}, the same", format_counted(here as u64, "row"))
    } else {
        format!("{}, here {here}", format_counted(there as u64, "row"))
    };
    checks.push(Check { name: "layers", passed: there == here, detail });
    let passed = report.verdict != Verdict::Fail;
    checks.push(Check { name: "validation", passed, detail: report.reason.clone() });
    let values = |report: &Report| {
        [
            // Another machine may have another one and still compute the same.
            ("device", json!(report.device)),
            ("load_ms", json!(report.load_ms)),
            ("ttft_ms", json!(report.ttft_ms)),
            ("prefill_tokens_per_s", json!(report.prefill_tokens_per_s)),
            ("decode_tokens_per_s", json!(report.decode_tokens_per_s)),
            ("measured_total_bytes", json!(report.memory.measured.total_bytes)),
        ]
    };
    let pairs = values(certified).into_iter().zip(values(&report));
    let measured = pairs.map(|((name, certified), (_, here))| Measured { name, certified, here });
    Verified {
        verified: checks.iter().all(|check| check.passed),
        checks,
        measured: measured.collect(),
        report,
    }
}

fn tokens(same: bool, here: &[u32]) -> String {
    if same {
        format!("{}, the same", format_counted(here.len() as u64, "id"))
    } else {
        format!("others here: {here:?}")
    }
}

/// The likeliest tokens after the prompt: the same best id, and logits of what both name as close as the format lets
/// another processor come.
fn likeliest_are_the_same(certified: &Report, here: &Report) -> Check {
    let best = |report: &Report| report.top_logits.first().map(|top| top.token);
    let same_best = best(certified) == best(here);
    let scale = certified.top_logits.iter().map(|top| f64::from(top.logit.abs())).fold(0.0, f64::max);
    // One that is not among the likeliest here is no likelier than the last of them.
    let last = here.top_logits.last().map_or(f32::NEG_INFINITY, |top| top.logit);
    let apart = certified.top_logits.iter().map(|top| {
        let found = here.top_logits.iter().find(|found| found.token == top.token);
        f64::from(found.map_or(last, |found| found.logit) - top.logit).abs()
    });
    let share = apart.fold(0.0, f64::max) / scale.max(f64::MIN_POSITIVE);
    // Near ties may change places at the end of the list, and no more than that.
    let shared = certified
        .top_logits
        .iter()
        .filter(|top| here.top_logits.iter().any(|found| found.token == top.token));
    let same_best = same_best
        && certified.top_logits.len() == here.top_logits.len()
        && 2 * shared.count() > certified.top_logits.len();
    let bound = Difference::bound(certified.dtype);
    let best = if same_best { "the same best id" } else { "another best id, or others beside it, here" };
    let detail =
        format!("{best}, logits at most {} of the largest apart (bound {bound:.0e})", format_small(share));
    Check { name: "likeliest tokens", passed: same_best && share <= bound, detail }
}

/// How far both are from the CPU in f32, each on its own machine: as near as the format lets two machines come. `None` where
/// it could not be had here, and where it is one of the two.
fn reference_is_as_far(certified: &Report, here: &Report) -> Option<Check> {
    let here = here.difference.as_ref()?;
    let Some(there) = &certified.difference else {
        let is_reference = certified.device == "cpu" && certified.dtype == DType::F32;
        // What was not compared there is called unverified there.
        let is_told = is_reference || certified.verdict != Verdict::Pass;
        let detail = "passed there without having been compared".to_owned();
        return (!is_told).then_some(Check { name: "reference", passed: false, detail });
    };
    // A near tie may go the other way in a row or two.
    let ties = (2.0 / there.rows.max(1) as f64).max(0.1);
    let passed = there.rows == here.rows
        && (there.share() - here.share()).abs() <= Difference::bound(certified.dtype)
        && (there.top1_agreement - here.top1_agreement).abs() <= ties
        && (there.top5_overlap - here.top5_overlap).abs() <= ties;
    let told = |difference: &Difference| {
        let (rows, best) = (difference.rows, difference.top1_agreement * 100.0);
        let rows = format_counted(rows as u64, "row");
        format!("{} of the largest, same best id in {best:.0} % of {rows}", format_small(difference.share()))
    };
    let detail = format!("{}; here {}", told(there), told(here));
    Some(Check { name: "reference", passed, detail })
}

/// What each probe found. `None` where none was asked for.
fn probes_are_the_same(certified: &Report, here: &Report) -> Option<Check> {
    let found = |kind| here.probes.iter().find(|probe| probe.kind == kind);
    let is_same = |probe: &&Probe| {
        found(probe.kind).is_some_and(|here| (here.verdict, here.tokens) == (probe.verdict, probe.tokens))
    };
    let other = certified.probes.iter().find(|probe| !is_same(probe));
    let told = |probe: &Probe| {
        format!("{} at {}", json!(probe.verdict), format_counted(probe.tokens as u64, "token"))
    };
    let detail = match other {
        Some(probe) => {
            let here = found(probe.kind).map_or("not run".to_owned(), told);
            format!("{}: {}, here {here}", json!(probe.kind), told(probe)).replace('"', "")
        }
        None => format!("{}, the same", format_counted(certified.probes.len() as u64, "verdict")),
    };
    (!certified.probes.is_empty()).then_some(Check { name: "probes", passed: other.is_none(), detail })
}

fn page(certificate: &Certificate, verified: &Verified) -> Page {
    let mut page = Page::default();
    let attempt = match certificate.attempt {
        Certificate::NO_ATTEMPT => certificate.note.clone(),
        id => format!("attempt {id}"),
    };
    page.line(BOLD, &format!("{}, {attempt}", certificate.name));
    match verified.verified {
        true => page.line(GOOD, "verified: it computes here what it computed there"),
        false => page.line(BAD, "not verified"),
    }
    page.heading("Checks");
    let rows: Vec<_> = verified
        .checks
        .iter()
        .map(|check| {
            let (style, word) = if check.passed { (GOOD, "same") } else { (BAD, "differs") };
            vec![Cell::left(check.name), Cell::left(word).styled(style), Cell::left(check.detail.clone())]
        })
        .collect();
    page.table(&rows);
    page.heading("Measured");
    let head = |text: &str| Cell::right(text).styled(DIM);
    let mut rows = vec![vec![Cell::left(""), head("certified"), head("here")]];
    for Measured { name, certified, here } in &verified.measured {
        let show = |value: &Value| match value {
            Value::String(text) => Cell::right(text.clone()),
            Value::Null => Cell::right("not measured"),
            Value::Number(bytes) if bytes.is_u64() => {
                Cell::right(format_bytes(bytes.as_u64().unwrap_or_default()))
            }
            value => Cell::right(format!("{:.1}", value.as_f64().unwrap_or_default())),
        };
        rows.push(vec![Cell::left(*name), show(certified), show(here)]);
    }
    page.table(&rows);
    page
}
