//! Wasm's vectors of 128 bits.
#![expect(unsafe_code, reason = "vectors are loaded through pointers")]

use std::arch::wasm32::{
    f32x4, f32x4_add, f32x4_convert_i32x4, f32x4_extract_lane, f32x4_mul, f32x4_splat,
    i16x8_load_extend_i8x8, i16x8_splat, i16x8_sub, i32x4, i32x4_add, i32x4_dot_i16x8, i32x4_eq, i32x4_shl,
    i32x4_shuffle, u8x16_shr, u8x16_splat, u16x8_extend_high_u8x16, u16x8_extend_low_u8x16, u32x4,
    u32x4_splat, v128, v128_and, v128_load, v128_or,
};

use super::Lanes;

/// Its instructions, which our build for wasm asks for.
#[derive(Clone, Copy)]
pub(super) struct Simd128;

#[inline(always)]
fn each_lane(wide: v128) -> [v128; 4] {
    [
        i32x4_shuffle::<0, 0, 0, 0>(wide, wide),
        i32x4_shuffle::<1, 1, 1, 1>(wide, wide),
        i32x4_shuffle::<2, 2, 2, 2>(wide, wide),
        i32x4_shuffle::<3, 3, 3, 3>(wide, wide),
    ]
}

impl Lanes for Simd128 {
    type Block = [v128; 4];
    type Ints = v128;
    type Floats = v128;

    #[inline(always)]
    fn load(self, values: &[i16; 32]) -> [v128; 4] {
        let start: *const v128 = values.as_ptr().cast();
        // SAFETY: 64 bytes are four vectors, and these loads ask for no alignment.
        [0, 1, 2, 3].map(|at| unsafe { v128_load(start.wrapping_add(at)) })
    }

    #[inline(always)]
    fn signed_bytes(self, bytes: &[u8; 32]) -> [v128; 4] {
        let start: *const i8 = bytes.as_ptr().cast();
        // SAFETY: 32 bytes are four times eight, and these loads ask for no alignment.
        [0, 8, 16, 24].map(|at| unsafe { i16x8_load_extend_i8x8(start.wrapping_add(at)) })
    }

    #[inline(always)]
    fn nibbles(self, bytes: &[u8; 16]) -> [v128; 4] {
        // SAFETY: 16 bytes are a vector, and this load asks for no alignment.
        let bytes = unsafe { v128_load(bytes.as_ptr().cast()) };
        let (low, high) = (v128_and(bytes, u8x16_splat(0x0f)), u8x16_shr(bytes, 4));
        [
            u16x8_extend_low_u8x16(low),
            u16x8_extend_high_u8x16(low),
            u16x8_extend_low_u8x16(high),
            u16x8_extend_high_u8x16(high),
        ]
    }

    #[inline(always)]
    fn less(self, block: [v128; 4], offset: i16) -> [v128; 4] {
        block.map(|values| i16x8_sub(values, i16x8_splat(offset)))
    }

    #[inline(always)]
    fn splat_each(self, [a, b, c, d]: [f32; 4], times: f32) -> [v128; 4] {
        each_lane(f32x4_mul(f32x4(a, b, c, d), f32x4_splat(times)))
    }

    #[inline(always)]
    fn first(self, value: i32) -> v128 {
        i32x4(value, 0, 0, 0)
    }

    #[inline(always)]
    fn dot(self, a: [v128; 4], b: [v128; 4], bias: v128) -> v128 {
        let product = |at: usize| i32x4_dot_i16x8(a[at], b[at]);
        i32x4_add(i32x4_add(product(0), product(1)), i32x4_add(i32x4_add(product(2), product(3)), bias))
    }

    #[inline(always)]
    fn widen_scales<const N: usize>(self, bits: [u16; N], times: f32) -> [v128; N] {
        let lane = |at: usize| bits.get(at).map_or(0, |bits| u32::from(*bits));
        let bits = u32x4(lane(0), lane(1), lane(2), lane(3));
        // As `widen` does it: the product mends the exponent's bias and subnormals.
        let magnitude = i32x4_shl(v128_and(bits, u32x4_splat(0x7fff)), 13);
        let finite = f32x4_mul(magnitude, u32x4_splat((112 + 127) << 23));
        let exponent = u32x4_splat(0x7c00);
        let is_special = i32x4_eq(v128_and(bits, exponent), exponent);
        let special = v128_and(is_special, u32x4_splat(0x7f80_0000));
        let sign = i32x4_shl(v128_and(bits, u32x4_splat(0x8000)), 16);
        let wide = v128_or(v128_or(finite, special), sign);
        let wide = f32x4_mul(wide, f32x4_splat(times));
        let each = each_lane(wide);
        std::array::from_fn(|at| each[at])
    }

    #[inline(always)]
    fn zeros(self) -> v128 {
        f32x4_splat(0.0)
    }

    #[inline(always)]
    fn add_scaled(self, total: v128, sum: v128, scale: v128) -> v128 {
        f32x4_add(total, f32x4_mul(f32x4_convert_i32x4(sum), scale))
    }

    #[inline(always)]
    fn sum(self, total: v128) -> f32 {
        let [a, b, c, d] = [
            f32x4_extract_lane::<0>(total),
            f32x4_extract_lane::<1>(total),
            f32x4_extract_lane::<2>(total),
            f32x4_extract_lane::<3>(total),
        ];
        (a + c) + (b + d)
    }
}
