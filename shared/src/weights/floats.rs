//! Stored formats to f32.

use half::{bf16, f16};

use super::gguf;
use crate::dtype::DType;

/// Whether [`convert`] knows the format.
pub(super) fn is_convertible(dtype: DType) -> bool {
    dtype.is_float() || gguf::can_dequantize(dtype)
}

/// Converts whole blocks: `bytes` holds `values.len() / block_len` of them.
///
/// # Panics
/// On a format that is not [`is_convertible`]; callers ask first.
pub(super) fn convert(dtype: DType, bytes: &[u8], values: &mut [f32]) {
    match dtype {
        DType::F64 => each(bytes, values, |b| f64::from_le_bytes(b) as f32),
        DType::F32 => each(bytes, values, f32::from_le_bytes),
        DType::Bf16 => each(bytes, values, |b| bf16::from_le_bytes(b).to_f32()),
        DType::F16 => each(bytes, values, |b| f16::from_le_bytes(b).to_f32()),
        _ => gguf::dequantize(dtype, bytes, values),
    }
}

fn each<const N: usize>(bytes: &[u8], values: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    let (items, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty() && items.len() == values.len(), "whole values, as many as asked for");
    for (value, item) in values.iter_mut().zip(items) {
        *value = read(*item);
    }
}
