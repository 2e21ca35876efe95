//! Memory as it is now.

use crate::processes;

/// Memory as it is now; `None` where nobody tells.
#[derive(Debug, Clone, Default)]
pub struct MemoryNow {
    /// What the host could still give.
    pub host_available_bytes: Option<u64>,
    /// Used on the GPU.
    pub gpu_used_bytes: Option<u64>,
    /// Free on the GPU.
    pub gpu_free_bytes: Option<u64>,
    /// Who else holds memory of the GPU, in words.
    pub holders: Vec<String>,
}

/// Memory of the host, and of the GPU that a queue is for.
pub async fn memory(_lane: &str) -> MemoryNow {
    MemoryNow { host_available_bytes: processes::host_available_bytes(), ..MemoryNow::default() }
}
