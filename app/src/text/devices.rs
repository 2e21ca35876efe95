//! Devices as they are now.

pub const UNKNOWN: &str = "unknown";
pub const LOOKING: &str = "Asking the server for its devices…";
pub const NO_SERVER: &str = "The devices of a machine are told by a Preflight server on it; this page came from plain files, so that only the browser below is known.";
pub const USED: &str = "Used";
pub const FREE: &str = "Free";
pub const TOTAL: &str = "Total";
pub const DRIVER: &str = "Driver";
pub const SOURCE: &str = "Told by";
pub const PROCESS: &str = "Process";
pub const PID: &str = "pid";
pub const HOLDS: &str = "Holds";
pub const NOT_TOLD: &str = "Nobody tells the memory of this device: its driver does not say.";
pub const NO_HOLDERS: &str = "No process is told that holds memory here.";
pub const OTHERS: &str = "everything else";
pub const MACHINE: &str = "The machine";
pub const BUILD: &str = "Build";
pub const SYSTEM: &str = "System";
pub const KERNEL: &str = "Kernel";
pub const PROCESSOR: &str = "Processor";
pub const CORES: &str = "Cores";
pub const MEMORY: &str = "Memory";
pub const GPU_DRIVER: &str = "GPU driver";
pub const NONE: &str = "none";
pub const BROWSER: &str = "This browser";
pub const BROWSER_WHY: &str = "What a page may have, as the browser tells it. Browsers tell no free memory, of GPUs not even the total.";
pub const WASM: &str = "WebAssembly, at most";
pub const DEVICE_MEMORY: &str = "Memory of the machine, at least";
pub const DEVICE_MEMORY_WHY: &str =
    "Rounded down to a power of two and capped by the browser, so that machines are not told apart";
pub const THREADS: &str = "Threads";
pub const ISOLATED: &str = "Shared memory for threads";
pub const ISOLATED_YES: &str = "allowed";
pub const ISOLATED_NO: &str = "not allowed: the host sends no COOP and COEP headers";
pub const WEBGPU: &str = "WebGPU adapter";
pub const WEBGPU_NONE: &str = "none in this browser";
pub const WEBGPU_ASKING: &str = "asking…";
pub const WEBGPU_UNNAMED: &str = "without a name";
pub const WEBGPU_SOFTWARE: &str = "computed on the CPU";
pub const BUFFER: &str = "Largest buffer";
pub const BINDING: &str = "Largest binding of a shader";
pub const F16: &str = "f16 in shaders";
pub const YES: &str = "yes";
pub const NO: &str = "no";

/// What a gauge shows, for those who do not see it.
pub fn gauge(used: &str, total: &str) -> String {
    format!("{used} of {total} used")
}

/// What a line of the past shows.
pub fn past(seconds: u64) -> String {
    format!("used, the last {}", crate::text::plural(seconds, "second"))
}
