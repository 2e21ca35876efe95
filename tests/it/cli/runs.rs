//! `load`, `validate` and `logits` on small checkpoints, through the worker.

use serde_json::{Value, json};

use crate::support::model::tensors;
use crate::support::model_dir::ModelDir;
use crate::support::program::{preflight, program, run};
use crate::support::tests_dir;

fn object_keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn validate_answers_the_contract() {
    let model = ModelDir::of_case("gqa_plain");
    let ran = preflight(&["validate", model.arg(), "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    let keys = [
        "device",
        "dtype",
        "prompt_tokens",
        "generated_tokens",
        "text",
        "stop_reason",
        "load_ms",
        "ttft_ms",
        "prefill_tokens_per_s",
        "decode_tokens_per_s",
        "nan_count",
        "inf_count",
        "layers",
        "top_logits",
        "memory",
        "difference",
        "probes",
        "verdict",
        "reason",
    ];
    assert_eq!(object_keys(&report), keys);
    assert_eq!(report["prompt_tokens"].as_array().expect("ids").len(), 10);
    assert_eq!((&report["verdict"], &report["device"]), (&json!("pass"), &json!("cpu")));
    assert_eq!((&report["nan_count"], &report["inf_count"]), (&json!(0), &json!(0)));
    let memory = &report["memory"];
    assert_eq!(object_keys(&memory["predicted"]), object_keys(&memory["measured"]));
    // The estimator and the engine count the same things.
    for term in ["weights_bytes", "kv_cache_bytes", "activation_bytes"] {
        assert_eq!(memory["predicted"][term], memory["measured"][term], "{term}");
    }
    is_honest(memory);
    // There is no tokenizer beside a random checkpoint, and the report says so.
    assert_eq!(report["text"], "");
    assert!(report["reason"].as_str().expect("words").contains("no tokenizer"), "{report}");
    let again = preflight(&["validate", model.arg(), "--json"]).json();
    assert_eq!(again["generated_tokens"], report["generated_tokens"]);
}

/// Totals are sums, and a process takes something beside its buffers: code, threads, heap.
fn is_honest(memory: &Value) {
    for side in ["predicted", "measured"] {
        let bytes = |term: &str| memory[side][term].as_u64().expect("bytes");
        let parts = ["weights_bytes", "kv_cache_bytes", "activation_bytes", "overhead_bytes"];
        assert_eq!(bytes("total_bytes"), parts.map(bytes).iter().sum::<u64>(), "{side}: {memory}");
    }
    let overhead = memory["measured"]["overhead_bytes"].as_u64().expect("bytes");
    assert!((1 << 20..64 << 20).contains(&overhead), "{memory}");
}

/// With probes the cache of the longest of them is predicted, and measured.
#[test]
fn predicted_and_measured_are_of_the_same_run() {
    let model = ModelDir::of_case("all_above");
    let kv_cache = |probe: &str| {
        let ran = preflight(&["validate", model.arg(), "--probe", probe, "--max-new-tokens", "2", "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let memory = ran.json()["memory"].clone();
        is_honest(&memory);
        for term in ["weights_bytes", "kv_cache_bytes", "activation_bytes"] {
            assert_eq!(memory["predicted"][term], memory["measured"][term], "{probe}: {term}");
        }
        memory["measured"]["kv_cache_bytes"].as_u64().expect("bytes")
    };
    assert!(kv_cache("none") < kv_cache("all"));
    let loaded = preflight(&["load", model.arg(), "--json"]).json()["memory"].clone();
    is_honest(&loaded);
    for term in ["weights_bytes", "kv_cache_bytes", "activation_bytes"] {
        assert_eq!(loaded["predicted"][term], loaded["measured"][term], "{term}");
    }
}

#[test]
fn sixteen_tokens_unless_told_otherwise() {
    let model = ModelDir::of_case("gqa_plain");
    model.set_config(&json!({ "eos_token_id": 0, "pad_token_id": 0 }));
    let generated = |args: &[&str]| {
        let report = preflight(&[&["validate", model.arg(), "--json"], args].concat()).json();
        (report["generated_tokens"].as_array().expect("ids").len(), report["stop_reason"].clone())
    };
    let (default, stop) = generated(&[]);
    assert!(default == 16 || stop == "stop", "{default} tokens, {stop}");
    let (five, stop) = generated(&["--max-new-tokens", "5"]);
    assert!(five == 5 || stop == "stop", "{five} tokens, {stop}");
    assert_eq!(preflight(&["validate", model.arg(), "--max-new-tokens", "0"]).code, 2);
    let too_long = preflight(&["validate", model.arg(), "--max-new-tokens", "1000000", "--json"]);
    assert_eq!((too_long.code, too_long.error_code().as_str()), (2, "context_too_long"));
}

#[test]
fn a_text_needs_a_tokenizer() {
    let model = ModelDir::of_case("mha_plain");
    for flag in ["--prompt", "--chat"] {
        let ran = preflight(&["validate", model.arg(), flag, "Hello", "--json"]);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "no_tokenizer"));
    }
}

/// The first token comes of the prompt: one alone has no rate.
#[test]
fn one_token_has_no_rate_of_decoding() {
    let model = ModelDir::of_case("mha_plain");
    let rate = |tokens: &str| {
        let ran = preflight(&["validate", model.arg(), "--max-new-tokens", tokens]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let row = ran.stdout.lines().find(|line| line.starts_with("  decode ")).expect("a row");
        row.trim_start_matches("  decode ").trim().to_owned()
    };
    assert_eq!(rate("1"), "not measured: it takes two tokens");
    assert!(rate("4").ends_with(" tokens/s"));
}

#[test]
fn probes_cross_window_and_original_length() {
    let model = ModelDir::of_case("all_above");
    let config = &model.case["config"];
    let boundaries = [&config["sliding_window"], &config["original_max_position_embeddings"]];
    let report = preflight(&["validate", model.arg(), "--probe", "all", "--json"]).json();
    assert_eq!(report["verdict"], "pass", "{report}");
    let probes = report["probes"].as_array().expect("probes");
    assert_eq!(probes.len(), 2);
    for (probe, boundary) in probes.iter().zip(boundaries) {
        assert_eq!(probe["verdict"], "pass", "{probe}");
        assert!(probe["tokens"].as_u64() > boundary.as_u64(), "{probe} crosses {boundary}");
    }
    let plain = ModelDir::of_case("mha_plain");
    let report = preflight(&["validate", plain.arg(), "--probe", "all", "--json"]).json();
    for probe in report["probes"].as_array().expect("probes") {
        assert_eq!((&probe["verdict"], &probe["tokens"]), (&json!("unverified"), &json!(0)), "{probe}");
        assert!(!probe["detail"].as_str().expect("words").is_empty());
    }
}

/// Weights of NaN load well and compute nothing: only a run can tell.
#[test]
fn nan_weights_fail_the_validation() {
    let model = ModelDir::of_case("mha_plain");
    let mut bytes = std::fs::read(model.file("model.safetensors")).expect("weights");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    for value in bytes[8 + header..].as_chunks_mut::<4>().0 {
        *value = f32::NAN.to_le_bytes();
    }
    model.write("model.safetensors", bytes);
    let ran = preflight(&["validate", model.arg(), "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["verdict"], "fail");
    assert!(report["nan_count"].as_u64() > Some(0));
    assert!(preflight(&["validate", model.arg()]).stdout.contains("fail: "));
}

/// What `preflight logits` writes is what Hugging Face computes: 2e-4 of the largest logit, as everywhere in f32.
#[test]
fn logits_equal_hugging_faces() {
    for name in ["gqa_plain", "all_above", "sharded_plain"] {
        let model = ModelDir::of_case(name);
        let tokens = model.file("tokens.json");
        std::fs::write(&tokens, model.case["tokens"].to_string()).expect("written");
        let out = model.file("logits.safetensors");
        let ran = preflight(&[
            "logits",
            model.arg(),
            "--tokens-file",
            tokens.to_str().expect("UTF-8"),
            "--dtype",
            "f32",
            "--out",
            out.to_str().expect("UTF-8"),
        ]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let written = tensors(&out);
        assert_eq!(written.len(), 1);
        let (shape, ours) = &written["logits"];
        let count = model.case["tokens"].as_array().expect("ids").len();
        let vocab = model.case["config"]["vocab_size"].as_u64().expect("a number") as usize;
        assert_eq!(shape, &[count, vocab]);

        let golden = tensors(&tests_dir().join(format!("goldens/cases/{name}.safetensors")));
        let theirs = &golden["logits"].1;
        let bound = 2e-4 * model.case["max_abs_logit"].as_f64().expect("a number") as f32;
        for (index, row) in model.case["rows"].as_array().expect("rows").iter().enumerate() {
            let row = row.as_u64().expect("a row") as usize;
            let ours = &ours[row * vocab..(row + 1) * vocab];
            let theirs = &theirs[index * vocab..(index + 1) * vocab];
            for (a, b) in ours.iter().zip(theirs) {
                assert!((a - b).abs() <= bound, "{name}, row {row}: {a} and {b}");
            }
        }
        let left: Vec<_> = model
            .path()
            .read_dir()
            .expect("a folder")
            .filter_map(|entry| {
                let name = entry.expect("readable").file_name().into_string().expect("UTF-8");
                name.contains(".part").then_some(name)
            })
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn logits_of_bad_ids() {
    let model = ModelDir::of_case("mha_plain");
    let out = model.file("o.safetensors");
    let out = out.to_str().expect("UTF-8");
    let code = |tokens: &str| preflight(&["logits", model.arg(), "--tokens", tokens, "--out", out]).code;
    for tokens in ["1,x", "-1", "4000000000", "1,2,99999"] {
        assert_eq!(code(tokens), 2, "{tokens}");
        assert!(!model.file("o.safetensors").exists());
    }
    assert_eq!(code("1,2,3"), 0);
    let nowhere = preflight(&["logits", model.arg(), "--tokens", "1", "--out", "/no/such/dir/o.safetensors"]);
    assert_eq!((nowhere.code, nowhere.stderr.lines().count()), (2, 1), "{nowhere:?}");
}

/// What is written takes the place of what was there: only a file may be replaced.
#[cfg(unix)]
#[test]
fn logits_replace_nothing_but_a_file() {
    use std::os::unix::fs::FileTypeExt;

    let model = ModelDir::of_case("gqa_plain");
    let pipe = model.file("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let ran = preflight(&["logits", model.arg(), "--tokens", "1", "--out", pipe.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("no regular file"), "{ran:?}");
    assert!(pipe.metadata().expect("still there").file_type().is_fifo());
}

/// What a server may know of devices without touching a driver.
#[test]
fn a_worker_tells_its_devices() {
    let mut command = std::process::Command::new(program("preflight-worker"));
    command.arg("--probe");
    let ran = run(command);
    assert_eq!(ran.code, 0, "{ran:?}");
    let probe = ran.json();
    let cpu = probe["devices"].as_array().expect("devices").iter().find(|info| info["device"] == "cpu");
    let cpu = cpu.unwrap_or_else(|| panic!("no CPU: {probe}"));
    let bytes = |key: &str| cpu[key].as_u64().unwrap_or_else(|| panic!("{key}: {cpu}"));
    assert!(bytes("free_bytes") > 0 && bytes("free_bytes") <= bytes("total_bytes"), "{cpu}");
    assert!(cpu["dtypes"].as_array().expect("formats").contains(&json!("bf16")), "{cpu}");
    assert_eq!(cpu["is_software"], false);
    // What the worker can use, the server shows, though it loads no driver itself.
    let adapters = |devices: &Value| -> Vec<Value> {
        let devices = devices["devices"].as_array().expect("devices").clone();
        let is_wgpu = |info: &Value| info["device"].as_str().is_some_and(|name| name.starts_with("wgpu:"));
        devices.iter().filter(|info| is_wgpu(info)).map(|info| info["device"].clone()).collect()
    };
    let found = adapters(&probe);
    assert!(!found.is_empty() || std::env::var_os("PREFLIGHT_REQUIRE_GPU").is_none(), "{probe}");
    let server = crate::support::http::Server::start(&[]);
    assert_eq!(adapters(&server.get("/api/devices").json()), found);
}

/// What a download that broke off leaves behind where room was taken before it began.
#[test]
fn zeros_are_no_weights() {
    let model = ModelDir::of_case("gqa_plain");
    let file = std::fs::read(model.file("model.safetensors")).expect("readable");
    let header = 8 + u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
    let mut zeros = file[..header].to_vec();
    zeros.resize(file.len(), 0);
    model.write("model.safetensors", zeros);
    let ran = preflight(&["validate", model.arg(), "--json"]);
    assert_eq!((ran.code, &ran.json()["verdict"]), (1, &json!("fail")), "{ran:?}");
    assert!(
        ran.json()["reason"].as_str().is_some_and(|reason| reason.contains("no trained weights")),
        "{ran:?}"
    );
}

#[test]
fn a_bench_measures_each_run() {
    let model = ModelDir::of_case("gqa_plain");
    let ran = preflight(&[
        "bench",
        model.arg(),
        "--runs",
        "3",
        "--prompt-tokens",
        "20",
        "--max-new-tokens",
        "8",
        "--json",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    let runs = report["runs"].as_array().expect("runs");
    assert_eq!((runs.len(), &report["prompt_tokens"]), (3, &json!(20)));
    let mut first: Vec<f64> = runs.iter().map(|run| run["ttft_ms"].as_f64().expect("a time")).collect();
    first.sort_by(f64::total_cmp);
    assert_eq!(report["ttft_ms"], json!(first[1]));
    for run in runs {
        let speed = 20.0 / run["ttft_ms"].as_f64().expect("a time") * 1e3;
        assert!((run["prefill_tokens_per_s"].as_f64().expect("a speed") / speed - 1.0).abs() < 1e-9);
        assert!(run["generated_tokens"].as_u64().is_some_and(|count| count <= 8));
    }
    assert!(preflight(&["bench", model.arg(), "--runs", "1"]).stdout.contains("first token"));
    assert_eq!(preflight(&["bench", model.arg(), "--runs", "0"]).code, 2);
    let long = preflight(&["bench", model.arg(), "--prompt-tokens", "100000"]);
    assert_eq!(long.code, 2, "{long:?}");
}
