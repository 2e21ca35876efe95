// Steps that treat every row alike, for many rows at once.
#include "common.cuh"

// Four neighbouring values, the `quad`th four, of a plain format.
__device__ __forceinline__ float4 four_at(const void* p, int format, size_t quad) {
    if (format == F32) return ((const float4*)p)[quad];
    if (format == FP8) {
        const uchar4 raw = ((const uchar4*)p)[quad];
        const fp8* v = (const fp8*)&raw;
        return make_float4(to_f32(v[0]), to_f32(v[1]), to_f32(v[2]), to_f32(v[3]));
    }
    const uint2 raw = ((const uint2*)p)[quad];
    if (format == BF16) {
        const bf16* v = (const bf16*)&raw;
        return make_float4(to_f32(v[0]), to_f32(v[1]), to_f32(v[2]), to_f32(v[3]));
    }
    const f16* v = (const f16*)&raw;
    return make_float4(to_f32(v[0]), to_f32(v[1]), to_f32(v[2]), to_f32(v[3]));
}
__device__ __forceinline__ void put_four(void* p, int format, size_t quad, float4 f) {
    if (format == F32) {
        ((float4*)p)[quad] = f;
    } else if (format == FP8) {
        alignas(4) const fp8 v[4] = {from_f32<fp8>(f.x), from_f32<fp8>(f.y), from_f32<fp8>(f.z), from_f32<fp8>(f.w)};
        ((uint32_t*)p)[quad] = *(const uint32_t*)v;
    } else if (format == BF16) {
        alignas(8) const bf16 v[4] = {from_f32<bf16>(f.x), from_f32<bf16>(f.y), from_f32<bf16>(f.z), from_f32<bf16>(f.w)};
        ((uint2*)p)[quad] = *(const uint2*)v;
    } else {
        alignas(8) const f16 v[4] = {from_f32<f16>(f.x), from_f32<f16>(f.y), from_f32<f16>(f.z), from_f32<f16>(f.w)};
        ((uint2*)p)[quad] = *(const uint2*)v;
    }
}

struct Matrix {
    const void* values;
    const void* scales;  // f16 a block of 32 (q8_0, q4_0), f32 a row (fp8)
    int32_t format;
    int32_t rows, columns;
};

// One value of a matrix in any format.
__device__ float matrix_at(const Matrix& m, size_t row, int column) {
    size_t i = row * m.columns + column;
    switch (m.format) {
        case FP8: return to_f32(((const fp8*)m.values)[i]) * ((const float*)m.scales)[row];
        case Q8_0: return ((const int8_t*)m.values)[i] * __half2float(((const f16*)m.scales)[i / 32]);
        case Q4_0: {
            // As GGML packs a block: byte j holds values j and j + 16.
            int in_block = column % 32;
            uint8_t byte = ((const uint8_t*)m.values)[i / 32 * 16 + in_block % 16];
            int q = in_block < 16 ? byte & 15 : byte >> 4;
            return (q - 8) * __half2float(((const f16*)m.scales)[i / 32]);
        }
        default: return load_as(m.values, m.format, i);
    }
}

// residual[row] = table[rows[row].token]
extern "C" __global__ void embed(const __grid_constant__ Matrix table, const Row* rows, float* residual) {
    let_next_start();
    wait_for_earlier();
    size_t token = rows[blockIdx.y].token;
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < table.columns) residual[(size_t)blockIdx.y * table.columns + i] = matrix_at(table, token, i);
}

