//! Each finding that a config can cause: its code, how grave it is, and what it says.

use super::*;
use crate::inspect::{InspectReport, inspect};

/// A small phi3 config with further keys.
fn phi3(keys: &str) -> String {
    let sizes = r#""model_type":"phi3","hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,
        "num_attention_heads":2,"vocab_size":100,"max_position_embeddings":64,"original_max_position_embeddings":32"#;
    let separator = if keys.is_empty() { "" } else { "," };
    format!("{{{sizes}{separator}{keys}}}")
}

fn inspected(json: &str, tokenizer_vocab: Option<usize>) -> InspectReport {
    let fields = crate::config::Fields::parse(json.as_bytes()).expect("JSON");
    inspect(Subject { tokenizer_vocab, ..Subject::config_only(&fields) }).expect(json)
}

/// A width of dense layers is not that of experts.
#[test]
fn widths_are_told_of_the_layers_that_have_them() {
    let told = |json: &str, key: &str| {
        let fields = inspected(json, None).fields;
        fields.into_iter().find(|field| field.key == key).map(|field| field.implication).expect("a key")
    };
    let qwen = r#"{"model_type":"qwen3_moe","hidden_size":64,"intermediate_size":96,"moe_intermediate_size":32,
        "num_hidden_layers":4,"num_experts":8,"num_experts_per_tok":2,"num_attention_heads":4,"mlp_only_layers":[1]}"#;
    assert_eq!(told(qwen, "intermediate_size"), "MLP 18,432 parameters in the one layer that has it");
    assert_eq!(
        told(qwen, "moe_intermediate_size"),
        "MLP 49,152 parameters in the last of the 3 layers that have it"
    );
    let none = qwen.replace("[1]", "[]");
    assert_eq!(told(&none, "intermediate_size"), "No layer has an MLP of this width");
    assert_eq!(told(&none, "moe_intermediate_size"), "MLP 49,152 parameters in the last of 4 layers");
}

const CASES: [(&str, Severity, &str); 14] = [
    ("su_revision", Severity::Warning, "`su` is the spelling of April 2024"),
    (
        "tokenizer_larger_than_vocab",
        Severity::Error,
        "the tokenizer knows 101 ids, the embedding has 100 rows",
    ),
    (
        "vocab_padding",
        Severity::Info,
        "2 rows of the embedding are padding: the tokenizer knows 98 of 100 ids",
    ),
    ("eos_out_of_vocab", Severity::Warning, "eos_token_id 100 is outside the vocabulary of 100"),
    (
        "two_spellings",
        Severity::Warning,
        "both `dtype` and `torch_dtype` are set and differ; `dtype` is taken",
    ),
    ("window_switched_off", Severity::Info, "use_sliding_window is false: no layer has a window"),
    ("longrope_equal_factors", Severity::Info, "are the same list: the switch changes nothing"),
    ("original_length_not_read", Severity::Warning, "inside rope_parameters is not read for phi3: 32 holds"),
    (
        "part_apart",
        Severity::Warning,
        "picture encoder (`img_processor`): beside the language model, not counted",
    ),
    ("predictors_apart", Severity::Info, "has 11,610,067,968 parameters, is not loaded for generation"),
    (
        "architectures_contradict",
        Severity::Warning,
        "architectures names LlamaForCausalLM, model_type phi3: this build goes by model_type",
    ),
    ("computed_family", Severity::Info, "phi3small: counted from the authors' code"),
    ("quantization_unknown", Severity::Warning, "quantised by bitsandbytes, whose layout is not known here"),
    ("quantized_weights", Severity::Warning, "sized here, not run: take the model in bf16, f16 or f32"),
];

/// A config that causes a finding, and the ids of its tokenizer.
fn cause(code: &str) -> (String, Option<usize>) {
    let longrope = |key: &str, kind: &str, long: &str, more: &str| {
        phi3(&format!(
            r#""{key}":{{"type":"{kind}","short_factor":[1,1],"long_factor":{long}{more}}},"eos_token_id":1"#
        ))
    };
    let other = |json: &str| (json.to_owned(), None);
    match code {
        "su_revision" => (longrope("rope_scaling", "su", "[2,2]", ""), None),
        "tokenizer_larger_than_vocab" => (phi3(""), Some(101)),
        "vocab_padding" => (phi3(""), Some(98)),
        "eos_out_of_vocab" => (phi3(r#""eos_token_id":[1,100]"#), None),
        "two_spellings" => (phi3(r#""dtype":"float16","torch_dtype":"bfloat16""#), None),
        "window_switched_off" => {
            other(r#"{"model_type":"qwen2","sliding_window":16,"use_sliding_window":false}"#)
        }
        "longrope_equal_factors" => (longrope("rope_scaling", "longrope", "[1,1]", ""), None),
        "original_length_not_read" => {
            let inside = r#","original_max_position_embeddings":16"#;
            (longrope("rope_parameters", "longrope", "[2,2]", inside), None)
        }
        "part_apart" => other(r#"{"model_type":"phi3_v","img_processor":{"name":"clip_vision_model"}}"#),
        "predictors_apart" => other(r#"{"model_type":"deepseek_v3","num_nextn_predict_layers":1}"#),
        "architectures_contradict" => (phi3(r#""architectures":["LlamaForCausalLM"]"#), None),
        "computed_family" => other(r#"{"model_type":"phi3small"}"#),
        "quantization_unknown" => {
            other(r#"{"model_type":"llama","quantization_config":{"quant_method":"bitsandbytes"}}"#)
        }
        "quantized_weights" => (phi3(r#""quantization_config":{"quant_method":"awq"}"#), None),
        code => panic!("{code} has no cause"),
    }
}

#[test]
fn each_finding_is_caused_told_and_graded() {
    for (code, severity, words) in CASES {
        let (json, tokenizer_vocab) = cause(code);
        let report = inspected(&json, tokenizer_vocab);
        let found: Vec<&Finding> = report.findings.iter().filter(|finding| finding.code == code).collect();
        let [found] = found[..] else { panic!("{code}: {:?}", report.findings) };
        assert_eq!(found.severity, severity, "{code}");
        assert!(found.message.contains(words), "{code}: {}", found.message);
    }
}

#[test]
fn a_plain_config_causes_none_of_them() {
    let report =
        inspected(&phi3(r#""eos_token_id":1,"dtype":"bfloat16","torch_dtype":"bfloat16""#), Some(100));
    let caused = |finding: &&Finding| CASES.iter().any(|(code, ..)| finding.code == *code);
    assert_eq!(report.findings.iter().filter(caused).collect::<Vec<_>>(), Vec::<&Finding>::new());
    for (model_type, class) in [
        ("phi3", "Phi3ForCausalLM"),
        ("phi3", "MyOwnPhiForCausalLM"),
        ("phi3_v", "Phi3VForCausalLM"),
        ("phi4mm", "Phi4MMForCausalLM"),
        ("gemma3_text", "Gemma3ForCausalLM"),
        ("gpt_oss", "GptOssForCausalLM"),
    ] {
        let json = format!(r#"{{"model_type":"{model_type}","architectures":["{class}"]}}"#);
        let agrees = inspected(&json, None);
        assert!(agrees.findings.iter().all(|finding| finding.code != "architectures_contradict"), "{class}");
    }
    // phi3 does not read the switch: its layers have the window.
    let on = inspected(&phi3(r#""sliding_window":16,"use_sliding_window":false"#), None);
    let codes: Vec<&str> = on.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert!(codes.contains(&"window_below_context") && !codes.contains(&"window_switched_off"), "{codes:?}");
}
