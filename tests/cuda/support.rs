//! Checkpoints, plans and engines.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use phi3::config::ModelConfig;
use phi3::cuda_engine::CudaEngine;
use phi3::dtype::DType;
use phi3::engine::{Attention, Diagnostics, Engine, EngineError, LoadPlan, Prompt, Sampling, SequenceId};
use phi3::tensors;
use phi3::weights::{BytesSource, Checkpoint};
use pollster::block_on;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

pub(crate) type Bytes = Checkpoint<BytesSource<Vec<u8>>>;

/// Whether there is a device; says so where there is none.
pub(crate) fn has_gpu() -> bool {
    let found = block_on(CudaEngine::devices());
    if found.as_ref().is_ok_and(|names| !names.is_empty()) {
        return true;
    }
    assert!(std::env::var_os("PREFLIGHT_REQUIRE_GPU").is_none(), "no CUDA device: {found:?}");
    eprintln!("not run: no CUDA device here ({found:?})");
    false
}

/// Numbers that differ from run to run; the seed is printed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let seed = std::env::var("PREFLIGHT_SEED")
            .map_or(now.as_nanos() as u64, |seed| seed.parse().expect("a seed"));
        eprintln!("PREFLIGHT_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In ±0.5.
    pub(crate) fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32 - 0.5
    }

    pub(crate) fn tokens(&mut self, count: usize, vocab: usize) -> Vec<u32> {
        (0..count).map(|_| (self.next() % vocab as u64) as u32).collect()
    }
}

pub(crate) fn config(changes: &Value) -> ModelConfig {
    let mut config = json!({
        "model_type": "phi3", "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 333, "max_position_embeddings": 4096,
    });
    for (key, value) in changes.as_object().expect("an object") {
        config[key] = value.clone();
    }
    ModelConfig::parse(config.to_string().as_bytes()).expect("a good config")
}

/// A checkpoint of values that bf16 and f16 hold exactly: matrices in ±`spread`, norms near 1. `change` may alter a tensor.
pub(crate) fn checkpoint(
    config: &ModelConfig,
    random: &mut Random,
    spread: f32,
    mut change: impl FnMut(&str, &[usize], &mut [f32]),
) -> Bytes {
    let mut bytes = Vec::new();
    for spec in tensors::list(&config.decoder()) {
        let is_norm = spec.shape.len() == 1;
        let mut value = || {
            let value = if is_norm { 1.0 + 0.4 * random.value() } else { 2.0 * spread * random.value() };
            // Seven bits of mantissa.
            f32::from_bits(value.to_bits() & 0xffff_0000)
        };
        let mut values: Vec<f32> = (0..spec.count()).map(|_| value()).collect();
        change(&spec.name, &spec.shape, &mut values);
        let stored: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        bytes.push((spec.name, spec.shape, stored));
    }
    from_f32(bytes)
}

/// The same model in numbers that f16 has no place for: bf16 is held as it is.
pub(crate) fn past_f16(name: &str, shape: &[usize], values: &mut [f32]) {
    match name {
        "model.layers.0.input_layernorm.weight" => values[5] *= 65_536.0,
        "model.layers.0.self_attn.qkv_proj.weight" => {
            values.chunks_exact_mut(shape[1]).for_each(|row| row[5] /= 65_536.0);
        }
        _ => {}
    }
}

/// A checkpoint and the same past f16.
pub(crate) fn both(config: &ModelConfig, random: &mut Random, spread: f32) -> [Bytes; 2] {
    let seed = random.next();
    let plain = checkpoint(config, &mut Random::of(seed), spread, |_, _, _| {});
    [plain, checkpoint(config, &mut Random::of(seed), spread, past_f16)]
}

/// A checkpoint of f32 tensors: name, shape, bytes.
pub(crate) fn from_f32(tensors: Vec<(String, Vec<usize>, Vec<u8>)>) -> Bytes {
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).expect("bytes of the shape"))
    });
    let file = safetensors::serialize(views, None).expect("serializes");
    block_on(Checkpoint::from_safetensors(vec![("model".to_owned(), BytesSource(file))]))
        .expect("a good file")
}

