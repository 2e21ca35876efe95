// out = weight · x for one row at a time, as fast as memory delivers the weights: a warp a row, the first loads
// in flight before the kernel before has ended. A block has one tile of rows, a warp each; beside quantised weights
// it has several: there x takes longer to prepare than a tile to read. What stands before and after the product in a layer
// is part of it. Rows that are long enough to lie across a block have kernels of their own: across.cu.
#include "row.cuh"

// Most tiles of a block; `MOST_TILES` in kernels.rs.
constexpr int MOST_TILES = 32;

template <int FORMAT, int USE, int WARPS> __device__ __forceinline__ void gemv(const GemvArgs& a) {
    constexpr int THREADS = WARPS * 32, TILE = WARPS;
    // Nothing is added to what comes of a norm.
    constexpr bool NORMED = USE != ADD;
    typedef typename Weight<FORMAT>::Act Act;
    typedef typename Weight<FORMAT>::Norm Norm;
    typedef typename Input<FORMAT, NORMED>::Type In;
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
    if (NORMED) {
        constexpr int LINE = 128 / sizeof(Norm);
        for (int i = threadIdx.x * LINE; i < columns; i += THREADS * LINE) ask_for((const Norm*)a.norm + i);
    }
    wait_for_earlier();

    // What the end of the first tile needs is read while its product is under way.
    float* const out = (float*)a.out + batch * a.rows;
    float before = 0;
    if (USE == ADD && row >= 0 && lane == 0) before = out[row];
    Rotation turn;
    if (USE == QKV && threadIdx.x < TILE / 2) turn = rotation<TILE>(a, batch, blockIdx.x, threadIdx.x);
    const In* x = (const In*)a.x + batch * columns;
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
            Some<In, 4> in[4] = {};
            Some<Norm, 4> norms[4] = {};
#pragma unroll
            for (int u = 0; u < 4; u++) {
                const int quad = first + u * THREADS;
                if (quad < quads) in[u] = ((const Some<In, 4>*)x)[quad];
                if (NORMED && quad < quads) norms[u] = ((const Some<Norm, 4>*)a.norm)[quad];
            }
            float4 four[4];
#pragma unroll
            for (int u = 0; u < 4; u++) {
                float v[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    v[i] = to_f32(in[u].v[i]);
                    if (NORMED) squares += v[i] * v[i], v[i] *= to_f32(norms[u].v[i]);
                }
                four[u] = make_float4(v[0], v[1], v[2], v[3]);
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
            const float v = to_f32(x[i]);
            squares += v * v;
            ((float*)shared)[i] = NORMED ? v * to_f32(((const Norm*)a.norm)[i]) : v;
        }
    }
    if (NORMED) {
        squares = warp_sum(squares);
        if (lane == 0) partial[warp] = squares;
    }
    __syncthreads();
    float scale = 1;
    if (NORMED) {
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
