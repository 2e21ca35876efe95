//! Every knob of a load config changes what it says it changes, seen from the command line.

use serde_json::{Value, json};

use crate::support::model_dir::ModelDir;
use crate::support::program::{Ran, preflight};
use crate::support::tests_dir;

/// Runs a command on a model with a load config.
fn with(command: &str, model: &str, load_config: &Value, args: &[&str]) -> Ran {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("load_config.json");
    std::fs::write(&file, load_config.to_string()).expect("written");
    let file = file.to_str().expect("UTF-8");
    preflight(&[&[command, model, "--load-config", file], args].concat())
}

fn answer(command: &str, model: &str, load_config: &Value) -> Value {
    let ran = with(command, model, load_config, &["--json"]);
    assert_eq!(ran.code, 0, "{load_config}: {ran:?}");
    ran.json()
}

fn bytes(memory: &Value, side: &str, term: &str) -> u64 {
    memory[side][term].as_u64().unwrap_or_else(|| panic!("{side}.{term}: {memory}"))
}

/// What the engine holds is what was predicted, term by term.
fn as_predicted(memory: &Value) {
    for term in ["weights_bytes", "kv_cache_bytes", "activation_bytes"] {
        assert_eq!(bytes(memory, "predicted", term), bytes(memory, "measured", term), "{term}: {memory}");
    }
}

fn tiny() -> String {
    tests_dir().join("../public/tiny").display().to_string()
}

#[test]
fn dtype_and_quantization_decide_what_is_held() {
    let model = tiny();
    let (mut last, mut difference) = (u64::MAX, -1.0);
    for (load_config, dtype) in [
        (json!({"torch_dtype": "float32"}), "f32"),
        (json!({"dtype": "float16"}), "f16"),
        (json!({"load_in_8bit": true}), "q8_0"),
        (json!({"quantization": "q4_0", "dtype": "float16"}), "q4_0"),
    ] {
        let loaded = answer("load", &model, &load_config);
        assert_eq!(loaded["engine"]["dtype"], dtype);
        as_predicted(&loaded["memory"]);
        let weights = bytes(&loaded["memory"], "measured", "weights_bytes");
        assert!(weights < last, "{load_config}: {weights} after {last}");
        last = weights;
        let report = answer("validate", &model, &load_config);
        assert_eq!((&report["verdict"], &report["dtype"]), (&json!("pass"), &json!(dtype)), "{report}");
        // Held against f32 on the same weights: the fewer bits, the further off. f32 is the reference itself.
        let of = |key: &str| report["difference"][key].as_f64().unwrap_or_default();
        assert!(of("max") > difference, "{dtype}: {}", report["difference"]);
        difference = of("max");
        assert!(["f32", "q4_0"].contains(&dtype) || of("top1_agreement") > 0.9, "{dtype}: {report}");
        assert_eq!(report["top_logits"].as_array().map(Vec::len), Some(5));
    }
}

#[test]
fn layers_go_where_the_map_says() {
    let model = ModelDir::of_case("gqa_window");
    let split = json!({"device_map": {"model.embed_tokens": "cpu:1", "model.layers.0": "cpu:1", "": "cpu"}});
    let loaded = answer("load", model.arg(), &split);
    let devices = loaded["devices"].as_array().expect("devices");
    assert_eq!(devices.iter().map(|part| &part["device"]).collect::<Vec<_>>(), ["cpu:1", "cpu"]);
    devices.iter().for_each(|part| as_predicted(&part["memory"]));
    as_predicted(&loaded["memory"]);
    let [parted, whole] = [split, json!({})].map(|load_config| answer("validate", model.arg(), &load_config));
    assert_eq!(parted["generated_tokens"], whole["generated_tokens"]);
    assert_eq!(parted["verdict"], "pass");

    for (device_map, code) in [
        (json!({"model.layers.0": "cuda:0", "": "cpu"}), "device_absent"),
        (json!({"model.layers.0": "cpu:1", "model.layers.1": "cpu"}), "missing_modules"),
        (json!({"model.layer.0": "cpu:1", "": "cpu"}), "unknown_module"),
    ] {
        let ran = with("load", model.arg(), &json!({"device_map": device_map}), &["--json"]);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, code), "{device_map}");
    }
}

