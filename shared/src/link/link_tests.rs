use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, json};

use super::*;
use crate::config::PRESETS;
use crate::dtype::DType;
use crate::engine::Attention;
use crate::estimate::{Format, KvPolicy, Options};

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn of_config(config: Map<String, Value>) -> State {
    let model = LinkedModel::Config { config, generation_config: None };
    State { model: Some(model), ..State::default() }
}

/// A state with everything in it.
fn full() -> State {
    State {
        page: Some("estimate".to_owned()),
        model: Some(LinkedModel::Config {
            config: object(json!({"model_type": "phi3", "hidden_size": 64, "x": [1.5, null, {"y": "é"}]})),
            generation_config: Some(object(json!({"eos_token_id": [1, 2]}))),
        }),
        load_config: overrides(),
        device: Some(Device::Named("RTX 3090, 4090 · 24 GB".to_owned())),
        options: Options {
            dtype: Some(DType::Q4K.into()),
            kv_dtype: Some(DType::Q8_0),
            context: Some(6144),
            batch: Some(4),
            attn: Some(Attention::Fused),
            kv_policy: Some(KvPolicy::PAGED),
            ..Options::default()
        },
        label: Some("a & b = #c".to_owned()),
        notes: Some("tried bf16 first:\nout of memory".to_owned()),
    }
}

/// A dozen overrides of a load.
fn overrides() -> Map<String, Value> {
    object(json!({
        "torch_dtype": "bfloat16",
        "device_map": {"model.embed_tokens": 0, "model.layers": "cuda:0", "model.norm": "cuda:0", "lm_head": "cpu"},
        "max_memory": {"0": "12GiB", "1": "10GiB", "cpu": "32GiB"},
        "low_cpu_mem_usage": true,
        "rope_scaling": {"type": "linear", "factor": 2.0},
        "sliding_window": null,
        "attn_implementation": "eager",
        "trust_remote_code": false,
        "use_cache": true,
        "add_bos_token": true,
        "quantization": "q8_0",
        "revision": "0a67737cc96d2554230f90338b163bc6380a2a85",
        "use_fast": true,
    }))
}

fn error(link: &str) -> LinkError {
    decode(link, PRESETS).expect_err(link)
}

fn packed(json: &str) -> String {
    envelope::pack(json.as_bytes()).expect("small")
}

#[test]
fn a_full_and_an_empty_state_come_back() {
    for state in [
        State::default(),
        full(),
        State { device: Some(Device::Bytes(u64::MAX)), ..State::default() },
        State { device: Some(Device::Browser), model: Some(LinkedModel::Own), ..State::default() },
    ] {
        let link = encode(&state, PRESETS).expect("goes into a link");
        assert!(
            link.starts_with("s=1.")
                && link.bytes().all(|b| b.is_ascii_alphanumeric() || b"=._-".contains(&b))
        );
        let decoded = decode(&link, PRESETS).expect("comes back");
        assert_eq!((decoded.state, decoded.unknown), (state.clone(), Vec::new()));
        for form in
            [format!("https://any.host/x/?y#{link}"), format!(" #{link}\n"), link["s=".len()..].to_owned()]
        {
            assert_eq!(decode(&form, PRESETS).expect("in every form").state, state);
        }
        let json = state.to_json().to_string();
        assert_eq!(State::parse(json.as_bytes(), PRESETS).expect("its JSON").state, state);
    }
}

