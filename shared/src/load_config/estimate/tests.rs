//! One truth: the verdict, the placement and the terms say the same.

use serde_json::{Value, json};

use super::*;
use crate::estimate::fit::Verdict;
use crate::estimate::{Calibration, Size};

const MINI: &[u8] = br#"{"model_type":"phi3","dtype":"bfloat16"}"#;

fn sized(load_config: Value, options: &Options) -> Estimated {
    let decoder = Decoder::parse(MINI).expect("a config");
    let load_config = LoadConfig::from_map(load_config.as_object().expect("a map")).expect("sound");
    estimate(&decoder, None, options, &load_config).expect("sized")
}

fn plain() -> Estimated {
    sized(json!({}), &Options::default())
}

fn overhead(backend: Backend) -> u64 {
    backend.assumed_overhead(32_064).0
}

/// What must hold of every answer.
fn consistent(estimated: &Estimated) {
    let Estimated { report, placement, placement_error } = estimated;
    assert_eq!(report.total_bytes, report.terms.iter().map(|term| term.bytes).sum::<u64>());
    assert_eq!(report.total_bytes, report.fit.required_bytes);
    for (name, bytes) in [
        ("weights", report.weights_bytes),
        ("kv_cache", report.kv_cache_bytes),
        ("activations", report.activation_bytes),
        ("overhead", report.overhead_bytes),
    ] {
        let terms = report.terms.iter().filter(|term| term.name == name);
        assert_eq!(terms.map(|term| term.bytes).sum::<u64>(), bytes, "{name}");
    }
    let refused = report.fit.verdict == Some(Verdict::DoesNotFit);
    assert!(!refused || placement.is_none());
    assert!(placement_error.is_none() || refused);
    if let Some(placement) = placement {
        let used: u64 = placement.devices.iter().map(|used| used.total_bytes).sum();
        assert_eq!(used, report.total_bytes);
    }
}

#[test]
fn one_budget_is_held_as_one_device_is() {
    let total = plain().report.total_bytes;
    for (budget, verdict) in [
        (total - 1, Verdict::DoesNotFit),
        (total, Verdict::Tight),
        ((total * 6).div_ceil(5) - 1, Verdict::Tight),
        ((total * 6).div_ceil(5), Verdict::Fits),
    ] {
        let budgeted = sized(json!({ "max_memory": { "cpu": budget } }), &Options::default());
        consistent(&budgeted);
        let options = Options { device_memory: Some(Size(budget)), ..Options::default() };
        let free = sized(json!({}), &options).report.fit;
        let fit = budgeted.report.fit;
        assert_eq!(fit.verdict, Some(verdict), "{budget}");
        assert_eq!(fit.available_bytes, Some(budget));
        assert_eq!(
            (fit.verdict, fit.max_context, fit.max_batch, fit.max_contexts),
            (free.verdict, free.max_context, free.max_batch, free.max_contexts)
        );
    }
}

#[test]
fn budgets_and_what_is_free_bound_each_other() {
    let of = |json: Value, options: &Options| sized(json, options).report.fit.available_bytes;
    let card = Options { device: Some("4090".to_owned()), ..Options::default() };
    let usable = devices::find("4090").expect("a row").usable_bytes();
    assert_eq!(of(json!({ "max_memory": { "0": "12GiB" } }), &card), Some(12 << 30));
    assert_eq!(of(json!({ "max_memory": { "0": "80GiB" } }), &card), Some(usable));
    // The host is not the card.
    assert_eq!(
        of(json!({ "max_memory": { "0": "80GiB", "cpu": "64GiB" } }), &card),
        Some(usable + (64 << 30))
    );
    let host = Options { device_memory: Some(Size(4 << 30)), ..Options::default() };
    assert_eq!(of(json!({ "max_memory": { "cpu": "64GiB" } }), &host), Some(4 << 30));
    let bound = sized(json!({ "max_memory": { "0": "80GiB" } }), &card).report;
    let assumed = bound.assumptions.iter().find(|assumed| assumed.name == "max_memory").expect("said");
    assert!(assumed.value.contains("no more is free of the 80.00 GiB allowed"), "{}", assumed.value);
}

