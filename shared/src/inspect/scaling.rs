//! What a scaling of rotary positions says, in a config of a family that is sized here and not run.

use serde_json::Value;

use crate::config::Fields;
use crate::decoder::Decoder;
use crate::units::{format_count, one_line};

/// Where a config says how positions are scaled.
const KEYS: [&str; 2] = ["rope_scaling", "rope_parameters"];

/// The kind that an object of parameters names.
fn kind(parameters: &Value) -> Option<&str> {
    ["rope_type", "type"].iter().find_map(|key| parameters.get(key)?.as_str())
}

/// The kinds that a config names, under either key.
pub(super) fn kinds(fields: &Fields) -> impl Iterator<Item = &str> {
    KEYS.into_iter().filter_map(|key| kind(fields.get(key)?))
}

/// Where a config gives a scaling its numbers and no name: the key, and the parameter that has no effect.
pub(super) fn nameless(fields: &Fields) -> Option<(&'static str, &'static str)> {
    let found = KEYS.into_iter().find_map(|key| Some((key, fields.get(key)?)));
    let (key, value) = found.filter(|(_, value)| kind(value).is_none())?;
    let parameter =
        ["factor", "short_factor", "long_factor"].into_iter().find(|name| value.get(name).is_some());
    Some((key, parameter?))
}

/// Whether a longrope scaling in this config changes factors at the original length.
pub(super) fn changes_at_original_length(fields: &Fields, decoder: &Decoder) -> bool {
    let nested = decoder.family.nested.and_then(|key| fields.get(key));
    let scaling = KEYS.iter().find_map(|key| {
        let value = nested.and_then(|map| map.get(key)).or_else(|| fields.get(key));
        value.filter(|value| value.is_object())
    });
    scaling.and_then(kind).is_some_and(|kind| ["longrope", "su"].contains(&kind))
}

/// A value of `rope_scaling` or `rope_parameters` in words.
pub(super) fn words(value: &Value, decoder: &Decoder) -> String {
    let Some(map) = value.as_object() else { return "None: positions as trained".to_owned() };
    let number = |key: &str| map.get(key).and_then(Value::as_f64);
    let factor = number("factor").map_or_else(|| "a factor".to_owned(), |factor| factor.to_string());
    let positions = || {
        let original = number("original_max_position_embeddings").map(|tokens| tokens as u64);
        format!("{} tokens", format_count(original.unwrap_or(decoder.max_position_embeddings as u64)))
    };
    match kind(value) {
        Some("linear") => format!("linear: positions divided by {factor}"),
        Some("dynamic") => {
            format!("dynamic: the base grows with the length, by {factor}, beyond {}", positions())
        }
        Some("yarn") => format!("yarn: stretched by {factor} from the {} it was trained with", positions()),
        Some("llama3") => {
            format!("llama3: low frequencies divided by {factor}, for more than {}", positions())
        }
        Some("longrope" | "su") => {
            let factors = map.get("long_factor").and_then(Value::as_array).map_or(0, Vec::len);
            format!("longrope: {factors} factors up to the original length, {factors} others beyond")
        }
        Some("default") => "None: positions as trained".to_owned(),
        Some(other) => format!("`{}`: no bytes", one_line(other)),
        // One object for each kind of layer.
        None if map.values().any(Value::is_object) => {
            let each = |(layers, value): (&String, &Value)| {
                format!("{}: {}", one_line(layers), words(value, decoder))
            };
            map.iter().filter(|(_, value)| value.is_object()).map(each).collect::<Vec<_>>().join("; ")
        }
        None => "None: positions as trained".to_owned(),
    }
}
