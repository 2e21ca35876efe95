//! Phi-3 in WGSL on any GPU: WebGPU in a browser, Vulkan, Metal and DirectX 12 on a host.
//!
//! Weights are held as f32, bf16, f16, q8_0 or q4_0 and widened as they are read; no device feature is needed for any
//! of them. Activations and sums are f32; where weights are q8_0 or q4_0, rows meet them as int8 blocks.
//! A token is one encoder and one submission: bindings are made once, the id stays on the device, and ids are read
//! back some steps later.

mod template;
mod gpu;
mod matrix;
mod kernels;
mod workspace;
mod ops;
mod attention;
mod model;
mod load;
mod sequence;
mod steps;
mod diagnostics;

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use self::gpu::Gpu;
use self::kernels::Heads;
use self::load::Loader;
use self::model::{Model, Weights};
use self::sequence::Sequence;
use self::steps::InFlight;
use self::workspace::Workspace;
use crate::dtype::DType;
use crate::engine::{
    DeviceInfo, Diagnostics as _, Engine, EngineError, EngineInfo, LoadPlan, LoadProgress, LoadStage, Prompt,
    Sampled, Sampling, SequenceId, check_room,
};
use crate::estimate::weights_bytes;
use crate::rope::Rope;
use crate::weights::{Checkpoint, WeightSource};

/// Formats that weights can be held in.
const DTYPES: [DType; 5] = [DType::F32, DType::Bf16, DType::F16, DType::Q8_0, DType::Q4_0];
/// Formats of the KV cache.
const KV_DTYPES: [DType; 3] = [DType::F32, DType::Bf16, DType::F16];

/// A Phi-3 model on a GPU.
pub struct WgpuEngine {
    plan: LoadPlan,
    rope: Rope,
    sequences: BTreeMap<SequenceId, Sequence>,
    /// Steps whose ids have not been read.
    in_flight: VecDeque<InFlight>,
    /// Buffers that ids are read back through.
    staging: Vec<wgpu::Buffer>,
    /// The workspace's ids, as the embedding reads them.
    ids: Vec<wgpu::BindGroup>,
    model: Model,
    space: Workspace,
    weights: Weights,
    /// Most bytes that diagnostics held beside the workspace.
    diagnostics_bytes: u64,
    /// Last, so that everything on it goes first.
    gpu: Gpu,
}

impl Engine for WgpuEngine {
    async fn devices() -> Result<Vec<DeviceInfo>, EngineError> {
        gpu::devices().await
    }

