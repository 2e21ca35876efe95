//! Every family of decoders held against Hugging Face's own classes, and real files against published counts.
#![cfg(not(target_arch = "wasm32"))]

use phi3::config::Fields;
use phi3::decoder::{Decoder, FAMILIES, Oracle};
use phi3::dtype::DType;
use phi3::estimate::{self, Format, KvPolicy};
use phi3::inspect::{self, Subject, Support};
use phi3::tensors;
use serde_json::Value;

fn read(path: &str) -> Vec<u8> {
    let path = format!("{}/../tests/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn real(name: &str) -> Decoder {
    Decoder::parse(&read(&format!("data/configs/{name}.json"))).expect(name)
}

#[test]
fn counts_and_windows_are_those_of_hugging_face() {
    let cases: Vec<Value> = serde_json::from_slice(&read("goldens/families.json")).expect("goldens are JSON");
    let mut seen = std::collections::BTreeSet::new();
    for case in &cases {
        // As a person writes it, and as transformers saves it.
        for config in [&case["config"], &case["saved"]] {
            let decoder =
                Decoder::parse(config.to_string().as_bytes()).expect("a config that the class takes");
            seen.insert(decoder.family.name());
            assert_eq!(Value::from(estimate::params(&decoder).total), case["total"], "{config}");
            let windows: Vec<Option<usize>> = decoder.layers.iter().map(|layer| layer.window).collect();
            assert_eq!(serde_json::json!(windows), case["windows"], "{config}");
            let listed: u64 = tensors::list(&decoder).map(|tensor| tensor.count()).sum();
            assert_eq!(listed, estimate::params(&decoder).total, "{config}");
        }
    }
    for family in FAMILIES.iter().filter(|family| family.oracle == Oracle::HuggingFace) {
        assert!(seen.contains(family.name()), "{} has no golden", family.name());
    }
}

#[test]
fn names_are_unique() {
    let cases: Vec<Value> = serde_json::from_slice(&read("goldens/families.json")).expect("goldens are JSON");
    for case in cases {
        let decoder = Decoder::parse(case["config"].to_string().as_bytes()).expect("good");
        let names: Vec<String> = tensors::list(&decoder).map(|tensor| tensor.name).collect();
        let unique: std::collections::HashSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{}", case["config"]);
    }
}

/// Published counts: the model hubs' own, or papers'.
#[test]
fn real_files_have_their_published_counts() {
    for (name, params, kv_per_token) in [
        ("meta-llama__Llama-3.1-8B", 8_030_261_248, 131_072),
        ("meta-llama__Llama-3.2-1B-Instruct", 1_235_814_400, 32_768),
        ("mistralai__Mistral-7B-v0.1", 7_241_732_096, 131_072),
        ("Qwen__Qwen2.5-7B", 7_615_616_512, 57_344),
        ("google__gemma-2-9b", 9_241_705_984, 344_064),
        ("HuggingFaceTB__SmolLM2-135M__DERIVED", 134_515_008, 23_040),
        ("microsoft__Phi-3.5-MoE-instruct", 41_873_153_344, 131_072),
        ("microsoft__Phi-3-small-8k-instruct", 7_392_272_384, 131_072),
        ("microsoft__Phi-3-mini-4k-instruct", 3_821_079_552, 393_216),
        ("microsoft__phi-4", 14_659_507_200, 204_800),
        ("microsoft__Phi-4-mini-instruct", 3_836_021_760, 131_072),
    ] {
        let decoder = real(name);
        assert_eq!(estimate::params(&decoder).total, params, "{name}");
        assert_eq!(estimate::bytes_per_token(&decoder, DType::Bf16), kv_per_token, "{name}");
    }
}

/// DeepSeek-V3: 671 billion in the paper, of which a token goes through 37; its cache keeps a latent.
#[test]
fn deepseek_v3_from_its_class_defaults() {
    let json = br#"{"model_type":"deepseek_v3","num_nextn_predict_layers":1,
        "quantization_config":{"quant_method":"fp8","fmt":"e4m3","weight_block_size":[128,128]}}"#;
    let decoder = Decoder::parse(json).expect("a config");
    let billions = |count: u64| (count as f64 / 1e9).round();
    assert_eq!(billions(estimate::params(&decoder).total), 671.0);
    assert_eq!(billions(estimate::active_params(&decoder)), 38.0);
    assert!(estimate::predictor_params(&decoder) > 11_000_000_000);
    assert_eq!(estimate::bytes_per_token(&decoder, DType::Bf16), 61 * (512 + 64) * 2);
    // 61 layers of latent, not 2 × 128 heads × 192.
    assert!(estimate::bytes_per_token(&decoder, DType::Bf16) < 100_000);
    let report = estimate::estimate(&decoder, None, &estimate::Options::default()).expect("defaults");
    assert_eq!(report.assumptions[0].value, "fp8_block (the config's)");
    // One byte a weight, four for each 128 × 128 of them, two for embedding and head.
    let ratio = report.weights_bytes as f64 / report.params_total as f64;
    assert!((1.0..1.01).contains(&ratio), "{ratio}");
}

