//! The engine against itself: however a sequence is cut, batched, cached or loaded, its logits are those of one
//! pass. What one pass must give is held against Hugging Face in the parity tests.

use std::collections::BTreeMap;

use pollster::block_on;
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::*;
use crate::config::ModelConfig;
use crate::engine::{Diagnostics, EngineError, HostPart as _, HostRows, Logprobs, Memory};
use crate::tensors;
use crate::weights::BytesSource;

/// By the largest logit. Sums run in another order; f32 leaves 1e-6 of that after two layers.
const BOUND: f32 = 2e-5;

fn config(changes: &Value) -> ModelConfig {
    let mut config = json!({
        "model_type": "phi3", "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 90, "max_position_embeddings": 4096,
    });
    for (key, value) in changes.as_object().expect("an object") {
        config[key] = value.clone();
    }
    ModelConfig::parse(config.to_string().as_bytes()).expect("a good config")
}

/// Crosses the window at 23 and the short factors at 40.
fn everything() -> ModelConfig {
    config(&json!({
        "sliding_window": 23, "original_max_position_embeddings": 40, "tie_word_embeddings": true,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.1, 1.3, 2.0], "long_factor": [1.2, 3.0, 9.0, 30.0]},
    }))
}

/// Values in ±0.3 that depend on name and index only; norms near 1. `change` may alter a tensor.
fn checkpoint(config: &ModelConfig, change: impl Fn(&str, &mut [f32])) -> Checkpoint<BytesSource<Vec<u8>>> {
    let mut bytes = BTreeMap::new();
    for spec in tensors::list(&config.decoder()) {
        let mut state =
            spec.name.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(131).wrapping_add(u64::from(byte)));
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        let is_norm = spec.shape.len() == 1;
        let mut values: Vec<f32> =
            (0..spec.count()).map(|_| if is_norm { 1.0 + 0.4 * next() } else { 0.6 * next() }).collect();
        change(&spec.name, &mut values);
        bytes.insert(
            spec.name,
            (spec.shape, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()),
        );
    }
    let views = bytes.iter().map(|(name, (shape, bytes))| {
        (name, TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).expect("bytes of the shape"))
    });
    let file = safetensors::serialize(views, None).expect("serializes");
    block_on(Checkpoint::from_safetensors(vec![("model".to_owned(), BytesSource(file))]))
        .expect("a good file")
}

fn plan(config: &ModelConfig) -> LoadPlan {
    LoadPlan { batch: 3, ..LoadPlan::new(config.clone(), DType::F32, 1200) }
}

fn load(plan: &LoadPlan) -> CandleEngine {
    let checkpoint = checkpoint(&plan.config, |_, _| {});
    block_on(CandleEngine::load(&checkpoint, plan, &mut |_| ControlFlow::Continue(()))).expect("loads")
}

fn open(engine: &mut CandleEngine, id: u64, capacity: usize) {
    block_on(engine.open(SequenceId(id), capacity, &Sampling::GREEDY)).expect("opens");
}

fn prefill(engine: &mut CandleEngine, prompts: &[(u64, &[u32])]) -> Result<Vec<u32>, EngineError> {
    let prompts: Vec<_> =
        prompts.iter().map(|(id, tokens)| Prompt { sequence: SequenceId(*id), tokens }).collect();
    Ok(block_on(engine.prefill(&prompts))?.into_iter().map(|sampled| sampled.id).collect())
}

fn decode(engine: &mut CandleEngine, ids: &[u64]) -> Result<Vec<u32>, EngineError> {
    let ids: Vec<_> = ids.iter().map(|id| SequenceId(*id)).collect();
    Ok(block_on(engine.decode(&ids))?.into_iter().map(|sampled| sampled.id).collect())
}

/// The logits that the last step sampled from.
fn sampled_from(engine: &CandleEngine, row: usize) -> Vec<f32> {
    let vocab = engine.plan.config.vocab_size;
    engine.arenas[engine.model.places.head].space.logits.to_vec1::<f32>().expect("f32")
        [row * vocab..(row + 1) * vocab]
        .to_vec()
}

