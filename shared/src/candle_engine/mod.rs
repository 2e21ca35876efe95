//! Phi-3 on candle, on a CPU: the reference of the other engines, exact against Hugging Face.
//!
//! Activations are f32 whatever the model's format and rounded to it where Hugging Face casts; every sum is in f32.
//! Weights and KV cache are held in their formats and widened as they are read.

mod workspace;
mod arena;
mod model;
mod sequence;
mod load;
mod diagnostics;
mod host;

pub use host::CandleHost;
pub use kernels::team;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use candle_core::Tensor;
use kernels::ops::{Segment, Values};
use kernels::parallel;

use self::arena::Arena;
use self::load::Loader;
use self::model::{Model, copy};
use self::sequence::Sequence;
use self::team::{Team, board_bytes};
use crate::dtype::DType;
use crate::engine::{
    Attention, DeviceInfo, Engine, EngineError, EngineInfo, LoadPlan, LoadProgress, LoadStage, Prompt,
    Sampled, Sampling, SequenceId, Split, check_room,
};
use crate::estimate::weights_bytes;
use crate::placement::DeviceId;
use crate::rope::Rope;
use crate::weights::{Checkpoint, WeightSource};

/// Formats that weights can be held in.
const DTYPES: [DType; 5] = [DType::F32, DType::Bf16, DType::F16, DType::Q8_0, DType::Q4_0];

/// Formats that keys and values can be held in.
const KV_DTYPES: [DType; 3] = [DType::F32, DType::Bf16, DType::F16];

/// A Phi-3 model on a CPU.
pub struct CandleEngine {
    plan: LoadPlan,
    model: Model,
    rope: Rope,
    arenas: Vec<Arena>,
    sequences: BTreeMap<SequenceId, Sequence>,
    /// Most bytes that diagnostics held beside the workspace.
    diagnostics_bytes: u64,
    /// The sequences whose logits stand in the head's workspace, row by row.
    sampled_from: Vec<SequenceId>,
    /// Threads of the team that holds the matrices.
    team: Option<usize>,
}

impl Engine for CandleEngine {
    /// The host. What its processor is called and how much memory it has, only the system can tell.
    async fn devices() -> Result<Vec<DeviceInfo>, EngineError> {
        Ok(vec![DeviceInfo {
            device: DeviceId::Cpu,
            name: "CPU".to_owned(),
            driver: None,
            total_bytes: None,
            free_bytes: None,
            dtypes: DTYPES.to_vec(),
            attention: vec![Attention::Eager, Attention::Fused],
            is_software: false,
        }])
    }

