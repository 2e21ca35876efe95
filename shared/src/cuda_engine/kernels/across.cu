// out = weight · x for one row at a time, as fast as memory delivers the weights: a row of the weight lies across a block,
// each thread keeps its own part of x in registers, and a block reads several whole rows at once, which memory likes
// better than parts of many. The first rows are in flight before the kernel before has ended.
#include "row.cuh"

// x of a thread's chunk as the products want it.
template <int FORMAT> struct Inputs { float v[Weight<FORMAT>::LEN]; };
// In two bytes a value, as `Quantized`.
template <> struct Inputs<Q8_0> { int high[4], low[4]; float scale; };
template <> struct Inputs<Q4_0> { int high[8], low[8]; float scale, sum; };

template <int N> __device__ __forceinline__ void to_integers(const float* v, float inverse, int* high, int* low) {
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
        float h[4];
        int l[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float scaled = v[i * 4 + j] * inverse;
            h[j] = rintf(scaled);
            l[j] = (int)rintf((scaled - h[j]) * 254);
        }
        high[i] = pack4(h[0], h[1], h[2], h[3]);
        low[i] = pack4(l[0], l[1], l[2], l[3]);
    }
}

// `v` as the products want it; all lanes of a warp come here.
template <int FORMAT> __device__ __forceinline__ void take_inputs(Inputs<FORMAT>& in, const float* v) {
    constexpr int LEN = Weight<FORMAT>::LEN;
    if constexpr (FORMAT == Q8_0 || FORMAT == Q4_0) {
        float most = 0, sum = 0;
#pragma unroll
        for (int i = 0; i < LEN; i++) most = fmaxf(most, fabsf(v[i])), sum += v[i];
        // A block of q8_0 is two lanes'.
        if (FORMAT == Q8_0) most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
        in.scale = most / 127;
        if constexpr (FORMAT == Q4_0) in.sum = -8 * sum;
        to_integers<LEN>(v, most > 0 ? 127 / most : 0, in.high, in.low);
    } else {
#pragma unroll
        for (int i = 0; i < LEN; i++) in.v[i] = v[i];
    }
}

// Sixteen bytes of a row times x.
template <int FORMAT> __device__ __forceinline__ float times(uint4 w, float scale, const Inputs<FORMAT>& x, float sum) {
    const uint32_t words[4] = {w.x, w.y, w.z, w.w};
    if constexpr (FORMAT == Q8_0) {
        int high = 0, low = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) high = __dp4a((int)words[i], x.high[i], high), low = __dp4a((int)words[i], x.low[i], low);
        return fmaf(scale * x.scale, high + low * (1.0f / 254), sum);
    } else if constexpr (FORMAT == Q4_0) {
        int high = 0, low = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int first = words[i] & 0x0f0f0f0f, second = words[i] >> 4 & 0x0f0f0f0f;
            high = __dp4a(first, x.high[i], __dp4a(second, x.high[4 + i], high));
            low = __dp4a(first, x.low[i], __dp4a(second, x.low[4 + i], low));
        }
        return fmaf(scale, fmaf(x.scale, high + low * (1.0f / 254), x.sum), sum);
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float2 p = FORMAT == BF16 ? two_bf16(words[i]) : two_f16(words[i]);
            sum = fmaf(p.x, x.v[2 * i], fmaf(p.y, x.v[2 * i + 1], sum));
        }
        return sum;
    }
}

// Sums over a warp of N values of each lane; lane i · 32 / N and those after it get the ith.
template <int N> __device__ __forceinline__ float sums_of_warp(float (&v)[N], int lane) {
    int width = 16;
#pragma unroll
    for (int n = N / 2; n; n /= 2, width /= 2) {
        const bool upper = lane & width;
#pragma unroll
        for (int i = 0; i < n; i++) {
            const float mine = upper ? v[i + n] : v[i], theirs = upper ? v[i] : v[i + n];
            v[i] = mine + __shfl_xor_sync(~0u, theirs, width);
        }
    }
    float sum = v[0];
#pragma unroll
    for (; width; width /= 2) sum += __shfl_xor_sync(~0u, sum, width);
    return sum;
}

constexpr int MOST_WARPS = 16;