fn full(engine: &mut CandleEngine, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    block_on(engine.logits(tokens, &mut |_, row| rows.push(row.to_vec()))).expect("logits");
    rows
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    let peak = expected.iter().fold(0.0f32, |peak, value| peak.max(value.abs()));
    let worst = found.iter().zip(expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(found.len() == expected.len() && worst <= BOUND * peak, "{worst:e} of {peak:e}");
}

fn tokens(count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 31 + seed * 17 + i * i % 13) % 90) as u32).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Prompts in pieces of any sizes, then decoding, against one pass over all of it.
    #[test]
    fn any_cut_gives_the_logits_of_one_pass(pieces in prop::collection::vec(1usize..30, 1..6), seed in 0usize..50) {
        let mut engine = load(&plan(&everything()));
        let mut ids = tokens(pieces.iter().sum(), seed);
        open(&mut engine, 1, 400);
        let mut start = 0;
        let mut next = 0;
        for piece in pieces {
            next = prefill(&mut engine, &[(1, &ids[start..start + piece])]).expect("prefills")[0];
            start += piece;
            let found = sampled_from(&engine, 0);
            assert_close(&found, &full(&mut engine, &ids[..start])[start - 1]);
        }
        for _ in 0..6 {
            ids.push(next);
            next = decode(&mut engine, &[1]).expect("decodes")[0];
            let found = sampled_from(&engine, 0);
            assert_close(&found, full(&mut engine, &ids).last().expect("a row"));
        }
    }
}

#[test]
fn prompts_longer_than_a_chunk() {
    for window in [Value::Null, json!(300)] {
        let mut engine = load(&plan(&config(&json!({"sliding_window": window}))));
        let ids = tokens(1100, 3);
        let expected = full(&mut engine, &ids);
        for cuts in [&[1100][..], &[1, 511, 512, 76], &[600, 500], &[1098, 1, 1]] {
            open(&mut engine, 1, 1200);
            let mut start = 0;
            for piece in cuts {
                prefill(&mut engine, &[(1, &ids[start..start + piece])]).expect("prefills");
                start += piece;
                assert_close(&sampled_from(&engine, 0), &expected[start - 1]);
            }
            engine.release(SequenceId(1));
        }
    }
}

#[test]
fn a_batch_gives_what_each_gives_alone() {
    let prompts = [tokens(5, 1), tokens(39, 2), tokens(700, 3)];
    for dtype in [DType::F32, DType::Bf16] {
        let plan = LoadPlan { dtype, kv_dtype: dtype, ..plan(&everything()) };
        let mut engine = load(&plan);
        let mut alone = Vec::new();
        for prompt in &prompts {
            open(&mut engine, 9, 800);
            let mut ids = prefill(&mut engine, &[(9, prompt)]).expect("prefills");
            ids.extend((0..6).map(|_| decode(&mut engine, &[9]).expect("decodes")[0]));
            alone.push((ids, sampled_from(&engine, 0)));
            engine.release(SequenceId(9));
        }
        (0..3).for_each(|id| open(&mut engine, id, 800));
        let batch: Vec<_> = (0..3).map(|id| (id, prompts[id as usize].as_slice())).collect();
        let mut ids: Vec<_> =
            prefill(&mut engine, &batch).expect("prefills").into_iter().map(|id| vec![id]).collect();
        for _ in 0..6 {
            let next = decode(&mut engine, &[0, 1, 2]).expect("decodes");
            ids.iter_mut().zip(next).for_each(|(ids, id)| ids.push(id));
        }
        for (row, (expected, logits)) in alone.iter().enumerate() {
            assert_eq!(&ids[row], expected);
            if dtype == DType::F32 {
                assert_close(&sampled_from(&engine, row), logits);
            }
        }
    }
}

