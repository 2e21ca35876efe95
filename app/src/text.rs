//! Every English word of the page, in one place for translation. Sentences with numbers are functions.
#![expect(missing_docs, reason = "the words say what they are")]

use phi3::decoder::{Attention, Decoder, Mlp};
use phi3::units::{format_bytes, format_count};

use crate::state::Problem;

pub const BRAND: &str = "Preflight";
pub const OWN_CONFIG: &str = "Pasted config";
pub const COPY_REFUSED: &str = "The browser refused the clipboard: select the text and copy it";
pub const DROP_HERE: &str = "Drop a config.json or a model folder";
pub const SKIP: &str = "Skip to the verdict";
pub const DISMISS: &str = "Dismiss";

pub fn title(model: &str) -> String {
    format!("{model} · Preflight")
}

pub fn copied(what: &str) -> String {
    format!("Copied {what}")
}

/// The rail: which model.
pub mod rail {
    pub const PRESET: &str = "Phi family";
    pub const OWN: &str = "Your own config";
    pub const PASTE: &str = "Paste config.json here, or drop it anywhere";
    pub const FILE: &str = "File…";
    pub const FOLDER: &str = "Folder…";
    pub const ON_THIS_PAGE: &str = "On this page";
    pub const LOCAL: &str = "Computed in this browser; nothing is uploaded.";
    pub const SERVER_CHECKING: &str = "Looking for a server…";
    pub const SERVER_NONE: &str = "No server: everything but Validate works.";
}

/// The header.
pub mod header {
    pub const RUNS: &str = "runs natively";
    pub const NO_REMOTE_CODE: &str = "remote code not needed";
    pub const COPY_JSON: &str = "Copy JSON";
    pub const COPY_CLI: &str = "Copy command";
    pub const WHAT_JSON: &str = "the estimate as JSON";
    pub const WHAT_CLI: &str = "the command";

    pub fn parameters(short: &str) -> String {
        format!("{short} parameters")
    }
}

/// The verdict.
pub mod verdict {
    pub const HEADING: &str = "Verdict";
    pub const FITS: &str = "Fits";
    pub const TIGHT: &str = "Tight";
    pub const DOES_NOT_FIT: &str = "Does not fit";
    pub const NEEDED: &str = "needed";
    pub const NOT_KNOWN: &str = "Not known";
    pub const NOT_KNOWN_NEXT: &str = "No estimate is better than a wrong one. This build knows phi3: Phi-3, Phi-3.5, Phi-4 and their fine-tunes.";
    pub const CHEAPEST: &str = "Cheapest single changes";
}

/// The controls.
pub mod controls {
    pub const HEADING: &str = "Choices";
    pub const DEVICE: &str = "Device";
    pub const NO_DEVICE: &str = "No device";
    pub const CUSTOM: &str = "Other";
    pub const MEMORY: &str = "Free memory";
    pub const MEMORY_HINT: &str = "e.g. 15.6 GiB";
    pub const WEIGHTS: &str = "Weights";
    pub const KV_DTYPE: &str = "KV cache";
    pub const KV_POLICY: &str = "KV policy";
    pub const ATTENTION: &str = "Attention";
    pub const BATCH: &str = "Batch";
    pub const CONTEXT: &str = "Context";
    pub const CONTEXT_EXACT: &str = "Context in tokens, exact";
    pub const RESET: &str = "Defaults";
}

/// Memory: plot, terms, dtypes.
pub mod memory {
    pub const PLOT: &str = "Memory against context";
    pub const TERMS: &str = "Terms";
    pub const TERM: &str = "Term";
    pub const HOW_SURE: &str = "How sure";
    pub const TOTAL: &str = "Total";
    pub const DTYPES: &str = "Every dtype at this context";
    pub const WEIGHTS_IN: &str = "Weights in";
    pub const NEED: &str = "Need";
    pub const MARGIN_LINE: &str = "1.2× margin";
    pub const NAMES: [&str; 4] = ["weights", "KV cache", "activations", "overhead"];
    pub const FITS: &str = "fits";
    pub const TIGHT: &str = "tight";
    pub const NO: &str = "no";
}

