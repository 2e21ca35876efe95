//! What the command line predicts, held against what the system counts of the worker's process.

use pollster::block_on;
use serde_json::{Value, json};

use crate::support::model::checkpoint;
use crate::support::model_dir::ModelDir;
use crate::support::program::preflight;
use crate::support::tests_dir;

/// Largest error of the total.
const TOTAL: f64 = 0.05;

/// Validates a model and holds every term against its prediction.
fn hold(model: &str, args: &[&str]) {
    let ran = preflight(&[&["validate", model, "--json"], args].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let memory = &ran.json()["memory"];
    let bytes = |side: &str, term: &str| memory[side][term].as_u64().expect(term);
    for term in ["weights_bytes", "kv_cache_bytes", "activation_bytes"] {
        assert_eq!(bytes("predicted", term), bytes("measured", term), "{model}: {term}");
    }
    let [predicted, measured] = ["predicted", "measured"].map(|side| bytes(side, "total_bytes") as f64);
    let error = predicted / measured - 1.0;
    #[expect(clippy::print_stdout, reason = "the figure is what the test is about")]
    {
        println!("{model} {args:?}: predicted {predicted}, measured {measured}, {:+.2} %", error * 100.0);
    }
    assert!(error.abs() <= TOTAL, "{model} {args:?}: {memory}");
}

/// Wide enough that no constant hides an error: 4 layers, 81 million parameters.
#[test]
fn a_wide_random_model_takes_what_is_predicted() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = json!({
        "model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "hidden_size": 1024,
        "intermediate_size": 3072, "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 4,
        "vocab_size": 16000, "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
        "eos_token_id": Value::Null,
    });
    let file = dir.path().join("wide.json");
    std::fs::write(&file, config.to_string()).expect("written");
    let model = dir.path().join("model");
    let [file, model] = [&file, &model].map(|path| path.to_str().expect("temporary names are UTF-8"));
    assert_eq!(preflight(&["synth", file, model, "--seed", "3", "--dtype", "bf16"]).code, 0);
    hold(model, &["--max-new-tokens", "4"]);
    let overrides = dir.path().join("f32.json");
    std::fs::write(&overrides, r#"{"torch_dtype":"float32"}"#).expect("written");
    let overrides = overrides.to_str().expect("UTF-8");
    hold(model, &["--max-new-tokens", "4", "--load-config", overrides]);
}

/// Norms in f32 beside matrices in bf16, and a head that is stored again though it is tied: the engine holds each tensor
/// once and in bf16. As much is predicted, so that a budget of just that is enough.
#[test]
fn what_is_held_is_predicted_whatever_is_stored() {
    let model = ModelDir::of_case("tied_plain");
    let golden = checkpoint(model.path());
    let named = golden.tensors().iter().map(|(name, tensor)| (name.as_str(), name.as_str(), tensor));
    let again =
        ("lm_head.weight", "model.embed_tokens.weight", &golden.tensors()["model.embed_tokens.weight"]);
    let params = golden.parameter_count();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, source, tensor) in named.chain([again]) {
        let begin = data.len();
        let in_bf16 = tensor.shape.len() > 1;
        for value in block_on(golden.read_as_f32(source)).expect("its values") {
            let bytes = value.to_le_bytes();
            data.extend_from_slice(if in_bf16 { &bytes[2..] } else { &bytes });
        }
        let dtype = if in_bf16 { "BF16" } else { "F32" };
        let entry = json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [begin, data.len()] });
        header.insert(name.to_owned(), entry);
    }
    let header = Value::Object(header).to_string();
    model.write(
        "model.safetensors",
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat(),
    );

    let load = |budget: Option<u64>| {
        let overrides = budget.map_or(json!({}), |bytes| json!({ "max_memory": { "cpu": bytes } }));
        model.write("load.json", overrides.to_string());
        let overrides = model.file("load.json");
        preflight(&["load", model.arg(), "--json", "--load-config", overrides.to_str().expect("UTF-8")])
    };
    let free = load(None);
    assert_eq!(free.code, 0, "{free:?}");
    let loaded = free.json();
    let memory = &loaded["memory"];
    for term in ["weights_bytes", "kv_cache_bytes", "activation_bytes"] {
        assert_eq!(memory["predicted"][term], memory["measured"][term], "{term}");
    }
    assert_eq!(memory["measured"]["weights_bytes"], 2 * params);
    assert_eq!(loaded["params_total"], params);
    let total = memory["predicted"]["total_bytes"].as_u64().expect("bytes");
    let [enough, short] = [total, total - 1].map(|bytes| load(Some(bytes)));
    assert_eq!(enough.code, 0, "{enough:?}");
    assert_eq!((short.code, short.error_code().as_str()), (1, "oom"));
}

#[test]
fn the_real_model_takes_what_is_predicted() {
    let folder = tests_dir().join("../models/smollm2-135m-phi3");
    if !folder.join("config.json").exists() {
        let reason = format!("{} is not there: run ./dev model", folder.display());
        assert!(std::env::var_os("PREFLIGHT_REQUIRE_MODEL").is_none(), "{reason}");
        println!("skipped: {reason}");
        return;
    }
    hold(folder.to_str().expect("UTF-8"), &[]);
}
