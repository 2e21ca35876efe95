//! The arithmetic of the CPU engine: plain loops over slices, and the steps of the model on candle tensors.
//!
//! A package of its own for the sake of its compiler settings: it is optimised where all else is compiled for speed of
//! building. It knows shapes and formats, but no model, no file and no configuration.

pub mod ops;
pub mod parallel;
mod slices;
pub mod team;
mod weight;

pub use slices::{BLOCK, Float, quantize, round};
pub use weight::{BlockMatrix, Form, Weight, tensor_bytes};

/// The format that a model computes in: what results are rounded to where Hugging Face casts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum Precision {
    F32,
    Bf16,
    F16,
}

/// GGML's blocks of 32 values that share a scale, as matrices may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum BlockFormat {
    Q8_0,
    Q4_0,
}

impl BlockFormat {
    /// Bytes of a block.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
        }
    }
}
