//! What the instructions mean, in plain loops.

use half::f16;

use super::Lanes;
use crate::slices::Float as _;

/// Any processor.
#[derive(Clone, Copy)]
pub(in crate::slices) struct Plain;

impl Lanes for Plain {
    type Block = [i16; 32];
    type Ints = [i32; 4];
    type Floats = [f32; 4];

    fn load(self, values: &[i16; 32]) -> [i16; 32] {
        *values
    }

    fn signed_bytes(self, bytes: &[u8; 32]) -> [i16; 32] {
        bytes.map(|byte| i16::from(byte as i8))
    }

    fn nibbles(self, bytes: &[u8; 16]) -> [i16; 32] {
        std::array::from_fn(|i| i16::from(if i < 16 { bytes[i] & 0x0f } else { bytes[i - 16] >> 4 }))
    }

    fn less(self, block: [i16; 32], offset: i16) -> [i16; 32] {
        block.map(|value| value - offset)
    }

    fn first(self, value: i32) -> [i32; 4] {
        [value, 0, 0, 0]
    }

    fn dot(self, a: [i16; 32], b: [i16; 32], bias: [i32; 4]) -> [i32; 4] {
        let mut sums = bias;
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            sums[i / 2 % 4] += i32::from(*a) * i32::from(b);
        }
        sums
    }

    fn splat_each(self, values: [f32; 4], times: f32) -> [[f32; 4]; 4] {
        values.map(|value| [value * times; 4])
    }

    fn widen_scales<const N: usize>(self, bits: [u16; N], times: f32) -> [[f32; 4]; N] {
        bits.map(|bits| [f16::from_bits(bits).widen() * times; 4])
    }

    fn zeros(self) -> [f32; 4] {
        [0.0; 4]
    }

    fn add_scaled(self, total: [f32; 4], sum: [i32; 4], scale: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|lane| total[lane] + sum[lane] as f32 * scale[lane])
    }

    fn sum(self, [a, b, c, d]: [f32; 4]) -> f32 {
        (a + c) + (b + d)
    }
}
