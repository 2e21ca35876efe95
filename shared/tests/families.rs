//! Every family of decoders held against Hugging Face's own classes, and real files against published counts.
#![cfg(not(target_arch = "wasm32"))]

use phi3::config::Fields;
use std::collections::{BTreeMap, BTreeSet};

use phi3::decoder::{Decoder, FAMILIES, Mlp, Oracle};
use phi3::dtype::DType;
use phi3::estimate::{self, Format, KvKind, KvPolicy, Options, Size};
use phi3::inspect::{self, Subject, Support};
use phi3::placement;
use phi3::tensors;
use phi3::weights::StoredTensor;
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
    let mut seen = BTreeSet::new();
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
    // Two norms, their projection and a last norm, then a layer: 187,107,328 of latent attention, 256 experts and one that
    // all go through of 44,040,192 each, their router, two norms.
    let layer = 187_107_328 + 257 * 44_040_192 + 256 * 7168 + 2 * 7168;
    assert_eq!(estimate::predictor_params(&decoder), 3 * 7168 + 2 * 7168 * 7168 + layer);
    assert_eq!(estimate::predictor_params(&decoder), 11_610_067_968);
    assert_eq!(estimate::bytes_per_token(&decoder, DType::Bf16), 61 * (512 + 64) * 2);
    // 61 layers of latent, not 2 × 128 heads × 192.
    assert!(estimate::bytes_per_token(&decoder, DType::Bf16) < 100_000);
    let report = estimate::estimate(&decoder, None, &Options::default()).expect("defaults");
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
    // By the rules of llama.cpp, tensor by tensor: values of a 70B, shared experts, experts in one tensor with biases.
    // bartowski/Meta-Llama-3.1-70B-Instruct-GGUF has 42.52 GB, mradermacher/DeepSeek-V2-Lite-GGUF 10.4.
    for (config, bytes) in [
        (
            r#"{"model_type":"llama","hidden_size":8192,"intermediate_size":28672,"num_hidden_layers":80,
            "num_attention_heads":64,"num_key_value_heads":8,"vocab_size":128256}"#,
            42_512_531_456,
        ),
        (
            r#"{"model_type":"deepseek_v2","hidden_size":2048,"intermediate_size":10944,"num_hidden_layers":27,
            "num_attention_heads":16,"num_key_value_heads":16,"vocab_size":102400,"moe_intermediate_size":1408,
            "n_routed_experts":64,"n_shared_experts":2,"first_k_dense_replace":1,"q_lora_rank":null}"#,
            10_360_420_352,
        ),
        // With 58 corrections of 256 scores in f32.
        (r#"{"model_type":"deepseek_v3"}"#, 404_424_824_832 + 58 * 256 * 4),
        (
            r#"{"model_type":"gpt_oss","num_hidden_layers":24,"num_attention_heads":64,"num_local_experts":32}"#,
            15_792_128_256,
        ),
    ] {
        let decoder = parse(config).expect(config);
        assert_eq!(estimate::weights_bytes(&decoder, Format::Q4KM), bytes, "{config}");
    }
    // With as many key and value heads as query heads llama's 80 layers are a 65B, qwen2's are a 70B all the same: 40 of
    // them, which q4_k_m gives no more bits, have values in q5_k instead of q4_k.
    let [llama, qwen2] = ["llama", "qwen2"].map(|model_type| {
        let sizes = r#""hidden_size":512,"num_hidden_layers":80,"num_attention_heads":8,"num_key_value_heads":8,
            "intermediate_size":512,"vocab_size":1000"#;
        let decoder = parse(&format!(r#"{{"model_type":"{model_type}",{sizes}}}"#)).expect("good");
        estimate::weights_bytes(&decoder, Format::Q4KM)
    });
    let biases = 80 * 3 * 512 * 4;
    assert_eq!(qwen2 - llama, biases + 40 * 512 * 512 / 256 * (176 - 144));
}

/// What is planned in a mixture or in bare eight bits is a formula; what a checkpoint holds is exact.
#[test]
fn planned_mixtures_and_bare_formats_are_formulas() {
    let mini = real("microsoft__Phi-3-mini-4k-instruct");
    let weights = |dtype: &str, stored: Option<&estimate::StoredTensors>| {
        let options = Options { dtype: Some(dtype.parse().expect(dtype)), ..Options::default() };
        estimate::estimate(&mini, stored, &options).expect("in range").terms.swap_remove(0)
    };
    let stored: estimate::StoredTensors = tensors::list(&mini)
        .map(|tensor| {
            let len = DType::Fp8.tensor_bytes(&tensor.shape);
            let shape = tensor.shape;
            (tensor.name, StoredTensor { dtype: DType::Fp8, shape, file: 0, offset: 0, len })
        })
        .collect();
    for (dtype, words) in [
        ("q4_k_m", "versions of llama.cpp differ in it"),
        ("fp8", "ideal, without scales"),
        ("int8", "ideal, without scales"),
    ] {
        let term = weights(dtype, None);
        assert_eq!(term.badge, estimate::Badge::Formula, "{dtype}");
        assert!(term.formula.contains(words), "{}", term.formula);
    }
    for dtype in ["f32", "bf16", "q8_0", "q4_0", "fp8_block"] {
        assert_eq!(weights(dtype, None).badge, estimate::Badge::Exact, "{dtype}");
    }
    assert_eq!(weights("fp8", Some(&stored)).badge, estimate::Badge::Exact);
    assert_eq!(weights("q4_k_m", Some(&stored)).badge, estimate::Badge::Formula);
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
        let report = estimate::estimate(&decoder, None, &Options::default()).expect("defaults");
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

/// What transformers writes of a tiny model: names and shapes of every tensor, none more and none fewer.
#[test]
fn names_and_shapes_are_those_that_hugging_face_saves() {
    for case in files() {
        let decoder = Decoder::parse(case["config"].to_string().as_bytes()).expect("good");
        let listed: BTreeMap<String, Vec<usize>> =
            tensors::list(&decoder).map(|tensor| (tensor.name, tensor.shape)).collect();
        let mut saved: BTreeMap<String, Vec<usize>> =
            serde_json::from_value(case["tensors"].clone()).expect("names and shapes");
        // A buffer of DeepSeek-V3, which is no parameter.
        saved.retain(|name, _| !name.ends_with("gate.e_score_correction_bias"));
        assert_eq!(listed, saved, "{}", case["config"]);
    }
}

/// What its cache holds after a forward pass, layer by layer, in bytes. Of a window it keeps one token less than is seen.
#[test]
fn caches_are_those_of_hugging_face() {
    let mut kinds = BTreeSet::new();
    for case in files() {
        let decoder = Decoder::parse(case["config"].to_string().as_bytes()).expect("good");
        let tokens = case["tokens"].as_u64().expect("a number");
        let held = case["cache"].as_array().expect("a list");
        if tokens == 0 {
            // Of several parts: its language model has been looked at alone.
            continue;
        }
        assert_eq!(held.len(), decoder.layers.len());
        for (layer, held) in estimate::layers(&decoder).zip(held) {
            let tensors = held.as_object().expect("tensors by name");
            let bytes: u64 = tensors.values().map(tensor_bytes).sum();
            let kept = layer.window.map_or(tokens, |window| tokens.min(window - 1));
            assert_eq!(
                layer.bytes(DType::Bf16, KvPolicy::Full, kept, 1),
                bytes,
                "{layer:?} of {}",
                case["config"]
            );
            assert_eq!(layer.kind == KvKind::Shared, tensors.is_empty());
            assert_eq!(layer.kind == KvKind::Linear, tensors.contains_key("recurrent_states.0"));
            kinds.insert(format!("{:?}", layer.kind));
        }
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["Full", "Latent", "Linear", "Shared", "Window"]);
}

fn files() -> Vec<Value> {
    serde_json::from_slice(&read("goldens/family_files.json")).expect("goldens are JSON")
}

/// Bytes of a tensor from its dtype and shape, `["float32", 1, 2, 3]`.
fn tensor_bytes(tensor: &Value) -> u64 {
    let parts = tensor.as_array().expect("a list");
    let size = match parts[0].as_str() {
        Some("float32") => 4,
        Some("bfloat16") => 2,
        other => panic!("{other:?}"),
    };
    parts[1..].iter().map(|side| side.as_u64().expect("a number")).product::<u64>() * size
}

/// Qwen3-Next-80B-A3B: 36 of 48 layers keep a state. 79,674,391,296 is what its class counts, built from its defaults.
#[test]
fn layers_that_keep_a_state_cost_the_same_at_every_length() {
    let decoder = parse(r#"{"model_type":"qwen3_next"}"#).expect("class defaults");
    assert_eq!(estimate::params(&decoder).total, 79_674_391_296);
    let active = estimate::active_params(&decoder) as f64 / 1e9;
    assert!((3.0..4.0).contains(&active), "{active} billion: the name says 3");
    // 12 layers × 2 heads × 256 × 2 × 2 bytes.
    assert_eq!(estimate::bytes_per_token(&decoder, DType::Bf16), 24_576);
    // 32 heads × 128 × 128 in f32, and 4 columns of 8,192 channels in bf16.
    let state = 36 * (4 * 32 * 128 * 128 + 2 * 4 * 8192);
    assert_eq!(estimate::state_bytes(&decoder, DType::Bf16), state);
    for policy in KvPolicy::KINDS {
        for (context, batch) in [(16, 1), (4096, 3), (262_144, 8)] {
            let bytes = estimate::cache_bytes(&decoder, DType::Bf16, policy, context, batch);
            assert_eq!(bytes, batch * (state + 24_576 * context));
        }
    }
    // A narrower cache narrows keys and values alone.
    let q8 = estimate::cache_bytes(&decoder, DType::Q8_0, KvPolicy::Full, 4096, 1);
    assert_eq!(q8, state + 24_576 * 17 / 32 * 4096);
    let report = estimate::estimate(&decoder, None, &Options::default()).expect("defaults");
    let kinds: Vec<_> = report.kv_layers.iter().map(|kind| (kind.kind, kind.layers, kind.tokens)).collect();
    assert_eq!(kinds, [(KvKind::Linear, 36, 0), (KvKind::Full, 12, 4096)]);
    assert_eq!(report.kv_layers.iter().map(|kind| kind.bytes).sum::<u64>(), report.kv_cache_bytes);
    let words = &report.terms[1].formula;
    assert!(words.contains("36 layers × state of 2162688 B"), "{words}");
    // Every fourth layer attends, unless the file says otherwise.
    let every = parse(r#"{"model_type":"qwen3_next","full_attention_interval":2}"#).expect("good");
    assert_eq!(estimate::bytes_per_token(&every, DType::Bf16), 2 * 24_576);
}

/// Where part of a cache is constant, searches and the 1.2× rule count it once, and not by the token.
#[test]
fn constant_states_are_solved_for() {
    let small = r#"{"model_type":"qwen3_next","hidden_size":256,"num_hidden_layers":8,"num_attention_heads":4,
        "num_key_value_heads":2,"head_dim":64,"vocab_size":1000,"num_experts":4,"num_experts_per_tok":2,
        "moe_intermediate_size":128,"shared_expert_intermediate_size":128,"LAYERS":0}"#;
    let fit = |decoder: &Decoder, batch, device: u64| {
        let options = Options { batch: Some(batch), device_memory: Some(Size(device)), ..Options::default() };
        estimate::estimate(decoder, None, &options).expect("in range").fit
    };
    let decoder = parse(small).expect("good");
    let (per_token, state) =
        (estimate::bytes_per_token(&decoder, DType::Bf16), estimate::state_bytes(&decoder, DType::Bf16));
    let weights = estimate::weights_bytes(&decoder, DType::Bf16);
    assert_eq!((per_token, state > weights / 5), (2 * 2 * 2 * 64 * 2, true));
    // The states alone use the rule's fifth up.
    assert_eq!(fit(&decoder, 1, 1 << 30).margin_rule.break_even_context, Some(0));
    let total = |context: u64, batch: u64| {
        let options = Options { context: Some(context), batch: Some(batch), ..Options::default() };
        estimate::estimate(&decoder, None, &options).expect("in range").total_bytes
    };
    for (context, batch) in [(900, 1), (5000, 2), (20_000, 1)] {
        let device = total(context, batch);
        let fit = fit(&decoder, batch, device);
        assert_eq!(fit.max_context, Some(context), "{context} × {batch}");
        assert!(total(context + 1, batch) > device);
        assert_eq!(fit.max_contexts[batch as usize - 1].max_context, context);
    }
    // Without any layer that attends the cache does not grow.
    let kinds = [r#""linear_attention""#; 8].join(",");
    let all = parse(&small.replace(r#""LAYERS":0"#, &format!(r#""layer_types":[{kinds}]"#))).expect("good");
    assert_eq!(estimate::bytes_per_token(&all, DType::Bf16), 0);
    let wide = r#"{"model_type":"qwen3_next","num_hidden_layers":1,"layer_types":["linear_attention"]}"#;
    let wide = fit(&parse(wide).expect("good"), 1, 1 << 40);
    assert_eq!((wide.margin_rule.break_even_context, wide.max_context), (None, Some(32_768)));
    // The usual case, by hand: what is left of a fifth of the weights after the states.
    let next = parse(r#"{"model_type":"qwen3_next"}"#).expect("class defaults");
    let left = 2 * 79_674_391_296 / 5 - 77_856_768;
    assert_eq!(fit(&next, 1, 1 << 40).margin_rule.break_even_context, Some(left / 24_576));
}

/// Gemma 3n E4B: 15 of 35 layers read the cache of the last of their kind before them. 6,835,235,568 is what its class
/// counts, built from its defaults; 4,435,182,688 with the sizes of E2B.
#[test]
fn layers_that_share_a_cache_keep_none() {
    let decoder = parse(r#"{"model_type":"gemma3n_text"}"#).expect("class defaults");
    assert_eq!(estimate::params(&decoder).total, 6_835_235_568);
    let e2b = r#"{"model_type":"gemma3n_text","num_hidden_layers":30,"num_kv_shared_layers":10,"intermediate_size":8192}"#;
    assert_eq!(estimate::params(&parse(e2b).expect("good")).total, 4_435_182_688);
    // 20 layers × 2 heads × 256 × 2 × 2 bytes.
    assert_eq!(estimate::bytes_per_token(&decoder, DType::Bf16), 40_960);
    let sources: BTreeSet<_> = decoder.layers.iter().filter_map(|layer| layer.cache_of).collect();
    assert_eq!(sources.into_iter().collect::<Vec<_>>(), [18, 19]);
    // 16 windowed layers keep 512 of 4,096 tokens, 4 all.
    let capped = estimate::cache_bytes(&decoder, DType::Bf16, KvPolicy::Window, 4096, 1);
    assert_eq!(capped, 2048 * (16 * 512 + 4 * 4096));
    let report = estimate::estimate(&decoder, None, &Options::default()).expect("defaults");
    let kinds: Vec<_> = report.kv_layers.iter().map(|kind| (kind.kind, kind.layers, kind.bytes)).collect();
    let token = 2048 * 4096;
    assert_eq!(
        kinds,
        [
            (KvKind::Window, 16, 16 * token),
            (KvKind::Full, 4, 4 * token),
            (KvKind::Shared, 12, 0),
            (KvKind::Shared, 3, 0),
        ]
    );
    assert!(report.terms[1].formula.ends_with("15 layers read the cache of earlier ones"));
    for (keys, field) in [
        // All of four layers would read a cache that none keeps, and two a kind that none before them has.
        (r#""num_hidden_layers":4,"num_kv_shared_layers":4"#, "num_kv_shared_layers"),
        (r#""num_hidden_layers":5,"num_kv_shared_layers":1"#, "num_kv_shared_layers"),
        (r#""num_hidden_layers":4"#, "num_kv_shared_layers"),
        (r#""num_hidden_layers":20,"intermediate_size":[1,2]"#, "intermediate_size"),
        (r#""num_hidden_layers":20,"activation_sparsity_pattern":[0.5]"#, "activation_sparsity_pattern"),
        (r#""num_hidden_layers":20,"altup_num_inputs":0"#, "altup_num_inputs"),
    ] {
        let json = format!(r#"{{"model_type":"gemma3n_text",{keys}}}"#);
        let error = parse(&json).map(|_| ()).expect_err(&json);
        assert_eq!((error.code(), error.field()), ("config_invalid", Some(field)), "{json}");
    }
}

/// What is placed adds up to what is estimated, tensors outside the layers included; a layer without a cache brings none.
#[test]
fn nothing_is_lost_where_layers_are_placed() {
    for json in [r#"{"model_type":"qwen3_next"}"#, r#"{"model_type":"gemma3n_text"}"#] {
        let decoder = parse(json).expect("class defaults");
        let options = Options::default();
        let report = estimate::estimate(&decoder, None, &options).expect("defaults");
        let resolved = estimate::Resolved::new(&decoder, None, &options).expect("defaults");
        let work = placement::workload(&decoder, None, &resolved);
        let sum = |bytes: fn(&placement::Module) -> u64| work.modules.iter().map(bytes).sum::<u64>();
        assert_eq!(sum(|module| module.weight_bytes), report.weights_bytes, "{json}");
        assert_eq!(sum(|module| module.kv_bytes), report.kv_cache_bytes, "{json}");
        let without: Vec<bool> =
            work.modules.iter().filter(|module| module.is_layer).map(|module| module.kv_bytes == 0).collect();
        let shared: Vec<bool> = decoder.layers.iter().map(|layer| layer.cache_of.is_some()).collect();
        assert_eq!(without, shared, "{json}");
        let names: BTreeSet<&str> = work.modules.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names.len(), work.modules.len(), "{names:?}");
    }
}

/// Where every layer may go without experts, none at all is a dense model: so the classes read it.
#[test]
fn no_experts_is_a_dense_model() {
    for name in ["qwen3_moe", "qwen3_next"] {
        let of = |count| {
            parse(&format!(r#"{{"model_type":"{name}","num_hidden_layers":2,"num_experts":{count}}}"#))
        };
        assert!(
            of(0).expect("dense").layers.iter().all(|layer| matches!(layer.mlp, Mlp::Dense { .. })),
            "{name}"
        );
        assert!(of(-1).is_err());
    }
    assert!(parse(r#"{"model_type":"mixtral","num_local_experts":0}"#).is_err());
}

/// Every kind of layer is explained, with its number.
#[test]
fn states_and_shared_caches_are_explained() {
    let inspected = |json: &str| {
        let fields = Fields::parse(json.as_bytes()).expect("JSON");
        inspect::inspect(Subject::config_only(&fields)).expect("known")
    };
    let next = inspected(
        r#"{"model_type":"qwen3_next","linear_num_value_heads":32,"num_key_value_heads":2,"full_attention_interval":4,
        "shared_expert_intermediate_size":512,"layer_types":null}"#,
    );
    let said = |report: &inspect::InspectReport, key: &str| {
        let field = report.fields.iter().find(|field| field.key == key).expect(key);
        assert!(!field.meaning.is_empty() && field.status == inspect::Status::EstimateOnly, "{field:?}");
        field.implication.clone()
    };
    let states =
        "36 of 48 layers keep a state of 2.06 MiB each, 74.25 MiB a sequence in all, whatever its length";
    assert_eq!(said(&next, "linear_num_value_heads"), states);
    assert_eq!(said(&next, "full_attention_interval"), states);
    assert_eq!(
        said(&next, "num_key_value_heads"),
        "8 query heads share one: KV cache 24.00 KiB a token in 16 bit"
    );
    assert!(next.findings.iter().any(|finding| finding.code == "linear_layers"));
    let gemma = inspected(r#"{"model_type":"gemma3n_text","num_kv_shared_layers":15,"altup_num_inputs":4}"#);
    assert_eq!(
        said(&gemma, "num_kv_shared_layers"),
        "15 of 35 layers keep none: KV cache 40.00 KiB a token in 16 bit instead of 70.00 KiB"
    );
    assert!(gemma.findings.iter().any(|finding| finding.code == "shared_cache"));
    for report in [&next, &gemma] {
        assert!(
            report.findings.iter().all(|finding| finding.code != "unknown_keys"),
            "{:?}",
            report.findings
        );
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
        let computed = |field: &str, keys: &str| match field {
            "layer_types" => family.linear.is_some() && keys.contains("linear"),
            "num_kv_shared_layers" => family.cache_sharing.is_some(),
            _ => false,
        };
        for (keys, field) in [
            (r#""layer_types":["linear_attention","full_attention"]"#, "layer_types"),
            (r#""layer_types":["full_attention","chunked_attention"]"#, "layer_types"),
            (r#""num_kv_shared_layers":1"#, "num_kv_shared_layers"),
            (r#""kv_sharing_modes":["store","reuse"]"#, "kv_sharing_modes"),
            (r#""architectures":["LlamaForSequenceClassification"]"#, "architectures[0]"),
            (r#""architectures":["MistralModel"]"#, "architectures[0]"),
        ] {
            if computed(field, keys) {
                continue;
            }
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

/// Rows that are no multiple of 256 have stand-ins with blocks of 32, as in llama.cpp's `llama-quant.cpp`: the sums are of
/// its blocks by hand. SmolLM2-135M is 576 wide, its MLP 1,536.
#[test]
fn rows_that_are_no_whole_blocks_of_256_take_blocks_of_32() {
    let smol = br#"{"model_type":"phi3","vocab_size":49152,"hidden_size":576,"intermediate_size":1536,
        "num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,"tie_word_embeddings":true}"#;
    let smol = Decoder::parse(smol).expect("a config");
    assert_eq!(estimate::weights_bytes(&smol, DType::Q4K), 89_277_696);
    assert_eq!(estimate::weights_bytes(&smol, DType::Q6K), 136_597_248);
    assert_eq!(estimate::weights_bytes(&smol, DType::Q8_0), 143_025_408);
}