// out[row] = norm(x[row]) · weight, in `format`; a block a row.
extern "C" __global__ void __launch_bounds__(512) rms_norm(const float* x, const void* weight, int weight_format, void* out,
                                                           int format, int width, float eps) {
    __shared__ float shared[32];
    let_next_start();
    wait_for_earlier();
    x += (size_t)blockIdx.x * width;
    constexpr int HELD = 4;  // quads of a thread that stay in registers
    const int quads = width % 4 ? 0 : min(width / 4, HELD * (int)blockDim.x);
    float4 held[HELD];
    float squares = 0;
#pragma unroll
    for (int u = 0; u < HELD; u++) {
        const int quad = threadIdx.x + u * blockDim.x;
        held[u] = quad < quads ? ((const float4*)x)[quad] : make_float4(0, 0, 0, 0);
        squares += held[u].x * held[u].x + held[u].y * held[u].y + held[u].z * held[u].z + held[u].w * held[u].w;
    }
    for (int i = quads * 4 + threadIdx.x; i < width; i += blockDim.x) squares += x[i] * x[i];
    const float scale = rsqrtf(block_sum(squares, shared) / width + eps);
    const size_t at = (size_t)blockIdx.x * width;
#pragma unroll
    for (int u = 0; u < HELD; u++) {
        const int quad = threadIdx.x + u * blockDim.x;
        if (quad >= quads) continue;
        const float4 v = held[u], g = four_at(weight, weight_format, quad);
        put_four(out, format, at / 4 + quad,
                 make_float4(v.x * scale * g.x, v.y * scale * g.y, v.z * scale * g.z, v.w * scale * g.w));
    }
    for (int i = quads * 4 + threadIdx.x; i < width; i += blockDim.x)
        store_as(out, format, at + i, x[i] * scale * load_as(weight, weight_format, i));
}

// N neighbouring values, the `at`th so many, of a plain format: 1 or 8.
template <int N> struct Values { float v[N]; };
template <int N> __device__ __forceinline__ Values<N> values_at(const void* p, int format, size_t at) {
    Values<N> r;
    if constexpr (N == 1) {
        r.v[0] = load_as(p, format, at);
    } else if (format == BF16 || format == F16) {
        const uint4 raw = ((const uint4*)p)[at];
#pragma unroll
        for (int i = 0; i < N; i++) r.v[i] = format == BF16 ? to_f32(((const bf16*)&raw)[i]) : to_f32(((const f16*)&raw)[i]);
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            const float4 four = four_at(p, format, at * (N / 4) + i / 4);
            r.v[i] = four.x, r.v[i + 1] = four.y, r.v[i + 2] = four.z, r.v[i + 3] = four.w;
        }
    }
    return r;
}
template <int N> __device__ __forceinline__ void put_values(void* p, int format, size_t at, const Values<N>& f) {
    if constexpr (N == 1) {
        store_as(p, format, at, f.v[0]);
    } else if (format == BF16 || format == F16) {
        uint4 raw;
#pragma unroll
        for (int i = 0; i < N; i++)
            if (format == BF16) ((bf16*)&raw)[i] = from_f32<bf16>(f.v[i]);
            else ((f16*)&raw)[i] = from_f32<f16>(f.v[i]);
        ((uint4*)p)[at] = raw;
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 4)
            put_four(p, format, at * (N / 4) + i / 4, make_float4(f.v[i], f.v[i + 1], f.v[i + 2], f.v[i + 3]));
    }
}

template <int N>
__device__ __forceinline__ void rotate_and_append(void* qkv, int format, const Row& row, int layer, const Heads& h) {
    const float* table = (row.is_long ? h.rope_long : h.rope_short) + (size_t)row.position * 2 * h.half;
    // Where heads of keys, then of values, go.
    char* const keys = cached(row, h, layer, 0, 0, row.position);
    const size_t head_bytes = (size_t)row.stride * h.dim * format_bytes(h.kv_format);
    auto put = [&](int head, int at, Values<N> v) {
        if (head < h.query) return put_values<N>(qkv, format, ((size_t)head * h.dim + at) / N, v);
#pragma unroll
        for (int j = 0; j < N; j++) v.v[j] = within(h.kv_format, v.v[j]);
        put_values<N>(keys + (head - h.query) * head_bytes, h.kv_format, at / N, v);
    };
    auto get = [&](int head, int at) { return values_at<N>(qkv, format, ((size_t)head * h.dim + at) / N); };
    const int pairs = h.half / N, rotating = (h.query + h.key_value) * pairs;
    for (int i = threadIdx.x; i < rotating; i += blockDim.x) {
        const int head = i / pairs, at = (i - head * pairs) * N;
        const Values<N> a = get(head, at), b = get(head, at + h.half);
        const Values<N> c = values_at<N>(table, F32, at / N), s = values_at<N>(table, F32, (h.half + at) / N);
        Values<N> first, second;
#pragma unroll
        for (int j = 0; j < N; j++) {
            first.v[j] = a.v[j] * c.v[j] - b.v[j] * s.v[j];
            second.v[j] = b.v[j] * c.v[j] + a.v[j] * s.v[j];
        }
        put(head, at, first);
        put(head, at + h.half, second);
    }
    // What is not rotated: queries stay where they are.
    const int plain = (h.dim - 2 * h.half) / N, whole = h.dim / N, unrotated = h.key_value * plain;
    for (int i = threadIdx.x; i < unrotated + h.key_value * whole; i += blockDim.x) {
        const bool is_key = i < unrotated;
        const int each = is_key ? plain : whole, from = is_key ? i : i - unrotated;
        const int head = h.query + (is_key ? 0 : h.key_value) + from / each;
        const int at = (is_key ? 2 * h.half : 0) + from % each * N;
        put(head, at, get(head, at));
    }
}

