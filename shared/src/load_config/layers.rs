//! Layers of load configs: built-in below global below model below this attempt.
//!
//! A layer states whole knobs: a map replaces the map below it, as a keyword argument does for Hugging Face
//! (a device that `max_memory` does not name is not used). Null and `auto` state the built-in default, so they
//! undo what a layer below has said.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::{KNOBS, Knob, LoadConfig, LoadConfigError};

/// Where a value comes from, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// What holds where nothing is said.
    BuiltIn,
    /// Said for every model.
    Global,
    /// Said for the model.
    Model,
    /// Said for this attempt.
    Attempt,
}

impl Origin {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Global => "global",
            Self::Model => "model",
            Self::Attempt => "this attempt",
        }
    }
}

/// What one layer says, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Which layer.
    pub origin: Origin,
    /// Its overrides.
    pub overrides: Map<String, Value>,
}

/// A layer that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {}", .origin.words(), join(.errors))]
pub struct LayerError {
    /// Which layer.
    pub origin: Origin,
    /// Everything that is wrong with it.
    pub errors: Vec<LoadConfigError>,
}

fn join(errors: &[LoadConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// One value that holds, and where it comes from. Maps are taken apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leaf {
    /// JSON path: `dtype`, `max_memory.0`.
    pub path: String,
    /// The value, in the one spelling.
    pub value: Value,
    /// The layer it comes from.
    pub origin: Origin,
}

/// Layers put on top of each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Every value that holds, in the order of [`KNOBS`]; what is left to the model's files is not in it.
    pub values: Vec<Leaf>,
    /// The overrides that are left, in one spelling: what a loader is given.
    pub overrides: Map<String, Value>,
    /// The same, parsed.
    pub config: LoadConfig,
}

/// Puts layers on top of each other, by their origin. Several layers of one origin go in the order given.
///
/// # Errors
/// The lowest layer that is refused.
pub fn resolve(layers: &[Layer]) -> Result<Resolved, LayerError> {
    let mut sorted: Vec<&Layer> = layers.iter().collect();
    sorted.sort_by_key(|layer| layer.origin);
    let mut stated: Vec<(&'static str, Value, Origin)> = Vec::new();
    for layer in sorted {
        let refuse = |errors| LayerError { origin: layer.origin, errors };
        let map = LoadConfig::from_map_all(&layer.overrides).map_err(refuse)?.to_map();
        for knob in layer.overrides.keys().filter_map(|key| Knob::find(key)) {
            // The long form of quantization states both what to quantize to and its details.
            let also = (knob.key == "quantization_config").then_some("quantization");
            for key in [Some(knob.states), also].into_iter().flatten() {
                stated.retain(|(other, ..)| *other != key);
                stated.extend(map.get(key).map(|value| (key, value.clone(), layer.origin)));
            }
        }
    }
    let mut values = Vec::new();
    let mut overrides = Map::new();
    for knob in KNOBS.iter().filter(|knob| knob.states == knob.key) {
        if let Some((_, value, origin)) = stated.iter().find(|(key, ..)| *key == knob.key) {
            overrides.insert(knob.key.to_owned(), value.clone());
            values.extend(leaves(knob.key, value).map(|(path, value)| Leaf { path, value, origin: *origin }));
        } else if let Some(value) = built_in(knob) {
            values.push(Leaf { path: knob.key.to_owned(), value, origin: Origin::BuiltIn });
        }
    }
    let highest = layers.iter().map(|layer| layer.origin).max().unwrap_or(Origin::BuiltIn);
    let config =
        LoadConfig::from_map_all(&overrides).map_err(|errors| LayerError { origin: highest, errors })?;
    Ok(Resolved { values, overrides, config })
}

/// The value that holds where nothing is said.
pub(super) fn built_in(knob: &Knob) -> Option<Value> {
    knob.default.and_then(|json| serde_json::from_str(json).ok())
}

/// The leaves of a knob's value, each with its JSON path: the entries of a map, else the value itself. A list is
/// one leaf.
pub fn leaves(key: &str, value: &Value) -> impl Iterator<Item = (String, Value)> {
    let whole = (!value.is_object()).then(|| (key.to_owned(), value.clone()));
    let entries = value.as_object().into_iter().flatten();
    let entries = entries.map(move |(name, value)| (format!("{key}.{name}"), value.clone()));
    whole.into_iter().chain(entries.collect::<Vec<_>>())
}
