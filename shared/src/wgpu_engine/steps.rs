//! From tokens to sampled ids: what is submitted for a step, and what comes back of it.

use futures_channel::oneshot;

use super::attention::Span;
use super::gpu::Gpu;
use super::kernels::FEW_ROWS;
use super::sequence::Sequence;
use super::{Sampled, SequenceId, WgpuEngine};
use crate::engine::{EngineError, Prompt};

/// Steps that may be under way before the id of the oldest is waited for.
pub(super) const LAG: usize = 2;

/// What the device puts for an id where a logit is NaN.
const NAN: u32 = u32::MAX;

/// A step whose id has not been read.
pub(super) struct InFlight {
    pub(super) sequence: SequenceId,
    /// Length of the sequence before the step.
    len: usize,
    staging: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    mapped: oneshot::Receiver<bool>,
}

/// Ids of a pass.
enum Ids {
    /// The last sampled one, on the device.
    Sampled,
    /// Those of the sequence, known here.
    Known,
}

impl WgpuEngine {
    /// Goes each way through the model once, on ids that mean nothing: drivers finish a shader when it first runs, and no
    /// prompt should wait for that. Where a processor plays the GPU, it is the work itself that takes long.
    pub(super) async fn warm_up(&self) -> Result<(), EngineError> {
        if self.gpu.is_software {
            return Ok(());
        }
        let most = (FEW_ROWS + 1).min(self.space.rows).min(self.plan.context);
        let cache = self.model.attention.cache(&self.gpu, 1, most).await?;
        for rows in [most, most.min(2), 1] {
            let span = Span { rows, start: 0 };
            self.prepare(span, false);
            let mut encoder = self.gpu.encoder();
            {
                let pass = &mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                self.model.embed(pass, &self.ids, rows);
                self.model.layers(pass, &cache, span, &self.space);
                self.model.logits(pass, 1);
            }
            self.gpu.submit(encoder);
        }
        self.gpu.settle().await
    }

    /// Appends a prompt and samples.
    pub(super) async fn append(&mut self, prompt: &Prompt<'_>) -> Result<(), EngineError> {
        let id = prompt.sequence;
        let sequence = self.sequences.get_mut(&id).ok_or(EngineError::UnknownSequence(id))?;
        // An id that was sampled and not taken is not part of the sequence.
        sequence.ids.truncate(sequence.len);
        sequence.ids.extend_from_slice(prompt.tokens);
        self.extend(id).await
    }

    /// Appends a sequence's last sampled id and samples the next. Ids that had to be waited for go to `readable`.
    pub(super) async fn step(
        &mut self,
        id: SequenceId,
        readable: &mut Vec<Sampled>,
    ) -> Result<(), EngineError> {
        let sequence = self.sequences.get(&id).ok_or(EngineError::UnknownSequence(id))?;
        if self.rope.is_long(sequence.len + 1) != sequence.long || !self.plan.use_cache {
            // All keys are computed anew, from ids that must be known.
            readable.extend(self.collect(0).await?);
            return self.extend(id).await;
        }
        let len = sequence.len;
        let encoder = self.pass(id, len..len + 1, &Ids::Sampled, true)?;
        self.sample(id, len, encoder).await
    }

    /// Computes what a sequence's known ids lack, and samples.
    async fn extend(&mut self, id: SequenceId) -> Result<(), EngineError> {
        let sequence = self.sequences.get_mut(&id).ok_or(EngineError::UnknownSequence(id))?;
        let (before, end) = (sequence.len, sequence.ids.len());
        let long = self.rope.is_long(end);
        let mut start = if long == sequence.long && self.plan.use_cache { before } else { 0 };
        sequence.long = long;
        loop {
            let rows = (end - start).min(self.space.rows);
            let is_last = start + rows == end;
            let encoder = self.pass(id, start..start + rows, &Ids::Known, is_last)?;
            if is_last {
                return self.sample(id, before, encoder).await;
            }
            self.gpu.submit(encoder);
            start += rows;
        }
    }

