//! GGML's block formats to f32, with the roundings of ggml's reference (`ggml-quants.c`).
//!
//! Scales are f16; every product is taken in f32, in the reference's order, so that results are equal to the bit.

use half::f16;

use crate::dtype::DType;

/// Whether [`dequantize`] knows the format.
#[must_use]
pub fn can_dequantize(dtype: DType) -> bool {
    block_of(dtype).is_some()
}

/// Dequantises whole blocks.
///
/// # Panics
/// On a format that is not [`can_dequantize`], and if `bytes` and `values` are not the same number of blocks.
pub fn dequantize(dtype: DType, bytes: &[u8], values: &mut [f32]) {
    let block = block_of(dtype).expect("the caller asked can_dequantize");
    let (block_bytes, block_len) = (dtype.block_bytes() as usize, dtype.block_len() as usize);
    assert_eq!(bytes.len() / block_bytes * block_len, values.len(), "as many blocks as values");
    for (bytes, values) in bytes.chunks_exact(block_bytes).zip(values.chunks_exact_mut(block_len)) {
        block(bytes, values);
    }
}

/// One block to its values.
type Block = fn(&[u8], &mut [f32]);

fn block_of(dtype: DType) -> Option<Block> {
    Some(match dtype {
        DType::Q4_0 => q4_0,
        DType::Q4_1 => q4_1,
        DType::Q5_0 => q5_0,
        DType::Q5_1 => q5_1,
        DType::Q8_0 => q8_0,
        DType::Q2K => q2_k,
        DType::Q3K => q3_k,
        DType::Q4K => q4_k,
        DType::Q5K => q5_k,
        DType::Q6K => q6_k,
        _ => return None,
    })
}

