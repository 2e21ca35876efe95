// Attention of a prompt's rows over their sequence's cache on the tensor cores: blocks of 128 rows, tiles of 64 keys
// that arrive while the tile before is worked on; scores never leave the registers (Dao, FlashAttention-2, 2023).
#include "common.cuh"

constexpr int ROWS = 128, KEYS = 64, WARPS = 8;

__device__ __forceinline__ uint32_t shared_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void copy16(void* to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;" ::"r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0));
}
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;"); }
template <int N> __device__ __forceinline__ void arrived() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
__device__ __forceinline__ void matrices(uint32_t (&r)[4], const void* p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
}
__device__ __forceinline__ void matrices_transposed(uint32_t (&r)[4], const void* p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
}
// d += a · b, a 16 × 16, b 16 × 8.
__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bf16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, f16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ uint32_t two(float a, float b, bf16) {
    __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
    return *(uint32_t*)&v;
}
__device__ __forceinline__ uint32_t two(float a, float b, f16) {
    __half2 v = __floats2half2_rn(a, b);
    return *(uint32_t*)&v;
}

// Rows `rows[0..count]` continue one sequence; query heads in qkv, keys and values in the cache, both in T.
template <class T, int DIM>
__device__ __forceinline__ void flash(const T* qkv, T* out, const Row* rows, int count, int layer, const Heads& h) {
    constexpr int PITCH = DIM + 8, STEPS = DIM / 16, CHUNKS = DIM / 8;
    extern __shared__ uint4 raw[];
    T* const queries = (T*)raw;                 // [ROWS][PITCH]
    T* const tiles = queries + ROWS * PITCH;    // [2][keys, values][KEYS][PITCH]
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    // Later rows see more keys: they begin first.
    const int first_row = (gridDim.x - 1 - blockIdx.x) * ROWS, head = blockIdx.y;
    const Row row = rows[0];
    const int kv_head = head / (h.query / h.key_value);
    const T* keys = (const T*)cached(row, h, layer, 0, kv_head);
    const T* vals = (const T*)cached(row, h, layer, 1, kv_head);
    const int width = (h.query + 2 * h.key_value) * DIM;
    const int last_row = min(first_row + ROWS, count) - 1;
    // Positions of the sequence.
    const int start = row.position + first_row, last = row.position + last_row;
    const int visible_from = h.window ? max(0, start + 1 - h.window) : 0;
    const int first_tile = visible_from / KEYS, end_tile = last / KEYS + 1;

    for (int i = threadIdx.x; i < ROWS * CHUNKS; i += WARPS * 32) {
        const int r = i / CHUNKS, c = i % CHUNKS, from = min(first_row + r, count - 1);
        copy16(queries + r * PITCH + c * 8, qkv + (size_t)from * width + head * DIM + c * 8, first_row + r < count);
    }
    auto fetch = [&](int tile) {
        T* const to = tiles + (tile & 1) * 2 * KEYS * PITCH;
        for (int i = threadIdx.x; i < KEYS * CHUNKS; i += WARPS * 32) {
            const int r = i / CHUNKS, c = i % CHUNKS, key = tile * KEYS + r;
            const size_t from = (size_t)min(key, last) * DIM + c * 8;
            // What lies beyond is filled with zeros: it may be NaN.
            copy16(to + r * PITCH + c * 8, keys + from, key <= last);
            copy16(to + (KEYS + r) * PITCH + c * 8, vals + from, key <= last);
        }
        commit();
    };
    fetch(first_tile);

    float o[DIM / 8][4] = {};
    float most[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    const float scale = 1.4426950408889634f * rsqrtf((float)DIM);
    for (int tile = first_tile; tile < end_tile; tile++) {
        if (tile + 1 < end_tile) {
            fetch(tile + 1);
            arrived<1>();
        } else {
            arrived<0>();
        }
        __syncthreads();
        const T* const k = tiles + (tile & 1) * 2 * KEYS * PITCH;
        const T* const v = k + KEYS * PITCH;

        float s[KEYS / 8][4] = {};
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            uint32_t a[4];
            matrices(a, queries + (warp * 16 + lane % 16) * PITCH + step * 16 + lane / 16 * 8);
#pragma unroll
            for (int n = 0; n < KEYS / 8; n += 2) {
                // Keys n·8 to n·8 + 15: two matrices of each eight keys.
                uint32_t b[4];
                matrices(b, k + (n * 8 + lane / 16 * 8 + lane % 8) * PITCH + step * 16 + lane / 8 % 2 * 8);
                multiply(s[n], a, b[0], b[1], T());
                multiply(s[n + 1], a, b[2], b[3], T());
            }
        }
        // Row g of the warp in s[..][0..2], row g + 8 in s[..][2..4].
        const bool edge = tile * KEYS + KEYS - 1 > start || (h.window && tile * KEYS < last + 1 - h.window);
        if (edge) {
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int key = tile * KEYS + n * 8 + t * 2 + i % 2;
                    const int position = start + warp * 16 + g + i / 2 * 8;
                    if (key > position || (h.window && key <= position - h.window)) s[n][i] = -INFINITY;
                }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float now = most[half];
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) now = fmaxf(now, fmaxf(s[n][half * 2], s[n][half * 2 + 1]));
            now = fmaxf(now, __shfl_xor_sync(~0u, now, 1));
            now = fmaxf(now, __shfl_xor_sync(~0u, now, 2));
            // A tile may hide all its keys from a row.
            const float base = now == -INFINITY ? 0 : now * scale;
            const float keep = exp2_fast(most[half] * scale - base);
            most[half] = now;
            sum[half] *= keep;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = half * 2; i < half * 2 + 2; i++) {
                    s[n][i] = exp2_fast(fmaf(s[n][i], scale, -base));
                    sum[half] += s[n][i];
                }
