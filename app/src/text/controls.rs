//! The controls.

use phi3::estimate::Backend;

pub const HEADING: &str = "Choices";
pub const DEVICE: &str = "Device";
pub const NO_DEVICE: &str = "No device";
pub const THIS_BROWSER: &str = "This browser (wasm, CPU)";
pub const MEMORY: &str = "Free memory";
pub const MEMORY_HINT: &str = "e.g. 15.6 GiB";
pub const WEIGHTS: &str = "Weights";
pub const KV_DTYPE: &str = "KV cache";
pub const KV_POLICY: &str = "KV policy";
pub const ATTENTION: &str = "Attention";
pub const BATCH: &str = "Batch";
pub const CONTEXT: &str = "Context";
pub const CONTEXT_EXACT: &str = "Context in tokens, exact";
pub const RESET: &str = "Defaults";

/// A device whose free memory is typed.
pub fn other(backend: Backend) -> &'static str {
    match backend {
        Backend::Cpu => "Other CPU",
        Backend::Cuda => "Other NVIDIA GPU",
        Backend::Rocm => "Other AMD GPU",
        Backend::Metal => "Other Apple GPU",
        Backend::Wgpu => "Other GPU (Vulkan, WebGPU)",
    }
}
