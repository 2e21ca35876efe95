//! AVX2 and FMA, which every x86 processor of the last ten years has: half a block in a vector. AVX-512 was tried, and is no
//! faster where memory is the limit.
#![expect(unsafe_code, reason = "a prefetch takes an address")]

use std::arch::x86_64::{__m128i, __m256, __m256i, _MM_HINT_T0, _mm_prefetch};

use pulp::cast;
use pulp::x86::V3;

use super::Lanes;

impl Lanes for V3 {
    type Block = [__m256i; 2];
    type Ints = __m256i;
    type Floats = __m256;

    #[inline(always)]
    fn load(self, values: &[i16; 32]) -> [__m256i; 2] {
        cast(*values)
    }

    #[inline(always)]
    fn signed_bytes(self, bytes: &[u8; 32]) -> [__m256i; 2] {
        let halves: [__m128i; 2] = cast(*bytes);
        halves.map(
            #[inline(always)]
            |half| self.avx2._mm256_cvtepi8_epi16(half),
        )
    }

    #[inline(always)]
    fn nibbles(self, bytes: &[u8; 16]) -> [__m256i; 2] {
        let bytes: __m128i = cast(*bytes);
        let low = self.sse2._mm_set1_epi8(0x0f);
        let halves = [bytes, self.sse2._mm_srli_epi16::<4>(bytes)];
        halves.map(
            #[inline(always)]
            |half| self.avx2._mm256_cvtepu8_epi16(self.sse2._mm_and_si128(half, low)),
        )
    }

    #[inline(always)]
    fn less(self, block: [__m256i; 2], offset: i16) -> [__m256i; 2] {
        let offset = self.avx._mm256_set1_epi16(offset);
        block.map(
            #[inline(always)]
            |values| self.avx2._mm256_sub_epi16(values, offset),
        )
    }

    #[inline(always)]
    fn first(self, value: i32) -> __m256i {
        cast([value, 0, 0, 0, 0, 0, 0, 0])
    }

    #[inline(always)]
    fn dot(self, a: [__m256i; 2], b: [__m256i; 2], bias: __m256i) -> __m256i {
        let Self { avx2, .. } = self;
        let [low, high] = [avx2._mm256_madd_epi16(a[0], b[0]), avx2._mm256_madd_epi16(a[1], b[1])];
        avx2._mm256_add_epi32(avx2._mm256_add_epi32(low, high), bias)
    }

    #[inline(always)]
    fn splat_each(self, values: [f32; 4], times: f32) -> [__m256; 4] {
        values.map(
            #[inline(always)]
            |value| self.avx._mm256_set1_ps(value * times),
        )
    }

    #[inline(always)]
    fn widen_scales<const N: usize>(self, bits: [u16; N], times: f32) -> [__m256; N] {
        let Self { sse, sse2, avx, .. } = self;
        let lane = |at: usize| bits.get(at).map_or(0, |bits| u32::from(*bits));
        let bits: __m128i = cast([lane(0), lane(1), lane(2), lane(3)]);
        let only = |mask: i32| sse2._mm_and_si128(bits, sse2._mm_set1_epi32(mask));
        // As `widen` does it: the product mends the exponent's bias and subnormals.
        let finite = sse._mm_mul_ps(
            cast(sse2._mm_slli_epi32::<13>(only(0x7fff))),
            sse._mm_set1_ps(f32::from_bits((112 + 127) << 23)),
        );
        let is_special = sse2._mm_cmpeq_epi32(only(0x7c00), sse2._mm_set1_epi32(0x7c00));
        let special = sse2._mm_and_si128(is_special, sse2._mm_set1_epi32(0x7f80_0000));
        let sign = sse2._mm_slli_epi32::<16>(only(0x8000));
        let wide = sse2._mm_or_si128(sse2._mm_or_si128(cast(finite), special), sign);
        let wide: [f32; 4] = cast(sse._mm_mul_ps(cast(wide), sse._mm_set1_ps(times)));
        std::array::from_fn(
            #[inline(always)]
            |at| avx._mm256_set1_ps(wide[at]),
        )
    }

    #[inline(always)]
    fn zeros(self) -> __m256 {
        self.avx._mm256_set1_ps(0.0)
    }

    #[inline(always)]
    fn add_scaled(self, total: __m256, sum: __m256i, scale: __m256) -> __m256 {
        self.fma._mm256_fmadd_ps(self.avx._mm256_cvtepi32_ps(sum), scale, total)
    }

    #[inline(always)]
    fn sum(self, total: __m256) -> f32 {
        let [a, b, c, d, e, f, g, h]: [f32; 8] = cast(total);
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
    #[inline(always)]
    fn ask_for<T>(self, from: &T, further: usize) {
        let address = std::ptr::from_ref(from).wrapping_add(further).cast();
        // SAFETY: nothing is read: an address that is no memory of ours is passed over.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
    }
}
