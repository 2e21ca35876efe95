//! Models of many shapes against the CPU engine in f32: however a sequence is cut, batched or cached.

use phi3::candle_engine::CandleEngine;
use phi3::dtype::DType;
use phi3::engine::{Attention, Engine as _, LoadPlan, SequenceId};
use serde_json::{Value, json};

use crate::support::{
    Random, both, checkpoint, config, cuda, decode, full, has_gpu, load, open, plan, prefill, relative,
};

/// By the largest logit: f32 sums in another order; what 8 and 11 bits of mantissa leave after two or three layers.
const IN_F32: f64 = 5e-5;
const IN_BF16: f64 = 5e-2;
const IN_F16: f64 = 6e-3;
/// Of each format as it is computed somewhere.
pub(crate) const BOUNDS: [(DType, f64); 3] =
    [(DType::F32, IN_F32), (DType::Bf16, IN_BF16), (DType::F16, IN_F16)];
/// Whether weights are past f16, and the bound then: bf16 is held in f16 where they are not, and loses as much.
const WAYS: [(DType, bool, f64); 4] = [
    (DType::F32, false, IN_F32),
    (DType::Bf16, false, IN_F16),
    (DType::Bf16, true, IN_BF16),
    (DType::F16, false, IN_F16),
];

pub(crate) fn shapes() -> Vec<(&'static str, Value)> {
    let longrope = |pairs: usize| {
        let list = |scale: f64| (0..pairs).map(|i| 1.0 + scale * i as f64).collect::<Vec<_>>();
        json!({"type": "longrope", "short_factor": list(0.05), "long_factor": list(0.7)})
    };
    vec![
        (
            "mini",
            json!({"hidden_size": 384, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 4}),
        ),
        (
            "mini with a window",
            json!({"hidden_size": 384, "intermediate_size": 512, "num_attention_heads": 4,
            "num_key_value_heads": 4, "sliding_window": 150}),
        ),
        (
            "medium",
            json!({"hidden_size": 512, "intermediate_size": 768, "num_attention_heads": 4, "num_key_value_heads": 1,
            "num_hidden_layers": 3}),
        ),
        (
            "phi-4-mini",
            json!({"hidden_size": 768, "intermediate_size": 512, "num_attention_heads": 6,
            "num_key_value_heads": 2, "partial_rotary_factor": 0.75, "tie_word_embeddings": true, "vocab_size": 5000,
            "original_max_position_embeddings": 200, "rope_scaling": longrope(48), "sliding_window": 170}),
        ),
        (
            "heads of 64",
            json!({"hidden_size": 192, "intermediate_size": 320, "num_attention_heads": 3,
            "num_key_value_heads": 3}),
        ),
        (
            "odd",
            json!({"hidden_size": 84, "intermediate_size": 74, "num_attention_heads": 6, "num_key_value_heads": 3,
            "sliding_window": 23, "vocab_size": 91}),
        ),
    ]
}

