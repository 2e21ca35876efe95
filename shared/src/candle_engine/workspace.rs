//! The memory that a model computes in, allocated once; its sizes come from the estimator.

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use kernels::tensor_bytes;

use super::backend;
use crate::dtype::DType;
use crate::engine::{EngineError, LoadPlan};
use crate::estimate::cpu_workspace::CpuWorkspace;

/// What computes in a workspace; the same parts as in `placement`'s workload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roles {
    /// Anything that reads or writes the residual stream: embedding, layers, last norm.
    pub(super) stream: bool,
    /// Decoder layers.
    pub(super) layers: bool,
    /// The head.
    pub(super) head: bool,
}

/// Buffers of one device; see [`CpuWorkspace`] for what each holds. Those of absent roles are empty.
pub(super) struct Workspace {
    pub(super) rows: usize,
    pub(super) logit_rows: usize,
    pub(super) residual: Tensor,
    pub(super) normed: Tensor,
    pub(super) projected: Tensor,
    pub(super) mixed: Tensor,
    pub(super) rotary: Tensor,
    pub(super) last: Tensor,
    pub(super) logits: Tensor,
    pub(super) scores: Vec<f32>,
    pub(super) panel: Vec<f32>,
}

impl Workspace {
    pub(super) fn new(plan: &LoadPlan, roles: Roles) -> Result<Self, EngineError> {
        let sizes = sizes(plan, roles);
        let tensor = |values: u64| zeroed_tensor("activation", DType::F32, &[values as usize]);
        Ok(Self {
            rows: sizes.rows as usize,
            logit_rows: sizes.logit_rows as usize,
            residual: tensor(sizes.residual)?,
            normed: tensor(sizes.normed)?,
            projected: tensor(sizes.projected)?,
            mixed: tensor(sizes.mixed)?,
            rotary: tensor(sizes.rotary)?,
            last: tensor(sizes.last)?,
            logits: tensor(sizes.logits)?,
            scores: zeroed("activation", sizes.scores as usize)?,
            panel: zeroed("activation", sizes.panel as usize)?,
        })
    }

    /// Bytes that a workspace will hold.
    pub(super) fn bytes_of(plan: &LoadPlan, roles: Roles) -> u64 {
        sizes(plan, roles).bytes()
    }

    /// Bytes of the buffers.
    pub(super) fn bytes(&self) -> u64 {
        let Self { residual, normed, projected, mixed, rotary, last, logits, scores, panel, .. } = self;
        let tensors = [residual, normed, projected, mixed, rotary, last, logits];
        tensors.map(tensor_bytes).iter().sum::<u64>()
            + ((scores.len() + panel.len()) * size_of::<f32>()) as u64
    }
}

fn sizes(plan: &LoadPlan, roles: Roles) -> CpuWorkspace {
    let (context, batch) = (plan.context as u64, plan.batch as u64);
    let mut sizes = CpuWorkspace::new(&plan.config.decoder(), plan.dtype, plan.attention, context, batch);
    if !roles.stream {
        sizes.residual = 0;
    }
    if !roles.layers {
        (sizes.normed, sizes.projected, sizes.mixed) = (0, 0, 0);
        (sizes.rotary, sizes.scores) = (0, 0);
    }
    if !roles.head {
        (sizes.last, sizes.logits) = (0, 0);
    }
    if !(roles.layers || roles.head) {
        sizes.panel = 0;
    }
    sizes
}

/// Most values that go into a product, and most that come of one.
pub(super) fn products(plan: &LoadPlan) -> (usize, usize) {
    let sizes = sizes(plan, Roles { stream: true, layers: true, head: true });
    let x = sizes.normed.max(sizes.mixed).max(sizes.last);
    let out = sizes.projected.max(sizes.normed).max(sizes.logits);
    (x as usize, out as usize)
}

/// Zeros, or the error that memory ran out: candle's own allocations abort the process.
pub(super) fn zeroed<T: bytemuck::Pod>(phase: &'static str, len: usize) -> Result<Vec<T>, EngineError> {
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    bytemuck::try_zeroed_vec(len).map_err(|()| EngineError::OutOfMemory {
        phase,
        requested_bytes: bytes,
        free_bytes: 0,
    })
}

/// A tensor of zeros.
pub(super) fn zeroed_tensor(
    phase: &'static str,
    dtype: DType,
    shape: &[usize],
) -> Result<Tensor, EngineError> {
    let len = shape.iter().copied().fold(1usize, usize::saturating_mul);
    let tensor = match dtype {
        DType::Bf16 => Tensor::from_vec(zeroed::<bf16>(phase, len)?, shape, &Device::Cpu),
        DType::F16 => Tensor::from_vec(zeroed::<f16>(phase, len)?, shape, &Device::Cpu),
        _ => Tensor::from_vec(zeroed::<f32>(phase, len)?, shape, &Device::Cpu),
    };
    tensor.map_err(backend)
}
