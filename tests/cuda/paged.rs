//! Caches that share memory: the same results as with memory of one's own, blocks that come and go, prompts that ride
//! along with other sequences' steps.

use phi3::cuda_engine::CudaEngine;
use phi3::dtype::DType;
use phi3::engine::{
    Attention, Diagnostics as _, Engine as _, EngineError, LoadPlan, PromptPart, Sampling, SequenceId,
};
use phi3::estimate::{KvPolicy, PAGE_TOKENS, bytes_per_token, cache_bytes};
use pollster::block_on;
use serde_json::json;

use crate::shapes::shapes;
use crate::support::{Random, checkpoint, config, cuda, decode, has_gpu, open, plan, prefill};

fn shared(plan: &LoadPlan, blocks: usize) -> LoadPlan {
    LoadPlan { kv_blocks: Some(blocks), ..plan.clone() }
}

/// Prompts, each in two pieces, then steps of all of them, of three, and of one: every way through attention.
fn run(engine: &mut CudaEngine, prompts: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let ids: Vec<u64> = (0..prompts.len() as u64).collect();
    ids.iter().zip(prompts).for_each(|(id, prompt)| open(engine, *id, prompt.len() + 60));
    let mut found = Vec::new();
    for piece in [0, 1] {
        let piece = |prompt: &Vec<u32>| {
            let half = prompt.len() / 2;
            if piece == 0 { prompt[..half].to_vec() } else { prompt[half..].to_vec() }
        };
        let pieces: Vec<Vec<u32>> = prompts.iter().map(piece).collect();
        let pieces: Vec<(u64, &[u32])> = ids.iter().copied().zip(pieces.iter().map(Vec::as_slice)).collect();
        found.push(prefill(engine, &pieces).expect("prefills"));
    }
    found.extend(decode(engine, &ids, 20).expect("decodes"));
    found.extend(decode(engine, &ids[..3], 20).expect("decodes"));
    found.extend(decode(engine, &ids[1..2], 18).expect("decodes"));
    ids.iter().for_each(|id| engine.release(SequenceId(*id)));
    found
}

/// Blocks change where keys and values lie and nothing else: sums are the same, to the bit.
#[test]
fn what_is_shared_is_computed_alike() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    for (name, changes) in shapes() {
        let config = config(&changes);
        let stored = checkpoint(&config, &mut random, 0.1, |_, _, _| {});
        let prompts: Vec<Vec<u32>> = [300, 5, 17, 64, 150]
            .map(|most| {
                let count = 2 + random.next() as usize % most;
                random.tokens(count, config.vocab_size)
            })
            .into();
        let formats = [
            (DType::F32, DType::F32),
            (DType::Bf16, DType::Bf16),
            (DType::F16, DType::Fp8),
            (DType::Q8_0, DType::Bf16),
        ];
        // Rows of the last are no whole blocks.
        for (dtype, kv_dtype) in &formats[..if name == "odd" { 3 } else { 4 }] {
            let (dtype, kv_dtype) = (*dtype, *kv_dtype);
            for attention in [Attention::Eager, Attention::Fused] {
                let whole = LoadPlan { kv_dtype, ..plan(&config, dtype, attention, 400) };
                let expected = run(&mut cuda(&stored, &whole), &prompts);
                let mut engine = cuda(&stored, &shared(&whole, 7));
                assert_eq!(run(&mut engine, &prompts), expected, "{name}, {dtype}, {attention:?}");
                // Blocks come to others now.
                assert_eq!(run(&mut engine, &prompts), expected, "{name}, {dtype}, {attention:?}, again");
            }
        }
    }
}

