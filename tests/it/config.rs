//! Configs good and bad: every spelling read, every contradiction refused with its field.

use phi3::config::{ConfigError, Fields, GenerationConfig, ModelConfig, RopeScaling};
use phi3::decoder::Decoder;
use phi3::dtype::DType;
use phi3::inspect::{self, Status, Subject, Support};
use phi3::rope::attention_factor;
use serde_json::{Value, json};

use crate::support::config_json;

const MINI: &str = "microsoft__Phi-3-mini-4k-instruct";

fn value(name: &str) -> Value {
    serde_json::from_slice(&config_json(name)).expect("fixtures are JSON")
}

fn parse(config: &Value) -> Result<ModelConfig, ConfigError> {
    ModelConfig::parse(config.to_string().as_bytes())
}

fn with(changes: &Value) -> Value {
    let mut config = value(MINI);
    for (key, new) in changes.as_object().expect("changes are an object") {
        config[key] = new.clone();
    }
    config
}

#[test]
fn spellings_old_and_new_mean_the_same() {
    let old = value("microsoft__Phi-3.5-mini-instruct");
    let expected = parse(&old).expect("a real config");
    assert!(matches!(expected.rope_scaling, RopeScaling::LongRope { .. }));

    let mut new = old.clone();
    let object = new.as_object_mut().expect("an object");
    let mut rope = object.remove("rope_scaling").expect("longrope");
    let kind = rope["type"].take();
    rope["rope_type"] = kind;
    rope["rope_theta"] = object.remove("rope_theta").expect("theta");
    object.insert("rope_parameters".to_owned(), rope);
    let dtype = object.remove("torch_dtype").expect("dtype");
    object.insert("dtype".to_owned(), dtype);
    assert_eq!(parse(&new).expect("the new spelling"), expected);

    for spelling in ["su", "yarn"] {
        let mut su = old.clone();
        su["rope_scaling"]["type"] = json!(spelling);
        assert_eq!(parse(&su).expect(spelling), expected, "{spelling}");
    }
}

#[test]
fn values_of_the_real_files() {
    let mini = parse(&value(MINI)).expect("real");
    assert_eq!((mini.head_dim, mini.rotary_dim(), mini.sliding_window), (96, 96, Some(2047)));
    assert_eq!(mini.dtype, Some(DType::Bf16));
    assert_eq!(mini.defaulted, []);

    let phi4_mini = parse(&value("microsoft__Phi-4-mini-instruct")).expect("real");
    assert_eq!((phi4_mini.head_dim, phi4_mini.rotary_dim()), (128, 96));
    assert!(phi4_mini.tie_word_embeddings);
    // sqrt(1 + ln(32) / ln(4096)): llama.cpp's files carry 1.190238.
    assert!((attention_factor(&phi4_mini) - 1.190_238_071_423_808_3).abs() < 1e-12);

    let phi4 = parse(&value("microsoft__phi-4")).expect("real");
    assert_eq!((phi4.rope_theta, phi4.sliding_window, phi4.heads_per_key()), (250_000.0, None, 4));
}

