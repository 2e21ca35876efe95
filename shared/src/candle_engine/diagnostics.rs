//! Looks inside the model: whole sequences layer by layer, without a cache.

use candle_core::{Storage, Tensor};
use kernels::ops::{Segment, Values};
use kernels::{parallel, tensor_bytes};

use super::arena::Arena;
use super::sequence::layer_cache;
use super::workspace::zeroed_tensor;
use super::{CandleEngine, backend};
use crate::dtype::DType;
use crate::engine::{Diagnostics, EngineError, Logprobs, Memory, SequenceId, count_non_finite};
use crate::placement::DeviceId;

impl Diagnostics for CandleEngine {
    async fn logits(
        &mut self,
        tokens: &[u32],
        rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        self.whole(tokens, &mut |_, _| {}, rows)
    }

    async fn non_finite(
        &mut self,
        tokens: &[u32],
        rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Vec<(u64, u64)>, EngineError> {
        let mut layers = vec![(0, 0); self.plan.config.num_hidden_layers];
        let mut head = (0, 0);
        self.whole(
            tokens,
            &mut |layer, values| count_non_finite(values, &mut layers[layer]),
            &mut |position, row| {
                count_non_finite(row, &mut head);
                rows(position, row);
            },
        )?;
        layers.push(head);
        Ok(layers)
    }

    async fn logprobs(&mut self, sequence: SequenceId, id: u32, top: usize) -> Result<Logprobs, EngineError> {
        let row = self.sampled_from.iter().position(|one| *one == sequence);
        let row = row.ok_or(EngineError::UnknownSequence(sequence))?;
        let vocab_size = self.plan.config.vocab_size;
        let logits = self.arenas[self.model.places.head].space.logits.clone();
        let mut found = None;
        read(&logits, (row + 1) * vocab_size, &mut |values| {
            found = Logprobs::new(&values[row * vocab_size..], id, top);
        })?;
        found.ok_or(EngineError::TokenOutOfRange { id, position: 0, vocab_size })
    }

    fn memory(&self) -> Memory {
        let mut sum = Memory::default();
        for (_, memory) in self.memory_by_device() {
            sum.weights_bytes += memory.weights_bytes;
            sum.kv_cache_bytes += memory.kv_cache_bytes;
            sum.activation_bytes += memory.activation_bytes;
        }
        sum.activation_bytes += self.diagnostics_bytes;
        sum.total_bytes = sum.weights_bytes + sum.kv_cache_bytes + sum.activation_bytes;
        sum
    }

    fn memory_by_device(&self) -> Vec<(DeviceId, Memory)> {
        let layers = &self.model.places.layers;
        let of = |(index, arena): (usize, &Arena)| {
            let weights_bytes = self.model.bytes(index);
            let caches = self.sequences.values().map(|sequence| sequence.cache_bytes(index, layers));
            let kv_cache_bytes = caches.sum();
            let activation_bytes = arena.space.bytes();
            let total_bytes = weights_bytes + kv_cache_bytes + activation_bytes;
            let memory =
                Memory { weights_bytes, kv_cache_bytes, activation_bytes, overhead_bytes: 0, total_bytes };
            (arena.device.clone(), memory)
        };
        self.arenas.iter().enumerate().map(of).collect()
    }
}

impl CandleEngine {
    /// One pass over a whole sequence: `layer(index, output)` for each part of each layer's output, then the logits.
    fn whole(
        &mut self,
        tokens: &[u32],
        layer_output: &mut dyn FnMut(usize, &[f32]),
        logits: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        self.plan.check_whole(tokens)?;
        self.sampled_from.clear();
        let (count, hidden, vocab) =
            (tokens.len(), self.plan.config.hidden_size, self.plan.config.vocab_size);
        let residual = zeroed_tensor("activation", DType::F32, &[count * hidden])?;
        let cache = layer_cache(&self.plan, count)?;
        self.diagnostics_bytes = self.diagnostics_bytes.max(tensor_bytes(&residual) + tensor_bytes(&cache));
        let long = self.rope.is_long(count);

        let part =
            |start: usize, rows: usize| residual.narrow(0, start * hidden, rows * hidden).map_err(backend);
        self.model.embed(tokens, &residual).map_err(backend)?;
        for (index, layer) in self.model.layers.iter().enumerate() {
            // Later layers overwrite the cache of earlier ones: each needs only its own.
            let space = &mut self.arenas[self.model.places.layers[index]].space;
            for chunk in parallel::blocks(count, space.rows) {
                let positions = chunk.clone().map(|position| (long, position));
                self.model.shape.write_rotary(&space.rotary, &self.rope, positions).map_err(backend)?;
                let x = part(chunk.start, chunk.len())?;
                let segment = Segment { rows: 0..chunk.len(), start: chunk.start, cache: cache.clone() };
                let step = || layer.forward(&x, &[segment], &self.model.shape, space);
                parallel::on_pool(step).map_err(backend)?;
                read(&x, chunk.len() * hidden, &mut |values| layer_output(index, values))?;
            }
        }
        let head = self.model.places.head;
        let (logit_rows, out) = (self.arenas[head].space.logit_rows, self.arenas[head].space.logits.clone());
        for block in parallel::blocks(count, logit_rows) {
            let x = part(block.start, block.len())?;
            let head = || self.model.logits(&x, block.len(), &mut self.arenas);
            parallel::on_pool(head).map_err(backend)?;
            read(&out, block.len() * vocab, &mut |values| {
                for (position, row) in block.clone().zip(values.chunks_exact(vocab)) {
                    logits(position, row);
                }
            })?;
        }
        Ok(())
    }
}

/// Shows the first `len` values of an f32 tensor.
pub(super) fn read(tensor: &Tensor, len: usize, show: &mut dyn FnMut(&[f32])) -> Result<(), EngineError> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(EngineError::Backend("a tensor is not on the CPU".to_owned()));
    };
    show(&Values::of(storage, layout).and_then(Values::f32).map_err(backend)?[..len]);
    Ok(())
}
