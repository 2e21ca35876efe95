//! The config of the converted model.

use serde_json::{Map, Value, json};

use crate::config::ModelConfig;
use crate::weights::gguf::{Gguf, Metadata, config_of};
use crate::weights::{WeightSource, WeightsError, WeightsProblem};

/// Rotary scalings that change nothing.
const NO_SCALING: [&str; 2] = ["none", "default"];

/// `config.json` of the `phi3` model that a `llama` file converts to, as JSON and validated.
pub(super) async fn phi3_config<S: WeightSource>(
    file: &str,
    source: &S,
    gguf: &Gguf,
) -> Result<(Value, ModelConfig), WeightsError> {
    let refuse = |problem| WeightsError::new(file, problem);
    let unsupported = |what: String| refuse(WeightsProblem::Unsupported(what));
    if gguf.architecture != "llama" {
        let what = format!("architecture `{}`; only llama converts to phi3", gguf.architecture);
        return Err(unsupported(what));
    }
    if let Some(scaling) = gguf.metadata.text("llama.rope.scaling.type").map_err(refuse)?
        && !NO_SCALING.contains(&scaling)
    {
        return Err(unsupported(format!("rotary scaling `{scaling}`, which phi3 has not")));
    }
    let llama = config_of(file, source, gguf).await?;
    consistent(&gguf.metadata, &llama).map_err(refuse)?;
    if let Some(experts) = llama.get("num_local_experts") {
        return Err(unsupported(format!("a mixture of {experts} experts; phi3 is dense")));
    }
    if let Some(factor) = llama.get("partial_rotary_factor") {
        return Err(unsupported(format!(
            "rope.dimension_count rotates {factor} of each head; llama rotates all"
        )));
    }
    for required in
        ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"]
    {
        if !llama.contains_key(required) {
            return Err(refuse(WeightsProblem::Corrupt(format!("its metadata give no {required}"))));
        }
    }
    let json = rename(llama);
    let bytes = serde_json::to_vec(&json).expect("a JSON value is serialisable");
    let model = ModelConfig::parse(&bytes).map_err(|error| {
        refuse(WeightsProblem::Corrupt(format!("its metadata describe no model: {error}")))
    })?;
    Ok((json, model))
}

/// Numbers that stand twice in a file, or that are there and mean nothing.
fn consistent(metadata: &Metadata, llama: &Map<String, Value>) -> Result<(), WeightsProblem> {
    for key in ["llama.attention.head_count", "llama.attention.head_count_kv", "llama.embedding_length"] {
        if metadata.unsigned(key)? == Some(0) {
            return Err(WeightsProblem::Corrupt(format!("`{key}` is 0: a model has at least one")));
        }
    }
    let rows = llama.get("vocab_size").and_then(Value::as_u64);
    let tokens = metadata.strings("tokenizer.ggml.tokens")?.map(|tokens| tokens.len() as u64);
    if let (Some(stated), Some(rows)) = (metadata.unsigned("llama.vocab_size")?, rows)
        && stated != rows
    {
        let what = format!("`llama.vocab_size` is {stated}, but the embedding has {rows} rows");
        return Err(WeightsProblem::Corrupt(what));
    }
    if let (Some(stated), Some(tokens)) = (metadata.unsigned("llama.vocab_size")?, tokens)
        && stated < tokens
    {
        let what = format!("`llama.vocab_size` is {stated}, but there are {tokens} tokens");
        return Err(WeightsProblem::Corrupt(what));
    }
    Ok(())
}

/// A llama config in `phi3`'s words, keys sorted as Hugging Face writes them.
fn rename(llama: Map<String, Value>) -> Value {
    let keep = |key: &str| llama.get(key).cloned().unwrap_or(Value::Null);
    let heads = keep("num_attention_heads");
    let positions = llama.get("max_position_embeddings").cloned().unwrap_or_else(|| json!(2048));
    let mut config = json!({
        "architectures": ["Phi3ForCausalLM"],
        "attention_bias": false,
        "attention_dropout": 0.0,
        "bos_token_id": keep("bos_token_id"),
        "embd_pdrop": 0.0,
        "eos_token_id": keep("eos_token_id"),
        "head_dim": keep("head_dim"),
        "hidden_act": "silu",
        "hidden_size": keep("hidden_size"),
        "initializer_range": 0.02,
        "intermediate_size": keep("intermediate_size"),
        "max_position_embeddings": positions,
        "model_type": "phi3",
        "num_attention_heads": heads,
        "num_hidden_layers": keep("num_hidden_layers"),
        "num_key_value_heads": llama.get("num_key_value_heads").cloned().unwrap_or(heads),
        "original_max_position_embeddings": positions,
        "pad_token_id": keep("pad_token_id"),
        "resid_pdrop": 0.0,
        "rms_norm_eps": llama.get("rms_norm_eps").cloned().unwrap_or_else(|| json!(1e-5)),
        "rope_scaling": null,
        "rope_theta": llama.get("rope_theta").cloned().unwrap_or_else(|| json!(10_000.0)),
        "sliding_window": null,
        "tie_word_embeddings": keep("tie_word_embeddings"),
        "torch_dtype": "float32",
        "use_cache": true,
        "vocab_size": keep("vocab_size"),
    });
    let number = |key: &str| llama.get(key).and_then(Value::as_u64);
    let quotient =
        number("hidden_size").zip(number("num_attention_heads")).and_then(|(h, n)| h.checked_div(n));
    // What follows from the others is left out, as published configs do.
    if let Some(map) = config.as_object_mut()
        && (map["head_dim"].is_null() || map["head_dim"].as_u64() == quotient)
    {
        map.shift_remove("head_dim");
    }
    config
}

/// `generation_config.json`: every id that GGUF says ends a text or a turn.
pub(super) fn generation_config(metadata: &Metadata) -> Result<Value, WeightsProblem> {
    let id = |name: &str| metadata.unsigned(&format!("tokenizer.ggml.{name}_token_id"));
    let mut ends: Vec<u64> = [id("eos")?, id("eot")?, id("eom")?].into_iter().flatten().collect();
    ends.sort_unstable();
    ends.dedup();
    Ok(json!({ "bos_token_id": id("bos")?, "eos_token_id": ends, "pad_token_id": id("padding")? }))
}
