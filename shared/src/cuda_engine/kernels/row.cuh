// One row of a weight times one row of x: how both are read, and x on its way in.
#pragma once
#include "product.cuh"

// What is beside a weight: the format of activations and of the norms before it. LEN: values of sixteen bytes.
template <int FORMAT> struct Weight;
template <> struct Weight<F32> { typedef float Act, Norm; static constexpr int LEN = 4; };
template <> struct Weight<BF16> { typedef bf16 Act, Norm; static constexpr int LEN = 8; };
template <> struct Weight<F16> { typedef f16 Act, Norm; static constexpr int LEN = 8; };
template <> struct Weight<FP8> { typedef bf16 Act; typedef float Norm; static constexpr int LEN = 16; };
template <> struct Weight<Q8_0> { typedef bf16 Act; typedef float Norm; static constexpr int LEN = 16; };
template <> struct Weight<Q4_0> { typedef bf16 Act; typedef float Norm; static constexpr int LEN = 32; };

// N neighbouring values as they lie in memory: loads of several are on their way before the first is looked at.
template <class T, int N> struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Some { T v[N]; };
// What a product reads: the residual stream in f32 where it norms it, else activations.
template <int FORMAT, bool NORMED> struct Input { typedef typename Weight<FORMAT>::Act Type; };
template <int FORMAT> struct Input<FORMAT, true> { typedef float Type; };

// Where element i of x lies in shared memory: planes of four, so that lanes that read neighbouring chunks of LEN
// elements read neighbouring addresses.
template <int LEN> __device__ __forceinline__ int plane(int quad, int chunks) {
    constexpr int PLANES = LEN / 4;
    return quad % PLANES * chunks + quad / PLANES;
}

__device__ __forceinline__ float fma4(float a, float b, float c, float d, float4 x, float sum) {
    return fmaf(a, x.x, fmaf(b, x.y, fmaf(c, x.z, fmaf(d, x.w, sum))));
}
__device__ __forceinline__ float2 two_bf16(uint32_t w) {
    return make_float2(__uint_as_float(w << 16), __uint_as_float(w & 0xffff0000u));
}
__device__ __forceinline__ float2 two_f16(uint32_t w) { return __half22float2(*(__half2*)&w); }
__device__ __forceinline__ float2 two_fp8(uint16_t w) {
    __half2_raw h = __nv_cvt_fp8x2_to_halfraw2(w, __NV_E4M3);
    return __half22float2(*(__half2*)&h);
}

// Sixteen bytes of a plain row times x.
template <int FORMAT> __device__ __forceinline__ float dot(uint4 w, const float4* x, int chunk, int chunks, float sum) {
    const uint32_t words[4] = {w.x, w.y, w.z, w.w};
    if (FORMAT == F32)
        return fma4(__uint_as_float(w.x), __uint_as_float(w.y), __uint_as_float(w.z), __uint_as_float(w.w), x[chunk],
                    sum);
    if (FORMAT == FP8) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float2 a = two_fp8(words[i] & 0xffff), b = two_fp8(words[i] >> 16);
            sum = fma4(a.x, a.y, b.x, b.y, x[i * chunks + chunk], sum);
        }
        return sum;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float2 a = FORMAT == BF16 ? two_bf16(words[2 * i]) : two_f16(words[2 * i]);
        float2 b = FORMAT == BF16 ? two_bf16(words[2 * i + 1]) : two_f16(words[2 * i + 1]);
        sum = fma4(a.x, a.y, b.x, b.y, x[i * chunks + chunk], sum);
    }
    return sum;
}

// x in two bytes a value: x ≈ scale · (high + low / 254), block by block of 32. Leaves integers to the products
// without giving up precision: what is lost is 1/64,000 of the block's largest value.
struct Quantized {
    int* high;     // [columns / 4], four a word
    int* low;
    float* scale;  // [columns / 32]
    float* sum;    // of the block's values, for the offset of q4_0
};
__device__ __forceinline__ int pack4(int a, int b, int c, int d) {
    return (a & 255) | (b & 255) << 8 | (c & 255) << 16 | d << 24;
}
// Eight neighbouring lanes hold a block; all lanes of a warp come here, those that are not `there` with zeros.
template <int FORMAT>
__device__ __forceinline__ void quantize(const Quantized& q, int quad, int columns, bool there, float4 v) {
    float most = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
    float sum = v.x + v.y + v.z + v.w;
#pragma unroll
    for (int o = 4; o; o >>= 1) {
        most = fmaxf(most, __shfl_xor_sync(~0u, most, o));
        sum += __shfl_xor_sync(~0u, sum, o);
    }
    float scale = most / 127, inverse = most > 0 ? 127 / most : 0;
    float h[4] = {rintf(v.x * inverse), rintf(v.y * inverse), rintf(v.z * inverse), rintf(v.w * inverse)};
    if (!there) return;
    // A lane of q4_0 reads both halves of a block: those of all blocks stand together.
    const int at = FORMAT == Q4_0 ? (quad % 8 / 4 * (columns / 32) + quad / 8) * 4 + quad % 4 : quad;
    q.high[at] = pack4(h[0], h[1], h[2], h[3]);
    q.low[at] = pack4(rintf((v.x * inverse - h[0]) * 254), rintf((v.y * inverse - h[1]) * 254),
                        rintf((v.z * inverse - h[2]) * 254), rintf((v.w * inverse - h[3]) * 254));
    if ((threadIdx.x & 7) == 0) q.scale[quad / 8] = scale, q.sum[quad / 8] = sum;
}

// The product of a chunk of sixteen bytes of a row with what x has there.
template <int FORMAT>
__device__ __forceinline__ float chunk_product(uint4 w, float scale, const float4* shared, const Quantized& q, int at,
                                               int chunks, float sum) {
    constexpr bool BLOCKS = FORMAT == Q8_0 || FORMAT == Q4_0;
    if (!BLOCKS) return dot<FORMAT>(w, shared, at, chunks, sum);
    const int words[4] = {(int)w.x, (int)w.y, (int)w.z, (int)w.w};
    int high = 0, low = 0;
    if (FORMAT == Q8_0) {
        const int4 h = ((const int4*)q.high)[at], l = ((const int4*)q.low)[at];
        high = __dp4a(words[0], h.x, __dp4a(words[1], h.y, __dp4a(words[2], h.z, __dp4a(words[3], h.w, 0))));
        low = __dp4a(words[0], l.x, __dp4a(words[1], l.y, __dp4a(words[2], l.z, __dp4a(words[3], l.w, 0))));
        return fmaf(scale * q.scale[at / 2], high + low * (1.0f / 254), sum);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int4 h = ((const int4*)q.high)[half * chunks + at], l = ((const int4*)q.low)[half * chunks + at];
        const int hs[4] = {h.x, h.y, h.z, h.w}, ls[4] = {l.x, l.y, l.z, l.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int nibbles = words[i] >> 4 * half & 0x0f0f0f0f;
            high = __dp4a(nibbles, hs[i], high);
            low = __dp4a(nibbles, ls[i], low);
        }
    }
    return fmaf(scale, fmaf(q.scale[at], high + low * (1.0f / 254), -8 * q.sum[at]), sum);
}