    async fn load<S: WeightSource>(
        checkpoint: &Checkpoint<S>,
        plan: &LoadPlan,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, EngineError> {
        Self::load_with(checkpoint, plan, None, progress).await
    }

    fn info(&self) -> EngineInfo {
        EngineInfo {
            engine: "candle".to_owned(),
            device: self.plan.device.to_string(),
            dtype: self.plan.dtype,
            threads: self.team.unwrap_or_else(parallel::threads),
        }
    }

    async fn open(
        &mut self,
        id: SequenceId,
        capacity: usize,
        sampling: &Sampling,
    ) -> Result<(), EngineError> {
        self.plan.check_open(&self.sequences, id, capacity)?;
        let places = &self.model.places.layers;
        let sequence = Sequence::new(&self.plan, capacity, sampling, &mut self.arenas, places)?;
        self.sequences.insert(id, sequence);
        Ok(())
    }

    async fn prefill(&mut self, prompts: &[Prompt<'_>]) -> Result<Vec<Sampled>, EngineError> {
        prompts.iter().try_for_each(|prompt| self.plan.check_tokens(prompt.tokens))?;
        let appended: Vec<_> =
            prompts.iter().map(|prompt| (prompt.sequence, prompt.tokens.to_vec())).collect();
        self.extend(&appended, true)
    }

    async fn decode(&mut self, sequences: &[SequenceId]) -> Result<Vec<Sampled>, EngineError> {
        let pending = |id: &SequenceId| {
            let sequence = self.sequences.get(id).and_then(|sequence| sequence.pending);
            sequence.map(|token| (*id, vec![token])).ok_or(EngineError::UnknownSequence(*id))
        };
        let appended: Vec<_> = sequences.iter().map(pending).collect::<Result<_, _>>()?;
        self.extend(&appended, false)
    }

    async fn drain(&mut self) -> Result<Vec<Sampled>, EngineError> {
        // Every id is readable as soon as it is sampled.
        Ok(Vec::new())
    }

    fn release(&mut self, sequence: SequenceId) {
        if let Some(sequence) = self.sequences.remove(&sequence) {
            sequence.give_back(&mut self.arenas, &self.model.places.layers);
        }
    }
}

impl CandleEngine {
    /// [`Engine::load`] with a team whose threads share the matrices, and the products with them; its board has
    /// [`CandleEngine::board_bytes`] of the plan at least. What is computed is what one thread computes, to the bit.
    ///
    /// # Errors
    /// As [`Engine::load`]; a thread of the team that has no memory, or is lost.
    pub async fn load_with<S: WeightSource>(
        checkpoint: &Checkpoint<S>,
        plan: &LoadPlan,
        team: Option<&Arc<Team>>,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, EngineError> {
        check_plan(plan)?;
        let (mut arenas, places) = arena::arenas(plan)?;
        let decoder = plan.config.decoder();
        let total_bytes = weights_bytes(&decoder, plan.dtype);
        let model = if plan.low_cpu_mem_usage {
            let arenas = &mut arenas;
            Loader { checkpoint, plan, decoder, arenas, progress, done_bytes: 0, team }.model(places).await?
        } else {
            // The whole checkpoint stands on the host meanwhile.
            let bytes = checkpoint.tensors().values().map(|tensor| tensor.len).sum();
            let host = arenas.iter().position(|arena| arena.device == DeviceId::Cpu);
            if let Some(host) = host {
                arenas[host].budget.take("weights", bytes)?;
            }
            let checkpoint = &checkpoint.buffered().await?;
            let loader = &mut arenas;
            let mut loader =
                Loader { checkpoint, plan, decoder, arenas: loader, progress, done_bytes: 0, team };
            let model = loader.model(places).await?;
            if let Some(host) = host {
                arenas[host].budget.give_back(bytes);
            }
            model
        };
        let last = LoadProgress { stage: LoadStage::Preparing, done_bytes: total_bytes, total_bytes };
        if progress(last).is_break() {
            return Err(EngineError::Cancelled);
        }
        let (plan, rope) = (plan.clone(), Rope::new(&plan.config));
        Ok(Self {
            plan,
            model,
            rope,
            arenas,
            sequences: BTreeMap::new(),
            diagnostics_bytes: 0,
            sampled_from: Vec::new(),
            team: team.map(|team| team.threads()),
        })
    }

    /// Bytes of a board for the products of a plan.
    #[must_use]
    pub fn board_bytes(plan: &LoadPlan) -> usize {
        let (x, out) = workspace::products(plan);
        board_bytes(x, out)
    }

    /// Appends ids to sequences and samples the next of each; on an error all of them stay as they were.
    fn extend(
        &mut self,
        appended: &[(SequenceId, Vec<u32>)],
        is_prompt: bool,
    ) -> Result<Vec<Sampled>, EngineError> {
        check_room(appended.iter().map(|(id, tokens)| (*id, tokens.len())), |id| {
            self.sequences.get(&id).map(|sequence| (sequence.ids.len(), sequence.capacity))
        })?;
        let mut lengths = Vec::with_capacity(appended.len());
        for (id, tokens) in appended {
            if let Some(sequence) = self.sequences.get_mut(id) {
                lengths.push((*id, sequence.ids.len(), sequence.sampler.clone()));
                sequence.ids.extend_from_slice(tokens);
                if is_prompt {
                    sequence.sampler.prompt(tokens);
                }
            }
        }
        let ids: Vec<_> = appended.iter().map(|(id, _)| *id).collect();
        let sampled = parallel::on_pool(|| self.advance(&ids));
        for (id, length, sampler) in lengths {
            if let Some(sequence) = self.sequences.get_mut(&id).filter(|_| sampled.is_err()) {
                sequence.truncate(length);
                sequence.sampler = sampler;
            }
        }
        sampled
    }

    /// Computes what sequences lack and samples the next id of each.
    fn advance(&mut self, ids: &[SequenceId]) -> Result<Vec<Sampled>, EngineError> {
        let hidden = self.plan.config.hidden_size;
        let mut work = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            if let Some(sequence) = self.sequences.get_mut(id) {
                work.push((index, *id, sequence.uncached(&self.rope)));
            }
        }
        while !work.is_empty() {
            // As many rows as fit a chunk, of as many sequences as that takes.
            let mut parts = Vec::new();
            let mut rows = 0;
            for (index, id, positions) in &mut work {
                let take = positions.len().min(self.rows() - rows);
                if take > 0 {
                    parts.push((*index, *id, positions.start..positions.start + take));
                    positions.start += take;
                    rows += take;
                }
            }
            work.retain(|(_, _, positions)| !positions.is_empty());
            let stream = self.chunk(&parts).map_err(backend)?;
            let last = self.arenas[self.model.places.head].space.last.clone();
            let mut row = 0;
            for (index, id, positions) in parts {
                row += positions.len();
                let Some(sequence) = self.sequences.get_mut(&id) else { continue };
                sequence.set_cached(positions.end);
                if positions.end == sequence.ids.len() {
                    let from = stream.narrow(0, (row - 1) * hidden, hidden).map_err(backend)?;
                    last.slice_set(&from, 0, index * hidden).map_err(backend)?;
                }
            }
        }
        let last = self.arenas[self.model.places.head].space.last.clone();
        self.model.logits(&last, ids.len(), &mut self.arenas).map_err(backend)?;
        self.sample(ids)
    }

    /// Rows that go through the model at once.
    fn rows(&self) -> usize {
        self.arenas[self.model.places.embedding].space.rows
    }

    /// One pass of some positions of some sequences through all layers; the stream that it leaves.
    fn chunk(
        &mut self,
        parts: &[(usize, SequenceId, std::ops::Range<usize>)],
    ) -> candle_core::Result<Tensor> {
        let mut tokens = Vec::new();
        let mut places = Vec::new();
        for (_, id, positions) in parts {
            if let Some(sequence) = self.sequences.get(id) {
                let first = tokens.len();
                tokens.extend_from_slice(&sequence.ids[positions.clone()]);
                places.push((sequence, first..tokens.len(), positions.start));
            }
        }
        let Model { places: on, shape, .. } = &self.model;
        for (_, arena) in self.arenas.iter().enumerate().filter(|(index, _)| on.layers.contains(index)) {
            let rotary = places.iter().flat_map(|(sequence, rows, start)| {
                (*start..start + rows.len()).map(|position| (sequence.long, position))
            });
            shape.write_rotary(&arena.space.rotary, &self.rope, rotary)?;
        }
        let mut at = on.embedding;
        let mut stream = self.arenas[at].space.residual.clone();
        self.model.embed(&tokens, &stream)?;
        for (index, (layer, place)) in self.model.layers.iter().zip(&on.layers).enumerate() {
            if *place != at {
                // The way over the bus, were these two devices.
                let next = self.arenas[*place].space.residual.clone();
                copy(&next, &stream, tokens.len() * self.plan.config.hidden_size)?;
                (at, stream) = (*place, next);
            }
            let segments: Vec<_> = places
                .iter()
                .map(|(sequence, rows, start)| Segment {
                    rows: rows.clone(),
                    start: *start,
                    cache: sequence.cache[index].clone(),
                })
                .collect();
            layer.forward(&stream, &segments, shape, &mut self.arenas[at].space)?;
        }
        Ok(stream)
    }

    fn sample(&mut self, ids: &[SequenceId]) -> Result<Vec<Sampled>, EngineError> {
        let vocab = self.plan.config.vocab_size;
        let logits = self.arenas[self.model.places.head].space.logits.clone();
        let (storage, layout) = logits.storage_and_layout();
        let candle_core::Storage::Cpu(storage) = &*storage else {
            return Err(EngineError::Backend("logits are not on the CPU".to_owned()));
        };
        let logits = Values::of(storage, layout).and_then(Values::f32).map_err(backend)?;
        let rows = || ids.iter().zip(logits.chunks_exact(vocab));
        // All of them first: a sampler must not have drawn when the step fails.
        if rows().any(|(_, row)| row.iter().any(|logit| logit.is_nan())) {
            return Err(EngineError::NanLogits);
        }
        self.sampled_from = ids.to_vec();
        let mut sampled = Vec::with_capacity(ids.len());
        for (sequence, row) in rows() {
            if let Some(state) = self.sequences.get_mut(sequence) {
                let id = state.sampler.next(row).ok_or(EngineError::NanLogits)?;
                state.pending = Some(id);
                sampled.push(Sampled { sequence: *sequence, id });
            }
        }
        Ok(sampled)
    }
}

fn check_plan(plan: &LoadPlan) -> Result<(), EngineError> {
    check_formats(plan)?;
    let split = plan.split.iter().flat_map(Split::devices);
    if let Some(stranger) = std::iter::once(&plan.device).chain(split).find(|device| !is_host(device)) {
        let reason = "this engine computes on the CPU".to_owned();
        return Err(EngineError::Unavailable { what: stranger.to_string(), reason });
    }
    match &plan.split {
        Some(split) if split.layers.len() != plan.config.num_hidden_layers => {
            let (given, layers) = (split.layers.len(), plan.config.num_hidden_layers);
            Err(EngineError::Backend(format!("a split of {given} layers for a model of {layers}")))
        }
        _ => Ok(()),
    }
}

fn check_formats(plan: &LoadPlan) -> Result<(), EngineError> {
    let unavailable =
        |what: String, reason: &str| EngineError::Unavailable { what, reason: reason.to_owned() };
    if !DTYPES.contains(&plan.dtype) {
        let reason = "the CPU computes in f32, bf16, f16, q8_0 and q4_0";
        return Err(unavailable(format!("dtype {}", plan.dtype), reason));
    }
    if !KV_DTYPES.contains(&plan.kv_dtype) {
        let reason = "the CPU keeps keys and values in f32, bf16 and f16";
        return Err(unavailable(format!("kv dtype {}", plan.kv_dtype), reason));
    }
    Ok(())
}

/// `cpu`, and `cpu:1` and so on: shares of the host with accounts of their own.
fn is_host(device: &DeviceId) -> bool {
    match device {
        DeviceId::Cpu => true,
        DeviceId::Gpu { backend, .. } => backend == "cpu",
    }
}

fn backend(error: candle_core::Error) -> EngineError {
    EngineError::Backend(error.to_string())
}

#[cfg(test)]
mod block_tests;
#[cfg(test)]
mod tests;
