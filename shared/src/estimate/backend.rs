//! What runs the model, as far as it takes memory of its own.

use serde::{Deserialize, Serialize};

use crate::devices::Vendor;

const MIB: u64 = 1 << 20;

/// What a tokenizer takes for a token of its vocabulary: text, id and merge, each there and back. Measured on a release
/// build: 39 MiB with 49,152 tokens, 9.7 MiB with 1,536; where the program is not optimised its code takes 12 MiB more.
const TOKEN_BYTES: u64 = 560;

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
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Cuda, Self::Rocm, Self::Metal, Self::Wgpu];

    /// The name in the CLI and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::Metal => "metal",
            Self::Wgpu => "wgpu",
        }
    }

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

    /// Assumed bytes of the runtime until loads have been measured, and what the assumption rests on. A tokenizer lies
    /// on the host, so a vocabulary of `vocab_size` tokens counts on the CPU alone.
    #[must_use]
    pub fn assumed_overhead(self, vocab_size: u64) -> (u64, &'static str) {
        match self {
            Self::Cpu => (
                (14 * MIB).saturating_add(vocab_size.saturating_mul(TOKEN_BYTES)),
                "14 MiB of code and threads, 560 B of tokenizer for each token of the vocabulary (CPU workers were \
                 measured at 10 to 41 MiB)",
            ),
            Self::Cuda => (
                534 * MIB,
                "a CUDA context and our kernels: 528 to 536 MiB in 16 loads on an H100, 1.6 MiB off on average \
                 (other tools' contexts take 451 MiB on an RTX 4090)",
            ),
            Self::Rocm => (534 * MIB, "as CUDA, not measured on ROCm"),
            Self::Metal | Self::Wgpu => (128 * MIB, "driver and pipelines, not measured"),
        }
    }
}

/// What WebAssembly on one thread of a tab holds beside weights, cache and activations: its data, and a tokenizer whose
/// pointers have 32 bits; its code lies elsewhere. Measured in Chromium: 2.9 MiB with 1,536 tokens, 9.3 with 49,152; 6.5
/// with 1,536 where weights were converted, since this memory never shrinks.
#[must_use]
pub fn tab_overhead_bytes(vocab_size: u64) -> u64 {
    (27 * MIB / 10).saturating_add(vocab_size.saturating_mul(142))
}

impl std::str::FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|backend| backend.name() == text).ok_or(format!("use one of {names}"))
    }
}
