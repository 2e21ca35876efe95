//! What differs between two load configs, and the rule that an attempt changes one thing.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::layers::{built_in, leaves};
use super::{KNOBS, LoadConfig};
use crate::units::format_bytes;

/// One value that differs. Absent is left to the model's files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// JSON path: `dtype`, `max_memory.0`.
    pub path: String,
    /// The value before.
    pub from: Option<Value>,
    /// The value after.
    pub to: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| {
            value.as_ref().map_or_else(|| "not set".to_owned(), |value| shown(&self.path, value))
        };
        write!(f, "{}: {} → {}", self.path, show(&self.from), show(&self.to))
    }
}

/// A value at a JSON path of a load config in words: budgets with their unit, texts without quotation marks.
#[must_use]
pub fn shown(path: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(bytes) if path.starts_with("max_memory.") => {
            bytes.as_u64().map_or_else(|| bytes.to_string(), format_bytes)
        }
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| {
                format!("{key}: {}", shown(&format!("{path}.{key}"), value))
            };
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}

/// Every value that differs, in the order of [`KNOBS`]. Spelling is no difference, and neither is a built-in
/// default that one side writes out. Two maps differ by their leaves; a map that was not there is stated as a whole,
/// as a layer states it: budgets of several devices say nothing one at a time, nor do the factors of a scaling.
#[must_use]
pub fn diff(a: &LoadConfig, b: &LoadConfig) -> Vec<Change> {
    let (a, b) = (a.to_map(), b.to_map());
    let mut changes = Vec::new();
    for knob in KNOBS.iter().filter(|knob| knob.states == knob.key) {
        let value =
            |map: &serde_json::Map<String, Value>| map.get(knob.key).cloned().or_else(|| built_in(knob));
        let (from, to) = (value(&a), value(&b));
        let mut paths: BTreeMap<String, [Option<Value>; 2]> = BTreeMap::new();
        for (side, value) in [&from, &to].into_iter().enumerate() {
            for (path, leaf) in value.iter().flat_map(|value| leaves(knob.key, value)) {
                paths.entry(path).or_default()[side] = Some(leaf);
            }
        }
        paths.retain(|_, [from, to]| from != to);
        let is_map = |value: &Option<Value>| matches!(value, Some(Value::Object(_)));
        if is_map(&from) != is_map(&to) && paths.len() > 1 {
            paths = BTreeMap::from([(knob.key.to_owned(), [from, to])]);
        }
        changes.extend(paths.into_iter().map(|(path, [from, to])| Change { path, from, to }));
    }
    changes
}

/// More changes than an attempt may make.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{} changes against the parent, one is allowed: {}; make one of them, or branch", .0.len(), list(.0))]
pub struct TooManyChanges(pub Vec<Change>);

fn list(changes: &[Change]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The changes that lead from a parent to its child: none, one, or with `branch` any number.
///
/// # Errors
/// More than one change without `branch`.
pub fn one_change(changes: Vec<Change>, branch: bool) -> Result<Vec<Change>, TooManyChanges> {
    if changes.len() > 1 && !branch { Err(TooManyChanges(changes)) } else { Ok(changes) }
}