/// Parameters.
pub mod params {
    pub const HEADING: &str = "Parameters";
    pub const GROUP: &str = "Group";
    pub const COUNT: &str = "Count";
    pub const SHARE: &str = "Share";
    pub const TOTAL: &str = "Total";
    pub const RULE: &str = "The rule of thumb";
    pub const TIED: &str = "tied: shares the embedding";
}

/// Assumptions.
pub mod assumptions {
    pub const HEADING: &str = "Assumptions";
    pub const NAME: &str = "What";
    pub const VALUE: &str = "Value taken";
    pub const ORIGIN: &str = "Origin";
    pub const DEFAULT: &str = "default";
    pub const CHOSEN: &str = "chosen";
}

/// What went wrong and what to do.
pub mod problem {
    use phi3::estimate::OptionsError;
    use phi3::link::LinkError;

    use super::Problem;

    pub const AT: &str = "at";
    pub const KEPT: &str = "The page still shows the last good config.";
    pub const NEXT_FIELD: &str = "Correct that value in the file and paste or drop it again.";
    pub const NEXT_JSON: &str = "Paste the whole content of config.json, from the first { to the last }.";
    pub const NEXT_TOO_LARGE: &str = "Choose config.json: weights are not read on this page.";
    pub const NEXT_ARCHITECTURE: &str =
        "Use a config of the phi3 architecture: Phi-3, Phi-3.5, Phi-4 and their fine-tunes.";

    pub fn refused(file: &str) -> String {
        format!("{file} was not accepted")
    }

    pub fn other_tab() -> Problem {
        Problem {
            what: "This address is about a config of one's own".to_owned(),
            why: "it is too large for a link and stays in the tab where it was pasted or dropped".to_owned(),
            path: None,
            next: "Paste or drop it here.".to_owned(),
        }
    }

    pub fn link(error: &LinkError) -> Problem {
        Problem {
            what: "The link was not accepted".to_owned(),
            why: error.to_string(),
            path: error.path().map(str::to_owned),
            next: "The page shows what it does without a link.".to_owned(),
        }
    }

    pub fn option(error: &OptionsError) -> Problem {
        Problem {
            what: "A choice in the link was not accepted".to_owned(),
            why: error.to_string(),
            path: Some(error.option.to_owned()),
            next: "The page takes its own choices instead.".to_owned(),
        }
    }

    pub fn no_preset(name: &str) -> Problem {
        let name: String = name.chars().take(60).collect();
        Problem {
            what: format!("There is no preset named {name}"),
            why: "the address asks for it".to_owned(),
            path: None,
            next: "Choose a preset on the left.".to_owned(),
        }
    }

    pub fn no_config(files: usize) -> Problem {
        Problem {
            what: "No config.json found".to_owned(),
            why: format!("{} chosen, none of them named config.json", super::plural(files as u64, "file")),
            path: None,
            next: "Drop config.json itself or the folder that holds it.".to_owned(),
        }
    }

    pub fn unreadable(file: &str, why: String) -> Problem {
        Problem {
            what: format!("{file} could not be read"),
            why,
            path: None,
            next: "Choose the file again.".to_owned(),
        }
    }
}

/// `1 file`, `2 files`.
pub fn plural(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {noun}{s}", format_count(count))
}

/// `phi3 · 32 layers × 3,072 · 32 heads, no GQA · 4,096 positions`.
pub fn identity(decoder: &Decoder) -> String {
    let heads = match decoder.first().attention {
        Attention::Heads { heads, kv_heads, .. } if heads == kv_heads => format!("{heads} heads, no GQA"),
        Attention::Heads { heads, kv_heads, .. } => {
            format!("{heads} heads, {kv_heads} KV heads (GQA {}:1)", heads / kv_heads)
        }
        Attention::Latent { heads, kv_rank, .. } => format!("{heads} heads from a latent of {kv_rank}"),
    };
    let experts = match decoder.layers.last().map(|layer| layer.mlp) {
        Some(Mlp::Experts { count, active, .. }) => format!(" · {active} of {count} experts"),
        _ => String::new(),
    };
    format!(
        "{} · {} layers × {} · {heads}{experts} · {} positions",
        decoder.family.name(),
        decoder.layers.len(),
        format_count(decoder.hidden_size as u64),
        format_count(decoder.max_position_embeddings as u64),
    )
}