// Where a value of QKV goes, and its rotation.
struct End {
    char* to;
    int format;
    float c, s;
};
template <int FORMAT> __device__ __forceinline__ End end_of(const GemvArgs& a, size_t batch, int row) {
    const Heads& h = a.heads;
    // Nothing but the last kernel of a step writes to it.
    const Row& state = a.batch[batch];
    const int head = row / h.dim, at = row % h.dim, kind = FORMAT == F16 ? F16 : BF16;
    End end = {nullptr, kind, 1, 0};
    if (head < h.query + h.key_value && at < 2 * h.half) {
        const float* table = (state.is_long ? h.rope_long : h.rope_short) + (size_t)state.position * 2 * h.half;
        end.c = table[at % h.half];
        end.s = table[h.half + at % h.half];
    }
    if (head < h.query) {
        end.to = (char*)((typename Weight<FORMAT>::Act*)a.out + batch * (h.query + 2 * h.key_value) * h.dim + row);
    } else {
        const int part = head >= h.query + h.key_value;
        end.to = cached(state, h, a.layer, part, head - h.query - part * h.key_value, state.position) +
                 at * format_bytes(h.kv_format);
        end.format = h.kv_format;
    }
    return end;
}

template <int FORMAT, int USE, int TILE, int C, int G> __device__ __forceinline__ void across(const GemvArgs& a) {
    // Nothing is added to what comes of a norm.
    constexpr bool NORMED = USE != ADD;
    typedef typename Weight<FORMAT>::Act Act;
    typedef Some<typename Input<FORMAT, NORMED>::Type, Weight<FORMAT>::LEN> In;
    typedef Some<typename Weight<FORMAT>::Norm, Weight<FORMAT>::LEN> Norms;
    constexpr int LEN = Weight<FORMAT>::LEN, HALF = TILE / 2;
    constexpr bool BLOCKS = FORMAT == Q8_0 || FORMAT == Q4_0;
    __shared__ float partial[TILE][MOST_WARPS + 1], squares_of[MOST_WARPS];
    __shared__ int row_at[TILE];
    const int thread = threadIdx.x, warp = thread >> 5, lane = thread & 31, warps = blockDim.x >> 5;
    const int columns = a.columns, chunks = columns / LEN, tile = blockIdx.x;
    const size_t batch = blockIdx.y;
    let_next_start();
    // A row of the tile is a lane's of the first warp: what it needs in the end it finds out at once.
    const int my_row = thread < TILE ? weight_row<USE, TILE>(a, tile, thread) : -1;
    End end;
    if (USE == QKV) {
        if (thread < TILE) row_at[thread] = my_row;
        if (my_row >= 0) end = end_of<FORMAT>(a, batch, my_row);
        __syncthreads();
    }
    uint4 ahead[G][C];
    f16 ahead_scale[G][C];
    auto fetch = [&](int first) {
#pragma unroll
        for (int g = 0; g < G; g++) {
            const int row = USE == QKV ? row_at[first + g] : weight_row<USE, TILE>(a, tile, first + g);
            const char* from = (const char*)a.weight + (size_t)max(row, 0) * chunks * 16;
            const f16* scales = (const f16*)a.scales + (size_t)max(row, 0) * (columns / 32);
#pragma unroll
            for (int c = 0; c < C; c++) {
                const int chunk = c * blockDim.x + thread;
                const bool there = row >= 0 && chunk < chunks;
                ahead[g][c] = make_uint4(0, 0, 0, 0);
                if (there) ahead[g][c] = load_stream(from + (size_t)chunk * 16);
                if (BLOCKS) ahead_scale[g][c] = there ? scales[FORMAT == Q8_0 ? chunk / 2 : chunk] : f16(0.0f);
            }
        }
    };
    fetch(0);
    Norms norms[C] = {};
    if (NORMED) {
#pragma unroll
        for (int c = 0; c < C; c++) {
            const int chunk = c * blockDim.x + thread;
            if (chunk < chunks) norms[c] = ((const Norms*)a.norm)[chunk];
        }
    }
    wait_for_earlier();
    float* const out = (float*)a.out + batch * a.rows;
    float before = 0;
    if (USE == ADD && my_row >= 0) before = out[my_row];
    In x[C] = {};
#pragma unroll
    for (int c = 0; c < C; c++) {
        const int chunk = c * blockDim.x + thread;
        if (chunk < chunks) x[c] = ((const In*)a.x + batch * chunks)[chunk];
    }
    Inputs<FORMAT> in[C];
    float squares = 0;
#pragma unroll
    for (int c = 0; c < C; c++) {
        float v[LEN];
#pragma unroll
        for (int i = 0; i < LEN; i++) {
            v[i] = to_f32(x[c].v[i]);
            if (NORMED) squares += v[i] * v[i], v[i] *= to_f32(norms[c].v[i]);
        }
        take_inputs<FORMAT>(in[c], v);
    }
    if (NORMED) {
        squares = warp_sum(squares);
        if (lane == 0) squares_of[warp] = squares;
    }
#pragma unroll
    for (int first = 0; first < TILE; first += G) {
        uint4 now[G][C];
        f16 now_scale[G][C];
#pragma unroll
        for (int g = 0; g < G; g++)
#pragma unroll
            for (int c = 0; c < C; c++) now[g][c] = ahead[g][c], now_scale[g][c] = ahead_scale[g][c];
        if (first + G < TILE) fetch(first + G);
        float sums[G];
#pragma unroll
        for (int g = 0; g < G; g++) {
            sums[g] = 0;
#pragma unroll
            for (int c = 0; c < C; c++)
                sums[g] = times<FORMAT>(now[g][c], BLOCKS ? to_f32(now_scale[g][c]) : 0, in[c], sums[g]);
        }
        const float sum = sums_of_warp<G>(sums, lane);
        if (lane % (32 / G) == 0) partial[first + lane / (32 / G)][warp] = sum;
    }
    __syncthreads();
    if (warp != 0) return;
    // The sums of the warps, by as many lanes of this one as there are for each row.
    constexpr int LANES = 32 / TILE;
    float sum = 0;
#pragma unroll
    for (int w = 0; w < MOST_WARPS; w += LANES)
        if (w + lane % LANES < warps) sum += partial[lane / LANES][w + lane % LANES];
#pragma unroll
    for (int o = LANES / 2; o; o >>= 1) sum += __shfl_xor_sync(~0u, sum, o);
    sum = __shfl_sync(~0u, sum, lane * LANES % 32);
    if (NORMED) {
        squares = warp_sum(lane < warps ? squares_of[lane] : 0);
        sum *= rsqrtf(squares / columns + a.eps);
    }
    if (USE == GATED) {
        const float up = __shfl_down_sync(~0u, sum, HALF);
        if (lane < HALF) finish_gated<Act, TILE>(a, batch, tile, lane, sum, up);
    } else if (USE == QKV) {
        const float other = __shfl_sync(~0u, sum, lane < HALF ? lane + HALF : lane - HALF);
        if (my_row >= 0) keep_as(end.to, end.format, 0, sum * end.c + other * (lane < HALF ? -end.s : end.s));
    } else if (my_row >= 0) {
        out[my_row] = USE == ADD ? before + sum : sum;
    }
}

