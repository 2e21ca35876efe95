// Attention of rows over their sequences' caches, in three ways: `attend` for a few rows, `flash` for the rows of a
// prompt, `eager` with the scores written out. Softmax and sums are in f32.
#include "common.cuh"

namespace cg = cooperative_groups;

constexpr float LOG2E = 1.4426950408889634f;
// Most blocks that share a head of a row, a cluster of them (one block where rows alone fill the device), and warps of each.
constexpr int MOST_SHARES = 8, WARPS = 8;

template <class KV> __device__ __forceinline__ void load8(const KV* p, float* v) {
    if (sizeof(KV) == 4) {
        float4 a = ((const float4*)p)[0], b = ((const float4*)p)[1];
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    } else if (sizeof(KV) == 2) {
        uint4 raw = *(const uint4*)p;
        const KV* values = (const KV*)&raw;
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = to_f32(values[i]);
    } else {
        uint2 raw = *(const uint2*)p;
        const KV* values = (const KV*)&raw;
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = to_f32(values[i]);
    }
}

// What a warp, then a block, then a cluster has seen of the keys so far.
struct Partial {
    float most, sum;
};

// What the blocks of a cluster send each other: each has a part of the head's values to bring together.
struct Inbox {
    Partial partial[MOST_SHARES];
    float values[256 + MOST_SHARES];
};
// Says to the cluster that this block is there, so that others may write to its memory; `join` waits for all.
__device__ __forceinline__ void arrive_in_cluster() {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}

// Joins the partial results of the warps of all blocks of a cluster and writes them out. `values` holds `dim` values of
// each warp, not yet divided.
__device__ __forceinline__ void join(const Partial* partial, const float* values, int dim, void* out, int format, size_t at) {
    __shared__ Inbox inbox;
    auto cluster = cg::this_cluster();
    const int rank = cluster.block_rank(), shares = cluster.num_blocks(), part = (dim + shares - 1) / shares;
    __syncthreads();
    float most = partial[0].most;
#pragma unroll
    for (int w = 1; w < WARPS; w++) most = fmaxf(most, partial[w].most);
    float sum = 0, scale[WARPS];
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        scale[w] = exp2_fast(partial[w].most - most);
        sum += partial[w].sum * scale[w];
    }
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
    for (int i = threadIdx.x; i < dim; i += WARPS * 32) {
        float value = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) value += values[w * dim + i] * scale[w];
        const int to = i / part;
        *cluster.map_shared_rank(&inbox.values[rank * part + i - to * part], to) = value;
    }
    if (threadIdx.x < shares) *cluster.map_shared_rank(&inbox.partial[rank], threadIdx.x) = {most, sum};
    cluster.sync();
    const int i = rank * part + threadIdx.x;
    if (threadIdx.x < part && i < dim) {
        most = -1e30f;
        for (int s = 0; s < shares; s++) most = fmaxf(most, inbox.partial[s].most);
        float total = 0;
        sum = 0;
        for (int s = 0; s < shares; s++) {
            const float scale = exp2_fast(inbox.partial[s].most - most);
            sum += inbox.partial[s].sum * scale;
            total += inbox.values[s * part + threadIdx.x] * scale;
        }
        store_as(out, format, at + i, total / sum);
    }
}

// A head of a row on a cluster of blocks, each with an equal share of the visible keys; four lanes a key, each
// with CHUNKS times eight of its values.
template <class KV, int CHUNKS>
__device__ __forceinline__ void attend(const void* qkv, int format, void* out, const Row* rows, int layer, const Heads& h) {
    constexpr int DIM = CHUNKS * 32;
    __shared__ Partial partial[WARPS];
    __shared__ float values[WARPS * DIM];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, share = blockIdx.x, head = blockIdx.y;
    const int group = lane >> 2, part = lane & 3;
    let_next_start();
    arrive_in_cluster();
    // No kernel between a row's upload and `choose`, the last of a step, writes to it.
    const Row row = rows[blockIdx.z];
    const int first = first_visible(row, h), visible = row.position + 1 - first;
    const int each = (visible + (int)gridDim.x - 1) / (int)gridDim.x;
    const int start = first + share * each, end = min(start + each, first + visible);
    const int kv_head = head / (h.query / h.key_value);
    const KV* keys = (const KV*)cached(row, h, layer, 0, kv_head);
    const KV* vals = (const KV*)cached(row, h, layer, 1, kv_head);
    wait_for_earlier();

    float q[CHUNKS * 8], acc[CHUNKS * 8];
    const size_t width = (size_t)(h.query + 2 * h.key_value) * DIM, q_at = blockIdx.z * width + (size_t)head * DIM;
    const float scale = LOG2E * rsqrtf((float)DIM);
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        const size_t from = q_at + c * 32 + part * 8;
        if (format == F32) load8((const float*)qkv + from, q + c * 8);
        else if (format == BF16) load8((const bf16*)qkv + from, q + c * 8);
        else load8((const f16*)qkv + from, q + c * 8);
#pragma unroll
        for (int i = 0; i < 8; i++) q[c * 8 + i] *= scale, acc[c * 8 + i] = 0;
    }
    float most = -INFINITY, sum = 0;
    for (int key = start + warp * 8 + group; key - group < end; key += WARPS * 8) {
        const bool there = key < end;
        const size_t at = (size_t)min(key, end - 1) * DIM + part * 8;
        float k[CHUNKS * 8], v[CHUNKS * 8];
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) load8(keys + at + c * 32, k + c * 8);
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) load8(vals + at + c * 32, v + c * 8);
        float score = 0;
