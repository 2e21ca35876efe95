//! Our own rules by hand.

use serde_json::json;

use super::*;
use crate::decoder::Decoder;
use crate::dtype::DType;
use crate::estimate::{self, Backend, Format, Options, Resolved, StoredTensors};
use crate::weights::StoredTensor;

const MINI: &[u8] = br#"{"model_type":"phi3","dtype":"bfloat16"}"#;
const TIED: &[u8] = br#"{"model_type":"phi3","dtype":"bfloat16","hidden_size":3072,"intermediate_size":8192,
    "num_hidden_layers":32,"num_attention_heads":24,"num_key_value_heads":8,"vocab_size":200064,
    "tie_word_embeddings":true,"partial_rotary_factor":0.75}"#;

fn model(json: &[u8], context: u64) -> Workload {
    let decoder = Decoder::parse(json).expect("a config");
    let options = Options { context: Some(context), ..Options::default() };
    workload(&decoder, None, &Resolved::new(&decoder, None, &options).expect("options"))
}

fn devices(list: &[(&str, u64)]) -> Devices {
    let list = list.iter().map(|(name, bytes)| Device::new(name.parse().expect("a name"), *bytes)).collect();
    Devices::stated(list).expect("devices")
}

fn map(json: serde_json::Value) -> Strategy {
    Strategy::parse(&json).expect("a device map")
}

fn ours(workload: &Workload, devices: &Devices, strategy: &Strategy) -> Result<Placement, PlacementError> {
    plan(workload, devices, strategy, Rules::Preflight)
}

#[test]
fn one_device_holds_what_the_estimate_says() {
    for json in [MINI, TIED] {
        let decoder = Decoder::parse(json).expect("a config");
        let options = Options { backend: Some(Backend::Cuda), context: Some(3000), ..Options::default() };
        let report = estimate::estimate(&decoder, None, &options).expect("an estimate");
        let placed =
            ours(&model(json, 3000), &devices(&[("cuda:0", 1 << 40)]), &Strategy::Auto).expect("room");
        let [device] = &placed.devices[..] else { panic!("one device") };
        assert_eq!(
            (device.weights_bytes, device.kv_cache_bytes, device.activation_bytes, device.overhead_bytes),
            (report.weights_bytes, report.kv_cache_bytes, report.activation_bytes, report.overhead_bytes)
        );
        assert_eq!(device.total_bytes, report.total_bytes);
        assert_eq!(json!(placed.device_map), json!({"": 0}));
        assert!(placed.offloaded.is_empty());
    }
}

#[test]
fn every_family_adds_up_to_its_estimate() {
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../../tests/goldens/families.json")).expect("goldens are JSON");
    for case in cases {
        let decoder = Decoder::parse(case["config"].to_string().as_bytes()).expect("a known family");
        for dtype in [None, Some(Format::Q4KM)] {
            let options = Options { dtype, context: Some(64), ..Options::default() };
            let resolved = Resolved::new(&decoder, None, &options).expect("options");
            let report = estimate::memory(&decoder, None, &resolved);
            let one = Device::new(DeviceId::Cpu, u64::MAX).with_overhead(resolved.overhead_bytes());
            let one = Devices::stated(vec![one]).expect("one");
            let placed =
                ours(&workload(&decoder, None, &resolved), &one, &Strategy::Auto).expect("room for all");
            let device = &placed.devices[0];
            assert_eq!(
                (device.weights_bytes, device.kv_cache_bytes, device.activation_bytes, device.total_bytes),
                (report.weights_bytes, report.kv_cache_bytes, report.activation_bytes, report.total_bytes),
                "{case}"
            );
            // Embedding, norm, frequencies, head; and what Gemma 3n has beside its layers.
            let beside = decoder.augmented.map_or(4, |augmented| if augmented.streams > 1 { 9 } else { 7 });
            assert_eq!(device.modules, decoder.layers.len() + beside, "{case}");
        }
    }
}

#[test]
fn a_checkpoint_counts_as_its_headers_say() {
    let decoder = Decoder::parse(TIED).expect("a config");
    // Norms in f32, the rest in bf16.
    let stored: StoredTensors = crate::tensors::list(&decoder)
        .map(|tensor| {
            let dtype = if tensor.shape.len() == 1 { DType::F32 } else { DType::Bf16 };
            let len = dtype.tensor_bytes(&tensor.shape);
            (tensor.name, StoredTensor { dtype, shape: tensor.shape, file: 0, offset: 0, len })
        })
        .collect();
    for dtype in [None, Some(DType::Q4K.into())] {
        let resolved = Resolved::new(&decoder, Some(&stored), &Options { dtype, ..Options::default() })
            .expect("options");
        let sum: u64 =
            workload(&decoder, Some(&stored), &resolved).modules.iter().map(|m| m.weight_bytes).sum();
        assert_eq!(sum, estimate::resolved_weights_bytes(&decoder, Some(&stored), &resolved));
    }
}

