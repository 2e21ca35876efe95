// Attention of rows over their sequences' caches, in three ways: `attend` for a few rows, `flash` for the rows of a
// prompt, `eager` with the scores written out. Softmax and sums are in f32.
#include "common.cuh"

namespace cg = cooperative_groups;

constexpr float LOG2E = 1.4426950408889634f;
// Most blocks that share a head of a row, a cluster of them (one block where rows alone fill the device), and warps of each.
constexpr int MOST_SHARES = 8, WARPS = 8;

// Eight values as they are held: loads of several are on their way before the first is looked at.
template <class KV> struct Eight { uint32_t words[2 * sizeof(KV)]; };
template <class KV> __device__ __forceinline__ Eight<KV> load_eight(const KV* p) {
    Eight<KV> e;
    if (sizeof(KV) == 1) {
        const uint2 two = *(const uint2*)p;
        e.words[0] = two.x, e.words[1] = two.y;
    }
#pragma unroll
    for (int i = 0; i < (sizeof(KV) == 1 ? 0 : 2 * (int)sizeof(KV)); i += 4) {
        const uint4 four = *(const uint4*)((const uint32_t*)p + i);
        e.words[i] = four.x, e.words[i + 1] = four.y, e.words[i + 2] = four.z, e.words[i + 3] = four.w;
    }
    return e;
}
template <class KV> __device__ __forceinline__ float one_of(const Eight<KV>& e, int i) { return to_f32(((const KV*)e.words)[i]); }
template <class KV> __device__ __forceinline__ void load8(const KV* p, float* v) {
    const Eight<KV> e = load_eight(p);
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = one_of(e, i);
}

// The head of keys and values that a head of queries looks at.
__device__ __forceinline__ int kv_head_of(const Heads& h, int head) { return head * h.key_value / h.query; }
// Keys that each block of a cluster takes of those that are visible. (Divided by shifting: 1, 2, 4 or 8 share them.)
__device__ __forceinline__ int share_of(int visible) {
    return (visible + (int)gridDim.x - 1) >> (31 - __clz((int)gridDim.x));
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

// What a lane has of the query of the block's head and row, CHUNKS times eight of its values, as they lie in memory: keys
// are asked for before they are looked at. Of 16 bits a value the first half of each is there.
template <int CHUNKS> struct Query { Eight<float> raw[CHUNKS]; };
template <int CHUNKS>
__device__ __forceinline__ Query<CHUNKS> load_query(const void* qkv, int format, const Heads& h, int head, int part) {
    constexpr int DIM = CHUNKS * 32;
    const size_t at = ((size_t)blockIdx.z * (h.query + 2 * h.key_value) + head) * DIM + part * 8;
    Query<CHUNKS> q = {};
    if (format == F32) {
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) q.raw[c] = load_eight((const float*)qkv + at + c * 32);
    } else {
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            const Eight<bf16> e = load_eight((const bf16*)qkv + at + c * 32);
#pragma unroll
            for (int i = 0; i < 4; i++) q.raw[c].words[i] = e.words[i];
        }
    }
    return q;
}
template <int CHUNKS> __device__ __forceinline__ void scale_query(const Query<CHUNKS>& q, int format, float scale, float* out) {
    auto each = [&](auto value) {
#pragma unroll
        for (int i = 0; i < CHUNKS * 8; i++) out[i] = value(q.raw[i / 8].words, i % 8) * scale;
    };
    if (format == F32) each([](const uint32_t* words, int i) { return __uint_as_float(words[i]); });
    else if (format == BF16) each([](const uint32_t* words, int i) { return to_f32(((const bf16*)words)[i]); });
    else each([](const uint32_t* words, int i) { return to_f32(((const f16*)words)[i]); });
}

// Adds up what a lane and the one `apart` from it have of 2 N values; the lower gets the first half of them, the upper the other.
template <int N> __device__ __forceinline__ void add_half(float* v, int lane, int apart) {
    const bool upper = lane & apart;
#pragma unroll
    for (int i = 0; i < N; i++) {
        const float mine = upper ? v[i + N] : v[i], theirs = upper ? v[i] : v[i + N];
        v[i] = mine + __shfl_xor_sync(~0u, theirs, apart);
    }
}

// Blocks of a cache whose addresses a block of threads has at hand.
constexpr int LISTED = 512;