/// No device is said to hold more at the worst moment of a load than lies on it and is on its way there.
#[test]
fn peaks_of_a_load_are_those_of_its_placement() {
    let [streamed, whole] = plain().report.load_peaks.try_into().expect("both ways");
    let weights = plain().report.weights_bytes;
    let budgets = json!({ "max_memory": { "0": "4GiB", "1": "4GiB", "cpu": "10GiB" } });
    let estimated = sized(budgets, &Options { backend: Some(Backend::Cuda), ..Options::default() });
    let placement = estimated.placement.as_ref().expect("it fits");
    let on = |index: usize| placement.devices[index].weights_bytes;
    assert!(on(0) > 0 && on(1) > 0 && on(2) > 0, "{placement:?}");
    let [there, there_whole] = estimated.report.load_peaks.clone().try_into().expect("both ways");
    assert_eq!(there.gpu_bytes, streamed.gpu_bytes - weights + on(0).max(on(1)));
    assert!(there.gpu_bytes < 4 << 30, "{there:?}");
    assert_eq!(there.host_bytes_beside_gpu, streamed.host_bytes_beside_gpu + on(2));
    assert_eq!(there_whole.host_bytes_beside_gpu, whole.host_bytes_beside_gpu + on(2));
}

/// What a model would take that has no place is more than there is, whatever the devices' runtimes take.
#[test]
fn what_does_not_fit_needs_more_than_there_is() {
    for budgets in [
        json!({ "0": "3GiB", "cpu": "5GiB" }),
        json!({ "0": "2GiB", "1": "2GiB", "2": "2GiB", "3": "3GiB" }),
        json!({ "0": "4600MiB", "1": "4600MiB" }),
    ] {
        let estimated = sized(json!({ "max_memory": budgets }), &Options::default());
        consistent(&estimated);
        let fit = &estimated.report.fit;
        assert_eq!(fit.verdict, Some(Verdict::DoesNotFit), "{fit:?}");
        assert!(Some(fit.required_bytes) > fit.available_bytes, "{}", fit.reason);
    }
    // Each of twenty has room for one layer and most of another: more in all than is needed.
    let budgets: serde_json::Map<String, Value> = (0..20).map(|i| (i.to_string(), json!("1330MB"))).collect();
    let fit = sized(json!({ "max_memory": budgets }), &Options::default()).report.fit;
    assert_eq!(fit.verdict, Some(Verdict::DoesNotFit), "{fit:?}");
    assert!(fit.required_bytes < 20 * 1_330_000_000 && fit.reason.contains("in pieces"), "{}", fit.reason);
    assert!(Some(fit.required_bytes) > fit.available_bytes, "{fit:?}");
}

#[test]
fn overrides_of_the_config_are_named_among_what_is_assumed() {
    let report = sized(json!({ "sliding_window": 1000, "use_cache": false }), &Options::default()).report;
    let said = |name: &str| report.assumptions.iter().find(|it| it.name == name).map(|it| it.value.as_str());
    assert_eq!((said("sliding_window"), said("use_cache")), (Some("1000"), Some("false")));
}

