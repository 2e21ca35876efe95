//! Vectors of 128 bits for `integer`.
#![expect(unsafe_code, reason = "vectors are loaded through pointers")]

use std::arch::wasm32::{
    f32x4, f32x4_add, f32x4_convert_i32x4, f32x4_extract_lane, f32x4_mul, f32x4_splat,
    i16x8_load_extend_i8x8, i16x8_splat, i16x8_sub, i32x4, i32x4_add, i32x4_dot_i16x8, i32x4_eq, i32x4_shl,
    i32x4_shuffle, u8x16_shr, u8x16_splat, u16x8_extend_high_u8x16, u16x8_extend_low_u8x16, u32x4,
    u32x4_splat, v128, v128_and, v128_load, v128_or,
};

/// 32 values of 16 bits.
pub(in super::super::super) type Block = [v128; 4];

#[inline(always)]
pub(super) fn load(values: &[i16; 32]) -> Block {
    let start: *const v128 = values.as_ptr().cast();
    // SAFETY: 64 bytes are four vectors, and these loads ask for no alignment.
    [0, 1, 2, 3].map(|at| unsafe { v128_load(start.wrapping_add(at)) })
}

#[inline(always)]
pub(super) fn signed_bytes(bytes: &[u8; 32]) -> Block {
    let start: *const i8 = bytes.as_ptr().cast();
    // SAFETY: 32 bytes are four times eight, and these loads ask for no alignment.
    [0, 8, 16, 24].map(|at| unsafe { i16x8_load_extend_i8x8(start.wrapping_add(at)) })
}

/// Byte `i` holds values `i` and `i + 16`.
#[inline(always)]
pub(super) fn nibbles(bytes: &[u8; 16]) -> Block {
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
pub(super) fn less(block: Block, offset: i16) -> Block {
    block.map(|values| i16x8_sub(values, i16x8_splat(offset)))
}

/// Each value times `times`, in every lane of a vector of its own.
#[inline(always)]
pub(super) fn splat_each([a, b, c, d]: [f32; 4], times: f32) -> [v128; 4] {
    each_lane(f32x4_mul(f32x4(a, b, c, d), f32x4_splat(times)))
}

#[inline(always)]
fn each_lane(wide: v128) -> [v128; 4] {
    [
        i32x4_shuffle::<0, 0, 0, 0>(wide, wide),
        i32x4_shuffle::<1, 1, 1, 1>(wide, wide),
        i32x4_shuffle::<2, 2, 2, 2>(wide, wide),
        i32x4_shuffle::<3, 3, 3, 3>(wide, wide),
    ]
}

#[inline(always)]
pub(super) fn first(value: i32) -> v128 {
    i32x4(value, 0, 0, 0)
}

#[inline(always)]
pub(super) fn dot(a: Block, b: Block, bias: v128) -> v128 {
    let product = |at: usize| i32x4_dot_i16x8(a[at], b[at]);
    i32x4_add(i32x4_add(product(0), product(1)), i32x4_add(i32x4_add(product(2), product(3)), bias))
}

/// Scales in f16, each times `times`, in every lane of a vector of its own. Up to four.
#[inline(always)]
pub(super) fn widen_scales<const N: usize>(bits: [u16; N], times: f32) -> [v128; N] {
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
pub(super) fn zeros() -> v128 {
    f32x4_splat(0.0)
}

#[inline(always)]
pub(super) fn add_scaled(total: v128, sum: v128, scale: v128) -> v128 {
    f32x4_add(total, f32x4_mul(f32x4_convert_i32x4(sum), scale))
}

#[inline(always)]
pub(super) fn sum(total: v128) -> f32 {
    let [a, b, c, d] = [
        f32x4_extract_lane::<0>(total),
        f32x4_extract_lane::<1>(total),
        f32x4_extract_lane::<2>(total),
        f32x4_extract_lane::<3>(total),
    ];
    (a + c) + (b + d)
}