// A head of a row on a cluster of blocks, each with an equal share of the visible keys; four lanes a key, each
// with CHUNKS times eight of its values. PAGED: the cache may be in several blocks. AHEAD: the next keys and values are on
// their way while these are worked on, at the price of registers and so of blocks beside each other.
template <class KV, int CHUNKS, bool PAGED, bool AHEAD>
__device__ __forceinline__ void attend(const void* qkv, int format, void* out, const Row* rows, int layer, const Heads& h) {
    constexpr int DIM = CHUNKS * 32;
    __shared__ Partial partial[WARPS];
    __shared__ float values[WARPS * DIM];
    __shared__ const char* listed[PAGED ? LISTED : 1];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, share = blockIdx.x, head = blockIdx.y;
    const int group = lane >> 2, part = lane & 3;
    let_next_start();
    arrive_in_cluster();
    // No kernel between a row's upload and `choose`, the last of a step, writes to it.
    const Row row = rows[blockIdx.z];
    const int first = first_visible(row, h), visible = row.position + 1 - first, each = share_of(visible);
    const int start = first + share * each, end = min(start + each, first + visible);
    const int kv_head = kv_head_of(h, head);
    const size_t keys = in_block(row, h, layer, 0, kv_head), from_key_to_value = in_block(row, h, layer, 1, kv_head) - keys;
    const char* const whole = (const char*)row.blocks + keys;
    int from = start, to = end;
    // Looking a block up costs a trip to memory: as many as there is room for are looked up before they are needed.
    auto list = [&] {
        const int first_block = from >> row.shift;
        to = min((long long)end, (long long)(first_block + LISTED) << row.shift);
        for (int i = threadIdx.x; i < LISTED && i + first_block <= (to - 1) >> row.shift; i += WARPS * 32)
            listed[i] = block_of(row, (i + first_block) << row.shift) + keys;
        __syncthreads();
    };
    if (PAGED) list();
    wait_for_earlier();

    const Query<CHUNKS> query = load_query<CHUNKS>(qkv, format, h, head, part);
    float q[CHUNKS * 8], acc[CHUNKS * 8] = {};
    float most = -INFINITY, sum = 0;
    struct Pair {
        Eight<KV> key[CHUNKS], value[CHUNKS];
    };
    auto fetch = [&](int key) {
        Pair pair;
        key = min(key, to - 1);
        const char* base = PAGED ? listed[(key >> row.shift) - (from >> row.shift)] : whole;
        const KV* at = (const KV*)base + (size_t)(PAGED ? slot_of(row, key) : key) * DIM + part * 8;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) pair.key[c] = load_eight(at + c * 32);
        at = (const KV*)((const char*)at + from_key_to_value);
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) pair.value[c] = load_eight(at + c * 32);
        return pair;
    };
    Pair next;
    int key = from + warp * 8 + group;
    if (key - group < to) next = fetch(key);
    scale_query<CHUNKS>(query, format, LOG2E * rsqrtf((float)DIM), q);
    while (true) {
        for (; key - group < to; key += WARPS * 8) {
            const bool there = key < to, goes_on = key - group + WARPS * 8 < to;
            const Pair now = next;
            if (AHEAD && goes_on) next = fetch(key + WARPS * 8);
            float score = 0;
#pragma unroll
            for (int i = 0; i < CHUNKS * 8; i++) score = fmaf(q[i], one_of(now.key[i / 8], i % 8), score);
            score += __shfl_xor_sync(~0u, score, 1);
            score += __shfl_xor_sync(~0u, score, 2);
            if (there) {
                const float largest = fmaxf(most, score), keep = exp2_fast(most - largest), p = exp2_fast(score - largest);
                sum = sum * keep + p;
#pragma unroll
                for (int i = 0; i < CHUNKS * 8; i++) acc[i] = fmaf(p, one_of(now.value[i / 8], i % 8), acc[i] * keep);
                most = largest;
            }
            if (!AHEAD && goes_on) next = fetch(key + WARPS * 8);
        }
        if (!PAGED || to >= end) break;
        __syncthreads();
        from = to;
        list();
        key = from + warp * 8 + group;
        if (key - group < to) next = fetch(key);
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
    for (int i = 0; i < CHUNKS * 8; i++) acc[i] *= keep;
    // Each group gets the sums of an eighth of the values.
    add_half<CHUNKS * 4>(acc, lane, 16);
    add_half<CHUNKS * 2>(acc, lane, 8);
    add_half<CHUNKS>(acc, lane, 4);
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) {
        const int i = group * CHUNKS + j;
        values[warp * DIM + i / 8 * 32 + part * 8 + i % 8] = acc[j];
    }
    // A share without keys has no largest score: a finite one keeps the join free of infinity minus infinity.
    if (lane == 0) partial[warp] = {fmaxf(top, -1e30f), sum};
    join(partial, values, DIM, out, format, ((size_t)blockIdx.z * h.query + head) * DIM);
}

// For each format and width: caches of one block; of several; of any, for rows that fill the device by themselves.
#define ATTEND_ONE(name, KV, chunks, paged, ahead, blocks)                                                \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, blocks)                                      \
        name(const void* qkv, int format, void* out, const Row* rows, int layer,                          \
             const __grid_constant__ Heads h) {                                                           \
        attend<KV, chunks, paged, ahead>(qkv, format, out, rows, layer, h);                               \
    }