#[test]
fn max_memory_is_a_limit_and_spreads_layers() {
    let model = ModelDir::of_case("gqa_window");
    let whole = answer("load", model.arg(), &json!({}));
    let needed = bytes(&whole["memory"], "predicted", "total_bytes");
    let limited = |budgets: Value| with("load", model.arg(), &json!({"max_memory": budgets}), &["--json"]);
    assert_eq!(limited(json!({"cpu": needed})).code, 0);
    let refused = limited(json!({"cpu": needed - 1}));
    assert_eq!((refused.code, refused.error_code().as_str()), (1, "oom"));
    assert_eq!(refused.json()["error"]["path"], "max_memory.cpu");

    // Neither device holds it alone.
    let share = needed - 1;
    let spread = limited(json!({"cpu:1": share, "cpu": share}));
    assert_eq!(spread.code, 0, "{spread:?}");
    let devices = spread.json()["devices"].clone();
    assert_eq!(devices.as_array().map(Vec::len), Some(2), "{devices}");
    for part in devices.as_array().expect("devices") {
        as_predicted(&part["memory"]);
        assert!(bytes(&part["memory"], "measured", "total_bytes") <= share, "{part}");
    }
    let nowhere = limited(json!({"cpu:1": 1000, "cpu": 1000}));
    assert_eq!((nowhere.code, nowhere.error_code().as_str()), (1, "does_not_fit"));
}

/// The whole checkpoint on the host first, or a tensor at a time: the peak of loading shows which. What runs afterwards
/// takes the same.
#[test]
fn low_cpu_mem_usage_shows_in_the_hosts_peak() {
    let model = ModelDir::slow();
    let stored = std::fs::metadata(model.file("model.safetensors")).expect("weights").len();
    let [(streamed, after), (whole, after_whole)] = [true, false].map(|low| {
        let loaded = answer("load", model.arg(), &json!({"low_cpu_mem_usage": low}));
        let peak = loaded["host_peak_bytes"].as_u64().expect("bytes");
        (peak, bytes(&loaded["memory"], "measured", "total_bytes"))
    });
    assert!(whole > streamed + stored * 3 / 4, "{whole} and {streamed}, {stored} stored");
    assert!(after_whole.abs_diff(after) < stored / 4, "{after_whole} and {after}, {stored} stored");
}

#[test]
fn attention_is_fused_where_it_is_asked_for() {
    let model = ModelDir::of_case("gqa_window");
    let [eager, fused] = ["eager", "sdpa"].map(|how| {
        let load_config = json!({"attn_implementation": how});
        let loaded = answer("load", model.arg(), &load_config);
        as_predicted(&loaded["memory"]);
        let report = answer("validate", model.arg(), &load_config);
        (bytes(&loaded["memory"], "measured", "activation_bytes"), report["generated_tokens"].clone())
    });
    assert!(fused.0 < eager.0, "no scores are held: {} and {}", fused.0, eager.0);
    assert_eq!(fused.1, eager.1);
}

