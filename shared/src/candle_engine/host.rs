//! The parts of a model that stay on the CPU while others are on GPUs: the same kernels, driven from outside.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use candle_core::Tensor;
use kernels::ops::{self, Segment};
use kernels::{Weight, parallel, tensor_bytes};

use super::arena::Arena;
use super::diagnostics::read;
use super::load::Loader;
use super::model::{Layer, Shape};
use super::sequence::{layer_cache, layer_cache_bytes};
use super::workspace::{Roles, zeroed_tensor};
use super::{backend, check_formats};
use crate::dtype::DType;
use crate::engine::{EngineError, HostPart, HostRows, LoadPlan, LoadProgress, Memory, SequenceId};
use crate::placement::DeviceId;
use crate::rope::Rope;
use crate::tensors::Role;
use crate::weights::{Checkpoint, WeightSource};

/// The one device that is computed on.
const HERE: usize = 0;

/// Whatever a split puts on `cpu`.
pub struct CandleHost {
    plan: LoadPlan,
    embedding: Option<Weight>,
    layers: BTreeMap<usize, Layer>,
    norm: Option<Tensor>,
    head: Option<Weight>,
    shape: Shape,
    rope: Rope,
    arena: Arena,
    /// Keys and values of each layer that is here.
    caches: BTreeMap<SequenceId, BTreeMap<usize, Tensor>>,
}

fn absent(what: &str) -> EngineError {
    EngineError::Backend(format!("{what} is not on the CPU"))
}

