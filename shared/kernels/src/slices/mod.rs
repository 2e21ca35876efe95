//! The arithmetic on slices. Plain loops over lanes, compiled once for each instruction set that the processor
//! may have ([`simd`]); nothing here allocates, knows a tensor or starts a thread.
//!
//! Values are f32. Weights and caches may be narrower and are widened as they are read; results are rounded
//! to the model's format ([`round`]) where Hugging Face casts.

mod blocks;
mod dot;
mod exp;
mod float;
mod gemm;
mod integer;
mod lanes;
mod rows;

pub use blocks::{BLOCK, quantize};
pub(crate) use blocks::{Blocks, Q4_0, Q8_0};
pub(crate) use dot::{add_scaled, dot};
pub(crate) use float::widened;
pub use float::{Float, round};
pub(crate) use gemm::{Matrix, MatrixMut, gemm};
pub(crate) use integer::{Activations, IntegerBlocks, ROWS as INTEGER_ROWS};
pub(crate) use lanes::{IntegerWork, Lanes, integers, most_rows as most_integer_rows};
pub(crate) use rows::{OnlineSoftmax, add, rms_norm, rotate, silu_mul, softmax};

/// Runs `work` compiled for the best instruction set of this processor. Only what is inlined into it profits.
#[inline(always)]
pub(crate) fn simd<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// A product and a sum. Not fused: without the instruction a fused one is a call, and memory is the limit anyway.
#[inline(always)]
fn multiply_add(a: f32, b: f32, sum: f32) -> f32 {
    a * b + sum
}
