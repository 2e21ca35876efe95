//! A matrix of weights, in whatever format it is held.

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;

use crate::BlockFormat;
use crate::slices::{Blocks, Q4_0, Q8_0};

/// A matrix `[rows, columns]`.
#[derive(Clone)]
pub enum Weight {
    /// Floats.
    Plain(Tensor),
    /// Blocks that share a scale.
    Blocks(Arc<BlockMatrix>),
}

/// A quantized matrix: whole blocks of each row, row by row.
pub struct BlockMatrix {
    /// What its bytes are.
    pub format: BlockFormat,
    /// Values out.
    pub rows: usize,
    /// Values in.
    pub columns: usize,
    /// The blocks of the first row, then of the second.
    pub bytes: Vec<u8>,
}

impl Weight {
    /// Rows and columns.
    pub fn dims(&self) -> candle_core::Result<(usize, usize)> {
        match self {
            Self::Plain(tensor) => tensor.dims2(),
            Self::Blocks(blocks) => Ok((blocks.rows, blocks.columns)),
        }
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Plain(tensor) => tensor_bytes(tensor),
            Self::Blocks(blocks) => blocks.bytes.len() as u64,
        }
    }

    /// Whether it is the very same memory: a head that is tied to the embedding.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(a), Self::Plain(b)) => a.id() == b.id(),
            (Self::Blocks(a), Self::Blocks(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl BlockMatrix {
    /// The bytes of a range of rows.
    pub fn row_bytes(&self, rows: Range<usize>) -> &[u8] {
        let width = self.bytes.len() / self.rows.max(1);
        &self.bytes[rows.start * width..rows.end * width]
    }

    /// One row to f32.
    pub fn widen_row(&self, row: usize, out: &mut [f32]) {
        let bytes = self.row_bytes(row..row + 1);
        match self.format {
            BlockFormat::Q8_0 => Q8_0::widen(bytes, out),
            BlockFormat::Q4_0 => Q4_0::widen(bytes, out),
        }
    }
}

/// Bytes that a tensor of its own holds.
#[must_use]
pub fn tensor_bytes(tensor: &Tensor) -> u64 {
    tensor.elem_count() as u64 * tensor.dtype().size_in_bytes() as u64
}
