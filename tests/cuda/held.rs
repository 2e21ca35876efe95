//! bf16 that is held in f16: what f16 cannot hold is computed in bf16, whenever it comes up.

use phi3::candle_engine::{CandleEngine, CandleHost};
use phi3::config::ModelConfig;
use phi3::cuda_engine::{Cuda, CudaEngine};
use phi3::dtype::DType;
use phi3::engine::{Attention, Diagnostics, Engine, LoadPlan, SequenceId, Split};
use phi3::placement::DeviceId;
use pollster::block_on;
use serde_json::json;

use crate::shapes::BOUNDS;
use crate::support::{
    Bytes, Random, checkpoint, config, decode, full, has_gpu, load, open, past_f16, plan, prefill, relative,
};

/// The id that no f16 comes through with.
const SPIKE: u32 = 7;
/// Where its embedding stands out, and where all have the same.
const OWN: usize = 3;
const ALL: usize = 5;
/// What is lost of logits, by the largest: in f16 3e-4 to 5e-4, in bf16 1.4e-3 and more.
const FINER: f64 = 1e-3;

fn bound(dtype: DType) -> f64 {
    BOUNDS.into_iter().find(|(of, _)| *of == dtype).expect("a bound").1
}

/// A model whose first gates are past the range of f16 after [`SPIKE`] and after nothing else. Where it is `drawn` to that
/// id, it is what follows any other.
fn spiked(config: &ModelConfig, random: &mut Random, drawn: bool) -> Bytes {
    checkpoint(config, random, 0.05, |name, shape, values| {
        let columns = shape.last().copied().unwrap_or_default();
        let column = |values: &mut [f32], at: usize, change: &dyn Fn(usize, f32) -> f32| {
            for (row, values) in values.chunks_exact_mut(columns).enumerate() {
                values[at] = change(row, values[at]);
            }
        };
        // Neither place is written to by a layer.
        if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
            for at in [OWN, ALL] {
                values[at * columns..(at + 1) * columns].fill(0.0);
            }
        }
        match name {
            "model.embed_tokens.weight" => {
                column(values, OWN, &|row, _| if row == SPIKE as usize { 1.0 } else { 0.0 });
                column(values, ALL, &|_, _| 1.0);
            }
            "model.layers.0.mlp.gate_up_proj.weight" => column(values, OWN, &|_, value| value * 32_768.0),
            "lm_head.weight" if drawn => {
                column(values, ALL, &|row, _| if row == SPIKE as usize { 4.0 } else { 0.0 })
            }
            _ => {}
        }
    })
}

fn ids_without(random: &mut Random, count: usize, config: &ModelConfig) -> Vec<u32> {
    let tokens = random.tokens(count, config.vocab_size);
    tokens.into_iter().map(|id| if id == SPIKE { id + 1 } else { id }).collect()
}

/// Every id is the likeliest of what the reference says, but for the bound.
fn follows(reference: &mut CandleEngine, prompt: &[u32], ids: &[u32], what: &str) {
    let whole: Vec<u32> = prompt.iter().chain(ids).copied().collect();
    let rows = full(reference, &whole);
    let peak = rows.iter().flatten().fold(0.0f32, |peak, value| peak.max(value.abs()));
    for (row, id) in rows[prompt.len() - 1..].iter().zip(ids) {
        let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let short = f64::from((best - row[*id as usize]) / peak);
        assert!(short <= 2.0 * bound(DType::Bf16), "{what}: {id} is {short} below the likeliest");
    }
}