// Rotates the queries of rows [q | k | v] in place and appends their keys and values to the caches; a block a row.
extern "C" __global__ void __launch_bounds__(256) rotate_append(void* qkv, int format, const Row* rows, int layer,
                                                                const __grid_constant__ Heads h) {
    const Row row = rows[blockIdx.x];
    const int width = (h.query + 2 * h.key_value) * h.dim;
    qkv = (char*)qkv + (size_t)blockIdx.x * width * format_bytes(format);
    // Eight values at a time where that divides everything.
    if (h.dim % 8 == 0 && h.half % 8 == 0) rotate_and_append<8>(qkv, format, row, layer, h);
    else rotate_and_append<1>(qkv, format, row, layer, h);
}

// out = silu(gate) · up of rows [gate | up].
template <class T, int N>
__device__ void silu_mul(const T* gate_up, T* out, int width) {
    const T* gate = gate_up + (size_t)blockIdx.y * 2 * width;
    out += (size_t)blockIdx.y * width;
    int i = (blockIdx.x * blockDim.x + threadIdx.x) * N;
    if (i >= width) return;
    struct alignas(sizeof(T) * N) Lanes { T v[N]; };
    if (width % N == 0) {
        Lanes g = *(const Lanes*)(gate + i), u = *(const Lanes*)(gate + width + i), o;
#pragma unroll
        for (int j = 0; j < N; j++) {
            float x = to_f32(g.v[j]);
            o.v[j] = from_f32<T>(x / (1 + __expf(-x)) * to_f32(u.v[j]));
        }
        *(Lanes*)(out + i) = o;
    } else {
        for (int j = i; j < min(i + N, width); j++) {
            float x = to_f32(gate[j]);
            out[j] = from_f32<T>(x / (1 + __expf(-x)) * to_f32(gate[width + j]));
        }
    }
}
extern "C" __global__ void silu_mul_f32(const float* x, float* out, int width) { silu_mul<float, 4>(x, out, width); }
extern "C" __global__ void silu_mul_bf16(const bf16* x, bf16* out, int width) { silu_mul<bf16, 8>(x, out, width); }
extern "C" __global__ void silu_mul_f16(const f16* x, f16* out, int width) { silu_mul<f16, 8>(x, out, width); }

// counts[0] += NaN, counts[1] += infinite values.
extern "C" __global__ void count_non_finite(const float* x, size_t len, unsigned long long* counts) {
    unsigned nan = 0, infinite = 0;
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < len; i += (size_t)gridDim.x * blockDim.x) {
        nan += isnan(x[i]);
        infinite += isinf(x[i]);
    }
    if (nan) atomicAdd(counts, (unsigned long long)nan);
    if (infinite) atomicAdd(counts + 1, (unsigned long long)infinite);
}

// Noise of the Gumbel distribution, of its own for every id at every position: the largest of logit / temperature + noise
// is a draw from the softmax of logit / temperature.
__device__ __forceinline__ float gumbel(uint64_t seed, uint32_t position, uint32_t id) {
    uint64_t z = seed + 0x9e3779b97f4a7c15ull * (((uint64_t)position << 32 | id) + 1);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    // In 53 bits: what is unlikely should not become impossible.
    return (float)-log(-log(((z >> 11) + 0.5) * 0x1p-53));
}