impl HostPart for CandleHost {
    async fn load<S: WeightSource>(
        checkpoint: &Checkpoint<S>,
        plan: &LoadPlan,
        done_bytes: u64,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, EngineError> {
        Self::check(plan)?;
        let split = plan.places();
        let is_here = |device: &DeviceId| *device == DeviceId::Cpu;
        let [embeds, norms, heads] = [&split.embedding, &split.norm, &split.head].map(is_here);
        let here = split.layers.iter().enumerate().filter(|(_, device)| is_here(device));
        let here: Vec<usize> = here.map(|(layer, _)| layer).collect();
        let has_layers = !here.is_empty();
        let roles = Roles { stream: has_layers || embeds || norms, layers: has_layers, head: heads };
        let mut arenas = [Arena::new(plan, &DeviceId::Cpu, roles)?];
        let decoder = plan.config.decoder();
        let mut loader =
            Loader { checkpoint, plan, decoder, arenas: &mut arenas, progress, done_bytes, team: None };
        let embedding = match embeds {
            true => Some(loader.matrix(Role::Embedding, 0, HERE).await?),
            false => None,
        };
        let mut layers = BTreeMap::new();
        for layer in here {
            layers.insert(layer, loader.layer(layer, HERE).await?);
        }
        let norm = match norms {
            true => Some(loader.vector(Role::FinalNorm, 0, HERE).await?),
            false => None,
        };
        let head = match (heads, plan.config.tie_word_embeddings) {
            (true, true) => embedding.clone(),
            (true, false) => Some(loader.matrix(Role::LmHead, 0, HERE).await?),
            (false, _) => None,
        };
        let rope = Rope::new(&plan.config);
        let shape = Shape::new(plan, rope.rotary_dim());
        let [arena] = arenas;
        let caches = BTreeMap::new();
        Ok(Self { plan: plan.clone(), embedding, layers, norm, head, shape, rope, arena, caches })
    }

    fn check(plan: &LoadPlan) -> Result<(), EngineError> {
        check_formats(plan)
    }

    fn open(&mut self, sequence: SequenceId, capacity: usize) -> Result<(), EngineError> {
        let bytes = layer_cache_bytes(&self.plan, capacity);
        let mut caches = BTreeMap::new();
        for layer in self.layers.keys() {
            let budget = &mut self.arena.budget;
            let cache = budget.take("kv_cache", bytes).and_then(|()| {
                layer_cache(&self.plan, capacity).inspect_err(|_error| budget.give_back(bytes))
            });
            match cache {
                Ok(cache) => caches.insert(*layer, cache),
                Err(error) => {
                    budget.give_back(bytes * caches.len() as u64);
                    return Err(error);
                }
            };
        }
        self.caches.insert(sequence, caches);
        Ok(())
    }

    fn release(&mut self, sequence: SequenceId) {
        let caches = self.caches.remove(&sequence).unwrap_or_default();
        self.arena.budget.give_back(caches.values().map(tensor_bytes).sum());
    }

    fn embed(&mut self, tokens: &[u32], residual: &mut [f32]) -> Result<(), EngineError> {
        let embedding = self.embedding.as_ref().ok_or_else(|| absent("the embedding"))?;
        let (space, hidden) = (&self.arena.space, self.shape.hidden);
        for rows in parallel::blocks(tokens.len(), space.rows) {
            ops::embed(&space.residual, embedding, &tokens[rows.clone()]).map_err(backend)?;
            take(&space.residual, &mut residual[rows.start * hidden..rows.end * hidden])?;
        }
        Ok(())
    }

    fn layers(
        &mut self,
        layers: Range<usize>,
        rows: &[HostRows],
        residual: &mut [f32],
    ) -> Result<(), EngineError> {
        let hidden = self.shape.hidden;
        let mut first = 0;
        for parts in cut(rows, self.arena.space.rows) {
            let count: usize = parts.iter().map(|part| part.rows).sum();
            let x = &mut residual[first * hidden..(first + count) * hidden];
            parallel::on_pool(|| self.chunk(layers.clone(), &parts, x))?;
            first += count;
        }
        Ok(())
    }

    fn whole(&mut self, layer: usize, long: bool, residual: &mut [f32]) -> Result<(), EngineError> {
        let hidden = self.shape.hidden;
        let count = residual.len() / hidden;
        let cache = layer_cache(&self.plan, count)?;
        let step = self.arena.space.rows;
        for rows in parallel::blocks(count, step) {
            let x = &mut residual[rows.start * hidden..rows.end * hidden];
            let segment = Segment { rows: 0..rows.len(), start: rows.start, cache: cache.clone() };
            let positions = rows.map(|position| (long, position));
            parallel::on_pool(|| self.pass(layer..layer + 1, positions, x, |_layer| vec![segment.clone()]))?;
        }
        Ok(())
    }

    fn norm(&mut self, rows: &mut [f32]) -> Result<(), EngineError> {
        let norm = self.norm.as_ref().ok_or_else(|| absent("the last norm"))?;
        let Shape { hidden, eps, .. } = self.shape;
        let out = &self.arena.space.residual;
        for rows in rows.chunks_mut(self.arena.space.logit_rows * hidden) {
            let x = zeroed_tensor("activation", DType::F32, &[rows.len()])?;
            ops::write(&x, rows).map_err(backend)?;
            ops::rms_norm(out, &x, norm, rows.len() / hidden, eps, self.shape.precision())
                .map_err(backend)?;
            take(out, rows)?;
        }
        Ok(())
    }

    fn head(&mut self, normed: &[f32], logits: &mut [f32]) -> Result<(), EngineError> {
        let head = self.head.as_ref().ok_or_else(|| absent("the head"))?;
        let (hidden, vocab, precision) =
            (self.shape.hidden, self.plan.config.vocab_size, self.shape.precision());
        let space = &mut self.arena.space;
        let rows = space.logit_rows;
        for (x, logits) in normed.chunks(rows * hidden).zip(logits.chunks_mut(rows * vocab)) {
            ops::write(&space.last, x).map_err(backend)?;
            let count = x.len() / hidden;
            let product =
                || ops::linear(&space.logits, &space.last, head, count, precision, &mut space.panel);
            parallel::on_pool(product).map_err(backend)?;
            take(&space.logits, logits)?;
        }
        Ok(())
    }

    fn memory(&self) -> Memory {
        let head = self.head.as_ref().filter(|head| !self.embedding.as_ref().is_some_and(|one| head.is(one)));
        let matrices = self.embedding.iter().chain(head).map(Weight::bytes);
        let layers = self.layers.values().map(Layer::bytes);
        let weights_bytes: u64 = matrices.chain(layers).chain(self.norm.iter().map(tensor_bytes)).sum();
        let kv_cache_bytes: u64 = self.caches.values().flat_map(BTreeMap::values).map(tensor_bytes).sum();
        let activation_bytes = self.arena.space.bytes();
        let total_bytes = weights_bytes + kv_cache_bytes + activation_bytes;
        Memory { weights_bytes, kv_cache_bytes, activation_bytes, overhead_bytes: 0, total_bytes }
    }
}

impl CandleHost {
    /// Rows of open sequences through layers.
    fn chunk(&mut self, layers: Range<usize>, parts: &[HostRows], x: &mut [f32]) -> Result<(), EngineError> {
        let mut places = Vec::with_capacity(parts.len());
        let mut first = 0;
        for part in parts {
            let cache = self.caches.get(&part.sequence);
            let cache = cache.ok_or(EngineError::UnknownSequence(part.sequence))?.clone();
            places.push((first..first + part.rows, part.start, cache));
            first += part.rows;
        }
        let positions = parts
            .iter()
            .flat_map(|part| (part.start..part.start + part.rows).map(|position| (part.long, position)));
        let segments = |layer: usize| {
            let of = |(rows, start, cache): &(Range<usize>, usize, BTreeMap<usize, Tensor>)| {
                let cache = cache.get(&layer)?.clone();
                Some(Segment { rows: rows.clone(), start: *start, cache })
            };
            places.iter().filter_map(of).collect()
        };
        self.pass(layers, positions, x, segments)
    }

