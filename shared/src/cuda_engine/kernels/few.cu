// out = weight · x for up to 32 rows at once, each weight read once: tiles of sixteen rows of the weight on the tensor
// cores, the columns dealt to the warps of a block in chunks of 32. Weights go from memory to registers; x, which all
// blocks read, comes through L1. A lane takes eight columns of two rows: the order of columns in a sum is free, as long as
// weight and x agree on it. Quantised weights become integers in bf16, which is exact; a chunk is a block of theirs, so
// that its sum is scaled once.
#include "product.cuh"

constexpr int WARPS = 8;

// How a lane's eight columns of a chunk are held, and how many neighbouring chunks are a line of memory.
template <int FORMAT> struct Held { typedef uint4 Eight; static constexpr int LINE = 2, BITS = 16; };
template <> struct Held<FP8> { typedef uint2 Eight; static constexpr int LINE = 4, BITS = 8; };
template <> struct Held<Q8_0> { typedef uint2 Eight; static constexpr int LINE = 4, BITS = 8; };
template <> struct Held<Q4_0> { typedef uint32_t Eight; static constexpr int LINE = 8, BITS = 4; };

// How many chunks are on their way, and how many blocks a processor has, as measured on Phi-3-mini's shape: two blocks
// with less on its way are faster than one with more, but for products with few rows of the weight and many of x.
template <int USE, int COLUMNS> constexpr bool ALONE = USE == ADD && COLUMNS == 4;
template <int BITS, int USE, int COLUMNS>
constexpr int ON_THE_WAY = COLUMNS < 4 ? 4 : (BITS == 16 ? 2 : 4) * (ALONE<USE, COLUMNS> ? 2 : 1);

// Which chunk a warp takes as its uth.
template <int TOGETHER> __device__ __forceinline__ int chunk_of(int warp, int u) {
    return u / TOGETHER * TOGETHER * WARPS + warp * TOGETHER + u % TOGETHER;
}

__device__ __forceinline__ void load_held(uint4& v, const void* p) { v = load_stream(p); }
__device__ __forceinline__ void load_held(uint2& v, const void* p) {
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1},[%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
}
__device__ __forceinline__ void load_held(uint32_t& v, const void* p) {
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0,[%1];" : "=r"(v) : "l"(p));
}

__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
    __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
    return *(uint32_t*)&two;
}

// Eight values as the tensor cores take them.
template <int FORMAT> __device__ __forceinline__ uint4 widened(uint4 v) { return v; }
template <int FORMAT> __device__ __forceinline__ uint4 widened(uint2 v) {
    if (FORMAT == FP8) {
        auto two = [](uint32_t w) {
            __half2_raw h = __nv_cvt_fp8x2_to_halfraw2((__nv_fp8x2_storage_t)w, __NV_E4M3);
            const float2 f = __half22float2(*(__half2*)&h);
            return pack_bf16(f.x, f.y);
        };
        return make_uint4(two(v.x & 0xffff), two(v.x >> 16), two(v.y & 0xffff), two(v.y >> 16));
    }
    // 2^23 + (q + 128) as a float, by its bits.
    auto two = [](uint32_t w, uint32_t which) {
        const float low = __uint_as_float(__byte_perm(w, 0x4b000000u, 0x7440 | which)) - 8388736.0f;
        const float high = __uint_as_float(__byte_perm(w, 0x4b000000u, 0x7440 | (which + 1))) - 8388736.0f;
        return pack_bf16(low, high);
    };
    const uint32_t x = v.x ^ 0x80808080u, y = v.y ^ 0x80808080u;
    return make_uint4(two(x, 0), two(x, 2), two(y, 0), two(y, 2));
}
template <int FORMAT> __device__ __forceinline__ uint4 widened(uint32_t v) {
    // 128 + n as a bf16, by its bits, less 136.
    const __nv_bfloat162 offset = __floats2bfloat162_rn(136, 136);
    auto two = [&](uint32_t bytes) {
        const uint32_t bits = (bytes & 0x000f000fu) | 0x43004300u;
        const __nv_bfloat162 n = __hsub2(*(const __nv_bfloat162*)&bits, offset);
        return *(const uint32_t*)&n;
    };
    const uint32_t first = __byte_perm(v, 0, 0x4140), second = __byte_perm(v, 0, 0x4342);
    return make_uint4(two(first), two(second), two(first >> 4), two(second >> 4));
}
// What x has in the same columns: bytes of q4_0 hold columns sixteen apart.
template <int FORMAT, class T> __device__ __forceinline__ uint4 inputs(const T* chunk, int t) {
    if (FORMAT != Q4_0) return *(const uint4*)(chunk + t * 8);
    const uint2 first = *(const uint2*)(chunk + t * 4), second = *(const uint2*)(chunk + 16 + t * 4);
    return make_uint4(first.x, first.y, second.x, second.y);
}

