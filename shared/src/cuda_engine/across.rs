//! Which kernel of `across.cu` takes a weight.

use super::kernels::{Format, Matrix, Use};
use super::module::{Kernel, Module};
use crate::engine::EngineError;

/// Fewest threads that a row must fill to go across a block, chunks that a thread of `across.cu` takes, and its most
/// threads where that is more than one.
const LEAST_ACROSS: usize = 192;
const CHUNKS: [usize; 3] = [1, 2, 5];
const MOST_ACROSS: usize = 512;

/// Kernels of `across.cu` for one use of a format of weights: chunks of a thread, and the kernel.
#[derive(Debug)]
pub(super) struct Across {
    purpose: Use,
    kernels: Vec<(usize, Kernel)>,
}

impl Across {
    pub(super) fn load(module: &Module, purpose: Use, weights: Format) -> Result<Self, EngineError> {
        let chunks: &[usize] = match (weights, purpose) {
            (Format::F32 | Format::Fp8, _) => &[],
            (_, Use::Add) => &CHUNKS,
            (Format::Q4_0, _) => &[],
            _ => &CHUNKS[..2],
        };
        let (word, suffix) = (weights.word(), purpose.word());
        let kernel = |chunks: &usize| {
            module.kernel(&format!("across_{word}_{suffix}_{chunks}"), 0).map(|kernel| (*chunks, kernel))
        };
        Ok(Self { purpose, kernels: chunks.iter().map(kernel).collect::<Result<_, _>>()? })
    }

    /// The kernel for rows of a weight, its threads, and rows of its tiles; `None` where rows are too short or too long.
    pub(super) fn choose(&self, weight: &Matrix) -> Option<(Kernel, usize, usize)> {
        let (of_chunk, most, tile) = match (weight.format, self.purpose) {
            (Format::F32 | Format::Fp8, _) => return None,
            (Format::Bf16 | Format::F16, _) => (8, 384, 8),
            (Format::Q8_0, Use::Add) => (16, MOST_ACROSS, 8),
            (Format::Q8_0, _) => (16, MOST_ACROSS, 16),
            (Format::Q4_0, _) => (32, 256, 16),
        };
        let columns = weight.columns as usize;
        let chunks = columns / of_chunk;
        if chunks < LEAST_ACROSS || !columns.is_multiple_of(of_chunk) {
            return None;
        }
        let fits = |(each, _): &&(usize, Kernel)| {
            chunks.div_ceil(*each) <= if *each == 1 { most } else { MOST_ACROSS }
        };
        let (each, kernel) = self.kernels.iter().find(fits)?;
        Some((*kernel, chunks.div_ceil(*each).next_multiple_of(32), tile))
    }
}