#[test]
fn two_devices_have_their_own_terms_and_runtimes() {
    let estimated = sized(json!({ "max_memory": { "0": "6GiB", "cpu": "32GiB" } }), &Options::default());
    consistent(&estimated);
    let report = &estimated.report;
    let bytes = |device: &str, name: &str| {
        report.terms.iter().find(|term| term.device == device && term.name == name).expect(name).bytes
    };
    assert_eq!(bytes("cuda:0", "overhead"), overhead(Backend::Cuda));
    assert_eq!(bytes("cpu", "overhead"), overhead(Backend::Cpu));
    assert_eq!(bytes("cuda:0", "weights") + bytes("cpu", "weights"), plain().report.weights_bytes);
    // The card is full to the last layer, so no sixth of it is free; placed with less on it, all of it fits.
    assert_eq!(report.fit.verdict, Some(Verdict::Fits));
    assert!(
        report.fit.reason.contains("on cuda:0") && report.fit.reason.contains("on cpu"),
        "{}",
        report.fit.reason
    );
    assert_eq!(report.fit.warnings, Vec::<String>::new(), "NVIDIA's GPUs take the CPU beside them");
    for others in [json!({ "wgpu:0": "6GiB", "cpu": "32GiB" }), json!({ "0": "6GiB", "cpu:1": "5GiB" })] {
        let report = sized(json!({ "max_memory": others }), &Options::default()).report;
        let warnings = &report.fit.warnings;
        assert!(warnings.iter().any(|warning| warning.contains("not run by this build")), "{warnings:?}");
    }
    let shares = sized(json!({ "max_memory": { "cpu:1": "6GiB", "cpu": "32GiB" } }), &Options::default());
    consistent(&shares);
    assert_eq!(
        (shares.placement.map(|placed| placed.offloaded.is_empty()), shares.report.fit.warnings),
        (Some(false), vec![])
    );
    let amd = Options { device: Some("MI300X".to_owned()), ..Options::default() };
    let amd = sized(json!({ "max_memory": { "0": "60GiB" } }), &amd);
    assert!(amd.report.terms.iter().any(|term| term.formula.contains("ROCm")), "{:?}", amd.report.terms);
    let calibration =
        Calibration { backend: Backend::Cpu, correction_bytes: -7, samples: 3, residual_bytes: 0 };
    let measured = Options { calibration: vec![calibration], ..Options::default() };
    let measured = sized(json!({ "max_memory": { "0": "6GiB", "cpu": "32GiB" } }), &measured);
    let overheads: Vec<u64> =
        measured.report.terms.iter().filter(|term| term.name == "overhead").map(|term| term.bytes).collect();
    assert_eq!(
        overheads,
        [overhead(Backend::Cuda), overhead(Backend::Cpu) - 7],
        "measured on the CPU, which is no GPU's"
    );
}

#[test]
fn the_longest_context_is_the_last_that_can_be_placed() {
    let at = |context| {
        let options = Options { context: Some(context), ..Options::default() };
        sized(json!({ "max_memory": { "0": "5GiB", "cpu": "4GiB" } }), &options)
    };
    let longest = at(128).report.fit.max_context.expect("budgets");
    assert!((1..4096).contains(&longest), "{longest}");
    assert!(at(longest).placement.is_some());
    assert!(at(longest + 1).placement_error.is_some());
    consistent(&at(longest));
    consistent(&at(longest + 1));
}

#[test]
fn what_does_not_fit_is_refused_once_with_changes_that_help() {
    let estimated = sized(json!({ "max_memory": { "0": "6GiB" } }), &Options::default());
    consistent(&estimated);
    let fit = &estimated.report.fit;
    assert_eq!(fit.verdict, Some(Verdict::DoesNotFit));
    let error = estimated.placement_error.as_ref().expect("no placement").to_string();
    assert!(fit.reason.ends_with(&error), "{}", fit.reason);
    let changes: Vec<&str> = fit.suggestions.iter().map(|suggestion| suggestion.change.as_str()).collect();
    assert!(changes.iter().any(|change| change.starts_with("max_memory.cpu=")), "{changes:?}");
    assert!(changes.iter().any(|change| change.starts_with("max_memory.0=")), "{changes:?}");
    assert!(!changes.iter().any(|change| change.starts_with("offload") || change.starts_with("devices")));
    for suggestion in &fit.suggestions {
        let (key, value) = suggestion.change.split_once('=').expect("key=value");
        let value: Value = value.parse::<u64>().map_or_else(|_| value.into(), Into::into);
        let mut budgets = json!({ "0": "6GiB" });
        let mut options = json!({});
        match key.split_once('.') {
            Some((_, device)) => budgets[device] = value,
            None => options[key] = value,
        }
        let options: Options = serde_json::from_value(options).expect("an option");
        let changed = sized(json!({ "max_memory": budgets }), &options);
        consistent(&changed);
        assert_eq!(changed.report.fit.verdict, Some(suggestion.verdict), "{}", suggestion.change);
        assert_eq!(changed.report.total_bytes, suggestion.total_bytes, "{}", suggestion.change);
    }
}

