// out = weight · x for one row at a time, as fast as memory delivers the weights: a warp a row, the first loads in
// flight before the kernel before has ended. What stands before and after the product in a layer is part of it.
#include "common.cuh"

constexpr int THREADS = 512, WARPS = THREADS / 32, AHEAD = 4;

// What becomes of the products.
enum Use { QKV, ADD, GATED, LOGITS };

// `GemvArgs` in kernels.rs.
struct GemvArgs {
    const void* weight;   // [rows, columns]
    const void* scales;   // of quantised weights
    const void* x;        // [batch, columns]: f32 where `norm` is there, else activations
    const void* norm;     // weight of the RMSNorm before, or null
    void* out;            // QKV: queries of [batch, q + 2 kv]; ADD: residual; GATED: activations; LOGITS: f32
    const Row* batch;
    Heads heads;
    int32_t rows, columns, norm_format, layer;
    float eps;
};

template <int FORMAT> struct Weight;
template <> struct Weight<F32> { typedef float Act; static constexpr int LEN = 4; };
template <> struct Weight<BF16> { typedef bf16 Act; static constexpr int LEN = 8; };
template <> struct Weight<F16> { typedef f16 Act; static constexpr int LEN = 8; };
template <> struct Weight<FP8> { typedef bf16 Act; static constexpr int LEN = 16; };
template <> struct Weight<Q8_0> { typedef bf16 Act; static constexpr int LEN = 16; };
template <> struct Weight<Q4_0> { typedef bf16 Act; static constexpr int LEN = 32; };

// The row of the weight that a warp of a block computes; pairs that belong together stand eight warps apart. -1: none.
template <int USE> __device__ __forceinline__ int weight_row(const GemvArgs& a, int block, int warp) {
    const int eight = block * 8 + (warp & 7);
    if (USE == GATED) {
        int half = a.rows / 2;
        return eight < half ? (warp < 8 ? eight : half + eight) : -1;
    }
    if (USE == QKV) {
        const Heads& h = a.heads;
        const int pairs = (h.query + h.key_value) * h.half, pair_blocks = (pairs + 7) / 8;
        if (block < pair_blocks)
            return eight < pairs ? eight / h.half * h.dim + eight % h.half + (warp < 8 ? 0 : h.half) : -1;
        int single = (block - pair_blocks) * WARPS + warp, plain = h.dim - 2 * h.half;
        if (single < (h.query + h.key_value) * plain) return single / plain * h.dim + 2 * h.half + single % plain;
        single += pairs * 2;  // what is left are the values, in order
        return single < a.rows ? single : -1;
    }
    int row = block * WARPS + warp;
    return row < a.rows ? row : -1;
}

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

