//! What differs from layer to layer: experts here and not there, a window here and not there.

use serde_json::Value;

use super::differences::{Experts, SharedExperts, Window};
use super::parse::{Reader, divides};
use super::{Attention, Layer, Mlp};
use crate::config::{ConfigError, Defaulted, FULL, LINEAR, SLIDING, limits};

/// The MLP of each layer.
pub(super) fn mlps(reader: &mut Reader<'_>, layers: usize) -> Result<Vec<Mlp>, ConfigError> {
    let family = reader.family;
    let Some(experts) = &family.experts else {
        if family.lists_widths && reader.fields.get(family.width_key).is_some_and(Value::is_array) {
            return listed_widths(reader, layers);
        }
        let width = reader.count(family.width_key, limits::WIDTH, family.defaults.intermediate_size)?;
        return Ok(vec![Mlp::Dense { width }; layers]);
    };
    // Where single layers go without, none at all means that all do.
    if experts.sparse_step && reader.fields.count(experts.count.0, 0, limits::EXPERTS)? == Some(0) {
        let width = reader.count(family.width_key, limits::WIDTH, family.defaults.intermediate_size)?;
        return Ok(vec![Mlp::Dense { width }; layers]);
    }
    let count = reader.count(experts.count.0, limits::EXPERTS, experts.count.1)?;
    let active = reader.count(experts.active.0, limits::EXPERTS, experts.active.1)?;
    if active > count {
        let rule = format!("{active} experts a token, but there are {count}");
        return Err(ConfigError::Contradiction { field: reader.fields.path(experts.active.0), rule });
    }
    let width = reader.count(experts.width.0, limits::WIDTH, experts.width.1)?;
    let (shared_width, gated) = match experts.shared {
        Some(SharedExperts::Count(key, default)) => {
            let shared = reader.fields.count(key, 0, limits::SHARED_EXPERTS)?.unwrap_or(default);
            (shared * width, false)
        }
        Some(SharedExperts::Gated(key, default)) => (reader.count(key, limits::WIDTH, default)?, true),
        None => (0, false),
    };
    let routed = Mlp::Experts { count, active, width, shared_width, gated };
    let has_experts = with_experts(reader, experts, layers)?;
    let dense = match has_experts.iter().all(|has| *has) {
        true => routed,
        false => Mlp::Dense {
            width: reader.count(family.width_key, limits::WIDTH, family.defaults.intermediate_size)?,
        },
    };
    Ok(has_experts.into_iter().map(|has| if has { routed } else { dense }).collect())
}