#define ATTEND(name, KV, chunks)                                   \
    ATTEND_ONE(attend_##name, KV, chunks, false, false, 3)         \
    ATTEND_ONE(attend_paged_##name, KV, chunks, true, false, 3)    \
    ATTEND_ONE(attend_many_##name, KV, chunks, true, true, 2)
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
    const int first = first_visible(row, h), visible = row.position + 1 - first, each = share_of(visible);
    const int start = first + share * each, end = min(start + each, first + visible);
    const int kv_head = kv_head_of(h, head);
    const size_t keys = in_block(row, h, layer, 0, kv_head), vals = in_block(row, h, layer, 1, kv_head);
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
        const char* block = block_of(row, key);
        const size_t at = (size_t)slot_of(row, key) * h.dim + lane;
        float score = 0;
        for (int i = 0; i < 8; i++)
            if (i * 32 + lane < h.dim) score += q[i] * load_as(block + keys, h.kv_format, at + i * 32);
        score = warp_sum(score);
        const float now = fmaxf(most, score), keep = exp2_fast(most - now), p = exp2_fast(score - now);
        sum = sum * keep + p;
        for (int i = 0; i < 8; i++)
            if (i * 32 + lane < h.dim)
                acc[i] = acc[i] * keep + p * load_as(block + vals, h.kv_format, at + i * 32);
        most = now;
    }
    for (int i = 0; i < 8; i++)
        if (i * 32 + lane < h.dim) values[warp * h.dim + i * 32 + lane] = acc[i];
    if (lane == 0) partial[warp] = {fmaxf(most, -1e30f), sum};
    join(partial, values, h.dim, out, format, ((size_t)blockIdx.z * h.query + head) * h.dim);
}

// With the scores written out, scores[row][head][key], then their softmax, then the mixed values: the same shares of keys
// in three passes.
struct Eager {
    Row row;
    int first, start, end;  // first visible key; keys of this block
    size_t keys, vals;      // in a block of the cache
    float* scores;          // of this row and head, from the first visible key on
};
__device__ __forceinline__ Eager eager_share(const Row* rows, int layer, const Heads& h, float* scores, int context) {
    Eager e;
    e.row = rows[blockIdx.z];
    e.first = first_visible(e.row, h);
    const int visible = e.row.position + 1 - e.first, each = share_of(visible);
    e.start = e.first + (int)blockIdx.x * each;
    e.end = min(e.start + each, e.first + visible);
    const int head = blockIdx.y, kv_head = kv_head_of(h, head);
    e.keys = in_block(e.row, h, layer, 0, kv_head);
    e.vals = in_block(e.row, h, layer, 1, kv_head);
    e.scores = scores + ((size_t)blockIdx.z * h.query + head) * context - e.first;
    return e;
}
// Scores of a block's keys to weights, not yet divided by their sum.
__device__ __forceinline__ Partial eager_softmax(const Eager& e) {
    __shared__ float shared[32];
    __syncthreads();
    float most = -1e30f, sum = 0;
    for (int key = e.start + threadIdx.x; key < e.end; key += WARPS * 32) most = fmaxf(most, e.scores[key]);
    // A NaN is not the largest, but its own exponential and so the whole row will be NaN.
    most = block_max(most, shared);
    for (int key = e.start + threadIdx.x; key < e.end; key += WARPS * 32) {
        const float p = expf(e.scores[key] - most);
        e.scores[key] = p;
        sum += p;
    }
    sum = block_sum(sum, shared);
    return {most * LOG2E, sum};
}

template <class KV, int CHUNKS>
__device__ __forceinline__ void eager(const void* qkv, int format, void* out, const Row* rows, int layer, const Heads& h,
                                      float* scores, int context) {
    constexpr int DIM = CHUNKS * 32;
    __shared__ Partial partial[WARPS];
    __shared__ float values[WARPS * DIM];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, group = lane >> 2, part = lane & 3;
    let_next_start();
    arrive_in_cluster();
    const Eager e = eager_share(rows, layer, h, scores, context);
    wait_for_earlier();
    float q[CHUNKS * 8], acc[CHUNKS * 8];
    scale_query<CHUNKS>(load_query<CHUNKS>(qkv, format, h, blockIdx.y, part), format, rsqrtf((float)DIM), q);
    for (int key = e.start + warp * 8 + group; key - group < e.end; key += WARPS * 8) {
        const int there = min(key, e.end - 1);
        const KV* keys = (const KV*)(block_of(e.row, there) + e.keys) + (size_t)slot_of(e.row, there) * DIM + part * 8;
        float k[CHUNKS * 8], score = 0;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) load8(keys + c * 32, k + c * 8);
#pragma unroll
        for (int i = 0; i < CHUNKS * 8; i++) score = fmaf(q[i], k[i], score);
        score += __shfl_xor_sync(~0u, score, 1);
        score += __shfl_xor_sync(~0u, score, 2);
        if (part == 0 && key < e.end) e.scores[key] = score;
    }
    const Partial all = eager_softmax(e);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < CHUNKS * 8; i++) acc[i] = 0;
    for (int key = e.start + warp * 8 + group; key < e.end; key += WARPS * 8) {
        const KV* vals = (const KV*)(block_of(e.row, key) + e.vals) + (size_t)slot_of(e.row, key) * DIM + part * 8;
        const float p = e.scores[key];
        float v[CHUNKS * 8];
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) load8(vals + c * 32, v + c * 8);
#pragma unroll
        for (int i = 0; i < CHUNKS * 8; i++) acc[i] = fmaf(p, v[i], acc[i]);
    }
