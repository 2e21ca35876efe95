//! A GGUF header's numbers in the words of a Hugging Face `config.json`.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::metadata::shortest;
use super::{Array, Gguf, Metadata, Value, names};
use crate::config::{ConfigError, FULL, Fields, SLIDING, limits};
use crate::decoder::{Bias, Decoder, Family, Mlp, SharedExperts, Window};
use crate::weights::safetensors::TensorEntry;
use crate::weights::{WeightSource, WeightsError, WeightsProblem, floats};

/// One of the files of a model.
pub(super) struct Part<'a, S> {
    pub(super) file: &'a str,
    pub(super) source: &'a S,
    pub(super) header: &'a Gguf,
}

/// The config of a file: `architectures`, `model_type` and the sizes; for `phi3` with its rotary factors.
///
/// # Errors
/// A key of the wrong type, a size that differs from layer to layer, rotary factors that are no floats, a failed read.
pub async fn config_of<S: WeightSource>(
    file: &str,
    source: &S,
    gguf: &Gguf,
) -> Result<Map<String, Json>, WeightsError> {
    of_parts(&[Part { file, source, header: gguf }], 0).await
}

/// The same of a model in several files, of which `first` has the metadata.
pub(super) async fn of_parts<S: WeightSource>(
    parts: &[Part<'_, S>],
    first: usize,
) -> Result<Map<String, Json>, WeightsError> {
    let Part { file, header, .. } = &parts[first];
    let refuse = |problem| WeightsError::new(*file, problem);
    let tensor = |name: &str| parts.iter().find_map(|part| part.header.tensor(name));
    let mut config = sizes(header, &tensor).map_err(refuse)?;
    let factors =
        (read_factors(parts, names::SHORT_FACTORS).await?, read_factors(parts, names::LONG_FACTORS).await?);
    if let (Some(short), Some(long)) = factors {
        let mut scaling = json!({ "type": "longrope", "short_factor": short, "long_factor": long });
        let key = format!("{}.rope.scaling.attn_factor", header.architecture);
        if let Some(factor) = header.metadata.float(&key).map_err(refuse)? {
            scaling["attention_factor"] = json!(factor);
        }
        config.insert("rope_scaling".to_owned(), scaling);
    }
    Ok(config)
}

/// Refuses metadata that leave a size of a known architecture open: Hugging Face's class has a default for it, but that
/// is a guess about this file.
pub(super) fn complete(gguf: &Gguf, config: &Map<String, Json>) -> Result<(), WeightsProblem> {
    let model_type = config.get("model_type").and_then(Json::as_str);
    if model_type.and_then(Family::of).is_none() {
        return Ok(());
    }
    let unknown = |name: &str| {
        let what = format!(
            "its metadata give no `{}.{name}` above 0: what it would need is unknown",
            gguf.architecture
        );
        Err(WeightsProblem::Corrupt(what))
    };
    let needed = ["embedding_length", "block_count", "attention.head_count", "context_length"];
    let is_needed = |row: &&(&str, &str)| needed.contains(&row.0) && !config.contains_key(row.1);
    if let Some((name, _)) = KEYS.iter().find(is_needed) {
        return unknown(name);
    }
    let decoder = match Decoder::from_fields(&Fields::from_map(config.clone())) {
        Ok(decoder) => decoder,
        // A number out of range, under the key that people find it by.
        Err(ConfigError::Invalid { field, found, expected }) => {
            let key = KEYS.iter().find(|(_, known)| *known == field).map(|(name, _)| *name);
            let key = key.map_or(field, |name| format!("{}.{name}", gguf.architecture));
            return Err(WeightsProblem::Corrupt(format!("`{key}` is {found}, expected {expected}")));
        }
        // What contradicts itself is told by whoever uses the config.
        Err(_) => return Ok(()),
    };
    let has_experts = decoder.layers.iter().any(|layer| matches!(layer.mlp, Mlp::Experts { .. }));
    let experts = decoder.family.experts.filter(|_| !has_experts);
    let unused = |key: &str| experts.is_some_and(|e| [e.count.0, e.active.0].contains(&key));
    let missing = decoder.defaulted.iter().map(|key| key.0).find(|key| !unused(key));
    let Some(missing) = missing else { return Ok(()) };
    match KEYS.iter().find(|(_, field)| *field == missing) {
        Some((name, _)) => unknown(name),
        None if decoder.family.experts.is_some_and(|e| e.count.0 == missing) => unknown("expert_count"),
        None if decoder.family.width_key == missing => unknown("feed_forward_length"),
        None => unknown(missing),
    }
}

/// Those of them that llama.cpp reads as a number or as one for each layer.
const OF_EACH_LAYER: [&str; 3] = ["feed_forward_length", "attention.head_count", "attention.head_count_kv"];

/// Keys after the architecture's name, and their fields in `config.json`.
const KEYS: [(&str, &str); 16] = [
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("block_count", "num_hidden_layers"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("context_length", "max_position_embeddings"),
    ("rope.scaling.original_context_length", "original_max_position_embeddings"),
    ("attention.sliding_window", "sliding_window"),
    ("attention.shared_kv_layers", "num_kv_shared_layers"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
    ("expert_shared_count", "n_shared_experts"),
    ("leading_dense_block_count", "first_k_dense_replace"),
    ("attention.q_lora_rank", "q_lora_rank"),
    ("attention.kv_lora_rank", "kv_lora_rank"),
    ("nextn_predict_layers", "num_nextn_predict_layers"),
];

type Tensors<'a> = dyn Fn(&str) -> Option<&'a TensorEntry> + 'a;

fn sizes<'a>(gguf: &'a Gguf, tensor: &Tensors<'a>) -> Result<Map<String, Json>, WeightsProblem> {
    let (metadata, architecture) = (&gguf.metadata, gguf.architecture.as_str());
    let key = |name: &str| format!("{architecture}.{name}");
    let mut config = Map::new();
    let experts = metadata.unsigned(&key("expert_count"))?.filter(|count| *count > 0);
    let class = match (architecture, experts) {
        ("phi3", _) => Some("Phi3ForCausalLM"),
        ("llama", None) => Some("LlamaForCausalLM"),
        ("llama", Some(_)) => Some("MixtralForCausalLM"),
        _ => None,
    };
    config.extend(class.map(|class| ("architectures".to_owned(), json!([class]))));
    let model_type = match (architecture, experts) {
        ("llama", Some(_)) => "mixtral",
        ("gemma3", _) => "gemma3_text",
        ("qwen3moe", _) => "qwen3_moe",
        ("deepseek2", _) => "deepseek_v2",
        ("gpt-oss", _) => "gpt_oss",
        // llama.cpp keeps both under one name.
        ("olmo2", _) if metadata.get(&key("attention.sliding_window")).is_some() => "olmo3",
        (other, _) => other,
    };
    // Tensors of some are named by llama.cpp alone, whatever transformers calls so.
    let family = Family::of(model_type).filter(|family| family.has_gguf());
    let is_other = family.is_none() && Family::of(model_type).is_some();
    let model_type = if is_other { format!("{model_type} (GGUF)") } else { model_type.to_owned() };
    config.insert("model_type".to_owned(), json!(model_type));
    let mut of_each_layer = Vec::new();
    for (name, field) in KEYS {
        let key = key(name);
        let number = match metadata.get(&key) {
            Some(Value::Array(_)) => match family {
                Some(family) => {
                    let numbers = of_layers(metadata, &key)?;
                    let may_differ = OF_EACH_LAYER.contains(&name) && !family.runs();
                    let first = first_of(&key, &numbers, may_differ)?;
                    of_each_layer.push((field, key, numbers));
                    first
                }
                // Nothing is derived from it.
                None => continue,
            },
            _ => metadata.unsigned(&key)?,
        };
        // Zero means absent: no window, no experts.
        if let Some(number) = number.filter(|number| *number > 0) {
            config.insert(field.to_owned(), json!(number));
        }
    }
    if let Some(count) = experts {
        let field = family.and_then(|family| family.experts).map_or("num_local_experts", |e| e.count.0);
        config.insert(field.to_owned(), json!(count));
    }
    for (name, field) in
        [("attention.layer_norm_rms_epsilon", "rms_norm_eps"), ("rope.freq_base", "rope_theta")]
    {
        if let Some(number) = metadata.float(&key(name))? {
            config.insert(field.to_owned(), json!(number));
        }
    }
    if let Some(family) = family {
        of_family(family, tensor, &mut config);
        differing_layers(family, &of_each_layer, &mut config)?;
        windows(family, metadata, architecture, &mut config)?;
        match family.latent {
            Some(_) => latent_sizes(metadata, architecture, &mut config)?,
            None => head_sizes(metadata, architecture, &mut config)?,
        }
    }
    if let Some(vocab) = vocab_size(gguf, tensor)? {
        config.insert("vocab_size".to_owned(), json!(vocab));
    }
    config.insert("tie_word_embeddings".to_owned(), json!(tensor(names::HEAD).is_none()));
    for (name, field) in TOKEN_IDS {
        if let Some(id) = metadata.unsigned(name)? {
            config.insert(field.to_owned(), json!(id));
        }
    }
    Ok(config)
}

/// A list with a number for each layer, no longer than any model has layers.
fn of_layers(metadata: &Metadata, key: &str) -> Result<Vec<i64>, WeightsProblem> {
    match metadata.get(key) {
        Some(Value::Array(Array::Scalars(list))) if list.len() > limits::LAYERS => {
            Err(WeightsProblem::Corrupt(format!("`{key}` has {} numbers, one a layer", list.len())))
        }
        _ => Ok(metadata.integers(key)?.unwrap_or_default()),
    }
}

/// The number of the first layer in a list with one for each; the others differ where they may.
fn first_of(key: &str, numbers: &[i64], may_differ: bool) -> Result<Option<u64>, WeightsProblem> {
    let Some(first) = numbers.first() else { return Ok(None) };
    let alike = numbers.iter().all(|number| number == first);
    if numbers.iter().all(|number| *number > 0) && (alike || may_differ) || alike && *first == 0 {
        return Ok(Some(*first as u64));
    }
    let shown: Vec<String> = numbers.iter().take(8).map(ToString::to_string).collect();
    let more = if numbers.len() > shown.len() { ", …" } else { "" };
    Err(WeightsProblem::Unsupported(format!(
        "`{key}` differs from layer to layer ([{}{more}]), which its family has not: what it needs is unknown",
        shown.join(", ")
    )))
}

/// Layers of a config, where they are no more than any model has.
fn layer_count(config: &Map<String, Json>) -> Option<usize> {
    let layers = usize::try_from(config.get("num_hidden_layers")?.as_u64()?).ok()?;
    (layers <= limits::LAYERS).then_some(layers)
}

/// Lists with a number for each layer, as `per_layer_config` says it: what layers have other than the first.
fn differing_layers(
    family: &Family,
    lists: &[(&'static str, String, Vec<i64>)],
    config: &mut Map<String, Json>,
) -> Result<(), WeightsProblem> {
    let Some(blocks) = layer_count(config) else { return Ok(()) };
    let mut layers: BTreeMap<usize, Map<String, Json>> = BTreeMap::new();
    for (field, key, numbers) in lists {
        if numbers.len() < blocks {
            let what = format!("`{key}` has {} numbers for {blocks} layers", numbers.len());
            return Err(WeightsProblem::Corrupt(what));
        }
        let field = if *field == "intermediate_size" { family.width_key } else { field };
        for (layer, number) in numbers.iter().enumerate().take(blocks) {
            if *number != numbers[0] {
                layers.entry(layer).or_default().insert(field.to_owned(), json!(number));
            }
        }
    }
    if !layers.is_empty() {
        let layers: Map<String, Json> =
            layers.into_iter().map(|(layer, own)| (layer.to_string(), Json::Object(own))).collect();
        config.insert("per_layer_config".to_owned(), Json::Object(layers));
    }
    Ok(())
}

/// `attention.sliding_window_pattern`: which layers have the window, as a truth value for each or as the number of
/// layers of which the last sees all. Without it the families' own rules hold, as in llama.cpp.
fn windows(
    family: &Family,
    metadata: &Metadata,
    architecture: &str,
    config: &mut Map<String, Json>,
) -> Result<(), WeightsProblem> {
    let key = format!("{architecture}.attention.sliding_window_pattern");
    let Some(layers) = layer_count(config) else { return Ok(()) };
    let slides: Vec<bool> = match metadata.get(&key) {
        None => return Ok(()),
        Some(Value::Array(Array::Scalars(scalars))) => {
            let slides = scalars.iter().map(|value| match value {
                Value::Bool(slides) => Some(slides),
                Value::Unsigned(slides) => Some(slides != 0),
                Value::Signed(slides) => Some(slides != 0),
                _ => None,
            });
            let slides: Option<Vec<bool>> = slides.take(layers).collect();
            slides.filter(|slides| slides.len() == layers).ok_or_else(|| {
                WeightsProblem::Corrupt(format!("`{key}` is no list of {layers} truth values"))
            })?
        }
        Some(_) => {
            let period = metadata.unsigned(&key)?.unwrap_or(0);
            (1..=layers as u64).map(|layer| period == 0 || !layer.is_multiple_of(period)).collect()
        }
    };
    match family.window {
        // llama.cpp does not read it there.
        Window::None | Window::Upper { .. } | Window::Switched(_) | Window::WithoutRope => {}
        Window::Every(_) if !config.contains_key("sliding_window") => {}
        Window::Every(_) => match slides.iter().filter(|slides| **slides).count() {
            0 => drop(config.shift_remove("sliding_window")),
            all if all == layers => {}
            some => {
                let what = format!(
                    "`{key}` gives {some} of {layers} layers a window, which its family has not: what it needs is unknown"
                );
                return Err(WeightsProblem::Unsupported(what));
            }
        },
        Window::AllButEvery { .. } => {
            let kinds: Vec<&str> =
                slides.into_iter().map(|slides| if slides { SLIDING } else { FULL[0] }).collect();
            config.insert("layer_types".to_owned(), json!(kinds));
        }
    }
    Ok(())
}

/// What metadata say in other words than a family's config: where its experts' width stands, that it has none that are
/// shared, that predictors count as blocks; and biases, of which the tensors alone tell.
fn of_family<'a>(family: &Family, tensor: &Tensors<'a>, config: &mut Map<String, Json>) {
    let number = |config: &Map<String, Json>, field: &str| config.get(field).and_then(Json::as_u64);
    if let Some(experts) = family.experts {
        if experts.width.0 != "moe_intermediate_size"
            && let Some(width) = config.shift_remove("moe_intermediate_size")
        {
            config.insert(experts.width.0.to_owned(), width);
        }
        let shared = experts.shared.and_then(|shared| match shared {
            SharedExperts::Count(field, _) => Some(field),
            SharedExperts::Gated(..) => None,
        });
        for field in [shared, experts.dense_layers.map(|(field, _)| field)].into_iter().flatten() {
            config.entry(field).or_insert(json!(0));
        }
    }
    if family.width_key != "intermediate_size"
        && let Some(width) = config.shift_remove("intermediate_size")
    {
        config.insert(family.width_key.to_owned(), width);
    }
    let predictors = number(config, "num_nextn_predict_layers").unwrap_or(0);
    if let Some(blocks) = number(config, "num_hidden_layers").filter(|blocks| *blocks > predictors) {
        config.insert("num_hidden_layers".to_owned(), json!(blocks - predictors));
    }
    let has = |names: &[&str]| names.iter().any(|name| tensor(name).is_some());
    for (bias, names) in [
        (family.output_bias, &["blk.0.attn_output.bias"][..]),
        (family.qkv_bias, &["blk.0.attn_q.bias", "blk.0.attn_qkv.bias"][..]),
        (family.mlp_bias, &["blk.0.ffn_up.bias", "blk.0.ffn_up_shexp.bias"][..]),
        (family.head_bias, &["output.bias"][..]),
    ] {
        if let Bias::Key(field, _) = bias {
            config.insert(field.to_owned(), json!(has(names)));
        }
    }
}

/// Sizes of heads: what metadata leave out is what llama.cpp takes, never the default of a class.
fn head_sizes(
    metadata: &Metadata,
    architecture: &str,
    config: &mut Map<String, Json>,
) -> Result<(), WeightsProblem> {
    let key = |name: &str| format!("{architecture}.{name}");
    let number = |config: &Map<String, Json>, field: &str| config.get(field).and_then(Json::as_u64);
    let Some(heads) = number(config, "num_attention_heads") else { return Ok(()) };
    if number(config, "num_key_value_heads").is_none() {
        let key = key("attention.head_count_kv");
        if metadata.get(&key).is_some() {
            return Err(WeightsProblem::Corrupt(format!("`{key}` is 0: a model has at least one")));
        }
        config.insert("num_key_value_heads".to_owned(), json!(heads));
    }
    let length = metadata.unsigned(&key("attention.key_length"))?;
    let quotient = number(config, "hidden_size").filter(|hidden| hidden.is_multiple_of(heads));
    let Some(head_dim) = length.or(quotient.map(|hidden| hidden / heads)) else { return Ok(()) };
    if let Some(values) = metadata.unsigned(&key("attention.value_length"))?.filter(|v| *v != head_dim) {
        let what = format!("heads have keys of {head_dim} and values of {values}, which its family has not");
        return Err(WeightsProblem::Unsupported(what));
    }
    config.insert("head_dim".to_owned(), json!(head_dim));
    let rotated = metadata.unsigned(&key("rope.dimension_count"))?.unwrap_or(head_dim);
    if rotated != head_dim && head_dim > 0 {
        config.insert("partial_rotary_factor".to_owned(), json!(rotated as f64 / head_dim as f64));
    }
    Ok(())
}

/// Sizes of latent attention: newer files name the heads' own widths apart from those of the cache.
fn latent_sizes(
    metadata: &Metadata,
    architecture: &str,
    config: &mut Map<String, Json>,
) -> Result<(), WeightsProblem> {
    let length = |name: &str| -> Result<Option<u64>, WeightsProblem> {
        let own = metadata.unsigned(&format!("{architecture}.attention.{name}_mla"))?;
        Ok(own.or(metadata.unsigned(&format!("{architecture}.attention.{name}"))?))
    };
    let rotated = metadata.unsigned(&format!("{architecture}.rope.dimension_count"))?;
    if let (Some(key), Some(rotated)) = (length("key_length")?, rotated) {
        config.insert("qk_nope_head_dim".to_owned(), json!(key.saturating_sub(rotated)));
        config.insert("qk_rope_head_dim".to_owned(), json!(rotated));
    }
    if let Some(value) = length("value_length")? {
        config.insert("v_head_dim".to_owned(), json!(value));
    }
    // Absent, not defaulted: V2-Lite has no latent of queries.
    config.entry("q_lora_rank").or_insert(Json::Null);
    Ok(())
}

/// Keys of token ids and their fields in `config.json`.
const TOKEN_IDS: [(&str, &str); 3] = [
    ("tokenizer.ggml.bos_token_id", "bos_token_id"),
    ("tokenizer.ggml.eos_token_id", "eos_token_id"),
    ("tokenizer.ggml.padding_token_id", "pad_token_id"),
];

/// Rows of the embedding: what the tensor says, else the metadata.
fn vocab_size<'a>(gguf: &Gguf, tensor: &Tensors<'a>) -> Result<Option<u64>, WeightsProblem> {
    if let Some(embedding) = tensor(names::EMBEDDING) {
        return Ok(embedding.shape.first().map(|rows| *rows as u64));
    }
    let listed = |metadata: &Metadata| match metadata.get("tokenizer.ggml.tokens") {
        Some(Value::Array(Array::Strings(tokens))) => Some(tokens.len() as u64),
        _ => None,
    };
    let key = format!("{}.vocab_size", gguf.architecture);
    Ok(gguf.metadata.unsigned(&key)?.or_else(|| listed(&gguf.metadata)))
}

/// A tensor of rotary factors, in the shortest decimals.
async fn read_factors<S: WeightSource>(
    parts: &[Part<'_, S>],
    name: &str,
) -> Result<Option<Vec<f64>>, WeightsError> {
    let found = parts.iter().find_map(|part| Some((part, part.header.tensor(name)?)));
    let Some((Part { file, source, .. }, tensor)) = found else { return Ok(None) };
    // One for each pair of a head's dimensions; heads have a few hundred.
    if !tensor.dtype.is_float() || tensor.shape.len() != 1 || tensor.shape[0] > 1 << 12 {
        let what =
            format!("tensor `{name}` {:?} in {} is no list of rotary factors", tensor.shape, tensor.dtype);
        return Err(WeightsError::new(*file, WeightsProblem::Corrupt(what)));
    }
    let mut bytes = vec![0; tensor.len as usize];
    source.read_into(tensor.offset, &mut bytes).await.map_err(|error| WeightsError::new(*file, error))?;
    let mut values = vec![0.0; tensor.shape[0]];
    floats::convert(tensor.dtype, &bytes, &mut values);
    Ok(Some(values.into_iter().map(shortest).collect()))
}
