//! gguf
use crate::dtype::DType;

/// Whether the format can be dequantised.
pub fn can_dequantize(_dtype: DType) -> bool {
    false
}
/// Dequantises.
pub fn dequantize(_dtype: DType, _bytes: &[u8], _values: &mut [f32]) {}