#[test]
fn blocks_are_what_the_estimator_says_and_come_back() {
    if !has_gpu() {
        return;
    }
    let config = config(&json!({}));
    let decoder = config.decoder();
    let stored = checkpoint(&config, &mut Random::new(), 0.1, |_, _, _| {});
    let plan = plan(&config, DType::Bf16, Attention::Fused, 100);
    // Four contexts of 100 tokens take 28 blocks.
    let mut engine = cuda(&stored, &shared(&plan, 28));
    let predicted = cache_bytes(&decoder, DType::Bf16, KvPolicy::PAGED, 100, 4);
    let held = |engine: &CudaEngine| engine.memory().kv_cache_bytes;
    assert_eq!(held(&engine), predicted);
    (0..4).for_each(|id| open(&mut engine, id, 100));
    let prompts: Vec<(u64, &[u32])> = (0..4).map(|id| (id, &[7; 99][..])).collect();
    prefill(&mut engine, &prompts).expect("prefills");
    assert_eq!(held(&engine), predicted);
    // A fifth takes more, which goes with it.
    open(&mut engine, 5, 100);
    prefill(&mut engine, &[(5, &[8; 17])]).expect("prefills");
    let more = held(&engine) - predicted;
    assert!(more >= 2 * u64::from(PAGE_TOKENS) * bytes_per_token(&decoder, DType::Bf16), "{more}");
    engine.release(SequenceId(5));
    assert_eq!(held(&engine), predicted);
    (0..4).for_each(|id| engine.release(SequenceId(id)));
    assert_eq!(held(&engine), predicted);
}

#[test]
fn memory_that_runs_out_stops_nobody_else() {
    if !has_gpu() {
        return;
    }
    // 393,216 bytes a token in f32.
    let config = config(&json!({"hidden_size": 768, "intermediate_size": 64, "num_attention_heads": 3,
        "num_key_value_heads": 3, "num_hidden_layers": 64, "max_position_embeddings": 1_000_000}));
    let per_token = bytes_per_token(&config.decoder(), DType::F32);
    let free = block_on(CudaEngine::devices()).expect("a device")[0].free_bytes.expect("free bytes");
    let context = (free / per_token) as usize + 1000;
    let stored = checkpoint(&config, &mut Random::new(), 0.05, |_, _, _| {});
    let mut engine = cuda(&stored, &shared(&plan(&config, DType::F32, Attention::Fused, context), 4));
    open(&mut engine, 1, 200);
    open(&mut engine, 2, context);
    prefill(&mut engine, &[(1, &[1, 2, 3]), (2, &[4, 5, 6])]).expect("prefills");
    decode(&mut engine, &[1, 2], 10).expect("decodes");
    match engine.reserve(SequenceId(2), context) {
        Err(EngineError::OutOfMemory { phase: "kv_cache", requested_bytes, free_bytes }) => {
            assert!(requested_bytes > free_bytes, "{requested_bytes} of {free_bytes}");
        }
        other => panic!("{other:?}"),
    }
    // Both go on, and what is given back goes to others.
    decode(&mut engine, &[1, 2], 60).expect("decodes");
    engine.reserve(SequenceId(2), 10_000).expect("memory");
    let held = engine.memory().kv_cache_bytes;
    engine.park(SequenceId(2));
    assert!(engine.memory().kv_cache_bytes + 9_000 * per_token < held);
    decode(&mut engine, &[1], 20).expect("decodes");
}

/// In f32: another way through the model sums in another order, 1e-6 of the largest logit here.
#[test]
fn parked_sequences_go_on_as_if_nothing_had_happened() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    let config = config(&json!({"hidden_size": 384, "num_attention_heads": 4, "num_key_value_heads": 4}));
    let stored = checkpoint(&config, &mut random, 0.1, |_, _, _| {});
    let prompts: Vec<Vec<u32>> = [40, 9, 100].map(|count| random.tokens(count, config.vocab_size)).into();
    let plan = shared(&plan(&config, DType::F32, Attention::Fused, 200), 40);
    let mut engine = cuda(&stored, &plan);
    let drawn =
        Sampling { temperature: 0.7, top_p: 0.9, repetition_penalty: 1.2, seed: 5, ..Sampling::GREEDY };
    let mut run = |parks: bool| {
        for (id, (prompt, sampling)) in
            (0..).zip(prompts.iter().zip([&Sampling::GREEDY, &drawn, &Sampling::GREEDY]))
        {
            block_on(engine.open(SequenceId(id), prompt.len() + 60, sampling)).expect("opens");
        }
        let asked: Vec<(u64, &[u32])> = (0..).zip(prompts.iter().map(Vec::as_slice)).collect();
        let mut found = vec![prefill(&mut engine, &asked).expect("prefills")];
        found.extend(decode(&mut engine, &[0, 1, 2], 10).expect("decodes"));
        if parks {
            (1..3).for_each(|id| engine.park(SequenceId(id)));
        }
        found.extend(decode(&mut engine, &[0], 10).expect("decodes"));
        found.extend(decode(&mut engine, &[0, 1, 2], 10).expect("decodes"));
        (0..3).for_each(|id| engine.release(SequenceId(id)));
        found
    };
    let expected = run(false);
    assert_eq!(run(true), expected);
}

