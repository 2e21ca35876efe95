use super::*;
use crate::config::RopeScaling;
use crate::estimate::Backend;
use crate::placement::DeviceId;

fn device(name: &str) -> DeviceId {
    name.parse().expect("a device")
}

fn parse(json: &str) -> Result<LoadConfig, LoadConfigError> {
    LoadConfig::parse(json.as_bytes())
}

fn config(json: &str) -> LoadConfig {
    parse(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn errors(json: &str) -> Vec<LoadConfigError> {
    let map = Fields::parse(json.as_bytes()).expect("an object").map().clone();
    LoadConfig::from_map_all(&map).expect_err(json)
}

fn paths(changes: &[Change]) -> Vec<&str> {
    changes.iter().map(|change| change.path.as_str()).collect()
}

#[test]
fn the_seed_guide_examples_are_understood() {
    assert_eq!(config(r#"{"low_cpu_mem_usage": true}"#).low_cpu_mem_usage, Some(true));
    let budget = config(r#"{"max_memory": {"0": "12GiB", "cpu": "32GiB"}}"#).max_memory;
    assert_eq!(budget, Budgets::from([(device("cuda:0"), 12 << 30), (DeviceId::Cpu, 32 << 30)]));
    assert_eq!(config(r#"{"torch_dtype": "float16"}"#).dtype, Some(DType::F16));
    let single = |json| config(json).single_device().expect("one").expect("named");
    assert_eq!(single(r#"{"device_map": {"": "cuda:0"}}"#), "cuda:0");
    assert_eq!(single(r#"{"device_map": "sequential"}"#), "auto");
    assert_eq!(single(r#"{"device_map": {"model.embed_tokens": 0, "model.layers": 0}}"#), "cuda:0");
    let devices = |json| config(json).devices().into_iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(devices(r#"{"device_map": {"": "cuda:0"}}"#), ["cuda:0"]);
    assert_eq!(devices(r#"{"device_map": "sequential"}"#), [""; 0]);
    assert_eq!(devices(r#"{"device_map": {"model.embed_tokens": 0, "model.layers": 0}}"#), ["cuda:0"]);
    assert_eq!(devices(r#"{"device_map": {"model.layers.0": "cpu:1", "": "cpu"}}"#), ["cpu:1", "cpu"]);
    let rope = config(r#"{"rope_scaling": {"type": "linear", "factor": 2.0}}"#).rope_scaling;
    let rope = rope.expect("said").expect("a scaling");
    assert_eq!((rope["rope_type"].as_str(), rope["factor"].as_f64()), (Some("linear"), Some(2.0)));
    assert_eq!(config(r#"{"attn_implementation": "eager"}"#).attention, Some(Attention::Eager));
    assert_eq!(config(r#"{"use_fast": false}"#).use_fast, Some(false));
}

#[test]
fn maps_are_kept_whole() {
    let map = config(r#"{"device_map": {"model.layers.0": "cpu", "": 0, "lm_head": "wgpu:1"}}"#).device_map;
    let modules = [("model.layers.0", DeviceId::Cpu), ("", device("cuda:0")), ("lm_head", device("wgpu:1"))];
    let modules = modules.map(|(name, device)| (name.to_owned(), device));
    assert_eq!(map, Some(Strategy::Explicit(modules.to_vec())));
}

#[test]
fn nothing_is_dropped() {
    let error = |json: &str| parse(json).expect_err(json).to_string();
    assert!(error(r#"{"slidingwindow": 5}"#).contains("`sliding_window`"));
    assert!(error(r#"{"low_cpu_mem_usage": 1}"#).contains("true or false"));
    assert!(error(r#"{"max_memory": {"cpu": "32G"}}"#).contains("max_memory.cpu"));
    assert!(error(r#"{"max_memory": {"disk": "32GiB"}}"#).contains("max_memory.disk"));
    assert!(error(r#"{"device_map": {"model.layers.31": "disk"}}"#).contains("model.layers.31"));
    assert!(error(r#"{"dtype": "bf16", "torch_dtype": "f16"}"#).contains("spelling"));
    assert!(error(r#"{"tokenizer": {"use_fast": false}}"#).contains("top level"));
    assert!(error(r#"{"quantization_config": {"quant_method": "gptq"}}"#).contains("already quantized"));
    assert!(error(r#"{"quantization_config": {"load_in_8bits": true}}"#).contains("`load_in_8bit`"));
    assert!(error(r#"{"rope_scaling": {"factor": 2.0}}"#).contains("rope_type"));
    assert!(error(r#"{"rope_scaling": {"type": "liner", "factor": 2.0}}"#).contains("rope_scaling.type"));
    assert!(error(r#"{"dtype": "q8_0"}"#).contains("quantization"));
    assert!(error(r#"{"device_map": -1}"#).contains("device_map"));
    assert!(error(r#"{"sliding_window": 0}"#).contains("from 1 to 134,217,728"));
}

#[test]
fn every_error_is_named_at_once() {
    let found = errors(
        r#"{"torch_dtpye": "f16", "max_memory": {"0": "12G", "gpu": 1}, "use_cache": "yes", "device_map": {"a": "x", "b": "y"}}"#,
    );
    let paths: Vec<_> = found.iter().filter_map(LoadConfigError::path).collect();
    assert_eq!(
        paths,
        ["torch_dtpye", "max_memory.0", "max_memory.gpu", "use_cache", "device_map.a", "device_map.b"]
    );
    assert!(
        matches!(&found[0], LoadConfigError::UnknownKey { nearest: Some("torch_dtype"), .. }),
        "{found:?}"
    );
}

#[test]
fn quantization_has_one_meaning() {
    let format = |json: &str| config(json).quantization;
    for json in [
        r#"{"load_in_8bit": true}"#,
        r#"{"quantization": "q8_0"}"#,
        r#"{"load_in_8bit": true, "load_in_4bit": false}"#,
        r#"{"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true, "_load_in_8bit": true, "load_in_4bit": false, "_load_in_4bit": false}}"#,
    ] {
        assert_eq!(format(json), Some(Quantization::Q8_0), "{json}");
        assert_eq!(diff(&config(json), &config(r#"{"load_in_8bit": true}"#)), [], "{json}");
        assert_eq!(config(json).refusals(), [], "{json}");
    }
    assert_eq!(format(r#"{"load_in_4bit": true}"#), Some(Quantization::Q4_0));
    assert_eq!(format(r#"{"load_in_8bit": false, "quantization_config": null}"#), Some(Quantization::Off));
    assert!(config(r#"{"load_in_8bit": false}"#).refusals().is_empty());
    for json in [
        r#"{"load_in_8bit": true, "load_in_4bit": true}"#,
        r#"{"quantization": "q4_0", "load_in_8bit": true}"#,
        r#"{"quantization": "q8_0", "load_in_8bit": false}"#,
        r#"{"quantization_config": {"load_in_8bit": true, "load_in_4bit": true}}"#,
        r#"{"quantization": "none", "quantization_config": {"load_in_4bit": true}}"#,
    ] {
        assert!(matches!(errors(json).as_slice(), [LoadConfigError::Contradiction { .. }]), "{json}");
    }
}

#[test]
fn what_this_build_cannot_run_is_parsed_and_refused_by_name() {
    for (json, key) in [
        (
            r#"{"quantization_config": {"load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}}"#,
            "quantization_config",
        ),
        (r#"{"use_fast": false}"#, "use_fast"),
        (r#"{"legacy": true}"#, "legacy"),
        (r#"{"offload_folder": "/tmp/x"}"#, "offload_folder"),
    ] {
        let refused = config(json).refusals();
        assert_eq!(refused.len(), 1, "{json}");
        assert_eq!((refused[0].path(), refused[0].code()), (Some(key), "unsupported_load_config"));
    }
    assert!(config(r#"{"use_cache": true, "use_fast": true, "legacy": false}"#).refusals().is_empty());
    assert!(config(r#"{"use_cache": false, "load_in_4bit": true}"#).refusals().is_empty());
}

#[test]
fn overrides_reach_the_model() {
    let fields = Fields::parse(
        br#"{"model_type":"phi3","sliding_window":2047,"rope_parameters":{"rope_type":"default","rope_theta":5e5}}"#,
    )
    .expect("an object");
    let linear = r#"{"rope_scaling": {"type": "linear", "factor": 2.0}, "sliding_window": null}"#;
    let model = config(linear).apply(&fields).expect("a valid model");
    assert_eq!(model.rope_scaling, RopeScaling::Linear { factor: 2.0 });
    assert_eq!((model.sliding_window, model.rope_theta), (None, 5e5));
    let theta = config(r#"{"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}"#).apply(&fields);
    assert_eq!(theta.expect("a valid model").rope_theta, 1e6);
    assert_eq!(LoadConfig::default().apply(&fields), ModelConfig::from_fields(&fields));
    assert!(config(r#"{"rope_scaling": {"rope_type": "llama3", "factor": 8}}"#).apply(&fields).is_err());
}

#[test]
fn spelling_is_never_a_change() {
    for (a, b) in [
        (r#"{"torch_dtype": "float16"}"#, r#"{"dtype": "fp16"}"#),
        (r#"{"torch_dtype": "float16"}"#, r#"{"dtype": "torch.float16"}"#),
        (r#"{"max_memory": {"0": "12GiB"}}"#, r#"{"max_memory": {"cuda:0": 12884901888}}"#),
        (r#"{"max_memory": {"0": 12884901888.0}}"#, r#"{"max_memory": {"0": "12 gib"}}"#),
        (r#"{"device_map": {"": "cuda:0"}}"#, r#"{"device_map": "cuda:0"}"#),
        (r#"{"device_map": 0}"#, r#"{"device_map": "cuda"}"#),
        (r#"{"device_map": {"a": 0, "b": "cpu"}}"#, r#"{"device_map": {"b": "cpu", "a": "cuda:0"}}"#),
        (r#"{"attn_implementation": "sdpa"}"#, r#"{"attn_implementation": "fused"}"#),
        (
            r#"{"rope_scaling": {"type": "linear", "factor": 2}}"#,
            r#"{"rope_parameters": {"factor": 2.0, "rope_type": "linear"}}"#,
        ),
        (
            r#"{"rope_scaling": {"type": "su", "long_factor": [1], "short_factor": [1]}}"#,
            r#"{"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}"#,
        ),
        (r#"{"rope_scaling": null}"#, r#"{"rope_scaling": {"type": "default"}}"#),
        (r#"{"sliding_window": 2047.0}"#, r#"{"sliding_window": 2047}"#),
        // A default that is written out is no change either.
        (
            "{}",
            r#"{"device_map": "auto", "low_cpu_mem_usage": true, "load_in_8bit": false, "dtype": "auto", "use_cache": null}"#,
        ),
    ] {
        assert_eq!(diff(&config(a), &config(b)), [], "{a} and {b}");
    }
}

#[test]
fn maps_differ_by_their_leaves_and_appear_as_a_whole() {
    let change = |a: &str, b: &str| diff(&config(a), &config(b));
    let (one, both) =
        (r#"{"max_memory": {"0": "12GiB"}}"#, r#"{"max_memory": {"0": "10GiB", "cpu": "32GiB"}}"#);
    let text = |changes: Vec<Change>| changes.iter().map(Change::to_string).collect::<Vec<_>>();
    assert_eq!(text(change("{}", one)), ["max_memory.0: not set → 12.00 GiB"]);
    assert_eq!(text(change("{}", both)), ["max_memory: not set → {0: 10.00 GiB, cpu: 32.00 GiB}"]);
    assert_eq!(text(change(both, "{}")), ["max_memory: {0: 10.00 GiB, cpu: 32.00 GiB} → not set"]);
    assert_eq!(
        text(change(one, both)),
        ["max_memory.0: 12.00 GiB → 10.00 GiB", "max_memory.cpu: not set → 32.00 GiB"]
    );
    let placed =
        change(r#"{"device_map": "auto"}"#, r#"{"device_map": {"model": "cuda:0", "lm_head": "cpu"}}"#);
    assert_eq!(paths(&placed), ["device_map"]);
    let moved = change(r#"{"device_map": "auto"}"#, r#"{"device_map": {"": "cuda:0"}}"#);
    assert_eq!(moved[0].to_string(), "device_map: auto → cuda:0");
    let four_bit = r#"{"quantization_config": {"load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}}"#;
    assert_eq!(
        paths(&change(r#"{"load_in_4bit": true}"#, four_bit)),
        ["quantization_config.bnb_4bit_quant_type"]
    );
    // The kind of a scaling and its factors cannot stand apart.
    let linear = r#"{"rope_scaling": {"type": "linear", "factor": 2.0}}"#;
    let longrope = r#"{"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [2]}}"#;
    for scaling in [linear, longrope] {
        assert_eq!(paths(&change("{}", scaling)), ["rope_scaling"]);
        assert_eq!(paths(&change(scaling, r#"{"rope_scaling": null}"#)), ["rope_scaling"]);
    }
    let yarn = r#"{"rope_scaling": {"type": "yarn", "factor": 4.0}}"#;
    assert_eq!(paths(&change(linear, yarn)), ["rope_scaling.factor", "rope_scaling.rope_type"]);
    // Setting a change back is one step, for the page's undo.
    let undone = config(both).with("max_memory", &Value::Null).expect("taken out");
    assert_eq!(diff(&undone, &config("{}")), []);
}

#[test]
fn one_change_unless_it_branches() {
    let (parent, child) = (config("{}"), config(r#"{"dtype": "f16", "attn_implementation": "sdpa"}"#));
    let error = one_change(diff(&parent, &child), false).expect_err("two changes");
    assert_eq!(error.0.len(), 2);
    let text = error.to_string();
    assert!(text.contains("dtype: auto → float16") && text.contains("branch"), "{text}");
    assert_eq!(one_change(diff(&parent, &child), true).map(|changes| changes.len()), Ok(2));
    assert_eq!(one_change(diff(&parent, &parent), false), Ok(Vec::new()));
    assert_eq!(one_change(diff(&parent, &config(r#"{"dtype": "f16"}"#)), false).map(|c| c.len()), Ok(1));
}

fn layer(origin: Origin, json: &str) -> Layer {
    Layer { origin, overrides: Fields::parse(json.as_bytes()).expect("an object").map().clone() }
}

#[test]
fn higher_layers_win_and_tell_so() {
    let resolved = resolve(&[
        layer(Origin::Attempt, r#"{"torch_dtype": "f16", "load_in_8bit": null, "max_memory": {"0": "8GiB"}}"#),
        layer(Origin::Global, r#"{"dtype": "bf16", "attn_implementation": "sdpa", "low_cpu_mem_usage": false}"#),
        layer(Origin::Model, r#"{"load_in_8bit": true, "low_cpu_mem_usage": true, "max_memory": {"0": "12GiB", "cpu": "32GiB"}}"#),
    ])
    .expect("valid layers");
    let of = |path: &str| {
        let leaf = resolved.values.iter().find(|leaf| leaf.path == path);
        leaf.map(|leaf| (leaf.value.clone(), leaf.origin))
    };
    assert_eq!(of("dtype"), Some(("float16".into(), Origin::Attempt)));
    assert_eq!(of("attn_implementation"), Some(("fused".into(), Origin::Global)));
    assert_eq!(of("low_cpu_mem_usage"), Some((true.into(), Origin::Model)));
    assert_eq!(of("device_map"), Some(("auto".into(), Origin::BuiltIn)));
    // Null undoes what the model's row says; a map replaces the map below.
    assert_eq!(of("quantization"), Some(("none".into(), Origin::BuiltIn)));
    assert_eq!(of("max_memory.0"), Some(((8u64 << 30).into(), Origin::Attempt)));
    assert_eq!(of("max_memory.cpu"), None);
    assert_eq!(LoadConfig::from_map(&resolved.overrides), Ok(resolved.config));
}

#[test]
fn null_takes_scaling_away_and_a_higher_spelling_replaces_a_lower() {
    let resolved = resolve(&[
        layer(Origin::Model, r#"{"rope_scaling": {"type": "linear", "factor": 2}, "load_in_4bit": true}"#),
        layer(Origin::Attempt, r#"{"rope_parameters": null, "quantization": "q8_0"}"#),
    ])
    .expect("valid layers");
    assert_eq!(resolved.config.rope_scaling, Some(None));
    assert_eq!(resolved.config.quantization, Some(Quantization::Q8_0));
    let error = resolve(&[layer(Origin::Global, r#"{"x": 1, "y": 2}"#)]).expect_err("unknown keys");
    assert_eq!((error.origin, error.errors.len()), (Origin::Global, 2));
}

#[test]
fn a_knob_is_previewed_in_bytes() {
    let fields = Fields::parse(br#"{"model_type":"phi3","dtype":"bfloat16"}"#).expect("an object");
    let options = Options::default();
    let subject = Subject { fields: &fields, stored: None, options: &options };
    let bytes = |current: &LoadConfig, key: &str, value: Value, term: &str| {
        let preview = preview(&subject, current, key, &value).expect("sized");
        let term = preview.terms.into_iter().find(|change| change.name == term).expect("a term");
        (term.now_bytes, term.then_bytes)
    };
    let none = LoadConfig::default();
    assert_eq!(bytes(&none, "dtype", "float32".into(), "weights"), (7_642_159_104, 15_284_318_208));
    assert_eq!(bytes(&none, "dtype", "float32".into(), "kv_cache"), (1_610_612_736, 3_221_225_472));
    let (now, then) = bytes(&none, "load_in_8bit", true.into(), "weights");
    assert!(then * 100 / now == 53, "8.5 of 16 bits: {then}");
    // The cache stays in the float that is multiplied in.
    let wide = config(r#"{"dtype": "float32"}"#);
    assert_eq!(bytes(&wide, "quantization", "q4_0".into(), "kv_cache"), (3_221_225_472, 3_221_225_472));
    let (now, then) = bytes(&none, "attn_implementation", "sdpa".into(), "activations");
    assert!(then < now);
    let (now, then) = bytes(&none, "low_cpu_mem_usage", false.into(), "host_load_peak");
    assert!(then - now >= 7_642_159_104, "the whole checkpoint beside the weights: {now} → {then}");
    assert!(matches!(preview(&subject, &none, "dtpye", &true.into()), Err(PreviewError::LoadConfig(_))));

    // A budget that moves layers to the CPU: a second runtime and a second workspace.
    let one = config(r#"{"max_memory": {"0": "12GiB"}}"#);
    let (now, then) = bytes(&one, "max_memory.cpu", "32GiB".into(), "total");
    assert_eq!(now, then, "all of it stays on the GPU");
    let (now, then) = bytes(
        &config(r#"{"max_memory": {"0": "12GiB", "cpu": "32GiB"}}"#),
        "max_memory.0",
        "5GiB".into(),
        "total",
    );
    assert!(then > now, "{now} → {then}");
    let (now, then) = bytes(&one, "max_memory.0", "13GiB".into(), "overhead");
    let (runtime, _) = Backend::Cuda.assumed_overhead(32_064);
    assert_eq!((now, then), (runtime, runtime));

    let all = preview_candidates(&subject, &none).expect("sized");
    assert!(
        all.len() > 8
            && all.iter().all(|preview| preview.key != "low_cpu_mem_usage" || preview.value == false)
    );
    assert!(all.iter().any(|preview| preview.key == "quantization" && preview.refused.is_none()));
}

#[test]
fn the_next_change_is_single_new_and_in_order() {
    let facts = Facts {
        device: Some(device("cuda:0")),
        free_bytes: Some(10 << 30),
        dtype: Some(DType::Bf16),
        context: Some(8192),
        prompt_tokens: Some(3000),
        max_position_embeddings: Some(4096),
        sliding_window: Some(2047),
        rope_scaling_allowed: true,
    };
    let none = LoadConfig::default();
    for outcome in OutcomeClass::ALL {
        for current in [
            none.clone(),
            config(
                r#"{"dtype":"f32","low_cpu_mem_usage":false,"max_memory":{"0":"9GiB"},"attn_implementation":"sdpa"}"#,
            ),
        ] {
            for step in next_changes(outcome, &current, &facts) {
                if step.scope == Scope::LoadConfig {
                    let changed = current.with(&step.key, &step.value).expect("valid");
                    assert_eq!(diff(&current, &changed).len(), 1, "{outcome:?}: {step:?}");
                }
            }
        }
    }
    let keys = |outcome, current: &LoadConfig, facts: &Facts| -> Vec<String> {
        let steps = next_changes(outcome, current, facts).into_iter();
        steps.map(|step| format!("{}={}", step.key, step.value)).collect()
    };
    let first = |outcome, current: &str| keys(outcome, &config(current), &facts).into_iter().next();
    assert_eq!(
        first(OutcomeClass::OomLoadHost, r#"{"low_cpu_mem_usage": false}"#).as_deref(),
        Some("low_cpu_mem_usage=true")
    );
    assert_eq!(
        first(OutcomeClass::OomLoadHost, r#"{"dtype": "f32"}"#).as_deref(),
        Some(r#"dtype="bfloat16""#)
    );
    assert_eq!(
        keys(OutcomeClass::DtypeUnsupported, &none, &facts),
        [r#"dtype="float16""#, r#"dtype="float32""#]
    );
    assert_eq!(
        keys(OutcomeClass::DtypeUnsupported, &config(r#"{"dtype":"f16"}"#), &facts),
        [r#"dtype="float32""#]
    );
    assert_eq!(first(OutcomeClass::PlacementFailed, "{}").as_deref(), Some(r#"device_map={"":"cuda:0"}"#));
    assert_eq!(
        first(OutcomeClass::PlacementFailed, r#"{"device_map":{"":"cuda:0"}}"#).as_deref(),
        Some(r#"device_map="sequential""#)
    );
    let weights = keys(OutcomeClass::OomDeviceWeights, &config(r#"{"dtype":"f32"}"#), &facts);
    let order: Vec<_> = weights.iter().filter_map(|step| step.split('=').next()).collect();
    assert_eq!(order, ["max_memory.0", "dtype", "quantization", "quantization", "device_map"]);
    assert_eq!(
        first(OutcomeClass::ContextTooLong, "{}").as_deref(),
        Some(r#"rope_scaling={"rope_type":"linear","factor":2.0}"#)
    );
    let forbidden = Facts { rope_scaling_allowed: false, ..facts.clone() };
    assert_eq!(keys(OutcomeClass::ContextTooLong, &none, &forbidden), ["context=4096"]);
    assert_eq!(keys(OutcomeClass::WindowError, &none, &facts), ["prompt_tokens=2046"]);
    assert_eq!(
        first(OutcomeClass::KernelError, r#"{"attn_implementation":"sdpa"}"#).as_deref(),
        Some(r#"attn_implementation="eager""#)
    );
    // Fused attention by the name of one kernel is fused already.
    let fused = |current: &str| {
        let steps = keys(OutcomeClass::OomDeviceActivation, &config(current), &facts);
        steps.contains(&r#"attn_implementation="fused""#.to_owned())
    };
    assert!(fused("{}") && !fused(r#"{"attn_implementation":"flash_attention_2"}"#));
    assert!(next_changes(OutcomeClass::Passed, &none, &facts).is_empty());
    for outcome in [OutcomeClass::ConfigInvalid, OutcomeClass::DownloadCorrupt, OutcomeClass::MissingTensor] {
        assert!(next_changes(outcome, &none, &facts).is_empty() && advice(outcome).is_some());
    }
}