#[test]
fn refused_steps_leave_every_sequence_as_it_was() {
    let mut engine = load(&plan(&everything()));
    open(&mut engine, 1, 41);
    open(&mut engine, 2, 10);
    assert!(matches!(decode(&mut engine, &[1]), Err(EngineError::UnknownSequence(SequenceId(1)))));
    prefill(&mut engine, &[(1, &tokens(38, 1)), (2, &tokens(9, 2))]).expect("prefills");

    let six = tokens(6, 0);
    let refused = [
        (prefill(&mut engine, &[(1, &[])]), "empty_prompt"),
        (prefill(&mut engine, &[(1, &[3]), (2, &[4, 90])]), "token_out_of_range"),
        (prefill(&mut engine, &[(1, &[3]), (2, &six)]), "sequence_full"),
        (prefill(&mut engine, &[(1, &[3]), (7, &[3])]), "sequence"),
        (prefill(&mut engine, &[(1, &[3]), (1, &[3])]), "sequence"),
        (decode(&mut engine, &[1, 1]), "sequence"),
        (decode(&mut engine, &[1, 7]), "sequence"),
    ];
    for (result, code) in refused {
        assert_eq!(result.expect_err("refused").code(), code);
    }
    let bad = Sampling { top_p: 0.0, ..Sampling::GREEDY };
    for (id, capacity, sampling, code) in [
        (1, 5, &Sampling::GREEDY, "sequence"),
        (3, 1201, &Sampling::GREEDY, "sequence_full"),
        (3, 5, &bad, "invalid_sampling"),
    ] {
        let result = block_on(engine.open(SequenceId(id), capacity, sampling));
        assert_eq!(result.expect_err("refused").code(), code);
    }
    open(&mut engine, 3, 5);
    let fourth = block_on(engine.open(SequenceId(4), 5, &Sampling::GREEDY));
    assert_eq!(fourth.expect_err("a batch of three").code(), "unavailable");

    // 38 + 3 tokens cross the short factors; the sequence goes on as if nothing had happened.
    let mut ids = tokens(38, 1);
    for _ in 0..3 {
        ids.push(engine.sequences[&SequenceId(1)].pending.expect("sampled"));
        decode(&mut engine, &[1]).expect("decodes");
        let found = sampled_from(&engine, 0);
        assert_close(&found, full(&mut engine, &ids).last().expect("a row"));
    }
    assert_eq!(decode(&mut engine, &[1]).expect_err("full").code(), "sequence_full");
    engine.release(SequenceId(77));
}

#[test]
fn nan_is_an_error_and_is_found_where_it_begins() {
    let plan = plan(&config(&json!({})));
    let checkpoint = checkpoint(&plan.config, |name, values| {
        if name == "model.layers.1.mlp.down_proj.weight" {
            values[0] = f32::NAN;
        }
    });
    let mut engine =
        block_on(CandleEngine::load(&checkpoint, &plan, &mut |_| ControlFlow::Continue(()))).expect("loads");
    open(&mut engine, 1, 10);
    assert!(matches!(prefill(&mut engine, &[(1, &[1, 2, 3])]), Err(EngineError::NanLogits)));
    assert!(engine.sequences[&SequenceId(1)].ids.is_empty());
    // One value of each of three rows, then every logit.
    let counts = block_on(engine.non_finite(&[1, 2, 3], &mut |_, _| {})).expect("counts");
    assert_eq!(counts, [(0, 0), (3, 0), (3 * 90, 0)]);
}

#[test]
fn loading_streams_or_reads_all_and_can_be_cancelled() {
    let plan = plan(&everything());
    let mut streamed = load(&plan);
    let mut read_first = load(&LoadPlan { low_cpu_mem_usage: false, ..plan.clone() });
    assert_eq!(full(&mut streamed, &[1, 2, 3]), full(&mut read_first, &[1, 2, 3]));

    let checkpoint = checkpoint(&plan.config, |_, _| {});
    let mut reports = Vec::new();
    let cancelled = block_on(CandleEngine::load(&checkpoint, &plan, &mut |report| {
        reports.push(report);
        if report.done_bytes > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }));
    assert!(matches!(cancelled, Err(EngineError::Cancelled)));
    assert_eq!(reports.last().map(|report| report.done_bytes), Some(90 * 48 * 4));
    for plan in [
        LoadPlan { dtype: DType::Q6K, ..plan.clone() },
        LoadPlan { kv_dtype: DType::Fp8, ..plan.clone() },
        LoadPlan { device: "cuda:0".parse().expect("a device"), ..plan.clone() },
    ] {
        let refused = block_on(CandleEngine::load(&checkpoint, &plan, &mut |_| ControlFlow::Continue(())));
        assert_eq!(refused.err().map(|error| error.code()), Some("unavailable"));
    }
}