/// Links are kept in notes and tickets: what version 1 wrote is read for ever.
#[test]
fn links_of_version_1_are_read() {
    const PRESET: &str = "s=1.FcxLCoAgFAXQvdxxQYaUuZmgfJD00fIRibj3dHzgJBh67UrQCUtkCtBiFOOkhkkomRucztBR1T8UiKHhN9tKFHKerbtCxdVdTF_RvpOqgeHoS4lbzjty_gE";
    const FULL: &str = "s=1.TVJLjtswDL2KoAJdGQP_4iQGupnN7IsuCrQDgZboWIgtOZI8SSbIgXqC7tuLlXKcTDf-kI-Pj4-8cIVvWiKvL9zAQG_-9dt3VqTbNGElPdmf3ywv2cszvya8hwZ7ggD7zBr2hX2SnIIWlJDWtHoXWUAp0Vgvgt2j4XVwEyYcQjBCD2OPA5oAQVtKcYQdOmK4SRADjJGgH0SHoCgvx4myg1XYP-HQoLqRel6n93APZ3Q-YicFdfqAG-uGj2iUbo-C-MSAg5g8Nb5LG-AUg9adY_OUirL8RT8TUxa_09t3lFLzYs4Q22ECE_T7fZDDRsTWjubwt0gK1XpdrKXcVipfrcq8SNttWhSbJquKRlbFJoUcNqtYZUcUXkKvzWxgCzJYx-v8iaYM5zHuhHIILnb2vVYEFEdtlD3y2kx9TzDrZCfUgm5a2knIKiKnGX0QjuYLSEtSlG6h9zT35CkAsnsYEQMt-HD7vy5ORkUfy-20UmiE1-9UVpULRix9x04X1PPE6x_Z0yqZpV04-cr__uLXV6LcoUE3u_bfxeD9WoRWsTTJX6-ENSQ5bjY4jYo1bVaxVjsf6p_GToHZli1rS7gdI6Wfz48ujYpamkZRpoEgO16TUuoX8ETTVVlJv3evDqXYE27_9nBvWSZFRttrGeWPdC8quj_Oh8PRBz1AQH79Bw";
    let preset = State {
        model: Some(LinkedModel::Preset("phi-4".to_owned())),
        device: Some(Device::Bytes(16 << 30)),
        options: Options { context: Some(2048), dtype: Some(DType::Q4K.into()), ..Options::default() },
        ..State::default()
    };
    for (link, state) in [(PRESET, preset), (FULL, full())] {
        assert_eq!(decode(link, PRESETS), Ok(Decoded { state, unknown: Vec::new() }));
    }
}

