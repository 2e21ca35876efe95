//! Looks inside the model: whole sequences layer by layer, without a cache.

use candle_core::{Storage, Tensor};

use super::ops::{Segment, Values};
use super::sequence::{Sequence, layer_cache};
use super::workspace::{tensor_bytes, zeroed_tensor};
use super::{CandleEngine, backend, check_tokens, ops, parallel};
use crate::dtype::DType;
use crate::engine::{Diagnostics, EngineError, Memory};

impl Diagnostics for CandleEngine {
    async fn logits(
        &mut self,
        tokens: &[u32],
        rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        self.whole(tokens, &mut |_, _| {}, rows)
    }

    async fn non_finite(&mut self, tokens: &[u32]) -> Result<Vec<(u64, u64)>, EngineError> {
        let layers = self.plan.config.num_hidden_layers;
        let mut counts = vec![(0, 0); layers];
        let mut head = (0, 0);
        self.whole(tokens, &mut |layer, values| count(values, &mut counts[layer]), &mut |_, values| {
            count(values, &mut head);
        })?;
        counts.push(head);
        Ok(counts)
    }

    fn memory(&self) -> Memory {
        let weights_bytes = self.model.bytes();
        let kv_cache_bytes = self.sequences.values().map(Sequence::cache_bytes).sum();
        let activation_bytes = self.space.bytes() + self.diagnostics_bytes;
        Memory {
            weights_bytes,
            kv_cache_bytes,
            activation_bytes,
            overhead_bytes: 0,
            total_bytes: weights_bytes + kv_cache_bytes + activation_bytes,
        }
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
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        check_tokens(tokens, self.plan.config.vocab_size)?;
        if tokens.len() > self.plan.context {
            return Err(EngineError::SequenceFull { tokens: tokens.len(), capacity: self.plan.context });
        }
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
            for chunk in parallel::blocks(count, self.space.rows) {
                let positions = chunk.clone().map(|position| (long, position));
                ops::write_rotary(&self.space.rotary, &self.rope, positions, self.plan.dtype)
                    .map_err(backend)?;
                let x = part(chunk.start, chunk.len())?;
                let segment = Segment { rows: 0..chunk.len(), start: chunk.start, cache: cache.clone() };
                let step = || layer.forward(&x, &[segment], &self.model.shape, &mut self.space);
                parallel::on_pool(step).map_err(backend)?;
                read(&x, chunk.len() * hidden, &mut |values| layer_output(index, values))?;
            }
        }
        for block in parallel::blocks(count, self.space.logit_rows) {
            let x = part(block.start, block.len())?;
            let head = || self.model.logits(&x, block.len(), &mut self.space);
            parallel::on_pool(head).map_err(backend)?;
            read(&self.space.logits, block.len() * vocab, &mut |values| {
                for (position, row) in block.clone().zip(values.chunks_exact(vocab)) {
                    logits(position, row);
                }
            })?;
        }
        Ok(())
    }
}

/// Shows the first `len` values of an f32 tensor.
fn read(tensor: &Tensor, len: usize, show: &mut dyn FnMut(&[f32])) -> Result<(), EngineError> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(EngineError::Backend("a tensor is not on the CPU".to_owned()));
    };
    show(&Values::of(storage, layout).and_then(Values::f32).map_err(backend)?[..len]);
    Ok(())
}

fn count(values: &[f32], (nan, infinite): &mut (u64, u64)) {
    *nan += values.iter().filter(|value| value.is_nan()).count() as u64;
    *infinite += values.iter().filter(|value| value.is_infinite()).count() as u64;
}
