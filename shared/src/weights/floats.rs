//! Stored formats to f32.

use bytemuck::Pod;
use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};

use super::gguf;
use crate::dtype::DType;

/// Whether [`convert`] knows the format.
pub(crate) fn is_convertible(dtype: DType) -> bool {
    dtype.is_float() || gguf::can_dequantize(dtype)
}

/// Converts whole blocks: `bytes` holds `values.len() / block_len` of them.
///
/// # Panics
/// On a format that is not [`is_convertible`]; callers ask first.
pub(super) fn convert(dtype: DType, bytes: &[u8], values: &mut [f32]) {
    match dtype {
        DType::F64 => pieces(bytes, values, |piece: &[f64], values| {
            values.iter_mut().zip(piece).for_each(|(value, wide)| *value = *wide as f32);
        }),
        DType::F32 => pieces(bytes, values, |piece: &[f32], values| values.copy_from_slice(piece)),
        DType::Bf16 => pieces(bytes, values, |piece: &[bf16], values| piece.convert_to_f32_slice(values)),
        DType::F16 => pieces(bytes, values, |piece: &[f16], values| piece.convert_to_f32_slice(values)),
        _ => gguf::dequantize(dtype, bytes, values),
    }
}

/// Converts piece by piece, each copied first, since bytes of a file need not lie where values may. Stored values are
/// little-endian, as is every target.
fn pieces<T: Pod>(bytes: &[u8], values: &mut [f32], convert: impl Fn(&[T], &mut [f32])) {
    const PIECE: usize = 1 << 10;
    assert_eq!(bytes.len(), size_of::<T>() * values.len(), "whole values, as many as asked for");
    let mut piece = [T::zeroed(); PIECE];
    for (bytes, values) in bytes.chunks(size_of::<T>() * PIECE).zip(values.chunks_mut(PIECE)) {
        let piece = &mut piece[..values.len()];
        bytemuck::cast_slice_mut(piece).copy_from_slice(bytes);
        convert(piece, values);
    }
}
