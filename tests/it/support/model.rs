//! Checkpoints and engines for tests.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use phi3::candle_engine::CandleEngine;
use phi3::config::ModelConfig;
use phi3::dtype::DType;
use phi3::engine::{Diagnostics, Engine, EngineError, LoadPlan, Sampling, SequenceId};
use phi3::generate::{Generation, Request, generate};
use phi3::weights::{BytesSource, Checkpoint};
use pollster::block_on;
use safetensors::SafeTensors;

/// A checkpoint in memory.
pub(crate) type Bytes = Checkpoint<BytesSource<Vec<u8>>>;

/// Every `*.safetensors` of a folder as one checkpoint.
pub(crate) fn checkpoint(folder: &Path) -> Bytes {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder that can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .collect();
    files.sort();
    let read =
        |path: &Path| (path.display().to_string(), BytesSource(std::fs::read(path).expect("a file to read")));
    block_on(Checkpoint::from_safetensors(files.iter().map(|path| read(path)).collect()))
        .expect("a good checkpoint")
}

/// Tensors by name: shape and values.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The f32 tensors of a safetensors file.
pub(crate) fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("a good file");
    let values = |data: &[u8]| data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.shape().to_vec(), values(view.data()))))
        .collect()
}

/// A plan in which everything but these is plain.
pub(crate) fn plan(config: &ModelConfig, dtype: DType, context: usize) -> LoadPlan {
    LoadPlan { batch: 4, ..LoadPlan::new(config.clone(), dtype, context) }
}

/// Loads without watching.
pub(crate) fn load(checkpoint: &Bytes, plan: &LoadPlan) -> Result<CandleEngine, EngineError> {
    load_on(checkpoint, plan)
}

/// Loads on any engine without watching.
pub(crate) fn load_on<E: Engine>(checkpoint: &Bytes, plan: &LoadPlan) -> Result<E, EngineError> {
    block_on(E::load(checkpoint, plan, &mut |_| ControlFlow::Continue(())))
}

/// Logits of a whole sequence, row by row.
pub(crate) fn full_logits<E: Diagnostics>(engine: &mut E, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    block_on(engine.logits(tokens, &mut |position, row| {
        assert_eq!(position, rows.len());
        rows.push(row.to_vec());
    }))
    .expect("logits");
    assert_eq!(rows.len(), tokens.len());
    rows
}

/// Greedy continuation.
pub(crate) fn greedy<E: Engine>(
    engine: &mut E,
    prompt: &[u32],
    max_new_tokens: usize,
    stop_ids: &[u32],
) -> Generation {
    let request = Request { prompt, max_new_tokens, stop_ids, sampling: Sampling::GREEDY };
    block_on(generate(engine, SequenceId(1), &request, &mut |_| ControlFlow::Continue(())))
        .expect("generates")
}

/// Largest difference between two rows.
pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).abs();
    let all: Vec<f64> = a.iter().zip(b).map(difference).collect();
    if all.iter().any(|difference| difference.is_nan()) {
        f64::NAN
    } else {
        all.into_iter().fold(0.0, f64::max)
    }
}
