//! The engine's shaders on the host: every one compiles, and each kernel is held against sums in f64.
//! What the whole model must give is held against Hugging Face in the parity tests.

#[cfg(feature = "candle")]
mod engine_tests;
mod kernel_tests;
mod shader_tests;

use pollster::block_on;

use super::gpu::Gpu;
use crate::placement::DeviceId;

/// The first GPU, software where there is no other. Without any driver the test says so and is over.
pub(super) fn gpu(test: &str) -> Option<Gpu> {
    let first = DeviceId::Gpu { backend: super::gpu::BACKEND.to_owned(), index: 0 };
    match block_on(Gpu::open(&first)) {
        Ok(gpu) => Some(gpu),
        Err(error) if std::env::var_os("PREFLIGHT_REQUIRE_GPU").is_none() => {
            println!("{test}: LEFT OUT: {error}");
            None
        }
        Err(error) => panic!("{test}: {error}"),
    }
}

/// Numbers in ±1 that depend on the seed alone.
pub(super) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