#[test]
fn the_order_of_keys_does_not_matter() {
    let (a, b) = (r#"{"model_type":"x","a":{"b":1,"c":2}}"#, r#"{"a":{"c":2,"b":1},"model_type":"x"}"#);
    let link = |text: &str| encode(&of_config(object(serde_json::from_str(text).expect("JSON"))), PRESETS);
    assert_eq!(link(a), link(b));
}

#[test]
fn a_config_near_a_preset_is_a_difference_to_it() {
    for preset in PRESETS {
        let mut config = object(serde_json::from_str(preset.config).expect("JSON"));
        config.insert("sliding_window".to_owned(), Value::Null);
        config.insert("vocab_size".to_owned(), 32_100.into());
        config.shift_remove("auto_map");
        if let Some(Value::Object(scaling)) = config.get_mut("rope_scaling") {
            scaling.insert("type".to_owned(), "longrope-2".into());
        }
        let state = of_config(config);
        let link = encode(&state, PRESETS).expect("goes into a link");
        assert!(link.len() < 300, "{}: {} characters", preset.name, link.len());
        assert_eq!(decode(&link, PRESETS).map(|decoded| decoded.state), Ok(state));
    }
}

/// Every config at hand with a dozen overrides stays below 2 KB; only one with long lists of factors is near it.
#[test]
fn stock_models_with_overrides_stay_below_2_kb() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut seen = 0;
    for folder in ["tests/data/configs", "public/presets"] {
        for entry in std::fs::read_dir(format!("{root}/{folder}")).expect("in the repository") {
            let path = entry.expect("readable").path();
            let Ok(Value::Object(config)) = serde_json::from_slice(&std::fs::read(&path).expect("readable"))
            else {
                continue;
            };
            let model = LinkedModel::Config { config, generation_config: None };
            let state = State { model: Some(model), ..full() };
            let link = encode(&state, PRESETS).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(link.len() < 2000, "{}: {} characters", path.display(), link.len());
            assert_eq!(decode(&link, PRESETS).map(|decoded| decoded.state), Ok(state), "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} configs");
}

#[test]
fn unknown_keys_are_reported_and_cost_nothing() {
    let link = packed(
        r#"{"batch":2,"device":{"bytes":1,"slot":0},"model":{"preset":"phi-4","tag":1},"options":{"context":7,"speed":9,"device_memory":3,"device":"T4"}}"#,
    );
    let decoded = decode(&link, PRESETS).expect("read");
    assert_eq!(
        decoded.unknown,
        ["device.slot", "model.tag", "options.speed", "options.device_memory", "options.device", "batch"]
    );
    assert_eq!(decoded.state.options.context, Some(7));
    assert_eq!(decoded.state.model, Some(LinkedModel::Preset("phi-4".to_owned())));
}

#[test]
fn bad_links_say_what_is_wrong() {
    let good = encode(&full(), PRESETS).expect("good");
    for (link, code, says) in [
        ("", "link_invalid", "no Preflight link"),
        ("https://host/", "link_invalid", "copy the whole address"),
        ("#model=phi-4", "link_invalid", "no Preflight link"),
        ("s=2.abc", "link_version", "version 2"),
        ("s=1.a b", "link_invalid", "damaged"),
        ("s=1.a", "link_invalid", "damaged"),
        ("s=1.", "link_invalid", "its end is missing"),
        (&good[..good.len() - 6], "link_invalid", "damaged"),
        (&format!("{good}AAAA"), "link_invalid", "bytes too many"),
        (&format!("s=1.{}", "A".repeat(MAX_LINK_BYTES)), "link_invalid", "8192"),
        (&packed("[1]"), "link_invalid", "`state` is [1]"),
        (&packed("{"), "link_invalid", "damaged (EOF while parsing"),
        (&packed(r#"{"page":1}"#), "link_invalid", "`page` is 1, expected a string"),
        (&packed(r#"{"page":"a","page":"b"}"#), "link_invalid", "`page` stands twice"),
        (&packed(&"[".repeat(10_000)), "link_invalid", "nested deeper than 24"),
        (&packed(&format!("[{}0]", "0,".repeat(10_000))), "link_invalid", "more than 8192 values"),
        (&packed(r#"{"options":{"dtype":"q9"}}"#), "link_invalid", "`options.dtype` is \"q9\""),
        (&packed(r#"{"options":{"context":-1}}"#), "link_invalid", "`options.context` is -1"),
        (&packed(r#"{"device":"phone"}"#), "link_invalid", "`device` is \"phone\""),
        (&packed(r#"{"device":{"bytes":"16G"}}"#), "link_invalid", "device.bytes"),
        (&packed(r#"{"model":{}}"#), "link_invalid", "one of `preset` and `config`"),
        (&packed(r#"{"model":{"preset":"gpt"}}"#), "unknown_preset", "phi-4-mini-instruct"),
        (&packed(r#"{"notes":"in /Users/ann/x"}"#), "link_private", "`notes` holds a path"),
    ] {
        let error = error(link);
        assert_eq!(error.code(), code, "{link}: {error}");
        let text = error.to_string();
        assert!(text.contains(says) && text.len() < 400 && !text.contains('\n'), "{link}: {text}");
    }
    assert_eq!(error(&packed(r#"{"options":{"batch":"1"}}"#)).path(), Some("options.batch"));
}

#[test]
fn a_preset_that_changed_is_noticed() {
    let mut config = object(serde_json::from_str(PRESETS[0].config).expect("JSON"));
    config.insert("num_hidden_layers".to_owned(), 8.into());
    let link = encode(&of_config(config), PRESETS).expect("near a preset");
    let text = PRESETS[0].config.replace("3072", "4096");
    let other = [Preset { config: Box::leak(text.into_boxed_str()), ..PRESETS[0] }];
    let error = decode(&link, &other).expect_err("another preset");
    assert_eq!(error, LinkError::PresetChanged { name: PRESETS[0].name.to_owned() });
    assert_eq!(error.code(), "link_version");
}

#[test]
fn secrets_and_paths_do_not_go_into_a_link() {
    let refused = |state: State, path: &str| {
        let error = encode(&state, PRESETS).expect_err(path);
        assert_eq!(error.path(), Some(path), "{error}");
        let (clean, gone) = state.without_private(PRESETS);
        assert_eq!(gone, [path]);
        assert!(encode(&clean, PRESETS).is_ok());
    };
    refused(State { load_config: object(json!({"cache_dir": "~/hub"})), ..full() }, "load_config.cache_dir");
    refused(State { load_config: object(json!({"token": "abc"})), ..full() }, "load_config.token");
    refused(State { notes: Some("key hf_aB3dE6gH9jK".to_owned()), ..full() }, "notes");
    refused(State { label: Some("/mnt/models".to_owned()), ..full() }, "label");
    refused(of_config(object(json!({"_name_or_path": "/data/phi", "a": 1}))), "model.config._name_or_path");
    let (same, gone) = full().without_private(PRESETS);
    assert_eq!((same, gone), (full(), Vec::new()));
}

#[test]
fn what_is_too_large_is_told() {
    let too_large = |config: Value| {
        let error = encode(&of_config(object(config)), PRESETS).expect_err("too large");
        assert_eq!(error.code(), "link_too_large", "{error}");
        error.to_string()
    };
    let noise: Vec<u64> = (0..3000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    assert!(too_large(json!({ "x": noise })).contains("characters, at most 8192"));
    assert!(too_large(json!({ "x": vec![0; 5000] })).contains("4096 values"));
    assert!(too_large(json!({ "x": "x".repeat(20_000) })).contains("16384 bytes"));
    assert!(too_large(json!({ "x": vec!["x".repeat(16_000); 5] })).contains("bytes of JSON, at most 65536"));
    let deep = (0..20).fold(json!(1), |inner, _| json!([inner]));
    assert!(too_large(json!({ "x": deep })).contains("deeper than 16"));
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map("\\PC{0,6}", inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn objects() -> impl Strategy<Value = Map<String, Value>> {
    btree_map("[a-z_/~]{0,9}", values(), 0..8).prop_map(|map| map.into_iter().collect())
}

/// A preset's config with changes in it and in what is nested in it, or any object.
fn configs() -> impl Strategy<Value = Map<String, Value>> {
    let changed = (select(PRESETS.to_vec()), objects(), vec(any::<prop::sample::Index>(), 0..6)).prop_map(
        |(preset, changes, gone)| {
            let mut config = object(serde_json::from_str(preset.config).expect("JSON"));
            for index in gone {
                if let Some(key) = config.keys().nth(index.index(config.len().max(1))).cloned() {
                    config.shift_remove(&key);
                }
            }
            if let Some(Value::Object(nested)) = config.get_mut("rope_scaling") {
                nested.extend(changes.clone());
            }
            config.extend(changes);
            config
        },
    );
    prop_oneof![objects(), changed]
}

fn models() -> impl Strategy<Value = LinkedModel> {
    prop_oneof![
        Just(LinkedModel::Own),
        select(PRESETS.to_vec()).prop_map(|preset| LinkedModel::Preset(preset.name.to_owned())),
        (configs(), prop::option::of(objects()))
            .prop_map(|(config, generation_config)| LinkedModel::Config { config, generation_config }),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    use prop::option::of;
    (
        of(select(Format::ALL.to_vec())),
        of(select(DType::KV_CACHE.to_vec())),
        of(any::<u64>()),
        of(any::<u64>()),
        of(select(vec![Attention::Eager, Attention::Fused])),
        of(select(vec![KvPolicy::Full, KvPolicy::Window, KvPolicy::PAGED, KvPolicy::Paged(32)])),
    )
        .prop_map(|(dtype, kv_dtype, context, batch, attn, kv_policy)| Options {
            dtype,
            kv_dtype,
            context,
            batch,
            attn,
            kv_policy,
            ..Options::default()
        })
}

fn states() -> impl Strategy<Value = State> {
    use prop::option::of;
    let device = prop_oneof![
        Just(Device::Browser),
        any::<u64>().prop_map(Device::Bytes),
        "\\PC{0,12}".prop_map(Device::Named),
    ];
    let text = || of("\\PC{0,30}");
    (text(), of(models()), objects(), of(device), options(), text(), text()).prop_map(
        |(page, model, load_config, device, options, label, notes)| State {
            page,
            model,
            load_config,
            device,
            options,
            label,
            notes,
        },
    )
}

/// What is read is written again, and then stays the same.
fn is_stable(link: &str) {
    let Ok(decoded) = decode(link, PRESETS) else { return };
    // A better packer than ours may have made a link that ours cannot.
    let Ok(again) = encode(&decoded.state, PRESETS) else { return };
    let second = decode(&again, PRESETS).expect("ours");
    assert_eq!((&second.state, second.unknown.len()), (&decoded.state, 0));
    assert_eq!(encode(&second.state, PRESETS), Ok(again));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_state_comes_back(state in states()) {
        match encode(&state, PRESETS) {
            Ok(link) => {
                let decoded = decode(&link, PRESETS).expect("ours");
                prop_assert_eq!((&decoded.state, decoded.unknown.len()), (&state, 0));
                prop_assert_eq!(encode(&decoded.state, PRESETS), Ok(link));
            }
            Err(LinkError::Private { .. }) => {
                let (clean, gone) = state.without_private(PRESETS);
                prop_assert!(!gone.is_empty() && encode(&clean, PRESETS).is_ok());
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn any_text_is_refused_or_stable(text in "(s=1\\.|#s=|1\\.)?\\PC{0,60}") {
        is_stable(&text);
    }

    #[test]
    fn any_packed_json_is_refused_or_stable(value in values(), key in select(vec!["page", "model", "options", "device", "load_config", "zzz"])) {
        let mut map = Map::new();
        map.insert(key.to_owned(), value);
        is_stable(&packed(&Value::Object(map).to_string()));
    }

    #[test]
    fn a_spoilt_link_is_refused_or_stable(at in any::<prop::sample::Index>(), letter in "[A-Za-z0-9_-]") {
        let mut link = encode(&full(), PRESETS).expect("good");
        let at = at.index(link.len());
        link.replace_range(at..=at, &letter);
        is_stable(&link);
    }
}
