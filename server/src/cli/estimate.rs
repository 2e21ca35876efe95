//! `preflight estimate`: what a load needs, before a byte is loaded.

use std::path::PathBuf;
use std::process::ExitCode;

use phi3::api::ErrorObject;
use phi3::dtype::DType;
use phi3::engine::Attention;
use phi3::estimate::fit::{Fit, Suggestion, Verdict};
use phi3::estimate::{Backend, Calibration, Format, KvPolicy, Options, Size, Term};
use phi3::placement::Placement;
use phi3::units::{format_bytes, format_count, format_counted};
use preflight_files::{Model, Source};

use super::ledger::DataArgs;
use super::page::{BAD, BOLD, Cell, DIM, GOOD, Page, WARN};
use super::{load_config, output};
use crate::devices;
use crate::error::{CliError, Exit};
use crate::ledger::Ledger;
use crate::reports::{self, Estimated};

/// Tell how much memory a model needs, term by term, and whether it fits.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Model directory, config.json, *.safetensors, index JSON, *.gguf, preset:NAME, hf:ORG/NAME[@REV] or an address
    /// of the Hub.
    path: String,
    /// Format of the weights: f32, bf16, f16, fp8, fp8_tensor, fp8_channel, fp8_block, int8, q8_0, q6_k, q4_k_m, q4_k,
    /// q4_0, awq or gptq [default: as stored, else the config's, else bf16].
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<Format>,
    /// Format of the KV cache: f32, bf16, f16, q8_0, fp8 or q4_0 [default: the dtype if it is a float, else bf16].
    #[arg(long, value_name = "DTYPE", value_parser = parse_kv_dtype)]
    kv_dtype: Option<DType>,
    /// Tokens of each sequence [default: 4096, or the model's positions if fewer].
    #[arg(long, value_name = "TOKENS")]
    context: Option<u64>,
    /// Sequences at once [default: 1].
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// How attention is computed [default: eager].
    #[arg(long, value_name = "eager|fused", value_parser = parse_attention)]
    attn: Option<Attention>,
    /// How the KV cache is sized [default: full].
    #[arg(long, value_name = "full|window|paged[:TOKENS]")]
    kv_policy: Option<KvPolicy>,
    /// A GPU by name, such as "RTX 4090": its usable memory and its runtime's overhead; `preflight gpus` lists them.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// What computes there, which says how much a runtime takes: cpu, cuda, rocm, metal or wgpu [default: what drives
    /// the device, else cpu].
    #[arg(long, value_name = "BACKEND")]
    backend: Option<Backend>,
    /// Free memory of the device: bytes, or with KB MB GB (powers of 10), KiB MiB GiB (powers of 2).
    #[arg(long, value_name = "SIZE")]
    device_memory: Option<Size>,
    /// JSON file of overrides, in Hugging Face's field names.
    #[arg(long, value_name = "FILE")]
    load_config: Option<PathBuf>,
    /// Folder of a server's attempts: the overhead of the runtime is taken from the loads that were measured there.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let options = Options {
        dtype: args.dtype,
        kv_dtype: args.kv_dtype,
        context: args.context,
        batch: args.batch,
        attn: args.attn,
        kv_policy: args.kv_policy,
        device: args.device,
        backend: args.backend,
        device_memory: args.device_memory,
        calibration: args.data_dir.map(measured).transpose()?.unwrap_or_default(),
        ..Options::default()
    };
    let overrides = load_config::read(args.load_config.as_deref())?;
    let model = Model::open(&Source::resolve(&args.path)?)?;
    let estimated =
        reports::estimate(&model, &options, &overrides).map_err(|error| match error.code.as_str() {
            "unknown_architecture" => CliError { object: error, exit: Exit::Unknown },
            "invalid_option" if error.path.as_deref() == Some("device") => {
                let message = format!("{} `preflight gpus` lists all of them", error.message);
                ErrorObject { message, ..error }.into()
            }
            _ => match (&args.load_config, error.path.as_deref()) {
                (Some(file), Some(path)) if path.starts_with("load_config.") => {
                    let message = format!("{}: {}", file.display(), error.message);
                    ErrorObject { message, ..error }.into()
                }
                _ => error.into(),
            },
        })?;
    if args.json {
        output::print_json(&estimated)?;
    } else {
        output::print_page(page(&model.name, &estimated))?;
    }
    let fits =
        estimated.report.fit.verdict != Some(Verdict::DoesNotFit) && estimated.placement_error.is_none();
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) })
}

