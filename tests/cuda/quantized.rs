//! Quantised weights against the CPU engine on the same weights quantised and widened on the host.

use phi3::candle_engine::CandleEngine;
use phi3::dtype::DType;
use phi3::engine::{Attention, Diagnostics as _, Engine as _, SequenceId};
use phi3::estimate::weights_bytes;
use serde_json::{Value, json};

use crate::support::{
    Random, checkpoint, config, cuda, decode, full, has_gpu, load, open, plan, prefill, relative,
};

/// Rounded to f16 and back, through the one conversion that the standard library has not: by hand, to nearest even.
pub(crate) fn f16(value: f32) -> f32 {
    let bits = value.to_bits();
    let exponent = ((bits >> 23) & 255) as i32 - 127;
    if value == 0.0 {
        return 0.0;
    }
    // Below 2^-14 steps are 2^-24.
    let step = f32::from_bits(((exponent.max(-14) - 10 + 127) as u32) << 23);
    (value / step).round_ties_even() * step
}

/// What a block of 32 is after GGML's q8_0 or q4_0.
fn through_blocks(dtype: DType, values: &mut [f32]) {
    for block in values.chunks_exact_mut(32) {
        let peak = block.iter().copied().fold(0.0f32, |peak, v| if v.abs() > peak.abs() { v } else { peak });
        if dtype == DType::Q8_0 {
            let scale = peak.abs() / 127.0;
            block
                .iter_mut()
                .for_each(|v| *v = if scale > 0.0 { (*v / scale).round() * f16(scale) } else { 0.0 });
        } else {
            let scale = peak / -8.0;
            let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
            block.iter_mut().for_each(|v| *v = ((*v * inverse + 8.5).trunc().min(15.0) - 8.0) * f16(scale));
        }
    }
}

/// What a row is after e4m3 with the row's own scale.
fn through_fp8(row: &mut [f32]) {
    let most = row.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    let scale = if most > 0.0 { most / 448.0 } else { 1.0 };
    for value in row {
        let v = *value / scale;
        let exponent = (((v.to_bits() >> 23) & 255) as i32 - 127).max(-6);
        // Three bits of mantissa.
        let step = f32::from_bits(((exponent - 3 + 127) as u32) << 23);
        *value = (v / step).round_ties_even() * step * scale;
    }
}

/// What a tensor is after a quantised format that matrices are held in.
pub(crate) fn through(dtype: DType, shape: &[usize], values: &mut [f32]) {
    match shape {
        [_, columns] if dtype == DType::Fp8 => values.chunks_exact_mut(*columns).for_each(through_fp8),
        [_, _] => through_blocks(dtype, values),
        _ => {}
    }
}

fn shapes() -> [(&'static str, Value); 2] {
    [
        (
            "mini",
            json!({"hidden_size": 384, "intermediate_size": 544, "num_attention_heads": 4, "num_key_value_heads": 4}),
        ),
        (
            "grouped, tied",
            json!({"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4,
            "num_key_value_heads": 2, "tie_word_embeddings": true, "vocab_size": 1000, "partial_rotary_factor": 0.75}),
        ),
    ]
}

#[test]
fn logits_and_ids_of_quantised_weights() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    for (name, changes) in shapes() {
        let config = config(&changes);
        for dtype in [DType::Q8_0, DType::Q4_0, DType::Fp8] {
            let seed = random.next();
            let mut plain = Random::of(seed);
            let mut same = Random::of(seed);
            let stored = checkpoint(&config, &mut plain, 0.05, |_, _, _| {});
            let rounded =
                checkpoint(&config, &mut same, 0.05, |_, shape, values| through(dtype, shape, values));
            let tokens = random.tokens(90, config.vocab_size);
            let mut cpu = load::<CandleEngine>(&rounded, &plan(&config, DType::F32, Attention::Eager, 120));
            let expected = full(&mut cpu, &tokens);
            let mut gpu = cuda(&stored, &plan(&config, dtype, Attention::Fused, 120));
            // Activations are in bf16 beside quantised weights.
            let found = relative(&full(&mut gpu, &tokens), &expected);
            println!("{name} in {dtype}: {found:.1e} of the largest logit");
            assert!(found <= 5e-2, "{name} in {dtype}: {found:e}");

            // One row at a time: the products that read quantised weights as they are.
            open(&mut gpu, 1, 120);
            let peak = expected.iter().flatten().fold(0.0f32, |peak, value| peak.max(value.abs()));
            for (position, token) in tokens[..30].iter().enumerate() {
                let sampled = prefill(&mut gpu, &[(1, &[*token])]).expect("prefills")[0] as usize;
                let row = &expected[position];
                let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let short = (best - row[sampled]) / peak;
                assert!(short <= 0.1, "{name} in {dtype}, position {position}: {short} below the best");
            }
            decode(&mut gpu, &[1], 5).expect("decodes");
            gpu.release(SequenceId(1));

            let (held, counted) = (gpu.memory().weights_bytes, weights_bytes(&config.decoder(), dtype));
            if dtype == DType::Fp8 {
                // A scale a row, and norms that stay in f32, are not counted.
                assert!(held >= counted && held - counted < counted / 20, "{held} of {counted}");
            } else {
                assert_eq!(held, counted, "{name} in {dtype}");
            }
        }
    }
}

#[test]
fn rows_that_are_no_whole_blocks_are_refused() {
    if !has_gpu() {
        return;
    }
    let config = config(&json!({"intermediate_size": 74}));
    let stored = checkpoint(&config, &mut Random::new(), 0.05, |_, _, _| {});
    let result = crate::support::try_load::<phi3::cuda_engine::CudaEngine>(
        &stored,
        &plan(&config, DType::Q8_0, Attention::Fused, 20),
    );
    let error = result.err().expect("refused");
    assert!(error.code() == "unavailable" && error.to_string().contains("down_proj"), "{error}");
}
