//! Every English word of the page, in one place for translation. Sentences with numbers are functions.
#![expect(missing_docs, reason = "the words say what they are")]

use phi3::decoder::{Attention, Decoder, Mlp};
use phi3::fit::Suggestion;
pub use phi3::units::format_counted as plural;
use phi3::units::{format_bytes, format_count};

use crate::state::{Page, Problem};

pub mod alone;
pub mod attempts;
pub mod controls;
pub mod devices;
pub mod fits;
pub mod hand_off;
pub mod in_browser;
pub mod kept;
pub mod ladder;
pub mod models;
pub mod numbers;
pub mod outcome;
pub mod pages;
pub mod palette;
pub mod plan;
pub mod playground;
pub mod problem;
pub mod proof;
pub mod rules;
pub mod settings;
pub mod validate;

pub const BRAND: &str = "Preflight";
pub const OWN_CONFIG: &str = "Pasted config";
pub const COPY_REFUSED: &str = "The browser refused the clipboard: select the text and copy it";
pub const DROP_HERE: &str = "Drop a config.json, weights or a model folder";
pub const SKIP: &str = "Skip to the page";
pub const COPY: &str = "Copy";
pub const WHAT_LOG: &str = "the log";
pub const DISMISS: &str = "Dismiss";

pub fn title(model: &str, page: Page) -> String {
    let page_name = pages::name(page);
    if page.is_about_model() {
        format!("{model} · {page_name} · Preflight")
    } else {
        format!("{page_name} · Preflight")
    }
}

pub fn copied(what: &str) -> String {
    format!("Copied {what}")
}

/// The link to share.
pub mod share {
    pub const SHARE: &str = "Share link";

    /// What is on the clipboard now.
    pub fn what(left_out: &[String]) -> String {
        match left_out {
            [] => "the link to this page".to_owned(),
            paths => format!("the link, without what is private: {}", paths.join(", ")),
        }
    }
}

/// The rail: which model.
pub mod rail {
    pub const MODEL: &str = "Model";
    pub const OWN: &str = "Your own config";
    pub const PASTE: &str = "Paste config.json, or drop files";
    pub const FILE: &str = "File…";
    pub const FOLDER: &str = "Folder…";
    pub const LOCAL: &str = "Computed in this browser; nothing is uploaded.";
    pub const SERVER: &str = "Server connected";
    pub const SERVER_CHECKING: &str = "Looking for a server…";
    pub const SERVER_NONE: &str = "No server: Inspect, Estimate, Plan and Validate work without.";
    pub const SERVER_LOST: &str = "Server lost, trying again";
    pub const FIND: &str = "Find";
    pub const KEYS: &str = "Keys";
    pub const BANNER_LOST: &str = "The server does not answer.";
    pub const BANNER_LOST_WHY: &str =
        "What is on this page stays. It goes on by itself as soon as the server is back.";
    pub const BACK: &str = "The server is back";

    /// `cuda:0 · 70.12 GiB free`.
    pub fn free(device: &str, free: &str) -> String {
        format!("{device} · {free} free")
    }
}

