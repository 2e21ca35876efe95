//! Models on several devices: GPUs after one another, and layers on the CPU beside them.

use phi3::candle_engine::{CandleEngine, CandleHost};
use phi3::config::ModelConfig;
use phi3::cuda_engine::{Cuda, CudaEngine};
use phi3::dtype::DType;
use phi3::engine::{Attention, Diagnostics, Engine, EngineError, LoadPlan, Sampling, SequenceId, Split};
use phi3::estimate::{Options, Resolved};
use phi3::placement::{self, Device, DeviceId, Devices, Rules, Strategy};
use phi3::rope::Rope;
use pollster::block_on;
use serde_json::{Value, json};

use crate::shapes::{BOUNDS, shapes};
use crate::support::{
    Bytes, Random, both, checkpoint, config, cuda, decode, full, has_gpu, load, open, plan, prefill,
    relative, try_load,
};

type Mixed = Cuda<CandleHost>;

/// CUDA devices, where there are enough of them; says so where there are not.
fn gpus(least: usize) -> Option<Vec<DeviceId>> {
    if !has_gpu() {
        return None;
    }
    let found = block_on(CudaEngine::devices()).expect("devices");
    if found.len() < least {
        eprintln!("not run: {} CUDA device here, {least} are needed", found.len());
        return None;
    }
    Some(found.into_iter().map(|info| info.device).collect())
}

/// The same shape with four layers.
fn deep(changes: &Value) -> ModelConfig {
    let mut changes = changes.clone();
    changes["num_hidden_layers"] = json!(4);
    config(&changes)
}

/// Every part on one of these devices, each of them used; a tied head stays with the embedding.
fn any_split(config: &ModelConfig, devices: &[DeviceId], random: &mut Random) -> Split {
    loop {
        let mut one = || devices[(random.next() % devices.len() as u64) as usize].clone();
        let [embedding, norm, head] = [one(), one(), one()];
        let layers = (0..config.num_hidden_layers).map(|_| one()).collect();
        let head = if config.tie_word_embeddings { embedding.clone() } else { head };
        let split = Split { embedding, layers, norm, head };
        if split.devices().len() == devices.len() {
            return split;
        }
    }
}

fn told(split: &Split) -> String {
    let layers: Vec<_> = split.layers.iter().map(ToString::to_string).collect();
    format!("{} [{}] {} {}", split.embedding, layers.join(" "), split.norm, split.head)
}

