//! The worker that computes on NVIDIA GPUs, on the CPU where it is asked to, and on both together.

use std::process::ExitCode;

use phi3::candle_engine::{CandleEngine, CandleHost};
use phi3::cuda_engine::Cuda;
use preflight_worker::Backend;

fn main() -> ExitCode {
    let cuda = Backend::of::<Cuda<CandleHost>>("cuda").beside_the_host();
    preflight_worker::main(&[cuda, Backend::of::<CandleEngine>("cpu")])
}