/// Positions and windows change logits, and a cache that is not kept does not.
#[test]
fn rope_scaling_sliding_window_and_use_cache() {
    let model = ModelDir::of_case("mha_plain");
    let ids: Vec<_> = (1..40).map(|id| (id * 7 % 60).to_string()).collect();
    let out = model.file("logits.safetensors");
    let logits = |load_config: Value| {
        let ran = with(
            "logits",
            model.arg(),
            &load_config,
            &["--tokens", &ids.join(","), "--out", out.to_str().expect("UTF-8")],
        );
        assert_eq!(ran.code, 0, "{load_config}: {ran:?}");
        crate::support::model::tensors(&out)["logits"].1.clone()
    };
    let plain = logits(json!({}));
    let vocab = plain.len() / ids.len();
    let scaled = logits(json!({"rope_scaling": {"type": "linear", "factor": 4.0}}));
    assert_ne!(plain[vocab..], scaled[vocab..]);
    assert_eq!(plain[..vocab], scaled[..vocab], "the first position is zero, however it is scaled");
    let windowed = logits(json!({"sliding_window": 5}));
    assert_eq!(plain[..5 * vocab], windowed[..5 * vocab], "inside the window nothing changes");
    assert_ne!(plain[6 * vocab..], windowed[6 * vocab..]);
    assert_eq!(plain, logits(json!({"sliding_window": null, "rope_scaling": null})));

    let narrow = ModelDir::of_case("gqa_window");
    let window = narrow.case["config"]["sliding_window"].as_u64().expect("a window") as usize;
    let of_narrow = |load_config: Value| {
        let ids: Vec<_> = (1..3 * window).map(|id| (id * 7 % 60).to_string()).collect();
        let args = ["--tokens", &ids.join(","), "--out", out.to_str().expect("UTF-8")];
        let ran = with("logits", narrow.arg(), &load_config, &args);
        assert_eq!(ran.code, 0, "{load_config}: {ran:?}");
        crate::support::model::tensors(&out)["logits"].1.clone()
    };
    let (within, without) = (of_narrow(json!({})), of_narrow(json!({"sliding_window": null})));
    let vocab = within.len() / (3 * window - 1);
    assert_eq!(within[..window * vocab], without[..window * vocab], "inside the window nothing changes");
    assert_ne!(within[2 * window * vocab..], without[2 * window * vocab..], "null takes the window away");

    let ids = |load_config| answer("validate", model.arg(), &load_config)["generated_tokens"].clone();
    assert_eq!(ids(json!({"use_cache": false})), ids(json!({})));
}

#[test]
fn tokenizer_flags_are_honoured_or_refused_by_name() {
    let model = tiny();
    let prompt = |load_config: Value, args: &[&str]| {
        let ran = with("validate", &model, &load_config, &[args, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{load_config}: {ran:?}");
        ran.json()["prompt_tokens"].clone()
    };
    let [without, with_bos] =
        [false, true].map(|add| prompt(json!({"add_bos_token": add}), &["--prompt", "Hello"]));
    assert_eq!(with_bos.as_array().map(Vec::len), without.as_array().map(|ids| ids.len() + 1));
    let chat = |load_config| prompt(load_config, &["--chat", "Hello"]);
    let other = json!({"chat_template": "{{ messages[0]['content'] }}, said the user."});
    assert_ne!(chat(other), chat(json!({})));
    for (flags, path) in [(json!({"use_fast": false}), "use_fast"), (json!({"legacy": true}), "legacy")] {
        let ran = with("load", &model, &flags, &["--json"]);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "unsupported_load_config"));
        assert_eq!(ran.json()["error"]["path"], path);
    }
}

/// Hugging Face's cache: `cache_dir` says where, `revision` which.
#[test]
fn a_repository_is_found_in_the_cache_that_is_named() {
    let model = ModelDir::of_case("mha_plain");
    let cache = tempfile::tempdir().expect("a temporary directory");
    model.cached(cache.path());
    let load = |load_config: Value| with("load", "hf:org/name", &load_config, &["--json"]);
    let cache = cache.path().to_str().expect("UTF-8");
    let found = load(json!({"cache_dir": cache, "revision": "v1"}));
    assert_eq!(found.code, 0, "{found:?}");
    for elsewhere in
        [json!({"cache_dir": cache, "revision": "v2"}), json!({"cache_dir": "/nowhere", "revision": "v1"})]
    {
        assert_eq!(load(elsewhere.clone()).code, 2, "{elsewhere}");
    }
}