#[test]
fn a_narrow_cache_under_f32_weights_stays_close() {
    let plan = LoadPlan { kv_dtype: DType::Bf16, ..plan(&config(&json!({}))) };
    let (mut engine, ids) = (load(&plan), tokens(30, 4));
    let narrow = full(&mut engine, &ids);
    let wide = full(&mut load(&LoadPlan { kv_dtype: DType::F32, ..plan }), &ids);
    let peak = wide.iter().flatten().fold(0.0f32, |peak, value| peak.max(value.abs()));
    let worst =
        narrow.iter().flatten().zip(wide.iter().flatten()).fold(0.0f32, |w, (a, b)| w.max((a - b).abs()));
    // Keys and values lose 2^-9 of themselves; more than nothing, less than a few of that.
    assert!(worst > 0.0 && worst < 0.02 * peak, "{worst:e} of {peak:e}");
}

#[test]
fn memory_is_what_is_held() {
    let plan = plan(&everything());
    let mut engine = load(&plan);
    let weights: u64 = tensors::list(&plan.config.decoder()).map(|spec| 4 * spec.count()).sum();
    assert_eq!((engine.memory().weights_bytes, engine.memory().kv_cache_bytes), (weights, 0));
    open(&mut engine, 1, 100);
    open(&mut engine, 2, 11);
    assert_eq!(engine.memory().kv_cache_bytes, 111 * 2 * 2 * 2 * 8 * 4);
    engine.release(SequenceId(1));
    assert_eq!(engine.memory().kv_cache_bytes, 11 * 2 * 2 * 2 * 8 * 4);
}

#[test]
fn fused_attention_gives_the_logits_of_eager_without_its_scores() {
    for window in [Value::Null, json!(23)] {
        let eager = plan(&config(&json!({"sliding_window": window})));
        let fused = LoadPlan { attention: Attention::Fused, ..eager.clone() };
        let (mut eager, mut fused) = (load(&eager), load(&fused));
        let scores = 4 * 256 * 1200;
        assert_eq!(eager.memory().activation_bytes - fused.memory().activation_bytes, scores);
        // One row, a few, more than a tile, more than a chunk.
        for count in [1, 3, 40, 700] {
            let ids = tokens(count, 5);
            let [expected, found] = [&mut eager, &mut fused].map(|engine| full(engine, &ids));
            found.iter().zip(&expected).for_each(|(found, expected)| assert_close(found, expected));
        }
        open(&mut fused, 1, 60);
        let mut ids = tokens(50, 6);
        ids.push(prefill(&mut fused, &[(1, &ids)]).expect("prefills")[0]);
        decode(&mut fused, &[1]).expect("decodes");
        let found = sampled_from(&fused, 0);
        assert_close(&found, full(&mut eager, &ids).last().expect("a row"));
    }
}