/// `at 4,096 tokens, batch 1, weights in bf16`.
pub fn at(resolved: &phi3::estimate::Resolved) -> String {
    format!(
        "at {}, batch {}, weights in {}",
        plural(resolved.context, "token"),
        resolved.batch,
        resolved.format
    )
}

pub fn room_until(max_context: u64, positions: u64) -> String {
    if max_context >= positions {
        format!("Room for all {} positions of the model.", format_count(positions))
    } else if max_context == 0 {
        "Not even one token of context has room.".to_owned()
    } else {
        format!("Loads up to {}.", plural(max_context, "token"))
    }
}

pub fn smallest_device(name: &str, usable: &str) -> String {
    format!("The smallest listed device that fits it with margin: {name}, {usable} usable.")
}

pub const NO_LISTED_DEVICE: &str = "No single listed device fits it with margin.";

pub fn beyond(positions: u64) -> String {
    format!("beyond the model’s {}", plural(positions, "position"))
}

pub fn context_value(tokens: u64, total: u64) -> String {
    format!("{}, needs {}", plural(tokens, "token"), format_bytes(total))
}

pub fn device_line(available: u64) -> String {
    format!("{} available", format_bytes(available))
}

pub fn per_token(bytes: u64) -> String {
    format!("{} a token", format_bytes(bytes).replace(".00 ", " "))
}

/// What a plot shows, for those who do not see it.
pub fn plot_words(from: u64, to: u64, end: u64, here: u64, total: u64) -> String {
    format!(
        "Memory rises from {} at 1 token to {} at {}; at the chosen {} it is {}",
        format_bytes(from),
        format_bytes(to),
        plural(end, "token"),
        plural(here, "token"),
        format_bytes(total),
    )
}

pub fn rule_of_thumb(says: &str, error: &str) -> (String, String) {
    (format!("says {says}: "), format!("{error} against the count"))
}

pub fn break_even(context: u64, positions: u64) -> String {
    if context >= positions {
        "“1.2 × weights” forgets the KV cache, but leaves room for this model’s whole context.".to_owned()
    } else {
        format!(
            "“1.2 × weights” forgets the KV cache: it stops being enough at {}.",
            plural(context, "token")
        )
    }
}

/// How sure the sum is, from how sure its terms are.
pub fn sureness_of(terms: &[phi3::estimate::Term]) -> String {
    use phi3::estimate::Badge;
    let kinds = [
        (Badge::Exact, "exact"),
        (Badge::Measured, "measured"),
        (Badge::Calibrated, "calibrated"),
        (Badge::Formula, "by formula"),
    ];
    let part = |(badge, words): (Badge, &str)| {
        let names: Vec<_> = terms.iter().filter(|t| t.badge == badge).map(|t| term_name(&t.name)).collect();
        (!names.is_empty()).then(|| format!("{} {words}", names.join(" and ")))
    };
    format!("{}.", capitalised(&kinds.into_iter().filter_map(part).collect::<Vec<_>>().join(", ")))
}

/// `kv_cache` → `KV cache`.
pub fn term_name(name: &str) -> String {
    if name == "kv_cache" { memory::NAMES[1].to_owned() } else { name.replace('_', " ") }
}

pub fn usable(device: &str, usable: &str) -> String {
    format!("{device} · {usable} usable")
}

pub fn of_positions(positions: u64) -> String {
    format!("of {}", plural(positions, "position"))
}

