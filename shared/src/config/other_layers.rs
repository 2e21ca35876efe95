//! Keys by which a config says that its layers keep what no family here keeps.

use serde_json::Value;

use super::{ConfigError, Fields};

/// Kinds of layers that keep keys and values of their own; `attention` is an older name of the first.
pub(crate) const FULL: [&str; 2] = ["full_attention", "attention"];
pub(crate) const SLIDING: &str = "sliding_attention";
/// Kinds of layers that keep a state; `mamba` is an older name of the first.
pub(crate) const LINEAR: [&str; 2] = ["linear_attention", "mamba"];

/// What layers of a family keep beside keys and values of their own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OtherLayers {
    /// Some keep a state.
    pub(crate) linear: bool,
    /// Some read the cache of others.
    pub(crate) sharing: bool,
}

/// Refuses layers that share a cache with others, or that keep a state instead of keys and values, but for those that
/// the class of this family computes. transformers 5.23.0 reads `layer_types` and `kv_sharing_modes` of every config for
/// its cache; a file that names other layers is of another architecture under this name, and sized as this one it would
/// be sized wrongly.
pub(crate) fn refuse_other_layers(fields: &Fields, computed: OtherLayers) -> Result<(), ConfigError> {
    let refuse = |key: &str, found: &Value, what: &str| {
        Err(ConfigError::UnknownLayers {
            field: fields.path(key),
            found: found.to_string(),
            reason: format!("no class of its model_type {what}, so that what it needs is unknown"),
        })
    };
    let list = |key: &str| fields.get(key).and_then(Value::as_array).into_iter().flatten();
    let kinds = if computed.linear { LINEAR.as_slice() } else { &[SLIDING] };
    let is_other =
        |kind: &&Value| kind.as_str().is_some_and(|kind| !kinds.contains(&kind) && !FULL.contains(&kind));
    if let Some(kind) = list("layer_types").find(is_other) {
        let what = format!("has layers that are neither {} nor {}", FULL[0], kinds[0]);
        return refuse("layer_types", kind, &what);
    }
    let shares = "has layers that share the cache of others";
    let is_shared = |mode: &&Value| mode.as_str().is_some_and(|mode| mode.starts_with("reuse"));
    if let Some(mode) = list("kv_sharing_modes").find(is_shared) {
        return refuse("kv_sharing_modes", mode, shares);
    }
    let key = "num_kv_shared_layers";
    match fields.get(key) {
        _ if computed.sharing => Ok(()),
        Some(count) if count.as_f64() != Some(0.0) => refuse(key, count, shares),
        _ => Ok(()),
    }
}

/// Refuses classes that have another head than one for text, or none: their tensors are others, and so is what they need.
pub(crate) fn refuse_other_heads(fields: &Fields) -> Result<(), ConfigError> {
    let first = fields.get("architectures").and_then(|classes| classes.get(0));
    let class = first.and_then(Value::as_str).unwrap_or_default();
    let is_other = ["Model", "Classification", "QuestionAnswering"].iter().any(|end| class.ends_with(end));
    if !is_other || class.ends_with("LMHeadModel") {
        return Ok(());
    }
    Err(ConfigError::UnknownLayers {
        field: fields.path("architectures[0]"),
        found: class.to_owned(),
        reason: "a class without a head for text, so that what it needs is unknown".to_owned(),
    })
}
