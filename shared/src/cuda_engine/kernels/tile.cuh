// Tiles of 64 rows in shared memory as the tensor cores take them: by warpgroups of four warps on compute capability 9.0
// (built as sm_90a), elsewhere warp by warp. Either way a warp has 16 rows of the result: row g of it in d[..][0..2], row
// g + 8 in d[..][2..4], g being a quarter of the lane.
#pragma once
#include "common.cuh"

__device__ __forceinline__ uint32_t shared_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ __forceinline__ uint32_t two(float a, float b, bf16) {
    __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
    return *(uint32_t*)&v;
}
__device__ __forceinline__ uint32_t two(float a, float b, f16) {
    __half2 v = __floats2half2_rn(a, b);
    return *(uint32_t*)&v;
}

constexpr int TILE_ROWS = 64;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// Columns of 32 values, one after the other, each [rows][64 bytes], pieces of 16 bytes swapped about so that eight rows
// lie in eight banks: the 64-byte swizzle of the hardware.
template <int DIM> struct Tile {
    static constexpr int VALUES = TILE_ROWS * DIM, COLUMN_BYTES = TILE_ROWS * 64;
    // Where eight values of a row begin.
    static __device__ __forceinline__ int at(int row, int eight) {
        return eight / 4 * (COLUMN_BYTES / 2) + row * 32 + (eight % 4 ^ row / 2 % 4) * 8;
    }
};
// What the hardware is told of a tile: its address, how far columns and how far groups of eight rows are apart.
__device__ __forceinline__ uint64_t described(const void* p, int bytes) {
    constexpr uint64_t EIGHT_ROWS = 8 * 64, SWIZZLE_64 = 2;
    return (shared_address(p) + bytes) >> 4 | (uint64_t)(TILE_ROWS * 64 >> 4) << 16 | EIGHT_ROWS >> 4 << 32 | SWIZZLE_64 << 62;
}
// What threads have written to shared memory is seen by the tensor cores; before the barrier.
__device__ __forceinline__ void publish() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void end_products() {
    asm volatile("wgmma.commit_group.sync.aligned;\n\twgmma.wait_group.sync.aligned 0;" ::: "memory");
}
#define FOUR(d, i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define SIXTEEN(d, i) FOUR(d, i), FOUR(d, i + 1), FOUR(d, i + 2), FOUR(d, i + 3)
// d = a · b or d += a · b, both described, rows of both along the sum.
__device__ __forceinline__ void product(float (&d)[8][4], uint64_t a, uint64_t b, int adds, bf16) {
    asm volatile(
        "{\n\t.reg .pred p;\n\tsetp.ne.b32 p,%34,0;\n\t"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31},%32,%33,p,1,1,0,0;\n\t}"
        : SIXTEEN(d, 0), SIXTEEN(d, 4)
        : "l"(a), "l"(b), "r"(adds));
}
// d = a · b or d += a · b, both described, rows of both along the sum.
__device__ __forceinline__ void product(float (&d)[8][4], uint64_t a, uint64_t b, int adds, f16) {
    asm volatile(
        "{\n\t.reg .pred p;\n\tsetp.ne.b32 p,%34,0;\n\t"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31},%32,%33,p,1,1,0,0;\n\t}"
        : SIXTEEN(d, 0), SIXTEEN(d, 4)
        : "l"(a), "l"(b), "r"(adds));
}
// d += a · b, columns of b along the sum.
__device__ __forceinline__ void add_product(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b, bf16) {
    asm volatile(
        "{\n\t.reg .pred p;\n\tsetp.ne.b32 p,1,0;\n\twgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
        "},{%32,%33,%34,%35},%36,p,1,1,1;\n\t}"
        : SIXTEEN(d, 0), SIXTEEN(d, 4)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// d += a · b, columns of b along the sum.
__device__ __forceinline__ void add_product(float (&d)[12][4], const uint32_t (&a)[4], uint64_t b, bf16) {
    asm volatile(
        "{\n\t.reg .pred p;\n\tsetp.ne.b32 p,1,0;\n\twgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
        "},{%48,%49,%50,%51},%52,p,1,1,1;\n\t}"
        : SIXTEEN(d, 0), SIXTEEN(d, 4), SIXTEEN(d, 8)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// d += a · b, columns of b along the sum.
__device__ __forceinline__ void add_product(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b, bf16) {
    asm volatile(
        "{\n\t.reg .pred p;\n\tsetp.ne.b32 p,1,0;\n\twgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
        "},{%64,%65,%66,%67},%68,p,1,1,1;\n\t}"
        : SIXTEEN(d, 0), SIXTEEN(d, 4), SIXTEEN(d, 8), SIXTEEN(d, 12)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// d += a · b, columns of b along the sum.
__device__ __forceinline__ void add_product(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b, f16) {
    asm volatile(
        "{\n\t.reg .pred p;\n\tsetp.ne.b32 p,1,0;\n\twgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
        "},{%32,%33,%34,%35},%36,p,1,1,1;\n\t}"
        : SIXTEEN(d, 0), SIXTEEN(d, 4)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// d += a · b, columns of b along the sum.
__device__ __forceinline__ void add_product(float (&d)[12][4], const uint32_t (&a)[4], uint64_t b, f16) {
    asm volatile(
        "{\n\t.reg .pred p;\n\tsetp.ne.b32 p,1,0;\n\twgmma.mma_async.sync.aligned.m64n96k16.f32.f16.f16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
        "},{%48,%49,%50,%51},%52,p,1,1,1;\n\t}"
        : SIXTEEN(d, 0), SIXTEEN(d, 4), SIXTEEN(d, 8)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// d += a · b, columns of b along the sum.
__device__ __forceinline__ void add_product(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b, f16) {
    asm volatile(
        "{\n\t.reg .pred p;\n\tsetp.ne.b32 p,1,0;\n\twgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
        "},{%64,%65,%66,%67},%68,p,1,1,1;\n\t}"
        : SIXTEEN(d, 0), SIXTEEN(d, 4), SIXTEEN(d, 8), SIXTEEN(d, 12)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// s = queries · keys over a tile of keys; `queries` are two tiles, four warps to each.
template <class T, int DIM>
__device__ __forceinline__ void score(float (&s)[TILE_ROWS / 8][4], const T* queries, const T* keys) {
    const T* const ours = queries + threadIdx.x / 128 * Tile<DIM>::VALUES;
    begin_products();
#pragma unroll
    for (int step = 0; step < DIM / 16; step++) {
        const int bytes = step / 2 * Tile<DIM>::COLUMN_BYTES + step % 2 * 32;
        product(s, described(ours, bytes), described(keys, bytes), step, T());
    }
    end_products();
}

// o += weights · values over a tile of keys.
template <class T, int DIM>
__device__ __forceinline__ void mix(float (&o)[DIM / 8][4], const float (&weights)[TILE_ROWS / 8][4], const T* values) {
    uint32_t a[TILE_ROWS / 16][4];
#pragma unroll
    for (int step = 0; step < TILE_ROWS / 16; step++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float* const from = weights[2 * step + i / 2] + i % 2 * 2;
            a[step][i] = two(from[0], from[1], T());
        }
    begin_products();
#pragma unroll
    for (int step = 0; step < TILE_ROWS / 16; step++) add_product(o, a[step], described(values, step * 16 * 64), T());
    end_products();
}
#else
// Rows one after the other, a little apart, so that eight of them lie in different banks.
template <int DIM> struct Tile {
    static constexpr int PITCH = DIM + 8, VALUES = TILE_ROWS * PITCH;
    static __device__ __forceinline__ int at(int row, int eight) { return row * PITCH + eight * 8; }
};
__device__ __forceinline__ void publish() {}
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

// s = queries · keys over a tile of keys; `queries` are two tiles, four warps to each.
template <class T, int DIM>
__device__ __forceinline__ void score(float (&s)[TILE_ROWS / 8][4], const T* queries, const T* keys) {
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    const T* const ours = queries + warp / 4 * Tile<DIM>::VALUES;
#pragma unroll
    for (int n = 0; n < TILE_ROWS / 8; n++) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
    for (int step = 0; step < DIM / 16; step++) {
        uint32_t a[4];
        matrices(a, ours + Tile<DIM>::at(warp % 4 * 16 + lane % 16, step * 2 + lane / 16));
#pragma unroll
        for (int n = 0; n < TILE_ROWS / 8; n += 2) {
            // Keys n·8 to n·8 + 15: two matrices of each eight keys.
            uint32_t b[4];
            matrices(b, keys + Tile<DIM>::at(n * 8 + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2));
            multiply(s[n], a, b[0], b[1], T());
            multiply(s[n + 1], a, b[2], b[3], T());
        }
    }
}

// o += weights · values over a tile of keys.
template <class T, int DIM>
__device__ __forceinline__ void mix(float (&o)[DIM / 8][4], const float (&weights)[TILE_ROWS / 8][4], const T* values) {
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int step = 0; step < TILE_ROWS / 16; step++) {
        uint32_t a[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float* const from = weights[2 * step + i / 2] + i % 2 * 2;
            a[i] = two(from[0], from[1], T());
        }
#pragma unroll
        for (int n = 0; n < DIM / 8; n += 2) {
            uint32_t b[4];
            matrices_transposed(b, values + Tile<DIM>::at(step * 16 + lane % 16, n + lane / 16));
            multiply(o[n], a, b[0], b[1], T());
            multiply(o[n + 1], a, b[2], b[3], T());
        }
    }
}
#endif
