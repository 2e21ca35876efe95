//! Laws of the load config, on made-up objects: no panic, one spelling, differences that add up.

#![cfg(not(target_arch = "wasm32"))]

use phi3::load_config::{KNOBS, Layer, LoadConfig, Origin, diff, one_change, resolve};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Any JSON, five deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        likely_value(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(likely_name(), inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Names that stand in load configs at some depth, and others.
fn likely_name() -> impl Strategy<Value = String> {
    let names = [
        "",
        "0",
        "7",
        "cuda:0",
        "cpu",
        "disk",
        "wgpu:1",
        "model.layers.3",
        "lm_head",
        "type",
        "rope_type",
        "factor",
        "short_factor",
        "load_in_8bit",
        "_load_in_4bit",
        "quant_method",
        "bnb_4bit_quant_type",
    ];
    prop_oneof![select(names.to_vec()).prop_map(str::to_owned), ".{0,8}"]
}

/// Values that some knob takes.
fn likely_value() -> impl Strategy<Value = Value> {
    select(vec![
        json!("float16"),
        json!("torch.bfloat16"),
        json!("fp32"),
        json!("auto"),
        json!("sequential"),
        json!("cuda:1"),
        json!("12GiB"),
        json!("0.5 gb"),
        json!("12G"),
        json!(12_884_901_888_u64),
        json!(2.0),
        json!(2047),
        json!(true),
        json!(false),
        json!("linear"),
        json!("su"),
        json!("q8_0"),
        json!("4bit"),
        json!("none"),
        json!("sdpa"),
        json!("bitsandbytes"),
        json!([1.0, 2]),
        json!({"0": "12GiB", "cpu": "32GiB"}),
        json!({"": "cuda:0"}),
        json!({"type": "linear", "factor": 2.0}),
        json!({"load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}),
        json!({"model": 0, "lm_head": "cpu"}),
    ])
}

/// An object whose keys are mostly knobs.
fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let names: Vec<&str> =
        KNOBS.iter().flat_map(|knob| knob.names()).chain(["tokenizer", "torch_dtpye"]).collect();
    btree_map(select(names), value, 0..7)
        .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A valid load config: what is left of an object when every key that is refused is taken out.
fn load_config() -> impl Strategy<Value = LoadConfig> {
    object(likely_value()).prop_map(|map| {
        let mut kept = Map::new();
        for (key, value) in map {
            let mut tried = kept.clone();
            tried.insert(key, value);
            if LoadConfig::from_map(&tried).is_ok() {
                kept = tried;
            }
        }
        LoadConfig::from_map(&kept).expect("only what is accepted was kept")
    })
}

proptest! {
    #[test]
    fn parsing_never_panics_and_every_error_names_a_path(map in object(any_json())) {
        match LoadConfig::from_map_all(&map) {
            Ok(config) => {
                prop_assert_eq!(LoadConfig::from_map(&map), Ok(config.clone()));
                let _known_or_not = config.refusals();
            }
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in &errors {
                    prop_assert!(error.path().is_some(), "{error}");
                    prop_assert!(error.to_string().chars().count() < 1000, "{error}");
                }
                prop_assert_eq!(LoadConfig::from_map(&map), Err(errors[0].clone()));
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_understood(bytes in vec(any::<u8>(), 0..200)) {
        let _either = LoadConfig::parse(&bytes);
    }

    #[test]
    fn one_spelling_is_a_fixed_point(config in load_config()) {
        let once = config.to_map();
        let again = LoadConfig::from_map(&once);
        prop_assert_eq!(again.clone(), Ok(config));
        prop_assert_eq!(again.map(|config| config.to_map()), Ok(once));
    }

    #[test]
    fn differences_add_up(a in load_config(), b in load_config()) {
        prop_assert_eq!(diff(&a, &a), vec![]);
        let (there, back) = (diff(&a, &b), diff(&b, &a));
        prop_assert_eq!(there.len(), back.len());
        for (change, reverse) in there.iter().zip(&back) {
            prop_assert_eq!((&change.path, &change.from, &change.to), (&reverse.path, &reverse.to, &reverse.from));
            prop_assert_ne!(&change.from, &change.to);
        }
        prop_assert_eq!(one_change(there.clone(), false).is_ok(), there.len() <= 1);
        prop_assert_eq!(one_change(there.clone(), true), Ok(there));
    }

    #[test]
    fn layers_end_in_what_the_highest_says(low in load_config(), high in load_config()) {
        let layer = |origin, config: &LoadConfig| Layer { origin, overrides: config.to_map() };
        let alone = resolve(&[layer(Origin::Model, &low)]).expect("valid");
        prop_assert_eq!(&alone.config, &low);
        let both = resolve(&[layer(Origin::Attempt, &high), layer(Origin::Model, &low)]).expect("valid");
        let overrides = high.to_map();
        for (key, value) in &overrides {
            prop_assert_eq!(both.overrides.get(key), Some(value));
        }
        for leaf in &both.values {
            let key = leaf.path.split('.').next().expect("a word");
            // The long form of quantization states the short one too.
            let stated = overrides.contains_key(key);
            prop_assert_eq!(leaf.origin == Origin::Attempt, stated, "{:?}", leaf);
        }
        let twice = resolve(&[layer(Origin::Model, &low), layer(Origin::Attempt, &low)]).expect("valid");
        prop_assert_eq!(diff(&twice.config, &low), vec![]);
    }

    #[test]
    fn one_knob_set_is_what_it_says(config in load_config(), map in object(likely_value())) {
        for (key, value) in &map {
            if let Ok(changed) = config.with(key, value) {
                prop_assert_eq!(changed.with(key, value), Ok(changed.clone()));
                prop_assert!(diff(&config, &changed).iter().all(|change| !change.path.is_empty()));
            }
        }
    }
}