#pragma unroll
    for (int i = 0; i < CHUNKS * 8; i++)
#pragma unroll
        for (int o = 4; o <= 16; o <<= 1) acc[i] += __shfl_xor_sync(~0u, acc[i], o);
    if (group == 0)
#pragma unroll
        for (int i = 0; i < CHUNKS * 8; i++) values[warp * DIM + i / 8 * 32 + part * 8 + i % 8] = acc[i];
    if (lane == 0) partial[warp] = {all.most, warp == 0 ? all.sum : 0};
    join(partial, values, DIM, out, format, ((size_t)blockIdx.z * h.query + blockIdx.y) * DIM);
}

#define EAGER(name, KV, chunks)                                                                          \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                                             \
        eager_##name(const void* qkv, int format, void* out, const Row* rows, int layer,                 \
                     const __grid_constant__ Heads h, float* scores, int context) {                      \
        eager<KV, chunks>(qkv, format, out, rows, layer, h, scores, context);                            \
    }
EAGER(f32_64, float, 2)
EAGER(f32_96, float, 3)
EAGER(f32_128, float, 4)
EAGER(bf16_64, bf16, 2)
EAGER(bf16_96, bf16, 3)
EAGER(bf16_128, bf16, 4)
EAGER(f16_64, f16, 2)
EAGER(f16_96, f16, 3)
EAGER(f16_128, f16, 4)
EAGER(fp8_64, fp8, 2)
EAGER(fp8_96, fp8, 3)
EAGER(fp8_128, fp8, 4)

// The same for any head up to 256 wide and any format: a warp a key, lanes across the head.
extern "C" __global__ void __launch_bounds__(WARPS * 32)
    eager_any(const void* qkv, int format, void* out, const Row* rows, int layer, const __grid_constant__ Heads h,
              float* scores, int context) {
    __shared__ Partial partial[WARPS];
    __shared__ float values[WARPS * 256];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    let_next_start();
    arrive_in_cluster();
    const Eager e = eager_share(rows, layer, h, scores, context);
    wait_for_earlier();
    const size_t q_at = ((size_t)blockIdx.z * (h.query + 2 * h.key_value) + blockIdx.y) * h.dim + lane;
    const float scale = rsqrtf((float)h.dim);
    float q[8], acc[8] = {};
    for (int i = 0; i < 8; i++) q[i] = i * 32 + lane < h.dim ? load_as(qkv, format, q_at + i * 32) * scale : 0;
    for (int key = e.start + warp; key < e.end; key += WARPS) {
        const char* keys = block_of(e.row, key) + e.keys;
        const size_t at = (size_t)slot_of(e.row, key) * h.dim + lane;
        float score = 0;
        for (int i = 0; i < 8; i++)
            if (i * 32 + lane < h.dim) score += q[i] * load_as(keys, h.kv_format, at + i * 32);
        score = warp_sum(score);
        if (lane == 0) e.scores[key] = score;
    }
    const Partial all = eager_softmax(e);
    __syncthreads();
    for (int key = e.start + warp; key < e.end; key += WARPS) {
        const char* vals = block_of(e.row, key) + e.vals;
        const size_t at = (size_t)slot_of(e.row, key) * h.dim + lane;
        const float p = e.scores[key];
        for (int i = 0; i < 8; i++)
            if (i * 32 + lane < h.dim) acc[i] += p * load_as(vals, h.kv_format, at + i * 32);
    }
    for (int i = 0; i < 8; i++)
        if (i * 32 + lane < h.dim) values[warp * h.dim + i * 32 + lane] = acc[i];
    if (lane == 0) partial[warp] = {all.most, warp == 0 ? all.sum : 0};
    join(partial, values, h.dim, out, format, ((size_t)blockIdx.z * h.query + blockIdx.y) * h.dim);
}
