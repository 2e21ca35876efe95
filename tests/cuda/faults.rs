//! What goes wrong: ids, room, memory, NaN, cancelled loads, many loads.

use std::ops::ControlFlow;

use phi3::cuda_engine::CudaEngine;
use phi3::dtype::DType;
use phi3::engine::{Attention, Diagnostics as _, Engine, EngineError, LoadPlan, Sampling, SequenceId};
use pollster::block_on;
use serde_json::json;

use crate::support::{
    Random, checkpoint, config, cuda, decode, full, has_gpu, open, plan, prefill, try_load,
};

#[test]
fn refused_steps_leave_every_sequence_as_it_was() {
    if !has_gpu() {
        return;
    }
    let config = config(&json!({}));
    let mut random = Random::new();
    let stored = checkpoint(&config, &mut random, 0.1, |_, _, _| {});
    let mut engine = cuda(&stored, &plan(&config, DType::F32, Attention::Fused, 100));
    let prompt = random.tokens(30, config.vocab_size);
    open(&mut engine, 1, 40);
    let mut expected = prefill(&mut engine, &[(1, &prompt)]).expect("prefills");
    expected.extend(decode(&mut engine, &[1], 9).expect("decodes").remove(0));
    engine.release(SequenceId(1));

    open(&mut engine, 1, 39);
    open(&mut engine, 2, 10);
    let code = |result: Result<Vec<u32>, EngineError>| result.expect_err("refused").code();
    assert_eq!(decode(&mut engine, &[1], 1).expect_err("no tokens yet").code(), "sequence");
    let first = prefill(&mut engine, &[(1, &prompt)]).expect("prefills");
    assert_eq!(code(prefill(&mut engine, &[(1, &[])])), "empty_prompt");
    assert_eq!(code(prefill(&mut engine, &[(1, &[3]), (2, &[333])])), "token_out_of_range");
    assert_eq!(code(prefill(&mut engine, &[(1, &[3]), (2, &[3; 11])])), "sequence_full");
    assert_eq!(code(prefill(&mut engine, &[(1, &[3]), (7, &[3])])), "sequence");
    assert_eq!(code(prefill(&mut engine, &[(1, &[3]), (1, &[3])])), "sequence");
    assert_eq!(decode(&mut engine, &[1, 1], 1).expect_err("twice").code(), "sequence");
    assert_eq!(decode(&mut engine, &[1, 7], 1).expect_err("unknown").code(), "sequence");
    let mut ids = first;
    ids.extend(decode(&mut engine, &[1], 9).expect("decodes").remove(0));
    assert_eq!(ids, expected);
    assert_eq!(decode(&mut engine, &[1], 1).expect_err("full").code(), "sequence_full");
    engine.release(SequenceId(77));
}

#[test]
fn nan_is_an_error_and_is_found_where_it_begins() {
    if !has_gpu() {
        return;
    }
    let config = config(&json!({}));
    for dtype in [DType::F32, DType::Bf16] {
        let stored = checkpoint(&config, &mut Random::new(), 0.1, |name, _, values| {
            if name == "model.layers.1.mlp.down_proj.weight" {
                values[0] = f32::NAN;
            }
        });
        let mut engine = cuda(&stored, &plan(&config, dtype, Attention::Fused, 20));
        open(&mut engine, 1, 10);
        assert!(matches!(prefill(&mut engine, &[(1, &[1, 2, 3])]), Err(EngineError::NanLogits)));
        let counts = block_on(engine.non_finite(&[1, 2, 3], &mut |_, _| {})).expect("counts");
        assert_eq!(counts, [(0, 0), (3, 0), (3 * 333, 0)], "{dtype}");
    }
}

