//! Attempts.

use phi3::api::Unload;
use phi3::units::format_bytes;

use crate::state::columns::Column;

pub const HEADING: &str = "Attempts";
pub const SEARCH: &str = "Search attempts";
pub const STATE: &str = "State";
pub const ANY_STATE: &str = "Any state";
pub const OUTCOME: &str = "Outcome";
pub const ANY_OUTCOME: &str = "Any outcome";
pub const NONE: &str = "No attempt has all of this: take a filter or a word away.";
pub const EMPTY: &str =
    "Nothing was tried yet. Validate a model, or load one: every attempt is kept here, failures included.";
pub const MARK: &str = "Mark to compare";
pub const TREE: &str = "How it came about";
pub const COMPARISON: &str = "What differs";
pub const SEARCH_PATHS: &str = "Search values";
pub const PATH: &str = "Value";
pub const EVERYTHING: &str = "Everything";
pub const FEWER: &str = "What matters";
pub const CLOSE: &str = "Close";
pub const CANCEL: &str = "Cancel";
pub const UNLOAD: &str = "Unload";
pub const STOPPED: &str = "stopped: unloaded again";
pub const PLAN_FROM: &str = "Plan the next from here";
pub const NEXT: &str = "What to try next";
pub const TRY: &str = "Try it";
pub const NO_CONFIG: &str = "Its config could not be read: memory is that of the model shown before";
pub const NOTE: &str = "Note";
pub const NOTE_HINT: &str = "Note what you saw; it stays with the attempt";
pub const NOTED: &str = "Note kept";
pub const NOTE_CHANGED: &str = "Not kept: this note was changed elsewhere meanwhile.";
pub const NOTE_YOURS: &str = "Yours stands in the field above, and in this tab alone.";
pub const KEEP_MINE: &str = "Keep mine instead";
pub const TAKE_THEIRS: &str = "Leave it as it is";
pub const LOAD_CONFIG: &str = "Load config, with where each value comes from";
pub const FILES: &str = "Files";
pub const COLUMNS: &str = "Columns";
pub const LOG: &str = "Log of the worker";

pub fn column(column: Column) -> &'static str {
    match column {
        Column::Id => "Attempt",
        Column::Model => "Model",
        Column::State => "State",
        Column::Change => "Change",
        Column::Duration => "Lasted",
        Column::Device => "Device",
        Column::Load => "Load",
        Column::Ttft => "TTFT",
        Column::Rate => "Decode",
        Column::Memory => "Memory",
        Column::Note => "Note",
    }
}

/// What an attempt changes of its parent; the first of a family has none.
pub fn change(change: &str, parent: Option<u64>) -> String {
    match (change, parent) {
        ("", None) => "–".to_owned(),
        ("", Some(_)) => "no change".to_owned(),
        (change, _) => change.to_owned(),
    }
}

/// Of an attempt in the tree, for those who do not see the lines.
pub fn after(parent: u64) -> String {
    format!("after #{parent}")
}

/// What came back when a worker had ended; `None` where nobody told.
pub fn given_back(unload: &Unload) -> Option<String> {
    let from_to = |what: &str, from: Option<u64>, to: Option<u64>| {
        let (from, to) = (format_bytes(from?), format_bytes(to?));
        // What nobody could see is no news.
        (from != to).then(|| format!("{what} went from {from} to {to}"))
    };
    let host = from_to(
        "available on the host",
        unload.host_available_before_bytes,
        unload.host_available_after_bytes,
    );
    let gpu = from_to("used on the GPU", unload.gpu_used_before_bytes, unload.gpu_used_after_bytes);
    let parts: Vec<String> = host.into_iter().chain(gpu).collect();
    (!parts.is_empty()).then(|| format!("When its worker ended, memory {}.", parts.join(", and memory ")))
}

/// Of a note that the server does not have: why, where it said so.
pub fn unsent(why: &str) -> String {
    match why {
        "" => "Not kept yet: the server does not answer. It is sent when the server is back.".to_owned(),
        why => format!("Not kept yet: {}", super::outcome::told(why)),
    }
}

/// What somebody else has noted.
pub fn note_now(theirs: &str) -> String {
    if theirs.is_empty() { "It is empty now.".to_owned() } else { format!("It says now: “{theirs}”") }
}

pub fn mark(id: u64) -> String {
    format!("Mark attempt {id}")
}

pub fn compare(count: usize) -> String {
    format!("Compare {count}")
}

/// What a JSON path of the record is to people; `None` for what only machines compare.
pub fn name_of(path: &str) -> Option<String> {
    if let Some(knob) = path.strip_prefix("resolved[").and_then(|rest| rest.strip_suffix("].value")) {
        return Some(knob.to_owned());
    }
    if let Some(knob) = path.strip_prefix("load_config.") {
        return Some(knob.to_owned());
    }
    let memory = |rest: &str, when: &str| {
        let (side, term) = rest.split_once('.')?;
        let term = match term.strip_suffix("_bytes")? {
            // The record has it in the singular.
            "activation" => super::memory::NAMES[2].to_owned(),
            term => super::term_name(term),
        };
        Some(format!("{}, {side}{when}", super::capitalised(&term)))
    };
    if let Some(rest) = path.strip_prefix("report.memory.") {
        return memory(rest, "");
    }
    if let Some(rest) = path.strip_prefix("memory.") {
        return memory(rest, " after the load");
    }
    let name = match path {
        "model" => "Model",
        "source.path" | "source.hub" => "Its files",
        "state" => "State",
        "outcome" => "Outcome",
        "context" => "Context",
        "note" => "Note",
        "text" => "Text",
        "error.message" => "What went wrong",
        "advice" => "Advice",
        "report.device" => "Device",
        "report.dtype" => "Weights in",
        "report.verdict" => "Verdict",
        "report.reason" => "Why",
        "report.stop_reason" => "Ended by",
        "report.nan_count" => "NaN",
        "report.inf_count" => "Inf",
        "report.difference.max" => "Largest difference from f32",
        "report.difference.mean" => "Mean difference from f32",
        "report.difference.top1_agreement" => "Same best token",
        "report.load_ms" => "Load",
        "report.ttft_ms" => "Time to first token",
        "report.prefill_tokens_per_s" => "Prefill",
        "report.decode_tokens_per_s" => "Decode",
        _ => return None,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn what_people_compare_has_a_name() {
        for (path, name) in [
            ("resolved[dtype].value", Some("dtype")),
            ("load_config.max_memory.cpu", Some("max_memory.cpu")),
            ("report.memory.measured.kv_cache_bytes", Some("KV cache, measured")),
            ("report.memory.measured.activation_bytes", Some("Activations, measured")),
            ("memory.predicted.total_bytes", Some("Total, predicted after the load")),
            ("report.ttft_ms", Some("Time to first token")),
            ("report.layers", None),
            ("predicted.terms[weights].name", None),
            ("files[config.json].sha256", None),
        ] {
            assert_eq!(name_of(path).as_deref(), name, "{path}");
        }
    }
}