/// Every way to say four bits holds the same; bitsandbytes' own settings mean nothing here and are refused by name.
#[test]
fn the_shorthands_of_quantization_say_the_same() {
    let model = tiny();
    let weights = |load_config: &Value| {
        let loaded = answer("load", &model, load_config);
        assert_eq!(loaded["engine"]["dtype"], "q4_0", "{load_config}");
        bytes(&loaded["memory"], "measured", "weights_bytes")
    };
    let same = weights(&json!({"quantization": "q4_0"}));
    for said in [json!({"load_in_4bit": true}), json!({"quantization_config": {"load_in_4bit": true}})] {
        assert_eq!(weights(&said), same, "{said}");
    }
    let details = json!({"quantization_config": {"load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}});
    let refused = with("load", &model, &details, &["--json"]);
    assert_eq!((refused.code, refused.error_code().as_str()), (2, "unsupported_load_config"), "{refused:?}");
    let bf16 = answer("load", &model, &json!({"torch_dtype": "bfloat16"}));
    assert_eq!(bf16["engine"]["dtype"], "bf16");
}

/// Python of a repository is not run, asked for or not: a model that is known here loads without it, another is refused.
#[test]
fn code_of_a_repository_is_never_run() {
    let model = ModelDir::of_case("mha_plain");
    let ran = model.file("ran");
    let code = format!("open({:?}, 'w').write('ran')\n", ran.display().to_string());
    model.write("configuration_phi3.py", &code);
    model.write("modeling_phi3.py", &code);
    let remote = json!({"auto_map": {
        "AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
    }});
    model.set_config(&remote);
    let [asked, not_asked] = [true, false].map(|flag| {
        let load_config = json!({"trust_remote_code": flag, "dtype": "float32"});
        answer("validate", model.arg(), &load_config)["generated_tokens"].clone()
    });
    assert_eq!(asked, not_asked);
    let mut other = remote;
    other["model_type"] = json!("phi9");
    model.set_config(&other);
    let refused = with("load", model.arg(), &json!({"trust_remote_code": true}), &["--json"]);
    assert_eq!((refused.code, refused.error_code().as_str()), (2, "unknown_architecture"), "{refused:?}");
    assert!(!ran.exists(), "it was run");
}

#[test]
fn layers_are_not_offloaded_to_disk() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let load_config = json!({"offload_folder": folder.path().display().to_string()});
    let refused = with("load", &tiny(), &load_config, &["--json"]);
    assert_eq!((refused.code, refused.error_code().as_str()), (2, "unsupported_load_config"), "{refused:?}");
    assert_eq!(refused.json()["error"]["path"], "offload_folder");
    assert_eq!(folder.path().read_dir().expect("a folder").count(), 0);
}

/// A knob that is added has a test of what it does, or of its refusal.
#[test]
fn every_knob_has_its_test() {
    let tested: [(&str, &[&str]); 11] = [
        ("dtype_and_quantization_decide_what_is_held", &["dtype", "quantization", "load_in_8bit"]),
        ("the_shorthands_of_quantization_say_the_same", &["load_in_4bit", "quantization_config"]),
        ("layers_go_where_the_map_says", &["device_map"]),
        ("max_memory_is_a_limit_and_spreads_layers", &["max_memory"]),
        ("low_cpu_mem_usage_shows_in_the_hosts_peak", &["low_cpu_mem_usage"]),
        ("attention_is_fused_where_it_is_asked_for", &["attn_implementation"]),
        ("rope_scaling_sliding_window_and_use_cache", &["rope_scaling", "sliding_window", "use_cache"]),
        (
            "tokenizer_flags_are_honoured_or_refused_by_name",
            &["add_bos_token", "chat_template", "use_fast", "legacy"],
        ),
        ("a_repository_is_found_in_the_cache_that_is_named", &["cache_dir", "revision"]),
        ("code_of_a_repository_is_never_run", &["trust_remote_code"]),
        ("layers_are_not_offloaded_to_disk", &["offload_folder"]),
    ];
    let source = include_str!("knobs.rs");
    for (test, knobs) in tested {
        let (_, body) = source.split_once(&format!("fn {test}()")).expect(test);
        let body = body.split("\n}\n").next().expect("a body");
        for knob in knobs {
            let names = phi3::load_config::Knob::find(knob).expect(knob).names();
            assert!(
                names.into_iter().any(|name| body.contains(&format!("\"{name}\""))),
                "{test} says nothing of {knob}"
            );
        }
    }
    let mut named: Vec<&str> = tested.iter().flat_map(|(_, knobs)| knobs.iter().copied()).collect();
    let mut known: Vec<&str> = phi3::load_config::KNOBS.iter().map(|knob| knob.key).collect();
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known);
}
