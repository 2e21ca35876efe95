//! A matrix of weights, in whatever format it is held.

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;

use super::kernels::{Blocks, Q4_0, Q8_0};
use super::workspace::tensor_bytes;
use crate::dtype::DType;

/// A matrix `[rows, columns]`.
#[derive(Clone)]
pub(super) enum Weight {
    /// Floats.
    Plain(Tensor),
    /// Blocks that share a scale.
    Blocks(Arc<BlockMatrix>),
}

/// A quantized matrix: whole blocks of each row, row by row.
pub(super) struct BlockMatrix {
    /// q8_0 or q4_0.
    pub(super) dtype: DType,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) bytes: Vec<u8>,
}

impl Weight {
    /// Rows and columns.
    pub(super) fn dims(&self) -> candle_core::Result<(usize, usize)> {
        match self {
            Self::Plain(tensor) => tensor.dims2(),
            Self::Blocks(blocks) => Ok((blocks.rows, blocks.columns)),
        }
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Plain(tensor) => tensor_bytes(tensor),
            Self::Blocks(blocks) => blocks.bytes.len() as u64,
        }
    }

    /// Whether it is the very same memory: a head that is tied to the embedding.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(a), Self::Plain(b)) => a.id() == b.id(),
            (Self::Blocks(a), Self::Blocks(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl BlockMatrix {
    /// The bytes of a range of rows.
    pub(super) fn row_bytes(&self, rows: Range<usize>) -> &[u8] {
        let width = self.bytes.len() / self.rows.max(1);
        &self.bytes[rows.start * width..rows.end * width]
    }

    /// One row to f32.
    pub(super) fn widen_row(&self, row: usize, out: &mut [f32]) {
        let bytes = self.row_bytes(row..row + 1);
        match self.dtype {
            DType::Q8_0 => Q8_0::widen(bytes, out),
            _ => Q4_0::widen(bytes, out),
        }
    }
}