    async fn load<S: WeightSource>(
        checkpoint: &Checkpoint<S>,
        plan: &LoadPlan,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, EngineError> {
        check_plan(plan)?;
        let gpu = Gpu::open(&plan.device).await?;
        let heads = Heads::new(&plan.config, plan.kv_dtype, plan.context)?;
        // Before the weights: a workspace that does not fit should not cost a load.
        let space = Workspace::new(&gpu, plan).await?;
        let decoder = plan.config.decoder();
        let total_bytes = weights_bytes(&decoder, plan.dtype);
        check_budget(plan, "weights", total_bytes + space.bytes())?;
        let weights = if plan.low_cpu_mem_usage {
            Loader { gpu: &gpu, checkpoint, plan, decoder, progress, done_bytes: 0 }.weights().await?
        } else {
            let checkpoint = &checkpoint.buffered().await?;
            Loader { gpu: &gpu, checkpoint, plan, decoder, progress, done_bytes: 0 }.weights().await?
        };
        let mut told = || {
            let step = LoadProgress { stage: LoadStage::Preparing, done_bytes: total_bytes, total_bytes };
            if progress(step).is_break() { Err(EngineError::Cancelled) } else { Ok(()) }
        };
        told()?;
        let model = Model::new(&gpu, plan, heads, &weights, &space, &mut told).await?;
        let ids = model.ids(&gpu, &space.ids);
        gpu.settle().await?;
        let engine = Self {
            plan: plan.clone(),
            rope: Rope::new(&plan.config),
            sequences: BTreeMap::new(),
            in_flight: VecDeque::new(),
            staging: Vec::new(),
            ids,
            model,
            space,
            weights,
            diagnostics_bytes: 0,
            gpu,
        };
        engine.warm_up().await?;
        Ok(engine)
    }

    fn info(&self) -> EngineInfo {
        EngineInfo {
            engine: "wgpu".to_owned(),
            device: self.gpu.id.to_string(),
            dtype: self.plan.dtype,
            threads: 1,
        }
    }

    async fn open(
        &mut self,
        id: SequenceId,
        capacity: usize,
        sampling: &Sampling,
    ) -> Result<(), EngineError> {
        self.plan.check_open(&self.sequences, id, capacity)?;
        let cache = self.model.attention.cache_bytes(self.plan.config.num_hidden_layers, capacity);
        check_budget(&self.plan, "kv_cache", self.memory().total_bytes - self.diagnostics_bytes + cache)?;
        let sequence = Sequence::new(&self.gpu, &self.plan, &self.model, capacity, sampling).await?;
        self.sequences.insert(id, sequence);
        Ok(())
    }

    async fn prefill(&mut self, prompts: &[Prompt<'_>]) -> Result<Vec<Sampled>, EngineError> {
        prompts.iter().try_for_each(|prompt| self.plan.check_tokens(prompt.tokens))?;
        let asked: Vec<_> = prompts.iter().map(|prompt| (prompt.sequence, prompt.tokens.len())).collect();
        check_room(asked, |id| self.room(id))?;
        let mut readable = self.collect(0).await?;
        let before: Vec<_> = prompts
            .iter()
            .filter_map(|prompt| Some((prompt.sequence, self.sequences.get(&prompt.sequence)?)))
            .map(|(id, sequence)| (id, sequence.len, sequence.ids.clone()))
            .collect();
        let mut result = Ok(());
        for prompt in prompts {
            result = self.append(prompt).await;
            if result.is_err() {
                break;
            }
        }
        let sampled = match result {
            Ok(()) => self.collect(0).await,
            Err(error) => Err(error),
        };
        if sampled.is_err() {
            self.in_flight.clear();
            for (id, len, ids) in before {
                if let Some(sequence) = self.sequences.get_mut(&id) {
                    sequence.rewind(&self.gpu, len, &ids);
                }
            }
        }
        readable.extend(sampled?);
        Ok(readable)
    }

    async fn decode(&mut self, sequences: &[SequenceId]) -> Result<Vec<Sampled>, EngineError> {
        for id in sequences {
            if self.sequences.get(id).is_none_or(|sequence| sequence.len == 0) {
                return Err(EngineError::UnknownSequence(*id));
            }
        }
        let asked: Vec<_> = sequences.iter().map(|id| (*id, 1)).collect();
        check_room(asked, |id| self.room(id))?;
        let mut readable = Vec::new();
        for id in sequences {
            self.step(*id, &mut readable).await?;
        }
        readable.extend(self.collect(steps::LAG * sequences.len()).await?);
        Ok(readable)
    }

    async fn drain(&mut self) -> Result<Vec<Sampled>, EngineError> {
        self.collect(0).await
    }

    fn release(&mut self, sequence: SequenceId) {
        self.in_flight.retain(|step| step.sequence != sequence);
        self.sequences.remove(&sequence);
    }
}

impl WgpuEngine {
    /// What a sequence holds and may hold, in tokens.
    fn room(&self, id: SequenceId) -> Option<(usize, usize)> {
        self.sequences.get(&id).map(|sequence| (sequence.len, sequence.capacity))
    }
}

fn check_plan(plan: &LoadPlan) -> Result<(), EngineError> {
    let named = |list: &[DType]| list.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", ");
    for (what, dtype, known) in
        [("dtype", plan.dtype, &DTYPES[..]), ("kv dtype", plan.kv_dtype, &KV_DTYPES[..])]
    {
        if !known.contains(&dtype) {
            return Err(EngineError::Unavailable {
                what: format!("{what} {dtype}"),
                reason: format!("this engine holds {}", named(known)),
            });
        }
    }
    if plan.split.is_some() {
        return Err(EngineError::Unavailable {
            what: "a model on several devices".to_owned(),
            reason: format!("this engine holds all of it on one GPU; give device {}", plan.device),
        });
    }
    Ok(())
}

/// Whether the plan's budget for its device allows so many bytes; `phase` says what the last of them are for.
fn check_budget(plan: &LoadPlan, phase: &'static str, bytes: u64) -> Result<(), EngineError> {
    match plan.budgets.get(&plan.device) {
        Some(budget) if bytes > *budget => {
            Err(EngineError::OutOfMemory { phase, requested_bytes: bytes, free_bytes: *budget })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
