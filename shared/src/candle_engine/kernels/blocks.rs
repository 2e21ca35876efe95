//! Weights in blocks that share a scale: GGML's q8_0 and q4_0, quantized here while a model is loaded.
//!
//! A block holds 32 consecutive values of a row: an f16 scale, then eight or four bits a value
//! (`ggml-common.h`; the roundings are those of `quantize_row_q8_0_ref` and `quantize_row_q4_0_ref`).

use half::f16;

use super::Float as _;
use crate::dtype::DType;

/// Values of a block.
pub(in super::super) const BLOCK: usize = 32;

/// A format of blocks: all that a matrix product needs to know of it.
pub(in super::super) trait Blocks: Send + Sync {
    /// Bytes of a block.
    const BYTES: usize;
    /// The values of a block without their scale.
    fn quants(block: &[u8]) -> [f32; BLOCK];
    /// Quantizes 32 values.
    fn quantize(values: &[f32], block: &mut [u8]);

    /// The scale of a block.
    #[inline(always)]
    fn scale(block: &[u8]) -> f32 {
        f16::from_le_bytes([block[0], block[1]]).widen()
    }

    /// `Σ weight[i] · x[i]` of a row, each block summed before it is scaled.
    #[inline(always)]
    fn dot(row: &[u8], x: &[f32]) -> f32 {
        // Two sums that do not wait for each other, of lanes that do not either.
        let mut sums = [[0.0f32; BLOCK]; 2];
        for (index, (block, x)) in row.chunks_exact(Self::BYTES).zip(x.as_chunks::<BLOCK>().0).enumerate() {
            let (scale, quants) = (Self::scale(block), Self::quants(block));
            let sum = &mut sums[index % 2];
            for lane in 0..BLOCK {
                sum[lane] += quants[lane] * x[lane] * scale;
            }
        }
        let [mut total, other] = sums;
        total.iter_mut().zip(other).for_each(|(total, other)| *total += other);
        let mut width = BLOCK;
        while width > 1 {
            width /= 2;
            for lane in 0..width {
                total[lane] += total[lane + width];
            }
        }
        total[0]
    }

    /// A row to f32.
    #[inline(always)]
    fn widen(row: &[u8], out: &mut [f32]) {
        for (block, out) in row.chunks_exact(Self::BYTES).zip(out.as_chunks_mut::<BLOCK>().0) {
            let scale = Self::scale(block);
            let quants = Self::quants(block);
            out.iter_mut().zip(quants).for_each(|(out, quant)| *out = scale * quant);
        }
    }
}

/// Eight bits a value, symmetric.
pub(in super::super) struct Q8_0;

impl Blocks for Q8_0 {
    const BYTES: usize = 34;

    #[inline(always)]
    fn quants(block: &[u8]) -> [f32; BLOCK] {
        let mut quants = [0.0; BLOCK];
        quants.iter_mut().zip(&block[2..]).for_each(|(quant, byte)| *quant = f32::from(*byte as i8));
        quants
    }

    fn quantize(values: &[f32], block: &mut [u8]) {
        let largest = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let (scale, inverse) = scale_of(values, largest / 127.0);
        block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        for (byte, value) in block[2..].iter_mut().zip(values) {
            *byte = (value * inverse).round() as i8 as u8;
        }
    }
}

/// Four bits a value: the one of largest magnitude becomes -8. Byte `i` holds values `i` and `i + 16`.
pub(in super::super) struct Q4_0;

impl Blocks for Q4_0 {
    const BYTES: usize = 18;

    #[inline(always)]
    fn quants(block: &[u8]) -> [f32; BLOCK] {
        let mut quants = [0.0; BLOCK];
        let (low, high) = quants.split_at_mut(BLOCK / 2);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[2..]) {
            *low = f32::from((byte & 0x0f) as i8 - 8);
            *high = f32::from((byte >> 4) as i8 - 8);
        }
        quants
    }

    fn quantize(values: &[f32], block: &mut [u8]) {
        let largest = values.iter().fold(0.0f32, |most, v| if v.abs() > most.abs() { *v } else { most });
        let (scale, inverse) = scale_of(values, largest / -8.0);
        block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        let quant = |value: f32| ((value * inverse + 8.5) as u8).min(15);
        for (i, byte) in block[2..].iter_mut().enumerate() {
            *byte = quant(values[i]) | quant(values[i + BLOCK / 2]) << 4;
        }
    }
}