// x · weight for the activations of a kernel, before the scale of the norm.
template <int FORMAT>
__device__ __forceinline__ float4 four_inputs(const GemvArgs& a, const void* x, int quad, float& squares) {
    typedef typename Weight<FORMAT>::Act Act;
    float4 v;
    if (a.norm) {
        v = ((const float4*)x)[quad];
        squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
        float4 g;
        if (a.norm_format == F32) {
            g = ((const float4*)a.norm)[quad];
        } else {
            const uint2 two = ((const uint2*)a.norm)[quad];
            const float2 l = a.norm_format == BF16 ? two_bf16(two.x) : two_f16(two.x);
            const float2 r = a.norm_format == BF16 ? two_bf16(two.y) : two_f16(two.y);
            g = make_float4(l.x, l.y, r.x, r.y);
        }
        v = make_float4(v.x * g.x, v.y * g.y, v.z * g.z, v.w * g.w);
    } else {
        struct alignas(sizeof(Act) * 4) Four { Act v[4]; } four = ((const Four*)x)[quad];
        v = make_float4(to_f32(four.v[0]), to_f32(four.v[1]), to_f32(four.v[2]), to_f32(four.v[3]));
    }
    return v;
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

template <int FORMAT, int USE> __device__ __forceinline__ void gemv(const GemvArgs& a) {
    typedef typename Weight<FORMAT>::Act Act;
    constexpr int LEN = Weight<FORMAT>::LEN;
    constexpr bool BLOCKS = FORMAT == Q8_0 || FORMAT == Q4_0;
    extern __shared__ float4 shared[];
    __shared__ float partial[WARPS], products[WARPS];
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    const int columns = a.columns, chunks = columns / LEN;
    const bool whole = columns % LEN == 0;
    const int row = weight_row<USE>(a, blockIdx.x, warp);
    const char* weights = (const char*)a.weight + (size_t)max(row, 0) * chunks * 16;
    const f16* scales = (const f16*)a.scales + (size_t)max(row, 0) * (columns / 32);

    let_next_start();
    // Weights are not written by any kernel: no need to wait.
    uint4 ahead[AHEAD];
    float ahead_scale[AHEAD];
    auto fetch = [&](int chunk) {
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            int at = chunk + u * 32;
            bool there = row >= 0 && at < chunks;
            ahead[u] = there ? load_stream(weights + (size_t)at * 16) : make_uint4(0, 0, 0, 0);
            if (BLOCKS) ahead_scale[u] = there ? __half2float(scales[FORMAT == Q8_0 ? at / 2 : at]) : 0;
        }
    };
    if (whole) fetch(lane);
    wait_for_earlier();

    const char* x = (const char*)a.x + (size_t)blockIdx.y * columns * (a.norm ? 4 : sizeof(Act));
    float before = 0;
    if (USE == ADD && row >= 0 && lane == 0) before = ((float*)a.out)[(size_t)blockIdx.y * a.rows + row];
    Quantized q;
    if (BLOCKS) {
        q.high = (int*)shared;
        q.low = q.high + columns / 4;
        q.scale = (float*)(q.low + columns / 4);
        q.sum = q.scale + columns / 32;
    }
    float squares = 0;
    if (BLOCKS) {
        // Whole warps: `quantize` exchanges between lanes.
        for (int quad = threadIdx.x; quad < (columns / 4 + 31) / 32 * 32; quad += THREADS) {
            bool there = quad < columns / 4;
            float4 v = there ? four_inputs<FORMAT>(a, x, quad, squares) : make_float4(0, 0, 0, 0);
            quantize<FORMAT>(q, quad, columns, there, v);
        }
    } else if (whole) {
        for (int quad = threadIdx.x; quad < columns / 4; quad += THREADS)
            shared[plane<LEN>(quad, chunks)] = four_inputs<FORMAT>(a, x, quad, squares);
    } else {
        for (int i = threadIdx.x; i < columns; i += THREADS) {
            float v = a.norm ? ((const float*)x)[i] : to_f32(((const Act*)x)[i]);
            squares += v * v;
            ((float*)shared)[i] = a.norm ? v * load_as(a.norm, a.norm_format, i) : v;
        }
    }
    if (a.norm) {
        squares = warp_sum(squares);
        if (lane == 0) partial[warp] = squares;
    }
    __syncthreads();
    float scale = 1;
    if (a.norm) {
        squares = 0;
#pragma unroll
        for (int i = 0; i < WARPS; i++) squares += partial[i];
        scale = rsqrtf(squares / columns + a.eps);
    }

    float sum = 0;
    if (row >= 0 && whole) {
        for (int chunk = lane; chunk - lane < chunks; chunk += 32 * AHEAD) {
            uint4 now[AHEAD];
            float now_scale[AHEAD];
#pragma unroll
            for (int u = 0; u < AHEAD; u++) now[u] = ahead[u], now_scale[u] = BLOCKS ? ahead_scale[u] : 0;
            if (chunk - lane + 32 * AHEAD < chunks) fetch(chunk + 32 * AHEAD);
#pragma unroll
            for (int u = 0; u < AHEAD; u++) {
                const int at = min(chunk + u * 32, chunks - 1);
                if (!BLOCKS) {
                    sum = dot<FORMAT>(now[u], shared, at, chunks, sum);
                    continue;
                }
                const uint32_t words[4] = {now[u].x, now[u].y, now[u].z, now[u].w};
                int high = 0, low = 0;
                if (FORMAT == Q8_0) {
                    const int4 h = ((const int4*)q.high)[at], l = ((const int4*)q.low)[at];
                    high = __dp4a((int)words[0], h.x, __dp4a((int)words[1], h.y, __dp4a((int)words[2], h.z, __dp4a((int)words[3], h.w, 0))));
                    low = __dp4a((int)words[0], l.x, __dp4a((int)words[1], l.y, __dp4a((int)words[2], l.z, __dp4a((int)words[3], l.w, 0))));
                    sum = fmaf(now_scale[u] * q.scale[at / 2], high + low * (1.0f / 254), sum);
                } else {
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const int4 h = ((const int4*)q.high)[half * chunks + at], l = ((const int4*)q.low)[half * chunks + at];
                        const int hs[4] = {h.x, h.y, h.z, h.w}, ls[4] = {l.x, l.y, l.z, l.w};
#pragma unroll
                        for (int i = 0; i < 4; i++) {
                            int nibbles = words[i] >> 4 * half & 0x0f0f0f0f;
                            high = __dp4a(nibbles, hs[i], high);
                            low = __dp4a(nibbles, ls[i], low);
                        }
                    }
                    sum = fmaf(now_scale[u], fmaf(q.scale[at], high + low * (1.0f / 254), -8 * q.sum[at]), sum);
                }
            }
        }
    } else if (row >= 0 && !BLOCKS) {
        // Rows that are not whole chunks: no model in use has them, but a model may.
        for (int i = lane; i < columns; i += 32)
            sum = fmaf(load_as(a.weight, FORMAT, (size_t)row * columns + i), ((const float*)shared)[i], sum);
    }
    sum = warp_sum(sum) * scale;
    if (FORMAT == FP8 && row >= 0) sum *= ((const float*)a.scales)[row];

    const size_t batch = blockIdx.y;
    if (USE == ADD) {
        if (row >= 0 && lane == 0) ((float*)a.out)[batch * a.rows + row] = before + sum;
    } else if (USE == LOGITS) {
        if (row >= 0 && lane == 0) ((float*)a.out)[batch * a.rows + row] = sum;
    } else {
        if (lane == 0) products[warp] = sum;
        __syncthreads();
        const int i = threadIdx.x;
        if (USE == GATED) {
            const int at = blockIdx.x * 8 + i;
            if (i < 8 && at < a.rows / 2) {
                float gate = products[i], up = products[i + 8];
                ((Act*)a.out)[batch * (a.rows / 2) + at] = from_f32<Act>(gate / (1 + __expf(-gate)) * up);
            }
        } else {
            const Heads& h = a.heads;
            const Row state = a.batch[batch];
            const int pairs = (h.query + h.key_value) * h.half, pair_blocks = (pairs + 7) / 8;
            Act* queries = (Act*)a.out + batch * (h.query + 2 * h.key_value) * h.dim;
            auto put = [&](int row, float value) {
                int head = row / h.dim, at = row % h.dim;
                if (head < h.query) {
                    queries[row] = from_f32<Act>(value);
                } else {
                    int part = head >= h.query + h.key_value;
                    char* cache = cached(state, h, a.layer, part, head - h.query - part * h.key_value);
                    store_as(cache, h.kv_format, (size_t)state.position * h.dim + at, value);
                }
            };
            if ((int)blockIdx.x < pair_blocks) {
                const int pair = blockIdx.x * 8 + i;
                if (i < 8 && pair < pairs) {
                    const float* table =
                        (state.is_long ? h.rope_long : h.rope_short) + (size_t)state.position * 2 * h.half;
                    const float c = table[pair % h.half], s = table[h.half + pair % h.half];
                    const float first = products[i], second = products[i + 8];
                    const int at = pair / h.half * h.dim + pair % h.half;
                    put(at, first * c - second * s);
                    put(at + h.half, second * c + first * s);
                }
            } else if (i < WARPS) {
                const int at = weight_row<QKV>(a, blockIdx.x, i);
                if (at >= 0) put(at, products[i]);
            }
        }
    }
}

#define GEMV(name, format)                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) gemv_##name##_qkv(const __grid_constant__ GemvArgs a) { \
        gemv<format, QKV>(a);                                                                                    \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) gemv_##name##_add(const __grid_constant__ GemvArgs a) { \
        gemv<format, ADD>(a);                                                                                    \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) gemv_##name##_gated(const __grid_constant__ GemvArgs a) { \
        gemv<format, GATED>(a);                                                                                  \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) gemv_##name##_logits(const __grid_constant__ GemvArgs a) { \
        gemv<format, LOGITS>(a);                                                                                 \
    }
GEMV(f32, F32)
GEMV(bf16, BF16)
GEMV(f16, F16)
GEMV(fp8, FP8)
GEMV(q8_0, Q8_0)
GEMV(q4_0, Q4_0)