#[test]
fn budgets_are_met_to_the_byte() {
    let workload = model(MINI, 4096);
    let roomy = ours(&workload, &devices(&[("cuda:0", 1 << 40)]), &Strategy::Auto).expect("room");
    let need = roomy.devices[0].total_bytes;
    let exact = [("cuda:0", need)];
    assert_eq!(
        ours(&workload, &devices(&exact), &Strategy::Sequential).expect("to the byte").devices[0].free_bytes,
        0
    );
    let short = [("cuda:0", need - 1)];
    let error = ours(&workload, &devices(&short), &Strategy::Sequential).expect_err("a byte short");
    assert!(
        matches!(&error, PlacementError::DoesNotFit { module, further_modules: 0, .. } if module == "lm_head"),
        "{error}"
    );
    let error = ours(&workload, &devices(&short), &map(json!("cuda"))).expect_err("a byte short");
    assert_eq!(
        error,
        PlacementError::OverBudget {
            devices: vec![Over {
                device: "cuda:0".parse().expect("a name"),
                needed_bytes: need,
                budget_bytes: need - 1
            }]
        }
    );
}

#[test]
fn what_does_not_fit_on_the_gpu_goes_to_the_cpu_with_its_cache() {
    let workload = model(MINI, 4096);
    let placed =
        ours(&workload, &devices(&[("cpu", 32 << 30), ("cuda:0", 5 << 30)]), &Strategy::Auto).expect("room");
    let [gpu, cpu] = &placed.devices[..] else { panic!("two devices") };
    let layers_on_gpu = (gpu.kv_cache_bytes / (1_610_612_736 / 32)) as usize;
    assert_eq!(gpu.kv_cache_bytes + cpu.kv_cache_bytes, 1_610_612_736);
    assert_eq!(
        placed.offloaded.len(),
        32 - layers_on_gpu + 3,
        "the norm, the frequencies and the head as well"
    );
    let first = &placed.modules[1 + layers_on_gpu];
    assert_eq!((first.name.as_str(), &first.device), (placed.offloaded[0].as_str(), &DeviceId::Cpu));
    assert!(
        first.reason.contains("cuda:0 has") && first.reason.contains("48.00 MiB of KV"),
        "{}",
        first.reason
    );
    println!("{first}");
    assert!(gpu.free_bytes < (216 + 48) << 20);
    // Each device computes in workspaces of its own.
    assert!(gpu.activation_bytes > 0 && cpu.activation_bytes > 0);
    // The runtime of a GPU is not that of the host.
    let assumed = |backend: Backend| backend.assumed_overhead(0).0;
    assert_eq!((gpu.overhead_bytes, cpu.overhead_bytes), (assumed(Backend::Cuda), assumed(Backend::Cpu)));
    assert!(gpu.overhead_bytes > cpu.overhead_bytes);
}

#[test]
fn accelerate_keeps_room_for_the_largest_layer_and_says_so() {
    let workload = model(MINI, 4096);
    let devices = devices(&[("cuda:0", 5 << 30), ("cpu", 32 << 30)]);
    let placed = plan(&workload, &devices, &Strategy::Auto, Rules::Accelerate).expect("room");
    let first = placed.modules.iter().find(|module| module.device == DeviceId::Cpu).expect("offloaded");
    assert!(first.reason.ends_with("216.01 MiB are kept for the largest layer"), "{}", first.reason);
    // Its map leaves no room for the cache of twenty layers: the plan shows by how much.
    let gpu = &placed.devices[0];
    assert_eq!(gpu.over_bytes, gpu.total_bytes - (5 << 30));
    assert!(
        gpu.over_bytes > 0 && placed.notes[0].contains("cuda:0 is over its budget"),
        "{:?}",
        placed.notes
    );
}

#[test]
fn auto_prefers_one_gpu_and_balanced_shares() {
    let workload = model(MINI, 4096);
    let two = devices(&[("cuda:0", 6 << 30), ("cuda:1", 24 << 30), ("cpu", 64 << 30)]);
    assert_eq!(json!(ours(&workload, &two, &Strategy::Auto).expect("room").device_map), json!({"": 1}));
    let alike = devices(&[("cuda:0", 24 << 30), ("cuda:1", 24 << 30), ("cpu", 64 << 30)]);
    let balanced = ours(&workload, &alike, &Strategy::Balanced).expect("room");
    let [first, second, cpu] = &balanced.devices[..] else { panic!("three devices") };
    assert!(first.total_bytes.abs_diff(second.total_bytes) <= 2 * ((216 << 20) + (48 << 20)));
    assert_eq!((cpu.modules, cpu.total_bytes), (0, 0));
    let low = ours(&workload, &alike, &Strategy::BalancedLow0).expect("room");
    assert_eq!(low.devices[0].modules, 0, "the other holds everything");
}

