//! Attempts.

use crate::state::columns::Column;
use crate::state::comparison::Topic;

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
        Column::Duration => "Took",
        Column::Device => "Device",
        Column::Load => "Load",
        Column::Ttft => "TTFT",
        Column::Rate => "Decode",
        Column::Memory => "Memory",
        Column::Note => "Note",
    }
}

pub fn topic(topic: Topic) -> &'static str {
    match topic {
        Topic::Wanted => "What was asked for",
        Topic::Outcome => "What came of it",
        Topic::Memory => "Memory",
        Topic::Time => "Time",
        Topic::Around => "Files and machine",
    }
}

/// Of an attempt in the tree, for those who do not see the lines.
pub fn after(parent: u64) -> String {
    format!("after #{parent}")
}

pub fn mark(id: u64) -> String {
    format!("Mark attempt {id}")
}

pub fn compare(count: usize) -> String {
    format!("Compare {count}")
}