#[test]
fn logits_of_one_pass() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    let mut failures = Vec::new();
    for (name, changes) in shapes() {
        let config = config(&changes);
        let stored = both(&config, &mut random, 0.05);
        let tokens = random.tokens(300, config.vocab_size);
        let reference = plan(&config, DType::F32, Attention::Eager, 300);
        let expected = full(&mut load::<CandleEngine>(&stored[0], &reference), &tokens);
        for attention in [Attention::Eager, Attention::Fused] {
            for (dtype, past, bound) in WAYS {
                let mut engine = cuda(&stored[usize::from(past)], &plan(&config, dtype, attention, 300));
                let found = relative(&full(&mut engine, &tokens), &expected);
                println!(
                    "{name}, {dtype}, past f16: {past}, {attention:?}: {found:.1e} of the largest logit, bound {bound:.0e}"
                );
                if found.is_nan() || found > bound {
                    failures.push(format!("{name} in {dtype}, past f16: {past}, {attention:?}: {found:e}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Few rows take other ways through the model than many, and one alone another still.
#[test]
fn few_rows_at_a_time() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    for (name, changes) in shapes() {
        let config = config(&changes);
        let stored = both(&config, &mut random, 0.05);
        let tokens = random.tokens(40, config.vocab_size);
        let reference = plan(&config, DType::F32, Attention::Eager, 60);
        let expected = full(&mut load::<CandleEngine>(&stored[0], &reference), &tokens);
        let peak = expected.iter().flatten().fold(0.0f32, |peak, value| peak.max(value.abs()));
        for (dtype, past, bound) in WAYS {
            let mut engine = cuda(&stored[usize::from(past)], &plan(&config, dtype, Attention::Fused, 60));
            let mut worst = 0.0f64;
            for count in [1, 2, 7, 8, 9, 16, 17, 31, 32, 33] {
                let found = relative(&full(&mut engine, &tokens[..count]), &expected[..count]);
                assert!(found <= bound, "{name}, {dtype}, past f16: {past}, {count} rows: {found:e}");
                worst = worst.max(found);
            }
            println!("{name}, {dtype}, past f16: {past}, 1 to 33 rows: {worst:.1e}");
            // In pieces of every size, the cache in between.
            open(&mut engine, 1, 60);
            let mut end = 0;
            for piece in [1, 1, 2, 5, 17, 1, 9] {
                let sampled =
                    prefill(&mut engine, &[(1, &tokens[end..end + piece])]).expect("prefills")[0] as usize;
                end += piece;
                let row = &expected[end - 1];
                let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                assert!(best - row[sampled] <= 2.0 * bound as f32 * peak, "{name}, {dtype}, at {end}");
            }
        }
    }
}

/// Keys in other formats than the weights.
#[test]
fn caches_of_every_format() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    for (name, changes) in shapes() {
        let config = config(&changes);
        let checkpoint = checkpoint(&config, &mut random, 0.05, |_, _, _| {});
        let tokens = random.tokens(60, config.vocab_size);
        let reference = plan(&config, DType::F32, Attention::Eager, 60);
        let expected = full(&mut load::<CandleEngine>(&checkpoint, &reference), &tokens);
        for attention in [Attention::Eager, Attention::Fused] {
            for (kv_dtype, bound) in
                [(DType::F32, 5e-5), (DType::Bf16, 2e-2), (DType::F16, 3e-3), (DType::Fp8, 2e-1)]
            {
                let plan = LoadPlan { kv_dtype, ..plan(&config, DType::F32, attention, 60) };
                let found = relative(&full(&mut cuda(&checkpoint, &plan), &tokens), &expected);
                println!("{name}, kv {kv_dtype}, {attention:?}: {found:.1e}");
                assert!(found <= bound, "{name}, kv {kv_dtype}, {attention:?}: {found:e}");
            }
        }
    }
}

/// Prompts in pieces, then steps, alone and in a batch of three, against greedy ids of the CPU engine. A step where the
/// reference is in two minds ends the comparison.
#[test]
fn ids_of_cut_and_batched_sequences() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    for (name, changes) in shapes() {
        let config = config(&changes);
        let checkpoint = checkpoint(&config, &mut random, 0.05, |_, _, _| {});
        let prompts: Vec<Vec<u32>> =
            [3, 40, 190].iter().map(|count| random.tokens(*count, config.vocab_size)).collect();
        let steps = 25;
        let reference = plan(&config, DType::F32, Attention::Eager, 300);
        let mut cpu = load::<CandleEngine>(&checkpoint, &reference);
        let mut expected = Vec::new();
        for prompt in &prompts {
            open(&mut cpu, 1, 300);
            let mut ids = prefill(&mut cpu, &[(1, prompt)]).expect("prefills");
            ids.extend(decode(&mut cpu, &[1], steps).expect("decodes").remove(0));
            cpu.release(SequenceId(1));
            let mut whole = prompt.clone();
            whole.extend(&ids);
            let rows = full(&mut cpu, &whole);
            let sure = |row: &Vec<f32>| {
                let mut sorted = row.clone();
                sorted.sort_by(|a, b| b.total_cmp(a));
                sorted[0] - sorted[1] > 2e-4 * sorted[0].abs()
            };
            let certain = rows[prompt.len() - 1..].iter().take_while(|row| sure(row)).count().min(ids.len());
            ids.truncate(certain);
            expected.push(ids);
        }
        assert!(expected.iter().map(Vec::len).sum::<usize>() > steps, "{name}: nothing is certain");
        for attention in [Attention::Eager, Attention::Fused] {
            let mut gpu = cuda(&checkpoint, &plan(&config, DType::F32, attention, 300));
            for (prompt, expected) in prompts.iter().zip(&expected) {
                for cut in [0, 1, prompt.len() / 2] {
                    open(&mut gpu, 7, prompt.len() + steps);
                    if cut > 0 {
                        prefill(&mut gpu, &[(7, &prompt[..cut])]).expect("prefills");
                    }
                    let mut ids = prefill(&mut gpu, &[(7, &prompt[cut..])]).expect("prefills");
                    ids.extend(decode(&mut gpu, &[7], steps).expect("decodes").remove(0));
                    assert_eq!(ids[..expected.len()], expected[..], "{name}, {attention:?}, cut at {cut}");
                    gpu.release(SequenceId(7));
                }
            }
            let batch: Vec<(u64, &[u32])> = (0..3).map(|i| (i as u64, prompts[i].as_slice())).collect();
            batch.iter().for_each(|(id, prompt)| open(&mut gpu, *id, prompt.len() + steps));
            let first = prefill(&mut gpu, &batch).expect("prefills");
            let rest = decode(&mut gpu, &[0, 1, 2], steps).expect("decodes");
            for (row, expected) in expected.iter().enumerate() {
                let mut ids = vec![first[row]];
                ids.extend(&rest[row]);
                assert_eq!(
                    ids[..expected.len()],
                    expected[..],
                    "{name}, {attention:?}, row {row} of a batch"
                );
            }
        }
    }
}

/// More tokens than go through the model at once.
#[test]
fn prompts_longer_than_a_chunk() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    let config = config(&json!({"hidden_size": 384, "intermediate_size": 512, "num_attention_heads": 4,
        "num_key_value_heads": 4, "sliding_window": 900, "num_hidden_layers": 1}));
    let stored = both(&config, &mut random, 0.05);
    let tokens = random.tokens(2100, config.vocab_size);
    let reference = plan(&config, DType::F32, Attention::Eager, 2100);
    let expected = full(&mut load::<CandleEngine>(&stored[0], &reference), &tokens);
    for (dtype, past, bound) in WAYS {
        for attention in [Attention::Eager, Attention::Fused] {
            let mut engine = cuda(&stored[usize::from(past)], &plan(&config, dtype, attention, 2100));
            let found = relative(&full(&mut engine, &tokens), &expected);
            assert!(found <= bound, "{dtype}, {attention:?}: {found:e}");
            open(&mut engine, 1, 2100);
            let sampled = prefill(&mut engine, &[(1, &tokens)]).expect("prefills")[0] as usize;
            let last = &expected[2099];
            let best = last.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let peak = expected.iter().flatten().fold(0.0f32, |peak, value| peak.max(value.abs()));
            assert!(
                best - last[sampled] <= 2.0 * bound as f32 * peak,
                "{dtype}, {attention:?}: id {sampled}"
            );
        }
    }
}