/// What the loads in a data folder say of the overhead.
fn measured(data_dir: PathBuf) -> Result<Vec<Calibration>, CliError> {
    let here = devices::environment();
    DataArgs::of(data_dir).ask(async |store| Ledger::new(store).calibration(&here).await)
}

fn page(name: &str, estimated: &Estimated) -> Page {
    let report = &estimated.report;
    let mut page = Page::default();
    page.line(BOLD, name);
    let fit = &report.fit;
    let (style, word) = match fit.verdict {
        Some(verdict @ Verdict::Fits) => (GOOD, verdict.words()),
        Some(verdict @ Verdict::Tight) => (WARN, verdict.words()),
        Some(verdict @ Verdict::DoesNotFit) => (BAD, verdict.words()),
        None => (BOLD, ""),
    };
    page.sentences(
        0,
        style,
        [word, fit.reason.as_str()].join(if word.is_empty() { "" } else { ": " }).as_str(),
    );
    for warning in &fit.warnings {
        page.sentences(0, WARN, warning);
    }

    page.heading("Memory");
    let mut rows: Vec<_> = report.terms.iter().flat_map(term_rows).collect();
    let total = Cell::right(format_bytes(report.total_bytes)).styled(BOLD);
    rows.push(vec![Cell::left("total").styled(BOLD), total]);
    page.table(&rows);

    page.heading("Limits");
    let mut rows = vec![
        vec![Cell::left("parameters"), Cell::left(format_count(report.params_total))],
        vec![Cell::left("KV cache a token"), Cell::left(format_bytes(report.kv_bytes_per_token))],
    ];
    rows.extend(margin_rules(fit));
    if let Some(context) = fit.max_context {
        let text = match context {
            0 => "no context fits".to_owned(),
            tokens => format_counted(tokens, "token"),
        };
        rows.push(vec![Cell::left("longest context"), Cell::left(text)]);
    }
    if let Some(batch) = fit.max_batch.filter(|batch| *batch > 0) {
        rows.push(vec![Cell::left("most sequences at this context"), Cell::left(format_count(batch))]);
    }
    if let Some(batch) = fit.max_batch_at_4096.filter(|batch| *batch > 0 && Some(*batch) != fit.max_batch) {
        rows.push(vec![Cell::left("most sequences at 4,096 tokens"), Cell::left(format_count(batch))]);
    }
    let by_batch: Vec<_> = fit
        .max_contexts
        .iter()
        .filter(|limit| limit.max_context > 0)
        .map(|limit| format!("{}: {}", limit.batch, format_count(limit.max_context)))
        .collect();
    if !by_batch.is_empty() {
        rows.push(vec![Cell::left("longest context by batch"), Cell::left(by_batch.join(", "))]);
    }
    page.table(&rows);

    page.heading("While loading");
    let mut rows = vec![vec![
        Cell::left("low_cpu_mem_usage").styled(DIM),
        Cell::right("on the CPU").styled(DIM),
        Cell::right("host, beside a GPU").styled(DIM),
        Cell::right("on the GPU").styled(DIM),
    ]];
    rows.extend(report.load_peaks.iter().map(|peak| {
        let bytes = [peak.host_bytes, peak.host_bytes_beside_gpu, peak.gpu_bytes];
        std::iter::once(Cell::left(peak.low_cpu_mem_usage.to_string()))
            .chain(bytes.map(|bytes| Cell::right(format_bytes(bytes))))
            .collect()
    }));
    page.table(&rows);

    if let Some(advice) = &fit.advice {
        page.heading("What would help");
        page.sentences(2, BOLD, advice);
    }
    if !fit.suggestions.is_empty() {
        page.heading("One change that helps");
        let rows: Vec<_> = fit
            .suggestions
            .iter()
            .map(|suggestion| {
                vec![
                    Cell::left(&suggestion.label),
                    Cell::right(format_bytes(suggestion.held_bytes())),
                    Cell::left(verdict_of(suggestion)).styled(DIM),
                ]
            })
            .collect();
        page.table(&rows);
    }

    if let Some(placement) = &estimated.placement {
        placed(&mut page, placement);
    }
    page.heading("Assumed");
    let rows: Vec<_> = report
        .assumptions
        .iter()
        .map(|assumption| {
            let origin = if assumption.is_default { "default" } else { "given" };
            vec![
                Cell::left(assumption.name.replace('_', " ")),
                Cell::left(origin).styled(DIM),
                Cell::left(&assumption.value),
            ]
        })
        .collect();
    page.table(&rows);
    page
}

