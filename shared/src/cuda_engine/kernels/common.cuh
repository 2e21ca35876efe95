// What all kernels share: formats, the rows of a step, programmatic dependent launch, sums over a block.
#pragma once
#include <cooperative_groups.h>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

typedef __nv_bfloat16 bf16;
typedef __half f16;
typedef __nv_fp8_e4m3 fp8;

// Formats by number, as `Format` in kernels.rs has them.
enum { F32 = 0, BF16 = 1, F16 = 2, FP8 = 3, Q8_0 = 4, Q4_0 = 5 };

// One token of a step: where its sequence's cache lies and where in the sequence it stands. `Row` in kernels.rs.
struct Row {
    uint64_t blocks;       // addresses of the cache's blocks, each [layers][2][kv heads][stride][head_dim]; or of the one block
    uint64_t layer_bytes;  // bytes of one layer of a block
    uint32_t stride;       // tokens that a block has room for
    uint32_t position;
    uint32_t token;
    uint16_t is_long;  // which rotary table
    uint16_t shift;    // token t is in block t >> shift; ONE_BLOCK: all are in one
    uint32_t tick;     // steps sampled so far
    float inverse_temperature;  // 0: the likeliest id
    uint64_t seed;              // of its draws
};

constexpr uint16_t ONE_BLOCK = 31;

// The heads of the model, its rotary tables and its cache. `Heads` in kernels.rs.
struct Heads {
    const float* rope_short;  // [positions][cosines | sines]
    const float* rope_long;
    int32_t query, key_value, dim, half;  // half: rotated pairs of a head
    int32_t window;                       // visible keys; 0 sees all
    int32_t kv_format;
};

// The next kernel of the stream may start: it waits for our results by itself.
__device__ __forceinline__ void let_next_start() { asm volatile("griddepcontrol.launch_dependents;"); }
// What earlier kernels wrote may be read, what they read may be overwritten.
__device__ __forceinline__ void wait_for_earlier() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

__device__ __forceinline__ float to_f32(float v) { return v; }
__device__ __forceinline__ float to_f32(bf16 v) { return __bfloat162float(v); }
__device__ __forceinline__ float to_f32(f16 v) { return __half2float(v); }
__device__ __forceinline__ float to_f32(fp8 v) { return float(v); }
template <class T> __device__ __forceinline__ T from_f32(float v);
template <> __device__ __forceinline__ float from_f32<float>(float v) { return v; }
template <> __device__ __forceinline__ bf16 from_f32<bf16>(float v) { return __float2bfloat16(v); }
template <> __device__ __forceinline__ f16 from_f32<f16>(float v) { return __float2half(v); }
template <> __device__ __forceinline__ fp8 from_f32<fp8>(float v) { return fp8(v); }

// A value of a plain format chosen at run time; for what is read or written once.
__device__ __forceinline__ float load_as(const void* p, int format, size_t i) {
    switch (format) {
        case F32: return ((const float*)p)[i];
        case BF16: return to_f32(((const bf16*)p)[i]);
        case F16: return to_f32(((const f16*)p)[i]);
        default: return to_f32(((const fp8*)p)[i]);
    }
}
__device__ __forceinline__ void store_as(void* p, int format, size_t i, float v) {
    switch (format) {
        case F32: ((float*)p)[i] = v; break;
        case BF16: ((bf16*)p)[i] = from_f32<bf16>(v); break;
        case F16: ((f16*)p)[i] = from_f32<f16>(v); break;
        default: ((fp8*)p)[i] = from_f32<fp8>(v); break;
    }
}
// The same of a value that is kept for later rows. What f16 has no place for is NaN there: an infinite key may be passed over
// by a softmax, and nobody would know.
__device__ __forceinline__ float within(int format, float v) {
    return format != F16 || fabsf(v) < 65520 ? v : __int_as_float(0x7fffffff);
}
__device__ __forceinline__ void keep_as(void* p, int format, size_t i, float v) { store_as(p, format, i, within(format, v)); }
__device__ __forceinline__ int format_bytes(int format) { return format == F32 ? 4 : format == FP8 ? 1 : 2; }

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
    for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
    return v;
}
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
    for (int o = 16; o; o >>= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, o));
    return v;
}
// Sum over a block of whole warps; every thread gets it. `shared` holds 32 values.
__device__ __forceinline__ float block_sum(float v, float* shared) {
    v = warp_sum(v);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) shared[threadIdx.x >> 5] = v;
    __syncthreads();
    float total = 0;
    for (int i = 0; i < (blockDim.x + 31) / 32; i++) total += shared[i];
    return total;
}
__device__ __forceinline__ float block_max(float v, float* shared) {
    v = warp_max(v);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) shared[threadIdx.x >> 5] = v;
    __syncthreads();
    float most = shared[0];
    for (int i = 1; i < (blockDim.x + 31) / 32; i++) most = fmaxf(most, shared[i]);
    return most;
}

// The block of a token of a row's sequence. Blocks are listed by uploads alone, as rows are.
__device__ __forceinline__ char* block_of(const Row& row, uint32_t token) {
    if (row.shift == ONE_BLOCK) return (char*)row.blocks;
    return (char*)__ldg((const uint64_t*)row.blocks + (token >> row.shift));
}
// Where in a block the keys (part 0) or values (1) of a head in a layer begin.
__device__ __forceinline__ size_t in_block(const Row& row, const Heads& h, int layer, int part, int head) {
    const size_t values = ((size_t)part * h.key_value + head) * row.stride * h.dim;
    return (size_t)layer * row.layer_bytes + values * format_bytes(h.kv_format);
}
// A token's place in its block.
__device__ __forceinline__ uint32_t slot_of(const Row& row, uint32_t token) { return token & ((1u << row.shift) - 1); }
// First byte of a token's keys or values.
__device__ __forceinline__ char* cached(const Row& row, const Heads& h, int layer, int part, int head, uint32_t token) {
    const size_t values = (size_t)slot_of(row, token) * h.dim;
    return block_of(row, token) + in_block(row, h, layer, part, head) + values * format_bytes(h.kv_format);
}
__device__ __forceinline__ int first_visible(const Row& row, const Heads& h) {
    int first = (int)row.position + 1 - h.window;
    return h.window && first > 0 ? first : 0;
}

// Weights are read once: past L1, and not as if they would be needed again. Not as constants (`nc`) either: the compiler
// would put such a load off until after `wait_for_earlier`.
__device__ __forceinline__ uint4 load_stream(const void* p) {
    uint4 r;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0,%1,%2,%3},[%4];"
                 : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
                 : "l"(p));
    return r;
}
// A line of 128 bytes into L2, to be there when it is needed.
__device__ __forceinline__ void ask_for(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0,%1;" : "=f"(y) : "f"(x));
    return y;
}
