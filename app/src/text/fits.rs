//! The table of devices.

pub const HEADING: &str = "Where it fits";
pub const SHOW_ALL: &str = "Show every GPU";
pub const SHOW_COMMON: &str = "Show the common ones";
pub const SEARCH: &str = "Search GPUs";
pub const GPU: &str = "Device";
pub const USABLE: &str = "Usable GiB";
pub const SHARE: &str = "Share of it";
pub const NEED: &str = "Need GiB";
pub const NEED_WHY: &str = "The need differs by device: each runtime takes its own part.";
pub const VERDICT: &str = "Verdict";
pub const MAX_CONTEXT: &str = "Longest context";
pub const NO_BF16: &str = "no bf16";
pub const BROWSER_CPU: &str = "This browser, CPU";
pub const BROWSER_GPU: &str = "This browser, WebGPU";
pub const FREE_NOW: &str = "free now";
pub const WASM: &str = "32-bit wasm";
pub const WASM_WHY: &str = "A page of 32-bit WebAssembly addresses 4 GiB at most; a browser may grant less";
pub const NOT_TOLD: &str = "not told";
pub const ASKING: &str = "asking";
pub const NO_WEBGPU: &str = "none";
pub const NO_WEBGPU_WHY: &str = "no WebGPU adapter in this browser";
pub const BINDS: &str = "tensors bind";
pub const SPLIT: &str = "needs splitting";