/// A width for each layer.
fn listed_widths(reader: &Reader<'_>, layers: usize) -> Result<Vec<Mlp>, ConfigError> {
    let (fields, key) = (reader.fields, reader.family.width_key);
    let width = |value: &Value| {
        let width = usize::try_from(value.as_u64()?).ok()?;
        (1..=limits::WIDTH).contains(&width).then_some(Mlp::Dense { width })
    };
    let list = fields.get(key).and_then(Value::as_array).filter(|list| list.len() == layers);
    list.and_then(|list| list.iter().map(width).collect())
        .ok_or_else(|| fields.invalid(key, &format!("a width, or a list of {layers}, one for each layer")))
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
        let listed = layer_types(reader, layers, &[SLIDING])?;
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
            let mut window = window(Some(default))?;
            // The class halves the window where a query sees both sides; what it saves is the whole one.
            if key.is_some() && fields.flag("use_bidirectional_attention")? == Some(true) {
                window = window.map(|window| window / 2 + 1);
            }
            chosen(window, &|layer| slides_by(period, layer))
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

/// Whether a layer is none of every `period`-th.
fn slides_by(period: usize, layer: usize) -> bool {
    !(layer + 1).is_multiple_of(period)
}

/// The layers that keep a state, by number.
pub(super) fn linear(reader: &Reader<'_>, interval: usize, layers: usize) -> Result<Vec<usize>, ConfigError> {
    let listed = layer_types(reader, layers, &LINEAR)?;
    let interval = reader.fields.count("full_attention_interval", 1, limits::LAYERS)?.unwrap_or(interval);
    let keeps_state =
        |layer: usize| listed.as_ref().map_or(slides_by(interval, layer), |listed| listed[layer]);
    Ok((0..layers).filter(|layer| keeps_state(*layer)).collect())
}

/// Lets the last layers read the cache of the last one of their kind before them, as many as `key` says.
pub(super) fn share_caches(
    reader: &mut Reader<'_>,
    key: &'static str,
    default: usize,
    layers: &mut [Layer],
) -> Result<(), ConfigError> {
    let fields = reader.fields;
    let count = fields.count(key, 0, limits::LAYERS)?.unwrap_or_else(|| {
        reader.defaulted.push(Defaulted(key));
        default
    });
    let contradiction = |rule: String| ConfigError::Contradiction { field: fields.path(key), rule };
    if count >= layers.len() {
        let rule =
            format!("{count} layers read the cache of earlier ones, but there are {} in all", layers.len());
        return Err(contradiction(rule));
    }
    let first = layers.len() - count;
    for index in first..layers.len() {
        let window = layers[index].window;
        let kept = layers[..first].iter().rposition(|layer| layer.window == window);
        let none = || {
            contradiction(format!(
                "layer {index} reads the cache of an earlier one of its kind, but there is none before layer {first}"
            ))
        };
        layers[index].cache_of = Some(kept.ok_or_else(none)?);
    }
    Ok(())
}

/// `layer_types`: whether each layer is of one of these kinds and not full; `None` where the file has no such list.
fn layer_types(reader: &Reader<'_>, layers: usize, kinds: &[&str]) -> Result<Option<Vec<bool>>, ConfigError> {
    let (fields, key) = (reader.fields, "layer_types");
    let Some(value) = fields.get(key) else { return Ok(None) };
    let list = value.as_array().filter(|list| list.len() == layers);
    let list = list.ok_or_else(|| fields.invalid(key, &format!("a list of {layers}, one for each layer")))?;
    list.iter()
        .map(|kind| match kind.as_str() {
            Some(kind) if kinds.contains(&kind) => Ok(true),
            Some(kind) if FULL.contains(&kind) => Ok(false),
            _ => Err(fields.invalid(key, &format!("a list of {} and {}", FULL[0], kinds[0]))),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// `per_layer_config`: what single layers have other than the rest. transformers 5.23.0 reads it of every config; what
/// changes bytes and is no number of heads nor the width of a dense MLP is refused.
pub(super) fn override_each(reader: &Reader<'_>, layers: &mut [Layer]) -> Result<(), ConfigError> {
    let Some(all) = reader.fields.object("per_layer_config")? else { return Ok(()) };
    let family = reader.family;
    if (family.linear.is_some() || family.cache_sharing.is_some()) && !all.map().is_empty() {
        return Err(ConfigError::UnknownLayers {
            field: reader.fields.path("per_layer_config"),
            found: format!("{} layers", all.map().len()),
            reason:
                "in a family whose layers are of several kinds, what a single layer has of its own is unknown"
                    .to_owned(),
        });
    }
    let width_key = reader.family.width_key;
    for index in all.map().keys() {
        let layer = index.parse().ok().and_then(|index: usize| layers.get_mut(index));
        let (Some(layer), Some(own)) = (layer, all.object(index)?) else {
            return Err(all.invalid(index, "an object under the number of a layer"));
        };
        if let Attention::Heads { heads, kv_heads, head_dim, .. } = &mut layer.attention {
            *heads = own.count("num_attention_heads", 1, limits::HEADS)?.unwrap_or(*heads);
            *kv_heads = own.count("num_key_value_heads", 1, limits::HEADS)?.unwrap_or(*kv_heads);
            *head_dim = own.count("head_dim", 1, limits::HEAD_DIM)?.unwrap_or(*head_dim);
            divides(&own, *heads, *kv_heads)?;
        }
        if let Mlp::Dense { width } = &mut layer.mlp {
            *width = own.count(width_key, 1, limits::WIDTH)?.unwrap_or(*width);
        }
        let is_read = |key: &str| match key {
            "num_attention_heads" | "num_key_value_heads" | "head_dim" => {
                matches!(layer.attention, Attention::Heads { .. })
            }
            key => key == width_key && matches!(layer.mlp, Mlp::Dense { .. }),
        };
        if let Some((key, value)) = own.map().iter().find(|(key, _)| !is_read(key)) {
            return Err(ConfigError::UnknownLayers {
                field: own.path(key),
                found: value.to_string(),
                reason: "of a single layer, heads and the width of a dense MLP are read; the rest is unknown"
                    .to_owned(),
            });
        }
    }
    Ok(())
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