// TILE rows a block, C chunks a thread, ROWS rows at a time; as measured on Phi-3-mini's shape. `Across` in
// across.rs has tiles and most threads too.
#define ACROSS(name, format, use, USE, TILE, C, ROWS, threads, blocks)                            \
    extern "C" __global__ void __launch_bounds__(threads, blocks) across_##name##_##use##_##C(     \
        const __grid_constant__ GemvArgs a) {                                                     \
        across<format, USE, TILE, C, ROWS>(a);                                                    \
    }
#define USES(name, format, TILE, threads, blocks)                      \
    ACROSS(name, format, qkv, QKV, TILE, 1, 4, threads, blocks)        \
    ACROSS(name, format, qkv, QKV, TILE, 2, 2, 512, 2)                 \
    ACROSS(name, format, add, ADD, 8, 1, 4, threads, blocks)           \
    ACROSS(name, format, add, ADD, 8, 2, 2, 512, 2)                    \
    ACROSS(name, format, add, ADD, 8, 5, 1, 512, 1)                    \
    ACROSS(name, format, gated, GATED, TILE, 1, 4, threads, blocks)    \
    ACROSS(name, format, gated, GATED, TILE, 2, 2, 512, 2)             \
    ACROSS(name, format, logits, LOGITS, TILE, 1, 4, threads, blocks)  \
    ACROSS(name, format, logits, LOGITS, TILE, 2, 2, 512, 2)
USES(bf16, BF16, 8, 384, 3)
USES(f16, F16, 8, 384, 3)
USES(q8_0, Q8_0, 16, 512, 2)
// Only the longest rows are long enough. Rows of fp8 are faster by gemv.cu.
ACROSS(q4_0, Q4_0, add, ADD, 16, 1, 8, 256, 2)
ACROSS(q4_0, Q4_0, add, ADD, 16, 2, 4, 512, 1)
ACROSS(q4_0, Q4_0, add, ADD, 16, 5, 1, 512, 1)