#[test]
fn eos_may_be_one_or_many() {
    let many = parse(&with(&json!({"eos_token_id": [32000, 32007]}))).expect("a list");
    assert_eq!(many.eos_token_ids, [32000, 32007]);
    let none = parse(&with(&json!({"eos_token_id": null}))).expect("null");
    assert!(none.eos_token_ids.is_empty());
    let absent = ModelConfig::parse(br#"{"model_type":"phi3"}"#).expect("sparse");
    assert_eq!(absent.eos_token_ids, [32000]);
    let generation = GenerationConfig::parse(br#"{"eos_token_id":[32000,32001,32007],"pad_token_id":32000}"#);
    assert_eq!(generation.expect("real").eos_token_ids, [32000, 32001, 32007]);
}

#[test]
fn absent_keys_take_the_defaults_and_are_named() {
    let config = ModelConfig::parse(br#"{"model_type":"phi3","num_attention_heads":16}"#).expect("sparse");
    assert_eq!(config.num_key_value_heads, 16, "as many as attention heads");
    let names: Vec<&str> = config.defaulted.iter().map(|key| key.0).collect();
    assert!(names.contains(&"hidden_size") && !names.contains(&"num_attention_heads"), "{names:?}");
}

#[test]
fn bad_values_name_their_field() {
    let counts = [
        "num_attention_heads",
        "num_key_value_heads",
        "hidden_size",
        "num_hidden_layers",
        "vocab_size",
        "intermediate_size",
        "max_position_embeddings",
    ];
    for key in counts {
        for bad in [json!(0), json!(-1), json!(1u64 << 40), json!(1.5), json!("32"), json!([32]), json!(true)]
        {
            let error = parse(&with(&json!({ key: bad }))).expect_err(key);
            assert_eq!(error.field(), Some(key), "{key} = {bad}: {error}");
        }
    }
    for (changes, field) in [
        (json!({"num_key_value_heads": 5}), "num_key_value_heads"),
        (json!({"num_attention_heads": 31, "num_key_value_heads": 31}), "num_attention_heads"),
        (json!({"max_position_embeddings": 1u64 << 31}), "max_position_embeddings"),
        (json!({"sliding_window": 0}), "sliding_window"),
        (json!({"rms_norm_eps": -1.0}), "rms_norm_eps"),
        (json!({"rope_theta": 0}), "rope_theta"),
        (json!({"partial_rotary_factor": 0}), "partial_rotary_factor"),
        (json!({"partial_rotary_factor": 1.5}), "partial_rotary_factor"),
        (json!({"hidden_act": "gegelu"}), "hidden_act"),
        (json!({"torch_dtype": "bfloat17"}), "torch_dtype"),
        (json!({"eos_token_id": -1}), "eos_token_id"),
        (json!({"rope_scaling": "longrope"}), "rope_scaling"),
        (json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}), "rope_scaling.type"),
        (json!({"rope_scaling": {"type": "linear"}}), "rope_scaling.factor"),
        (json!({"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}), "rope_scaling.short_factor"),
        (
            json!({"rope_scaling": {"type": "longrope", "short_factor": vec![1.0; 48]}}),
            "rope_scaling.long_factor",
        ),
        (
            json!({"rope_scaling": {"type": "longrope", "short_factor": vec![1.0; 48], "long_factor": vec![0.0; 48]}}),
            "rope_scaling.long_factor",
        ),
        (
            json!({"original_max_position_embeddings": 8192, "rope_scaling":
                {"type": "longrope", "short_factor": vec![1.0; 48], "long_factor": vec![1.0; 48]}}),
            "original_max_position_embeddings",
        ),
        // The width is twice what the heads make, which the lists tell; lists of no head's length are wrong themselves.
        (
            json!({"hidden_size": 6144, "rope_scaling":
                {"type": "longrope", "short_factor": vec![1.0; 48], "long_factor": vec![1.0; 48]}}),
            "hidden_size",
        ),
        (
            json!({"rope_scaling": {"type": "longrope", "short_factor": vec![1.0; 47], "long_factor": vec![1.0; 47]}}),
            "rope_scaling.short_factor",
        ),
        (json!({"model_type": null}), "model_type"),
        (json!({"model_type": 3}), "model_type"),
        (json!({"model_type": "llama"}), "model_type"),
    ] {
        let error = parse(&with(&changes)).expect_err(field);
        assert_eq!(error.field(), Some(field), "{changes}: {error}");
    }
}

#[test]
fn files_that_are_no_config() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for (bytes, expected) in [
        (b"".as_slice(), "empty"),
        (b" \n", "empty"),
        (b"{\"model_type\": \"phi3\"", "not valid JSON"),
        (b"<!doctype html>", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"{\"a\": NaN}", "not valid JSON"),
        (deep.as_bytes(), "nested deeper than 64 levels"),
    ] {
        let error = Fields::parse(bytes).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let huge = vec![b' '; 2 << 20];
    assert!(Fields::parse(&huge).is_err());
    let mut large = br#"{"model_type":"phi3","#.to_vec();
    large.resize(2 << 20, b' ');
    assert!(matches!(Fields::parse(&large), Err(ConfigError::TooLarge { .. })));
}

fn inspect_value(config: &Value) -> inspect::InspectReport {
    let fields = Fields::parse(config.to_string().as_bytes()).expect("an object");
    inspect::inspect(Subject::config_only(&fields)).expect("inspects")
}

#[test]
fn every_key_of_the_real_phi3_files_is_explained() {
    for name in [
        MINI,
        "microsoft__Phi-3-mini-128k-instruct",
        "microsoft__Phi-3.5-mini-instruct",
        "microsoft__Phi-3-medium-4k-instruct",
        "microsoft__phi-4",
        "microsoft__Phi-4-mini-instruct",
    ] {
        let report = inspect_value(&value(name));
        assert_eq!(report.support, Support::Run);
        for field in &report.fields {
            assert_ne!(field.status, Status::UnknownKey, "{name}: {}", field.key);
            assert!(!field.meaning.is_empty(), "{name}: {}", field.key);
        }
    }
}

#[test]
fn every_key_of_the_other_families_is_explained() {
    for name in [
        "meta-llama__Llama-3.1-8B",
        "meta-llama__Llama-3.2-1B-Instruct",
        "mistralai__Mistral-7B-v0.1",
        "Qwen__Qwen2.5-7B",
        "google__gemma-2-9b",
        "microsoft__Phi-3.5-MoE-instruct",
        "microsoft__Phi-3-small-8k-instruct",
    ] {
        let report = inspect_value(&value(name));
        assert_eq!(report.support, Support::Estimate, "{name}");
        for field in &report.fields {
            assert_ne!(field.status, Status::UnknownKey, "{name}: {}", field.key);
            assert_ne!(field.status, Status::Honoured, "{name} is not run: {}", field.key);
            assert!(!field.meaning.is_empty(), "{name}: {}", field.key);
        }
    }
}

#[test]
fn findings_of_phi3_mini() {
    let report = inspect_value(&value(MINI));
    let codes: Vec<&str> = report.findings.iter().map(|finding| finding.code.as_str()).collect();
    for code in ["window_below_context", "remote_code_not_needed", "no_gqa"] {
        assert!(codes.contains(&code), "{code} in {codes:?}");
    }
    let rule = report.rule_of_thumb.expect("phi3");
    assert_eq!(rule.value, 1_610_612_736);
    assert!((rule.error - (1_610_612_736.0 / 3_821_079_552.0 - 1.0)).abs() < 1e-12);
}

#[test]
fn a_scaling_without_a_name_is_said_to_have_no_effect() {
    let said = |scaling: Value| {
        let report = inspect_value(&with(&json!({ "rope_scaling": scaling })));
        let found = report.findings.into_iter().find(|finding| finding.code == "scaling_without_type");
        found.map(|finding| finding.message)
    };
    let message = said(json!({"factor": 2.0})).expect("a finding");
    assert!(message.contains("rope_scaling has a factor") && message.contains("`default`"), "{message}");
    for named in [json!({"rope_type": "linear", "factor": 2.0}), json!({"rope_theta": 10000.0}), Value::Null]
    {
        assert_eq!(said(named.clone()), None, "{named}");
    }
}

/// What the family that runs has always refused, the others refuse too: with the key and the value.
#[test]
fn keys_of_a_wrong_type_are_refused_in_every_family() {
    for model_type in ["phi3", "llama", "qwen2", "gemma3", "deepseek_v3", "gpt_oss"] {
        let parse = |key: &str, value: Value| {
            let mut text = json!({ key: value });
            let config = match model_type {
                "gemma3" => json!({ "model_type": model_type, "text_config": text }),
                _ => {
                    text["model_type"] = json!(model_type);
                    text
                }
            };
            Decoder::parse(config.to_string().as_bytes())
        };
        assert!(parse("rms_norm_eps", json!(1e-6)).is_ok(), "{model_type}");
        for (key, value, place) in [
            ("rope_scaling", json!("linear"), "rope_scaling"),
            ("rope_scaling", json!({"rope_type": 1}), "rope_scaling.rope_type"),
            ("rope_parameters", json!({"rope_theta": "1e6"}), "rope_parameters.rope_theta"),
            ("rope_theta", json!("10000"), "rope_theta"),
            ("rms_norm_eps", json!(-1e-5), "rms_norm_eps"),
            ("rms_norm_eps", json!("1e-5"), "rms_norm_eps"),
            ("hidden_act", json!(3), "hidden_act"),
        ] {
            let error = parse(key, value.clone()).expect_err("refused");
            let prefix = if model_type == "gemma3" { "text_config." } else { "" };
            let place = format!("{prefix}{place}");
            assert_eq!(error.field(), Some(place.as_str()), "{model_type}: {error}");
            assert_eq!(error.code(), "config_invalid", "{model_type}: {error}");
        }
    }
}

#[test]
fn unknown_keys_and_architectures_are_said_to_be_unknown() {
    let report = inspect_value(&with(&json!({"slidng_window": 5})));
    assert!(report.findings.iter().any(|f| f.code == "unknown_keys" && f.message.contains("slidng_window")));
    let report = inspect_value(&json!({ "model_type": "mamba2", "hidden_size": 64 }));
    assert_eq!((report.support, report.params.total), (Support::Unknown, None));
    assert_eq!(report.model_type, "mamba2");
    let statuses =
        report.fields.iter().map(|field| (field.key.as_str(), field.status, !field.meaning.is_empty()));
    let known = [("model_type", Status::Unsupported, true), ("hidden_size", Status::Unsupported, true)];
    assert_eq!(statuses.collect::<Vec<_>>(), known);
    let report = inspect_value(&json!({ "model_type": "" }));
    assert!(report.findings[0].message.starts_with("no architecture is named"), "{:?}", report.findings);
}
