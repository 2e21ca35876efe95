//! Number formats as kernels know them.

use crate::dtype::DType;

/// A number format, by the number that kernels know it by (`common.cuh`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub(super) enum Format {
    F32 = 0,
    Bf16 = 1,
    F16 = 2,
    Fp8 = 3,
    Q8_0 = 4,
    Q4_0 = 5,
}

impl Format {
    pub(super) fn of(dtype: DType) -> Option<Self> {
        Some(match dtype {
            DType::F32 => Self::F32,
            DType::Bf16 => Self::Bf16,
            DType::F16 => Self::F16,
            DType::Fp8 => Self::Fp8,
            DType::Q8_0 => Self::Q8_0,
            DType::Q4_0 => Self::Q4_0,
            _ => return None,
        })
    }

    /// Format of activations beside weights in this one.
    pub(super) fn activations(self) -> Self {
        match self {
            Self::F32 | Self::F16 => self,
            _ => Self::Bf16,
        }
    }

    /// Format of norms beside weights in this one; `Weight` in row.cuh.
    pub(super) fn norms(self) -> Self {
        match self {
            Self::F32 | Self::Bf16 | Self::F16 => self,
            _ => Self::F32,
        }
    }

    /// Bytes of `count` values; of blocks without their scales.
    pub(super) fn bytes(self, count: usize) -> usize {
        match self {
            Self::F32 => 4 * count,
            Self::Bf16 | Self::F16 => 2 * count,
            Self::Fp8 | Self::Q8_0 => count,
            Self::Q4_0 => count / 2,
        }
    }

    /// Bytes of the scales of a matrix.
    pub(super) fn scale_bytes(self, rows: usize, columns: usize) -> usize {
        match self {
            Self::Fp8 => 4 * rows,
            Self::Q8_0 | Self::Q4_0 => rows * columns / 32 * 2,
            _ => 0,
        }
    }

    /// Values that a row must be a multiple of.
    pub(super) fn block(self) -> usize {
        match self {
            Self::Fp8 => 16,
            Self::Q8_0 | Self::Q4_0 => 32,
            _ => 1,
        }
    }

    /// Its name in those of kernels.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Fp8 => "fp8",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }
}