/// The verdict's numbers: the lead stands in bold, the rest follows it.
pub fn fit_numbers(fit: &phi3::fit::Fit, device: Option<&str>, at: &str) -> (String, String) {
    use phi3::fit::Verdict;
    let (need, have) = (format_bytes(fit.required_bytes), format_bytes(fit.available_bytes.unwrap_or(0)));
    let on = device.map_or_else(String::new, |device| format!(" on {device}"));
    match fit.verdict {
        Some(Verdict::Fits) => (format!("{need} of {have}"), format!("{on} {at}, with the 1.2× margin.")),
        Some(Verdict::Tight) => {
            let margin = format_bytes(fit.margin_rule.everything_bytes);
            (format!("{need} of {have}"), format!("{on} {at}; the 1.2× margin would be {margin}."))
        }
        _ => {
            let short = fit.required_bytes.saturating_sub(fit.available_bytes.unwrap_or(0));
            (format!("{} short", format_bytes(short)), format!(": {have}{on}, {need} needed {at}."))
        }
    }
}

/// The same without a device.
pub fn needed(at: &str) -> String {
    format!("To load and run {at}. Choose a device for a verdict.")
}

pub fn not_known(model_type: &str) -> String {
    format!(
        "model_type {model_type} is not known to this build, so its tensors and its cache cannot be told from the config."
    )
}

/// The foot of the rail where a server is.
pub fn server(model: Option<&str>) -> String {
    match model {
        Some(model) => format!("Server connected, default model {model}"),
        None => "Server connected, without a default model".to_owned(),
    }
}

/// `12 of 30`.
pub fn of(found: usize, all: usize) -> String {
    if found == all { all.to_string() } else { format!("{found} of {all}") }
}

/// A message at its first colon or semicolon, as two sentences: the news, and the rest.
pub fn first_clause(message: &str) -> (String, String) {
    let message = capitalised(message);
    match message.find([':', ';']).filter(|at| message[at + 1..].starts_with(' ')) {
        Some(at) => {
            (format!("{}.", &message[..at]), format!("{}.", capitalised(message[at + 1..].trim_start())))
        }
        None => (format!("{message}."), String::new()),
    }
}

pub fn memory_in(unit: &str) -> String {
    format!("Memory, {unit}")
}

pub fn token_ids(what: &str, count: usize) -> String {
    format!("{what}, {}", plural(count as u64, "token"))
}

pub fn stop_reason(reason: &str) -> String {
    match reason {
        "stop" => "ended by a stop id".to_owned(),
        "length" => "cut at the limit".to_owned(),
        other => other.to_owned(),
    }
}

pub fn queued(before: usize) -> String {
    match before {
        0 => "Next in the queue".to_owned(),
        n => format!("Waiting: {n} before it"),
    }
}

pub fn load_stage(stage: phi3::engine::LoadStage) -> &'static str {
    use phi3::engine::LoadStage;
    match stage {
        LoadStage::Checking => "Checking headers and shapes",
        LoadStage::Weights => "Loading weights",
        LoadStage::Preparing => "Preparing the KV cache",
    }
}

pub fn probe(kind: phi3::validate::ProbeKind) -> &'static str {
    use phi3::validate::ProbeKind;
    match kind {
        ProbeKind::Window => "past the sliding window",
        ProbeKind::Long => "past the original positions",
    }
}

/// The name of a verdict in JSON.
pub fn verdict_code(verdict: phi3::validate::Verdict) -> &'static str {
    use phi3::validate::Verdict;
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unverified => "unverified",
    }
}

/// Findings.
pub mod findings {
    pub const HEADING: &str = "Findings";
    pub const NONE: &str = "No contradiction and no known trap found.";
    pub const ERROR: &str = "error";
    pub const WARNING: &str = "warning";
    pub const INFO: &str = "info";
}

/// The explainer.
pub mod fields {
    pub const HEADING: &str = "Every field of the config";
    pub const FILTER: &str = "Filter fields";
    pub const KEY: &str = "Key";
    pub const VALUE: &str = "Value";
    pub const MEANING: &str = "What it means";
    pub const IMPLICATION: &str = "What it implies here";
    pub const STATUS: &str = "Our engine";
    pub const NOTHING: &str = "No field matches the filter.";
}