    /// Records some positions of a sequence through all layers, and on to the logits of the last where `to_logits`.
    fn pass(
        &mut self,
        id: SequenceId,
        positions: std::ops::Range<usize>,
        ids: &Ids,
        to_logits: bool,
    ) -> Result<wgpu::CommandEncoder, EngineError> {
        let sequence = self.sequences.get(&id).ok_or(EngineError::UnknownSequence(id))?;
        let span = Span { rows: positions.len(), start: positions.start };
        self.gpu.check()?;
        self.prepare(span, sequence.long);
        let ids = match ids {
            Ids::Sampled => &sequence.read_token,
            Ids::Known => {
                let ids = bytemuck::cast_slice(&sequence.ids[positions.clone()]);
                self.gpu.queue.write_buffer(&self.space.ids, 0, ids);
                &self.ids
            }
        };
        let mut encoder = self.gpu.encoder();
        {
            let pass = &mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            self.model.embed(pass, ids, span.rows);
            self.model.layers(pass, &sequence.cache, span, &self.space);
            if to_logits {
                self.model.logits(pass, 1);
                if sequence.sampler.is_none() {
                    self.model.argmax.run(pass, &[&sequence.write_token], [1, 1, 1]);
                }
            }
        }
        if let Some(sequence) = self.sequences.get_mut(&id) {
            sequence.len = positions.end;
        }
        Ok(encoder)
    }

    /// Writes what shaders must know of some rows of a sequence.
    pub(super) fn prepare(&self, span: Span, long: bool) {
        let splits = self.model.attention.splits(span);
        let step = [span.rows as u32, span.start as u32, splits as u32, span.rows as u32 - 1];
        self.gpu.queue.write_buffer(&self.space.step, 0, bytemuck::cast_slice(&step));
        let width = self.rope.rotary_dim();
        let mut rotary = vec![0.0; span.rows * width];
        for (row, position) in rotary.chunks_exact_mut(width).zip(span.start..) {
            self.rope.write_row(long, position, row);
        }
        self.gpu.queue.write_buffer(&self.space.rotary, 0, bytemuck::cast_slice(&rotary));
    }

    /// Submits a pass and takes the next id of its sequence from the logits. `len` is its length before the step.
    async fn sample(
        &mut self,
        id: SequenceId,
        len: usize,
        mut encoder: wgpu::CommandEncoder,
    ) -> Result<(), EngineError> {
        let sequence = self.sequences.get_mut(&id).ok_or(EngineError::UnknownSequence(id))?;
        if let Some(sampler) = &mut sequence.sampler {
            let bytes = 4 * self.plan.config.vocab_size as u64;
            let logits = self.gpu.read(encoder, &self.space.logits, bytes).await?;
            let logits: Vec<f32> = bytemuck::pod_collect_to_vec(&logits);
            let next = sampler.next(&logits).unwrap_or(NAN);
            self.gpu.queue.write_buffer(&sequence.token, 0, &next.to_le_bytes());
            encoder = self.gpu.encoder();
        }
        let staging = self.staging.pop().unwrap_or_else(|| self.gpu.readback(4));
        encoder.copy_buffer_to_buffer(&sequence.token, 0, &staging, 0, 4);
        let submission = self.gpu.submit(encoder);
        let mapped = self.gpu.map(&staging);
        self.in_flight.push_back(InFlight { sequence: id, len, staging, submission, mapped });
        Ok(())
    }

    /// Reads ids until no more than `left` steps are under way.
    pub(super) async fn collect(&mut self, left: usize) -> Result<Vec<Sampled>, EngineError> {
        let mut readable = Vec::new();
        while self.in_flight.len() > left {
            let Some(step) = self.in_flight.pop_front() else { break };
            let token = read(&self.gpu, &step.staging, step.submission, step.mapped).await?;
            self.staging.push(step.staging);
            let Some(sequence) = self.sequences.get_mut(&step.sequence) else { continue };
            if token == NAN {
                undo(&self.gpu, sequence, step.len);
                self.in_flight.retain(|other| other.sequence != step.sequence);
                return Err(EngineError::NanLogits);
            }
            sequence.ids.push(token);
            readable.push(Sampled { sequence: step.sequence, id: token });
        }
        Ok(readable)
    }
}

/// As it was before the step that ended in NaN.
fn undo(gpu: &Gpu, sequence: &mut Sequence, len: usize) {
    let ids = sequence.ids.get(..(len + 1).min(sequence.ids.len())).unwrap_or_default().to_vec();
    sequence.rewind(gpu, len, &ids);
}

async fn read(
    gpu: &Gpu,
    staging: &wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    mapped: oneshot::Receiver<bool>,
) -> Result<u32, EngineError> {
    gpu.mapped(Some(submission), mapped).await?;
    let four = |_other| EngineError::Backend("an id has four bytes".to_owned());
    let bytes: [u8; 4] = gpu.held(staging)?.try_into().map_err(four)?;
    staging.unmap();
    Ok(u32::from_le_bytes(bytes))
}
