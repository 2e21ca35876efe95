//! Rows of weights that are long enough to lie across a block (`across.cu`): one, two and five chunks a thread, in every
//! format, against the CPU engine in f32 on the same weights rounded on the host.

use phi3::candle_engine::CandleEngine;
use phi3::dtype::DType;
use phi3::engine::{Attention, Diagnostics as _, Engine as _, SequenceId};
use pollster::block_on;
use serde_json::{Value, json};

use crate::quantized::through;
use crate::support::{Random, checkpoint, config, cuda, full, has_gpu, load, open, past_f16, plan, prefill};

/// By the largest logit, as for other shapes; whether weights are past f16.
const WAYS: [(DType, bool, f64); 6] = [
    (DType::Bf16, false, 6e-3),
    (DType::Bf16, true, 5e-2),
    (DType::F16, false, 6e-3),
    (DType::Fp8, false, 5e-2),
    (DType::Q8_0, false, 5e-2),
    (DType::Q4_0, false, 5e-2),
];

/// `[hidden, intermediate]`, heads of 64 or 96, and what of it is long.
fn shapes() -> Vec<(&'static str, Value)> {
    let shape = |name: &'static str, [hidden, intermediate]: [usize; 2], [heads, kv, dim]: [usize; 3]| {
        let json = json!({"hidden_size": hidden, "intermediate_size": intermediate, "num_attention_heads": heads,
            "num_key_value_heads": kv, "head_dim": dim, "num_hidden_layers": 2});
        (name, json)
    };
    vec![
        shape("hidden and o in 16 bits, down five chunks a thread", [1536, 8224], [16, 4, 96]),
        shape("hidden quantised", [3104, 320], [2, 1, 64]),
        shape("hidden two chunks a thread in 16 bits", [6176, 320], [2, 1, 64]),
        shape("hidden two chunks a thread quantised", [8224, 320], [2, 1, 64]),
        shape("down of q4_0, of others one and two chunks", [192, 6208], [2, 1, 96]),
        shape("down of q4_0 two chunks", [192, 8224], [2, 1, 96]),
        shape("down five chunks quantised, too long in 16 bits", [192, 32832], [2, 2, 96]),
        shape("no multiple of 32: several rows, each by itself", [3088, 3088], [2, 1, 64]),
    ]
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|v| f64::from(v - most).exp()).sum();
    row.iter().map(|v| f64::from(v - most) - sum.ln()).collect()
}

#[test]
fn products_with_rows_across_a_block() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    for (name, changes) in shapes() {
        let config = config(&changes);
        let whole_blocks = config.hidden_size.is_multiple_of(32);
        for (dtype, past, bound) in WAYS {
            if !whole_blocks && matches!(dtype, DType::Q8_0 | DType::Q4_0) {
                // Such a model is refused.
                continue;
            }
            let (stored, rounded) = {
                let seed = random.next();
                let make = |rounds: bool| {
                    checkpoint(&config, &mut Random::of(seed), 0.03, |tensor, shape, values| {
                        if past {
                            past_f16(tensor, shape, values);
                        }
                        if rounds && !dtype.is_float() {
                            through(dtype, shape, values);
                        }
                    })
                };
                (make(false), make(true))
            };
            let tokens = random.tokens(6, config.vocab_size);
            let reference = plan(&config, DType::F32, Attention::Eager, 12);
            let expected = full(&mut load::<CandleEngine>(&rounded, &reference), &tokens);
            let peak = expected.iter().flatten().fold(0.0f32, |peak, value| peak.max(value.abs()));
            let mut engine = cuda(&stored, &plan(&config, dtype, Attention::Fused, 12));
            let mut worst = 0.0f64;
            let mut compare = |found: &phi3::engine::Logprobs, row: &[f32]| {
                let expected = log_softmax(row);
                assert_eq!(found.top.len(), expected.len());
                for (id, logprob) in &found.top {
                    let difference = (logprob - expected[*id as usize]).abs();
                    worst = if difference.is_nan() { difference } else { worst.max(difference) };
                }
            };
            // One token at a time: every product has one row.
            open(&mut engine, 1, 12);
            for (position, token) in tokens.iter().enumerate() {
                let sampled = prefill(&mut engine, &[(1, &[*token])]).expect("prefills")[0];
                let all = block_on(engine.logprobs(SequenceId(1), sampled, config.vocab_size));
                compare(&all.expect("logprobs"), &expected[position]);
            }
            engine.release(SequenceId(1));
            // Three sequences a step, each at another place.
            (0..3).for_each(|id| open(&mut engine, id, 12));
            for id in 1..3 {
                prefill(&mut engine, &[(id as u64, &tokens[..id])]).expect("prefills");
            }
            for step in 0..3 {
                let prompts: Vec<(u64, &[u32])> =
                    (0..3).map(|id| (id as u64, &tokens[id + step..=id + step])).collect();
                let sampled = prefill(&mut engine, &prompts).expect("prefills");
                for (id, sampled) in sampled.into_iter().enumerate() {
                    let all = block_on(engine.logprobs(SequenceId(id as u64), sampled, config.vocab_size));
                    compare(&all.expect("logprobs"), &expected[id + step]);
                }
            }
            let found = worst / f64::from(peak);
            println!("{name}, {dtype}: {found:.1e} of the largest logit, bound {bound:.0e}");
            assert!(found <= bound, "{name} in {dtype}: {found:e}");
        }
    }
}