/// A term in its columns; a formula of several parts has a line for each.
/// The verdict of a change, with all that it takes where the device that the verdict is about holds a part.
fn verdict_of(suggestion: &Suggestion) -> String {
    let verdict = suggestion.verdict.words();
    match suggestion.device_bytes {
        Some(_) => format!("{verdict} (of {})", format_bytes(suggestion.total_bytes)),
        None => verdict.to_owned(),
    }
}

fn term_rows(term: &Term) -> Vec<Vec<Cell>> {
    let name = match term.device.as_str() {
        "device" => term.name.replace('_', " "),
        device => format!("{} on {device}", term.name.replace('_', " ")),
    };
    let mut parts = term.formula.split("; ").map(|part| Cell::left(part).styled(DIM));
    let first = vec![
        Cell::left(name),
        Cell::right(format_bytes(term.bytes)),
        Cell::left(term.badge.name()).styled(DIM),
        parts.next().unwrap_or_else(|| Cell::left("")),
    ];
    let rest = parts.map(|part| vec![Cell::left(""), Cell::left(""), Cell::left(""), part]);
    std::iter::once(first).chain(rest).collect()
}

/// The 1.2× rule both ways: on weights alone, as people use it, and on everything, as it should be.
fn margin_rules(fit: &Fit) -> Vec<Vec<Cell>> {
    let rule = &fit.margin_rule;
    let verdict = |bytes: u64| match fit.available_bytes {
        Some(available) if bytes <= available => ": yes",
        Some(_) => ": no",
        None => "",
    };
    let wrong = match rule.break_even_context {
        Some(context) => format!("wrong beyond {}", format_counted(context, "token")),
        None => "here it does not grow".to_owned(),
    };
    let weights_only = format!(
        "{}{} (the usual rule, which forgets the cache: {wrong})",
        format_bytes(rule.weights_only_bytes),
        verdict(rule.weights_only_bytes),
    );
    let everything = format!("{}{}", format_bytes(rule.everything_bytes), verdict(rule.everything_bytes));
    vec![
        vec![Cell::left("1.2 × weights"), Cell::left(weights_only)],
        vec![Cell::left("1.2 × everything"), Cell::left(everything)],
    ]
}

/// Each device with what lies on it, and the modules in runs.
fn placed(page: &mut Page, placement: &Placement) {
    page.heading("Placement");
    let header = ["", "modules", "weights", "kv cache", "activations", "overhead", "total", "budget", "free"];
    let mut rows = vec![header.map(|word| Cell::right(word).styled(DIM)).into()];
    rows.extend(placement.devices.iter().map(|device| {
        let bytes = [
            device.weights_bytes,
            device.kv_cache_bytes,
            device.activation_bytes,
            device.overhead_bytes,
            device.total_bytes,
            device.budget_bytes,
            device.free_bytes,
        ];
        [Cell::left(device.device.to_string()), Cell::right(device.modules.to_string())]
            .into_iter()
            .chain(bytes.map(|bytes| Cell::right(format_bytes(bytes))))
            .collect::<Vec<_>>()
    }));
    page.table(&rows);
    for run in placement.modules.chunk_by(|a, b| a.device == b.device) {
        if let [first, .., last] = run {
            let text = format!("{} to {}: {}", first.name, last.name, last.device);
            page.sentences(2, DIM, &text);
        }
        page.sentences(2, DIM, &run[0].to_string());
    }
    for note in &placement.notes {
        page.sentences(2, DIM, note);
    }
}

/// Names what a cache can be kept in where a text is no format at all; which of the others it can is said with the options.
fn parse_kv_dtype(text: &str) -> Result<DType, String> {
    text.parse().map_err(|_error| {
        let known: Vec<_> = DType::KV_CACHE.iter().map(|dtype| dtype.name()).collect();
        format!("unknown dtype `{text}`: a KV cache is kept in one of {}", known.join(", "))
    })
}

fn parse_attention(text: &str) -> Result<Attention, String> {
    match text {
        "eager" => Ok(Attention::Eager),
        "fused" => Ok(Attention::Fused),
        _ => Err("use eager or fused".to_owned()),
    }
}