/// The header.
pub mod header {
    pub const RUNS: &str = "runs natively";
    pub const ESTIMATE_ONLY: &str = "estimate only";
    pub const VALIDATE: &str = "Validate";
    pub const EXPORT: &str = "Export";
    pub const COPY_JSON: &str = "Copy JSON";
    pub const COPY_CURL: &str = "Copy as curl";
    pub const WHAT_CURL: &str = "the request for a server";
    /// Where a server listens that was started without further words.
    pub const LOCAL: &str = "http://127.0.0.1:8080/";
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
    pub const NOT_KNOWN_NEXT: &str = "No estimate is better than a wrong one.";
    pub const CHEAPEST: &str = "Cheapest changes";
    pub const IN_F16: &str = "Weights in f16";
    pub const PLANNED: &str = "Budgets of several devices are planned";
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
    pub const USE_F16: &str = "use f16";
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

/// A model that nobody has named.
pub fn of_kind(model_type: &str, params: u64) -> String {
    format!("{model_type}, {}", crate::format::short_count(params))
}

/// The second of several models of one name.
pub fn numbered(name: &str, number: usize) -> String {
    format!("{name} ({number})")
}

/// `phi3 · 32 layers × 3,072 · 32 heads, no GQA · 4,096 positions`.
pub fn identity(decoder: &Decoder) -> String {
    let heads = match decoder.first_attending().attention {
        Attention::Heads { heads, kv_heads, .. } if heads == kv_heads => format!("{heads} heads, no GQA"),
        Attention::Heads { heads, kv_heads, .. } => {
            format!("{heads} heads, {kv_heads} KV heads (GQA {}:1)", heads / kv_heads)
        }
        Attention::Latent { heads, kv_rank, .. } => format!("{heads} heads from a latent of {kv_rank}"),
        Attention::Linear { value_heads, .. } => format!("{value_heads} states a layer, no keys and values"),
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

/// What a change leaves here, and what it takes to the CPU: that is told in the plan.
pub fn lever(change: &Suggestion) -> String {
    let (here, verdict) = (format_bytes(change.held_bytes()), change.verdict.words());
    match change.device_bytes {
        None => format!("{here}, {verdict}"),
        Some(held) => {
            let there = format_bytes(change.total_bytes.saturating_sub(held));
            format!("{here}, {verdict}; {there} on the CPU → Plan")
        }
    }
}

/// A change that is no choice of this page.
pub fn elsewhere(label: &str, total: u64) -> String {
    format!("What would help: {label}, {}.", format_bytes(total))
}

pub const NO_LISTED_DEVICE: &str = "No single listed device fits it with margin.";

pub fn beyond(positions: u64) -> String {
    format!("beyond the model’s {}", plural(positions, "position"))
}

/// What is refused, and what holds instead.
pub fn whole(most: u64, holds: u64) -> String {
    format!("a whole number from 1 to {}: {} holds", format_count(most), format_count(holds))
}

pub fn context_value(tokens: u64, total: u64) -> String {
    format!("{}, needs {}", plural(tokens, "token"), format_bytes(total))
}

/// The lines of a device that lie above what is drawn.
pub fn device_above(available: u64) -> String {
    let margin = format_bytes((available as f64 / 1.2) as u64);
    format!("↑ {} available · {margin} {}", format_bytes(available), memory::MARGIN_LINE)
}

pub fn device_line(available: u64) -> String {
    format!("{} available", format_bytes(available))
}

pub fn per_token(bytes: u64) -> String {
    format!("{} a token", format_bytes(bytes).replace(".00 ", " "))
}

/// Where a pointer is on the plot: `6,144 tokens: 9.87 GiB`.
pub fn pointed(tokens: u64, total: u64) -> String {
    format!("{}: {}", plural(tokens, "token"), format_bytes(total))
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

pub fn break_even(context: Option<u64>, positions: u64) -> String {
    match context.filter(|context| *context < positions) {
        None => {
            "“1.2 × weights” forgets the KV cache, but leaves room for this model’s whole context.".to_owned()
        }
        Some(context) => format!(
            "“1.2 × weights” forgets the KV cache: it stops being enough at {}.",
            plural(context, "token")
        ),
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

/// The name of a device for people.
pub fn device(name: String) -> String {
    if name == crate::state::devices::BROWSER { "this browser".to_owned() } else { name }
}

/// A device of the server: `cuda:0 · NVIDIA H100 · 70.12 GiB free`.
pub fn live(device: &str, name: &str, free: &str) -> String {
    format!("{device} · {name} · {free} free")
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

pub fn not_known(model_type: &str, title: &str) -> String {
    if model_type.is_empty() {
        let words = match title.ends_with(".gguf") {
            true => "The header names no architecture: nothing else in the file does.",
            false => "No config.json beside these weights: drop it too.",
        };
        return words.to_owned();
    }
    format!(
        "model_type {model_type} is not known to this build, so its tensors and its cache cannot be told from the config."
    )
}

/// Where an exact count comes from.
pub fn counted(weights: &crate::state::weights::Weights) -> String {
    let (tensors, files) = (plural(weights.tensors as u64, "tensor"), plural(weights.files as u64, "file"));
    format!(
        "Counted from the headers of {files}: {tensors}, {}. Only headers were read.",
        format_bytes(weights.bytes)
    )
}

pub fn all_positions(positions: u64) -> String {
    format!("all {}", format_count(positions))
}

/// What a browser's GPU grants.
pub fn webgpu(adapter: &crate::platform::gpu::Adapter, binding: &str) -> String {
    let name = if adapter.name.is_empty() { "adapter without a name" } else { &adapter.name };
    let software = if adapter.is_software { ", computed on the CPU" } else { "" };
    let f16 = if adapter.has_f16 { "f16 shaders" } else { "no f16 shaders" };
    let buffer = format_bytes(adapter.max_buffer_bytes);
    format!("{name}{software}: {binding}; buffers to {buffer}; {f16}. Browsers tell no total.")
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

/// `4.49 of 7.12 GiB`.
pub fn of_bytes(done: u64, total: u64) -> String {
    let unit = crate::format::Unit::of(total);
    format!("{} of {} {}", unit.print(done), unit.print(total), unit.name())
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
        "nan" => "ended by logits that are no numbers".to_owned(),
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
        LoadStage::Downloading => "Downloading",
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

    use super::{format_bytes, plural};
    use crate::state::answers::Answer;

    /// What stands on the button that answers a finding.
    pub fn answer(answer: &Answer) -> String {
        match answer {
            Answer::Context(tokens) => format!("Stay at {}", plural(*tokens, "token")),
            // No engine keeps a quantised cache; `phi3` says so of every lever.
            Answer::KvDtype(dtype, saved) => {
                format!("KV in {dtype}, −{} (not run by this build)", format_bytes(*saved))
            }
        }
    }

    /// What is said when it was pressed.
    pub fn answered(label: &str) -> String {
        format!("{label}: the estimate counts with it now")
    }
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

/// JSON on one line, with room to break it between its values.
pub fn json(value: &serde_json::Value) -> String {
    use serde_json::Value;
    let join = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Array(list) => format!("[{}]", join(list.iter().map(json).collect())),
        Value::Object(map) => {
            let entry =
                |(key, value): (&String, &Value)| format!("{}: {}", Value::from(key.as_str()), json(value));
            format!("{{{}}}", join(map.iter().map(entry).collect()))
        }
        one => one.to_string(),
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

/// `Memory: scales with its width.`; nothing where there is nothing to say.
pub fn sentence(about: &str, words: &str) -> String {
    if words == "none" || words.is_empty() { String::new() } else { format!("{about}: {words}.") }
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

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn json_may_break_between_its_values_and_reads_as_before() {
        let value = serde_json::json!({"a": [1, 2.5, "x, y"], "b": {"c": null, "d": []}});
        let text = json(&value);
        assert_eq!(text, r#"{"a": [1, 2.5, "x, y"], "b": {"c": null, "d": []}}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).ok(), Some(value));
    }
}