/// The same, where prompts come in parts beside the steps of others.
#[test]
fn prompts_that_ride_along_say_the_same() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    for (changes, dtype, blocks) in [
        (
            json!({"hidden_size": 384, "num_attention_heads": 4, "num_key_value_heads": 4}),
            DType::F32,
            Some(40),
        ),
        (json!({"hidden_size": 384, "num_attention_heads": 4, "num_key_value_heads": 4}), DType::F32, None),
        (json!({"sliding_window": 50}), DType::F32, Some(40)),
    ] {
        let config = config(&changes);
        let stored = checkpoint(&config, &mut random, 0.1, |_, _, _| {});
        let base = LoadPlan { kv_blocks: blocks, ..plan(&config, dtype, Attention::Fused, 400) };
        let mut engine = cuda(&stored, &base);
        let prompts: Vec<Vec<u32>> =
            [40, 9, 300, 70].map(|count| random.tokens(count, config.vocab_size)).into();
        let expected: Vec<Vec<u32>> = prompts
            .iter()
            .map(|prompt| {
                open(&mut engine, 9, prompt.len() + 40);
                let mut ids = prefill(&mut engine, &[(9, prompt)]).expect("prefills");
                ids.extend(decode(&mut engine, &[9], 30).expect("decodes").remove(0));
                engine.release(SequenceId(9));
                ids
            })
            .collect();
        let mut found: Vec<Vec<u32>> = vec![Vec::new(); 4];
        let mut fed = [0; 4];
        (0..4).for_each(|id| open(&mut engine, id, prompts[id as usize].len() + 40));
        while found.iter().any(|ids| ids.len() < 31) {
            let running: Vec<SequenceId> = (0..4)
                .filter(|id| fed[*id] == prompts[*id].len() && (1..31).contains(&found[*id].len()))
                .map(|id| SequenceId(id as u64))
                .collect();
            // As many rows as chance says, of whoever comes first.
            let mut rows = 1 + random.next() as usize % 90;
            let mut parts = Vec::new();
            for id in 0..4 {
                let more = rows.min(prompts[id].len() - fed[id]);
                if more > 0 {
                    let tokens = &prompts[id][fed[id]..fed[id] + more];
                    (rows, fed[id]) = (rows - more, fed[id] + more);
                    let is_last = fed[id] == prompts[id].len();
                    parts.push(PromptPart { sequence: SequenceId(id as u64), tokens, is_last });
                }
            }
            let mut sampled = if parts.is_empty() {
                block_on(engine.decode(&running)).expect("decodes")
            } else {
                block_on(engine.mixed(&parts, &running)).expect("mixes")
            };
            sampled.extend(block_on(engine.drain()).expect("drains"));
            for sampled in sampled {
                found[sampled.sequence.0 as usize].push(sampled.id);
            }
        }
        assert_eq!(found, expected, "{changes}, {blocks:?}");
        // What is refused leaves all as they were.
        let parts = [PromptPart { sequence: SequenceId(8), tokens: &[1, 2], is_last: true }];
        assert!(matches!(
            block_on(engine.mixed(&parts, &[SequenceId(0)])),
            Err(EngineError::UnknownSequence(SequenceId(8)))
        ));
        let more = decode(&mut engine, &[0], 5).expect("decodes").remove(0);
        assert_eq!(more.len(), 5);
    }
}
