//! What runs the model, as far as it takes memory of its own.

use serde::{Deserialize, Serialize};

use crate::devices::Vendor;

const MIB: u64 = 1 << 20;

/// What computes, and what its runtime takes beside weights, cache and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Our engine on the CPU.
    #[default]
    Cpu,
    /// NVIDIA.
    Cuda,
    /// AMD.
    Rocm,
    /// Apple.
    Metal,
    /// Vulkan, or a browser's WebGPU.
    Wgpu,
}

impl Backend {
    /// What a vendor's GPUs are driven by.
    #[must_use]
    pub fn of(vendor: Vendor) -> Self {
        match vendor {
            Vendor::Nvidia => Self::Cuda,
            Vendor::Amd => Self::Rocm,
            Vendor::Apple => Self::Metal,
            Vendor::Intel => Self::Wgpu,
        }
    }

    /// Assumed bytes of the runtime until loads have been measured, and what the assumption rests on.
    #[must_use]
    pub fn assumed_overhead(self) -> (u64, &'static str) {
        match self {
            Self::Cpu => (32 * MIB, "code, threads, tokenizer; a CPU worker takes 10 to 24 MiB"),
            Self::Cuda => {
                (640 * MIB, "a CUDA context takes 451 MiB on an RTX 4090, 527 on an H100; kernels, tokenizer")
            }
            Self::Rocm => (640 * MIB, "as CUDA; not measured on ROCm"),
            Self::Metal | Self::Wgpu => (128 * MIB, "driver, pipelines, tokenizer; not measured"),
        }
    }
}
