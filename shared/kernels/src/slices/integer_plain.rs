//! What the instructions of `integer_wasm` mean, in plain loops.

use half::f16;

use super::super::Float as _;

/// 32 values of 16 bits.
pub(in super::super::super) type Block = [i16; 32];
type Ints = [i32; 4];
type Floats = [f32; 4];

pub(super) fn load(values: &[i16; 32]) -> Block {
    *values
}

pub(super) fn signed_bytes(bytes: &[u8; 32]) -> Block {
    bytes.map(|byte| i16::from(byte as i8))
}

/// Byte `i` holds values `i` and `i + 16`.
pub(super) fn nibbles(bytes: &[u8; 16]) -> Block {
    std::array::from_fn(|i| i16::from(if i < 16 { bytes[i] & 0x0f } else { bytes[i - 16] >> 4 }))
}

pub(super) fn less(block: Block, offset: i16) -> Block {
    block.map(|value| value - offset)
}

pub(super) fn splat_each(values: [f32; 4], times: f32) -> [Floats; 4] {
    values.map(|value| [value * times; 4])
}

pub(super) fn first(value: i32) -> Ints {
    [value, 0, 0, 0]
}

pub(super) fn dot(a: Block, b: Block, bias: Ints) -> Ints {
    let mut sums = bias;
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        sums[i / 2 % 4] += i32::from(*a) * i32::from(b);
    }
    sums
}

pub(super) fn widen_scales<const N: usize>(bits: [u16; N], times: f32) -> [Floats; N] {
    bits.map(|bits| [f16::from_bits(bits).widen() * times; 4])
}

pub(super) fn zeros() -> Floats {
    [0.0; 4]
}

pub(super) fn add_scaled(total: Floats, sum: Ints, scale: Floats) -> Floats {
    std::array::from_fn(|lane| total[lane] + sum[lane] as f32 * scale[lane])
}

pub(super) fn sum([a, b, c, d]: Floats) -> f32 {
    (a + c) + (b + d)
}
