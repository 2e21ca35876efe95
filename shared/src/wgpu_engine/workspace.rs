//! The buffers that a model computes in, made once when it is loaded.

use super::gpu::Gpu;
use super::kernels::Heads;
use super::matrix::{BLOCK, padded};
use crate::engine::{Attention, EngineError, LoadPlan};
use crate::estimate::activations;

/// Most parts that the keys of one row are split into.
pub(super) const MAX_SPLITS: usize = 32;
/// Words of a block of int8 activations.
const Q8_WORDS: usize = 12;

/// Activations are f32, rows padded to whole blocks.
pub(super) struct Workspace {
    /// Rows that go through the model at once.
    pub(super) rows: usize,
    /// Rows of logits held at once.
    pub(super) logit_rows: usize,
    /// Rows whose scores are held at once; 0 where scores stay on the chip.
    pub(super) score_rows: usize,
    /// `Step` of the shaders.
    pub(super) step: wgpu::Buffer,
    /// Ids of the rows.
    pub(super) ids: wgpu::Buffer,
    /// `[rows, hidden]`.
    pub(super) residual: wgpu::Buffer,
    /// `[rows, hidden]`.
    pub(super) normed: wgpu::Buffer,
    /// One normed row, or one row of mixed values, as int8 blocks.
    pub(super) quantized: wgpu::Buffer,
    /// One row of the gated MLP as int8 blocks.
    pub(super) gated_q8: wgpu::Buffer,
    /// `[rows, q + 2·kv]`.
    pub(super) qkv: wgpu::Buffer,
    /// Rotated queries, `[rows, heads, head_dim]`.
    pub(super) query: wgpu::Buffer,
    /// Mixed values `[rows, q]`, then the gated MLP `[rows, intermediate]`.
    pub(super) mixed: wgpu::Buffer,
    /// `[rows, cosines | sines]`.
    pub(super) rotary: wgpu::Buffer,
    /// What the parts of split attention leave, `[heads, MAX_SPLITS, head_dim + 4]`.
    pub(super) parts: wgpu::Buffer,
    /// `[score rows, heads, context]`.
    pub(super) scores: Option<wgpu::Buffer>,
    /// `[logit rows, vocab]`.
    pub(super) logits: wgpu::Buffer,
}

impl Workspace {
    pub(super) async fn new(gpu: &Gpu, plan: &LoadPlan, heads: &Heads) -> Result<Self, EngineError> {
        let config = &plan.config;
        let sizes = activations::Workspace::new(
            &config.decoder(),
            plan.dtype,
            plan.attention,
            plan.context as u64,
            plan.batch as u64,
        );
        let rows = sizes.rows as usize;
        let logit_rows = (sizes.logits / config.vocab_size as u64) as usize;
        let score_rows = if plan.attention == Attention::Eager {
            (sizes.scores / plan.context.max(1) as u64 / heads.query as u64).clamp(1, rows as u64) as usize
        } else {
            0
        };
        let (hidden, intermediate) = (padded(config.hidden_size), padded(config.intermediate_size));
        let widest = hidden.max(padded(heads.query_width()));
        let floats = |values: usize| 4 * values as u64;
        let make = |gpu: &Gpu| Self {
            rows,
            logit_rows,
            score_rows,
            step: gpu.uniform("step", &[0; 4]),
            ids: gpu.storage("ids", floats(rows)),
            residual: gpu.storage("residual", floats(rows * hidden)),
            normed: gpu.storage("normed", floats(rows * hidden)),
            quantized: gpu.storage("quantized", floats(widest / BLOCK * Q8_WORDS)),
            gated_q8: gpu.storage("gated", floats(intermediate / BLOCK * Q8_WORDS)),
            qkv: gpu.storage("qkv", floats(rows * padded(heads.qkv_width()))),
            query: gpu.storage("query", floats(rows * heads.query * heads.fours() * 4)),
            mixed: gpu.storage("mixed", floats(rows * padded(heads.query_width()).max(intermediate))),
            rotary: gpu.storage("rotary", floats(rows * heads.rotary_dim)),
            parts: gpu.storage("parts", floats(heads.query * MAX_SPLITS * (heads.fours() + 1) * 4)),
            scores: (score_rows > 0)
                .then(|| gpu.storage("scores", floats(score_rows * heads.query * plan.context))),
            logits: gpu.storage("logits", floats(logit_rows * config.vocab_size)),
        };
        let space = gpu.scoped("activation", sizes.bytes(), make).await?;
        let most = gpu.limits.max_storage_buffer_binding_size;
        let largest = space.buffers().map(wgpu::Buffer::size).max().unwrap_or(0);
        if largest > most {
            return Err(EngineError::Unavailable {
                what: format!("a context of {} tokens", plan.context),
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

    /// Bytes of the buffers.
    pub(super) fn bytes(&self) -> u64 {
        self.buffers().map(wgpu::Buffer::size).sum()
    }
}