#[test]
fn windowed_layers_keep_their_window() {
    let gemma = real("google__gemma-2-9b");
    let full = estimate::cache_bytes(&gemma, DType::Bf16, KvPolicy::Full, 8192, 1);
    let capped = estimate::cache_bytes(&gemma, DType::Bf16, KvPolicy::Window, 8192, 1);
    // 21 of 42 layers keep 4,096 of 8,192 tokens.
    assert_eq!(capped * 4, full * 3);
    // Qwen2.5's window is switched off.
    let qwen = real("Qwen__Qwen2.5-7B");
    assert!(qwen.layers.iter().all(|layer| layer.window.is_none()));
}

/// Files as published: the bytes of all tensors, without the files' headers.
#[test]
fn published_quantised_files_have_their_size() {
    let mini = real("microsoft__Phi-3-mini-4k-instruct");
    // microsoft/Phi-3-mini-4k-instruct-gguf, Phi-3-mini-4k-instruct-q4.gguf: 2,393,231,072 bytes in all.
    let q4_k_m = estimate::weights_bytes(&mini, Format::Q4KM);
    let metadata = 2_393_231_072i64 - q4_k_m as i64;
    assert!((0..2_000_000).contains(&metadata), "{metadata} bytes of metadata");
}

/// A layout that is not known is no exact number, and one that means nothing is refused.
#[test]
fn quantisations_are_known_or_said_to_be_unknown() {
    let config = |quantization: &str| {
        let json = format!(r#"{{"model_type":"llama","quantization_config":{quantization}}}"#);
        Decoder::parse(json.as_bytes())
    };
    let badge = |quantization: &str| {
        let decoder = config(quantization).expect(quantization);
        let report = estimate::estimate(&decoder, None, &estimate::Options::default()).expect("defaults");
        report.terms[0].badge
    };
    assert_eq!(badge(r#"{"quant_method":"awq","bits":4,"group_size":64}"#), estimate::Badge::Exact);
    assert_eq!(badge(r#"{"quant_method":"fp8","weight_block_size":[128,128]}"#), estimate::Badge::Exact);
    for unknown in [
        r#"{"quant_method":"evil"}"#,
        r#"{"quant_method":"awq","bits":3}"#,
        r#"{"quant_method":"fp8","weight_block_size":[64,64]}"#,
        "{}",
    ] {
        assert_eq!(badge(unknown), estimate::Badge::Formula, "{unknown}");
    }
    for malformed in ["[0,0]", "[128]", "[128,-1]", "128", r#"["a","b"]"#] {
        let json = format!(r#"{{"quant_method":"fp8","weight_block_size":{malformed}}}"#);
        assert!(config(&json).is_err(), "{malformed}");
    }
}

fn parse(json: &str) -> Result<Decoder, phi3::config::ConfigError> {
    Decoder::parse(json.as_bytes())
}

/// transformers 5.23.0 makes a linear, chunked or shared cache for any config that names one, but none of these classes
/// computes such layers: no number would be right.
#[test]
fn layers_that_no_class_computes_are_unknown() {
    for family in FAMILIES.iter().filter(|family| family.nested.is_none()) {
        let name = family.name();
        for (keys, field) in [
            (r#""layer_types":["linear_attention","full_attention"]"#, "layer_types"),
            (r#""layer_types":["full_attention","chunked_attention"]"#, "layer_types"),
            (r#""num_kv_shared_layers":1"#, "num_kv_shared_layers"),
            (r#""kv_sharing_modes":["store","reuse"]"#, "kv_sharing_modes"),
        ] {
            let json = format!(r#"{{"model_type":"{name}","num_hidden_layers":2,{keys}}}"#);
            let error = parse(&json).map(|_| ()).expect_err(&json);
            assert_eq!((error.code(), error.field()), ("unknown_architecture", Some(field)), "{json}");
            assert!(error.to_string().contains("is unknown"), "{error}");
            let fields = Fields::parse(json.as_bytes()).expect("JSON");
            let report = inspect::inspect(Subject::config_only(&fields)).expect("what can be said");
            assert_eq!((report.support, report.params.total), (Support::Unknown, None), "{json}");
            assert_eq!((report.model_type.as_str(), report.findings.len()), (name, 1), "{json}");
        }
        // What says that there are none of them.
        let none = r#""num_kv_shared_layers":0,"kv_sharing_modes":null,"layer_types":["attention","full_attention"]"#;
        let json = format!(r#"{{"model_type":"{name}","num_hidden_layers":2,{none}}}"#);
        assert!(parse(&json).is_ok(), "{json}");
    }
    let nested = r#"{"model_type":"gemma3","text_config":{"num_hidden_layers":2,"num_kv_shared_layers":1}}"#;
    assert_eq!(parse(nested).expect_err("shared").field(), Some("text_config.num_kv_shared_layers"));
}

/// `per_layer_config` of transformers 5.23.0: a layer's own heads and width go before those of all.
#[test]
fn single_layers_may_differ() {
    let with = |layers: &str| {
        let json = format!(
            r#"{{"model_type":"llama","hidden_size":256,"num_hidden_layers":3,"num_attention_heads":8,
                "num_key_value_heads":4,"head_dim":32,"intermediate_size":512,"vocab_size":100,
                "per_layer_config":{layers}}}"#
        );
        parse(&json)
    };
    let plain = with("{}").expect("good");
    let decoder =
        with(r#"{"1":{"num_key_value_heads":2,"intermediate_size":100},"2":{"num_key_value_heads":4}}"#)
            .expect("good");
    let kv = |decoder: &Decoder| estimate::bytes_per_token(decoder, DType::Bf16);
    assert_eq!((kv(&plain), kv(&decoder)), (12 * 2 * 32 * 2, 10 * 2 * 32 * 2));
    let fewer = estimate::params(&plain).total - estimate::params(&decoder).total;
    assert_eq!(fewer, 2 * 2 * 32 * 256 + 3 * 256 * 412);
    for (layers, field) in [
        (r#"{"3":{}}"#, "per_layer_config.3"),
        (r#"{"x":{}}"#, "per_layer_config.x"),
        (r#"{"0":1}"#, "per_layer_config.0"),
        (r#"{"0":{"num_key_value_heads":3}}"#, "per_layer_config.0.num_key_value_heads"),
        (r#"{"0":{"skip":["attention"]}}"#, "per_layer_config.0.skip"),
        ("[]", "per_layer_config"),
    ] {
        assert_eq!(with(layers).map(|_| ()).expect_err(layers).field(), Some(field), "{layers}");
    }
    // A mixture's width and a latent's heads are no such numbers; phi3, which is run, has layers that are alike.
    for (name, key) in [
        ("mixtral", "intermediate_size"),
        ("deepseek_v3", "num_key_value_heads"),
        ("phi3", "num_key_value_heads"),
    ] {
        let json = format!(r#"{{"model_type":"{name}","per_layer_config":{{"0":{{"{key}":8}}}}}}"#);
        assert_eq!(parse(&json).map(|_| ()).expect_err(&json).code(), "unknown_architecture", "{json}");
    }
}

/// The class keeps half of a window on each side; the file, also one that it saves, has the whole.
#[test]
fn windows_that_reach_both_ways_are_halved() {
    let both = r#"{"model_type":"gemma3_text","sliding_window":512,"use_bidirectional_attention":true}"#;
    assert_eq!(parse(both).expect("good").layers[0].window, Some(257));
    assert_eq!(parse(&both.replace("true", "false")).expect("good").layers[0].window, Some(512));
}

/// OLMo 3 is OLMo 2 with a window in three of four layers (`modular_olmo3.py`).
#[test]
fn olmo3_is_olmo2_with_windows() {
    let [olmo2, olmo3] = ["olmo2", "olmo3"]
        .map(|name| parse(&format!(r#"{{"model_type":"{name}","num_hidden_layers":5}}"#)).expect(name));
    assert_eq!(estimate::params(&olmo2), estimate::params(&olmo3));
    let windows: Vec<bool> = olmo3.layers.iter().map(|layer| layer.window == Some(4096)).collect();
    assert_eq!(windows, [true, true, true, false, true]);
}
