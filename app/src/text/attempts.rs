//! Attempts.

use phi3::api::Unload;
use phi3::units::format_bytes;

use crate::state::columns::Column;

pub const HEADING: &str = "Attempts";
pub const SEARCH: &str = "Search attempts";
pub const STATE: &str = "State";
pub const ANY_STATE: &str = "Any state";
pub const NONE: &str = "No attempt has these words.";
pub const EMPTY: &str =
    "Nothing was tried yet. Validate a model, or load one: every attempt is kept here, failures included.";
pub const MARK: &str = "Mark to compare";
pub const NO_CHANGE: &str = "no change";
pub const TREE: &str = "How it came about";
pub const COMPARISON: &str = "What differs";
pub const SEARCH_PATHS: &str = "Search values";
pub const PATH: &str = "Value";
pub const CLOSE: &str = "Close";
pub const CANCEL: &str = "Cancel";
pub const PLAN_FROM: &str = "Plan the next from here";
pub const NEXT: &str = "What to try next";
pub const NOTE: &str = "Note";
pub const NOTE_HINT: &str = "Note what you saw; it stays with the attempt";
pub const NOTED: &str = "Note kept";
pub const LOAD_CONFIG: &str = "Load config, with where each value comes from";
pub const FILES: &str = "Files";
pub const COLUMNS: &str = "Columns";
pub const LOG: &str = "Log of the worker";

pub fn column(column: Column) -> &'static str {
    match column {
        Column::Id => "Attempt",
        Column::Model => "Model",
        Column::State => "State",
        Column::Change => "Change against its parent",
        Column::Duration => "Lasted",
        Column::Device => "Device",
        Column::Load => "Load",
        Column::Ttft => "TTFT",
        Column::Rate => "Decode",
        Column::Memory => "Memory",
        Column::Note => "Note",
    }
}

/// Of an attempt in the tree, for those who do not see the lines.
pub fn after(parent: u64) -> String {
    format!("after #{parent}")
}

/// What came back when a worker had ended; `None` where nobody told.
pub fn given_back(unload: &Unload) -> Option<String> {
    let from_to = |what: &str, from: Option<u64>, to: Option<u64>| {
        Some(format!("{what} went from {} to {}", format_bytes(from?), format_bytes(to?)))
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

pub fn mark(id: u64) -> String {
    format!("Mark attempt {id}")
}

pub fn compare(count: usize) -> String {
    format!("Compare {count}")
}