#[test]
fn a_device_map_says_where_the_model_lies() {
    let card = Options { device: Some("RTX 4090".to_owned()), ..Options::default() };
    let cpu = sized(json!({ "device_map": "cpu" }), &card);
    consistent(&cpu);
    assert_eq!((cpu.report.fit.verdict, cpu.report.fit.available_bytes), (None, None));
    assert!(cpu.report.fit.reason.contains("leaves RTX 4090 empty"), "{}", cpu.report.fit.reason);
    assert_eq!(cpu.report.overhead_bytes, overhead(Backend::Cpu));
    let host = Options { device_memory: Some(Size(64 << 30)), ..Options::default() };
    let cpu = sized(json!({ "device_map": { "": "cpu" } }), &host);
    assert_eq!(
        (cpu.report.fit.verdict, cpu.report.overhead_bytes),
        (Some(Verdict::Fits), overhead(Backend::Cpu))
    );
    let gpu = sized(json!({ "device_map": "cuda:0" }), &host);
    assert_eq!(gpu.report.overhead_bytes, overhead(Backend::Cuda));
    // Over several without budgets: what each would need, and no verdict.
    let map = json!({ "model.embed_tokens": 0, "model.layers": "cpu", "model.norm": 0, "lm_head": 0 });
    let spread = sized(json!({ "device_map": map }), &host);
    consistent(&spread);
    assert_eq!(spread.report.fit.verdict, None);
    let placement = spread.placement.as_ref().expect("placed");
    assert!(placement.devices.iter().all(|used| used.free_bytes == 0 && used.total_bytes > 0));
    assert!(spread.report.fit.reason.contains("give each a budget in max_memory"));
    // Whether a map leads to one device or to several, it has to go with the model.
    let decoder = Decoder::parse(MINI).expect("a config");
    let refused = |map: Value| {
        let config = json!({ "device_map": map });
        let config = LoadConfig::from_map(config.as_object().expect("a map")).expect("sound");
        match estimate(&decoder, None, &host, &config).expect_err("no such map") {
            EstimateError::Placement(error) => error.code(),
            EstimateError::Options(error) => panic!("{error}"),
        }
    };
    assert_eq!(refused(json!({ "": 0, "model.nowhere": "cpu" })), "unknown_module");
    assert_eq!(refused(json!({ "model.nowhere": 0 })), "unknown_module");
    assert_eq!(refused(json!({ "model.layers": 0 })), "missing_modules");
    let whole = json!({ "model.embed_tokens": 0, "model.layers": 0, "model.norm": 0, "lm_head": 0 });
    assert_eq!(sized(json!({ "device_map": whole }), &host).report.fit.verdict, Some(Verdict::Fits));
    // By whatever names: it is that GPU's runtime and workspace.
    for device in ["cuda:0", "wgpu:0", "cpu"] {
        let by_name = sized(json!({ "device_map": device }), &host).report.total_bytes;
        for map in [
            json!({ "": device }),
            // Named, and left empty.
            json!({ "": if device == "cpu" { "cuda:0" } else { "cpu" }, "model": device, "lm_head": device }),
            json!({
                "": if device == "cpu" { "cuda:0" } else { "cpu" }, "model.embed_tokens": device,
                "model.layers": device, "model.norm": device, "lm_head": device,
            }),
            json!({ "model": device, "lm_head": device }),
            json!({ "model.embed_tokens": device, "model.layers": device, "model.norm": device, "lm_head": device }),
        ] {
            let by_module = sized(json!({ "device_map": map }), &host).report;
            assert_eq!(by_module.total_bytes, by_name, "{device}: {map}");
            assert_eq!(by_module.fit.verdict, Some(Verdict::Fits), "{device}: {map}");
        }
    }
}

