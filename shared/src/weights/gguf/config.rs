//! A GGUF header's numbers in the words of a Hugging Face `config.json`.

use serde_json::{Map, Value as Json, json};

use super::metadata::shortest;
use super::{Array, Gguf, Metadata, Value, names};
use crate::decoder::Family;
use crate::weights::{WeightSource, WeightsError, WeightsProblem, floats};

/// The config of a file: `architectures`, `model_type` and the sizes; for `phi3` with its rotary factors.
///
/// # Errors
/// A key of the wrong type, rotary factors that are no floats, a failed read.
pub async fn config_of<S: WeightSource>(
    file: &str,
    source: &S,
    gguf: &Gguf,
) -> Result<Map<String, Json>, WeightsError> {
    let refuse = |problem| WeightsError::new(file, problem);
    let mut config = sizes(gguf).map_err(refuse)?;
    let factors = (
        read_factors(file, source, gguf, names::SHORT_FACTORS).await?,
        read_factors(file, source, gguf, names::LONG_FACTORS).await?,
    );
    if let (Some(short), Some(long)) = factors {
        let mut scaling = json!({ "type": "longrope", "short_factor": short, "long_factor": long });
        let key = format!("{}.rope.scaling.attn_factor", gguf.architecture);
        if let Some(factor) = gguf.metadata.float(&key).map_err(refuse)? {
            scaling["attention_factor"] = json!(factor);
        }
        config.insert("rope_scaling".to_owned(), scaling);
    }
    Ok(config)
}

fn sizes(gguf: &Gguf) -> Result<Map<String, Json>, WeightsProblem> {
    let (metadata, architecture) = (&gguf.metadata, gguf.architecture.as_str());
    let key = |name: &str| format!("{architecture}.{name}");
    let mut config = Map::new();
    match architecture {
        "phi3" => config.insert("architectures".to_owned(), json!(["Phi3ForCausalLM"])),
        "llama" => config.insert("architectures".to_owned(), json!(["LlamaForCausalLM"])),
        _ => None,
    };
    let experts = metadata.unsigned(&key("expert_count"))?.filter(|count| *count > 0);
    let model_type = match (architecture, experts) {
        ("llama", Some(_)) => "mixtral",
        ("gemma3", _) => "gemma3_text",
        ("qwen3moe", _) => "qwen3_moe",
        ("deepseek2", _) => "deepseek_v2",
        ("gpt-oss", _) => "gpt_oss",
        (other, _) => other,
    };
    config.insert("model_type".to_owned(), json!(model_type));
    let family = Family::of(model_type);
    let experts_key =
        family.and_then(|family| family.experts).map_or("num_local_experts", |experts| experts.count.0);
    for (name, field) in [
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("block_count", "num_hidden_layers"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("context_length", "max_position_embeddings"),
        ("rope.scaling.original_context_length", "original_max_position_embeddings"),
        ("attention.sliding_window", "sliding_window"),
        ("expert_count", experts_key),
        ("expert_used_count", "num_experts_per_tok"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
        ("expert_shared_count", "n_shared_experts"),
        ("leading_dense_block_count", "first_k_dense_replace"),
        ("attention.q_lora_rank", "q_lora_rank"),
        ("attention.kv_lora_rank", "kv_lora_rank"),
    ] {
        // Some architectures list a number for each layer; those are not ours to run.
        if let Some(Value::Array(_)) = metadata.get(&key(name)) {
            continue;
        }
        // Zero means absent: no window, no experts.
        if let Some(number) = metadata.unsigned(&key(name))?.filter(|number| *number > 0) {
            config.insert(field.to_owned(), json!(number));
        }
    }
    for (name, field) in
        [("attention.layer_norm_rms_epsilon", "rms_norm_eps"), ("rope.freq_base", "rope_theta")]
    {
        if let Some(number) = metadata.float(&key(name))? {
            config.insert(field.to_owned(), json!(number));
        }
    }
    if family.is_some_and(|family| family.latent.is_some()) {
        latent_sizes(metadata, architecture, &mut config)?;
    }
    let number = |config: &Map<String, Json>, field: &str| config.get(field).and_then(Json::as_u64);
    let heads = number(&config, "num_attention_heads").filter(|heads| *heads > 0);
    if let (Some(hidden), Some(heads)) = (number(&config, "hidden_size"), heads) {
        let head_dim = metadata.unsigned(&key("attention.key_length"))?.unwrap_or(hidden / heads);
        let rotated = metadata.unsigned(&key("rope.dimension_count"))?.unwrap_or(head_dim);
        if head_dim.checked_mul(heads) != Some(hidden) {
            config.insert("head_dim".to_owned(), json!(head_dim));
        }
        if rotated != head_dim && head_dim > 0 {
            config.insert("partial_rotary_factor".to_owned(), json!(rotated as f64 / head_dim as f64));
        }
    }
    if let Some(vocab) = vocab_size(gguf)? {
        config.insert("vocab_size".to_owned(), json!(vocab));
    }
    config.insert("tie_word_embeddings".to_owned(), json!(gguf.tensor("output.weight").is_none()));
    for (name, field) in TOKEN_IDS {
        if let Some(id) = metadata.unsigned(name)? {
            config.insert(field.to_owned(), json!(id));
        }
    }
    Ok(config)
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
fn vocab_size(gguf: &Gguf) -> Result<Option<u64>, WeightsProblem> {
    if let Some(embedding) = gguf.tensor("token_embd.weight") {
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
    file: &str,
    source: &S,
    gguf: &Gguf,
    name: &str,
) -> Result<Option<Vec<f64>>, WeightsError> {
    let Some(tensor) = gguf.tensor(name) else { return Ok(None) };
    // One for each pair of a head's dimensions; heads have a few hundred.
    if !tensor.dtype.is_float() || tensor.shape.len() != 1 || tensor.shape[0] > 1 << 12 {
        let what =
            format!("tensor `{name}` {:?} in {} is no list of rotary factors", tensor.shape, tensor.dtype);
        return Err(WeightsError::new(file, WeightsProblem::Corrupt(what)));
    }
    let mut bytes = vec![0; tensor.len as usize];
    source.read_into(tensor.offset, &mut bytes).await.map_err(|error| WeightsError::new(file, error))?;
    let mut values = vec![0.0; tensor.shape[0]];
    floats::convert(tensor.dtype, &bytes, &mut values);
    Ok(Some(values.into_iter().map(shortest).collect()))
}