#[test]
fn what_is_past_f16_is_computed_in_bf16() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    let config = config(&json!({}));
    let stored = spiked(&config, &mut random, false);
    let mut reference = load::<CandleEngine>(&stored, &plan(&config, DType::F32, Attention::Eager, 100));
    let layers = config.num_hidden_layers;
    let split = |first: DeviceId, second: DeviceId| Split {
        embedding: first.clone(),
        layers: (0..layers)
            .map(|layer| if layer < layers / 2 { first.clone() } else { second.clone() })
            .collect(),
        norm: second.clone(),
        head: second,
    };
    let gpu = || DeviceId::Gpu { backend: "cuda".to_owned(), index: 0 };
    let places = [None, Some(split(gpu(), DeviceId::Cpu)), Some(split(DeviceId::Cpu, gpu()))];
    for (split, attention) in
        places.iter().flat_map(|split| [(split, Attention::Eager), (split, Attention::Fused)])
    {
        for rows in [1, 2, 9, 40] {
            let what = format!("{attention:?}, {rows} rows, {split:?}");
            let plan = LoadPlan { split: split.clone(), ..plan(&config, DType::Bf16, attention, 100) };
            let mut engine = load::<Cuda<CandleHost>>(&stored, &plan);
            // As it is held at first it is finer than bf16 is.
            let plain = ids_without(&mut random, 60, &config);
            let found = relative(&full(&mut engine, &plain), &full(&mut reference, &plain));
            println!("{what}: {found:.1e} before");
            let finer = if split.is_none() { FINER } else { bound(DType::Bf16) };
            assert!(found <= finer, "{what}: {found}");
            let prompt = ids_without(&mut random, 20, &config);
            open(&mut engine, 1, 90);
            let mut ids = prefill(&mut engine, &[(1, &prompt)]).expect("prefills");
            ids.extend(decode(&mut engine, &[1], 5).expect("decodes").remove(0));
            // A step that is on its way when it comes up.
            ids.extend(block_on(engine.decode(&[SequenceId(1)])).expect("a step").iter().map(|it| it.id));
            let mut other = ids_without(&mut random, rows, &config);
            other[rows / 2] = SPIKE;
            open(&mut engine, 2, 90);
            let read = block_on(engine.drain()).expect("drains");
            ids.extend(read.iter().map(|it| it.id));
            let mut others = prefill(&mut engine, &[(2, &other)]).expect("prefills");
            let [more, others_more] =
                <[_; 2]>::try_from(decode(&mut engine, &[1, 2], 9).expect("decodes")).expect("two");
            ids.extend(more);
            others.extend(others_more);
            assert_eq!([ids.len(), others.len()], [16, 10], "{what}");
            follows(&mut reference, &prompt, &ids, &what);
            follows(&mut reference, &other, &others, &what);
            let found = relative(&full(&mut engine, &other), &full(&mut reference, &other));
            println!("{what}: {found:.1e} after");
            assert!(found <= bound(DType::Bf16), "{what}: {found}");
            let counts = block_on(engine.non_finite(&other, &mut |_, _| {})).expect("counts");
            assert_eq!(counts, vec![(0, 0); layers + 1], "{what}");
        }
    }
}

/// A look inside is the first to meet it: nothing of what f16 made of it is shown.
#[test]
fn a_look_inside_shows_no_infinities_of_f16() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    let config = config(&json!({}));
    let stored = spiked(&config, &mut random, false);
    let mut tokens = ids_without(&mut random, 50, &config);
    tokens[20] = SPIKE;
    let mut reference = load::<CandleEngine>(&stored, &plan(&config, DType::F32, Attention::Eager, 60));
    let expected = full(&mut reference, &tokens);
    let load = || load::<CudaEngine>(&stored, &plan(&config, DType::Bf16, Attention::Fused, 60));
    let counts = block_on(load().non_finite(&tokens, &mut |_, _| {})).expect("counts");
    assert_eq!(counts, vec![(0, 0); config.num_hidden_layers + 1]);
    let found = relative(&full(&mut load(), &tokens), &expected);
    assert!(found <= bound(DType::Bf16), "{found}");
}

/// Steps that were queued before the first of them was known to have failed.
#[test]
fn steps_on_their_way_are_done_again() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    let config = config(&json!({}));
    let stored = spiked(&config, &mut random, true);
    let mut reference = load::<CandleEngine>(&stored, &plan(&config, DType::F32, Attention::Eager, 60));
    for blocks in [None, Some(64)] {
        for count in [1, 3] {
            let plan = LoadPlan { kv_blocks: blocks, ..plan(&config, DType::Bf16, Attention::Fused, 60) };
            let mut engine = load::<CudaEngine>(&stored, &plan);
            let names: Vec<u64> = (1..=count).collect();
            let prompt = |name: &u64| ids_without(&mut random, 5 + *name as usize, &config);
            let prompts: Vec<Vec<u32>> = names.iter().map(prompt).collect();
            for (name, prompt) in names.iter().zip(&prompts) {
                open(&mut engine, *name, 40);
                assert_eq!(prefill(&mut engine, &[(*name, prompt)]).expect("prefills").pop(), Some(SPIKE));
            }
            let found = decode(&mut engine, &names, 12).expect("decodes");
            for (prompt, ids) in prompts.iter().zip(found) {
                let ids: Vec<u32> = std::iter::once(SPIKE).chain(ids).collect();
                follows(&mut reference, prompt, &ids, &format!("{blocks:?}"));
            }
            names.iter().for_each(|name| engine.release(SequenceId(*name)));
        }
    }
}