// The next id of each row: its largest logit, the first on a tie, or a draw where the row has a temperature; a cluster of
// eight blocks a row. The id becomes the row's token, the position moves on by `advance`, and the host reads the id from
// ids[tick % ring][row]; NaN gives u32::MAX.
extern "C" __global__ void __launch_bounds__(512)
    choose(const float* logits, int vocab, Row* rows, uint32_t* ids, int ring, int batch, int advance) {
    namespace cg = cooperative_groups;
    __shared__ float best_value[16];
    __shared__ int best_index[16];
    __shared__ int has_nan;
    auto cluster = cg::this_cluster();
    if (threadIdx.x == 0) has_nan = 0;
    let_next_start();
    wait_for_earlier();
    __syncthreads();
    const int row = blockIdx.y, rank = cluster.block_rank();
    const float inverse = rows[row].inverse_temperature;
    const uint64_t seed = rows[row].seed;
    const uint32_t position = rows[row].position;
    logits += (size_t)row * vocab;
    float value = -INFINITY;
    int index = vocab;
    bool nan = false;
    // Several loads are on their way together: one after the other would cost a trip to L2 each.
    constexpr int TOGETHER = 8, STEP = 8 * 512;
    for (int first = rank * 512 + threadIdx.x; first < vocab; first += TOGETHER * STEP) {
        float loaded[TOGETHER];
#pragma unroll
        for (int u = 0; u < TOGETHER; u++) loaded[u] = first + u * STEP < vocab ? logits[first + u * STEP] : -INFINITY;
#pragma unroll
        for (int u = 0; u < TOGETHER; u++) {
            const int i = first + u * STEP;
            float v = loaded[u];
            nan |= isnan(v);
            if (inverse > 0 && i < vocab) v = v * inverse + gumbel(seed, position, i);
            if (v > value || (v == value && i < index)) value = v, index = i;
        }
    }
    if (nan) has_nan = 1;
    auto join = [&](float v, int i) {
        if (v > value || (v == value && i < index)) value = v, index = i;
    };
    for (int o = 16; o; o >>= 1) {
        float v = __shfl_xor_sync(~0u, value, o);
        int i = __shfl_xor_sync(~0u, index, o);
        join(v, i);
    }
    if ((threadIdx.x & 31) == 0) best_value[threadIdx.x >> 5] = value, best_index[threadIdx.x >> 5] = index;
    cluster.sync();
    if (rank == 0 && threadIdx.x < 32) {
        bool any = false;
        value = -INFINITY, index = vocab;
        for (int at = threadIdx.x; at < 128; at += 32) {
            join(*cluster.map_shared_rank(&best_value[at % 16], at / 16),
                 *cluster.map_shared_rank(&best_index[at % 16], at / 16));
        }
        if (threadIdx.x < 8) any = *cluster.map_shared_rank(&has_nan, threadIdx.x);
        for (int o = 16; o; o >>= 1) {
            float v = __shfl_xor_sync(~0u, value, o);
            int i = __shfl_xor_sync(~0u, index, o);
            join(v, i);
        }
        any = __any_sync(~0u, any);
        if (threadIdx.x == 0) {
            Row& state = rows[row];
            state.token = any || index == vocab ? 0 : index;
            state.position += advance;
            ids[(state.tick % ring) * batch + row] = any || index == vocab ? 0xffffffffu : index;
            state.tick += 1;
        }
    }
    cluster.sync();
}

// Weights on their way in: values of a plain format, `first` the index of the first, to where and how they are held.
extern "C" __global__ void convert_plain(const void* in, int in_format, void* out, int out_format, size_t first,
                                         size_t count) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count; i += (size_t)gridDim.x * blockDim.x)
        store_as(out, out_format, first + i, load_as(in, in_format, i));
}

