//! What differs from layer to layer: experts here and not there, a window here and not there.

use serde_json::Value;

use super::Mlp;
use super::family::{Experts, Window};
use super::parse::Reader;
use crate::config::{ConfigError, limits};

/// The MLP of each layer.
pub(super) fn mlps(reader: &mut Reader<'_>, layers: usize) -> Result<Vec<Mlp>, ConfigError> {
    let family = reader.family;
    let Some(experts) = &family.experts else {
        let width = reader.count(family.width_key, limits::WIDTH, family.defaults.intermediate_size)?;
        return Ok(vec![Mlp::Dense { width }; layers]);
    };
    let count = reader.count(experts.count.0, limits::EXPERTS, experts.count.1)?;
    let active = reader.count(experts.active.0, limits::EXPERTS, experts.active.1)?;
    if active > count {
        let rule = format!("{active} experts a token, but there are {count}");
        return Err(ConfigError::Contradiction { field: reader.fields.path(experts.active.0), rule });
    }
    let width = reader.count(experts.width.0, limits::WIDTH, experts.width.1)?;
    let shared = match experts.shared {
        Some((key, default)) => reader.fields.count(key, 0, limits::EXPERTS)?.unwrap_or(default),
        None => 0,
    };
    let routed = Mlp::Experts { count, active, width, shared_width: shared * width };
    let has_experts = with_experts(reader, experts, layers)?;
    let dense = match has_experts.iter().all(|has| *has) {
        true => routed,
        false => Mlp::Dense {
            width: reader.count(family.width_key, limits::WIDTH, family.defaults.intermediate_size)?,
        },
    };
    Ok(has_experts.into_iter().map(|has| if has { routed } else { dense }).collect())
}

fn with_experts(reader: &Reader<'_>, experts: &Experts, layers: usize) -> Result<Vec<bool>, ConfigError> {
    let fields = reader.fields;
    let dense = match experts.dense_layers {
        Some((key, default)) => fields.count(key, 0, limits::LAYERS)?.unwrap_or(default),
        None => 0,
    };
    let (mut step, mut without) = (1, Vec::new());
    if experts.sparse_step {
        step = fields.count("decoder_sparse_step", 1, limits::LAYERS)?.unwrap_or(1);
        let key = "mlp_only_layers";
        without = match fields.get(key) {
            None => Vec::new(),
            Some(Value::Array(list)) => list
                .iter()
                .map(|layer| layer.as_u64().map(|layer| layer as usize))
                .collect::<Option<_>>()
                .ok_or_else(|| fields.invalid(key, "a list of layers"))?,
            Some(_) => return Err(fields.invalid(key, "a list of layers")),
        };
    }
    let has = |layer: usize| layer >= dense && (layer + 1).is_multiple_of(step) && !without.contains(&layer);
    Ok((0..layers).map(has).collect())
}

/// The window of each layer.
pub(super) fn windows(reader: &mut Reader<'_>, layers: usize) -> Result<Vec<Option<usize>>, ConfigError> {
    let fields = reader.fields;
    let window = |default: Option<usize>| -> Result<Option<usize>, ConfigError> {
        let found = fields.count("sliding_window", 1, limits::POSITIONS)?;
        // null takes the window away, absence does not.
        Ok(found.or(default.filter(|_| !fields.map().contains_key("sliding_window"))))
    };
    let switched = |default: usize| -> Result<Option<usize>, ConfigError> {
        match fields.flag("use_sliding_window")? {
            Some(true) => window(Some(default)),
            _ => Ok(None),
        }
    };
    let chosen = |window: Option<usize>, slides: &dyn Fn(usize) -> bool| -> Result<Vec<_>, ConfigError> {
        let listed = layer_types(reader, layers)?;
        let slides = |layer: usize| listed.as_ref().map_or_else(|| slides(layer), |listed| listed[layer]);
        Ok((0..layers).map(|layer| window.filter(|_| slides(layer))).collect())
    };
    match reader.family.window {
        Window::None => Ok(vec![None; layers]),
        Window::Every(default) => Ok(vec![window(default)?; layers]),
        Window::Switched(default) => Ok(vec![switched(default)?; layers]),
        Window::Upper { window: default, first } => {
            let first = fields.count("max_window_layers", 0, usize::MAX)?.unwrap_or(first);
            chosen(switched(default)?, &|layer| layer >= first)
        }
        Window::AllButEvery { window: default, period, key } => {
            let period = match key {
                Some(key) => fields.count(key, 1, limits::LAYERS)?.unwrap_or(period),
                None => period,
            };
            chosen(window(Some(default))?, &|layer| !(layer + 1).is_multiple_of(period))
        }
        Window::WithoutRope => {
            let has_rope = rope_layers(reader, layers)?;
            let window = match fields.flag("use_sliding_window")? {
                Some(true) => window(None)?,
                _ => None,
            };
            chosen(window, &|layer| !has_rope[layer])
        }
    }
}

/// `layer_types`: whether each layer has the window; `None` where the file has no such list.
fn layer_types(reader: &Reader<'_>, layers: usize) -> Result<Option<Vec<bool>>, ConfigError> {
    let (fields, key) = (reader.fields, "layer_types");
    let Some(value) = fields.get(key) else { return Ok(None) };
    let list = value.as_array().filter(|list| list.len() == layers);
    let list = list.ok_or_else(|| fields.invalid(key, &format!("a list of {layers}, one for each layer")))?;
    list.iter()
        .map(|kind| match kind.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(ConfigError::Unsupported {
                field: fields.path(key),
                found: kind.to_string(),
                reason: "full_attention and sliding_attention are known for this family".to_owned(),
            }),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// `no_rope_layers`: whether each layer has rotary positions.
fn rope_layers(reader: &Reader<'_>, layers: usize) -> Result<Vec<bool>, ConfigError> {
    let (fields, key) = (reader.fields, "no_rope_layers");
    let Some(value) = fields.get(key) else {
        let interval = fields.count("no_rope_layer_interval", 1, limits::LAYERS)?.unwrap_or(4);
        return Ok((0..layers).map(|layer| !(layer + 1).is_multiple_of(interval)).collect());
    };
    value
        .as_array()
        .filter(|list| list.len() == layers)
        .and_then(|list| list.iter().map(|has| has.as_u64().map(|has| has != 0)).collect())
        .ok_or_else(|| fields.invalid(key, &format!("a list of {layers} zeros and ones")))
}
