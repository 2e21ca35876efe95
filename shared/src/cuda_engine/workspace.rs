//! The memory that a model computes in, allocated once; its sizes come from the estimator.

use std::sync::Arc;

use super::driver::{Buffer, Gpu, Ptr};
use crate::engine::{EngineError, LoadPlan, Split};
use crate::estimate::cuda_workspace::CudaWorkspace;
use crate::placement::DeviceId;

/// What computes on a device, and so which buffers are there; the same parts as in `placement`'s workload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roles {
    /// Anything that reads or writes the residual stream: embedding, layers, last norm.
    pub(super) stream: bool,
    /// Decoder layers.
    pub(super) layers: bool,
    /// The head.
    pub(super) head: bool,
}

impl Roles {
    /// Of a device in a split.
    pub(super) fn of(split: &Split, device: &DeviceId) -> Self {
        let layers = split.layers.contains(device);
        let stream = layers || [&split.embedding, &split.norm].contains(&device);
        Self { stream, layers, head: split.head == *device }
    }
}

/// Buffers of one device; those of absent roles are empty. See [`CudaWorkspace`] for what each holds.
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
    /// Addresses of the blocks of each sequence's cache, where caches share memory.
    pub(super) lists: Buffer,
}

/// What the roles of a device take.
pub(super) fn sizes(plan: &LoadPlan, roles: Roles) -> CudaWorkspace {
    let (context, batch) = (plan.context as u64, plan.batch as u64);
    let mut sizes = CudaWorkspace::new(&plan.config.decoder(), plan.dtype, plan.attention, context, batch);
    if !roles.stream {
        (sizes.residual, sizes.descriptions, sizes.lists) = (0, 0, 0);
    }
    if !roles.layers {
        (sizes.normed, sizes.projected, sizes.mixed) = (0, 0, 0);
        (sizes.rotary, sizes.scores) = (0, 0);
    }
    if !roles.head {
        (sizes.last, sizes.logits) = (0, 0);
    }
    if !(roles.layers || roles.head) {
        (sizes.panel, sizes.gemm) = (0, 0);
    }
    sizes
}

impl Workspace {
    pub(super) fn new(gpu: &Arc<Gpu>, plan: &LoadPlan, roles: Roles) -> Result<Self, EngineError> {
        let sizes = sizes(plan, roles);
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
            lists: buffer(sizes.lists)?,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.sizes.rows as usize
    }

    pub(super) fn logit_rows(&self) -> usize {
        self.sizes.logit_rows as usize
    }

    /// Where rows of activations pass through on their way to the head; `x`, where the rows come from, is in `last`
    /// wherever there are no layers.
    pub(super) fn on_the_way(&self) -> Ptr {
        if self.sizes.normed > 0 { self.normed.ptr() } else { self.residual.ptr() }
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
            lists,
            ..
        } = self;
        let buffers =
            [residual, normed, projected, mixed, rotary, scores, panel, last, logits, descriptions, lists];
        buffers.iter().map(|buffer| buffer.bytes).sum()
    }
}
