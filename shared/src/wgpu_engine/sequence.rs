//! One sequence: what the host knows of it, and what it has on the device.

use super::attention::Cache;
use super::gpu::Gpu;
use super::model::Model;
use crate::engine::{EngineError, LoadPlan, Sampler, Sampling};

/// An open sequence. Every id is kept: crossing to the long rope factors computes all keys anew.
pub(super) struct Sequence {
    /// The ids that are known: those computed on, then the one sampled last, unless it is still on its way.
    pub(super) ids: Vec<u32>,
    /// Ids that are part of the sequence: computed on, or submitted.
    pub(super) len: usize,
    pub(super) capacity: usize,
    /// `None`: the largest logit, chosen on the device.
    pub(super) sampler: Option<Sampler>,
    /// Whether the cached keys were rotated by the long factors.
    pub(super) long: bool,
    pub(super) cache: Cache,
    /// The id sampled last, on the device.
    pub(super) token: wgpu::Buffer,
    /// Bindings of `token` where ids are read, and where one is written.
    pub(super) read_token: Vec<wgpu::BindGroup>,
    pub(super) write_token: wgpu::BindGroup,
}

impl Sequence {
    pub(super) async fn new(
        gpu: &Gpu,
        plan: &LoadPlan,
        model: &Model,
        capacity: usize,
        sampling: &Sampling,
    ) -> Result<Self, EngineError> {
        // The host's sampler sees what it samples, and no prompt.
        if sampling.repetition_penalty != 1.0 {
            return Err(EngineError::Unavailable {
                what: "repetition_penalty".to_owned(),
                reason: "this engine does not count the prompt; use frequency_penalty, or the CPU".to_owned(),
            });
        }
        let sampler = Sampler::new(sampling)?;
        let sampler = (sampling.temperature > 0.0 || sampling.penalizes()).then_some(sampler);
        let cache = model.attention.cache(gpu, plan.config.num_hidden_layers, capacity).await?;
        let token = gpu.storage("token", 4);
        let read_token = model.ids(gpu, &token);
        let write_token = model.argmax.group(gpu, 1, &[(0, token.as_entire_binding())]);
        gpu.check()?;
        Ok(Self {
            ids: Vec::new(),
            len: 0,
            capacity,
            sampler,
            long: false,
            cache,
            token,
            read_token,
            write_token,
        })
    }

    /// Back to `len` tokens and the ids that were known then; the one after them is sampled next.
    pub(super) fn rewind(&mut self, gpu: &Gpu, len: usize, ids: &[u32]) {
        self.len = len;
        self.ids.clear();
        self.ids.extend_from_slice(ids);
        if let Some(pending) = self.ids.get(len) {
            gpu.queue.write_buffer(&self.token, 0, &pending.to_le_bytes());
        }
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        self.token.destroy();
    }
}
