//! The buffers that a model computes in, made once when it is loaded.

use super::gpu::Gpu;
use crate::engine::{EngineError, LoadPlan};
use crate::estimate::wgpu_workspace::WgpuWorkspace;
use crate::units::format_counted;

/// Buffers of one engine; see [`WgpuWorkspace`] for what each holds.
pub(super) struct Workspace {
    /// Rows that go through the model at once.
    pub(super) rows: usize,
    /// Rows of logits held at once.
    pub(super) logit_rows: usize,
    /// Rows whose scores are held at once; 0 where scores stay on the chip.
    pub(super) score_rows: usize,
    /// `Step` of the shaders.
    pub(super) step: wgpu::Buffer,
    pub(super) ids: wgpu::Buffer,
    pub(super) residual: wgpu::Buffer,
    pub(super) normed: wgpu::Buffer,
    pub(super) quantized: wgpu::Buffer,
    pub(super) gated_q8: wgpu::Buffer,
    pub(super) qkv: wgpu::Buffer,
    pub(super) query: wgpu::Buffer,
    pub(super) mixed: wgpu::Buffer,
    pub(super) rotary: wgpu::Buffer,
    pub(super) parts: wgpu::Buffer,
    pub(super) scores: Option<wgpu::Buffer>,
    pub(super) logits: wgpu::Buffer,
}

impl Workspace {
    pub(super) async fn new(gpu: &Gpu, plan: &LoadPlan) -> Result<Self, EngineError> {
        let (context, batch) = (plan.context as u64, plan.batch as u64);
        let sizes = WgpuWorkspace::new(&plan.config.decoder(), plan.attention, context, batch);
        let make = |gpu: &Gpu| Self {
            rows: sizes.rows as usize,
            logit_rows: sizes.logit_rows as usize,
            score_rows: sizes.score_rows as usize,
            step: gpu.uniform("step", &[0; 4]),
            ids: gpu.storage("ids", sizes.ids),
            residual: gpu.storage("residual", sizes.residual),
            normed: gpu.storage("normed", sizes.normed),
            quantized: gpu.storage("quantized", sizes.quantized),
            gated_q8: gpu.storage("gated", sizes.gated_q8),
            qkv: gpu.storage("qkv", sizes.qkv),
            query: gpu.storage("query", sizes.query),
            mixed: gpu.storage("mixed", sizes.mixed),
            rotary: gpu.storage("rotary", sizes.rotary),
            parts: gpu.storage("parts", sizes.parts),
            scores: (sizes.score_rows > 0).then(|| gpu.storage("scores", sizes.scores)),
            logits: gpu.storage("logits", sizes.logits),
        };
        let space = gpu.scoped("activation", sizes.bytes(), make).await?;
        let most = gpu.limits.max_storage_buffer_binding_size;
        let largest = space.largest_buffer();
        if largest > most {
            return Err(EngineError::Unavailable {
                what: format!("a context of {}", format_counted(plan.context as u64, "token")),
                reason: format!(
                    "it needs a buffer of {largest} bytes, this device binds {most} at most: \
                     shorten the context or use fused attention"
                ),
            });
        }
        Ok(space)
    }

    fn buffers(&self) -> impl Iterator<Item = &wgpu::Buffer> {
        let Self { ids, residual, normed, quantized, gated_q8, qkv, query, mixed, rotary, parts, .. } = self;
        let all =
            [ids, residual, normed, quantized, gated_q8, qkv, query, mixed, rotary, parts, &self.logits];
        all.into_iter().chain(&self.scores)
    }

    /// Bytes of the largest of them.
    pub(super) fn largest_buffer(&self) -> u64 {
        self.buffers().map(wgpu::Buffer::size).max().unwrap_or(0)
    }

    /// Bytes of the buffers.
    pub(super) fn bytes(&self) -> u64 {
        self.buffers().map(wgpu::Buffer::size).sum()
    }
}
