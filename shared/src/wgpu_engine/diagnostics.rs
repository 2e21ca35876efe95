//! Looks inside the model: whole sequences layer by layer, with the cache of one layer.

use super::WgpuEngine;
use super::attention::Span;
use super::kernels::THREADS;
use super::matrix::padded;
use crate::engine::{DeviceFacts, Diagnostics, EngineError, LimitFact, Memory, count_non_finite};

impl Diagnostics for WgpuEngine {
    async fn logits(
        &mut self,
        tokens: &[u32],
        rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        self.whole(tokens, None, rows).await
    }

    async fn non_finite(
        &mut self,
        tokens: &[u32],
        rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Vec<(u64, u64)>, EngineError> {
        let mut layers = vec![(0, 0); self.plan.config.num_hidden_layers];
        let mut head = (0, 0);
        let mut seen = |position: usize, row: &[f32]| {
            count_non_finite(row, &mut head);
            rows(position, row);
        };
        self.whole(tokens, Some(&mut layers), &mut seen).await?;
        layers.push(head);
        Ok(layers)
    }

    fn memory(&self) -> Memory {
        let weights_bytes = self.weights.bytes();
        let kv_cache_bytes = self.sequences.values().map(|sequence| sequence.cache.bytes()).sum();
        let activation_bytes = self.space.bytes() + self.diagnostics_bytes;
        Memory {
            weights_bytes,
            kv_cache_bytes,
            activation_bytes,
            overhead_bytes: 0,
            total_bytes: weights_bytes + kv_cache_bytes + activation_bytes,
        }
    }

    fn facts(&self) -> Option<DeviceFacts> {
        let limits = &self.gpu.limits;
        let largest = self.weights.largest_buffer().max(self.space.largest_buffer());
        let features = match self.gpu.lanes {
            Some(lanes) => format!("sums within subgroups of {lanes}"),
            None => "sums through workgroup memory".to_owned(),
        };
        Some(DeviceFacts {
            name: self.gpu.name.clone(),
            is_software: self.gpu.is_software,
            features: vec![features],
            limits: vec![
                LimitFact::new("maxBufferSize", limits.max_buffer_size, Some(largest)),
                LimitFact::new(
                    "maxStorageBufferBindingSize",
                    limits.max_storage_buffer_binding_size,
                    Some(largest),
                ),
                LimitFact::new(
                    "maxComputeInvocationsPerWorkgroup",
                    u64::from(limits.max_compute_invocations_per_workgroup),
                    Some(THREADS as u64),
                ),
            ],
            submissions: self.gpu.submissions(),
            buffer_bytes: self.memory().total_bytes,
        })
    }
}

impl WgpuEngine {
    /// One pass over a whole sequence, each layer over all of it before the next: what each put out is counted into
    /// `counts`, then the logits are shown.
    async fn whole(
        &mut self,
        tokens: &[u32],
        mut counts: Option<&mut Vec<(u64, u64)>>,
        logits: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        let config = &self.plan.config;
        self.plan.check_whole(tokens)?;
        let count = tokens.len();
        let (layers, vocab) = (config.num_hidden_layers, config.vocab_size);
        let row_bytes = 4 * padded(config.hidden_size) as u64;
        let cache = self.model.attention.cache(&self.gpu, 1, count).await?;
        let bytes = row_bytes * count as u64;
        let residual = self.gpu.scoped("activation", bytes, |gpu| gpu.storage("diagnostics", bytes)).await?;
        self.diagnostics_bytes = self.diagnostics_bytes.max(cache.bytes() + residual.size());

        let long = self.rope.is_long(count);
        for layer in 0..layers {
            for start in (0..count).step_by(self.space.rows) {
                let span = Span { rows: self.space.rows.min(count - start), start };
                self.prepare(span, long);
                let at = start as u64 * row_bytes;
                let len = span.rows as u64 * row_bytes;
                let mut encoder = self.gpu.encoder();
                if layer > 0 {
                    encoder.copy_buffer_to_buffer(&residual, at, &self.space.residual, 0, len);
                } else {
                    let ids = bytemuck::cast_slice(&tokens[start..start + span.rows]);
                    self.gpu.queue.write_buffer(&self.space.ids, 0, ids);
                }
                {
                    let pass = &mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                    if layer == 0 {
                        self.model.embed(pass, &self.ids, span.rows);
                    }
                    self.model.layer(pass, layer, &cache, span, &self.space);
                    if counts.is_some() {
                        self.model.count_residual.run(pass, &[], [span.rows as u32, 1, 1]);
                    }
                }
                encoder.copy_buffer_to_buffer(&self.space.residual, 0, &residual, at, len);
                self.gpu.submit(encoder);
                self.gpu.check()?;
            }
            if let Some(counts) = &mut counts {
                counts[layer] = self.take_counts().await?;
            }
        }
        for start in (0..count).step_by(self.space.logit_rows) {
            let rows = self.space.logit_rows.min(count - start);
            let step = [rows as u32, 0, 1, 0];
            self.gpu.queue.write_buffer(&self.space.step, 0, bytemuck::cast_slice(&step));
            let mut encoder = self.gpu.encoder();
            let (at, len) = (start as u64 * row_bytes, rows as u64 * row_bytes);
            encoder.copy_buffer_to_buffer(&residual, at, &self.space.residual, 0, len);
            {
                let pass = &mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                self.model.logits(pass, rows);
            }
            let bytes = self.gpu.read(encoder, &self.space.logits, 4 * (rows * vocab) as u64).await?;
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
            for (position, row) in (start..).zip(values.chunks_exact(vocab)) {
                logits(position, row);
            }
        }
        residual.destroy();
        self.gpu.check()
    }

    /// Reads the counts and sets them to zero.
    async fn take_counts(&self) -> Result<(u64, u64), EngineError> {
        let read = self.gpu.read(self.gpu.encoder(), &self.model.counts, 8).await?;
        self.gpu.queue.write_buffer(&self.model.counts, 0, &[0; 8]);
        let counts: Vec<u32> = bytemuck::pod_collect_to_vec(&read);
        Ok((u64::from(counts[0]), u64::from(counts[1])))
    }
}