fn best(row: &[f32]) -> f32 {
    row.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Prompts in pieces and in one, alone and in a batch, and steps after them: each id is the likeliest of what one pass
/// over the same tokens gives, but for `slack`.
fn follows(engine: &mut Mixed, rope: &Rope, prompts: &[Vec<u32>], steps: usize, slack: f32, what: &str) {
    let check = |engine: &mut Mixed, prompt: &[u32], ids: &[u32], way: &str| {
        let whole: Vec<u32> = prompt.iter().chain(ids).copied().collect();
        // A pass rotates all of its keys by the factors of its length, as the sequence did when it had that length.
        for long in [false, true] {
            let lengths = (prompt.len()..whole.len()).filter(|length| rope.is_long(*length) == long);
            let Some(last) = lengths.clone().next_back() else { continue };
            let rows = full(engine, &whole[..last]);
            for length in lengths {
                let (row, id) = (&rows[length - 1], whole[length]);
                let short = best(row) - row[id as usize];
                assert!(short <= slack, "{what}, {way}, {length} tokens: {short} below the best");
            }
        }
    };
    for prompt in prompts {
        for cut in [0, prompt.len() / 2] {
            open(engine, 9, prompt.len() + steps);
            if cut > 0 {
                prefill(engine, &[(9, &prompt[..cut])]).expect("prefills");
            }
            let mut ids = prefill(engine, &[(9, &prompt[cut..])]).expect("prefills");
            ids.extend(decode(engine, &[9], steps).expect("decodes").remove(0));
            check(engine, prompt, &ids, "alone");
            engine.release(SequenceId(9));
        }
    }
    let batch: Vec<(u64, &[u32])> = (0..).zip(prompts).map(|(id, prompt)| (id, prompt.as_slice())).collect();
    batch.iter().for_each(|(id, prompt)| open(engine, *id, prompt.len() + steps));
    let first = prefill(engine, &batch).expect("prefills");
    let sequences: Vec<u64> = batch.iter().map(|(id, _)| *id).collect();
    let rest = decode(engine, &sequences, steps).expect("decodes");
    for ((prompt, first), rest) in prompts.iter().zip(first).zip(rest) {
        let ids: Vec<u32> = std::iter::once(first).chain(rest).collect();
        check(engine, prompt, &ids, "in a batch");
    }
    sequences.iter().for_each(|id| engine.release(SequenceId(*id)));
}

/// Every shape on these devices, in splits that differ from run to run, against the CPU engine in f32.
fn any_split_computes_the_same(devices: &[DeviceId]) {
    let mut random = Random::new();
    for (name, changes) in shapes() {
        let config = deep(&changes);
        let rope = Rope::new(&config);
        let stored = both(&config, &mut random, 0.05);
        let prompts: Vec<_> =
            [3, 41, 195].iter().map(|count| random.tokens(*count, config.vocab_size)).collect();
        let reference = plan(&config, DType::F32, Attention::Eager, 220);
        let expected = full(&mut load::<CandleEngine>(&stored[0], &reference), &prompts[2]);
        let peak = expected.iter().flatten().fold(0.0f32, |peak, value| peak.max(value.abs()));
        for (dtype, bound) in BOUNDS {
            // Either, by chance: on the CPU all of them take minutes.
            let attention = if random.next().is_multiple_of(2) { Attention::Eager } else { Attention::Fused };
            let past = dtype == DType::Bf16 && random.next().is_multiple_of(2);
            let split = any_split(&config, devices, &mut random);
            let what = format!("{name}, {dtype}, past f16: {past}, {attention:?}, {}", told(&split));
            let plan = LoadPlan { split: Some(split), ..plan(&config, dtype, attention, 220) };
            let mut engine = load::<Mixed>(&stored[usize::from(past)], &plan);
            let found = relative(&full(&mut engine, &prompts[2]), &expected);
            eprintln!("{what}: {found:.1e} of the largest logit, bound {bound:.0e}");
            assert!(found <= bound, "{what}: {found:e}");
            follows(&mut engine, &rope, &prompts, 7, 2.0 * bound as f32 * peak, &what);
        }
    }
}

#[test]
fn layers_on_the_cpu_beside_a_gpu() {
    let Some(gpus) = gpus(1) else { return };
    any_split_computes_the_same(&[gpus[0].clone(), DeviceId::Cpu]);
}

#[test]
fn layers_on_two_gpus() {
    let Some(gpus) = gpus(2) else { return };
    any_split_computes_the_same(&gpus[..2]);
}

#[test]
fn layers_on_two_gpus_and_the_cpu() {
    let Some(gpus) = gpus(2) else { return };
    any_split_computes_the_same(&[gpus[0].clone(), gpus[1].clone(), DeviceId::Cpu]);
}

/// The first layers with the embedding, the others with norm and head.
fn halves(config: &ModelConfig, first: &DeviceId, second: &DeviceId) -> Split {
    let layers = config.num_hidden_layers;
    let layers = (0..layers).map(|layer| if layer < layers / 2 { first.clone() } else { second.clone() });
    Split { embedding: first.clone(), layers: layers.collect(), norm: second.clone(), head: second.clone() }
}

/// The same kernels on the same numbers: the second device changes nothing at all.
#[test]
fn two_gpus_are_one_to_the_bit() {
    let Some(gpus) = gpus(2) else { return };
    let mut random = Random::new();
    for (name, changes) in shapes() {
        let config = deep(&changes);
        if config.tie_word_embeddings {
            continue;
        }
        let stored = checkpoint(&config, &mut random, 0.05, |_, _, _| {});
        let tokens = random.tokens(190, config.vocab_size);
        for dtype in [DType::F32, DType::Bf16, DType::Q8_0] {
            if !config.hidden_size.is_multiple_of(32) && !dtype.is_float() {
                continue;
            }
            let whole = plan(&config, dtype, Attention::Fused, 220);
            let split = Some(halves(&config, &gpus[1], &gpus[0]));
            let mut one = cuda(&stored, &whole);
            let mut two = cuda(&stored, &LoadPlan { split, ..whole });
            assert_eq!(full(&mut two, &tokens), full(&mut one, &tokens), "{name}, {dtype}");
            let ids = [&mut one, &mut two].map(|engine| {
                (1..4).for_each(|id| open(engine, id, 220));
                let prompts = [(1, &tokens[..190]), (2, &tokens[..7]), (3, &tokens[50..100])];
                let mut ids = prefill(engine, &prompts).expect("prefills");
                ids.extend(decode(engine, &[1, 2, 3], 20).expect("decodes").concat());
                ids
            });
            assert_eq!(ids[0], ids[1], "{name}, {dtype}");
        }
    }
}

/// More tokens than go through the model at once: chunks follow one another over the devices.
#[test]
fn prompts_longer_than_a_chunk_pass_over() {
    let Some(gpus) = gpus(1) else { return };
    let mut random = Random::new();
    let config = deep(&json!({"hidden_size": 384, "intermediate_size": 512, "num_attention_heads": 4,
        "num_key_value_heads": 4, "sliding_window": 900}));
    let stored = checkpoint(&config, &mut random, 0.05, |_, _, _| {});
    let tokens = random.tokens(4500, config.vocab_size);
    let mut seconds = vec![DeviceId::Cpu];
    seconds.extend(gpus.get(1).cloned());
    let whole = plan(&config, DType::F32, Attention::Fused, 4600);
    let mut one = cuda(&stored, &whole);
    open(&mut one, 1, 4600);
    let mut expected = prefill(&mut one, &[(1, &tokens)]).expect("prefills");
    expected.extend(decode(&mut one, &[1], 9).expect("decodes").remove(0));
    let mut all = tokens.clone();
    all.extend(&expected[..9]);
    let rows = full(&mut one, &all);
    for second in seconds {
        let split = Some(halves(&config, &gpus[0], &second));
        let mut two = load::<Mixed>(&stored, &LoadPlan { split, ..whole.clone() });
        open(&mut two, 1, 4600);
        let mut ids = prefill(&mut two, &[(1, &tokens)]).expect("prefills");
        ids.extend(decode(&mut two, &[1], 9).expect("decodes").remove(0));
        for (step, (id, row)) in ids.iter().zip(&rows[tokens.len() - 1..]).enumerate() {
            if *id != expected[step] {
                let short = best(row) - row[*id as usize];
                assert!(short <= 1e-4 * best(row).abs(), "{second}, step {step}: {short} below the best");
                // From here on it is another text.
                break;
            }
        }
    }
}

/// Each device holds what the planner says, to the byte, in every format.
#[test]
fn each_device_holds_what_the_planner_says() {
    let Some(gpus) = gpus(1) else { return };
    let config = deep(&json!({"hidden_size": 384, "intermediate_size": 512, "num_attention_heads": 4,
        "num_key_value_heads": 4, "vocab_size": 5000}));
    let stored = checkpoint(&config, &mut Random::new(), 0.05, |_, _, _| {});
    let decoder = config.decoder();
    let mut devices = vec![gpus[0].clone(), DeviceId::Cpu];
    devices.extend(gpus.get(1).cloned());
    for dtype in [DType::F32, DType::Bf16, DType::Q8_0, DType::Q4_0] {
        for attention in [Attention::Eager, Attention::Fused] {
            let mut random = Random::new();
            let split = any_split(&config, &devices, &mut random);
            let plan = LoadPlan {
                split: Some(split.clone()),
                batch: 2,
                kv_dtype: DType::Bf16,
                ..plan(&config, dtype, attention, 3000)
            };
            let mut engine = load::<Mixed>(&stored, &plan);
            (0..2).for_each(|id| open(&mut engine, id, 3000));
            let options = Options {
                dtype: Some(dtype.into()),
                kv_dtype: Some(DType::Bf16),
                context: Some(3000),
                batch: Some(2),
                attn: Some(attention),
                ..Options::default()
            };
            let resolved = Resolved::new(&decoder, None, &options).expect("options");
            let workload = placement::workload(&decoder, None, &resolved);
            let budgets = devices.iter().map(|id| Device::new(id.clone(), 1 << 40)).collect();
            let map = workload.modules.iter().filter_map(|module| {
                let rest = module.name.strip_prefix("model.layers.");
                let device = match (module.name.as_str(), rest.and_then(|layer| layer.parse::<usize>().ok()))
                {
                    (_, Some(layer)) => &split.layers[layer],
                    ("model.embed_tokens", _) => &split.embedding,
                    ("model.norm", _) => &split.norm,
                    ("lm_head", _) => &split.head,
                    _ => return None,
                };
                Some((module.name.clone(), device.clone()))
            });
            let strategy = Strategy::Explicit(map.collect());
            let budgets = Devices::stated(budgets).expect("devices");
            let placed =
                placement::plan(&workload, &budgets, &strategy, Rules::Preflight).expect("a placement");
            let held = engine.memory_by_device();
            assert_eq!(held.len(), devices.len());
            for (device, held) in held {
                let planned =
                    placed.devices.iter().find(|planned| planned.device == device).expect("planned");
                let what = format!("{device} of {}, {dtype}, {attention:?}", told(&split));
                assert_eq!(held.weights_bytes, planned.weights_bytes, "{what}");
                assert_eq!(held.kv_cache_bytes, planned.kv_cache_bytes, "{what}");
                assert_eq!(held.activation_bytes, planned.activation_bytes, "{what}");
                assert_eq!(held.overhead_bytes > 0, device != DeviceId::Cpu, "{what}");
                println!("{what}: {held:?}, runtime planned {}", planned.overhead_bytes);
            }
        }
    }
}

#[test]
fn what_cannot_be_split_is_refused_with_the_reason() {
    let Some(gpus) = gpus(1) else { return };
    let config = config(&json!({"hidden_size": 384, "num_attention_heads": 4, "num_key_value_heads": 4,
        "intermediate_size": 512}));
    let stored = checkpoint(&config, &mut Random::new(), 0.05, |_, _, _| {});
    let to = |second: &str| {
        let second = second.parse().expect("a device");
        let plan = plan(&config, DType::Bf16, Attention::Fused, 100);
        LoadPlan { split: Some(halves(&config, &gpus[0], &second)), ..plan }
    };
    let refused =
        |plan: &LoadPlan| try_load::<Mixed>(&stored, plan).map(|_| ()).expect_err("refused").to_string();
    assert!(refused(&to("cuda:99")).contains("there is no device cuda:99"));
    assert!(refused(&to("cpu:1")).contains("cpu:1 is not available"));
    assert!(refused(&to("wgpu:0")).contains("wgpu:0 is not available"));
    let narrow = LoadPlan { dtype: DType::Fp8, kv_dtype: DType::Bf16, ..to("cpu") };
    assert!(refused(&narrow).contains("the CPU computes in"), "{}", refused(&narrow));
    let narrow = LoadPlan { kv_dtype: DType::Fp8, ..to("cpu") };
    assert!(refused(&narrow).contains("the CPU keeps keys and values in"));
    let alone = try_load::<CudaEngine>(&stored, &to("cpu")).map(|_| ()).expect_err("refused").to_string();
    assert!(alone.contains("this build computes on GPUs alone"), "{alone}");
    try_load::<Mixed>(&stored, &to("cpu")).map(|_| ()).expect("loads");
}

/// A step that fails on its way leaves every sequence as it was; NaN is found in the layer where it begins.
#[test]
fn faults_on_the_way() {
    let Some(gpus) = gpus(1) else { return };
    let config = deep(&json!({}));
    let with_nan = |layer: usize| -> Bytes {
        let name = format!("model.layers.{layer}.mlp.down_proj.weight");
        checkpoint(&config, &mut Random::of(7), 0.1, |tensor, _, values| {
            if tensor == name {
                values[0] = f32::NAN;
            }
        })
    };
    for (first, second) in [(&gpus[0], &DeviceId::Cpu), (&DeviceId::Cpu, &gpus[0])] {
        let split = halves(&config, first, second);
        let plan = LoadPlan { split: Some(split), ..plan(&config, DType::F32, Attention::Fused, 40) };
        for layer in [1, 2] {
            let mut engine = load::<Mixed>(&with_nan(layer), &plan);
            open(&mut engine, 1, 10);
            assert!(matches!(prefill(&mut engine, &[(1, &[1, 2, 3])]), Err(EngineError::NanLogits)));
            let counts = block_on(engine.non_finite(&[1, 2, 3], &mut |_, _| {})).expect("counts");
            assert_eq!(counts[..layer], vec![(0, 0); layer], "{first} {second}");
            assert_eq!((counts[layer], counts[4]), ((3, 0), (3 * 333, 0)), "{first} {second}");
        }
        let stored = checkpoint(&config, &mut Random::of(7), 0.1, |_, _, _| {});
        let mut engine = load::<Mixed>(&stored, &plan);
        open(&mut engine, 1, 12);
        let ids = prefill(&mut engine, &[(1, &[5, 6, 7])]).expect("prefills");
        assert_eq!(prefill(&mut engine, &[(1, &[5; 10])]).expect_err("full").code(), "sequence_full");
        assert_eq!(prefill(&mut engine, &[(1, &[333])]).expect_err("outside").code(), "token_out_of_range");
        let rest = decode(&mut engine, &[1], 9).expect("decodes").remove(0);
        assert_eq!(decode(&mut engine, &[1], 1).expect_err("full").code(), "sequence_full");
        // Drawn ids too: the same seed, the same ids.
        engine.release(SequenceId(1));
        let draw = |engine: &mut Mixed| {
            let sampling = Sampling { temperature: 1.0, top_k: 9, seed: 3, ..Sampling::GREEDY };
            block_on(engine.open(SequenceId(2), 12, &sampling)).expect("opens");
            let mut ids = prefill(engine, &[(2, &[5, 6, 7])]).expect("prefills");
            ids.extend(decode(engine, &[2], 9).expect("decodes").remove(0));
            engine.release(SequenceId(2));
            ids
        };
        assert_eq!(draw(&mut engine), draw(&mut engine));
        open(&mut engine, 1, 12);
        let again = prefill(&mut engine, &[(1, &[5, 6, 7])]).expect("prefills");
        assert_eq!(again, ids);
        assert_eq!(decode(&mut engine, &[1], 9).expect("decodes").remove(0), rest);
        engine.release(SequenceId(1));
        assert_eq!(engine.memory().kv_cache_bytes, 0);
    }
}