#[test]
fn what_this_build_does_not_load_is_said_beside_a_verdict() {
    let host = Options { device_memory: Some(Size(64 << 30)), ..Options::default() };
    let refused = sized(json!({ "legacy": true }), &host);
    assert_eq!(refused.report.fit.verdict, Some(Verdict::Fits));
    assert!(refused.report.fit.warnings[0].contains("legacy"), "{:?}", refused.report.fit.warnings);
}

/// Packed numbers are sized, and no dtype makes weights of them here.
#[test]
fn weights_that_a_load_refuses_are_said_to_be() {
    for (quantization, name) in [
        (json!({ "quant_method": "awq", "bits": 4, "group_size": 128 }), "awq"),
        (json!({ "quant_method": "bitsandbytes", "load_in_4bit": true }), "bitsandbytes"),
    ] {
        let mut config: Value = serde_json::from_slice(MINI).expect("JSON");
        config["quantization_config"] = quantization;
        let decoder = Decoder::parse(config.to_string().as_bytes()).expect("known");
        let none = LoadConfig::default();
        let report = estimate(&decoder, None, &Options::default(), &none).expect("sized").report;
        let warned = report.fit.warnings.concat();
        assert!(
            warned.contains(&format!("weights in {name}")) && warned.contains("a load refuses them"),
            "{warned}"
        );
        assert!(!warned.contains("widens"), "{warned}");
    }
}

/// What a change to several devices is said to take is what a load so placed is said to take.
#[test]
fn changes_to_several_devices_are_counted_as_their_placement_is() {
    let options = |memory| Options {
        backend: Some(Backend::Cuda),
        device_memory: Some(Size(memory)),
        ..Options::default()
    };
    let fit = sized(json!({}), &options(7_500_000_000)).report.fit;
    let of = |key: &str| {
        let found = fit.suggestions.iter().find_map(|it| Some((it, it.change.strip_prefix(key)?)));
        found.unwrap_or_else(|| panic!("{key}: {fit:?}"))
    };
    let placed = |map: serde_json::Map<String, Value>| {
        let budgets = json!({ "0": "80GB", "1": "80GB", "cpu": "80GB" });
        let map = json!({ "device_map": map, "max_memory": budgets });
        let placement = sized(map, &options(1 << 40)).placement.expect("placed");
        placement.devices.iter().map(|used| used.total_bytes).filter(|bytes| *bytes > 0).collect::<Vec<u64>>()
    };
    let split = |first: u32, rest: &str| {
        let layers = (first..32).map(|layer| (format!("model.layers.{layer}"), json!(rest)));
        [(String::new(), json!(0))].into_iter().chain(layers).collect::<serde_json::Map<_, _>>()
    };
    let (offload, count) = of("offload_layers=");
    let there = placed(split(32 - count.parse::<u32>().expect("a number"), "cpu"));
    assert_eq!(Some(offload.total_bytes), there.iter().copied().reduce(|a, b| a + b), "{there:?}");
    assert_eq!(offload.device_bytes, Some(there[0]), "{there:?}");
    let (second, _) = of("devices=");
    let with_head = |first| {
        let mut map = split(first, "1");
        map.extend(["model.norm", "lm_head"].map(|name| (name.to_owned(), json!(1))));
        placed(map)
    };
    let best = (1..32).map(with_head).min_by_key(|there| there.iter().copied().max()).expect("some");
    assert_eq!(second.device_bytes, best.iter().copied().max(), "{best:?}");
    assert_eq!(second.total_bytes, best.iter().sum::<u64>(), "{best:?}");
}
