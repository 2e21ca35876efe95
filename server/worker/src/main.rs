//! The worker that computes on the CPU and, by Vulkan, Metal or DirectX 12, on any GPU.

use std::process::ExitCode;

use phi3::candle_engine::CandleEngine;
use phi3::wgpu_engine::WgpuEngine;
use preflight_worker::Backend;

fn main() -> ExitCode {
    preflight_worker::main(&[Backend::of::<CandleEngine>("cpu"), Backend::of::<WgpuEngine>("wgpu")])
}
