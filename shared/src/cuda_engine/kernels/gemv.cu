// out = weight · x for one row at a time, as fast as memory delivers the weights: a warp a row, the first loads
// in flight before the kernel before has ended. A block has one tile of rows, a warp each; beside quantised weights
// it has several: there x takes longer to prepare than a tile to read. What stands before and after the product in a layer is part of it.
#include "product.cuh"

// Most tiles of a block; `MOST_TILES` in kernels.rs.
constexpr int MOST_TILES = 32;

template <int FORMAT> struct Weight;
template <> struct Weight<F32> { typedef float Act; static constexpr int LEN = 4; };
template <> struct Weight<BF16> { typedef bf16 Act; static constexpr int LEN = 8; };
template <> struct Weight<F16> { typedef f16 Act; static constexpr int LEN = 8; };
template <> struct Weight<FP8> { typedef bf16 Act; static constexpr int LEN = 16; };
template <> struct Weight<Q8_0> { typedef bf16 Act; static constexpr int LEN = 16; };
template <> struct Weight<Q4_0> { typedef bf16 Act; static constexpr int LEN = 32; };

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
__device__ __forceinline__ float4 four_norms(const GemvArgs& a, int quad) {
    if (a.norm_format == F32) return ((const float4*)a.norm)[quad];
    const uint2 two = ((const uint2*)a.norm)[quad];
    const float2 l = a.norm_format == BF16 ? two_bf16(two.x) : two_f16(two.x);
    const float2 r = a.norm_format == BF16 ? two_bf16(two.y) : two_f16(two.y);
    return make_float4(l.x, l.y, r.x, r.y);
}

