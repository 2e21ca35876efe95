//! The memory that a model computes in, allocated once; its sizes come from the estimator.

use std::sync::Arc;

use super::driver::{Buffer, Gpu};
use crate::engine::{EngineError, LoadPlan};
use crate::estimate::cuda_workspace::CudaWorkspace;

/// Buffers of one engine; see [`CudaWorkspace`] for what each holds.
pub(super) struct Workspace {
    pub(super) sizes: CudaWorkspace,
    pub(super) residual: Buffer,
    pub(super) normed: Buffer,
    pub(super) projected: Buffer,
    pub(super) mixed: Buffer,
    pub(super) rotary: Buffer,
    pub(super) scores: Buffer,
    pub(super) panel: Buffer,
    pub(super) last: Buffer,
    pub(super) logits: Buffer,
    /// Rows of a chunk, then those of a batch.
    pub(super) descriptions: Buffer,
}

/// What a plan takes.
pub(super) fn sizes(plan: &LoadPlan) -> CudaWorkspace {
    let (context, batch) = (plan.context as u64, plan.batch as u64);
    CudaWorkspace::new(&plan.config.decoder(), plan.dtype, plan.attention, context, batch)
}

impl Workspace {
    pub(super) fn new(gpu: &Arc<Gpu>, plan: &LoadPlan) -> Result<Self, EngineError> {
        let sizes = sizes(plan);
        let buffer = |bytes: u64| gpu.alloc(bytes, "activation");
        Ok(Self {
            sizes,
            residual: buffer(sizes.residual)?,
            normed: buffer(sizes.normed)?,
            projected: buffer(sizes.projected)?,
            mixed: buffer(sizes.mixed)?,
            rotary: buffer(sizes.rotary)?,
            scores: buffer(sizes.scores)?,
            panel: buffer(sizes.panel)?,
            last: buffer(sizes.last)?,
            logits: buffer(sizes.logits)?,
            descriptions: buffer(sizes.descriptions)?,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.sizes.rows as usize
    }

    pub(super) fn logit_rows(&self) -> usize {
        self.sizes.logit_rows as usize
    }

    /// Bytes of the buffers.
    pub(super) fn bytes(&self) -> u64 {
        let Self {
            residual,
            normed,
            projected,
            mixed,
            rotary,
            scores,
            panel,
            last,
            logits,
            descriptions,
            ..
        } = self;
        let buffers = [residual, normed, projected, mixed, rotary, scores, panel, last, logits, descriptions];
        buffers.iter().map(|buffer| buffer.bytes).sum()
    }
}