/// A key that f16 has no place for, of which queries say that it counts: as an infinity it would be passed over.
#[test]
fn a_key_past_f16_is_not_passed_over() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    // Of each head of 16 the last four are not rotated.
    let config = config(&json!({"partial_rotary_factor": 0.75}));
    let (dim, queries, keys) = (config.head_dim, config.num_attention_heads, config.num_key_value_heads);
    let stored = checkpoint(&config, &mut random, 0.05, |name, shape, values| match name {
        "model.embed_tokens.weight" => {
            for (id, row) in values.chunks_exact_mut(shape[1]).enumerate() {
                row[OWN] = if id == SPIKE as usize { 1.0 } else { 0.0 };
                row[ALL] = 1.0;
            }
        }
        "model.layers.0.self_attn.qkv_proj.weight" => {
            for (at, row) in values.chunks_exact_mut(shape[1]).enumerate() {
                let (head, within) = (at / dim, at % dim);
                match (head < queries, head < queries + keys) {
                    (_, true) if within == dim - 1 => {
                        let [own, all] = if head < queries { [0.0, -1e-5] } else { [16_384.0, 0.0] };
                        row.fill(0.0);
                        (row[OWN], row[ALL]) = (own, all);
                    }
                    (false, false) => row[OWN] *= 64.0,
                    _ => {}
                }
            }
        }
        _ => {}
    });
    let mut reference = load::<CandleEngine>(&stored, &plan(&config, DType::F32, Attention::Eager, 60));
    for attention in [Attention::Eager, Attention::Fused] {
        for count in [3, 20, 50] {
            let mut tokens = ids_without(&mut random, count, &config);
            tokens[1] = SPIKE;
            let expected = full(&mut reference, &tokens);
            let load = || load::<CudaEngine>(&stored, &plan(&config, DType::Bf16, attention, 60));
            let found = relative(&full(&mut load(), &tokens), &expected);
            println!("{attention:?}, {count}: {found:.1e}");
            assert!(found <= bound(DType::Bf16), "{attention:?}, {count}: {found}");
            // One row at a time.
            let mut engine = load();
            open(&mut engine, 1, 60);
            let sampled: Vec<u32> =
                tokens.iter().map(|id| prefill(&mut engine, &[(1, &[*id])]).expect("prefills")[0]).collect();
            for (position, id) in sampled.into_iter().enumerate() {
                follows(&mut reference, &tokens[..=position], &[id], "one at a time");
            }
        }
    }
}

/// Weights that f16 has no place for are held as they are from the beginning.
#[test]
fn weights_past_f16_are_held_in_bf16() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    type Change = fn(&str, &[usize], &mut [f32]);
    fn times(values: &mut [f32], factor: f32) {
        values.iter_mut().for_each(|value| *value *= factor);
    }
    // The same model each time, in numbers too large or too small for f16.
    let gates: Change = |name, _, values| match name {
        "model.layers.1.post_attention_layernorm.weight" => times(values, 1_048_576.0),
        "model.layers.1.mlp.gate_up_proj.weight" => times(values, 1.0 / 1_048_576.0),
        _ => {}
    };
    // Rows of a matrix whose other rows are as large as ever: values of two heads of 16, and ups.
    let heads: Change = |name, shape, values| match name {
        "model.layers.0.self_attn.qkv_proj.weight" => {
            times(&mut values[(shape[0] - 32) * shape[1]..], 1.0 / 262_144.0);
        }
        "model.layers.0.self_attn.o_proj.weight" => times(values, 262_144.0),
        _ => {}
    };
    let ups: Change = |name, shape, values| match name {
        "model.layers.0.mlp.gate_up_proj.weight" => {
            times(&mut values[shape[0] / 2 * shape[1]..], 1.0 / 262_144.0);
        }
        "model.layers.0.mlp.down_proj.weight" => times(values, 262_144.0),
        _ => {}
    };
    // Rows that are normed as soon as they are looked up.
    let rows: Change = |name, shape, values| {
        if name == "model.embed_tokens.weight" {
            times(&mut values[9 * shape[1]..20 * shape[1]], 1.0 / 65_536.0);
        }
    };
    let cases: [(&str, bool, Change); 6] = [
        ("large", false, past_f16),
        ("gates", false, gates),
        ("heads", false, heads),
        ("ups", false, ups),
        ("rows", false, rows),
        ("rows", true, rows),
    ];
    for (what, tied, change) in cases {
        let config = config(&json!({"tie_word_embeddings": tied}));
        let stored = checkpoint(&config, &mut random, 0.1, change);
        let tokens: Vec<u32> = (0..40).collect();
        let mut reference = load::<CandleEngine>(&stored, &plan(&config, DType::F32, Attention::Eager, 60));
        let expected = full(&mut reference, &tokens);
        let plan = plan(&config, DType::Bf16, Attention::Fused, 60);
        let found = relative(&full(&mut load::<CudaEngine>(&stored, &plan), &tokens), &expected);
        println!("{what}, tied: {tied}: {found:.1e}");
        assert!(found <= bound(DType::Bf16), "{what}, tied: {tied}: {found}");
    }
}