template <int FORMAT>
__device__ __forceinline__ float4 four_inputs(const GemvArgs& a, const void* x, int quad, float& squares) {
    typedef typename Weight<FORMAT>::Act Act;
    float4 v;
    if (a.norm) {
        v = ((const float4*)x)[quad];
        squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
        const float4 g = four_norms(a, quad);
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

template <int FORMAT, int USE, int WARPS> __device__ __forceinline__ void gemv(const GemvArgs& a) {
    constexpr int THREADS = WARPS * 32, TILE = WARPS;
    typedef typename Weight<FORMAT>::Act Act;
    constexpr int LEN = Weight<FORMAT>::LEN;
    constexpr bool BLOCKS = FORMAT == Q8_0 || FORMAT == Q4_0;
    // Whether a block has more than one tile, and chunks of a lane on their way.
    constexpr bool SEVERAL = BLOCKS || FORMAT == FP8;
    constexpr int AHEAD = SEVERAL ? 3 : 4;
    extern __shared__ float4 shared[];
    __shared__ float partial[WARPS], products[MOST_TILES][WARPS];
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    const int columns = a.columns, chunks = columns / LEN, steps = (chunks + 31) / 32;
    const bool whole = columns % LEN == 0;
    const int tiles = tile_count<USE, TILE>(a);
    const size_t batch = blockIdx.y;

    // Where the next loads go: a warp takes a row of every tile of its block, `AHEAD` chunks of each lane at a time.
    int tile = blockIdx.x, step = 0, row = weight_row<USE, TILE>(a, tile, warp);
    let_next_start();
    // Weights are not written by any kernel: no need to wait.
    uint4 ahead[AHEAD];
    float ahead_scale[AHEAD];
    auto fetch = [&] {
        const char* from = (const char*)a.weight + (size_t)max(row, 0) * chunks * 16;
        const f16* scales = (const f16*)a.scales + (size_t)max(row, 0) * (columns / 32);
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            const int at = (step + u) * 32 + lane;
            const bool there = row >= 0 && at < chunks;
            ahead[u] = there ? load_stream(from + (size_t)at * 16) : make_uint4(0, 0, 0, 0);
            if (BLOCKS) ahead_scale[u] = there ? __half2float(scales[FORMAT == Q8_0 ? at / 2 : at]) : 0;
        }
    };
    if (whole) fetch();
    wait_for_earlier();

    // What the end of the first tile needs is read while its product is under way.
    float* const out = (float*)a.out + batch * a.rows;
    float before = 0;
    if (USE == ADD && row >= 0 && lane == 0) before = out[row];
    Rotation turn;
    if (USE == QKV && threadIdx.x < TILE / 2) turn = rotation<TILE>(a, batch, blockIdx.x, threadIdx.x);
    const char* x = (const char*)a.x + batch * columns * (a.norm ? 4 : sizeof(Act));
    Quantized q;
    if (BLOCKS) {
        q.high = (int*)shared;
        q.low = q.high + columns / 4;
        q.scale = (float*)(q.low + columns / 4);
        q.sum = q.scale + columns / 32;
    }
    float squares = 0;
    if (whole) {
        // Four at a time are on their way: one after the other would cost a trip to L2 each. Whole warps take part:
        // `quantize` exchanges between lanes.
        const int quads = columns / 4;
        for (int first = threadIdx.x; first < (quads + 31) / 32 * 32; first += 4 * THREADS) {
            float4 four[4];
#pragma unroll
            for (int u = 0; u < 4; u++) {
                const int quad = first + u * THREADS;
                four[u] = make_float4(0, 0, 0, 0);
                if (quad < quads) {
                    four[u] = four_inputs<FORMAT>(a, x, quad, squares);
                }
            }
#pragma unroll
            for (int u = 0; u < 4; u++) {
                const int quad = first + u * THREADS;
                if (BLOCKS) {
                    if (quad < (quads + 31) / 32 * 32) quantize<FORMAT>(q, quad, columns, quad < quads, four[u]);
                } else if (quad < quads) {
                    shared[plane<LEN>(quad, chunks)] = four[u];
                }
            }
        }
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

    // What becomes of a row's sum.
    auto finish = [&](int row, int index, float sum) {
        sum = warp_sum(sum) * scale;
        if (row < 0 || lane != 0) return;
        if (FORMAT == FP8) sum *= ((const float*)a.scales)[row];
        if (USE == ADD) out[row] = before + sum;
        else if (USE == LOGITS) out[row] = sum;
        else products[index][warp] = sum;
    };
    int index = 0;
    if (whole) {
        float sum = 0;
        while (tile < tiles) {
            uint4 now[AHEAD];
            float now_scale[AHEAD];
#pragma unroll
            for (int u = 0; u < AHEAD; u++) now[u] = ahead[u], now_scale[u] = BLOCKS ? ahead_scale[u] : 0;
            const int first = step, done = row;
            step += AHEAD;
            const bool ends = step >= steps;
            if (ends) {
                step = 0;
                tile = SEVERAL ? tile + gridDim.x : tiles;
                row = SEVERAL && tile < tiles ? weight_row<USE, TILE>(a, tile, warp) : -1;
            }
            if (tile < tiles) fetch();
#pragma unroll
            for (int u = 0; u < AHEAD; u++)
                sum = chunk_product<FORMAT>(now[u], now_scale[u], shared, q, min((first + u) * 32 + lane, chunks - 1), chunks, sum);
            if (ends) {
                finish(done, index, sum);
                if (SEVERAL && USE == ADD && row >= 0 && lane == 0) before = out[row];
                index++;
                sum = 0;
            }
        }
    } else if (!BLOCKS) {
        // Rows that are not whole chunks: no model in use has them, but a model may.
        for (; tile < tiles; tile += gridDim.x, index++) {
            const int row = weight_row<USE, TILE>(a, tile, warp);
            float sum = 0;
            if (USE == ADD && row >= 0 && lane == 0) before = out[row];
            for (int i = lane; row >= 0 && i < columns; i += 32)
                sum = fmaf(load_as(a.weight, FORMAT, (size_t)row * columns + i), ((const float*)shared)[i], sum);
            finish(row, index, sum);
        }
    }
    if (USE == QKV || USE == GATED) {
        __syncthreads();
        constexpr int HALF = TILE / 2;
        for (int i = threadIdx.x; i < index * HALF; i += THREADS) {
            const int place = i % HALF, at = i / HALF, tile = blockIdx.x + at * gridDim.x;
            const float first = products[at][place], second = products[at][place + HALF];
            if (USE == GATED) {
                finish_gated<Act, TILE>(a, batch, tile, place, first, second);
            } else {
                const Rotation r = at == 0 ? turn : rotation<TILE>(a, batch, tile, place);
                finish_qkv<Act, TILE>(a, r, batch, tile, place, first, second);
            }
        }
    }
}

#define GEMV(name, format, use, USE, warps)                                           \
    extern "C" __global__ void __launch_bounds__(warps * 32, 2) gemv_##name##_##use( \
        const __grid_constant__ GemvArgs a) {                                        \
        gemv<format, USE, warps>(a);                                                 \
    }
// Rows of a tile, as measured on Phi-3-mini's shape: what leaves the fewest processors idle at the end of a product.
// `Use::tile` in kernels.rs has them too.
#define USES(name, format, add_rows)     \
    GEMV(name, format, qkv, QKV, 18)     \
    GEMV(name, format, add, ADD, add_rows) \
    GEMV(name, format, gated, GATED, 16) \
    GEMV(name, format, logits, LOGITS, 16)
USES(f32, F32, 18)
USES(bf16, BF16, 18)
USES(f16, F16, 18)
USES(fp8, FP8, 12)
USES(q8_0, Q8_0, 12)
USES(q4_0, Q4_0, 12)
