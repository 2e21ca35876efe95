//! A matrix of weights, in whatever format it is held.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Error, Result, Tensor, WithDType};
use half::{bf16, f16};

use crate::ops::{each_format, update0, with_values};
use crate::slices::{BLOCK, Blocks, Float, Q4_0, Q8_0};
use crate::team::Shared;
use crate::{BlockFormat, Precision};

/// A matrix `[rows, columns]`.
#[derive(Clone)]
pub enum Weight {
    /// Floats.
    Plain(Tensor),
    /// Blocks that share a scale.
    Blocks(Arc<BlockMatrix>),
    /// Rows that the threads of a team hold.
    Shared(Arc<Shared>),
}

/// What the values of a matrix are held as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Floats.
    Plain(Precision),
    /// Blocks that share a scale.
    Blocks(BlockFormat),
}

impl Form {
    /// Each there is.
    pub(crate) const ALL: [Self; 5] = [
        Self::Plain(Precision::F32),
        Self::Plain(Precision::Bf16),
        Self::Plain(Precision::F16),
        Self::Blocks(BlockFormat::Q8_0),
        Self::Blocks(BlockFormat::Q4_0),
    ];
}

fn elsewhere() -> Error {
    Error::Msg("rows of a matrix are held elsewhere".to_owned())
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
    pub fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Plain(tensor) => tensor.dims2(),
            Self::Blocks(blocks) => Ok((blocks.rows, blocks.columns)),
            Self::Shared(shared) => Ok(shared.dims()),
        }
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Plain(tensor) => tensor_bytes(tensor),
            Self::Blocks(blocks) => blocks.bytes.len() as u64,
            Self::Shared(shared) => shared.bytes(),
        }
    }

    /// What its values are held as.
    pub fn form(&self) -> Form {
        match self {
            Self::Plain(tensor) => Form::Plain(match tensor.dtype() {
                candle_core::DType::BF16 => Precision::Bf16,
                candle_core::DType::F16 => Precision::F16,
                _ => Precision::F32,
            }),
            Self::Blocks(blocks) => Form::Blocks(blocks.format),
            Self::Shared(shared) => shared.form(),
        }
    }

    /// Zeros; `None` where there is no memory for them.
    pub(crate) fn zeros(form: Form, rows: usize, columns: usize) -> Option<Self> {
        fn plain<F: Float + WithDType>(rows: usize, columns: usize) -> Option<Weight> {
            let values = bytemuck::try_zeroed_vec::<F>(rows.checked_mul(columns)?).ok()?;
            Tensor::from_vec(values, (rows, columns), &Device::Cpu).ok().map(Weight::Plain)
        }
        match form {
            Form::Plain(Precision::F32) => plain::<f32>(rows, columns),
            Form::Plain(Precision::Bf16) => plain::<bf16>(rows, columns),
            Form::Plain(Precision::F16) => plain::<f16>(rows, columns),
            Form::Blocks(format) => {
                let len = rows.checked_mul(columns / BLOCK * format.bytes())?;
                let bytes = bytemuck::try_zeroed_vec(len).ok()?;
                Some(Self::Blocks(Arc::new(BlockMatrix { format, rows, columns, bytes })))
            }
        }
    }

    /// The bytes of a range of rows, where all of them are here.
    pub(crate) fn with_bytes<R>(&self, rows: Range<usize>, show: impl FnOnce(&[u8]) -> R) -> Result<R> {
        match self {
            Self::Plain(tensor) => {
                let (_, columns) = tensor.dims2()?;
                let range = rows.start * columns..rows.end * columns;
                with_values(tensor, |values| {
                    Ok(each_format!(Values, values, |values| show(bytemuck::cast_slice(&values[range]))))
                })
            }
            Self::Blocks(blocks) => Ok(show(blocks.row_bytes(rows))),
            Self::Shared(_) => Err(elsewhere()),
        }
    }

    /// Writes its bytes anew, where it is in use nowhere else.
    pub(crate) fn fill(&mut self, write: impl FnOnce(&mut [u8])) -> Result<()> {
        match self {
            Self::Plain(tensor) => update0("fill", tensor, |values, []| {
                each_format!(ValuesMut, values, |values| write(bytemuck::cast_slice_mut(values)));
                Ok(())
            }),
            Self::Blocks(blocks) => {
                write(&mut Arc::get_mut(blocks).ok_or_else(elsewhere)?.bytes);
                Ok(())
            }
            Self::Shared(_) => Err(elsewhere()),
        }
    }

    /// One row to f32.
    pub(crate) fn widen_row(&self, row: usize, out: &mut [f32]) -> Result<()> {
        match self {
            Self::Plain(tensor) => with_values(tensor, |values| {
                each_format!(Values, values, |values| {
                    let row = &values[row * out.len()..(row + 1) * out.len()];
                    out.iter_mut().zip(row).for_each(|(out, value)| *out = value.widen());
                });
                Ok(())
            }),
            Self::Blocks(blocks) => {
                blocks.widen_row(row, out);
                Ok(())
            }
            Self::Shared(shared) => shared.widen_row(row, out),
        }
    }

    /// Whether it is the very same memory: a head that is tied to the embedding.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(a), Self::Plain(b)) => a.id() == b.id(),
            (Self::Blocks(a), Self::Blocks(b)) => Arc::ptr_eq(a, b),
            (Self::Shared(a), Self::Shared(b)) => Arc::ptr_eq(a, b),
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
