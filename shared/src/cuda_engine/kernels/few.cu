// out = weight · x for up to 32 rows at once, each weight read once: tiles of sixteen rows of the weight on the tensor
// cores, the columns dealt to the warps of a block. Weights go from memory to registers; x, which all blocks read, comes
// through L1. A lane takes eight neighbouring columns of two rows: the order of columns in a sum is free, as long as
// weight and x agree on it.
#include "product.cuh"

constexpr int WARPS = 8, AHEAD = 6;

// The chunks of a warp come in neighbouring pairs: a line of memory each.
__device__ __forceinline__ int chunk_of(int warp, int u) { return u / 2 * 2 * WARPS + warp * 2 + u % 2; }

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
template <class T, int USE, int TILES, int COLUMNS>
__device__ __forceinline__ void few(const GemvArgs& a, int batch) {
    extern __shared__ float partial[];  // [WARPS][TILES * 16][COLUMNS * 8 + 1]
    constexpr int PITCH = COLUMNS * 8 + 1;
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int chunks = a.columns / 32;
    const T* rows[TILES][2];
    bool there[TILES][2];
#pragma unroll
    for (int m = 0; m < TILES; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int row = weight_row<USE>(a, blockIdx.x * TILES + m, g + half * 8);
            there[m][half] = row >= 0;
            rows[m][half] = (const T*)a.weight + (size_t)max(row, 0) * a.columns + t * 8;
        }
    let_next_start();
    uint4 ahead[AHEAD][TILES][2];
    auto fetch = [&](int chunk, int u) {
#pragma unroll
        for (int m = 0; m < TILES; m++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                ahead[u][m][half] = there[m][half] && chunk < chunks ? load_stream(rows[m][half] + (size_t)chunk * 32)
                                                                    : make_uint4(0, 0, 0, 0);
    };
#pragma unroll
    for (int u = 0; u < AHEAD; u++) fetch(chunk_of(warp, u), u);
    wait_for_earlier();

    const T* x[COLUMNS];
#pragma unroll
    for (int n = 0; n < COLUMNS; n++) x[n] = (const T*)a.x + (size_t)min(n * 8 + g, batch - 1) * a.columns + t * 8;
    float sum[TILES][COLUMNS][4] = {};
    // As much of x as is needed for two chunks is on its way together.
    for (int first = 0; first < chunks; first += AHEAD * WARPS) {
#pragma unroll
        for (int pair = 0; pair < AHEAD; pair += 2) {
            uint4 w[2][TILES][2], b[2][COLUMNS];
#pragma unroll
            for (int u = 0; u < 2; u++) {
                const int chunk = first + chunk_of(warp, pair + u);
#pragma unroll
                for (int n = 0; n < COLUMNS; n++) b[u][n] = *(const uint4*)(x[n] + (size_t)min(chunk, chunks - 1) * 32);
#pragma unroll
                for (int m = 0; m < TILES; m++) w[u][m][0] = ahead[pair + u][m][0], w[u][m][1] = ahead[pair + u][m][1];
                fetch(chunk + AHEAD * WARPS, pair + u);
            }
            // Chunks beyond the end are zeros of the weight.
#pragma unroll
            for (int u = 0; u < 2; u++)
#pragma unroll
                for (int n = 0; n < COLUMNS; n++)
#pragma unroll
                    for (int m = 0; m < TILES; m++) {
                        const uint4 l = w[u][m][0], h = w[u][m][1], c = b[u][n];
                        multiply(sum[m][n], l.x, h.x, l.y, h.y, c.x, c.y, T());
                        multiply(sum[m][n], l.z, h.z, l.w, h.w, c.z, c.w, T());
                    }
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

#define FEW(name, T, use, suffix)                                                                      \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) few_##name##_##suffix##_8(                \
        const __grid_constant__ GemvArgs a, int batch) {                                               \
        few<T, use, 1, 1>(a, batch);                                                                   \
    }                                                                                                  \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) few_##name##_##suffix##_16(               \
        const __grid_constant__ GemvArgs a, int batch) {                                               \
        few<T, use, 1, 2>(a, batch);                                                                   \
    }                                                                                                  \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) few_##name##_##suffix##_32(               \
        const __grid_constant__ GemvArgs a, int batch) {                                               \
        few<T, use, 2, 4>(a, batch);                                                                   \
    }
FEW(bf16, bf16, QKV, qkv)
FEW(bf16, bf16, ADD, add)
FEW(bf16, bf16, GATED, gated)
FEW(bf16, bf16, LOGITS, logits)
FEW(f16, f16, QKV, qkv)
FEW(f16, f16, ADD, add)
FEW(f16, f16, GATED, gated)
FEW(f16, f16, LOGITS, logits)
