//! Looks inside the model: whole sequences layer by layer, without a cache of their own beyond one layer.

use super::CudaEngine;
use super::driver::{Buffer, Ptr};
use super::kernels::{Row, Rows};
use super::model::Segment;
use super::sequence::layer_bytes;
use crate::engine::{Diagnostics, EngineError, Logprobs, Memory, SequenceId};

impl Diagnostics for CudaEngine {
    async fn logits(
        &mut self,
        tokens: &[u32],
        rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        self.whole(tokens, None, rows)
    }

    async fn non_finite(&mut self, tokens: &[u32]) -> Result<Vec<(u64, u64)>, EngineError> {
        let layers = self.plan.config.num_hidden_layers;
        let counts = self.gpu.alloc((layers * 16) as u64, "activation")?;
        self.model.stream.zero(counts.ptr(), layers * 16)?;
        let mut head = (0, 0);
        self.whole(tokens, Some(&counts), &mut |_, values| {
            head.0 += values.iter().filter(|value| value.is_nan()).count() as u64;
            head.1 += values.iter().filter(|value| value.is_infinite()).count() as u64;
        })?;
        let mut words = vec![0u64; layers * 2];
        self.model.stream.download(bytemuck::cast_slice_mut(&mut words), counts.ptr())?;
        let mut counts: Vec<_> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        counts.push(head);
        Ok(counts)
    }

    async fn logprobs(&mut self, sequence: SequenceId, id: u32, top: usize) -> Result<Logprobs, EngineError> {
        if !self.steps.is_empty() {
            return Err(EngineError::Unavailable {
                what: format!("logprobs of sequence {}", sequence.0),
                reason: "a later step is on its way; drain before the next step to see what one chose from"
                    .to_owned(),
            });
        }
        let row = self.logits_of.iter().position(|of| *of == sequence);
        let logits = self.model.logits_row(row.ok_or(EngineError::UnknownSequence(sequence))?)?;
        let vocab_size = self.plan.config.vocab_size;
        Logprobs::new(&logits, id, top).ok_or(EngineError::TokenOutOfRange { id, position: 0, vocab_size })
    }

    fn memory(&self) -> Memory {
        let weights_bytes = self.model.weights.bytes;
        let kv_cache_bytes = self.sequences.values().map(|sequence| sequence.cache_bytes()).sum();
        let activation_bytes = self.model.space.bytes() + self.model.gemm.bytes() + self.diagnostics_bytes;
        let counted = weights_bytes + kv_cache_bytes + activation_bytes;
        // What the process holds beyond that: context, kernels, graphs, gaps. Where nobody says, what the device has
        // less than before the engine came; the context came earlier.
        let taken = self.gpu.held_by_process();
        let taken = taken.unwrap_or_else(|| self.free_before.saturating_sub(self.gpu.memory().0));
        let overhead_bytes =
            taken.saturating_sub(counted - self.diagnostics_bytes).max(self.model.weights.padding_bytes());
        Memory {
            weights_bytes,
            kv_cache_bytes,
            activation_bytes,
            overhead_bytes,
            total_bytes: counted + overhead_bytes,
        }
    }
}

impl CudaEngine {
    /// One pass over a whole sequence: counts of what each layer put out are added to `counts`, then the logits.
    fn whole(
        &mut self,
        tokens: &[u32],
        counts: Option<&Buffer>,
        logits: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        self.plan.check_whole(tokens)?;
        let (count, hidden, vocab) =
            (tokens.len(), self.plan.config.hidden_size, self.plan.config.vocab_size);
        self.write_rotary(count)?;
        self.logits_of.clear();
        let row_bytes = hidden * size_of::<f32>();
        let residual = self.gpu.alloc((count * row_bytes) as u64, "activation")?;
        let cache = self.gpu.alloc(layer_bytes(&self.plan, self.kv, count), "activation")?;
        let descriptions = self.gpu.alloc((count * size_of::<Row>()) as u64, "activation")?;
        let held = residual.bytes + cache.bytes + descriptions.bytes;
        self.diagnostics_bytes = self.diagnostics_bytes.max(held);
        let is_long = u32::from(self.rope.is_long(count));
        let described: Vec<Row> = tokens
            .iter()
            .enumerate()
            .map(|(position, token)| Row {
                // Later layers overwrite the cache of earlier ones: each needs only its own.
                keys: cache.ptr().0,
                layer_bytes: 0,
                capacity: count as u32,
                position: position as u32,
                token: *token,
                is_long,
                ..Row::default()
            })
            .collect();
        self.model.stream.upload(descriptions.ptr(), bytemuck::cast_slice(&described))?;
        let chunk = self.model.space.rows();
        let part = |first: usize, most: usize| -> (Ptr, Rows) {
            let rows =
                Rows { ptr: descriptions.ptr().at(first * size_of::<Row>()), count: most.min(count - first) };
            (residual.ptr().at(first * row_bytes), rows)
        };
        // Each row of a grid is a token, and a grid has 65,535 of them.
        for first in (0..count).step_by(chunk) {
            let (x, rows) = part(first, chunk);
            self.model.embed(rows, x)?;
        }
        for index in 0..self.plan.config.num_hidden_layers {
            for first in (0..count).step_by(chunk) {
                let (x, rows) = part(first, chunk);
                self.model.layer(index, x, rows, &[Segment { first: 0, rows: rows.count }])?;
            }
            if let Some(counts) = counts {
                let place = counts.ptr().at(index * 16);
                self.model.kernels.count_non_finite(
                    &self.model.stream,
                    residual.ptr(),
                    count * hidden,
                    place,
                )?;
            }
        }
        let most = self.model.space.logit_rows();
        let mut host = vec![0f32; most.min(count) * vocab];
        for first in (0..count).step_by(most) {
            let (x, rows) = part(first, most);
            self.model.logits(x, rows)?;
            let values = &mut host[..rows.count * vocab];
            self.model.stream.download(bytemuck::cast_slice_mut(values), self.model.space.logits.ptr())?;
            for (row, values) in values.chunks_exact(vocab).enumerate() {
                logits(first + row, values);
            }
        }
        self.model.stream.synchronize()
    }
}
