//! Keys by which a config says that its layers keep what no family here keeps.

use serde_json::Value;

use super::{ConfigError, Fields};

/// Kinds of layers that keep keys and values of their own; `attention` is an older name of the first.
pub(crate) const FULL: [&str; 2] = ["full_attention", "attention"];
pub(crate) const SLIDING: &str = "sliding_attention";

/// Refuses layers that share a cache with others, or that keep a state instead of keys and values. transformers 5.23.0
/// reads `layer_types` and `kv_sharing_modes` of every config for its cache, but no class of a family that is known here
/// computes such layers: a file that has them is of another architecture under this name, and sized as this one it
/// would be sized wrongly.
pub(crate) fn refuse_other_layers(fields: &Fields) -> Result<(), ConfigError> {
    let refuse = |key: &str, found: &Value, what: &str| {
        Err(ConfigError::UnknownLayers {
            field: fields.path(key),
            found: found.to_string(),
            reason: format!("no class of its model_type {what}, so that what it needs is unknown"),
        })
    };
    let list = |key: &str| fields.get(key).and_then(Value::as_array).into_iter().flatten();
    let is_other = |kind: &&Value| kind.as_str().is_some_and(|kind| kind != SLIDING && !FULL.contains(&kind));
    if let Some(kind) = list("layer_types").find(is_other) {
        return refuse(
            "layer_types",
            kind,
            "has layers that are neither full_attention nor sliding_attention",
        );
    }
    let shares = "has layers that share the cache of others";
    let is_shared = |mode: &&Value| mode.as_str().is_some_and(|mode| mode.starts_with("reuse"));
    if let Some(mode) = list("kv_sharing_modes").find(is_shared) {
        return refuse("kv_sharing_modes", mode, shares);
    }
    let key = "num_kv_shared_layers";
    match fields.get(key) {
        Some(count) if count.as_f64() != Some(0.0) => refuse(key, count, shares),
        _ => Ok(()),
    }
}