#pragma unroll
        for (int i = 0; i < CHUNKS * 8; i++) score = fmaf(q[i], k[i], score);
        score += __shfl_xor_sync(~0u, score, 1);
        score += __shfl_xor_sync(~0u, score, 2);
        if (there) {
            const float now = fmaxf(most, score), keep = exp2_fast(most - now), p = exp2_fast(score - now);
            sum = sum * keep + p;
#pragma unroll
            for (int i = 0; i < CHUNKS * 8; i++) acc[i] = fmaf(p, v[i], acc[i] * keep);
            most = now;
        }
    }
    // The eight groups of a warp.
    const float all = fmaxf(most, __shfl_xor_sync(~0u, most, 4));
    float top = fmaxf(all, __shfl_xor_sync(~0u, all, 8));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 16));
    const float keep = most == -INFINITY ? 0 : exp2_fast(most - top);
    sum *= keep;
#pragma unroll
    for (int o = 4; o <= 16; o <<= 1) sum += __shfl_xor_sync(~0u, sum, o);
#pragma unroll
    for (int i = 0; i < CHUNKS * 8; i++) {
        acc[i] *= keep;
#pragma unroll
        for (int o = 4; o <= 16; o <<= 1) acc[i] += __shfl_xor_sync(~0u, acc[i], o);
    }
    if (group == 0)
#pragma unroll
        for (int i = 0; i < CHUNKS * 8; i++) values[warp * DIM + i / 8 * 32 + part * 8 + i % 8] = acc[i];
    // A share without keys has no largest score: a finite one keeps the join free of infinity minus infinity.
    if (lane == 0) partial[warp] = {fmaxf(top, -1e30f), sum};
    join(partial, values, DIM, out, format, ((size_t)blockIdx.z * h.query + head) * DIM);
}

#define ATTEND(name, KV, chunks)                                                                              \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                   \
        attend_##name(const void* qkv, int format, void* out, const Row* rows, int layer,                     \
                      const __grid_constant__ Heads h) {                                                      \
        attend<KV, chunks>(qkv, format, out, rows, layer, h);                                                 \
    }
ATTEND(f32_64, float, 2)
ATTEND(f32_96, float, 3)
ATTEND(f32_128, float, 4)
ATTEND(bf16_64, bf16, 2)
ATTEND(bf16_96, bf16, 3)
ATTEND(bf16_128, bf16, 4)
ATTEND(f16_64, f16, 2)
ATTEND(f16_96, f16, 3)
ATTEND(f16_128, f16, 4)
ATTEND(fp8_64, fp8, 2)
ATTEND(fp8_96, fp8, 3)
ATTEND(fp8_128, fp8, 4)

