// Attention of a prompt's rows over their sequence's cache on the tensor cores: blocks of 128 rows, tiles of 64 keys
// that arrive while the tile before is worked on; scores never leave the registers (Dao, FlashAttention-2, 2023).
#include "tile.cuh"

constexpr int ROWS = 128, KEYS = TILE_ROWS, WARPS = 8;
static_assert(ROWS == 2 * TILE_ROWS && WARPS * 32 == 4 * KEYS);

__device__ __forceinline__ void copy16(void* to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;" ::"r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0));
}
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;"); }
template <int N> __device__ __forceinline__ void arrived() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// Rows `rows[0..count]` continue one sequence; query heads in qkv, keys and values in the cache, both in T.
template <class T, int DIM, bool PAGED>
__device__ __forceinline__ void flash(const T* qkv, T* out, const Row* rows, int count, int layer, const Heads& h) {
    constexpr int CHUNKS = DIM / 8, VALUES = Tile<DIM>::VALUES;
    extern __shared__ __align__(1024) uint4 raw[];
    T* const queries = (T*)raw;               // two tiles
    T* const tiles = queries + 2 * VALUES;    // [2][keys, values]
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    // Later rows see more keys: they begin first.
    const int first_row = (gridDim.x - 1 - blockIdx.x) * ROWS, head = blockIdx.y;
    const Row row = rows[0];
    const int kv_head = head / (h.query / h.key_value);
    const size_t keys = in_block(row, h, layer, 0, kv_head), vals = in_block(row, h, layer, 1, kv_head);
    const int width = (h.query + 2 * h.key_value) * DIM;
    const int last_row = min(first_row + ROWS, count) - 1;
    // Positions of the sequence.
    const int start = row.position + first_row, last = row.position + last_row;
    const int visible_from = h.window ? max(0, start + 1 - h.window) : 0;
    const int first_tile = visible_from / KEYS, end_tile = last / KEYS + 1;

    for (int i = threadIdx.x; i < ROWS * CHUNKS; i += WARPS * 32) {
        const int r = i / CHUNKS, c = i % CHUNKS, from = min(first_row + r, count - 1);
        copy16(queries + r / TILE_ROWS * VALUES + Tile<DIM>::at(r % TILE_ROWS, c),
               qkv + (size_t)from * width + head * DIM + c * 8, first_row + r < count);
    }
    // Four threads bring in a key and its value. Where the cache is in several blocks, the one they lie in is looked up a
    // tile ahead.
    const int brought = threadIdx.x / 4;
    const char* block = PAGED ? block_of(row, min(first_tile * KEYS + brought, last)) : (const char*)row.blocks;
    auto fetch = [&](int tile) {
        T* const to = tiles + (tile & 1) * 2 * VALUES;
        const int key = min(tile * KEYS + brought, last);
        // What lies beyond is filled with zeros: it may be NaN.
        const bool there = tile * KEYS + brought <= last;
        const T* const from = (const T*)block + (size_t)(PAGED ? slot_of(row, key) : key) * DIM;
#pragma unroll
        for (int i = 0; i < CHUNKS / 4; i++) {
            const int c = i * 4 + threadIdx.x % 4, at = Tile<DIM>::at(brought, c);
            copy16(to + at, (const T*)((const char*)from + keys) + c * 8, there);
            copy16(to + VALUES + at, (const T*)((const char*)from + vals) + c * 8, there);
        }
        if (PAGED) block = block_of(row, min(key + KEYS, last));
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
        publish();
        __syncthreads();
        const T* const k = tiles + (tile & 1) * 2 * VALUES;

        float s[KEYS / 8][4];
        score<T, DIM>(s, queries, k);
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
        mix<T, DIM>(o, s, k + VALUES);
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

// For each format and width: a cache of one block, one of several.
#define FLASH_ONE(name, T, dim, paged)                                                                  \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, dim <= 96 ? 2 : 1)                         \
        name(const T* qkv, T* out, const Row* rows, int count, int layer, const __grid_constant__ Heads h) { \
        flash<T, dim, paged>(qkv, out, rows, count, layer, h);                                          \
    }
#define FLASH(name, T, dim)                     \
    FLASH_ONE(flash_##name, T, dim, false)      \
    FLASH_ONE(flash_paged_##name, T, dim, true)
FLASH(bf16_64, bf16, 64)
FLASH(bf16_96, bf16, 96)
FLASH(bf16_128, bf16, 128)
FLASH(f16_64, f16, 64)
FLASH(f16_96, f16, 96)
FLASH(f16_128, f16, 128)
