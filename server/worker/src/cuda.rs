//! The worker that computes on NVIDIA GPUs, and on the CPU where it is asked to.

use std::process::ExitCode;

use phi3::candle_engine::CandleEngine;
use phi3::cuda_engine::CudaEngine;
use preflight_worker::Backend;

fn main() -> ExitCode {
    preflight_worker::main(&[Backend::of::<CudaEngine>("cuda"), Backend::of::<CandleEngine>("cpu")])
}
