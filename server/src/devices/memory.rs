//! Memory as it is now, around a load.

use phi3::units::format_bytes;
use preflight_files::host_memory;

/// Memory as it is now; `None` where nobody tells.
#[derive(Debug, Clone, Default)]
pub struct MemoryNow {
    /// What the host could still give.
    pub host_available_bytes: Option<u64>,
    /// Used on the GPU.
    pub gpu_used_bytes: Option<u64>,
    /// Free on the GPU.
    pub gpu_free_bytes: Option<u64>,
    /// Who holds memory of the GPU, in words.
    pub holders: Vec<String>,
    /// Why the GPU computes nothing, where its driver says so.
    pub fault: Option<String>,
}

impl MemoryNow {
    /// Who holds memory of the GPU, as the end of a sentence; empty where nobody is told.
    #[must_use]
    pub fn others(&self) -> String {
        if self.holders.is_empty() {
            String::new()
        } else {
            format!(", others hold {}", self.holders.join(", "))
        }
    }
}

/// Memory of the host, and of the GPU that a queue is for.
pub async fn memory(lane: &str) -> MemoryNow {
    let mut now = MemoryNow { host_available_bytes: host_memory().free_bytes, ..MemoryNow::default() };
    if lane == "cpu" {
        return now;
    }
    let device = lane.to_owned();
    // A driver may take its time.
    let gpus = tokio::task::spawn_blocking(super::nvidia::devices).await.unwrap_or_default();
    if let Some(gpu) = gpus.into_iter().find(|gpu| gpu.device == device) {
        now.gpu_used_bytes = gpu.used_bytes;
        now.gpu_free_bytes = gpu.free_bytes;
        now.fault = gpu.fault;
        let words = |holder: phi3::api::Holder| {
            let bytes = holder.bytes.map_or_else(|| "an unknown amount".to_owned(), format_bytes);
            format!("{bytes} by {} (process {})", holder.name, holder.pid)
        };
        now.holders = gpu.holders.into_iter().map(words).collect();
    }
    now
}
