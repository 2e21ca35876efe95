//! The engine against itself: however a sequence is cut, batched, cached or loaded, its logits are those of one
//! pass. What one pass must give is held against Hugging Face in the parity tests.

use std::collections::BTreeMap;

use pollster::block_on;
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::*;
use crate::config::ModelConfig;
use crate::engine::{Diagnostics, EngineError};
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
    engine.space.logits.to_vec1::<f32>().expect("f32")[row * vocab..(row + 1) * vocab].to_vec()
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
    let counts = block_on(engine.non_finite(&[1, 2, 3])).expect("counts");
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
        LoadPlan { dtype: DType::Q8_0, ..plan.clone() },
        LoadPlan { kv_dtype: DType::Fp8, ..plan.clone() },
        LoadPlan { attention: Attention::Fused, ..plan.clone() },
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
