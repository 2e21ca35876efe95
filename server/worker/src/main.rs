//! The worker that computes on the CPU.

use std::process::ExitCode;

use phi3::candle_engine::CandleEngine;
use preflight_worker::Backend;

fn main() -> ExitCode {
    preflight_worker::main(&[Backend::of::<CandleEngine>("cpu")])
}