    /// Rows that fit the workspace through layers; `segments` has what belongs together, by layer.
    fn pass(
        &mut self,
        layers: Range<usize>,
        positions: impl Iterator<Item = (bool, usize)>,
        x: &mut [f32],
        segments: impl Fn(usize) -> Vec<Segment>,
    ) -> Result<(), EngineError> {
        let space = &mut self.arena.space;
        let stream = space.residual.clone();
        ops::write(&stream, x).map_err(backend)?;
        self.shape.write_rotary(&space.rotary, &self.rope, positions).map_err(backend)?;
        for index in layers {
            let layer = self.layers.get(&index).ok_or_else(|| absent(&format!("layer {index}")))?;
            layer.forward(&stream, &segments(index), &self.shape, space).map_err(backend)?;
        }
        take(&stream, x)
    }
}

/// Rows in pieces of at most `most`.
fn cut(rows: &[HostRows], most: usize) -> Vec<Vec<HostRows>> {
    let mut pieces = vec![Vec::new()];
    let mut room = most;
    for part in rows {
        let mut rest = *part;
        while rest.rows > 0 {
            if room == 0 {
                pieces.push(Vec::new());
                room = most;
            }
            let rows = rest.rows.min(room);
            if let Some(piece) = pieces.last_mut() {
                piece.push(HostRows { rows, ..rest });
            }
            rest = HostRows { start: rest.start + rows, rows: rest.rows - rows, ..rest };
            room -= rows;
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// The first values of an f32 tensor.
fn take(from: &Tensor, to: &mut [f32]) -> Result<(), EngineError> {
    read(from, to.len(), &mut |values| to.copy_from_slice(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_in_order() {
        let part =
            |sequence, start, rows| HostRows { sequence: SequenceId(sequence), start, rows, long: false };
        assert_eq!(cut(&[], 4), Vec::<Vec<HostRows>>::new());
        assert_eq!(cut(&[part(1, 5, 3)], 4), [[part(1, 5, 3)]]);
        assert_eq!(
            cut(&[part(1, 0, 3), part(2, 7, 6), part(3, 1, 1)], 4),
            [vec![part(1, 0, 3), part(2, 7, 1)], vec![part(2, 8, 4)], vec![part(2, 12, 1), part(3, 1, 1)]]
        );
    }
}