__device__ __forceinline__ void multiply(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                                         uint32_t b1, bf16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                                         uint32_t b1, f16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// `batch` rows of x, at most 8 · COLUMNS; TILES tiles a block. `columns` is a multiple of 32.
template <int FORMAT, class T, int USE, int TILES, int COLUMNS>
__device__ __forceinline__ void few(const GemvArgs& a, int batch) {
    extern __shared__ float partial[];  // [WARPS][TILES * 16][COLUMNS * 8 + 1]
    constexpr int PITCH = COLUMNS * 8 + 1, AHEAD = ON_THE_WAY<Held<FORMAT>::BITS, USE, COLUMNS>;
    constexpr int TOGETHER = Held<FORMAT>::LINE < AHEAD ? Held<FORMAT>::LINE : AHEAD;
    constexpr bool BLOCKS = FORMAT == Q8_0 || FORMAT == Q4_0;
    typedef typename Held<FORMAT>::Eight Eight;
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int chunks = a.columns / 32;
    const Eight* rows[TILES][2];  // four to a chunk
    const f16* scales[TILES][2];  // one to a chunk
    bool there[TILES][2];
#pragma unroll
    for (int m = 0; m < TILES; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int row = weight_row<USE>(a, blockIdx.x * TILES + m, g + half * 8);
            there[m][half] = row >= 0;
            rows[m][half] = (const Eight*)a.weight + (size_t)max(row, 0) * chunks * 4 + t;
            scales[m][half] = (const f16*)a.scales + (size_t)max(row, 0) * chunks;
        }
    let_next_start();
    Eight ahead[AHEAD][TILES][2];
    f16 ahead_scale[BLOCKS ? AHEAD : 1][TILES][2];
    auto fetch = [&](int chunk, int u) {
#pragma unroll
        for (int m = 0; m < TILES; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const bool inside = there[m][half] && chunk < chunks;
                ahead[u][m][half] = Eight();
                if (inside) load_held(ahead[u][m][half], rows[m][half] + (size_t)chunk * 4);
                if (BLOCKS) ahead_scale[u][m][half] = inside ? scales[m][half][chunk] : f16(0.0f);
            }
    };
#pragma unroll
    for (int u = 0; u < AHEAD; u++) fetch(chunk_of<TOGETHER>(warp, u), u);
    wait_for_earlier();

    const T* x[COLUMNS];
#pragma unroll
    for (int n = 0; n < COLUMNS; n++) x[n] = (const T*)a.x + (size_t)min(n * 8 + g, batch - 1) * a.columns;
    float sum[TILES][COLUMNS][4] = {};
    // As much of x as is needed for two chunks is on its way together.
    for (int first = 0; first < chunks; first += AHEAD * WARPS) {
#pragma unroll
        for (int pair = 0; pair < AHEAD; pair += 2) {
            Eight w[2][TILES][2];
            f16 s[2][TILES][2];
            uint4 b[2][COLUMNS];
#pragma unroll
            for (int u = 0; u < 2; u++) {
                const int chunk = first + chunk_of<TOGETHER>(warp, pair + u);
#pragma unroll
                for (int n = 0; n < COLUMNS; n++) b[u][n] = inputs<FORMAT>(x[n] + (size_t)min(chunk, chunks - 1) * 32, t);
#pragma unroll
                for (int m = 0; m < TILES; m++)
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        w[u][m][half] = ahead[pair + u][m][half];
                        if (BLOCKS) s[u][m][half] = ahead_scale[pair + u][m][half];
                    }
                fetch(chunk + AHEAD * WARPS, pair + u);
            }
            // Chunks beyond the end are zeros of the weight, or have a scale of zero.
#pragma unroll
            for (int u = 0; u < 2; u++)
#pragma unroll
                for (int m = 0; m < TILES; m++) {
                    const uint4 l = widened<FORMAT>(w[u][m][0]), h = widened<FORMAT>(w[u][m][1]);
                    const float low = BLOCKS ? to_f32(s[u][m][0]) : 1, high = BLOCKS ? to_f32(s[u][m][1]) : 1;
#pragma unroll
                    for (int n = 0; n < COLUMNS; n++) {
                        const uint4 c = b[u][n];
                        if (BLOCKS) {
                            float block[4] = {};
                            multiply(block, l.x, h.x, l.y, h.y, c.x, c.y, T());
                            multiply(block, l.z, h.z, l.w, h.w, c.z, c.w, T());
                            sum[m][n][0] = fmaf(low, block[0], sum[m][n][0]);
                            sum[m][n][1] = fmaf(low, block[1], sum[m][n][1]);
                            sum[m][n][2] = fmaf(high, block[2], sum[m][n][2]);
                            sum[m][n][3] = fmaf(high, block[3], sum[m][n][3]);
                        } else {
                            multiply(sum[m][n], l.x, h.x, l.y, h.y, c.x, c.y, T());
                            multiply(sum[m][n], l.z, h.z, l.w, h.w, c.z, c.w, T());
                        }
                    }
                }
        }
    }
    if (FORMAT == FP8) {
        // A scale a row of the weight.
#pragma unroll
        for (int m = 0; m < TILES; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int row = weight_row<USE>(a, blockIdx.x * TILES + m, g + i / 2 * 8);
                const float scale = row >= 0 ? ((const float*)a.scales)[row] : 0;
#pragma unroll
                for (int n = 0; n < COLUMNS; n++) sum[m][n][i] *= scale;
            }
    }
    float* mine = partial + warp * TILES * 16 * PITCH;
#pragma unroll
    for (int m = 0; m < TILES; m++)
#pragma unroll
        for (int n = 0; n < COLUMNS; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                mine[(m * 16 + g + i / 2 * 8) * PITCH + n * 8 + t * 2 + i % 2] = sum[m][n][i];
    __syncthreads();
    // Two values of a tile eight places apart, of one row of x.
    for (int i = threadIdx.x; i < TILES * 8 * batch; i += WARPS * 32) {
        const int place = i % 8, m = i / 8 % TILES, row = i / (8 * TILES), tile = blockIdx.x * TILES + m;
        float first = 0, second = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            const float* theirs = partial + (w * TILES * 16 + m * 16 + place) * PITCH + row;
            first += theirs[0];
            second += theirs[8 * PITCH];
        }
        if (USE == QKV) {
            finish_qkv<T>(a, rotation(a, row, tile, place), row, tile, place, first, second);
        } else if (USE == GATED) {
            finish_gated<T>(a, row, tile, place, first, second);
        } else {
            float* out = (float*)a.out + (size_t)row * a.rows;
            const int at = weight_row<USE>(a, tile, place), other = weight_row<USE>(a, tile, place + 8);
            if (at >= 0) out[at] = USE == ADD ? out[at] + first : first;
            if (other >= 0) out[other] = USE == ADD ? out[other] + second : second;
        }
    }
}

#define FEW_ROWS(name, format, T, use, suffix, most, TILES, COLUMNS)                                        \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, ALONE<use, COLUMNS> ? 1 : 2)               \
        few_##name##_##suffix##_##most(const __grid_constant__ GemvArgs a, int batch) {                    \
        few<format, T, use, TILES, COLUMNS>(a, batch);                                                     \
    }
#define FEW(name, format, T, use, suffix)                     \
    FEW_ROWS(name, format, T, use, suffix, 8, 1, 1)           \
    FEW_ROWS(name, format, T, use, suffix, 16, 1, 2)          \
    FEW_ROWS(name, format, T, use, suffix, 32, 2, 4)
#define USES(name, format, T)            \
    FEW(name, format, T, QKV, qkv)       \
    FEW(name, format, T, ADD, add)       \
    FEW(name, format, T, GATED, gated)   \
    FEW(name, format, T, LOGITS, logits)
USES(bf16, BF16, bf16)
USES(f16, F16, f16)
USES(fp8, FP8, bf16)
USES(q8_0, Q8_0, bf16)
USES(q4_0, Q4_0, bf16)