#[test]
fn explicit_maps_are_read_as_hugging_face_reads_them() {
    let workload = model(TIED, 4096);
    let devices = devices(&[("cuda:0", 24 << 30), ("cuda:1", 24 << 30), ("cpu", 64 << 30)]);
    let placed = ours(
        &workload,
        &devices,
        &map(json!({"model": 0, "model.layers.3": "cuda:1", "model.layers.30": "cpu", "lm_head": "cuda"})),
    )
    .expect("a sound map");
    let on =
        |name: &str| placed.modules.iter().find(|module| module.name == name).expect(name).device.to_string();
    assert_eq!(on("model.layers.3"), "cuda:1");
    assert_eq!(on("model.layers.30"), "cpu");
    assert_eq!(on("model.layers.31"), "cuda:0");
    assert_eq!(placed.offloaded, ["model.layers.30"]);
    assert_eq!(placed.device_map["model.layers.3"], 1);
    // A tied head and the frequencies need no line of their own.
    let sparse = json!({"model.embed_tokens": 1, "model.layers": 1, "model.norm": 1});
    assert_eq!(json!(ours(&workload, &devices, &map(sparse)).expect("covered").device_map), json!({"": 1}));
}

#[test]
fn explicit_maps_are_refused_with_the_reason() {
    let workload = model(TIED, 4096);
    let two = devices(&[("cuda:0", 24 << 30), ("cpu", 64 << 30)]);
    let error = |json| ours(&workload, &two, &map(json)).expect_err("refused");
    let missing = error(json!({"model.embed_tokens": 0, "model.layers": 0}));
    assert_eq!(missing, PlacementError::MissingModules { modules: vec!["model.norm".to_owned()] });
    let unknown = error(json!({"": 0, "model.layer.3": "cpu"}));
    assert!(
        matches!(&unknown, PlacementError::UnknownModule { nearest, .. } if nearest == "model.layers.3"),
        "{unknown}"
    );
    let inside = error(json!({"": 0, "model.layers.3.mlp": "cpu"}));
    assert!(
        matches!(&inside, PlacementError::SplitsModule { module, .. } if module == "model.layers.3"),
        "{inside}"
    );
    let apart = error(json!({"model": 0, "lm_head": "cpu"}));
    assert!(matches!(apart, PlacementError::SplitsTied { .. }), "{apart}");
    let elsewhere = error(json!({"": 7}));
    assert_eq!(elsewhere.to_string(), "cuda:7 is not among the devices with a budget: cuda:0, cpu");
    // `model.layers.1` is no prefix of `model.layers.12`.
    let missing = error(json!({"model.embed_tokens": 0, "model.norm": 0, "model.layers.1": 0}));
    assert!(matches!(missing, PlacementError::MissingModules { modules } if modules.len() == 31));
    let disk = Strategy::parse(&json!({"": "disk"})).expect_err("refused");
    assert_eq!(disk.code(), "disk_offload");
    for bad in [
        json!("ballanced"),
        json!(-1),
        json!(1.5),
        json!(null),
        json!([0]),
        json!({"": "gpu"}),
        json!({"": {}}),
    ] {
        assert_eq!(Strategy::parse(&bad).expect_err("refused").code(), "device_map_invalid", "{bad}");
    }
}

#[test]
fn over_budget_names_every_device() {
    let workload = model(MINI, 4096);
    let small = devices(&[("cuda:0", 2 << 30), ("cpu", 2 << 30)]);
    let half = json!({"model.embed_tokens": 0, "model.layers": "cpu", "model.norm": 0, "lm_head": 0});
    let error = ours(&workload, &small, &map(half)).expect_err("too much");
    let PlacementError::OverBudget { devices } = &error else { panic!("{error}") };
    assert_eq!(devices.len(), 1, "the GPU holds embedding and head: {error}");
    assert!(error.to_string().starts_with("over budget: cpu would hold 8."), "{error}");
    // Hugging Face does not look at budgets where a map is given.
    let half = json!({"": "cpu"});
    assert!(
        plan(&workload, &small, &map(half), Rules::Transformers).is_ok_and(|p| p.devices[1].over_bytes > 0)
    );
}

#[test]
fn max_memory_is_read_in_its_spellings() {
    let free = [Device::new(DeviceId::Cpu, 8 << 30)];
    let read =
        Devices::from_max_memory(&json!({"cpu": "32GiB", "1": 5, "cuda:0": "12GB"}), &free).expect("sound");
    let list: Vec<_> = read.list().iter().map(|d| (d.id.to_string(), d.budget_bytes)).collect();
    assert_eq!(
        list,
        [("cuda:0".to_owned(), 12_000_000_000), ("cuda:1".to_owned(), 5), ("cpu".to_owned(), 8 << 30)]
    );
    for (bad, code) in [
        (json!([]), "max_memory_invalid"),
        (json!({}), "no_device"),
        (json!({"0": "12G"}), "max_memory_invalid"),
        (json!({"0": -1}), "max_memory_invalid"),
        (json!({"disk": "1GiB"}), "disk_offload"),
        (json!({"gpu": "1GiB"}), "device_map_invalid"),
        (json!({"0": 1, "cuda:0": 1}), "duplicate_device"),
    ] {
        assert_eq!(Devices::from_max_memory(&bad, &[]).expect_err("refused").code(), code, "{bad}");
    }
}