/// By the largest logit of f32: 8 bits lose about 2^-8 of a block's largest value, four bits 2^-4.
#[test]
fn quantized_weights_are_held_in_blocks_and_stay_close() {
    let shape = json!({
        "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
    });
    let reference = plan(&config(&shape));
    let ids = tokens(40, 2);
    let exact = full(&mut load(&reference), &ids);
    let peak = exact.iter().flatten().fold(0.0f32, |peak, value| peak.max(value.abs()));
    let mut before = 0.0;
    for (dtype, most) in [(DType::Q8_0, 0.03), (DType::Q4_0, 0.8)] {
        let plan = LoadPlan { dtype, ..reference.clone() };
        let mut engine = load(&plan);
        let held = crate::estimate::weights_bytes(&plan.config.decoder(), dtype);
        assert_eq!(engine.memory().weights_bytes, held);
        assert!(held < crate::estimate::weights_bytes(&plan.config.decoder(), DType::F16));
        let found = full(&mut engine, &ids);
        let worst =
            found.iter().flatten().zip(exact.iter().flatten()).fold(0.0f32, |w, (a, b)| w.max((a - b).abs()));
        assert!(worst > before && worst < most * peak, "{dtype}: {worst:e} of {peak:e}");
        before = worst;
        // However it is cut, and however many rows: the same products. Few rows may have been multiplied in integers, whose 16 bits
        // are a bound of their own.
        let near = |found: &[f32], expected: &[f32]| {
            let worst = found.iter().zip(expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
            assert!(worst < 5e-4 * peak, "{dtype}: {worst:e} of {peak:e}");
        };
        open(&mut engine, 1, 60);
        prefill(&mut engine, &[(1, &ids[..37])]).expect("prefills");
        assert_close(&sampled_from(&engine, 0), &found[36]);
        prefill(&mut engine, &[(1, &ids[37..])]).expect("prefills");
        near(&sampled_from(&engine, 0), &found[39]);
    }
}

fn device(name: &str) -> DeviceId {
    name.parse().expect("a device")
}

/// The first layer and the embedding on one share of the host, the rest on another.
fn split(config: &ModelConfig) -> LoadPlan {
    let [one, other] = [device("cpu:1"), DeviceId::Cpu];
    let layers = vec![one.clone(), other.clone()];
    let split = Split { embedding: one.clone(), layers, norm: other.clone(), head: other };
    LoadPlan { device: one, split: Some(split), ..plan(config) }
}

#[test]
fn layers_on_two_devices_compute_what_they_do_on_one() {
    let untied = config(&json!({"sliding_window": 23}));
    let (mut whole, mut parted) = (load(&plan(&untied)), load(&split(&untied)));
    let ids = tokens(700, 1);
    assert_eq!(full(&mut parted, &ids), full(&mut whole, &ids));
    for engine in [&mut whole, &mut parted] {
        open(engine, 1, 800);
        prefill(engine, &[(1, &ids)]).expect("prefills");
    }
    for _ in 0..4 {
        assert_eq!(decode(&mut parted, &[1]).expect("decodes"), decode(&mut whole, &[1]).expect("decodes"));
        assert_eq!(sampled_from(&parted, 0), sampled_from(&whole, 0));
    }
    let accounts = parted.memory_by_device();
    assert_eq!(accounts.iter().map(|(device, _)| device.to_string()).collect::<Vec<_>>(), ["cpu:1", "cpu"]);
    let sum = |of: fn(&Memory) -> u64| accounts.iter().map(|(_, memory)| of(memory)).sum::<u64>();
    assert_eq!(sum(|memory| memory.weights_bytes), whole.memory().weights_bytes);
    assert_eq!(sum(|memory| memory.kv_cache_bytes), whole.memory().kv_cache_bytes);
    // A layer's cache lies where the layer does, and each device has its own workspace.
    assert!(accounts.iter().all(|(_, memory)| memory.kv_cache_bytes == whole.memory().kv_cache_bytes / 2));
    assert!(accounts.iter().all(|(_, memory)| memory.activation_bytes > 0));
    assert!(sum(|memory| memory.activation_bytes) > whole.memory().activation_bytes / 2);
}

/// What stays on the CPU beside GPUs computes what the engine does, in whatever pieces rows come.
#[test]
fn the_part_on_the_host_computes_what_the_engine_does() {
    for base in [plan(&config(&json!({"sliding_window": 23}))), plan(&everything())] {
        let (ids, hidden, vocab) = (tokens(700, 1), base.config.hidden_size, base.config.vocab_size);
        let expected = full(&mut load(&base), &ids);
        let long = Rope::new(&base.config).is_long(ids.len());
        let checkpoint = checkpoint(&base.config, |_, _| {});
        let mut host = block_on(CandleHost::load(&checkpoint, &base, 0, &mut |_| ControlFlow::Continue(())))
            .expect("loads");
        let id = SequenceId(7);
        host.open(id, 800).expect("opens");
        let mut x = vec![0.0; ids.len() * hidden];
        host.embed(&ids, &mut x).expect("embeds");
        let mut whole = x.clone();
        for layer in 0..2 {
            for (start, rows) in [(0, 1), (1, 598), (599, 101)] {
                let part = [HostRows { sequence: id, start, rows, long }];
                let x = &mut x[start * hidden..(start + rows) * hidden];
                host.layers(layer..layer + 1, &part, x).expect("computes");
            }
            host.whole(layer, long, &mut whole).expect("computes");
        }
        for mut x in [x, whole] {
            let mut logits = vec![0.0; ids.len() * vocab];
            host.norm(&mut x).expect("norms");
            host.head(&x, &mut logits).expect("multiplies");
            for (found, expected) in logits.chunks(vocab).zip(&expected) {
                assert_close(found, expected);
            }
        }
        let mut engine = load(&base);
        open(&mut engine, 7, 800);
        assert_eq!(host.memory().weights_bytes, engine.memory().weights_bytes);
        assert_eq!(host.memory().kv_cache_bytes, engine.memory().kv_cache_bytes);
        assert_eq!(host.memory().activation_bytes, engine.memory().activation_bytes);
        host.release(id);
        assert_eq!(host.memory().kv_cache_bytes, 0);
        let part = [HostRows { sequence: id, start: 0, rows: 1, long }];
        assert!(host.layers(0..1, &part, &mut [0.0; 48]).is_err(), "it is closed");
    }
}

/// The accounts are those of the planner: what it says of each device is what is held there.
#[test]
fn each_device_holds_what_the_planner_says() {
    let untied = config(&json!({}));
    let plan = split(&untied);
    let mut engine = load(&plan);
    open(&mut engine, 1, plan.context);
    let decoder = untied.decoder();
    let options = crate::estimate::Options {
        dtype: Some(DType::F32.into()),
        context: Some(plan.context as u64),
        batch: Some(plan.batch as u64),
        ..crate::estimate::Options::default()
    };
    let resolved = crate::estimate::Resolved::new(&decoder, None, &options).expect("options");
    let workload = crate::placement::workload(&decoder, None, &resolved);
    let map = [("model.embed_tokens", "cpu:1"), ("model.layers.0", "cpu:1"), ("", "cpu")];
    let map = map.map(|(module, name)| (module.to_owned(), device(name))).to_vec();
    let budgets = ["cpu:1", "cpu"].map(|name| crate::placement::Device::new(device(name), 1 << 40)).to_vec();
    let devices = crate::placement::Devices::stated(budgets).expect("devices");
    let placed = crate::placement::plan(
        &workload,
        &devices,
        &crate::placement::Strategy::Explicit(map),
        crate::placement::Rules::Preflight,
    )
    .expect("a placement");
    for (device, held) in engine.memory_by_device() {
        let planned = placed.devices.iter().find(|planned| planned.device == device).expect("planned");
        assert_eq!(planned.weights_bytes, held.weights_bytes, "{device}");
        assert_eq!(planned.activation_bytes, held.activation_bytes, "{device}");
        assert_eq!(planned.kv_cache_bytes, plan.batch as u64 * held.kv_cache_bytes, "{device}");
    }
}

#[test]
fn a_budget_is_kept_to_the_byte() {
    for base in [plan(&everything()), split(&config(&json!({})))] {
        let mut engine = load(&base);
        open(&mut engine, 1, 100);
        let accounts = engine.memory_by_device();
        for (device, held) in accounts.clone() {
            let with = |bytes: u64| {
                let budgets =
                    accounts.iter().map(|(id, _)| (id.clone(), if *id == device { bytes } else { 1 << 40 }));
                let plan = LoadPlan { budgets: budgets.collect(), ..base.clone() };
                let checkpoint = checkpoint(&plan.config, |_, _| {});
                let mut engine =
                    block_on(CandleEngine::load(&checkpoint, &plan, &mut |_| ControlFlow::Continue(())))?;
                block_on(engine.open(SequenceId(1), 100, &Sampling::GREEDY))?;
                // What was given back can be had again, and nothing more.
                engine.release(SequenceId(1));
                block_on(engine.open(SequenceId(2), 100, &Sampling::GREEDY))?;
                block_on(engine.open(SequenceId(3), 1, &Sampling::GREEDY))
            };
            let phase = |bytes: u64| match with(bytes) {
                Err(EngineError::OutOfMemory { phase, requested_bytes, free_bytes }) => {
                    assert!(requested_bytes > free_bytes, "{requested_bytes} {free_bytes}");
                    phase
                }
                other => panic!("{other:?}"),
            };
            let Memory { weights_bytes, activation_bytes, total_bytes, .. } = held;
            // The third sequence is what does not fit.
            assert_eq!(phase(total_bytes), "kv_cache");
            assert_eq!(phase(total_bytes - 1), "kv_cache");
            assert_eq!(phase(weights_bytes + activation_bytes - 1), "weights");
            assert_eq!(phase(activation_bytes - 1), "activation");
            assert!(with(1 << 40).is_ok());
        }
    }
}

#[test]
fn the_whole_checkpoint_counts_while_it_is_read_first() {
    let base = plan(&config(&json!({})));
    let held = load(&base).memory().total_bytes;
    let with = |bytes: u64, low_cpu_mem_usage: bool| {
        let plan = LoadPlan { budgets: [(DeviceId::Cpu, bytes)].into(), low_cpu_mem_usage, ..base.clone() };
        let checkpoint = checkpoint(&plan.config, |_, _| {});
        block_on(CandleEngine::load(&checkpoint, &plan, &mut |_| ControlFlow::Continue(()))).err()
    };
    assert!(with(held, true).is_none());
    assert!(matches!(with(held, false), Some(EngineError::OutOfMemory { phase: "weights", .. })));
    assert!(with(2 * held, false).is_none());
}

#[test]
fn without_a_cache_every_step_computes_the_same_anew() {
    let base = plan(&everything());
    let (mut with, mut without) = (load(&base), load(&LoadPlan { use_cache: false, ..base }));
    for engine in [&mut with, &mut without] {
        open(engine, 1, 100);
        prefill(engine, &[(1, &tokens(20, 3))]).expect("prefills");
    }
    for _ in 0..30 {
        assert_eq!(decode(&mut without, &[1]).expect("decodes"), decode(&mut with, &[1]).expect("decodes"));
        let (found, expected) = (sampled_from(&without, 0), sampled_from(&with, 0));
        assert_close(&found, &expected);
    }
}

#[test]
fn logprobs_are_those_of_the_last_step() {
    let mut engine = load(&plan(&everything()));
    open(&mut engine, 1, 50);
    open(&mut engine, 2, 50);
    let (one, two) = (tokens(9, 1), tokens(12, 2));
    let ids = prefill(&mut engine, &[(1, &one), (2, &two)]).expect("prefills");
    let found = block_on(engine.logprobs(SequenceId(2), ids[1], 3)).expect("kept");
    assert_eq!((found.top[0].0, found.top.len()), (ids[1], 3), "greedy takes the likeliest");
    let row = full(&mut engine, &two).pop().expect("a row");
    let expected = Logprobs::new(&row, ids[1], 3).expect("an id");
    assert!((found.chosen - expected.chosen).abs() < 1e-4);
    // A look inside overwrites them: better no answer than another's.
    assert!(block_on(engine.logprobs(SequenceId(2), ids[1], 3)).is_err());
}

#[test]
fn penalties_count_the_prompt() {
    let mut engine = load(&plan(&everything()));
    open(&mut engine, 1, 50);
    let first = prefill(&mut engine, &[(1, &[1, 2, 3])]).expect("prefills")[0];
    engine.release(SequenceId(1));
    // Whatever it said, having it in the prompt and a heavy penalty makes it say something else.
    let sampling = Sampling { repetition_penalty: 1e6, ..Sampling::GREEDY };
    block_on(engine.open(SequenceId(1), 50, &sampling)).expect("opens");
    let mut said = vec![1, 2, 3];
    said.push(prefill(&mut engine, &[(1, &said)]).expect("prefills")[0]);
    for _ in 0..20 {
        said.push(decode(&mut engine, &[1]).expect("decodes")[0]);
    }
    let distinct: std::collections::BTreeSet<_> = said.iter().collect();
    assert_eq!(distinct.len(), said.len(), "{said:?} repeats, after {first}");
}