/// The f16 at the start of `bytes`.
fn scale(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// Four bits of 32 values: the low halves of 16 bytes, then the high ones.
fn nibble(packed: &[u8], i: usize) -> u8 {
    if i < 16 { packed[i] & 0x0f } else { packed[i - 16] >> 4 }
}

/// Bit `i` of 32.
fn bit(packed: &[u8], i: usize) -> u8 {
    packed[i / 8] >> (i % 8) & 1
}

fn q4_0(bytes: &[u8], values: &mut [f32]) {
    let d = scale(bytes);
    for (i, value) in values.iter_mut().enumerate() {
        *value = d * f32::from(nibble(&bytes[2..], i) as i8 - 8);
    }
}

fn q4_1(bytes: &[u8], values: &mut [f32]) {
    let (d, min) = (scale(bytes), scale(&bytes[2..]));
    for (i, value) in values.iter_mut().enumerate() {
        *value = d * f32::from(nibble(&bytes[4..], i)) + min;
    }
}

fn q5_0(bytes: &[u8], values: &mut [f32]) {
    let d = scale(bytes);
    for (i, value) in values.iter_mut().enumerate() {
        let q = nibble(&bytes[6..], i) | bit(&bytes[2..6], i) << 4;
        *value = d * f32::from(q as i8 - 16);
    }
}

fn q5_1(bytes: &[u8], values: &mut [f32]) {
    let (d, min) = (scale(bytes), scale(&bytes[2..]));
    for (i, value) in values.iter_mut().enumerate() {
        let q = nibble(&bytes[8..], i) | bit(&bytes[4..8], i) << 4;
        *value = d * f32::from(q) + min;
    }
}

fn q8_0(bytes: &[u8], values: &mut [f32]) {
    let d = scale(bytes);
    for (value, q) in values.iter_mut().zip(&bytes[2..]) {
        *value = d * f32::from(*q as i8);
    }
}

/// Sixteen groups of 16 values, a four-bit scale and minimum each: 16 scales, 64 bytes of quants, two f16.
fn q2_k(bytes: &[u8], values: &mut [f32]) {
    let (d, dmin) = (scale(&bytes[80..]), scale(&bytes[82..]));
    for (i, value) in values.iter_mut().enumerate() {
        let packed = bytes[i / 16];
        let q = bytes[16 + two_bit_byte(i)] >> two_bit_shift(i) & 3;
        *value = d * f32::from(packed & 0x0f) * f32::from(q) - dmin * f32::from(packed >> 4);
    }
}

/// Where value `i` of 256 finds its two bits: each 32 bytes hold 128 values, in four layers.
fn two_bit_byte(i: usize) -> usize {
    i / 128 * 32 + i % 32
}

fn two_bit_shift(i: usize) -> usize {
    i % 128 / 32 * 2
}

/// Sixteen groups with six-bit signed scales: 32 bytes of high bits, 64 of low bits, 12 of scales, one f16.
fn q3_k(bytes: &[u8], values: &mut [f32]) {
    let (high, low, scales) = (&bytes[..32], &bytes[32..96], &bytes[96..108]);
    let d = scale(&bytes[108..]);
    for (i, value) in values.iter_mut().enumerate() {
        let group = i / 16;
        let low_scale = if group < 8 { scales[group] & 0x0f } else { scales[group - 8] >> 4 };
        let high_scale = scales[8 + group % 4] >> (group / 4 * 2) & 3;
        let group_scale = d * f32::from((low_scale | high_scale << 4) as i8 - 32);
        let q = (low[two_bit_byte(i)] >> two_bit_shift(i) & 3) as i8;
        // A set bit means that nothing is subtracted.
        let offset = if high[i % 32] >> (i / 32) & 1 == 1 { 0 } else { 4 };
        *value = group_scale * f32::from(q - offset);
    }
}

/// Six-bit scale and minimum of group `group` of eight, from 12 bytes.
fn scale_and_min(scales: &[u8], group: usize) -> (f32, f32) {
    let (scale, min) = if group < 4 {
        (scales[group] & 0x3f, scales[group + 4] & 0x3f)
    } else {
        let packed = scales[group + 4];
        (packed & 0x0f | scales[group - 4] >> 6 << 4, packed >> 4 | scales[group] >> 6 << 4)
    };
    (f32::from(scale), f32::from(min))
}

/// Eight groups of 32 values: two f16, 12 bytes of scales, 128 of quants.
fn q4_k(bytes: &[u8], values: &mut [f32]) {
    let (d, dmin, quants) = (scale(bytes), scale(&bytes[2..]), &bytes[16..]);
    for (group, values) in values.chunks_exact_mut(32).enumerate() {
        let (group_scale, group_min) = scale_and_min(&bytes[4..16], group);
        let (group_scale, group_min) = (d * group_scale, dmin * group_min);
        for (value, packed) in values.iter_mut().zip(&quants[group / 2 * 32..]) {
            let q = packed >> (group % 2 * 4) & 0x0f;
            *value = group_scale * f32::from(q) - group_min;
        }
    }
}

/// As [`q4_k`], with 32 bytes of fifth bits before the quants.
fn q5_k(bytes: &[u8], values: &mut [f32]) {
    let (d, dmin) = (scale(bytes), scale(&bytes[2..]));
    let (high, quants) = (&bytes[16..48], &bytes[48..]);
    for (group, values) in values.chunks_exact_mut(32).enumerate() {
        let (group_scale, group_min) = scale_and_min(&bytes[4..16], group);
        let (group_scale, group_min) = (d * group_scale, dmin * group_min);
        for (i, value) in values.iter_mut().enumerate() {
            let q = quants[group / 2 * 32 + i] >> (group % 2 * 4) & 0x0f | (high[i] >> group & 1) << 4;
            *value = group_scale * f32::from(q) - group_min;
        }
    }
}

/// Sixteen groups of 16 values with eight-bit scales: 128 bytes of low bits, 64 of high bits, 16 scales, one f16.
fn q6_k(bytes: &[u8], values: &mut [f32]) {
    let (low, high, scales) = (&bytes[..128], &bytes[128..192], &bytes[192..208]);
    let d = scale(&bytes[208..]);
    for (i, value) in values.iter_mut().enumerate() {
        let four = low[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 0x0f;
        let two = high[two_bit_byte(i)] >> two_bit_shift(i) & 3;
        let group_scale = d * f32::from(scales[i / 16] as i8);
        *value = group_scale * f32::from((four | two << 4) as i8 - 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks and their values as the Python package `gguf` dequantises them; made by
    /// `tests/goldens/gguf_dequant.py`. Equal to the bit: both follow the reference's order of f32 operations.
    #[test]
    fn values_equal_those_of_the_gguf_package() {
        let fixture = include_bytes!("../../../../tests/goldens/gguf_dequant.safetensors");
        let fixture = safetensors::SafeTensors::deserialize(fixture).expect("good");
        let formats = [
            DType::Q4_0,
            DType::Q4_1,
            DType::Q5_0,
            DType::Q5_1,
            DType::Q8_0,
            DType::Q2K,
            DType::Q3K,
            DType::Q4K,
            DType::Q5K,
            DType::Q6K,
        ];
        for dtype in formats {
            let tensor = |kind: &str| fixture.tensor(&format!("{dtype}.{kind}")).expect("there").data();
            let expected = tensor("values").as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
            let blocks = tensor("blocks");
            let mut values =
                vec![0.0; blocks.len() / dtype.block_bytes() as usize * dtype.block_len() as usize];
            dequantize(dtype, blocks, &mut values);
            let same = values.iter().copied().map(f32::to_bits).eq(expected.map(f32::to_bits));
            assert!(same, "{dtype}");
        }
    }
}
