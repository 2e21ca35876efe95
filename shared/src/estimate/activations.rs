//! What an engine holds beyond weights and KV cache. Engines allocate from the sizes here, so that the estimate, the
//! plan and the allocation are one number.

use serde::{Deserialize, Serialize};

use super::cpu_workspace::CpuWorkspace;
use super::cuda_workspace::CudaWorkspace;
use super::wgpu_workspace::WgpuWorkspace;
use super::{Backend, Resolved};
use crate::decoder::Decoder;
use crate::dtype::DType;
use crate::units::format_bytes;

/// Rows of logits that are held at once, unless a batch is larger.
pub const LOGIT_ROWS: u64 = 16;

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// The score matrix is written out; the guard rail.
    #[default]
    Eager,
    /// Scores never leave the chip.
    Fused,
}

/// What computes in a buffer: of a model on several devices, each has the buffers of what is on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Whatever reads or writes the residual stream: embedding, layers, last norm.
    Stream,
    /// Decoder layers.
    Layers,
    /// Products with weights: layers and head.
    Products,
    /// The head.
    Head,
}

impl Stage {
    /// Every one, as [`Workspace::by_stage`] lists them.
    pub const ALL: [Self; 4] = [Self::Stream, Self::Layers, Self::Products, Self::Head];

    /// What its buffers hold.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stream => "residual stream",
            Self::Layers => "layers",
            Self::Products => "products",
            Self::Head => "logits",
        }
    }
}

/// The buffers of the engine that a backend is driven by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workspace {
    /// On the CPU.
    Cpu(CpuWorkspace),
    /// On NVIDIA's GPUs.
    Cuda(CudaWorkspace),
    /// On every other GPU, by Vulkan, Metal, DirectX 12 or WebGPU.
    Wgpu(WgpuWorkspace),
}

impl Workspace {
    /// Sizes for sequences of up to `context` tokens, `batch` of them at once, with weights held in `dtype`.
    #[must_use]
    pub fn new(
        backend: Backend,
        decoder: &Decoder,
        dtype: DType,
        attention: Attention,
        context: u64,
        batch: u64,
    ) -> Self {
        match backend {
            Backend::Cpu => Self::Cpu(CpuWorkspace::new(decoder, dtype, attention, context, batch)),
            Backend::Cuda => Self::Cuda(CudaWorkspace::new(decoder, dtype, attention, context, batch)),
            Backend::Rocm | Backend::Metal | Backend::Wgpu => {
                Self::Wgpu(WgpuWorkspace::new(decoder, attention, context, batch))
            }
        }
    }

    /// Sizes for resolved options on a backend, which need not be theirs: of a split, each device has its own.
    #[must_use]
    pub fn on(backend: Backend, decoder: &Decoder, resolved: &Resolved) -> Self {
        let Resolved { format, attn, context, batch, .. } = *resolved;
        // A mixture is multiplied as its blocks are.
        let dtype = format.plain().unwrap_or(DType::Q4_0);
        Self::new(backend, decoder, dtype, attn, context, batch)
    }

    /// Bytes of the buffers of each [`Stage`], in the order of [`Stage::ALL`].
    #[must_use]
    pub fn by_stage(&self) -> [u64; 4] {
        match self {
            Self::Cpu(space) => space.by_stage(),
            Self::Cuda(space) => space.by_stage(),
            Self::Wgpu(space) => space.by_stage(),
        }
    }

    /// Bytes of all buffers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        sum(&self.by_stage())
    }

    /// How the bytes come about, for people: sums of their own between semicolons.
    #[must_use]
    pub fn formula(&self) -> String {
        let parts = match self {
            Self::Cpu(space) => space.parts(),
            Self::Cuda(space) => space.parts(),
            Self::Wgpu(space) => space.parts(),
        };
        let parts = parts.into_iter().filter(|(_, bytes)| *bytes > 0);
        let said: Vec<_> = parts.map(|(words, bytes)| format!("{words} = {}", format_bytes(bytes))).collect();
        said.join("; ")
    }
}

/// A sum that stops far above any memory.
pub(super) fn sum(bytes: &[u64]) -> u64 {
    bytes.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
}

/// A product that stops there too.
pub(super) fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product, factor| product.saturating_mul(*factor))
}

/// What [`logits of a whole sequence`](crate::engine::Diagnostics::logits) allocate on top: the residual of every
/// token and one layer's keys and values.
#[must_use]
pub fn diagnostics(decoder: &Decoder, kv_dtype: DType, tokens: u64) -> u64 {
    let key_value =
        decoder.widest(|layer| layer.attention.projected_width() - layer.attention.query_width()) / 2;
    let cache = kv_dtype.tensor_bytes(&[2, key_value, tokens as usize]);
    (4 * decoder.hidden_size as u64).saturating_mul(tokens).saturating_add(cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_size_overflows_and_every_stage_counts() {
        let decoder = Decoder::parse(br#"{"model_type":"phi3"}"#).expect("class defaults");
        for backend in Backend::ALL {
            for attention in [Attention::Eager, Attention::Fused] {
                let huge = Workspace::new(backend, &decoder, DType::F32, attention, u64::MAX, u64::MAX);
                assert_eq!(huge.bytes(), u64::MAX, "{backend:?}");
                let small = Workspace::new(backend, &decoder, DType::Q8_0, attention, 4096, 1);
                assert!(!small.formula().is_empty() && small.bytes() > 1 << 20);
            }
        }
    }

    /// Searches for the longest context and the largest batch rest on it.
    #[test]
    fn more_tokens_never_take_less() {
        let decoder = Decoder::parse(br#"{"model_type":"phi3"}"#).expect("class defaults");
        for backend in Backend::ALL {
            let bytes = |context, batch| {
                Workspace::new(backend, &decoder, DType::Bf16, Attention::Eager, context, batch).bytes()
            };
            let mut last = [0, 0];
            for n in (1..200_000).step_by(997) {
                let now = [bytes(n, 3), bytes(70_000, n)];
                assert!(now[0] >= last[0] && now[1] >= last[1], "{backend:?}: {n}");
                last = now;
            }
        }
    }
}