// The same for any head up to 256 wide and any format: a warp a key, lanes across the head.
extern "C" __global__ void __launch_bounds__(WARPS * 32)
    attend_any(const void* qkv, int format, void* out, const Row* rows, int layer, const __grid_constant__ Heads h) {
    __shared__ Partial partial[WARPS];
    __shared__ float values[WARPS * 256];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, share = blockIdx.x, head = blockIdx.y;
    let_next_start();
    arrive_in_cluster();
    // No kernel between a row's upload and `choose`, the last of a step, writes to it.
    const Row row = rows[blockIdx.z];
    const int first = first_visible(row, h), visible = row.position + 1 - first;
    const int each = (visible + (int)gridDim.x - 1) / (int)gridDim.x;
    const int start = first + share * each, end = min(start + each, first + visible);
    const int kv_head = head / (h.query / h.key_value);
    const void* keys = cached(row, h, layer, 0, kv_head);
    const void* vals = cached(row, h, layer, 1, kv_head);
    wait_for_earlier();
    const size_t width = (size_t)(h.query + 2 * h.key_value) * h.dim;
    const float scale = LOG2E * rsqrtf((float)h.dim);
    float q[8], acc[8] = {};
    for (int i = 0; i < 8; i++)
        q[i] = i * 32 + lane < h.dim
                   ? load_as(qkv, format, blockIdx.z * width + (size_t)head * h.dim + i * 32 + lane) * scale
                   : 0;
    float most = -INFINITY, sum = 0;
    for (int key = start + warp; key < end; key += WARPS) {
        float score = 0;
        for (int i = 0; i < 8; i++)
            if (i * 32 + lane < h.dim) score += q[i] * load_as(keys, h.kv_format, (size_t)key * h.dim + i * 32 + lane);
        score = warp_sum(score);
        const float now = fmaxf(most, score), keep = exp2_fast(most - now), p = exp2_fast(score - now);
        sum = sum * keep + p;
        for (int i = 0; i < 8; i++)
            if (i * 32 + lane < h.dim)
                acc[i] = acc[i] * keep + p * load_as(vals, h.kv_format, (size_t)key * h.dim + i * 32 + lane);
        most = now;
    }
    for (int i = 0; i < 8; i++)
        if (i * 32 + lane < h.dim) values[warp * h.dim + i * 32 + lane] = acc[i];
    if (lane == 0) partial[warp] = {fmaxf(most, -1e30f), sum};
    join(partial, values, h.dim, out, format, ((size_t)blockIdx.z * h.query + head) * h.dim);
}

// With the scores written out: scores[row][head][key]. A block of 256 a head and row.
extern "C" __global__ void __launch_bounds__(256)
    attend_eager(const void* qkv, int format, void* out, const Row* rows, int layer, const __grid_constant__ Heads h,
                 float* scores, int context) {
    __shared__ float q[256], shared[32], parts[256];
    let_next_start();
    wait_for_earlier();
    const int head = blockIdx.x, thread = threadIdx.x;
    const Row row = rows[blockIdx.y];
    const int first = first_visible(row, h), visible = row.position + 1 - first;
    const int kv_head = head / (h.query / h.key_value);
    const char* keys = cached(row, h, layer, 0, kv_head);
    const char* vals = cached(row, h, layer, 1, kv_head);
    scores += ((size_t)blockIdx.y * h.query + head) * context;
    const size_t width = (size_t)(h.query + 2 * h.key_value) * h.dim;
    if (thread < h.dim) q[thread] = load_as(qkv, format, blockIdx.y * width + (size_t)head * h.dim + thread);
    __syncthreads();
    float most = -INFINITY;
    const float scale = rsqrtf((float)h.dim);
    for (int i = thread; i < visible; i += 256) {
        float score = 0;
        for (int j = 0; j < h.dim; j++) score = fmaf(q[j], load_as(keys, h.kv_format, (size_t)(first + i) * h.dim + j), score);
        score *= scale;
        scores[i] = score;
        most = fmaxf(most, score);
    }
    // A NaN is not the largest, but its own exponential and so the whole row will be NaN.
    most = block_max(most, shared);
    float sum = 0;
    for (int i = thread; i < visible; i += 256) {
        float p = expf(scores[i] - most);
        scores[i] = p;
        sum += p;
    }
    sum = block_sum(sum, shared);
    // As many keys at a time as heads fit the block.
    int lanes = 1;
    while (lanes < h.dim) lanes *= 2;
    const int at = thread % lanes, group = thread / lanes, groups = 256 / lanes;
    float value = 0;
    if (at < h.dim)
        for (int i = group; i < visible; i += groups)
            value = fmaf(scores[i], load_as(vals, h.kv_format, (size_t)(first + i) * h.dim + at), value);
    parts[thread] = value;
    __syncthreads();
    if (thread < h.dim) {
        for (int g = 1; g < groups; g++) value += parts[g * lanes + thread];
        store_as(out, format, ((size_t)blockIdx.y * h.query + head) * h.dim + thread, value / sum);
    }
}