// Values as bf16 has them, held in f16; a block a row. `in` may be where they go. `peaks`: the largest magnitude of the
// tensor, and the least that is the largest of a row, rows of zeros left out; by their bits, whose order is that of what
// they stand for, NaN last.
extern "C" __global__ void __launch_bounds__(256) convert_in_f16(const void* in, int in_format, f16* out, size_t first_row,
                                                                 int columns, unsigned* peaks) {
    __shared__ unsigned shared[8];
    const size_t from = (size_t)blockIdx.x * columns, to = (first_row + blockIdx.x) * columns;
    unsigned peak = 0;
    auto narrowed = [&](float v) {
        v = to_f32(from_f32<bf16>(v));
        peak = max(peak, __float_as_uint(fabsf(v)));
        return v;
    };
    if (columns % 8 == 0) {
        for (int i = threadIdx.x; i < columns / 8; i += blockDim.x) {
            Values<8> v = values_at<8>(in, in_format, from / 8 + i);
#pragma unroll
            for (int j = 0; j < 8; j++) v.v[j] = narrowed(v.v[j]);
            put_values<8>(out, F16, to / 8 + i, v);
        }
    } else {
        for (int i = threadIdx.x; i < columns; i += blockDim.x)
            out[to + i] = from_f32<f16>(narrowed(load_as(in, in_format, from + i)));
    }
    peak = __reduce_max_sync(~0u, peak);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = peak;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int i = 1; i < 8; i++) peak = max(peak, shared[i]);
    atomicMax(&peaks[0], peak);
    if (peak) atomicMin(&peaks[1], peak);
}

// Rows of a matrix to fp8, each by its own scale; a block a row.
extern "C" __global__ void convert_fp8(const void* in, int in_format, fp8* out, float* scales, size_t first_row,
                                       int columns) {
    __shared__ float shared[32];
    const size_t from = (size_t)blockIdx.x * columns, to = (first_row + blockIdx.x) * columns;
    float most = 0;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) most = fmaxf(most, fabsf(load_as(in, in_format, from + i)));
    most = block_max(most, shared);
    // 448 is the largest e4m3.
    float scale = most > 0 ? most / 448 : 1;
    if (threadIdx.x == 0) scales[first_row + blockIdx.x] = scale;
    for (int i = threadIdx.x; i < columns; i += blockDim.x)
        out[to + i] = from_f32<fp8>(load_as(in, in_format, from + i) / scale);
}

// Blocks of 32 values to q8_0 or q4_0 as GGML rounds them; a warp a block.
extern "C" __global__ void convert_blocks(const void* in, int in_format, uint8_t* out, f16* scales, int out_format,
                                          size_t first, size_t count) {
    size_t block = (blockIdx.x * (size_t)blockDim.x + threadIdx.x) / 32;
    int lane = threadIdx.x & 31;
    if (block * 32 >= count) return;
    float v = load_as(in, in_format, block * 32 + lane);
    size_t at = first / 32 + block;
    if (out_format == Q8_0) {
        float scale = warp_max(fabsf(v)) / 127;
        ((int8_t*)out)[at * 32 + lane] = (int8_t)roundf(scale > 0 ? v / scale : 0);
        if (lane == 0) scales[at] = __float2half(scale);
    } else {
        // The value of the largest magnitude, sign and all, becomes -8; the first of equals.
        float most = fabsf(v), peak = v;
        int who = lane;
        for (int o = 16; o; o >>= 1) {
            float m = __shfl_xor_sync(~0u, most, o), p = __shfl_xor_sync(~0u, peak, o);
            int w = __shfl_xor_sync(~0u, who, o);
            if (m > most || (m == most && w < who)) most = m, peak = p, who = w;
        }
        float scale = peak / -8, inverse = scale != 0 ? 1 / scale : 0;
        int q = min(15, (int)(v * inverse + 8.5f));
        int high = __shfl_down_sync(~0u, q, 16);
        if (lane < 16) out[at * 16 + lane] = q | high << 4;
        if (lane == 0) scales[at] = __float2half(scale);
    }
}

// A quantised matrix to bf16, for products over many rows.
extern "C" __global__ void widen(const __grid_constant__ Matrix m, bf16* out) {
    const size_t row = blockIdx.y;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < m.columns; i += gridDim.x * blockDim.x)
        out[row * m.columns + i] = from_f32<bf16>(matrix_at(m, row, i));
}
