//! A small phi3 model in two shards, as a repository holds it.

use std::collections::BTreeMap;

use phi3::config::ModelConfig;
use phi3::tensors;
use serde_json::json;

/// The commit of every fake repository.
pub(crate) const COMMIT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";

/// A config whose weights take some megabytes: enough that fetching more than headers shows.
pub(crate) fn tiny_config() -> String {
    json!({
        "model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "torch_dtype": "bfloat16", "vocab_size": 8192,
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "original_max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "eos_token_id": 7, "bos_token_id": 1, "pad_token_id": 7,
        "tie_word_embeddings": false
    })
    .to_string()
}

/// One safetensors file of zeros with these tensors, in bf16.
pub(crate) fn weights_file<'a>(tensors: impl Iterator<Item = &'a (String, Vec<usize>)>) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}));
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + end, 0);
    bytes
}

/// Config, tokenizer, card and two shards with their index.
pub(crate) fn repo_files() -> BTreeMap<String, Vec<u8>> {
    let config = ModelConfig::parse(tiny_config().as_bytes()).expect("a good config");
    let all: Vec<(String, Vec<usize>)> =
        tensors::list(&config.decoder()).map(|spec| (spec.name, spec.shape)).collect();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let (first, second) = all.split_at(all.len() / 2);
    let mut weight_map = serde_json::Map::new();
    let mut files = BTreeMap::new();
    for (shard, tensors) in shards.iter().zip([first, second]) {
        weight_map.extend(tensors.iter().map(|(name, _)| (name.clone(), json!(shard))));
        files.insert((*shard).to_owned(), weights_file(tensors.iter()));
    }
    let total: usize = all.iter().map(|(_, shape)| 2 * shape.iter().product::<usize>()).sum();
    let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map}).to_string();
    let vocab: serde_json::Map<_, _> = (0..100).map(|id| (format!("t{id}"), json!(id))).collect();
    let tokenizer = json!({"model": {"type": "BPE", "vocab": vocab, "merges": []}}).to_string();
    let generation = json!({"eos_token_id": [7, 9], "temperature": 0.6, "do_sample": true}).to_string();
    let card = "---\nlicense: mit\nbase_model: acme/base\npipeline_tag: text-generation\n---\n# Tiny\n\nBy default, the \
                model uses flash attention, which requires certain GPUs. We have tested on these GPU types:\n\n* NVIDIA \
                A100\n* NVIDIA H100\n\n```python\ngeneration_args = {\"max_new_tokens\": 500, \"temperature\": 0.0}\n```\n";
    for (name, text) in [
        ("model.safetensors.index.json", index),
        ("config.json", tiny_config()),
        ("generation_config.json", generation),
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", "{}".to_owned()),
        ("README.md", card.to_owned()),
    ] {
        files.insert(name.to_owned(), text.into_bytes());
    }
    files
}
