//! Fields of the JSON answers, exit codes, errors in both forms.

use serde_json::{Value, json};

use crate::support::model_dir::ModelDir;
use crate::support::program::{preflight, program, run};
use crate::support::tests_dir;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn inspect_answers_the_contract() {
    let ran = preflight(&["inspect", "preset:phi-3-mini-4k-instruct", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    for key in ["model_type", "architecture", "support", "params", "fields", "findings", "rule_of_thumb"] {
        assert!(report.get(key).is_some(), "{key}");
    }
    assert_eq!(report["support"], "run");
    assert_eq!(report["params"]["total"], 3_821_079_552_u64);
    let groups = report["params"]["groups"].as_array().expect("groups");
    assert_eq!(keys(&groups[0]), ["name", "count"]);
    let sum: u64 = groups.iter().map(|group| group["count"].as_u64().expect("a count")).sum();
    assert_eq!(sum, 3_821_079_552);
    assert_eq!(keys(&report["fields"][0]), ["key", "value", "meaning", "implication", "lever", "status"]);
    assert_eq!(keys(&report["findings"][0]), ["code", "severity", "message"]);
    assert_eq!(keys(&report["rule_of_thumb"]), ["value", "error"]);
}

#[test]
fn estimate_answers_the_contract() {
    let ran = preflight(&["estimate", "preset:phi-3-mini-4k-instruct", "--device-memory", "16GiB", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["weights_bytes"], 7_642_159_104_u64);
    assert_eq!(report["kv_bytes_per_token"], 393_216);
    assert_eq!(report["kv_cache_bytes"], 1_610_612_736);
    let terms = report["terms"].as_array().expect("terms");
    let sum: u64 = terms.iter().map(|term| term["bytes"].as_u64().expect("bytes")).sum();
    assert_eq!(report["total_bytes"], sum);
    assert_eq!(keys(&terms[0]), ["name", "bytes", "badge", "formula", "device"]);
    assert_eq!(keys(&report["assumptions"][0]), ["name", "value", "is_default"]);
    for key in ["verdict", "required_bytes", "available_bytes", "max_context", "reason", "suggestions"] {
        assert!(report["fit"].get(key).is_some(), "{key}");
    }
    for key in ["params_total", "activation_bytes", "overhead_bytes"] {
        assert!(report[key].is_u64(), "{key}");
    }
}

/// Every exit code but 4, which would need a fault of ours.
/// Memory that is enough is not all: weights in a format that the GPU does not multiply are told.
#[test]
fn a_gpu_without_bf16_is_told() {
    let warnings = |args: &[&str]| {
        let ran = preflight(&[&["estimate", "preset:phi-3-mini-4k-instruct", "--json"], args].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()["fit"]["warnings"].to_string()
    };
    assert!(warnings(&["--device", "T4"]).contains("T4 does not compute in bf16"));
    for other in [&["--device", "T4", "--dtype", "f16"][..], &["--device", "L4"]] {
        assert!(!warnings(other).contains("bf16"), "{other:?}");
    }
}

#[test]
fn exit_codes() {
    let preset = "preset:phi-3-mini-4k-instruct";
    let of = |args: &[&str]| preflight(args).code;
    assert_eq!(of(&["estimate", preset]), 0);
    assert_eq!(of(&["estimate", preset, "--device-memory", "9GiB"]), 0, "tight");
    assert_eq!(of(&["estimate", preset, "--device-memory", "4GiB"]), 1);
    assert_eq!(of(&["estimate", preset, "--device-memory", "16G"]), 2);
    assert_eq!(of(&["estimate"]), 2);
    assert_eq!(of(&[]), 2);
    assert_eq!(of(&["--version"]), 0);
    for command in ["inspect", "estimate", "load", "validate", "logits", "convert", "serve"] {
        assert_eq!(of(&[command, "--help"]), 0, "{command}");
    }
    let qwen = tests_dir().join("data/configs/Qwen__Qwen2.5-7B.json");
    let qwen = qwen.to_str().expect("UTF-8");
    let inspected = preflight(&["inspect", qwen, "--json"]);
    assert_eq!((inspected.code, &inspected.json()["support"]), (0, &json!("estimate")));
    // Sized, but not run.
    assert_eq!(preflight(&["load", qwen, "--json"]).code, 2);
    let stranger = ModelDir::of_case("mha_plain");
    stranger.set_config(&json!({ "model_type": "mamba2" }));
    let inspected = preflight(&["inspect", stranger.arg(), "--json"]);
    assert_eq!((inspected.code, &inspected.json()["support"]), (3, &json!("unknown")));
}

#[test]
fn an_absent_device_is_refused() {
    let model = ModelDir::of_case("mha_plain");
    for device in ["cuda:0", "wgpu:99", "gpu"] {
        let ran = preflight(&["load", model.arg(), "--device", device, "--json"]);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "device_absent"), "{device}");
    }
    for device in ["auto", "cpu"] {
        let ran = preflight(&["load", model.arg(), "--device", device, "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.json()["engine"]["device"], "cpu");
    }
}

#[test]
fn an_error_is_one_line_or_one_object() {
    let plain = preflight(&["inspect", "no/such/model"]);
    assert_eq!((plain.code, plain.stdout.as_str()), (2, ""));
    assert_eq!(plain.stderr.lines().count(), 1, "{}", plain.stderr);
    let json = preflight(&["inspect", "no/such/model", "--json"]);
    assert_eq!((json.code, json.stderr.as_str()), (2, ""));
    assert_eq!(keys(&json.json()["error"]), ["code", "message", "path"]);
    assert_eq!(json.error_code(), "not_found");
    assert_eq!(preflight(&["estimate", "x", "--batch", "no", "--json"]).error_code(), "usage");
}

#[test]
fn sources_are_never_guessed() {
    assert_eq!(preflight(&["inspect", "preset:phi-9", "--json"]).error_code(), "unknown_preset");
    assert_eq!(preflight(&["inspect", "phi-4", "--json"]).error_code(), "not_found");
    assert_eq!(preflight(&["inspect", "hf:a/b/c", "--json"]).error_code(), "hub_name_invalid");
}

#[test]
fn overrides_are_checked() {
    let model = ModelDir::of_case("mha_plain");
    let file = model.file("overrides.json");
    let with = |json: &str| {
        model.write("overrides.json", json);
        preflight(&["estimate", model.arg(), "--load-config", file.to_str().expect("UTF-8"), "--json"])
    };
    assert_eq!(
        with(r#"{"torch_dtype":"float32"}"#).json()["weights_bytes"],
        with("{}").json()["weights_bytes"].as_u64().expect("bytes") * 2
    );
    assert_eq!(with(r#"{"torch_dtpye":"bfloat16"}"#).error_code(), "load_config_invalid");
    assert_eq!(with("[]").error_code(), "load_config_invalid");
    let budget = with(r#"{"max_memory":{"cpu":"1KiB"}}"#);
    // Too small is an answer: the whole estimate, and why nothing can be placed.
    assert_eq!((budget.code, &budget.json()["placement_error"]["code"]), (1, &json!("does_not_fit")));
    assert!(budget.json()["weights_bytes"].is_u64(), "{budget:?}");
    let roomy = with(r#"{"max_memory":{"cpu":"1GiB"}}"#).json();
    assert_eq!(roomy["placement"]["device_map"], json!({ "": "cpu" }));
    let map = with(r#"{"max_memory":{"cpu":"1GiB"},"device_map":{"model.nowhere":"cpu"}}"#);
    assert_eq!((map.code, map.error_code().as_str()), (2, "unknown_module"));
    with(r#"{"max_memory":{"cpu":"1KiB"}}"#);
    let refused = preflight(&["load", model.arg(), "--load-config", file.to_str().expect("UTF-8"), "--json"]);
    assert_eq!((refused.code, refused.error_code().as_str()), (1, "oom"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut command = std::process::Command::new("bash");
    let binary = program("preflight");
    let line = r#""$0" inspect preset:phi-4 --json | true; exit "${PIPESTATUS[0]}""#;
    command.arg("-c").arg(line).arg(binary);
    let ran = run(command);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.is_empty(), "{ran:?}");
}

#[test]
fn people_get_text_without_escape_codes_in_a_pipe() {
    for args in [&["inspect", "preset:phi-4"][..], &["estimate", "preset:phi-4", "--device-memory", "16GiB"]]
    {
        let ran = preflight(args);
        assert!(!ran.stdout.contains('\x1b') && ran.stdout.contains("phi-4"), "{}", ran.stdout);
        assert!(ran.stdout.lines().all(|line| line.chars().count() <= 110), "{}", ran.stdout);
    }
}