/// Every `*.safetensors` of a folder as one checkpoint.
pub(crate) fn folder(folder: &Path) -> Bytes {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    let read =
        |path: PathBuf| (path.display().to_string(), BytesSource(std::fs::read(path).expect("a file")));
    block_on(Checkpoint::from_safetensors(files.into_iter().map(read).collect())).expect("a good checkpoint")
}

/// Tensors by name: shape and values.
pub(crate) fn tensors_of(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("a good file");
    let values = |data: &[u8]| data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.shape().to_vec(), values(view.data()))))
        .collect()
}

pub(crate) fn plan(config: &ModelConfig, dtype: DType, attention: Attention, context: usize) -> LoadPlan {
    LoadPlan { attention, batch: 8, ..LoadPlan::new(config.clone(), dtype, context) }
}

pub(crate) fn try_load<E: Engine>(checkpoint: &Bytes, plan: &LoadPlan) -> Result<E, EngineError> {
    // The same plan for both engines: each goes to its own first device.
    let device = block_on(E::devices())?.swap_remove(0).device;
    block_on(E::load(checkpoint, &LoadPlan { device, ..plan.clone() }, &mut |_| ControlFlow::Continue(())))
}

pub(crate) fn load<E: Engine>(checkpoint: &Bytes, plan: &LoadPlan) -> E {
    try_load(checkpoint, plan).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn cuda(checkpoint: &Bytes, plan: &LoadPlan) -> CudaEngine {
    load(checkpoint, plan)
}

/// Logits of a whole sequence, row by row.
pub(crate) fn full<E: Diagnostics>(engine: &mut E, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    block_on(engine.logits(tokens, &mut |position, row| {
        assert_eq!(position, rows.len());
        rows.push(row.to_vec());
    }))
    .expect("logits");
    rows
}

pub(crate) fn largest_difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(0.0, |worst, d| if d.is_nan() || worst.is_nan() { f64::NAN } else { worst.max(d) })
}

/// Largest difference of two sets of rows, by the largest value expected.
pub(crate) fn relative(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let peak = expected.iter().flatten().fold(0.0f32, |peak, value| peak.max(value.abs()));
    let worst = found.iter().zip(expected).map(|(a, b)| largest_difference(a, b));
    worst.fold(0.0, |worst: f64, d| if d.is_nan() { d } else { worst.max(d) }) / f64::from(peak)
}

pub(crate) fn open<E: Engine>(engine: &mut E, id: u64, capacity: usize) {
    block_on(engine.open(SequenceId(id), capacity, &Sampling::GREEDY)).expect("opens");
}

pub(crate) fn prefill<E: Engine>(engine: &mut E, prompts: &[(u64, &[u32])]) -> Result<Vec<u32>, EngineError> {
    let prompts: Vec<_> =
        prompts.iter().map(|(id, tokens)| Prompt { sequence: SequenceId(*id), tokens }).collect();
    Ok(block_on(engine.prefill(&prompts))?.into_iter().map(|sampled| sampled.id).collect())
}

/// `steps` ids of each sequence after its prompt, whenever they become readable.
pub(crate) fn decode<E: Engine>(
    engine: &mut E,
    ids: &[u64],
    steps: usize,
) -> Result<Vec<Vec<u32>>, EngineError> {
    let sequences: Vec<_> = ids.iter().map(|id| SequenceId(*id)).collect();
    let mut found = vec![Vec::new(); ids.len()];
    for step in 0..=steps {
        let readable =
            if step < steps { block_on(engine.decode(&sequences))? } else { block_on(engine.drain())? };
        for sampled in readable {
            let at = sequences.iter().position(|id| *id == sampled.sequence).expect("one of ours");
            found[at].push(sampled.id);
        }
    }
    assert!(found.iter().all(|ids| ids.len() == steps), "{steps} steps gave {found:?}");
    Ok(found)
}

pub(crate) fn tests_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