/// The scale to store, and what values are multiplied by. A NaN must not be lost: its whole block becomes NaN.
fn scale_of(values: &[f32], scale: f32) -> (f32, f32) {
    let scale = if values.iter().any(|value| value.is_nan()) { f32::NAN } else { scale };
    (scale, if scale == 0.0 { 0.0 } else { 1.0 / scale })
}

/// Quantizes whole rows.
///
/// # Panics
/// On a format that is not one of the two, and where rows are not whole blocks.
pub(in super::super) fn quantize(dtype: DType, values: &[f32], bytes: &mut [u8]) {
    let one = match dtype {
        DType::Q8_0 => Q8_0::quantize,
        DType::Q4_0 => Q4_0::quantize,
        other => panic!("{other} is not quantized to here"),
    };
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    assert!(rest.is_empty(), "whole blocks");
    let width = dtype.block_bytes() as usize;
    assert_eq!(bytes.len(), blocks.len() * width, "as many blocks as values");
    blocks.iter().zip(bytes.chunks_exact_mut(width)).for_each(|(values, block)| one(values, block));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::gguf::dequantize;

    /// The reader of GGUF, tested against ggml's own bytes, gives back what was quantized: within half a step.
    #[test]
    fn what_is_quantized_is_read_by_the_reader_of_gguf() {
        let values: Vec<f32> =
            (0..BLOCK * 40).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0 * (i / BLOCK) as f32).collect();
        for (dtype, steps) in [(DType::Q8_0, 127.0), (DType::Q4_0, 8.0)] {
            let mut bytes = vec![0; values.len() / BLOCK * dtype.block_bytes() as usize];
            quantize(dtype, &values, &mut bytes);
            let mut back = vec![0.0; values.len()];
            dequantize(dtype, &bytes, &mut back);
            for (block, back) in values.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                let largest = block.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                for (value, back) in block.iter().zip(back) {
                    // Half a step; in four bits the side that has no -8 is cut at 7, a whole one. f16 rounds the scale.
                    let step = if dtype == DType::Q4_0 { 1.0 } else { 0.5 };
                    assert!(
                        (value - back).abs() <= largest * (step / steps + 1e-3),
                        "{dtype}: {value} {back}"
                    );
                }
            }
            let mut wide = vec![0.0; values.len()];
            let x: Vec<f32> = (0..values.len()).map(|i| ((i * 53 % 97) as f32 - 48.0) / 32.0).collect();
            let dot = match dtype {
                DType::Q8_0 => {
                    Q8_0::widen(&bytes, &mut wide);
                    Q8_0::dot(&bytes, &x)
                }
                _ => {
                    Q4_0::widen(&bytes, &mut wide);
                    Q4_0::dot(&bytes, &x)
                }
            };
            assert_eq!(wide, back, "widening is the reader's, to the bit");
            let exact: f64 = back.iter().zip(&x).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((f64::from(dot) - exact).abs() < 1e-2, "{dot} {exact}");
        }
    }

    #[test]
    fn nan_and_infinity_are_not_lost() {
        for dtype in [DType::Q8_0, DType::Q4_0] {
            for bad in [f32::NAN, f32::INFINITY] {
                let mut values = [0.5; BLOCK];
                values[7] = bad;
                let mut bytes = vec![0; dtype.block_bytes() as usize];
                quantize(dtype, &values, &mut bytes);
                let mut back = [0.0; BLOCK];
                dequantize(dtype, &bytes, &mut back);
                assert!(back.iter().any(|value| !value.is_finite()), "{dtype}: {back:?}");
            }
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        for dtype in [DType::Q8_0, DType::Q4_0] {
            let mut bytes = vec![0xff; dtype.block_bytes() as usize];
            quantize(dtype, &[0.0; BLOCK], &mut bytes);
            let mut back = [1.0; BLOCK];
            dequantize(dtype, &bytes, &mut back);
            assert!(back.iter().all(|value| *value == 0.0), "{dtype}: {back:?}");
        }
    }
}