/// Validation.
pub mod validate {
    pub const HEADING: &str = "Validate";
    pub const VALIDATE: &str = "Validate";
    pub const LOOK_AGAIN: &str = "Look for a server";
    pub const CANCEL: &str = "Cancel";
    pub const CANCELLING: &str = "Cancelling…";
    pub const ESC: &str = "Esc";
    pub const CHECKING: &str = "Looking for a server…";
    pub const ON_SERVER: &str = "Loads a model on the server, runs a ten-token prompt and reports what came out. It runs the server’s default model,";
    pub const NOT_THIS_CONFIG: &str = ", not the config shown on this page.";
    pub const NO_DEFAULT: &str = "This server has no default model: start it with --default-model DIR.";
    pub const NEEDS_SERVER: &str = "Validation loads real weights, so it needs a Preflight server; this page came from plain files. Start one with";
    pub const OR: &str = "or";
    pub const THEN_OPEN: &str = "and open";
    pub const COPY_COMMAND: &str = "Copy the command";
    pub const OUTPUT: &str = "Generated text";
    pub const LOG: &str = "Log of the worker";
    pub const STATE_ASKING: &str = "Asking the server";
    pub const STATE_DOWNLOADING: &str = "Fetching files from the Hub";
    pub const STATE_CHECKING: &str = "Checking files and config";
    pub const STATE_READY: &str = "Loaded";
    pub const STATE_LOST: &str = "Lost: the server died while it went on";
    pub const STATE_STARTING: &str = "Starting a worker process";
    pub const STATE_RUNNING: &str = "Running the prompt";
    pub const STATE_STOPPING: &str = "Ending the worker";
    pub const STATE_STOPPED: &str = "Done; the worker has ended and its memory is back";
    pub const STATE_FAILED: &str = "Failed";
    pub const STATE_CANCELLED: &str = "Cancelled";
    pub const BROKEN: &str = "Connection lost; trying again";
    pub const PASS: &str = "pass";
    pub const FAIL: &str = "fail";
    pub const UNVERIFIED: &str = "unverified";
    pub const TTFT: &str = "Time to first token";
    pub const PREFILL: &str = "Prefill";
    pub const DECODE: &str = "Decode";
    pub const LOAD: &str = "Load";
    pub const NAN_INF: &str = "NaN / Inf";
    pub const DEVICE: &str = "Device, dtype";
    pub const PROMPT: &str = "Prompt";
    pub const GENERATED: &str = "Generated";
    pub const PREDICTED: &str = "Predicted";
    pub const MEASURED: &str = "Measured";
    pub const DIFFERENCE: &str = "Difference";
    pub const PROBE: &str = "Probe";
    pub const TOKENS: &str = "Tokens";
    pub const VERDICT: &str = "Verdict";
}

/// What a badge promises.
pub fn sureness(badge: phi3::estimate::Badge) -> &'static str {
    use phi3::estimate::Badge;
    match badge {
        Badge::Exact => "Counted: equal to the real thing to the byte",
        Badge::Formula => "Computed from the formula shown; not measured",
        Badge::Calibrated => "A formula fitted to measured attempts",
        Badge::Measured => "Measured",
    }
}

/// A group of tensors.
pub fn group(group: phi3::tensors::Group) -> String {
    let name = serde_json::to_value(group).ok();
    let name = name.as_ref().and_then(|n| n.as_str()).unwrap_or_default();
    match name {
        "mlp" => "MLP".to_owned(),
        "lm_head" => "LM head".to_owned(),
        name => capitalised(name),
    }
}

/// With a capital first letter, unless the first word is a name such as `auto_map`, `phi3` or `1.2×`.
pub fn capitalised(words: &str) -> String {
    let first_word = words.split([' ', ':', ';']).next().unwrap_or_default();
    if !first_word.chars().all(|c| c.is_ascii_lowercase() || "-’'".contains(c)) {
        return words.to_owned();
    }
    let mut chars = words.chars();
    chars
        .next()
        .map_or_else(String::new, |first| std::iter::once(first.to_ascii_uppercase()).chain(chars).collect())
}