#[test]
fn seeds_repeat_and_draws_follow_the_logits() {
    if !has_gpu() {
        return;
    }
    let config = config(&json!({}));
    let mut random = Random::new();
    let stored = checkpoint(&config, &mut random, 0.1, |_, _, _| {});
    let mut engine = cuda(&stored, &plan(&config, DType::Bf16, Attention::Fused, 60));
    let prompt = random.tokens(20, config.vocab_size);
    let mut draw = |seed, top_k| {
        let sampling = Sampling { temperature: 1.5, top_k, seed, ..Sampling::GREEDY };
        block_on(engine.open(SequenceId(1), 60, &sampling)).expect("opens");
        let mut ids = prefill(&mut engine, &[(1, &prompt)]).expect("prefills");
        ids.extend(decode(&mut engine, &[1], 20).expect("decodes").remove(0));
        engine.release(SequenceId(1));
        ids
    };
    let first = draw(1, 0);
    assert_eq!(first, draw(1, 0));
    assert_ne!(first, draw(2, 0));
    let best = draw(3, 1);
    assert_eq!(best, draw(4, 1), "one candidate leaves nothing to chance");
}

#[test]
fn memory_runs_out_with_phase_and_bytes() {
    if !has_gpu() {
        return;
    }
    let config = config(&json!({"max_position_embeddings": 100_000_000, "num_key_value_heads": 6}));
    let stored = checkpoint(&config, &mut Random::new(), 0.1, |_, _, _| {});
    // 2 layers × 2 × 6 heads × 16 × 4 bytes for each token: 154 GB.
    let huge = LoadPlan { batch: 2, ..plan(&config, DType::F32, Attention::Fused, 100_000_000) };
    let mut engine: CudaEngine = try_load(&stored, &huge).unwrap_or_else(|error| panic!("{error}"));
    let result = block_on(engine.open(SequenceId(1), 100_000_000, &Sampling::GREEDY));
    match result {
        Err(EngineError::OutOfMemory { phase: "kv_cache", requested_bytes, free_bytes }) => {
            assert_eq!(requested_bytes, 100_000_000 * 2 * 2 * 6 * 16 * 4);
            assert!(free_bytes > 0 && free_bytes < requested_bytes);
        }
        other => panic!("{other:?}"),
    }
    drop(engine);
    // A context whose scores alone are more than any card has.
    let eager = LoadPlan { batch: 64, ..plan(&config, DType::F32, Attention::Eager, 100_000_000) };
    match try_load::<CudaEngine>(&stored, &eager).map(|_| ()) {
        Err(EngineError::OutOfMemory { phase: "activation", requested_bytes, free_bytes }) => {
            assert!(requested_bytes > free_bytes, "{requested_bytes} of {free_bytes}");
        }
        other => panic!("{other:?}"),
    }
    let mut engine = cuda(&stored, &plan(&config, DType::F32, Attention::Fused, 50));
    open(&mut engine, 2, 50);
    prefill(&mut engine, &[(2, &[1, 2, 3])]).expect("there is room for a small one");
}

#[test]
fn loads_can_be_cancelled_and_leave_nothing_behind() {
    if !has_gpu() {
        return;
    }
    let config = config(&json!({"hidden_size": 384, "intermediate_size": 4096, "num_attention_heads": 4,
        "num_key_value_heads": 4}));
    let mut random = Random::new();
    let stored = checkpoint(&config, &mut random, 0.05, |_, _, _| {});
    let device = "cuda:0".parse().expect("a device");
    let plan = LoadPlan { device, ..plan(&config, DType::Bf16, Attention::Fused, 200) };
    let tokens = random.tokens(20, config.vocab_size);
    let mut first = cuda(&stored, &plan);
    let expected = full(&mut first, &tokens);
    let free = first.memory();
    assert_eq!(
        free.total_bytes,
        free.weights_bytes + free.kv_cache_bytes + free.activation_bytes + free.overhead_bytes
    );
    drop(first);
    let mut reports = 0;
    let cancelled = block_on(CudaEngine::load(&stored, &plan, &mut |report| {
        reports += 1;
        if report.done_bytes > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }));
    assert!(matches!(cancelled, Err(EngineError::Cancelled)) && reports > 1);
    let mut overheads = Vec::new();
    for _ in 0..30 {
        let mut engine = cuda(&stored, &plan);
        assert_eq!(full(&mut engine, &tokens), expected, "the same weights give the same logits");
        overheads.push(engine.memory().overhead_bytes);
    }
    println!("overhead of 30 loads: {overheads:?}");
    let mut whole = cuda(&stored, &LoadPlan { low_cpu_mem_usage: false, ..plan });
    assert_eq!(full(&mut whole, &tokens), expected);
}
