//! Weights in blocks that share a scale: GGML's q8_0 and q4_0, quantized here while a model is loaded.
//!
//! A block holds 32 consecutive values of a row: an f16 scale, then eight or four bits a value
//! (`ggml-common.h`; the roundings are those of `quantize_row_q8_0_ref` and `quantize_row_q4_0_ref`).

use half::f16;

use super::Float as _;
use crate::BlockFormat;

/// Values of a block.
pub const BLOCK: usize = 32;

/// A format of blocks: all that a matrix product needs to know of it.
pub(crate) trait Blocks: Send + Sync {
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
pub(crate) struct Q8_0;

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
pub(crate) struct Q4_0;

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
/// Where rows are not whole blocks, or `bytes` holds another number of them.
pub fn quantize(format: BlockFormat, values: &[f32], bytes: &mut [u8]) {
    let one = match format {
        BlockFormat::Q8_0 => Q8_0::quantize,
        BlockFormat::Q4_0 => Q4_0::quantize,
    };
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    assert!(rest.is_empty(), "whole blocks");
    assert_eq!(bytes.len(), blocks.len() * format.bytes(), "as many blocks as values");
    blocks.iter().zip(bytes.chunks_exact_mut(format.bytes())).for_each(|(values, block)| one(values, block));
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [BlockFormat; 2] = [BlockFormat::Q8_0, BlockFormat::Q4_0];

    fn quantized(format: BlockFormat, values: &[f32]) -> Vec<u8> {
        let mut bytes = vec![0xff; values.len() / BLOCK * format.bytes()];
        quantize(format, values, &mut bytes);
        bytes
    }

    fn widened(format: BlockFormat, bytes: &[u8]) -> Vec<f32> {
        let mut back = vec![f32::NAN; bytes.len() / format.bytes() * BLOCK];
        match format {
            BlockFormat::Q8_0 => Q8_0::widen(bytes, &mut back),
            BlockFormat::Q4_0 => Q4_0::widen(bytes, &mut back),
        }
        back
    }

    #[test]
    fn what_is_quantized_comes_back_within_a_step() {
        let values: Vec<f32> =
            (0..BLOCK * 40).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0 * (i / BLOCK) as f32).collect();
        for (format, steps) in FORMATS.into_iter().zip([127.0, 8.0]) {
            let bytes = quantized(format, &values);
            let back = widened(format, &bytes);
            for (block, back) in values.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                let largest = block.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                for (value, back) in block.iter().zip(back) {
                    // Half a step; in four bits the side that has no -8 is cut at 7, a whole one. f16 rounds the scale.
                    let step = if format == BlockFormat::Q4_0 { 1.0 } else { 0.5 };
                    assert!(
                        (value - back).abs() <= largest * (step / steps + 1e-3),
                        "{format:?}: {value} {back}"
                    );
                }
            }
            let x: Vec<f32> = (0..values.len()).map(|i| ((i * 53 % 97) as f32 - 48.0) / 32.0).collect();
            let dot = match format {
                BlockFormat::Q8_0 => Q8_0::dot(&bytes, &x),
                BlockFormat::Q4_0 => Q4_0::dot(&bytes, &x),
            };
            let exact: f64 = back.iter().zip(&x).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((f64::from(dot) - exact).abs() < 1e-2, "{dot} {exact}");
        }
    }

    #[test]
    fn nan_and_infinity_are_not_lost() {
        for format in FORMATS {
            for bad in [f32::NAN, f32::INFINITY] {
                let mut values = [0.5; BLOCK];
                values[7] = bad;
                let back = widened(format, &quantized(format, &values));
                assert!(back.iter().any(|value| !value.is_finite()), "{format:?}: {back:?}");
            }
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        for format in FORMATS {
            let back = widened(format, &quantized(format, &[0.0; BLOCK]));
            assert!(back.iter().all(|value| *value == 0.0), "{format:?}: {back:?}");
        }
    }
}