#pragma unroll
            for (int n = 0; n < DIM / 8; n++) o[n][half * 2] *= keep, o[n][half * 2 + 1] *= keep;
        }
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            const uint32_t a[4] = {
                two(s[2 * step][0], s[2 * step][1], T()), two(s[2 * step][2], s[2 * step][3], T()),
                two(s[2 * step + 1][0], s[2 * step + 1][1], T()), two(s[2 * step + 1][2], s[2 * step + 1][3], T())};
#pragma unroll
            for (int n = 0; n < DIM / 8; n += 2) {
                uint32_t b[4];
                matrices_transposed(b, v + (step * 16 + lane % 16) * PITCH + n * 8 + lane / 16 * 8);
                multiply(o[n], a, b[0], b[1], T());
                multiply(o[n + 1], a, b[2], b[3], T());
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        sum[half] += __shfl_xor_sync(~0u, sum[half], 1);
        sum[half] += __shfl_xor_sync(~0u, sum[half], 2);
        const int r = first_row + warp * 16 + g + half * 8;
        if (r >= count) continue;
        T* to = out + ((size_t)r * h.query + head) * DIM + t * 2;
#pragma unroll
        for (int n = 0; n < DIM / 8; n++)
            *(uint32_t*)(to + n * 8) = two(o[n][half * 2] / sum[half], o[n][half * 2 + 1] / sum[half], T());
    }
}

#define FLASH(name, T, dim)                                                                             \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, dim <= 96 ? 2 : 1)                         \
        flash_##name(const T* qkv, T* out, const Row* rows, int count, int layer, const __grid_constant__ Heads h) { \
        flash<T, dim>(qkv, out, rows, count, layer, h);                                                 \
    }
FLASH(bf16_64, bf16, 64)
FLASH(bf16_96, bf16, 96)
FLASH(bf16_128, bf16, 128)
FLASH(f16_64, f16, 64)
FLASH(f16_96, f16, 96)
FLASH(f16_128, f16, 128)
